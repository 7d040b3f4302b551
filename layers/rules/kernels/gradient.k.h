/*
 * gradient.k.h - the part of the gradient that all rules share: products of a chunk with the state
 * and its gradient, and dA and dT.
 *
 *     dA = lower(dO U^T)          dT = -strictly_lower(dX U^T)
 *     dO S0^T      dX S0^T      U dS^T            each [C][Kp]; the rules multiply them by the
 * decay
 *
 * The last three are computed transposed, for example as S0 dO^T. So the state is read in the order
 * in which its panels lie in memory, and only small matrices have to be transposed. The cost is 3 C
 * K V + C^2 V multiply-adds.
 */
#ifndef PAL_GRADIENT_K_H
#define PAL_GRADIENT_K_H

#include "layers/rules/kernels/rows.k.h"

/* to [Vp][Cp] = the transpose of panels x [C][Vp]. */
static inline void turn(const pal_rule_shape *s, const R *x, R *to)
{
    for (int64_t v = 0; v < s->Vp; v += PANEL)
        transpose(s->C, PANEL, x + v * s->C, PANEL, to + v * s->Cp, s->Cp);
}

/* to [C][Kp] = x S^T, from S in panels and x^T [Vp][Cp]. */
static inline void times_state(const pal_rule_shape *s, const R *S, const R *xt, R *wide, R *to)
{
    for (int64_t j = 0; j < s->C; j += PANEL)
        for (int64_t i = 0; i < s->Kp; i += MR) {
            tile t = tile_zero();
            for (int64_t v = 0; v < s->Vp; v += PANEL) {
                const left x = left_of(S + v * s->Kp + i * PANEL, PANEL, 1);
                if (j + PANEL <= s->C)
                    tile_madd(&t, x, PANEL, xt + v * s->Cp + j, s->Cp);
                else /* the chunk ends in the middle of the tile */
                    tile_madd_cols(&t, NR / 2, x, PANEL, xt + v * s->Cp + j, s->Cp);
            }
            tile_store(&t, wide + i * s->Cp + j, s->Cp);
        }
    transpose(s->Kp, s->C, wide, s->Cp, to, s->Kp);
}

static inline strip panel_rows(const void *x, int64_t rows)
{
    return (strip){x, PANEL, rows * PANEL};
}

/* out[r][s] = <a_r, b_s> for the tokens up to that of r, and a few more. */
static inline void dot_blocks(const pal_rule_shape *s, strip a, strip b, int64_t panels, R *out)
{
    const int64_t C = s->C, n = s->ranks > DOT_ROWS ? s->ranks : DOT_ROWS;
    for (int64_t r = 0; r < C; r += n, a.x += n * a.row)
        dot_rows(n, r + n, false, a, b, panels, out + r * C, C);
}

static inline void state_products(const pal_rule_shape *s, pal_chunk_back *b, const void *S0,
                                  const void *dS)
{
    const int64_t C = s->C, panels = s->Vp / PANEL;
    turn(s, b->dO, b->turned[0]);
    times_state(s, S0, b->turned[0], b->wide, b->dq);
    turn(s, b->U, b->turned[2]);
    times_state(s, dS, b->turned[2], b->wide, b->dk);
    dot_blocks(s, panel_rows(b->dO, C), panel_rows(b->U, C), panels, b->dA);
    if (!s->erase) return;
    turn(s, b->dX, b->turned[1]);
    times_state(s, S0, b->turned[1], b->wide, b->de);
    R *dT = b->dT;
    dot_rows(C, C, true, panel_rows(b->dX, C), panel_rows(b->U, C), panels, dT, C);
    for (int64_t r = 0; r < C; r++)
        for (int64_t i = 0; i < r; i++) dT[r * C + i] = -dT[r * C + i];
}

/* to [Kp] = gamma_C * rowsum(dS * S0). It is the part of dg, equal for all tokens, that comes from
 * S = diag(gamma_C) S0 + ... */
static inline void whole_path(const pal_rule_shape *s, const pal_chunk *c, const R *S0, const R *dS,
                              R *to)
{
    for (int64_t i = 0; i < s->Kp; i += VL) {
        V sum[VL];
        for (int l = 0; l < VL; l++) {
            sum[l] = (V){0};
            for (int64_t v = 0; v < s->Vp; v += PANEL) {
                const int64_t at = v * s->Kp + (i + l) * PANEL;
                UNROLL
                for (int u = 0; u < NR; u++)
                    sum[l] = vfma(load(S0 + at + u * VL), load(dS + at + u * VL), sum[l]);
            }
        }
        store(to + i, sums_of(sum) * load((const R *)c->gamma + i));
    }
}

/* to += x y, and z w if z.a is given, where x and z are lower (or upper) triangular [C][C] and y
 * and w are plain rows. */
static inline void triangle_product(const pal_rule_shape *s, bool upper, left x, const R *y, left z,
                                    const R *w, R *to)
{
    for (int64_t j = 0; j < s->Kp; j += PANEL)
        for (int64_t r = 0; r < s->C; r += MR) {
            tile t = tile_load(to + r * s->Kp + j, s->Kp);
            tile_triangle(&t, x, upper, r, s->C, y + j, s->Kp);
            if (z.a) tile_triangle(&t, z, upper, r, s->C, w + j, s->Kp);
            tile_store(&t, to + r * s->Kp + j, s->Kp);
        }
}

#endif
