/*
 * mamba3.c - drawing the inputs of Mamba-3, and running it.
 */
#include "tests/support/mamba3.h"
#include "tests/support/node.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[M3_INPUTS] = {"x",  "dt",     "g",      "lam", "om",    "Bm",
                                             "Cm", "B_bias", "C_bias", "D",   "mimo_x"};

static pal_shape shape_of(const m3_problem *p, int input)
{
    const int64_t S = p->sequences ? p->sequences : p->B;
    switch (input) {
    case M3_X:
        return PAL_SHAPE(p->B, p->T, p->H, p->P);
    case M3_OM:
        return PAL_SHAPE(p->B, p->T, p->J);
    case M3_B:
    case M3_C:
        return PAL_SHAPE(p->B, p->T, p->R, p->G, p->N);
    case M3_B_BIAS:
    case M3_C_BIAS:
        return PAL_SHAPE(p->H, p->R, p->N);
    case M3_D:
        return PAL_SHAPE(p->H);
    case M3_MIMO_X:
        return PAL_SHAPE(p->H, p->R, p->P);
    case IN_STATE:
        return PAL_SHAPE(S, p->H, p->N, p->P);
    case IN_MORE:
        return PAL_SHAPE(S, p->H, p->J);
    case IN_MORE + 1:
        return PAL_SHAPE(S, p->H, p->R, p->N);
    case IN_MORE + 2:
        return PAL_SHAPE(S, p->H, p->P);
    default:
        return PAL_SHAPE(p->B, p->T, p->H);
    }
}

static double decay(const m3_problem *p, int64_t t, double u, double r)
{
    switch (p->decay) {
    case DECAY_ZERO:
        return 0;
    case DECAY_20:
        return -20;
    case DECAY_1E12:
        return log(1e-12);
    case DECAY_HALF:
        return r < 0.5 ? 0 : -u;
    case DECAY_FIRST:
        return t == 0 ? -90 : 0;
    case DECAY_WIDE:
        return -316 * u;
    case DECAY_TENTH: /* a reset now and then */
        return r < 0.01 ? -60 : -0.01 * u;
    case DECAY_INFINITE:
        return r < 0.1 ? -INFINITY : -u;
    default:
        return -u;
    }
}

/* t is the token, of inputs that have one. */
static double entry(const m3_problem *p, int input, int64_t t, pal_rng *rng)
{
    const double u = pal_rng_next(rng), r = pal_rng_next(rng);
    switch (input) {
    case M3_DT:
        return p->sharp && r < 0.3 ? 0 : 0.05 + u;
    case M3_G:
        return decay(p, t, u, r);
    case M3_LAM:
        return p->lam > 0 ? p->lam : p->sharp ? r < 0.5 : u;
    case M3_OM:
        return 3.1 * (2 * u - 1);
    case IN_MORE:
        return 6.2 * u;
    case M3_B:
    case M3_C:
        return (2 * u - 1) / sqrt((double)p->N);
    default:
        return 2 * u - 1;
    }
}

void m3_draw(const m3_problem *p, uint64_t seed, pal_array x[RULE_INPUTS])
{
    for (int i = 0; i < RULE_INPUTS; i++) {
        const bool state = i == IN_STATE || i >= IN_MORE;
        x[i] = (pal_array){.dtype = PAL_F64};
        if (i >= M3_INPUTS && !state) continue;
        if (p->bare && (state || (i >= M3_B_BIAS && i <= M3_MIMO_X))) continue;
        if (p->no_state && state) continue;
        const pal_shape shape = shape_of(p, i);
        const int64_t n = pal_shape_count(shape);
        double *data = malloc((size_t)n * sizeof *data + 8);
        pal_rng rng = pal_rng_new(seed, (uint64_t)i);
        const int64_t token = i <= M3_C && p->T ? n / (p->B * p->T) : 1; /* numbers of a token */
        for (int64_t j = 0; j < n; j++)
            data[j] = (double)(float)entry(p, i, j / token % (p->T ? p->T : 1), &rng);
        for (int64_t j = token; j < n && i == M3_B && p->same_keys; j++) data[j] = data[j % token];
        x[i] = pal_array_of(PAL_F64, shape, data);
    }
}

pal_rule_opts m3_options(const m3_problem *p, pal_rule_mode mode, const pal_tensor *in)
{
    pal_rule_opts o = {.mode = mode,
                       .scale = p->scale,
                       .chunk = p->chunk,
                       .state = in[IN_STATE],
                       .more = {in[IN_MORE], in[IN_MORE + 1], in[IN_MORE + 2]},
                       .pair = p->half ? PAL_PAIR_HALF : PAL_PAIR_ADJACENT};
    if (p->sequences)
        o.offsets = pal_from(tape_of(in[0]), PAL_I64, PAL_SHAPE(p->sequences + 1), p->offsets);
    return o;
}

pal_rule_out m3_call(const pal_tensor *in, pal_rule_opts opts)
{
    return pal_mamba3(in[M3_X], in[M3_DT], in[M3_G], in[M3_LAM], in[M3_OM], in[M3_B], in[M3_C],
                      in[M3_B_BIAS], in[M3_C_BIAS], in[M3_D], in[M3_MIMO_X], opts);
}

void m3_outputs(pal_rule_out r, pal_tensor *out)
{
    out[0] = r.o, out[1] = r.state;
    for (int i = 0; i < PAL_RULE_STATES - 1; i++) out[2 + i] = r.more[i];
}

run_setup m3_setup(run_fn *fn, const void *context, const pal_array *x, pal_dtype dtype)
{
    static const char *input[IN_STATE];
    memcpy(input, names, sizeof names);
    return (run_setup){
        .fn = fn, .context = context, .x = x, .input = input, .dtype = dtype, .angles = true};
}

run_result m3_run_by(run_fn *fn, const void *context, const pal_array *x, pal_dtype dtype)
{
    const run_setup s = m3_setup(fn, context, x, dtype);
    return run(&s);
}

void m3_whole(const void *by, const pal_tensor *in, pal_tensor *out)
{
    const m3_by *w = by;
    m3_outputs(m3_call(in, m3_options(w->p, w->mode, in)), out);
}

run_result m3_run(const m3_problem *p, const pal_array *x, pal_dtype dtype, pal_rule_mode mode)
{
    const m3_by w = {p, mode};
    return m3_run_by(m3_whole, &w, x, dtype);
}

void m3_slice(const pal_tensor *in, int64_t from, int64_t to, const pal_rule_out *state,
              pal_tensor *part)
{
    memcpy(part, in, RULE_INPUTS * sizeof *part);
    for (int i = M3_X; i <= M3_C; i++) part[i] = pal_slice(in[i], 1, from, to, 1);
    part[IN_STATE] = state->state;
    for (int i = 0; i < PAL_RULE_STATES - 1; i++) part[IN_MORE + i] = state->more[i];
}
