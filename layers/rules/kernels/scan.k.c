/*
 * scan.k.c - carries the state over a chunk, and its gradient back. All rules share it.
 *
 * One call does one panel of columns of S; columns do not depend on each other. The cost of a token
 * and head, in multiply-adds over the whole width V, is
 *
 *     scan        K V (read and erase) + C V / 2 (solve) + K V + C V / 2 (output) + K V (write)
 *     scan_back   K V + C V / 2            + C V / 2              + 2 K V
 *
 * A panel of S, K x PANEL, stays in the first-level cache. Meanwhile the rows of the chunk, 3 K a
 * token, are read once from the second-level cache. A rule that erases nothing (Mamba-2) needs a
 * third less. At 128 x 128 in f32 with C = 16 a token takes 102 kflop and about 64 kB of loads and
 * stores, nearly all of them in the first-level cache. bench/rules (`# stages`) shows 0.84 to 0.93
 * of the machine's sgemm rate for both scans (AVX2).
 */
#include "layers/rules/kernels/rules.k.h"

static const R *panel_of(const void *panels, int64_t rows, int64_t panel)
{
    return (const R *)panels + panel * rows * PANEL;
}
static R *panel_at(void *panels, int64_t rows, int64_t panel)
{
    return (R *)panels + panel * rows * PANEL;
}

/* ---- In and out of panels ---- */

/* to [PANEL] = columns j .. j + PANEL - 1 of row t. Columns from n on are zeros. */
static inline void read_row(const pal_rows *x, int64_t t, int64_t j, int64_t n, R *to)
{
    const R *row = (const R *)x->data + t * x->step;
    if (x->channel == 1 && j + PANEL <= n) {
        UNROLL
        for (int u = 0; u < NR; u++) store(to + u * VL, (V) * (const VU *)(row + j + u * VL));
    } else {
        for (int64_t c = 0; c < PANEL; c++) to[c] = j + c < n ? row[(j + c) * x->channel] : 0;
    }
}

static inline void write_row(const R *from, const pal_rows *x, int64_t t, int64_t j, int64_t n,
                             bool add)
{
    R *row = (R *)x->data + t * x->step;
    if (x->channel == 1 && j + PANEL <= n && !add) {
        UNROLL
        for (int u = 0; u < NR; u++) *(VU *)(row + j + u * VL) = (VU)load(from + u * VL);
    } else {
        for (int64_t c = 0; c < PANEL && j + c < n; c++) {
            R *to = row + (j + c) * x->channel;
            *to = add ? *to + from[c] : from[c];
        }
    }
}

/* Reads, clears, writes or adds (`way`) panels from .. to - 1 of a matrix of `rows` rows and `cols`
 * columns. In the panels it has `padded` rows, and what the matrix lacks is zeros. */
void K(panels)(int64_t rows, int64_t cols, const pal_rows *x, int64_t padded, void *panels,
               int64_t from, int64_t to, pal_panels_way way)
{
    for (int64_t p = from; p < to; p++) {
        R *panel = panel_at(panels, padded, p);
        if (way == PAL_PANELS_READ || way == PAL_PANELS_CLEAR) {
            int64_t filled = way == PAL_PANELS_READ ? rows : 0;
            for (int64_t i = 0; i < filled; i++) read_row(x, i, p * PANEL, cols, panel + i * PANEL);
            for (int64_t i = filled * PANEL; i < padded * PANEL; i += VL) store(panel + i, (V){0});
        } else if (p * PANEL < cols) {
            for (int64_t i = 0; i < rows; i++)
                write_row(panel + i * PANEL, x, i, p * PANEL, cols, way == PAL_PANELS_ADD);
        }
    }
}

/* t += rows r .. r + MR of A (of its transpose) times b. The rows of a token meet each other, so
 * with several of them the blocks on the diagonal are taken whole; A has zeros there. */
INLINE void add_products(const pal_rule_shape *s, const pal_chunk *c, tile *t, bool back, int64_t r,
                         const R *b)
{
    const left x = back ? left_of(c->A, 1, s->C) : left_of(c->A, s->C, 1);
    const int64_t block = s->ranks > MR ? s->ranks : MR, first = r / block * block;
    if (s->ranks == 1)
        tile_triangle(t, x, back, r, s->C, b, PANEL);
    else if (back)
        tile_madd(t, left_at(x, r, first), s->C - first, b + first * PANEL, PANEL);
    else
        tile_madd(t, left_at(x, r, 0), first + block, b, PANEL);
}

