/*
 * statistics.c - Student's t, paired and Welch's tests, Holm's adjustment, and numbers of seeds.
 */
#include "examples/ablate/statistics.h"

#include <math.h>
#include <string.h>

enum { MOST_TESTS = 4096 };
static const double LEVEL = 0.05, POWER = 0.8;

/* ---- Distributions ---- */

/* The continued fraction of the incomplete beta function, by Lentz's method. */
static double fraction(double a, double b, double x)
{
    enum { TERMS = 10000 };
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    if (fabs(d) < tiny) d = tiny;
    d = 1 / d;
    double h = d;
    for (int m = 1; m <= TERMS; m++) {
        const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        for (int half = 0; half < 2; half++) {
            const double term = half ? odd : even;
            d = 1 + term * d, c = 1 + term / c;
            if (fabs(d) < tiny) d = tiny;
            if (fabs(c) < tiny) c = tiny;
            d = 1 / d;
            h *= d * c;
        }
        if (fabs(d * c - 1) < 1e-16) break;
    }
    return h;
}

double statistics_beta(double a, double b, double x)
{
    if (!(a > 0 && b > 0 && x >= 0 && x <= 1)) return NAN;
    if (x == 0 || x == 1) return x;
    const double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    /* The fraction is quick below the mean; above it the other tail is taken. */
    if (x < (a + 1) / (a + b + 2)) return front * fraction(a, b, x) / a;
    return 1 - front * fraction(b, a, 1 - x) / b;
}

double statistics_t_cdf(double t, double df)
{
    if (isnan(t) || !(df > 0)) return NAN;
    if (isinf(t)) return t > 0;
    /* Near 0 df/(df + t^2) is nearly 1, so the beta function of the other share is taken. */
    const double square = t * t,
                 tail = square < df ? 1 - statistics_beta(0.5, df / 2, square / (df + square))
                                    : statistics_beta(df / 2, 0.5, df / (df + square));
    return t > 0 ? 1 - tail / 2 : tail / 2;
}

double statistics_t_quantile(double p, double df)
{
    if (!(p > 0 && p < 1 && df > 0)) return NAN;
    if (p == 0.5) return 0;
    const double tail = p < 0.5 ? p : 1 - p;
    double low = 0, high = 1;
    while (statistics_t_cdf(-high, df) > tail && high < 1e300) low = high, high *= 2;
    for (int i = 0; i < 200 && low < high; i++) {
        const double middle = low + (high - low) / 2;
        if (middle == low || middle == high) break;
        *(statistics_t_cdf(-middle, df) > tail ? &low : &high) = middle;
    }
    return p < 0.5 ? -high : high;
}

/* P(Z <= z) of the normal. */
static double normal_cdf(double z) { return 0.5 * erfc(-z / sqrt(2)); }

double statistics_noncentral_t_cdf(double t, double df, double delta)
{
    enum { TERMS = 5000 };
    if (isnan(t) || isnan(delta) || !(df > 0)) return NAN;
    if (t < 0) return 1 - statistics_noncentral_t_cdf(-t, df, -delta);
    double sum = normal_cdf(-delta);
    if (t == 0) return sum;
    const double x = isinf(t) ? 1 : t * t / (df + t * t), half = delta * delta / 2;
    if (half == 0) return statistics_t_cdf(t, df);
    double seen = 0; /* of the Poisson weights, which add up to 1 */
    for (int j = 0; j < TERMS && (j < half || 1 - seen > 1e-15); j++) {
        const double p = exp(-half + j * log(half) - lgamma(j + 1));
        const double q = delta / sqrt(2) * exp(-half + j * log(half) - lgamma(j + 1.5));
        sum +=
            0.5 * (p * statistics_beta(j + 0.5, df / 2, x) + q * statistics_beta(j + 1, df / 2, x));
        seen += p;
        if (j > half && p < 1e-18) break;
    }
    return sum < 0 ? 0 : sum > 1 ? 1 : sum;
}

/* ---- A difference ---- */

static double mean_of(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i];
    return sum / n;
}

/* The unbiased variance; NaN for fewer than 2. */
static double variance_of(const double *x, int n)
{
    const double mean = mean_of(x, n);
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
    return n > 1 ? sum / (n - 1) : NAN;
}

