/*
 * rule_problem.h - a call of a rule in numbers: sizes, kinds of inputs, options. From one problem
 * come the inputs of any rule, so that a table of problems is a table for all of them.
 */
#ifndef PAL_TESTS_RULE_PROBLEM_H
#define PAL_TESTS_RULE_PROBLEM_H

#include "tests/support/rules.h"

/* Inputs of a call: those of the rule in its order, then these. */
enum {
    IN_STATE = PAL_TEST_RULE_INPUTS,
    IN_A_LOG,
    IN_DT_BIAS,
    IN_MORE, /* the other parts of the state */
    RULE_INPUTS = IN_MORE + PAL_RULE_STATES - 1
};

/* The log-decay g; for Mamba-2 dt and A are such that A dt is that. */
typedef enum rule_decay {
    DECAY_MILD,      /* uniform in (-1, 0] */
    DECAY_ZERO,      /* 0 */
    DECAY_20,        /* -20 */
    DECAY_1E12,      /* 1e-12 a token */
    DECAY_HALF,      /* half of the entries 0, the others mild */
    DECAY_WIDE,      /* uniform in (-316, 0] */
    DECAY_FIRST,     /* -90 at the first token, then 0 */
    DECAY_TENTH,     /* one entry in ten -316, the others mild */
    DECAY_INFINITE,  /* one entry in ten -inf (not for Mamba-2), the others mild */
    DECAY_ABSENT,    /* PAL_NONE */
    DECAY_ACTIVATION /* not g but the f of pal_log_decay, with A_log and dt_bias */
} rule_decay;

typedef enum rule_gates {
    GATES_INSIDE,    /* b, w, beta (Mamba-2: dt) uniform in [0, 1) */
    GATES_SATURATED, /* 0 or 1 */
    GATES_ONE        /* 1 */
} rule_gates;

typedef enum rule_keys {
    KEYS_UNIT, /* rows of q and k have norm 1 */
    KEYS_SAME, /* and all of k are one row */
    KEYS_RAW,  /* rows of any length, for opts.normalize */
    KEYS_TINY  /* the same with every third row 0 and every third of norm 1e-4 */
} rule_keys;

enum { MOST_SEQUENCES = 8 };

/* Zero is the default of every field but name and the sizes. */
typedef struct rule_problem {
    const char *name;
    int64_t B, T, H, HV, K, V;
    rule_decay decay;
    rule_gates gates;
    rule_keys keys;
    int64_t gate_heads; /* of g, b and beta; 0: H for GDN-2, HV for KDA, GDN and DeltaNet */
    int sequences;      /* packed, if not 0 */
    int64_t offsets[MOST_SEQUENCES + 1];
    bool no_state;       /* no initial state */
    bool state_constant; /* its gradient is not wanted */
    bool state_loss;     /* a loss on the final state alone */
    bool output_loss;    /* a loss on the output alone */
    int64_t chunk, keep_every;
    double scale, lower_bound;
    bool normalize;
} rule_problem;

/* Inputs of the rule, f64 but exact in f32, data == NULL where absent. The decay of a rule that has
 * none is left out. */
void rule_draw(const rule_problem *p, int rule, uint64_t seed, pal_array x[RULE_INPUTS]);
void rule_inputs_free(pal_array x[RULE_INPUTS]);
/* The axis of time and that of heads of an input; -1: it has none. */
int rule_time_axis(int input, const pal_array *x);
int rule_head_axis(int input, const pal_array *x);

/* The options of the problem, with the inputs beyond the rule's own; offsets come on in's tape. */
pal_rule_opts rule_options(const rule_problem *p, pal_rule_mode mode,
                           const pal_tensor in[RULE_INPUTS]);

#endif
