/*
 * test_tasks.c - compares rows of the synthetic tasks with solvers that use only the definitions,
 * and tests texts of tasks and the numbering of rows. The groups of the word problems are in
 * test_tasks_groups.c.
 */
#include "examples/tasks/tasks.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 40, LONGEST = 2048 };

static pal_error error;

static task *make(const char *text)
{
    task *t;
    ck_assert_msg(task_new(&t, text, &error) == PAL_OK, "%s: %s", text, error.message);
    return t;
}

/* A row, and a solver that writes its answers. It sees the tokens and the places of the
 * questions. */
typedef struct row {
    const task *t;
    task_split split;
    task_point p;
    int64_t tokens[LONGEST], targets[LONGEST];
} row;
typedef void solver(const row *r, int64_t *answers);

static bool asks(const row *r, int64_t i) { return r->targets[i] != PAL_IGNORE; }

/* Draws ROWS rows of every point and compares; returns how many targets there were. */
static int64_t check_rows(const char *text, solver *solve)
{
    static row r;
    int64_t answers[LONGEST], count = 0;
    task *t = make(text);
    r.t = t;
    for (int split = TASK_TRAIN; split <= TASK_TEST; split++)
        for (int i = 0; i < task_points(t, (task_split)split); i++) {
            r.split = (task_split)split;
            r.p = task_point_at(t, r.split, i);
            ck_assert_int_le(r.p.len, LONGEST);
            for (int64_t n = 0; n < ROWS; n++) {
                task_rows(t, r.split, i, 7, n, 1, r.tokens, r.targets);
                for (int64_t k = 0; k < r.p.len; k++) answers[k] = PAL_IGNORE;
                solve(&r, answers);
                for (int64_t k = 0; k < r.p.len; k++) {
                    ck_assert(r.tokens[k] >= 0 && r.tokens[k] < task_vocab(t));
                    ck_assert_msg(answers[k] == r.targets[k],
                                  "%s, %s, row %lld: token %lld wants %lld and not %lld", text,
                                  r.p.name, (long long)n, (long long)k, (long long)answers[k],
                                  (long long)r.targets[k]);
                    count += asks(&r, k);
                }
            }
        }
    task_free(t);
    return count;
}

/* ---- Associative recall ---- */

static void solve_mqar(const row *r, int64_t *answers)
{
    const int64_t n = r->p.level, half = task_vocab(r->t) / 2;
    int64_t asked = 0;
    for (int64_t i = 0; i < n; i++) {
        ck_assert(r->tokens[2 * i] >= 1 && r->tokens[2 * i] < half && r->tokens[2 * i + 1] >= half);
        for (int64_t j = 0; j < i; j++) {
            ck_assert(r->tokens[2 * i] != r->tokens[2 * j]);
            ck_assert(r->tokens[2 * i + 1] != r->tokens[2 * j + 1]);
        }
    }
    const bool random = strstr(task_text(r->t), "filler=random") != NULL;
    for (int64_t k = 2 * n; k < r->p.len; k++) {
        if (random ? !asks(r, k) : r->tokens[k] == 0) continue; /* a random filler may be a key */
        ck_assert(k % 2 == 0);
        for (int64_t i = 0; i < n; i++)
            if (r->tokens[2 * i] == r->tokens[k]) answers[k] = r->tokens[2 * i + 1], asked++;
    }
    ck_assert_int_eq(asked, n);
}

START_TEST(mqar)
{
    ck_assert_int_eq(check_rows("mqar", solve_mqar), 2 * ROWS * (4 + 8 + 16));
    ck_assert_int_eq(check_rows("mqar:pairs=31:len=124:vocab=64:filler=random", solve_mqar),
                     2 * ROWS * 31);
    check_rows("mqar:vocab=8192:len=64,128,256,256,256:pairs=4,8,16,32,64:weights=5,1,1,1,1:"
               "test_len=64,64,64,128,256,512,1024:test_pairs=4,8,16,32,64,128,256",
               solve_mqar);
}
END_TEST

