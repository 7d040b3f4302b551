/*
 * observation.c - the record: limits, memory, tokens as they are shown.
 */
#include "examples/inspect/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[OB_RULES] = {"gdn2",   "kda",    "gdn", "deltanet",
                                            "mamba2", "mamba3", "attn"};

const char *ob_rule_name(ob_rule rule) { return names[rule]; }

const char *ob_rules(int i) { return i >= 0 && i < OB_ATTENTION ? names[i] : NULL; }

ob_rule ob_rule_of(const char *name)
{
    int i = 0;
    if (strcmp(name, "swa") == 0) return OB_ATTENTION;
    while (i < OB_RULES && strcmp(name, names[i]) != 0) i++;
    return (ob_rule)i;
}

/* ---- Memory and small sums ---- */

static void *room(void *old, size_t n, size_t size)
{
    void *p = old ? realloc(old, n * size) : calloc(n > 0 ? n : 1, size);
    if (p) return p;
    fprintf(stderr, "inspect: out of memory\n");
    exit(EXIT_FAILURE);
}

double *ob_reals(int64_t n) { return room(NULL, (size_t)n, sizeof(double)); }

char *ob_copy(const void *byte, int64_t size)
{
    return memcpy(room(NULL, (size_t)size + 1, 1), byte, (size_t)size);
}

double ob_norm(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sqrt(sum);
}

double ob_mean(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return n > 0 ? sum / (double)n : 0;
}

/* ---- Words ---- */

/* Bytes of the UTF-8 character at p that can be shown; 0: it is none, or a control character. */
static int character(const unsigned char *p, int64_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (*p < 0x80) return *p >= 0x20 && *p != 0x7f;
    const int n = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
    if (*p < 0xc2 || *p > 0xf4 || n > left) return 0;
    uint32_t c = *p & (0x7fU >> n);
    for (int i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3fU);
    }
    return c < least[n] || c < 0xa0 || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff ? 0 : n;
}

char *ob_shown(const void *byte, int64_t size)
{
    const unsigned char *p = byte;
    char *text = room(NULL, (size_t)(4 * size) + 1, 1), *to = text;
    for (int64_t i = 0; i < size;) {
        const int n = character(p + i, size - i);
        if (p[i] == ' ' && size == 1)
            to = stpcpy(to, "\xe2\x90\xa3"); /* an open box */
        else if (p[i] == '\n')
            to = stpcpy(to, "\\n");
        else if (n == 0)
            to += sprintf(to, "\\x%02x", p[i]);
        else
            to = (char *)memcpy(to, p + i, (size_t)n) + n;
        i += n > 0 ? n : 1;
    }
    *to = 0;
    return text;
}

/* ---- Building ---- */

static void replace(char **text, char *by)
{
    free(*text);
    *text = by;
}

void ob_about(observation *ob, const char *text)
{
    replace(&ob->about, ob_shown(text, (int64_t)strlen(text)));
}

void ob_token(observation *ob, int64_t t, const void *byte, int64_t size)
{
    replace(&ob->token[t], ob_shown(byte, size));
}

pal_status ob_begin(observation *ob, int64_t T, pal_error *error)
{
    *ob = (observation){.T = T};
    if (T < 1 || T > OB_TOKENS)
        return pal_error_set(
            error, PAL_EVALUE,
            "%lld tokens: from 1 to %d can be looked at (--tokens takes the first)", (long long)T,
            OB_TOKENS);
    ob_about(ob, "");
    ob->token = room(NULL, (size_t)T, sizeof *ob->token);
    for (int64_t t = 0; t < T; t++) ob_token(ob, t, "", 0);
    return PAL_OK;
}

pal_status ob_model(observation *ob, const char *name, pal_error *error)
{
    if (ob->models == OB_MODELS)
        return pal_error_set(error, PAL_EVALUE, "%s: at most %d models are shown side by side",
                             name, OB_MODELS);
    ob->model[ob->models++] = ob_shown(name, (int64_t)strlen(name));
    return PAL_OK;
}

static void fill(double *x, int64_t n, double value)
{
    for (int64_t i = 0; i < n; i++) x[i] = value;
}

static void add_turns(ob_head *h, int64_t J, pal_pair pair)
{
    const int64_t T = h->T, N = T * h->R;
    h->turns = (ob_turns){.J = J,
                          .pair = pair,
                          .dt = ob_reals(T),
                          .lam = ob_reals(T),
                          .om = ob_reals(T * J),
                          .B = ob_reals(N * h->K),
                          .C = ob_reals(N * h->K),
                          .x = ob_reals(T * h->V),
                          .mimo_x = ob_reals(h->R * h->V),
                          .now = ob_reals(T),
                          .late = ob_reals(T),
                          .turn = ob_reals(T * J),
                          .angle = ob_reals(T * J)};
    fill(h->turns.mimo_x, h->R * h->V, 1);
}

