/*
 * test_tape_errors.c - wrong uses of a tape: handles of another step or tape, changes between
 * forward and backward, numbers that are not finite, and the sticky tape that follows an error.
 */
#include "autograd/autograd.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Fixtures ---- */

static pal_error last;
static int errors;

static void remember(const pal_error *e, void *user)
{
    (void)user;
    last = *e;
    errors++;
}

static pal_tape *tape;
static pal_params *params;

static void setup(void)
{
    errors = 0;
    pal_set_error_handler(remember, NULL);
    tape = pal_tape_new();
    params = pal_params_new();
}

static void teardown(void)
{
    pal_tape_free(tape);
    pal_params_free(params);
    pal_set_error_handler(NULL, NULL);
}

static pal_tensor zeros(pal_dtype dtype, pal_shape shape) { return pal_zeros(tape, dtype, shape); }
static pal_tensor f32(pal_shape shape) { return zeros(PAL_F32, shape); }
static pal_tensor leaf6(void)
{
    return pal_from(tape, PAL_F64, PAL_SHAPE(2, 3), (double[]){1, 2, 3, 4, 5, 6});
}
static pal_tensor sum(pal_tensor x) { return pal_sum(x, PAL_ALL, false); }

/* The result is poison, and there was one error, whose text contains a, b and c. Then the tape is
 * reset. */
static void expect_status(pal_status status, const char *a, const char *b, const char *c)
{
    ck_assert_int_eq(errors, 1);
    ck_assert_msg(last.status == status, "status %s: %s", pal_status_name(last.status),
                  last.message);
    const char *parts[] = {a, b, c};
    for (int i = 0; i < 3; i++)
        ck_assert_msg(!parts[i] || strstr(last.message, parts[i]), "\"%s\" lacks \"%s\"",
                      last.message, parts[i]);
    errors = 0;
    pal_tape_reset(tape);
}

static void expect(pal_tensor result, pal_status status, const char *a, const char *b,
                   const char *c)
{
    ck_assert(result.node != NULL);
    ck_assert(pal_value(result).data == NULL);
    expect_status(status, a, b, c);
}

static void expect_error(pal_status status, const char *text)
{
    ck_assert_msg(last.status == status, "status %d: %s", last.status, last.message);
    ck_assert_msg(strstr(last.message, text) != NULL, "\"%s\" lacks \"%s\"", last.message, text);
}

/* ---- Handles ---- */

START_TEST(handles_that_are_no_tensor_of_this_tape)
{
    pal_tensor old = f32(PAL_SHAPE(2));
    pal_tape_reset(tape);
    expect(pal_exp(old), PAL_ESTALE, "exp: argument x is stale", NULL, NULL);
    old = f32(PAL_SHAPE(2));
    pal_tape_reset(tape);
    expect(pal_mul(f32(PAL_SHAPE(2)), old), PAL_ESTALE, "mul: argument b is stale", NULL, NULL);
    expect(pal_dropout(old, 0), PAL_ESTALE, "dropout: argument x is stale", NULL, NULL);
    expect(pal_contiguous(old), PAL_ESTALE, "contiguous: argument x is stale", NULL, NULL);

    pal_tape *other = pal_tape_new();
    expect(pal_add(f32(PAL_SHAPE(2)), pal_zeros(other, PAL_F32, PAL_SHAPE(2))), PAL_ESTALE,
           "add: argument b", "another tape", NULL);
    pal_tape_free(other);

    pal_tensor w = pal_param(params, "w", PAL_F32, PAL_SHAPE(2));
    /* No operand is on a tape, so no tape becomes sticky. */
    pal_add(w, w);
    expect_status(PAL_EVALUE, "add:", "pal_on", NULL);
    pal_neg(PAL_NONE);
    expect_status(PAL_EVALUE, "neg:", NULL, NULL);
}
END_TEST

START_TEST(every_stale_handle_is_told_whatever_came_after_it)
{
    enum { N = 200 };
    pal_tensor old[N];
    for (int i = 0; i < N; i++) old[i] = f32(PAL_SHAPE(2)); /* nodes only */
    for (int step = 0; step < 3; step++) {
        pal_tape_reset(tape);
        pal_tensor x = pal_want_grad(f32(PAL_SHAPE(2))); /* nodes and records */
        for (int i = 0; i < N; i++) x = pal_affine(pal_add(x, x), step, 1);
        for (int i = 0; i < N; i++) {
            ck_assert(pal_f32(pal_add(x, old[i])) == NULL);
            ck_assert_int_eq(pal_tape_status(tape), PAL_ESTALE);
            errors = 0;
            pal_tape_reset(tape);
            x = pal_affine(pal_want_grad(f32(PAL_SHAPE(2))), 1, i);
        }
    }
}
END_TEST

