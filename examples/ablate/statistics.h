/*
 * statistics.h - what can be said of a difference between two lists of results: intervals, tests,
 * corrections for several of them, and how many seeds a difference needs.
 *
 * It knows nothing of studies. Numbers agree with those of SciPy to 1e-6 (tests/test_statistics.c).
 */
#ifndef ABLATE_STATISTICS_H
#define ABLATE_STATISTICS_H

#include <stdbool.h>

/* ---- Distributions ---- */

/* The regularised incomplete beta function I_x(a, b) for a, b > 0 and x of 0..1. Continued
 * fraction; Press et al., Numerical Recipes, section 6.4. */
double statistics_beta(double a, double b, double x);
/* P(T <= t) of Student's t with df > 0 degrees of freedom. */
double statistics_t_cdf(double t, double df);
/* The t with P(T <= t) = p, 0 < p < 1. */
double statistics_t_quantile(double p, double df);
/* P(T <= t) of the noncentral t, by the series of Lenth 1989 (Applied Statistics 38, AS 243). The
 * error is below 1e-9 where |delta| <= 37. */
double statistics_noncentral_t_cdf(double t, double df, double delta);

/* ---- A difference ---- */

/* The mean of a minus the mean of b. Fields that two lists are too short for are NaN. */
typedef struct difference {
    double mean;
    double low, high; /* the 95% interval of the mean */
    double t, df, p;  /* of the two-sided test of a difference of 0 */
    double effect;    /* mean over the standard deviation: of the differences if paired (d_z), else
                         the root of the mean of both variances (d) */
    double spread;    /* that standard deviation */
    int n, m;         /* numbers of a and of b */
    bool paired;
} difference;

/* a[i] belongs with b[i]: the t of their differences. n >= 1. */
difference statistics_paired(const double *a, const double *b, int n);
/* Lists that do not belong together, whose variances may differ: Welch's t. */
difference statistics_welch(const double *a, int n, const double *b, int m);
/* Whether the interval is there and does not hold 0. */
bool statistics_shown(const difference *d);

/* Holm's adjustment of n p-values of one family, in place; what is NaN is no test and stays. An
 * adjusted value below 0.05 rejects, and the chance of any false rejection is then below 5%.
 * Source: Holm 1979 (Scandinavian Journal of Statistics 6). n <= 4096. */
void statistics_holm(double *p, int n);

enum { STATISTICS_MOST_SEEDS = 10000 };
/* The smallest number of seeds, from 2 to STATISTICS_MOST_SEEDS, at which a two-sided test at 5%
 * finds a true difference of `size` with probability 0.8: paired if `spread` is the standard
 * deviation of differences; else two lists of so many with that deviation each. 0: there is none.
 */
int statistics_seeds(double size, double spread, bool paired);

/* Half of the 95% interval of a mean of n values; NaN for fewer than 2. */
double statistics_half(const double *x, int n);

#endif
