/*
 * text.c - reading a text whole.
 */
#include "examples/lm/text.h"
#include "examples/flags/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A byte order mark says how a file is encoded, and is no part of its text. */
static pal_status check_mark(lm_text *text, const char *path, bool keep, pal_error *error)
{
    const unsigned char *b = text->byte;
    if (text->size >= 2 && ((b[0] == 0xff && b[1] == 0xfe) || (b[0] == 0xfe && b[1] == 0xff)))
        return pal_error_set(error, PAL_EFORMAT,
                             "%s: it begins with the byte order mark of UTF-16, and a text is read "
                             "as UTF-8; `iconv -f UTF-16 -t UTF-8` converts it",
                             path);
    if (keep || text->size < 3 || memcmp(b, "\xef\xbb\xbf", 3) != 0) return PAL_OK;
    text->size -= 3;
    memmove(text->byte, text->byte + 3, (size_t)text->size);
    return PAL_OK;
}

static pal_status read_all(lm_text *text, FILE *file, const char *path, bool keep, pal_error *error)
{
    size_t room = 0, size = 0;
    for (;;) {
        if (size == room) {
            room = room ? 2 * room : 1 << 16;
            unsigned char *more = realloc(text->byte, room);
            if (!more) return pal_error_set(error, PAL_ENOMEM, "%s: out of memory", path);
            text->byte = more;
        }
        size_t n = fread(text->byte + size, 1, room - size, file);
        size += n;
        if (n == 0) break;
    }
    if (ferror(file)) return pal_error_set(error, PAL_EIO, "%s: %s", path, strerror(errno));
    if (pal_bytes_are_hdf5(text->byte, size))
        return pal_error_set(error, PAL_EFORMAT, "%s: it is an HDF5 file, whose bytes are no text",
                             path);
    text->size = (int64_t)size;
    return check_mark(text, path, keep, error);
}

pal_status lm_text_read_as(lm_text *text, const char *path, bool keep, pal_error *error)
{
    *text = (lm_text){0};
    const bool own = !flags_is_stdin(path);
    FILE *file = own ? fopen(path, "rb") : stdin;
    if (!file) return pal_error_set(error, PAL_EIO, "%s: %s", path, strerror(errno));
    pal_status s = read_all(text, file, own ? path : "standard input", keep, error);
    if (own) fclose(file);
    if (s != PAL_OK) lm_text_free(text);
    return s;
}

pal_status lm_text_read(lm_text *text, const char *path, pal_error *error)
{
    return lm_text_read_as(text, path, false, error);
}

pal_status lm_text_copy(lm_text *text, const char *string, pal_error *error)
{
    const size_t size = strlen(string);
    *text = (lm_text){.byte = malloc(size + 1), .size = (int64_t)size};
    if (!text->byte) return pal_error_set(error, PAL_ENOMEM, "out of memory for a text");
    memcpy(text->byte, string, size);
    return PAL_OK;
}

void lm_text_free(lm_text *text)
{
    free(text->byte);
    *text = (lm_text){0};
}
