/*
 * mamba3_gradient.k.c - the gradient of a chunk of Mamba-3 (docs/kernels.md).
 *
 * Rows of dq and dk go through three stages, in place. First they are only products with the state
 * and its gradient. Then come the products of different tokens, and what this says about the
 * angles. A token's own term is kept out of the angles, where its halves cancel, and comes last,
 * before the rows are turned back.
 */
#include "layers/rules/kernels/turn.k.h"
#include "layers/rules/kernels/scalar.k.h"

/* What the gradient knows of a chunk beside its rows. Rows are those of a chunk, tokens its
 * tokens. */
typedef struct token_back {
    R *q0, *k0;         /* [C]: <q, dO S0^T> and <k, V dS^T> */
    R *own;             /* [C][ranks]: gradient of <q_r, k_s> of a token's rows */
    R *now, *both, *dg; /* [tokens]: gradients of gamma, c and g */
    R *Phi;             /* [tokens][Ap]: gradient of the angles from this token on */
    double *end;        /* [angles]: wedge of dS with the state after the chunk */
    R whole;            /* gamma_C <dS, S0> */
} token_back;

/* ---- Products with the state ---- */

/* Rows of a state that are done together: whole tiles, and whole vectors of a transpose. */
enum { ROWS = (int)VL > (int)MR ? (int)VL : (int)MR };

/* Half a tile of columns where the chunk ends: of ROWS rows, since MR of them are too few sums to
 * keep the multipliers busy. The rows after these are asked for: each begins another line, and the
 * sums would wait for all of them at once. */
INLINE void half_tile(const pal_rule_shape *s, const R *S, const R *xt, R *to)
{
    V sum[ROWS];
    UNROLL
    for (int r = 0; r < ROWS; r++) sum[r] = (V){0};
    for (int64_t v = 0; v < s->Vp; v += PANEL)
        for (int64_t d = 0; d < PANEL; d++) {
            const V y = load(xt + (v + d) * s->Cp);
            __builtin_prefetch(S + v * s->Kp + ROWS * PANEL + d * VL, 0, 3);
            UNROLL
            for (int r = 0; r < ROWS; r++)
                sum[r] = vfma(splat(S[v * s->Kp + r * PANEL + d]), y, sum[r]);
        }
    UNROLL
    for (int r = 0; r < ROWS; r++) store(to + r * s->Cp, sum[r]);
}

/* Columns i .. i + ROWS - 1 of `to` [C][Kp] = x S^T, from these rows of S and x^T [Vp][Cp]. */
INLINE void times_rows(const pal_rule_shape *s, const R *S, int64_t i, const R *xt, R *wide, R *to)
{
    for (int64_t j = 0; j < s->C; j += PANEL) {
        if (j + PANEL > s->C) {
            half_tile(s, S + i * PANEL, xt + j, wide + j);
            continue;
        }
        for (int64_t r = 0; r < ROWS; r += MR) {
            tile t = tile_zero();
            for (int64_t v = 0; v < s->Vp; v += PANEL)
                tile_madd(&t, left_of(S + v * s->Kp + (i + r) * PANEL, PANEL, 1), PANEL,
                          xt + v * s->Cp + j, s->Cp);
            tile_store(&t, wide + r * s->Cp + j, s->Cp);
        }
    }
    transpose(ROWS, s->C, wide, s->Cp, to + i, s->Kp);
}

/* For `count` pairs of rows a = first, first + step, .. and a + other: adds <dS, S0> of both to
 * `whole`, and writes wedge(dS, S0), still by column, to pair[]. */
INLINE void meet(const pal_rule_shape *s, const R *S0, const R *dS, int64_t first, int64_t step,
                 int64_t other, int64_t count, V whole[2], V *pair)
{
    for (int64_t j = 0; j < count; j++) {
        V sum[2] = {{0}, {0}};
        for (int64_t v = 0; v < s->Vp; v += PANEL) {
            const int64_t a = v * s->Kp + (first + j * step) * PANEL, b = a + other * PANEL;
            UNROLL
            for (int u = 0; u < PANEL; u += VL) {
                const V xa = load(S0 + a + u), xb = load(S0 + b + u);
                const V da = load(dS + a + u), db = load(dS + b + u);
                whole[0] = vfma(xa, da, whole[0]), whole[1] = vfma(xb, db, whole[1]);
                sum[0] = vfma(db, xa, sum[0]), sum[1] = vfma(da, xb, sum[1]);
            }
        }
        pair[j] = sum[0] - sum[1];
    }
}

