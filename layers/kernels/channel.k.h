/*
 * channel.k.h - decay by channel: the matrices of a chunk and their gradients, for GDN-2 and KDA.
 *
 * p_rs = exp(g_{s+1} + ... + g_r) is a vector over channels, another for each pair of tokens. A
 * pair far apart is split at an anchor a between them, p_rs = p_ra p_as, so that a block of rows
 * becomes a product of two matrices; pairs inside a block of 16 rows are done one by one. No
 * exponent is positive, and each is a sum of g outward from its anchor, never a difference of two
 * sums: G may be -5000, and with it exp(-G) is infinite and exp(G_r - G_s) has no digits left.
 *
 * Three exponentials an element serve for everything, with a the first row of the element's block:
 *
 *     alpha_r = exp(g_r)
 *     rho_r   = p_ra                                           rho_a = 1
 *     sigma_s = p_ns, n the next block's first row (for the last block: the chunk's last row)
 *
 * Cost of a token, in vector operations a channel vector: about 45 for the exponentials, C / 2
 * pairs of its block at 3 each, and C multiply-adds across blocks of a longer chunk; backward 10 a
 * pair.
 *
 * sigma_a then is the decay from one anchor to the next, and what spans several blocks is a product
 * of factors that are at most 1.
 */
#ifndef PAL_CHANNEL_K_H
#define PAL_CHANNEL_K_H

#include "layers/kernels/gradient.k.h"

/* alpha, rho and sigma of block a .. a + 15 from the rows of g in `alpha`. */
static inline void block_decay(const pal_rule_shape *s, pal_chunk *c, int64_t a)
{
    const int64_t n = s->Kp;
    const bool last = a + BLOCK == s->C;
    for (int64_t j = 0; j < n; j += VL) {
        R *alpha = (R *)c->alpha + a * n + j, *rho = (R *)c->rho + a * n + j;
        R *sigma = (R *)c->sigma + a * n + j;
        V down = {0}, up = last ? (V){0} : load(alpha + BLOCK * n);
        store(rho, splat(1));
        for (int64_t r = 1; r < BLOCK; r++) {
            down += load(alpha + r * n);
            store(rho + r * n, exp_decay(down));
        }
        for (int64_t r = BLOCK - 1; r >= 0; r--) {
            V g = load(alpha + r * n);
            store(sigma + r * n, exp_decay(up));
            up += g;
            store(alpha + r * n, exp_decay(g));
        }
    }
}

static inline void fill_ones(R *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += VL) store(x + i, splat(1));
}

/* c->alpha holds g; blocks go from first to last, because one looks at the next one's first row. */
static inline void channel_decay(const pal_rule_shape *s, pal_chunk *c)
{
    if (s->decay) {
        for (int64_t a = 0; a < s->C; a += BLOCK) block_decay(s, c, a);
        return;
    }
    fill_ones(c->alpha, s->C * s->Kp);
    fill_ones(c->rho, s->C * s->Kp);
    fill_ones(c->sigma, s->C * s->Kp);
}

/* En = -gamma*e, Qg = gamma*q, Kt = tail*k, and gamma_C. */
static inline void gated_rows(const pal_rule_shape *s, pal_chunk *c)
{
    const int64_t n = s->Kp;
    const R *rho = c->rho, *sigma = c->sigma, *q = c->q, *k = c->k, *e = c->e;
    for (int64_t j = 0; j < n; j += VL) {
        V anchor = load((const R *)c->alpha + j); /* gamma at the block's first row */
        for (int64_t a = 0; a < s->C; a += BLOCK) {
            for (int64_t r = a; r < a + BLOCK; r++) {
                V gamma = anchor * load(rho + r * n + j);
                store((R *)c->En + r * n + j, -(gamma * load(e + r * n + j)));
                store((R *)c->Qg + r * n + j, gamma * load(q + r * n + j));
                if (r == s->C - 1) store((R *)c->gamma + j, gamma);
            }
            anchor *= load(sigma + a * n + j);
        }
        V beyond = splat(1); /* the decay from the next block's first row to the chunk's end */
        for (int64_t a = s->C - BLOCK; a >= 0; a -= BLOCK) {
            for (int64_t r = a; r < a + BLOCK; r++)
                store((R *)c->Kt + r * n + j,
                      load(sigma + r * n + j) * beyond * load(k + r * n + j));
            beyond *= load(sigma + a * n + j);
        }
    }
}

