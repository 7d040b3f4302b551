/*
 * map_backward.k.c - gradients of the functions of one operand: dx = dy f'(x). They are computed
 * from x, or from y = f(x) if that is enough.
 */
#include "tensor/kernels/kernels.k.h"
#include "tensor/simd_math.h"

void K(d_abs)(int64_t n, const void *x, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(x, i, n), g = ld(dy, i, n);
        st(dx, i, n, only((VI)(v > 0), g) - only((VI)(v < 0), g));
    }
}

void K(d_square)(int64_t n, const void *x, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(x, i, n), g = ld(dy, i, n);
        st(dx, i, n, 2 * v * g);
    }
}

void K(d_sqrt)(int64_t n, const void *y, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(y, i, n), g = ld(dy, i, n);
        st(dx, i, n, g / (2 * v));
    }
}

void K(d_rsqrt)(int64_t n, const void *y, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(y, i, n), g = ld(dy, i, n);
        st(dx, i, n, (R)-0.5 * g * v * v * v);
    }
}

void K(d_reciprocal)(int64_t n, const void *y, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(y, i, n), g = ld(dy, i, n);
        st(dx, i, n, -g * v * v);
    }
}

void K(d_exp)(int64_t n, const void *y, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(y, i, n), g = ld(dy, i, n);
        st(dx, i, n, g * v);
    }
}

void K(d_log)(int64_t n, const void *x, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(x, i, n), g = ld(dy, i, n);
        st(dx, i, n, g / v);
    }
}

void K(d_sin)(int64_t n, const void *x, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(x, i, n), g = ld(dy, i, n);
        st(dx, i, n, g * vcos(v));
    }
}

void K(d_cos)(int64_t n, const void *x, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(x, i, n), g = ld(dy, i, n);
        st(dx, i, n, -g * vsin(v));
    }
}

void K(d_erf)(int64_t n, const void *x, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(x, i, n), g = ld(dy, i, n);
        st(dx, i, n, g * (R)1.1283791670955126 * vexp(-v * v));
    }
}

void K(d_tanh)(int64_t n, const void *y, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(y, i, n), g = ld(dy, i, n);
        st(dx, i, n, g * ((1 - v) * (1 + v)));
    }
}

void K(d_sigmoid)(int64_t n, const void *y, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(y, i, n), g = ld(dy, i, n);
        st(dx, i, n, g * (v * (1 - v)));
    }
}

/* For x > 20 softplus(x) is computed as x, so its derivative is 1. */
void K(d_softplus)(int64_t n, const void *x, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(x, i, n), g = ld(dy, i, n);
        st(dx, i, n, sel((VI)(v > 20), g, g * vsigmoid(v)));
    }
}

/* The derivative is s (1 + x (1 - s)) with s = sigmoid(x). x is limited to +-120 (f64: 760), where
 * s is already 0 or 1, so that 0 is never multiplied by infinity. */
void K(d_silu)(int64_t n, const void *x, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(x, i, n), g = ld(dy, i, n);
        v = vclamp(v, pick(-120, -760), pick(120, 760));
        V s = vsigmoid(v);
        st(dx, i, n, g * (s * (1 + v * (1 - s))));
    }
}

void K(d_relu)(int64_t n, const void *x, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(x, i, n), g = ld(dy, i, n);
        st(dx, i, n, only((VI)(v > 0), g));
    }
}

/* The derivative is s + x s (1 - s) z' with s = sigmoid(z) and z = 2 sqrt(2/pi) (x + 0.044715 x^3).
 * x is limited as in d_silu. */
void K(d_gelu)(int64_t n, const void *x, const void *dy, void *dx)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(x, i, n), g = ld(dy, i, n);
        v = vclamp(v, -25, 25);
        V s = vsigmoid(gelu_inner(v));
        V slope = (R)1.5957691216057308 * (1 + (R)0.134145 * v * v);
        st(dx, i, n, g * (s * (1 + v * (1 - s) * slope)));
    }
}

void K(d_clamp)(int64_t n, const void *x, const void *dy, const double *p, void *dx)
{
    const V low = splat((R)p[0]), high = splat((R)p[1]);
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(x, i, n);
        st(dx, i, n, only((VI)(v >= low) & (VI)(v <= high), ld(dy, i, n)));
    }
}
