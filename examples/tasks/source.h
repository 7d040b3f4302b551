/*
 * source.h - what the data of a model are: a task, a store of tokens or a text. All programs that
 * accept any of these use this function.
 */
#ifndef TASKS_SOURCE_H
#define TASKS_SOURCE_H

#include "examples/tasks/tasks.h"

typedef struct data_source {
    task *task; /* NULL: none */
    bool store; /* path is that of a store, or of another HDF5 file, which opening it says */
    char path[PAL_PATH]; /* of a store or a text */
} data_source;

/* Whether the text begins with the name of a task. If it is wrong, task_new gives the error. */
bool data_names_task(const char *data);
/*
 * Finds what `data` names. It tries in this order: a task; a store; the store in which train_lm
 * keeps a copy of a text beside `checkpoint` (NULL: there is none); a text. Only regular files are
 * opened, because the name may come from a file that is not trusted. PAL_EVALUE.
 */
PAL_CHECKED pal_status data_find(data_source *d, const char *data, const char *checkpoint,
                                 pal_error *error);
void data_free(data_source *d);

#endif
