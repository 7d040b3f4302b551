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
 * docs/data.md has the format of the file and how batches are drawn.
 */
#ifndef PAL_DATA_H
#define PAL_DATA_H

#include "autograd/autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- The store ---- */

/* Bytes of a stored token: 1 for a vocabulary of up to 2^8, 2 up to 2^16, else 4. */
PAL_API int pal_tokens_width(int64_t vocab);

/* What a store is made of. All zero but tokens and count: one document of bytes. */
typedef struct pal_tokens_source {
    const void *tokens;     /* unsigned, of pal_tokens_width(vocab) bytes each */
    int64_t count;          /* how many */
    const int64_t *offsets; /* [documents+1], where each begins: from 0 to count without a decrease;
                               NULL: one document */
    int64_t documents;      /* where there are offsets, at least 1 */
    int64_t vocab;          /* tokens are 0 .. vocab-1; 0: 256 */
    const char *name;       /* of the tokenizer, up to 255 bytes; NULL: "bytes" */
    const char *tokenizer;  /* the text of a tokenizer.json; NULL: tokens are bytes */
    const uint32_t *lengths; /* [vocab], the bytes of text that each token stands for (0 for those
                                that stand for none); NULL: 1 each */
} pal_tokens_source;

/*
 * Writes a store in place of path: all of it, or what was there before stays. Memory: that of the
 * tokens twice, for the file is built there. Errors: PAL_EVALUE for a source that does not fit
 * itself, PAL_EIO, PAL_ENOMEM.
 */
PAL_API PAL_CHECKED pal_status pal_tokens_write(const char *path, const pal_tokens_source *source,
                                                pal_error *error);

/* A store that is open for reading. */
typedef struct pal_tokens pal_tokens;

/*
 * Opens a store. Everything but the tokens is read and checked now: types, sizes, offsets, lengths.
 * Tokens are read by MiB, of which the last 16 are kept; each is compared with its checksum and
 * with the size of the vocabulary when it is used. Errors: PAL_EIO, PAL_EFORMAT, PAL_ENOMEM.
 */
PAL_API PAL_CHECKED pal_status pal_tokens_open(pal_tokens **store, const char *path,
                                               pal_error *error);
PAL_API void pal_tokens_close(pal_tokens *store); /* NULL is allowed */

/* Tokens of all documents. */
PAL_API int64_t pal_tokens_count(const pal_tokens *store);
/* At least 1. */
PAL_API int64_t pal_tokens_documents(const pal_tokens *store);
PAL_API const int64_t *pal_tokens_offsets(const pal_tokens *store); /* [documents+1] */
/* Tokens are 0 .. this - 1. */
PAL_API int64_t pal_tokens_vocab_size(const pal_tokens *store);
PAL_API int64_t pal_tokens_bytes(const pal_tokens *store);           /* of text, altogether */
PAL_API const uint32_t *pal_tokens_lengths(const pal_tokens *store); /* [vocab]; NULL: 1 each */
PAL_API const char *pal_tokens_name(const pal_tokens *store);        /* of the tokenizer */
PAL_API const char *pal_tokens_tokenizer(const pal_tokens *store);   /* its text; NULL: bytes */
/* A number that differs for different contents (but for one in 2^32): CRC-32C over the checksums of
 * all datasets. */
PAL_API uint32_t pal_tokens_checksum(const pal_tokens *store);
/* Tokens first .. first+count-1. May be called from several threads, which take turns. PAL_EVALUE
 * for a range that is not there, PAL_EFORMAT for damage or a token outside the vocabulary. */
PAL_API PAL_CHECKED pal_status pal_tokens_read(pal_tokens *store, int64_t first, int64_t count,
                                               int64_t *out, pal_error *error);

/* ---- Batches ---- */

/* How a text is cut into rows. */
typedef enum pal_batch_kind {
    PAL_WINDOWS = 0, /* stretches of len tokens, wherever documents begin and end */
    PAL_PACKED       /* whole documents end to end, with offsets between them */
} pal_batch_kind;

/* What batches are drawn; zero is windows of the whole store, from seed 0. */
typedef struct pal_batches_opts {
    pal_batch_kind kind; /* windows or packed documents */
    int64_t batch;       /* rows; 0: 8 */
    int64_t len;         /* tokens of a row; 0: 256 */
    uint64_t seed;       /* of the order */
    double held_out; /* in 0 .. 1, taken from the end for validation: of the documents; where there
                        is one document, of its tokens (pal_batches_held_out) */
    bool validation; /* batches of the held-out part, in order, once */
    bool prefetch;   /* a thread reads up to 4 batches ahead */
    int data_index;  /* which part of the rows this process has */
    int data_count;  /* of how many, at most `batch`; 0: it has all of them */
    int sequence_index; /* which stretch of the tokens of these rows */
    int sequence_count; /* of how many; 0: it has all of them */
} pal_batches_opts;

