/*
 * tokens.k.c - the recurrent form: it takes token after token, on a state [K][V] in the layout of a
 * tensor.
 *
 *     D = diag(alpha) S      u = z - D^T e      o = D^T q + <q, k> u      S = D + k u^T
 *
 * One sweep over S computes both D^T e and D^T q, and a second sweep writes S. Each is two
 * multiply-adds an element. Columns do not depend on each other, so all tokens are done for COLS
 * columns, then for the next COLS. The sums of these columns stay in registers, and their part of S
 * (K x COLS, 16 KiB at K = 128) stays in the first-level cache between the sweeps. With a single
 * token (decoding), the speed is that of the memory that holds S. So each sweep prefetches half of
 * the columns that come next.
 */
#include "layers/rules/kernels/rows.k.h"

enum { VECTORS = 4, COLS = VECTORS * VL, HALF = COLS * sizeof(R) / 2 /* bytes */ };

/* Prefetches half of row i of the columns that come next: `half` is 0 or 1. */
INLINE void ask(const R *next, int64_t i, int64_t width, int half)
{
    if (!next) return;
    const char *at = (const char *)(next + i * width) + half * HALF;
    for (int byte = 0; byte < HALF; byte += 64) __builtin_prefetch(at + byte, 0, 2);
}

/* Token r for the COLS columns x of S, whose rows are `width` apart; the result goes to `to`. u
 * comes in as z and goes out as the written row. o goes out as D^T q, without <q, k> u. alpha is
 * one number (step 0) or a row (step 1). */
INLINE void one_token(const pal_rule_shape *s, const pal_chunk *c, int64_t r, int64_t step,
                      bool erase, const R *x, R *to, int64_t width, const R *next, V u[VECTORS],
                      V o[VECTORS])
{
    const int64_t K = s->K;
    const R *Qg = (const R *)c->Qg + r * s->Kp, *En = erase ? (const R *)c->En + r * s->Kp : Qg;
    const R *k = (const R *)c->k + r * s->Kp;
    const R *alpha = (const R *)c->alpha + (step ? r * s->Kp : r);
    for (int64_t i = 0; i < K; i++) {
        const V e = splat(En[i]), q = splat(Qg[i]);
        ask(next, i, width, 0);
        UNROLL
        for (int j = 0; j < VECTORS; j++) {
            const V y = loadu(x + i * width + j * VL);
            if (erase) u[j] = vfma(e, y, u[j]);
            o[j] = vfma(q, y, o[j]);
        }
    }
    for (int64_t i = 0; i < K; i++) {
        const V decay = splat(alpha[i * step]), key = splat(k[i]);
        ask(next, i, width, 1);
        UNROLL
        for (int j = 0; j < VECTORS; j++)
            *(VU *)(to + i * width + j * VL) =
                (VU)vfma(key, u[j], decay * loadu(x + i * width + j * VL));
    }
}

/* x from channel `col` on. */
INLINE pal_rows columns_from(const pal_rows *x, int64_t col)
{
    return (pal_rows){(R *)x->data + col * x->channel, x->step, x->channel};
}

/* All tokens for COLS columns from `col` on, of which n exist. */
INLINE void all_tokens(const pal_rule_shape *s, const pal_chunk *c, int64_t step, bool erase,
                       int64_t col, int64_t n, const R *x, R *to, int64_t width, const R *next,
                       const pal_rows *o, const pal_rows *skip, R D)
{
    R out[COLS] __attribute__((aligned(64))), by[COLS] __attribute__((aligned(64)));
    const pal_rows result = columns_from(o, col);
    for (int64_t r = 0; r < c->rows; r++) {
        V u[VECTORS], read[VECTORS];
        UNROLL
        for (int j = 0; j < VECTORS; j++) {
            u[j] = col + j * VL < s->Vp ? panel_part(s, c->Z, r, col + j * VL) : (V){0};
            read[j] = (V){0};
        }
        one_token(s, c, r, step, erase, r ? to : x, to, width, r + 1 == c->rows ? next : NULL, u,
                  read);
        const V qk = splat(((const R *)c->p)[r]);
        for (int j = 0; j < VECTORS; j++) store(out + j * VL, vfma(qk, u[j], read[j]));
        if (skip) {
            const pal_rows from = columns_from(skip, col);
            copy_row((const R *)from.data + r * from.step, from.channel, n, COLS, by);
            for (int j = 0; j < COLS; j += VL)
                store(out + j, vfma(splat(D), load(by + j), load(out + j)));
        }
        put_row(&result, r, n, false, out);
    }
}

