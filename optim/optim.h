/*
 * optim.h - what turns gradients into better parameters: optimisers, clipping, learning-rate
 * schedules, and an average of the weights.
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

/* ---- Optimisers ---- */

/*
 * An optimiser of any kind. In the formulas x is a parameter, g its gradient, t = 1, 2, ... the
 * step. Every constructor makes one for the parameters that exist now, with zero moments; NULL
 * after telling the handler if an option is out of range or memory is short. params has to outlive
 * it. Moments have the parameters' dtype. A step asks for no memory.
 */
typedef struct pal_optim pal_optim;

/*
 * Parameters that are treated differently: those whose name matches `pattern` (as a shell matches
 * file names: * ? [...]) and no pattern of an earlier group. Those marked by pal_no_decay never
 * decay. A pattern that matches no parameter is an error.
 */
typedef struct pal_group {
    const char *pattern; /* of names */
    double rate;  /* >= 0, times the learning rate they would have; 0: 1. To stop one, pal_freeze */
    double decay; /* >= 0; 0: the optimiser's */
    bool no_decay; /* decay 0 although the optimiser has one */
} pal_group;

/*
 * AdamW, Adam with decoupled weight decay:
 *
 *     m <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2
 *     x <- x - lr decay x - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
 *
 * Adam adds the decay to the gradient instead, g + decay x in the place of g, as PyTorch's Adam.
 * Memory: two numbers an element. Cost: one pass that reads x, g, m, v and writes x, m, v.
 * Source: Kingma, Ba 2015 (arXiv 1412.6980); Loshchilov, Hutter 2019 (arXiv 1711.05101).
 */
typedef struct pal_adamw_opts {
    double beta1;            /* in (0, 1); 0: 0.9 */
    double beta2;            /* in (0, 1); 0: 0.999 */
    double eps;              /* > 0; 0: 1e-8 */
    double decay;            /* >= 0; default none */
    const pal_group *groups; /* read by the constructor only, here and below */
    int group_count;         /* how many */
} pal_adamw_opts;

/* AdamW: decoupled decay. */
PAL_API pal_optim *pal_adamw_new(pal_params *params, pal_adamw_opts opts);
/* Adam: the decay is added to the gradient. */
PAL_API pal_optim *pal_adam_new(pal_params *params, pal_adamw_opts opts);

/*
 * Gradient descent with momentum, as PyTorch's SGD without dampening:
 *
 *     d <- g + decay x        m <- momentum m + d
 *     x <- x - lr m           with nesterov: x - lr (d + momentum m); without momentum: x - lr d
 *
 * Memory: one number an element, none without momentum. Cost: one pass.
 * Source: Sutskever et al. 2013 (ICML), in PyTorch's form, where lr is outside of m.
 */
typedef struct pal_sgd_opts {
    double momentum;         /* in [0, 1); default none */
    bool nesterov;           /* needs momentum */
    double decay;            /* >= 0; default none */
    const pal_group *groups; /* as AdamW's */
    int group_count;         /* how many */
} pal_sgd_opts;

/* Gradient descent with or without momentum. */
PAL_API pal_optim *pal_sgd_new(pal_params *params, pal_sgd_opts opts);

/*
 * Lion, the sign of a momentum:
 *
 *     x <- x - lr decay x - lr sign(beta1 m + (1 - beta1) g)        m <- beta2 m + (1 - beta2) g
 *
 * sign(0) is 0. Every element moves by lr, so the authors advise a rate 3 to 10 times smaller than
 * AdamW's and a decay as much larger. Memory: one number an element. Cost: one pass.
 * Source: Chen et al. 2023 (arXiv 2302.06675).
 */
typedef struct pal_lion_opts {
    double beta1;            /* in (0, 1); 0: 0.9 */
    double beta2;            /* in (0, 1); 0: 0.99 */
    double decay;            /* >= 0; default none */
    const pal_group *groups; /* as AdamW's */
    int group_count;         /* how many */
} pal_lion_opts;

/* Lion. */
PAL_API pal_optim *pal_lion_new(pal_params *params, pal_lion_opts opts);

/* By what the step of a matrix is multiplied. */
typedef enum pal_muon_scale {
    PAL_MUON_SHAPE, /* sqrt(max(1, rows / columns)) */
    PAL_MUON_RMS    /* 0.2 sqrt(max(rows, columns)) */
} pal_muon_scale;

/*
 * Muon, momentum made orthogonal, for the matrices [rows, columns]:
 *
 *     m <- momentum m + g      u = g + momentum m      X = u / max(|u|, 1e-7), Frobenius norm
 *     five times               A = X X^T,  X <- 3.4445 X + (-4.7750 A + 2.0315 A^2) X
 *     x <- x - lr decay x - lr scale X
 *
 * The iteration (Newton-Schulz) takes all singular values of X that are not tiny into about
 * [0.7, 1.2] and leaves its singular vectors; it runs over the smaller side of the matrix, in its
 * dtype. scale is sqrt(max(1, rows / columns)), or 0.2 sqrt(max(rows, columns)), with which an
 * element moves about as far as by AdamW, so that AdamW's rate serves.
 *
 * Matrices are the parameters of two dimensions whose name matches none of `exclude`. All others
 * (embeddings, head, gains, convolutions) follow AdamW at lr times rest_rate. The decay of both is
 * decoupled.
 *
 * Memory: one number an element of a matrix, two of others, and for the largest matrix, of sides
 * p <= q, 2 p (p + q) numbers. Cost: 10 p (2 p q + p^2) flops a matrix and two passes beside them.
 * Sources: Jordan et al. 2024 (kellerjordan.github.io/posts/muon) for rule and coefficients, their
 * program for the two rates, 0.02 and 0.0003; Liu et al. 2025 (arXiv 2502.16982) for the second
 * scale.
 */
