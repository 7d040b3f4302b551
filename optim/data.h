/*
 * data.h - data that a model is trained on: text as tokens in a store, arrays of any kind in files
 * (pal_dataset), and the batches of either.
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

typedef struct pal_batch pal_batch;
/*
 * Changes a batch of a dataset after its tensors were made (pal_batch_set), with gradients off. rng
 * is a function of the seed, of the position of the batch and of data_index, so a run that is
 * continued gets the same numbers.
 */
typedef void pal_transform_fn(void *user, pal_tape *tape, pal_batch *batch, pal_rng *rng);

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
    /* These are read by pal_dataset_batches only. */
    uint64_t
        split_seed; /* the rows that are held out are drawn by this seed; 0: they are the last */
    pal_transform_fn *transform; /* NULL: none */
    void *user;                  /* argument of transform */
} pal_batches_opts;

/*
 * How many of n documents (or of n tokens of a single document) a fraction of 0 .. 1 holds out. It
 * is the nearest number, but at least one for a fraction above 0, and not all for a fraction below
 * 1. For n = 1 it is then none.
 */
PAL_API int64_t pal_batches_held_out(int64_t n, double share);

/* An iterator over the batches of a store or a dataset. */
typedef struct pal_batches pal_batches;

/* One batch, or the part of it that this process gets. */
struct pal_batch {
    pal_tensor tokens;  /* i64 [batch,len]; packed: [1,batch*len]; for a part of a batch, its rows
                           and tokens */
    pal_tensor targets; /* the same shape: for each token the next one, or PAL_IGNORE */
    pal_tensor offsets; /* packed: i64 [N+1], for pal_run_opts; otherwise PAL_NONE */
    bool continued;     /* packed: the first sequence continues from the part before this one */
    int64_t counted;    /* number of targets that are not PAL_IGNORE */
    int64_t bytes;      /* bytes of text that these targets stand for */
    bool end;           /* validation has ended: there are no tensors, and counted is 0 */
    struct pal_named *named; /* of a dataset: its tensors, for pal_batch_tensor; else NULL */
};

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
/* Tokens of the split; of a dataset, its rows. */
PAL_API int64_t pal_batches_tokens(const pal_batches *batches);

/* ---- Arrays in files ---- */

enum { PAL_FIELDS = 16 }; /* the most fields of a dataset */

/* The type that an array gets in batches. */
typedef enum pal_convert {
    PAL_AS_STORED = 0, /* integers and bool: i64; f64: f64; other real numbers: f32 */
    PAL_TO_F32,        /* integers too */
    PAL_TO_F64,        /* the same */
    PAL_TO_I64         /* integers, and columns of a CSV file whose numbers are whole */
} pal_convert;

/* One array of a dataset. */
typedef struct pal_dataset_field {
    const char *name;  /* of its tensor in a batch */
    const char *array; /* its name in the file; NULL: the same. Of a CSV file: a column, or several
                          that become one axis, as "open,high" or "first..last" */
    const char *file;  /* where it is; NULL: the file of the dataset */
    const char *offsets; /* the array i64 [rows+1] of the same file that says where each row begins
                            in this one, which is ragged; NULL: the first axis counts the rows */
    pal_convert to;      /* conversion */
    bool sequence; /* the first axis of a row is time, so that sequence_count divides it. Ragged
                      fields and windows are sequences anyway */
} pal_dataset_field;

/* Options of a dataset; zero is the default of every field. */
typedef struct pal_dataset_opts {
    pal_dataset_field field[PAL_FIELDS]; /* the first without a name ends the list; none: every
                                            array of the file, under its own name */
    int64_t window;  /* a row is a window of so many entries of the first axis, as of a time series;
                        0: one entry. Not for ragged fields */
    int64_t step;    /* from one window to the next; 0: 1 */
    bool not_finite; /* NaN, infinities and empty cells of a CSV file (NaN) are data; otherwise the
                        batch that has one is an error */
} pal_dataset_opts;

/* Arrays of files with the same number of rows, open for reading. */
typedef struct pal_dataset pal_dataset;

/*
 * Opens a dataset:
 *
 *     pal_dataset_open(&data, "digits.h5",
 *                      (pal_dataset_opts){.field = {{"x", .to = PAL_TO_F32}, {"y"}}}, &error)
 *
 * path may be NULL if each field names its file. Formats, told by the first bytes:
 *
 * - .npy, and .npz whose entries are stored (numpy.savez). Compressed entries are refused. Rows are
 *   read from the file when they are drawn. The array of an .npy has any name.
 * - HDF5. A dataset of up to 64 MiB is read whole at once, and its checksums are compared. Larger
 *   ones are read by rows; a deflated one then costs a chunk for each row.
 * - CSV: any other text. Cells are separated by commas, semicolons or tabs. The first line has the
 *   names of the columns, unless all its cells are numbers; then they are "1", "2", ... The text is
 *   read once here, and each cell of the columns that are wanted is checked.
 *
 * So memory does not grow with the data, apart from 8 bytes for each row of ragged fields and for
 * 64 rows of a CSV file. Files must not change while they are open.
 *
 * Files are not trusted: what they claim is compared with their size before memory is taken.
 * PAL_EFORMAT names file, row and column of what is damaged or ragged; PAL_EVALUE for an array that
 * is not there, or fields that differ in their rows; PAL_EDTYPE for real numbers that should become
 * i64; PAL_EIO, PAL_ENOMEM.
 */
