/*
 * rows.k.h - copies a head's tokens to and from the row buffers of the kernels. Two steps may be
 * part of the copy: q and k get unit length, and the log-decay is made from its pre-activation.
 */
#ifndef PAL_ROWS_K_H
#define PAL_ROWS_K_H

#include "layers/kernels/lane.k.h"
#include "layers/rules/kernels/rules.k.h"
#include "tensor/kernels/range.k.h"

/* to [C][padded] = factor * x, for `rows` tokens from token t on. Elements without a token or
 * channel become zeros. */
static inline void read_rows(const pal_rule_shape *s, int64_t rows, const pal_rows *x, int64_t t,
                             int64_t n, int64_t padded, R factor, R *to)
{
    for (int64_t r = 0; r < rows; r++, to += padded) {
        const R *from = get_row(x, t + r, n, padded, to);
        for (int64_t c = 0; c < padded; c += VL) store(to + c, loadu(from + c) * factor);
    }
    for (int64_t i = 0; i < (s->C - rows) * padded; i += VL) store(to + i, (V){0});
}

/* Elements col .. col + VL - 1 of row r, read from panels of C rows. */
INLINE V panel_part(const pal_rule_shape *s, const void *panels, int64_t r, int64_t col)
{
    const int64_t u = col & (PANEL - 1);
    return load((const R *)panels + (col - u) * s->C + r * PANEL + u);
}

/* Row r of panels of C rows becomes factor * x, with x [Vp]. */
INLINE void put_panel_row(const pal_rule_shape *s, const R *x, R factor, int64_t r, void *panels)
{
    R *to = (R *)panels + r * PANEL;
    for (int64_t j = 0; j < s->Vp; j += PANEL, to += s->C * PANEL)
        for (int u = 0; u < PANEL; u += VL) store(to + u, loadu(x + j + u) * factor);
}

/* Rows from .. C - 1 of panels of C rows become zeros. */
static inline void clear_panel_rows(const pal_rule_shape *s, int64_t from, void *panels)
{
    for (int64_t j = 0; j < s->Vp; j += PANEL)
        for (int64_t i = from * PANEL; i < s->C * PANEL; i += VL)
            store((R *)panels + j * s->C + i, (V){0});
}

/* ---- Unit length ---- */

static inline R row_dot(const R *a, const R *b, int64_t n)
{
    V sum = {0};
    for (int64_t c = 0; c < n; c += VL) sum = vfma(loadu(a + c), loadu(b + c), sum);
    return sum_elements(sum);
}

/* 1 / sqrt(sum x^2 + PAL_NORM_EPS) of a row of n channels. */
static inline R unit_length(const R *x, int64_t n)
{
    const double square = (double)row_dot(x, x, n), plain = 1 / sqrt(square + PAL_NORM_EPS);
    if (square <= pick(FLT_MAX, DBL_MAX)) return (R)plain;
    return (R)rescaled_root(n, x, 0, 1, PAL_NORM_EPS, plain);
}

/* x_r becomes scale * x_r / |x_r| for all C rows, and norm[r] becomes 1 / |x_r|. */
static inline void normalize_rows(const pal_rule_shape *s, R *x, R scale, R *norm)
{
    for (int64_t r = 0; r < s->C; r++) {
        R *at = x + r * s->Kp;
        norm[r] = unit_length(at, s->Kp);
        for (int64_t c = 0; c < s->Kp; c += VL) store(at + c, load(at + c) * (norm[r] * scale));
    }
}

/* Reads q (times scale) and k of a chunk into c->q and c->k, and normalises them if asked for. */
static inline void read_keys(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    const R scale = (R)s->scale;
    read_rows(s, c->rows, &h->in[PAL_Q], t, s->K, s->Kp, s->normalize ? 1 : scale, c->q);
    read_rows(s, c->rows, &h->in[PAL_K], t, s->K, s->Kp, 1, c->k);
    if (!s->normalize) return;
    normalize_rows(s, c->q, scale, c->norm);
    normalize_rows(s, c->k, 1, (R *)c->norm + s->C);
}

/*
 * Turns the gradient d of rows y into that of the rows x that were read, and writes it to out. r is
 * 1 / |x|.
 *
 *     y = scale x            dx = scale d
 *     y = scale r x          dx = scale r (d - y <y, d> / scale^2)          with normalize
 */
