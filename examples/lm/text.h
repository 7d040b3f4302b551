/*
 * text.h - the bytes a model learns from, and the batch of a step.
 */
#ifndef LM_TEXT_H
#define LM_TEXT_H

#include <palimpsest.h>

typedef struct lm_text {
    unsigned char *byte;
    int64_t size;
    uint64_t checksum; /* FNV-1a */
} lm_text;

/* The whole file. An HDF5 file is PAL_EFORMAT: whoever names one means what is in it. */
PAL_CHECKED pal_status lm_text_read(lm_text *text, const char *path, pal_error *error);
/* The bytes of a string. */
PAL_CHECKED pal_status lm_text_copy(lm_text *text, const char *string, pal_error *error);
void lm_text_free(lm_text *text);
/* Bits a byte of a model that knows how often each byte occurs and nothing else. */
double lm_text_entropy(const lm_text *text);

/*
 * The batch of a step: `batch` stretches of len + 1 bytes from random places, as tokens [batch,len]
 * and, one byte later, targets. A function of (seed, step) alone, so that a run that is continued
 * sees what it would have seen.
 */
void lm_text_batch(const lm_text *text, uint64_t seed, int64_t step, int64_t batch, int64_t len,
                   pal_tape *tape, pal_tensor *tokens, pal_tensor *targets);

#endif
