/*
 * test_tape.c - what the tape records and how backward uses it, through two operations of the
 * test's own. Parameters are in test_params.c, recomputed segments in test_recompute.c, wrong uses
 * in test_tape_errors.c.
 */
#include "autograd/autograd.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Two operations ---- */

static pal_status mul_infer(pal_call *c)
{
    if (!c->in[0] || !c->in[1]) return pal_call_error(c, PAL_EVALUE, "an operand is missing");
    pal_shape a = pal_array_shape(c->in[0]);
    if (!pal_shape_equal(a, pal_array_shape(c->in[1])))
        return pal_call_error(c, PAL_ESHAPE, "the shapes differ");
    return pal_call_out(c, 0, c->in[0]->dtype, a);
}

/* The i-th element in row-major order. */
static double get(const pal_array *a, int64_t i)
{
    int64_t index[PAL_MAX_DIMS];
    for (int d = a->ndim - 1; d >= 0; i /= a->shape[d--]) index[d] = i % a->shape[d];
    return pal_array_get(a, index);
}

static void set(const pal_array *a, int64_t i, double value)
{
    int64_t index[PAL_MAX_DIMS];
    for (int d = a->ndim - 1; d >= 0; i /= a->shape[d--]) index[d] = i % a->shape[d];
    pal_array_set(a, index, value);
}

static void mul_forward(const pal_call *c)
{
    int64_t n = pal_array_count(c->out[0]);
    for (int64_t i = 0; i < n; i++) set(c->out[0], i, get(c->in[0], i) * get(c->in[1], i));
}

static void mul_backward(const pal_call *c)
{
    int64_t n = pal_array_count(c->out[0]);
    for (int i = 0; i < 2; i++)
        for (int64_t j = 0; c->din[i] && j < n; j++) {
            double before = pal_call_fresh(c, i) ? 0 : get(c->din[i], j);
            set(c->din[i], j, before + get(c->dout[0], j) * get(c->in[1 - i], j));
        }
}

static const pal_op mul_op = {.name = "times",
                              .args = "a b",
                              .infer = mul_infer,
                              .forward = mul_forward,
                              .backward = mul_backward,
                              .unread_out = 1,
                              .overwrites = 3};

static pal_tensor times(pal_tensor a, pal_tensor b)
{
    pal_tensor y;
    pal_apply(&mul_op, NULL, 0, 2, (pal_tensor[]){a, b}, 1, &y);
    return y;
}

static pal_status total_infer(pal_call *c)
{
    return pal_call_out(c, 0, c->in[0]->dtype, PAL_SCALAR);
}

static void total_forward(const pal_call *c)
{
    double sum = 0;
    for (int64_t i = 0; i < pal_array_count(c->in[0]); i++) sum += get(c->in[0], i);
    set(c->out[0], 0, sum);
}

static void total_backward(const pal_call *c)
{
    for (int64_t i = 0; i < pal_array_count(c->in[0]); i++)
        set(c->din[0], i, get(c->din[0], i) + get(c->dout[0], 0));
}

static const pal_op total_op = {.name = "total",
                                .args = "x",
                                .infer = total_infer,
                                .forward = total_forward,
                                .backward = total_backward,
                                .unread_in = 1,
                                .unread_out = 1};

static pal_tensor total(pal_tensor x)
{
    pal_tensor y;
    pal_apply(&total_op, NULL, 0, 1, &x, 1, &y);
    return y;
}

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
    last = (pal_error){0};
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

static pal_tensor leaf6(void)
{
    return pal_from(tape, PAL_F64, PAL_SHAPE(2, 3), (double[]){1, 2, 3, 4, 5, 6});
}

static void expect_error(pal_status status, const char *text)
{
    ck_assert_msg(last.status == status, "status %d: %s", last.status, last.message);
    ck_assert_msg(strstr(last.message, text) != NULL, "\"%s\" lacks \"%s\"", last.message, text);
}

/* ---- Gradients ---- */

START_TEST(gradient_of_a_square)
{
    pal_tensor x = pal_want_grad(leaf6());
    ck_assert_int_eq(pal_backward(total(times(x, x))), PAL_OK);
    const double *g = pal_f64(pal_grad(x));
    for (int i = 0; i < 6; i++) ck_assert_double_eq(g[i], 2.0 * (i + 1));
}
END_TEST

