/*
 * test_hdf5_writers.c - two processes that write one path at the same time: each file is whole, and
 * the last one stays.
 */
#include "palimpsest.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/palimpsest-writers-XXXXXX";
static char path[64];

/* A fast writer: the other meets each of its temporary files at any moment. */
static int write_many(int times)
{
    int failures = 0;
    for (double x = 0; x < times; x++) {
        pal_h5 *file;
        pal_array a = pal_array_of(PAL_F64, PAL_SCALAR, &x);
        if (pal_h5_create(&file, path, NULL) != PAL_OK) return times;
        failures += pal_h5_put(file, "x", &a, NULL) != PAL_OK;
        failures += pal_h5_commit(file, NULL) != PAL_OK;
    }
    return failures;
}

START_TEST(two_writers)
{
    enum { TIMES = 300 };
    pid_t child[2];
    for (int i = 0; i < 2; i++) {
        child[i] = fork();
        ck_assert_int_ge(child[i], 0);
        if (child[i] == 0) _exit(write_many(TIMES) > 0);
    }
    for (int i = 0; i < 2; i++) {
        int status = -1;
        ck_assert_int_eq(waitpid(child[i], &status, 0), child[i]);
        ck_assert_msg(status == 0, "writer %d failed", i);
    }
    pal_h5 *file;
    double x = -1;
    pal_array a = pal_array_of(PAL_F64, PAL_SCALAR, &x);
    ck_assert_int_eq(pal_h5_open(&file, path, NULL), PAL_OK);
    ck_assert_int_eq(pal_h5_get(file, "x", &a, NULL), PAL_OK);
    ck_assert(x == TIMES - 1);
    pal_h5_close(file);
}
END_TEST

int main(void)
{
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/a.h5", folder);
    Suite *suite = suite_create("hdf5 writers");
    TCase *tc = tcase_create("two");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, two_writers);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    unlink(path);
    return failed != 0 || rmdir(folder) != 0; /* nothing else has stayed there */
}
