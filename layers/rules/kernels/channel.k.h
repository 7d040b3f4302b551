/*
 * channel.k.h - decay by channel: the matrices of a chunk and their gradients, for GDN-2 and KDA.
 *
 * With alpha = exp(g), the decay from token s to token r is p_rs = alpha_{s+1} ... alpha_r. It is a
 * vector with a number for each channel, and each pair of tokens has another one. Pairs inside a
 * block of BLOCK rows are computed one by one. For all other pairs the decay is split at the first
 * row a of the block of r, which is called the anchor: p_rs = rho_r kappa_s with
 *
 *     rho_r = alpha_a ... alpha_r                   r = a .. a + BLOCK - 1
 *     kappa_s = alpha_{s+1} ... alpha_{a-1}         s < a
 *
 * Then the rows of a block and all rows before it form a product of two matrices, rho*q or rho*e
 * and kk = kappa*k. From one anchor to the next, kappa is multiplied by the alphas in between. At
 * the end of the chunk it is the tail.
 *
 * All these factors are products of alphas, so they are at most 1. Quotients such as exp(G_r)
 * exp(-G_s), with G the sum of g, would fail: G may be -5000, where exp(-G) is infinite. The
 * difference G_r - G_s of two large sums has lost its digits. One exponential for each element of g
 * is enough.
 *
 * The cost of one token, in vector operations for each vector of channels: 16 for the exponential,
 * 14 for its rows, 5 for the pairs in its block, C multiply-adds for the pairs with earlier blocks,
 * and C / (2 BLOCK) to move kappa. In backward the pairs cost 12 and 2 C. The loops over channels
 * are short, so the widths 64 and 128 have copies of the code in which the width is a constant.
 */
#ifndef PAL_CHANNEL_K_H
#define PAL_CHANNEL_K_H

#include "layers/rules/kernels/gradient.k.h"

/* ---- Rows ---- */

/* Writes row r of q, k and e from token t + r. The erase gate is the row b [Kp], or the number beta
 * if b is NULL. */
INLINE void token_row(const pal_rule_shape *s, const pal_head *h, int64_t t, int64_t r,
                      const pal_chunk *c, const R *b, R beta)
{
    const int64_t n = s->Kp, at = r * n;
    R *q = (R *)c->q + at, *k = (R *)c->k + at, *e = (R *)c->e + at;
    const R *from_q = get_row(&h->in[PAL_Q], t + r, s->K, n, q);
    const R *from_k = get_row(&h->in[PAL_K], t + r, s->K, n, k);
    R unit_q = (R)s->scale, unit_k = 1;
    if (s->normalize) {
        R *norm = (R *)c->norm + r;
        norm[0] = unit_length(from_q, n);
        norm[s->C] = unit_length(from_k, n);
        unit_q *= norm[0];
        unit_k = norm[s->C];
    }
    for (int64_t j = 0; j < n; j += VL) {
        const V key = loadu(from_k + j) * unit_k;
        store(e + j, (b ? loadu(b + j) : splat(beta)) * key);
        store(q + j, loadu(from_q + j) * unit_q);
        store(k + j, key);
    }
}

/* Sets the rows of q, k and e after the last token to zero. */
static inline void empty_rows(const pal_rule_shape *s, const pal_chunk *c)
{
    const int64_t n = s->Kp;
    for (int64_t i = c->rows * n; i < s->C * n; i += VL) {
        store((R *)c->q + i, (V){0});
        store((R *)c->k + i, (V){0});
        store((R *)c->e + i, (V){0});
    }
}

/* ---- Anchors ---- */

/* Makes kk = kappa*k, and kappa unless it is NULL, for all tokens before anchor a. It starts from
 * the values at the anchor before, a - BLOCK. */
