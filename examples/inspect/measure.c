/*
 * measure.c - from the inputs of a rule to what it remembers, token by token, in float64.
 *
 * The state comes from the rule itself (pal_gdn2, pal_kda, ...), one token a call, the state
 * carried from call to call as in decoding. The implied attention comes from a second run of GDN-2,
 * the rule that contains the others, whose values are one-hot: for fixed gates o is linear in the
 * values that are written, so o_t[s] is then what token s counts in o_t. That sum_s A[t,s]
 * (w_s*v_s) is the o of the rule itself is checked for every head. Mamba-3, which is two calls of
 * GDN-2 and not one, has its own way (turns.c).
 */
#include "examples/inspect/observation.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static pal_tensor row(pal_tape *tape, const double *x, int64_t t, int64_t n)
{
    return pal_from(tape, PAL_F64, PAL_SHAPE(1, 1, 1, n), x + t * n);
}

/* ---- The state ---- */

/* Where an operand of a rule is in a head: the rows of a member, [T,K] or [T,V]. */
typedef struct member {
    const char *name;
    size_t offset;
    bool values;
} member;
static const member members[] = {
    {"q", offsetof(ob_head, q), false}, {"Cm", offsetof(ob_head, q), false},
    {"k", offsetof(ob_head, k), false}, {"Bm", offsetof(ob_head, k), false},
    {"v", offsetof(ob_head, v), true},  {"x", offsetof(ob_head, v), true},
    {"g", offsetof(ob_head, g), false}, {"b", offsetof(ob_head, b), false},
    {"w", offsetof(ob_head, w), true},  {"beta", offsetof(ob_head, w), true},
    {"dt", offsetof(ob_head, w), true},
};

/*
 * Token t of an operand: its channels, or the first where it is one number a head. A of Mamba-2 is
 * a number of the head; a sequence made by hand may change it from token to token, so it is found
 * from g = A dt. What is not here (D) is left out.
 */
static pal_tensor operand(pal_tape *tape, const ob_head *h, int64_t t, const char *name,
                          const char *axes)
{
    const double g = h->g[t * h->K], w = h->w[t * h->V], A = w > 0 ? g / w : 0;
    if (strcmp(name, "A") == 0) return pal_from(tape, PAL_F64, PAL_SHAPE(1), &A);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        const member *m = &members[i];
        if (strcmp(m->name, name) != 0) continue;
        const double *x = *(double *const *)(const void *)((const char *)h + m->offset);
        const int64_t n = m->values ? h->V : h->K;
        if (strlen(axes) == 4) return row(tape, x, t, n);
        return pal_from(tape, PAL_F64, PAL_SHAPE(1, 1, 1), x + t * n);
    }
    return PAL_NONE;
}

enum { OPERANDS = 12 }; /* of a rule, at most */

/* One token by the head's own rule. */
static pal_rule_out step(pal_tape *tape, const ob_head *h, int64_t t, pal_rule_opts opts)
{
    const pal_rule *rule = pal_rule_find(ob_rule_name(h->rule));
    pal_tensor in[OPERANDS] = {PAL_NONE};
    for (int i = 0; i < OPERANDS && pal_rule_operand(rule, i); i++)
        in[i] = operand(tape, h, t, pal_rule_operand(rule, i), pal_rule_axes(rule, i));
    return pal_rule_call(rule, in, opts);
}

static void run_rule(pal_tape *tape, ob_head *h, pal_rule_mode mode)
{
    const int64_t n = h->K * h->V;
    pal_rule_opts opts = {.mode = mode, .scale = h->scale};
    h->S = ob_reals(h->T * n);
    for (int64_t t = 0; t < h->T; t++) {
        if (t > 0)
            opts.state = pal_from(tape, PAL_F64, PAL_SHAPE(1, 1, h->K, h->V), h->S + (t - 1) * n);
        pal_rule_out out = step(tape, h, t, opts);
        memcpy(h->S + t * n, pal_f64(out.state), (size_t)n * sizeof(double));
        memcpy(h->o + t * h->V, pal_f64(out.o), (size_t)h->V * sizeof(double));
        pal_tape_reset(tape);
        opts.state = PAL_NONE;
    }
}

/* Norms and singular values of every state. */
static void measure_states(ob_head *h)
{
    const int64_t n = h->K * h->V, m = h->K < h->V ? h->K : h->V;
    h->norm = ob_reals(h->T), h->update = ob_reals(h->T), h->rank = ob_reals(h->T);
    h->sigma = ob_reals(h->T * m);
#pragma omp parallel for schedule(dynamic)
    for (int64_t t = 0; t < h->T; t++) {
        const double *S = h->S + t * n;
        double change = 0, sum = 0, entropy = 0, *sigma = h->sigma + t * m;
        for (int64_t i = 0; i < n; i++) {
            const double d = S[i] - (t > 0 ? S[i - n] : 0);
            change += d * d;
        }
        h->norm[t] = ob_norm(S, n);
        h->update[t] = sqrt(change);
        ob_singular(S, h->K, h->V, sigma);
        for (int64_t i = 0; i < m; i++) sum += sigma[i];
        for (int64_t i = 0; i < m; i++)
            if (sigma[i] > 0) entropy -= sigma[i] / sum * log(sigma[i] / sum);
        h->rank[t] = sum > 0 ? exp(entropy) : 0;
    }
}

/* What the key of row n, made a unit vector, reads from S_t, beside z = w*v that was written with
 * it by then. Nothing was if key or value are zeros. */
