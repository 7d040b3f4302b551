/*
 * case_rules.c - compares the rules with the recurrence written with full matrices.
 *
 * The reference forms (I - k e^T) diag(exp g) as a K x K matrix and multiplies by it. It shares no
 * code with the library, and the same reference serves every rule.
 */
#include "tests/support/case.h"
#include "tests/support/node.h"
#include "tests/support/rules.h"

#include <math.h>
#include <stdlib.h>

/* The meaning of option[i] of a variant. Mode 0 stands for the composed form here. */
enum { RULE, PACKED, SCALE, MODE, CHUNK, NORMALIZE, LOWER_BOUND };

/* Sequences of 0, 1, 4, 0 and 2 tokens. */
static const int64_t offsets[] = {0, 0, 1, 5, 5, 7};
enum { SEQUENCES = sizeof offsets / sizeof *offsets - 1 };

/* ---- The library ---- */

/* The index of the first input that every rule has, the initial state. A_log and dt_bias may
 * follow. */
static int state_of(const pal_variant *v) { return rule_operands((int)v->option[RULE]); }
static bool has_A_log(const pal_variant *v) { return v->nin > state_of(v) + 1; }

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    int state = state_of(v);
    pal_rule_opts opts = {.mode = (pal_rule_mode)v->option[MODE],
                          .scale = v->option[SCALE],
                          .state = in[state],
                          .chunk = (int64_t)v->option[CHUNK],
                          .normalize = v->option[NORMALIZE] != 0,
                          .lower_bound = v->option[LOWER_BOUND]};
    if (opts.mode == PAL_RULE_AUTO) opts.mode = PAL_RULE_COMPOSED;
    if (has_A_log(v)) opts.A_log = in[state + 1], opts.dt_bias = in[state + 2];
    if (v->option[PACKED] != 0)
        opts.offsets = pal_from(tape_of(in[0]), PAL_I64, PAL_SHAPE(SEQUENCES + 1), offsets);
    pal_rule_out r = pal_rule_call(pal_rule_at((int)v->option[RULE]), in, opts);
    out[0] = r.o;
    out[1] = r.state;
}

/* ---- The reference ---- */

/* One token of one head: k, e, g and q have K entries, z has V. */
enum { MOST = 64 };
typedef struct step {
    double k[MOST], e[MOST], g[MOST], q[MOST], z[MOST];
} step;