static inline void put_keys(const pal_rule_shape *s, int64_t rows, const R *y, R *d, R scale,
                            const R *norm, const pal_rows *out, bool add, int64_t t)
{
    if (!out->data) return;
    for (int64_t r = 0; r < rows; r++, y += s->Kp, d += s->Kp) {
        R factor = scale, along = 0;
        if (s->normalize) {
            factor *= norm[r];
            const R square = scale * scale;
            along = row_dot(y, d, s->Kp);
            along = is_normal((double)square) ? along / square : along / scale / scale;
            for (int64_t c = 0; c < s->Kp; c += VL)
                store(d + c, vfma(load(y + c), splat(-along), load(d + c)) * factor);
        } else if (factor != 1) {
            for (int64_t c = 0; c < s->Kp; c += VL) store(d + c, load(d + c) * factor);
        }
        put_row(out, t + r, s->K, add, d);
    }
}

/* Writes the gradients of q and k from those of c->q and c->k. */
static inline void put_both_keys(const pal_rule_shape *s, const pal_chunk *c, R *dq, R *dk,
                                 const pal_head_grad *to, int64_t t)
{
    put_keys(s, c->rows, c->q, dq, (R)s->scale, c->norm, &to->out[PAL_Q], to->add >> PAL_Q & 1, t);
    put_keys(s, c->rows, c->k, dk, 1, (const R *)c->norm + s->C, &to->out[PAL_K],
             to->add >> PAL_K & 1, t);
}

/* ---- Log-decay ---- */

/* exp(A_log), where A_log counts as PAL_LARGEST_A_LOG if it is larger. */
static inline double decay_rate(double A_log)
{
    return exp(A_log > PAL_LARGEST_A_LOG ? PAL_LARGEST_A_LOG : A_log);
}

/* g of a pre-activation x = f + dt_bias, with rate = exp(A_log): lower_bound * sigmoid(rate x), or
 * -rate * softplus(x). */
static inline V activate(const pal_rule_shape *s, R rate, V x)
{
    if (s->lower_bound < 0) return vsigmoid(x * rate) * (R)s->lower_bound;
    return -(vsoftplus(x) * rate);
}

/* Returns the gradient of x for a gradient dg of g, and puts that of A_log into dA_log. */
static inline V activate_back(const pal_rule_shape *s, R rate, V x, V dg, V *dA_log)
{
    if (s->lower_bound < 0) {
        V y = vsigmoid(x * rate), slope = y * (1 - y) * dg * (R)s->lower_bound;
        V dx = slope * rate;
        *dA_log = dx * x;
        return dx;
    }
    V slope = sel((VI)(x > 20), splat(1), vsigmoid(x));
    *dA_log = -(vsoftplus(x) * rate * dg);
    return -(slope * rate * dg);
}

static inline V bias_part(const pal_head *h, int64_t c, int64_t n)
{
    return c >= n ? (V){0} : ld(h->dt_bias, c, n);
}

/* Writes the rows alpha = exp g, with g by channel and activated if asked for. Rows without a token
 * become ones. */
static inline void read_decay_rows(const pal_rule_shape *s, const pal_head *h, int64_t t,
                                   int64_t rows, R *alpha)
{
    const R rate = s->activate ? (R)decay_rate(h->A_log) : 0;
    if (!s->decay) rows = 0;
    for (int64_t r = 0; r < rows; r++, alpha += s->Kp) {
        const R *g = get_row(&h->in[PAL_G], t + r, s->K, s->Kp, alpha);
        if (s->activate)
            for (int64_t c = 0; c < s->Kp; c += VL)
                store(alpha + c,
                      exp_decay(activate(s, rate, loadu(g + c) + bias_part(h, c, s->K))));
        else
            for (int64_t c = 0; c < s->Kp; c += VL) store(alpha + c, exp_decay(loadu(g + c)));
    }
    for (int64_t i = 0; i < (s->C - rows) * s->Kp; i += VL) store(alpha + i, splat(1));
}

/* Writes one g for each token to g [C], activated if asked for. Without a token g is 0. */
static inline void read_decay(const pal_rule_shape *s, const pal_head *h, int64_t t, int64_t rows,
                              R *g)
{
    for (int64_t r = 0; r < s->C; r++)
        g[r] = r < rows && s->decay ? element(&h->in[PAL_G], t + r, 0) : 0;
    if (!s->decay || !s->activate) return;
    const R rate = (R)decay_rate(h->A_log), bias = *(const R *)h->dt_bias;
    for (int64_t r = 0; r < rows; r += VL) st(g, r, rows, activate(s, rate, ld(g, r, rows) + bias));
}

/* The gradient of A_log, which is 0 where A_log is cut off. */
static inline double dA_log_of(const pal_head *h, double sum)
{
    return h->A_log > PAL_LARGEST_A_LOG ? 0 : sum;
}

/* Turns dg [Kp] of token t into the gradient of the pre-activation, and adds that to sum [Kp]. It
 * adds the gradient of A_log to *rates, whose elements are still to be summed. */
