/* squares.c - sums of squares with an exponent of their own. */
#include "tensor/squares.h"
#include "tensor/kernels.h"

#include <math.h>

/* Scales by the power of two of the largest element, which changes no digits. */
static pal_squares scaled_squares(int64_t n, const double *x, double plain)
{
    double largest = 0;
    int exponent;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(x[i]));
    if (largest == 0 || !isfinite(largest) || isnan(plain)) return (pal_squares){plain, 0};
    frexp(largest, &exponent);
    pal_squares s = {0, exponent};
    for (int64_t i = 0; i < n; i++) {
        const double v = scalbn(x[i], -exponent);
        s.sum += v * v;
    }
    return s;
}

pal_squares pal_squares_of(pal_dtype dtype, int64_t n, const void *x)
{
    const double sum = pal_kernels_for(dtype)->sum_square(n, x);
    if (dtype == PAL_F64 && !pal_squares_fit(sum)) return scaled_squares(n, x, sum);
    return (pal_squares){sum, 0};
}

void pal_squares_add(pal_squares *a, pal_squares b)
{
    if (b.sum == 0) return;
    if (a->sum == 0) {
        *a = b;
    } else if (a->exponent >= b.exponent) {
        a->sum += scalbn(b.sum, 2 * (b.exponent - a->exponent));
    } else {
        a->sum = scalbn(a->sum, 2 * (a->exponent - b.exponent)) + b.sum;
        a->exponent = b.exponent;
    }
}

double pal_squares_root(pal_squares s) { return scalbn(sqrt(s.sum), s.exponent); }

double pal_squares_value(pal_squares s) { return scalbn(s.sum, 2 * s.exponent); }
