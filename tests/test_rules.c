/*
 * test_rules.c - the rules (and modules): their cases, how they contain each other, and the inputs
 * that broke other implementations.
 */
#include "autograd/internal.h"
#include "tests/support/inputs.h"
#include "tests/support/rules.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Cases ---- */

#define PAL_COMPOSED(name, test) extern const pal_case pal_case_##test;
#include "layers/layers.def"

static const pal_case *const cases[] = {
#define PAL_COMPOSED(name, test) &pal_case_##test,
#include "layers/layers.def"
};
enum { CASES = sizeof cases / sizeof *cases };

static int variants(void)
{
    int n = 0;
    for (int i = 0; i < CASES; i++) n += cases[i]->count;
    return n;
}

START_TEST(every_variant)
{
    int left = _i;
    for (int i = 0; i < CASES; left -= cases[i++]->count)
        if (left < cases[i]->count) {
            pal_case_run(cases[i], &cases[i]->variants[left]);
            return;
        }
    ck_abort_msg("there is no variant %d", _i);
}
END_TEST

/* ---- Two ways to the same numbers ---- */

typedef void build_fn(const pal_variant *v, const pal_tensor *in, pal_tensor *out);

typedef struct result {
    pal_tape *tape;
    pal_array value[PAL_CASE_OUTPUTS + PAL_CASE_INPUTS];
    int n;
} result;

static result run(const pal_variant *v, build_fn *build, const pal_array *x, pal_dtype dtype)
{
    result r = {.tape = pal_tape_new()};
    pal_tensor in[PAL_CASE_INPUTS] = {{0}}, out[PAL_CASE_OUTPUTS] = {{0}}, c[PAL_CASE_OUTPUTS];
    for (int i = 0; i < v->nin; i++) in[i] = pal_input_leaf(r.tape, &x[i], dtype, false, true);
    build(v, in, out);
    for (int i = 0; i < v->nout; i++) {
        r.value[r.n++] = pal_value(out[i]);
        double *draws = malloc((size_t)pal_count(out[i]) * sizeof *draws + 8);
        pal_draw_cotangent(100 + (uint64_t)i, pal_count(out[i]), draws);
        pal_array a = pal_array_of(PAL_F64, pal_shape_of(out[i]), draws);
        c[i] = pal_input_leaf(r.tape, &a, dtype, false, false);
        free(draws);
    }
    ck_assert(pal_backward_from(v->nout, out, c) == PAL_OK);
    for (int i = 0; i < v->nin; i++)
        if (!pal_is_none(in[i])) r.value[r.n++] = pal_value(pal_grad(in[i]));
    return r;
}

static double *doubles(const pal_array *a)
{
    double *x = malloc((size_t)pal_array_count(a) * sizeof *x + 8);
    pal_array to = pal_array_of(PAL_F64, pal_array_shape(a), x);
    ck_assert(pal_array_copy(&to, a, NULL) == PAL_OK);
    return x;
}

/* Outputs, states and all gradients of the two agree. */
static void same(const pal_variant *v, build_fn *a, build_fn *b)
{
    pal_array x[PAL_CASE_INPUTS];
    pal_inputs_draw(v, 7, x);
    result one = run(v, a, x, PAL_F64), two = run(v, b, x, PAL_F64);
    for (int i = 0; i < one.n; i++) {
        double *p = doubles(&one.value[i]), *q = doubles(&two.value[i]);
        ck_assert_int_eq(pal_array_count(&one.value[i]), pal_array_count(&two.value[i]));
        double error = pal_case_error(pal_array_count(&one.value[i]), p, q);
        ck_assert_msg(error <= 1e-10, "%s: %s %d differs by %g", v->name,
                      i < v->nout ? "output" : "gradient", i < v->nout ? i : i - v->nout, error);
        free(p);
        free(q);
    }
    pal_tape_free(one.tape);
    pal_tape_free(two.tape);
    pal_inputs_free(v, x);
}

static void put(pal_rule_out r, pal_tensor *out) { out[0] = r.o, out[1] = r.state; }

enum { B = 2, T = 6, H = 2, HV = 4, K = 3, V = 5 };

