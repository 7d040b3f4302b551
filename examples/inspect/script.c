/*
 * script.c - runs a sequence made by hand through any rules. A rule that lacks a gate uses the
 * nearest one that it has; the record says what it used.
 */
#include "examples/inspect/script.h"
#include "examples/inspect/look.h"
#include "tensor/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char script_demo[] =
    "# Two keys at right angles, and one between them.\n"
    "key c 0.6 0.8 0 0\n"
    "write a red\n"
    "write b blue\n"
    "read a\n"
    "write a green            # the same key again\n"
    "read a\n"
    "write c gold             # its key is 0.6 a + 0.8 b\n"
    "read a\n"
    "read b\n"
    "decay 0.5 1 1 1          # channel a alone, where a rule can\n"
    "read a\n"
    "read b\n"
    "erase b\n"
    "read b\n"
    "write a blue erase=0     # added, not put in its place, where a rule can\n"
    "read a\n";

/* ---- A rule's gates from a line ---- */

static double channel(const gate *g, int64_t c) { return g->x[g->count > 1 ? c : 0]; }
static double mean(const gate *g) { return ob_mean(g->x, g->count); }

static void fill(double *to, int64_t n, double x)
{
    for (int64_t c = 0; c < n; c++) to[c] = x;
}

/* log a, kept above -inf: exp of it is 0 all the same. */
static double log_decay(double a) { return a > 0 ? log(a) : -1e3; }

/* Gates of one token: rows of g, b [K] and w [V]. */
static void set_gates(ob_rule rule, const line *l, int64_t K, int64_t V, double *g, double *b,
                      double *w)
{
    const double erase = mean(&l->erase), write = mean(&l->write), dt = script_step(l);
    /* One gate for both: an erasing writes zeros over what is there. */
    const double beta = l->verb == ERASE ? erase : write;
    fill(w, V, beta);
    fill(b, K, beta);
    for (int64_t c = 0; c < K; c++)
        g[c] =
            log_decay(rule == OB_GDN2 || rule == OB_KDA ? channel(&l->decay, c) : mean(&l->decay));
    if (rule == OB_DELTANET) fill(g, K, 0);
    if (rule == OB_GDN2) {
        for (int64_t c = 0; c < K; c++) b[c] = channel(&l->erase, c);
        for (int64_t c = 0; c < V; c++) w[c] = channel(&l->write, c);
    }
    if (rule == OB_MAMBA2) {
        fill(b, K, 0);
        /* Its decay is exp(A dt): no decay without a step. What is written then is zeros. */
        const bool writes = l->verb == WRITE || l->dt.count;
        fill(w, V, writes && dt > 0 ? dt : g[0] < 0);
    }
}

/* Both writes of Mamba-3 and its angles; w is 1. Erasing and reading write zeros. */
static void set_turns(ob_head *h, const script *s, int64_t t)
{
    const line *l = &s->line[t];
    ob_turns *r = &h->turns;
    const size_t k = (size_t)h->K * sizeof(double), v = (size_t)h->V * sizeof(double);
    if (l->key >= 0) memcpy(r->C + t * h->K, s->keys.of[l->key].x, k);
    if (l->verb == WRITE || l->verb == ERASE) memcpy(r->B + t * h->K, s->keys.of[l->key].x, k);
    if (l->verb == WRITE) memcpy(r->x + t * h->V, s->values.of[l->value].x, v);
    fill(h->g + t * h->K, h->K, log_decay(mean(&l->decay)));
    r->dt[t] = script_step(l);
    r->lam[t] = l->lam.count ? l->lam.x[0] : 1;
    for (int64_t j = 0; j < r->J && l->angle.count; j++)
        if (channel(&l->angle, j) != 0) r->om[t * r->J + j] = channel(&l->angle, j) / r->dt[t];
}

static void set_token(ob_head *h, const script *s, int64_t t)
{
    const line *l = &s->line[t];
    const int64_t K = h->K, V = h->V;
    const size_t k = (size_t)K * sizeof(double), v = (size_t)V * sizeof(double);
    if (l->key >= 0) memcpy(h->q + t * K, s->keys.of[l->key].x, k);
    if (l->verb == WRITE || l->verb == ERASE) memcpy(h->k + t * K, s->keys.of[l->key].x, k);
    /* A step of 0 on Mamba-2 may still be one that decays. */
    if (l->verb == WRITE && !(h->rule == OB_MAMBA2 && script_step(l) == 0))
        memcpy(h->v + t * V, s->values.of[l->value].x, v);
    set_gates(h->rule, l, K, V, h->g + t * K, h->b + t * K, h->w + t * V);
}

