/*
 * save.h - a model of a task as a checkpoint, described by the text of examples/lm/options.h whose
 * `data` is the text of the task. A program that opens one by lm_open makes the task
 * from that text by task_new.
 */
#ifndef TASKS_SAVE_H
#define TASKS_SAVE_H

#include "examples/lm/options.h"
#include "examples/tasks/tasks.h"

/* Fills in the options of a model's description that follow from a task and a run: data, vocab, len
 * and the updates. */
void task_describe(lm_options *o, const task *t, const task_run *run);
/* Replaces FOLDER/NAME (the folder is made) by a checkpoint of the parameters after `step` steps.
 */
PAL_CHECKED pal_status task_save(pal_params *params, const lm_options *o, int64_t step,
                                 const char *folder, const char *name, pal_error *error);

#endif
