/*
 * collect.c - the results of all runs as tables: results.csv, curves.csv, results.h5.
 *
 * What is written is a function of the results alone, in the order of the study: whoever made the
 * runs, and in which order, the bytes are the same. Times are not in it.
 */
#include "examples/ablate/ablate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void results_load(results *x, const study *s, models m, const runs *r, const char *folder)
{
    *x = (results){.study = s, .model = m};
    for (int i = 0; i < r->n; i++) {
        const run *at = &r->at[i];
        result *one = result_read(folder, at);
        x->at[at->task][at->variant][at->seed] = one;
        x->there += one != NULL;
        x->missing += one == NULL;
    }
}

void results_free(results *x)
{
    for (int t = 0; t < MOST_TASKS; t++)
        for (int v = 0; v < MOST_VARIANTS; v++)
            for (int i = 0; i < MOST_SEEDS; i++) result_free(x->at[t][v][i]);
}

spread spread_of(const results *x, int t, int v, int point)
{
    spread s = {.low = HUGE_VAL, .high = -HUGE_VAL};
    for (int i = 0; i < x->study->seeds; i++) {
        const result *r = x->at[t][v][i];
        if (!r || r->failed || point >= r->points) continue;
        const double a = result_value(r, point);
        s.mean += a;
        if (a < s.low) s.low = a;
        if (a > s.high) s.high = a;
        s.n++;
    }
    s.mean /= s.n ? s.n : 1;
    return s;
}

/* ---- CSV ---- */

/* In CSV's quotes where it needs them. */
static void put_text(FILE *to, const char *text)
{
    const bool quotes = strpbrk(text, ",\"\r\n") != NULL;
    if (quotes) fputc('"', to);
    for (const char *c = text; *c; c++) fputs(*c == '"' ? "\"\"" : (const char[]){*c, 0}, to);
    if (quotes) fputc('"', to);
}

/* The variant as which this one begins; "": none. */
static const char *init_name(const study *s, int v)
{
    return s->variant[v].init < 0 ? "" : s->variant[s->variant[v].init].name;
}

/* A row for each test point; those of a run that failed are without scores. */
static void put_points(FILE *to, const results *x, int t, int v, int i)
{
    const study *s = x->study;
    const result *r = x->at[t][v][i];
    const model *m = &x->model[t][v];
    const settings *o = &s->variant[v].s;
    for (int j = 0; r && j < task_points(s->task[t], TASK_TEST); j++) {
        const task_point p = task_point_at(s->task[t], TASK_TEST, j);
        fprintf(to, "%s,%s,%llu,", s->label[t], s->variant[v].name, (unsigned long long)s->seed[i]);
        put_text(to, p.name);
        fprintf(to, ",%lld,%lld,", (long long)p.len, (long long)p.level);
        if (r->failed)
            fprintf(to, "nan,nan,nan,0,0");
        else if (r->bits)
            fprintf(to, "nan,nan,%.9g,%lld,%lld", r->score[j].loss, (long long)r->score[j].asked,
                    (long long)r->score[j].rows);
        else
            fprintf(to, "%.9g,%.9g,%.9g,%lld,%lld", r->score[j].accuracy, r->score[j].whole,
                    r->score[j].loss, (long long)r->score[j].asked, (long long)r->score[j].rows);
        fprintf(to, ",%lld,%.9g,%d,%.9g,%lld,%lld,%lld,%lld,", (long long)r->steps, r->loss,
                r->failed, o->lr, (long long)m->params, (long long)m->state, (long long)m->width,
                (long long)m->mlp);
        put_text(to, m->mixers);
        fprintf(to, ",%s,%.17g,%s\n", r->bits ? "bits" : "accuracy", result_value(r, j),
                init_name(s, v));
    }
}

