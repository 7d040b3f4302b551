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

struct pal_batches {
    pal_tokens *store;
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

/* Starts the thread; false if that fails. */
bool pal_ahead_start(pal_batches *b);
void pal_ahead_stop(pal_batches *b);
/* Waits for the next slot. The slot stays full until it is released. */
pal_slot *pal_ahead_wait(pal_batches *b);
void pal_ahead_release(pal_batches *b);
/* Forgets what was drawn and continues from b->at. */
void pal_ahead_restart(pal_batches *b);

#endif