static void columns(const pal_rule_shape *s, const pal_chunk *c, int64_t col, int64_t n, const R *x,
                    R *to, int64_t width, const R *next, const pal_rows *o, const pal_rows *skip,
                    R D)
{
    if (s->channel_decay)
        all_tokens(s, c, 1, true, col, n, x, to, width, next, o, skip, D);
    else if (s->erase)
        all_tokens(s, c, 0, true, col, n, x, to, width, next, o, skip, D);
    else
        all_tokens(s, c, 0, false, col, n, x, to, width, next, o, skip, D);
}

/* The last columns, if fewer than COLS, in a copy that is filled up to COLS. */
static void last_columns(const pal_rule_shape *s, const pal_chunk *c, int64_t col, int64_t n,
                         const R *x, R *to, const pal_rows *o, const pal_rows *skip, R D)
{
    R copy[s->K * COLS] __attribute__((aligned(64)));
    for (int64_t i = 0; i < s->K; i++) copy_row(x + i * s->V, 1, n, COLS, copy + i * COLS);
    columns(s, c, col, n, copy, copy, COLS, NULL, o, skip, D);
    const pal_rows rows = {to, s->V, 1};
    for (int64_t i = 0; i < s->K; i++) put_row(&rows, i, n, false, copy + i * COLS);
}

void K(tokens)(const pal_rule_shape *s, const pal_chunk *c, int64_t from, int64_t to,
               const void *S0, void *S, const void *next, const pal_rows *o, const pal_rows *skip,
               double D)
{
    for (int64_t col = from; col < to; col += COLS) {
        const R *x = (const R *)S0 + col, *then = col + COLS < to ? x + COLS : next;
        R *y = (R *)S + col;
        if (col + COLS <= to)
            columns(s, c, col, COLS, x, y, s->V, then, o, skip, (R)D);
        else
            last_columns(s, c, col, to - col, x, y, o, skip, (R)D);
    }
}

/* ---- Several rows a token ---- */

/*
 * Mamba-3: each row of a token reads alpha S, then all of them write. Within a token, row i also
 * gets c->p[i][j] times value j. `rows` is the number of rows of a token, a constant where this is
 * called. If v0 is given, keys and values of the token before are added to the state first
 * (c->before).
 */
INLINE void ranked_token(const pal_rule_shape *s, const pal_chunk *c, int64_t r, int rows,
                         const R *x, R *to, int64_t width, const R *next, const V (*v0)[VECTORS],
                         const V (*v)[VECTORS], V (*o)[VECTORS])
{
    const int64_t K = s->K, n = s->Kp;
    const R *p = (const R *)c->p + r * rows, *Kt = (const R *)c->Kt + r * n, *k0 = c->before;
    for (int i = 0; i < rows; i++) {
        const R *Qg = (const R *)c->Qg + (r + i) * n;
        V read[VECTORS] = {{0}};
        for (int64_t a = 0; a < K; a++) {
            const V q = splat(Qg[a]);
            V y[VECTORS];
            if (i == 0) ask(next, a, width, 0);
            UNROLL
            for (int j = 0; j < VECTORS; j++) y[j] = loadu(x + a * width + j * VL);
            for (int l = 0; l < rows && v0 && i == 0; l++)
                for (int j = 0; j < VECTORS; j++) y[j] = vfma(splat(k0[l * n + a]), v0[l][j], y[j]);
            UNROLL
            for (int j = 0; j < VECTORS; j++) {
                if (v0 && i == 0) *(VU *)(to + a * width + j * VL) = (VU)y[j];
                read[j] = vfma(q, y[j], read[j]);
            }
        }
        if (v0) x = to;
        for (int l = 0; l < rows; l++)
            for (int j = 0; j < VECTORS; j++)
                read[j] = vfma(splat(p[i * rows + l]), v[l][j], read[j]);
        for (int j = 0; j < VECTORS; j++) o[i][j] = read[j];
    }
    const V alpha = splat(((const R *)c->alpha)[r]);
    for (int64_t a = 0; a < K; a++) {
        V y[VECTORS];
        ask(next, a, width, 1);
        UNROLL
        for (int j = 0; j < VECTORS; j++) y[j] = alpha * loadu(x + a * width + j * VL);
        for (int l = 0; l < rows; l++) {
            const V key = splat(Kt[l * n + a]);
            UNROLL
            for (int j = 0; j < VECTORS; j++) y[j] = vfma(key, v[l][j], y[j]);
        }
        UNROLL
        for (int j = 0; j < VECTORS; j++) *(VU *)(to + a * width + j * VL) = (VU)y[j];
    }
}

