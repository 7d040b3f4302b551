/*
 * mamba2.k.c - Mamba-2 (SSD): one decay A dt a head, and nothing is erased.
 *
 *     S <- exp(A dt) S + Bm (dt x)^T                        o = scale S^T Cm + D x
 *
 * In the letters of the other rules: q = Cm, k = Bm, v = x, g = A dt, z = dt x.
 */
#include "layers/rules/kernels/scalar.k.h"

static void inputs(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    R room[s->Vp] __attribute__((aligned(64)));
    const pal_rows *x = &h->in[PAL_V];
    R *g = c->alpha;
    read_keys(s, h, t, c);
    for (int64_t r = 0; r < s->C; r++) {
        const R dt = r < c->rows ? element(&h->in[PAL_G], t + r, 0) : 0;
        g[r] = r < c->rows ? (R)h->A * dt : 0; /* A * 0 is NaN for A = -infinity */
        if (r >= c->rows) continue;
        put_panel_row(s, get_row(x, t + r, s->V, s->Vp, room), dt, r, c->Z);
    }
    clear_panel_rows(s, c->rows, c->Z);
}

void K(mamba2_prepare)(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    inputs(s, h, t, c);
    scalar_decay(s, c);
    scalar_matrices(s, c);
}

void K(mamba2_pack)(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    inputs(s, h, t, c);
    token_rows(s, false, c);
}

/* dx = dt dz + D dO; ddt = A dg + <dz, x>; dA = sum dt dg; dD = sum <dO, x>. */
static void step_back(const pal_rule_shape *s, const pal_head *h, int64_t t, const pal_chunk *c,
                      const pal_chunk_back *b, const pal_head_grad *to)
{
    const pal_rows *dx = &to->out[PAL_V], *ddt = &to->out[PAL_G];
    R room[s->Vp] __attribute__((aligned(64))), into_x[s->Vp] __attribute__((aligned(64)));
    const R *dg = b->dg;
    double dA = 0, dD = 0;
    for (int64_t r = 0; r < c->rows; r++) {
        const R dt = element(&h->in[PAL_G], t + r, 0);
        const R *from = get_row(&h->in[PAL_V], t + r, s->V, s->Vp, room);
        V into_dt = {0}, into_D = {0};
        for (int64_t j = 0; j < s->Vp; j += VL) {
            V x = loadu(from + j);
            V dz = panel_part(s, b->dX, r, j), dO = panel_part(s, b->dO, r, j);
            into_dt = vfma(dz, x, into_dt);
            into_D = vfma(dO, x, into_D);
            store(into_x + j, vfma(dO, splat((R)h->D), dz * dt));
        }
        if (dx->data) put_row(dx, t + r, s->V, to->add >> PAL_V & 1, into_x);
        dA += (double)dt * (double)dg[r];
        dD += (double)sum_elements(into_D);
        if (!ddt->data) continue;
        R *at = (R *)ddt->data + (t + r) * ddt->step, d = (R)h->A * dg[r] + sum_elements(into_dt);
        *at = to->add >> PAL_G & 1 ? *at + d : d;
    }
    if (to->sums) to->sums[0] = dA, to->sums[1] = dD;
}

void K(mamba2_gradient)(const pal_rule_shape *s, const pal_head *h, int64_t t, const pal_chunk *c,
                        pal_chunk_back *b, const void *S0, const void *dS, const pal_head_grad *to)
{
    scalar_gradient(s, c, b, S0, dS);
    step_back(s, h, t, c, b, to);
    put_both_keys(s, c, b->dq, b->dk, to, t);
}
