/*
 * open.h - the model of a checkpoint with the options of its run.
 */
#ifndef LM_OPEN_H
#define LM_OPEN_H

#include "examples/lm/options.h"

enum { LM_SUM = 24 }; /* room for a sum */

/*
 * pal_lm_open, and all flags of the run that its description tells: their moving average, which is
 * what best.txt scores, if the file has one and `last` does not ask for the parameters of the last
 * step. vocab, width and layers are those of the model. *file is given back by pal_lm_close.
 */
PAL_CHECKED pal_status lm_open(pal_lm_file *file, lm_options *o, const char *path, bool last,
                               pal_error *error);
/* A number of names and values, as 16 hexadecimal digits: FNV-1a of 64 bits (Fowler, Noll, Vo).
 * Returns text. */
char *lm_weights_sum(const pal_params *params, char text[LM_SUM]);

#endif
