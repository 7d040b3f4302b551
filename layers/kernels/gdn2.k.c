/*
 * gdn2.k.c - Gated DeltaNet-2: decay by channel, and gates by channel for erase and write.
 *
 *     S <- (I - k (b*k)^T) diag(exp g) S + k (w*v)^T        o = scale S^T q
 *
 * Here: e = b*k, z = w*v, and db, dw. The decay is channel.k.h's, the state scan.k.c's.
 */
#include "layers/kernels/channel.k.h"
#include "layers/kernels/gradient.k.h"

/* e and Z of a chunk. */
static void gates(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    for (int64_t r = 0; r < c->rows; r++) {
        const token_row b = row_of(&h->in[PAL_B], t + r, s->K);
        const token_row v = row_of(&h->in[PAL_V], t + r, s->V),
                        w = row_of(&h->in[PAL_W], t + r, s->V);
        const R *k = (const R *)c->k + r * s->Kp;
        R *e = (R *)c->e + r * s->Kp;
        for (int64_t j = 0; j < s->Kp; j += VL) store(e + j, row_get(b, j) * load(k + j));
        for (int64_t j = 0; j < s->Vp; j += VL)
            store(panel_entry(s, c->Z, r, j), row_get(w, j) * row_get(v, j));
    }
    for (int64_t r = c->rows; r < s->C; r++) {
        for (int64_t j = 0; j < s->Kp; j += VL) store((R *)c->e + r * s->Kp + j, (V){0});
        for (int64_t j = 0; j < s->Vp; j += VL) store(panel_entry(s, c->Z, r, j), (V){0});
    }
}

static void inputs(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    read_keys(s, h, t, c);
    read_decay_rows(s, h, t, c->rows, c->alpha);
    gates(s, h, t, c);
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

/* dk = de*b + what the products gave; db = de*k; dv = dz*w; dw = dz*v. */
static void gates_back(const pal_rule_shape *s, const pal_head *h, int64_t t, const pal_chunk *c,
                       pal_chunk_back *b, const pal_head_grad *to)
{
    const bool db = to->out[PAL_B].data, dv = to->out[PAL_V].data, dw = to->out[PAL_W].data;
    for (int64_t r = 0; r < c->rows; r++) {
        const token_row x_b = row_of(&h->in[PAL_B], t + r, s->K),
                        to_b = row_of(&to->out[PAL_B], t + r, s->K);
        const token_row x_v = row_of(&h->in[PAL_V], t + r, s->V),
                        to_v = row_of(&to->out[PAL_V], t + r, s->V);
        const token_row x_w = row_of(&h->in[PAL_W], t + r, s->V),
                        to_w = row_of(&to->out[PAL_W], t + r, s->V);
        for (int64_t j = 0; j < s->K; j += VL) {
            const int64_t i = r * s->Kp + j;
            V de = load((const R *)b->de + i);
            store((R *)b->dk + i, vfma(de, row_get(x_b, j), load((const R *)b->dk + i)));
            if (db) row_put(to_b, to->add >> PAL_B & 1, j, de * load((const R *)c->k + i));
        }
        for (int64_t j = 0; j < s->V; j += VL) {
            V dz = panel_part(s, b->dX, r, j);
            if (dv) row_put(to_v, to->add >> PAL_V & 1, j, dz * row_get(x_w, j));
            if (dw) row_put(to_w, to->add >> PAL_W & 1, j, dz * row_get(x_v, j));
        }
    }
}

void K(gdn2_gradient)(const pal_rule_shape *s, const pal_head *h, int64_t t, const pal_chunk *c,
                      pal_chunk_back *b, const void *S0, const void *dS, const pal_head_grad *to)
{
    channel_gradient(s, c, b, S0, dS);
    gates_back(s, h, t, c, b, to);
    put_both_keys(s, c, b->dq, b->dk, to, t);
    put_decay_rows(s, h, t, c->rows, b->dg, to);
}
