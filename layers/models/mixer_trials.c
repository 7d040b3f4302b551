/*
 * mixer_trials.c - the longer checks of pal_mixer_test: gradients, and models of the mixer.
 */
#include "layers/models/mixer_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { B = PAL_TRIAL_ROWS, T = PAL_TRIAL_TOKENS };

/* ---- Gradients ---- */

/* A loss as a function of numbers that are changed in place: x, and the parts of a state. */
typedef struct problem {
    pal_trial t;
    double *x;
    int parts;
    pal_mixer_part part[PAL_MIXER_PARTS]; /* names, and what was given in the last run */
    pal_shape shape[PAL_MIXER_PARTS];
    double *given[PAL_MIXER_PARTS];
    pal_tensor in; /* x of the last run */
} problem;

static pal_tensor run(problem *p)
{
    pal_mixer_state state = {.seen = p->parts ? T : 0};
    const bool keeps = !(p->t.of->refuses & PAL_NO_STATE);
    pal_tape_reset(p->t.tape);
    for (int i = 0; i < p->parts; i++) {
        p->part[i].tensor = pal_trial_input(&p->t, p->shape[i], p->given[i]);
        state.part[i] = p->part[i];
    }
    p->in = pal_trial_input(&p->t, PAL_SHAPE(B, T, p->t.of->width), p->x);
    pal_tensor y = pal_mixer_forward(p->t.mixer, p->in, keeps ? &state : NULL, (pal_run_opts){0});
    return pal_trial_loss(&p->t, y, keeps ? &state : NULL);
}

/* The state after one call becomes the numbers of the problem. */
static void take_state(problem *p)
{
    pal_mixer_state state = {.seen = 0};
    if (p->t.of->refuses & PAL_NO_STATE) return;
    pal_tensor x = pal_trial_tokens(&p->t, B, 0, T);
    pal_mixer_forward(p->t.mixer, x, &state, (pal_run_opts){0});
    for (int i = 0; i < PAL_MIXER_PARTS && state.part[i].name; i++) {
        pal_numbers n = {0};
        p->part[i].name = state.part[i].name;
        p->shape[i] = pal_shape_of(state.part[i].tensor);
        pal_numbers_add(&n, state.part[i].tensor);
        p->given[p->parts++] = n.x;
    }
}

/* The relative error of the derivative along a direction of the n numbers at `at`. */
static double direction(problem *p, double *at, const double *gradient, int64_t n)
{
    static const double step[] = {-2, -1, 1, 2}, weight[] = {1, -8, 8, -1};
    const double h = 1e-4;
    double *u = pal_trial_draw(77, n), *keep = malloc((size_t)(n + 1) * sizeof *keep);
    double norm = 0, analytic = 0, square = 0, numeric = 0;
    for (int64_t i = 0; i < n; i++) norm += u[i] * u[i];
    for (int64_t i = 0; i < n; i++) {
        u[i] /= norm > 0 ? sqrt(norm) : 1;
        analytic += u[i] * gradient[i];
        square += gradient[i] * gradient[i];
        keep[i] = at[i];
    }
    for (int s = 0; s < 4; s++) {
        for (int64_t i = 0; i < n; i++) at[i] = keep[i] + h * step[s] * u[i];
        numeric += weight[s] * pal_item(run(p)) / (12 * h);
    }
    memcpy(at, keep, (size_t)n * sizeof *at);
    const double scale =
        fmax(fmax(fabs(numeric), fabs(analytic)), sqrt(square / (double)(n > 0 ? n : 1)));
    free(u), free(keep);
    return scale > 0 ? fabs(numeric - analytic) / scale : 0;
}

static void check(problem *p, pal_mixer_trial *of, const char *name, double *at,
                  const pal_numbers *gradient)
{
    char what[80];
    snprintf(what, sizeof what, "gradient of %s", name);
    pal_trial_said(of, what, direction(p, at, gradient->x, gradient->n), 1e-6);
}

void pal_trial_gradients(pal_mixer_trial *of)
{
    problem p = {.parts = 0};
    if (!pal_trial_make(&p.t, of, PAL_F64)) return;
    const int count = pal_params_count(p.t.params);
    pal_numbers *g = calloc((size_t)count + 1 + PAL_MIXER_PARTS, sizeof *g);
    p.x = pal_trial_draw(1, B * T * of->width);
    take_state(&p);
    if (g && p.x && pal_backward(run(&p)) == PAL_OK) {
        for (int i = 0; i < count; i++)
            pal_numbers_add(&g[i], pal_grad(pal_params_at(p.t.params, i)));
        for (int i = 0; i < p.parts; i++)
            pal_numbers_add(&g[count + i], pal_grad(p.part[i].tensor));
        pal_numbers_add(&g[count + p.parts], pal_grad(p.in));
        for (int i = 0; i < count; i++)
            check(&p, of, pal_params_name(p.t.params, i), pal_params_array(p.t.params, i).data,
                  &g[i]);
        for (int i = 0; i < p.parts; i++) check(&p, of, p.part[i].name, p.given[i], &g[count + i]);
        check(&p, of, "x", p.x, &g[count + p.parts]);
    } else {
        pal_trial_said(of, "backward", HUGE_VAL, 0);
    }
    for (int i = 0; g && i <= count + p.parts; i++) free(g[i].x);
    for (int i = 0; i < p.parts; i++) free(p.given[i]);
    free(g), free(p.x);
    pal_trial_free(&p.t);
}

