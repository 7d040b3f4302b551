/*
 * checkpoint.c - reading what a checkpoint says of its model.
 */
#include "tensor/files/checkpoint.h"

#include <stdlib.h>
#include <string.h>

pal_status pal_checkpoint_version(pal_h5 *file, pal_error *error)
{
    double version;
    pal_status s = pal_h5_get_number(file, "/", PAL_CHECKPOINT_MARK, &version, error);
    if (s != PAL_OK || version == PAL_CHECKPOINT_VERSION) return s;
    return pal_error_set(error, PAL_EFORMAT,
                         "it is a checkpoint of version %g, and this program reads version %d",
                         version, PAL_CHECKPOINT_VERSION);
}

pal_status pal_checkpoint_read_config(pal_h5 *file, char **text, pal_error *error)
{
    *text = NULL;
    char *all = malloc(PAL_CHECKPOINT_CONFIG_BYTES);
    if (!all) return pal_error_set(error, PAL_ENOMEM, "out of memory for the configuration");
    pal_status s =
        pal_h5_get_text(file, "/", PAL_CHECKPOINT_CONFIG, all, PAL_CHECKPOINT_CONFIG_BYTES, error);
    if (s != PAL_OK) {
        free(all);
        return s;
    }
    char *shorter = realloc(all, strlen(all) + 1);
    *text = shorter ? shorter : all;
    return PAL_OK;
}

/* All of it, by pieces. */
static pal_status read_bytes(pal_h5_reader *reader, char *text, pal_error *error)
{
    int64_t piece[1024];
    const int64_t length = pal_h5_reader_count(reader);
    for (int64_t i = 0; i < length; i += 1024) {
        const int64_t n = length - i < 1024 ? length - i : 1024;
        pal_status s = pal_h5_reader_get(reader, i, n, piece, error);
        if (s != PAL_OK) return s;
        for (int64_t j = 0; j < n; j++) {
            if (piece[j] == 0)
                return pal_error_set(error, PAL_EFORMAT, "byte %lld of %s is 0, and it is a text",
                                     (long long)(i + j), PAL_CHECKPOINT_TOKENIZER);
            text[i + j] = (char)piece[j];
        }
    }
    text[length] = '\0';
    return PAL_OK;
}

pal_status pal_checkpoint_read_tokenizer(pal_h5 *file, char **text, int64_t *length,
                                         pal_error *error)
{
    pal_h5_reader *reader;
    *text = NULL;
    *length = 0;
    if (!pal_h5_has(file, PAL_CHECKPOINT_TOKENIZER)) return PAL_OK;
    pal_status s = pal_h5_reader_open(&reader, file, PAL_CHECKPOINT_TOKENIZER, 1, error);
    if (s != PAL_OK) return s;
    const int64_t count = pal_h5_reader_count(reader);
    if (count == 0 || pal_h5_reader_width(reader) != 1)
        s = pal_error_set(error, PAL_EFORMAT, "%s is empty or not of bytes",
                          PAL_CHECKPOINT_TOKENIZER);
    else if (count > INT32_MAX / 2)
        s = pal_error_set(error, PAL_EFORMAT, "%s has %lld bytes, which are more than 1 GiB",
                          PAL_CHECKPOINT_TOKENIZER, (long long)count);
    else if (!(*text = malloc((size_t)count + 1)))
        s = pal_error_set(error, PAL_ENOMEM, "out of memory for %s", PAL_CHECKPOINT_TOKENIZER);
    else
        s = read_bytes(reader, *text, error);
    pal_h5_reader_close(reader);
    if (s == PAL_OK) {
        *length = count;
    } else {
        free(*text);
        *text = NULL;
    }
    return s;
}

pal_status pal_checkpoint_failed(const char *path, pal_status s, const pal_error *why,
                                 pal_error *error)
{
    if (strncmp(why->message, path, strlen(path)) == 0)
        return pal_error_set(error, s, "%s", why->message);
    return pal_error_set(error, s, "%.400s: %.600s", path, why->message);
}