/* How many of n documents, or of the tokens of the only one, a share of 0 .. 1 is: to the nearest
 * number, but at least one for a share above 0 and not all for a share below 1 (of n = 1: none). */
PAL_API int64_t pal_batches_held_out(int64_t n, double share);

/* A walk through the batches of a store. */
typedef struct pal_batches pal_batches;

/* One batch, or the part of it that this process has. */
typedef struct pal_batch {
    pal_tensor tokens;  /* i64 [batch,len]; packed: [1,batch*len]; of a part, its rows and tokens */
    pal_tensor targets; /* alike: the token after each, or PAL_IGNORE */
    pal_tensor offsets; /* packed: i64 [N+1], for pal_run_opts; else PAL_NONE */
    bool continued;     /* packed: the first sequence goes on from the stretch before this one */
    int64_t counted;    /* targets that are not PAL_IGNORE */
    int64_t bytes;      /* of text that these stand for */
    bool end;           /* validation is over: there are no tensors, and counted is 0 */
} pal_batch;

/* How far batches have been taken. Zero is the beginning. */
typedef struct pal_position {
    int64_t epoch; /* from 0 */
    int64_t index; /* windows, or packed tokens, of this epoch that were taken */
} pal_position;

/*
 * Batches of a store, which has to outlive them.
 *
 * Windows: an epoch cuts the text every len targets, beginning at a random phase, and takes the
 * pieces in a random order; the first and the last may be shorter and are filled up with token 0
 * and PAL_IGNORE. Each token but the first of the text is a target once an epoch. Held out, the
 * first target of the part has the last token before it for an input.
 * Packed: an epoch takes the documents in a random order, end to end, and cuts them into rows of
 * len; what is cut goes on in the next row as a sequence of its own. Each token but the first of
 * its document is a target once an epoch; the last of a document has the target PAL_IGNORE. A batch
 * is its rows end to end.
 *
 * Where an epoch ends within a batch, the next begins there. Validation ends instead: its last
 * batch is filled up, then come batches that say `end`, until pal_batches_seek goes back to
 * position zero. Phase and order are functions of (seed, epoch) alone, so a position is all that a
 * run has to keep, and batches are the same with and without prefetch.
 *
 * Parts: rank r of P, with data_index = r and data_count = P, has rows r B/P to (r+1) B/P (rounded
 * down; B = batch) of each batch, and reads no others from the store. Stretch s of S, with
 * sequence_index and sequence_count, has of these rows' windows the tokens s T/S to (s+1) T/S each
 * (T = len); packed, of these rows end to end, N tokens, those from s N/S to (s+1) N/S, and the
 * offsets are those of the sequences and pieces of them in the stretch: the first begins in the
 * stretch before it if `continued`. counted and bytes are those of the part. All parts of a batch
 * are together the batch that one process has, and positions are those of whole batches: a run may
 * go on with other numbers of parts.
 *
 * NULL after telling the handler (PAL_EVALUE, PAL_ENOMEM) if an option is wrong, the store is
 * empty, the part has no target or memory is short. Memory: 16 bytes for each token of a batch, 24
 * if packed (four times that with prefetch); a step asks for none but the tape's.
 */
PAL_API pal_batches *pal_batches_new(pal_tokens *store, pal_batches_opts opts);
PAL_API void pal_batches_free(pal_batches *batches); /* NULL is allowed */
/* The next batch, as tensors on tape. After an error the position is what it was. */
PAL_API PAL_CHECKED pal_status pal_batches_next(pal_batches *batches, pal_tape *tape,
                                                pal_batch *out, pal_error *error);
/* Of what was taken, not of what was read ahead. */
PAL_API pal_position pal_batches_position(const pal_batches *batches);
/* Goes on from there, in either direction. PAL_EVALUE for a position that the part does not have.
 */
PAL_API PAL_CHECKED pal_status pal_batches_seek(pal_batches *batches, pal_position position,
                                                pal_error *error);
PAL_API int64_t pal_batches_tokens(const pal_batches *batches); /* tokens of the part */

#ifdef __cplusplus
}
#endif
#endif
