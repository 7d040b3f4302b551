/*
 * test_names.c - names that a file cannot hold are refused where something gets them, and a name
 * that is taken comes back from the file.
 */
#include <palimpsest.h>

#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/palimpsest-names-XXXXXX";
static char path[64];
static pal_error last;

static void remember(const pal_error *e, void *user)
{
    (void)user;
    last = *e;
}

static void setup(void)
{
    strcpy(folder, "/tmp/palimpsest-names-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.h5", folder);
    last = (pal_error){0};
    pal_set_error_handler(remember, NULL);
}

static void teardown(void)
{
    static const char *const files[] = {"a.h5", "log.csv", "log.jsonl"};
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s/%s", folder, files[i]);
        unlink(name);
    }
    ck_assert_int_eq(rmdir(folder), 0);
    pal_set_error_handler(NULL, NULL);
}

static void says(const char *message, const char *words)
{
    if (!strstr(message, words)) ck_abort_msg("no '%s' in '%s'", words, message);
}

/* ---- Datasets and attributes ---- */

enum { LONG = 401 };
static char longest[LONG + 1];

static const struct {
    const char *name, *words;
    bool path; /* an attribute may have this name */
} bad[] = {
    {"", "is empty", false},
    {"/abs", "an empty part", true},
    {"a//b", "an empty part", true},
    {"a/", "an empty part", true},
    {"/", "an empty part", true},
    {".", "a part that is . or ..", true},
    {"..", "a part that is . or ..", true},
    {"a/./b", "a part that is . or ..", true},
    {"../a", "a part that is . or ..", true},
    {"a/..", "a part that is . or ..", true},
    {"a\nb", "a control character", false},
    {"a\x7f", "a control character", false},
    {"a\xff", "is not UTF-8", false},
    {longest, "more than 400 bytes", false},
};
static const char *const good[] = {
    "a", "a.b", "...", "..a/b..", ".hidden", "a b", "a,\"b\"\\", "na\xc3\xafve/\xe6\x97\xa5", "b/c",
};
enum { BAD = sizeof bad / sizeof *bad, GOOD = sizeof good / sizeof *good };

START_TEST(bad_names_are_refused_when_they_are_given)
{
    memset(longest, 'a', LONG);
    const char *name = bad[_i].name;
    pal_params *params = pal_params_new();
    pal_tape *tape = pal_tape_new();
    pal_param(params, name, PAL_F32, PAL_SHAPE(1));
    ck_assert_int_eq(pal_params_status(params), PAL_EVALUE);
    says(last.message, bad[_i].words);
    pal_params_free(params);
    params = pal_params_new();
    pal_keep(params, name, pal_zeros(tape, PAL_F32, PAL_SHAPE(1)));
    ck_assert_int_eq(pal_params_status(params), PAL_EVALUE);
    says(last.message, bad[_i].words);
    pal_params_free(params);
    pal_tape_free(tape);

    pal_error e = {0};
    pal_h5 *file;
    float one = 1;
    const pal_array a = pal_array_of(PAL_F32, PAL_SHAPE(1), &one);
    ck_assert_int_eq(pal_h5_create(&file, path, &e), PAL_OK);
    if (name[0] != '/' || !name[1]) { /* one slash may begin the path of a dataset */
        ck_assert_int_eq(pal_h5_put(file, name, &a, &e), PAL_EVALUE);
        says(e.message, !strcmp(name, "/") ? "is empty" : bad[_i].words);
    }
    ck_assert_int_eq(pal_h5_put_number(file, "/", name, 1, &e), bad[_i].path ? PAL_OK : PAL_EVALUE);
    if (!bad[_i].path) says(e.message, bad[_i].words);
    pal_h5_close(file);
}
END_TEST

