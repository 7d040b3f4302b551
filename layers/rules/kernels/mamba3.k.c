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
 * which would cancel; and its own term is kept out of the turn's gradient, where its halves cancel.
 */
#include "layers/rules/kernels/turn.k.h"
#include "layers/rules/kernels/scalar.k.h"

/* ---- Inputs ---- */

/* Rows of q, k and Z; g of the first row of each token, 0 of the others; c and gamma by row in
 * c->weigh; the turn of each token in c->turn. */
static void inputs(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    R room[s->Vp] __attribute__((aligned(64))), v[s->Vp] __attribute__((aligned(64)));
    double phi[s->angles + 1];
    const int64_t n = s->Kp, tokens = s->C / s->ranks;
    R *g = c->alpha, *both = c->weigh, *now = both + s->C;
    for (int64_t j = 0; j < s->angles; j++) phi[j] = h->angle[t / tokens * s->angles + j];
    for (int64_t r = 0; r < c->rows; r++) {
        const int64_t u = t + r / s->ranks, i = r % s->ranks;
        R *cs = (R *)c->turn + r / s->ranks * 2 * s->Ap, *q = (R *)c->q + r * n,
          *k = (R *)c->k + r * n;
        if (i == 0) {
            add_angles(s, h, u, phi);
            turn_of(s, phi, cs);
        }
        g[r] = i ? 0 : element(&h->in[PAL_G], u, 0);
        now[r] = element(&h->in[PAL_LAM], u, 0) * element(&h->in[PAL_STEP], u, 0);
        both[r] = now[r] + late_step(h, u + 1);
        biased_row(s, h, PAL_Q, u, i, q);
        biased_row(s, h, PAL_K, u, i, k);
        turn_row(s, cs, 1, q);
        turn_row(s, cs, 1, k);
        if (s->scale != 1) scaled_row(n, (R)s->scale, q, q);
        value_row(s, h, get_row(&h->in[PAL_V], u, s->V, s->Vp, room), i, v);
        put_panel_row(s, v, 1, r, c->Z);
    }
    for (int64_t r = c->rows; r < s->C; r++) g[r] = both[r] = now[r] = 0;
    for (int64_t i = c->rows * n; i < s->C * n; i += VL)
        store((R *)c->q + i, (V){0}), store((R *)c->k + i, (V){0});
    clear_panel_rows(s, c->rows, c->Z);
}

/* ---- Forward ---- */

/* The products <q, k> in c->T, A, and the gated rows. */
static void matrices(const pal_rule_shape *s, const pal_head *h, pal_chunk *c)
{
    const int64_t C = s->C, n = s->Kp;
    const strip q = {c->q, n, PANEL}, k = {c->k, n, PANEL};
    const R *p = c->p, *gamma = p + C * C, *tail = p + (C - 1) * C;
    const R *both = c->weigh, *now = both + C, *raw = c->T;
    dot_blocks(s, q, k, n / PANEL, c->T);
    for (int64_t r = 0; r < C; r++) {
        const int64_t own = r / s->ranks * s->ranks; /* the first row of its token */
        R *A = (R *)c->A + r * C;
        for (int64_t j = 0; j < C; j += VL) {
            const VI before = (VI)(element_numbers() + (R)j < (R)own);
            store(A + j,
                  only(before, load(raw + r * C + j) * (load(p + r * C + j) * load(both + j))));
        }
        for (int64_t j = own; j < own + s->ranks; j++)
            A[j] = now[r] * raw[r * C + j] + (j == r ? (R)h->D : 0);
        scaled_row(n, gamma[r], (const R *)c->q + r * n, (R *)c->Qg + r * n);
        scaled_row(n, tail[r] * both[r], (const R *)c->k + r * n, (R *)c->Kt + r * n);
    }
    for (int64_t j = 0; j < n; j++) ((R *)c->gamma)[j] = gamma[C - 1];
}

void K(mamba3_prepare)(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    inputs(s, h, t, c);
    scalar_decay(s, c);
    matrices(s, h, c);
}

/* For the recurrent form: rows alpha*q and c*k, and gamma <q, k> (+ D) of the rows of a token in
 * c->p [C][ranks]. If c->enter is set, it says afterwards whether c->before is there. */
