/*
 * train_step.h - a step of the loop, with what all ranks agree on in it.
 */
#ifndef PAL_OPTIM_TRAIN_STEP_H
#define PAL_OPTIM_TRAIN_STEP_H

#include "optim/train.h"

/* Whether to end after the step: the same on all ranks. */
typedef struct pal_accord {
    bool time_over; /* in: of this rank; out: of rank 0 */
    int signal;     /* that one of them has had; 0: none */
} pal_accord;

/* pal_train_step. With ranks the accord is taken before its first backward pass. */
pal_status pal_train_step_together(const pal_train_opts *opts, int64_t step, pal_step *out,
                                   pal_accord *accord, pal_error *error);

/* PAL_EVALUE for batches of another part than this rank has. */
pal_status pal_train_part(const pal_train_opts *opts, pal_error *error);
/* Together. PAL_EVALUE for options that would have ranks wait for each other in vain, or train
 * different models; check_every is that of PAL_CHECK=ranks. */
pal_status pal_train_compare(const pal_train_opts *opts, int64_t check_every, pal_error *error);
/* Together. The number of a signal that one of the ranks has had; 0: none. */
int pal_train_signal(pal_dist *dist);

#endif