/* With one pair a slot is drawn once, and slot j has a share of j^(power-1). For a correct sampler,
 * chi-square with 15 degrees of freedom is above 45 once in 15000 times. */
static double chi_square(const char *text, double power)
{
    enum { SLOTS = 16, DRAWS = 4000 };
    task *t = make(text);
    const int64_t len = task_point_at(t, TASK_TRAIN, 0).len;
    int64_t tokens[64], targets[64], count[SLOTS] = {0};
    double sum = 0, chi = 0;
    ck_assert_int_eq(len, 2 + 2 * SLOTS);
    for (int64_t n = 0; n < DRAWS; n++) {
        task_rows(t, TASK_TRAIN, 0, 5, n, 1, tokens, targets);
        for (int64_t k = 0; k < len; k++)
            if (targets[k] != PAL_IGNORE) count[(k - 2) / 2]++;
    }
    for (int j = 0; j < SLOTS; j++) sum += pow(j + 1, power - 1);
    for (int j = 0; j < SLOTS; j++) {
        const double wanted = DRAWS * pow(j + 1, power - 1) / sum;
        chi += ((double)count[j] - wanted) * ((double)count[j] - wanted) / wanted;
    }
    task_free(t);
    return chi;
}

START_TEST(slots_follow_the_power_law)
{
    ck_assert_double_lt(chi_square("mqar:pairs=1:len=34", 0.01), 45);
    ck_assert_double_lt(chi_square("mqar:pairs=1:len=34:power=1", 1), 45);
    ck_assert_double_gt(chi_square("mqar:pairs=1:len=34", 0.3), 45); /* not any power */
}
END_TEST

/* Slots are drawn for the pairs in their order, but not handed out in the order of the row. So by
 * symmetry the first of eight keys is asked before the second one half of the time. */
START_TEST(keys_are_asked_in_any_order)
{
    enum { DRAWS = 1000, PAIRS = 8 };
    task *t = make("mqar:pairs=8:len=64");
    int64_t tokens[64], targets[64];
    int before = 0;
    for (int64_t n = 0; n < DRAWS; n++) {
        int64_t k = 2 * PAIRS;
        task_rows(t, TASK_TRAIN, 0, 5, n, 1, tokens, targets);
        while (tokens[k] != tokens[0] && tokens[k] != tokens[2]) k++;
        before += tokens[k] == tokens[0];
    }
    ck_assert_msg(abs(before - DRAWS / 2) < 5 * 16, "%d of %d", before, DRAWS); /* deviation 16 */
    task_free(t);
}
END_TEST

/* ---- State tracking ---- */

static void solve_parity(const row *r, int64_t *answers)
{
    const bool dense = r->split == TASK_TRAIN && strstr(task_text(r->t), "dense=true");
    int64_t n = r->p.len, sum = 0;
    if (r->split == TASK_TRAIN) /* the last question ends the row */
        while (n > 0 && !asks(r, n - 1)) n--;
    ck_assert(r->split == TASK_TEST || (n >= 3 && n <= 20));
    for (int64_t i = 0; i < n; i++) {
        sum += r->tokens[i];
        if (dense || i == n - 1) answers[i] = sum % 2;
    }
}

START_TEST(parity)
{
    ck_assert_int_eq(check_rows("parity:max=20:test_len=20,64", solve_parity), 3 * ROWS);
    ck_assert_int_gt(check_rows("parity:max=20:dense=true", solve_parity), 7 * ROWS);
}
END_TEST

/* ---- Needles ---- */

