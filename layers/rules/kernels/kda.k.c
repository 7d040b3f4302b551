/*
 * kda.k.c - Kimi Delta Attention: decay by channel, one gate beta a head.
 *
 *     S <- (I - beta k k^T) diag(exp g) S + beta k v^T      o = scale S^T q
 */
#include "layers/rules/kernels/channel.k.h"
#include "layers/rules/kernels/gate.k.h"

/* Reads the tokens of a chunk: q, k, e, alpha and Z. */
static void inputs(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    R room[s->Vp] __attribute__((aligned(64)));
    for (int64_t r = 0; r < c->rows; r++) {
        const R beta = element(&h->in[PAL_B], t + r, 0);
        token_row(s, h, t, r, c, NULL, beta);
        put_panel_row(s, get_row(&h->in[PAL_V], t + r, s->V, s->Vp, room), beta, r, c->Z);
    }
    empty_rows(s, c);
    read_decay_rows(s, h, t, c->rows, c->alpha);
    clear_panel_rows(s, c->rows, c->Z);
}

void K(kda_prepare)(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    inputs(s, h, t, c);
    channel_matrices(s, c);
}

void K(kda_pack)(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    inputs(s, h, t, c);
    token_rows(s, true, c);
}

void K(kda_gradient)(const pal_rule_shape *s, const pal_head *h, int64_t t, const pal_chunk *c,
                     pal_chunk_back *b, const void *S0, const void *dS, const pal_head_grad *to)
{
    channel_gradient(s, c, b, S0, dS);
    scalar_gate_back(s, h, t, c, b, to);
    put_both_keys(s, c, b->dq, b->dk, to, t);
    put_decay_rows(s, h, t, c->rows, b->dg, to);
}