/* Channels are called as the names that are their unit vectors. */
static void name_channels(char to[OB_AXIS][OB_SHOWN], const names *n)
{
    for (int i = 0; i < n->count; i++) {
        int64_t at = -1, others = 0;
        for (int64_t c = 0; c < n->width; c++) {
            if (n->of[i].x[c] == 1) at = c;
            others += n->of[i].x[c] != 0;
        }
        if (at < 0 || others != 1 || *to[at]) continue;
        char *shown = ob_shown(n->of[i].word, (int64_t)strlen(n->of[i].word));
        strcpy(to[at], shown); /* at most 4 bytes for each, which is OB_SHOWN */
        free(shown);
    }
}

static pal_status add_rule(observation *ob, const script *s, ob_rule rule, pal_error *error)
{
    ob_head *h;
    pal_status status = ob_model(ob, ob_rule_name(rule), error);
    if (status == PAL_OK)
        status = ob_add(ob,
                        (ob_head){.rule = rule,
                                  .K = s->keys.width,
                                  .V = s->values.width,
                                  .turns.J = s->keys.width / 2},
                        &h, error);
    if (status != PAL_OK) return status;
    const bool adds = rule == OB_MAMBA2 || rule == OB_MAMBA3;
    h->decays = rule == OB_GDN2 || rule == OB_KDA ? h->K : rule != OB_DELTANET;
    h->erases = rule == OB_GDN2 ? h->K : !adds;
    h->writes = rule == OB_GDN2 ? h->V : 1;
    for (int64_t t = 0; t < ob->T; t++) rule == OB_MAMBA3 ? set_turns(h, s, t) : set_token(h, s, t);
    return PAL_OK;
}

pal_status script_observe(observation *ob, const char *text, const char *file, const char *rules,
                          pal_error *error)
{
    script *s = malloc(sizeof *s);
    if (!s) return pal_error_set(error, PAL_ENOMEM, "out of memory");
    pal_status status = script_parse(s, text, file, error);
    if (status == PAL_OK) status = ob_begin(ob, s->lines, error);
    if (status == PAL_OK) {
        ob_about(ob, file);
        name_channels(ob->key, &s->keys);
        name_channels(ob->value, &s->values);
        for (int t = 0; t < s->lines; t++)
            ob_token(ob, t, s->line[t].text, (int64_t)strlen(s->line[t].text));
    }
    char all[128];
    for (size_t i = 0, n = 0; ob_rules((int)i) && n < sizeof all; i++)
        n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", i ? "," : "", ob_rules((int)i));
    if (!rules) rules = all;
    char *list = ob_copy(rules, (int64_t)strlen(rules)), *rest = list, *word;
    while (status == PAL_OK && (word = strsep(&rest, ","))) {
        const ob_rule rule = ob_rule_of(word);
        status =
            rule < OB_ATTENTION
                ? add_rule(ob, s, rule, error)
                : pal_error_set(error, PAL_EVALUE,
                                "--rule=%.60s: there is no such rule; there are %s", word, all);
    }
    free(list);
    free(s);
    return status;
}

char *script_reading(const observation *ob, const double *o, int64_t V, char *text, size_t size)
{
    PAL_C_LOCALE;
    size_t n = 0;
    *text = 0;
    for (int64_t c = 0; c < V && n < size; c++) {
        const double x = o[c];
        if (fabs(x) < 5e-4) continue; /* NaN is shown */
        const char *sign = x < 0 ? n ? " - " : "-" : n ? " + " : "";
        const char *word = c < OB_AXIS ? ob->value[c] : "";
        char number[32] = "";
        if (!*word || fabs(fabs(x) - 1) >= 5e-4)
            snprintf(number, sizeof number, "%.3g%s", fabs(x), *word ? " " : "");
        n += (size_t)snprintf(text + n, size - n, "%s%s%s", sign, number, word);
        if (!*word && n < size) n += (size_t)snprintf(text + n, size - n, " [%d]", (int)c);
    }
    if (n == 0) snprintf(text, size, "0");
    return text;
}
