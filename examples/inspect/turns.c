/*
 * turns.c - a head of Mamba-3: its rule, step by step, and how much each token counts.
 *
 * State, angles and turned keys are what the rule itself returns after each token. Queries are
 * turned here by the angles that it returned, and the weights A come from a formula, not from a
 * rule. So that the sum over A is the rule's output, which measure.c checks, also says that both
 * writes and the angles are shown as they are.
 */
#include "examples/inspect/observation.h"

#include <math.h>
#include <string.h>

/* ---- Steps ---- */

static pal_tensor numbers(pal_tape *tape, pal_shape shape, const double *x)
{
    return pal_from(tape, PAL_F64, shape, x);
}

static void copy(double *to, pal_tensor from, int64_t n)
{
    memcpy(to, pal_f64(from), (size_t)n * sizeof *to);
}

/* One token, from the state after the one before. */
static pal_rule_out step(pal_tape *tape, const ob_head *h, int64_t t, pal_rule_mode mode)
{
    const ob_turns *r = &h->turns;
    const int64_t K = h->K, V = h->V, R = h->R, J = r->J;
    /* Not every number of rows has a fused form; auto is recurrent where there is one. */
    const pal_rule_mode how = mode == PAL_RULE_RECURRENT ? PAL_RULE_AUTO : mode;
    pal_rule_opts opts = {.mode = how, .scale = h->scale, .pair = r->pair};
    if (t > 0) {
        opts.state = numbers(tape, PAL_SHAPE(1, 1, K, V), h->S + (t - 1) * K * V);
        opts.more[0] = numbers(tape, PAL_SHAPE(1, 1, J), r->angle + (t - 1) * J);
        opts.more[1] = numbers(tape, PAL_SHAPE(1, 1, R, K), h->k + (t - 1) * R * K);
        opts.more[2] = numbers(tape, PAL_SHAPE(1, 1, V), r->x + (t - 1) * V);
    }
    const pal_shape one = PAL_SHAPE(1, 1, 1), rows = PAL_SHAPE(1, 1, R, 1, K);
    return pal_mamba3(
        numbers(tape, PAL_SHAPE(1, 1, 1, V), r->x + t * V), numbers(tape, one, r->dt + t),
        numbers(tape, one, h->g + t * K), numbers(tape, one, r->lam + t),
        numbers(tape, PAL_SHAPE(1, 1, J), r->om + t * J), numbers(tape, rows, r->B + t * R * K),
        numbers(tape, rows, r->C + t * R * K), PAL_NONE, PAL_NONE, PAL_NONE,
        numbers(tape, PAL_SHAPE(1, R, V), r->mimo_x), opts);
}

/* Turns the pairs of a row [K] by the angles [J]. */
static void turn(const ob_head *h, const double *row, const double *angle, double *to)
{
    const bool half = h->turns.pair == PAL_PAIR_HALF;
    memcpy(to, row, (size_t)h->K * sizeof *to);
    for (int64_t j = 0; j < h->turns.J; j++) {
        const int64_t a = half ? j : 2 * j, b = half ? j + h->K / 2 : 2 * j + 1;
        const double c = cos(angle[j]), s = sin(angle[j]);
        to[a] = row[a] * c - row[b] * s;
        to[b] = row[a] * s + row[b] * c;
    }
}

void ob_step_turns(pal_tape *tape, ob_head *h, pal_rule_mode mode)
{
    ob_turns *r = &h->turns;
    const int64_t K = h->K, V = h->V, R = h->R, J = r->J;
    h->S = ob_reals(h->T * K * V);
    for (int64_t t = 0; t < h->T; t++) {
        const pal_rule_out out = step(tape, h, t, mode);
        copy(h->S + t * K * V, out.state, K * V);
        copy(h->o + t * R * V, out.o, R * V);
        copy(r->angle + t * J, out.more[0], J);
        copy(h->k + t * R * K, out.more[1], R * K);
        pal_tape_reset(tape);
        r->now[t] = r->lam[t] * r->dt[t], r->late[t] = (1 - r->lam[t]) * r->dt[t];
        for (int64_t j = 0; j < J; j++) r->turn[t * J + j] = r->dt[t] * r->om[t * J + j];
        for (int64_t i = 0; i < R; i++)
            turn(h, r->C + (t * R + i) * K, r->angle + t * J, h->q + (t * R + i) * K);
        for (int64_t n = 0; n < R * V; n++)
            h->v[t * R * V + n] = r->mimo_x[n] * r->x[t * V + n % V];
    }
}

/* ---- What counts ---- */

double ob_written(const ob_head *h, int64_t t, int64_t s)
{
    const ob_turns *r = &h->turns;
    if (h->rule != OB_MAMBA3) return 1;
    return r->now[s] + (s < t ? r->late[s + 1] : 0);
}

static double dot(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* A[(t,i),(s,j)] = scale exp(g_{s+1} + .. + g_t) (what was written by s and s+1) <q_ti, k_sj>. */
void ob_weigh_turns(ob_head *h)
{
    const int64_t K = h->K, R = h->R, N = h->T * R;
#pragma omp parallel for schedule(dynamic)
    for (int64_t n = 0; n < N; n++) {
        const int64_t t = n / R;
        double g = 0;
        for (int64_t s = t; s >= 0; s--) {
            const double weight = h->scale * exp(g) * ob_written(h, t, s);
            for (int64_t m = s * R; m < (s + 1) * R; m++)
                h->A[n * N + m] = weight * dot(h->q + n * K, h->k + m * K, K);
            g += h->g[s * K];
        }
    }
}
