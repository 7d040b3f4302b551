/*
 * record.h - what a run leaves in its folder: log.csv, loss.svg and checkpoints.
 */
#ifndef LM_RECORD_H
#define LM_RECORD_H

#include "examples/lm/options.h"
#include "examples/lm/text.h"

/* ---- log.csv: a row a step ---- */

/*
 * Opens DIR/log.csv for appending, with the rows of steps 1..last as they were and no others. NULL
 * after telling why on stderr.
 */
FILE *lm_log_open(const char *dir, int64_t last);
void lm_log_row(FILE *to, int64_t step, double loss, double lr, double norm);
/* DIR/loss.svg from the log, through gnuplot; a note on stderr if there is none. entropy is drawn
 * as a line. */
void lm_plot(const char *dir, double entropy);

/* ---- Checkpoints: DIR/step-00000060.h5 ---- */

/* The last step that has a checkpoint in DIR; 0 if there is none. */
int64_t lm_last_saved(const char *dir);
PAL_CHECKED pal_status lm_save(const lm_options *o, const lm_text *text, int64_t step,
                               const pal_params *params, const pal_optim *optim, pal_error *error);
/* Options and text of the saved run at `step`, before there is a model. */
PAL_CHECKED pal_status lm_load_options(lm_options *o, int64_t step, uint64_t *checksum,
                                       pal_error *error);
/* Parameters alone, of any file that has them. */
PAL_CHECKED pal_status lm_load_params(const char *path, pal_params *params, pal_error *error);
PAL_CHECKED pal_status lm_load(const lm_options *o, int64_t step, pal_params *params,
                               pal_optim *optim, pal_error *error);

#endif
