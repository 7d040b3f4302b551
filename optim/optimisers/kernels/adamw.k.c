/*
 * adamw.k.c - one step of AdamW or Adam over a run of n elements, in one pass over memory.
 *
 *     g <- g + l2 x        m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
 *     x <- x - (rate m / (correct sqrt(v) + eps) + decay x)
 *
 * adamw.h explains the numbers. The decay is subtracted as decay * x, because in f32 the factor 1 -
 * decay would lose the digits of a small decay.
 */
#include "optim/optimisers/kernels/adamw.h"
#include "optim/optimisers/kernels/kernels.k.h"

void K(adamw)(int64_t n, const void *numbers, const void *g, void *x, void *m, void *v)
{
    const pal_adamw_numbers *c = numbers;
    const V beta1 = splat((R)c->beta1), one_beta1 = splat((R)c->one_beta1);
    const V beta2 = splat((R)c->beta2), one_beta2 = splat((R)c->one_beta2);
    const V rate = splat((R)c->rate), correct = splat((R)c->correct), eps = splat((R)c->eps);
    const V decay = splat((R)c->decay), l2 = splat((R)c->l2);
    for (int64_t i = 0; i < n; i += VL) {
        V xi = ld(x, i, n), gi = vfma(l2, xi, ld(g, i, n));
        V mi = finite(vfma(beta1, ld(m, i, n), one_beta1 * gi));
        V vi = finite(vfma(beta2, ld(v, i, n), one_beta2 * gi * gi));
        V move = rate * mi / vfma(vsqrt(vi), correct, eps);
        st(m, i, n, mi);
        st(v, i, n, vi);
        st(x, i, n, xi - vfma(decay, xi, move));
    }
}
