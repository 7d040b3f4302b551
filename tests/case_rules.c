/*
 * case_rules.c - the rules against the recurrence written with full matrices.
 *
 * The reference forms (I - k e^T) diag(exp g) as a K x K matrix and multiplies; it shares nothing
 * with the library's texts, and one reference serves every member.
 */
#include "autograd/internal.h"
#include "tests/support/case.h"
#include "tests/support/rules.h"

#include <math.h>
#include <stdlib.h>

enum { RULE, PACKED, SCALE }; /* what option[i] of a variant is */

/* An empty sequence in front, one of a single token, one of four, an empty one, one of two. */
static const int64_t offsets[] = {0, 0, 1, 5, 5, 7};
enum { SEQUENCES = sizeof offsets / sizeof *offsets - 1 };

/* ---- The library ---- */

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    pal_rule_opts opts = {.mode = PAL_RULE_COMPOSED, .scale = v->option[SCALE]};
    opts.state = in[v->nin - 1];
    if (v->option[PACKED] != 0)
        opts.offsets =
            pal_from(pal_tape_of(in[0].node), PAL_I64, PAL_SHAPE(SEQUENCES + 1), offsets);
    pal_rule_out r = pal_test_rules[(int)v->option[RULE]].run(in, opts);
    out[0] = r.o;
    out[1] = r.state;
}

/* ---- The reference ---- */

/* One token of one head: vectors of K and V entries. */
typedef struct step {
    double k[16], e[16], g[16], q[16], z[16];
} step;

static void advance(double *S, int64_t K, int64_t V, const step *s, double *o)
{
    double next[16 * 16];
    for (int64_t i = 0; i < K; i++)
        for (int64_t c = 0; c < V; c++) {
            double sum = s->k[i] * s->z[c];
            for (int64_t j = 0; j < K; j++)
                sum += ((i == j) - s->k[i] * s->e[j]) * exp(s->g[j]) * S[j * V + c];
            next[i * V + c] = sum;
        }
    for (int64_t i = 0; i < K * V; i++) S[i] = next[i];
    for (int64_t c = 0; c < V; c++) {
        o[c] = 0;
        for (int64_t i = 0; i < K; i++) o[c] += s->q[i] * S[i * V + c];
    }
}

/* Entry c of head j (of HV) at token bt of x [B,T,heads,channels] or [B,T,heads]. */
static double at(const pal_array *x, int64_t bt, int64_t j, int64_t HV, int64_t c)
{
    int64_t heads = x->shape[2], channels = x->ndim == 4 ? x->shape[3] : 1;
    int64_t head = j / (HV / heads);
    return pal_ref_get(x, (bt * heads + head) * channels + (x->ndim == 4 ? c : 0));
}

static void delta_step(int rule, const pal_array *in, int64_t bt, int64_t j, int64_t HV, int64_t K,
                       int64_t V, step *s)
{
    const pal_array *g = rule == RULE_DELTANET ? NULL : &in[3];
    const pal_array *b = rule == RULE_DELTANET ? &in[3] : &in[4];
    const pal_array *w = rule == RULE_GDN2 ? &in[5] : b;
    for (int64_t c = 0; c < K; c++) {
        s->q[c] = at(&in[0], bt, j, HV, c);
        s->k[c] = at(&in[1], bt, j, HV, c);
        s->g[c] = g && g->data ? at(g, bt, j, HV, c) : 0;
        s->e[c] = at(b, bt, j, HV, c) * s->k[c];
    }
    for (int64_t c = 0; c < V; c++) s->z[c] = at(w, bt, j, HV, c) * at(&in[2], bt, j, HV, c);
}