START_TEST(gradients_add_up_over_calls)
{
    pal_tensor x = pal_want_grad(leaf6()), w = pal_param(params, "w", PAL_F64, PAL_SHAPE(2, 3));
    pal_fill(w, 3);
    pal_tensor loss = total(times(x, w));
    ck_assert_int_eq(pal_backward(loss), PAL_OK);
    ck_assert_int_eq(pal_backward(loss), PAL_OK);
    ck_assert_double_eq(pal_f64(pal_grad(x))[4], 6);
    ck_assert_double_eq(pal_f64(pal_grad(w))[4], 10);
    pal_params_zero_grad(params);
    ck_assert_double_eq(pal_f64(pal_grad(w))[4], 0);
}
END_TEST

START_TEST(gradient_of_a_view_is_a_view_of_the_gradient)
{
    pal_tensor x = pal_want_grad(leaf6());
    pal_tensor t = pal_transpose(x, 0, 1);                              /* [3, 2] */
    pal_tensor a = pal_select(t, 0, 1);                                 /* 2, 5 */
    pal_tensor b = pal_slice(pal_reshape(x, PAL_SHAPE(6)), 0, 1, 6, 3); /* 2, 5 again */
    ck_assert_int_eq(pal_backward(total(times(a, b))), PAL_OK);
    const double *g = pal_f64(pal_grad(x)), want[6] = {0, 4, 0, 0, 10, 0};
    for (int i = 0; i < 6; i++) ck_assert_double_eq(g[i], want[i]);
    pal_array ga = pal_value(pal_grad(a));
    ck_assert_int_eq(ga.shape[0], 2);
    ck_assert_double_eq(get(&ga, 1), 10);
}
END_TEST

START_TEST(intermediate_gradients_can_be_kept)
{
    pal_tensor x = pal_want_grad(leaf6()), y = pal_want_grad(times(x, x));
    ck_assert_int_eq(pal_backward(total(times(y, y))), PAL_OK);
    ck_assert_double_eq(pal_f64(pal_grad(y))[2], 18);
    ck_assert_double_eq(pal_f64(pal_grad(x))[2], 18 * 6);
}
END_TEST

START_TEST(backward_from_several_outputs)
{
    pal_tensor x = pal_want_grad(leaf6()), y = times(x, x);
    pal_tensor out[2] = {y, total(x)};
    pal_tensor cot[2] = {pal_full(tape, PAL_F64, PAL_SHAPE(2, 3), 2), pal_scalar(tape, PAL_F64, 5)};
    ck_assert_int_eq(pal_backward_from(2, out, cot), PAL_OK);
    ck_assert_double_eq(pal_f64(pal_grad(x))[3], 2 * 8 + 5);
    cot[0] = cot[1];
    ck_assert_int_eq(pal_backward_from(2, out, cot), PAL_ESHAPE);
    expect_error(PAL_ESHAPE, "cotangent f64[] of an output f64[2,3]");
}
END_TEST

/* Memory of a step before is written over where all of a gradient is given, and cleared elsewhere.
 * The cotangents go to a leaf itself, to all of it in another order, to a part and to a part twice.
 */
START_TEST(seeds_of_views)
{
    static const double want[4][6] = {
        {1, 2, 3, 4, 5, 6}, {1, 3, 5, 2, 4, 6}, {0, 1, 2, 0, 3, 4}, {12, 0, 0, 24, 0, 0}};
    for (int round = 0; round < 8; round++) {
        pal_tape_reset(tape);
        pal_fill(pal_zeros(tape, PAL_F64, PAL_SHAPE(1000)), 7); /* what the next round finds */
        pal_tape_reset(tape);
        pal_tensor x = pal_want_grad(leaf6()), y = x;
        if (round % 4 == 1) y = pal_transpose(x, 0, 1);
        if (round % 4 == 2) y = pal_slice(x, 1, 1, 3, 1);
        if (round % 4 == 3) y = pal_expand(pal_slice(x, 1, 0, 1, 1), PAL_SHAPE(2, 3));
        pal_tensor c = pal_full(tape, PAL_F64, pal_shape_of(y), 0);
        const pal_array a = pal_value(c);
        for (int64_t i = 0; i < pal_array_count(&a); i++)
            set(&a, i, round % 4 == 3 ? 4.0 + (double)(i / 3) * 4 : (double)i + 1);
        ck_assert_int_eq(pal_backward_from(1, &y, &c), PAL_OK);
        for (int i = 0; i < 6; i++)
            ck_assert_double_eq(pal_f64(pal_grad(x))[i], want[round % 4][i]);
        ck_assert_int_eq(pal_backward_from(1, &y, &c), PAL_OK); /* further passes add */
        for (int i = 0; i < 6; i++)
            ck_assert_double_eq(pal_f64(pal_grad(x))[i], 2 * want[round % 4][i]);
    }
}
END_TEST

