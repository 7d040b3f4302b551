/*
 * test_cpu.c - the choice of instruction set and of the number of threads. Each test is a process
 * of its own (Check forks), so that no earlier choice or setting counts.
 */
#include "tensor/kernels.h"
#include "tests/support/check.h"
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

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
    for (int isa = 0; isa < (int)PAL_ISAS; isa++) {
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
    const pal_kernels *seen[PAL_ISAS] = {NULL};
    for (int isa = 0; isa < (int)PAL_ISAS; isa++) {
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
    pal_set_threads(INT32_MAX);
    ck_assert_int_eq(pal_threads(), 4096);
    omp_set_num_threads(100000);
    pal_set_threads(0);
    ck_assert_int_eq(pal_threads(), 4096);
}
END_TEST

/* ---- Stacks ---- */

static const int64_t MUCH = (int64_t)1 << 30; /* of work */

/* The address space of this process is what it has and so many bytes. */
static struct rlimit allow_more(size_t bytes)
{
    struct rlimit before;
    long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert(file && fscanf(file, "%lld", &pages) == 1);
    fclose(file);
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    const struct rlimit now = {(rlim_t)(pages * sysconf(_SC_PAGESIZE)) + bytes, before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &now), 0);
    return before;
}

/* Few threads while there is little memory, and all of them when there is more. */
START_TEST(little_memory)
{
    pal_set_threads(8);
    struct rlimit before = allow_more(24 << 20);
    const int few = pal_team(MUCH);
    ck_assert_msg(few < 8, "%d threads", few);
    /* The stacks of the first team may have taken less than there was room for. */
    const int again = pal_team(MUCH);
    ck_assert_msg(again >= few && again < 8, "%d threads after %d", again, few);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    ck_assert_int_eq(pal_team(MUCH), 8);
    pal_set_threads(4);
    ck_assert_int_eq(pal_team(MUCH), 4);
}
END_TEST

START_TEST(stacks_by_environment)
{
    static const struct {
        const char *value;
        int team;
    } sizes[] = {{"1g", 1}, {"1048576", 1}, {" 1024 M ", 1}, {"64k", 1},
                 {"1x", 4}, {"4096 K", 4},  {"512", 4},      {"", 4}};
    omp_get_max_threads(); /* LLVM's library reads the variables when it is first asked */
    pal_set_threads(4);
    struct rlimit before = allow_more(512 << 20);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        setenv("OMP_STACKSIZE", sizes[i].value, 1);
        ck_assert_msg(pal_team(MUCH) == sizes[i].team, "'%s': %d threads", sizes[i].value,
                      pal_team(MUCH));
    }
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
}
END_TEST

/* Stacks that are together larger than the memory: what is not used takes none. */
START_TEST(large_stacks)
{
    pthread_attr_t standard;
    int mode = 2;
    FILE *file = fopen("/proc/sys/vm/overcommit_memory", "r");
    if (file && fscanf(file, "%d", &mode) != 1) mode = 2;
    if (file) fclose(file);
    if (mode == 2) return; /* the system reserves memory for all of them */
    const size_t memory = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    ck_assert_int_eq(pthread_getattr_default_np(&standard), 0);
    ck_assert_int_eq(pthread_attr_setstacksize(&standard, memory / 4), 0);
    ck_assert_int_eq(pthread_setattr_default_np(&standard), 0);
    pal_set_threads(8);
    ck_assert_int_eq(pal_team(MUCH), 8);
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
#if !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__) /* they take memory themselves */
    tcase_add_test(tc, little_memory);
    tcase_add_test(tc, stacks_by_environment);
    tcase_add_test(tc, large_stacks);
#endif
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
