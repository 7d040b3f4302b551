/*
 * map_binary.k.c - elementwise arithmetic and comparisons of two operands. The speed of all but pow
 * and atan2 is limited by memory, because each element needs 3 accesses.
 */
#include "tensor/kernels/kernels.k.h"
#include "tensor/simd_math.h"

void K(add)(int64_t n, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, ld(a, i, n) + ld(b, i, n));
}

void K(sub)(int64_t n, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, ld(a, i, n) - ld(b, i, n));
}

void K(mul)(int64_t n, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, ld(a, i, n) * ld(b, i, n));
}

void K(div)(int64_t n, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, ld(a, i, n) / ld(b, i, n));
}

void K(maximum)(int64_t n, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vmax(ld(a, i, n), ld(b, i, n)));
}

void K(minimum)(int64_t n, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, vmin(ld(a, i, n), ld(b, i, n)));
}

static inline V truth(VI mask) { return only(mask, splat(1)); }

void K(eq)(int64_t n, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, truth((VI)(ld(a, i, n) == ld(b, i, n))));
}

void K(ne)(int64_t n, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, truth((VI)(ld(a, i, n) != ld(b, i, n))));
}

void K(lt)(int64_t n, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, truth((VI)(ld(a, i, n) < ld(b, i, n))));
}

void K(le)(int64_t n, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, truth((VI)(ld(a, i, n) <= ld(b, i, n))));
}

void K(gt)(int64_t n, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, truth((VI)(ld(a, i, n) > ld(b, i, n))));
}

void K(ge)(int64_t n, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, truth((VI)(ld(a, i, n) >= ld(b, i, n))));
}

/* This calls libm, because e^(b log a) would lose as many bits as the exponent has. */
static inline R power(R a, R b)
{
    return (R)(sizeof(R) == 4 ? powf((float)a, (float)b) : pow((double)a, (double)b));
}

void K(pow)(int64_t n, const void *a, const void *b, void *y)
{
    const R *x = a, *e = b;
    R *out = y;
    for (int64_t i = 0; i < n; i++) out[i] = power(x[i], e[i]);
}

void K(atan2)(int64_t n, const void *a, const void *b, void *y)
{
    const R *p = a, *q = b;
    for (int64_t i = 0; i < n; i++)
        ((R *)y)[i] = (R)(sizeof(R) == 4 ? atan2f((float)p[i], (float)q[i])
                                         : atan2((double)p[i], (double)q[i]));
}

void K(select)(int64_t n, const void *condition, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL)
        st(y, i, n, sel((VI)(ld(condition, i, n) != 0), ld(a, i, n), ld(b, i, n)));
}

/* ---- Gradients ---- */

void K(d_div_b)(int64_t n, const void *b, const void *y, const void *dy, void *db)
{
    for (int64_t i = 0; i < n; i += VL) st(db, i, n, -ld(dy, i, n) * ld(y, i, n) / ld(b, i, n));
}

/*
 * da = dy b a^(b-1). For b = 0 it is 0, also at a = 0, where a^(b-1) is infinite. Both types
 * compute in double, because a^(b-1) may be out of a float's range when the gradient is not.
 */
void K(d_pow_a)(int64_t n, const void *a, const void *b, const void *dy, void *da)
{
    const R *x = a, *e = b, *g = dy;
    R *out = da;
    for (int64_t i = 0; i < n; i++) {
        double p = (double)e[i];
        out[i] = p == 0 ? 0 : (R)((double)g[i] * p * pow((double)x[i], p - 1));
    }
}

void K(d_pow_b)(int64_t n, const void *a, const void *y, const void *dy, void *db)
{
    for (int64_t i = 0; i < n; i += VL) {
        V x = ld(a, i, n);
        V g = ld(dy, i, n) * ld(y, i, n) * vlog(x);
        st(db, i, n, sel((VI)(x <= 0), splat(0), g));
    }
}

/* x / (a^2 + b^2) in double, where x is a or b. Squares of what is divided by the larger of the two
 * cannot overflow. */
static inline double over_squares(double x, double a, double b)
{
    const double p = fabs(a), q = fabs(b), h = p > q ? p : q;
    if (h == 0 || isinf(h)) return 0;
    return x / h / (a / h * (a / h) + b / h * (b / h)) / h;
}

void K(d_atan2_a)(int64_t n, const void *a, const void *b, const void *dy, void *da)
{
    const R *p = a, *q = b, *g = dy;
    for (int64_t i = 0; i < n; i++)
        ((R *)da)[i] = (R)((double)g[i] * over_squares((double)q[i], (double)p[i], (double)q[i]));
}

void K(d_atan2_b)(int64_t n, const void *a, const void *b, const void *dy, void *db)
{
    const R *p = a, *q = b, *g = dy;
    for (int64_t i = 0; i < n; i++)
        ((R *)db)[i] = (R)(-(double)g[i] * over_squares((double)p[i], (double)p[i], (double)q[i]));
}

/* The fraction of dy that goes to a: all of it if a is larger, half if both are equal. */
void K(d_maximum)(int64_t n, const void *a, const void *b, const void *dy, void *da)
{
    for (int64_t i = 0; i < n; i += VL) {
        V p = ld(a, i, n), q = ld(b, i, n), g = ld(dy, i, n);
        st(da, i, n, only((VI)(p > q), g) + only((VI)(p == q), g * (R)0.5));
    }
}

void K(d_minimum)(int64_t n, const void *a, const void *b, const void *dy, void *da)
{
    for (int64_t i = 0; i < n; i += VL) {
        V p = ld(a, i, n), q = ld(b, i, n), g = ld(dy, i, n);
        st(da, i, n, only((VI)(p < q), g) + only((VI)(p == q), g * (R)0.5));
    }
}
