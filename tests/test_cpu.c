/*
 * test_cpu.c - the choice of instruction set and of the number of threads. Each test is a process
 * of its own (Check forks), so that no earlier choice or setting counts.
 */
#include "tensor/kernels.h"
#include <check.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* The widest set of this machine, which is used without PAL_ISA. */
static pal_isa widest(void)
{
    unsetenv("PAL_ISA");
    return pal_isa_best();
}

static pal_isa best_with(const char *value)
{
    setenv("PAL_ISA", value, 1);
    return pal_isa_best();
}

START_TEST(environment)
{
    pal_isa machine = widest();
    for (int isa = 0; isa <= PAL_ISA_AVX512; isa++) {
        pal_isa expected = isa < (int)machine ? (pal_isa)isa : machine;
        ck_assert_int_eq(best_with(pal_isa_name((pal_isa)isa)), expected);
    }
    ck_assert_int_eq(best_with("sse9"), machine);
    ck_assert_int_eq(best_with(""), machine);
}
END_TEST

START_TEST(chosen_once)
{
    setenv("PAL_ISA", "base", 1);
    ck_assert_int_eq(pal_isa_selected(), PAL_ISA_BASE);
    const pal_kernels *f32 = pal_kernels_for(PAL_F32), *f64 = pal_kernels_for(PAL_F64);
    ck_assert_ptr_ne(f32, f64);
    unsetenv("PAL_ISA");
    ck_assert_int_eq(pal_isa_selected(), PAL_ISA_BASE);
    ck_assert_ptr_eq(pal_kernels_for(PAL_F32), f32);
}
END_TEST

START_TEST(select_by_hand)
{
    pal_isa machine = widest();
    const pal_kernels *seen[3] = {NULL};
    for (int isa = 0; isa <= PAL_ISA_AVX512; isa++) {
        ck_assert_int_eq(pal_kernels_select((pal_isa)isa), isa <= (int)machine);
        ck_assert_int_eq(pal_isa_selected(), isa <= (int)machine ? (pal_isa)isa : machine);
        seen[isa] = pal_kernels_for(PAL_F64);
        if (isa > 0 && isa <= (int)machine) ck_assert_ptr_ne(seen[isa], seen[isa - 1]);
    }
}
END_TEST

START_TEST(threads)
{
    pal_set_threads(3);
    ck_assert_int_eq(pal_threads(), 3);
    ck_assert_int_eq(pal_team(1), 1);
    ck_assert_int_eq(pal_team((int64_t)1 << 30), 3);
    int inside = 0;
#pragma omp parallel num_threads(2) reduction(+ : inside)
    inside += pal_team((int64_t)1 << 30);
    ck_assert_int_eq(inside, 2);
    pal_set_threads(0);
    ck_assert_int_eq(pal_threads(), omp_get_max_threads());
}
END_TEST

START_TEST(in_use)
{
    setenv("PAL_ISA", "base", 1);
    pal_set_threads(2);
    ck_assert_ptr_nonnull(strstr(pal_kernels_in_use(), "base"));
    ck_assert_ptr_nonnull(strstr(pal_kernels_in_use(), "2 threads"));
    ck_assert_ptr_null(strchr(pal_kernels_in_use(), '\n'));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu");
    TCase *tc = tcase_create("dispatch and threads");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, environment);
    tcase_add_test(tc, chosen_once);
    tcase_add_test(tc, select_by_hand);
    tcase_add_test(tc, threads);
    tcase_add_test(tc, in_use);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
