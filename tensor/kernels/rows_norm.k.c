/*
 * rows_norm.k.c - RMS norm, L2 norm and layer norm of one row, with their gradients.
 *
 * Sums and the numbers derived from them are in double (reduce.k.c). Only the final elements of a
 * row are rounded to its type. Where squares or their reciprocals leave the range, range.k.h takes
 * over.
 */
#include "tensor/kernels/kernels.k.h"
#include "tensor/kernels/range.k.h"
#include <math.h>

/* y = x factor weight; weight may be NULL. */
static void scaled(int64_t n, const void *x, const void *weight, double factor, void *y)
{
    const R f = (R)factor;
    if (weight)
        for (int64_t i = 0; i < n; i += VL) st(y, i, n, ld(x, i, n) * f * ld(weight, i, n));
    else
        for (int64_t i = 0; i < n; i += VL) st(y, i, n, ld(x, i, n) * f);
}

double K(rms_norm_row)(int64_t n, const void *x, const void *weight, double eps, void *y)
{
    double r = inverse_root(K(dot)(n, x, x), (double)n, eps, n, x, 0);
    scaled(n, x, weight, r, y);
    return r;
}

double K(l2_norm_row)(int64_t n, const void *x, const void *weight, double eps, void *y)
{
    double r = inverse_root(K(dot)(n, x, x), 1, eps, n, x, 0);
    scaled(n, x, weight, r, y);
    return r;
}

/* sum x weight dy; weight may be NULL. */
static double weighted_dot(int64_t n, const void *x, const void *weight, const void *dy)
{
    VD s = {0};
    if (!weight) return K(dot)(n, x, dy);
    for (int64_t i = 0; i < n; i += DL)
        s += ld_double(x, i, n) * ld_double(weight, i, n) * ld_double(dy, i, n);
    return hsum(s);
}

/* dx = r (weight dy - x r^2 c), c = the sum of x weight dy divided by count: 1 (l2) or n (rms). */
static void d_scaled(int64_t n, const void *x, const void *weight, double r, double count,
                     const void *dy, void *dx)
{
    const double c = weighted_dot(n, x, weight, dy) / count;
    const R f = (R)r, slope = (R)(r * r * r * c);
    if (!slope_fits(r, c, r * r * r * c, n, weight, dy)) {
        rescaled_slope(n, x, weight, r, count, dy, dx);
        return;
    }
    for (int64_t i = 0; i < n; i += VL) {
        V g = ld(dy, i, n);
        if (weight) g *= ld(weight, i, n);
        st(dx, i, n, vfma(g, splat(f), -slope * ld(x, i, n)));
    }
}

void K(d_rms_norm_row)(int64_t n, const void *x, const void *weight, double r, const void *dy,
                       void *dx)
{
    d_scaled(n, x, weight, r, (double)n, dy, dx);
}

void K(d_l2_norm_row)(int64_t n, const void *x, const void *weight, double r, const void *dy,
                      void *dx)
{
    d_scaled(n, x, weight, r, 1, dy, dx);
}

/* ---- Layer norm ---- */

/* sum (x - mean)^2. It takes a second pass, because sum x^2 - n mean^2 would lose digits. */
static double sum_centred(int64_t n, const void *x, double mean)
{
    VD s = {0};
    int64_t i = 0;
    for (; i + DL <= n; i += DL) {
        VD d = ld_double(x, i, n) - mean;
        s += d * d;
    }
    double rest = hsum(s);
    for (; i < n; i++) {
        double d = (double)((const R *)x)[i] - mean;
        rest += d * d;
    }
    return rest;
}

/* x - mean, where the mean is split into a number of type R and the rest. So the difference keeps
 * its digits when the mean is large. */
static inline V centred(V x, double mean)
{
    const R high = (R)mean, low = (R)(mean - (double)high);
    return (x - high) - low;
}

/* The mean of numbers whose sum is out of range. */
COLD double rescaled_mean(int64_t n, const void *x)
{
    double mean = 0;
    for (int64_t i = 0; i < n; i++) mean += at(x, i) / (double)n;
    return mean;
}

/* The mean of g (x - mean) r, where the sum of g (x - mean) is out of range. */
COLD double rescaled_product(int64_t n, const void *x, const void *weight, const double stats[2],
                             const void *dy)
{
    double p = 0;
    for (int64_t i = 0; i < n; i++)
        p += at(dy, i) * at_or_one(weight, i) * ((at(x, i) - stats[0]) * stats[1]);
    return p / (double)n;
}

void K(layer_norm_row)(int64_t n, const void *x, const void *weight, const void *bias, double eps,
                       void *y, double stats[2])
{
    double mean = K(sum)(n, x) / (double)n;
    if (!isfinite(mean)) mean = rescaled_mean(n, x);
    double r = inverse_root(sum_centred(n, x, mean), (double)n, eps, n, x, mean);
    for (int64_t i = 0; i < n; i += VL) {
        V v = centred(ld(x, i, n), mean) * (R)r;
        if (weight) v *= ld(weight, i, n);
        if (bias) v += ld(bias, i, n);
        st(y, i, n, v);
    }
    stats[0] = mean;
    stats[1] = r;
}

/* With g = weight dy and z = (x - mean) r: dx = r (g - mean(g) - z mean(g z)). */
void K(d_layer_norm_row)(int64_t n, const void *x, const void *weight, const double stats[2],
                         const void *dy, void *dx)
{
    const double mean = stats[0], r = stats[1];
    VD p = {0}, s = {0};
    for (int64_t i = 0; i < n; i += DL) {
        VD g = ld_double(dy, i, n);
        if (weight) g *= ld_double(weight, i, n);
        s += g;
        p += g * (ld_double(x, i, n) - mean);
    }
    const double sum = hsum(p);
    double product_of = sum * r / (double)n;
    if (sizeof(R) == 8 && !fits(sum) && !truly_zero(sum, n, weight, dy))
        product_of = rescaled_product(n, x, weight, stats, dy);
    const R product = (R)product_of, plain = (R)(hsum(s) / (double)n);
    for (int64_t i = 0; i < n; i += VL) {
        V g = ld(dy, i, n);
        if (weight) g *= ld(weight, i, n);
        V z = centred(ld(x, i, n), mean) * (R)r;
        st(dx, i, n, (R)r * ((g - plain) - z * product));
    }
}

void K(d_layer_norm_weight)(int64_t n, const void *x, const double stats[2], const void *dy,
                            void *dweight)
{
    for (int64_t i = 0; i < n; i += VL) {
        V z = centred(ld(x, i, n), stats[0]) * (R)stats[1];
        st(dweight, i, n, vfma(ld(dy, i, n), z, ld(dweight, i, n)));
    }
}
