/*
 * test_statistics.c - the statistics of studies: SciPy's numbers (tests/data/statistics.txt, made
 * by tests/against_scipy.py), what has to hold without them, and how often studies of nothing
 * reject.
 */
#include "examples/ablate/statistics.h"
#include "tensor/number.h"
#include "tensor/tensor.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 128 };

/* A line: the name of a function, how many numbers it is given, these, and what is wanted. */
typedef struct entry {
    char name[32];
    int given, wanted;
    double at[MOST];
} entry;

static bool read_entry(FILE *from, entry *e)
{
    char line[8192];
    while (fgets(line, sizeof line, from)) {
        double n;
        int used = 0;
        if (*line == '#' || sscanf(line, "%31s%n", e->name, &used) != 1) continue;
        const char *at = line + used;
        ck_assert(pal_number_next(&at, &n) && n < MOST);
        e->given = (int)n, e->wanted = -(int)n;
        for (int i = 0; i < MOST && pal_number_next(&at, &e->at[i]); i++) e->wanted++;
        return true;
    }
    return false;
}

static void is(const entry *e, int i, double got)
{
    const double want = e->at[e->given + i];
    if (!(fabs(got - want) <= 1e-6 * fmax(1, fabs(want))))
        ck_abort_msg("%s of %g, %g..: number %d is %.17g, and SciPy has %.17g", e->name, e->at[0],
                     e->at[1], i, got, want);
}

static void check_difference(const entry *e, bool paired)
{
    const int n = (int)e->at[0], m = (int)e->at[1];
    const double *a = e->at + 2, *b = a + n;
    const difference d = paired ? statistics_paired(a, b, n) : statistics_welch(a, n, b, m);
    const double got[] = {d.mean, d.low, d.high, d.t, d.df, d.p, d.effect};
    ck_assert(d.n == n && d.m == m && d.paired == paired);
    ck_assert_int_eq(e->wanted, 7);
    for (int i = 0; i < 7; i++) is(e, i, got[i]);
}

static void check_holm(entry *e)
{
    double p[MOST];
    memcpy(p, e->at, sizeof p);
    statistics_holm(p, e->given);
    for (int i = 0; i < e->given; i++) is(e, i, p[i]);
}

START_TEST(numbers_are_those_of_scipy)
{
    FILE *from = fopen("tests/data/statistics.txt", "r");
    ck_assert_ptr_nonnull(from);
    entry e;
    int lines = 0;
    for (; read_entry(from, &e); lines++) {
        if (strcmp(e.name, "beta") == 0)
            is(&e, 0, statistics_beta(e.at[0], e.at[1], e.at[2]));
        else if (strcmp(e.name, "cdf") == 0)
            is(&e, 0, statistics_t_cdf(e.at[0], e.at[1]));
        else if (strcmp(e.name, "quantile") == 0)
            is(&e, 0, statistics_t_quantile(e.at[0], e.at[1]));
        else if (strcmp(e.name, "nct") == 0)
            is(&e, 0, statistics_noncentral_t_cdf(e.at[0], e.at[1], e.at[2]));
        else if (strcmp(e.name, "paired") == 0 || strcmp(e.name, "welch") == 0)
            check_difference(&e, *e.name == 'p');
        else if (strcmp(e.name, "holm") == 0)
            check_holm(&e);
        else if (strcmp(e.name, "seeds") == 0)
            is(&e, 0, statistics_seeds(e.at[0], e.at[1], e.at[2] != 0));
        else
            ck_abort_msg("nobody knows %s", e.name);
    }
    fclose(from);
    ck_assert_int_gt(lines, 150);
}
END_TEST

START_TEST(lists_that_are_too_short_or_equal)
{
    const double a[] = {0.5, 0.7, 0.6}, b[] = {0.4, 0.6, 0.5};
    difference d = statistics_paired(a, b, 1);
    ck_assert(isnan(d.low) && isnan(d.p) && !statistics_shown(&d));
    d = statistics_welch(a, 1, b, 3);
    ck_assert(isnan(d.low) && isnan(d.p) && !statistics_shown(&d));
    d = statistics_paired(a, a, 3);
    ck_assert(d.mean == 0 && d.low == 0 && d.high == 0 && d.p == 1 && !statistics_shown(&d));
    ck_assert(d.effect == 0);
    d = statistics_welch(a, 3, a, 3);
    ck_assert(d.effect == 0 && d.p == 1);
    const double same[] = {0.5, 0.5, 0.5};
    d = statistics_welch(same, 3, same, 3);
    ck_assert(d.effect == 0 && d.p == 1);
    const double c[] = {1, 2}, e[] = {0, 1};
    d = statistics_paired(c, e, 2);
    ck_assert(d.low == 1 && d.high == 1 && d.p == 0 && statistics_shown(&d));
    ck_assert(statistics_seeds(1, 0, true) == 2 && statistics_seeds(0, 1, true) == 0);
    ck_assert(statistics_seeds(1e-9, 1, false) == 0 && statistics_seeds(1, NAN, true) == 0);
    double p[] = {NAN, 0.04, NAN, 0.03};
    statistics_holm(p, 4);
    ck_assert(isnan(p[0]) && isnan(p[2]) && p[3] == 0.06 && p[1] == 0.06);
}
END_TEST

/* A normal number, by Box and Muller. */
static double normal(pal_rng *rng)
{
    const double u = 1 - pal_rng_next(rng), v = pal_rng_next(rng);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* Of 1000 studies of three variants that are all alike, how many show a difference: `family` is any
 * of the two from the first, after Holm, and else the first alone. A seed is good or bad for all.
 */
static int rejecting(bool paired, bool family)
{
    enum { STUDIES = 1000, SEEDS = 5, VARIANTS = 3 };
    pal_rng rng = pal_rng_new(7, 0);
    int rejected = 0;
    for (int s = 0; s < STUDIES; s++) {
        double x[VARIANTS][SEEDS], p[VARIANTS - 1];
        for (int i = 0; i < SEEDS; i++) {
            const double common = paired ? 3 * normal(&rng) : 0;
            for (int v = 0; v < VARIANTS; v++) x[v][i] = common + normal(&rng);
        }
        for (int v = 1; v < VARIANTS; v++)
            p[v - 1] = (paired ? statistics_paired(x[v], x[0], SEEDS)
                               : statistics_welch(x[v], SEEDS, x[0], SEEDS))
                           .p;
        if (family) statistics_holm(p, VARIANTS - 1);
        rejected += p[0] < 0.05 || (family && p[1] < 0.05);
    }
    return rejected;
}

START_TEST(studies_of_nothing_reject_in_3_to_7_of_100)
{
    const int paired = rejecting(true, false), welch = rejecting(false, false),
              family = rejecting(true, true);
    ck_assert_msg(paired >= 30 && paired <= 70, "paired: %d of 1000", paired);
    ck_assert_msg(welch >= 30 && welch <= 70, "Welch: %d of 1000", welch);
    ck_assert_msg(family >= 30 && family <= 70, "a family of two: %d of 1000", family);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("statistics of studies");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_test(all, numbers_are_those_of_scipy);
    tcase_add_test(all, lists_that_are_too_short_or_equal);
    tcase_add_test(all, studies_of_nothing_reject_in_3_to_7_of_100);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
