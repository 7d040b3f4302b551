/*
 * reduce.h - the one loop behind every reduction. An operation says how elements are added to a
 * partial result and how partial results are merged.
 */
#ifndef PAL_OPS_REDUCE_H
#define PAL_OPS_REDUCE_H

#include "autograd/ops/lines.h"
#include "autograd/ops/shape.h"

typedef struct pal_reduce_opts {
    int axis;
    bool keep;
} pal_reduce_opts;

/* Reals are reduced in double, integers in int64_t. `at` is the index of an extreme; -1:
 * none yet. `exponent` is that of a sum of squares (tensor/squares.h). */
typedef struct pal_partial {
    double real;
    int64_t integer, at;
    int exponent;
} pal_partial;

/* n contiguous elements. The first has index `first` along the reduced axis. */
typedef struct pal_reduce_elements {
    pal_dtype dtype;
    const pal_kernels *k; /* NULL for i64 */
    int64_t n, first;
    const void *x;
} pal_reduce_elements;

/* `op` comes first, so that a pointer to it is a pointer to the whole. */
typedef struct pal_reduce_op {
    pal_op op;
    bool integers, nonempty; /* takes i64; an empty axis is an error */
    bool indices;            /* the result is `at` */
    bool saves_at;           /* for backward */
    double start;            /* real of an empty partial result */
    void (*add)(pal_partial *p, const pal_reduce_elements *elements);
    void (*merge)(pal_partial *p, const pal_partial *q);
    /* The result for n elements; NULL: it is p->real. */
    double (*finish)(const pal_partial *p, int64_t n);
    /*
     * For plain sums of elements or squares: the kernel that adds to n doubles. With it the loop
     * can sum an axis that is not the innermost, with vectors along the inner axis. It is an offset
     * in pal_kernels; 0: none.
     */
    size_t across;
    bool squares; /* sums of f64 that do not fit (pal_squares_fit) are added again by `add` */
} pal_reduce_op;

/* infer and forward of such an operation. infer also asks for scratch for backward, with room for a
 * gradient of the output's shape. */
pal_status pal_reduce_infer(pal_call *call);
void pal_reduce_forward(const pal_call *call);
pal_tensor pal_reduce_apply(const pal_reduce_op *op, pal_tensor x, int axis, bool keep);

/* The number of elements that go into one result. */
int64_t pal_reduce_length(const pal_call *call);
/* y, which has the output's shape, broadcast to the input's shape. */
pal_array pal_reduce_spread(const pal_call *call, const pal_array *y);

/*
 * Backward if dx[i] depends only on x[i], the result y and dy. It calls f for contiguous elements
 * of x, and f writes their contribution to dx.
 */
typedef void pal_reduce_d(const pal_kernels *k, int64_t n, const void *x, double y, double dy,
                          void *dx);
void pal_reduce_backward(const pal_call *call, pal_reduce_d *f);

#endif