static inline void decay_row_back(const pal_rule_shape *s, const pal_head *h, int64_t t, R *dg,
                                  R *sum, V *rates)
{
    R room[s->Kp] __attribute__((aligned(64)));
    const R rate = (R)decay_rate(h->A_log), *f = get_row(&h->in[PAL_G], t, s->K, s->Kp, room);
    for (int64_t c = 0; c < s->Kp; c += VL) {
        V dA, x = loadu(f + c) + bias_part(h, c, s->K);
        V d = activate_back(s, rate, x, load(dg + c), &dA);
        store(dg + c, d);
        store(sum + c, load(sum + c) + d);
        *rates += dA;
    }
}

/* Writes dg [C][Kp], through the activation if there is one, and the sums of dA_log and
 * ddt_bias. */
static inline void put_decay_rows(const pal_rule_shape *s, const pal_head *h, int64_t t,
                                  int64_t rows, R *dg, const pal_head_grad *to)
{
    const pal_rows *out = &to->out[PAL_G];
    if (!s->decay || (!out->data && !to->sums)) return;
    R sum[s->Kp] __attribute__((aligned(64)));
    V rates = {0};
    for (int64_t c = 0; c < s->Kp; c += VL) store(sum + c, (V){0});
    for (int64_t r = 0; r < rows; r++, dg += s->Kp) {
        if (s->activate) decay_row_back(s, h, t + r, dg, sum, &rates);
        if (out->data) put_row(out, t + r, s->K, to->add >> PAL_G & 1, dg);
    }
    if (!to->sums) return;
    to->sums[0] = dA_log_of(h, (double)sum_elements(rates));
    for (int64_t c = 0; c < s->K; c++) to->sums[1 + c] = (double)sum[c];
}

/* The same for one dg a token. */
static inline void put_decay(const pal_rule_shape *s, const pal_head *h, int64_t t, int64_t rows,
                             const R *dg, const pal_head_grad *to)
{
    const pal_rows *out = &to->out[PAL_G];
    const bool add = to->add >> PAL_G & 1;
    if (!s->decay) return;
    double sum = 0, rates = 0;
    for (int64_t r = 0; r < rows; r++) {
        R d = dg[r];
        if (s->activate) {
            V dA, x = splat(element(&h->in[PAL_G], t + r, 0) + *(const R *)h->dt_bias);
            d = activate_back(s, (R)decay_rate(h->A_log), x, splat(d), &dA)[0];
            sum += (double)d;
            rates += (double)dA[0];
        }
        if (!out->data) continue;
        R *at = (R *)out->data + (t + r) * out->step;
        *at = add ? *at + d : d;
    }
    if (to->sums) to->sums[0] = dA_log_of(h, rates), to->sums[1] = sum;
}

/*
 * Makes what the recurrent form reads instead of a chunk's matrices: En = -alpha*e, Qg = alpha*q,
 * and <q, k> in c->p. With a decay by channel alpha is rows. Otherwise c->alpha contains g [C], and
 * exp g takes its place.
 */
INLINE void token_rows(const pal_rule_shape *s, bool channel, pal_chunk *c)
{
    const int64_t n = s->Kp;
    R *alpha = c->alpha;
    for (int64_t i = 0; !channel && i < s->C; i += VL)
        store(alpha + i, s->decay ? exp_decay(load(alpha + i)) : splat(1));
    for (int64_t r = 0; r < c->rows; r++) {
        const R *q = (const R *)c->q + r * n;
        for (int64_t j = 0; j < n; j += VL) {
            V by = channel ? load(alpha + r * n + j) : splat(alpha[r]);
            store((R *)c->Qg + r * n + j, by * load(q + j));
            if (s->erase) store((R *)c->En + r * n + j, -(by * load((const R *)c->e + r * n + j)));
        }
        ((R *)c->p)[r] = row_dot(q, (const R *)c->k + r * n, n);
    }
}

/* ---- The inverse ---- */

/*
 * (I + T)^-1 by forward substitution: row r is row r of I minus sum_{s<r} T_rs row s. C^3 / 6
 * multiply-adds. Even and odd s have a sum each, so that a multiply-add waits less for the one
 * before.
 */
static inline void invert(int64_t n, const R *T, R *inverse)
{
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < n; j += VL) {
            V sum[2] = {{0}, {0}};
            int64_t i = j;
            for (; i + 1 < r; i += 2) {
                sum[0] = vfma(splat(T[r * n + i]), load(inverse + i * n + j), sum[0]);
                sum[1] = vfma(splat(T[r * n + i + 1]), load(inverse + (i + 1) * n + j), sum[1]);
            }
            if (i < r) sum[0] = vfma(splat(T[r * n + i]), load(inverse + i * n + j), sum[0]);
            const V column = element_numbers() + (R)j;
            store(inverse + r * n + j, sel((VI)(column == (R)r), splat(1), -(sum[0] + sum[1])));
        }
}

#endif
