/*
 * average.k.c - x <- x + share (g - x): a moving average x of g.
 *
 * In this form x stays the same if it equals g. With (1 - share) x + share g it need not, because
 * the two rounded factors may not add up to 1. Then the error would grow from step to step.
 */
#include "optim/optimisers/kernels/kernels.k.h"

void K(average)(int64_t n, const void *numbers, const void *g, void *x, void *m, void *v)
{
    const V share = splat((R) * (const double *)numbers);
    (void)m;
    (void)v;
    for (int64_t i = 0; i < n; i += VL) {
        V xi = ld(x, i, n);
        st(x, i, n, vfma(share, ld(g, i, n) - xi, xi));
    }
}
