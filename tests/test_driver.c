/*
 * test_driver.c - tests that gradcheck and the driver of cases see each of a list of faults.
 *
 * The cases with faults run first, in a suite of their own whose output is not shown. Every one of
 * them has to fail.
 */
#include "autograd/internal.h"
#include "tests/support/case.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>

/* ---- y = sin x, with a fault of choice ---- */

typedef enum fault {
    NONE,
    VALUE,         /* the result is off by 1e-5 */
    MISSING_NAN,   /* the reference has a NaN that the result lacks */
    SIGN,          /* the gradient has the wrong sign */
    ZERO,          /* the gradient is zero */
    PERCENT,       /* the gradient is 1% off */
    ENTRY,         /* one entry of the gradient is 1% off */
    NOT_A_NUMBER,  /* the gradient is NaN */
    THREADS,       /* the result depends on the number of threads */
    FLAT,          /* strides are ignored */
    ADDS,          /* backward adds to a fresh gradient */
    OVERWRITES,    /* backward overwrites a gradient that is not fresh */
    UNREAD_IN,     /* backward reads an input that it is said not to read */
    UNREAD_OUT,    /* backward reads an output that it is said not to read */
    LEAK,          /* memory is not freed */
    SILENCE,       /* a failed allocation is not reported */
    HALF_GRADIENT, /* backward fails after it has changed a gradient */
    FAULTS
} fault;

static pal_status infer(pal_call *call)
{
    return pal_call_out(call, 0, call->in[0]->dtype, pal_array_shape(call->in[0]));
}

static void put(const pal_array *a, int64_t i, double value)
{
    int64_t index[PAL_MAX_DIMS];
    for (int d = a->ndim - 1; d >= 0; i /= a->shape[d--]) index[d] = i % a->shape[d];
    pal_array_set(a, index, value);
}

static void forward(const pal_call *call)
{
    fault f = *(const fault *)call->opts;
    pal_array x = *call->in[0];
    if (f == FLAT) x = pal_array_of(x.dtype, pal_array_shape(&x), x.data);
    for (int64_t i = 0; i < pal_array_count(&x); i++) {
        double y = sin(pal_ref_get(&x, i));
        if (f == VALUE) y *= 1 + 1e-5;
        if (f == THREADS) y *= 1 + 1e-15 * pal_threads();
        put(call->out[0], i, y);
    }
}

static double slope(fault f, double x, int64_t i)
{
    switch (f) {
    case SIGN:
        return -cos(x);
    case ZERO:
        return 0;
    case PERCENT:
        return 1.01 * cos(x);
    case ENTRY:
        return (i == 3 ? 1.01 : 1) * cos(x);
    case NOT_A_NUMBER:
        return NAN;
    default:
        return cos(x);
    }
}

static void backward(const pal_call *call)
{
    fault f = *(const fault *)call->opts;
    bool add = f == ADDS || (f != OVERWRITES && !pal_call_fresh(call, 0));
    for (int64_t i = 0; i < pal_array_count(call->in[0]); i++) {
        double x = pal_ref_get(f == UNREAD_OUT ? call->out[0] : call->in[0], i);
        double dx = slope(f, f == UNREAD_OUT ? asin(x) : x, i) * pal_ref_get(call->dout[0], i);
        put(call->din[0], i, dx + (add ? pal_ref_get(call->din[0], i) : 0));
    }
}

#define FAULTY                                                                               \
    .name = "faulty", .args = "x", .infer = infer, .forward = forward, .backward = backward, \
    .overwrites = 1
static const pal_op op = {FAULTY};
static const pal_op unread_in = {FAULTY, .unread_in = 1};
static const pal_op unread_out = {FAULTY, .unread_out = 1};

static pal_tensor apply(fault f, pal_tensor x)
{
    pal_tensor y;
    const pal_op *faulty = f == UNREAD_IN ? &unread_in : f == UNREAD_OUT ? &unread_out : &op;
    pal_apply(faulty, &f, sizeof f, 1, &x, 1, &y);
    return y;
}

/* ---- As cases ---- */

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    fault f = (fault)v->option[0];
    out[0] = apply(f, in[0]);
    /* With two uses of x, backward adds to a gradient that is not fresh when it comes to the first
     * use. */
    if (f == OVERWRITES) out[0] = pal_add(out[0], apply(NONE, in[0]));
    void *memory = f == SILENCE || f == LEAK ? pal_malloc(100) : NULL;
    if (f == SILENCE) pal_free(memory, 100);
    if (f == HALF_GRADIENT && !pal_handle_problem(out[0]) && in[0].node->base->param >= 0) {
        pal_backward(pal_select(pal_select(out[0], 0, 0), 0, 0));
        out[0] = pal_expand(out[0], PAL_SHAPE(100, 100, 3, 4)); /* this needs more memory */
    }
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_ref_shape(out, v->in[0].shape);
    double *y = out->data, factor = (fault)v->option[0] == OVERWRITES ? 2 : 1;
    for (int64_t i = 0; i < pal_array_count(out); i++) y[i] = factor * sin(pal_ref_get(&in[0], i));
    if ((fault)v->option[0] == MISSING_NAN) y[2] = NAN;
}

static const pal_input shape[PAL_CASE_INPUTS] = {{.shape = PAL_DIMS(3, 4)}};

