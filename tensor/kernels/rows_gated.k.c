/*
 * rows_gated.k.c - products with an activated gate: SwiGLU, and RMS norm of one row with a gate, in
 * both orders.
 *
 * With a = act(z), the norm is y = x r weight a, with r from x (norm first), or y = u r weight,
 * with r from u = x a (gate first). Sums are taken in double, as in rows_norm.k.c. Each pass
 * computes the sigmoid of the gate once, and gets act and its derivative from it. Where squares or
 * their reciprocals leave the range, range.k.h takes over.
 */
#include "tensor/kernels/kernels.k.h"
#include "tensor/kernels/range.k.h"
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
    const double r = inverse_root(K(dot)(n, normed, normed), (double)n, eps, n, normed, 0);
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
    const double c = K(dot)(n, x, dx);
    if (!slope_fits(r, c, r * r * r * c / (double)n, n, NULL, dx)) {
        rescaled_slope(n, x, NULL, r, (double)n, dx, dx);
        return;
    }
    const R along = (R)(r * r * r * c / (double)n);
    for (int64_t i = 0; i < n; i += VL)
        st(dx, i, n, vfma(ld(dx, i, n), splat(f), -along * ld(x, i, n)));
}

/* act(z) and its derivative in double. */
static inline double act_at(pal_act kind, double z, double *slope)
{
    const double v = fmin(fmax(z, -760), 760), s = 1 / (1 + exp(-v));
    *slope = kind == PAL_ACT_SILU ? s * (1 + v * (1 - s)) : s * (1 - s);
    return kind == PAL_ACT_SILU ? v * s : s;
}

/* d_gate_first, where u dy or r^3 leave the range: the formulas with u scaled by a power of two. */
COLD void rescaled_gate_first(int64_t n, const void *x, const void *z, const void *weight,
                              pal_act kind, double r, const void *dy, void *dx, void *dz,
                              void *dweight)
{
    int e;
    double c = 0, slope;
    const double part = frexp(r, &e);
    for (int64_t i = 0; i < n; i++) {
        const double u = scalbn(at(x, i) * act_at(kind, at(z, i), &slope), e);
        c += u * at_or_one(weight, i) * at(dy, i);
        if (dweight) ((R *)dweight)[i] += (R)(u * part * at(dy, i));
    }
    c *= part * part / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double a = act_at(kind, at(z, i), &slope), xi = at(x, i);
        const double g = at(dy, i) * at_or_one(weight, i);
        const double du = scalbn((g - scalbn(xi * a, e) * c) * part, e);
        ((R *)dx)[i] = (R)(du * a);
        ((R *)dz)[i] = (R)(du * xi * slope);
    }
}

/* With du = r (dy weight - u r^2 mean(u dy weight)): dx = du a, dz = du x a'. Between the passes dx
 * holds u dy weight, and dz holds the sigmoid. */
static void d_gate_first(int64_t n, const void *x, const void *z, const void *weight, pal_act kind,
                         double r, const void *dy, void *dx, void *dz, void *dweight)
{
    const R f = (R)r;
    if (r > 0 && r <= DBL_MAX && !(r >= 0x1p-30 && r <= 0x1p30)) {
        rescaled_gate_first(n, x, z, weight, kind, r, dy, dx, dz, dweight);
        return;
    }
    for (int64_t i = 0; i < n; i += VL) {
        const V v = ld(z, i, n), s = vsigmoid(held(v)), u = ld(x, i, n) * act_of(kind, v, s);
        const V g = ld(dy, i, n);
        if (dweight) st(dweight, i, n, vfma(g * f, u, ld(dweight, i, n)));
        st(dx, i, n, u * (g * ld_or_one(weight, i, n)));
        st(dz, i, n, s);
    }
    const double c = K(sum)(n, dx), steep = r * r * r * c / (double)n;
    if (!slope_fits(r, c, steep, n, NULL, dx) && (c != 0 || isnan(c))) {
        rescaled_gate_first(n, x, z, weight, kind, r, dy, dx, dz, NULL);
        return;
    }
    const R along = (R)steep;
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
