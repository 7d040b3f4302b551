/* test_ends.c - which tokens end a text: of configurations, and of special tokens by their names.
 */
#include "tests/support/bpe.h"
#include "tensor/text/ends.h"

static void check_read(const char *json, int64_t count, int64_t first)
{
    pal_token_ids ids = {0};
    pal_error e = {0};
    const pal_status s = pal_ends_read(json, (int64_t)strlen(json), &ids, &e);
    ck_assert_int_eq(s, count < 0 ? PAL_EFORMAT : PAL_OK);
    ck_assert_int_eq(ids.count, count < 0 ? 0 : count);
    if (count > 0) ck_assert_int_eq(ids.id[0], first);
    pal_token_ids_free(&ids);
}

START_TEST(of_configurations)
{
    check_read("{\"eos_token_id\":2}", 1, 2);
    check_read("{\"eos_token_id\":[7,2,7]}", 2, 7);
    check_read("{\"eos_token_id\":null}", 0, 0);
    check_read("{\"text_config\":{\"eos_token_id\":5},\"eos_token_id\":5}", 1, 5);
    check_read("{}", 0, 0);
    check_read("{\"eos_token_id\":\"</s>\"}", -1, 0);
    check_read("{\"eos_token_id\":-1}", -1, 0);
    check_read("[2]", -1, 0);
    check_read("", -1, 0);
}
END_TEST

static void check_named(const char *added, const char *vocab, int64_t count, int64_t first)
{
    pal_token_ids ids = {0};
    pal_error e = {0};
    pal_tokenizer *b = load(tokenizer_file((tokenizer_parts){.added = added, .vocab = vocab}));
    ck_assert_int_eq(pal_ends_named(b, &ids, &e), PAL_OK);
    ck_assert_int_eq(ids.count, count);
    if (count > 0) ck_assert_int_eq(ids.id[0], first);
    pal_token_ids_free(&ids);
    pal_tokenizer_free(b);
}

START_TEST(by_name)
{
    check_named(ADDED("256", "<x>", ",\"special\":true") "," ADDED("257", "</s>", ""), NULL, 1,
                257);
    check_named(ADDED("256", "<fin>", ",\"special\":true") "," ADDED("257", "<y>", ""), NULL, 1,
                256);
    check_named(
        ADDED("256", "<x>", ",\"special\":true") "," ADDED("257", "<y>", ",\"special\":true"), NULL,
        0, 0);
    check_named("", NULL, 0, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ends");
    TCase *tc = tcase_create("ends");
    tcase_add_test(tc, of_configurations);
    tcase_add_test(tc, by_name);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