START_TEST(good_names_come_back)
{
    pal_params *params = pal_params_new();
    pal_error e = {0};
    for (int i = 0; i < GOOD; i++)
        pal_fill(pal_param(params, good[i], PAL_F32, PAL_SHAPE(1)), i + 1);
    ck_assert_int_eq(pal_params_status(params), PAL_OK);
    pal_checkpoint c = {.params = params, .step = 1};
    if (pal_checkpoint_save(&c, path, &e) != PAL_OK) ck_abort_msg("%s", e.message);
    for (int i = 0; i < GOOD; i++) pal_fill(pal_params_at(params, i), 0);
    if (pal_checkpoint_load(&c, path, &e) != PAL_OK) ck_abort_msg("%s", e.message);
    for (int i = 0; i < GOOD; i++)
        ck_assert(*(const float *)pal_params_array(params, i).data == (float)(i + 1));
    pal_params_free(params);
}
END_TEST

/* One of the two would be a dataset and a group. */
START_TEST(no_name_is_the_group_of_another)
{
    static const char *const pairs[][2] = {{"a", "a/b"}, {"a/b", "a"}, {"a/b/c", "a"}, {"a", "a"}};
    pal_params *params = pal_params_new();
    pal_param(params, pairs[_i][0], PAL_F32, PAL_SHAPE(1));
    ck_assert_int_eq(pal_params_status(params), PAL_OK);
    pal_param(params, "a-b", PAL_F32, PAL_SHAPE(1)); /* as far as a slash it is another name */
    ck_assert_int_eq(pal_params_status(params), PAL_OK);
    pal_param(params, pairs[_i][1], PAL_F32, PAL_SHAPE(1));
    ck_assert_int_eq(pal_params_status(params), PAL_EVALUE);
    says(last.message, _i == 3 ? "is taken" : "does not go with");
    pal_params_free(params);
}
END_TEST

/* ---- Columns and fields of a log ---- */

START_TEST(columns_are_refused)
{
    static const char *const all[][2] = {
        {"loss,loss", "is there twice"}, {"", "is empty"},
        {"loss,", "is empty"},           {"loss,,lr", "is empty"},
        {"step,loss", "first column"},   {"a \"b\"", "a quotation mark"},
        {"a\nb", "a control character"}, {"\xff", "is not UTF-8"},
    };
    pal_journal *log = (pal_journal *)1;
    pal_error e = {0};
    ck_assert_int_eq(pal_journal_open(&log, folder, all[_i][0], 0, &e), PAL_EVALUE);
    ck_assert_ptr_null(log);
    says(e.message, all[_i][1]);
}
END_TEST

START_TEST(fields_are_escaped_or_refused)
{
    pal_journal *log;
    pal_error e = {0};
    ck_assert_int_eq(pal_journal_open(&log, folder, "loss,lo", 0, &e), PAL_OK);
    const pal_field odd[] = {
        {"loss", 1}, {"acc \"top 1\"", 2}, {"a\\b", 3}, {"x\ny\t</script>", 4}};
    ck_assert_int_eq(pal_journal_row(log, 1, 4, odd, &e), PAL_OK);
    const struct {
        pal_field f[2];
        const char *words;
    } no[] = {{{{"a", 1}, {"a", 2}}, "is there twice"},
              {{{"a", 1}, {"", 2}}, "is empty"},
              {{{"step", 1}, {"a", 2}}, "is that of the step"},
              {{{"a", 1}, {"\xc3", 2}}, "is not UTF-8"},
              {{{"a", 1}, {NULL, 2}}, "is NULL"}};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        ck_assert_int_eq(pal_journal_row(log, 2, 2, no[i].f, &e), PAL_EVALUE);
        says(e.message, no[i].words);
    }
    pal_journal_close(log);
    char name[64], text[512] = "";
    snprintf(name, sizeof name, "%s/log.jsonl", folder);
    FILE *file = fopen(name, "r");
    ck_assert(fread(text, 1, sizeof text - 1, file) > 0);
    fclose(file);
    ck_assert_str_eq(text, "{\"step\":1,\"loss\":1,\"acc \\\"top 1\\\"\":2,\"a\\\\b\":3,"
                           "\"x\\u000ay\\u0009</script>\":4}\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("names");
    TCase *tc = tcase_create("names");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, bad_names_are_refused_when_they_are_given, 0, BAD);
    tcase_add_test(tc, good_names_come_back);
    tcase_add_loop_test(tc, no_name_is_the_group_of_another, 0, 4);
    tcase_add_loop_test(tc, columns_are_refused, 0, 8);
    tcase_add_test(tc, fields_are_escaped_or_refused);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