static void run_case(fault f)
{
    pal_variant v = {.name = "fault",
                     .nin = 1,
                     .nout = 1,
                     .in = {shape[0]},
                     .build = build,
                     .reference = reference,
                     .option = {f},
                     .no_gradient = f == SILENCE};
    pal_case c = {.name = "faulty", .count = 1, .variants = &v};
    pal_case_run(&c, &v);
}

START_TEST(faulty_case) { run_case((fault)_i); }
END_TEST

/* How many cases with faults ran, and how many of them failed. */
static int faulty_run, faulty_failed;

START_TEST(the_driver_sees_every_fault)
{
    ck_assert_int_eq(faulty_run, FAULTS - 1);
    ck_assert_int_eq(faulty_failed, FAULTS - 1);
}
END_TEST

START_TEST(the_driver_passes_what_is_right) { run_case(NONE); }
END_TEST

/* ---- Gradcheck alone ---- */

static void build_checked(void *context, const pal_tensor *in, pal_tensor *out)
{
    out[0] = apply(*(const fault *)context, in[0]);
}

static bool passes(fault f, pal_error *e)
{
    double x[12];
    for (int i = 0; i < 12; i++) x[i] = 0.1 * i - 0.4;
    pal_array a = pal_array_of(PAL_F64, PAL_SHAPE(3, 4), x);
    pal_gradcheck_opts o = {.entries = 12};
    bool good = pal_gradcheck(build_checked, &f, 1, &a, 1, &o, e);
    ck_assert_int_gt(o.compared, 0);
    return good;
}

START_TEST(gradcheck_sees_wrong_gradients)
{
    static const fault wrong[] = {SIGN, ZERO, PERCENT, ENTRY, NOT_A_NUMBER};
    pal_error e = {0};
    ck_assert_msg(passes(NONE, &e), "%s", e.message);
    for (int i = 0; i < 5; i++) {
        e = (pal_error){0};
        ck_assert_msg(!passes(wrong[i], &e), "fault %d passes", wrong[i]);
        ck_assert_int_eq(e.status, PAL_EGRAD);
    }
}
END_TEST

typedef struct product {
    fault fault;
    int input; /* the one with the fault */
} product;

static void build_product(void *context, const pal_tensor *in, pal_tensor *out)
{
    const product *p = context;
    pal_tensor x = apply(p->input == 0 ? p->fault : NONE, in[0]);
    out[0] = pal_mul(x, apply(p->input == 1 ? p->fault : NONE, in[1]));
}

START_TEST(gradcheck_looks_at_every_input)
{
    double a[6] = {1, -2, 3, 0.5, 0.25, -1}, b[6] = {2, 1, -1, 0.5, 3, 1};
    const pal_array in[2] = {pal_array_of(PAL_F64, PAL_SHAPE(2, 3), a),
                             pal_array_of(PAL_F64, PAL_SHAPE(2, 3), b)};
    for (int i = 0; i < 4; i++) {
        product p = {i % 2 ? PERCENT : NONE, i / 2};
        pal_error e = {0};
        pal_gradcheck_opts o = {.seed = 7};
        ck_assert_msg(pal_gradcheck(build_product, &p, 2, in, 1, &o, &e) == (i % 2 == 0), "%d: %s",
                      i, e.message);
        if (i % 2) continue;
        ck_assert_int_eq(o.compared, 16); /* every entry, and two directions of each input */
        ck_assert_msg(o.worst < 1e-9, "%g", o.worst);
    }
}
END_TEST

START_TEST(the_error_measure)
{
    double a[3] = {1, 2, 3}, b[3] = {1, 2, 3};
    ck_assert(pal_case_error(3, a, b) == 0);
    a[1] = NAN;
    ck_assert(isinf(pal_case_error(3, a, b)) && isinf(pal_case_error(3, b, a)));
    b[1] = NAN;
    ck_assert(pal_case_error(3, a, b) == 0);
    a[1] = INFINITY, b[1] = -INFINITY;
    ck_assert(isinf(pal_case_error(3, a, b)));
    a[1] = b[1] = 0, a[0] = 1.1;
    ck_assert(fabs(pal_case_error(3, a, b) - 0.1 / sqrt(10)) < 1e-12);
    ck_assert(pal_case_error(0, a, b) == 0);
}
END_TEST

/* ---- Running ---- */

static SRunner *runner_of(TCase *tc)
{
    Suite *s = suite_create("driver");
    tcase_set_timeout(tc, 60);
    suite_add_tcase(s, tc);
    return srunner_create(s);
}

int main(void)
{
    TCase *faulty = tcase_create("faults");
    tcase_add_loop_test(faulty, faulty_case, NONE + 1, FAULTS);
    SRunner *sr = runner_of(faulty);
    srunner_set_fork_status(sr, CK_FORK);
    srunner_run_all(sr, getenv("PAL_TEST_SHOW") ? CK_NORMAL : CK_SILENT);
    faulty_run = srunner_ntests_run(sr);
    faulty_failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    TCase *tc = tcase_create("driver");
    tcase_add_test(tc, the_driver_sees_every_fault);
    tcase_add_test(tc, the_driver_passes_what_is_right);
    tcase_add_test(tc, gradcheck_sees_wrong_gradients);
    tcase_add_test(tc, gradcheck_looks_at_every_input);
    tcase_add_test(tc, the_error_measure);
    sr = runner_of(tc);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
