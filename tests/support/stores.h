/*
 * stores.h - stores of tokens for the tests of batches. Token i is i, so that a batch shows where
 * it comes from.
 */
#ifndef PAL_TEST_STORES_H
#define PAL_TEST_STORES_H

#include "optim/data.h"

enum { COUNT = 1013, SEVERAL = 11, MOST = 4000 };

extern pal_tape *tape;
extern pal_tokens *store;
extern pal_error last; /* what the handler was told */
extern char path[64];  /* of the store, in a folder of its own */

/* Fixture. */
void stores_setup(void);
void stores_teardown(void);

void ok(pal_status status, const pal_error *error);

/* Opens a store of COUNT tokens in several documents, or in one; token i stands for i % 4 bytes. */
void open_store(bool one);
pal_batches *make(pal_batches_opts opts);

/* A batch copied from the tape. */
typedef struct taken {
    int64_t tokens[MOST], targets[MOST], offsets[MOST];
    int64_t n, sequences, counted, bytes;
    bool end, continued;
} taken;

/* The next batch; false at the end. */
bool take(pal_batches *b, taken *t);

/* Counts how often each token is a target and checks what the batch says of itself. */
void count_targets(const taken *t, int *times);

/* Whether a document begins with that token. */
bool begins(int64_t token);

#endif
