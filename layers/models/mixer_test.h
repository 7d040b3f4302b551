/*
 * mixer_test.h - what the checks of pal_mixer_test share.
 */
#ifndef PAL_MODELS_MIXER_TEST_H
#define PAL_MODELS_MIXER_TEST_H

#include "layers/models/lm.h"

enum { PAL_TRIAL_ROWS = 2, PAL_TRIAL_TOKENS = 7 };

/* What is tested, and what became of it. */
typedef struct pal_mixer_trial {
    const char *text;
    int64_t width;
    double tolerance;
    FILE *report;
    unsigned refuses; /* of the mixer */
    int failed;
    bool raised; /* the library reported an error since the last line of the report */
    pal_error error;
} pal_mixer_trial;

/* The mixer of one check, with a tape of its own. */
typedef struct pal_trial {
    const pal_mixer_trial *of;
    pal_dtype dtype;
    pal_params *params;
    pal_mixer *mixer;
    pal_tape *tape;
} pal_trial;

/* Numbers, one after another. */
typedef struct pal_numbers {
    double *x;
    int64_t n;
} pal_numbers;
/* Adds those of a tensor, if it is not PAL_NONE. */
void pal_numbers_add(pal_numbers *all, pal_tensor t);
/* The largest difference, as a share of the largest of b; infinite if there is nothing to compare.
 */
double pal_numbers_apart(const pal_numbers *a, const pal_numbers *b);

/* n numbers in -1..1 that f32 holds exactly. */
double *pal_trial_draw(uint64_t stream, int64_t n);
/* Makes the mixer with parameters that are the same each time; false after an error. */
bool pal_trial_make(pal_trial *t, const pal_mixer_trial *of, pal_dtype dtype);
void pal_trial_free(pal_trial *t);
/* A leaf that wants a gradient. */
pal_tensor pal_trial_input(pal_trial *t, pal_shape shape, const double *x);
/* Tokens first .. last - 1 of the first rows of the input, [rows,last-first,d]. */
pal_tensor pal_trial_tokens(pal_trial *t, int64_t rows, int64_t first, int64_t last);
/* A weighted sum of y and of the parts of the state. */
pal_tensor pal_trial_loss(pal_trial *t, pal_tensor y, const pal_mixer_state *state);
/* Writes a line of the report: the error of `what` should be at most `most`. */
void pal_trial_said(pal_mixer_trial *of, const char *what, double error, double most);

/* Gradients of x, of the state, and of every parameter against differences of the loss. */
void pal_trial_gradients(pal_mixer_trial *of);
/* A model of two such layers: decoding, a state in a file, recomputation. */
void pal_trial_models(pal_mixer_trial *of);
/* Sequences over 2 and 3 ranks, which are threads, against whole ones. (mixer_ranks.c) */
void pal_trial_ranks(pal_mixer_trial *of);

#endif
