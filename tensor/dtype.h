/*
 * dtype.h - what depends on the element type, in one place.
 *
 * Code that treats types differently switches over all of pal_dtype without a default and ends in
 * pal_dtype_unknown. So the compiler names every place that a new type has to visit, and until then
 * no place takes the new type for another one. Users never get so far: whatever makes a tensor
 * refuses a number that is no dtype, and infer functions refuse types that they do not take.
 */
#ifndef PAL_TENSOR_DTYPE_H
#define PAL_TENSOR_DTYPE_H

#include "tensor/tensor.h"
#include <string.h>

/* Prints the function and the type, and aborts: elements would be misread. */
_Noreturn void pal_dtype_unknown(pal_dtype dtype, const char *function);

/* Whether it is one of the types at all. */
bool pal_dtype_known(pal_dtype dtype);
/* Whether it is a real type: one that vector kernels, gradients and parameters have. */
bool pal_dtype_real(pal_dtype dtype);
/* Whether a gradient passes through tensors of this type: the real types and bf16. */
bool pal_dtype_carries(pal_dtype dtype);
/* The type of the gradient: f32 for bf16, else the type itself. */
pal_dtype pal_gradient_dtype(pal_dtype dtype);

/* The place of a real type in a table: 0 for f32, 1 for f64. */
enum { PAL_REALS = 2 };
int pal_real_index(pal_dtype dtype);

/* Toward zero; NaN becomes 0 and what does not fit the nearest end, where C leaves it undefined. */
static inline int64_t pal_to_i64(double x)
{
    if (!(x == x)) return 0;
    if (x >= 0x1p63) return INT64_MAX;
    if (x <= -0x1p63) return INT64_MIN;
    return (int64_t)x;
}

/* ---- bf16 as bits ---- */

static inline float pal_bf16_to_f32(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Rounded to the nearest, ties to even. A NaN keeps its sign and upper bits, and stays a NaN. */
static inline uint16_t pal_bf16_from_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    const uint32_t nan = bits >> 16 | ((bits & 0x7f0000) == 0 ? 0x40 : 0);
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}

/* x as a float whose last bit says whether anything was cut off. A second rounding to fewer bits
 * is then as if there had been only one (Boldo, Melquiond 2005). */
static inline float pal_f64_to_odd(double x)
{
    float y = (float)x;
    uint32_t bits;
    memcpy(&bits, &y, sizeof bits);
    if (x != x || (double)y == x) return y;
    if ((double)y > x ? x > 0 : x < 0) bits--; /* it was rounded away from zero */
    bits |= 1;
    memcpy(&y, &bits, sizeof y);
    return y;
}

/* The same for an integer. */
static inline float pal_i64_to_odd(int64_t x)
{
    const bool far = x > INT64_C(1) << 52 || x < -(INT64_C(1) << 52);
    /* the bits that a double has no room for are kept as one bit that is set */
    const int64_t near = far ? (x & ~INT64_C(0xfff)) | ((x & 0xfff) != 0 ? 0x800 : 0) : x;
    return pal_f64_to_odd((double)near);
}

/* ---- One element ---- */

/* Element i of a run as a double. */
static inline double pal_element_get(pal_dtype dtype, const void *x, int64_t i)
{
    switch (dtype) {
    case PAL_F32:
        return (double)((const float *)x)[i];
    case PAL_F64:
        return ((const double *)x)[i];
    case PAL_I64:
        return (double)((const int64_t *)x)[i];
    case PAL_BF16:
        return (double)pal_bf16_to_f32(((const uint16_t *)x)[i]);
    }
    pal_dtype_unknown(dtype, __func__);
}

/* A double into element i of a run: rounded once to f32 or bf16, toward zero to i64. */
static inline void pal_element_set(pal_dtype dtype, void *x, int64_t i, double value)
{
    switch (dtype) {
    case PAL_F32:
        ((float *)x)[i] = (float)value;
        return;
    case PAL_F64:
        ((double *)x)[i] = value;
        return;
    case PAL_I64:
        ((int64_t *)x)[i] = pal_to_i64(value);
        return;
    case PAL_BF16:
        ((uint16_t *)x)[i] = pal_bf16_from_f32(pal_f64_to_odd(value));
        return;
    }
    pal_dtype_unknown(dtype, __func__);
}

/* Adds a double, rounded to the type first, to element i of a run of reals. */
static inline void pal_element_add(pal_dtype dtype, void *x, int64_t i, double value)
{
    switch (dtype) {
    case PAL_F32:
        ((float *)x)[i] += (float)value;
        return;
    case PAL_F64:
        ((double *)x)[i] += value;
        return;
    case PAL_I64:
    case PAL_BF16:
        break;
    }
    pal_dtype_unknown(dtype, __func__);
}

/* y[i] = x[i * stride], and y[i * stride] = x[i], for n elements of any type. */
void pal_run_gather(pal_dtype dtype, int64_t n, const void *x, int64_t stride, void *y);
void pal_run_scatter(pal_dtype dtype, int64_t n, const void *x, void *y, int64_t stride);
/* Adds a run of n reals to every stride-th element at y. */
void pal_run_add(pal_dtype dtype, int64_t n, const void *x, void *y, int64_t stride);

#endif
