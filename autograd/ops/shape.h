/*
 * shape.h - small helpers on shapes and axes that several operations share.
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

#endif