static void mamba2_step(const pal_array *in, int64_t bt, int64_t j, int64_t HV, int64_t K,
                        int64_t V, step *s)
{
    double dt = at(&in[1], bt, j, HV, 0), A = pal_ref_get(&in[2], j);
    for (int64_t c = 0; c < K; c++) {
        s->q[c] = at(&in[4], bt, j, HV, c);
        s->k[c] = at(&in[3], bt, j, HV, c);
        s->g[c] = A * dt;
        s->e[c] = 0;
    }
    for (int64_t c = 0; c < V; c++) s->z[c] = dt * at(&in[0], bt, j, HV, c);
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int rule = (int)v->option[RULE];
    const pal_array *value = rule == RULE_MAMBA2 ? &in[0] : &in[2],
                    *key = rule == RULE_MAMBA2 ? &in[3] : in;
    const pal_array *h0 = &in[v->nin - 1];
    int64_t B = value->shape[0], T = value->shape[1], HV = value->shape[2], V = value->shape[3];
    int64_t K = key->shape[3], N = v->option[PACKED] != 0 ? SEQUENCES : B;
    double scale = v->option[SCALE];
    if (scale == 0) scale = rule == RULE_MAMBA2 ? 1 : 1 / sqrt((double)K);
    pal_ref_shape(&out[0], PAL_SHAPE(B, T, HV, V));
    pal_ref_shape(&out[1], PAL_SHAPE(N, HV, K, V));
    for (int64_t n = 0; n < N; n++) {
        int64_t from = v->option[PACKED] != 0 ? offsets[n] : n * T;
        int64_t to = v->option[PACKED] != 0 ? offsets[n + 1] : (n + 1) * T;
        for (int64_t j = 0; j < HV; j++) {
            double *S = (double *)out[1].data + (n * HV + j) * K * V;
            for (int64_t i = 0; i < K * V; i++)
                S[i] = h0->data ? pal_ref_get(h0, (n * HV + j) * K * V + i) : 0;
            for (int64_t bt = from; bt < to; bt++) {
                double *o = (double *)out[0].data + (bt * HV + j) * V;
                step s;
                if (rule == RULE_MAMBA2)
                    mamba2_step(in, bt, j, HV, K, V, &s);
                else
                    delta_step(rule, in, bt, j, HV, K, V, &s);
                advance(S, K, V, &s, o);
                for (int64_t c = 0; c < V; c++) {
                    o[c] *= scale;
                    if (rule == RULE_MAMBA2 && in[5].data)
                        o[c] += pal_ref_get(&in[5], j) * at(value, bt, j, HV, c);
                }
            }
        }
    }
}

/* ---- Variants ---- */

#define COMMON(n, inputs) \
    .name = n, .nin = inputs, .nout = 2, .build = build, .reference = reference, .f64 = 1e-12
#define KEY(...)                                                 \
    {                                                            \
        .shape = PAL_DIMS(__VA_ARGS__), .low = -0.7, .high = 0.7 \
    }
#define DECAY(...)                                             \
    {                                                          \
        .shape = PAL_DIMS(__VA_ARGS__), .low = -1.5, .high = 0 \
    }
#define GATE(...)                                           \
    {                                                       \
        .shape = PAL_DIMS(__VA_ARGS__), .low = 0, .high = 1 \
    }
#define REAL(...)                      \
    {                                  \
        .shape = PAL_DIMS(__VA_ARGS__) \
    }
#define NONE                                 \
    {                                        \
        .shape = PAL_DIMS(1), .absent = true \
    }

static const pal_variant gdn2[] = {
    {COMMON("initial state", 7),
     .in = {KEY(2, 5, 2, 3), KEY(2, 5, 2, 3), REAL(2, 5, 2, 4), DECAY(2, 5, 2, 3), GATE(2, 5, 2, 3),
            GATE(2, 5, 2, 4), REAL(2, 2, 3, 4)},
     .option = {RULE_GDN2}},
    {COMMON("HV = 3H, gates of key heads", 7),
     .in = {KEY(1, 4, 2, 3), KEY(1, 4, 2, 3), REAL(1, 4, 6, 2), DECAY(1, 4, 2, 3), GATE(1, 4, 2, 3),
            GATE(1, 4, 6, 2), REAL(1, 6, 3, 2)},
     .option = {RULE_GDN2}},
    {COMMON("HV = 2H, gates of value heads", 7),
     .in = {KEY(1, 3, 1, 3), KEY(1, 3, 1, 3), REAL(1, 3, 2, 2), DECAY(1, 3, 2, 3), GATE(1, 3, 2, 3),
            GATE(1, 3, 2, 2), NONE},
     .option = {RULE_GDN2, 0, 0.7}},
    {COMMON("packed", 7),
     .in = {KEY(1, 7, 1, 2), KEY(1, 7, 1, 2), REAL(1, 7, 2, 2), DECAY(1, 7, 1, 2), GATE(1, 7, 1, 2),
            GATE(1, 7, 2, 2), REAL(5, 2, 2, 2)},
     .option = {RULE_GDN2, 1}},
    {COMMON("no decay, one token", 7),
     .in = {KEY(1, 1, 1, 3), KEY(1, 1, 1, 3), REAL(1, 1, 1, 4), NONE, GATE(1, 1, 1, 3),
            GATE(1, 1, 1, 4), REAL(1, 1, 3, 4)},
     .option = {RULE_GDN2}},
    {COMMON("T = 0", 7),
     .in = {KEY(2, 0, 1, 3), KEY(2, 0, 1, 3), REAL(2, 0, 1, 4), DECAY(2, 0, 1, 3), GATE(2, 0, 1, 3),
            GATE(2, 0, 1, 4), REAL(2, 1, 3, 4)},
     .option = {RULE_GDN2}},
};
const pal_case pal_case_gdn2 = {"gdn2", sizeof gdn2 / sizeof *gdn2, gdn2};

