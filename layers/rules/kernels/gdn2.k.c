/*
 * gdn2.k.c - Gated DeltaNet-2: decay by channel, and gates by channel for erase and write.
 *
 *     S <- (I - k (b*k)^T) diag(exp g) S + k (w*v)^T        o = scale S^T q
 *
 * This file makes e = b*k and z = w*v, and the gradients of b and w. channel.k.h does the decay,
 * and scan.k.c carries the state.
 */
#include "layers/rules/kernels/channel.k.h"
#include "layers/rules/kernels/gradient.k.h"

/* Reads the tokens of a chunk: q, k, e, alpha and Z. */
static void inputs(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    R x[s->Vp] __attribute__((aligned(64))), y[s->Vp] __attribute__((aligned(64)));
    for (int64_t r = 0; r < c->rows; r++) {
        const R *b = get_row(&h->in[PAL_B], t + r, s->K, s->Kp, (R *)c->e + r * s->Kp);
        token_row(s, h, t, r, c, b, 0);
        const R *v = get_row(&h->in[PAL_V], t + r, s->V, s->Vp, x);
        const R *w = get_row(&h->in[PAL_W], t + r, s->V, s->Vp, y);
        R *z = (R *)c->Z + r * PANEL;
        for (int64_t j = 0; j < s->Vp; j += PANEL, z += s->C * PANEL)
            for (int u = 0; u < PANEL; u += VL) store(z + u, loadu(w + j + u) * loadu(v + j + u));
    }
    empty_rows(s, c);
    read_decay_rows(s, h, t, c->rows, c->alpha);
    clear_panel_rows(s, c->rows, c->Z);
}

void K(gdn2_prepare)(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    inputs(s, h, t, c);
    channel_matrices(s, c);
}

void K(gdn2_pack)(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    inputs(s, h, t, c);
    token_rows(s, true, c);
}

/* dk += de*b. db = de*k, which overwrites de. */
static void erase_gate_back(const pal_rule_shape *s, const pal_head *h, int64_t t,
                            const pal_chunk *c, pal_chunk_back *b, const pal_head_grad *to)
{
    R room[s->Kp] __attribute__((aligned(64)));
    const int64_t n = s->Kp;
    R *de = b->de, *dk = b->dk;
    const R *k = c->k;
    for (int64_t r = 0; r < c->rows; r++, de += n, dk += n, k += n) {
        const R *gate = get_row(&h->in[PAL_B], t + r, s->K, n, room);
        for (int64_t j = 0; j < n; j += VL) {
            V d = load(de + j);
            store(dk + j, vfma(d, loadu(gate + j), load(dk + j)));
            store(de + j, d * load(k + j));
        }
        if (to->out[PAL_B].data) put_row(&to->out[PAL_B], t + r, s->K, to->add >> PAL_B & 1, de);
    }
}

/* dv = dz*w, dw = dz*v. */
static void write_gate_back(const pal_rule_shape *s, const pal_head *h, int64_t t,
                            const pal_chunk *c, pal_chunk_back *b, const pal_head_grad *to)
{
    const pal_rows *dv = &to->out[PAL_V], *dw = &to->out[PAL_W];
    R x[s->Vp] __attribute__((aligned(64))), y[s->Vp] __attribute__((aligned(64)));
    R into_v[s->Vp] __attribute__((aligned(64))), into_w[s->Vp] __attribute__((aligned(64)));
    for (int64_t r = 0; r < c->rows; r++) {
        const R *v = get_row(&h->in[PAL_V], t + r, s->V, s->Vp, x);
        const R *w = get_row(&h->in[PAL_W], t + r, s->V, s->Vp, y);
        for (int64_t j = 0; j < s->Vp; j += VL) {
            V dz = panel_part(s, b->dX, r, j);
            store(into_v + j, dz * loadu(w + j));
            store(into_w + j, dz * loadu(v + j));
        }
        if (dv->data) put_row(dv, t + r, s->V, to->add >> PAL_V & 1, into_v);
        if (dw->data) put_row(dw, t + r, s->V, to->add >> PAL_W & 1, into_w);
    }
}

void K(gdn2_gradient)(const pal_rule_shape *s, const pal_head *h, int64_t t, const pal_chunk *c,
                      pal_chunk_back *b, const void *S0, const void *dS, const pal_head_grad *to)
{
    channel_gradient(s, c, b, S0, dS);
    erase_gate_back(s, h, t, c, b, to);
    write_gate_back(s, h, t, c, b, to);
    put_both_keys(s, c, b->dq, b->dk, to, t);
    put_decay_rows(s, h, t, c->rows, b->dg, to);
}
