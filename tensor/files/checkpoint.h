/*
 * checkpoint.h - where a checkpoint has what it says of its model: for whoever writes the whole
 * state of a run (optim/train) and for whoever opens only the model (layers/models).
 */
#ifndef PAL_TENSOR_FILES_CHECKPOINT_H
#define PAL_TENSOR_FILES_CHECKPOINT_H

#include "tensor/internal.h"

enum {
    PAL_CHECKPOINT_VERSION = 1,
    PAL_CHECKPOINT_CONFIG_BYTES = 1 << 20 /* of the configuration, with the end of the text */
};
#define PAL_CHECKPOINT_MARK      "checkpoint" /* the attribute of the file with the version */
#define PAL_CHECKPOINT_CONFIG    "config"     /* that with the text of the configuration */
#define PAL_CHECKPOINT_PARAMS    "/params"    /* the group of the parameters */
#define PAL_CHECKPOINT_AVERAGE   "/average/a" /* that of their average, if there is one */
#define PAL_CHECKPOINT_TOKENIZER "/tokenizer" /* the dataset of the tokenizer's text, if any */

/* PAL_EFORMAT if it is no checkpoint, or one of another version. */
PAL_CHECKED pal_status pal_checkpoint_version(pal_h5 *file, pal_error *error);
/* The text of the configuration, for free(). */
PAL_CHECKED pal_status pal_checkpoint_read_config(pal_h5 *file, char **text, pal_error *error);
/* The text of the tokenizer, for free(), and its length; NULL and 0: there is none. */
PAL_CHECKED pal_status pal_checkpoint_read_tokenizer(pal_h5 *file, char **text, int64_t *length,
                                                     pal_error *error);
/* The message of a failed read, which may name only what is in the file, after the file's name. */
pal_status pal_checkpoint_failed(const char *path, pal_status status, const pal_error *why,
                                 pal_error *error);

#endif