void K(mamba3_pack)(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c)
{
    const int64_t n = s->Kp;
    R *alpha = c->alpha, *p = c->p;
    inputs(s, h, t, c);
    const R *both = c->weigh, *now = both + s->C;
    for (int64_t i = 0; i < s->C; i += VL) store(alpha + i, exp_decay(load(alpha + i)));
    for (int64_t r = 0; r < c->rows; r++) {
        const int64_t own = r / s->ranks * s->ranks;
        const R *q = (const R *)c->q + r * n, *k = (const R *)c->k;
        for (int64_t j = 0; j < s->ranks; j++)
            p[r * s->ranks + j] =
                now[r] * row_dot(q, k + (own + j) * n, n) + (own + j == r ? (R)h->D : 0);
        scaled_row(n, alpha[own], q, (R *)c->Qg + r * n);
        scaled_row(n, both[r], k + r * n, (R *)c->Kt + r * n);
    }
    R *first = c->before;
    c->enter = c->enter && t == 0 && rows_before(s, h, 0, NULL, first, first + s->ranks * n);
    if (c->enter) scaled_row(s->ranks * n, late_step(h, 0), first, first);
}

/* ---- Backward ---- */

/* What the gradient knows of each token of a chunk. */
typedef struct token_back {
    R *own;        /* [C][ranks]: gradient of <q_r, k_s> of the token's rows */
    R *now, *both; /* gradients of gamma and c, by token */
    R *Phi;        /* [tokens][Ap]: gradient of the angles from this token on */
    double D;
} token_back;

/*
 * From dA: the gradients of gamma, c and D, those of products within a token, and dA becomes that
 * of the products of different tokens. `written` [C] is <k, V dS^T>.
 */
static void weights_back(const pal_rule_shape *s, const pal_chunk *c, pal_chunk_back *b,
                         const R *written, token_back *to)
{
    const int64_t C = s->C, m = s->ranks;
    const R *p = c->p, *tail = p + (C - 1) * C, *both = c->weigh, *now = both + C, *raw = c->T;
    R sum[C] __attribute__((aligned(64))), *dA = b->dA;
    for (int64_t j = 0; j < C; j += VL) store(sum + j, load(tail + j) * load(written + j));
    to->D = 0;
    for (int64_t u = 0; u < C / m; u++) to->now[u] = 0;
    for (int64_t r = 0; r < C; r++) {
        const int64_t own = r / m * m, i = r * C;
        for (int64_t j = 0; j < m; j++) {
            const R d = dA[i + own + j];
            to->now[r / m] += d * raw[i + own + j];
            to->own[r * m + j] = d * now[r];
        }
        to->D += (double)dA[i + r];
        for (int64_t j = 0; j < C; j += VL) {
            const VI before = (VI)(element_numbers() + (R)j < (R)own);
            const V d = load(dA + i + j) * load(p + i + j);
            store(sum + j, load(sum + j) + only(before, d * load(raw + i + j)));
            store(dA + i + j, only(before, d * load(both + j)));
        }
    }
    for (int64_t u = 0; u < C / m; u++) {
        to->both[u] = 0;
        for (int64_t j = 0; j < m; j++) to->both[u] += sum[u * m + j];
        to->now[u] += to->both[u];
    }
}

/* The gradient of the angles, from the last token back. */
static void angles_back(const pal_rule_shape *s, const pal_chunk *c, const pal_chunk_back *b,
                        const void *dS, const pal_head_grad *g, token_back *to)
{
    const int64_t J = s->angles, n = s->Kp, step = s->half ? 1 : 2;
    R turn[2 * s->Ap] __attribute__((aligned(64)));
    double phi[J + 1];
    for (int64_t j = 0; j < J; j++) phi[j] = b->S1 ? g->whole_turn[j] : g->end_angles[j];
    if (b->S1) K(wedge)(s, dS, b->S1, PANEL, PANEL, s->Vp / PANEL, -1, phi);
    for (int64_t u = c->rows / s->ranks - 1; u >= 0; u--) {
        R *Phi = to->Phi + u * s->Ap;
        for (int64_t j = 0; j < 2 * s->Ap; j += VL) store(turn + j, (V){0});
        for (int64_t r = u * s->ranks; r < (u + 1) * s->ranks; r++) {
            add_wedge(s, (const R *)b->dq + r * n, (const R *)c->q + r * n, turn);
            add_wedge(s, (const R *)b->dk + r * n, (const R *)c->k + r * n, turn);
        }
        for (int64_t j = 0; j < J; j++) Phi[j] = (R)(phi[j] += (double)turn[j * step]);
        for (int64_t j = J; j < s->Ap; j++) Phi[j] = 0;
    }
}

