/*
 * test_rng.c - random numbers: Philox's published test vectors, moments and bounds of the
 * distributions, and the same numbers on any number of threads and for any strides.
 */
#include "tensor/tensor.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* From the file kat_vectors of Random123: philox4x32 10. A split hands on the four words of a block
 * as they are, as seed and stream of the new generator. */
START_TEST(known_answers)
{
    static const struct {
        uint64_t key, counter, stream, words[2];
    } known[] = {
        {0, 0, 0, {UINT64_C(0xe169c58d6627e8d5), UINT64_C(0x9b00dbd8bc57ac4c)}},
        {UINT64_MAX,
         UINT64_MAX,
         UINT64_MAX,
         {UINT64_C(0x41c83b0e408f276d), UINT64_C(0x6d5451fda20bc7c6)}},
        {UINT64_C(0x299f31d0a4093822),
         UINT64_C(0x85a308d3243f6a88),
         UINT64_C(0x0370734413198a2e),
         {UINT64_C(0x94fdccebd16cfe09), UINT64_C(0x24126ea15001e420)}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        pal_rng rng = {known[i].key, known[i].stream, known[i].counter};
        const pal_rng words = pal_rng_split(&rng);
        ck_assert_uint_eq(words.seed, known[i].words[0]);
        ck_assert_uint_eq(words.stream, known[i].words[1]);
    }
}
END_TEST

enum { N = 200001 };

static void draw(int law_index, pal_rng *rng, const pal_array *out)
{
    if (law_index == 0) pal_rng_uniform(rng, out, -1.0, 3.0);
    if (law_index == 1) pal_rng_normal(rng, out, 0.5, 2.0);
    if (law_index == 2) pal_rng_integers(rng, out, -5, 6);
    if (law_index == 3) pal_rng_permutation(rng, out);
}

START_TEST(same_at_every_thread_count)
{
    static const int threads[] = {2, 3, 16};
    pal_dtype dtype = _i >= 2 ? PAL_I64 : PAL_F32;
    double *one = calloc(N, 8), *many = calloc(N, 8);
    pal_array a = pal_array_of(dtype, PAL_SHAPE(N), one);
    pal_array b = pal_array_of(dtype, PAL_SHAPE(N), many);
    pal_rng first = pal_rng_new(7, 9), again;
    pal_set_threads(1);
    draw(_i, &first, &a);
    ck_assert_uint_eq(first.counter, (N + 1) / 2);
    for (int t = 0; t < 3; t++) {
        again = pal_rng_new(7, 9);
        pal_set_threads(threads[t]);
        memset(many, 0, N * 8);
        draw(_i, &again, &b);
        ck_assert_mem_eq(one, many, N * 8);
        ck_assert_uint_eq(again.counter, first.counter);
    }
    free(one);
    free(many);
}
END_TEST

START_TEST(strides_do_not_matter)
{
    double dense[7 * 5], wide[5 * 14];
    pal_array a = pal_array_of(PAL_F64, PAL_SHAPE(7, 5), dense);
    pal_array b = pal_array_of(PAL_F64, PAL_SHAPE(5, 14), wide);
    int axes[] = {1, 0};
    ck_assert_int_eq(pal_array_slice(&b, 1, 0, 14, 2, &b, NULL), PAL_OK);
    ck_assert_int_eq(pal_array_permute(&b, axes, &b, NULL), PAL_OK);
    pal_rng r = pal_rng_new(1, 2), s = r;
    pal_rng_normal(&r, &a, 0, 1);
    pal_rng_normal(&s, &b, 0, 1);
    for (int64_t i = 0; i < 7; i++)
        for (int64_t j = 0; j < 5; j++)
            ck_assert(dense[i * 5 + j] == pal_array_get(&b, (int64_t[]){i, j}));
}
END_TEST

/* Mean and variance of N draws are within five standard errors. */
START_TEST(moments)
{
    double *x = malloc(N * sizeof *x);
    pal_array a = pal_array_of(PAL_F64, PAL_SHAPE(N), x);
    pal_rng rng = pal_rng_new(11, 0);
    for (int l = 0; l < 2; l++) {
        double mean = 0, square = 0, low = INFINITY, high = -INFINITY;
        draw(l, &rng, &a);
        for (int i = 0; i < N; i++) {
            mean += x[i] / N;
            low = fmin(low, x[i]);
            high = fmax(high, x[i]);
        }
        for (int i = 0; i < N; i++) square += (x[i] - mean) * (x[i] - mean) / N;
        double want = l == 0 ? 1.0 : 0.5, variance = l == 0 ? 16.0 / 12.0 : 4.0;
        ck_assert(fabs(mean - want) <= 5 * sqrt(variance / N));
        ck_assert(fabs(square / variance - 1) <= 5 * sqrt(2.0 / N));
        if (l == 0) ck_assert(low >= -1.0 && high < 3.0 && low < -0.999 && high > 2.999);
        if (l == 1) ck_assert(low < -7 && high > 8);
    }
    free(x);
}
END_TEST

START_TEST(uniform_excludes_the_end)
{
    float *x = malloc(N * sizeof *x);
    pal_array a = pal_array_of(PAL_F32, PAL_SHAPE(N), x);
    pal_rng rng = pal_rng_new(3, 3);
    pal_rng_uniform(&rng, &a, 1.0, 1.0 + 0x1p-22); /* only two floats: rounding may reach the end */
    for (int i = 0; i < N; i++) ck_assert(x[i] >= 1.0f && x[i] < 1.0f + 0x1p-22f);
    free(x);
}
END_TEST

START_TEST(integers_are_even)
{
    int64_t *x = malloc(N * sizeof *x);
    int seen[11] = {0};
    pal_array a = pal_array_of(PAL_I64, PAL_SHAPE(N), x);
    pal_rng rng = pal_rng_new(5, 1);
    pal_rng_integers(&rng, &a, -5, 6);
    for (int i = 0; i < N; i++) {
        ck_assert(x[i] >= -5 && x[i] < 6);
        seen[x[i] + 5]++;
    }
    for (int i = 0; i < 11; i++) ck_assert(fabs(seen[i] - N / 11.0) <= 5 * sqrt(N / 11.0));
    pal_rng_integers(&rng, &a, INT64_MIN, INT64_MAX);
    int negative = 0;
    for (int i = 0; i < N; i++) negative += x[i] < 0;
    ck_assert(abs(negative - N / 2) <= 5 * (int)sqrt(N / 4.0));
    free(x);
}
END_TEST

START_TEST(permutation_has_every_number)
{
    int64_t x[1000];
    bool seen[1000] = {false};
    pal_array a = pal_array_of(PAL_I64, PAL_SHAPE(1000), x);
    pal_rng rng = pal_rng_new(5, 2);
    pal_rng_permutation(&rng, &a);
    int fixed = 0;
    for (int i = 0; i < 1000; i++) {
        ck_assert(x[i] >= 0 && x[i] < 1000 && !seen[x[i]]);
        seen[x[i]] = true;
        fixed += x[i] == i;
    }
    ck_assert_int_lt(fixed, 8);
    int64_t first[3] = {0}; /* the six orders of three come equally often */
    int count[6] = {0};
    pal_array small = pal_array_of(PAL_I64, PAL_SHAPE(3), first);
    for (int i = 0; i < 6000; i++) {
        pal_rng_permutation(&rng, &small);
        count[first[0] * 2 + (first[1] > first[2])]++;
    }
    for (int i = 0; i < 6; i++) ck_assert(abs(count[i] - 1000) <= 150);
}
END_TEST

START_TEST(scalars_and_splits)
{
    pal_rng rng = pal_rng_new(1, 1), copy = rng;
    double sum = 0;
    for (int i = 0; i < 10000; i++) {
        double x = pal_rng_next(&rng);
        ck_assert(x >= 0 && x < 1);
        sum += x;
    }
    ck_assert(fabs(sum / 10000 - 0.5) <= 0.015);
    ck_assert_uint_eq(rng.counter, 10000);
    ck_assert(pal_rng_next(&copy) == pal_rng_next(&(pal_rng){.seed = 1, .stream = 1}));
    for (int i = 0; i < 1000; i++) ck_assert_int_lt(pal_rng_below(&rng, 7), 7);
    ck_assert_int_eq(pal_rng_below(&rng, 1), 0);
    ck_assert_int_ge(pal_rng_below(&rng, INT64_MAX), 0);
    pal_rng a = pal_rng_split(&rng), b = pal_rng_split(&rng);
    ck_assert(a.seed != b.seed && a.stream != b.stream && a.counter == 0);
    pal_array empty = pal_array_of(PAL_F32, PAL_SHAPE(0, 4), NULL);
    uint64_t before = rng.counter;
    pal_rng_normal(&rng, &empty, 0, 1);
    ck_assert_uint_eq(rng.counter, before);
}
END_TEST

static void note(const pal_error *error, void *user) { *(pal_error *)user = *error; }

START_TEST(wrong_dtype_is_named)
{
    int64_t x[4] = {0};
    pal_error seen = {0};
    pal_array a = pal_array_of(PAL_I64, PAL_SHAPE(4), x);
    pal_rng rng = pal_rng_new(1, 1);
    pal_set_error_handler(note, &seen);
    pal_rng_normal(&rng, &a, 0, 1);
    ck_assert_int_eq(seen.status, PAL_EDTYPE);
    ck_assert_ptr_nonnull(strstr(seen.message, "pal_rng_normal: out is i64[4]"));
    pal_rng_integers(&rng, &a, 3, 3);
    ck_assert_int_eq(seen.status, PAL_EVALUE);
    ck_assert_uint_eq(rng.counter, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rng");
    TCase *tc = tcase_create("philox");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, known_answers);
    tcase_add_loop_test(tc, same_at_every_thread_count, 0, 4);
    tcase_add_test(tc, strides_do_not_matter);
    tcase_add_test(tc, moments);
    tcase_add_test(tc, uniform_excludes_the_end);
    tcase_add_test(tc, integers_are_even);
    tcase_add_test(tc, permutation_has_every_number);
    tcase_add_test(tc, scalars_and_splits);
    tcase_add_test(tc, wrong_dtype_is_named);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
