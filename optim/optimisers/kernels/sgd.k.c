/*
 * sgd.k.c - one step of gradient descent, with momentum or without, in one pass over memory.
 *
 *     g <- g + l2 x        m <- momentum m + g        u = m, or momentum m + g with nesterov
 *     x <- x - rate u
 *
 * Without momentum m is NULL and u = g.
 */
#include "optim/optimisers/kernels/sgd.h"
#include "optim/optimisers/kernels/kernels.k.h"

void K(sgd)(int64_t n, const void *numbers, const void *g, void *x, void *m, void *v)
{
    const pal_sgd_numbers *c = numbers;
    const V rate = splat((R)c->rate), momentum = splat((R)c->momentum), l2 = splat((R)c->l2);
    (void)v;
    for (int64_t i = 0; i < n; i += VL) {
        V xi = ld(x, i, n), move = vfma(l2, xi, ld(g, i, n));
        if (m) {
            V mi = finite(vfma(momentum, ld(m, i, n), move));
            move = c->nesterov ? finite(vfma(momentum, mi, move)) : mi;
            st(m, i, n, mi);
        }
        st(x, i, n, xi - rate * move);
    }
}