/* In standard deviations: 0 where all differences are 0, as t is. */
static double effect_of(double mean, double spread)
{
    return mean == 0 && spread == 0 ? 0 : mean / spread;
}

/* Interval and test from the standard error of the mean. Without any spread the interval is a
 * point, and the test is certain. */
static void conclude(difference *d, double error)
{
    if (!(error >= 0 && d->df > 0)) {
        d->low = d->high = d->t = d->p = NAN;
        return;
    }
    const double half = statistics_t_quantile(1 - LEVEL / 2, d->df) * error;
    d->low = d->mean - half, d->high = d->mean + half;
    if (error > 0) {
        d->t = d->mean / error;
        d->p = 2 * statistics_t_cdf(-fabs(d->t), d->df);
    } else {
        d->t = d->mean == 0 ? 0 : copysign(HUGE_VAL, d->mean);
        d->p = d->mean == 0;
    }
}

difference statistics_paired(const double *a, const double *b, int n)
{
    double mean = 0, sum = 0;
    for (int i = 0; i < n; i++) mean += (a[i] - b[i]) / n;
    for (int i = 0; i < n; i++) sum += (a[i] - b[i] - mean) * (a[i] - b[i] - mean);
    difference d = {.mean = mean, .df = n - 1, .n = n, .m = n, .paired = true};
    d.spread = n > 1 ? sqrt(sum / (n - 1)) : NAN;
    d.effect = effect_of(mean, d.spread);
    conclude(&d, d.spread / sqrt(n));
    return d;
}

difference statistics_welch(const double *a, int n, const double *b, int m)
{
    const double va = variance_of(a, n) / n, vb = variance_of(b, m) / m;
    difference d = {.mean = mean_of(a, n) - mean_of(b, m), .n = n, .m = m};
    d.spread = sqrt((va * n + vb * m) / 2);
    d.effect = effect_of(d.mean, d.spread);
    d.df = (va + vb) * (va + vb) / (va * va / (n - 1) + vb * vb / (m - 1));
    if (va + vb == 0) d.df = n + m - 2;
    conclude(&d, sqrt(va + vb));
    return d;
}

bool statistics_shown(const difference *d) { return d->low > 0 || d->high < 0; }

/* ---- Several, and enough ---- */

void statistics_holm(double *p, int n)
{
    double before = 0;
    bool done[MOST_TESTS] = {false};
    int left = 0;
    for (int i = 0; i < n && i < MOST_TESTS; i++) left += !isnan(p[i]);
    for (; left > 0; left--) { /* from the smallest on */
        int least = -1;
        for (int i = 0; i < n; i++)
            if (!done[i] && !isnan(p[i]) && (least < 0 || p[i] < p[least])) least = i;
        const double adjusted = fmin(1, p[least] * left);
        before = fmax(before, adjusted);
        p[least] = before;
        done[least] = true;
    }
}

/* The power of the test with n seeds. */
static double power_of(double size, double spread, int n, bool paired)
{
    const double df = paired ? n - 1 : 2 * n - 2;
    const double delta = fabs(size) / spread * sqrt(paired ? n : n / 2.0);
    const double critical = statistics_t_quantile(1 - LEVEL / 2, df);
    if (delta > 30) return 1;
    return 1 - statistics_noncentral_t_cdf(critical, df, delta) +
           statistics_noncentral_t_cdf(-critical, df, delta);
}

int statistics_seeds(double size, double spread, bool paired)
{
    if (!(fabs(size) > 0 && spread >= 0) || isinf(spread)) return 0;
    int low = 1, high = 2; /* power grows with n: low has too little, or is none */
    if (spread == 0) return high;
    while (power_of(size, spread, high, paired) < POWER) {
        if (high == STATISTICS_MOST_SEEDS) return 0;
        low = high;
        high = 2 * high > STATISTICS_MOST_SEEDS ? STATISTICS_MOST_SEEDS : 2 * high;
    }
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        *(power_of(size, spread, middle, paired) < POWER ? &low : &high) = middle;
    }
    return high;
}

double statistics_half(const double *x, int n)
{
    return n < 2 ? NAN : statistics_t_quantile(1 - LEVEL / 2, n - 1) * sqrt(variance_of(x, n) / n);
}
