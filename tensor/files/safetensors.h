/*
 * safetensors.h - files of named tensors as other programs release them: a header in JSON, and the
 * numbers behind it.
 *
 *     8 bytes   N, the length of the header, little-endian
 *     N bytes   {"NAME": {"dtype": "BF16", "shape": [..], "data_offsets": [BEGIN, END]}, ..}, where
 *               "__metadata__" is an object of strings, and blanks may follow
 *     the rest  the numbers, row-major and little-endian; offsets count from here
 *
 * Source: the format's own description (github.com/huggingface/safetensors).
 */
#ifndef PAL_TENSOR_FILES_SAFETENSORS_H
#define PAL_TENSOR_FILES_SAFETENSORS_H

#include "tensor/files/elements.h"

enum {
    PAL_SAFETENSORS_HEADER = 100 * 1000 * 1000, /* bytes, as the format has it */
    PAL_SAFETENSORS_MOST = 1 << 16              /* tensors of a file */
};

/* One tensor. */
typedef struct pal_stored {
    const char *name;
    const char *dtype; /* as the header has it: "BF16" */
    pal_element type;
    pal_shape shape;
    size_t begin, bytes; /* where it lies in the file */
    const unsigned char *data;
} pal_stored;

typedef struct pal_safetensors pal_safetensors;

/*
 * Maps and checks a file. The header has to be JSON without a key that stands twice; each tensor
 * has a name (pal_text_trouble), a type that the format knows, a shape of at most 8 axes and just
 * the bytes that these ask for. Together the tensors have each byte of the data once. Otherwise
 * PAL_EFORMAT names the file, and the tensor where it is one; PAL_EIO, PAL_ENOMEM.
 */
PAL_CHECKED pal_status pal_safetensors_open(pal_safetensors **file, const char *path,
                                            pal_error *error);
/* NULL is allowed. */
void pal_safetensors_close(pal_safetensors *file);
/* The tensors, in the order of their bytes. */
int64_t pal_safetensors_count(const pal_safetensors *file);
const pal_stored *pal_safetensors_at(const pal_safetensors *file, int64_t i);
/* The object __metadata__ as text, for free(); NULL: there is none, or no memory. */
char *pal_safetensors_metadata(const pal_safetensors *file);
/* Says that a tensor has been read and its pages can go. */
void pal_safetensors_forget(const pal_safetensors *file, const pal_stored *tensor);

/* ---- Writing ---- */

/* A file that is being written. */
typedef struct pal_safetensors_out pal_safetensors_out;

/*
 * Begins a file of n tensors, of which name, dtype, shape and bytes are read. Their numbers follow
 * in this order by pal_safetensors_put, in pieces of any size. metadata (NULL: none) is the text of
 * a JSON object of strings. commit puts the finished file in the place of path; with another status
 * than PAL_OK, or where fewer or more bytes were put, it removes what there is. So a reader sees
 * the old file or the new one. It frees the file. *out is NULL after an error of create. PAL_EIO,
 * PAL_ENOMEM, PAL_EVALUE.
 */
PAL_CHECKED pal_status pal_safetensors_create(pal_safetensors_out **out, const char *path,
                                              int64_t n, const pal_stored *tensors,
                                              const char *metadata, pal_error *error);
PAL_CHECKED pal_status pal_safetensors_put(pal_safetensors_out *out, const void *data, size_t bytes,
                                           pal_error *error);
PAL_CHECKED pal_status pal_safetensors_commit(pal_safetensors_out *out, pal_status so_far,
                                              pal_error *error);

#endif
