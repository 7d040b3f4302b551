/*
 * channel.k.h - decay by channel: the matrices of a chunk and their gradients, for GDN-2 and KDA.
 *
 * p_rs = alpha_{s+1} ... alpha_r, with alpha = exp(g), is a vector over channels, another for each
 * pair of tokens. A pair far apart is split at an anchor a between them, p_rs = p_ra p_as, so that
 * rows after the anchor meet rows before it in a product of two matrices; there is an anchor at
 * every BLOCK-th row, and pairs inside a block are done one by one. For a block of rows a .. a +
 * BLOCK - 1
 *
 *     rho_r = p_ra        kappa_s = p_as (s < a)        kk = kappa*k
 *
 * and kappa moves on from anchor to anchor; at the chunk's end it is the tail. Every factor is a
 * product of alphas outward from its anchor, at most 1 and never a quotient or a difference of
 * sums: G may be -5000, and with it exp(-G) is infinite and exp(G_r - G_s) has no digits left. One
 * exponential an element serves for everything.
 *
 * Cost of a token, in vector operations a channel vector: 16 for the exponential, 14 for its rows,
 * 5 for pairs of its block, C multiply-adds for pairs with earlier blocks, C / (2 BLOCK) to move
 * kappa; backward the same pairs cost 12 and 2 C.
 */
#ifndef PAL_CHANNEL_K_H
#define PAL_CHANNEL_K_H

#include "layers/kernels/gradient.k.h"

/* ---- Anchors ---- */

/*
 * kk = kappa*k for all tokens before anchor a, from what they were at the anchor before it; a = C
 * stands for the chunk's last row. kappa may be NULL.
 */
static inline void move_anchor(const pal_rule_shape *s, const pal_chunk *c, int64_t a, R *kappa,
                               R *kk)
{
    const int64_t n = s->Kp;
    for (int64_t j = 0; j < n; j += VL) {
        const R *alpha = (const R *)c->alpha + j, *k = (const R *)c->k + j;
        V hop = a < s->C ? load(alpha + a * n) : splat(1);
        UNROLL
        for (int64_t r = a - 1; r >= a - BLOCK; r--) {
            store(kk + r * n + j, hop * load(k + r * n));
            if (kappa) store(kappa + r * n + j, hop);
            if (r > a - BLOCK) hop *= load(alpha + r * n);
        }
        for (int64_t r = 0; r < a - BLOCK; r++) {
            store(kk + r * n + j, hop * load(kk + r * n + j));
            if (kappa) store(kappa + r * n + j, hop * load(kappa + r * n + j));
        }
    }
}

/* rq = rho*q and re = rho*e of block a. */
static inline void from_anchor(const pal_rule_shape *s, const pal_chunk *c, int64_t a, R *rq, R *re)
{
    const int64_t n = s->Kp;
    const R *alpha = (const R *)c->alpha + a * n;
    const R *q = (const R *)c->q + a * n, *e = (const R *)c->e + a * n;
    for (int64_t j = 0; j < n; j += VL) {
        V rho = splat(1);
        UNROLL
        for (int r = 0; r < BLOCK; r++) {
            const int64_t i = r * n + j;
            if (r) rho *= load(alpha + i);
            store(rq + i, rho * load(q + i));
            store(re + i, rho * load(e + i));
        }
    }
}

/* Qg = gamma*q and En = -gamma*e, and gamma_C. */
static inline void gated_rows(const pal_rule_shape *s, const pal_chunk *c)
{
    const int64_t n = s->Kp, end = s->C * n;
    const R *alpha = c->alpha, *q = c->q, *e = c->e;
    R *Qg = c->Qg, *En = c->En, *whole = c->gamma;
    for (int64_t j = 0; j < n; j += VL) {
        V gamma = splat(1);
        for (int64_t i = j; i < end; i += n) {
            gamma *= load(alpha + i);
            store(Qg + i, gamma * load(q + i));
            store(En + i, -(gamma * load(e + i)));
        }
        store(whole + j, gamma);
    }
}

/* ---- T and A ---- */

/* Column a + s of T and A for the rows of block a: p_rs k_s is carried from row to row. */
INLINE void column_inside(const pal_rule_shape *sh, const pal_chunk *c, int64_t a, int s)
{
    const int64_t n = sh->Kp, C = sh->C;
    V sum[2 * BLOCK]; /* of A, then of T */
    UNROLL
    for (int r = 0; r < 2 * BLOCK; r++) sum[r] = (V){0};
    const R *alpha = (const R *)c->alpha + a * n, *k = (const R *)c->k + (a + s) * n;
    const R *q = (const R *)c->q + a * n, *e = (const R *)c->e + a * n;
    for (int64_t j = 0; j < n; j += VL, alpha += VL, k += VL, q += VL, e += VL) {
        V kk = load(k);
        sum[s] = vfma(load(q + s * n), kk, sum[s]);
        UNROLL
        for (int r = 1; r < BLOCK; r++) {
            if (r <= s) continue;
            kk *= load(alpha + r * n);
            sum[r] = vfma(load(q + r * n), kk, sum[r]);
            sum[BLOCK + r] = vfma(load(e + r * n), kk, sum[BLOCK + r]);
        }
    }
    R total[2 * BLOCK] __attribute__((aligned(64)));
    UNROLL
    for (int r = 0; r < 2 * BLOCK; r += VL) store(total + r, sums_of(sum + r));
    R *A = (R *)c->A + a * C + a + s, *T = (R *)c->T + a * C + a + s;
    UNROLL
    for (int r = 0; r < BLOCK; r++)
        if (r >= s) A[r * C] = total[r], T[r * C] = total[BLOCK + r];
}

