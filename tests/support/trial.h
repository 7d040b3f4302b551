/*
 * trial.h - a function of parameters and an input, run forward and backward, and what came of it.
 * For tests that hold two ways of computing the same thing against each other.
 */
#ifndef PAL_TESTS_TRIAL_H
#define PAL_TESTS_TRIAL_H

#include "layers/layers.h"

enum { TRIAL_OUTPUTS = 8, TRIAL_VALUES = 160 };

/* Makes outputs on the tape from x (PAL_NONE if the trial has none); returns their number. */
typedef int trial_fn(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out);

typedef struct trial {
    trial_fn *fn;
    const void *context;
    pal_params *params;
    pal_dtype dtype;
    const pal_array *x; /* f64; NULL: none */
} trial;

/* Contiguous f64 arrays: the outputs; then, under a loss with random cotangents on every output,
 * the gradients of x, if there is one, and of every parameter in order. */
typedef struct trial_result {
    int outputs, count;
    const char *name[TRIAL_VALUES]; /* "output", "x" or a parameter's */
    pal_array value[TRIAL_VALUES];
} trial_result;

trial_result trial_run(const trial *t);
void trial_free(trial_result *r);
/* The largest relative error (run_error) of values `from` to `to` - 1; what is 0 in one should be
 * so in the other. *worst (may be NULL): its name. */
double trial_distance(const trial_result *r, const trial_result *ref, int from, int to,
                      const char **worst);
/* Fails the test unless outputs and gradients are within these distances. */
void trial_agree(const trial_result *r, const trial_result *ref, double outputs, double gradients,
                 const char *text);

/* Random parameters, exact in f32: of the order of 1, with a decay that lets the state live over
 * some ten tokens. */
void trial_draw(pal_params *params, uint64_t seed);
/* A contiguous f64 array of numbers within -1 .. 1, exact in f32; data is for the caller to free.
 */
pal_array trial_input(uint64_t seed, pal_shape shape);

/* A mixer on parameters of its own. */
typedef struct trial_layer {
    pal_params *params;
    pal_mixer *mixer;
} trial_layer;
trial_layer trial_layer_new(const char *text, int64_t width, pal_dtype dtype, uint64_t seed);

#endif
