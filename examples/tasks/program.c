/*
 * program.c - what the programs of the tasks do once the command line is read: task and model,
 * training, results.
 */
#include "examples/tasks/options.h"

#include <stdlib.h>

static void need(const task_options *o, pal_status status, const pal_error *error)
{
    if (status == PAL_OK) return;
    fprintf(stderr, "%s: %s\n", o->program, error->message);
    exit(EXIT_FAILURE);
}

/* Some test rows of every point. */
static void show(const task_options *o, const task *t)
{
    const uint64_t seed = o->run.seed ? o->run.seed : 1;
    for (int i = 0; i < task_points(t, TASK_TEST); i++) {
        const task_point p = task_point_at(t, TASK_TEST, i);
        int64_t *tokens = malloc((size_t)p.len * 2 * sizeof *tokens);
        if (!tokens) {
            fprintf(stderr, "%s: out of memory for a row\n", o->program);
            exit(EXIT_FAILURE);
        }
        printf("%s%s\n", i ? "\n" : "", p.name);
        for (int64_t n = 0; n < o->show; n++) {
            task_rows(t, TASK_TEST, i, seed, n, 1, tokens, tokens + p.len);
            task_print(t, tokens, tokens + p.len, p.len, stdout);
        }
        free(tokens);
    }
    exit(fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

static void save(const task_model *m, int64_t step, const char *name)
{
    pal_error error;
    if (m->o->out)
        need(m->o, task_save(m->params, &m->description, step, m->o->out, name, &error), &error);
}

task_model task_model_new(const task_options *o)
{
    task_model m = {.o = o, .description = o->lm};
    pal_error error;
    char text[sizeof o->keys + 64];
    snprintf(text, sizeof text, "%.60s%s", o->task, o->keys);
    need(o, task_new(&m.t, text, &error), &error);
    if (o->show) show(o, m.t);
    need(o, pal_mixers_check(o->lm.mixers, &error), &error);
    pal_set_threads((int)o->threads);
    task_describe(&m.description, m.t, &o->run);
    pal_rng rng = pal_rng_new(m.description.seed, 0);
    m.params = pal_params_new();
    m.lm = pal_lm_new(m.params, lm_options_model(&m.description), &rng);
    printf("task    %s\n", task_text(m.t));
    printf("model   %s, %lld layers of width %lld%s, %lld parameters\n", o->lm.mixers,
           (long long)o->lm.layers, (long long)o->lm.width, o->lm.no_mlp ? " without MLP" : "",
           (long long)pal_params_size(m.params));
    return m;
}

bool task_model_learn(task_model *m)
{
    save(m, 0, "start.h5");
    pal_stop_install();
    m->result = task_learn(m->t, m->params, m->lm, m->o->run, NULL, NULL);
    if (m->result.failed && !pal_stop_requested()) {
        fprintf(stderr, "%s: the loss of step %lld is not finite: try a smaller --lr\n",
                m->o->program, (long long)m->result.steps + 1);
        return false;
    }
    task_print_result(m->t, &m->result, stdout);
    save(m, m->result.steps, "model.h5");
    return !m->result.failed;
}

void task_model_free(task_model *m)
{
    pal_params_free(m->params);
    task_free(m->t);
}
