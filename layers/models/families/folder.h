/*
 * folder.h - the folder of a model that others have released: config.json, tensors, tokenizer.
 */
#ifndef PAL_MODELS_FOLDER_H
#define PAL_MODELS_FOLDER_H

#include "layers/models/families/names.h"

typedef struct pal_folder {
    char *path;
    const pal_family *family;
    pal_described described;
    char *mixers; /* the list that described.opts.mixers points at */
    char *notes;  /* warnings, a line each; "": none */
    pal_weights *weights;
} pal_folder;

/*
 * Opens config.json and the tensors, which stay in their files. PAL_EFORMAT, PAL_EIO and PAL_ENOMEM
 * with a sentence that begins with the path. *folder is zeros after an error.
 */
PAL_CHECKED pal_status pal_folder_open(pal_folder *folder, const char *path, pal_error *error);
/* Whether a path is a folder with a config.json. */
bool pal_folder_is(const char *path);
/* {0} is what is left. */
void pal_folder_close(pal_folder *folder);
/* The model as the text of a configuration (description.h), for free(); NULL: out of memory. */
char *pal_folder_description(const pal_folder *folder, pal_dtype dtype);
/* Numbers of the model's tensors at most, and how many layers they may be of. */
int64_t pal_folder_elements(const pal_folder *folder);
/* Bytes that all tensors would take in f32, if more than half of their numbers are in bf16; else 0.
 */
int64_t pal_folder_widened(const pal_folder *folder);
/* The text of tokenizer.json, for free(), and its length; NULL and 0: there is none. */
PAL_CHECKED pal_status pal_folder_tokenizer(const pal_folder *folder, char **text, size_t *length,
                                            pal_error *error);

/* Reads the numbers into parameters that pal_names_match has compared, and tells the bytes of the
 * files. It cannot fail. */
void pal_folder_read(const pal_weights *weights, const pal_names *names, pal_params *params,
                     pal_progress progress);

#endif