static inline strip plain_rows(const R *x, const pal_rule_shape *s)
{
    return (strip){x, s->Kp, PANEL};
}

/* T and A of a chunk from q, k, e and alpha, the inverse, and the rows that meet the state. Kt is
 * kk until the last move makes it the tail's. */
static inline void channel_matrices(const pal_rule_shape *s, pal_chunk *c)
{
    const int64_t n = s->C, panels = s->Kp / PANEL;
    R rq[BLOCK * s->Kp] __attribute__((aligned(64))),
        re[BLOCK * s->Kp] __attribute__((aligned(64)));
    R *kk = c->Kt, *T = c->T, *A = c->A;
    for (int64_t a = 0; a < n; a += BLOCK) {
        if (a) {
            move_anchor(s, c, a, NULL, kk);
            from_anchor(s, c, a, rq, re);
            dot_rows(BLOCK, a, false, plain_rows(rq, s), plain_rows(kk, s), panels, A + a * n, n);
            dot_rows(BLOCK, a, false, plain_rows(re, s), plain_rows(kk, s), panels, T + a * n, n);
        }
        UNROLL
        for (int r = 0; r < BLOCK; r++) column_inside(s, c, a, r);
    }
    move_anchor(s, c, n, NULL, kk);
    gated_rows(s, c);
    invert(n, T, c->inverse);
}

/* ---- Gradients ---- */

/*
 * dq, de and dk come in as the products with the state; here they are weighed by the decay, and dg
 * begins with the paths that enter or leave the chunk through the state. `whole` [Kp] is the path
 * from S0 to S.
 */
static inline void through_state(const pal_rule_shape *s, const pal_chunk *c, pal_chunk_back *b,
                                 const R *whole)
{
    const int64_t n = s->Kp, end = s->C * n;
    const R *alpha = c->alpha, *q = c->q, *k = c->k, *e = c->e;
    R *dq = b->dq, *de = b->de, *dk = b->dk, *dg = b->dg;
    for (int64_t j = 0; j < n; j += VL) {
        V gamma = splat(1), tail = splat(1), later = load(whole + j), earlier = {0};
        for (int64_t i = j; i < end; i += n) {
            gamma *= load(alpha + i);
            store(dq + i, gamma * load(dq + i));
            store(de + i, -(gamma * load(de + i)));
        }
        for (int64_t i = end - n + j; i >= 0; i -= n) {
            later = vfma(load(q + i), load(dq + i), vfma(load(e + i), load(de + i), later));
            store(dg + i, later);
            store(dk + i, tail * load(dk + i));
            tail *= load(alpha + i);
        }
        for (int64_t i = j; i < end; i += n) {
            store(dg + i, load(dg + i) + earlier);
            earlier = vfma(load(k + i), load(dk + i), earlier);
        }
    }
}

/* to [rows][Kp] = x times `depth` rows of b (plain rows), plus a second product if y.a is given. */
static inline void rows_product(const pal_rule_shape *s, int64_t rows, int64_t depth, left x,
                                const R *b, left y, const R *d, R *to)
{
    for (int64_t j = 0; j < s->Kp; j += PANEL)
        for (int64_t r = 0; r < rows; r += MR) {
            tile t = tile_zero();
            tile_madd(&t, left_at(x, r, 0), depth, b + j, s->Kp);
            if (y.a) tile_madd(&t, left_at(y, r, 0), depth, d + j, s->Kp);
            tile_store(&t, to + r * s->Kp + j, s->Kp);
        }
}

/* dq += rho*x and de += rho*y for the rows of block a, and dg_t gets what q and e of r >= t make of
 * it. */
static inline void gather_rows(const pal_rule_shape *s, const pal_chunk *c, int64_t a, const R *x,
                               const R *y, pal_chunk_back *b)
{
    const int64_t n = s->Kp;
    const R *alpha = c->alpha, *q = c->q, *e = c->e;
    R *dq = b->dq, *de = b->de, *dg = b->dg;
    for (int64_t j = 0; j < n; j += VL) {
        const int64_t first = a * n + j;
        V rho[BLOCK], later = {0};
        rho[0] = splat(1);
        UNROLL
        for (int r = 1; r < BLOCK; r++) rho[r] = rho[r - 1] * load(alpha + first + r * n);
        UNROLL
        for (int r = BLOCK - 1; r >= 0; r--) {
            const int64_t i = first + r * n;
            const V dx = rho[r] * load(x + r * n + j), dy = rho[r] * load(y + r * n + j);
            store(dq + i, load(dq + i) + dx);
            store(de + i, load(de + i) + dy);
            later = vfma(load(q + i), dx, later);
            later = vfma(load(e + i), dy, later);
            store(dg + i, load(dg + i) + later);
        }
    }
}

