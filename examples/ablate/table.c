/*
 * table.c - what a study found, as markdown: a table for each task, and what was made equal.
 */
#include "examples/ablate/ablate.h"

#include <string.h>

/* Mean, and the lowest and highest seed in brackets. */
static void put_spread(FILE *to, spread s)
{
    if (!s.n)
        fprintf(to, " |");
    else if (s.n == 1)
        fprintf(to, " %.3f |", s.mean);
    else
        fprintf(to, " %.3f (%.3f..%.3f) |", s.mean, s.low, s.high);
}

/* Steps that were made: fewer than asked for where `enough` was reached. */
static void put_steps(FILE *to, const results *x, int t, int v)
{
    int64_t low = INT64_MAX, high = 0;
    int failed = 0, there = 0;
    for (int i = 0; i < x->study->seeds; i++) {
        const result *r = x->at[t][v][i];
        if (!r) continue;
        there++;
        failed += r->failed;
        if (r->steps < low) low = r->steps;
        if (r->steps > high) high = r->steps;
    }
    if (there && low == high) fprintf(to, " %lld", (long long)low);
    if (there && low != high) fprintf(to, " %lld..%lld", (long long)low, (long long)high);
    fprintf(to, " | %d", there);
    if (failed) fprintf(to, ", %d failed", failed);
    fprintf(to, " |");
}

static void put_row(FILE *to, const results *x, int t, int v)
{
    const study *s = x->study;
    const model *m = &x->model[t][v];
    char rate[PAL_NUMBER_TEXT];
    fprintf(to, "| %s | %lld | %s | %lld%s |", s->variant[v].name, (long long)m->params, m->states,
            (long long)m->width, m->fit == FIT_WIDTH ? "*" : "");
    if (m->mlp)
        fprintf(to, " %lld%s |", (long long)m->mlp, m->fit == FIT_MLP ? "*" : "");
    else
        fprintf(to, " none |");
    fprintf(to, " %s |", pal_number_print(s->variant[v].s.lr, rate));
    put_steps(to, x, t, v);
    for (int j = 0; j < task_points(s->task[t], TASK_TEST); j++)
        put_spread(to, spread_of(x, t, v, j));
    put_spread(to, spread_of(x, t, v, -1));
    fprintf(to, "\n");
}

/* What the stars mean. */
static void put_matching(FILE *to, const results *x, int t)
{
    const study *s = x->study;
    bool mlp = false, width = false;
    for (int v = 0; v < s->variants; v++) {
        mlp = mlp || x->model[t][v].fit == FIT_MLP;
        width = width || x->model[t][v].fit == FIT_WIDTH;
    }
    if (s->match > 0) {
        fprintf(to, "Parameters are within %g%% of ", 100 * s->match);
        if (s->parameters)
            fprintf(to, "%lld", (long long)s->parameters);
        else
            fprintf(to, "those of %s%s", s->variant[0].base,
                    *s->variant[0].axes ? " at the same place of the axes" : "");
        fprintf(to, ": %s.\n",
                mlp && width ? "* is the width, or that of the MLP, that was searched for it"
                : mlp        ? "* is the width of the MLP that was searched for it"
                : width      ? "* is the model width that was searched for it"
                             : "as given, nothing was searched");
    } else {
        fprintf(to, "Parameters were not made equal.\n");
    }
    if (s->state == STATE_SAME)
        fprintf(to, "Recurrent states are equal in every layer of variants at the same place.\n");
    else if (s->state)
        fprintf(to, "Every layer has a recurrent state of %lld numbers.\n", (long long)s->state);
    else
        fprintf(to, "Recurrent state (numbers, by layer) was not made equal.\n");
}

static void put_task(FILE *to, const results *x, int t)
{
    const study *s = x->study;
    const task *what = s->task[t];
    fprintf(to, "\n## %s\n\n`%s`\n\n", s->label[t], task_text(what));
    fprintf(to, "| variant | parameters | state | width | MLP | rate | steps | seeds |");
    for (int j = 0; j < task_points(what, TASK_TEST); j++)
        fprintf(to, " %s |", task_point_at(what, TASK_TEST, j).name);
    fprintf(to, " mean |\n|---|---|---|---|---|---|---|---|");
    for (int j = 0; j <= task_points(what, TASK_TEST); j++) fprintf(to, "---|");
    fprintf(to, "\n");
    for (int v = 0; v < s->variants; v++) put_row(to, x, t, v);
    fprintf(to, "\n");
    put_matching(to, x, t);
    compare_put(to, x, t);
}

static void put_makers(FILE *to, const results *x)
{
    makers m = {.n = 0};
    for (int t = 0; t < x->study->tasks; t++)
        for (int v = 0; v < x->study->variants; v++)
            for (int i = 0; i < x->study->seeds; i++)
                if (x->at[t][v][i]) makers_add(&m, x->at[t][v][i]);
    makers_print(to, &m);
}

/* What a variant has of its own is told with it, in the end. */
static void put_all(FILE *to, const void *what)
{
    const results *x = what;
    const study *s = x->study;
    const settings *o = &s->s;
    bool own = false, init = false;
    fprintf(to, "# %s\n\n%s: mean over seeds", s->title,
            task_in_bits(s->task[0]) ? "Bits a byte of the text that was held out"
                                     : "Accuracy over the tokens that are asked for");
    for (int i = 0; i < s->seeds; i++)
        fprintf(to, "%s %llu", i ? "," : "", (unsigned long long)s->seed[i]);
    fprintf(to, " (lowest..highest), %lld rows of each test.\n", (long long)o->rows);
    for (int v = 0; v < s->variants; v++) {
        own = own || !settings_same(&s->variant[v].s, o);
        init = init || s->variant[v].init >= 0;
    }
    fprintf(to, "Batches of %lld rows, weight decay %g", (long long)o->batch, o->weight_decay);
    if (o->enough > 0) fprintf(to, "; a run ends when every test has reached %g", o->enough);
    fprintf(to, ".\n");
    if (own) fprintf(to, "Variants that have settings of their own name them below.\n");
    if (init)
        fprintf(to, "One with an init begins as the function that the seed draws for the variant "
                    "named there.\n");
    if (x->missing)
        fprintf(to, "\nNOT COMPLETE: %d of %d runs are missing.\n", x->missing,
                x->missing + x->there);
    put_makers(to, x);
    for (int t = 0; t < s->tasks; t++) put_task(to, x, t);
    fprintf(to, "\nThe variants:\n\n");
    for (int v = 0; v < s->variants; v++) {
        settings own_ones = s->variant[v].s;
        own_ones.layers = o->layers; /* told for all */
        fprintf(to, "- %s: `%s`, %lld layers", s->variant[v].name, s->variant[v].mixers,
                (long long)s->variant[v].s.layers);
        settings_print(to, &own_ones, o);
        fprintf(to, "\n");
    }
}

pal_status table(const results *x, const char *folder, pal_error *error)
{
    return text_write(folder, "table.md", put_all, x, true, error);
}
