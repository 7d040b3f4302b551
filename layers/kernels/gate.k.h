/*
 * gate.k.h - the one gate beta of a head that erases and writes alike, for KDA and GDN.
 *
 *     e = beta k          z = beta v          dbeta = <de, k> + <dz, v>
 */
#ifndef PAL_GATE_K_H
#define PAL_GATE_K_H

#include "layers/kernels/gradient.k.h"

/* e and Z of a chunk, from c->k, v and beta. */
static inline void scalar_gate(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    K(panels)
    (c->rows, s->V,
     &(pal_rows){(R *)h->in[PAL_V].data + t * h->in[PAL_V].step, h->in[PAL_V].step,
                 h->in[PAL_V].channel},
     s->C, c->Z, 0, s->Vp / PANEL, PAL_PANELS_READ);
    for (int64_t r = 0; r < s->C; r++) {
        const R beta = r < c->rows ? element(&h->in[PAL_B], t + r, 0) : 0;
        for (int64_t j = 0; j < s->Kp; j += VL)
            store((R *)c->e + r * s->Kp + j, load((const R *)c->k + r * s->Kp + j) * beta);
        for (int64_t p = 0; p < s->Vp * s->C; p += s->C * PANEL)
            for (int u = 0; u < NR; u++) {
                R *z = (R *)c->Z + p + r * PANEL + u * VL;
                store(z, load(z) * beta);
            }
    }
}

/* Hands out dv and dbeta, and completes dk: de and dk are rows, dz is b->dX. */
static inline void scalar_gate_back(const pal_rule_shape *s, const pal_head *h, int64_t t,
                                    const pal_chunk *c, const pal_chunk_back *b, const R *de, R *dk,
                                    const pal_head_grad *to)
{
    const pal_rows *dv = &to->out[PAL_V], *dbeta = &to->out[PAL_B];
    for (int64_t r = 0; r < c->rows; r++) {
        const R beta = element(&h->in[PAL_B], t + r, 0);
        const R *k = (const R *)c->k + r * s->Kp;
        const token_row v = row_of(&h->in[PAL_V], t + r, s->V), to_v = row_of(dv, t + r, s->V);
        V sum = {0};
        for (int64_t j = 0; j < s->Kp; j += VL) {
            V d = load(de + r * s->Kp + j);
            sum = vfma(d, load(k + j), sum);
            store(dk + r * s->Kp + j, vfma(d, splat(beta), load(dk + r * s->Kp + j)));
        }
        for (int64_t j = 0; j < s->V; j += VL) {
            V dz = panel_part(s, b->dX, r, j);
            if (dv->data) row_put(to_v, to->add >> PAL_V & 1, j, dz * beta);
            sum = vfma(dz, row_get(v, j), sum);
        }
        if (!dbeta->data) continue;
        R *at = (R *)dbeta->data + (t + r) * dbeta->step, d = sum_lanes(sum);
        *at = to->add >> PAL_B & 1 ? *at + d : d;
    }
}

#endif
