/*
 * rates.c - the search for rates: which was best for each variant, as lines for the study.
 *
 * The search has seeds of its own, so that no run of the study has a say in the rate that it is
 * made with, and as many steps as the study, because what is best after few steps may be too fast
 * later. Best is the highest accuracy, or the fewest bits: the mean over all tasks and seeds; of
 * equals the lowest training loss. A rate at which a run failed (its numbers were not finite) is
 * not the best. There is no line for a variant whose best rate is the smallest or the largest of
 * the list, or of which a run is missing: the best one may be another.
 */
#include "examples/ablate/ablate.h"

#include <math.h>

typedef struct outcome {
    double value, loss; /* means over tasks and seeds */
    int missing, failed;
} outcome;

static outcome outcome_of(const study *s, const runs *r, const char *folder, int v, int rate)
{
    outcome o = {0};
    for (int i = 0; i < r->n; i++) {
        if (r->at[i].variant != v || r->at[i].rate != rate) continue;
        result *x = result_read(folder, &r->at[i]);
        if (x && !x->failed) o.value += result_value(x, -1), o.loss += x->loss;
        o.missing += x == NULL;
        o.failed += x && x->failed;
        result_free(x);
    }
    o.value /= s->tasks * s->rate_seeds;
    return o;
}

/* Means of counts: what is nearer than this is equal. */
static bool better(const outcome *a, const outcome *b, bool bits)
{
    if (fabs(a->value - b->value) > 1e-12) return bits ? a->value < b->value : a->value > b->value;
    return a->loss < b->loss;
}

/* What a variant has of the search. */
typedef struct found {
    int best;         /* by number */
    double high, low; /* of all rates */
    int missing;
    outcome at[MOST_RATES];
} found;

static found find(const study *s, const runs *r, const char *folder, int v)
{
    found f = {.best = -1, .high = -HUGE_VAL, .low = HUGE_VAL};
    for (int i = 0; i < s->rates; i++) {
        const outcome o = f.at[i] = outcome_of(s, r, folder, v, i);
        f.missing += o.missing;
        if (o.missing || o.failed) continue;
        f.low = fmin(f.low, o.value), f.high = fmax(f.high, o.value);
        if (f.best < 0 || better(&o, &f.at[f.best], task_in_bits(s->task[0]))) f.best = i;
    }
    return f;
}

