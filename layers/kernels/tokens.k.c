/*
 * tokens.k.c - the recurrent form: token after token on a state [K][V] as it lies in a tensor.
 *
 *     D = diag(alpha) S      u = z - D^T e      o = D^T q + <q, k> u      S = D + k u^T
 *
 * so one sweep over S gives both what is erased and what is read, and a second one writes. It goes
 * by groups of GROUP columns, which do not depend on each other, and takes all tokens of a group
 * before the next: K x GROUP of the state stay in the first-level cache. Each sweep is two
 * multiply-adds an element; a single token (decoding) is bound by the memory that holds the state,
 * which is read once and written once.
 */
#include "layers/kernels/rows.k.h"

enum { VECTORS = 4, GROUP = VECTORS * VL };

INLINE V column_load(bool whole, const R *row, int64_t j, int64_t n)
{
    if (whole) return (V) * (const VU *)(row + j);
    return j < n ? ld(row, j, n) : (V){0};
}
INLINE void column_store(bool whole, R *row, int64_t j, int64_t n, V v)
{
    if (whole)
        *(VU *)(row + j) = (VU)v;
    else if (j < n)
        st(row, j, n, v);
}

/* Token r on the columns from j on. */
INLINE void one_token(const pal_rule_shape *s, const pal_chunk *c, int64_t r, bool channel,
                      bool whole, int64_t j, const R *S0, R *S, V o[VECTORS])
{
    const int64_t n = s->Kp;
    const R *En = (const R *)c->En + r * n, *Qg = (const R *)c->Qg + r * n;
    const R *k = (const R *)c->k + r * n;
    const R *alpha = (const R *)c->alpha + (channel ? r * n : r);
    V u[VECTORS], read[VECTORS];
    UNROLL
    for (int i = 0; i < VECTORS; i++) {
        const int64_t col = j + i * VL;
        u[i] = whole || col < s->Vp ? panel_part(s, c->Z, r, col) : (V){0};
        read[i] = (V){0};
    }
    for (int64_t i = 0; i < s->K; i++) {
        const V q = splat(Qg[i]), e = s->erase ? splat(En[i]) : (V){0};
        UNROLL
        for (int l = 0; l < VECTORS; l++) {
            V x = column_load(whole, S0 + i * s->V, j + l * VL, s->V);
            if (s->erase) u[l] = vfma(e, x, u[l]);
            read[l] = vfma(q, x, read[l]);
        }
    }
    for (int64_t i = 0; i < s->K; i++) {
        const V a = splat(alpha[channel ? i : 0]), y = splat(k[i]);
        UNROLL
        for (int l = 0; l < VECTORS; l++) {
            V x = column_load(whole, S0 + i * s->V, j + l * VL, s->V);
            column_store(whole, S + i * s->V, j + l * VL, s->V, vfma(y, u[l], a * x));
        }
    }
    const V qk = splat(((const R *)c->p)[r]);
    UNROLL
    for (int i = 0; i < VECTORS; i++) o[i] = vfma(qk, u[i], read[i]);
}

INLINE void group_tokens(const pal_rule_shape *s, const pal_chunk *c, bool channel, bool whole,
                         int64_t j, const R *S0, R *S, const pal_rows *o, const pal_rows *skip, R D)
{
    for (int64_t r = 0; r < c->rows; r++) {
        V out[VECTORS];
        one_token(s, c, r, channel, whole, j, r ? S : S0, S, out);
        UNROLL
        for (int i = 0; i < VECTORS; i++) {
            const int64_t col = j + i * VL;
            if (col >= s->V) continue;
            if (skip) out[i] = vfma(splat(D), row_get(row_of(skip, r, s->V), col), out[i]);
            row_put(row_of(o, r, s->V), false, col, out[i]);
        }
    }
}

void K(tokens)(const pal_rule_shape *s, const pal_chunk *c, int64_t from, int64_t to,
               const void *S0, void *S, const pal_rows *o, const pal_rows *skip, double D)
{
    for (int64_t j = from; j < to; j += GROUP) {
        const bool whole = j + GROUP <= s->V;
        if (s->channel_decay && whole)
            group_tokens(s, c, true, true, j, S0, S, o, skip, (R)D);
        else if (s->channel_decay)
            group_tokens(s, c, true, false, j, S0, S, o, skip, (R)D);
        else if (whole)
            group_tokens(s, c, false, true, j, S0, S, o, skip, (R)D);
        else
            group_tokens(s, c, false, false, j, S0, S, o, skip, (R)D);
    }
}