/* Rows r .. r + MR - 1 of a product with Qg or Kt. Those of Mamba-3 have no factor yet. */
INLINE void add_factor(const pal_rule_shape *s, const void *factor, int64_t r, tile *t)
{
    if (s->trapezoid) tile_scale(t, (const R *)factor + r);
}

/* The right operand of a product with the transpose of Qg or Kt: rows x of a panel, or `room` if
 * their factors are still to be added. */
static const R *with_factor(const pal_rule_shape *s, const void *factor, const R *x, R *room)
{
    if (!s->trapezoid) return x;
    for (int64_t r = 0; r < s->C; r++)
        for (int u = 0; u < PANEL; u += VL)
            store(room + r * PANEL + u, load(x + r * PANEL + u) * ((const R *)factor)[r]);
    return room;
}

/* ---- Forward ---- */

/* X = Z - gamma*e S, then U = (I + T)^-1 X. */
static void solve(const pal_rule_shape *s, const pal_chunk *c, const R *Z, const R *S, R *X, R *U,
                  ahead *next)
{
    for (int64_t r = 0; r < s->C; r += MR) {
        look_ahead(next);
        tile t = tile_load(Z + r * PANEL, PANEL);
        tile_madd(&t, left_of((const R *)c->En + r * s->Kp, s->Kp, 1), s->K, S, PANEL);
        tile_store(&t, X + r * PANEL, PANEL);
    }
    for (int64_t r = 0; r < s->C; r += MR) {
        tile t = tile_zero();
        tile_triangle(&t, left_of(c->inverse, s->C, 1), false, r, s->C, X, PANEL);
        tile_store(&t, U + r * PANEL, PANEL);
    }
}

/* O = gamma*q S + A U. If skip is given, D times its rows is added. */
static void output(const pal_rule_shape *s, const pal_chunk *c, int64_t panel, const R *S,
                   const R *U, const pal_rows *o, const pal_rows *skip, R D, ahead *next)
{
    R rows[MR * PANEL] __attribute__((aligned(64))), x[PANEL] __attribute__((aligned(64)));
    for (int64_t r = 0; r < c->rows; r += MR) {
        look_ahead(next);
        tile t = tile_zero();
        tile_madd(&t, left_of((const R *)c->Qg + r * s->Kp, s->Kp, 1), s->K, S, PANEL);
        add_factor(s, c->from_q, r, &t);
        add_products(s, c, &t, false, r, U);
        tile_store(&t, rows, PANEL);
        for (int64_t i = 0; i < MR && r + i < c->rows; i++) {
            R *row = rows + i * PANEL;
            if (skip) {
                read_row(skip, r + i, panel * PANEL, s->V, x);
                UNROLL
                for (int u = 0; u < NR; u++)
                    store(row + u * VL, vfma(splat(D), load(x + u * VL), load(row + u * VL)));
            }
            write_row(row, o, r + i, panel * PANEL, s->V, false);
        }
    }
}

/* S = gamma_C S0 + (tail*k)^T U. */
static void update_state(const pal_rule_shape *s, const pal_chunk *c, const R *U, const R *S0, R *S,
                         ahead *next)
{
    R room[s->C * PANEL] __attribute__((aligned(64)));
    const R *W = with_factor(s, c->from_k, U, room);
    for (int64_t i = 0; i < s->Kp; i += MR) {
        look_ahead(next);
        tile t = tile_load_scaled(S0 + i * PANEL, PANEL, (const R *)c->gamma + i);
        tile_madd(&t, left_of((const R *)c->Kt + i, 1, s->Kp), c->rows, W, PANEL);
        tile_store(&t, S + i * PANEL, PANEL);
    }
}

/* The states S0 before and S after the chunk, and U, are whole arrays of panels; S may be S0. U and
 * S may be NULL if nobody reads them. If o is given, it begins at the chunk's first token. */
