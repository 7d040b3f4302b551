/*
 * test_share.c - when threads that wait sleep at once beside other programs, and that they do. Each
 * test is a process of its own (Check forks).
 */
#include "tensor/team.h"
#include "tests/support/check.h"
#include <omp.h>
#include <stdlib.h>
#include <sys/resource.h>

/* ---- When ---- */

enum { TEAM = 2 };
static const double LOOK = 2e-3; /* seconds from one look to the next */

static bool yes(void) { return true; }
static bool no(void) { return false; }

typedef struct course {
    pal_sharing state;
    double now;
    double taken; /* so far; whole ones count */
} course;

/* Looks for some seconds, in which processors are taken away at a rate a second, and returns for
 * what share of them threads slept. */
static double go_on(course *c, double duration, double rate, bool (*crowded)(void))
{
    int looks = 0, on = 0;
    for (const double end = c->now + duration; c->now < end; looks++) {
        c->now += LOOK;
        c->taken += rate * LOOK;
        on += pal_sharing_next(&c->state, c->now, (long)c->taken, TEAM, crowded);
    }
    return (double)on / looks;
}

START_TEST(others_come_and_go)
{
    course c = {.now = 1e5};
    ck_assert(go_on(&c, 10, 40, no) == 0);     /* what happens alone */
    ck_assert(go_on(&c, 10, 300, yes) > 0.98); /* beside busy processes */
    ck_assert(c.state.on);
    go_on(&c, 0.2, 40, no);
    ck_assert(!c.state.on);
    ck_assert(go_on(&c, 10, 100, no) == 0);
    ck_assert(go_on(&c, 0.2, 100, yes) > 0);
    go_on(&c, 0.2, 40, no);
    ck_assert(go_on(&c, 10, 40, yes) == 0); /* crowded, but nothing is taken from us */
}
END_TEST

/* The machine does not show that the others are still there: it is tried less and less often. */
START_TEST(others_cannot_be_seen)
{
    course c = {.now = 1e5};
    int changes = 0;
    for (int i = 0; i < 10000; i++) {
        const bool before = c.state.on;
        go_on(&c, LOOK, 300, no);
        changes += before != c.state.on;
    }
    ck_assert(c.state.hold > 3);
    ck_assert_int_lt(changes, 40);
    go_on(&c, 20, 40, no);
    ck_assert(!c.state.on);
    go_on(&c, 0.09, 300, no);
    ck_assert(c.state.on && c.state.hold < 0.2); /* others, later */
}
END_TEST

/* A pause is no time beside our teams, whatever was taken away in it. */
START_TEST(a_pause)
{
    pal_sharing state = {0};
    ck_assert(!pal_sharing_next(&state, 1e5, 1000000, TEAM, yes));
    ck_assert(!pal_sharing_next(&state, 1e5 + 1, 2000000, TEAM, yes));
    ck_assert(pal_sharing_next(&state, 1e5 + 1.002, 2000100, TEAM, yes));
}
END_TEST

/* ---- That they do ---- */

/* How often a thread that had nothing to do slept in so many regions, in each of which it waits
 * for a millisecond. */
static long sleeps(int regions)
{
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    for (int i = 0; i < regions; i++) {
#pragma omp parallel num_threads(TEAM)
        if (omp_get_thread_num() == 0)
            for (double end = omp_get_wtime() + 1e-3; omp_get_wtime() < end;) {
            }
    }
    getrusage(RUSAGE_SELF, &after);
    return after.ru_nvcsw - before.ru_nvcsw;
}

START_TEST(threads_sleep)
{
    enum { REGIONS = 50, ROUNDS = 3 };
    sleeps(1);
    for (int i = 0; i < ROUNDS; i++) {
        if (!pal_sleep_begin(TEAM)) return; /* another runtime */
        ck_assert_int_ge(sleeps(REGIONS), REGIONS);
        pal_sleep_end();
        sleeps(2); /* the team goes on without it */
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("share");
    TCase *tc = tcase_create("beside other programs");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, others_come_and_go);
    tcase_add_test(tc, others_cannot_be_seen);
    tcase_add_test(tc, a_pause);
    tcase_add_test(tc, threads_sleep);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
