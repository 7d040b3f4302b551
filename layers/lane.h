/*
 * lane.h - what rules, attention and convolutions share. A lane is one head of one sequence. Its
 * tokens are rows of a tensor; a sequence is a row of the batch, or a range of a packed row.
 */
#ifndef PAL_LANE_H
#define PAL_LANE_H

#include "tensor/internal.h"

/* ---- Rows ---- */

/* The channels of one head along time: entry (t, c) is element t * step + c * channel of data. data
 * NULL: there is no such argument. */
typedef struct pal_rows {
    void *data;
    int64_t step, channel;
} pal_rows;

/* Rows of x [B,T,heads(,channels)] from this token on. */
static inline pal_rows pal_rows_at(const pal_array *x, int64_t batch, int64_t token, int64_t head)
{
    const int64_t at = batch * x->stride[0] + token * x->stride[1] + head * x->stride[2];
    return (pal_rows){(char *)x->data + at * (int64_t)pal_dtype_size(x->dtype), x->stride[1],
                      x->ndim == 4 ? x->stride[3] : 1};
}

/*
 * Rows that the next block of work will read or write. Neighbouring rows of a lane are all heads
 * apart in memory, so the hardware does not prefetch them. Kernels prefetch a few at a time, so
 * that they arrive while products run. Without this, a sixth of forward and backward was spent
 * waiting.
 */
enum { PAL_PREFETCH = 24 };
typedef struct pal_prefetch {
    int arrays;
    int64_t rows; /* of each array */
    const char *data[PAL_PREFETCH];
    int64_t step[PAL_PREFETCH], bytes[PAL_PREFETCH]; /* bytes from row to row; bytes of a row */
} pal_prefetch;

/* Begins a list of rows. It sets only what is read: to clear all of the list takes longer than to
 * fill it, and it is made for each chunk. */
static inline void pal_prefetch_begin(pal_prefetch *a, int64_t rows)
{
    a->arrays = 0;
    a->rows = rows;
}

/* Adds `channels` channels of x, whose elements have `size` bytes. It leaves x out if its channels
 * are not next to each other. */
static inline void pal_prefetch_add(pal_prefetch *a, pal_rows x, int64_t channels, size_t size)
{
    if (!x.data || x.channel != 1 || a->arrays == PAL_PREFETCH) return;
    a->data[a->arrays] = x.data;
    a->step[a->arrays] = x.step * (int64_t)size;
    a->bytes[a->arrays++] = channels * (int64_t)size;
}

/* ---- Sequences ---- */

/* Sequences of a tensor [B,T,..]: the rows of its batch, or with offsets the pieces of one row. */
typedef struct pal_sequences {
    const int64_t *offsets; /* NULL: not packed */
    int64_t count, T;       /* T of a row */
} pal_sequences;

static inline pal_sequences pal_sequences_of(const pal_array *offsets, int64_t B, int64_t T)
{
    if (!offsets) return (pal_sequences){NULL, B, T};
    return (pal_sequences){offsets->data, offsets->shape[0] - 1, T};
}

/* Where sequence n is: its row of the batch, its first token in that row, and its number of tokens.
 */
static inline int64_t pal_sequence_batch(const pal_sequences *s, int64_t n)
{
    return s->offsets ? 0 : n;
}
static inline int64_t pal_sequence_first(const pal_sequences *s, int64_t n)
{
    return s->offsets ? s->offsets[n] : 0;
}
static inline int64_t pal_sequence_length(const pal_sequences *s, int64_t n)
{
    return s->offsets ? s->offsets[n + 1] - s->offsets[n] : s->T;
}
static inline int64_t pal_sequence_longest(const pal_sequences *s)
{
    int64_t longest = s->offsets ? 0 : s->T;
    for (int64_t n = 0; n < s->count && s->offsets; n++)
        if (pal_sequence_length(s, n) > longest) longest = pal_sequence_length(s, n);
    return longest;
}

/*
 * Sequences are cut into blocks of `each` tokens, and blocks of all sequences have numbers. This is
 * the number of the first block of sequence n. For a packed sequence that begins at token t it is
 * t / each + n. The difference of two such numbers is at least ceil(length / each), so the blocks
 * of two sequences never get the same number, and no sum over sequences is needed. Some numbers
 * stand for no block. `tokens` is T, or more if the first sequence has tokens before those that are
 * packed.
 */
static inline int64_t pal_first_block(const pal_sequences *s, int64_t n, int64_t tokens,
                                      int64_t each)
{
    const int64_t past = n > 0 ? tokens - s->T : 0;
    if (s->offsets) return (past + s->offsets[n]) / each + n;
    return n * ((tokens + each - 1) / each);
}

#endif
