/*
 * simd_math.h - exp, log, sigmoid, softplus, tanh, sine and cosine of a vector (simd.h).
 *
 * The same source serves float and double; only the constants differ (pick). Except for gelu, each
 * function is within 2 ulp of the exact value in f32 and in f64. This holds for every argument,
 * also a denormal one, and also in base, where a fused multiply-add has two roundings. What
 * rounding would lose is carried along as a second, small number and added last. Sine and cosine do
 * not keep that bound near their zeros far from the origin; there the absolute error stays below
 * 2^-35 (f32) and 2^-100 (f64).
 *
 * NaN gives NaN. Results in the denormal range are rounded once, as in libm.
 */
#ifndef PAL_SIMD_MATH_H
#define PAL_SIMD_MATH_H

#include "tensor/simd.h"
#include <math.h>

/* The polynomial c[0] x^(n-1) + ... + c[n-1]. n is a constant, so the loop is unrolled. */
static inline V horner(const double *c, int n, V x)
{
    V y = splat((R)c[0]);
    for (int i = 1; i < n; i++) y = vfma(y, x, splat((R)c[i]));
    return y;
}

/* ---- Exponential ---- */

/* (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2. */
static inline V exp_tail(V r)
{
    static const double c32[] = {1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3,
                                 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1};
    static const double c64[] = {1. / 6227020800, 1. / 479001600, 1. / 39916800, 1. / 3628800,
                                 1. / 362880,     1. / 40320,     1. / 5040,     1. / 720,
                                 1. / 120,        1. / 24,        1. / 6,        1. / 2};
    return sizeof(R) == 4 ? horner(c32, 6, r) : horner(c64, 12, r);
}

/*
 * e^x = 2^k (1 + r + p) with |r| <= ln 2 / 2. As in Cody and Waite, k ln 2 is subtracted in two
 * steps: the first constant has so few bits that its product with k is exact. p is e^r - 1 - r plus
 * what rounding took from r. An x outside of the range is moved to where scale() still gives 0 or
 * infinity.
 */
static inline V exp_reduce(V x, V *p, VW *k)
{
    x = vclamp(x, pick(-120, -760), pick(89, 710));
    V n = nearest(x * pick(0x1.715476p0, 0x1.71547652b82fep0), k);
    V high = x - n * pick(0x1.62e4p-1, 0x1.62e42feep-1);
    V low = n * pick(0x1.7f7d1cp-20, 0x1.a39ef35793c76p-33);
    V r = high - low;
    V q = exp_tail(r);
    *p = vfma(r * r, q, (high - r) - low);
    return r;
}

/* e^x = 2^k (h + l), where l is less than half an ulp of h. */
static inline V exp_parts(V x, V *l, VW *k)
{
    V p, r = exp_reduce(x, &p, k);
    V s = 1 + r;
    V t = (1 - s) + r + p;
    V h = s + t;
    *l = t - (h - s);
    return h;
}

static inline V vexp(V x)
{
    VW k;
    V l, h = exp_parts(x, &l, &k);
    return scale(h, k);
}

/* ---- Logarithm ---- */

/*
 * k ln 2 + log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)]. With s = f / (2 + f):
 * log(1 + f) = f - (f^2/2 - s (f^2/2 + P(s^2))), as in fdlibm's e_log.c.
 */
static inline V log_near_one(V f, V k)
{
    static const double c32[] = {0xf89e26.0p-26, 0x91e9ee.0p-25, 0xccce13.0p-25, 0xaaaaaa.0p-24};
    static const double c64[] = {1.479819860511658591e-01, 1.531383769920937332e-01,
                                 1.818357216161805012e-01, 2.222219843214978396e-01,
                                 2.857142874366239149e-01, 3.999999999940941908e-01,
                                 6.666666666666735130e-01};
    V s = f / (2 + f), z = s * s;
    V p = z * (sizeof(R) == 4 ? horner(c32, 4, z) : horner(c64, 7, z));
    V half_square = f * f * (R)0.5;
    V low = vfma(s, half_square + p, k * pick(0x1.7f7d1cp-20, 0x1.a39ef35793c76p-33));
    return k * pick(0x1.62e4p-1, 0x1.62e42feep-1) - ((half_square - low) - f);
}

