/*
 * stream.h - a text that is written to a stream and then is a string. For the library and the
 * programs of this repository. (With open_memstream of glibc parts of the text are lost without an
 * error when there is no memory.)
 */
#ifndef PAL_TENSOR_STREAM_H
#define PAL_TENSOR_STREAM_H

#include "tensor/tensor.h"

#include <stdio.h>

/* Begins a text. NULL: errno says why. */
FILE *pal_stream_open(void);
/* Ends it. The text has a NUL behind it and belongs to the caller, who frees it by free(); size may
 * be NULL. NULL: errno says why. */
char *pal_stream_close(FILE *stream, size_t *size);
/* Sets the error from the errno of one of these. Returns PAL_ENOMEM, or PAL_EIO where it is not
 * memory that lacks: the text has the limits of a file (RLIMIT_FSIZE, with SIGXFSZ). */
pal_status pal_stream_failed(const char *what, pal_error *error);

#endif
