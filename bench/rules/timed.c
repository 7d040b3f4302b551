/*
 * timed.c - what a clock runs around: a rule in one direction, decoding, and a sweep over memory.
 *
 * Inputs are copied onto the tape as leaves before the clock starts: then their gradients lie on
 * the tape and are written, not added to, as those of the activations that a layer would pass.
 */
#include "bench/rules/rules.h"

double job_run(void *context)
{
    job *j = context;
    bool train = j->direction != FORWARD, backward = j->direction == FORWARD_BACKWARD;
    pal_tensor in[INPUTS], cotangent = PAL_NONE;
    pal_tape_reset(j->tape);
    pal_set_grad(j->tape, train);
    leaves(j->tape, j->s, PAL_F32, train, in);
    if (backward) cotangent = leaf(j->tape, j->s->cotangent[0], PAL_F32, false);
    size_t before = pal_tape_memory(j->tape).live;

    double start = seconds();
    pal_tensor o = pal_rule_call(j->s->rule, in, subject_opts(j->s, j->opts, NULL)).o;
    if (backward && pal_tape_status(j->tape) == PAL_OK) pal_backward_from(1, &o, &cotangent);
    double time = seconds() - start;

    j->bytes = pal_tape_memory(j->tape).peak - before;
    return pal_tape_status(j->tape) == PAL_OK ? time : -1;
}

/* ---- Decoding ---- */

decoder decoder_new(const subject *s, int threads)
{
    decoder d = {.s = s, .threads = threads, .tape = pal_tape_new(), .store = pal_params_new()};
    pal_set_grad(d.tape, false);
    for (int i = 0; i < LAYERS; i++) {
        for (int j = 0; j < states(s->rule); j++) {
            char name[32];
            snprintf(name, sizeof name, "state.%d.%d", i, j);
            d.state[i][j] = pal_keep(d.store, name, leaf(d.tape, s->state[j], PAL_F32, false));
        }
    }
    return d;
}

void decoder_free(decoder *d)
{
    pal_params_free(d->store);
    pal_tape_free(d->tape);
}

double decoder_run(void *context)
{
    decoder *d = context;
    pal_tensor in[INPUTS];
    pal_tape_reset(d->tape);
    leaves(d->tape, d->s, PAL_F32, false, in);

    double start = seconds();
    for (int i = 0; i < PASSES * LAYERS; i++)
        pal_rule_call(d->s->rule, in,
                      subject_opts(d->s, (pal_rule_opts){.in_place = true}, d->state[i % LAYERS]));
    double time = seconds() - start;

    return pal_tape_status(d->tape) == PAL_OK ? time : -1;
}

/* With the widest vectors there are, as a kernel would have; half as wide is a quarter slower. */
__attribute__((target_clones("avx512f", "avx2", "default"))) static void scale_and_shift(float *x,
                                                                                         int64_t n,
                                                                                         float a,
                                                                                         float b)
{
    for (int64_t i = 0; i < n; i++) x[i] = a * x[i] + b;
}

/* The shift has a second use: states that only ever decay would end in slow denormal numbers. */
double decoder_sweep(void *context)
{
    decoder *d = context;
    float *x[LAYERS];
    int64_t n = pal_count(d->state[0][0]);
    for (int i = 0; i < LAYERS; i++) x[i] = pal_edit(d->state[i][0]).data;

    double start = seconds();
    for (int pass = 0; pass < PASSES; pass++) {
#pragma omp parallel for schedule(static) num_threads(d->threads)
        for (int i = 0; i < LAYERS; i++) scale_and_shift(x[i], n, 0.999f, 0.001f);
    }
    return seconds() - start;
}
