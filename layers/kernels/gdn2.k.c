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
    const pal_rows *b = &h->in[PAL_B], *v = &h->in[PAL_V], *w = &h->in[PAL_W];
    for (int64_t r = 0; r < s->C; r++) {
        const bool token = r < c->rows;
        for (int64_t j = 0; j < s->Kp; j += VL) {
            V e = token ? row_part(b, t + r, j, s->K) * load((const R *)c->k + r * s->Kp + j)
                        : (V){0};
            store((R *)c->e + r * s->Kp + j, e);
        }
        for (int64_t j = 0; j < s->Vp; j += VL) {
            V z = token ? row_part(w, t + r, j, s->V) * row_part(v, t + r, j, s->V) : (V){0};
            store((R *)c->Z + j / PANEL * s->C * PANEL + r * PANEL + j % PANEL, z);
        }
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
    channel_decay(s, c);
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
    const pal_rows *db = &to->out[PAL_B], *dv = &to->out[PAL_V], *dw = &to->out[PAL_W];
    for (int64_t r = 0; r < c->rows; r++) {
        for (int64_t j = 0; j < s->K; j += VL) {
            const int64_t i = r * s->Kp + j;
            V de = load((const R *)b->de + i);
            V dk = vfma(de, row_part(&h->in[PAL_B], t + r, j, s->K), load((const R *)b->dk + i));
            store((R *)b->dk + i, dk);
            if (db->data)
                put_part(db, to->add >> PAL_B & 1, t + r, j, s->K, de * load((const R *)c->k + i));
        }
        for (int64_t j = 0; j < s->V; j += VL) {
            V dz = panel_part(s, b->dX, r, j);
            if (dv->data)
                put_part(dv, to->add >> PAL_V & 1, t + r, j, s->V,
                         dz * row_part(&h->in[PAL_W], t + r, j, s->V));
            if (dw->data)
                put_part(dw, to->add >> PAL_W & 1, t + r, j, s->V,
                         dz * row_part(&h->in[PAL_V], t + r, j, s->V));
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