static void print_row(const study *s, int v, const found *f)
{
    printf("| %s |", s->variant[v].name);
    for (int i = 0; i < s->rates; i++) {
        if (f->at[i].missing || f->at[i].failed)
            printf(" %s |", f->at[i].failed ? "failed" : "");
        else
            printf(" %.4f |", f->at[i].value);
    }
    printf("\n");
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

/* Whether all rates did the same, so that it is no matter which is taken: a few seeds that are
 * nearer than this say nothing, as where nothing was learned at any rate. */
static bool all_alike(const study *s, const found *f)
{
    const double close = task_in_bits(s->task[0]) ? 0.005 : 0.02;
    return s->rates > 1 && f->best >= 0 && f->high - f->low < close;
}

static bool has_line(const study *s, const found *f)
{
    return !f->missing && f->best >= 0 && (!at_edge(s, f->best) || all_alike(s, f));
}

/* What has to be known of a line, or why there is none. */
static void print_note(const study *s, int v, const found *f)
{
    const char *name = s->variant[v].name;
    const int of = s->tasks * s->rates * s->rate_seeds;
    char rate[PAL_NUMBER_TEXT];
    if (f->missing)
        printf("# %s: no line, for of %d runs %d are missing\n", name, of, f->missing);
    else if (f->best < 0)
        printf("# %s: no line, for every rate has a run that failed\n", name);
    else if (all_alike(s, f))
        printf("# %s: no rate was better than another (%.4f to %.4f)\n", name, f->low, f->high);
    else if (at_edge(s, f->best))
        printf(
            "# %s: no line, for the best rate, %s, is at the edge of the list: add rates there\n",
            name, pal_number_print(s->rate[f->best], rate));
}

/* ---- rates.csv and rates.svg: a curve for each variant ---- */

typedef struct curves {
    const study *s;
    const found *at;
} curves;

static void put_csv(FILE *to, const void *what)
{
    const curves *c = what;
    fprintf(to, "variant,rate,measure,value,failed,missing\n");
    for (int v = 0; v < c->s->variants; v++)
        for (int i = 0; i < c->s->rates; i++) {
            const outcome *o = &c->at[v].at[i];
            fprintf(to, "%s,%.9g,%s,", c->s->variant[v].name, c->s->rate[i],
                    task_in_bits(c->s->task[0]) ? "bits" : "accuracy");
            if (o->missing || o->failed)
                fprintf(to, "nan,%d,%d\n", o->failed, o->missing);
            else
                fprintf(to, "%.9g,0,0\n", o->value);
        }
}

/* The rates from the smallest. */
static void order(const study *s, int at[MOST_RATES])
{
    for (int i = 0; i < s->rates; i++) {
        int place = i;
        for (; place > 0 && s->rate[at[place - 1]] > s->rate[i]; place--) at[place] = at[place - 1];
        at[place] = i;
    }
}

static void draw(FILE *to, const void *what)
{
    const curves *c = what;
    const study *s = c->s;
    const bool bits = task_in_bits(s->task[0]);
    int at[MOST_RATES];
    const char *between = "plot ";
    fprintf(to, "set title ");
    picture_quote(to, s->title);
    fprintf(to,
            "\nset logscale x\nset xlabel 'peak rate'\nset ylabel '%s, mean over the seeds of the "
            "search'\nset yrange [%s]\n",
            bits ? "bits a byte" : "accuracy", bits ? "*:*" : "0:1.02");
    order(s, at);
    for (int v = 0; v < s->variants; v++) {
        fprintf(to, "$v%d << END\n", v);
        for (int i = 0; i < s->rates; i++) {
            const outcome *o = &c->at[v].at[at[i]];
            if (!o->missing && !o->failed) fprintf(to, "%.9g %.9g\n", s->rate[at[i]], o->value);
        }
        fprintf(to, "END\n");
    }
    for (int v = 0; v < s->variants; v++) {
        if (c->at[v].best < 0) continue;
        fprintf(to, "%s$v%d using 1:2 with linespoints ", between, v);
        picture_style(to, v);
        fprintf(to, " title ");
        picture_quote(to, s->variant[v].name);
        between = ", ";
    }
    fprintf(to, "\n");
}

int rates_print(const study *s, const runs *r, const char *folder, const char *out)
{
    static found at[MOST_VARIANTS];
    char text[PAL_NUMBER_TEXT];
    const curves c = {s, at};
    pal_error error;
    int without = 0, drawn = 0;
    printf("\n%s after %lld steps, seed%s", task_in_bits(s->task[0]) ? "Bits a byte" : "Accuracy",
           (long long)s->s.steps, s->rate_seeds > 1 ? "s" : "");
    for (int i = 0; i < s->rate_seeds; i++)
        printf("%s %llu", i ? "," : "", (unsigned long long)s->rate_seed[i]);
    printf(":\n\n| variant |");
    for (int i = 0; i < s->rates; i++) printf(" %s |", pal_number_print(s->rate[i], text));
    printf("\n|---|");
    for (int i = 0; i < s->rates; i++) printf("---|");
    printf("\n");
    for (int v = 0; v < s->variants; v++) {
        at[v] = find(s, r, folder, v);
        drawn += at[v].best >= 0;
        print_row(s, v, &at[v]);
    }
    printf("\nLines for the study:\n\n");
    for (int v = 0; v < s->variants; v++)
        if (has_line(s, &at[v]))
            printf("variant.%s.lr = %s\n", s->variant[v].name,
                   pal_number_print(s->rate[at[v].best], text));
        else
            without++;
    for (int v = 0; v < s->variants; v++) print_note(s, v, &at[v]);
    if (text_write(out, "rates.csv", put_csv, &c, false, &error) != PAL_OK)
        stop("%s", error.message);
    if (drawn && picture_draw(out, "rates", 860, 400, draw, &c, &error) != PAL_OK)
        fprintf(stderr, "ablate: %s\n", error.message);
    return without;
}
