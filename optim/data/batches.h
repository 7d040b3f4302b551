/* batches.h - what the files of batches share: drawing a batch, and the thread that draws ahead. */
#ifndef PAL_OPTIM_BATCHES_H
#define PAL_OPTIM_BATCHES_H

#include "optim/data.h"
#include "tensor/internal.h"

#include <pthread.h>
#include <sys/types.h>

/* A batch that is not on a tape yet. */
typedef struct pal_slot {
    int64_t *tokens, *targets; /* [own] */
    int64_t *offsets;          /* packed: [own+2] */
    /* of a dataset: its rows, what each field has of them, and where each row of a ragged field
     * begins there, [rows+1] of each */
    int64_t rows;
    char *data;
    int64_t *begins;
    int64_t sequences, counted, bytes;
    bool continued;
    bool end;
    pal_status status; /* outcome of drawing it */
    pal_error error;
    pal_position after;
} pal_slot;

enum { PAL_SLOTS = 4 };

/* A ring of slots. The thread fills them in order, and pal_batches_next empties them. */
typedef struct pal_ahead {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    pal_position at;  /* position of the next batch to be drawn */
    int first, count; /* index of the first full slot; number of full slots */
    bool running, stop;
    pid_t process; /* that the thread belongs to: a child of fork does not have it */
    bool drawing;  /* a slot is being filled, without holding the lock */
    bool pause;    /* a seek waits for the slot that is being filled for the old position */
    bool waiting;  /* the last slot was an error or the end; the thread waits for a seek */
} pal_ahead;

/* The tensors of a batch by name. */
enum { PAL_NAMED = 4 * PAL_FIELDS, PAL_NAME_BYTES = 80 };
struct pal_named {
    int count;
    struct {
        char name[PAL_NAME_BYTES];
        pal_tensor tensor;
    } at[PAL_NAMED];
};

struct pal_batches {
    pal_tokens *store; /* NULL: these are of a dataset */
    pal_dataset *set;
    int64_t first_row, all_rows;   /* of the split, by place */
    size_t data_at[PAL_FIELDS];    /* of each field in pal_slot.data */
    int64_t most[PAL_FIELDS];      /* entries of a row that are taken */
    int64_t begins_at[PAL_FIELDS]; /* of a ragged field in pal_slot.begins */
    struct pal_named named;
    pal_batches_opts opts; /* with defaults filled in */
    int64_t tokens;        /* tokens in a batch */
    /* The part of this process. Windows: tokens begin..end of each of its rows. Packed: tokens
     * begin..end of the batch. */
    int64_t row_first, rows, begin, end;
    int64_t own;       /* tokens in the part */
    int64_t low, high; /* range of tokens in the split */
    int64_t first_document, documents;
    pal_position at;     /* position after the batches that were taken */
    pal_position walked; /* packed: the position that place and within belong to */
    /* documents of this epoch that are done; tokens of the next one that are done */
    int64_t place, within;
    int64_t *row; /* [len+1] */
    int slots;
    pal_slot slot[PAL_SLOTS];
    pal_ahead ahead;
    size_t size; /* of this allocation */
};

/* Draws the batch at position `at` into *slot; the outcome is slot->status. Only one thread may
 * draw. */
void pal_batches_draw(pal_batches *b, pal_position at, pal_slot *slot);
/* Whether the split has such a position. */
bool pal_batches_has(const pal_batches *b, pal_position at);

/* Entry i of a permutation of 0 .. n-1, and the generator of that of an epoch (order.c). */
int64_t pal_permuted(pal_rng rng, int64_t n, int64_t i);
pal_rng pal_epoch_rng(const pal_batches *b, int64_t epoch);

/* The same of a dataset (rows.c). */
void pal_rows_draw(pal_batches *b, pal_position at, pal_slot *slot);
pal_status pal_rows_put(pal_batches *b, const pal_slot *slot, pal_tape *tape, pal_batch *out,
                        pal_error *error);
/* What is wrong with options of either kind (batches.c); share i of `all` that is divided into n
 * (order.c). */
pal_status pal_batches_check(const pal_batches_opts *o, pal_error *error);
int64_t pal_batches_share(int64_t all, int64_t i, int64_t n);
pal_batches *pal_batches_refuse(pal_batches *b, const pal_error *error);

/* Starts the thread; false if that fails. */
bool pal_ahead_start(pal_batches *b);
void pal_ahead_stop(pal_batches *b);
/* Waits for the next slot. The slot stays full until it is released. */
pal_slot *pal_ahead_wait(pal_batches *b);
void pal_ahead_release(pal_batches *b);
/* Forgets what was drawn and continues from b->at. */
void pal_ahead_restart(pal_batches *b);

#endif
