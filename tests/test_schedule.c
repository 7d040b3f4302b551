/*
 * test_schedule.c - every schedule at its corners and in between, and which settings are refused.
 */
#include "optim/optim.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void is(const pal_schedule *s, int64_t step, double want)
{
    double got = pal_schedule_lr(s, step);
    if (!(fabs(got - want) <= 1e-15 * fabs(want)))
        ck_abort_msg("kind %d, step %lld: %.17g where %.17g is wanted", (int)s->kind,
                     (long long)step, got, want);
}

START_TEST(all_warm_up_alike)
{
    for (int kind = PAL_CONSTANT; kind <= PAL_WSD; kind++) {
        pal_schedule s = {.kind = (pal_schedule_kind)kind,
                          .lr = 3e-3,
                          .min_lr = 3e-4,
                          .warmup = 3,
                          .steps = 8,
                          .decay_steps = 2};
        is(&s, 0, 1e-3);
        is(&s, 1, 2e-3);
        is(&s, 2, 3e-3);
        ck_assert(pal_schedule_lr(&s, 3) == 3e-3);
        s.warmup = 0;
        ck_assert(pal_schedule_lr(&s, 0) == 3e-3);
    }
}
END_TEST

START_TEST(constant_stays)
{
    pal_schedule s = {.lr = 2, .min_lr = 1, .warmup = 1, .steps = 5};
    ck_assert(pal_schedule_lr(&s, 4) == 2 && pal_schedule_lr(&s, 5) == 2);
    ck_assert(pal_schedule_lr(&s, INT64_MAX) == 2);
}
END_TEST

START_TEST(linear_falls_along_a_line)
{
    pal_schedule s = {.kind = PAL_LINEAR, .lr = 1, .min_lr = 0.2, .warmup = 2, .steps = 10};
    is(&s, 2, 1);
    is(&s, 3, 0.9);
    is(&s, 6, 0.6);
    is(&s, 9, 0.3);
    ck_assert(pal_schedule_lr(&s, 10) == 0.2 && pal_schedule_lr(&s, INT64_MAX) == 0.2);
}
END_TEST

START_TEST(cosine_falls_along_half_a_cosine)
{
    pal_schedule s = {.kind = PAL_COSINE, .lr = 3e-3, .min_lr = 3e-4, .warmup = 2, .steps = 8};
    is(&s, 2, 3e-3);
    is(&s, 4, 3e-4 + 2.7e-3 * 0.75);
    is(&s, 5, 3e-4 + 1.35e-3);
    is(&s, 6, 3e-4 + 2.7e-3 * 0.25);
    is(&s, 7, 3e-4 + 1.35e-3 * (1 + cos(M_PI * 5 / 6)));
    ck_assert(pal_schedule_lr(&s, 8) == 3e-4 && pal_schedule_lr(&s, 1000) == 3e-4);
}
END_TEST

START_TEST(wsd_stays_and_falls_at_the_end)
{
    pal_schedule s = {
        .kind = PAL_WSD, .lr = 1, .min_lr = 0.2, .warmup = 2, .steps = 10, .decay_steps = 4};
    for (int i = 2; i <= 6; i++) ck_assert(pal_schedule_lr(&s, i) == 1);
    is(&s, 7, 0.8);
    is(&s, 9, 0.4);
    ck_assert(pal_schedule_lr(&s, 10) == 0.2);
    s.decay_steps = 8; /* all steps after the warm-up decay, along a line */
    is(&s, 2, 1);
    is(&s, 6, 0.6);
    s.decay_steps = 0;
    ck_assert(pal_schedule_lr(&s, 9) == 1 && pal_schedule_lr(&s, 10) == 0.2);
}
END_TEST