/* ---- T and A ---- */

/* `vectors` vectors of token s, from channel j on, against the tokens r >= s of its block: p_rs k_s
 * stays in registers and is carried from r to r + 1. */
INLINE void diagonal_part(const pal_rule_shape *sh, const pal_chunk *c, int64_t a, int64_t s,
                          int64_t j, int vectors, V t[BLOCK], V z[BLOCK])
{
    const int64_t n = sh->Kp;
    const R *alpha = (const R *)c->alpha + j, *q = (const R *)c->q + j, *e = (const R *)c->e + j;
    V kk[8], sum = {0};
    UNROLL
    for (int i = 0; i < vectors; i++) {
        kk[i] = load((const R *)c->k + s * n + j + i * VL);
        sum = vfma(load(q + s * n + i * VL), kk[i], sum);
    }
    z[s - a] += sum;
    for (int64_t r = s + 1; r < a + BLOCK; r++) {
        V erase = {0}, read = {0};
        UNROLL
        for (int i = 0; i < vectors; i++) {
            kk[i] *= load(alpha + r * n + i * VL);
            erase = vfma(load(e + r * n + i * VL), kk[i], erase);
            read = vfma(load(q + r * n + i * VL), kk[i], read);
        }
        t[r - a] += erase;
        z[r - a] += read;
    }
}

/* Column s of block a, pair by pair. Sums over lanes come last, VL of them at once. */
static inline void diagonal_column(const pal_rule_shape *sh, const pal_chunk *c, int64_t a,
                                   int64_t s)
{
    V t[BLOCK], z[BLOCK];
    for (int i = 0; i < BLOCK; i++) t[i] = z[i] = (V){0};
    int64_t j = 0;
    for (; j + 8 * VL <= sh->Kp; j += 8 * VL) diagonal_part(sh, c, a, s, j, 8, t, z);
    for (; j < sh->Kp; j += PANEL) diagonal_part(sh, c, a, s, j, NR, t, z);
    R sums[2][BLOCK] __attribute__((aligned(64)));
    for (int i = 0; i < BLOCK; i += VL) {
        store(sums[0] + i, sums_of(t + i));
        store(sums[1] + i, sums_of(z + i));
    }
    for (int64_t r = s; r < a + BLOCK; r++) {
        ((R *)c->T)[r * sh->C + s] = sums[0][r - a];
        ((R *)c->A)[r * sh->C + s] = sums[1][r - a];
    }
}

/*
 * kappa_s = p_as of all tokens before anchor a, and kk = kappa*k; both move on from anchor to
 * anchor. kappa may be NULL.
 */
static inline void move_anchor(const pal_rule_shape *s, const pal_chunk *c, int64_t a, R *kappa,
                               R *kk)
{
    const int64_t n = s->Kp, before = a - BLOCK;
    const R *sigma = c->sigma, *k = c->k, *hop = sigma + before * n;
    for (int64_t r = 0; r < a; r++)
        for (int64_t j = 0; j < n; j += VL) {
            bool fresh = r >= before;
            V by = fresh ? load(sigma + r * n + j) : load(hop + j);
            store(kk + r * n + j, by * (fresh ? load(k + r * n + j) : load(kk + r * n + j)));
            if (kappa) store(kappa + r * n + j, fresh ? by : by * load(kappa + r * n + j));
        }
}

/* y = rho * x for the rows of block a. */
static inline void from_anchor(const pal_rule_shape *s, const pal_chunk *c, int64_t a, const R *x,
                               R *y)
{
    const R *rho = (const R *)c->rho + a * s->Kp;
    for (int64_t i = 0; i < BLOCK * s->Kp; i += VL)
        store(y + i, load(rho + i) * load(x + a * s->Kp + i));
}

static inline strip plain_rows(const R *x, const pal_rule_shape *s)
{
    return (strip){x, s->Kp, PANEL};
}

/* T and A of a chunk, from q, k, e and the decays; then the inverse. Kt serves as room for kk until
 * gated_rows fills it, Qg and En for the rows of a block. */