/* ---- Changes between forward and backward ---- */

START_TEST(a_change_of_what_backward_reads)
{
    pal_tensor w = pal_label(pal_param(params, "w", PAL_F32, PAL_SCALAR), "w");
    pal_fill(w, 2);
    pal_tensor loss = pal_log(pal_on(tape, w));
    pal_fill(w, 3);
    ck_assert_int_eq(pal_backward(loss), PAL_ECHANGED);
    ck_assert(pal_item(pal_grad(w)) == 0);
    expect_status(PAL_ECHANGED, "log: argument x \"w\" was changed", NULL, NULL);

    pal_tensor y = pal_exp(pal_on(tape, w));
    loss = pal_neg(y);
    pal_fill(y, 1);
    ck_assert_int_eq(pal_backward(loss), PAL_ECHANGED);
    expect_status(PAL_ECHANGED, "exp: its result was changed", NULL, NULL);
}
END_TEST

START_TEST(a_change_of_what_backward_does_not_read)
{
    pal_tensor w = pal_param(params, "w", PAL_F64, PAL_SCALAR), on = pal_on(tape, w);
    pal_fill(w, 2);
    pal_tensor y = pal_exp(on); /* its gradient follows from y */
    pal_tensor z = pal_affine(pal_add(on, on), 3, 1);
    pal_tensor loss = pal_add(y, z);
    pal_fill(w, 3);
    pal_fill(z, 0);
    ck_assert_int_eq(pal_backward(loss), PAL_OK);
    ck_assert(fabs(pal_item(pal_grad(w)) - (exp(2) + 6)) < 1e-12);
    ck_assert_int_eq(errors, 0);
}
END_TEST

/* ---- What errors name ---- */

START_TEST(stale_tensors_are_named)
{
    pal_tensor x = pal_want_grad(leaf6());
    pal_tape_reset(tape);
    pal_tensor y = pal_mul(leaf6(), x);
    expect_error(PAL_ESTALE, "mul: argument b is stale");
    ck_assert_int_eq(errors, 1);
    pal_tensor z = pal_mul(y, y); /* the tape is sticky: no new error, poison */
    ck_assert_int_eq(errors, 1);
    ck_assert(pal_value(z).data == NULL);
    ck_assert_int_eq(pal_backward(z), PAL_ESTALE);
    ck_assert(isnan(pal_item(z)));
    ck_assert_int_eq(errors, 1);
    pal_tape_reset(tape);
    ck_assert_int_eq(pal_tape_status(tape), PAL_OK);
    ck_assert_str_eq(pal_tape_message(tape), "");
    ck_assert_double_eq(pal_item(sum(leaf6())), 21);
    pal_mul(leaf6(), y); /* poison of the step before */
    expect_error(PAL_ESTALE, "argument b is stale");
}
END_TEST

START_TEST(empty_and_foreign_tensors_are_named)
{
    pal_mul(leaf6(), PAL_NONE);
    expect_error(PAL_EVALUE, "mul: argument b");
    pal_tape_reset(tape);
    pal_tape *other = pal_tape_new();
    pal_tensor x = pal_zeros(other, PAL_F64, PAL_SHAPE(2, 3));
    pal_mul(leaf6(), x);
    expect_error(PAL_ESTALE, "mul: argument b lives on another tape");
    pal_tape_reset(tape);
    ck_assert_double_eq(pal_item(sum(pal_mul(leaf6(), pal_on(tape, x)))), 0);
    pal_tape_free(other);
    pal_tensor w = pal_param(params, "w", PAL_F64, PAL_SHAPE(2, 3));
    sum(w);
    expect_error(PAL_EVALUE, "sum: no operand is on a tape");
    ck_assert_double_eq(pal_item(sum(pal_on(tape, w))), 0);
    pal_transpose(w, 0, 1);
    expect_error(PAL_EVALUE, "transpose: argument x is a parameter (w)");
}
END_TEST

START_TEST(changes_between_forward_and_backward_are_named)
{
    pal_tensor x = pal_want_grad(leaf6());
    pal_tensor w = pal_fill(pal_param(params, "layer.w", PAL_F64, PAL_SHAPE(2, 3)), 2);
    pal_tensor loss = sum(pal_mul(x, w));
    pal_fill(w, 5);
    ck_assert_int_eq(pal_backward(loss), PAL_ECHANGED);
    expect_error(PAL_ECHANGED, "mul: argument b \"layer.w\" was changed");
    ck_assert_double_eq(pal_f64(pal_grad(w))[0], 0);
    pal_tape_reset(tape);
    x = pal_want_grad(leaf6());
    pal_tensor y = pal_mul(x, x);
    loss = sum(y);
    pal_fill(y, 7); /* nobody's backward reads y */
    ck_assert_int_eq(pal_backward(loss), PAL_OK);
}
END_TEST