/* dq = dO S0^T and dk = U dS^T. Rows of both states are in the first-level cache meanwhile, and
 * what they make with each other takes only that long. */
static void state_rows(const pal_rule_shape *s, const pal_chunk *c, pal_chunk_back *b, const R *S0,
                       const R *dS, token_back *to)
{
    const int64_t half = s->K / 2, pairs = s->Kp / 2;
    const bool halves = s->half && half % ROWS == 0; /* else they are done afterwards */
    const R decay = *(const R *)c->gamma;
    V pair[pairs], whole[2] = {{0}, {0}};
    for (int64_t j = 0; j < s->angles; j++) to->end[j] = 0;
    turn(s, b->dO, b->turned[0]);
    turn(s, b->U, b->turned[2]);
    for (int64_t i = 0; i < (halves ? half : s->Kp); i += ROWS) {
        for (int64_t at = i; at < s->Kp; at += halves ? half : s->Kp) {
            times_rows(s, S0, at, b->turned[0], b->wide, b->dq);
            times_rows(s, dS, at, b->turned[2], b->wide, b->dk);
        }
        if (halves)
            meet(s, S0, dS, i, 1, half, ROWS, whole, pair + i);
        else
            meet(s, S0, dS, i, 2, 1, ROWS / 2, whole, pair + i / 2);
    }
    to->whole = decay * sum_elements(whole[0] + whole[1]);
    if (s->half && !halves) {
        K(wedge)(s, dS, S0, PANEL, PANEL, s->Vp / PANEL, (double)decay, to->end);
        return;
    }
    for (int64_t j = 0; j < s->angles; j += VL) {
        const V sum = sums_of(pair + j) * decay;
        for (int64_t l = 0; l < VL && j + l < s->angles; l++) to->end[j + l] = (double)sum[l];
    }
}

/* ---- Products within the chunk ---- */

/* dA = dO V^T for the rows of tokens up to that of a row, and a few more; from V^T. */
static void value_products(const pal_rule_shape *s, const pal_chunk_back *b)
{
    const int64_t C = s->C, block = s->ranks > MR ? s->ranks : MR;
    for (int64_t r = 0; r < C; r += MR)
        for (int64_t j = 0; j < r / block * block + block; j += PANEL) {
            const R *xt = (const R *)b->turned[2] + j;
            const bool whole = j + PANEL <= C;
            R *dA = (R *)b->dA + r * C + j;
            tile t = tile_zero();
            for (int64_t v = 0; v < s->Vp; v += PANEL) {
                const left x = left_of((const R *)b->dO + v * C + r * PANEL, PANEL, 1);
                if (whole)
                    tile_madd(&t, x, PANEL, xt + v * s->Cp, s->Cp);
                else
                    tile_madd_cols(&t, NR / 2, x, PANEL, xt + v * s->Cp, s->Cp);
            }
            for (int i = 0; i < MR; i++)
                for (int u = 0; u < (whole ? NR : NR / 2); u++)
                    store(dA + i * C + u * VL, t.sum[i][u]);
        }
}

/* to [C] = <a_r, b_r>. */
static void row_dots(const pal_rule_shape *s, const R *a, const R *b, R *to)
{
    const int64_t n = s->Kp;
    for (int64_t r = 0; r < s->C; r += VL) {
        V sum[VL];
        for (int64_t l = 0; l < VL; l++) {
            sum[l] = (V){0};
            for (int64_t x = (r + l) * n; x < (r + l + 1) * n; x += VL)
                sum[l] = vfma(load(a + x), load(b + x), sum[l]);
        }
        store(to + r, sums_of(sum));
    }
}

/* <q, dO S0^T> and <k, V dS^T>, and the wedge of all keys with what the end of
 * the chunk says about them. */