INLINE void move_anchor(int64_t n, const pal_chunk *c, int64_t a, R *kappa, R *kk)
{
    const R *alpha = (const R *)c->alpha + (a - BLOCK) * n;
    const R *k = (const R *)c->k + (a - BLOCK) * n;
    const int64_t first = (a - BLOCK) * n;
    for (int64_t j = 0; j < n; j += VL) {
        V hop = splat(1);
        UNROLL
        for (int r = BLOCK - 1; r >= 0; r--) {
            store(kk + first + r * n + j, hop * load(k + r * n + j));
            if (kappa) store(kappa + first + r * n + j, hop);
            hop *= load(alpha + r * n + j);
        }
        for (int64_t i = j; i < first; i += BLOCK * n) UNROLL
        for (int r = 0; r < BLOCK; r++) {
            store(kk + i + r * n, hop * load(kk + i + r * n));
            if (kappa) store(kappa + i + r * n, hop * load(kappa + i + r * n));
        }
    }
}

/* rq = rho*q and re = rho*e, both [BLOCK][Kp], for the block that begins at a. If gamma is given,
 * it is the product of all alphas before a. Then the rows Qg = gamma_r*q and En = -gamma_r*e of the
 * block are written too, and gamma is multiplied by the block's alphas. */
INLINE void from_anchor(int64_t n, const pal_chunk *c, int64_t a, R *rq, R *re, R *gamma)
{
    const int64_t at = a * n;
    const R *alpha = (const R *)c->alpha + at, *q = (const R *)c->q + at;
    const R *e = (const R *)c->e + at;
    R *Qg = (R *)c->Qg + at, *En = (R *)c->En + at;
    for (int64_t j = 0; j < n; j += VL) {
        V rho = splat(1), before = gamma ? load(gamma + j) : rho;
        UNROLL
        for (int r = 0; r < BLOCK; r++) {
            const int64_t i = r * n + j;
            rho *= load(alpha + i);
            const V x = rho * load(q + i), y = rho * load(e + i);
            store(rq + i, x);
            store(re + i, y);
            if (!gamma) continue;
            store(Qg + i, before * x);
            store(En + i, -before * y);
        }
        if (gamma) store(gamma + j, before * rho);
    }
}

/* ---- T and A ---- */

