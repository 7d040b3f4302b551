/*
 * test_hook_grad.c - callbacks on gradients: they see what arrives, may replace it, and are called
 * once a backward pass, on leaves, parameters, intermediate tensors and in recomputed segments.
 */
#include "tests/support/check.h"

#include <math.h>
#include <palimpsest.h>
#include <string.h>

static pal_tape *tape;
static pal_params *params;
static pal_error last;

static void hear(const pal_error *error, void *user) { (void)user, last = *error; }

static void setup(void)
{
    last = (pal_error){0};
    pal_set_error_handler(hear, NULL);
    tape = pal_tape_new();
    params = pal_params_new();
}

static void teardown(void)
{
    pal_tape_free(tape);
    pal_params_free(params);
    pal_set_error_handler(NULL, NULL);
}

typedef struct seen {
    int calls;
    double sum, first;
    double scale; /* the gradient is multiplied by it */
    bool lose;    /* the array is pointed elsewhere, which must not matter */
} seen;

static void see(void *user, pal_array *g)
{
    seen *s = user;
    double *x = g->data;
    s->calls++;
    s->first = x[0], s->sum = 0;
    for (int64_t i = 0; i < pal_array_count(g); i++) {
        s->sum += x[i];
        x[i] *= s->scale;
    }
    if (s->lose) *g = (pal_array){0};
}

static pal_tensor leaf(void)
{
    static const double x[] = {1, 2, 3, 4, 5, 6};
    return pal_want_grad(pal_from(tape, PAL_F64, PAL_SHAPE(2, 3), x));
}

static double grad_of(pal_tensor t, int64_t i) { return pal_f64(pal_grad(t))[i]; }

/* y = x^2, hooked, used twice: the callback sees the sum of both gradients, once. */
START_TEST(sees_the_whole_gradient)
{
    seen s = {.scale = 1};
    pal_tensor x = leaf(), y = pal_hook_grad(pal_square(x), see, &s);
    ck_assert(pal_f64(y)[5] == 36);
    ck_assert_int_eq(
        pal_backward(pal_add(pal_sum(y, PAL_ALL, false), pal_sum(pal_square(y), PAL_ALL, false))),
        PAL_OK);
    ck_assert_int_eq(s.calls, 1);
    ck_assert_double_eq(s.first, 1 + 2);
    ck_assert_double_eq(grad_of(x, 2), 2 * 3 * (1 + 2 * 9));
}
END_TEST

START_TEST(replaces_what_goes_on)
{
    for (int lose = 0; lose < 2; lose++) {
        seen s = {.scale = 0.5, .lose = lose};
        pal_tensor x = leaf(), y = pal_want_grad(pal_hook_grad(pal_square(x), see, &s));
        ck_assert_int_eq(pal_backward(pal_sum(y, PAL_ALL, false)), PAL_OK);
        ck_assert_double_eq(grad_of(y, 0), 1); /* what arrived stays what it is */
        ck_assert_double_eq(grad_of(x, 2), 0.5 * 6);
        pal_tape_reset(tape);
    }
}
END_TEST

/* The mean of a limit: a gradient that is cut off at 1, as a program might. */
static void limit(void *user, pal_array *g)
{
    (void)user;
    for (int64_t i = 0; i < pal_array_count(g); i++)
        ((double *)g->data)[i] = fmin(1, ((double *)g->data)[i]);
}

START_TEST(on_parameters_and_views)
{
    pal_tensor w = pal_fill(pal_param(params, "w", PAL_F64, PAL_SHAPE(2, 3)), 2);
    for (int pass = 1; pass <= 2; pass++) {
        pal_tensor x = pal_hook_grad(pal_transpose(pal_on(tape, w), 0, 1), limit, NULL);
        ck_assert_int_eq(
            pal_backward(pal_sum(pal_mul(x, pal_transpose(leaf(), 0, 1)), PAL_ALL, false)), PAL_OK);
        for (int i = 0; i < 6; i++) ck_assert_double_eq(grad_of(w, i), pass);
        pal_tape_reset(tape);
    }
}
END_TEST

static void segment(void *context, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_square(pal_hook_grad(pal_square(in[0]), see, context));
}

START_TEST(in_recomputed_segments)
{
    seen s = {.scale = 2};
    pal_tensor x = leaf(), y;
    pal_recompute(tape, segment, &s, 1, &x, 1, &y);
    ck_assert_int_eq(s.calls, 0);
    ck_assert_int_eq(pal_backward(pal_sum(y, PAL_ALL, false)), PAL_OK);
    ck_assert_int_eq(s.calls, 1);
    ck_assert_double_eq(s.first, 2);
    ck_assert_double_eq(grad_of(x, 1), 2 * (2 * 4) * 4);
}
END_TEST

START_TEST(without_gradients)
{
    seen s = {.scale = 1};
    pal_set_grad(tape, false);
    pal_tensor y = pal_hook_grad(leaf(), see, &s);
    ck_assert(pal_f64(y)[1] == 2 && s.calls == 0);
    pal_set_grad(tape, true);
    pal_hook_grad(leaf(), NULL, NULL);
    ck_assert_int_eq(last.status, PAL_EVALUE);
    ck_assert_ptr_nonnull(strstr(last.message, "hook_grad: there is no callback"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hook_grad");
    TCase *c = tcase_create("hook_grad");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, sees_the_whole_gradient);
    tcase_add_test(c, replaces_what_goes_on);
    tcase_add_test(c, on_parameters_and_views);
    tcase_add_test(c, in_recomputed_segments);
    tcase_add_test(c, without_gradients);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
