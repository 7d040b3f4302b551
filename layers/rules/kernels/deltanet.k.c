/*
 * deltanet.k.c - DeltaNet: the delta rule without decay.
 *
 *     S <- (I - beta k k^T) S + beta k v^T                  o = scale S^T q
 *
 * p, gamma and tail are all 1. So T, A and the gradients are plain products of rows.
 */
#include "layers/rules/kernels/gate.k.h"

static void copy_rows(const pal_rule_shape *s, R sign, const R *x, R *y)
{
    for (int64_t i = 0; i < s->C * s->Kp; i += VL) store(y + i, load(x + i) * sign);
}

void K(deltanet_prepare)(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    const int64_t C = s->C, panels = s->Kp / PANEL;
    const strip q = {c->q, s->Kp, PANEL}, k = {c->k, s->Kp, PANEL}, e = {c->e, s->Kp, PANEL};
    read_keys(s, h, t, c);
    scalar_gate(s, h, t, c);
    dot_rows(C, C, true, q, k, panels, c->A, C);
    dot_rows(C, C, true, e, k, panels, c->T, C);
    invert(C, c->T, c->inverse);
    copy_rows(s, -1, c->e, c->En);
    copy_rows(s, 1, c->q, c->Qg);
    copy_rows(s, 1, c->k, c->Kt);
    for (int64_t j = 0; j < s->Kp; j += VL) store((R *)c->gamma + j, splat(1));
}

void K(deltanet_pack)(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    read_keys(s, h, t, c);
    scalar_gate(s, h, t, c);
    token_rows(s, false, c);
}

/* dq = dO S0^T + dA k; de = -dX S0^T + dT k; dk = U dS^T + dA^T q + dT^T e. */
void K(deltanet_gradient)(const pal_rule_shape *s, const pal_head *h, int64_t t, const pal_chunk *c,
                          pal_chunk_back *b, const void *S0, const void *dS,
                          const pal_head_grad *to)
{
    const int64_t C = s->C;
    const left none = {NULL, 0, 0};
    R *dT = b->dT;
    state_products(s, b, S0, dS);
    copy_rows(s, -1, b->de, b->de);
    for (int64_t r = 0; r < C; r++) dT[r * C + r] = 0;
    triangle_product(s, false, left_of(b->dA, C, 1), c->k, none, NULL, b->dq);
    triangle_product(s, false, left_of(dT, C, 1), c->k, none, NULL, b->de);
    triangle_product(s, true, left_of(b->dA, 1, C), c->q, left_of(dT, 1, C), c->e, b->dk);
    scalar_gate_back(s, h, t, c, b, to);
    put_both_keys(s, c, b->dq, b->dk, to, t);
}