static inline void channel_matrices(const pal_rule_shape *s, pal_chunk *c)
{
    R *kk = c->Kt, *rq = c->Qg, *re = c->En, *T = c->T, *A = c->A;
    const int64_t n = s->C, panels = s->Kp / PANEL;
    for (int64_t a = 0; a < n; a += BLOCK) {
        if (a) {
            move_anchor(s, c, a, NULL, kk);
            from_anchor(s, c, a, c->q, rq);
            from_anchor(s, c, a, c->e, re);
            dot_rows(BLOCK, a, false, plain_rows(re, s), plain_rows(kk, s), panels, T + a * n, n);
            dot_rows(BLOCK, a, false, plain_rows(rq, s), plain_rows(kk, s), panels, A + a * n, n);
        }
        for (int64_t r = a; r < a + BLOCK; r++) diagonal_column(s, c, a, r);
    }
    invert(n, T, c->inverse);
    gated_rows(s, c);
}

/* ---- Gradients ---- */

/* gamma*x, tail*x of rows into y: what came through the state. */
static inline void through_state(const pal_rule_shape *s, const pal_chunk *c, pal_chunk_back *b)
{
    const int64_t n = s->Kp;
    const R *rho = c->rho, *sigma = c->sigma;
    R *q0 = b->q0, *e0 = b->e0, *k0 = b->k0;
    for (int64_t j = 0; j < n; j += VL) {
        V anchor = load((const R *)c->alpha + j);
        for (int64_t a = 0; a < s->C; a += BLOCK) {
            for (int64_t r = a; r < a + BLOCK; r++) {
                V gamma = anchor * load(rho + r * n + j);
                store(q0 + r * n + j, gamma * load(q0 + r * n + j));
                store(e0 + r * n + j, -(gamma * load(e0 + r * n + j)));
            }
            anchor *= load(sigma + a * n + j);
        }
        V beyond = splat(1);
        for (int64_t a = s->C - BLOCK; a >= 0; a -= BLOCK) {
            for (int64_t r = a; r < a + BLOCK; r++)
                store(k0 + r * n + j, load(sigma + r * n + j) * beyond * load(k0 + r * n + j));
            beyond *= load(sigma + a * n + j);
        }
    }
}

/* dg of the paths that enter or leave the chunk through the state; dq, de, dk begin as q0, e0, k0.
 * `whole` [Kp] is the path from S0 to S. */