void K(scan)(const pal_rule_shape *s, const pal_chunk *c, int64_t panel, const void *S0, void *S,
             void *U, const pal_rows *o, const pal_rows *skip, double D)
{
    R X[s->C * PANEL] __attribute__((aligned(64))), u[s->C * PANEL] __attribute__((aligned(64)));
    const R *Z = panel_of(c->Z, s->C, panel), *written = Z;
    const R *state = panel_of(S0, s->Kp, panel);
    ahead next = ahead_of(&c->ahead, panel, s->Vp / PANEL,
                          ((s->erase ? s->C : 0) + (o ? s->C : 0) + (S ? s->Kp : 0)) / MR + 1);
    if (s->erase) {
        R *to = U ? panel_at(U, s->C, panel) : u;
        solve(s, c, Z, state, X, to, &next);
        written = to;
    } else if (U) {
        R *to = panel_at(U, s->C, panel);
        for (int64_t i = 0; i < s->C * PANEL; i += VL) store(to + i, load(Z + i));
    }
    if (o) output(s, c, panel, state, written, o, skip, (R)D, &next);
    if (S) update_state(s, c, written, state, panel_at(S, s->Kp, panel), &next);
}

/* Copies panels from .. to - 1 of a state for backward, past the caches. */
void K(keep)(const pal_rule_shape *s, const void *S, int64_t from, int64_t to, void *kept)
{
    const R *x = S;
    for (int64_t i = from * s->Kp * PANEL; i < to * s->Kp * PANEL; i += VL)
        st_past((R *)kept + i, load(x + i));
    st_past_end();
}

/* ---- Backward ---- */

/* dU = A^T dO + (tail*k) dS, then dX = (I + T)^-T dU. Without an erase, dX = dU. */
static void solve_back(const pal_rule_shape *s, const pal_chunk *c, const R *dO, const R *dS, R *dU,
                       R *dX, ahead *next)
{
    for (int64_t r = 0; r < s->C; r += MR) {
        look_ahead(next);
        tile t = tile_zero();
        tile_madd(&t, left_of((const R *)c->Kt + r * s->Kp, s->Kp, 1), s->K, dS, PANEL);
        add_factor(s, c->from_k, r, &t);
        add_products(s, c, &t, true, r, dO);
        tile_store(&t, (s->erase ? dU : dX) + r * PANEL, PANEL);
    }
    for (int64_t r = 0; s->erase && r < s->C; r += MR) {
        tile t = tile_zero();
        tile_triangle(&t, left_of(c->inverse, 1, s->C), true, r, s->C, dU, PANEL);
        tile_store(&t, dX + r * PANEL, PANEL);
    }
}

/* dS0 = gamma_C dS + (gamma*q)^T dO - (gamma*e)^T dX. dout begins at the chunk's first token; if it
 * is NULL, dO is 0. dS and dS0 may be the same memory. */
void K(scan_back)(const pal_rule_shape *s, const pal_chunk *c, int64_t panel, const pal_rows *dout,
                  const void *dS, void *dS0, pal_chunk_back *b)
{
    R dU[s->C * PANEL] __attribute__((aligned(64))),
        room[s->C * PANEL] __attribute__((aligned(64)));
    const R *after = panel_of(dS, s->Kp, panel);
    R *before = panel_at(dS0, s->Kp, panel);
    R *dO = panel_at(b->dO, s->C, panel), *dX = panel_at(b->dX, s->C, panel);
    K(panels)
    (c->rows, s->V, dout, s->C, b->dO, panel, panel + 1, dout ? PAL_PANELS_READ : PAL_PANELS_CLEAR);
    ahead next = ahead_of(&c->ahead, panel, s->Vp / PANEL, (s->C + s->Kp) / MR);
    solve_back(s, c, dO, after, dU, dX, &next);
    const R *read = with_factor(s, c->from_q, dO, room);
    for (int64_t i = 0; i < s->Kp; i += MR) {
        look_ahead(&next);
        tile t = tile_load_scaled(after + i * PANEL, PANEL, (const R *)c->gamma + i);
        tile_madd(&t, left_of((const R *)c->Qg + i, 1, s->Kp), c->rows, read, PANEL);
        if (s->erase) tile_madd(&t, left_of((const R *)c->En + i, 1, s->Kp), c->rows, dX, PANEL);
        tile_store(&t, before + i * PANEL, PANEL);
    }
}