static void solve_needle(const row *r, int64_t *answers)
{
    char text[LONGEST + 1], key[32], sentence[128], noun[16];
    const char *question = NULL, *found = NULL;
    int64_t i = 0;
    for (; i < r->p.len; i++) text[i] = (char)r->tokens[i];
    text[i] = '\0';
    for (const char *at = text; (at = strstr(at, "What is the special magic ")); at++)
        question = at;
    ck_assert_ptr_nonnull(question);
    ck_assert_int_eq(
        sscanf(question, "What is the special magic %15s for %31[a-z-]? It is: ", noun, key), 2);
    snprintf(sentence, sizeof sentence, "One of the special magic %ss for %s is: ", noun, key);
    found = strstr(text, sentence);
    ck_assert_ptr_nonnull(found);
    ck_assert(found < question && strstr(found + 1, sentence) == NULL);
    ck_assert(found == text || found[-1] == ' '); /* it begins a word */
    found += strlen(sentence);
    const int64_t size = (int64_t)strcspn(found, ".");
    const int64_t first = strstr(question, "It is: ") + 7 - text - 1;
    ck_assert_int_eq(first + size, r->p.len);
    for (i = 0; i < size; i++) answers[first + i] = found[i];
}

/* The solver finds the needle that is asked for. A text with several keys contains all of them. */
START_TEST(needles)
{
    ck_assert_int_eq(check_rows("needle", solve_needle), 2 * ROWS * 4);
    ck_assert_int_eq(
        check_rows("needle:kind=single-essay-number:len=300,2000:digits=7", solve_needle),
        4 * ROWS * 7);
    ck_assert_int_eq(check_rows("needle:kind=single-essay-uuid:len=400", solve_needle),
                     2 * ROWS * 36);
    ck_assert_int_eq(check_rows("needle:kind=multi-key:len=700", solve_needle), 2 * ROWS * 4);
    task *t = make("needle:kind=multi-key:len=700:keys=5");
    int64_t tokens[700], targets[700];
    for (int64_t n = 0; n < ROWS; n++) {
        char text[701] = "";
        int count = 0;
        task_rows(t, TASK_TEST, 0, 1, n, 1, tokens, targets);
        for (int i = 0; i < 700; i++) text[i] = (char)tokens[i];
        for (const char *at = text; (at = strstr(at, "One of the special magic ")); at++) count++;
        ck_assert_int_eq(count, 5);
    }
    task_free(t);
}
END_TEST

/* About a quarter of the needles lies in each quarter of the text. */
START_TEST(depths_are_uniform)
{
    enum { LEN = 1200, DRAWS = 800 };
    task *t = make("needle:kind=single-essay-number:len=1200");
    int64_t tokens[LEN], targets[LEN], count[4] = {0};
    for (int64_t n = 0; n < DRAWS; n++) {
        char text[LEN + 1] = "";
        task_rows(t, TASK_TEST, 0, 1, n, 1, tokens, targets);
        for (int i = 0; i < LEN; i++) text[i] = (char)tokens[i];
        const int64_t at = strstr(text, "One of the special magic ") - text;
        count[4 * at / LEN]++;
    }
    for (int q = 0; q < 4; q++)
        ck_assert_msg(count[q] > DRAWS / 8 && count[q] < DRAWS * 3 / 8, "%lld in quarter %d",
                      (long long)count[q], q);
    task_free(t);
}
END_TEST

/* ---- Sequences and stacks ---- */

static void solve_sequence(const row *r, int64_t *answers)
{
    const bool backwards = strcmp(task_name(r->t), "palindrome") == 0;
    int64_t n = 0;
    while (r->tokens[n] != 0) n++;
    ck_assert_int_eq(2 * n, r->p.len);
    for (int64_t i = 0; i < n; i++) answers[n + i] = r->tokens[backwards ? n - 1 - i : i];
    for (int64_t i = 0; i + 1 < n; i++) ck_assert_int_eq(r->tokens[n + 1 + i], answers[n + i]);
}

static void solve_stack(const row *r, int64_t *answers)
{
    enum { STACKS = 3, PUSH = 1, POP = 2 };
    static int64_t stack[STACKS][LONGEST];
    int64_t height[STACKS] = {0}, i = 0;
    for (; i + 3 <= r->p.len; i += 3) {
        const int64_t op = r->tokens[i], s = r->tokens[i + 1] - 3, symbol = r->tokens[i + 2];
        ck_assert((op == PUSH || op == POP) && s >= 0 && s < STACKS && symbol >= 3 + STACKS);
        if (op == PUSH) {
            stack[s][height[s]++] = symbol;
        } else {
            ck_assert_int_gt(height[s], 0);
            answers[i + 1] = stack[s][--height[s]];
            ck_assert_int_eq(answers[i + 1], symbol);
        }
    }
    for (; i < r->p.len; i++) ck_assert_int_eq(r->tokens[i], 0);
}