static void meet_rows(const pal_rule_shape *s, const pal_chunk *c, const pal_chunk_back *b,
                      token_back *to)
{
    row_dots(s, c->q, b->dq, to->q0);
    row_dots(s, c->k, b->dk, to->k0);
    for (int64_t j = 0; j < s->angles; j += VL) {
        const V sum = wedges(s, s->C, c->from_k, b->dk, c->k, j);
        for (int64_t l = 0; l < VL && j + l < s->angles; l++) to->end[j + l] += (double)sum[l];
    }
}

/*
 * From dA: the gradients of gamma and c, and those of products within a token. dA becomes that
 * of the products of different tokens. To dg goes what crosses a token, sum_{s<t<=r} dA_rs A_rs.
 */
static void weights_back(const pal_rule_shape *s, const pal_chunk *c, pal_chunk_back *b,
                         token_back *to)
{
    const int64_t C = s->C, m = s->ranks, tokens = C / m;
    const R *tail = (const R *)c->p + (tokens - 1) * C, *both = c->weigh, *now = both + C;
    R sum[C] __attribute__((aligned(64))), later[C] __attribute__((aligned(64)));
    V across[tokens];
    for (int64_t j = 0; j < C; j += VL)
        store(sum + j, load(tail + j) * load(to->k0 + j)), store(later + j, (V){0});
    for (int64_t u = tokens - 1; u >= 0; u--) {
        const int64_t own = u * m;
        const R *p = (const R *)c->p + u * C;
        R of_gamma = 0;
        for (int64_t r = own; r < own + m; r++) {
            const R *raw = (const R *)c->T + r * C;
            R *dA = (R *)b->dA + r * C;
            int64_t j = 0;
            for (; j < m; j++) {
                of_gamma += dA[own + j] * raw[own + j];
                to->own[r * m + j] = dA[own + j] * now[r];
            }
            for (j = 0; j < own; j += VL) {
                const VI before = (VI)(element_numbers() + (R)j < (R)own);
                const V d = only(before, load(dA + j) * load(p + j));
                const V x = only(before, d * load(raw + j)), by = load(both + j);
                store(sum + j, load(sum + j) + x);
                store(later + j, vfma(x, by, load(later + j)));
                store(dA + j, d * by);
            }
            for (; j < C; j += VL) store(dA + j, (V){0});
        }
        to->now[u] = of_gamma;
        across[u] = (V){0};
        for (int64_t j = 0; j < own; j += VL)
            across[u] += only((VI)(element_numbers() + (R)j < (R)own), load(later + j));
    }
    for (int64_t u = 0; u < tokens; u += VL) store(to->dg + u, sums_of(across + u));
    for (int64_t u = 0; u < tokens; u++) {
        to->both[u] = 0;
        for (int64_t j = 0; j < m; j++) to->both[u] += sum[u * m + j];
        to->now[u] += to->both[u];
    }
}

/* The gradient of D, <dO, V>. It is one number of a head, whose terms may cancel, so it is summed
 * in double. */
static double skip_back(const pal_rule_shape *s, const pal_chunk_back *b)
{
    enum { SUMS = 4 };
    VD sum[SUMS] = {{0}};
    double all = 0;
    for (int64_t i = 0; i < s->C * s->Vp; i += SUMS * DL) {
        UNROLL
        for (int j = 0; j < SUMS; j++)
            sum[j] += ld_double_full(b->dO, i + j * DL) * ld_double_full(b->U, i + j * DL);
    }
    for (int l = 0; l < DL; l++) all += (sum[0][l] + sum[1][l]) + (sum[2][l] + sum[3][l]);
    return all;
}

/* The rest of dg: what goes back to a state before a token, from one after it. */
static void decay_back(const pal_rule_shape *s, const pal_chunk *c, token_back *to)
{
    const R *from_q = c->from_q, *from_k = c->from_k;
    const int64_t m = s->ranks, tokens = s->C / m;
    R later = to->whole, earlier = 0;
    for (int64_t u = tokens - 1; u >= 0; u--) {
        for (int64_t r = u * m; r < (u + 1) * m; r++) later += from_q[r] * to->q0[r];
        to->dg[u] += later;
    }
    for (int64_t u = 0; u < tokens; u++) {
        to->dg[u] += earlier;
        for (int64_t r = u * m; r < (u + 1) * m; r++) earlier += from_k[r] * to->k0[r];
    }
}

