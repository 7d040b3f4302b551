/*
 * test_rule_limits.c - the rules on inputs that broke other implementations, and on wrong ones.
 */
#include "tests/support/inputs.h"
#include "tests/support/rules.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct result {
    pal_tape *tape;
    pal_array value[PAL_CASE_OUTPUTS + PAL_CASE_INPUTS];
    int n;
} result;

/* GDN-2 on inputs x: outputs, then gradients. */
static result run(const pal_variant *v, const pal_array *x, pal_dtype dtype)
{
    result r = {.tape = pal_tape_new()};
    pal_tensor in[PAL_CASE_INPUTS] = {{0}}, out[PAL_CASE_OUTPUTS] = {{0}}, c[PAL_CASE_OUTPUTS];
    for (int i = 0; i < v->nin; i++) in[i] = pal_input_leaf(r.tape, &x[i], dtype, false, true);
    pal_rule_out o = pal_test_rules[RULE_GDN2].run(in, (pal_rule_opts){0});
    out[0] = o.o, out[1] = o.state;
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

/* ---- Numerics ---- */

/* Strong decay and none, over lengths around 16 and 64: f32 against f64, every gradient, no floor.
 */
static const int64_t lengths[] = {1, 2, 15, 16, 17, 65, 130};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

START_TEST(decay_extremes)
{
    pal_variant v = {"gdn2", 6, 2,
                     .in = {{.low = -0.7, .high = 0.7},
                            {.low = -0.7, .high = 0.7},
                            {.low = -1, .high = 1},
                            {.low = -1, .high = 1},
                            {.low = 0, .high = 1},
                            {.low = 0, .high = 1}}};
    pal_array x[PAL_CASE_INPUTS];
    double g = _i < LENGTHS ? -20 : 0;
    for (int i = 0; i < v.nin; i++)
        v.in[i].shape = PAL_SHAPE(1, lengths[_i % LENGTHS], i == 2 || i == 5 ? 4 : 2, 4);
    pal_inputs_draw(&v, 11, x);
    pal_array_fill(&x[3], g);
    result f64 = run(&v, x, PAL_F64), f32 = run(&v, x, PAL_F32);
    for (int i = 0; i < f64.n; i++) {
        double *p = doubles(&f32.value[i]), *q = doubles(&f64.value[i]), d = 0, norm = 0;
        for (int64_t j = 0; j < pal_array_count(&f64.value[i]); j++)
            d += (p[j] - q[j]) * (p[j] - q[j]), norm += q[j] * q[j];
        ck_assert_msg(sqrt(d) <= 2e-6 * sqrt(norm), "T = %lld, g = %g: result %d is off by %g",
                      (long long)lengths[_i % LENGTHS], g, i, sqrt(d / norm));
        free(p);
        free(q);
    }
    pal_tape_free(f64.tape);
    pal_tape_free(f32.tape);
    pal_inputs_free(&v, x);
}
END_TEST

/* I - 2 k k^T is a reflection: the state must not grow, whatever the number of tokens. */
START_TEST(erase_of_two_is_stable)
{
    enum { LONG = 4096, N = 4 };
    pal_tape *tape = pal_tape_new();
    pal_set_grad(tape, false);
    double unit[N] = {0.5, 0.5, -0.5, 0.5};
    pal_tensor k =
        pal_expand(pal_from(tape, PAL_F64, PAL_SHAPE(1, 1, 1, N), unit), PAL_SHAPE(1, LONG, 1, N));
    k = pal_cast(k, PAL_F32);
    pal_rng rng = pal_rng_new(1, 0);
    pal_tensor S = pal_normal(tape, PAL_F32, PAL_SHAPE(1, 1, N, N), 0, 1, &rng);
    pal_tensor zero = pal_zeros(tape, PAL_F32, PAL_SHAPE(1, LONG, 1, N));
    pal_tensor two = pal_full(tape, PAL_F32, PAL_SHAPE(1, LONG, 1, N), 2);
    pal_rule_out r = pal_gdn2(k, k, zero, PAL_NONE, two, zero, (pal_rule_opts){.state = S});
    double before = pal_item(pal_sum(pal_square(S), PAL_ALL, false));
    double after = pal_item(pal_sum(pal_square(r.state), PAL_ALL, false));
    ck_assert_msg(fabs(after - before) <= 1e-3 * before, "|S|^2 went from %g to %g", before, after);
    pal_tape_free(tape);
}
END_TEST

START_TEST(log_decay_is_finite)
{
    static const float f[] = {25, -200, 0, -200, 25}, A_log[] = {1, 100, 100, 1, -30};
    pal_tape *tape = pal_tape_new();
    for (int form = 0; form < 2; form++) {
        pal_tensor x = pal_want_grad(pal_from(tape, PAL_F32, PAL_SHAPE(1, 1, 5), f));
        pal_tensor a = pal_want_grad(pal_from(tape, PAL_F32, PAL_SHAPE(5), A_log));
        pal_tensor bias = pal_want_grad(pal_zeros(tape, PAL_F32, PAL_SHAPE(5)));
        pal_tensor g = pal_log_decay(x, a, bias, form ? -5 : 0);
        ck_assert(pal_backward(pal_sum(pal_exp(g), PAL_ALL, false)) == PAL_OK);
        const pal_tensor all[] = {g, pal_grad(x), pal_grad(a), pal_grad(bias)};
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 5; j++) ck_assert(isfinite(pal_f32(all[i])[j]));
        if (!form) { /* -exp(1) * 25, and a head that forgets at once */
            ck_assert(fabs(pal_f32(g)[0] + exp(1) * 25) <= 1e-4);
            ck_assert(pal_f32(g)[2] < -1e30);
        } else {
            for (int j = 0; j < 5; j++) ck_assert(pal_f32(g)[j] >= -5 && pal_f32(g)[j] <= 0);
        }
    }
    pal_tape_free(tape);
}
END_TEST

