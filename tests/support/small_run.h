/*
 * small_run.h - a small language model and its data, for training on one rank and on several.
 */
#ifndef TESTS_SMALL_RUN_H
#define TESTS_SMALL_RUN_H

#include <palimpsest.h>

/* Zero: two layers of gdn2 and mamba2 in f32, AdamW, windows. */
typedef struct small_opts {
    pal_dtype dtype;
    bool packed, tie, recompute, sgd;
    bool unused;   /* a parameter that no loss depends on, in the middle of the others */
    bool frozen;   /* a frozen one, too */
    bool single;   /* documents of one token, most of them: rows without a target */
    int64_t batch; /* 0: 4 */
} small_opts;

typedef struct small_run {
    small_opts o;
    pal_dist *dist; /* NULL: one process, with whole batches */
    pal_params *params;
    pal_lm *lm;
    pal_optim *optim;
    pal_tape *tape;
    pal_tokens *store;
    pal_batches *batches;
    int64_t empty;       /* micro-batches of this rank without a target */
    pal_loss_fn *before; /* called before the loss, which it replaces unless it gives PAL_NONE */
    void *user;
} small_run;

/* Writes the data to DIR/data.h5 and DIR/single.h5: by one process. */
void small_data(const char *dir);
void small_begin(small_run *r, const char *dir, small_opts o, pal_dist *dist);
void small_end(small_run *r);
/* The loop's options: loss, optimiser, a constant rate. */
pal_train_opts small_train(small_run *r);

#endif
