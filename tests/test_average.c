/*
 * test_average.c - the moving average of the weights: its formula, swapping, files and wrong uses.
 */
#include "tests/support/check.h"
#include "tests/support/isa.h"
#include "tests/support/optim_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 37, PARAMS = 3 };

static pal_params *three(pal_dtype dtype)
{
    pal_params *p = pal_params_new();
    optim_fill_value(pal_param(p, "w", dtype, PAL_SHAPE(N)), 1);
    optim_fill_value(pal_param(p, "b", dtype, PAL_SHAPE(N)), 2);
    optim_fill_value(pal_freeze(pal_param(p, "f", dtype, PAL_SHAPE(N)), true), 3);
    return p;
}

/* Sets new values, as a step of training does. The frozen parameter does not change. */
static void move(pal_params *p, uint64_t t)
{
    optim_fill_value(pal_params_at(p, 0), 10 + t);
    optim_fill_value(pal_params_at(p, 1), 100 + t);
}

static void against_the_formula(pal_dtype dtype, bool warm_up, double tolerance)
{
    pal_params *p = three(dtype);
    pal_average *a = pal_average_new(p, (pal_average_opts){.decay = 0.7, .warm_up = warm_up});
    double want[PARAMS][N];
    for (int i = 0; i < PARAMS; i++)
        for (int j = 0; j < N; j++) want[i][j] = optim_at(pal_params_array(p, i), j);
    for (int t = 1; t <= 30; t++) {
        double d = warm_up ? fmin(0.7, (1.0 + t) / (10.0 + t)) : 0.7;
        move(p, (uint64_t)t);
        for (int i = 0; i < PARAMS; i++)
            for (int j = 0; j < N; j++)
                want[i][j] = d * want[i][j] + (1 - d) * optim_at(pal_params_array(p, i), j);
        ck_assert_int_eq(pal_average_update(a), PAL_OK);
    }
    ck_assert_int_eq(pal_average_updates(a), 30);
    ck_assert_int_eq(pal_average_swap(a), PAL_OK);
    for (int i = 0; i < PARAMS; i++)
        for (int j = 0; j < N; j++) {
            double got = optim_at(pal_params_array(p, i), j);
            if (!(fabs(got - want[i][j]) <= tolerance))
                ck_abort_msg("%d[%d] is %.17g where the formula gives %.17g", i, j, got,
                             want[i][j]);
        }
    pal_average_free(a);
    pal_params_free(p);
}

START_TEST(it_follows_the_formula)
{
    for (int isa = 0; isa < ISAS; isa++) {
        if (!isa_select(isa)) continue;
        for (int warm_up = 0; warm_up < 2; warm_up++) {
            against_the_formula(PAL_F64, warm_up, 1e-14);
            against_the_formula(PAL_F32, warm_up, 2e-6);
        }
    }
    isa_select_best();
}
END_TEST

/* An f32 average of constant weights does not drift, however slow it is. */
START_TEST(it_rests_where_the_weights_rest)
{
    pal_params *p = three(PAL_F32), *q = three(PAL_F32);
    pal_average *a = pal_average_new(p, (pal_average_opts){.decay = 0.9999});
    for (int t = 0; t < 1000; t++) ck_assert_int_eq(pal_average_update(a), PAL_OK);
    ck_assert_int_eq(pal_average_swap(a), PAL_OK);
    ck_assert(optim_same(p, q));
    pal_average_free(a);
    pal_params_free(p);
    pal_params_free(q);
}
END_TEST

/* The parameters are large enough for several threads, and for more than one piece of the
 * exchange. */
START_TEST(swapping_twice_changes_nothing_with_any_threads)
{
    static const int teams[] = {1, 2, 3, 16};
    pal_params *first = NULL;
    for (int k = 0; k < 4; k++) {
        pal_set_threads(teams[k]);
        pal_params *p = pal_params_new(), *q = pal_params_new();
        pal_tensor x = pal_param(p, "x", PAL_F32, PAL_SHAPE(331, 517));
        optim_fill_value(x, 1);
        pal_average *a = pal_average_new(p, (pal_average_opts){0});
        optim_fill_value(x, 2);
        optim_fill_value(pal_param(q, "x", PAL_F32, PAL_SHAPE(331, 517)), 2);
        ck_assert_int_eq(pal_average_update(a), PAL_OK);
        ck_assert_int_eq(pal_average_swap(a), PAL_OK);
        ck_assert(!optim_same(p, q));
        if (first) ck_assert(optim_same(p, first));
        ck_assert_int_eq(pal_average_swap(a), PAL_OK);
        ck_assert(optim_same(p, q));
        ck_assert_int_eq(pal_average_swap(a), PAL_OK);
        pal_average_free(a);
        pal_params_free(q);
        if (first)
            pal_params_free(p);
        else
            first = p;
    }
    pal_params_free(first);
}
END_TEST

/* Backward through parameters that a swap has changed is an error, as after a step. */
START_TEST(a_swap_is_a_write)
{
    pal_params *p = pal_params_new();
    pal_tape *tape = pal_tape_new();
    pal_tensor x = pal_param(p, "x", PAL_F32, PAL_SHAPE(3));
    pal_average *a = pal_average_new(p, (pal_average_opts){0});
    pal_tensor y = pal_sum(pal_square(pal_on(tape, x)), PAL_ALL, false);
    ck_assert_int_eq(pal_average_swap(a), PAL_OK);
    ck_assert_int_ne(pal_backward(y), PAL_OK);
    pal_average_free(a);
    pal_tape_free(tape);
    pal_params_free(p);
}
END_TEST

