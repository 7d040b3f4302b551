/*
 * released.h - a run that begins with a model that is there, and ends as a folder like a released
 * one.
 */
#ifndef LM_RELEASED_H
#define LM_RELEASED_H

#include "examples/lm/options.h"

/* Takes the flags of the model that were not given from what --init names, if that says of what its
 * model is made. The message begins with --init. */
PAL_CHECKED pal_status lm_begin(lm_options *o, pal_error *error);
/* Loads the parameters of --init into those of `lm`; *averaged says which they are. A checkpoint of
 * other mixers is mapped (pal_lm_map). `data` is the tokenizer of the data: a checkpoint and a
 * released model have to read by the same one. Warnings go to stderr. */
PAL_CHECKED pal_status lm_load(pal_params *params, const pal_lm *lm, const lm_options *o,
                               const pal_tokenizer *data, bool *averaged, pal_error *error);
/* Whether the end of a training can be written as --export asks. */
PAL_CHECKED pal_status lm_export_check(const lm_options *o, const pal_lm *lm, pal_error *error);
/* Writes it, and says so. */
PAL_CHECKED pal_status lm_export(const lm_options *o, const pal_lm *lm, pal_error *error);

#endif
