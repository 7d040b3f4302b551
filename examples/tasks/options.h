/*
 * options.h - the command line that the programs of the tasks share (options.c), as a child of the
 * parser that knows the task's own options (program.c).
 */
#ifndef TASKS_OPTIONS_H
#define TASKS_OPTIONS_H

#include "examples/flags/flags.h"
#include "examples/tasks/program.h"
#include "examples/tasks/save.h"

typedef struct task_options {
    flags flags; /* of task_sections, which set the rest of this struct */
    const task_program *program;
    const char *task; /* its name, up to a '|' */
    char keys[1000];  /* of the task, as text: ":len=32" */
    lm_options lm;    /* mixers, layers, width, MLP */
    task_run run;
    int64_t threads, show;
    const char *out; /* NULL: nothing is left behind */
} task_options;

enum { TASK_SECTIONS = 2 };
extern const flags_section task_sections[TASK_SECTIONS];

#endif
