/*
 * match.c - the models of a study: what they count, and the widths that make them equal.
 *
 * Nothing is computed from formulas: a model is made by pal_lm_new and counted, so that what is
 * compared is what is trained. Recurrent state is what a mixer carries from token to token
 * (the part "state" of pal_mixer_state), seen by running it on one token; the tails of short
 * convolutions and what Mamba-3 keeps of the last token, a few rows, are left out. Of attention it
 * is the keys and values that the last token of the longest row that is tested may see: those of
 * its window, if that is shorter than the row.
 */
#include "examples/ablate/ablate.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LAYERS = 1 << 10 /* of keys.c */, WIDEST = 1 << 14 };

typedef struct counts {
    int64_t params, states[MOST_LAYERS];
} counts;

/* ---- inner=N ---- */

/* The number e with e * width = inner, to the last bit, as the mixers want it. */
static bool quotient(double inner, double width, double *e)
{
    *e = inner / width;
    for (int i = 0; i < 4 && *e * width < inner; i++) *e = nextafter(*e, HUGE_VAL);
    for (int i = 0; i < 4 && *e * width > inner; i++) *e = nextafter(*e, 0);
    return *e * width == inner;
}

/* The list with inner=N as expand=N/width; NULL: it cannot be. */
static const char *expand(const char *mixers, int64_t width)
{
    PAL_C_LOCALE;
    static const char key[] = ":inner=";
    bool good = true;
    FILE *to = pal_stream_open();
    if (!to) stop("a text in memory: %s", strerror(errno));
    for (const char *at = mixers; *at && good;) {
        if (strncmp(at, key, strlen(key))) {
            fputc(*at++, to);
            continue;
        }
        const char *end = at + strlen(key);
        double e, inner;
        good = pal_number_next(&end, &inner) && strchr(":,)", *end) && inner >= 1 &&
               inner <= 1 << 20 && quotient(inner, (double)width, &e);
        if (good) fprintf(to, ":expand=%.17g", e);
        at = end;
    }
    size_t size;
    char *text = pal_stream_close(to, &size);
    if (!text) stop("a text in memory: %s", strerror(errno));
    const char *kept = good ? lm_keep(text, size) : NULL;
    free(text);
    return kept;
}

/* ---- Counting ---- */

static void keep_error(const pal_error *error, void *user)
{
    pal_error *kept = user;
    if (kept->status == PAL_OK) *kept = *error;
}

static int64_t longest(const task *t)
{
    int64_t most = 1;
    for (int i = 0; i < task_points(t, TASK_TEST); i++) {
        const int64_t len = task_point_at(t, TASK_TEST, i).len;
        if (len > most) most = len;
    }
    return most;
}

/* Runs a layer on one token of zeros. */
static void run_one(const pal_lm *lm, int64_t layer, pal_tape *tape, pal_mixer_state *state)
{
    const pal_tensor x = pal_zeros(tape, PAL_F32, PAL_SHAPE(1, 1, pal_lm_options(lm).width));
    pal_mixer_forward(pal_lm_mixer(lm, layer), x, state, (pal_run_opts){0});
}

/* Of attention, the numbers of k or v that the last of n tokens sees: what is kept after it for the
 * next one, which is all of them or, if the window is shorter, all but one of a window. */
static int64_t seen_of(pal_tensor kept, int64_t n)
{
    const int64_t rows = pal_dim(kept, 1);
    return (rows < n ? rows + 1 : n) * pal_dim(kept, 2) * pal_dim(kept, 3);
}

static int64_t state_of(const pal_lm *lm, int64_t layer, const task *t)
{
    pal_tape *tape = pal_tape_new();
    pal_mixer_state state = {0};
    int64_t n = 0;
    pal_set_grad(tape, false);
    run_one(lm, layer, tape, &state);
    const pal_tensor S = pal_mixer_state_get(&state, "state"), k = pal_mixer_state_get(&state, "k");
    if (!pal_is_none(S)) {
        const pal_array a = pal_value(S);
        n = pal_array_count(&a);
    } else if (!pal_is_none(k)) {
        const int64_t most = longest(t);
        const pal_tensor before =
            pal_zeros(tape, PAL_F32, PAL_SHAPE(1, most - 1, pal_dim(k, 2), pal_dim(k, 3)));
        pal_mixer_state_set(&state, "k", before);
        pal_mixer_state_set(&state, "v", before);
        state.seen = most - 1;
        run_one(lm, layer, tape, &state);
        n = seen_of(pal_mixer_state_get(&state, "k"), most) +
            seen_of(pal_mixer_state_get(&state, "v"), most);
    }
    pal_tape_free(tape);
    return n;
}