START_TEST(sequences)
{
    ck_assert_int_eq(check_rows("palindrome", solve_sequence), 2 * ROWS * (8 + 16));
    ck_assert_int_eq(check_rows("copy:len=2,64:symbols=40", solve_sequence), 2 * ROWS * (1 + 32));
    ck_assert_int_gt(check_rows("stack:stacks=3:len=50,96", solve_stack), ROWS * 30);
    ck_assert_int_gt(check_rows("stack:stacks=3:len=6", solve_stack), ROWS);
}
END_TEST

/* ---- What all of them promise ---- */

START_TEST(texts)
{
    for (int i = 0; task_names(i); i++) {
        if (strcmp(task_names(i), "corpus") == 0) continue; /* it needs a store */
        char whole[1024], *key;
        task *t = make(task_names(i)), *again;
        ck_assert_str_eq(task_name(t), task_names(i));
        snprintf(whole, sizeof whole, "%s", task_text(t));
        again = make(whole);
        ck_assert_str_eq(task_text(again), whole);
        strtok(whole, ":");
        while ((key = strtok(NULL, ":"))) { /* the help has every key with its default */
            if (strncmp(key, "test_len=", 9) == 0 || strncmp(key, "test_pairs=", 11) == 0)
                *strchr(key, '=') = '\0';
            ck_assert_msg(strstr(task_help(i), key) != NULL, "%s: no %s", task_help(i), key);
        }
        double weight = 0;
        for (int p = 0; p < task_points(t, TASK_TRAIN); p++)
            weight += task_point_at(t, TASK_TRAIN, p).weight;
        ck_assert(fabs(weight - 1) <= 1e-12);
        ck_assert(task_points(t, TASK_TEST) >= 1 && task_points(t, TASK_TEST) <= TASK_POINTS);
        task_free(t), task_free(again);
    }
    ck_assert_ptr_null(task_names(-1));
    ck_assert_ptr_null(task_help(99));
}
END_TEST