static void put_curve(FILE *to, const results *x, int t, int v, int i)
{
    const study *s = x->study;
    const result *r = x->at[t][v][i];
    for (int k = 0; r && k < r->looks; k++) {
        const look *l = &r->look[k];
        double worst = r->bits ? -HUGE_VAL : HUGE_VAL;
        for (int j = 0; j < r->points; j++)
            if (!r->part[j]) worst = r->bits ? fmax(worst, l->value[j]) : fmin(worst, l->value[j]);
        fprintf(to, "%s,%s,%llu,%lld,%.9g,%.9g,%.9g\n", s->label[t], s->variant[v].name,
                (unsigned long long)s->seed[i], (long long)l->step, l->loss, result_look(r, l),
                r->points ? worst : NAN);
    }
}

typedef void put_fn(FILE *to, const results *x, int t, int v, int i);

typedef struct csv {
    const results *x;
    const char *head;
    put_fn *put; /* the rows of a run */
} csv;

static void put_csv(FILE *to, const void *what)
{
    const csv *c = what;
    const study *s = c->x->study;
    fprintf(to, "%s\n", c->head);
    for (int t = 0; t < s->tasks; t++)
        for (int v = 0; v < s->variants; v++)
            for (int i = 0; i < s->seeds; i++) c->put(to, c->x, t, v, i);
}

/* ---- HDF5 ---- */

static pal_status put_array(pal_h5 *file, const char *group, const char *name, pal_dtype dtype,
                            pal_shape shape, void *data, pal_error *error)
{
    char path[256];
    const pal_array a = pal_array_of(dtype, shape, data);
    snprintf(path, sizeof path, "/%s/%s", group, name);
    return pal_h5_put(file, path, &a, error);
}

/* One measure of all runs of a task, [variants, seeds, points], NaN where it is missing. */
static pal_status put_scores(pal_h5 *file, const results *x, int t, const char *name, int which,
                             pal_error *error)
{
    const study *s = x->study;
    const int points = task_points(s->task[t], TASK_TEST);
    double *all = malloc((size_t)(s->variants * s->seeds * points) * sizeof *all), *to = all;
    if (!all) return pal_error_set(error, PAL_ENOMEM, "results.h5: out of memory");
    for (int v = 0; v < s->variants; v++) {
        for (int i = 0; i < s->seeds; i++) {
            const result *r = x->at[t][v][i];
            for (int j = 0; j < points; j++) {
                const task_score *p = r && !r->failed ? &r->score[j] : NULL;
                *to++ = !p ? NAN : which == 0 ? p->accuracy : which == 1 ? p->whole : p->loss;
            }
        }
    }
    pal_status status = put_array(file, s->label[t], name, PAL_F64,
                                  PAL_SHAPE(s->variants, s->seeds, points), all, error);
    free(all);
    return status;
}

/* A curve is [looks, 2 + points]: step, loss, accuracies. */
static pal_status put_curves(pal_h5 *file, const results *x, int t, pal_error *error)
{
    const study *s = x->study;
    pal_status status = PAL_OK;
    for (int v = 0; v < s->variants && status == PAL_OK; v++) {
        for (int i = 0; i < s->seeds && status == PAL_OK; i++) {
            const result *r = x->at[t][v][i];
            if (!r || !r->looks) continue;
            char name[128];
            const int64_t n = 2 + r->points;
            double *all = malloc((size_t)(r->looks * n) * sizeof *all), *to = all;
            if (!all) return pal_error_set(error, PAL_ENOMEM, "results.h5: out of memory");
            for (int k = 0; k < r->looks; k++) {
                *to++ = (double)r->look[k].step;
                *to++ = r->look[k].loss;
                for (int j = 0; j < r->points; j++) *to++ = r->look[k].value[j];
            }
            snprintf(name, sizeof name, "curves/%s/%llu", s->variant[v].name,
                     (unsigned long long)s->seed[i]);
            status =
                put_array(file, s->label[t], name, PAL_F64, PAL_SHAPE(r->looks, n), all, error);
            free(all);
        }
    }
    return status;
}