START_TEST(the_first_number_that_is_not_finite_is_named)
{
    setenv("PAL_CHECK", "numerics", 1);
    pal_tape *checked = pal_tape_new();
    unsetenv("PAL_CHECK");
    pal_tensor x = pal_want_grad(pal_full(checked, PAL_F64, PAL_SHAPE(3), 1e200));
    pal_tensor bad = pal_full(checked, PAL_F64, PAL_SHAPE(3), NAN);
    pal_tensor y = pal_mul(x, bad); /* a NaN from an input is data */
    ck_assert_int_eq(pal_tape_status(checked), PAL_OK);
    (void)y;
    pal_mul(x, x);
    expect_error(PAL_ENUMERIC, "mul: the result holds a number that is not finite");
    pal_tape_reset(checked);
    x = pal_want_grad(pal_full(checked, PAL_F64, PAL_SHAPE(3), 1e-200));
    pal_tensor big = pal_full(checked, PAL_F64, PAL_SHAPE(3), 1e200);
    y = sum(pal_mul(pal_mul(x, big), big)); /* y is finite, dx is 1e400 */
    ck_assert_int_eq(pal_backward(y), PAL_ENUMERIC);
    expect_error(PAL_ENUMERIC, "mul: backward makes a gradient of");
    pal_tape_free(checked);
}
END_TEST

START_TEST(wrong_uses_of_leaves_are_errors)
{
    pal_want_grad(pal_arange(tape, PAL_I64, 3));
    expect_error(PAL_EDTYPE, "want_grad: argument t is i64");
    pal_tape_reset(tape);
    ck_assert(pal_is_none(pal_grad(pal_exp(f32(PAL_SHAPE(2))))));
    expect_error(PAL_EGRAD, "grad: argument t f32[2] was not asked for its gradient");
    pal_tape_reset(tape);
    pal_f32(leaf6());
    expect_error(PAL_EDTYPE, "f32: argument t is f64[2,3]");
    pal_tape_reset(tape);
    pal_item(leaf6());
    expect_error(PAL_ESHAPE, "item: argument t f64[2,3]");
}
END_TEST

/* ---- The sticky tape ---- */

START_TEST(a_failure_poisons_the_tape_until_reset)
{
    pal_tensor x = pal_want_grad(f32(PAL_SHAPE(2, 3)));
    pal_tensor bad = pal_add(x, f32(PAL_SHAPE(4)));
    ck_assert_int_eq(errors, 1);
    pal_tensor next = pal_exp(bad), fine = pal_mul(x, x), view = pal_transpose(x, 0, 1);
    ck_assert_int_eq(errors, 1);
    ck_assert(pal_value(next).data == NULL && pal_value(fine).data == NULL);
    ck_assert(pal_value(view).data == NULL);
    ck_assert_int_eq(pal_count(next), 0);
    ck_assert(isnan(pal_item(bad)));
    ck_assert_int_eq(pal_tape_status(tape), PAL_ESHAPE);
    ck_assert(strstr(pal_tape_message(tape), "add:") != NULL);
    ck_assert_int_eq(pal_backward(fine), PAL_ESHAPE);
    ck_assert_int_eq(errors, 1);

    pal_tape_reset(tape);
    ck_assert_int_eq(pal_tape_status(tape), PAL_OK);
    ck_assert_str_eq(pal_tape_message(tape), "");
    x = pal_want_grad(pal_full(tape, PAL_F32, PAL_SCALAR, 3));
    ck_assert_int_eq(pal_backward(pal_mul(x, x)), PAL_OK);
    ck_assert(pal_item(pal_grad(x)) == 6);
    ck_assert_int_eq(errors, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tape_errors");
    TCase *tc = tcase_create("tape errors");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, handles_that_are_no_tensor_of_this_tape);
    tcase_add_test(tc, every_stale_handle_is_told_whatever_came_after_it);
    tcase_add_test(tc, a_change_of_what_backward_reads);
    tcase_add_test(tc, a_change_of_what_backward_does_not_read);
    tcase_add_test(tc, a_failure_poisons_the_tape_until_reset);
    tcase_add_test(tc, stale_tensors_are_named);
    tcase_add_test(tc, empty_and_foreign_tensors_are_named);
    tcase_add_test(tc, changes_between_forward_and_backward_are_named);
    tcase_add_test(tc, the_first_number_that_is_not_finite_is_named);
    tcase_add_test(tc, wrong_uses_of_leaves_are_errors);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