START_TEST(detached_and_frozen_are_constants)
{
    pal_tensor x = pal_want_grad(leaf6());
    pal_tensor loss = total(times(x, pal_detach(x)));
    ck_assert_int_eq(pal_backward(loss), PAL_OK);
    ck_assert_double_eq(pal_f64(pal_grad(x))[5], 6);
    pal_tensor w = pal_freeze(pal_fill(pal_param(params, "w", PAL_F64, PAL_SHAPE(2, 3)), 2), true);
    ck_assert_int_eq(pal_backward(total(times(x, w))), PAL_OK);
    ck_assert_double_eq(pal_f64(pal_grad(w))[0], 0);
    ck_assert_int_eq(pal_backward(total(times(pal_detach(x), w))), PAL_EGRAD);
    expect_error(PAL_EGRAD, "does not depend on any parameter");
}
END_TEST

START_TEST(nothing_is_recorded_without_gradients)
{
    pal_tensor x = pal_want_grad(leaf6());
    bool before = pal_set_grad(tape, false);
    pal_tensor y = times(x, x);
    pal_set_grad(tape, before);
    ck_assert_int_eq(pal_tape_memory(tape).ops, 0);
    ck_assert_int_eq(pal_backward(total(y)), PAL_EGRAD);
    pal_set_grad(tape, false);
    pal_tape_reset(tape); /* gradients stay off, for a decode loop */
    x = pal_want_grad(leaf6());
    times(x, x);
    ck_assert_int_eq(pal_tape_memory(tape).ops, 0);
    ck_assert(!pal_set_grad(tape, true));
}
END_TEST

START_TEST(gradients_are_constants)
{
    pal_tensor x = pal_want_grad(leaf6());
    ck_assert_int_eq(pal_backward(total(times(x, x))), PAL_OK);
    pal_tensor g = pal_grad(x);
    ck_assert_int_eq(pal_backward(total(times(g, g))), PAL_EGRAD);
    expect_error(PAL_EGRAD, "first derivatives only");
}
END_TEST

static int ready[8], nready;
static void note_ready(pal_params *p, int i, void *user)
{
    ck_assert_ptr_eq(p, params);
    ck_assert_ptr_eq(user, ready);
    ready[nready++] = i;
}

START_TEST(parameters_report_when_they_are_complete)
{
    pal_tensor w[3];
    const char *names[3] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++)
        w[i] = pal_fill(pal_param(params, names[i], PAL_F64, PAL_SHAPE(2, 3)), i + 1);
    pal_params_on_grad(params, note_ready, ready);
    pal_tensor y = times(leaf6(), w[0]); /* "a" is complete last, because it is read first */
    y = times(times(times(y, w[1]), w[2]), w[1]);
    ck_assert_int_eq(pal_backward(total(y)), PAL_OK);
    ck_assert_int_eq(nready, 3);
    ck_assert_int_eq(ready[0], 2);
    ck_assert_int_eq(ready[1], 1);
    ck_assert_int_eq(ready[2], 0);
    ck_assert_double_eq(pal_f64(pal_grad(w[1]))[0], 2 * 2 * 3 * 1);
}
END_TEST

/* ---- Looking at the record ---- */

START_TEST(the_record_can_be_read)
{
    pal_tensor x = pal_label(pal_want_grad(leaf6()), "x");
    pal_tensor y = total(times(pal_transpose(x, 0, 1), pal_transpose(x, 0, 1)));
    ck_assert_int_eq(pal_backward(y), PAL_OK);
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    pal_tape_print(tape, f);
    pal_tape_dot(tape, f);
    fclose(f);
    ck_assert_ptr_nonnull(strstr(text, "times("));
    ck_assert_ptr_nonnull(strstr(text, "f64[3,2]"));
    ck_assert_ptr_nonnull(strstr(text, "2 operations"));
    ck_assert_ptr_nonnull(strstr(text, "digraph tape {"));
    ck_assert_ptr_nonnull(strstr(text, "\"view f64[3,2]\""));
    free(text);
}
END_TEST

/* ---- Memory ---- */

static int64_t countdown = -1, live_blocks;
static void *failing(void *memory, size_t old_size, size_t size, void *user)
{
    (void)old_size, (void)user;
    if (!size) {
        live_blocks--;
        free(memory);
        return NULL;
    }
    if (countdown >= 0 && countdown-- == 0) return NULL;
    live_blocks++;
    return aligned_alloc(64, (size + 63) / 64 * 64);
}

