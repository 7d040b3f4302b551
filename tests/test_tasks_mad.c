/*
 * test_tasks_mad.c - rows of the tasks after MAD, solved from their definitions alone.
 */
#include "examples/tasks/tasks.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 30, LONGEST = 512, MOST = 64 };

typedef struct rows_of {
    const task *t;
    int64_t keys, values, len;
    const int64_t *tokens;
} rows_of;

typedef void solver(const rows_of *r, int64_t *answers);

static int64_t key_of(const char *text, const char *name)
{
    char key[32];
    snprintf(key, sizeof key, ":%s=", name);
    const char *at = strstr(text, key);
    return at ? strtoll(at + strlen(key), NULL, 10) : 0;
}

/* How many targets there were. */
static int64_t check_rows(const char *text, solver *solve)
{
    pal_error error;
    task *t;
    int64_t tokens[LONGEST], targets[LONGEST], answers[LONGEST], count = 0;
    ck_assert_msg(task_new(&t, text, &error) == PAL_OK, "%s", error.message);
    for (int split = TASK_TRAIN; split <= TASK_TEST; split++)
        for (int64_t n = 0; n < ROWS; n++) {
            rows_of r = {t, key_of(task_text(t), "keys"), key_of(task_text(t), "values"),
                         task_point_at(t, (task_split)split, 0).len, tokens};
            ck_assert_int_le(r.len, LONGEST);
            task_rows(t, (task_split)split, 0, 7, n, 1, tokens, targets);
            for (int64_t i = 0; i < r.len; i++) {
                ck_assert(tokens[i] >= 0 && tokens[i] < task_vocab(t));
                answers[i] = PAL_IGNORE;
            }
            solve(&r, answers);
            for (int64_t i = 0; i < r.len; i++) {
                ck_assert_msg(answers[i] == targets[i], "%s, row %d: token %d wants %d and not %d",
                              text, (int)n, (int)i, (int)answers[i], (int)targets[i]);
                count += targets[i] != PAL_IGNORE;
            }
        }
    task_free(t);
    return count;
}

/* The end of the run of tokens low .. high-1 that begins at `at`. */
static int64_t run_end(const rows_of *r, int64_t at, int64_t low, int64_t high)
{
    while (at < r->len && r->tokens[at] >= low && r->tokens[at] < high) at++;
    return at;
}

/* A key is the run of key tokens, told by its first; a value the run of value tokens after it. What
 * is cut off at the end of the row asks nothing. */
static void solve_recall(const rows_of *r, int64_t *answers)
{
    int64_t begins[MOST], length[MOST] = {0};
    const int64_t last = r->keys + r->values;
    for (int64_t at = 0; at < r->len;) {
        if (r->tokens[at] >= last) { /* noise */
            at++;
            continue;
        }
        const int64_t k = r->tokens[at], from = run_end(r, at, 0, r->keys);
        const int64_t end = run_end(r, from, r->keys, last);
        ck_assert(k < r->keys);
        if (length[k] && end - from == length[k])
            for (int64_t i = from; i < end; i++) {
                ck_assert(r->tokens[i] == r->tokens[begins[k] + i - from]);
                answers[i - 1] = r->tokens[i];
            }
        if (!length[k] && (end < r->len || end - from == 3))
            begins[k] = from, length[k] = end - from;
        at = end;
    }
}

static void solve_copy(const rows_of *r, int64_t *answers)
{
    int64_t separator = 0, asked;
    while (r->tokens[separator] != 1) separator++;
    asked = separator;
    for (int64_t i = 0; i < separator; i++)
        if (r->tokens[i] != 0) answers[asked++] = r->tokens[i];
    for (int64_t i = separator + 1; i < r->len; i++) ck_assert_int_eq(r->tokens[i], 0);
    ck_assert_int_eq(asked, r->len);
}

/* Of all rows, and of both splits, one table of facts. */
static int64_t fact[MOST];

static void solve_facts(const rows_of *r, int64_t *answers)
{
    for (int64_t i = 0; i + 1 < r->len; i += 2) {
        ck_assert(r->tokens[i] >= 1 && r->tokens[i] <= r->keys && r->tokens[i + 1] == 0);
        answers[i + 1] = fact[r->tokens[i]];
    }
}

START_TEST(recall)
{
    ck_assert_int_gt(check_rows("context_recall:len=64", solve_recall), 2 * ROWS * 16);
    ck_assert_int_gt(check_rows("noisy_recall:len=128:noise=0.5", solve_recall), 2 * ROWS * 16);
    ck_assert_int_gt(check_rows("context_recall:keys=20:values=5:len=200", solve_recall),
                     2 * ROWS * 50);
    ck_assert_int_gt(check_rows("fuzzy_recall:len=256", solve_recall), 2 * ROWS * 50);
}
END_TEST

START_TEST(copies)
{
    ck_assert_int_eq(check_rows("selective_copy:copied=5:len=40", solve_copy), 2 * ROWS * 5);
    ck_assert_int_eq(check_rows("compression:len=32", solve_copy), 2 * ROWS * 16);
    ck_assert_int_eq(check_rows("compression:len=33", solve_copy), 2 * ROWS * 16);
}
END_TEST

START_TEST(facts)
{
    static const char text[] = "memorise:facts=20:values=10:len=32";
    pal_error error;
    task *t;
    int64_t tokens[32], targets[32];
    ck_assert(task_new(&t, text, &error) == PAL_OK);
    for (int64_t n = 0; n < 100; n++) { /* of another seed */
        task_rows(t, TASK_TRAIN, 0, 3, n, 1, tokens, targets);
        for (int i = 0; i < 32; i += 2) fact[tokens[i]] = targets[i + 1];
    }
    task_free(t);
    for (int k = 1; k <= 20; k++) ck_assert(fact[k] > 20 && fact[k] <= 30);
    /* The key of its table is called facts. */
    int64_t count = 0;
    ck_assert(task_new(&t, text, &error) == PAL_OK);
    for (int64_t n = 0; n < ROWS; n++) {
        int64_t answers[32];
        const rows_of r = {t, 20, 10, 32, tokens};
        task_rows(t, TASK_TEST, 0, 7, n, 1, tokens, targets);
        for (int i = 0; i < 32; i++) answers[i] = PAL_IGNORE;
        solve_facts(&r, answers);
        for (int i = 0; i < 32; i++) ck_assert_int_eq(answers[i], targets[i]);
        for (int i = 0; i < 32; i++) count += targets[i] != PAL_IGNORE;
    }
    ck_assert_int_eq(count, ROWS * 16);
    task_free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tasks after MAD");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, recall);
    tcase_add_test(tc, copies);
    tcase_add_test(tc, facts);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