/* Column a + s of T and A, for the rows of block a. p_rs k_s is kept from row to row. */
INLINE void column_inside(int64_t n, int64_t C, const pal_chunk *c, int64_t a, int s)
{
    V sum[2 * BLOCK]; /* first those of A, then those of T */
    UNROLL
    for (int r = 0; r < 2 * BLOCK; r++) sum[r] = (V){0};
    const R *alpha = (const R *)c->alpha + a * n, *k = (const R *)c->k + (a + s) * n;
    const R *q = (const R *)c->q + a * n, *e = (const R *)c->e + a * n;
    for (int64_t j = 0; j < n; j += VL) {
        V kk = load(k + j);
        sum[s] = vfma(load(q + s * n + j), kk, sum[s]);
        UNROLL
        for (int r = 1; r < BLOCK; r++) {
            if (r <= s) continue;
            kk *= load(alpha + r * n + j);
            sum[r] = vfma(load(q + r * n + j), kk, sum[r]);
            sum[BLOCK + r] = vfma(load(e + r * n + j), kk, sum[BLOCK + r]);
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

INLINE strip plain_rows(const R *x, int64_t n) { return (strip){x, n, PANEL}; }

/* n is Kp. */
INLINE void matrices_of_width(int64_t n, int64_t C, pal_chunk *c)
{
    R rq[BLOCK * n] __attribute__((aligned(64))), re[BLOCK * n] __attribute__((aligned(64)));
    R *kk = c->Kt, *T = c->T, *A = c->A, *gamma = c->gamma;
    for (int64_t j = 0; j < n; j += VL) store(gamma + j, splat(1));
    for (int64_t a = 0; a < C; a += BLOCK) {
        from_anchor(n, c, a, rq, re, gamma);
        if (a) {
            dot_rows(BLOCK, a, false, plain_rows(rq, n), plain_rows(kk, n), n / PANEL, A + a * C,
                     C);
            dot_rows(BLOCK, a, false, plain_rows(re, n), plain_rows(kk, n), n / PANEL, T + a * C,
                     C);
        }
        UNROLL
        for (int r = 0; r < BLOCK; r++) column_inside(n, C, c, a, r);
        move_anchor(n, c, a + BLOCK, NULL, kk);
    }
    invert(C, T, c->inverse);
}

/* T and A of a chunk from q, k, e and alpha, then (I + T)^-1, gamma, and the rows Qg, En and Kt
 * that are multiplied by the state. Kt serves as kk, because after the last move kappa is the
 * tail. */
static inline void channel_matrices(const pal_rule_shape *s, pal_chunk *c)
{
    if (s->Kp == 64)
        matrices_of_width(64, s->C, c);
    else if (s->Kp == 128)
        matrices_of_width(128, s->C, c);
    else
        matrices_of_width(s->Kp, s->C, c);
}

/* ---- Gradients ---- */

/*
 * dq, de and dk contain dO S0^T, dX S0^T and U dS^T (state_products). This multiplies them by the
 * decay, and starts dg with the terms that contain the state before or after the chunk:
 *
 *     dq_r = gamma_r*dq_r        de_r = -gamma_r*de_r        dk_s = tail_s*dk_s
 *     dg_t = whole + sum_{r>=t} (q_r*dq_r + e_r*de_r) + sum_{s<t} k_s*dk_s
 *
 * `whole` [Kp] is gamma_C*rowsum(dS*S0) (whole_path).
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

/* to [rows][Kp] = x b, with `depth` rows in b. If y.a is given, y d is added. b and d are plain
 * rows. */
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

/* For the rows r of block a: dq_r += rho_r*x_r, de_r += rho_r*y_r, where x and y are dA kk and dT
 * kk. For t in the block, dg_t += sum_{r>=t} (q_r*rho_r*x_r + e_r*rho_r*y_r). */
static inline void gather_rows(const pal_rule_shape *s, const pal_chunk *c, int64_t a, const R *x,
                               const R *y, pal_chunk_back *b)
{
    const int64_t n = s->Kp;
    const R *alpha = c->alpha, *q = c->q, *e = c->e;
    R *dq = b->dq, *de = b->de, *dg = b->dg;
    for (int64_t j = 0; j < n; j += VL) {
        const int64_t first = a * n + j;
        V rho[BLOCK], later = {0};
        UNROLL
        for (int r = 0; r < BLOCK; r++)
            rho[r] = (r ? rho[r - 1] : splat(1)) * load(alpha + first + r * n);
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

/* For the tokens s before anchor a: dk_s += kappa_s*x_s, and dg_t += sum_{s<t} k_s*kappa_s*x_s for
 * t < a. */
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

/* The gradients of all pairs of a token r of block a and a token s before it. */
static inline void back_across(const pal_rule_shape *s, const pal_chunk *c, int64_t a,
                               pal_chunk_back *b)
{
    const int64_t C = s->C;
    const R *dA = (const R *)b->dA + a * C, *dT = (const R *)b->dT + a * C;
    const left none = {NULL, 0, 0};
    R rx[BLOCK * s->Kp] __attribute__((aligned(64))),
        ry[BLOCK * s->Kp] __attribute__((aligned(64)));
    R *kk = b->kk, *kappa = b->kappa, *x = b->x;
    move_anchor(s->Kp, c, a, kappa, kk);
    rows_product(s, BLOCK, a, left_of(dA, C, 1), kk, none, NULL, rx);
    rows_product(s, BLOCK, a, left_of(dT, C, 1), kk, none, NULL, ry);
    gather_rows(s, c, a, rx, ry, b);
    from_anchor(s->Kp, c, a, rx, ry, NULL);
    rows_product(s, a, BLOCK, left_of(dA, 1, C), rx, left_of(dT, 1, C), ry, x);
    gather_keys(s, c, a, kappa, x, b);
}

/* The gradients of the pairs inside block a, for VL channels at a time. */
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
                crossing = vfma(ks, m, crossing); /* sum of M_rs up to this s: they all cross token
                                                   * s + 1 */
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

/* Computes dq, de, dk and dg of a chunk from dO, dX, U, S0 and dS. */
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