/* [..] to [..,n], the same in every channel. */
static pal_tensor channels(pal_tensor x, int64_t n)
{
    pal_tensor wide = pal_unsqueeze(x, -1);
    pal_shape s = pal_shape_of(wide);
    s.dim[s.ndim - 1] = n;
    return pal_expand(wide, s);
}

/* [B,T,H,..] to [B,T,HV,..]: value heads 0 and 1 read key head 0, and so on. */
static pal_tensor grouped(pal_tensor x)
{
    pal_tensor part[HV];
    for (int j = 0; j < HV; j++) part[j] = pal_select(x, 2, j / (HV / H));
    return pal_stack(HV, part, 2);
}

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
#define QKV KEY(B, T, H, K), KEY(B, T, H, K), REAL(B, T, HV, V)

/* in: q, k, v, g [B,T,HV,K], beta [B,T,HV], state */
static void kda(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    put(pal_kda(in[0], in[1], in[2], in[3], in[4], (pal_rule_opts){.state = in[5]}), out);
}
static void gdn2_as_kda(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    put(pal_gdn2(in[0], in[1], in[2], in[3], channels(in[4], K), channels(in[4], V),
                 (pal_rule_opts){.state = in[5]}),
        out);
}

/* The same with g and beta of key heads, tied inside each group: in[3] [B,T,H,K], in[4] [B,T,H]. */
static void kda_tied(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    put(pal_kda(in[0], in[1], in[2], grouped(in[3]), grouped(in[4]),
                (pal_rule_opts){.state = in[5]}),
        out);
}
static void gdn2_tied(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    pal_tensor w = channels(grouped(in[4]), V);
    put(pal_gdn2(in[0], in[1], in[2], in[3], channels(in[4], K), w,
                 (pal_rule_opts){.state = in[5]}),
        out);
}

/* in: q, k, v, g [B,T,HV], beta [B,T,HV], state */
static void gdn(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    put(pal_gdn(in[0], in[1], in[2], in[3], in[4], (pal_rule_opts){.state = in[5]}), out);
}
static void kda_as_gdn(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    put(pal_kda(in[0], in[1], in[2], channels(in[3], K), in[4], (pal_rule_opts){.state = in[5]}),
        out);
}

/* in: q, k, v, beta [B,T,HV], state */
static void deltanet(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    put(pal_deltanet(in[0], in[1], in[2], in[3], (pal_rule_opts){.state = in[4]}), out);
}
static void gdn_without_decay(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    pal_tensor zero = pal_affine(in[3], 0, 0);
    put(pal_gdn(in[0], in[1], in[2], zero, in[3], (pal_rule_opts){.state = in[4]}), out);
}
static void kda_g_absent(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    put(pal_kda(in[0], in[1], in[2], PAL_NONE, in[3], (pal_rule_opts){.state = in[4]}), out);
}
static void gdn2_g_absent(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    put(pal_gdn2(in[0], in[1], in[2], PAL_NONE, channels(in[3], K), channels(in[3], V),
                 (pal_rule_opts){.state = in[4]}),
        out);
}

/* in: x [B,T,HV,V], dt [B,T,HV], A [HV], Bm, Cm [B,T,H,K], D [HV], state */
static void mamba2(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    put(pal_mamba2(in[0], in[1], in[2], in[3], in[4], in[5], (pal_rule_opts){.state = in[6]}), out);
}
static void gdn2_as_mamba2(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    pal_tensor g = channels(pal_mul(in[1], in[2]), K), zero = pal_affine(g, 0, 0);
    put(pal_gdn2(in[4], in[3], in[0], g, zero, channels(in[1], V),
                 (pal_rule_opts){.state = in[6], .scale = 1}),
        out);
    out[0] = pal_add(out[0], pal_mul(channels(in[5], V), in[0]));
}

