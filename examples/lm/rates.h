/*
 * rates.h - the schedule of a run and those of parts of its model, changes of the rate during a
 * run, and the search for one.
 */
#ifndef LM_RATES_H
#define LM_RATES_H

#include "examples/lm/options.h"

pal_schedule lm_options_schedule(const lm_options *o);
/* Whether it ends at --steps. */
bool lm_schedule_ends(const lm_options *o);

/* ---- Parts of the model: PATTERN=KIND[:KEY=VALUE...], and more with commas between ---- */

/* PAL_EVALUE if a text is no such list. */
pal_status lm_schedules_check(const char *text, pal_error *error);
/*
 * The next entry of a list that has been checked. *at moves behind it; false: there is none. *part
 * is *o with the schedule of the entry, which lm_options_schedule reads. *pattern is for free();
 * NULL: there was no memory.
 */
bool lm_schedules_next(const char **at, const lm_options *o, char **pattern, lm_options *part);
/* Whether one of o->schedule_of ends at --steps. */
bool lm_schedules_end(const lm_options *o);

/* ---- Changes and search ---- */

/* PAL_EVALUE if a text is no list STEP=FACTOR,... with rising steps from 1 on and factors >= 0. */
pal_status lm_changes_check(const char *text, pal_error *error);
/* The factor of the rate in step 1, 2, ...: that of the last entry whose step is not later; 1
 * before the first. The text has been checked. */
double lm_change_at(const char *text, int64_t step);
/* Whether two lists give the same factors in steps 1 to `steps`. */
bool lm_changes_agree(const char *a, const char *b, int64_t steps);

/* Calls pal_find_lr and prints the curve and the rate that it suggests, on rank 0. */
PAL_CHECKED pal_status lm_find_lr(const pal_train_opts *opts, pal_error *error);

/* Whether loss.svg or rate.svg of a folder are older than its log, because the run was killed
 * before they were drawn. */
bool lm_plots_are_old(const char *folder);

#endif
