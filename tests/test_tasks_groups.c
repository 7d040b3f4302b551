/*
 * test_tasks_groups.c - the groups of the word problems: the tables are groups, and rows follow the
 * permutations that their words stand for.
 */
#include "examples/tasks/tasks.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 40 };

static task *make(const char *text)
{
    task *t;
    pal_error error;
    ck_assert_msg(task_new(&t, text, &error) == PAL_OK, "%s: %s", text, error.message);
    return t;
}

/* Permutations read from their words, independently of the table. */
typedef struct permutation {
    char image[8];
} permutation;

/* Reads a permutation from the row that task_print writes: "[213: 321]" is token and target. */
static void read_words(const task *t, int64_t a, int64_t b, permutation *x, permutation *y)
{
    char text[64] = "";
    FILE *to = fmemopen(text, sizeof text, "w");
    task_print(t, &a, &b, 1, to);
    fclose(to);
    ck_assert_int_eq(sscanf(text, "[%7[1-5]: %7[1-5]]", x->image, y->image), 2);
}

static void check_group(const char *name, int order, int n)
{
    char text[64];
    permutation p[120];
    snprintf(text, sizeof text, "%s:len=8:test_len=9", name);
    task *t = make(text);
    ck_assert_int_eq(task_vocab(t), order);
    for (int a = 0; a < order; a++) {
        permutation again;
        int seen = 0;
        read_words(t, a, a, &p[a], &again);
        ck_assert_str_eq(p[a].image, again.image);
        ck_assert_uint_eq(strlen(p[a].image), (size_t)n);
        for (int i = 0; i < n; i++) seen |= 1 << (p[a].image[i] - '1');
        ck_assert_int_eq(seen, (1 << n) - 1);
        for (int b = 0; b < a; b++) ck_assert_str_ne(p[a].image, p[b].image);
    }
    for (int64_t row_number = 0; row_number < ROWS; row_number++) {
        int64_t tokens[9], targets[9];
        char so_far[8] = "12345";
        so_far[n] = '\0';
        task_rows(t, TASK_TEST, 0, 3, row_number, 1, tokens, targets);
        for (int k = 0; k < 9; k++) {
            for (int i = 0; i < n; i++) so_far[i] = p[tokens[k]].image[so_far[i] - '1'];
            ck_assert_str_eq(so_far, p[targets[k]].image);
        }
    }
    task_free(t);
}

/* The products of two tokens, which are read from rows of length 2, are the table of a group. */
static void check_axioms(const char *name, int order)
{
    char text[64];
    static int product[120][120];
    int64_t tokens[2], targets[2], left = order * order;
    snprintf(text, sizeof text, "%s:len=2", name);
    task *t = make(text);
    memset(product, -1, sizeof product);
    for (int64_t n = 0; left > 0 && n < 400000; n++) {
        task_rows(t, TASK_TRAIN, 0, 2, n, 1, tokens, targets);
        ck_assert_int_eq(targets[0], tokens[0]);
        int *to = &product[tokens[0]][tokens[1]];
        ck_assert(*to == -1 || *to == targets[1]);
        left -= *to == -1;
        *to = (int)targets[1];
    }
    ck_assert_int_eq(left, 0);
    for (int a = 0; a < order; a++) {
        int inverses = 0;
        ck_assert(product[0][a] == a && product[a][0] == a);
        for (int b = 0; b < order; b++) {
            inverses += product[a][b] == 0;
            for (int c = 0; c < order; c += 1 + order / 12)
                ck_assert_int_eq(product[product[a][b]][c], product[a][product[b][c]]);
        }
        ck_assert_int_eq(inverses, 1);
    }
    task_free(t);
}

START_TEST(groups)
{
    check_group("s3", 6, 3);
    check_group("a5", 60, 5);
    check_group("s5", 120, 5);
    check_axioms("s3", 6);
    check_axioms("a5", 60);
    check_axioms("s5", 120);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tasks_groups");
    TCase *tc = tcase_create("groups");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, groups);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
