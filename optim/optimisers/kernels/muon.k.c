/*
 * muon.k.c - the two passes of Muon over a matrix, before and after it is made orthogonal.
 *
 *     muon_direction    m <- momentum m + g        v = m, or momentum m + g with nesterov
 *     muon_move         x <- x - (rate g + decay x), where g is v made orthogonal
 */
#include "optim/optimisers/kernels/muon.h"
#include "optim/optimisers/kernels/kernels.k.h"

void K(muon_direction)(int64_t n, const void *numbers, const void *g, void *x, void *m, void *v)
{
    const pal_muon_numbers *c = numbers;
    const V momentum = splat((R)c->momentum);
    (void)x;
    for (int64_t i = 0; i < n; i += VL) {
        V gi = ld(g, i, n), mi = finite(vfma(momentum, ld(m, i, n), gi));
        st(m, i, n, mi);
        st(v, i, n, c->nesterov ? finite(vfma(momentum, mi, gi)) : mi);
    }
}

void K(muon_move)(int64_t n, const void *numbers, const void *g, void *x, void *m, void *v)
{
    const pal_muon_numbers *c = numbers;
    const V rate = splat((R)c->rate), decay = splat((R)c->decay);
    (void)m;
    (void)v;
    for (int64_t i = 0; i < n; i += VL) {
        V xi = ld(x, i, n);
        st(x, i, n, xi - vfma(decay, xi, rate * ld(g, i, n)));
    }
}
