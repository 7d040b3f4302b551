/* targets.h - the targets of a classifier: the class of each row, some of which may be ignored. */
#ifndef PAL_OPS_TARGETS_H
#define PAL_OPS_TARGETS_H

#include "autograd/ops/lines.h"

typedef struct pal_targets {
    const pal_cross_entropy_opts *o;
    pal_lines lines;
    int64_t rows, counted; /* all rows, and the rows that are not ignored */
} pal_targets;

/*
 * For infer: PAL_OK if the options are valid, input i is i64 with the shape of in[0] without its
 * last axis, and every target that counts is below n; else the error.
 */
pal_status pal_targets_check(pal_call *call, const pal_cross_entropy_opts *o, int i, int64_t n);

pal_targets pal_targets_of(const pal_cross_entropy_opts *o, const pal_array *targets);

/* The class of a row, or -1 if it is ignored. */
int64_t pal_target(const pal_targets *t, int64_t row);

/* The factor of a row's loss: 1 for a sum, 1 / counted for a mean. */
double pal_targets_share(const pal_targets *t);

#endif
