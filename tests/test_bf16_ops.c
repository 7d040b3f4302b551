/*
 * test_bf16_ops.c - calls every operation, rule and module with bf16 in place of reals. Each
 * refuses by one sentence that says bf16, or computes what it computes of the same numbers in f32.
 * None takes their bits for those of another type.
 */
#include "tests/support/case.h"
#include "tests/support/check.h"
#include "tests/support/inputs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PAL_OP(name, test) extern const pal_case pal_case_##test;
#include "autograd/ops.def"
#undef PAL_OP
#define PAL_COMPOSED(name, test) extern const pal_case pal_case_##test;
#include "layers/layers.def"

static const pal_case *const cases[] = {
#define PAL_OP(name, test) &pal_case_##test,
#include "autograd/ops.def"
#undef PAL_OP
#define PAL_COMPOSED(name, test) &pal_case_##test,
#include "layers/layers.def"
};
enum { CASES = sizeof cases / sizeof *cases };

static pal_error first;
static int errors;

static void remember(const pal_error *e, void *user)
{
    (void)user;
    if (errors++ == 0) first = *e;
}

/* The inputs rounded to bf16, in that type or in f32. Input `only` alone is bf16, with -1 all. */
static void leaves(pal_tape *tape, const pal_variant *v, const pal_array *x, bool narrow, int only,
                   pal_tensor *in)
{
    for (int i = 0; i < v->nin; i++) {
        in[i] = pal_input_leaf(tape, &x[i], PAL_F32, false, false);
        if (!x[i].data || x[i].dtype == PAL_I64) continue;
        const pal_tensor half = pal_cast(in[i], PAL_BF16);
        in[i] = narrow && (only < 0 || only == i) ? half : pal_cast(half, PAL_F32);
    }
}

/* Whether `got` is `want`, rounded to bf16 where it is bf16. Products have the same sums in another
 * order, and a layer of several may round what is between them. */
static bool same(const pal_array *got, const pal_array *want)
{
    const int64_t n = pal_array_count(want);
    if (!pal_shape_equal(pal_array_shape(got), pal_array_shape(want))) return false;
    if (got->dtype != PAL_BF16) {
        double error = 0, size = 0;
        for (int64_t i = 0; i < n; i++) {
            const double x = pal_ref_get(got, i), y = pal_ref_get(want, i);
            if (x == y || (x != x && y != y)) continue; /* infinities and NaN, too */
            error += pow(x - y, 2);
            size += pow(y, 2);
        }
        return error <= 1e-4 * size;
    }
    for (int64_t i = 0; i < n; i++) {
        const double a = pal_ref_get(got, i);
        double b = pal_ref_get(want, i), rounded;
        const pal_array one = pal_array_of(got->dtype, PAL_SCALAR, &rounded);
        pal_array_set(&one, NULL, b);
        b = pal_array_get(&one, NULL);
        if (!(a == b || (a != a && b != b))) return false;
    }
    return true;
}

/* One variant with bf16 in one place or in all. Returns whether it was taken. */
static bool try_variant(const pal_case *c, const pal_variant *v, const pal_array *x, int only)
{
    pal_tape *tape = pal_tape_new();
    pal_tensor in[PAL_CASE_INPUTS], out[PAL_CASE_OUTPUTS], want[PAL_CASE_OUTPUTS];
    errors = 0;
    leaves(tape, v, x, true, only, in);
    ck_assert_int_eq(errors, 0);
    v->build(v, in, out);
    const bool taken = errors == 0;
    if (!taken) {
        ck_assert_msg(first.status == PAL_EDTYPE && errors == 1 && strstr(first.message, "bf16") &&
                          strstr(first.message, ": "),
                      "%s, %s: %s", c->name, v->name, first.message);
    } else {
        leaves(tape, v, x, false, only, in);
        v->build(v, in, want);
        for (int i = 0; i < v->nout; i++) {
            const pal_array a = pal_value(out[i]), b = pal_value(want[i]);
            ck_assert_msg(same(&a, &b), "%s, %s: output %d differs from f32's", c->name, v->name,
                          i);
        }
    }
    pal_tape_free(tape);
    return taken;
}

static bool has_reals(const pal_variant *v)
{
    for (int i = 0; i < v->nin; i++)
        if (!v->in[i].absent && !v->in[i].integer) return true;
    return false;
}

START_TEST(every_operation)
{
    const pal_case *c = cases[_i];
    for (int j = 0; j < _i; j++)
        if (cases[j] == c) return; /* operations that share a case */
    for (int k = 0; k < c->count; k++) {
        const pal_variant *v = &c->variants[k];
        pal_array x[PAL_CASE_INPUTS] = {0};
        if (!has_reals(v)) continue;
        pal_inputs_draw(v, pal_case_hash(c, v), x);
        try_variant(c, v, x, -1);
        for (int i = 0; i < v->nin; i++)
            if (x[i].data && x[i].dtype != PAL_I64) try_variant(c, v, x, i);
        pal_inputs_free(v, x);
    }
}
END_TEST

/* What takes it today; what is added here has a test of its own. */
START_TEST(some_take_it)
{
    static const char *const taken[] = {"copy", "view", "matmul"};
    for (int i = 0; i < CASES; i++) {
        const pal_variant *v = &cases[i]->variants[0];
        for (size_t j = 0; j < sizeof taken / sizeof *taken; j++) {
            if (strcmp(cases[i]->name, taken[j]) != 0) continue;
            pal_array x[PAL_CASE_INPUTS] = {0};
            pal_inputs_draw(v, 1, x);
            ck_assert(try_variant(cases[i], v, x, -1));
            pal_inputs_free(v, x);
        }
    }
}
END_TEST

/* What is not an operation of ops.def. */
START_TEST(others_refuse)
{
    pal_tape *tape = pal_tape_new();
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(1, 0);
    errors = 0;
    pal_want_grad(pal_zeros(tape, PAL_BF16, PAL_SHAPE(2)));
    ck_assert(errors == 1 && strstr(first.message, "want_grad: argument t is bf16"));
    pal_tape_reset(tape);
    errors = 0;
    pal_uniform(tape, PAL_BF16, PAL_SHAPE(2), 0, 1, &rng);
    ck_assert(errors == 1 && strstr(first.message, "fill_uniform: argument t is bf16"));
    pal_tape_reset(tape);
    errors = 0;
    pal_f32(pal_zeros(tape, PAL_BF16, PAL_SHAPE(2)));
    ck_assert(errors == 1 && strstr(first.message, "f32: argument t is bf16[2]"));
    errors = 0;
    uint16_t half[2];
    const pal_array a = pal_array_of(PAL_BF16, PAL_SHAPE(2), half);
    pal_rng_normal(&rng, &a, 0, 1);
    ck_assert(errors == 1 && strstr(first.message, "pal_rng_normal: out is bf16[2]"));
    errors = 0;
    const pal_tensor w = pal_param(params, "w", PAL_BF16, PAL_SHAPE(2)); /* it cannot train */
    ck_assert(errors == 0 && pal_is_none(pal_grad(w)));
    pal_fill_uniform(w, 0, 1, &rng);
    ck_assert(errors == 1 && strstr(first.message, "fill_uniform: argument t is bf16"));
    pal_params_free(params);
    pal_tape_free(tape);
}
END_TEST

int main(void)
{
    pal_set_error_handler(remember, NULL);
    Suite *s = suite_create("bf16_ops");
    TCase *tc = tcase_create("bf16_ops");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, every_operation, 0, CASES);
    tcase_add_test(tc, some_take_it);
    tcase_add_test(tc, others_refuse);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
