/*
 * weights.h - the parameters of a checkpoint for another use than to go on with its run.
 */
#ifndef LM_WEIGHTS_H
#define LM_WEIGHTS_H

#include <palimpsest.h>

enum { LM_SUM = 24 }; /* room for a sum */

/*
 * Loads the parameters of a checkpoint or of a file by convert.py: their moving average, which is
 * what best.txt scores, if the file has one and `last` does not ask for those of the last step.
 * *averaged says which. A failure changes nothing.
 */
PAL_CHECKED pal_status lm_weights_load(pal_params *params, const char *path, bool last,
                                       bool *averaged, pal_error *error);
/* A number of names and values, as 16 hexadecimal digits: FNV-1a of 64 bits (Fowler, Noll, Vo).
 * Returns text. */
char *lm_weights_sum(const pal_params *params, char text[LM_SUM]);

#endif
