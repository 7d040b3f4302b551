/*
 * run_folder.h - what the files of a run share, and nobody else sees.
 */
#ifndef PAL_OPTIM_RUN_FOLDER_H
#define PAL_OPTIM_RUN_FOLDER_H

#include "optim/train.h"

/* FOLDER/NAME; PAL_EVALUE if it is too long. */
pal_status pal_path_of(char path[PAL_PATH], const char *folder, const char *name, pal_error *error);
/* write(2) until all is written; false with errno. */
bool pal_write_all(int fd, const char *data, size_t size);

/* Removes what pal_h5_commit had begun for a checkpoint when its process was killed. */
void pal_run_clean(const char *folder);

/* samples.txt (journal.c): "step 40" and the text, indented. Opening leaves the samples up to step
 * `last`. */
PAL_CHECKED pal_status pal_samples_cut(const char *folder, int64_t last, pal_error *error);
PAL_CHECKED pal_status pal_samples_add(const char *folder, int64_t step, const char *text,
                                       size_t size, pal_error *error);

#endif