PAL_API PAL_CHECKED pal_status pal_dataset_open(pal_dataset **data, const char *path,
                                                pal_dataset_opts opts, pal_error *error);
PAL_API void pal_dataset_close(pal_dataset *data);         /* NULL is allowed */
PAL_API int64_t pal_dataset_rows(const pal_dataset *data); /* how many rows it has */
/* The number of its fields, and the name of field 0 .. fields-1. */
PAL_API int pal_dataset_fields(const pal_dataset *data);
PAL_API const char *pal_dataset_name(const pal_dataset *data, int field); /* NULL for another */
/* The dtype and the shape of a row of a field; of a ragged one, that of an entry of a row. false:
 * there is no such field. */
PAL_API bool pal_dataset_about(const pal_dataset *data, const char *name, pal_dtype *dtype,
                               pal_shape *shape);
/* A text of less than 256 bytes that identifies the contents: rows, and a checksum of names,
 * shapes, types and the first and last rows. pal_train compares it when a run continues. */
PAL_API const char *pal_dataset_identity(const pal_dataset *data);
/*
 * Reads rows first .. first+count-1 of a field that is not ragged into dst, of shape [count, ...]
 * and the field's dtype. Several threads may call it; they take turns. PAL_EVALUE, PAL_ESHAPE,
 * PAL_EDTYPE, or the error of the file.
 */
PAL_API PAL_CHECKED pal_status pal_dataset_read(pal_dataset *data, const char *name, int64_t first,
                                                int64_t count, const pal_array *dst,
                                                pal_error *error);

/*
 * Makes the iterator over batches of rows, for pal_batches_next and its neighbours and for
 * pal_train. The dataset must outlive it.
 *
 * opts.batch rows make a batch (0: 8). held_out, validation, seed, prefetch and positions are as
 * for tokens: an epoch takes each row of the training split once, in a random order; validation
 * takes each row of the other split once, in order, and its last batch is shorter. Windows that
 * have an entry of the held-out split are in no training row. counted is the number of rows.
 * data_index and data_count divide the rows of a batch among processes. sequence_index and
 * sequence_count divide time: of T steps of a sequence, part s of S has s T/S to (s+1) T/S, rounded
 * down; T is the length of the row, of the longest row of the batch if they are padded, and of all
 * rows together if they are packed (offsets and batch.continued then say what the part has, as for
 * tokens). Fields that are no sequences are the same in all parts. With S > 1 counted is the number
 * of steps that the part has of its first sequence, without padding, so that a loss that is a mean
 * over them is one over the whole batch in pal_train. Each process reads its rows whole.
 *
 * Field NAME becomes the tensor NAME, [rows, ...] or [rows, window, ...]. Of ragged fields,
 * opts.len (0: the longest row) is the most entries of a row that are taken, from its beginning.
 * With kind 0 rows are padded by zeros to the longest of the batch: NAME is [rows, L, ...],
 * NAME.mask f32 [rows, L] is 1 where there is an entry and 0 where there is none, and NAME.lengths
 * is i64 [rows]. With PAL_PACKED rows follow one another: NAME is [1, entries, ...] and
 * NAME.offsets i64 [rows+1]; batch.offsets is that of the first ragged field.
 *
 * Memory: that of the largest batch, four times with prefetch. If an option is wrong, the handler
 * is told and the result is NULL. A number that is not finite is an error of pal_batches_next that
 * names file and row.
 */
PAL_API pal_batches *pal_dataset_batches(pal_dataset *data, pal_batches_opts opts);
/* Both iterators of a split: opts with validation = false, and with true. If one is refused, the
 * handler is told, and both are NULL. */
PAL_API void pal_dataset_split(pal_dataset *data, pal_batches_opts opts, pal_batches **train,
                               pal_batches **held_out);
/* The tensor of a name in a batch of a dataset. If there is none, the handler is told which there
 * are, and the result is PAL_NONE. */
PAL_API pal_tensor pal_batch_tensor(const pal_batch *batch, const char *name);
/* Replaces the tensor of a name, or adds one, for a transform. false: there are too many. */
PAL_API bool pal_batch_set(pal_batch *batch, const char *name, pal_tensor t);

#ifdef __cplusplus
}
#endif
#endif
