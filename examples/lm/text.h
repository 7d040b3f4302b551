/*
 * text.h - the bytes of a file or a string.
 */
#ifndef LM_TEXT_H
#define LM_TEXT_H

#include <palimpsest.h>

typedef struct lm_text {
    unsigned char *byte;
    int64_t size;
} lm_text;

/* The whole file, or standard input (flags_is_stdin). An HDF5 file is PAL_EFORMAT, because its
 * bytes are no text. A byte order mark of UTF-8 is left out; one of UTF-16 is PAL_EFORMAT. */
PAL_CHECKED pal_status lm_text_read(lm_text *text, const char *path, pal_error *error);
/* The same; `keep`: a byte order mark of UTF-8 is a character of the text. */
PAL_CHECKED pal_status lm_text_read_as(lm_text *text, const char *path, bool keep,
                                       pal_error *error);
/* The bytes of a string. */
PAL_CHECKED pal_status lm_text_copy(lm_text *text, const char *string, pal_error *error);
void lm_text_free(lm_text *text);

#endif
