/*
 * shape.h - small helpers on shapes, axes and gradients that several operations share.
 */
#ifndef PAL_OPS_SHAPE_H
#define PAL_OPS_SHAPE_H

#include "autograd/internal.h"

/* axis counted from the front, or -1 if it is not an axis of ndim dimensions. */
static inline int pal_axis(int axis, int ndim)
{
    int i = axis < 0 ? axis + ndim : axis;
    return i >= 0 && i < ndim ? i : -1;
}

/* For views: the node of x if a view of it can be made. Otherwise the error is reported for the
 * operation, and it returns NULL. */
pal_node *pal_viewable(pal_tensor x, const char *op);
/* What an operation on x returns after an error. */
pal_tensor pal_failed(pal_tensor x);

/* For infer: the error for an axis that x does not have. */
pal_status pal_axis_error(pal_call *call, int axis, const pal_array *x);

/* Whether input i wanted a gradient when the call was made. */
bool pal_call_wanted(const pal_call *call, int i);
/* For infer: the error if it did, where the operation has none for this input. */
pal_status pal_check_constant(pal_call *call, int i);

/* For infer: PAL_OK if all elements of the i64 input i are in 0..n-1, else an error that
 * names one. */
pal_status pal_check_indices(pal_call *call, int i, int64_t n);

/* dst = src, which broadcasts to dst (infer has checked this). */
void pal_array_assign(const pal_array *dst, const pal_array *src);
/* Whether a view of memory of `count` elements has each of them once, in whatever order of axes. */
bool pal_array_has_all(const pal_array *view, int64_t count);

/* Adds g, which broadcasts to in[i], to din[i], or overwrites din[i] if pal_call_fresh. It does
 * nothing if the gradient is not wanted. */
void pal_give_gradient(const pal_call *call, int i, const pal_array *g);

/* The view of `count` entries start, start + step, ... of one axis; step may be negative. */
pal_array pal_axis_range(const pal_array *a, int axis, int64_t start, int64_t count, int64_t step);

#endif
