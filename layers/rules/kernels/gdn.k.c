/*
 * gdn.k.c - Gated DeltaNet: one decay and one gate beta a head.
 *
 *     S <- exp(g) (I - beta k k^T) S + beta k v^T           o = scale S^T q
 */
#include "layers/rules/kernels/gate.k.h"
#include "layers/rules/kernels/scalar.k.h"

static void inputs(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    read_keys(s, h, t, c);
    read_decay(s, h, t, c->rows, c->alpha);
    scalar_gate(s, h, t, c);
}

void K(gdn_prepare)(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    inputs(s, h, t, c);
    scalar_decay(s, c);
    scalar_matrices(s, c);
}

void K(gdn_pack)(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    inputs(s, h, t, c);
    token_rows(s, false, c);
}

void K(gdn_gradient)(const pal_rule_shape *s, const pal_head *h, int64_t t, const pal_chunk *c,
                     pal_chunk_back *b, const void *S0, const void *dS, const pal_head_grad *to)
{
    scalar_gradient(s, c, b, S0, dS);
    scalar_gate_back(s, h, t, c, b, to);
    put_both_keys(s, c, b->dq, b->dk, to, t);
    put_decay(s, h, t, c->rows, b->dg, to);
}
