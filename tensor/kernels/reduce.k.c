/*
 * reduce.k.c - sums, dot products and extremes of contiguous elements, and sums into a vector.
 *
 * Sums run in double for f32 too: a long sum loses no digits of a float, and squares neither
 * overflow nor vanish. The conversion costs no time beside the loads. Four sums of DL elements hide
 * the latency of the addition.
 */
#include "tensor/kernels/kernels.k.h"
#include <math.h>

static inline double total(const VD s[4]) { return hsum((s[0] + s[1]) + (s[2] + s[3])); }

/* Doubles at any address, aligned to 8 bytes only. */
typedef double VDU __attribute__((vector_size(VBYTES), aligned(8), may_alias));
static inline VD load_double(const double *x) { return *(const VDU *)x; }
static inline void store_double(double *x, VD v) { *(VDU *)x = v; }

double K(sum)(int64_t n, const void *x)
{
    VD s[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 * DL <= n; i += 4 * DL)
        for (int j = 0; j < 4; j++) s[j] += ld_double_full(x, i + j * DL);
    for (int j = 0; j < 4; j++, i += DL)
        if (i < n) s[j] += ld_double(x, i, n);
    return total(s);
}

double K(dot)(int64_t n, const void *a, const void *b)
{
    VD s[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 * DL <= n; i += 4 * DL)
        for (int j = 0; j < 4; j++)
            s[j] += ld_double_full(a, i + j * DL) * ld_double_full(b, i + j * DL);
    for (int j = 0; j < 4; j++, i += DL)
        if (i < n) s[j] += ld_double(a, i, n) * ld_double(b, i, n);
    return total(s);
}

double K(sum_square)(int64_t n, const void *x) { return K(dot)(n, x, x); }

double K(zero_sum)(int64_t n, const void *x)
{
    V s[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (int j = 0; j < 4; j++) s[j] += ld(x, i + j * VL, n) * 0;
    for (; i < n; i += VL) s[0] += ld(x, i, n) * 0;
    const V all = (s[0] + s[1]) + (s[2] + s[3]);
    double sum = 0;
    for (int j = 0; j < VL; j++) sum += (double)all[j];
    return sum;
}

double K(max)(int64_t n, const void *x)
{
    V m[4];
    int64_t i = 0;
    for (int j = 0; j < 4; j++) m[j] = splat((R)-INFINITY);
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (int j = 0; j < 4; j++) m[j] = vmax(m[j], ld(x, i + j * VL, n));
    for (; i + VL <= n; i += VL) m[0] = vmax(m[0], ld(x, i, n));
    R last = hmax(vmax(vmax(m[0], m[1]), vmax(m[2], m[3])));
    for (; i < n; i++) {
        R v = ((const R *)x)[i];
        last = last > v || last != last ? last : v;
    }
    return (double)last;
}

double K(min)(int64_t n, const void *x)
{
    V m[4];
    int64_t i = 0;
    for (int j = 0; j < 4; j++) m[j] = splat((R)INFINITY);
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (int j = 0; j < 4; j++) m[j] = vmin(m[j], ld(x, i + j * VL, n));
    for (; i + VL <= n; i += VL) m[0] = vmin(m[0], ld(x, i, n));
    R last = hmin(vmin(vmin(m[0], m[1]), vmin(m[2], m[3])));
    for (; i < n; i++) {
        R v = ((const R *)x)[i];
        last = last < v || last != last ? last : v;
    }
    return (double)last;
}

/* ---- Sums into y ---- */

void K(fill)(int64_t n, double value, void *y)
{
    const V v = splat((R)value);
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, v);
}

void K(accumulate)(int64_t n, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, ld(y, i, n) + ld(x, i, n));
}

void K(axpy)(int64_t n, double a, const void *x, void *y)
{
    const V factor = splat((R)a);
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vfma(factor, ld(x, i, n), ld(y, i, n)));
}

void K(axmuly)(int64_t n, double a, const void *x, const void *z, void *y)
{
    const V factor = splat((R)a);
    for (int64_t i = 0; i < n; i += VL)
        st(y, i, n, vfma(factor * ld(x, i, n), ld(z, i, n), ld(y, i, n)));
}

/* ---- Sums into doubles ---- */

void K(widen_add)(int64_t n, const void *x, double *sum)
{
    int64_t i = 0;
    for (; i + DL <= n; i += DL) store_double(sum + i, load_double(sum + i) + ld_double_full(x, i));
    for (; i < n; i++) sum[i] += (double)((const R *)x)[i];
}

void K(widen_add_square)(int64_t n, const void *x, double *sum)
{
    int64_t i = 0;
    for (; i + DL <= n; i += DL) {
        VD v = ld_double_full(x, i);
        store_double(sum + i, load_double(sum + i) + v * v);
    }
    for (; i < n; i++) sum[i] += (double)((const R *)x)[i] * (double)((const R *)x)[i];
}
