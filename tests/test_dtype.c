/*
 * test_dtype.c - a number that is not an element type. Functions that users call refuse it by name.
 * Code behind them ends the program rather than take it for another type.
 */
#include "autograd/ops.h"
#include "autograd/params.h"
#include "layers/attention/attention.h"
#include "layers/rules/kernels.h"
#include "optim/optimisers/kernels.h"
#include "tensor/kernels.h"
#include "tests/support/check.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const pal_dtype strange = (pal_dtype)9;

/* ---- Refused by name ---- */

static pal_error heard;
static void hear(const pal_error *e, void *user)
{
    (void)user;
    heard = *e;
}

static pal_status infer_strange(pal_call *call)
{
    return pal_call_out(call, 0, strange, PAL_SCALAR);
}
static pal_status save_strange(pal_call *call)
{
    pal_status status = pal_call_out(call, 0, PAL_F32, PAL_SCALAR);
    return status == PAL_OK ? pal_call_save(call, strange, PAL_SCALAR) : status;
}
static void nothing(const pal_call *call) { (void)call; }

static pal_tensor call(pal_status (*infer)(pal_call *call), pal_tensor x)
{
    const pal_op op = {.name = "own", .args = "x", .infer = infer, .forward = nothing};
    pal_tensor y;
    pal_apply(&op, NULL, 0, 1, &x, 1, &y);
    return y;
}

enum { WAYS = 8 };

static void make(int way, pal_tape *tape, pal_params *params)
{
    const double one = 1;
    pal_rng rng = pal_rng_new(1, 1);
    pal_tensor x = pal_scalar(tape, PAL_F64, 1), i = pal_arange(tape, PAL_I64, 2);
    switch (way) {
    case 0:
        pal_zeros(tape, strange, PAL_SHAPE(2));
        return;
    case 1:
        pal_from(tape, strange, PAL_SHAPE(1), &one);
        return;
    case 2:
        pal_uniform(tape, strange, PAL_SHAPE(2), 0, 1, &rng);
        return;
    case 3:
        pal_param(params, "w", strange, PAL_SHAPE(2));
        return;
    case 4:
        pal_cast(x, strange);
        return;
    case 5:
        pal_one_hot(i, 2, strange);
        return;
    case 6:
        call(infer_strange, x);
        return;
    default:
        call(save_strange, x);
    }
}

START_TEST(refused)
{
    static const char *const by[WAYS] = {
        "zeros:", "from:", "uniform:", "param:", "cast:", "one_hot:", "own:", "own:"};
    pal_tape *tape = pal_tape_new();
    pal_params *params = pal_params_new();
    pal_set_error_handler(hear, NULL);
    make(_i, tape, params);
    ck_assert_int_eq(heard.status, PAL_EDTYPE);
    ck_assert_msg(strncmp(heard.message, by[_i], strlen(by[_i])) == 0, "%s", heard.message);
    pal_set_error_handler(NULL, NULL);
    pal_params_free(params);
    pal_tape_free(tape);
}
END_TEST

/* ---- Never taken for another type ---- */

enum { TABLES = 4 };

static void pick(int table, pal_dtype dtype)
{
    switch (table) {
    case 0:
        pal_kernels_for(dtype);
        return;
    case 1:
        pal_optim_kernels_for(dtype);
        return;
    case 2:
        pal_attention_table_for(dtype);
        return;
    default:
        pal_rule_table_for(dtype);
    }
}

START_TEST(no_table) { pick(_i / 2, _i % 2 ? PAL_I64 : strange); }
END_TEST

START_TEST(no_element)
{
    double x[2] = {1, 2}, y[2];
    switch (_i) {
    case 0:
        pal_dtype_size(strange);
        return;
    case 1:
        pal_element_get(strange, x, 0);
        return;
    case 2:
        pal_element_set(strange, y, 0, 1);
        return;
    case 3:
        pal_element_add(PAL_I64, y, 0, 1);
        return;
    case 4:
        pal_run_gather(strange, 2, x, 1, y);
        return;
    case 5:
        pal_run_scatter(strange, 2, x, y, 1);
        return;
    default:
        pal_run_add(PAL_I64, 2, x, y, 1);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dtype");
    TCase *tc = tcase_create("types");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, refused, 0, WAYS);
    tcase_add_loop_test_raise_signal(tc, no_table, SIGABRT, 0, 2 * TABLES);
    tcase_add_loop_test_raise_signal(tc, no_element, SIGABRT, 0, 7);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
