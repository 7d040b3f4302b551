/*
 * test_sample.c - drawing tokens: which tokens are drawn, how often, and what is refused.
 */
#include "layers/layers.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DRAWS = 4000, MOST = 16 };
static pal_tape *tape;

static void setup(void) { tape = pal_tape_new(); }
static void teardown(void) { pal_tape_free(tape); }

static pal_tensor row(int64_t n, const double *logits)
{
    return pal_from(tape, PAL_F64, PAL_SHAPE(n), logits);
}

/* Counts how often each token is drawn. */
static void count_draws(pal_tensor t, pal_sample_opts opts, int count[MOST])
{
    pal_rng rng = pal_rng_new(9, 0);
    memset(count, 0, MOST * sizeof *count);
    for (int i = 0; i < DRAWS; i++) {
        int64_t token = pal_sample(t, opts, &rng);
        ck_assert(token >= 0 && token < pal_count(t));
        count[token]++;
    }
}

/* Exactly the tokens of `set` are drawn, each as often as its probability says. */
static void check_set(int64_t n, const double *logits, pal_sample_opts opts, uint32_t set)
{
    int count[MOST];
    double sum = 0;
    count_draws(row(n, logits), opts, count);
    for (int j = 0; j < n; j++) sum += set >> j & 1 ? exp(logits[j] / opts.temperature) : 0;
    for (int j = 0; j < n; j++) {
        double expected = set >> j & 1 ? DRAWS * exp(logits[j] / opts.temperature) / sum : 0;
        ck_assert_msg(fabs(count[j] - expected) <= 5 * sqrt(expected),
                      "k %d p %g: %d is drawn %d times, not %g", (int)opts.top_k, opts.top_p, j,
                      count[j], expected);
    }
}

static const double some[] = {1, 3, -INFINITY, 2.5, NAN, 0};

START_TEST(temperature)
{
    const pal_sample_opts greedy = {0}, warm = {.temperature = 0.5}, cold = {.temperature = 1e-300};
    pal_rng rng = pal_rng_new(9, 0), before = rng;
    const float logits[] = {1, 3, -INFINITY, 2.5f, NAN, 0};
    pal_tensor f32 = pal_from(tape, PAL_F32, PAL_SHAPE(1, 6), logits);
    ck_assert_int_eq(pal_sample(f32, greedy, &rng), 1);
    ck_assert(memcmp(&rng, &before, sizeof rng) == 0);
    ck_assert_int_eq(pal_sample(row(6, some), cold, &rng), 1);
    check_set(6, some, warm, 1 << 0 | 1 << 1 | 1 << 3 | 1 << 5);
    /* Of equal logits the first is taken, and infinity is above all others. */
    ck_assert_int_eq(pal_sample(row(3, (double[]){NAN, 2, 2}), greedy, &rng), 1);
    int count[MOST];
    count_draws(row(4, (double[]){INFINITY, 5, INFINITY, NAN}), warm, count);
    ck_assert(count[0] > 0 && count[2] > 0 && count[0] + count[2] == DRAWS);
}
END_TEST

START_TEST(top_k)
{
    const double equal[] = {1, 2, 1, 1, 0};
    check_set(6, some, (pal_sample_opts){.temperature = 0.5, .top_k = 2}, 1 << 1 | 1 << 3);
    check_set(6, some, (pal_sample_opts){.temperature = 2, .top_k = 1}, 1 << 1);
    check_set(6, some, (pal_sample_opts){.temperature = 2, .top_k = 100}, 0x2b);
    check_set(5, equal, (pal_sample_opts){.temperature = 1, .top_k = 3}, 1 << 0 | 1 << 1 | 1 << 2);
}
END_TEST