/* to = factor*to + x y, where row r of `to` has its own factor, x [C][C] is lower (or upper)
 * triangular and y are rows. */
static void add_rows(const pal_rule_shape *s, bool upper, left x, const R *y, const R *factor,
                     R *to)
{
    for (int64_t j = 0; j < s->Kp; j += PANEL)
        for (int64_t r = 0; r < s->C; r += MR) {
            tile t = tile_load_scaled(to + r * s->Kp + j, s->Kp, factor + r);
            tile_triangle(&t, x, upper, r, s->C, y + j, s->Kp);
            tile_store(&t, to + r * s->Kp + j, s->Kp);
        }
}

/* ---- Tokens ---- */

/* Takes the gradient of the angles after token u to that before it. */
static void angles_back(const pal_rule_shape *s, int64_t u, const pal_chunk *c,
                        const pal_chunk_back *b, double *phi, R *Phi)
{
    const int64_t m = s->ranks, i = u * m * s->Kp;
    const R *q = (const R *)c->q + i, *k = (const R *)c->k + i;
    const R *dq = (const R *)b->dq + i, *dk = (const R *)b->dk + i;
    for (int64_t j = 0; j < s->angles; j += VL)
        store(Phi + j, wedges(s, m, NULL, dq, q, j) + wedges(s, m, NULL, dk, k, j));
    for (int64_t j = 0; j < s->angles; j++) Phi[j] = (R)(phi[j] += (double)Phi[j]);
    for (int64_t j = s->angles; j < s->Ap; j++) Phi[j] = 0;
}

/* Adds the products of the m rows of a token with each other: dq_i += own_ij k_j, and dk_j
 * likewise. m is a constant where this is called. */
INLINE void add_own(int64_t n, int m, const R *own, const R *q, const R *k, R *dq, R *dk)
{
    for (int64_t x = 0; x < n; x += VL) {
        V a[m], b[m];
        for (int j = 0; j < m; j++) a[j] = load(q + j * n + x), b[j] = load(k + j * n + x);
        for (int i = 0; i < m; i++) {
            V into_q = load(dq + i * n + x), into_k = load(dk + i * n + x);
            for (int j = 0; j < m; j++) {
                into_q = vfma(splat(own[i * m + j]), b[j], into_q);
                into_k = vfma(splat(own[j * m + i]), a[j], into_k);
            }
            store(dq + i * n + x, into_q), store(dk + i * n + x, into_k);
        }
    }
}

/* Row d, to which by*x is added if x is not NULL: turned back, times `scale`. It is added to sum,
 * too. */
INLINE void row_back(const pal_rule_shape *s, const R *cs, R scale, R by, const R *x, R *d, R *sum)
{
    const int64_t n = s->half ? 0 : 2 * s->angles;
    const R *sn = cs + turn_width(s);
    for (int64_t c = 0; c < s->Kp && s->half && x; c += VL)
        store(d + c, vfma(splat(by), load(x + c), load(d + c)));
    if (s->half) turn_halves(s, cs, -1, d);
    for (int64_t c = 0; c < s->Kp; c += VL) {
        V a = load(d + c);
        if (!s->half && x) a = vfma(splat(by), load(x + c), a);
        if (c < n)
            a = turned_part(c, n, vfma(a, load(cs + c), -(swap_neighbours(a) * load(sn + c))), a);
        a *= scale;
        store(d + c, a);
        store(sum + c, load(sum + c) + a);
    }
}

/* Rows d of q or k [ranks][Kp] of token t: turned back, written, and added to sum. If x is not
 * NULL, there is one row, which gets by*x first. */
static void put_turned(const pal_rule_shape *s, int which, int64_t t, const R *cs, R by, const R *x,
                       R *d, R *sum, const pal_head_grad *g)
{
    const int64_t n = s->Kp;
    const R scale = which == PAL_Q ? (R)s->scale : 1;
    pal_rows out = g->out[which];
    const bool add = g->add >> which & 1;
    for (int64_t i = 0; i < s->ranks; i++, d += n, sum += n) {
        row_back(s, cs, scale, by, x, d, sum);
        if (!out.data) continue;
        put_row(&out, t, s->K, add, d);
        out.data = (R *)out.data + g->rank[which];
    }
}

