/* run_folder.h - what only the files of a run share. */
#ifndef PAL_OPTIM_RUN_FOLDER_H
#define PAL_OPTIM_RUN_FOLDER_H

#include "optim/train.h"

/* Writes FOLDER/NAME to path; PAL_EVALUE if it is too long. */
pal_status pal_path_of(char path[PAL_PATH], const char *folder, const char *name, pal_error *error);

/*
 * A file to be replaced is written as NAME.tmp, flushed and renamed, or it is dropped.
 * pal_fresh_write also flushes, and leaves no file after an error. pal_fresh_rename flushes the
 * folder.
 */
pal_status pal_fresh_path(char path[PAL_PATH], const char *folder, const char *name,
                          pal_error *error);
PAL_CHECKED pal_status pal_fresh_write(const char *folder, const char *name, const char *text,
                                       pal_error *error);
PAL_CHECKED pal_status pal_fresh_flush(const char *folder, const char *name, pal_error *error);
PAL_CHECKED pal_status pal_fresh_rename(const char *folder, const char *name, pal_error *error);
void pal_fresh_drop(const char *folder, const char *name);

/* Removes the temporary files that a killed run left in the folder. The caller has the lock. */
PAL_CHECKED pal_status pal_run_clean(const char *folder, pal_error *error);
/*
 * pal_run_last with a status, for all that must not end the program: *step is the last step below
 * `below` (0: no limit) with a file step-N.h5, or with one whose name goes on with `end`, such as
 * ".aside". It is 0 if there is none, and after PAL_EIO, when the folder cannot be listed.
 */
PAL_CHECKED pal_status pal_run_find(const char *folder, const char *end, int64_t below,
                                    int64_t *step, pal_error *error);

/*
 * Whether the files of a folder are those of its run (intact.c). Errors name the file. Those that a
 * user can decide about are warnings if opts->mend is set.
 *
 * pal_intact_names: what stands where the run writes is a file. pal_intact_best: best.txt and the
 * best checkpoint are those of the state; pal_begin_from calls it. pal_intact_logs: log.csv,
 * log.jsonl and samples.txt begin with what the checkpoint says of them, and nobody has added to
 * them. log.csv.tmp and log.jsonl.tmp, which were cut back to the state, have the same rows.
 */
PAL_CHECKED pal_status pal_intact_names(const char *folder, pal_error *error);
PAL_CHECKED pal_status pal_intact_best(const pal_train_opts *opts, pal_checkpoint *state,
                                       pal_error *error);
/* Writes best.txt if it is not that of the state, and says so. */
PAL_CHECKED pal_status pal_intact_put_best(const pal_train_opts *opts, const pal_checkpoint *state,
                                           pal_error *error);
PAL_CHECKED pal_status pal_intact_logs(const pal_train_opts *opts, pal_error *error);

/* A file that only grows. Zeros at the beginning; bytes is -1 if nothing is known of it. */
typedef struct pal_log_sum {
    int64_t bytes, lines;
    uint32_t crc; /* CRC-32C */
} pal_log_sum;
/* Continues the sum up to byte `end`, or to the end of the file if that comes first. With a file
 * that is not there it stays as it is. */
PAL_CHECKED pal_status pal_log_sum_grow(pal_log_sum *sum, int fd, int64_t end, const char *name,
                                        pal_error *error);
PAL_CHECKED pal_status pal_log_sum_file(pal_log_sum *sum, const char *folder, const char *name,
                                        int64_t end, pal_error *error);
/* Whether FOLDER/NAME is not there, or another file than fd (-1: none is open). */
bool pal_log_replaced(const char *folder, const char *name, int fd);
/* Sets the number of the first whole line of a log that the run cannot have written; 0: none. */
PAL_CHECKED pal_status pal_log_added_line(const char *folder, const char *name, int64_t *line,
                                          pal_error *error);
/* The open files of a journal, for reading. */
void pal_journal_files(const pal_journal *log, int *csv, int *json);
typedef struct pal_log_sums {
    pal_log_sum csv, json, samples;
} pal_log_sums;
enum { PAL_LOGS = 200 };
/* What a checkpoint says of the logs and samples.txt. */
char *pal_log_sums_text(char text[PAL_LOGS], const pal_log_sums *sums);
/* Whether the checkpoint of this step says that log.jsonl has the rows of log.csv. */
bool pal_logs_paired(const char *folder, int64_t step);
/* Reads it; "" if the checkpoint does not say it. */
void pal_checkpoint_logs(const char *path, char text[PAL_LOGS]);

