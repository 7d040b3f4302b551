/*
 * test_recompute.c - recomputed segments give the same numbers in less memory. Tests of what a
 * segment may be given, may do and may return follow, because a gradient could be lost at its
 * border.
 */
#include <palimpsest.h>

#include "tests/support/check.h"

#include <math.h>
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
static pal_tensor outside; /* a tensor that a segment uses without having it as an input */

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

/* A leaf [3] of 1, 2, 3 whose gradient is wanted. */
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

static int ready;
static void note_ready(pal_params *p, int i, void *user)
{
    (void)p, (void)i, (void)user;
    ready++;
}

/* A leaf [2,3] of 1 to 6 whose gradient is wanted. */
static pal_tensor leaf6(void)
{
    return pal_want_grad(pal_from(tape, PAL_F64, PAL_SHAPE(2, 3), (double[]){1, 2, 3, 4, 5, 6}));
}

/* ---- The same numbers in less memory ---- */

static int runs;
static void cube(void *context, const pal_tensor *in, pal_tensor *out)
{
    const pal_tensor *w = context;
    runs++;
    out[0] = pal_mul(pal_mul(in[0], in[0]), pal_mul(in[0], *w));
    out[1] = pal_mul(in[1], out[0]);
}

static void nested(void *context, const pal_tensor *in, pal_tensor *out)
{
    pal_tensor y[2];
    pal_recompute(tape, cube, context, 2, in, 2, y);
    pal_recompute(tape, cube, context, 2, y, 2, out);
}

/* Returns the loss, and the gradients of x and w, with the segment run directly or recomputed. */
static double segment_loss(pal_segment_fn *f, bool again, pal_tensor w, double *gx, double *gw)
{
    pal_tape_reset(tape);
    pal_params_zero_grad(params);
    pal_tensor x = leaf6(), one = pal_full(tape, PAL_F64, PAL_SHAPE(2, 3), 1);
    pal_tensor in[2] = {pal_mul(x, one), pal_transpose(pal_reshape(x, PAL_SHAPE(3, 2)), 0, 1)};
    pal_tensor out[2];
    if (again)
        pal_recompute(tape, f, &w, 2, in, 2, out);
    else
        f(&w, in, out);
    pal_tensor loss = pal_sum(pal_mul(out[0], out[1]), PAL_ALL, false);
    ck_assert_msg(pal_backward(loss) == PAL_OK, "%s", first.message);
    memcpy(gx, pal_f64(pal_grad(x)), 6 * sizeof *gx);
    memcpy(gw, pal_f64(pal_grad(w)), 6 * sizeof *gw);
    return pal_item(loss);
}

START_TEST(recomputation_changes_nothing)
{
    pal_segment_fn *segments[2] = {cube, nested};
    pal_tensor w = pal_param(params, "w", PAL_F64, PAL_SHAPE(2, 3));
    pal_array wa = pal_edit(w);
    for (int i = 0; i < 6; i++) ((double *)wa.data)[i] = 1 - 0.25 * i;
    pal_params_on_grad(params, note_ready, NULL);
    for (int s = 0; s < 2; s++) {
        double gx[2][6], gw[2][6], loss[2];
        loss[0] = segment_loss(segments[s], false, w, gx[0], gw[0]);
        runs = ready = 0;
        loss[1] = segment_loss(segments[s], true, w, gx[1], gw[1]);
        ck_assert_int_eq(runs, s == 0 ? 2 : 6); /* nested: 2 forward, 2 again, each once more */
        ck_assert_int_eq(ready, 1);
        ck_assert_double_eq(loss[0], loss[1]);
        ck_assert_mem_eq(gx[0], gx[1], sizeof gx[0]);
        ck_assert_mem_eq(gw[0], gw[1], sizeof gw[0]);
    }
}
END_TEST

static void reaches_out(void *context, const pal_tensor *in, pal_tensor *out)
{
    (void)context;
    out[0] = pal_mul(in[0], outside);
}

START_TEST(a_segment_must_name_its_inputs)
{
    pal_tensor x = leaf6(), y;
    outside = pal_square(x);
    pal_recompute(tape, reaches_out, NULL, 1, &x, 1, &y);
    expect(PAL_EGRAD, "mul: argument b comes from outside the recomputed segment");
    ck_assert_int_eq(pal_backward(y), PAL_EGRAD);
    pal_tape_reset(tape);
    ck_assert_int_eq(pal_tape_status(tape), PAL_OK);
}
END_TEST

static void many(void *context, const pal_tensor *in, pal_tensor *out)
{
    int n = *(int *)context;
    out[0] = in[0];
    for (int i = 0; i < n; i++) out[0] = pal_mul(out[0], in[0]);
}

START_TEST(recomputation_saves_memory)
{
    size_t live[2];
    int n = 50;
    for (int again = 0; again < 2; again++) {
        pal_tape_reset(tape);
        pal_tensor x = pal_want_grad(pal_full(tape, PAL_F64, PAL_SHAPE(1000), 1)), y = x;
        for (int i = 0; i < 4; i++) {
            pal_tensor x_i = y;
            if (again)
                pal_recompute(tape, many, &n, 1, &x_i, 1, &y);
            else
                many(&n, &x_i, &y);
        }
        live[again] = pal_tape_memory(tape).live;
        ck_assert_int_eq(pal_backward(pal_sum(y, PAL_ALL, false)), PAL_OK);
        ck_assert_double_eq(pal_f64(pal_grad(x))[7], pow(n + 1, 4));
    }
    ck_assert_msg(live[1] * 20 < live[0], "%zu against %zu bytes", live[1], live[0]);
}
END_TEST

/* ---- The border of a segment ---- */

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

/* Reads parameters on which its result does not depend. */
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

/* The number of inputs of the recomputed segment on the tape; all have the shape [3]. */
static int segment_inputs(void)
{
    char *text = NULL;
    size_t size;
    int n = 0;
    FILE *to = open_memstream(&text, &size);
    pal_tape_print(tape, to);
    fclose(to);
    const char *at = strstr(text, "recompute("), *end = at ? strchr(at, '\n') : NULL;
    ck_assert_ptr_nonnull(end);
    for (; (at = strstr(at, "f64[3]")) && at < end; at++) n++;
    free(text);
    return n;
}

/* Parameters are marked while a segment's parameters are counted. Here another tape has left marks
 * with the number that this tape will use next. */
START_TEST(parameters_of_two_tapes_are_all_counted)
{
    pal_tensor w[MANY];
    for (int i = 0; i < MANY; i++) {
        char name[16];
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
        ck_assert_int_eq(segment_inputs(), 1 + MANY);
        ck_assert_int_eq(pal_backward(pal_sum(y, PAL_ALL, false)), PAL_OK);
        ck_assert_double_eq(pal_f64(pal_grad(x))[2], 6);
    }
}
END_TEST

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
    tcase_add_test(tc, recomputation_changes_nothing);
    tcase_add_test(tc, recomputation_saves_memory);
    tcase_add_test(tc, a_segment_must_name_its_inputs);
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
