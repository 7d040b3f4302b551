/*
 * batches.h - what the files of batches share: drawing a batch, and the thread that draws ahead.
 */
#ifndef PAL_OPTIM_BATCHES_H
#define PAL_OPTIM_BATCHES_H

#include "optim/data.h"
#include "tensor/internal.h"

#include <pthread.h>

/* A batch before it is on a tape. */
typedef struct pal_slot {
    int64_t *tokens, *targets; /* [own] */
    int64_t *offsets;          /* packed: [own+2] */
    int64_t sequences, counted, bytes;
    bool continued;
    bool end;
    pal_status status; /* of drawing it */
    pal_error error;
    pal_position after;
} pal_slot;

enum { PAL_SLOTS = 4 };

/* A ring of slots: the thread fills them, in order, and pal_batches_next empties them. */
typedef struct pal_ahead {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    pal_position at;  /* of the next batch to be drawn */
    int first, count; /* full slots */
    bool running, stop;
    bool drawing; /* a slot is being filled, outside the lock */
    bool pause;   /* a seek waits for the slot that is being filled, the last of the old place */
    bool waiting; /* nothing follows the last slot (an error, or the end) before a seek */
} pal_ahead;

struct pal_batches {
    pal_tokens *store;
    pal_batches_opts opts; /* with defaults filled in */
    int64_t tokens;        /* of a batch */
    /* The own part: of windows rows x (begin..end of each); packed, tokens begin..end of the batch.
     */
    int64_t row_first, rows, begin, end;
    int64_t own;       /* tokens of it */
    int64_t low, high; /* tokens of the part */
    int64_t first_document, documents;
    pal_position at;       /* of what was taken */
    pal_position walked;   /* packed: where the next three are valid */
    int64_t place, within; /* documents of this epoch that are behind, tokens of the next one too */
    int64_t *row;          /* [len+1] */
    int slots;
    pal_slot slot[PAL_SLOTS];
    pal_ahead ahead;
    size_t size; /* of this allocation */
};

/* Draws the batch at `at` into *slot, with the outcome in slot->status. One thread at a time. */
void pal_batches_draw(pal_batches *b, pal_position at, pal_slot *slot);
/* Whether the part has such a position. */
bool pal_batches_has(const pal_batches *b, pal_position at);

/* The thread: false if it cannot be started. */
bool pal_ahead_start(pal_batches *b);
void pal_ahead_stop(pal_batches *b);
/* The next slot, waiting for it; it stays full until it is released. */
pal_slot *pal_ahead_wait(pal_batches *b);
void pal_ahead_release(pal_batches *b);
/* Forgets what was drawn and goes on from b->at. */
void pal_ahead_restart(pal_batches *b);

#endif