static inline V vlog(V x)
{
    const R huge = (R)INFINITY;
    /* Denormal numbers are made normal first. */
    VI tiny = (VI)(x < pick(0x1p-126, 0x1p-1022));
    V m = sel(tiny, x * pick(0x1p24, 0x1p54), x);
    /* Shifting the bits by those of 1 - sqrt(1/2) makes the exponent change at sqrt(1/2). */
    VW one = bits(splat(1)), root = bits(splat(pick(0x1.6a09e6p-1, 0x1.6a09e667f3bcdp-1)));
    VW b = bits(m) + (one - root);
    V k = to_real((b >> MANTISSA) - BIAS) - only(tiny, splat(pick(24, 54)));
    m = from_bits((b & (((UInt)1 << MANTISSA) - 1)) + root);
    V y = log_near_one(m - 1, k);
    y = sel((VI)(x < huge), y, x); /* infinity and NaN stay */
    y = sel((VI)(x == 0), splat(-huge), y);
    return sel((VI)(x < 0), splat((R)NAN), y);
}

/* log(1 + u) for u in [0, 1]. */
static inline V log1p_unit(V u)
{
    VI large = (VI)(u > (R)0.41421356);
    V f = sel(large, (u - 1) * (R)0.5, u);
    return log_near_one(f, only(large, splat(1)));
}

/* log(1 + e^x), and x for x > 20. */
static inline V vsoftplus(V x)
{
    V y = only((VI)(x > 0), x) + log1p_unit(vexp(-vabs(x)));
    return sel((VI)(x > 20), x, y);
}

/* ---- Sigmoid and tanh ---- */

/* 1 / w for w in [1, 2], with an error of a tenth. That is enough for the factor of a
 * correction. */
static inline V rough_inverse(V w) { return (R)1.457 - (R)0.5 * w; }

/*
 * a / (1 + e^-x). With u = e^-|x| it is a / (1 + u) for x >= 0, and a u / (1 + u) for x < 0. In the
 * second case a is multiplied before u is scaled down, so that a product like x sigmoid(x) is exact
 * to the end of the denormal range. c corrects the relative errors of 1 + u and of u.
 */
static inline V sigmoid_times(V a, V x)
{
    VI negative = (VI)(x < 0);
    VW k;
    V l, h = exp_parts(-vabs(x), &l, &k);
    V u = scale(h, k), w = 1 + u;
    V du = l * ((R)2.06 - h); /* l / h, with an error of a tenth */
    V c = only(negative, du) - ((u - (w - 1)) + u * du) * rough_inverse(w);
    V y = sel(negative, a * h, a) / w;
    y = vfma(y, c, y);
    return sel(negative, scale(y, k), y);
}

static inline V vsigmoid(V x) { return sigmoid_times(splat(1), x); }

/*
 * silu and gelu are 0 below some bound and x itself above another. x is limited to the lower bound,
 * and above the upper bound the result is x, so that infinity is never multiplied by zero.
 */
static inline V above(V x, R bound) { return sel((VI)(x < bound), splat(bound), x); }

/* x sigmoid(x); the limit at -infinity is -0. */
static inline V vsilu(V x)
{
    V t = above(x, pick(-120, -760));
    return sel((VI)(x > 50), x, sigmoid_times(t, t));
}

/*
 * -(e^a - 1) / (e^a + 1) for a = -2 |x|, with the sign of x. e^a - 1 is kept as high + low: it is
 * 2^k (1 + r + p) - 1, where 2^k - 1 and 2^k r are exact.
 */
static inline V vtanh(V x)
{
    VW k;
    V p, r = exp_reduce(above(-2 * vabs(x), -40), &p, &k);
    V t = exp2_int(k), a = t - 1, b = t * r;
    V s = a + b, e = (b - (s - a)) + t * p;
    V high = s + e, low = e - (high - s);
    V w = 2 + high, dw = (high - (w - 2)) + low;
    V y = -high / w;
    y = y - (low + y * dw) * rough_inverse(w);
    return vcopysign(y, x);
}

