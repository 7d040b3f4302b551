/*
 * gate.k.h - the gate beta, one number a head and token, which scales both erase and write. KDA,
 * GDN and DeltaNet have it.
 *
 *     e = beta k          z = beta v          dbeta = <de, k> + <dz, v>
 */
#ifndef PAL_GATE_K_H
#define PAL_GATE_K_H

#include "layers/rules/kernels/gradient.k.h"

/* Writes e and Z of a chunk. It reads c->k, v and beta. */
static inline void scalar_gate(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    R room[s->Vp] __attribute__((aligned(64)));
    const int64_t n = s->Kp;
    const R *k = c->k;
    R *e = c->e;
    for (int64_t r = 0; r < c->rows; r++, e += n, k += n) {
        const R beta = element(&h->in[PAL_B], t + r, 0);
        const R *v = get_row(&h->in[PAL_V], t + r, s->V, s->Vp, room);
        for (int64_t j = 0; j < n; j += VL) store(e + j, load(k + j) * beta);
        put_panel_row(s, v, beta, r, c->Z);
    }
    for (int64_t i = 0; i < (s->C - c->rows) * n; i += VL) store(e + i, (V){0});
    clear_panel_rows(s, c->rows, c->Z);
}

/* Writes dv and dbeta, and adds beta*de to dk. de and dk are rows; dz is in b->dX. */
static inline void scalar_gate_back(const pal_rule_shape *s, const pal_head *h, int64_t t,
                                    const pal_chunk *c, const pal_chunk_back *b,
                                    const pal_head_grad *to)
{
    const pal_rows *dv = &to->out[PAL_V], *dbeta = &to->out[PAL_B];
    R room[s->Vp] __attribute__((aligned(64))), into_v[s->Vp] __attribute__((aligned(64)));
    for (int64_t r = 0; r < c->rows; r++) {
        const R beta = element(&h->in[PAL_B], t + r, 0);
        const R *k = (const R *)c->k + r * s->Kp, *de = (const R *)b->de + r * s->Kp;
        const R *v = get_row(&h->in[PAL_V], t + r, s->V, s->Vp, room);
        R *dk = (R *)b->dk + r * s->Kp;
        V sum = {0};
        for (int64_t j = 0; j < s->Kp; j += VL) {
            V d = load(de + j);
            sum = vfma(d, load(k + j), sum);
            store(dk + j, vfma(d, splat(beta), load(dk + j)));
        }
        for (int64_t j = 0; j < s->Vp; j += VL) {
            V dz = panel_part(s, b->dX, r, j);
            store(into_v + j, dz * beta);
            sum = vfma(dz, loadu(v + j), sum);
        }
        if (dv->data) put_row(dv, t + r, s->V, to->add >> PAL_V & 1, into_v);
        if (!dbeta->data) continue;
        R *at = (R *)dbeta->data + (t + r) * dbeta->step, d = sum_elements(sum);
        *at = to->add >> PAL_B & 1 ? *at + d : d;
    }
}

#endif
