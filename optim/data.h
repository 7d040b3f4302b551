/*
 * data.h - text as tokens: a store in a file, and the batches that a model is trained on.
 *
 *     pal_tokens *store;
 *     if (pal_tokens_open(&store, "book.tokens.h5", &error) != PAL_OK) ...
 *     pal_batches *batches = pal_batches_new(store, (pal_batches_opts){.batch = 16, .len = 256});
 *     for (...) {
 *         pal_batch b;
 *         if (pal_batches_next(batches, tape, &b, &error) != PAL_OK) ...
 *         pal_tensor loss = pal_lm_loss(lm, b.tokens, b.targets, (pal_run_opts){0});
 *         ...
 *     }
 *     pal_batches_free(batches);
 *     pal_tokens_close(store);
 *
 * docs/data.md describes the format of the file and how batches are drawn.
 */
#ifndef PAL_DATA_H
#define PAL_DATA_H

#include "autograd/autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- The store ---- */

/* The bytes of a stored token: 1 for a vocabulary of up to 2^8, 2 for up to 2^16, else 4. */
PAL_API int pal_tokens_width(int64_t vocab);

/* The contents of a new store. If all but tokens and count are zero, it is one document of
 * bytes. */
typedef struct pal_tokens_source {
    const void *tokens;      /* unsigned integers of pal_tokens_width(vocab) bytes each */
    int64_t count;           /* number of tokens */
    const int64_t *offsets;  /* [documents+1], where each document begins; it starts with 0, never
                                decreases and ends with count. NULL: one document */
    int64_t documents;       /* number of documents, at least 1; read only if there are offsets */
    int64_t vocab;           /* tokens are 0 .. vocab-1; 0: 256 */
    const char *name;        /* name of the tokenizer, up to 255 bytes; NULL: "bytes" */
    const char *tokenizer;   /* the text of a tokenizer.json; NULL: tokens are bytes */
    const uint32_t *lengths; /* [vocab], the bytes of text that each token stands for (0 for a token
                                without text); NULL: 1 each */
} pal_tokens_source;

/*
 * Writes a store in place of path. After a failure the old file is still there. Memory: twice that
 * of the tokens, because the file is built in memory. Errors: PAL_EVALUE for a source that
 * contradicts itself, PAL_EIO, PAL_ENOMEM.
 */
PAL_API PAL_CHECKED pal_status pal_tokens_write(const char *path, const pal_tokens_source *source,
                                                pal_error *error);

/* A store that is open for reading. */
typedef struct pal_tokens pal_tokens;

/*
 * Opens a store. Types, sizes, offsets and lengths are read and checked at once. Tokens are read by
 * MiB when they are used, and the last 16 MiB are kept. Each MiB is compared with its checksum, and
 * each token with the size of the vocabulary. Errors: PAL_EIO, PAL_EFORMAT, PAL_ENOMEM.
 */
PAL_API PAL_CHECKED pal_status pal_tokens_open(pal_tokens **store, const char *path,
                                               pal_error *error);
PAL_API void pal_tokens_close(pal_tokens *store); /* NULL is allowed */

/* The number of tokens in all documents. */
PAL_API int64_t pal_tokens_count(const pal_tokens *store);
/* The number of documents, at least 1. */
PAL_API int64_t pal_tokens_documents(const pal_tokens *store);
/* [documents+1]: where each document begins */
PAL_API const int64_t *pal_tokens_offsets(const pal_tokens *store);
/* The size of the vocabulary: tokens are 0 .. this - 1. */
PAL_API int64_t pal_tokens_vocab_size(const pal_tokens *store);
PAL_API int64_t pal_tokens_bytes(const pal_tokens *store); /* bytes of text of all tokens */
/* [vocab], bytes of each token; NULL: 1 each */
PAL_API const uint32_t *pal_tokens_lengths(const pal_tokens *store);
PAL_API const char *pal_tokens_name(const pal_tokens *store); /* name of the tokenizer */
/* the tokenizer.json; NULL: bytes */
PAL_API const char *pal_tokens_tokenizer(const pal_tokens *store);
/* A checksum of the contents: CRC-32C over the checksums of all datasets. Different contents have
 * the same number with a probability of 1 in 2^32. */
PAL_API uint32_t pal_tokens_checksum(const pal_tokens *store);
/*
 * Reads tokens first .. first+count-1. Several threads may call it; they take turns. PAL_EVALUE for
 * a range outside of the store, PAL_EFORMAT for damaged data or a token outside of the vocabulary.
 */
PAL_API PAL_CHECKED pal_status pal_tokens_read(pal_tokens *store, int64_t first, int64_t count,
                                               int64_t *out, pal_error *error);

/* ---- Batches ---- */

/* How a text is cut into rows. */
typedef enum pal_batch_kind {
    PAL_WINDOWS = 0, /* windows of len tokens, which may begin and end inside documents */
    PAL_PACKED       /* whole documents one after the other, with offsets between them */
} pal_batch_kind;

