/*
 * test_rules.c - runs the cases of the rules and modules, which compare them with loops in every
 * mode; each variant is a test of its own. Other tests of rules are in test_reductions.c (how they
 * contain each other), test_rule_kernels.c (hard inputs), test_rule_properties.c,
 * test_rule_options.c and test_rule_limits.c.
 */
#include "tests/support/case.h"
#include "tests/support/check.h"

#include <stdlib.h>

#define PAL_COMPOSED(name, test) extern const pal_case pal_case_##test;
#include "layers/layers.def"

static const pal_case *const cases[] = {
#define PAL_COMPOSED(name, test) &pal_case_##test,
#include "layers/layers.def"
};
enum { CASES = sizeof cases / sizeof *cases };

static int variants(void)
{
    int n = 0;
    for (int i = 0; i < CASES; i++) n += cases[i]->count;
    return n;
}

START_TEST(every_variant)
{
    int left = _i;
    for (int i = 0; i < CASES; left -= cases[i++]->count)
        if (left < cases[i]->count) {
            pal_case_run(cases[i], &cases[i]->variants[left]);
            return;
        }
    ck_abort_msg("there is no variant %d", _i);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rules");
    TCase *tc = tcase_create("rules");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, every_variant, 0, variants());
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
