/*
 * rows_softmax.k.c - softmax, its logarithm and log-sum-exp of one row, all shifted by the maximum.
 *
 * There are three passes: the maximum, the exponentials and their sum, and the result. After the
 * first pass the row is in the first-level cache, unless it is as long as a vocabulary.
 */
#include "tensor/kernels/kernels.k.h"
#include "tensor/simd_math.h"

/* Exponentials are summed in blocks that fit into the first-level cache. */
enum { BLOCK = 512 };

/* sum e^(x - max) for a finite max, without storing the exponentials of the row. */
static double sum_exp(int64_t n, const void *x, R max)
{
    R buffer[BLOCK];
    double s = 0;
    for (int64_t start = 0; start < n; start += BLOCK) {
        const R *part = (const R *)x + start;
        int64_t count = n - start < BLOCK ? n - start : BLOCK;
        for (int64_t i = 0; i < count; i += VL)
            st(buffer, i, count, vexp(ld(part, i, count) - max));
        s += K(sum)(count, buffer);
    }
    return s;
}

double K(logsumexp_row)(int64_t n, const void *x)
{
    double max = K(max)(n, x);
    if (!isfinite(max)) return max;
    return max + log(sum_exp(n, x, (R)max));
}

/*
 * y = factor e^(x - shift). The shift is a double, but the row may be float. Rounding a log-sum-exp
 * of 100 to float would change every result by 4e-6, so the rest of the shift is subtracted too.
 */
void K(exp_row)(int64_t n, const void *x, double shift, double factor, void *y)
{
    if (shift == -(double)INFINITY) {
        K(fill)(n, 0, y);
        return;
    }
    const R high = (R)shift, low = isfinite(shift) ? (R)(shift - (double)high) : 0;
    const R f = (R)factor;
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, f * vexp((ld(x, i, n) - high) - low));
}

double K(scaled_softmax_row)(int64_t n, const void *x, double factor, void *y)
{
    const double max = K(max)(n, x);
    const R m = (R)max;
    if (max == -(double)INFINITY) {
        K(fill)(n, 0, y);
        return max;
    }
    double s = 0;
    for (int64_t start = 0; start < n; start += BLOCK) {
        R *part = (R *)y + start;
        int64_t count = n - start < BLOCK ? n - start : BLOCK;
        for (int64_t i = 0; i < count; i += VL)
            st(part, i, count, vexp(ld((const R *)x + start, i, count) - m));
        s += K(sum)(count, part);
    }
    const R f = (R)(factor / s);
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, ld(y, i, n) * f);
    return isfinite(max) ? max + log(s) : max;
}

void K(softmax_row)(int64_t n, const void *x, void *y) { K(scaled_softmax_row)(n, x, 1, y); }

void K(d_softmax_row)(int64_t n, const void *y, const void *dy, void *dx)
{
    const R mean = (R)K(dot)(n, y, dy);
    for (int64_t i = 0; i < n; i += VL) st(dx, i, n, ld(y, i, n) * (ld(dy, i, n) - mean));
}

void K(log_softmax_row)(int64_t n, const void *x, void *y)
{
    double max = K(max)(n, x);
    if (max == -(double)INFINITY) {
        K(fill)(n, max, y);
        return;
    }
    const R m = (R)max, rest = (R)log(sum_exp(n, x, m));
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, (ld(x, i, n) - m) - rest);
}

void K(d_log_softmax_row)(int64_t n, const void *y, const void *dy, void *dx)
{
    const R s = (R)K(sum)(n, dy);
    for (int64_t i = 0; i < n; i += VL) st(dx, i, n, ld(dy, i, n) - vexp(ld(y, i, n)) * s);
}
