/*
 * program.c - the programs of the tasks, from the command line to the results.
 */
#include "examples/tasks/internal.h"
#include "examples/tasks/options.h"
#include "examples/flags/files.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void need(const task_options *o, pal_status status, const pal_error *error)
{
    if (status == PAL_OK) return;
    fprintf(stderr, "%s: %s\n", o->program->name, error->message);
    exit(EXIT_FAILURE);
}

/* ---- The task's own options ---- */

/* Adds keys, ":name=value", to the text of the task. */
static void add_keys(task_options *o, const char *flag, const char *keys)
{
    const size_t used = strlen(o->keys), room = sizeof o->keys - used;
    if ((size_t)snprintf(o->keys + used, room, "%s", keys) < room) return;
    fprintf(stderr, "%s: --%s: the options of the task are too long together\n", o->program->name,
            flag);
    exit(EXIT_FAILURE);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    task_options *o = state->input;
    const task_program *p = o->program;
    const struct argp_option *flag = p->flags;
    char keys[sizeof o->keys + 64]; /* more than there is room for: nothing is cut off unseen */
    if (key == ARGP_KEY_INIT) {
        state->child_inputs[0] = &o->flags;
        return 0;
    }
    if (key == ARGP_KEY_ARG) argp_error(state, "there are only options, and '%s' is none", text);
    while (flag->name && flag->key != key) flag++;
    if (!flag->name) return ARGP_ERR_UNKNOWN;
    if (strcmp(flag->name, "task") == 0) {
        const pal_key row = {"task", PAL_KEY_STRING, PAL_AT(task_options, task), .words = p->tasks};
        const pal_keys one = {1, &row};
        pal_error error;
        if (pal_keys_set(&one, o, "--", "task", text, &error) != PAL_OK)
            argp_error(state, "%s", error.message);
        return 0;
    }
    snprintf(keys, sizeof keys, ":%s=%s", flag->name, text ? text : "true");
    for (char *c = keys; *c && *c != '='; c++)
        if (*c == '-') *c = '_';
    add_keys(o, flag->name, flag->arg ? keys : p->preset);
    return 0;
}

/* Some test rows of every point. */
static void show(const task_options *o, const task *t)
{
    const uint64_t seed = o->run.seed ? o->run.seed : 1;
    for (int i = 0; i < task_points(t, TASK_TEST); i++) {
        const task_point p = task_point_at(t, TASK_TEST, i);
        int64_t *tokens = malloc((size_t)p.len * 2 * sizeof *tokens);
        if (!tokens) {
            fprintf(stderr, "%s: out of memory for a row\n", o->program->name);
            exit(EXIT_FAILURE);
        }
        printf("%s%s\n", i ? "\n" : "", p.name);
        for (int64_t n = 0; n < o->show; n++) {
            task_rows(t, TASK_TEST, i, seed, n, 1, tokens, tokens + p.len);
            task_print(t, tokens, tokens + p.len, p.len, stdout);
        }
        free(tokens);
    }
    exit(EXIT_SUCCESS);
}

/* ---- A run ---- */

typedef struct run {
    const task_options *o;
    task *t;
    lm_options description; /* of the model, as its checkpoints tell it */
    pal_params *params;
    pal_lm *lm;
} run;

/* Task and model of the options. */
static run begin(const task_options *o)
{
    run r = {.o = o, .description = o->lm};
    pal_error error;
    char text[sizeof o->keys + 64];
    snprintf(text, sizeof text, "%.*s%s", (int)strcspn(o->task, "|"), o->task, o->keys);
    need(o, task_new(&r.t, text, &error), &error);
    if (o->show) show(o, r.t);
    pal_set_threads((int)o->threads);
    task_describe(&r.description, r.t, &o->run);
    pal_rng rng = pal_rng_new(r.description.seed, 0);
    r.params = pal_params_new();
    r.lm = pal_lm_new(r.params, lm_options_model(&r.description), &rng);
    printf("task    %s\n", task_text(r.t));
    printf("model   %s, %lld layers of width %lld%s, %lld parameters\n", o->lm.model.mixers,
           (long long)o->lm.model.layers, (long long)o->lm.model.width,
           o->lm.model.no_mlp ? " without MLP" : "", (long long)pal_params_size(r.params));
    if (o->run.bf16) printf("bf16    %s\n", pal_precision_in_use(PAL_BF16));
    return r;
}

static void save(const run *r, int64_t step, const char *name)
{
    pal_error error;
    if (r->o->out)
        need(r->o, task_save(r->params, &r->description, step, r->o->out, name, &error), &error);
}

/* The model that an earlier run left goes before this one leaves its start, so that the two files
 * of a folder are of one run, also if this one diverges or is killed. */
static void forget(const run *r, const char *name)
{
    char path[PAL_PATH];
    if (!r->o->out || (size_t)snprintf(path, sizeof path, "%s/%s", r->o->out, name) >= sizeof path)
        return; /* task_save says that it is too long */
    if (unlink(path) == 0 || errno == ENOENT) return;
    fprintf(stderr, "%s: %s: %s\n", r->o->program->name, path, strerror(errno));
    exit(EXIT_FAILURE);
}

/* Trains and tells; false if the run failed or was stopped. What a stopped run has learned is kept,
 * but it has not been tested. */
static bool learn(const run *r)
{
    const char *name = r->o->program->name;
    forget(r, "model.h5");
    save(r, 0, "start.h5");
    pal_stop_install();
    const task_result result = task_learn(r->t, r->params, r->lm, r->o->run, NULL, NULL);
    if (!isfinite(result.loss)) {
        fprintf(stderr,
                "%s: the loss or the gradient of step %lld is not finite: try a smaller --lr\n",
                name, (long long)result.steps + 1);
        return false;
    }
    if (!result.failed) task_print_result(r->t, &result, stdout);
    save(r, result.steps, "model.h5");
    if (result.failed)
        fprintf(stderr, "%s: stopped after %lld steps\n", name, (long long)result.steps);
    return !result.failed;
}

int task_main(const task_program *p, int argc, char **argv)
{
    task_options o = {.program = p, .task = p->tasks};
    const struct argp_child children[] = {{&o.flags.argp, 0, NULL, 9}, {0}};
    const struct argp argp = {
        .options = p->flags, .parser = parse, .doc = p->doc, .children = children};
    pal_error error;
    flags_begin(&o.flags, task_sections, TASK_SECTIONS, &o);
    need(&o, lm_options_read(&o.lm, "", &error), &error); /* the defaults */
    flags_parse(&argp, argc, argv, &o);
    static const char *const names[] = {"start.h5", "model.h5", NULL};
    const flags_file out = {"--out", o.out, names};
    need(&o, flags_files_check(NULL, 0, &out, 1, &error), &error);
    if (flags_given(&o.flags, "weight-decay") && o.run.weight_decay == 0)
        o.run.weight_decay = -1; /* 0 is the default */
    run r = begin(&o);
    const bool ended = learn(&r);
    if (ended) p->say(r.t);
    pal_params_free(r.params);
    task_free(r.t);
    return !ended;
}