/* The probabilities are 1/2, 1/4, 1/8, 1/16, 1/16 in another order, or five equal ones. */
START_TEST(top_p)
{
    const double falling[] = {-4, -1, -3, -2, -4}, equal[] = {7, 7, 7, 7, 7};
    static const struct {
        double p;
        int64_t k;
        uint32_t falling, equal;
    } cases[] = {
        {0, 0, 0x1f, 0x1f},         {1, 0, 0x1f, 0x1f},    {1e-300, 0, 0x02, 0x01},
        {0.2, 0, 0x02, 0x01},       {0.49, 0, 0x02, 0x07}, {0.51, 0, 0x0a, 0x07},
        {0.74, 0, 0x0a, 0x0f},      {0.76, 0, 0x0e, 0x0f}, {0.93, 0, 0x0f, 0x1f},
        {0.95, 0, 0x1f, 0x1f},      {0.99, 2, 0x0a, 0x03}, {0.66, 2, 0x02, 0x03},
        {0.5, 2, 0x02, 0x01},       {0.9, 1, 0x02, 0x01},  {1, 3, 0x0e, 0x07},
        {0.9999999, 5, 0x1f, 0x1f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pal_sample_opts o = {.temperature = 1 / log(2), .top_k = cases[i].k, .top_p = cases[i].p};
        check_set(5, falling, o, cases[i].falling);
        check_set(5, equal, o, cases[i].equal);
    }
    /* A NaN is never drawn. */
    check_set(6, some, (pal_sample_opts){.temperature = 1, .top_p = 0.999}, 0x2b);
    check_set(6, some, (pal_sample_opts){.temperature = 1, .top_p = 0.6}, 1 << 1 | 1 << 3);
}
END_TEST

/* On a large row, the set of tokens is compared with one that is found by sorting. */
static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

START_TEST(large_rows)
{
    enum { N = 5000 };
    static double x[N], sorted[N];
    pal_rng rng = pal_rng_new(3, 0);
    double sum = 0, reached = 0;
    int64_t kept = 0, seen = 0;
    static bool drawn[N];
    for (int i = 0; i < N; i++) {
        sorted[i] = x[i] = 12 * pal_rng_next(&rng);
        sum += exp(x[i]);
    }
    qsort(sorted, N, sizeof *sorted, descending);
    while (reached < 0.02 * sum) reached += exp(sorted[kept++]);
    pal_tensor t = row(N, x);
    for (int i = 0; i < 20 * (int)kept; i++)
        drawn[pal_sample(t, (pal_sample_opts){.temperature = 1, .top_p = 0.02}, &rng)] = true;
    for (int i = 0; i < N; i++) {
        ck_assert(!drawn[i] || x[i] >= sorted[kept - 1]);
        seen += drawn[i];
    }
    ck_assert_int_eq(seen, kept);
}
END_TEST

/* Several rows, with any strides, give the tokens that they give one by one. */
START_TEST(rows)
{
    enum { B = 3, N = 4 };
    const double x[N * B] = {0, 1, 2, 2, 0, 1, 1, 2, 0, NAN, NAN, 0.5};
    const pal_sample_opts opts[] = {
        {0}, {.temperature = 1}, {.temperature = 1, .top_k = 2}, {.temperature = 1, .top_p = 0.9}};
    pal_tensor columns = pal_from(tape, PAL_F64, PAL_SHAPE(N, B), x);
    for (size_t i = 0; i < sizeof opts / sizeof *opts; i++)
        for (uint64_t seed = 0; seed < 50; seed++) {
            pal_rng rng = pal_rng_new(seed, 0), one = rng;
            int64_t tokens[B];
            pal_sample_rows(pal_transpose(columns, 0, 1), opts[i], &rng, B, tokens);
            for (int b = 0; b < B; b++)
                ck_assert_int_eq(tokens[b], pal_sample(pal_select(columns, 1, b), opts[i], &one));
            ck_assert(rng.counter == one.counter);
        }
}
END_TEST

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

START_TEST(wrong_arguments)
{
    static const double none[] = {NAN, -INFINITY, NAN};
    static const struct {
        pal_sample_opts opts;
        int64_t B, n;
        const double *logits;
        const char *words;
    } wrong[] = {
        {{.temperature = -1}, 1, 6, some, "temperature -1, top_k 0"},
        {{.temperature = NAN}, 1, 6, some, "is out of range"},
        {{.temperature = INFINITY}, 1, 6, some, "is out of range"},
        {{.top_k = -1}, 1, 6, some, "top_k -1"},
        {{.top_p = 1.5}, 1, 6, some, "top_p 1.5 is out of range"},
        {{.top_p = -0.5}, 1, 6, some, "top_p -0.5 is out of range"},
        {{.top_k = 0}, 2, 6, some, "logits is f64[6] and should be of 2 rows"},
        {{.top_k = 0}, 1, 0, some, "logits is f64[0] and should be of 1 rows"},
        {{.top_k = 0}, 1, 3, none, "no logit of row 0 is a number"},
        {{.temperature = 1}, 1, 3, none, "no logit of row 0 is a number"},
    };
    pal_error heard;
    pal_set_error_handler(hear, &heard);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pal_rng rng = pal_rng_new(1, 0);
        int64_t tokens[2] = {5, 5};
        heard.message[0] = '\0';
        pal_sample_rows(row(wrong[i].n, wrong[i].logits), wrong[i].opts, &rng, wrong[i].B, tokens);
        ck_assert_msg(strstr(heard.message, wrong[i].words) != NULL, "%s", heard.message);
        for (int64_t b = 0; b < wrong[i].B; b++) ck_assert_int_eq(tokens[b], -1);
        ck_assert(pal_tape_status(tape) != PAL_OK);
        pal_tape_reset(tape);
    }
    pal_rng rng = pal_rng_new(1, 0);
    ck_assert_int_eq(pal_sample(pal_zeros(tape, PAL_I64, PAL_SHAPE(3)), (pal_sample_opts){0}, &rng),
                     -1);
    ck_assert_int_eq(pal_sample(PAL_NONE, (pal_sample_opts){0}, &rng), -1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sample");
    TCase *tc = tcase_create("sample");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, temperature);
    tcase_add_test(tc, top_k);
    tcase_add_test(tc, top_p);
    tcase_add_test(tc, large_rows);
    tcase_add_test(tc, rows);
    tcase_add_test(tc, wrong_arguments);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
