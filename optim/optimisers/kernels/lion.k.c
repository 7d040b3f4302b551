/*
 * lion.k.c - one step of Lion over a run of n elements, in one pass over memory.
 *
 *     x <- x - (rate sign(beta1 m + (1 - beta1) g) + decay x)        m <- beta2 m + (1 - beta2) g
 */
#include "optim/optimisers/kernels/lion.h"
#include "optim/optimisers/kernels/kernels.k.h"

/* -1, 0 or 1; the sign of NaN is NaN. */
static inline V sign(V a)
{
    V one = splat(1);
    return sel((VI)(a > 0), one, sel((VI)(a < 0), -one, a));
}

void K(lion)(int64_t n, const void *numbers, const void *g, void *x, void *m, void *v)
{
    const pal_lion_numbers *c = numbers;
    const V beta1 = splat((R)c->beta1), one_beta1 = splat((R)c->one_beta1);
    const V beta2 = splat((R)c->beta2), one_beta2 = splat((R)c->one_beta2);
    const V rate = splat((R)c->rate), decay = splat((R)c->decay);
    (void)v;
    for (int64_t i = 0; i < n; i += VL) {
        V gi = ld(g, i, n), xi = ld(x, i, n), mi = ld(m, i, n);
        V move = rate * sign(vfma(beta1, mi, one_beta1 * gi));
        st(m, i, n, vfma(beta2, mi, one_beta2 * gi));
        st(x, i, n, xi - vfma(decay, xi, move));
    }
}