/* ---- Errors ---- */

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

static void expect(pal_tape *tape, pal_error *heard, pal_rule_out r, pal_status status,
                   const char *words)
{
    ck_assert_msg(heard->status == status && strstr(heard->message, words), "got \"%s\"",
                  heard->message);
    ck_assert(pal_tape_status(tape) == status);
    ck_assert_int_eq(pal_count(r.o), 0);
    *heard = (pal_error){PAL_OK, ""};
    pal_tape_reset(tape);
}

static pal_tensor ones(pal_tape *tape, pal_shape shape)
{
    return pal_full(tape, PAL_F32, shape, 1);
}

START_TEST(wrong_arguments)
{
    pal_tape *t = pal_tape_new();
    pal_error heard = {PAL_OK, ""};
    pal_rule_opts none = {0};
    pal_set_error_handler(hear, &heard);
    pal_shape qk = PAL_SHAPE(2, 5, 2, 3), vw = PAL_SHAPE(2, 5, 4, 6), one = PAL_SHAPE(2, 5, 4);
    expect(
        t, &heard,
        pal_gdn2(ones(t, qk), ones(t, vw), ones(t, vw), PAL_NONE, ones(t, qk), ones(t, vw), none),
        PAL_ESHAPE, "gdn2: argument k is f32[2,5,4,6] and should be [B=2,T=5,H=2,K=3]");
    expect(t, &heard,
           pal_kda(ones(t, qk), ones(t, qk), ones(t, PAL_SHAPE(2, 5, 3, 6)), PAL_NONE,
                   ones(t, PAL_SHAPE(2, 5, 3)), none),
           PAL_ESHAPE, "kda: 3 heads cannot share 2 evenly");
    expect(t, &heard, pal_gdn(ones(t, qk), PAL_NONE, ones(t, vw), PAL_NONE, ones(t, one), none),
           PAL_ESTALE, "gdn: argument k is empty");
    pal_tensor f64 = pal_zeros(t, PAL_F64, vw);
    expect(t, &heard, pal_gdn(ones(t, qk), ones(t, qk), f64, PAL_NONE, ones(t, one), none),
           PAL_EDTYPE, "gdn: argument v is f64; all must be f32");
    pal_rule_opts opts = {.offsets = pal_from(t, PAL_I64, PAL_SHAPE(3), (int64_t[]){0, 3, 5})};
    expect(t, &heard, pal_deltanet(ones(t, qk), ones(t, qk), ones(t, vw), ones(t, one), opts),
           PAL_ESHAPE, "deltanet: packed sequences need B = 1");
    qk = PAL_SHAPE(1, 5, 2, 3), vw = PAL_SHAPE(1, 5, 4, 6), one = PAL_SHAPE(1, 5, 4);
    opts.offsets = pal_from(t, PAL_I64, PAL_SHAPE(4), (int64_t[]){0, 3, 2, 5});
    expect(t, &heard, pal_deltanet(ones(t, qk), ones(t, qk), ones(t, vw), ones(t, one), opts),
           PAL_EVALUE, "deltanet: offsets must run from 0 to T = 5");
    opts = (pal_rule_opts){.state = ones(t, PAL_SHAPE(1, 4, 6, 3))};
    expect(t, &heard, pal_deltanet(ones(t, qk), ones(t, qk), ones(t, vw), ones(t, one), opts),
           PAL_ESHAPE, "argument state is f32[1,4,6,3] and should be [S=1,HV=4,K=3,V=6]");
    opts = (pal_rule_opts){.mode = (pal_rule_mode)77};
    expect(t, &heard, pal_deltanet(ones(t, qk), ones(t, qk), ones(t, vw), ones(t, one), opts),
           PAL_EVALUE, "deltanet: there is no mode 77");
    pal_set_error_handler(NULL, NULL);
    pal_tape_free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rule limits");
    TCase *tc = tcase_create("rule limits");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, decay_extremes, 0, 2 * LENGTHS);
    tcase_add_test(tc, erase_of_two_is_stable);
    tcase_add_test(tc, log_decay_is_finite);
    tcase_add_test(tc, wrong_arguments);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