START_TEST(wrong_texts)
{
    static const struct {
        const char *text, *words;
    } wrong[] = {
        {"", "there is no task \"\"; there are mqar, needle, parity"},
        {"mqa", "there is no task \"mqa\""},
        {"mqar:", "there is no key \"\"; its keys are vocab, len, pairs"},
        {"mqar:pear=3", "task mqar: there is no key \"pear\""},
        {"mqar:pairs", "pairs= should be at most 16 whole numbers"},
        {"mqar:pairs=", "pairs= should be"},
        {"mqar:pairs=4,", "pairs=4, should be"},
        {"mqar:pairs=0", "pairs=0 should be"},
        {"mqar:pairs=4,4", "4 pairs is there twice"},
        {"mqar:pairs=4:pairs=5", "pairs is there twice"},
        {"mqar:pairs=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "at most 16 whole numbers"},
        {"mqar:pairs=17", "len=64 should be even and at least four times its 17 pairs"},
        {"mqar:len=63", "len=63 should be even"},
        {"mqar:vocab=16", "8 pairs want as many keys, and vocab=16 has 7"},
        {"mqar:vocab=99999999999999999999", "should be a whole number from 4 to 32768"},
        {"mqar:vocab=-4", "vocab=-4 should be"},
        {"mqar:weights=1,2", "weights has 2 entries for 3 points"},
        {"mqar:len=64,128", "len has 2 entries and pairs 3"},
        {"mqar:test_pairs=4", "test_pairs wants a test_len"},
        {"mqar:power=nan", "power=nan should be a number from"},
        {"mqar:power=0", "power=0 should be"},
        {"mqar:filler=one", "filler=one should be zero|random"},
        {"mqar:filler=zer", "filler=zer should be"},
        {"needle:kind=hay", "kind=hay should be single-noise-number|"},
        {"needle:len=80", "a length of 80: it should be at least"},
        {"needle:kind=multi-key:keys=9", "keys=9 should be a whole number from 2 to 8"},
        {"needle:digits=10", "digits=10 should be"},
        {"parity:min=9:max=8", "min=9 is more than max=8"},
        {"parity:dense=yes", "dense=yes should be true or false"},
        {"parity:test_len=9,9", "length 9 is there twice"},
        {"s3:min=3", "there is no key \"min\"; its keys are len, test_len"},
        {"s5:len=100000", "len=100000 should be"},
        {"palindrome:len=7", "at least 2, and a multiple of 2"},
        {"copy:symbols=1", "symbols=1 should be"},
        {"stack:stacks=0", "stacks=0 should be"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        task *t;
        ck_assert_msg(task_new(&t, wrong[i].text, &error) == PAL_EVALUE, "%s", wrong[i].text);
        ck_assert_ptr_null(t);
        ck_assert_msg(strstr(error.message, wrong[i].words) != NULL, "%s: %s", wrong[i].text,
                      error.message);
    }
}
END_TEST

/* A row does not depend on the batch that it is in. It differs for every seed, split and number. */
START_TEST(rows_by_number)
{
    enum { B = 6, LEN = 512 };
    static int64_t whole[2][B * LEN], part[2][B * LEN];
    for (int i = 0; task_names(i); i++) {
        if (strcmp(task_names(i), "corpus") == 0) continue; /* it needs a store */
        task *t = make(task_names(i));
        const int64_t len = task_point_at(t, TASK_TEST, 0).len;
        const size_t bytes = (size_t)len * sizeof **whole;
        task_rows(t, TASK_TEST, 0, 4, 10, B, whole[0], whole[1]);
        for (int64_t b = 0; b < B; b += 2)
            task_rows(t, TASK_TEST, 0, 4, 10 + b, 2, part[0] + b * len, part[1] + b * len);
        for (int k = 0; k < 2; k++) ck_assert(memcmp(whole[k], part[k], B * bytes) == 0);
        for (int64_t b = 1; b < B; b++) ck_assert(memcmp(whole[0], whole[0] + b * len, bytes) != 0);
        task_rows(t, TASK_TEST, 0, 5, 10, 1, part[0], part[1]);
        ck_assert(memcmp(whole[0], part[0], bytes) != 0);
        const int64_t train = task_point_at(t, TASK_TRAIN, 0).len;
        task_rows(t, TASK_TRAIN, 0, 4, 10, 1, part[0], part[1]);
        ck_assert(train != len || memcmp(whole[0], part[0], bytes) != 0);
        task_free(t);
    }
}
END_TEST

START_TEST(points_by_weight)
{
    enum { DRAWS = 3000 };
    task *t = make("mqar:pairs=1,2,4:weights=1,2,5");
    int count[3] = {0};
    for (int64_t n = 0; n < DRAWS; n++) count[task_point_of(t, 9, n)]++;
    for (int i = 0; i < 3; i++) {
        const double wanted = DRAWS * task_point_at(t, TASK_TRAIN, i).weight;
        ck_assert_double_lt(fabs(count[i] - wanted), 5 * sqrt(wanted));
    }
    ck_assert(fabs(task_point_at(t, TASK_TRAIN, 2).weight - 0.625) <= 1e-12);
    task_free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tasks");
    TCase *tc = tcase_create("tasks");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, mqar);
    tcase_add_test(tc, slots_follow_the_power_law);
    tcase_add_test(tc, keys_are_asked_in_any_order);
    tcase_add_test(tc, parity);
    tcase_add_test(tc, needles);
    tcase_add_test(tc, depths_are_uniform);
    tcase_add_test(tc, sequences);
    tcase_add_test(tc, texts);
    tcase_add_test(tc, wrong_texts);
    tcase_add_test(tc, rows_by_number);
    tcase_add_test(tc, points_by_weight);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
