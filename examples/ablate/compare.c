/*
 * compare.c - what a study shows: differences between variants with their intervals.
 *
 * A difference is of one task and one test point, or of the mean over its points. Two variants that
 * were trained on batches of the same rows are compared seed by seed; other ones by Welch's test.
 * All comparisons of a task and a point are one family, for which p is adjusted by Holm's method.
 */
#include "examples/ablate/ablate.h"
#include "examples/ablate/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One of a family: variant a against b. */
typedef struct pair {
    int a, b;
    difference d;
    double holm;
} pair;

/* ---- Making them ---- */

/* Values of the seeds that a variant has. */
static int values_of(const results *x, int t, int v, int point, double *value, bool *there)
{
    int n = 0;
    for (int i = 0; i < x->study->seeds; i++) {
        const result *r = x->at[t][v][i];
        there[i] = r && !r->failed;
        if (there[i]) value[n++] = result_value(r, point);
    }
    return n;
}

static difference difference_of(const results *x, int t, int a, int b, int point)
{
    const study *s = x->study;
    double va[MOST_SEEDS], vb[MOST_SEEDS];
    bool in_a[MOST_SEEDS], in_b[MOST_SEEDS];
    const int n = values_of(x, t, a, point, va, in_a), m = values_of(x, t, b, point, vb, in_b);
    if (s->variant[a].s.batch != s->variant[b].s.batch) return statistics_welch(va, n, vb, m);
    int common = 0, i = 0, j = 0;
    for (int k = 0; k < s->seeds; k++) {
        if (in_a[k] && in_b[k]) va[common] = va[i], vb[common] = vb[j], common++;
        i += in_a[k], j += in_b[k];
    }
    return statistics_paired(va, vb, common);
}

/* Whether the study compares a with b, which comes before it or is the one that all are held
 * against. */
static bool compares(const study *s, int a, int b)
{
    const variant *v = s->variant;
    if (a == b || strcmp(v[a].axes, v[b].axes)) return false;
    if (strcmp(s->compare, "all") == 0) return b < a;
    if (*s->compare && strcmp(s->compare, "first")) return strcmp(v[b].base, s->compare) == 0;
    for (int i = 0; i < b; i++)
        if (strcmp(v[i].axes, v[b].axes) == 0) return false;
    return true;
}

static int family_of(const results *x, int t, int point, pair *to)
{
    const study *s = x->study;
    double p[MOST_PAIRS];
    int n = 0;
    for (int a = 0; a < s->variants; a++)
        for (int b = 0; b < s->variants; b++)
            if (compares(s, a, b) && spread_of(x, t, a, point).n && spread_of(x, t, b, point).n)
                to[n] = (pair){.a = a, .b = b, .d = difference_of(x, t, a, b, point)}, n++;
    for (int i = 0; i < n; i++) p[i] = to[i].d.p;
    statistics_holm(p, n);
    for (int i = 0; i < n; i++) to[i].holm = p[i];
    return n;
}

/* "shown", or what it lacks. */
static const char *verdict(const pair *p)
{
    if (!statistics_shown(&p->d)) return "not shown";
    return p->holm < 0.05 ? "shown" : "not shown among so many";
}

/* Points that are told: all that are no part, and their mean if they are several (-1). */
static int told(const task *t, int *point)
{
    int n = 0;
    for (int j = 0; j < task_points(t, TASK_TEST); j++)
        if (!task_point_at(t, TASK_TEST, j).part) point[n++] = j;
    if (n > 1) point[n++] = -1;
    return n;
}

static const char *name_of(const task *t, int point, char name[80])
{
    if (point < 0) return "mean";
    const task_point p = task_point_at(t, TASK_TEST, point);
    snprintf(name, 80, "%s", p.name);
    return name;
}

/* ---- Each family, handed on ---- */

typedef void family_fn(FILE *to, const results *x, int t, int point, const pair *at, int n);

static void each_family(FILE *to, const results *x, int t, bool last, family_fn *put)
{
    pair *at = calloc(MOST_PAIRS, sizeof *at);
    int point[MOST_POINTS + 1];
    const int points = told(x->study->task[t], point);
    if (!at) stop("out of memory");
    for (int i = last ? points - 1 : 0; i < points; i++) {
        const int n = family_of(x, t, point[i], at);
        if (n) put(to, x, t, point[i], at, n);
    }
    free(at);
}

/* ---- CSV ---- */

static void put_rows(FILE *to, const results *x, int t, int point, const pair *at, int n)
{
    const study *s = x->study;
    char name[80];
    for (int i = 0; i < n; i++) {
        const difference *d = &at[i].d;
        fprintf(to,
                "%s,\"%s\",%s,%s,%s,%d,%d,%.12g,%.12g,%.12g,%.12g,%.12g,%.12g,%.12g,%.12g,%.12g,%s,"
                "%s,%d\n",
                s->label[t], name_of(s->task[t], point, name), s->variant[at[i].a].name,
                s->variant[at[i].b].name, d->paired ? "paired" : "welch", d->n, d->m, d->mean,
                d->low, d->high, d->t, d->df, d->p, at[i].holm, d->effect, d->spread,
                statistics_shown(d) ? "yes" : "no", at[i].holm < 0.05 ? "yes" : "no",
                statistics_seeds(d->mean, d->spread, d->paired));
    }
}

