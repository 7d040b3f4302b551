/*
 * rules.h - what the parts of bench/rules share.
 *
 * From the bottom up: subject.c is what can be timed (rules and their inputs), options.c the
 * command line, timed.c one run of a rule or of decoding,
 * stages.c where the time of a chunk goes, validate.c the comparison with f64 that comes first.
 * bench/rules.c puts them together.
 */
#ifndef PAL_BENCH_RULES_H
#define PAL_BENCH_RULES_H

#include "bench/measure/measure.h"

#include <stdio.h>

/* ---- Rules and their inputs (subject.c) ---- */

/* For Mamba-2 and Mamba-3 K is the state size N, V the head's width P, and there is one group. R is
 * the rows of a token, which only Mamba-3 has; 0: 1. */
typedef struct dims {
    int64_t B, T, H, K, V, R;
} dims;

enum {
#define PAL_RULE(name, test) RULE_##name,
#include "layers/layers.def"
    RULES
};
enum { INPUTS = 12 }; /* operands of a rule, at most */

int operands(const pal_rule *r);
/* The i of pal_rule_at. */
int number_of(const pal_rule *r);

/* A rule and its inputs; all f32, on a tape for data. */
typedef struct subject {
    const pal_rule *rule;
    dims d;
    pal_tensor in[INPUTS], state[PAL_RULE_STATES]; /* the parts of the state */
    pal_pair pair;
    pal_tensor cotangent[2]; /* of o and of the final state */
} subject;
subject subject_draw(pal_tape *data, const pal_rule *r, dims d);

/* A leaf with the values of x, on another tape or of another dtype; want: its gradient is wanted.
 */
pal_tensor leaf(pal_tape *tape, pal_tensor x, pal_dtype dtype, bool want);
/* The parts of its state. */
int states(const pal_rule *r);
/* The options of its calls, with this state. */
pal_rule_opts subject_opts(const subject *s, pal_rule_opts opts, const pal_tensor *state);
/* A leaf for each input of the rule. */
void leaves(pal_tape *tape, const subject *s, pal_dtype dtype, bool want, pal_tensor in[INPUTS]);

/* ---- The command line (options.c) ---- */

typedef enum direction { FORWARD, FORWARD_TRAIN, FORWARD_BACKWARD, DECODE, DIRECTIONS } direction;
enum { MODES = PAL_RULE_CHUNK + 1, MAX_LIST = 8 };

/* NULL: there is no such mode or direction. */
const char *mode_name(int i);
const char *direction_name(int i);

typedef struct list { /* as keys have it (tensor/keys.h) */
    int64_t n;
    int64_t at[MAX_LIST];
} list;

typedef struct options {
    unsigned rules, modes, directions; /* bit i: number i of its table is asked for */
    int64_t B, H, K, V;                /* 0: not given */
    list T;                            /* empty: not given */
    list chunk, threads;
    int64_t keep_every;
    int runs;
    const char *csv;
    bool directions_given, shape_given, long_run, quick, bf16;
} options;
/* Reads the command line and fills in defaults. A wrong command line ends the program. */
options options_parse(int argc, char **argv);

/* ---- A rule, timed (timed.c) ---- */

/* One call of a rule in one direction, on a tape that is reset between runs. */
typedef struct job {
    const subject *s;
    direction direction;
    pal_rule_opts opts;
    pal_tape *tape; /* its precision is set */
    size_t bytes;   /* out: the most that the call has added to the tape */
} job;
timed_fn job_run;

/* Decoding: one token through each of LAYERS states in turn, PASSES times in a run. */
enum { LAYERS = 24, PASSES = 8 };
typedef struct decoder {
    const subject *s;
    int threads;
    pal_tape *tape;
    pal_params *store;
    pal_tensor state[LAYERS][PAL_RULE_STATES];
} decoder;
decoder decoder_new(const subject *s, int threads);
void decoder_free(decoder *d);
timed_fn decoder_run;
/* What memory allows: x = a x + b over the same states, as often as decoder_run goes over them. */
timed_fn decoder_sweep;

/* ---- Stages (stages.c) ---- */

/* A line on which part of forward and backward each kernel takes, on one thread; false: no memory.
 */
bool stages_print(FILE *const *files, int n, const subject *s, int64_t chunk);

/* ---- Validation (validate.c) ---- */

/*
 * Whether a mode of a rule (auto stands for decoding in place, token by token) agrees with the
 * composed rule in f64: outputs and final state with gradients off, and outputs, state and all
 * gradients with gradients on; at 1e-10 in f64 and 2e-5 in f32, for each chunk size. Prints a line.
 */
bool validate(const pal_rule *r, pal_rule_mode mode, const list *chunk);

#endif