/* COLS columns from `col` on of `rows` rows of Vp, or zeros past their end. */
INLINE void value_columns(const pal_rule_shape *s, const R *x, int64_t col, int rows,
                          V (*v)[VECTORS])
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < VECTORS; j++)
            v[i][j] = col + j * VL < s->Vp ? load(x + i * s->Vp + col + j * VL) : (V){0};
}

INLINE void ranked_columns(const pal_rule_shape *s, const pal_chunk *c, int rows, int64_t col,
                           int64_t n, const R *x, R *to, int64_t width, const R *next,
                           const pal_rows *o)
{
    R out[COLS] __attribute__((aligned(64)));
    const pal_rows result = columns_from(o, col);
    V v0[rows][VECTORS];
    if (c->enter) value_columns(s, (const R *)c->before + rows * s->Kp, col, rows, v0);
    for (int64_t r = 0; r < c->rows; r += rows) {
        V v[rows][VECTORS], read[rows][VECTORS];
        const R *then = r + rows == c->rows ? next : NULL;
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < VECTORS; j++)
                v[i][j] = col + j * VL < s->Vp ? panel_part(s, c->Z, r + i, col + j * VL) : (V){0};
        if (r == 0 && c->enter)
            ranked_token(s, c, r, rows, x, to, width, then, v0, v, read);
        else
            ranked_token(s, c, r, rows, r ? to : x, to, width, then, NULL, v, read);
        for (int i = 0; i < rows; i++) {
            for (int j = 0; j < VECTORS; j++) store(out + j * VL, read[i][j]);
            put_row(&result, r + i, n, false, out);
        }
    }
}

static void ranked(const pal_rule_shape *s, const pal_chunk *c, int64_t col, int64_t n, const R *x,
                   R *to, int64_t width, const R *next, const pal_rows *o)
{
    if (s->ranks == 1)
        ranked_columns(s, c, 1, col, n, x, to, width, next, o);
    else if (s->ranks == 4)
        ranked_columns(s, c, 4, col, n, x, to, width, next, o);
    else
        ranked_columns(s, c, (int)s->ranks, col, n, x, to, width, next, o);
}

void K(ranked_tokens)(const pal_rule_shape *s, const pal_chunk *c, int64_t from, int64_t to,
                      const void *S0, void *S, const void *next, const pal_rows *o,
                      const pal_rows *skip, double D)
{
    (void)skip, (void)D; /* D is in c->p */
    for (int64_t col = from; col < to; col += COLS) {
        const R *x = (const R *)S0 + col, *then = col + COLS < to ? x + COLS : next;
        const int64_t n = to - col;
        R *y = (R *)S + col;
        if (n >= COLS) {
            ranked(s, c, col, COLS, x, y, s->V, then, o);
        } else { /* in a copy that has all columns */
            R copy[s->K * COLS] __attribute__((aligned(64)));
            const pal_rows rows = {y, s->V, 1};
            for (int64_t i = 0; i < s->K; i++) copy_row(x + i * s->V, 1, n, COLS, copy + i * COLS);
            ranked(s, c, col, n, copy, copy, COLS, NULL, o);
            for (int64_t i = 0; i < s->K; i++) put_row(&rows, i, n, false, copy + i * COLS);
        }
    }
}
