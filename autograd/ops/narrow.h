/*
 * narrow.h - operations whose result only products read, so that it may be bf16.
 *
 * They compute as their public forms do in f32, and round each row of the result. Their gradients
 * are those of f32, as if nothing had been rounded.
 */
#ifndef PAL_OPS_NARROW_H
#define PAL_OPS_NARROW_H

#include "autograd/autograd.h"

/* The dtype for what only products read: bf16 if x is f32 and its tape multiplies in bf16, else
 * x's. */
pal_dtype pal_narrow_dtype(pal_tensor x);

/* dtype: PAL_BF16 with f32 inputs, or that of x. */
pal_tensor pal_rms_norm_as(pal_tensor x, pal_tensor weight, double eps, pal_dtype dtype);
pal_tensor pal_swiglu_as(pal_tensor gate, pal_tensor up, pal_dtype dtype);

#endif