/* The rows of q and k of token u: the gradients turned back, and the products within the token. */
static void keys_back(const pal_rule_shape *s, const pal_head *h, int64_t t, int64_t u,
                      const pal_chunk *c, pal_chunk_back *b, const token_back *from,
                      const pal_head_grad *g, R *sums)
{
    const int64_t m = s->ranks, n = s->Kp;
    R row[2][m * n] __attribute__((aligned(64)));
    const R *cs = (const R *)c->turn + u * 2 * s->Ap, *own = from->own + u * m * m;
    const R scale = (R)s->scale;
    for (int64_t i = 0; i < m; i++) {
        biased_row(s, h, PAL_Q, t + u, i, row[PAL_Q] + i * n);
        biased_row(s, h, PAL_K, t + u, i, row[PAL_K] + i * n);
    }
    for (int64_t i = 0; i < m; i++) {
        R *dq = (R *)b->dq + (u * m + i) * n, *dk = (R *)b->dk + (u * m + i) * n;
        turn_row(s, cs, -1, dq);
        turn_row(s, cs, -1, dk);
        for (int64_t x = 0; x < n; x += VL) {
            V q = load(dq + x), k = load(dk + x);
            for (int64_t j = 0; j < m; j++) {
                q = vfma(splat(own[i * m + j]), load(row[PAL_K] + j * n + x), q);
                k = vfma(splat(own[j * m + i] * scale), load(row[PAL_Q] + j * n + x), k);
            }
            q *= scale;
            R *sum_q = sums + (PAL_Q * m + i) * n + x, *sum_k = sums + (PAL_K * m + i) * n + x;
            store(dq + x, q), store(sum_q, load(sum_q) + q);
            store(dk + x, k), store(sum_k, load(sum_k) + k);
        }
        R *const d[2] = {[PAL_Q] = dq, [PAL_K] = dk};
        for (int w = PAL_Q; w <= PAL_K; w++) {
            pal_rows out = g->out[w];
            if (!out.data) continue;
            out.data = (R *)out.data + i * g->rank[w];
            put_row(&out, t + u, s->K, g->add >> w & 1, d[w]);
        }
    }
}

/* dx and dmimo_x of token u from its rows of dV in b->dX. */
static void values_back(const pal_rule_shape *s, const pal_head *h, int64_t t, int64_t u,
                        const pal_chunk_back *b, const pal_head_grad *g, R *sums)
{
    const int64_t m = s->ranks;
    R room[s->Vp] __attribute__((aligned(64))), by[s->Vp] __attribute__((aligned(64)));
    R dx[s->Vp] __attribute__((aligned(64))), last[s->Vp] __attribute__((aligned(64)));
    const R *x = get_row(&h->in[PAL_V], t + u, s->V, s->Vp, room);
    const bool end = t + u + 1 == h->length && g->end_x.data;
    if (end) copy_row(g->end_x.data, g->end_x.channel, s->V, s->Vp, last);
    for (int64_t j = 0; j < s->Vp; j += VL) store(dx + j, end ? load(last + j) : (V){0});
    for (int64_t i = 0; i < m; i++) {
        const R *f = h->mimo_x.data ? get_row(&h->mimo_x, i, s->V, s->Vp, by) : NULL;
        for (int64_t j = 0; j < s->Vp; j += VL) {
            const V dv = panel_part(s, b->dX, u * m + i, j);
            store(dx + j, f ? vfma(loadu(f + j), dv, load(dx + j)) : load(dx + j) + dv);
            store(sums + i * s->Vp + j, vfma(loadu(x + j), dv, load(sums + i * s->Vp + j)));
        }
    }
    if (g->out[PAL_V].data) put_row(&g->out[PAL_V], t + u, s->V, g->add >> PAL_V & 1, dx);
}

static void put_number(const pal_head_grad *g, int which, int64_t t, R d)
{
    const pal_rows *out = &g->out[which];
    if (!out->data) return;
    R *at = (R *)out->data + t * out->step;
    *at = g->add >> which & 1 ? *at + d : d;
}