/* Makes the model and counts it; states only if asked for. PAL_EVALUE if there is no such model. */
static pal_status count(const study *s, int t, const variant *v, model *m, counts *c, bool states,
                        pal_error *error)
{
    *error = (pal_error){PAL_OK, ""};
    m->mixers = expand(v->mixers, m->width);
    if (!m->mixers)
        return pal_error_set(error, PAL_EVALUE,
                             "inner= in %.200s does not go with a width of %lld, or is no number",
                             v->mixers, (long long)m->width);
    pal_set_error_handler(keep_error, error);
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(1, 0);
    pal_lm *lm = pal_lm_new(params,
                            (pal_lm_opts){.vocab = task_vocab(s->task[t]),
                                          .width = m->width,
                                          .layers = v->s.layers,
                                          .mixers = m->mixers,
                                          .mlp_width = m->mlp,
                                          .no_mlp = v->s.mlp == MLP_NONE},
                            &rng);
    if (lm) c->params = pal_lm_count(lm, -1).total;
    if (lm && v->s.mlp != MLP_NONE) m->mlp = pal_lm_options(lm).mlp_width;
    for (int64_t i = 0; lm && states && i < v->s.layers; i++)
        c->states[i] = state_of(lm, i, s->task[t]);
    pal_params_free(params);
    pal_set_error_handler(NULL, NULL);
    if (!lm && error->status == PAL_OK) return pal_error_set(error, PAL_EVALUE, "no model");
    return error->status;
}

static void stop_at(const study *s, const variant *v, const char *why)
{
    stop("%s: line %d: variant %s: %s", s->path, v->line, v->name, why);
}

/* ---- Searching ---- */

static int64_t distance(int64_t a, int64_t b) { return a < b ? b - a : a - b; }

/* Parameters are linear in the MLP's width. */
static void fit_mlp(const study *s, int t, const variant *v, model *m, int64_t target)
{
    counts c = {0};
    pal_error error;
    int64_t params[2];
    for (int i = 0; i < 2; i++) {
        m->mlp = i + 1;
        if (count(s, t, v, m, &c, false, &error) != PAL_OK) stop_at(s, v, error.message);
        params[i] = c.params;
    }
    const int64_t slope = params[1] - params[0], off = target - params[0];
    const int64_t mlp = off < 0 ? 1 : 1 + (off + slope / 2) / slope;
    m->mlp = mlp > 1 << 20 ? 1 << 20 : mlp;
    m->fit = FIT_MLP;
}

/* A variant at a width; params -1: there is none. */
typedef struct sized {
    int64_t width, params;
} sized;

/* Counts the first width of from .. end-1 that the mixers do not refuse. */
static bool count_first(const study *s, int t, const variant *v, int64_t from, int64_t end,
                        sized *out)
{
    counts c = {0};
    pal_error error;
    for (int64_t width = from; width < end; width++) {
        model m = {.width = width};
        if (count(s, t, v, &m, &c, false, &error) != PAL_OK) continue;
        *out = (sized){width, c.params};
        return true;
    }
    return false;
}

/* Parameters grow with the width, so the best is one of two neighbours, the last one below the
 * target and the first one that is not. Widths from .. end-1 are between the two and not known yet:
 * doubling ends them, and halving leaves none. Whole models are made, so few are tried. */
static void fit_width(const study *s, int t, const variant *v, model *m, int64_t target)
{
    counts c = {0};
    pal_error error;
    sized low = {0, -1}, high = {0, -1}, at;
    if (count(s, t, v, m, &c, false, &error) != PAL_OK) stop_at(s, v, error.message);
    const bool wider = c.params < target;
    *(wider ? &low : &high) = (sized){m->width, c.params};
    int64_t from = wider ? m->width + 1 : 1, end = wider ? WIDEST + 1 : m->width;
    bool doubles = wider;
    while (from < end) {
        int64_t middle = from + (end - from) / 2;
        if (doubles && 2 * low.width < middle) middle = 2 * low.width;
        if (!count_first(s, t, v, middle, end, &at)) {
            end = middle;
        } else if (at.params < target) {
            low = at, from = at.width + 1;
        } else {
            high = at, end = middle, doubles = false;
        }
    }
    /* Of two that are equally near, the one nearer to the variant's own. */
    const int64_t below = distance(low.params, target), above = distance(high.params, target);
    const bool lower =
        high.params < 0 || (low.params >= 0 && (below < above || (below == above && wider)));
    const int64_t width = lower ? low.width : high.width;
    m->fit = width == m->width ? AS_GIVEN : FIT_WIDTH;
    m->width = width;
}

