/*
 * rows_gated.k.c - products with an activated gate: SwiGLU, and RMS norm of one row with a gate, in
 * both orders.
 *
 * With a = act(z), the norm is y = x r weight a, with r from x (norm first), or y = u r weight,
 * with r from u = x a (gate first). Sums are taken in double, as in rows_norm.k.c. Each pass
 * computes the sigmoid of the gate once, and gets act and its derivative from it.
 */
#include "tensor/kernels/kernels.k.h"
#include "tensor/simd_math.h"
#include <math.h>

static inline V act(pal_act kind, V z) { return kind == PAL_ACT_SILU ? vsilu(z) : vsigmoid(z); }

/* Limits z to where act reaches its limits, so that infinity is never multiplied by zero. */
static inline V held(V z) { return vclamp(z, pick(-120, -760), pick(120, 760)); }

/* act(z) and its derivative, from s = sigmoid(z). */
static inline V act_of(pal_act kind, V z, V s)
{
    return kind == PAL_ACT_SILU ? above(z, pick(-120, -760)) * s : s;
}
static inline V slope_of(pal_act kind, V z, V s)
{
    return kind == PAL_ACT_SILU ? s * (1 + held(z) * (1 - s)) : s * (1 - s);
}

/* ---- SwiGLU ---- */

void K(swiglu)(int64_t n, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vsilu(ld(a, i, n)) * ld(b, i, n));
}

void K(d_swiglu)(int64_t n, const void *a, const void *b, const void *dy, void *da, void *db)
{
    for (int64_t i = 0; i < n; i += VL) {
        const V z = ld(a, i, n), g = ld(dy, i, n), s = vsigmoid(held(z));
        st(da, i, n, g * ld(b, i, n) * slope_of(PAL_ACT_SILU, z, s));
        st(db, i, n, g * act_of(PAL_ACT_SILU, z, s));
    }
}

/* ---- Gated norm ---- */

/* Loads a row like ld; without a row (NULL) it gives ones. */
static inline V ld_or_one(const void *x, int64_t i, int64_t n)
{
    return x ? ld(x, i, n) : splat(1);
}

double K(gated_norm_row)(int64_t n, const void *x, const void *z, const void *weight, pal_act kind,
                         bool gate_first, double eps, void *y)
{
    const void *normed = x;
    if (gate_first) {
        for (int64_t i = 0; i < n; i += VL) st(y, i, n, ld(x, i, n) * act(kind, ld(z, i, n)));
        normed = y;
    }
    const double r = 1 / sqrt(K(dot)(n, normed, normed) / (double)n + eps);
    for (int64_t i = 0; i < n; i += VL) {
        V v = ld(normed, i, n) * (R)r * ld_or_one(weight, i, n);
        if (z && !gate_first) v *= act(kind, ld(z, i, n));
        st(y, i, n, v);
    }
    return r;
}

/* With g = dy weight a: dx = r (g - x r^2 mean(x g)), dz = dy weight x r a'. */
static void d_norm_first(int64_t n, const void *x, const void *z, const void *weight, pal_act kind,
                         double r, const void *dy, void *dx, void *dz, void *dweight)
{
    const R f = (R)r;
    for (int64_t i = 0; i < n; i += VL) {
        const V w = ld_or_one(weight, i, n), unit = ld(x, i, n) * f;
        V g = ld(dy, i, n);
        if (z) {
            const V v = ld(z, i, n), s = vsigmoid(held(v));
            st(dz, i, n, g * w * unit * slope_of(kind, v, s));
            g *= act_of(kind, v, s);
        }
        if (dweight) st(dweight, i, n, vfma(g, unit, ld(dweight, i, n)));
        st(dx, i, n, g * w);
    }
    const R along = (R)(r * r * r * K(dot)(n, x, dx) / (double)n);
    for (int64_t i = 0; i < n; i += VL)
        st(dx, i, n, vfma(ld(dx, i, n), splat(f), -along * ld(x, i, n)));
}

/* With du = r (dy weight - u r^2 mean(u dy weight)): dx = du a, dz = du x a'. Between the passes dx
 * holds u dy weight, and dz holds the sigmoid. */
static void d_gate_first(int64_t n, const void *x, const void *z, const void *weight, pal_act kind,
                         double r, const void *dy, void *dx, void *dz, void *dweight)
{
    const R f = (R)r;
    for (int64_t i = 0; i < n; i += VL) {
        const V v = ld(z, i, n), s = vsigmoid(held(v)), u = ld(x, i, n) * act_of(kind, v, s);
        const V g = ld(dy, i, n);
        if (dweight) st(dweight, i, n, vfma(g * f, u, ld(dweight, i, n)));
        st(dx, i, n, u * (g * ld_or_one(weight, i, n)));
        st(dz, i, n, s);
    }
    const R along = (R)(r * r * r * K(sum)(n, dx) / (double)n);
    for (int64_t i = 0; i < n; i += VL) {
        const V v = ld(z, i, n), s = ld(dz, i, n), a = act_of(kind, v, s), xi = ld(x, i, n);
        const V g = ld(dy, i, n) * ld_or_one(weight, i, n), du = vfma(g, splat(f), -along * xi * a);
        st(dx, i, n, du * a);
        st(dz, i, n, du * xi * slope_of(kind, v, s));
    }
}

void K(d_gated_norm_row)(int64_t n, const void *x, const void *z, const void *weight, pal_act kind,
                         bool gate_first, double r, const void *dy, void *dx, void *dz,
                         void *dweight)
{
    (gate_first ? d_gate_first : d_norm_first)(n, x, z, weight, kind, r, dy, dx, dz, dweight);
}
