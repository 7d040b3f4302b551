/*
 * optim.h - what turns gradients into better parameters: AdamW, clipping, a learning-rate schedule.
 *
 * A step of training, after pal_backward:
 *
 *     double norm = pal_clip_grad_norm(params, 1.0);
 *     pal_adamw_step(adamw, pal_cosine_lr(&schedule, step));
 *     pal_params_zero_grad(params);
 *
 * Everything here works on the blocks of pal_params and gives the same bits for every number of
 * threads. Frozen parameters are left alone.
 */
#ifndef PAL_OPTIM_H
#define PAL_OPTIM_H

#include "autograd/autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- AdamW ---- */

/*
 * Adam with decoupled weight decay, for gradient g of parameter x at step t = 1, 2, ...:
 *
 *     m <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2
 *     x <- x - lr decay x - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
 *
 * There are two groups: parameters marked by pal_no_decay have decay 0, all others `decay`.
 * Memory: two numbers a parameter, of its dtype. Cost of a step: one pass that reads x, g, m, v and
 * writes x, m, v.
 * Source: Kingma, Ba 2015 (arXiv 1412.6980); Loshchilov, Hutter 2019 (arXiv 1711.05101).
 */
typedef struct pal_adamw pal_adamw;

typedef struct pal_adamw_opts {
    double beta1; /* in (0, 1); 0: 0.9 */
    double beta2; /* in (0, 1); 0: 0.999 */
    double eps;   /* > 0; 0: 1e-8 */
    double decay; /* >= 0; default none */
} pal_adamw_opts;

/*
 * An optimiser for the parameters that exist now, with zero moments. NULL after telling the handler
 * if an option is out of range or memory is short.
 */
PAL_API pal_adamw *pal_adamw_new(pal_params *params, pal_adamw_opts opts);
PAL_API void pal_adamw_free(pal_adamw *adamw);
/*
 * One update at learning rate lr, from the gradients that are there. Gradients are not cleared.
 * PAL_EVALUE, after telling the handler and changing nothing, if parameters were created since
 * pal_adamw_new.
 */
PAL_API pal_status pal_adamw_step(pal_adamw *adamw, double lr);
PAL_API int64_t pal_adamw_steps(const pal_adamw *adamw); /* updates made so far: t */

/*
 * The state as datasets group/m/NAME and group/v/NAME for every parameter and group/step. Loading
 * is all or nothing: a name that is missing, misshapen or of another dtype is said in *error (may
 * be NULL), and nothing has changed.
 */
PAL_API PAL_CHECKED pal_status pal_adamw_put(const pal_adamw *adamw, pal_h5 *file,
                                             const char *group, pal_error *error);
PAL_API PAL_CHECKED pal_status pal_adamw_get(pal_adamw *adamw, pal_h5 *file, const char *group,
                                             pal_error *error);

/* ---- Clipping ---- */

/*
 * Scales all gradients by max_norm / (norm + 1e-6), as PyTorch does, if norm, the Euclidean norm of
 * all of them taken together, is larger than max_norm > 0. Returns the norm before that; 0 when
 * there is nothing to train. max_norm = 0 only measures. The sum runs in double. A norm that is not
 * finite is returned and the gradients are left as they are: the caller decides.
 */
PAL_API double pal_clip_grad_norm(pal_params *params, double max_norm);

/* ---- Schedule ---- */

/* Linear warm-up to lr, then half a cosine down to min_lr. */
typedef struct pal_cosine {
    double lr, min_lr;
    int64_t warmup, steps; /* steps counts the warm-up */
} pal_cosine;

/*
 * The rate of step i = 0, 1, ...:
 *
 *     i < warmup           lr (i + 1) / warmup
 *     warmup <= i < steps  min_lr + (lr - min_lr) / 2 (1 + cos(pi (i - warmup) / (steps - warmup)))
 *     i >= steps           min_lr
 */
PAL_API double pal_cosine_lr(const pal_cosine *schedule, int64_t i);

#ifdef __cplusplus
}
#endif
#endif
