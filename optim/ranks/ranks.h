/*
 * ranks.h - what the training loop asks of ranks beside optim/dist.h.
 */
#ifndef PAL_OPTIM_RANKS_H
#define PAL_OPTIM_RANKS_H

#include "optim/dist.h"
#include "tensor/squares.h"

enum { PAL_DIST_NUMBERS = 64 }; /* the most that are gathered from each rank at once */

/* Together. n numbers of each rank: those of rank r at result + r * n, until the next call. */
const double *pal_dist_gather(pal_dist *dist, int n, const double *x);
/* Together. The norm of all gradients, as pal_dist_clip_grad_norm returns it. */
double pal_dist_grad_norm(pal_dist *dist, const pal_params *params);
/* pal_dist_step, which writes its error instead of telling the handler. */
pal_status pal_dist_try_step(pal_dist *dist, pal_optim *optim, double lr, pal_error *error);

/* What this rank does from now on, such as "the save of step" and the step, for the sentence about
 * a rank that does not come. The text is not copied. NULL is allowed for dist. */
void pal_dist_place(pal_dist *dist, const char *place, int64_t step);
/* Whether reductions note the squared norm of this rank's gradients as they are before the sum, and
 * that of the last one. It needs ranks that are attached. */
void pal_dist_measure(pal_dist *dist, bool on);
pal_squares pal_dist_own_square(const pal_dist *dist);
/* Whether these ranks have divided this optimiser's state. */
bool pal_dist_shards(const pal_dist *dist, const pal_optim *optim);
/* Together. pal_h5_create_shared of all ranks. */
PAL_CHECKED pal_status pal_dist_create(pal_dist *dist, pal_h5 **file, const char *path,
                                       pal_error *error);

#endif