/* 2 sqrt(2/pi) (x + 0.044715 x^3): gelu(x) = x sigmoid of this, as 1 + tanh(z) = 2 sigmoid(2 z). */
static inline V gelu_inner(V x) { return (R)1.5957691216057308 * vfma(x * x * (R)0.044715, x, x); }

static inline V vgelu(V x)
{
    V t = above(x, -25);
    return sel((VI)(x > 25), x, sigmoid_times(t, gelu_inner(t)));
}

/* ---- Sine and cosine ---- */

/* x is reduced by k pi/2 in three steps up to this size. */
static inline R sine_limit(void) { return pick(8192, 800000); }

/*
 * The sine s and cosine c of what is left of x when k pi/2 is subtracted. This is done in three
 * steps. The first two are exact, and a second number holds what rounding took. The polynomials are
 * from fdlibm and Cephes.
 */
static inline void sine_parts(V x, V *sin, V *cos, VW *quarters)
{
    static const double s32[] = {-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1};
    static const double s64[] = {1.58969099521155010221e-10, -2.50507602534068634195e-08,
                                 2.75573137070700676789e-06, -1.98412698298579493134e-04,
                                 8.33333333332248946124e-03, -1.66666666666666324348e-01};
    static const double c32[] = {2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2};
    static const double c64[] = {-1.13596475577881948265e-11, 2.08757232129817482790e-09,
                                 -2.75573143513906633035e-07, 2.48015872894767294178e-05,
                                 -1.38888888888741095749e-03, 4.16666666666666019037e-02};
    VW k;
    V n = nearest(x * (R)0.63661977236758134308, &k);
    V first = x - n * pick(0x1.92p0, 0x1.921fb544p0),
      part = n * pick(0x1.fb4p-12, 0x1.0b4611a6p-34);
    V second = first - part;
    part = n * pick(0x1.4442d2p-24, 0x1.3198a2e037073p-69) - ((first - second) - part);
    V r = second - part, low = (second - r) - part; /* r + low */
    V z = r * r, half = z * (R)0.5, w = 1 - half;
    V sp = sizeof(R) == 4 ? horner(s32, 3, z) : horner(s64, 6, z);
    V cp = sizeof(R) == 4 ? horner(c32, 3, z) : horner(c64, 6, z);
    V s = r + vfma(z * r, sp, low * w);
    V c = w + (((1 - w) - half) + vfma(z * z, cp, -r * low));
    *sin = s, *cos = c, *quarters = k;
}

/* The sine of x + k pi/2 from these, for whole k. */
static inline V sine_of(V s, V c, VW k)
{
    V y = sel((VI)((k & 1) != 0), c, s);
    return from_bits(bits(y) ^ ((k & 2) << (8 * (int)sizeof(R) - 2)));
}

/* sin(x + quarter pi/2). If x is too large for sine_parts, libm computes the element. */
static inline V sine(V x, UInt quarter)
{
    V s, c;
    VW k;
    sine_parts(x, &s, &c, &k);
    V y = sine_of(s, c, k + quarter);
    VI far = ~(VI)(vabs(x) <= sine_limit());
    for (int l = 0; l < VL; l++)
        if (far[l]) y[l] = (R)(quarter ? cos((double)x[l]) : sin((double)x[l]));
    return y;
}

static inline V vsin(V x)
{
    V y = sine(x, 0);
    return sel((VI)(x == 0), x, y); /* keeps -0 */
}
static inline V vcos(V x) { return sine(x, 1); }

/* Both at once, with the same bits, for |x| <= sine_limit(). The sine of -0 is 0. */
static inline void vsincos(V x, V *sin, V *cos)
{
    V s, c;
    VW k;
    sine_parts(x, &s, &c, &k);
    *sin = sine_of(s, c, k), *cos = sine_of(s, c, k + 1);
}

#endif