/* Which batches are drawn. Zero is windows of the whole store, with seed 0. */
typedef struct pal_batches_opts {
    pal_batch_kind kind; /* windows or packed documents */
    int64_t batch;       /* rows; 0: 8 */
    int64_t len;         /* tokens in a row; 0: 256 */
    uint64_t seed;       /* seed of the order */
    double held_out;    /* in 0 .. 1: the fraction of the documents that is held out for validation,
                           taken from the end. With one document, the fraction of its tokens
                           (pal_batches_held_out) */
    bool validation;    /* batches of the held-out split, in order and once */
    bool prefetch;      /* a thread reads up to 4 batches ahead */
    int data_index;     /* which part of the rows this process gets */
    int data_count;     /* number of such parts, at most `batch`; 0: it gets all rows */
    int sequence_index; /* which part of the tokens of these rows */
    int sequence_count; /* number of such parts; 0: it gets all of them */
} pal_batches_opts;

/*
 * How many of n documents (or of n tokens of a single document) a fraction of 0 .. 1 holds out. It
 * is the nearest number, but at least one for a fraction above 0, and not all for a fraction below
 * 1. For n = 1 it is then none.
 */
PAL_API int64_t pal_batches_held_out(int64_t n, double share);

/* An iterator over the batches of a store. */
typedef struct pal_batches pal_batches;

/* One batch, or the part of it that this process gets. */
typedef struct pal_batch {
    pal_tensor tokens;  /* i64 [batch,len]; packed: [1,batch*len]; for a part of a batch, its rows
                           and tokens */
    pal_tensor targets; /* the same shape: for each token the next one, or PAL_IGNORE */
    pal_tensor offsets; /* packed: i64 [N+1], for pal_run_opts; otherwise PAL_NONE */
    bool continued;     /* packed: the first sequence continues from the part before this one */
    int64_t counted;    /* number of targets that are not PAL_IGNORE */
    int64_t bytes;      /* bytes of text that these targets stand for */
    bool end;           /* validation has ended: there are no tensors, and counted is 0 */
} pal_batch;

/* How far the batches have been taken. Zero is the beginning. */
typedef struct pal_position {
    int64_t epoch; /* counts from 0 */
    int64_t index; /* windows, or packed tokens, of this epoch that were taken */
} pal_position;

/*
 * Makes the iterator over the batches of a store, which must outlive it.
 *
 * Split: held_out divides the store into a training split and a held-out split; `validation`
 * chooses the second.
 *
 * Windows: an epoch cuts the text after every len targets, starting at a random phase, and takes
 * the windows in a random order. The first and the last window may be shorter; they are filled up
 * with token 0 and PAL_IGNORE. Each token except the first of the store is a target once in an
 * epoch. The first target of the held-out split has the token before it, from the training split,
 * as input.
 *
 * Packed: an epoch takes the documents in a random order, one after the other, and cuts them into
 * rows of len tokens. The rest of a document that was cut continues in the next row as a sequence
 * of its own. Each token except the first of its document is a target once in an epoch. The last
 * token of a document has the target PAL_IGNORE. The rows of a batch follow one another in one long
 * row.
 *
 * If an epoch ends within a batch, the next epoch begins there. Validation ends instead: its last
 * batch is filled up. After it come batches with `end` set, until pal_batches_seek goes back to
 * position zero. Phase and order depend only on (seed, epoch). So a position is all that a run has
 * to save, and batches are the same with and without prefetch.
 *
 * Parts: with data_index = r and data_count = P, the process gets rows r B/P to (r+1) B/P (rounded
 * down; B = batch) of each batch, and reads no others from the store. With sequence_index = s and
 * sequence_count = S it gets of each of these windows the tokens s T/S to (s+1) T/S (T = len).
 * Packed, it gets of these rows, N tokens one after the other, those from s N/S to (s+1) N/S. The
 * offsets are then those of the sequences within its part; `continued` says that the first of them
 * begins in the part before. counted and bytes are those of the part. All parts together are the
 * batch that a single process would get. Positions count whole batches, so a run may continue with
 * another number of parts.
 *
 * Memory: 16 bytes for each token of a batch, 24 if packed, and four times that with prefetch. A
 * step allocates only from the tape. If an option is wrong, the store is empty, the split has no
 * target or memory is short, the handler is told (PAL_EVALUE, PAL_ENOMEM) and the result is NULL.
 */
PAL_API pal_batches *pal_batches_new(pal_tokens *store, pal_batches_opts opts);
PAL_API void pal_batches_free(pal_batches *batches); /* NULL is allowed */
/* Makes the next batch as tensors on tape. After an error the position has not changed. */
PAL_API PAL_CHECKED pal_status pal_batches_next(pal_batches *batches, pal_tape *tape,
                                                pal_batch *out, pal_error *error);
/* The position after the batches that were taken. Batches read ahead do not count. */
PAL_API pal_position pal_batches_position(const pal_batches *batches);
/* Continues from a position, forward or backward. PAL_EVALUE for a position that the split does not
 * have. */
PAL_API PAL_CHECKED pal_status pal_batches_seek(pal_batches *batches, pal_position position,
                                                pal_error *error);
PAL_API int64_t pal_batches_tokens(const pal_batches *batches); /* tokens of the split */

#ifdef __cplusplus
}
#endif
#endif