/* dg, dlam, ddt and dom of token u. `late` is the gradient of its delta. */
static void steps_back(const pal_rule_shape *s, const pal_head *h, int64_t t, int64_t u,
                       const pal_chunk_back *b, const token_back *from, R late,
                       const pal_head_grad *g)
{
    const R dt = element(&h->in[PAL_STEP], t, 0), lam = element(&h->in[PAL_LAM], t, 0);
    const R *Phi = from->Phi + u * s->Ap;
    R room[s->Ap] __attribute__((aligned(64))), dom[s->Ap] __attribute__((aligned(64)));
    const R *om = get_row(&h->in[PAL_OM], t, s->angles, s->Ap, room);
    V sum = {0};
    for (int64_t j = 0; j < s->Ap; j += VL) {
        sum = vfma(loadu(om + j), load(Phi + j), sum);
        store(dom + j, load(Phi + j) * dt);
    }
    const R turn = sum_elements(sum);
    if (g->out[PAL_OM].data) put_row(&g->out[PAL_OM], t, s->angles, g->add >> PAL_OM & 1, dom);
    put_number(g, PAL_G, t, ((const R *)b->dg)[u * s->ranks]);
    put_number(g, PAL_LAM, t, dt * (from->now[u] - late));
    put_number(g, PAL_STEP, t, lam * from->now[u] + (1 - lam) * late + turn);
}

static void put_sums(int64_t rows, int64_t n, int64_t padded, const R *from, double *to)
{
    for (int64_t i = 0; i < rows && to; i++)
        for (int64_t j = 0; j < n; j++) to[i * n + j] = (double)from[i * padded + j];
}

void K(mamba3_gradient)(const pal_rule_shape *s, const pal_head *h, int64_t t, const pal_chunk *c,
                        pal_chunk_back *b, const void *S0, const void *dS, const pal_head_grad *g)
{
    const int64_t C = s->C, m = s->ranks, n = s->Kp, tokens = c->rows / m;
    const R *p = c->p, *gamma = p + C * C, *tail = p + (C - 1) * C, *both = c->weigh;
    R written[C] __attribute__((aligned(64))), own[C * m], now[C / m], late[C / m];
    R keys[2 * m * n] __attribute__((aligned(64))), values[m * s->Vp] __attribute__((aligned(64)));
    R Phi[C / m * s->Ap] __attribute__((aligned(64)));
    token_back to = {.own = own, .now = now, .both = late, .Phi = Phi};
    R *dq = b->dq, *dk = b->dk;
    state_products(s, b, S0, dS);
    for (int64_t r = 0; r < C; r++) {
        written[r] = row_dot((const R *)c->k + r * n, dk + r * n, n);
        scaled_row(n, gamma[r], dq + r * n, dq + r * n);
        scaled_row(n, tail[r] * both[r], dk + r * n, dk + r * n);
    }
    scalar_dg(s, c, b, S0, dS);
    weights_back(s, c, b, written, &to);
    triangle_product(s, false, left_of(b->dA, C, 1), c->k, left_of(NULL, 0, 0), NULL, dq);
    triangle_product(s, true, left_of(b->dA, 1, C), c->q, left_of(NULL, 0, 0), NULL, dk);
    if (t + tokens == h->length && g->end_k.data)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < s->K; j++)
                dk[((tokens - 1) * m + i) * n + j] += element(&g->end_k, i, j);
    angles_back(s, c, b, dS, g, &to);
    for (int64_t i = 0; i < 2 * m * n; i += VL) store(keys + i, (V){0});
    for (int64_t i = 0; i < m * s->Vp; i += VL) store(values + i, (V){0});
    const R first = K(enter_back)(s, h, t, b->dS0, g, values, Phi);
    for (int64_t u = 0; u < tokens; u++) {
        keys_back(s, h, t, u, c, b, &to, g, keys);
        values_back(s, h, t, u, b, g, values);
        steps_back(s, h, t + u, u, b, &to, u ? late[u - 1] : first, g);
    }
    if (g->sum_D) *g->sum_D = to.D;
    for (int w = PAL_Q; w <= PAL_K; w++) put_sums(m, s->K, n, keys + w * m * n, g->sum_bias[w]);
    put_sums(m, s->V, s->Vp, values, g->sum_mimo_x);
}
