/* targets.h - the targets of a classifier: the class of each row, some of which may be ignored. */
#ifndef PAL_OPS_TARGETS_H
#define PAL_OPS_TARGETS_H

#include "autograd/ops/lines.h"

typedef struct pal_targets {
    const pal_cross_entropy_opts *o;
    pal_lines lines, weights; /* weights.data == NULL: every row weighs 1 */
    int64_t rows;
    double total; /* the weights of the rows that are not ignored */
} pal_targets;

/*
 * For infer: PAL_OK if the options are valid, input i is i64 with the shape of in[0] without its
 * last axis, every target that counts is below n, and input i + 1, if there is one, has a weight
 * for each target; else the error.
 */
pal_status pal_targets_check(pal_call *call, const pal_cross_entropy_opts *o, int i, int64_t n);

pal_targets pal_targets_of(const pal_call *call, const pal_cross_entropy_opts *o, int i);

/* The class of a row, or -1 if it is ignored. */
int64_t pal_target(const pal_targets *t, int64_t row);

/* Its weight. */
double pal_target_weight(const pal_targets *t, int64_t row);

/* The factor of a row's weighted loss: 1 / total for a mean, else 1. */
double pal_targets_share(const pal_targets *t);

/* For infer of any loss: PAL_OK if all elements of input i are finite and not negative, and it
 * needs no gradient; else the error. */
pal_status pal_weights_check(pal_call *call, int i);

#endif
