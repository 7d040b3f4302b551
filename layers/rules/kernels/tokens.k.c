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
 * the columns that come next. A rule that erases nothing knows u from the start, and needs one
 * sweep.
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
        if (erase) continue;
        const V decay = splat(alpha[i * step]), key = splat(k[i]);
        ask(next, i, width, 1);
        UNROLL
        for (int j = 0; j < VECTORS; j++)
            *(VU *)(to + i * width + j * VL) =
                (VU)vfma(key, u[j], decay * loadu(x + i * width + j * VL));
    }
    for (int64_t i = 0; i < K && erase; i++) {
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
 * Mamba-3, in one sweep: each row of a token reads S, and all of them write to it. Row i also gets
 * c->p[i][j] times value j of its token. With `enter`, keys and values of the token before
 * (c->before) are written too, and row i gets c->A[i][j] times value j of these. `rows` is the
 * number of rows of a token and `width` that of vectors of columns; both are constants where this
 * is called, so that sums and values stay in registers.
 */
enum { MOST = 8 /* rows of a token */ };
typedef struct sweep {
    const R *x, *next;
    R *to;
    int64_t stride; /* from row to row of x and to */
    int64_t asked;  /* rows of `next` that are already on their way */
} sweep;

INLINE void ranked_token(const pal_rule_shape *s, const pal_chunk *c, int64_t r, int rows,
                         int width, bool enter, sweep S, const V (*v)[VECTORS],
                         const V (*v0)[VECTORS], V (*o)[VECTORS])
{
    const int64_t K = s->K, n = s->Kp;
    const R *q = (const R *)c->q + r * n, *k = (const R *)c->k + r * n, *k0 = c->before;
    const V alpha = splat(((const R *)c->alpha)[r / rows]);
    for (int64_t a = 0; a < K; a++) {
        V y[VECTORS];
        if (a >= S.asked) ask(S.next, a, S.stride, 0), ask(S.next, a, S.stride, 1);
        UNROLL
        for (int j = 0; j < width; j++) y[j] = loadu(S.x + a * S.stride + j * VL) * alpha;
        UNROLL
        for (int i = 0; i < rows; i++) {
            UNROLL
            for (int j = 0; j < width; j++) o[i][j] = vfma(splat(q[i * n + a]), y[j], o[i][j]);
        }
        UNROLL
        for (int i = 0; i < rows; i++) {
            UNROLL
            for (int j = 0; j < width; j++) {
                y[j] = vfma(splat(k[i * n + a]), v[i][j], y[j]);
                if (enter) y[j] = vfma(splat(k0[i * n + a]), v0[i][j], y[j]);
            }
        }
        UNROLL
        for (int j = 0; j < width; j++) *(VU *)(S.to + a * S.stride + j * VL) = (VU)y[j];
    }
}

/* Adds what the rows of a token get from values. */
INLINE void add_values(int rows, int width, const R *by, const V (*v)[VECTORS], V (*o)[VECTORS])
{
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int l = 0; l < rows; l++) {
            UNROLL
            for (int j = 0; j < width; j++)
                o[i][j] = vfma(splat(by[i * rows + l]), v[l][j], o[i][j]);
        }
    }
}

/* All tokens for `width` vectors of columns from `col` on, of which n columns exist. */
INLINE void ranked_columns(const pal_rule_shape *s, const pal_chunk *c, int rows, int width,
                           int64_t col, int64_t n, sweep S, const pal_rows *o)
{
    R out[COLS] __attribute__((aligned(64)));
    const R *before = (const R *)c->before + rows * s->Kp, *weight = c->weigh, *next = S.next;
    const pal_rows result = columns_from(o, col);
    for (int64_t r = 0; r < c->rows; r += rows) {
        V v[MOST][VECTORS], v0[MOST][VECTORS], read[MOST][VECTORS];
        const bool enter = r == 0 && c->enter;
        UNROLL
        for (int i = 0; i < rows; i++) {
            UNROLL
            for (int j = 0; j < width; j++) {
                const int64_t at = col + j * VL;
                const bool there = at < s->Vp;
                v[i][j] = there ? panel_part(s, c->Z, r + i, at) : (V){0};
                v0[i][j] = there && enter ? load(before + i * s->Vp + at) : (V){0};
                read[i][j] = (V){0};
            }
        }
        add_values(rows, width, (const R *)c->p + r * rows, v, read);
        if (enter) add_values(rows, width, c->A, v0, read);
        UNROLL
        for (int i = 0; i < rows; i++) {
            UNROLL
            for (int j = 0; j < width; j++) v[i][j] *= weight[r + i];
        }
        S.next = r + rows == c->rows ? next : NULL;
        if (enter)
            ranked_token(s, c, r, rows, width, true, S, v, v0, read);
        else
            ranked_token(s, c, r, rows, width, false, S, v, v0, read);
        S.x = S.to;
        UNROLL
        for (int i = 0; i < rows; i++) {
            UNROLL
            for (int j = 0; j < width; j++) store(out + j * VL, read[i][j]);
            put_row(&result, r + i, n < width * VL ? n : width * VL, false, out);
        }
    }
}

/* Sums, values and values of the token before are 3 rows width vectors. */
INLINE void ranked_parts(const pal_rule_shape *s, const pal_chunk *c, int rows, int64_t col,
                         int64_t n, sweep S, const pal_rows *o)
{
    enum { REGISTERS = VBYTES == 64 ? 28 : 12 };
    const int width = 12 * rows <= REGISTERS ? 4 : 6 * rows <= REGISTERS ? 2 : 1;
    for (int j = 0; j < VECTORS; j += width) {
        sweep part = {S.x + j * VL, j ? NULL : S.next, S.to + j * VL, S.stride, S.asked};
        if (j * VL < n) ranked_columns(s, c, rows, width, col + j * VL, n - j * VL, part, o);
    }
}

static void ranked(const pal_rule_shape *s, const pal_chunk *c, int64_t col, int64_t n, sweep S,
                   const pal_rows *o)
{
    if (s->ranks == 1)
        ranked_parts(s, c, 1, col, n, S, o);
    else if (s->ranks == 2)
        ranked_parts(s, c, 2, col, n, S, o);
    else if (s->ranks == 4)
        ranked_parts(s, c, 4, col, n, S, o);
    else
        ranked_parts(s, c, 8, col, n, S, o);
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
            ranked(s, c, col, COLS, (sweep){x, then, y, s->V, then == next ? c->ahead.rows : 0}, o);
        } else { /* in a copy that has all columns */
            R copy[s->K * COLS] __attribute__((aligned(64)));
            const pal_rows rows = {y, s->V, 1};
            for (int64_t i = 0; i < s->K; i++) copy_row(x + i * s->V, 1, n, COLS, copy + i * COLS);
            ranked(s, c, col, n, (sweep){copy, NULL, copy, COLS, 0}, o);
            for (int64_t i = 0; i < s->K; i++) put_row(&rows, i, n, false, copy + i * COLS);
        }
    }
}