START_TEST(wrong_uses_are_named)
{
    pal_params *p = three(PAL_F32);
    pal_error e;
    pal_h5 *file;
    char path[OPTIM_PATH];
    optim_temporary(path);
    ck_assert(!pal_average_new(NULL, (pal_average_opts){0}));
    ck_assert(strstr(optim_last.message, "params is NULL"));
    ck_assert(!pal_average_new(p, (pal_average_opts){.decay = 1}));
    ck_assert(
        strstr(optim_last.message, "average_new: decay=1 should be a number above 0, below 1"));
    ck_assert_int_eq(pal_average_update(NULL), PAL_EVALUE);
    pal_average *a = pal_average_new(p, (pal_average_opts){0});
    ck_assert_int_eq(pal_average_swap(a), PAL_OK);
    ck_assert_int_eq(pal_average_update(a), PAL_EVALUE);
    ck_assert(strstr(optim_last.message, "swap them back") && pal_average_updates(a) == 0);
    ck_assert_int_eq(pal_h5_create(&file, path, &e), PAL_OK);
    ck_assert_int_eq(pal_average_put(a, file, "/a", &e), PAL_EVALUE);
    ck_assert_int_eq(pal_average_get(a, file, "/a", &e), PAL_EVALUE);
    pal_h5_close(file);
    ck_assert_int_eq(pal_average_swap(a), PAL_OK);
    pal_param(p, "late", PAL_F32, PAL_SHAPE(1));
    ck_assert_int_eq(pal_average_update(a), PAL_EVALUE);
    ck_assert_int_eq(pal_average_swap(a), PAL_EVALUE);
    ck_assert(strstr(optim_last.message, "3 parameters"));
    pal_average_free(a);
    pal_params_free(p);
    remove(path);
}
END_TEST

START_TEST(every_allocation_may_fail)
{
    optim_budget b = {.left = 1000};
    int failures = 0;
    pal_set_allocator(optim_meagre, &b);
    pal_params *p = three(PAL_F32);
    int64_t base = b.live;
    pal_average *a = NULL;
    for (int64_t n = 0; !a; n++) {
        b.left = n;
        optim_last.status = PAL_OK;
        a = pal_average_new(p, (pal_average_opts){0});
        if (a) break;
        failures++;
        ck_assert(optim_last.status == PAL_ENOMEM && b.live == base);
    }
    ck_assert_int_ge(failures, 4);
    pal_average_free(a);
    ck_assert(b.live == base);
    pal_params_free(p);
    pal_set_allocator(NULL, NULL);
}
END_TEST

START_TEST(a_saved_average_goes_on_bit_for_bit)
{
    char path[OPTIM_PATH];
    pal_error e;
    pal_h5 *file;
    pal_params *p = three(PAL_F32), *q = three(PAL_F32);
    pal_average_opts o = {.warm_up = true};
    pal_average *a = pal_average_new(p, o), *b = pal_average_new(q, o);
    optim_temporary(path);
    for (uint64_t t = 0; t < 6; t++) {
        if (t == 3) {
            ck_assert_int_eq(pal_h5_create(&file, path, &e), PAL_OK);
            ck_assert_int_eq(pal_average_put(a, file, "/average", &e), PAL_OK);
            ck_assert_int_eq(pal_h5_commit(file, &e), PAL_OK);
            ck_assert_int_eq(pal_h5_open(&file, path, &e), PAL_OK);
            ck_assert_int_eq(pal_average_get(b, file, "/nothing", &e), PAL_EFORMAT);
            ck_assert_int_eq(pal_average_updates(b), 0);
            ck_assert_int_eq(pal_average_get(b, file, "/average", &e), PAL_OK);
            ck_assert_int_eq(pal_average_updates(b), 3);
            pal_optim *adamw = pal_adamw_new(p, (pal_adamw_opts){0});
            ck_assert_int_eq(pal_optim_get(adamw, file, "/average", &e), PAL_EFORMAT);
            ck_assert_msg(strstr(e.message, "state of average"), "%s", e.message);
            pal_optim_free(adamw);
            pal_h5_close(file);
        }
        move(p, t);
        ck_assert_int_eq(pal_average_update(a), PAL_OK);
        if (t < 3) continue;
        move(q, t);
        ck_assert_int_eq(pal_average_update(b), PAL_OK);
    }
    ck_assert_int_eq(pal_average_swap(a), PAL_OK);
    ck_assert_int_eq(pal_average_swap(b), PAL_OK);
    ck_assert(optim_same(p, q));
    pal_average_free(a);
    pal_average_free(b);
    pal_params_free(p);
    pal_params_free(q);
    remove(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("average");
    TCase *c = tcase_create("average");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, optim_setup, optim_teardown);
    tcase_add_test(c, it_follows_the_formula);
    tcase_add_test(c, it_rests_where_the_weights_rest);
    tcase_add_test(c, swapping_twice_changes_nothing_with_any_threads);
    tcase_add_test(c, a_swap_is_a_write);
    tcase_add_test(c, wrong_uses_are_named);
    tcase_add_test(c, every_allocation_may_fail);
    tcase_add_test(c, a_saved_average_goes_on_bit_for_bit);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
