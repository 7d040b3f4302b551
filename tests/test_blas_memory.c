/*
 * test_blas_memory.c - products on several threads do not need memory that is not there. BLIS would
 * end the process.
 */
#include "tensor/internal.h"
#include "tests/support/check.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PROCESSES = 4 }; /* it depends on their timing which blocks BLIS makes */
enum { TEAM = 8, SMALL = 21, LARGE = 384 };

static float a[LARGE * LARGE], b[LARGE * LARGE], c[TEAM][LARGE * LARGE];

/* Each thread computes products of its own. */
static void products(int size, int times)
{
#pragma omp parallel num_threads(TEAM)
    for (int i = 0; i < times; i++)
        pal_gemm(PAL_F32, size, size, size, 1, a, size, 1, b, size, 1, 0, c[omp_get_thread_num()],
                 size, 1, 1);
}

/* From now on there is no memory for further blocks. */
static void no_more_memory(void)
{
    enum { MORE = 2 << 20 }; /* bytes, for what is small */
    struct rlimit limit;
    long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert(file && fscanf(file, "%lld", &pages) == 1);
    fclose(file);
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = (rlim_t)(pages * sysconf(_SC_PAGESIZE)) + MORE;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

/*
 * Small products overlap for moments only: many run at once, but few have blocks of BLIS at once.
 * Large ones have them nearly all the time, and must not need more blocks than those that were
 * made while there was memory.
 */
START_TEST(large_after_small)
{
    for (int i = 0; i < LARGE * LARGE; i++) a[i] = b[i] = (float)(i % 3);
    ck_assert(pal_blas_ready());
    products(SMALL, 50);
    no_more_memory();
    products(LARGE, 2);
    for (int t = 1; t < TEAM; t++) ck_assert_mem_eq(c[0], c[t], sizeof c[0]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("blas_memory");
    TCase *tc = tcase_create("memory");
#if !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__) /* they take memory themselves */
    tcase_add_loop_test(tc, large_after_small, 0, PROCESSES);
#endif
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