static const struct {
    pal_variant v;
    build_fn *a, *b;
} reductions[] = {
    {{"GDN-2 to KDA", 6, 2, .in = {QKV, DECAY(B, T, HV, K), GATE(B, T, HV), REAL(B, HV, K, V)}},
     kda,
     gdn2_as_kda},
    {{"GDN-2 to KDA, tied in groups", 6, 2,
      .in = {QKV, DECAY(B, T, H, K), GATE(B, T, H), REAL(B, HV, K, V)}},
     kda_tied,
     gdn2_tied},
    {{"KDA to GDN", 6, 2, .in = {QKV, DECAY(B, T, HV), GATE(B, T, HV), REAL(B, HV, K, V)}},
     gdn,
     kda_as_gdn},
    {{"GDN to DeltaNet", 5, 2, .in = {QKV, GATE(B, T, HV), REAL(B, HV, K, V)}},
     deltanet,
     gdn_without_decay},
    {{"KDA without g", 5, 2, .in = {QKV, GATE(B, T, HV), REAL(B, HV, K, V)}},
     deltanet,
     kda_g_absent},
    {{"GDN-2 without g", 5, 2, .in = {QKV, GATE(B, T, HV), REAL(B, HV, K, V)}},
     deltanet,
     gdn2_g_absent},
    {{"GDN-2 to Mamba-2", 7, 2,
      .in = {REAL(B, T, HV, V), GATE(B, T, HV), DECAY(HV), KEY(B, T, H, K), KEY(B, T, H, K),
             REAL(HV), REAL(B, HV, K, V)}},
     mamba2,
     gdn2_as_mamba2},
};

START_TEST(reduction) { same(&reductions[_i].v, reductions[_i].a, reductions[_i].b); }
END_TEST

/* ---- Pieces of a sequence ---- */

enum { RULE }; /* option[0] of the variants below: the rule; its state is the last input */

static void whole(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    put(pal_test_rules[(int)v->option[RULE]].run(in, (pal_rule_opts){.state = in[v->nin - 1]}),
        out);
}

/* Tokens from..to-1 of whatever has a time axis. */
static pal_rule_out piece(const pal_variant *v, const pal_tensor *in, int64_t from, int64_t to,
                          pal_tensor state)
{
    pal_tensor part[PAL_CASE_INPUTS];
    for (int i = 0; i < v->nin - 1; i++)
        part[i] = pal_shape_of(in[i]).ndim >= 3 ? pal_slice(in[i], 1, from, to, 1) : in[i];
    return pal_test_rules[(int)v->option[RULE]].run(part, (pal_rule_opts){.state = state});
}

static void in_pieces(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    static const int64_t cut[] = {0, 2, 3, 3, 6};
    pal_tensor o[4], state = in[v->nin - 1];
    for (int i = 0; i < 4; i++) {
        pal_rule_out r = piece(v, in, cut[i], cut[i + 1], state);
        o[i] = r.o, state = r.state;
    }
    out[0] = pal_concat(4, o, 1);
    out[1] = state;
}

/* The first batch row, packed: sequences of 0, 1, 0, 4 and 1 tokens. */
static const int64_t offsets[] = {0, 0, 1, 1, 5, 6};
enum { SEQUENCES = 5 };

static void packed(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    pal_tensor o = pal_from(pal_tape_of(in[0].node), PAL_I64, PAL_SHAPE(SEQUENCES + 1), offsets);
    pal_rule_opts opts = {.state = in[v->nin - 1], .offsets = o};
    put(pal_test_rules[(int)v->option[RULE]].run(in, opts), out);
}

static void one_by_one(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    pal_tensor o[SEQUENCES], state[SEQUENCES];
    for (int i = 0; i < SEQUENCES; i++) {
        pal_tensor S = pal_slice(in[v->nin - 1], 0, i, i + 1, 1);
        pal_rule_out r = piece(v, in, offsets[i], offsets[i + 1], S);
        o[i] = r.o, state[i] = r.state;
    }
    out[0] = pal_concat(SEQUENCES, o, 1);
    out[1] = pal_concat(SEQUENCES, state, 0);
}