static void put_csv(FILE *to, const void *what)
{
    const results *x = what;
    fprintf(to, "task,point,variant,against,test,n,m,difference,low,high,t,df,p,holm,effect,"
                "spread,shown,shown_in_family,seeds_for_it\n");
    for (int t = 0; t < x->study->tasks; t++) each_family(to, x, t, false, put_rows);
}

/* ---- In table.md: the mean over points ---- */

static void put_family(FILE *to, const results *x, int t, int point, const pair *at, int n)
{
    const study *s = x->study;
    const bool bits = task_in_bits(s->task[t]);
    char name[80];
    int several = 0;
    for (int i = 0; i < n; i++) several += !isnan(at[i].d.low);
    if (*s->unequal) fprintf(to, "\nNote: %s.\n", s->unequal);
    if (!several) {
        fprintf(to, "\nOne seed shows no difference: an interval needs two.\n");
        return;
    }
    fprintf(to,
            "\nDifferences of %s (%s), with 95%% intervals; p is Holm's, of a family of %d; d is "
            "the effect in standard deviations; the last column is how many seeds would show a "
            "difference of %s with a chance of 0.8:\n\n",
            bits ? "bits a byte, where less is better," : "accuracy",
            name_of(s->task[t], point, name), n, bits ? "0.01" : "0.02");
    fprintf(to, "| variant | against | difference | interval | test | p | d | | seeds |\n"
                "|---|---|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < n; i++) {
        const difference *d = &at[i].d;
        const int needed = statistics_seeds(bits ? 0.01 : 0.02, d->spread, d->paired);
        fprintf(to, "| %s | %s | %+.4f |", s->variant[at[i].a].name, s->variant[at[i].b].name,
                d->mean);
        if (isnan(d->low)) {
            fprintf(to, " one seed | | | | not shown | |\n");
            continue;
        }
        fprintf(to, " %+.4f..%+.4f | %s, n = %d | %.3f | %+.2f | %s |", d->low, d->high,
                d->paired ? "paired" : "Welch", d->n, at[i].holm, d->effect, verdict(&at[i]));
        fprintf(to, needed ? " %d |\n" : " more than %d |\n",
                needed ? needed : STATISTICS_MOST_SEEDS);
    }
}

void compare_put(FILE *to, const results *x, int t) { each_family(to, x, t, true, put_family); }

/* ---- LaTeX ---- */

static void put_escaped(FILE *to, const char *text)
{
    for (const char *c = text; *c; c++) {
        if (strchr("&%$#_{}", *c)) fputc('\\', to);
        fputs(*c == '\\' ? "/" : *c == '^' || *c == '~' ? " " : (const char[]){*c, 0}, to);
    }
}

/* Mean and half of its interval. */
static void put_mean(FILE *to, const results *x, int t, int v, int point)
{
    double value[MOST_SEEDS], sum = 0;
    bool there[MOST_SEEDS];
    const int n = values_of(x, t, v, point, value, there);
    for (int i = 0; i < n; i++) sum += value[i];
    if (n > 1)
        fprintf(to, " & $%.3f \\pm %.3f$", sum / n, statistics_half(value, n));
    else if (n)
        fprintf(to, " & $%.3f$", sum);
    else
        fprintf(to, " & --");
}

static void put_latex_task(FILE *to, const results *x, int t)
{
    const study *s = x->study;
    const task *what = s->task[t];
    char name[80];
    int point[MOST_POINTS + 1];
    const int n = told(what, point);
    fprintf(to, "%% ");
    put_escaped(to, task_text(what));
    fprintf(to, "\n\\begin{tabular}{lrr");
    for (int i = 0; i < n; i++) fputc('r', to);
    fprintf(to, "}\n\\hline\nvariant & parameters & seeds");
    for (int i = 0; i < n; i++) {
        fprintf(to, " & ");
        put_escaped(to, name_of(what, point[i], name));
    }
    fprintf(to, " \\\\\n\\hline\n");
    for (int v = 0; v < s->variants; v++) {
        put_escaped(to, s->variant[v].name);
        fprintf(to, " & %lld & %d", (long long)x->model[t][v].params, spread_of(x, t, v, -1).n);
        for (int i = 0; i < n; i++) put_mean(to, x, t, v, point[i]);
        fprintf(to, " \\\\\n");
    }
    fprintf(to, "\\hline\n\\end{tabular}\n");
}

static void put_latex(FILE *to, const void *what)
{
    const results *x = what;
    fprintf(to, "%% ");
    put_escaped(to, x->study->title);
    fprintf(to, ": means over seeds, with halves of their 95%% intervals.\n");
    for (int t = 0; t < x->study->tasks; t++) put_latex_task(to, x, t);
}

pal_status compare_write(const results *x, const char *folder, pal_error *error)
{
    const pal_status s = text_write(folder, "comparisons.csv", put_csv, x, false, error);
    return s == PAL_OK ? text_write(folder, "table.tex", put_latex, x, false, error) : s;
}
