/*
 * mapped.h - regular files for reading: as memory, or whole as a text.
 */
#ifndef PAL_TENSOR_FILES_MAPPED_H
#define PAL_TENSOR_FILES_MAPPED_H

#include "tensor/tensor.h"

/* A file as memory that is only read. Its pages come when they are looked at. The file must not
 * become shorter while it is mapped. */
typedef struct pal_mapped {
    const unsigned char *at; /* NULL: it is empty, or not open */
    size_t size;
} pal_mapped;

/* Maps a regular file; a pipe or a device is refused and not waited for. PAL_EIO names the file. */
PAL_CHECKED pal_status pal_mapped_open(pal_mapped *file, const char *path, pal_error *error);
/* {0} is what is left. */
void pal_mapped_close(pal_mapped *file);
/* Says that these bytes are not needed any more; they may be read again. */
void pal_mapped_forget(const pal_mapped *file, size_t begin, size_t end);

/*
 * The whole of a regular file of at most `most` bytes, with a NUL behind it, for free(). PAL_EIO,
 * PAL_EFORMAT if it is longer, PAL_ENOMEM; each names the file.
 */
PAL_CHECKED pal_status pal_file_text(const char *path, size_t most, char **text, size_t *size,
                                     pal_error *error);

#endif
