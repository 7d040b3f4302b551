/*
 * test_recompute.c - what a recomputed segment may be given, may do, and may hand back.
 *
 * Memory and values of recomputation are tested in test_tape.c; here is the border of a segment,
 * where a gradient could get lost.
 */
#include "autograd/internal.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static pal_error first;
static int errors;

static void remember(const pal_error *e, void *user)
{
    (void)user;
    if (errors++ == 0) first = *e;
}

static pal_tape *tape;
static pal_params *params;
static pal_tensor outside; /* what a segment reaches for behind its inputs */

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

/* 1, 2, 3 as a leaf whose gradient is wanted. */
static pal_tensor leaf(pal_tape *on)
{
    return pal_want_grad(pal_from(on, PAL_F64, PAL_SHAPE(3), (double[]){1, 2, 3}));
}

static void expect(pal_status status, const char *what)
{
    ck_assert_int_eq(errors, 1);
    ck_assert_int_eq(first.status, status);
    ck_assert_msg(strstr(first.message, what) != NULL, "\"%s\" lacks \"%s\"", first.message, what);
    ck_assert_int_eq(pal_tape_status(tape), status);
}

/* ---- Segments ---- */

static void squares(void *context, const pal_tensor *in, pal_tensor *out)
{
    (void)context;
    out[0] = pal_square(in[0]);
}

static void returns_outside(void *context, const pal_tensor *in, pal_tensor *out)
{
    (void)context, (void)in;
    out[0] = outside;
}

static void passes_outside_on(void *context, const pal_tensor *in, pal_tensor *out)
{
    (void)context;
    pal_tensor y;
    pal_recompute(tape, squares, NULL, 1, &outside, 1, &y);
    out[0] = pal_add(y, in[0]);
}

static void wants_its_input(void *context, const pal_tensor *in, pal_tensor *out)
{
    (void)context;
    out[0] = pal_square(pal_want_grad(in[0]));
}

enum { MANY = 24 };

/* Reads parameters that its result does not depend on. */
static void reads_in_vain(void *context, const pal_tensor *in, pal_tensor *out)
{
    const pal_tensor *w = context;
    for (int i = 0; i < MANY; i++) pal_mul(in[0], w[i]);
    out[0] = pal_square(in[0]);
}

static void returns_parameter(void *context, const pal_tensor *in, pal_tensor *out)
{
    (void)in;
    out[0] = pal_on(tape, *(const pal_tensor *)context);
}

/* ---- Tests ---- */

START_TEST(a_result_may_not_come_from_outside)
{
    pal_tensor k = pal_scalar(tape, PAL_F64, 1), y;
    outside = pal_square(leaf(tape));
    pal_recompute(tape, returns_outside, NULL, 1, &k, 1, &y);
    expect(PAL_EGRAD, "recompute: output 0 of the segment comes from outside");
}
END_TEST

START_TEST(an_inner_segment_takes_nothing_from_outside_the_outer)
{
    pal_tensor x = leaf(tape), y;
    outside = pal_square(x);
    pal_recompute(tape, passes_outside_on, NULL, 1, &x, 1, &y);
    expect(PAL_EGRAD, "recompute: argument input 0 comes from outside");
}
END_TEST

START_TEST(constants_may_come_from_outside)
{
    pal_tensor x = leaf(tape), y;
    outside = pal_detach(pal_square(x));
    pal_recompute(tape, passes_outside_on, NULL, 1, &x, 1, &y);
    ck_assert_int_eq(pal_backward(pal_sum(y, PAL_ALL, false)), PAL_OK);
    for (int i = 0; i < 3; i++) ck_assert_double_eq(pal_f64(pal_grad(x))[i], 1);
    ck_assert_int_eq(errors, 0);
}
END_TEST

START_TEST(an_input_lives_on_the_same_tape)
{
    pal_tape *other = pal_tape_new();
    pal_tensor x = leaf(other), y;
    pal_recompute(tape, squares, NULL, 1, &x, 1, &y);
    expect(PAL_ESTALE, "recompute: argument input 0 lives on another tape");
    pal_tape_free(other);
}
END_TEST

START_TEST(leaves_are_marked_before_a_segment)
{
    pal_tensor x = pal_square(leaf(tape)), y;
    pal_recompute(tape, wants_its_input, NULL, 1, &x, 1, &y);
    expect(PAL_EGRAD, "want_grad: called inside a recomputed segment");
}
END_TEST

/* Parameters are marked while they are counted. Here the other tape has left marks of the number
 * that this tape comes to next. */
START_TEST(parameters_of_two_tapes_are_all_counted)
{
    pal_tensor w[MANY];
    for (int i = 0; i < MANY; i++) {
        char name[8];
        snprintf(name, sizeof name, "w%d", i);
        w[i] = pal_fill(pal_param(params, name, PAL_F64, PAL_SHAPE(3)), 1);
    }
    for (int passes = 1; passes < 4; passes++) {
        pal_tape *other = pal_tape_new(), *before = tape;
        pal_tensor sum = pal_on(other, w[0]), y;
        for (int i = 1; i < MANY; i++) sum = pal_add(sum, w[i]);
        sum = pal_sum(sum, PAL_ALL, false);
        for (int i = 0; i < passes; i++) ck_assert_int_eq(pal_backward(sum), PAL_OK);
        pal_tape_free(other);

        pal_tape_free(before);
        tape = pal_tape_new();
        pal_tensor x = leaf(tape);
        pal_recompute(tape, reads_in_vain, w, 1, &x, 1, &y);
        ck_assert_int_eq(tape->level[0].last->call.nin, 1 + MANY);
        ck_assert_int_eq(pal_backward(pal_sum(y, PAL_ALL, false)), PAL_OK);
        ck_assert_double_eq(pal_f64(pal_grad(x))[2], 6);
    }
}
END_TEST

static int ready;
static void note_ready(pal_params *p, int i, void *user)
{
    (void)p, (void)i, (void)user;
    ready++;
}

START_TEST(a_parameter_may_be_the_result)
{
    pal_tensor w = pal_fill(pal_param(params, "w", PAL_F64, PAL_SHAPE(3)), 2), x = leaf(tape), y;
    pal_params_on_grad(params, note_ready, NULL);
    ready = 0;
    pal_recompute(tape, returns_parameter, &w, 1, &x, 1, &y);
    ck_assert_int_eq(pal_backward(pal_sum(pal_mul(x, y), PAL_ALL, false)), PAL_OK);
    ck_assert_double_eq(pal_f64(pal_grad(w))[1], 2);
    ck_assert_int_eq(ready, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("recompute");
    TCase *tc = tcase_create("recompute");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_result_may_not_come_from_outside);
    tcase_add_test(tc, an_inner_segment_takes_nothing_from_outside_the_outer);
    tcase_add_test(tc, constants_may_come_from_outside);
    tcase_add_test(tc, an_input_lives_on_the_same_tape);
    tcase_add_test(tc, leaves_are_marked_before_a_segment);
    tcase_add_test(tc, parameters_of_two_tapes_are_all_counted);
    tcase_add_test(tc, a_parameter_may_be_the_result);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
