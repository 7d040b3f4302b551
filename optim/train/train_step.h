/* train_step.h - one step of the loop, and what all ranks agree on during it. */
#ifndef PAL_OPTIM_TRAIN_STEP_H
#define PAL_OPTIM_TRAIN_STEP_H

#include "optim/train.h"

/* Whether to end after the step. It is the same on all ranks. */
typedef struct pal_accord {
    bool time_over; /* in: on this rank; out: on rank 0 */
    int signal;     /* a signal that one of the ranks received; 0: none */
    /* With opts.noise, of the small batches of the step, one on each rank: the sum of the squared
     * norms of their gradients, that of 1 / targets, and how many there are. */
    double small_square, small_inverse, small_count;
} pal_accord;

/* pal_train_step; no callback can change these options. With several ranks the accord is made
 * before the first backward pass of the step. */
pal_status pal_train_step_together(const pal_train_opts *opts, int64_t step, pal_step *out,
                                   pal_accord *accord, pal_error *error);

/* PAL_EVALUE if the batches are of another part than this rank has. */
pal_status pal_train_part(const pal_train_opts *opts, pal_error *error);
/* Together. PAL_EVALUE for options with which ranks would wait for each other forever, or train
 * different models. check_every is that of PAL_CHECK=ranks. */
pal_status pal_train_compare(const pal_train_opts *opts, int64_t check_every, pal_error *error);
/* Together. The number of a signal that one of the ranks received; 0: none. */
int pal_train_signal(pal_dist *dist);

/* Of the products on a tape, which may be NULL. (precision.c) */
pal_dtype pal_precision_of(pal_tape *tape);

#endif
