/*
 * weights.h - the tensors of a folder: of model.safetensors, or of the shards that
 * model.safetensors.index.json lists.
 */
#ifndef PAL_TENSOR_FILES_WEIGHTS_H
#define PAL_TENSOR_FILES_WEIGHTS_H

#include "tensor/files/safetensors.h"

typedef struct pal_weights pal_weights;

enum { PAL_SHARDS_MOST = 4096 };

/*
 * Opens all files of a folder (safetensors.h says what is refused). A name is in one of them. With
 * an index, {"weight_map": {"NAME": "FILE", ..}, ..}, each tensor lies in the file that it names,
 * there are no others, and each file lies in the folder itself. PAL_EIO, PAL_EFORMAT and PAL_ENOMEM
 * name the folder or the file. If there are only files of PyTorch's pickles, the sentence says how
 * they are converted.
 */
PAL_CHECKED pal_status pal_weights_open(pal_weights **weights, const char *folder,
                                        pal_error *error);
/* The same of one file by itself. */
PAL_CHECKED pal_status pal_weights_open_file(pal_weights **weights, const char *path,
                                             pal_error *error);
/* NULL is allowed. */
void pal_weights_close(pal_weights *weights);
/* The number of the tensor of this name, in the order of names; -1: there is none. */
int64_t pal_weights_find(const pal_weights *weights, const char *name);
int64_t pal_weights_count(const pal_weights *weights);
const pal_stored *pal_weights_at(const pal_weights *weights, int64_t i);
/* Says that tensor i has been read. */
void pal_weights_forget(const pal_weights *weights, int64_t i);

/* The files: their names in the folder, and what is in them. */
int pal_weights_files(const pal_weights *weights);
const char *pal_weights_file_name(const pal_weights *weights, int file);
const pal_safetensors *pal_weights_file(const pal_weights *weights, int file);

#endif