static void read_one(const ob_head *h, int64_t t, int64_t n, double *cosine, double *error)
{
    const double *S = h->S + t * h->K * h->V, *k = h->k + n * h->K;
    const double kk = ob_norm(k, h->K), written = ob_written(h, t, n / h->R);
    double zz = 0, rr = 0, rz = 0, miss = 0;
    *cosine = *error = NAN;
    for (int64_t c = 0; c < h->V; c++) {
        const double z = written * h->w[n * h->V + c] * h->v[n * h->V + c];
        double r = 0; /* S_t^T k_s / |k_s|^2: k_s r^T is the state's part along k_s */
        for (int64_t i = 0; kk > 0 && i < h->K; i++) r += S[i * h->V + c] * (k[i] / kk);
        r /= kk > 0 ? kk : 1;
        zz += z * z, rr += r * r, rz += r * z, miss += (r - z) * (r - z);
    }
    if (!(kk > 0 && zz > 0)) return;
    *cosine = rr > 0 ? rz / (sqrt(rr) * sqrt(zz)) : 0;
    *error = sqrt(miss / zz);
}

static void read_back(ob_head *h)
{
    const int64_t N = h->T * h->R;
    h->cosine = ob_reals(h->T * N), h->error = ob_reals(h->T * N);
#pragma omp parallel for schedule(dynamic)
    for (int64_t t = 0; t < h->T; t++)
        for (int64_t n = 0; n < N; n++) {
            double *c = &h->cosine[t * N + n], *e = &h->error[t * N + n];
            *c = *e = NAN;
            if (n / h->R <= t) read_one(h, t, n, c, e);
        }
}

/* ---- What counts in the output ---- */

/* A by GDN-2 from one-hot values: V = T, w = 1. */
static void implied(pal_tape *tape, ob_head *h, pal_rule_mode mode)
{
    const pal_shape qk = PAL_SHAPE(1, h->T, 1, h->K), vw = PAL_SHAPE(1, h->T, 1, h->T);
    double *eye = ob_reals(h->T * h->T);
    for (int64_t t = 0; t < h->T; t++) eye[t * h->T + t] = 1;
    pal_rule_out out =
        pal_gdn2(pal_from(tape, PAL_F64, qk, h->q), pal_from(tape, PAL_F64, qk, h->k),
                 pal_from(tape, PAL_F64, vw, eye), pal_from(tape, PAL_F64, qk, h->g),
                 pal_from(tape, PAL_F64, qk, h->b), pal_full(tape, PAL_F64, vw, 1),
                 (pal_rule_opts){.mode = mode, .scale = h->scale});
    memcpy(h->A, pal_f64(out.o), (size_t)(h->T * h->T) * sizeof(double));
    pal_tape_reset(tape);
    free(eye);
}

/* The softmax over the keys that each query sees. */
static void softmax(ob_head *h)
{
    for (int64_t t = 0; t < h->T; t++) {
        const int64_t first = h->window > 0 && t >= h->window ? t - h->window + 1 : 0;
        double *a = h->A + t * h->T, most = -INFINITY, sum = 0;
        for (int64_t s = first; s <= t; s++) {
            for (int64_t i = 0; i < h->K; i++)
                a[s] += h->scale * h->q[t * h->K + i] * h->k[s * h->K + i];
            most = fmax(most, a[s]);
        }
        for (int64_t s = first; s <= t; s++) sum += a[s] = exp(a[s] - most);
        for (int64_t s = first; s <= t; s++) a[s] /= sum;
    }
}

static double largest(const double *x, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(x[i]));
    return most;
}

/* The largest difference of x and y as a share of `of`; NaN counts as infinite. */
static double apart(const double *x, const double *y, int64_t n, double of)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs(x[i] - y[i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    return of > 0 ? worst / of : worst;
}

/* sum_s A[t,s] (w_s*v_s), [N,V]. */
static double *summed(const ob_head *h)
{
    const int64_t N = h->T * h->R;
    double *o = ob_reals(N * h->V);
    for (int64_t n = 0; n < N; n++)
        for (int64_t m = 0; m < (n / h->R + 1) * h->R; m++)
            for (int64_t c = 0; c < h->V; c++)
                o[n * h->V + c] += h->A[n * N + m] * h->w[m * h->V + c] * h->v[m * h->V + c];
    return o;
}

void ob_measure(observation *ob, pal_rule_mode mode)
{
    pal_tape *tape = pal_tape_new();
    pal_set_grad(tape, false);
    for (int i = 0; i < ob->heads; i++) {
        ob_head *h = &ob->head[i];
        const int64_t N = h->T * h->R, n = N * h->V;
        const bool turns = h->rule == OB_MAMBA3;
        h->A = ob_reals(N * N);
        h->o = ob_reals(n);
        if (h->rule == OB_ATTENTION) {
            softmax(h);
        } else {
            turns ? ob_step_turns(tape, h, mode) : run_rule(tape, h, mode);
            measure_states(h);
            read_back(h);
            turns ? ob_weigh_turns(h) : implied(tape, h, mode);
        }
        double *sum = summed(h);
        /* Attention is the sum by definition, so only the layer can contradict it. */
        if (h->rule == OB_ATTENTION) memcpy(h->o, sum, (size_t)n * sizeof *sum);
        h->A_error = apart(sum, h->o, n, largest(h->o, n));
        h->given_error = h->given ? apart(h->o, h->given, n, h->given_most) : NAN;
        free(sum);
    }
    pal_tape_free(tape);
}