static void fourth_power(void *context, const pal_tensor *in, pal_tensor *out)
{
    (void)context;
    out[0] = times(times(in[0], in[0]), times(in[0], in[0]));
}

/* A step with large leaves, a segment and a kept tensor. It returns a status that is not PAL_OK as
 * soon as something fails. */
static pal_status big_step(double *gradient)
{
    pal_tape *t = pal_tape_new();
    pal_params *p = pal_params_new();
    pal_status status = PAL_ENOMEM;
    if (t && p) {
        pal_tensor w = pal_fill(pal_param(p, "w", PAL_F64, PAL_SHAPE(1 << 14)), 2);
        pal_tensor x = pal_full(t, PAL_F64, PAL_SHAPE(1 << 14), 3), y = times(x, w), z;
        pal_recompute(t, fourth_power, NULL, 1, &y, 1, &z);
        pal_keep(p, "z", z);
        status = pal_backward(total(times(z, w)));
        if (pal_params_status(p) != PAL_OK) status = pal_params_status(p);
        pal_tensor g = pal_params_status(p) == PAL_OK ? pal_grad(w) : PAL_NONE;
        if (!pal_is_none(g)) *gradient = pal_f64(g)[11];
    }
    pal_tape_free(t);
    pal_params_free(p);
    return status;
}

/* While a profile is on, calls are counted and timed by name. */
START_TEST(a_profile_counts_operations)
{
    const pal_profile_line *line;
    ck_assert_int_eq(pal_tape_profile_lines(tape, &line), 0);
    for (int round = 0; round < 2; round++) { /* turning it on again starts from zero */
        pal_tape_profile(tape, true);
        pal_tensor x = pal_want_grad(leaf6());
        ck_assert(pal_backward(total(times(times(x, x), x))) == PAL_OK);
        pal_tape_profile(tape, false);
        times(x, x); /* not counted */
        ck_assert_int_eq(pal_tape_profile_lines(tape, &line), 2);
        ck_assert_str_eq(line[0].name, "times");
        ck_assert_int_eq(line[0].calls, 2);
        ck_assert_int_eq(line[1].calls, 1);
        for (int i = 0; i < 2; i++)
            ck_assert(line[i].forward >= 0 && line[i].backward >= 0 && line[i].forward < 60);
        pal_tape_reset(tape);
    }
}
END_TEST

START_TEST(every_allocation_may_fail)
{
    pal_set_allocator(failing, NULL);
    double whole = 0;
    int64_t points = 0;
    ck_assert_int_eq(big_step(&whole), PAL_OK);
    ck_assert_double_eq(whole, 5 * pow(6, 4)); /* d/dw of 81 w^4 w at w = 2: 5 * 81 * 16 */
    ck_assert_int_eq(live_blocks, 0);
    for (;; points++) {
        double gradient = 0;
        errors = 0;
        countdown = points;
        pal_status status = big_step(&gradient);
        bool reached = countdown < 0;
        countdown = -1;
        ck_assert_int_eq(live_blocks, 0);
        if (!reached) break;
        ck_assert_msg(status == PAL_ENOMEM || gradient == whole, "allocation %lld: status %d",
                      (long long)points, status);
        ck_assert_msg(status != PAL_ENOMEM || errors > 0, "allocation %lld", (long long)points);
        ck_assert_msg(gradient == 0 || gradient == whole, "half a gradient: %g", gradient);
    }
    pal_set_allocator(NULL, NULL);
    printf("note: %lld allocations failed in turn\n", (long long)points);
    ck_assert_int_gt(points, 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tape");
    TCase *c = tcase_create("tape");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, gradient_of_a_square);
    tcase_add_test(c, gradients_add_up_over_calls);
    tcase_add_test(c, gradient_of_a_view_is_a_view_of_the_gradient);
    tcase_add_test(c, intermediate_gradients_can_be_kept);
    tcase_add_test(c, backward_from_several_outputs);
    tcase_add_test(c, seeds_of_views);
    tcase_add_test(c, detached_and_frozen_are_constants);
    tcase_add_test(c, nothing_is_recorded_without_gradients);
    tcase_add_test(c, gradients_are_constants);
    tcase_add_test(c, parameters_report_when_they_are_complete);
    tcase_add_test(c, the_record_can_be_read);
    tcase_add_test(c, a_profile_counts_operations);
    tcase_add_test(c, every_allocation_may_fail);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