static inline void decay_of_state_paths(const pal_rule_shape *s, const pal_chunk *c,
                                        pal_chunk_back *b, const R *whole)
{
    const int64_t n = s->Kp;
    const R *q = c->q, *k = c->k, *e = c->e, *q0 = b->q0, *e0 = b->e0, *k0 = b->k0;
    R *dq = b->dq, *de = b->de, *dk = b->dk, *dg = b->dg;
    for (int64_t j = 0; j < n; j += VL) {
        V later = load(whole + j), earlier = {0};
        for (int64_t r = s->C - 1; r >= 0; r--) {
            const int64_t i = r * n + j;
            later = vfma(load(q + i), load(q0 + i), vfma(load(e + i), load(e0 + i), later));
            store(dg + i, later);
            store(dq + i, load(q0 + i));
            store(de + i, load(e0 + i));
        }
        for (int64_t r = 0; r < s->C; r++) {
            const int64_t i = r * n + j;
            store(dg + i, load(dg + i) + earlier);
            earlier = vfma(load(k + i), load(k0 + i), earlier);
            store(dk + i, load(k0 + i));
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

/* x += rho * y for dq or de of a block, and dg_t += sum_{r >= t} source_r * (rho y)_r. */
static inline void gather_block(const pal_rule_shape *s, const pal_chunk *c, int64_t a, const R *y,
                                const R *source, R *d, R *dg)
{
    const int64_t n = s->Kp;
    const R *rho = c->rho;
    for (int64_t j = 0; j < n; j += VL) {
        V later = {0};
        for (int64_t r = a + BLOCK - 1; r >= a; r--) {
            const int64_t i = r * n + j;
            V x = load(rho + i) * load(y + (r - a) * n + j);
            store(d + i, load(d + i) + x);
            later = vfma(load(source + i), x, later);
            store(dg + i, load(dg + i) + later);
        }
    }
}

/* Pairs of block a (rows) and all tokens before it, through the anchor a. */
static inline void back_across(const pal_rule_shape *s, const pal_chunk *c, int64_t a,
                               pal_chunk_back *b)
{
    const int64_t n = s->Kp, C = s->C;
    const R *dA = (const R *)b->dA + a * C, *dT = (const R *)b->dT + a * C;
    const left none = {NULL, 0, 0};
    R *kk = b->kk, *kappa = b->kappa, *x = b->x;
    move_anchor(s, c, a, kappa, kk);
    rows_product(s, BLOCK, a, left_of(dA, C, 1), kk, none, NULL, x);
    gather_block(s, c, a, x, c->q, b->dq, b->dg);
    rows_product(s, BLOCK, a, left_of(dT, C, 1), kk, none, NULL, x);
    gather_block(s, c, a, x, c->e, b->de, b->dg);
    from_anchor(s, c, a, c->q, b->rq);
    from_anchor(s, c, a, c->e, b->re);
    rows_product(s, a, BLOCK, left_of(dA, 1, C), b->rq, left_of(dT, 1, C), b->re, x);
    const R *k = c->k;
    R *dk = b->dk, *dg = b->dg;
    for (int64_t j = 0; j < n; j += VL) {
        V earlier = {0};
        for (int64_t r = 0; r < a; r++) {
            const int64_t i = r * n + j;
            V y = load(kappa + i) * load(x + i);
            store(dg + i, load(dg + i) + earlier);
            store(dk + i, load(dk + i) + y);
            earlier = vfma(load(k + i), y, earlier);
        }
    }
}

/* Pairs inside block a, VL channels at a time: p_rs is carried from row to row for every s. */
static inline void back_inside(const pal_rule_shape *sh, const pal_chunk *c, int64_t a,
                               pal_chunk_back *b)
{
    const int64_t n = sh->Kp, C = sh->C;
    const R *dA = (const R *)b->dA + a * C + a, *dT = (const R *)b->dT + a * C + a;
    for (int64_t j = 0; j < n; j += VL) {
        const R *q = (const R *)c->q + a * n + j, *k = (const R *)c->k + a * n + j;
        const R *e = (const R *)c->e + a * n + j, *alpha = (const R *)c->alpha + a * n + j;
        R *dq = (R *)b->dq + a * n + j, *de = (R *)b->de + a * n + j;
        R *dk = (R *)b->dk + a * n + j, *dg = (R *)b->dg + a * n + j;
        V p[BLOCK], dks[BLOCK], dgs[BLOCK];
        for (int r = 0; r < BLOCK; r++) dks[r] = load(dk + r * n), dgs[r] = load(dg + r * n);
        for (int64_t r = 0; r < BLOCK; r++) {
            const V qr = load(q + r * n), er = load(e + r * n), kr = load(k + r * n);
            const V by = load(alpha + r * n);
            V dqr = load(dq + r * n), der = load(de + r * n), crossing = {0};
            p[r] = splat(1);
            for (int64_t s = 0; s < r; s++) {
                const V x = splat(dA[r * C + s]), y = splat(dT[r * C + s]), ks = load(k + s * n);
                const V prs = p[s] * by, kk = prs * ks;
                const V m = prs * vfma(x, qr, y * er);
                p[s] = prs;
                dqr = vfma(x, kk, dqr);
                der = vfma(y, kk, der);
                dks[s] += m;
                crossing = vfma(ks, m, crossing); /* M_rs for all s so far: they cross s + 1 */
                dgs[s + 1] += crossing;
            }
            const V x = splat(dA[r * C + r]);
            store(dq + r * n, vfma(x, kr, dqr));
            store(de + r * n, der);
            dks[r] = vfma(x, qr, dks[r]);
        }
        for (int r = 0; r < BLOCK; r++) store(dk + r * n, dks[r]), store(dg + r * n, dgs[r]);
    }
}

/* dq, de, dk and dg. */
static inline void channel_gradient(const pal_rule_shape *s, const pal_chunk *c, pal_chunk_back *b,
                                    const void *S0, const void *dS)
{
    state_products(s, b, S0, dS);
    through_state(s, c, b);
    whole_path(s, c, S0, dS, b->x);
    decay_of_state_paths(s, c, b, b->x);
    for (int64_t a = 0; a < s->C; a += BLOCK) {
        if (a) back_across(s, c, a, b);
        back_inside(s, c, a, b);
    }
}

#endif