/* ---- Models ---- */

enum { VOCAB = 11 };

/* A model of two such layers and its tape. */
typedef struct model {
    pal_params *params;
    pal_lm *lm;
    pal_tape *tape;
} model;

static bool make(model *m, const pal_mixer_trial *of, bool recompute)
{
    pal_rng rng = pal_rng_new(6, 0);
    *m = (model){.params = pal_params_new(), .tape = pal_tape_new()};
    m->lm = pal_lm_new(m->params,
                       (pal_lm_opts){.vocab = VOCAB,
                                     .width = of->width,
                                     .layers = 2,
                                     .mixers = of->text,
                                     .mlp_width = 8,
                                     .dtype = PAL_F64,
                                     .recompute = recompute},
                       &rng);
    return m->lm != NULL;
}

static void drop(model *m)
{
    pal_tape_free(m->tape);
    pal_params_free(m->params);
}

/* Tokens first .. last - 1 of both rows, moved on by `by`. */
static pal_tensor tokens(model *m, int64_t first, int64_t last, int64_t by)
{
    int64_t t[B * T], n = 0;
    for (int64_t b = 0; b < B; b++)
        for (int64_t i = first; i < last; i++)
            t[n++] = (3 * (i + by) * (i + by) + 5 * b + by) % VOCAB;
    return pal_from(m->tape, PAL_I64, PAL_SHAPE(B, last - first), t);
}

/* Whether the state survives a file: saved after `cut` tokens, and read by a new state. */
static pal_lm_state *through_file(const model *m, pal_lm_state *state, pal_mixer_trial *of)
{
    char path[] = "/tmp/pal-mixer-XXXXXX";
    const int fd = mkstemp(path);
    pal_lm_state *other = pal_lm_state_new(m->lm);
    if (fd >= 0) close(fd);
    if (!other || pal_lm_state_save(state, path, &of->error) != PAL_OK ||
        pal_lm_state_load(m->lm, other, path, &of->error) != PAL_OK)
        of->raised = true;
    unlink(path);
    pal_lm_state_free(state);
    return other;
}

static void decoding(pal_mixer_trial *of)
{
    pal_numbers whole = {0}, steps = {0};
    model m;
    if (make(&m, of, false)) {
        pal_set_grad(m.tape, false);
        pal_tensor all = pal_lm_logits(m.lm, tokens(&m, 0, T, 0), (pal_run_opts){0});
        pal_lm_state *state = pal_lm_state_new(m.lm);
        for (int64_t t = 2; t < T; t++) {
            pal_numbers_add(&whole, pal_select(all, 1, t));
            if (t == 4) state = through_file(&m, state, of);
            pal_numbers_add(&steps, pal_lm_step(m.lm, state, tokens(&m, t == 2 ? 0 : t, t + 1, 0),
                                                (pal_run_opts){0}));
        }
        pal_lm_state_free(state);
    }
    drop(&m);
    pal_trial_said(of, "decoding, by a file", pal_numbers_apart(&steps, &whole), of->tolerance);
    free(whole.x), free(steps.x);
}

static pal_numbers gradients(pal_mixer_trial *of, bool recompute)
{
    pal_numbers all = {0};
    model m;
    if (make(&m, of, recompute)) {
        pal_tensor loss =
            pal_lm_loss(m.lm, tokens(&m, 0, T, 0), tokens(&m, 0, T, 1), (pal_run_opts){0});
        if (pal_backward(loss) == PAL_OK)
            for (int i = 0; i < pal_params_count(m.params); i++)
                pal_numbers_add(&all, pal_grad(pal_params_at(m.params, i)));
    }
    drop(&m);
    return all;
}

void pal_trial_models(pal_mixer_trial *of)
{
    pal_numbers kept = gradients(of, false), again = gradients(of, true);
    pal_trial_said(of, "recomputation, same bits", pal_numbers_apart(&again, &kept), 0);
    free(kept.x), free(again.x);
    if (!(of->refuses & PAL_NO_STATE)) decoding(of);
}