static void fit(const study *s, int t, const variant *v, model *m, int64_t target)
{
    *m = (model){.width = v->s.width, .mlp = v->s.mlp > 0 ? v->s.mlp : 0};
    if (!target) return; /* nothing to match, or the one that is matched */
    if (v->s.mlp == MLP_MATCH)
        fit_mlp(s, t, v, m, target);
    else if (v->s.mlp == MLP_NONE && !v->own_width)
        fit_width(s, t, v, m, target);
}

/* ---- What has come out ---- */

/* "2 x 4096", or "4096 + 2048". */
static void describe_states(const counts *c, int64_t layers, model *m)
{
    bool same = true;
    for (int64_t i = 0; i < layers; i++) {
        m->state += c->states[i];
        same = same && c->states[i] == c->states[0];
    }
    size_t used = 0;
    if (same)
        snprintf(m->states, sizeof m->states, "%lld x %lld", (long long)layers,
                 (long long)c->states[0]);
    for (int64_t i = 0; !same && i < layers && used < sizeof m->states; i++)
        used += (size_t)snprintf(m->states + used, sizeof m->states - used, "%s%lld",
                                 i ? " + " : "", (long long)c->states[i]);
    if (used >= sizeof m->states)
        snprintf(m->states, sizeof m->states, "%lld in all", (long long)m->state);
}

/* A list of all variants of a task with one number each, for a message. */
static char *listed(const study *s, const model *m, bool states)
{
    FILE *to = pal_stream_open();
    if (!to) stop("a text in memory: %s", strerror(errno));
    for (int i = 0; i < s->variants; i++) {
        fprintf(to, "\n  %-20s ", s->variant[i].name);
        if (states)
            fprintf(to, "%s", m[i].states);
        else
            fprintf(to, "%lld at width %lld, MLP %lld", (long long)m[i].params,
                    (long long)m[i].width, (long long)m[i].mlp);
    }
    char *text = pal_stream_close(to, NULL);
    if (!text) stop("a text in memory: %s", strerror(errno));
    return text;
}

static void compare(const study *s, int t, const model *m)
{
    bool equal = true;
    const model *far = NULL;
    for (int i = 0; i < s->variants; i++) {
        const double off = (double)distance(m[i].params, m[i].target);
        equal = equal && m[i].equal;
        if (m[i].target && !(off <= s->match * (double)m[i].target)) far = &m[i];
    }
    if (!equal && s->state == STATE_SAME)
        stop("%s: line %d: the recurrent state of a layer is not the same in all variants; by "
             "layer:%s",
             s->path, s->state_line, listed(s, m, true));
    if (!equal)
        stop("%s: line %d: the recurrent state of a layer is not %lld numbers everywhere (state = "
             "any allows that); by layer:%s",
             s->path, s->state_line, (long long)s->state, listed(s, m, true));
    if (s->match > 0 && far)
        stop("%s: line %d: %s: the parameters cannot be matched to %lld within %g%%:%s", s->path,
             s->match_line, s->label[t], (long long)far->target, 100 * s->match,
             listed(s, m, false));
}

/* The first variant at the same place of the axes. */
static int first_of(const study *s, int i)
{
    int first = 0;
    while (strcmp(s->variant[first].axes, s->variant[i].axes)) first++;
    return first;
}

void match(const study *s, models m)
{
    counts c = {0};
    pal_error error;
    for (int t = 0; t < s->tasks; t++) {
        for (int i = 0; i < s->variants; i++) {
            const variant *v = &s->variant[i];
            model *at = &m[t][i], *first = &m[t][first_of(s, i)];
            const int64_t target = s->match <= 0   ? 0
                                   : s->parameters ? s->parameters
                                   : first == at   ? 0
                                                   : first->params;
            fit(s, t, v, at, target);
            if (count(s, t, v, at, &c, true, &error) != PAL_OK) stop_at(s, v, error.message);
            at->params = c.params;
            at->target = target ? target : s->match > 0 ? c.params : 0;
            at->equal = true;
            at->each = c.states[0];
            const int64_t wanted = s->state == STATE_SAME ? first->each : s->state;
            for (int64_t l = 0; l < v->s.layers && wanted; l++)
                at->equal = at->equal && c.states[l] == wanted;
            describe_states(&c, v->s.layers, at);
        }
        init_check(s, t, m[t]);
        compare(s, t, m[t]);
    }
}
