/*
 * rates.c - the search for rates: which was best for each variant, as lines for the study.
 *
 * The search has seeds and a number of steps of its own, so that no run of the study has a say in
 * the rate that it is made with. Best is the highest accuracy, the mean over all test points of all
 * tasks and over the seeds; of equals the lowest training loss. A rate at which a run failed
 * (its numbers were not finite) is not the best. A variant without all of its runs has no best
 * rate: the one that is missing may be it.
 */
#include "examples/ablate/ablate.h"

#include <math.h>

typedef struct outcome {
    double accuracy, loss;
    int missing, failed;
} outcome;

static outcome outcome_of(const study *s, const runs *r, const char *folder, int v, int rate)
{
    outcome o = {0};
    for (int i = 0; i < r->n; i++) {
        if (r->at[i].variant != v || r->at[i].rate != rate) continue;
        result *x = result_read(folder, &r->at[i]);
        if (x && !x->failed) o.accuracy += result_accuracy(x), o.loss += x->loss;
        o.missing += x == NULL;
        o.failed += x && x->failed;
        result_free(x);
    }
    o.accuracy /= s->tasks * s->rate_seeds;
    return o;
}

/* Accuracies are means of counts: what is nearer than this is equal. */
static bool better(const outcome *a, const outcome *b)
{
    if (fabs(a->accuracy - b->accuracy) > 1e-12) return a->accuracy > b->accuracy;
    return a->loss < b->loss;
}

/* What a variant has of the search. */
typedef struct found {
    int best;         /* by number */
    double high, low; /* accuracy of the best rate and of the worst */
    int missing;
} found;

/* A row of the table. */
static found print_row(const study *s, const runs *r, const char *folder, int v)
{
    found f = {.best = -1};
    outcome top = {0};
    printf("| %s |", s->variant[v].name);
    for (int i = 0; i < s->rates; i++) {
        const outcome o = outcome_of(s, r, folder, v, i);
        f.missing += o.missing;
        if (o.missing || o.failed) {
            printf(" %s |", o.failed ? "failed" : "");
            continue;
        }
        printf(" %.4f |", o.accuracy);
        if (f.best < 0 || o.accuracy < f.low) f.low = o.accuracy;
        if (f.best < 0 || better(&o, &top)) f.best = i, top = o;
    }
    f.high = top.accuracy;
    printf("\n");
    return f;
}

/* Whether a rate is the smallest or the largest of the list, in whatever order that is. */
static bool at_edge(const study *s, int rate)
{
    bool below = false, above = false;
    for (int i = 0; i < s->rates; i++) {
        below = below || s->rate[i] < s->rate[rate];
        above = above || s->rate[i] > s->rate[rate];
    }
    return !below || !above;
}

/* What has to be known of a line, or why there is none. Accuracies of a few seeds that are nearer
 * than CLOSE say nothing, as where nothing was learned at any rate: then it is no matter where the
 * best of them is. */
static void print_note(const study *s, int v, const found *f)
{
    static const double CLOSE = 0.02;
    const char *name = s->variant[v].name;
    const int of = s->tasks * s->rates * s->rate_seeds;
    if (f->missing)
        printf("# %s: no line, for of %d runs %d are missing\n", name, of, f->missing);
    else if (f->best < 0)
        printf("# %s: no line, for every rate has a run that failed\n", name);
    else if (s->rates > 1 && f->high - f->low < CLOSE)
        printf("# %s: no rate was better than another (%.4f to %.4f)\n", name, f->low, f->high);
    else if (at_edge(s, f->best))
        printf("# %s: the best rate is at the edge of the list\n", name);
}

void rates_print(const study *s, const runs *r, const char *folder)
{
    found at[MOST_VARIANTS];
    char text[PAL_NUMBER_TEXT];
    printf("\nAccuracy after %lld steps, seed%s", (long long)s->rate_steps,
           s->rate_seeds > 1 ? "s" : "");
    for (int i = 0; i < s->rate_seeds; i++)
        printf("%s %llu", i ? "," : "", (unsigned long long)s->rate_seed[i]);
    printf(":\n\n| variant |");
    for (int i = 0; i < s->rates; i++) printf(" %s |", pal_number_print(s->rate[i], text));
    printf("\n|---|");
    for (int i = 0; i < s->rates; i++) printf("---|");
    printf("\n");
    for (int v = 0; v < s->variants; v++) at[v] = print_row(s, r, folder, v);
    printf("\nLines for the study:\n\n");
    for (int v = 0; v < s->variants; v++)
        if (!at[v].missing && at[v].best >= 0)
            printf("variant.%s.lr = %s\n", s->variant[v].name,
                   pal_number_print(s->rate[at[v].best], text));
    for (int v = 0; v < s->variants; v++) print_note(s, v, &at[v]);
}
