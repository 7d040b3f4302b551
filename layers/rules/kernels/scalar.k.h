/*
 * scalar.k.h - one decay a head: the matrices of a chunk and their gradients, for GDN and Mamba-2.
 *
 * p_rs is one number for each pair of tokens. So T and A are products of rows, which are multiplied
 * by p elementwise afterwards, and no work by channel is needed for the decay. Each exponent is the
 * sum of g from s + 1 to r. It is summed from row to row, and is never a difference of two sums.
 * The cost of a token is C K multiply-adds (half of two C x C products) and C / 2 exponentials.
 */
#ifndef PAL_SCALAR_K_H
#define PAL_SCALAR_K_H

#include "layers/rules/kernels/gradient.k.h"

/* Writes p [C][C] with zeros above the diagonal, and gamma [C] behind it, from g [C] in
 * c->alpha. */
static inline void scalar_decay(const pal_rule_shape *s, pal_chunk *c)
{
    const int64_t C = s->C;
    const R *g = c->alpha;
    R *p = c->p, *gamma = p + C * C;
    for (int64_t j = 0; j < C; j += VL) {
        const V column = element_numbers() + (R)j;
        V sum = {0};
        for (int64_t r = 0; r < C; r++) {
            const VI before = (VI)(column < (R)r), seen = (VI)(column <= (R)r);
            sum = only(before, sum + g[r]); /* g_{s+1} + ... + g_r, which is 0 at r = s */
            V x = s->decay && r > j ? exp_decay(sum) : splat(1);
            store(p + r * C + j, only(seen, x));
        }
    }
    R sum = 0;
    for (int64_t r = 0; r < C; r++) gamma[r] = sum += g[r];
    for (int64_t r = 0; r < C; r += VL) store(gamma + r, exp_decay(load(gamma + r)));
}

static inline void scaled_row(int64_t n, R factor, const R *x, R *y)
{
    for (int64_t j = 0; j < n; j += VL) store(y + j, load(x + j) * factor);
}

/* Makes A, and T and (I + T)^-1 if the rule erases, and the rows Qg = gamma*q, Kt = tail*k and En =
 * -gamma*e. */
static inline void scalar_matrices(const pal_rule_shape *s, pal_chunk *c)
{
    const int64_t C = s->C, n = s->Kp, panels = n / PANEL;
    const strip q = {c->q, n, PANEL}, k = {c->k, n, PANEL}, e = {c->e, n, PANEL};
    const R *p = c->p, *gamma = p + C * C, *tail = p + (C - 1) * C;
    dot_rows(C, C, true, q, k, panels, c->A, C);
    if (s->erase) dot_rows(C, C, true, e, k, panels, c->T, C);
    for (int64_t r = 0; r < C; r++) {
        const int64_t end = r / VL * VL + VL; /* whole vectors that include the diagonal */
        for (int64_t i = r * C; i < r * C + end; i += VL) {
            store((R *)c->A + i, load((R *)c->A + i) * load(p + i));
            if (s->erase) store((R *)c->T + i, load((R *)c->T + i) * load(p + i));
        }
        scaled_row(n, gamma[r], (const R *)c->q + r * n, (R *)c->Qg + r * n);
        scaled_row(n, tail[r], (const R *)c->k + r * n, (R *)c->Kt + r * n);
        if (s->erase) scaled_row(n, -gamma[r], (const R *)c->e + r * n, (R *)c->En + r * n);
    }
    for (int64_t j = 0; j < n; j++) ((R *)c->gamma)[j] = gamma[C - 1];
    if (s->erase) invert(C, c->T, c->inverse);
}

/* ---- Gradients ---- */

/*
 * Writes dg [C] to b->dg. With M = dA*A + dT*T below the diagonal,
 *
 *     dg_t = sum(whole) + sum_{r>=t} (<q_r, dq_r> + <e_r, de_r>) + sum_{s<t} <k_s, dk_s>
 *            + sum_{s<t<=r} M_rs
 *
 * where dq, de and dk still are only the products with the state, multiplied by the decay.
 */
static inline void scalar_dg(const pal_rule_shape *s, const pal_chunk *c, pal_chunk_back *b,
                             const void *S0, const void *dS)
{
    const int64_t C = s->C, n = s->Kp;
    const R *dA = b->dA, *dT = b->dT, *A = c->A, *T = c->T;
    R *dg = b->dg, *whole = b->x, later = 0, earlier = 0;
    whole_path(s, c, S0, dS, whole);
    for (int64_t j = 0; j < n; j++) later += whole[j];
    for (int64_t r = C - 1; r >= 0; r--) {
        later += row_dot((const R *)c->q + r * n, (const R *)b->dq + r * n, n);
        if (s->erase) later += row_dot((const R *)c->e + r * n, (const R *)b->de + r * n, n);
        dg[r] = later;
    }
    for (int64_t r = 0; r < C; r++) {
        dg[r] += earlier;
        earlier += row_dot((const R *)c->k + r * n, (const R *)b->dk + r * n, n);
    }
    for (int64_t r = 1; r < C; r++) {
        R crossing = 0;
        for (int64_t t = 1; t <= r; t++) {
            const int64_t i = r * C + t - 1;
            crossing += dA[i] * A[i];
            if (s->erase) crossing += dT[i] * T[i];
            dg[t] += crossing;
        }
    }
}

/* Computes dq, de, dk and dg of a chunk from dO, dX, U, S0 and dS. */
static inline void scalar_gradient(const pal_rule_shape *s, const pal_chunk *c, pal_chunk_back *b,
                                   const void *S0, const void *dS)
{
    const int64_t C = s->C, n = s->Kp;
    const R *p = c->p, *gamma = p + C * C, *tail = p + (C - 1) * C;
    R *dA = b->dA, *dT = b->dT, *dq = b->dq, *dk = b->dk, *de = b->de;
    state_products(s, b, S0, dS);
    for (int64_t r = 0; r < C; r++) {
        scaled_row(n, gamma[r], dq + r * n, dq + r * n);
        scaled_row(n, tail[r], dk + r * n, dk + r * n);
        if (s->erase) scaled_row(n, -gamma[r], de + r * n, de + r * n);
    }
    scalar_dg(s, c, b, S0, dS);
    for (int64_t r = 0; r < C; r++) /* the products below are with rows without decay, so they need
                                     * dA*p, dT*p */
        for (int64_t i = r * C; i <= r * C + r; i++) {
            dA[i] *= p[i];
            if (s->erase) dT[i] = i == r * C + r ? 0 : dT[i] * p[i];
        }
    const left none = {NULL, 0, 0}, upper_T = s->erase ? left_of(dT, 1, C) : none;
    triangle_product(s, false, left_of(dA, C, 1), c->k, none, NULL, dq);
    triangle_product(s, true, left_of(dA, 1, C), c->q, upper_T, c->e, dk);
    if (s->erase) triangle_product(s, false, left_of(dT, C, 1), c->k, none, NULL, de);
}

#endif
