/*
 * reduce.h - the one loop behind every reduction: an operation says how a run of elements is added
 * to a partial result and how partial results are merged.
 */
#ifndef PAL_OPS_REDUCE_H
#define PAL_OPS_REDUCE_H

#include "autograd/ops/lines.h"
#include "autograd/ops/shape.h"

typedef struct pal_reduce_opts {
    int axis;
    bool keep;
} pal_reduce_opts;

/* Reals are reduced in double, integers in int64_t; `at` is where an extreme was found, -1 for
 * nowhere yet. */
typedef struct pal_partial {
    double real;
    int64_t integer, at;
} pal_partial;

/* A run of n elements, the first of which has index `first` along what is reduced. */
typedef struct pal_run {
    pal_dtype dtype;
    const pal_kernels *k; /* NULL for i64 */
    int64_t n, first;
    const void *x;
} pal_run;

/* `op` comes first, so that a call's op leads back here. */
typedef struct pal_reduce_op {
    pal_op op;
    bool integers, nonempty; /* takes i64; an empty axis is an error */
    bool indices;            /* the result is `at` */
    bool saves_at;           /* for backward */
    double start;            /* real of an empty partial result */
    void (*add)(pal_partial *p, const pal_run *run);
    void (*merge)(pal_partial *p, const pal_partial *q);
    /* The result of n elements; NULL: p->real itself. */
    double (*finish)(double real, int64_t n);
    /*
     * Plain sums of n doubles += elements or their squares: lets an axis that is not the innermost
     * be summed with vectors across the inner one. Offset in pal_kernels, 0 for none.
     */
    size_t across;
} pal_reduce_op;

/* infer and forward of such an operation; infer leaves room for a gradient of the output's shape in
 * backward's scratch. */
pal_status pal_reduce_infer(pal_call *call);
void pal_reduce_forward(const pal_call *call);
pal_tensor pal_reduce_apply(const pal_reduce_op *op, pal_tensor x, int axis, bool keep);

/* How many elements go into one result. */
int64_t pal_reduce_length(const pal_call *call);
/* y, which has the output's shape, stretched to that of the input. */
pal_array pal_reduce_spread(const pal_call *call, const pal_array *y);

/*
 * Backward where dx[i] depends on x[i], the result y and dy alone: calls f with runs of x, which
 * writes the contribution to dx.
 */
typedef void pal_reduce_d(const pal_kernels *k, int64_t n, const void *x, double y, double dy,
                          void *dx);
void pal_reduce_backward(const pal_call *call, pal_reduce_d *f);

#endif
