/*
 * open_folder.h - the model of a folder that others have released, for pal_lm_open and pal_lm_load.
 */
#ifndef PAL_MODELS_OPEN_FOLDER_H
#define PAL_MODELS_OPEN_FOLDER_H

#include "layers/model.h"

/* Fills *f from the folder: with new parameters, or where `params` is not NULL into those. After an
 * error those have not changed, and *f holds what was made so far. */
PAL_CHECKED pal_status pal_lm_open_folder(pal_lm_file *f, pal_params *params, const char *path,
                                          pal_lm_open_opts opts, pal_error *error);
/* The description of the model of a folder, for free(). */
PAL_CHECKED pal_status pal_lm_describe_folder(const char *path, char **description,
                                              pal_error *error);
/* Fills parameters from a safetensors file. After an error they have not changed. */
PAL_CHECKED pal_status pal_lm_load_tensors(pal_params *params, const char *path, pal_error *error);

#endif
