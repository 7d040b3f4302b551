/*
 * source.h - what the data of a model are: a task, a store of tokens or a text. Programs that take
 * any of them ask here.
 */
#ifndef TASKS_SOURCE_H
#define TASKS_SOURCE_H

#include "examples/tasks/tasks.h"

typedef struct data_source {
    task *task; /* NULL: none */
    bool store; /* path is that of a store, or of another HDF5 file, which opening it says */
    char path[PAL_PATH]; /* of a store or a text */
} data_source;

/* Whether the text calls itself a task: what is wrong with it is then what task_new says. */
bool data_names_task(const char *data);
/*
 * In this order: the task that `data` names; the store of that name; the copy of a text that
 * train_lm keeps beside `checkpoint` (NULL: nothing is beside it), as a store; a text of that name.
 * Nothing but regular files is opened, since the name may be out of a file from elsewhere.
 * PAL_EVALUE.
 */
PAL_CHECKED pal_status data_find(data_source *d, const char *data, const char *checkpoint,
                                 pal_error *error);
void data_free(data_source *d);

#endif