static const pal_variant kda[] = {
    {COMMON("initial state", 6),
     .in = {KEY(2, 5, 2, 3), KEY(2, 5, 2, 3), REAL(2, 5, 2, 4), DECAY(2, 5, 2, 3), GATE(2, 5, 2),
            REAL(2, 2, 3, 4)},
     .option = {RULE_KDA}},
    {COMMON("HV = 2H", 6),
     .in = {KEY(1, 4, 2, 3), KEY(1, 4, 2, 3), REAL(1, 4, 4, 2), DECAY(1, 4, 4, 3), GATE(1, 4, 4),
            NONE},
     .option = {RULE_KDA, 0, 1.3}},
    {COMMON("packed", 6),
     .in = {KEY(1, 7, 1, 2), KEY(1, 7, 1, 2), REAL(1, 7, 2, 2), DECAY(1, 7, 2, 2), GATE(1, 7, 2),
            REAL(5, 2, 2, 2)},
     .option = {RULE_KDA, 1}},
    {COMMON("no decay", 6),
     .in = {KEY(1, 3, 1, 3), KEY(1, 3, 1, 3), REAL(1, 3, 1, 2), NONE, GATE(1, 3, 1), NONE},
     .option = {RULE_KDA}},
    {COMMON("T = 0", 6),
     .in = {KEY(1, 0, 1, 3), KEY(1, 0, 1, 3), REAL(1, 0, 1, 4), DECAY(1, 0, 1, 3), GATE(1, 0, 1),
            REAL(1, 1, 3, 4)},
     .option = {RULE_KDA}},
};
const pal_case pal_case_kda = {"kda", sizeof kda / sizeof *kda, kda};

static const pal_variant gdn[] = {
    {COMMON("initial state", 6),
     .in = {KEY(2, 5, 2, 3), KEY(2, 5, 2, 3), REAL(2, 5, 2, 4), DECAY(2, 5, 2), GATE(2, 5, 2),
            REAL(2, 2, 3, 4)},
     .option = {RULE_GDN}},
    {COMMON("HV = 3H", 6),
     .in = {KEY(1, 4, 1, 3), KEY(1, 4, 1, 3), REAL(1, 4, 3, 2), DECAY(1, 4, 3), GATE(1, 4, 3),
            NONE},
     .option = {RULE_GDN, 0, 1.3}},
    {COMMON("packed", 6),
     .in = {KEY(1, 7, 1, 2), KEY(1, 7, 1, 2), REAL(1, 7, 2, 2), DECAY(1, 7, 2), GATE(1, 7, 2),
            REAL(5, 2, 2, 2)},
     .option = {RULE_GDN, 1}},
    {COMMON("no decay", 6),
     .in = {KEY(1, 3, 1, 3), KEY(1, 3, 1, 3), REAL(1, 3, 1, 2), NONE, GATE(1, 3, 1), NONE},
     .option = {RULE_GDN}},
};
const pal_case pal_case_gdn = {"gdn", sizeof gdn / sizeof *gdn, gdn};

static const pal_variant deltanet[] = {
    {COMMON("initial state", 5),
     .in = {KEY(2, 5, 1, 3), KEY(2, 5, 1, 3), REAL(2, 5, 2, 4), GATE(2, 5, 2), REAL(2, 2, 3, 4)},
     .option = {RULE_DELTANET}},
    {COMMON("packed", 5),
     .in = {KEY(1, 7, 1, 2), KEY(1, 7, 1, 2), REAL(1, 7, 1, 2), GATE(1, 7, 1), NONE},
     .option = {RULE_DELTANET, 1}},
};
const pal_case pal_case_deltanet = {"deltanet", sizeof deltanet / sizeof *deltanet, deltanet};

static const pal_variant mamba2[] = {
    {COMMON("initial state", 7),
     .in = {REAL(2, 5, 2, 3), GATE(2, 5, 2), DECAY(2), REAL(2, 5, 1, 4), REAL(2, 5, 1, 4), REAL(2),
            REAL(2, 2, 4, 3)},
     .option = {RULE_MAMBA2}},
    {COMMON("two groups of two heads", 7),
     .in = {REAL(1, 4, 4, 2), GATE(1, 4, 4), DECAY(4), REAL(1, 4, 2, 3), REAL(1, 4, 2, 3), NONE,
            NONE},
     .option = {RULE_MAMBA2, 0, 0.7}},
    {COMMON("packed", 7),
     .in = {REAL(1, 7, 2, 2), GATE(1, 7, 2), DECAY(2), REAL(1, 7, 1, 2), REAL(1, 7, 1, 2), REAL(2),
            REAL(5, 2, 2, 2)},
     .option = {RULE_MAMBA2, 1}},
    {COMMON("T = 0", 7),
     .in = {REAL(2, 0, 2, 3), GATE(2, 0, 2), DECAY(2), REAL(2, 0, 1, 4), REAL(2, 0, 1, 4), REAL(2),
            REAL(2, 2, 4, 3)},
     .option = {RULE_MAMBA2}},
};
const pal_case pal_case_mamba2 = {"mamba2", sizeof mamba2 / sizeof *mamba2, mamba2};