/* The rows of q and k of token u of the chunk that begins at token t. Their sums are the gradients
 * of the biases. */
static void keys_back(const pal_rule_shape *s, int64_t t, int64_t u, const pal_chunk *c,
                      pal_chunk_back *b, const token_back *from, R *const sum[2],
                      const pal_head_grad *g)
{
    const int64_t m = s->ranks, n = s->Kp, i = u * m * n;
    const R *cs = (const R *)c->turn + u * 2 * turn_width(s), *own = from->own + u * m * m;
    const R *q = (const R *)c->q + i, *k = (const R *)c->k + i;
    R *dq = (R *)b->dq + i, *dk = (R *)b->dk + i;
    if (m == 4)
        add_own(n, 4, own, q, k, dq, dk);
    else if (m > 1)
        add_own(n, (int)m, own, q, k, dq, dk);
    put_turned(s, PAL_Q, t + u, cs, own[0], m > 1 ? NULL : k, dq, sum[PAL_Q], g);
    put_turned(s, PAL_K, t + u, cs, own[0], m > 1 ? NULL : q, dk, sum[PAL_K], g);
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
                       const token_back *from, R late, const pal_head_grad *g)
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
    put_number(g, PAL_G, t, from->dg[u]);
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
    const int64_t C = s->C, m = s->ranks, n = s->Kp, tokens = C / m, here = c->rows / m;
    R rows[2][C] __attribute__((aligned(64))), own[C * m], now[tokens], both[tokens];
    R dg[tokens] __attribute__((aligned(64))), Phi[tokens * s->Ap] __attribute__((aligned(64)));
    R values[m * s->Vp] __attribute__((aligned(64))), bias[2][m * n] __attribute__((aligned(64)));
    double end[s->angles + 1];
    token_back to = {.q0 = rows[0],
                     .k0 = rows[1],
                     .own = own,
                     .now = now,
                     .both = both,
                     .dg = dg,
                     .Phi = Phi,
                     .end = end};
    state_rows(s, c, b, S0, dS, &to);
    value_products(s, b);
    meet_rows(s, c, b, &to);
    weights_back(s, c, b, &to);
    decay_back(s, c, &to);
    add_rows(s, false, left_of(b->dA, C, 1), c->k, c->from_q, b->dq);
    add_rows(s, true, left_of(b->dA, 1, C), c->q, c->from_k, b->dk);
    const bool last = t + here == h->length;
    for (int64_t i = 0; i < m && last && g->end_k.data; i++)
        for (int64_t j = 0; j < s->K; j++)
            ((R *)b->dk)[((here - 1) * m + i) * n + j] += element(&g->end_k, i, j);
    for (int64_t j = 0; j < s->angles; j++)
        end[j] = last ? g->end_angles[j] : g->whole_turn[j] - end[j];
    for (int64_t i = 0; i < m * s->Vp; i += VL) store(values + i, (V){0});
    for (int64_t i = 0; i < m * n; i += VL) store(bias[0] + i, (V){0}), store(bias[1] + i, (V){0});
    for (int64_t u = here - 1; u >= 0; u--) {
        angles_back(s, u, c, b, end, Phi + u * s->Ap);
        keys_back(s, t, u, c, b, &to, (R *[2]){bias[0], bias[1]}, g);
        values_back(s, h, t, u, b, g, values);
    }
    const R first = t == 0 ? K(enter_back)(s, h, b->dS0, g, values, Phi) : 0;
    for (int64_t u = 0; u < here; u++) steps_back(s, h, t + u, u, &to, u ? both[u - 1] : first, g);
    *g->late = (double)both[here - 1];
    if (g->sum_D) *g->sum_D = skip_back(s, b);
    put_sums(m, s->K, n, bias[PAL_Q], g->sum_bias[PAL_Q]);
    put_sums(m, s->K, n, bias[PAL_K], g->sum_bias[PAL_K]);
    put_sums(m, s->V, s->Vp, values, g->sum_mimo_x);
}