typedef struct pal_muon_opts {
    double momentum;            /* in (0, 1); 0: 0.95 */
    bool no_nesterov;           /* u = m */
    pal_muon_scale scale;       /* how far a matrix moves */
    const char *const *exclude; /* patterns; NULL: "*embed*" and "*head*" */
    int exclude_count;          /* how many */
    double rest_rate;           /* > 0; 0: 0.015 with PAL_MUON_SHAPE, 1 with PAL_MUON_RMS */
    double beta1;               /* of the rest, as AdamW's; 0: 0.9 */
    double beta2;               /* of the rest; 0: 0.95 */
    double eps;                 /* of the rest; 0: 1e-8 */
    double decay;               /* >= 0; default none */
    const pal_group *groups;    /* as AdamW's */
    int group_count;            /* how many */
} pal_muon_opts;

/* Muon, with AdamW for what is not a matrix. */
PAL_API pal_optim *pal_muon_new(pal_params *params, pal_muon_opts opts);

/*
 * An optimiser by name and options text, `name[:key=value...]`: "lion:beta1=0.95:decay=0.1". The
 * keys are the fields of the options above, but groups and exclude; muon has nesterov=false for
 * no_nesterov, and scale=shape or scale=rms. A key that is not there is the constructor's default;
 * of one that is there twice the last counts. NULL after telling the handler what is wrong.
 */
PAL_API pal_optim *pal_optim_new(pal_params *params, const char *text);
/* PAL_EVALUE, with what is wrong in *error (may be NULL), if a text is none of these. */
PAL_API PAL_CHECKED pal_status pal_optims_check(const char *text, pal_error *error);
/* The names there are, i from 0; NULL at the end. */
PAL_API const char *pal_optims_name(int i);

/* NULL is allowed. Parameters stay. */
PAL_API void pal_optim_free(pal_optim *optim);
/*
 * One update at learning rate lr, from the gradients that are there. Gradients are not cleared.
 * PAL_EVALUE, after telling the handler and changing nothing, if parameters were created since the
 * optimiser was, or lr is not finite.
 */
PAL_API pal_status pal_optim_step(pal_optim *optim, double lr);
PAL_API int64_t pal_optim_steps(const pal_optim *optim); /* updates made so far: t */
/* "adamw", "adam", "sgd", "lion" or "muon". */
PAL_API const char *pal_optim_name(const pal_optim *optim);

/*
 * The state: datasets group/m/NAME and group/v/NAME for the moments that parameter NAME has,
 * group/step, and the optimiser's name as the attribute `kind` of the group. Loading is all or
 * nothing: another kind of optimiser, and a moment that is missing, superfluous, misshapen or of
 * another dtype, is said in *error (may be NULL), and nothing has changed.
 */
PAL_API PAL_CHECKED pal_status pal_optim_put(const pal_optim *optim, pal_h5 *file,
                                             const char *group, pal_error *error);
/* Reads the state that pal_optim_put wrote. */
PAL_API PAL_CHECKED pal_status pal_optim_get(pal_optim *optim, pal_h5 *file, const char *group,
                                             pal_error *error);

/* ---- The average of the weights ---- */

/*
 * An exponential moving average a of every parameter x, which often does better than the last x.
 * At update t = 1, 2, ...:
 *
 *     a <- d a + (1 - d) x        d = decay; with warm_up, min(decay, (1 + t) / (10 + t))
 *
 * It begins as a = x. One number an element, of the parameters' dtype. An update is one pass that
 * reads x and a and writes a. The warm-up, as in TensorFlow's moving average, forgets the start
 * faster.
 */
typedef struct pal_average pal_average;

/* Options of pal_average_new. */
typedef struct pal_average_opts {
    double decay; /* in (0, 1); 0: 0.999 */
    bool warm_up; /* less at first: (1 + t) / (10 + t) */
} pal_average_opts;

/* For the parameters that exist now. NULL after telling the handler. */
PAL_API pal_average *pal_average_new(pal_params *params, pal_average_opts opts);
/* NULL is allowed. Parameters stay. */
PAL_API void pal_average_free(pal_average *average);
/* After a step. PAL_EVALUE, after telling the handler and changing nothing, if parameters were
 * created since, or the two are swapped. */
PAL_API pal_status pal_average_update(pal_average *average);
/* Exchanges average and parameters, to evaluate or save with the average; once more before training
 * goes on. PAL_EVALUE as above if parameters were created since. */
PAL_API pal_status pal_average_swap(pal_average *average);
/* Updates made so far: t. */
PAL_API int64_t pal_average_updates(const pal_average *average);
/* group/a/NAME, group/step and kind = "average"; all or nothing, as for an optimiser. PAL_EVALUE
 * while they are swapped. */
PAL_API PAL_CHECKED pal_status pal_average_put(const pal_average *average, pal_h5 *file,
                                               const char *group, pal_error *error);
/* Reads the state that pal_average_put wrote. */
PAL_API PAL_CHECKED pal_status pal_average_get(pal_average *average, pal_h5 *file,
                                               const char *group, pal_error *error);

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

/* A rate for every step. Steps count from 0. */
typedef struct pal_schedule {
    pal_schedule_kind kind; /* what follows the warm-up */
    double lr;              /* the largest rate */
    double min_lr;  /* the rate at the end, 0 .. lr; PAL_CONSTANT does not read it, nor steps */
    int64_t warmup; /* steps in which the rate rises */
    int64_t steps;  /* when min_lr is reached, the warm-up included */
    int64_t decay_steps; /* PAL_WSD: the last of the steps; at most steps - warmup */
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
