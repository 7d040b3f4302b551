/*
 * ends.k.c - where a sequence of Mamba-3 begins and ends: its angles, the write that is left over
 * from before, the parts of the state beside the matrix, and their gradients.
 */
#include "layers/rules/kernels/turn.k.h"

/* ---- Angles ---- */

/* The angles before each chunk of n tokens and after the last one, in [0, 2 pi]:
 * [chunks + 1][angles]. */
void K(angles)(const pal_rule_shape *s, const pal_head *h, int64_t n, double *to)
{
    const int64_t tokens = s->C / s->ranks, J = s->angles;
    double phi[s->Ap] __attribute__((aligned(64)));
    R room[s->Ap] __attribute__((aligned(64)));
    const R *first = room;
    if (h->first_angles.data)
        first = get_row(&h->first_angles, 0, J, s->Ap, room);
    else
        for (int64_t j = 0; j < s->Ap; j += VL) store(room + j, (V){0});
    for (int64_t j = 0; j < s->Ap; j += DL) *(VD *)(void *)(phi + j) = ld_double_full(first, j);
    for (int64_t t = 0; t <= n; t++) {
        if (t % tokens == 0 || t == n) {
            wrap_angles(s, phi, to);
            to += J;
        }
        if (t < n) add_angles(s, h, t, phi);
    }
}

/* ---- The end ---- */

/* Row i of x of n channels, or zeros if x is not there. */
static void copy_or_clear(const pal_rows *x, int64_t i, int64_t n, const pal_rows *to)
{
    for (int64_t c = 0; c < n; c++)
        ((R *)to->data)[i * to->step + c * to->channel] = x->data ? element(x, i, c) : 0;
}

/* The turn of the last token, from the angles `before` its chunk: with the bits that it has where
 * the chunk is computed. */
static void last_turn(const pal_rule_shape *s, const pal_head *h, const double *before, R *cs)
{
    const int64_t tokens = s->C / s->ranks, t = (h->length - 1) / tokens * tokens,
                  n = h->length - t;
    double phi[s->Ap] __attribute__((aligned(64)));
    R x[n * s->Ap] __attribute__((aligned(64)));
    angles_at(s, before, phi);
    angles_of(s, h, t, n, phi, x);
    turn_of(s, x + (n - 1) * s->Ap, cs);
}

/* The final angles, keys and x. `angle` points to the angles after the last token; in front of them
 * in memory are those before its chunk. `keys` are the last token's turned rows [ranks][Kp]; if
 * that is NULL, they are made. What an empty sequence begins with, it ends with. */
void K(last)(const pal_rule_shape *s, const pal_head *h, const double *angle, const void *keys,
             const pal_rows *th, const pal_rows *k, const pal_rows *x)
{
    R row[s->Kp] __attribute__((aligned(64))), room[s->Vp] __attribute__((aligned(64)));
    R cs[2 * turn_width(s)] __attribute__((aligned(64))), phi[s->Ap] __attribute__((aligned(64)));
    if (h->length == 0) {
        copy_or_clear(&h->first_angles, 0, s->angles, th);
        for (int64_t i = 0; i < s->ranks; i++) copy_or_clear(&h->last_k, i, s->K, k);
        copy_or_clear(&h->last_x, 0, s->V, x);
        return;
    }
    for (int64_t j = 0; j < s->angles; j++)
        phi[j] = (R)angle[j] >= (R)6.283185307179586 ? 0 : (R)angle[j];
    put_row(th, 0, s->angles, false, phi);
    if (!keys) last_turn(s, h, angle - s->angles, cs);
    for (int64_t i = 0; i < s->ranks; i++) {
        if (!keys) turned_row(s, h, PAL_K, h->length - 1, i, cs, 1, row);
        put_row(k, i, s->K, false, keys ? (const R *)keys + i * s->Kp : row);
    }
    const R *from = get_row(&h->in[PAL_V], h->length - 1, s->V, s->Vp, room);
    for (int64_t c = 0; c < s->Vp && from != room; c += VL) store(room + c, loadu(from + c));
    put_row(x, 0, s->V, false, room);
}

/* out += sign wedge(dS, S), summed over columns; both are `blocks` blocks of Kp rows of `cols`
 * columns, or one block of K rows. */
void K(wedge)(const pal_rule_shape *s, const void *dS, const void *S, int64_t row, int64_t cols,
              int64_t blocks, double sign, double *out)
{
    const int64_t step = s->half ? 1 : 2, other = s->half ? s->K / 2 : 1;
    for (int64_t j = 0; j < s->angles; j++) {
        const int64_t a = j * step * row, b = a + other * row;
        V sum = {0};
        for (int64_t p = 0; p < blocks; p++) {
            const R *x = (const R *)S + p * s->Kp * cols, *d = (const R *)dS + p * s->Kp * cols;
            for (int64_t i = 0; i < cols; i += VL)
                sum += ld(d + b, i, cols) * ld(x + a, i, cols) -
                       ld(d + a, i, cols) * ld(x + b, i, cols);
        }
        out[j] += sign * (double)sum_elements(sum);
    }
}

/* out[j] += wedge(du, u) of pair j of a row of K channels. */
static void add_row_wedge(const pal_rule_shape *s, const R *du, const R *u, double *out)
{
    const int64_t step = s->half ? 1 : 2, other = s->half ? s->K / 2 : 1;
    for (int64_t j = 0; j < s->angles; j++) {
        const int64_t a = j * step, b = a + other;
        out[j] += (double)(du[b] * u[a] - du[a] * u[b]);
    }
}

/* What turning a whole sequence by one angle does to the loss through its final state; all arrays
 * are contiguous, and a NULL counts as 0. `end` is the gradient of the final angles. */
