/* squares.h - sums of squares that stay in range while the numbers and the root do. */
#ifndef PAL_SQUARES_H
#define PAL_SQUARES_H

#include "tensor/tensor.h"

/*
 * The value sum * 4^exponent. The exponent is 0 while the squares are in a double's range, so such
 * sums have the bits of a plain sum. Squares of f32 always are; those of f64 leave the range below
 * 1e-144 and above 1e144.
 */
typedef struct pal_squares {
    double sum;
    int exponent;
} pal_squares;

/* The sum of the squares of n contiguous elements (PAL_F32 or PAL_F64), by the kernel sum_square.
 */
pal_squares pal_squares_of(pal_dtype dtype, int64_t n, const void *x);
/* a += b */
void pal_squares_add(pal_squares *a, pal_squares b);
/* The square root of the value; it overflows only if the root does. */
double pal_squares_root(pal_squares s);
/* The value as a double, which may be 0 or infinite. */
double pal_squares_value(pal_squares s);
/* Whether a plain sum of squares has lost nothing: it is neither too small nor too large. */
static inline bool pal_squares_fit(double sum) { return sum >= 0x1p-960 && sum <= 0x1p960; }

#endif
