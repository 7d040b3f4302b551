/*
 * average.k.c - moves x a share of the way to g. In this form x stays where it is when it is g: in
 * d x + (1 - d) g the rounded factors need not add up to 1, and what is missing builds up.
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
