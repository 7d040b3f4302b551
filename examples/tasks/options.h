/*
 * options.h - the command line that the programs of the tasks share, and what they do with it.
 *
 * A program adds options of its own, which become keys of its task:
 *
 *     task_options o = task_options_new("recall", "mqar");
 *     const struct argp_child children[] = {{&task_options_argp, 0, "Model and training:", 9},
 * {0}};
 *     ... argp_parse(&argp, argc, argv, 0, NULL, &o);    each child's input is set to &o
 *     task_model m = task_model_new(&o);
 *     task_model_learn(&m);
 *     task_model_free(&m);
 */
#ifndef TASKS_OPTIONS_H
#define TASKS_OPTIONS_H

#include "examples/tasks/save.h"

#include <argp.h>

typedef struct task_options {
    const char *program, *task; /* names */
    char keys[1000];            /* of the task, as text: ":len=32" */
    lm_options lm;              /* mixers, layers, width, MLP */
    task_run run;
    int64_t threads, show;
    const char *out; /* NULL: nothing is left behind */
} task_options;

extern const struct argp task_options_argp;

/* The defaults, for a task of this name. */
task_options task_options_new(const char *program, const char *name);
/* The key of a task, from the option of the same name: adds ":name=value" to the text. */
void task_options_key(task_options *o, const char *name, const char *value);
/* A number of an option, or argp's error. */
int64_t task_options_count(struct argp_state *state, const char *name, const char *text,
                           int64_t least);

/* A task and the model that learns it. */
typedef struct task_model {
    const task_options *o;
    task *t;
    lm_options description;
    pal_params *params;
    pal_lm *lm;
    task_result result;
} task_model;

/* Makes both from the options and tells about them; a mistake is told on stderr and ends the
 * program, and so does --show, after its rows. */
task_model task_model_new(const task_options *o);
/* Trains, prints a line a look and the table of results, and leaves start.h5 and model.h5 in --out.
 * False if the run failed or was stopped. */
bool task_model_learn(task_model *m);
void task_model_free(task_model *m);

#endif
