/*
 * description.h - a model's options by name, in the text of a configuration and on a command line.
 */
#ifndef PAL_MODELS_DESCRIPTION_H
#define PAL_MODELS_DESCRIPTION_H

#include "layers/model.h"
#include "tensor/keys.h"

/* The tag of options that do not change what a model computes. */
enum { PAL_LM_FREE = 1 };

/* The table of pal_lm_opts, which stands beside the code that obeys the options (lm.c). */
extern const pal_keys pal_lm_keys;

/*
 * Reads the options of a model from the text of a configuration. Options that it does not name are
 * 0, and other names are ignored. *copy holds the strings that *opts points to; it is for free().
 * PAL_EFORMAT names the line; PAL_ENOMEM.
 */
PAL_CHECKED pal_status pal_description_read(const char *text, pal_lm_opts *opts, char **copy,
                                            pal_error *error);

#endif
