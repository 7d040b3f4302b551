/*
 * rule_compare.h - runs functions of tensors, forward and backward, and compares what they give.
 */
#ifndef PAL_TESTS_RULE_COMPARE_H
#define PAL_TESTS_RULE_COMPARE_H

#include "tests/support/isa.h"
#include "tests/support/rule_problem.h"

enum {
    RUN_OUTPUTS = 2,
    RUN_MORE = RUN_OUTPUTS + RULE_INPUTS, /* the other parts of the final state */
    RUN_VALUES = RUN_MORE + PAL_RULE_STATES - 1
};

/* Outputs o and the parts of the state, from inputs of which some may be PAL_NONE. */
typedef void run_fn(const void *context, const pal_tensor *in, pal_tensor *out);

typedef struct run_setup {
    run_fn *fn;
    const void *context;
    const pal_array *x;       /* RULE_INPUTS of them */
    const char *const *input; /* names of the first ones, for messages */
    pal_dtype dtype;
    uint32_t constant; /* bit i: the gradient of x[i] is not wanted */
    bool state_loss;   /* no loss on o */
    bool output_loss;  /* no loss on the state */
    bool angles;       /* the second part of the state is angles: it counts modulo 2 pi */
} run_setup;

/*
 * Contiguous f64 arrays: o, state, its other parts, and the gradients, under a loss with random
 * cotangents, of every input that is present and not constant; the others have data == NULL.
 */
typedef struct run_result {
    pal_dtype dtype; /* of the run */
    bool angles;     /* as in the setup */
    pal_array value[RUN_VALUES];
    const char *name[RUN_VALUES]; /* "o", "state", "k", ...: that of a gradient is its input's */
} run_result;

/* Errors of the library end the test. */
run_result run(const run_setup *setup);
void run_free(run_result *r);

/* The rule itself on a problem's inputs. */
run_result run_rule(const rule_problem *p, int rule, const pal_array *x, pal_dtype dtype,
                    pal_rule_mode mode);

/* A tensor as a contiguous f64 array, whose data is for the caller to free. */
pal_array run_doubles(pal_tensor t);

/* ||x - ref|| / ||ref||, without any floor: 0 if they are equal, infinite or NaN if ref is 0
 * throughout or one has a number that is not finite. */
double run_error(int64_t n, const double *x, const double *ref);
/* The mean of (x - ref) over the root mean square of ref: whether errors lean to one side. */
double run_bias(int64_t n, const double *x, const double *ref);
/* The largest of the errors of all values; *worst (may be NULL) says which one it is. Of an f32
 * run, what is below 1e-30 in both has underflowed and counts as equal. */
double run_distance(const run_result *r, const run_result *ref, const char **worst);
/* Fails the test unless the distance is at most the tolerance. */
void run_agree(const run_result *r, const run_result *ref, double tolerance, const char *format,
               ...) PAL_PRINTF(4, 5);
/* Fails the test unless all numbers are equal (and none is NaN). */
void run_identical(const run_result *r, const run_result *ref, const char *format, ...)
    PAL_PRINTF(3, 4);

/* ---- What the tests of the rules share ---- */

const char *rule_mode_name(pal_rule_mode mode);
/* main of a test program. */
struct TCase;
int rule_test_main(const char *name, void (*add)(struct TCase *tc));

#endif
