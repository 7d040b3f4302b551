/* test_loading.c - loading a model tells how far it is. */
#include <palimpsest.h>

#include "tests/support/check.h"

typedef struct told {
    int64_t calls, done, all;
} told;

static void note(void *user, int64_t done, int64_t all)
{
    told *t = user;
    ck_assert_int_gt(done, t->done);
    ck_assert(t->calls == 0 || all == t->all);
    *t = (told){t->calls + 1, done, all};
}

START_TEST(bytes_of_parameters)
{
    const char *path = "tests/data/runs/hybrid.h5";
    told t = {0, 0, 0};
    pal_lm_file f;
    pal_error error;
    const pal_lm_open_opts how = {.progress = {note, &t}};
    if (pal_lm_open(&f, path, how, &error) != PAL_OK) ck_abort_msg("%s", error.message);
    const pal_lm_opts is = pal_lm_options(f.lm);
    ck_assert_int_eq(t.calls, pal_params_count(f.params));
    ck_assert_int_eq(t.done, t.all);
    ck_assert_int_eq(t.all, pal_params_size(f.params) * (int64_t)pal_dtype_size(is.dtype));
    pal_lm_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loading");
    TCase *tc = tcase_create("loading");
    tcase_add_test(tc, bytes_of_parameters);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