/* ---- What a run measures (metrics.c) ---- */

enum { PAL_COLUMNS = 512, PAL_TRAIN_FIELDS = 12 + PAL_METRICS };
/* "loss,lr,grad_norm,rows,accuracy": the columns of log.csv. */
char *pal_train_columns(const pal_train_opts *opts, char text[PAL_COLUMNS]);
/* The fields of a step's row but for those of opts->watch; `value` has the metrics, NAN for those
 * that were not measured, and `noise` the noise scale. Returns how many there are. */
int pal_train_fields(const pal_train_opts *opts, const pal_step *step, const double *value,
                     double took, double noise, pal_field field[PAL_TRAIN_FIELDS]);
/* Whether the row of step 1, 2, ... has the fields of opts->watch. */
bool pal_train_watched(const pal_train_opts *opts, int64_t step);
/* Adds the estimates of a step to the averages of the state; the noise scale, or NAN. */
double pal_train_noise(pal_checkpoint *state, const pal_step *step);
/* What a step counts. */
const char *pal_train_unit(const pal_train_opts *opts);
/* How many values an evaluation has: 0, 1 for opts->evaluate, or the metrics of opts->measure; and
 * the name of one of them. */
int pal_train_metrics(const pal_train_opts *opts);
const char *pal_train_metric(const pal_train_opts *opts, int i);
/* Which of them decides about the best checkpoint. */
int pal_train_best(const pal_train_opts *opts);
/* Whether a value is better than the best one so far, whose step is 0 if there is none. */
bool pal_train_better(const pal_train_opts *opts, double value, int64_t best_step, double best);
/* Whether the last evaluation of a run that has made `step` steps ended it. */
bool pal_train_patience_over(const pal_train_opts *opts, int64_t step, int64_t best_step);
/* PAL_EVALUE for metrics, patience or a unit that cannot be. */
PAL_CHECKED pal_status pal_train_check_metrics(const pal_train_opts *opts, pal_error *error);

/* Compares and sets what pal_checkpoint_load does, without the states (checkpoint.c): parameters,
 * optimiser, average and generator are not read and do not change. */
PAL_CHECKED pal_status pal_checkpoint_peek(pal_checkpoint *c, const char *path, pal_error *error);

/*
 * What pal_train does before its first step (begin.c).
 *
 * pal_begin_in makes sure that the folder exists, that no other process writes to it, and that it
 * holds no run unless one is continued. *lock stays as it is if the caller has the lock.
 * pal_begin_from loads the checkpoint of step opts->resume; all ranks call it together.
 * pal_begin_files prepares the small files of the folder and opens the log. pal_begin_over does
 * what a run that has all its steps may have left undone when it was killed, and writes config.txt
 * and best.txt if they are not those of the checkpoint.
 */
PAL_CHECKED pal_status pal_begin_in(const pal_train_opts *opts, pal_lock **lock, pal_error *error);
PAL_CHECKED pal_status pal_begin_from(const pal_train_opts *opts, pal_checkpoint *state,
                                      pal_error *error);
PAL_CHECKED pal_status pal_begin_files(const pal_train_opts *opts, const pal_checkpoint *state,
                                       pal_journal **log, pal_error *error);
PAL_CHECKED pal_status pal_begin_over(const pal_train_opts *opts, const pal_checkpoint *state,
                                      pal_error *error);

/* pal_journal_open in two steps. The first does all that can be refused; it leaves log.csv.tmp and
 * log.jsonl.tmp, or nothing after an error. The second puts them in place. */
PAL_CHECKED pal_status pal_journal_prepare(const char *folder, const char *columns, int64_t last,
                                           pal_error *error);
PAL_CHECKED pal_status pal_journal_start(pal_journal **log, const char *folder, const char *columns,
                                         pal_error *error);

/* samples.txt (journal.c) has "step 40" and then the text, indented. Cutting writes samples.txt.tmp
 * with the samples up to step `last`. */
PAL_CHECKED pal_status pal_samples_cut(const char *folder, int64_t last, pal_error *error);
PAL_CHECKED pal_status pal_samples_add(const char *folder, int64_t step, const char *text,
                                       size_t size, pal_error *error);

#endif
