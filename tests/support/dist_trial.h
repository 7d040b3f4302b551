/*
 * dist_trial.h - compares a function of sequences on the part of this rank with the function of
 * whole sequences, in programs that run under mpirun.
 */
#ifndef PAL_TESTS_DIST_TRIAL_H
#define PAL_TESTS_DIST_TRIAL_H

#include "tests/support/ranks.h"

/* The processes: each shares every sequence with all others. Set by the program. */
extern pal_dist *dist;

enum { DIST_RANKS = 8, DIST_SEQUENCES = 8, DIST_INPUTS = 16, DIST_OUTPUTS = 5 };

/* T tokens of B sequences, or packed ones, and where the parts of ranks begin. */
typedef struct dist_layout {
    int64_t B, T;
    int sequences; /* packed, if not 0 */
    int64_t offsets[DIST_SEQUENCES + 1];
    int64_t cut[DIST_RANKS + 1];
} dist_layout;

/* Cuts of kind i for these ranks; false: there is no such kind. */
bool dist_cut(dist_layout *l, int kind);

typedef enum dist_axis {
    DIST_TOKENS, /* [B,T,..] */
    DIST_STATES, /* [S,..]: a row a sequence */
    DIST_ALL     /* the same on every rank, and gradients are summed */
} dist_axis;

typedef struct dist_input {
    const char *name; /* NULL: the end */
    dist_axis axis;
    pal_array x; /* contiguous, f64 or i64; data == NULL: PAL_NONE */
} dist_input;

/* Outputs: the first is [B,T,..], the others are [S,..]. Returns how many. */
typedef int dist_fn(const void *context, pal_tape *tape, const pal_tensor *in, pal_run_opts run,
                    pal_tensor *out);

/*
 * Runs the function on whole sequences and on this rank's part, for every way to cut the layout,
 * forward and backward from random cotangents; expects outputs, the states of sequences that end
 * here, and gradients of inputs and parameters to be those of the whole within 1e-10. States of
 * sequences that began elsewhere are given as 7 and must not count. With f32 the function gets
 * inputs of that dtype, the parameters have it, and the bound is 1e-5.
 */
typedef struct dist_trial {
    const char *name;
    const dist_layout *layout;
    const dist_input *input;
    dist_fn *fn;
    const void *context;
    pal_params *params; /* may be NULL */
    pal_rule_mode mode;
    bool f32;
    int angles; /* the output that is angles, which count modulo 2 pi; 0: none */
} dist_trial;
void dist_run(const dist_trial *t);

#endif