/* Numbers of the models and axes of a task. */
static pal_status put_axes(pal_h5 *file, const results *x, int t, pal_error *error)
{
    const study *s = x->study;
    const char *group = s->label[t];
    int64_t level[MOST_POINTS], len[MOST_POINTS], seed[MOST_SEEDS];
    int64_t params[MOST_VARIANTS], state[MOST_VARIANTS];
    const int points = task_points(s->task[t], TASK_TEST);
    for (int j = 0; j < points; j++) {
        const task_point p = task_point_at(s->task[t], TASK_TEST, j);
        level[j] = p.level, len[j] = p.len;
    }
    for (int i = 0; i < s->seeds; i++) seed[i] = (int64_t)s->seed[i];
    for (int v = 0; v < s->variants; v++)
        params[v] = x->model[t][v].params, state[v] = x->model[t][v].state;
    const struct {
        const char *name;
        int64_t n, *at;
    } axes[] = {{"levels", points, level},
                {"lengths", points, len},
                {"seeds", s->seeds, seed},
                {"parameters", s->variants, params},
                {"state", s->variants, state}};
    pal_status status = PAL_OK;
    for (size_t i = 0; i < sizeof axes / sizeof *axes && status == PAL_OK; i++)
        status =
            put_array(file, group, axes[i].name, PAL_I64, PAL_SHAPE(axes[i].n), axes[i].at, error);
    return status;
}

static pal_status put_task(pal_h5 *file, const results *x, int t, pal_error *error)
{
    static const char *const measure[] = {"accuracy", "whole", "loss"};
    const study *s = x->study;
    char names[MOST_VARIANTS * (NAME + 1)] = "", inits[sizeof names] = "", object[NAME + 16];
    for (int v = 0; v < s->variants; v++) {
        if (v) strcat(names, ","), strcat(inits, ",");
        strcat(names, s->variant[v].name);
        strcat(inits, init_name(s, v));
    }
    pal_status status = PAL_OK;
    for (int i = 0; i < 3 && status == PAL_OK; i++)
        status = put_scores(file, x, t, measure[i], i, error);
    if (status == PAL_OK) status = put_axes(file, x, t, error);
    if (status == PAL_OK) status = put_curves(file, x, t, error);
    snprintf(object, sizeof object, "/%s", s->label[t]);
    if (status == PAL_OK) status = pal_h5_put_text(file, object, "variants", names, error);
    if (status == PAL_OK) status = pal_h5_put_text(file, object, "inits", inits, error);
    if (status == PAL_OK)
        status = pal_h5_put_text(file, object, "task", task_text(s->task[t]), error);
    return status;
}

static pal_status write_h5(const results *x, const char *folder, pal_error *error)
{
    char path[PAL_PATH];
    pal_h5 *file;
    snprintf(path, sizeof path, "%s/results.h5", folder);
    pal_status status = pal_h5_create(&file, path, error);
    if (status != PAL_OK) return status;
    status = pal_h5_put_text(file, "/", "study", x->study->title, error);
    for (int t = 0; t < x->study->tasks && status == PAL_OK; t++)
        status = put_task(file, x, t, error);
    if (status == PAL_OK) return pal_h5_commit(file, error);
    pal_h5_close(file);
    return status;
}

pal_status collect(const results *x, const char *folder, pal_error *error)
{
    const csv points = {x,
                        "task,variant,seed,point,len,level,accuracy,whole,loss,asked,rows,steps,"
                        "train_loss,failed,lr,parameters,state,width,mlp,mixers,measure,value,init",
                        put_points};
    const csv curves = {x, "task,variant,seed,step,loss,value,worst", put_curve};
    pal_status s = text_write(folder, "results.csv", put_csv, &points, false, error);
    if (s == PAL_OK) s = text_write(folder, "curves.csv", put_csv, &curves, false, error);
    return s == PAL_OK ? write_h5(x, folder, error) : s;
}
