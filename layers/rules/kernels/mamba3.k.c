/*
 * mamba3.k.c - Mamba-3: the scan of Mamba-2 on a state that already holds what is left of the last
 * write (docs/kernels.md).
 *
 *     S'_t = exp(g_t) S'_{t-1} + c_t K_t^T V_t        c_t = gamma_t + delta_{t+1}
 *     O_t = exp(g_t) Q_t S'_{t-1} + gamma_t (Q_t K_t^T) V_t + D V_t
 *
 * with gamma = lam dt and delta = (1 - lam) dt. A token has `ranks` rows. In a chunk of C rows,
 *
 *     A_rs = p_rs c_s <q_r, k_s>  (s of an earlier token)     gamma <q_r, k_s> + D (r = s)  (the
 * same)
 *
 * so D, too, is on the diagonal of A. The token itself counts with gamma, never with c - delta,
 * which would cancel. The gradient is in mamba3_gradient.k.c.
 */
#include "layers/rules/kernels/turn.k.h"
#include "layers/rules/kernels/scalar.k.h"

/* Tokens of so many rows. A division takes longer than much of what one row a token needs. */
static inline int64_t tokens_of(const pal_rule_shape *s, int64_t rows)
{
    return s->ranks == 1 ? rows : rows / s->ranks;
}

/* ---- Inputs ---- */

/* g by token in c->alpha; c and gamma by row in c->weigh. */
static void steps(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    const int64_t m = s->ranks, tokens = tokens_of(s, s->C), here = tokens_of(s, c->rows);
    R *g = c->alpha, *both = c->weigh, *now = both + s->C;
    for (int64_t u = 0; u < tokens; u++) {
        const bool there = u < here;
        const R lam = there ? element(&h->in[PAL_LAM], t + u, 0) : 0;
        const R step = there ? element(&h->in[PAL_STEP], t + u, 0) : 0;
        const R gamma = lam * step, all = there ? gamma + late_step(h, t + u + 1) : 0;
        g[u] = there ? element(&h->in[PAL_G], t + u, 0) : 0;
        for (int64_t i = u * m; i < (u + 1) * m; i++) both[i] = all, now[i] = gamma;
    }
}

/* The turns of all tokens, in c->turn [tokens][2][turn_width], and if wanted the angles after them.
 */
static void turns(const pal_rule_shape *s, const pal_head *h, int64_t t, const pal_chunk *c)
{
    const int64_t tokens = tokens_of(s, s->C), here = tokens_of(s, c->rows), width = turn_width(s);
    double phi[s->Ap] __attribute__((aligned(64)));
    R x[here * s->Ap] __attribute__((aligned(64)));
    angles_at(s, h->angle + (t ? t / tokens : 0) * s->angles, phi);
    angles_of(s, h, t, here, phi, x);
    if (c->angles_after) wrap_angles(s, phi, c->angles_after);
    for (int64_t u = 0; u < here; u++) turn_of(s, x + u * s->Ap, (R *)c->turn + u * 2 * width);
}

/* Rows of q, k and Z. */
static void rows(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    const int64_t n = s->Kp, m = s->ranks, width = turn_width(s);
    R *const q = c->q, *const k = c->k;
    for (int64_t r = 0, u = 0; r < c->rows; r += m, u++)
        for (int64_t i = 0; i < m; i++) {
            const R *cs = (R *)c->turn + u * 2 * width;
            turned_row(s, h, PAL_Q, t + u, i, cs, (R)s->scale, q + (r + i) * n);
            turned_row(s, h, PAL_K, t + u, i, cs, 1, k + (r + i) * n);
            put_value_row(s, h, t + u, i, r + i, c->Z);
        }
    for (int64_t i = c->rows * n; i < s->C * n; i += VL) store(q + i, (V){0}), store(k + i, (V){0});
    clear_panel_rows(s, c->rows, c->Z);
}

/* ---- Forward ---- */

/* The number of the token that has row j, and so on: j / ranks of each element. */
static inline V tokens_from(const pal_rule_shape *s, int64_t j)
{
    V token;
    for (int l = 0; l < VL; l++) token[l] = (R)((j + l) / s->ranks);
    return token;
}

/* Writes p [tokens][C] and, C C elements behind it, gamma [tokens], from g [tokens] in c->alpha:
 * what is left after a token of what each row wrote, and of the state before. Sums are carried from
 * token to token. */
