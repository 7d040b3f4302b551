/*
 * program.h - what the programs of the tasks share, which is everything except their texts.
 *
 * A program gives its name, its text for --help, the options of its task, and a text after the
 * results. task_main does the rest: it makes the task and a model from the command line, trains,
 * prints one line for each look and the table of results, and writes start.h5 and model.h5 to
 * --out.
 */
#ifndef TASKS_PROGRAM_H
#define TASKS_PROGRAM_H

#include "examples/tasks/tasks.h"

#include <argp.h>

typedef struct task_program {
    const char *name;
    const char *tasks; /* "parity|s3|a5|s5": what --task can be, the first unless it is given */
    /* Option --test-len is key test_len of the task; if its argument may be left out, it is then
     * "true". --task chooses. One that takes no argument stands for `preset`. */
    const struct argp_option *flags;
    const char *preset; /* keys: ":vocab=8192:len=64" */
    const char *doc;
    void (*say)(const task *t); /* after the results */
} task_program;

/* What main returns: 0, or 1 if the run failed or was stopped. */
int task_main(const task_program *p, int argc, char **argv);

#endif