/* Cosines of 4, 8 and 16 steps after a warm-up of 2; of 4 and 4 without growth. */
START_TEST(restarts_begin_again)
{
    pal_schedule s = {
        .kind = PAL_RESTARTS, .lr = 1, .min_lr = 0.2, .warmup = 2, .decay_steps = 4, .growth = 2};
    static const struct {
        int64_t step;
        double share;
    } want[] = {{2, 0}, {4, 0.5}, {5, 0.75}, {6, 0}, {10, 0.5}, {13, 0.875}, {14, 0}, {22, 0.5}};
    ck_assert_int_eq(pal_schedule_check(&s, NULL), PAL_OK);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const double lr = 0.2 + 0.8 * (1 + cos(acos(-1) * want[i].share)) / 2;
        ck_assert_double_eq_tol(pal_schedule_lr(&s, want[i].step), lr, 1e-12);
    }
    s.growth = 0;
    for (int64_t i = 2; i < 6; i++)
        for (int64_t far = 4; far < INT64_C(1) << 40; far *= 4)
            ck_assert(pal_schedule_lr(&s, i) == pal_schedule_lr(&s, i + far));
    s.decay_steps = 0;
    pal_error error;
    ck_assert_int_eq(pal_schedule_check(&s, &error), PAL_EVALUE);
    s.decay_steps = 1, s.growth = 0.5;
    ck_assert_int_eq(pal_schedule_check(&s, &error), PAL_EVALUE);
}
END_TEST

START_TEST(nothing_to_divide_by)
{
    pal_schedule s = {.kind = PAL_COSINE, .lr = 1, .min_lr = 0.1};
    ck_assert(pal_schedule_lr(&s, 0) == 0.1);
    s.warmup = s.steps = 3;
    ck_assert(pal_schedule_lr(&s, 2) == 1 && pal_schedule_lr(&s, 3) == 0.1);
}
END_TEST

static const pal_schedule good = {
    .kind = PAL_WSD, .lr = 1, .min_lr = 0.5, .warmup = 2, .steps = 10, .decay_steps = 8};

static void refused(pal_schedule s, const char *word)
{
    pal_error error = {0};
    ck_assert_int_eq(pal_schedule_check(&s, &error), PAL_EVALUE);
    ck_assert_msg(strstr(error.message, word), "%s: %s", word, error.message);
    ck_assert_int_eq(pal_schedule_check(&s, NULL), PAL_EVALUE);
}

START_TEST(bad_ones_are_refused)
{
    pal_error error = {0};
    pal_schedule s = good;
    ck_assert_int_eq(pal_schedule_check(&good, &error), PAL_OK);
    s.kind = (pal_schedule_kind)5;
    refused(s, "kind 5");
    s = good, s.lr = (double)NAN;
    refused(s, "lr nan");
    s = good, s.lr = -1;
    refused(s, "lr -1");
    s = good, s.min_lr = 2;
    refused(s, "min_lr 2");
    s = good, s.min_lr = (double)NAN;
    refused(s, "min_lr nan");
    s = good, s.warmup = -1;
    refused(s, "warmup -1");
    s = good, s.steps = 1;
    refused(s, "steps 1");
    s = good, s.decay_steps = 9;
    refused(s, "decay_steps 9");
    s = good, s.decay_steps = -1;
    refused(s, "decay_steps -1");
    /* Fields that a kind does not use may have any value. */
    s = (pal_schedule){.lr = 1, .min_lr = 7, .steps = -5, .decay_steps = -5};
    ck_assert_int_eq(pal_schedule_check(&s, &error), PAL_OK);
    s = good, s.kind = PAL_LINEAR, s.decay_steps = 99;
    ck_assert_int_eq(pal_schedule_check(&s, &error), PAL_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schedule");
    TCase *c = tcase_create("schedule");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, all_warm_up_alike);
    tcase_add_test(c, constant_stays);
    tcase_add_test(c, linear_falls_along_a_line);
    tcase_add_test(c, cosine_falls_along_half_a_cosine);
    tcase_add_test(c, wsd_stays_and_falls_at_the_end);
    tcase_add_test(c, restarts_begin_again);
    tcase_add_test(c, nothing_to_divide_by);
    tcase_add_test(c, bad_ones_are_refused);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