static void advance(double *S, int64_t K, int64_t V, const step *s, double *o)
{
    double next[MOST * MOST];
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

/* g of entry c. f is g itself or, if A_log is given, its pre-activation. */
static double decay(const pal_variant *v, const pal_array *in, double f, int64_t head, int64_t c)
{
    const pal_array *A_log = &in[state_of(v) + 1], *dt_bias = A_log + 1;
    if (!has_A_log(v)) return f;
    int64_t per = pal_array_count(dt_bias) / pal_array_count(A_log);
    double x = f + pal_ref_get(dt_bias, head * per + c % per);
    double rate = exp(pal_ref_get(A_log, head)), bound = v->option[LOWER_BOUND];
    return bound < 0 ? bound / (1 + exp(-rate * x)) : -rate * log1p(exp(x));
}

static void normalize(double *x, int64_t n)
{
    double sum = 1e-6;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    for (int64_t i = 0; i < n; i++) x[i] /= sqrt(sum);
}

static void delta_step(const pal_variant *v, const pal_array *in, int64_t bt, int64_t j, int64_t HV,
                       int64_t K, int64_t V, step *s)
{
    int rule = (int)v->option[RULE];
    const pal_array *g = rule == RULE_deltanet ? NULL : &in[3];
    const pal_array *b = rule == RULE_deltanet ? &in[3] : &in[4];
    const pal_array *w = rule == RULE_gdn2 ? &in[5] : b;
    for (int64_t c = 0; c < K; c++) {
        s->q[c] = at(&in[0], bt, j, HV, c);
        s->k[c] = at(&in[1], bt, j, HV, c);
        s->g[c] = 0;
        if (g && g->data) s->g[c] = decay(v, in, at(g, bt, j, HV, c), j / (HV / g->shape[2]), c);
    }
    if (v->option[NORMALIZE] != 0) normalize(s->q, K), normalize(s->k, K);
    for (int64_t c = 0; c < K; c++) s->e[c] = at(b, bt, j, HV, c) * s->k[c];
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
    const pal_array *value = rule == RULE_mamba2 ? &in[0] : &in[2],
                    *key = rule == RULE_mamba2 ? &in[3] : in;
    const pal_array *h0 = &in[state_of(v)];
    int64_t B = value->shape[0], T = value->shape[1], HV = value->shape[2], V = value->shape[3];
    int64_t K = key->shape[3], N = v->option[PACKED] != 0 ? SEQUENCES : B;
    double scale = v->option[SCALE];
    if (scale == 0) scale = rule == RULE_mamba2 ? 1 : 1 / sqrt((double)K);
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
                if (rule == RULE_mamba2)
                    mamba2_step(in, bt, j, HV, K, V, &s);
                else
                    delta_step(v, in, bt, j, HV, K, V, &s);
                advance(S, K, V, &s, o);
                for (int64_t c = 0; c < V; c++) {
                    o[c] *= scale;
                    if (rule == RULE_mamba2 && in[5].data)
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

/* The inputs of each rule, S states. */
#define GDN2(B, T, H, HV, K, V, S)                                                            \
    KEY(B, T, H, K), KEY(B, T, H, K), REAL(B, T, HV, V), DECAY(B, T, H, K), GATE(B, T, H, K), \
        GATE(B, T, HV, V), REAL(S, HV, K, V)
#define KDA(B, T, H, HV, K, V, S)                                                            \
    KEY(B, T, H, K), KEY(B, T, H, K), REAL(B, T, HV, V), DECAY(B, T, HV, K), GATE(B, T, HV), \
        REAL(S, HV, K, V)
#define GDN(B, T, H, HV, K, V, S)                                                         \
    KEY(B, T, H, K), KEY(B, T, H, K), REAL(B, T, HV, V), DECAY(B, T, HV), GATE(B, T, HV), \
        REAL(S, HV, K, V)
#define DELTANET(B, T, H, HV, K, V, S) \
    KEY(B, T, H, K), KEY(B, T, H, K), REAL(B, T, HV, V), GATE(B, T, HV), REAL(S, HV, K, V)
#define MAMBA2(B, T, H, HV, K, V, S)                                                          \
    REAL(B, T, HV, V), GATE(B, T, HV), DECAY(HV), KEY(B, T, H, K), KEY(B, T, H, K), REAL(HV), \
        REAL(S, HV, K, V)

/* Every rule in both fused modes: with more tokens than a chunk, packed, without tokens, and large
 * enough for threads. n is the number of inputs. */
#define FUSED(rule, inputs, n)                                                            \
    {COMMON("chunk", n), .in = {inputs(1, 19, 1, 2, 3, 5, 1)},                            \
     .option = {rule, 0, 0, PAL_RULE_CHUNK, 16}},                                         \
        {COMMON("recurrent", n), .in = {inputs(1, 19, 1, 2, 3, 5, 1)},                    \
         .option = {rule, 0, 0.7, PAL_RULE_RECURRENT, 16}},                               \
        {COMMON("chunk, packed", n), .in = {inputs(1, 7, 2, 2, 4, 3, SEQUENCES)},         \
         .option = {rule, 1, 0.7, PAL_RULE_CHUNK}},                                       \
        {COMMON("recurrent, packed", n), .in = {inputs(1, 7, 2, 2, 4, 3, SEQUENCES)},     \
         .option = {rule, 1, 0, PAL_RULE_RECURRENT}},                                     \
        {COMMON("chunk, no token", n), .in = {inputs(2, 0, 1, 1, 3, 4, 2)},               \
         .option = {rule, 0, 0, PAL_RULE_CHUNK}},                                         \
        {COMMON("recurrent, no token", n), .in = {inputs(2, 0, 1, 1, 3, 4, 2)},           \
         .option = {rule, 0, 0, PAL_RULE_RECURRENT}},                                     \
        {COMMON("chunk, large", n), .in = {inputs(2, 34, 4, 8, 6, 64, 2)},                \
         .option = {rule, 0, 0, PAL_RULE_CHUNK, 16}},                                     \
    {                                                                                     \
        COMMON("recurrent, large", n), .in = {inputs(2, 34, 4, 8, 6, 64, 2)}, .option = { \
            rule,                                                                         \
            0,                                                                            \
            0,                                                                            \
            PAL_RULE_RECURRENT,                                                           \
            16                                                                            \
        }                                                                                 \
    }

/* q and k are normalised inside the rule, and the decay is made of a pre-activation. gh is the
 * number of heads of A_log, and gk the number of entries of dt_bias for each. */
#define INSIDE(rule, inputs, n, gh, gk)                                                    \
    {COMMON("composed, norm and decay inside", n + 2),                                     \
     .in = {inputs(1, 5, 2, 4, 3, 2, 1), REAL(gh), REAL((gh) * (gk))},                     \
     .option = {rule, 0, 0, PAL_RULE_COMPOSED, 0, 1}},                                     \
        {COMMON("chunk, norm and decay inside", n + 2),                                    \
         .in = {inputs(1, 19, 2, 4, 3, 2, 1), REAL(gh), REAL((gh) * (gk))},                \
         .option = {rule, 0, 0, PAL_RULE_CHUNK, 16, 1}},                                   \
    {                                                                                      \
        COMMON("recurrent, norm and bounded decay inside", n + 2),                         \
            .in = {inputs(1, 19, 2, 4, 3, 2, 1), REAL(gh), REAL((gh) * (gk))}, .option = { \
                rule,                                                                      \
                0,                                                                         \
                0,                                                                         \
                PAL_RULE_RECURRENT,                                                        \
                16,                                                                        \
                1,                                                                         \
                -5                                                                         \
            }                                                                              \
    }

static const pal_variant gdn2[] = {
    {COMMON("initial state", 7),
     .in = {KEY(2, 5, 2, 3), KEY(2, 5, 2, 3), REAL(2, 5, 2, 4), DECAY(2, 5, 2, 3), GATE(2, 5, 2, 3),
            GATE(2, 5, 2, 4), REAL(2, 2, 3, 4)},
     .option = {RULE_gdn2}},
    {COMMON("HV = 3H, gates of key heads", 7),
     .in = {KEY(1, 4, 2, 3), KEY(1, 4, 2, 3), REAL(1, 4, 6, 2), DECAY(1, 4, 2, 3), GATE(1, 4, 2, 3),
            GATE(1, 4, 6, 2), REAL(1, 6, 3, 2)},
     .option = {RULE_gdn2}},
    {COMMON("HV = 2H, gates of value heads", 7),
     .in = {KEY(1, 3, 1, 3), KEY(1, 3, 1, 3), REAL(1, 3, 2, 2), DECAY(1, 3, 2, 3), GATE(1, 3, 2, 3),
            GATE(1, 3, 2, 2), NONE},
     .option = {RULE_gdn2, 0, 0.7}},
    {COMMON("packed", 7),
     .in = {KEY(1, 7, 1, 2), KEY(1, 7, 1, 2), REAL(1, 7, 2, 2), DECAY(1, 7, 1, 2), GATE(1, 7, 1, 2),
            GATE(1, 7, 2, 2), REAL(5, 2, 2, 2)},
     .option = {RULE_gdn2, 1}},
    {COMMON("no decay, one token", 7),
     .in = {KEY(1, 1, 1, 3), KEY(1, 1, 1, 3), REAL(1, 1, 1, 4), NONE, GATE(1, 1, 1, 3),
            GATE(1, 1, 1, 4), REAL(1, 1, 3, 4)},
     .option = {RULE_gdn2}},
    {COMMON("T = 0", 7),
     .in = {KEY(2, 0, 1, 3), KEY(2, 0, 1, 3), REAL(2, 0, 1, 4), DECAY(2, 0, 1, 3), GATE(2, 0, 1, 3),
            GATE(2, 0, 1, 4), REAL(2, 1, 3, 4)},
     .option = {RULE_gdn2}},
    FUSED(RULE_gdn2, GDN2, 7),
    INSIDE(RULE_gdn2, GDN2, 7, 2, 3),
};
const pal_case pal_case_gdn2 = {"gdn2", sizeof gdn2 / sizeof *gdn2, gdn2};

static const pal_variant kda[] = {
    {COMMON("initial state", 6),
     .in = {KEY(2, 5, 2, 3), KEY(2, 5, 2, 3), REAL(2, 5, 2, 4), DECAY(2, 5, 2, 3), GATE(2, 5, 2),
            REAL(2, 2, 3, 4)},
     .option = {RULE_kda}},
    {COMMON("HV = 2H", 6),
     .in = {KEY(1, 4, 2, 3), KEY(1, 4, 2, 3), REAL(1, 4, 4, 2), DECAY(1, 4, 4, 3), GATE(1, 4, 4),
            NONE},
     .option = {RULE_kda, 0, 1.3}},
    {COMMON("packed", 6),
     .in = {KEY(1, 7, 1, 2), KEY(1, 7, 1, 2), REAL(1, 7, 2, 2), DECAY(1, 7, 2, 2), GATE(1, 7, 2),
            REAL(5, 2, 2, 2)},
     .option = {RULE_kda, 1}},
    {COMMON("no decay", 6),
     .in = {KEY(1, 3, 1, 3), KEY(1, 3, 1, 3), REAL(1, 3, 1, 2), NONE, GATE(1, 3, 1), NONE},
     .option = {RULE_kda}},
    {COMMON("T = 0", 6),
     .in = {KEY(1, 0, 1, 3), KEY(1, 0, 1, 3), REAL(1, 0, 1, 4), DECAY(1, 0, 1, 3), GATE(1, 0, 1),
            REAL(1, 1, 3, 4)},
     .option = {RULE_kda}},
    FUSED(RULE_kda, KDA, 6),
    INSIDE(RULE_kda, KDA, 6, 4, 3),
};
const pal_case pal_case_kda = {"kda", sizeof kda / sizeof *kda, kda};

static const pal_variant gdn[] = {
    {COMMON("initial state", 6),
     .in = {KEY(2, 5, 2, 3), KEY(2, 5, 2, 3), REAL(2, 5, 2, 4), DECAY(2, 5, 2), GATE(2, 5, 2),
            REAL(2, 2, 3, 4)},
     .option = {RULE_gdn}},
    {COMMON("HV = 3H", 6),
     .in = {KEY(1, 4, 1, 3), KEY(1, 4, 1, 3), REAL(1, 4, 3, 2), DECAY(1, 4, 3), GATE(1, 4, 3),
            NONE},
     .option = {RULE_gdn, 0, 1.3}},
    {COMMON("packed", 6),
     .in = {KEY(1, 7, 1, 2), KEY(1, 7, 1, 2), REAL(1, 7, 2, 2), DECAY(1, 7, 2), GATE(1, 7, 2),
            REAL(5, 2, 2, 2)},
     .option = {RULE_gdn, 1}},
    {COMMON("no decay", 6),
     .in = {KEY(1, 3, 1, 3), KEY(1, 3, 1, 3), REAL(1, 3, 1, 2), NONE, GATE(1, 3, 1), NONE},
     .option = {RULE_gdn}},
    FUSED(RULE_gdn, GDN, 6),
    INSIDE(RULE_gdn, GDN, 6, 4, 1),
};
const pal_case pal_case_gdn = {"gdn", sizeof gdn / sizeof *gdn, gdn};

static const pal_variant deltanet[] = {
    {COMMON("initial state", 5),
     .in = {KEY(2, 5, 1, 3), KEY(2, 5, 1, 3), REAL(2, 5, 2, 4), GATE(2, 5, 2), REAL(2, 2, 3, 4)},
     .option = {RULE_deltanet}},
    {COMMON("packed", 5),
     .in = {KEY(1, 7, 1, 2), KEY(1, 7, 1, 2), REAL(1, 7, 1, 2), GATE(1, 7, 1), NONE},
     .option = {RULE_deltanet, 1}},
    FUSED(RULE_deltanet, DELTANET, 5),
};
const pal_case pal_case_deltanet = {"deltanet", sizeof deltanet / sizeof *deltanet, deltanet};

static const pal_variant mamba2[] = {
    {COMMON("initial state", 7),
     .in = {REAL(2, 5, 2, 3), GATE(2, 5, 2), DECAY(2), REAL(2, 5, 1, 4), REAL(2, 5, 1, 4), REAL(2),
            REAL(2, 2, 4, 3)},
     .option = {RULE_mamba2}},
    {COMMON("two groups of two heads", 7),
     .in = {REAL(1, 4, 4, 2), GATE(1, 4, 4), DECAY(4), REAL(1, 4, 2, 3), REAL(1, 4, 2, 3), NONE,
            NONE},
     .option = {RULE_mamba2, 0, 0.7}},
    {COMMON("packed", 7),
     .in = {REAL(1, 7, 2, 2), GATE(1, 7, 2), DECAY(2), REAL(1, 7, 1, 2), REAL(1, 7, 1, 2), REAL(2),
            REAL(5, 2, 2, 2)},
     .option = {RULE_mamba2, 1}},
    {COMMON("T = 0", 7),
     .in = {REAL(2, 0, 2, 3), GATE(2, 0, 2), DECAY(2), REAL(2, 0, 1, 4), REAL(2, 0, 1, 4), REAL(2),
            REAL(2, 2, 4, 3)},
     .option = {RULE_mamba2}},
    FUSED(RULE_mamba2, MAMBA2, 7),
};
const pal_case pal_case_mamba2 = {"mamba2", sizeof mamba2 / sizeof *mamba2, mamba2};