#define QKV1 KEY(1, T, H, K), KEY(1, T, H, K), REAL(1, T, HV, V)
#define S1   REAL(1, HV, K, V)
#define SN   REAL(SEQUENCES, HV, K, V)
#define INPUTS(state)                                                                           \
    {                                                                                           \
        {"gdn2", 7, 2, .option = {RULE_GDN2},                                                   \
         .in = {QKV1, DECAY(1, T, H, K), GATE(1, T, H, K), GATE(1, T, HV, V), state}},          \
            {"kda", 6, 2, .option = {RULE_KDA},                                                 \
             .in = {QKV1, DECAY(1, T, HV, K), GATE(1, T, HV), state}},                          \
            {"gdn", 6, 2, .option = {RULE_GDN},                                                 \
             .in = {QKV1, DECAY(1, T, HV), GATE(1, T, HV), state}},                             \
            {"deltanet", 5, 2, .option = {RULE_DELTANET}, .in = {QKV1, GATE(1, T, HV), state}}, \
            {"mamba2", 7, 2, .option = {RULE_MAMBA2},                                           \
             .in = {REAL(1, T, HV, V), GATE(1, T, HV), DECAY(HV), KEY(1, T, H, K),              \
                    KEY(1, T, H, K), REAL(HV), state}},                                         \
    }

static const pal_variant one_state[RULES] = INPUTS(S1), many_states[RULES] = INPUTS(SN);

START_TEST(carried_state) { same(&one_state[_i], whole, in_pieces); }
END_TEST
START_TEST(packed_sequences) { same(&many_states[_i], packed, one_by_one); }
END_TEST

/* Changing a token leaves every output before it as it was, bit for bit. */
START_TEST(causal)
{
    const pal_variant *v = &one_state[_i];
    pal_array x[PAL_CASE_INPUTS];
    enum { AT = 4 };
    pal_inputs_draw(v, 3, x);
    result one = run(v, whole, x, PAL_F32);
    for (int i = 0; i < v->nin - 1; i++)
        if (x[i].ndim >= 3)
            for (int64_t j = 0; j < pal_array_count(&x[i]) / T; j++)
                ((double *)x[i].data)[AT * (pal_array_count(&x[i]) / T) + j] *= 0.5;
    result two = run(v, whole, x, PAL_F32);
    const float *p = one.value[0].data, *q = two.value[0].data;
    ck_assert(memcmp(p, q, AT * HV * V * sizeof *p) == 0);
    ck_assert(memcmp(p, q, T * HV * V * sizeof *p) != 0);
    pal_tape_free(one.tape);
    pal_tape_free(two.tape);
    pal_inputs_free(v, x);
}
END_TEST

/* A NaN in one packed sequence reaches no other, forward or backward. */
START_TEST(nan_stays)
{
    const pal_variant *v = &many_states[_i];
    pal_array x[PAL_CASE_INPUTS];
    pal_inputs_draw(v, 3, x);
    int value = _i == RULE_MAMBA2 ? 0 : 2;
    ((double *)x[value].data)[2 * HV * V] = NAN; /* token 2, in the sequence of tokens 1 to 4 */
    result r = run(v, packed, x, PAL_F32);
    const float *o = r.value[0].data, *S = r.value[1].data, *dv = r.value[2 + value].data;
    ck_assert(isnan(o[2 * HV * V]));
    for (int t = 0; t < T; t += 5)
        for (int i = 0; i < HV * V; i++)
            ck_assert(isfinite(o[t * HV * V + i]) && isfinite(dv[t * HV * V + i]));
    for (int n = 0; n < SEQUENCES; n++)
        for (int i = 0; i < HV * K * V; i++) ck_assert(n == 3 || isfinite(S[n * HV * K * V + i]));
    pal_tape_free(r.tape);
    pal_inputs_free(v, x);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rules");
    TCase *tc = tcase_create("rules");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, every_variant, 0, variants());
    tcase_add_loop_test(tc, reduction, 0, (int)(sizeof reductions / sizeof *reductions));
    tcase_add_loop_test(tc, carried_state, 0, RULES);
    tcase_add_loop_test(tc, packed_sequences, 0, RULES);
    tcase_add_loop_test(tc, causal, 0, RULES);
    tcase_add_loop_test(tc, nan_stays, 0, RULES);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