void K(ends)(const pal_rule_shape *s, const void *dth, const void *dS, const void *S,
             const void *dk, const void *k, double *end, double *whole)
{
    for (int64_t j = 0; j < s->angles; j++)
        end[j] = whole[j] = dth ? (double)((const R *)dth)[j] : 0;
    if (dS) K(wedge)(s, dS, S, s->V, s->V, 1, 1, whole);
    for (int64_t i = 0; i < s->ranks && dk; i++)
        add_row_wedge(s, (const R *)dk + i * s->K, (const R *)k + i * s->K, whole);
}

/* ---- The beginning ---- */

/* Adds delta_1 k0^T v0 to n columns of a state from column `col` on, which S points to. */
void K(enter)(const pal_rule_shape *s, const pal_head *h, void *S, int64_t row, int64_t col,
              int64_t n)
{
    R k[s->ranks * s->Kp] __attribute__((aligned(64)));
    R v[s->ranks * s->Vp] __attribute__((aligned(64)));
    if (h->length == 0 || !rows_before(s, h, k, v)) return;
    const R late = late_step(h, 0);
    for (int64_t i = 0; i < s->ranks; i++)
        for (int64_t a = 0; a < s->K; a++) {
            const V key = splat(late * k[i * s->Kp + a]);
            R *to = (R *)S + a * row;
            for (int64_t j = 0; j < n; j += VL)
                st(to, j, n, vfma(key, ld(v + i * s->Vp + col, j, n), ld(to, j, n)));
        }
}

/* w [Kp] = dS v, from dS in panels. */
static void state_times(const pal_rule_shape *s, const R *dS, const R *v, R *w)
{
    for (int64_t a = 0; a < s->Kp; a += VL) {
        V sum[VL];
        for (int l = 0; l < VL; l++) {
            sum[l] = (V){0};
            for (int64_t p = 0; p < s->Vp; p += PANEL)
                for (int u = 0; u < PANEL; u += VL)
                    sum[l] =
                        vfma(load(dS + p * s->Kp + (a + l) * PANEL + u), load(v + p + u), sum[l]);
        }
        store(w + a, sums_of(sum));
    }
}

/* The gradients of x0 and mimo_x through v0, whose gradient is late dS^T k. */
static void first_values_back(const pal_rule_shape *s, const pal_head *h, const R *dS, int64_t i,
                              const R *k, R late, const pal_head_grad *g, R *values)
{
    R dv[s->Vp] __attribute__((aligned(64))), x[s->Vp] __attribute__((aligned(64)));
    R f[s->Vp] __attribute__((aligned(64)));
    for (int64_t p = 0; p < s->Vp; p += PANEL)
        for (int u = 0; u < PANEL; u += VL) {
            V sum = {0};
            for (int64_t a = 0; a < s->K; a++)
                sum = vfma(splat(k[a]), load(dS + p * s->Kp + a * PANEL + u), sum);
            store(dv + p + u, sum * late);
        }
    copy_row(h->last_x.data, h->last_x.channel, s->V, s->Vp, x);
    for (int64_t j = 0; j < s->Vp; j += VL)
        store(values + i * s->Vp + j,
              vfma(load(x + j), load(dv + j), load(values + i * s->Vp + j)));
    if (!g->last_x.data) return;
    const R *by = h->mimo_x.data ? get_row(&h->mimo_x, i, s->V, s->Vp, f) : NULL;
    for (int64_t j = 0; j < s->Vp && by; j += VL) store(dv + j, load(dv + j) * loadu(by + j));
    put_row(&g->last_x, 0, s->V, true, dv);
}

/* The gradients of the initial angles, keys and x, and of mimo_x [ranks][Vp] through them, from dS
 * of the state before the first token. Phi is the gradient of the angles from that token on.
 * Returns the gradient of its delta. */
R K(enter_back)(const pal_rule_shape *s, const pal_head *h, const void *dS, const pal_head_grad *g,
                void *values, const void *Phi)
{
    R k[s->ranks * s->Kp] __attribute__((aligned(64))), w[s->Kp] __attribute__((aligned(64)));
    R v[s->ranks * s->Vp] __attribute__((aligned(64))), sum = 0;
    for (int64_t j = 0; g->first_angles.data && j < s->angles; j++)
        ((R *)g->first_angles.data)[j * g->first_angles.channel] += ((const R *)Phi)[j];
    if (!rows_before(s, h, k, v)) return 0;
    const R late = late_step(h, 0);
    for (int64_t i = 0; i < s->ranks; i++) {
        state_times(s, dS, v + i * s->Vp, w);
        for (int64_t a = 0; a < s->K; a++) sum += k[i * s->Kp + a] * w[a];
        for (int64_t a = 0; a < s->K; a++) w[a] *= late;
        if (g->last_k.data) put_row(&g->last_k, i, s->K, true, w);
        first_values_back(s, h, dS, i, k + i * s->Kp, late, g, values);
    }
    return sum;
}

/* Adds what a gradient `d` of delta of token t gives to those of lam and dt. The chunk before has
 * it, and token t is the first of the next one. */
void K(late_back)(const pal_head *h, int64_t t, double d, const pal_head_grad *g)
{
    const R late = (R)d, dt = element(&h->in[PAL_STEP], t, 0);
    const pal_rows *lam = &g->out[PAL_LAM], *step = &g->out[PAL_STEP];
    if (lam->data) ((R *)lam->data)[t * lam->step] -= dt * late;
    if (step->data)
        ((R *)step->data)[t * step->step] += (1 - element(&h->in[PAL_LAM], t, 0)) * late;
}
