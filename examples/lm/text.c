/*
 * text.c - reading a text whole, its order-0 entropy, and its batches.
 */
#include "examples/lm/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Reading ---- */

static pal_status read_all(lm_text *text, FILE *file, const char *path, pal_error *error)
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
    static const char hdf5[] = "\x89HDF\r\n\x1a\n"; /* how such a file begins */
    if (size >= strlen(hdf5) && memcmp(text->byte, hdf5, strlen(hdf5)) == 0)
        return pal_error_set(error, PAL_EFORMAT,
                             "%s: it is an HDF5 file, whose bytes are no text; files of tokens "
                             "cannot be read yet",
                             path);
    text->size = (int64_t)size;
    return PAL_OK;
}

static void sum_up(lm_text *text)
{
    text->checksum = 0xcbf29ce484222325u;
    for (int64_t i = 0; i < text->size; i++)
        text->checksum = (text->checksum ^ text->byte[i]) * 0x100000001b3u;
}

pal_status lm_text_read(lm_text *text, const char *path, pal_error *error)
{
    *text = (lm_text){0};
    FILE *file = fopen(path, "rb");
    if (!file) return pal_error_set(error, PAL_EIO, "%s: %s", path, strerror(errno));
    pal_status s = read_all(text, file, path, error);
    fclose(file);
    if (s == PAL_OK)
        sum_up(text);
    else
        lm_text_free(text);
    return s;
}

pal_status lm_text_copy(lm_text *text, const char *string, pal_error *error)
{
    const size_t size = strlen(string);
    *text = (lm_text){.byte = malloc(size + 1), .size = (int64_t)size};
    if (!text->byte) return pal_error_set(error, PAL_ENOMEM, "out of memory for a text");
    memcpy(text->byte, string, size);
    sum_up(text);
    return PAL_OK;
}

void lm_text_free(lm_text *text)
{
    free(text->byte);
    *text = (lm_text){0};
}

double lm_text_entropy(const lm_text *text)
{
    int64_t count[256] = {0};
    double bits = 0;
    for (int64_t i = 0; i < text->size; i++) count[text->byte[i]]++;
    for (int i = 0; i < 256; i++) {
        double share = (double)count[i] / (double)text->size;
        if (count[i]) bits -= share * log2(share);
    }
    return bits;
}

/* ---- Batches ---- */

/* Streams of one seed: 0 makes the parameters, 1 draws the sample, a step has its own from here. */
enum { FIRST_STREAM = 1000 };

void lm_text_batch(const lm_text *text, uint64_t seed, int64_t step, int64_t batch, int64_t len,
                   pal_tape *tape, pal_tensor *tokens, pal_tensor *targets)
{
    pal_rng rng = pal_rng_new(seed, FIRST_STREAM + (uint64_t)step);
    *tokens = pal_zeros(tape, PAL_I64, PAL_SHAPE(batch, len));
    *targets = pal_zeros(tape, PAL_I64, PAL_SHAPE(batch, len));
    int64_t *in = pal_edit(*tokens).data, *out = pal_edit(*targets).data;
    for (int64_t b = 0; b < batch; b++) {
        const unsigned char *from = text->byte + pal_rng_below(&rng, text->size - len);
        for (int64_t t = 0; t < len; t++) {
            in[b * len + t] = from[t];
            out[b * len + t] = from[t + 1];
        }
    }
}