/* dk += kappa*x for the tokens before anchor a, and dg_t gets what k of s < t makes of it. */
static inline void gather_keys(const pal_rule_shape *s, const pal_chunk *c, int64_t a,
                               const R *kappa, const R *x, pal_chunk_back *b)
{
    const int64_t n = s->Kp;
    const R *k = c->k;
    R *dk = b->dk, *dg = b->dg;
    for (int64_t j = 0; j < n; j += VL) {
        V earlier = {0};
        for (int64_t i = j; i < a * n; i += n) {
            const V d = load(kappa + i) * load(x + i);
            store(dg + i, load(dg + i) + earlier);
            store(dk + i, load(dk + i) + d);
            earlier = vfma(load(k + i), d, earlier);
        }
    }
}

/* Pairs of block a (rows) and all tokens before it, through the anchor a. */
static inline void back_across(const pal_rule_shape *s, const pal_chunk *c, int64_t a,
                               pal_chunk_back *b)
{
    const int64_t C = s->C;
    const R *dA = (const R *)b->dA + a * C, *dT = (const R *)b->dT + a * C;
    const left none = {NULL, 0, 0};
    R rx[BLOCK * s->Kp] __attribute__((aligned(64))),
        ry[BLOCK * s->Kp] __attribute__((aligned(64)));
    R *kk = b->kk, *kappa = b->kappa, *x = b->x;
    move_anchor(s, c, a, kappa, kk);
    rows_product(s, BLOCK, a, left_of(dA, C, 1), kk, none, NULL, rx);
    rows_product(s, BLOCK, a, left_of(dT, C, 1), kk, none, NULL, ry);
    gather_rows(s, c, a, rx, ry, b);
    from_anchor(s, c, a, rx, ry);
    rows_product(s, a, BLOCK, left_of(dA, 1, C), rx, left_of(dT, 1, C), ry, x);
    gather_keys(s, c, a, kappa, x, b);
}

/* Pairs inside block a, VL channels at a time. */
static inline void back_inside(const pal_rule_shape *sh, const pal_chunk *c, int64_t a,
                               pal_chunk_back *b)
{
    const int64_t n = sh->Kp, C = sh->C;
    const R *dA = (const R *)b->dA + a * C + a, *dT = (const R *)b->dT + a * C + a;
    for (int64_t j = 0; j < n; j += VL) {
        const int64_t first = a * n + j;
        const R *q = (const R *)c->q + first, *k = (const R *)c->k + first;
        const R *e = (const R *)c->e + first, *alpha = (const R *)c->alpha + first;
        R *dq = (R *)b->dq + first, *de = (R *)b->de + first;
        R *dk = (R *)b->dk + first, *dg = (R *)b->dg + first;
        V p[BLOCK], dks[BLOCK], dgs[BLOCK];
        UNROLL
        for (int r = 0; r < BLOCK; r++) dks[r] = load(dk + r * n), dgs[r] = load(dg + r * n);
        UNROLL
        for (int r = 0; r < BLOCK; r++) {
            const V qr = load(q + r * n), er = load(e + r * n), by = load(alpha + r * n);
            V dqr = load(dq + r * n), der = load(de + r * n), crossing = {0};
            p[r] = splat(1);
            UNROLL
            for (int s = 0; s < r; s++) {
                const V x = splat(dA[r * C + s]), y = splat(dT[r * C + s]), ks = load(k + s * n);
                const V prs = s + 1 == r ? by : p[s] * by, kk = prs * ks;
                const V m = prs * vfma(x, qr, y * er);
                p[s] = prs;
                dqr = vfma(x, kk, dqr);
                der = vfma(y, kk, der);
                dks[s] += m;
                crossing = vfma(ks, m, crossing); /* M_rs for all s so far: they cross s + 1 */
                dgs[s + 1] += crossing;
            }
            const V x = splat(dA[r * C + r]);
            store(dq + r * n, vfma(x, load(k + r * n), dqr));
            store(de + r * n, der);
            dks[r] = vfma(x, qr, dks[r]);
        }
        UNROLL
        for (int r = 0; r < BLOCK; r++) store(dk + r * n, dks[r]), store(dg + r * n, dgs[r]);
    }
}

/* dq, de, dk and dg. */
static inline void channel_gradient(const pal_rule_shape *s, const pal_chunk *c, pal_chunk_back *b,
                                    const void *S0, const void *dS)
{
    state_products(s, b, S0, dS);
    whole_path(s, c, S0, dS, b->x);
    through_state(s, c, b, b->x);
    for (int64_t a = 0; a < s->C; a += BLOCK) {
        if (a) back_across(s, c, a, b);
        back_inside(s, c, a, b);
    }
}

#endif
