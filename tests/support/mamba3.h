/*
 * mamba3.h - a call of Mamba-3 in numbers: sizes, kinds of inputs, options; drawn and run.
 */
#ifndef PAL_TESTS_MAMBA3_H
#define PAL_TESTS_MAMBA3_H

#include "tests/support/rule_compare.h"

/* Inputs in the order of the call; the parts of the state are IN_STATE and IN_MORE .. IN_MORE + 2.
 */
enum {
    M3_X,
    M3_DT,
    M3_G,
    M3_LAM,
    M3_OM,
    M3_B,
    M3_C,
    M3_B_BIAS,
    M3_C_BIAS,
    M3_D,
    M3_MIMO_X,
    M3_INPUTS
};

/* Zero is the default of every field but name and the sizes. */
typedef struct m3_problem {
    const char *name;
    int64_t B, T, H, G, N, P, J, R;
    rule_decay decay; /* of g */
    bool sharp;       /* lam exactly 0 or 1, and a third of dt 0 */
    double lam;       /* of all tokens, if not 0 */
    bool half;
    bool same_keys; /* Bm is the same at every token */
    bool bare;      /* no bias, D, mimo_x or state */
    bool no_state;
    int sequences; /* packed, if not 0 */
    int64_t offsets[MOST_SEQUENCES + 1];
    int64_t chunk;
    double scale;
} m3_problem;

/* f64 but exact in f32; data == NULL where absent. Free them by rule_inputs_free. */
void m3_draw(const m3_problem *p, uint64_t seed, pal_array x[RULE_INPUTS]);
/* The options of the problem, with the state among in[]; offsets come on in's tape. */
pal_rule_opts m3_options(const m3_problem *p, pal_rule_mode mode, const pal_tensor *in);
pal_rule_out m3_call(const pal_tensor *in, pal_rule_opts opts);
/* The rule on all tokens of the problem. */
run_result m3_run(const m3_problem *p, const pal_array *x, pal_dtype dtype, pal_rule_mode mode);
/* The same by another function. */
run_result m3_run_by(run_fn *fn, const void *context, const pal_array *x, pal_dtype dtype);
/* What both run, for tests that change it first. m3_run's function is m3_whole. */
run_setup m3_setup(run_fn *fn, const void *context, const pal_array *x, pal_dtype dtype);
typedef struct m3_by {
    const m3_problem *p;
    pal_rule_mode mode;
} m3_by;
void m3_whole(const void *by, const pal_tensor *in, pal_tensor *out);
/* o and the parts of the state into out. */
void m3_outputs(pal_rule_out r, pal_tensor *out);
/* Tokens from .. to - 1 of inputs, and this state. */
void m3_slice(const pal_tensor *in, int64_t from, int64_t to, const pal_rule_out *state,
              pal_tensor *part);

#endif
