/*
 * range.k.h - what the norms of rows do where squares or their reciprocals leave the range although
 * inputs and results are inside it.
 *
 * The ordinary way is tried first, and its bits are kept. These functions then work in double, on a
 * row that is scaled by a power of two. They are slow and rarely run.
 */
#ifndef PAL_RANGE_K_H
#define PAL_RANGE_K_H

#include "tensor/simd.h"

#include <float.h>
#include <math.h>

#define COLD static __attribute__((noinline, cold, unused))

static inline double at(const void *x, int64_t i) { return (double)((const R *)x)[i]; }
static inline double at_or_one(const void *x, int64_t i) { return x ? at(x, i) : 1; }

/* Sums and cubes in double have lost nothing if they are in this range. */
static inline bool fits(double a) { return fabs(a) >= 0x1p-960 && fabs(a) <= 0x1p960; }
/* a is a normal number of type R. */
static inline bool is_normal(double a)
{
    return fabs(a) >= pick(FLT_MIN, DBL_MIN) && fabs(a) <= pick(FLT_MAX, DBL_MAX);
}

/* A power of two, at least as large as eps's root and all |x - mean|: its exponent. false: there is
 * none, because all are 0 or one is not finite. */
static inline bool find_exponent(int64_t n, const void *x, double mean, double eps, int *exponent)
{
    double largest = sqrt(eps), sum = 0;
    for (int64_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(at(x, i) - mean));
        sum += at(x, i) * 0;
    }
    if (largest == 0 || sum != 0 || !isfinite(largest)) return false;
    frexp(largest, exponent);
    return true;
}

/* 1 / sqrt(sum (x - mean)^2 / count + eps), which is finite where `plain` is not. */
COLD double rescaled_root(int64_t n, const void *x, double mean, double count, double eps,
                          double plain)
{
    int e;
    double sum = 0;
    if (!find_exponent(n, x, mean, eps, &e)) return plain;
    for (int64_t i = 0; i < n; i++) {
        const double d = scalbn(at(x, i) - mean, -e);
        sum += d * d;
    }
    return scalbn(1 / sqrt(sum / count + scalbn(eps, -2 * e)), -e);
}

/* 1 / sqrt(sum / count + eps) for the sum of (x - mean)^2. */
static inline double inverse_root(double sum, double count, double eps, int64_t n, const void *x,
                                  double mean)
{
    const double square = sum / count + eps, plain = 1 / sqrt(square);
    return fits(square) ? plain : rescaled_root(n, x, mean, count, eps, plain);
}

/* Whether g = weight dy is 0, as for tokens that are masked; weight may be NULL. */
static __attribute__((noinline, unused)) bool all_zero(int64_t n, const void *weight,
                                                       const void *dy)
{
    for (int64_t i = 0; i < n; i++)
        if (at(dy, i) * at_or_one(weight, i) != 0) return false;
    return true;
}
/* Whether a sum of x g is 0 and has lost nothing. One of floats is in double, so no product
 * vanishes. One of doubles is looked at only if it is 0. */
static inline bool truly_zero(double sum, int64_t n, const void *weight, const void *dy)
{
    return sum == 0 && (sizeof(R) == 4 || all_zero(n, weight, dy));
}

/* r and the factors of the gradient r g - steep x have lost nothing; steep = r^3 c, c = the sum of
 * x g, g = weight dy. */
static inline bool slope_fits(double r, double c, double steep, int64_t n, const void *weight,
                              const void *dy)
{
    if (!(r > 0 && r <= DBL_MAX)) return true; /* no row that scaling repairs */
    if (!is_normal(r) || !fits(r * r * r)) return false;
    return (fits(c) && is_normal(steep)) || truly_zero(c, n, weight, dy);
}

/* dx = r (g - x r^2 c), g = weight dy, c = the sum of x g divided by count. */
COLD void rescaled_slope(int64_t n, const void *x, const void *weight, double r, double count,
                         const void *dy, void *dx)
{
    int e;
    double c = 0;
    const double part = frexp(r, &e);
    for (int64_t i = 0; i < n; i++) c += scalbn(at(x, i), e) * at_or_one(weight, i) * at(dy, i);
    c *= part * part / count;
    for (int64_t i = 0; i < n; i++) {
        const double g = at(dy, i) * at_or_one(weight, i);
        ((R *)dx)[i] = (R)scalbn((g - scalbn(at(x, i), e) * c) * part, e);
    }
}

#endif