static void token_decay(const pal_rule_shape *s, pal_chunk *c)
{
    const int64_t C = s->C, m = s->ranks, tokens = C / m;
    const R *g = c->alpha;
    R *p = c->p, *gamma = p + C * C, all = 0;
    for (int64_t j = 0; j < C; j += VL) {
        const V token = tokens_from(s, j);
        V sum = {0};
        for (int64_t u = 0; u < tokens; u++) {
            const VI before = (VI)(token < (R)u), seen = (VI)(token <= (R)u);
            sum = only(before, sum + g[u]);
            const V x = u * m > j ? exp_decay(sum) : splat(1);
            store(p + u * C + j, only(seen, x));
        }
    }
    for (int64_t u = 0; u < tokens; u++) gamma[u] = all += g[u];
    for (int64_t u = 0; u < tokens; u += VL) store(gamma + u, exp_decay(load(gamma + u)));
}

/* The rows of A of token u, from the products <q, k> in c->T. */
static void matrix_rows(const pal_rule_shape *s, const pal_head *h, int64_t u, const pal_chunk *c)
{
    const int64_t C = s->C, m = s->ranks, own = u * m;
    const R *p = (const R *)c->p + u * C, *both = c->weigh, *now = both + C;
    for (int64_t r = own; r < own + m; r++) {
        const R *raw = (const R *)c->T + r * C;
        R *A = (R *)c->A + r * C;
        int64_t j = 0;
        for (; j < own; j += VL) {
            const VI before = (VI)(element_numbers() + (R)j < (R)own);
            store(A + j, only(before, load(raw + j) * (load(p + j) * load(both + j))));
        }
        for (; j < C; j += VL) store(A + j, (V){0});
        for (j = own; j < own + m; j++) A[j] = now[r] * raw[j] + (j == r ? (R)h->D : 0);
    }
}

void K(mamba3_prepare)(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    const int64_t C = s->C, n = s->Kp, tokens = C / s->ranks;
    const strip q = {c->q, n, PANEL}, k = {c->k, n, PANEL};
    const R *p = c->p, *gamma = p + C * C, *tail = p + (tokens - 1) * C, *both = c->weigh;
    R *from_q = c->from_q, *from_k = c->from_k;
    steps(s, h, t, c);
    turns(s, h, t, c);
    token_decay(s, c);
    for (int64_t u = 0; u < tokens; u++)
        for (int64_t i = 0; i < s->ranks; i++) from_q[u * s->ranks + i] = gamma[u];
    for (int64_t r = 0; r < C; r += VL) store(from_k + r, load(tail + r) * load(both + r));
    rows(s, h, t, c);
    dot_blocks(s, q, k, n / PANEL, c->T);
    for (int64_t u = 0; u < tokens; u++) matrix_rows(s, h, u, c);
    for (int64_t j = 0; j < n; j += VL) store((R *)c->gamma + j, splat(gamma[tokens - 1]));
}

/* For the recurrent form: rows q and k, alpha by token, c by row in c->weigh, and gamma <q, k>
 * (+ D) of the rows of a token in c->p [C][ranks]. If c->enter is set, it says afterwards whether
 * there is a token before: then alpha delta k0 and its values are in c->before, and q times these
 * keys is in c->A [ranks][ranks]. */
void K(mamba3_pack)(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    const int64_t n = s->Kp, m = s->ranks;
    R *alpha = c->alpha, *p = c->p;
    steps(s, h, t, c);
    turns(s, h, t, c);
    const R *now = (const R *)c->weigh + s->C;
    for (int64_t i = 0; i < tokens_of(s, s->C); i += VL)
        store(alpha + i, exp_decay(load(alpha + i)));
    rows(s, h, t, c);
    for (int64_t r = 0; r < c->rows; r++) {
        const int64_t own = tokens_of(s, r) * m;
        const R *q = (const R *)c->q + r * n, *k = (const R *)c->k;
        for (int64_t j = 0; j < m; j++)
            p[r * m + j] = now[r] * row_dot(q, k + (own + j) * n, n) + (own + j == r ? (R)h->D : 0);
    }
    R *first = c->before;
    c->enter = c->enter && t == 0 && rows_before(s, h, first, first + m * n);
    if (!c->enter) return;
    scaled_row(m * n, late_step(h, 0) * alpha[0], first, first);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < m; j++)
            ((R *)c->A)[i * m + j] = row_dot((const R *)c->q + i * n, first + j * n, n);
}
