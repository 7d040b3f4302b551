/*
 * test_ops.c - runs the case of every operation of ops.def; each variant is a test of its own. It
 * runs on one instruction set of the machine, and with PAL_TEST_ALL=1 on each of them.
 */
#include "tests/support/case.h"
#include "tests/support/check.h"

#include <stdlib.h>

#define PAL_OP(name, test) extern const pal_case pal_case_##test;
#include "autograd/ops.def"

/* One entry for each operation. Operations that share a case follow each other. */
static const pal_case *const cases[] = {
#define PAL_OP(name, test) &pal_case_##test,
#include "autograd/ops.def"
};

enum { CASES = sizeof cases / sizeof cases[0] };

static bool seen_before(int i)
{
    for (int j = 0; j < i; j++)
        if (cases[j] == cases[i]) return true;
    return false;
}

static int variants(void)
{
    int n = 0;
    for (int i = 0; i < CASES; i++) n += seen_before(i) ? 0 : cases[i]->count;
    return n;
}

START_TEST(every_variant)
{
    int left = _i;
    for (int i = 0; i < CASES; i++) {
        if (seen_before(i)) continue;
        if (left < cases[i]->count) {
            pal_case_run(cases[i], &cases[i]->variants[left]);
            return;
        }
        left -= cases[i]->count;
    }
    ck_abort_msg("there is no variant %d", _i);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ops");
    TCase *tc = tcase_create("cases");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, every_variant, 0, variants());
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
