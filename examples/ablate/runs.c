/*
 * runs.c - the runs of a study, each with the text that says all that its result depends on.
 *
 * The text begins with what is ours (rows, enough, model, and the mixers of the model as which it
 * begins, if there is one), then come flags of train_lm
 * (examples/lm/options.h), by which the model and its training are told to the process that runs
 * it, and to whoever opens the file of the result.
 */
#include "examples/ablate/ablate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char INIT[] = "init = ";

/* What --smoke, a seed or a rate change is in the arguments already. */
static void describe(const study *s, const model *all, run *r)
{
    PAL_C_LOCALE;
    const model *m = &all[r->variant];
    const int init = s->variant[r->variant].init;
    const settings *o = &s->variant[r->variant].s;
    const bool search = r->rate >= 0;
    const int64_t steps = o->steps;
    const double lr = search ? s->rate[r->rate] : o->lr;
    const uint64_t seed = (search ? s->rate_seed : s->seed)[r->seed];
    char mlp[64] = "no-mlp = true", optimizer[TASK_OPTIMIZER + 32] = "";
    r->steps = steps, r->rows = o->rows, r->enough = o->enough;
    if (o->mlp != MLP_NONE) snprintf(mlp, sizeof mlp, "mlp-width = %lld", (long long)m->mlp);
    /* The text of a run without one is as it was before there were several. */
    if (*o->optimizer) snprintf(optimizer, sizeof optimizer, "optimizer = %s\n", o->optimizer);
    const char *const begins[] = {init < 0 ? "" : INIT, init < 0 ? "" : all[init].mixers,
                                  init < 0 ? "" : "\n"};
    char *text;
    const int n = asprintf(
        &text,
        "rows = %lld\nenough = %.17g\nmodel = %d\n%s%s%s\ndata = %s\nmixers = %s\nlayers = %lld\n"
        "width = %lld\n%s\nvocab = %lld\nbatch = %lld\nsteps = %lld\n%slr = %.17g\nschedule = "
        "cosine\nweight-decay = %.17g\nwarmup = %lld\nclip = %.17g\neval-every = %lld\nseed = "
        "%llu\n",
        (long long)o->rows, o->enough, r->model, begins[0], begins[1], begins[2],
        task_text(s->task[r->task]), m->mixers, (long long)o->layers, (long long)m->width, mlp,
        (long long)task_vocab(s->task[r->task]), (long long)o->batch, (long long)steps, optimizer,
        lr, o->weight_decay, (long long)o->warmup, o->clip, (long long)(search ? steps : o->every),
        (unsigned long long)seed);
    if (n < 0) stop("out of memory");
    r->text = lm_keep(text, (size_t)n);
    free(text);
}

pal_status recipe_read(recipe *r, const char *text, pal_error *error)
{
    PAL_C_LOCALE;
    int64_t rows;
    double enough;
    int kept, n = 0;
    if (sscanf(text, "rows = %" SCNd64 "\nenough = %lf\nmodel = %d\n%n", &rows, &enough, &kept,
               &n) != 3 ||
        n == 0)
        return pal_error_set(error, PAL_EFORMAT, "it is no description of a run");
    const char *rest = text + n;
    r->init = NULL;
    if (strncmp(rest, INIT, strlen(INIT)) == 0) {
        const size_t length = strcspn(rest, "\n"), begin = strlen(INIT);
        r->init = lm_keep(rest + begin, length - begin);
        rest += length;
    }
    pal_status s = lm_options_read(&r->o, rest, error);
    if (s != PAL_OK) return s;
    r->model = kept != 0;
    r->run = (task_run){.steps = r->o.steps,
                        .batch = r->o.batch,
                        .lr = r->o.lr,
                        .weight_decay = r->o.weight_decay > 0 ? r->o.weight_decay : -1,
                        .clip = r->o.clip,
                        .warmup = r->o.warmup,
                        .seed = r->o.seed,
                        .every = r->o.eval_every,
                        .rows = rows,
                        .enough = enough};
    memcpy(r->run.optimizer, r->o.optimizer, sizeof r->run.optimizer);
    return PAL_OK;
}

runs runs_of(const study *s, models m, bool rates)
{
    const int last = rates ? s->rates * s->rate_seeds : s->seeds;
    char text[PAL_NUMBER_TEXT];
    runs all = {.at = calloc((size_t)(s->tasks * s->variants * last) + 1, sizeof *all.at)};
    if (!all.at) stop("out of memory");
    for (int i = 0; i < last; i++) {
        for (int t = 0; t < s->tasks; t++) {
            for (int v = 0; v < s->variants; v++) {
                run *r = &all.at[all.n++];
                *r = (run){.task = t, .variant = v, .seed = i, .rate = -1};
                if (rates) r->seed = i / s->rates, r->rate = i % s->rates;
                r->points = task_points(s->task[t], TASK_TEST);
                r->bits = task_in_bits(s->task[t]);
                for (int j = 0; j < r->points; j++)
                    r->part[j] = task_point_at(s->task[t], TASK_TEST, j).part;
                r->model = s->models && !rates;
                if (rates)
                    snprintf(r->name, sizeof r->name, "%s-%s-%s-%llu", s->label[t],
                             s->variant[v].name, pal_number_print(s->rate[r->rate], text),
                             (unsigned long long)s->rate_seed[r->seed]);
                else
                    snprintf(r->name, sizeof r->name, "%s-%s-%llu", s->label[t], s->variant[v].name,
                             (unsigned long long)s->seed[i]);
                describe(s, m[t], r);
            }
        }
    }
    return all;
}
