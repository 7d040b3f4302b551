#!/usr/bin/env python3
"""against_scipy.py - the statistics of studies against SciPy.

    against_scipy.py FOLDER       comparisons.csv of a study's folder from its results.csv, to 1e-6
    against_scipy.py --write      tests/data/statistics.txt anew: what tests/test_statistics.c reads
"""
import csv
import math
import sys

import numpy
from scipy import stats


def holm(p):
    order = sorted(range(len(p)), key=lambda i: p[i])
    out, before = [0] * len(p), 0
    for k, i in enumerate(order):
        before = max(before, min(1, p[i] * (len(p) - k)))
        out[i] = before
    return out


def difference(a, b, paired):
    """mean, low, high, t, df, p, effect: by SciPy's own tests."""
    if paired:
        r = stats.ttest_rel(a, b)
        spread = numpy.std(numpy.subtract(a, b), ddof=1)
    else:
        r = stats.ttest_ind(a, b, equal_var=False)
        spread = math.sqrt((numpy.var(a, ddof=1) + numpy.var(b, ddof=1)) / 2)
    ci = r.confidence_interval(0.95)
    mean = numpy.mean(a) - numpy.mean(b)
    return [mean, ci.low, ci.high, r.statistic, r.df, r.pvalue, mean / spread]


def seeds(size, spread, paired):
    for n in range(2, 10001):
        df = n - 1 if paired else 2 * n - 2
        delta = size / spread * math.sqrt(n if paired else n / 2)
        t = stats.t.ppf(0.975, df)
        if 1 - stats.nct.cdf(t, df, delta) + stats.nct.cdf(-t, df, delta) >= 0.8:
            return n
    return 0


def write():
    rng = numpy.random.default_rng(1)
    with open('tests/data/statistics.txt', 'w') as to:
        def put(kind, given, wanted):
            print(kind, len(given), *('%.17g' % x for x in given), *('%.17g' % x for x in wanted), file=to)
        print('# Made by tests/against_scipy.py --write; SciPy %s.' % __import__('scipy').__version__, file=to)
        for a, b, x in (0.5, 0.5, 0.1), (1, 2.5, 0.3), (0.5, 30, 0.01), (200, 0.5, 0.99), (7, 9, 0.5), (2000, 3, 0.999):
            put('beta', [a, b, x], [stats.beta.cdf(x, a, b)])
        for t in -60, -4.3, -1, -1e-3, 0, 0.7, 2.2, 12:
            for df in 1, 2, 3.7, 9, 250:
                put('cdf', [t, df], [stats.t.cdf(t, df)])
        for p in 1e-6, 0.025, 0.3, 0.5, 0.975, 0.9995:
            for df in 1, 2, 4.4, 30, 1e4:
                put('quantile', [p, df], [stats.t.ppf(p, df)])
        for t in -2.5, 0, 0.4, 2.8, 9:
            for df in 1, 4, 11, 200:
                for delta in -1.5, 0.2, 3, 9:
                    wanted = stats.nct.cdf(t, df, delta)
                    if wanted == wanted:  # far in a tail SciPy has none
                        put('nct', [t, df, delta], [wanted])
        for n in 2, 3, 5, 16:
            a, b = rng.normal(0.9, 0.05, n), rng.normal(0.85, 0.1, n)
            put('paired', [n, n, *a, *b], difference(a, b, True))
            m = n + 3
            b = rng.normal(0.85, 0.1, m)
            put('welch', [n, m, *a, *b], difference(a, b, False))
        for n in 1, 2, 7:
            p = list(rng.uniform(0, 0.2, n))
            put('holm', p, holm(p))
        for size, spread in (1, 1), (0.5, 1), (0.2, 1), (2, 1), (0.02, 0.013):
            for paired in 0, 1:
                put('seeds', [size, spread, paired], [seeds(size, spread, paired)])


def check(folder):
    """Comparisons of a study from its results alone."""
    at = {}
    for r in csv.DictReader(open(folder + '/results.csv')):
        at.setdefault((r['task'], r['point'], r['variant']), {})[r['seed']] = float(r['value'])
    for (task, _, variant), values in list(at.items()):
        mean = at.setdefault((task, 'mean', variant), {})
        for seed in values:
            of = [v[seed] for (t, p, u), v in at.items() if (t, u) == (task, variant) and p != 'mean' and not p[0].isdigit()]
            mean[seed] = sum(of) / len(of)
    rows, family = list(csv.DictReader(open(folder + '/comparisons.csv'))), {}
    for r in rows:
        a, b = (at[r['task'], r['point'], r[v]] for v in ('variant', 'against'))
        paired = r['test'] == 'paired'
        x = ([a[s] for s in sorted(a)], [b[s] for s in sorted(b)])
        wanted = difference(*x, paired)
        got = [float(r[k]) for k in ('difference', 'low', 'high', 't', 'df', 'p', 'effect')]
        for u, v in zip(got, wanted):
            assert abs(u - v) <= 1e-6 * max(1, abs(v)), (r, wanted)
        assert (r['shown'] == 'yes') == (wanted[1] > 0 or wanted[2] < 0), r
        family.setdefault((r['task'], r['point']), []).append((wanted[5], float(r['holm'])))
    for pairs in family.values():
        for u, v in zip(holm([p for p, _ in pairs]), [h for _, h in pairs]):
            assert abs(u - v) <= 1e-6, (u, v)
    print('%d comparisons agree with SciPy' % len(rows))


if sys.argv[1:] == ['--write']:
    write()
else:
    check(sys.argv[1])
