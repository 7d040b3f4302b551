/*
 * map_unary.k.c - elementwise functions of one operand. simd_math.h has the arithmetic of the
 * transcendental ones and states their accuracy.
 */
#include "tensor/kernels/kernels.k.h"
#include "tensor/simd_math.h"
#include <string.h>

static inline V one_where(VI mask) { return only(mask, splat(1)); }

void K(copy)(int64_t n, const void *x, void *y)
{
    if (n > 0) memmove(y, x, (size_t)n * sizeof(R));
}

void K(neg)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, -ld(x, i, n));
}

void K(abs)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vabs(ld(x, i, n)));
}

void K(sign)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(x, i, n);
        st(y, i, n, sel(is_nan(v), v, one_where((VI)(v > 0)) - one_where((VI)(v < 0))));
    }
}

void K(square)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(x, i, n);
        st(y, i, n, v * v);
    }
}

void K(sqrt)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vsqrt(ld(x, i, n)));
}

void K(rsqrt)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, 1 / vsqrt(ld(x, i, n)));
}

void K(reciprocal)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, 1 / ld(x, i, n));
}

void K(exp)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vexp(ld(x, i, n)));
}

void K(log)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vlog(ld(x, i, n)));
}

void K(sin)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vsin(ld(x, i, n)));
}

void K(cos)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vcos(ld(x, i, n)));
}

void K(erf)(int64_t n, const void *x, void *y)
{
    const R *v = x;
    for (int64_t i = 0; i < n; i++)
        ((R *)y)[i] = (R)(sizeof(R) == 4 ? erff((float)v[i]) : erf((double)v[i]));
}

void K(tanh)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vtanh(ld(x, i, n)));
}

void K(sigmoid)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vsigmoid(ld(x, i, n)));
}

void K(softplus)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vsoftplus(ld(x, i, n)));
}

void K(silu)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vsilu(ld(x, i, n)));
}

void K(gelu)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vgelu(ld(x, i, n)));
}

void K(relu)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(x, i, n);
        st(y, i, n, sel((VI)(v <= 0), splat(0), v));
    }
}

void K(clamp)(int64_t n, const void *x, const double *p, void *y)
{
    const R low = (R)p[0], high = (R)p[1];
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vclamp(ld(x, i, n), low, high));
}

void K(affine)(int64_t n, const void *x, const double *p, void *y)
{
    const V factor = splat((R)p[0]), shift = splat((R)p[1]);
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vfma(factor, ld(x, i, n), shift));
}