pal_status ob_add(observation *ob, ob_head like, ob_head **out, pal_error *error)
{
    const int64_t T = ob->T, K = like.K, V = like.V, R = like.R ? like.R : 1;
    const bool fits = R >= 1 && R <= OB_RANKS;
    if (K < 1 || V < 1 || K > OB_WIDTH || V > OB_WIDTH)
        return pal_error_set(
            error, PAL_EVALUE, "%s, layer %lld: a head of K %lld and V %lld; both may be 1 to %d",
            ob->model[ob->models - 1], (long long)like.layer, (long long)K, (long long)V, OB_WIDTH);
    if (!fits)
        return pal_error_set(
            error, PAL_EVALUE, "%s, layer %lld: %lld rows a token; at most %d are shown",
            ob->model[ob->models - 1], (long long)like.layer, (long long)R, OB_RANKS);
    const int64_t N = T * R;
    ob->numbers += T * K * V + 2 * T * N + N * N;
    if (ob->numbers > OB_NUMBERS)
        return pal_error_set(error, PAL_EVALUE,
                             "%s, layer %lld, head %lld: states and maps so far are %lld numbers "
                             "and at most %d are kept: choose --layer, --head or fewer --tokens",
                             ob->model[ob->models - 1], (long long)like.layer, (long long)like.head,
                             (long long)ob->numbers, OB_NUMBERS);
    if (ob->heads == ob->room) {
        ob->room = ob->room ? 2 * ob->room : 16;
        ob->head = room(ob->head, (size_t)ob->room, sizeof *ob->head);
    }
    ob_head *h = &ob->head[ob->heads++];
    *h = (ob_head){.model = ob->models - 1,
                   .layer = like.layer,
                   .head = like.head,
                   .rule = like.rule,
                   .T = T,
                   .K = K,
                   .V = V,
                   .R = R,
                   .scale = 1};
    h->q = ob_reals(N * K), h->k = ob_reals(N * K), h->g = ob_reals(T * K), h->b = ob_reals(T * K);
    h->v = ob_reals(N * V), h->w = ob_reals(N * V);
    fill(h->w, N * V, 1);
    if (h->rule == OB_MAMBA3) add_turns(h, like.turns.J, like.turns.pair);
    *out = h;
    return PAL_OK;
}

void ob_free(observation *ob)
{
    for (int i = 0; i < ob->heads; i++) {
        ob_head *h = &ob->head[i];
        const ob_turns *r = &h->turns;
        double *all[] = {h->q,     h->k,      h->g,    h->b,      h->v,     h->w,    h->given,
                         h->S,     h->o,      h->norm, h->update, h->sigma, h->rank, h->cosine,
                         h->error, h->A,      r->dt,   r->lam,    r->om,    r->B,    r->C,
                         r->x,     r->mimo_x, r->now,  r->late,   r->turn,  r->angle};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++) free(all[j]);
    }
    for (int64_t t = 0; ob->token && t < ob->T; t++) free(ob->token[t]);
    for (int m = 0; m < ob->models; m++) free(ob->model[m]);
    free(ob->token);
    free(ob->about);
    free(ob->head);
    *ob = (observation){.T = 0};
}

/* ---- Gates ---- */

int ob_gates(const ob_head *h, ob_gate gate[OB_GATES])
{
    const ob_turns *r = &h->turns;
    const bool turns = h->rule == OB_MAMBA3;
    const ob_gate all[OB_GATES] = {
        {"decay", "decay, exp g", 'K', h->decays, h->K, h->g, true},
        {"erase", "erase, b", 'K', h->erases, h->K, h->b, false},
        {"write", turns ? "write, lam dt" : "write, w", 'V', h->writes, turns ? 1 : h->V,
         turns ? r->now : h->w, false},
        {"late", "late write of the token before, (1 - lam) dt", 0, 1, 1, r->late, false},
        {"lam", "trapezoid weight, lam", 0, 1, 1, r->lam, false},
        {"dt", "step, dt", 0, 1, 1, r->dt, false},
        {"turn", "turn of this token, radians", 'J', r->J, r->J, r->turn, false},
        {"angle", "angle, radians", 'J', r->J, r->J, r->angle, false},
    };
    memcpy(gate, all, sizeof all);
    return turns ? OB_GATES : 3;
}

/* ---- Finding heads ---- */

static bool alike(const ob_head *a, const ob_head *b)
{
    return a->layer == b->layer && a->head == b->head;
}

bool report_first(const observation *ob, int i)
{
    for (int j = 0; j < i; j++)
        if (alike(&ob->head[j], &ob->head[i])) return false;
    return true;
}

const ob_head *report_same(const observation *ob, const ob_head *like, int model)
{
    for (int i = 0; i < ob->heads; i++)
        if (ob->head[i].model == model && alike(&ob->head[i], like)) return &ob->head[i];
    return NULL;
}
