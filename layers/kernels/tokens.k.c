/*
 * tokens.k.c - the recurrent form: token after token on a state [K][V] as it lies in a tensor.
 *
 *     D = diag(alpha) S      u = z - D^T e      o = D^T q + <q, k> u      S = D + k u^T
 *
 * so one sweep over S gives both what is erased and what is read, and a second one writes: two
 * multiply-adds an element each. Sweeps go row by row, as the state lies: a single token (decoding)
 * is bound by the memory that holds it, and that likes to be read in order. Rows are read ROWS at a
 * time, so that the sums of a column are fetched once for all of them. While one head's state is
 * written, the next one's is asked for.
 */
#include "layers/kernels/rows.k.h"

enum { ROWS = 4 };

/* Sums of the columns from .. to - 1: what is left to write, and what is read. */
typedef struct sums {
    R *u, *o;
    int64_t from, to;
} sums;

/* `rows` rows of S (x, `width` apart) meet -alpha*e and alpha*q. */
INLINE void read_rows_of(int rows, bool erase, const R *x, int64_t width, const R *En, const R *Qg,
                         sums s)
{
    V e[ROWS], q[ROWS];
    UNROLL
    for (int i = 0; i < rows; i++) e[i] = erase ? splat(En[i]) : (V){0}, q[i] = splat(Qg[i]);
    for (int64_t j = s.from; j < s.to; j += VL) {
        const bool whole = j + VL <= s.to;
        V u = load(s.u + j), o = load(s.o + j);
        UNROLL
        for (int i = 0; i < rows; i++) {
            V y = whole ? (V) * (const VU *)(x + i * width + j)
                        : ld_part(x + i * width + j, s.to - j);
            if (erase) u = vfma(e[i], y, u);
            o = vfma(q[i], y, o);
        }
        if (erase) store(s.u + j, u);
        store(s.o + j, o);
    }
}

/* One row of S becomes a x + k u. */
INLINE void write_row(R a, R k, const R *x, R *to, const R *next, sums s)
{
    const V decay = splat(a), key = splat(k);
    for (int64_t j = s.from; j < s.to; j += VL) {
        if (next && (j - s.from) * (int64_t)sizeof(R) % 64 == 0) __builtin_prefetch(next + j, 0, 2);
        if (j + VL <= s.to)
            *(VU *)(to + j) = (VU)vfma(key, load(s.u + j), decay * (V) * (const VU *)(x + j));
        else
            st_part(to + j, s.to - j, vfma(key, load(s.u + j), decay * ld_part(x + j, s.to - j)));
    }
}

/* Token r, whose alpha is a number (step 0) or a row (step 1). */
INLINE void one_token(const pal_rule_shape *s, const pal_chunk *c, int64_t r, int64_t step,
                      bool erase, const R *S0, R *S, const R *next, sums sum)
{
    const int64_t K = s->K, width = s->V;
    const R *Qg = (const R *)c->Qg + r * s->Kp, *En = erase ? (const R *)c->En + r * s->Kp : Qg;
    const R *k = (const R *)c->k + r * s->Kp;
    const R *alpha = (const R *)c->alpha + (step ? r * s->Kp : r);
    for (int64_t j = sum.from; j < sum.to; j += VL) {
        store(sum.u + j, panel_part(s, c->Z, r, j));
        store(sum.o + j, (V){0});
    }
    int64_t i = 0;
    for (; i + ROWS <= K; i += ROWS)
        read_rows_of(ROWS, erase, S0 + i * width, width, En + i, Qg + i, sum);
    for (; i < K; i++) read_rows_of(1, erase, S0 + i * width, width, En + i, Qg + i, sum);
    for (i = 0; i < K; i++)
        write_row(alpha[i * step], k[i], S0 + i * width, S + i * width,
                  next ? next + i * width : NULL, sum);
}

/* x from column `from` on. */
static inline pal_rows columns_from(const pal_rows *x, int64_t from)
{
    return (pal_rows){(R *)x->data + from * x->channel, x->step, x->channel};
}

static void write_output(const pal_rule_shape *s, const pal_chunk *c, int64_t r, const pal_rows *o,
                         const pal_rows *skip, R D, sums sum)
{
    const int64_t n = sum.to - sum.from;
    const pal_rows to = columns_from(o, sum.from);
    R x[s->Vp] __attribute__((aligned(64))), *out = sum.o + sum.from, *u = sum.u + sum.from;
    const V qk = splat(((const R *)c->p)[r]);
    for (int64_t j = 0; j < n; j += VL) store(out + j, vfma(qk, load(u + j), load(out + j)));
    if (skip) {
        const pal_rows from = columns_from(skip, sum.from);
        copy_row((const R *)from.data + r * from.step, from.channel, n, (n + VL - 1) / VL * VL, x);
        for (int64_t j = 0; j < n; j += VL)
            store(out + j, vfma(splat(D), load(x + j), load(out + j)));
    }
    put_row(&to, r, n, false, out);
}

void K(tokens)(const pal_rule_shape *s, const pal_chunk *c, int64_t from, int64_t to,
               const void *S0, void *S, const void *next, const pal_rows *o, const pal_rows *skip,
               double D)
{
    R u[s->Vp] __attribute__((aligned(64))), read[s->Vp] __attribute__((aligned(64)));
    const sums sum = {u, read, from, to};
    for (int64_t r = 0; r < c->rows; r++) {
        const R *x = r ? S : S0, *ask = r + 1 == c->rows ? next : NULL;
        if (s->channel_decay)
            one_token(s, c, r, 1, true, x, S, ask, sum);
        else if (s->erase)
            one_token(s, c, r, 0, true, x, S, ask, sum);
        else
            one_token(s, c, r, 0, false, x, S, ask, sum);
        write_output(s, c, r, o, skip, (R)D, sum);
    }
}
