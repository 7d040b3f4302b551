/*
 * optim.h - what turns gradients into better parameters: AdamW, clipping, learning-rate schedules.
 *
 * A step of training, after pal_backward:
 *
 *     double norm = pal_clip_grad_norm(params, 1.0);
 *     pal_optim_step(optim, pal_schedule_lr(&schedule, step));
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
typedef struct pal_optim pal_optim;

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
PAL_API pal_optim *pal_adamw_new(pal_params *params, pal_adamw_opts opts);
PAL_API void pal_optim_free(pal_optim *optim);
/*
 * One update at learning rate lr, from the gradients that are there. Gradients are not cleared.
 * PAL_EVALUE, after telling the handler and changing nothing, if parameters were created since
 * pal_adamw_new.
 */
PAL_API pal_status pal_optim_step(pal_optim *optim, double lr);
PAL_API int64_t pal_optim_steps(const pal_optim *optim);    /* updates made so far: t */
PAL_API const char *pal_optim_name(const pal_optim *optim); /* "adamw" */

/*
 * The state as datasets group/m/NAME and group/v/NAME for every parameter and group/step. Loading
 * is all or nothing: a name that is missing, misshapen or of another dtype is said in *error (may
 * be NULL), and nothing has changed.
 */
PAL_API PAL_CHECKED pal_status pal_optim_put(const pal_optim *optim, pal_h5 *file,
                                             const char *group, pal_error *error);
PAL_API PAL_CHECKED pal_status pal_optim_get(pal_optim *optim, pal_h5 *file, const char *group,
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

/* What the rate does after the linear warm-up to lr. */
typedef enum pal_schedule_kind {
    PAL_CONSTANT, /* it stays */
    PAL_LINEAR,   /* falls to min_lr along a line */
    PAL_COSINE,   /* falls to min_lr along half a cosine */
    PAL_WSD       /* warm-up, stable, decay: it stays, and falls along a line at the end */
} pal_schedule_kind;

typedef struct pal_schedule {
    pal_schedule_kind kind;
    double lr, min_lr;     /* 0 <= min_lr <= lr; PAL_CONSTANT does not read min_lr and steps */
    int64_t warmup, steps; /* steps counts the warm-up */
    int64_t decay_steps;   /* PAL_WSD: the last of the steps; at most steps - warmup */
} pal_schedule;

/*
 * The rate of step i = 0, 1, ..., with a(n) = (i - (steps - n)) / n, the way behind in the last n:
 *
 *     i < warmup       lr (i + 1) / warmup
 *     i >= steps       min_lr                                           (not PAL_CONSTANT: lr)
 *     PAL_LINEAR       min_lr + (lr - min_lr) (1 - a(steps - warmup))
 *     PAL_COSINE       min_lr + (lr - min_lr) (1 + cos(pi a(steps - warmup))) / 2
 *     PAL_WSD          min_lr + (lr - min_lr) (1 - a(decay_steps)); lr where i < steps -
 * decay_steps
 *
 * Sources: Loshchilov, Hutter 2017 (arXiv 1608.03983) for the cosine; Hu et al. 2024 (arXiv
 * 2404.06395) for warm-up, stable, decay, whose decay is a line here.
 */
PAL_API double pal_schedule_lr(const pal_schedule *schedule, int64_t i);
/*
 * PAL_EVALUE, with the first field that is out of its range in *error (may be NULL). For what
 * reads a schedule from a command line or a file; pal_schedule_lr does not check.
 */
PAL_API PAL_CHECKED pal_status pal_schedule_check(const pal_schedule *schedule, pal_error *error);

#ifdef __cplusplus
}
#endif
#endif
