/*
 * rates.c - the search for rates: which was best for each variant, as lines for the study.
 *
 * The search has seeds and a number of steps of its own, so that no run of the study has a say in
 * the rate that it is made with. Best is the highest accuracy, the mean over all test points of all
 * tasks and over the seeds; of equals the lowest training loss.
 */
#include "bench/ablate_parts/ablate.h"

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

void rates_print(const study *s, const runs *r, const char *folder)
{
    int best[MOST_VARIANTS];
    char text[32];
    printf("\nAccuracy after %lld steps, seed%s", (long long)s->rate_steps,
           s->rate_seeds > 1 ? "s" : "");
    for (int i = 0; i < s->rate_seeds; i++)
        printf("%s %llu", i ? "," : "", (unsigned long long)s->rate_seed[i]);
    printf(":\n\n| variant |");
    for (int i = 0; i < s->rates; i++) printf(" %s |", shortest(s->rate[i], text));
    printf("\n|---|");
    for (int i = 0; i < s->rates; i++) printf("---|");
    printf("\n");
    for (int v = 0; v < s->variants; v++) {
        outcome top = {0};
        best[v] = -1;
        printf("| %s |", s->variant[v].name);
        for (int i = 0; i < s->rates; i++) {
            const outcome o = outcome_of(s, r, folder, v, i);
            if (o.missing || o.failed) {
                printf(" %s |", o.failed ? "failed" : "");
                continue;
            }
            printf(" %.4f |", o.accuracy);
            if (best[v] < 0 || better(&o, &top)) best[v] = i, top = o;
        }
        printf("\n");
    }
    printf("\nLines for the study:\n\n");
    for (int v = 0; v < s->variants; v++)
        if (best[v] >= 0)
            printf("variant.%s.lr = %s\n", s->variant[v].name, shortest(s->rate[best[v]], text));
    for (int v = 0; v < s->variants; v++)
        if (best[v] == 0 || best[v] == s->rates - 1)
            printf("# %s: the best rate is at the edge of the list\n", s->variant[v].name);
}
