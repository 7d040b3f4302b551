/*
 * optim.h - what happens to parameters after backward: optimisers, clipping, learning-rate
 * schedules, and an average of the weights.
 *
 * A step of training, after pal_backward:
 *
 *     double norm = pal_clip_grad_norm(params, 1.0);
 *     pal_optim_step(optim, pal_schedule_lr(&schedule, step));
 *     pal_params_zero_grad(params);
 *
 * Everything here works on the blocks of pal_params and gives the same bits for every number of
 * threads. Frozen parameters do not change.
 */
#ifndef PAL_OPTIM_H
#define PAL_OPTIM_H

#include "autograd/autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

struct pal_schedule; /* below */

/* ---- Optimisers ---- */

/*
 * An optimiser of any kind. In the formulas x is a parameter, g is its gradient, and t = 1, 2, ...
 * is the step. A constructor makes an optimiser for the parameters that exist at that time, with
 * zero moments in the parameters' dtype. params must outlive it. A step allocates no memory. If an
 * option is out of range or memory is short, the constructor tells the handler and returns NULL.
 */
typedef struct pal_optim pal_optim;

/*
 * A group of parameters with its own settings. It contains the parameters whose name matches
 * `pattern`, as a shell matches file names (* ? [...]), and no pattern of an earlier group.
 * Parameters marked by pal_no_decay never decay. A pattern that matches no parameter is an error.
 */
typedef struct pal_group {
    const char *pattern; /* pattern for the names */
    double rate; /* >= 0, a factor of the learning rate; 0: 1. Use pal_freeze to stop a parameter */
    double decay;  /* >= 0; 0: the optimiser's decay */
    bool no_decay; /* decay 0, even if the optimiser has a decay */
    /* its own learning rate, of which update t makes step t - 1; the factor `rate` applies to it.
       The constructor copies it. NULL: the learning rate of pal_optim_step */
    const struct pal_schedule *schedule;
} pal_group;

/*
 * Options of AdamW, which is Adam with decoupled weight decay:
 *
 *     m <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2
 *     x <- x - lr decay x - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
 *
 * Adam instead adds the decay to the gradient, as PyTorch's Adam does: g + decay x replaces g.
 * A moment of any optimiser that would be too large for its dtype is the largest number there is:
 * in f32 this happens to v where |g| is above 1.8e19. Such an element moves little for many
 * thousands of steps. pal_train refuses such a step instead (train.h).
 *
 * Memory: two numbers for each element. Cost: one pass that reads x, g, m, v and writes x, m, v.
 * Source: Kingma, Ba 2015 (arXiv 1412.6980); Loshchilov, Hutter 2019 (arXiv 1711.05101).
 */
typedef struct pal_adamw_opts {
    double beta1;            /* in (0, 1); 0: 0.9 */
    double beta2;            /* in (0, 1); 0: 0.999 */
    double eps;              /* > 0; 0: 1e-8 */
    double decay;            /* >= 0; default none */
    const pal_group *groups; /* read only by the constructor, here and below */
    int group_count;         /* number of groups */
} pal_adamw_opts;

/* AdamW: decoupled decay. */
PAL_API pal_optim *pal_adamw_new(pal_params *params, pal_adamw_opts opts);
/* Adam: the decay is added to the gradient. */
PAL_API pal_optim *pal_adam_new(pal_params *params, pal_adamw_opts opts);

/*
 * Options of gradient descent with momentum, as in PyTorch's SGD without dampening:
 *
 *     d <- g + decay x        m <- momentum m + d
 *     x <- x - lr m           with nesterov: x - lr (d + momentum m); without momentum: x - lr d
 *
 * Memory: one number for each element, none without momentum. Cost: one pass. Source: Sutskever et
 * al. 2013 (ICML), in PyTorch's form, where lr is outside of m.
 */
typedef struct pal_sgd_opts {
    double momentum;         /* in [0, 1); default none */
    bool nesterov;           /* needs momentum */
    double decay;            /* >= 0; default none */
    const pal_group *groups; /* as in AdamW */
    int group_count;         /* number of groups */
} pal_sgd_opts;

/* Gradient descent with or without momentum. */
PAL_API pal_optim *pal_sgd_new(pal_params *params, pal_sgd_opts opts);

/*
 * Options of Lion, which follows the sign of a momentum:
 *
 *     x <- x - lr decay x - lr sign(beta1 m + (1 - beta1) g)        m <- beta2 m + (1 - beta2) g
 *
 * sign(0) is 0. Every element moves by lr. So the authors advise a rate that is 3 to 10 times
 * smaller than for AdamW, and a decay that is larger by the same factor. Memory: one number for
 * each element. Cost: one pass. Source: Chen et al. 2023 (arXiv 2302.06675).
 */
typedef struct pal_lion_opts {
    double beta1;            /* in (0, 1); 0: 0.9 */
    double beta2;            /* in (0, 1); 0: 0.99 */
    double decay;            /* >= 0; default none */
    const pal_group *groups; /* as in AdamW */
    int group_count;         /* number of groups */
} pal_lion_opts;

/* Lion. */
PAL_API pal_optim *pal_lion_new(pal_params *params, pal_lion_opts opts);

/* The factor of a matrix's step. */
typedef enum pal_muon_scale {
    PAL_MUON_SHAPE, /* sqrt(max(1, rows / columns)) */
    PAL_MUON_RMS    /* 0.2 sqrt(max(rows, columns)) */
} pal_muon_scale;

/*
 * Options of Muon, which makes the momentum of each matrix [rows, columns] orthogonal:
 *
 *     m <- momentum m + g      u = g + momentum m      X = u / max(|u|, 1e-7), Frobenius norm
 *     five times               A = X X^T,  X <- 3.4445 X + (-4.7750 A + 2.0315 A^2) X
 *     x <- x - lr decay x - lr scale X
 *
 * The iteration (Newton-Schulz) moves all singular values of X that are not tiny to about [0.7,
 * 1.2] and keeps its singular vectors. It uses the smaller side of the matrix and the matrix's
 * dtype. scale is sqrt(max(1, rows / columns)), or 0.2 sqrt(max(rows, columns)). With the second
 * one an element moves about as far as with AdamW, so AdamW's learning rate can be used.
 *
 * Matrices are the parameters of two dimensions whose name matches none of `exclude`. All others
 * (embeddings, head, gains, convolutions) follow AdamW with lr times rest_rate. The decay of both
 * is decoupled.
 *
 * Memory: one number for each element of a matrix, two for each other element, and 2 p (p + q)
 * numbers for the largest matrix, with sides p <= q. Cost: 10 p (2 p q + p^2) flops a matrix and
 * two passes. Sources: Jordan et al. 2024 (kellerjordan.github.io/posts/muon) for the update and
 * its coefficients, and their program for the two rates, 0.02 and 0.0003; Liu et al. 2025 (arXiv
 * 2502.16982) for the second scale.
 */
typedef struct pal_muon_opts {
    double momentum;            /* in (0, 1); 0: 0.95 */
    bool no_nesterov;           /* uses u = m */
    pal_muon_scale scale;       /* the factor of a matrix's step */
    const char *const *exclude; /* patterns of names; NULL: "*embed*" and "*head*" */
    int exclude_count;          /* number of patterns */
    double rest_rate;           /* > 0; 0: 0.015 with PAL_MUON_SHAPE, 1 with PAL_MUON_RMS */
    double beta1;               /* for the other parameters, as in AdamW; 0: 0.9 */
    double beta2;               /* likewise; 0: 0.95 */
    double eps;                 /* likewise; 0: 1e-8 */
    double decay;               /* >= 0; default none */
    const pal_group *groups;    /* as in AdamW */
    int group_count;            /* number of groups */
} pal_muon_opts;

/* Muon, with AdamW for parameters that are not matrices. */
PAL_API pal_optim *pal_muon_new(pal_params *params, pal_muon_opts opts);

/*
 * An optimiser by name and options text, `name[:key=value...]`: "lion:beta1=0.95:decay=0.1". The
 * keys are the fields of the options above, but groups and exclude; muon has nesterov=false for
 * no_nesterov, and scale=shape or scale=rms. A key that is not there is the constructor's default;
 * of one that is there twice the last counts. NULL after telling the handler what is wrong.
 */
PAL_API pal_optim *pal_optim_new(pal_params *params, const char *text);
/* The same with groups, which are the field `groups` of the options. */
PAL_API pal_optim *pal_optim_new_grouped(pal_params *params, const char *text,
                                         const pal_group *groups, int group_count);
/* PAL_EVALUE, with what is wrong in *error (may be NULL), if a text is none of these. */
PAL_API PAL_CHECKED pal_status pal_optims_check(const char *text, pal_error *error);
/* The names there are, i from 0; NULL at the end. */
PAL_API const char *pal_optims_name(int i);

/* Frees the optimiser; the parameters stay. NULL is allowed. */
PAL_API void pal_optim_free(pal_optim *optim);
/*
 * Makes one update with learning rate lr from the present gradients, which it does not clear. If
 * parameters were created after the optimiser, or lr is not finite, it tells the handler, changes
 * nothing and returns PAL_EVALUE. If a gradient is not finite, the same with PAL_ENUMERIC and the
 * name of the parameter. To find such a number, every gradient is read once more before the update;
 * for AdamW that is one number more than the seven that it reads and writes for each element.
 */
PAL_API pal_status pal_optim_step(pal_optim *optim, double lr);
/* What a loop does after pal_backward: pal_clip_grad_norm with max_norm, pal_optim_step, and
 * pal_params_zero_grad, in two passes over the gradients instead of five. Returns the norm before
 * clipping. */
PAL_API double pal_optim_update(pal_optim *optim, double max_norm, double lr);
PAL_API int64_t pal_optim_steps(const pal_optim *optim); /* number of updates so far: t */
/* Its name, one of those above. */
PAL_API const char *pal_optim_name(const pal_optim *optim);

/*
 * Writes the state: datasets group/m/NAME and group/v/NAME for the moments of parameter NAME,
 * group/step, and the optimiser's name as the attribute `kind` of the group.
 */
PAL_API PAL_CHECKED pal_status pal_optim_put(const pal_optim *optim, pal_h5 *file,
                                             const char *group, pal_error *error);
/*
 * Reads the state that pal_optim_put wrote, all of it or nothing. It is an error if the state is of
 * another kind of optimiser, or if a moment is missing, superfluous, not finite, or of another
 * shape or dtype. Then *error (may be NULL) says so, and nothing has changed.
 */
PAL_API PAL_CHECKED pal_status pal_optim_get(pal_optim *optim, pal_h5 *file, const char *group,
                                             pal_error *error);

/* ---- The average of the weights ---- */

/*
 * An exponential moving average a of every parameter x, which is often better than the last x. At
 * update t = 1, 2, ...:
 *
 *     a <- d a + (1 - d) x        d = decay; with warm_up, min(decay, (1 + t) / (10 + t))
 *
 * It begins as a = x. The warm-up is that of TensorFlow's moving average; with it the start is
 * forgotten sooner. Memory: one number for each element, in the parameters' dtype. Cost: an update
 * is one pass that reads x and a and writes a.
 */
typedef struct pal_average pal_average;

/* Options of pal_average_new. */
typedef struct pal_average_opts {
    double decay; /* in (0, 1); 0: 0.999 */
    bool warm_up; /* smaller decay at first: (1 + t) / (10 + t) */
} pal_average_opts;

/* Makes the average of the parameters that exist now. On failure it tells the handler and returns
 * NULL. */
PAL_API pal_average *pal_average_new(pal_params *params, pal_average_opts opts);
/* Frees the average; the parameters stay. NULL is allowed. */
PAL_API void pal_average_free(pal_average *average);
/* Updates the average after a step. If parameters were created since pal_average_new, or average
 * and parameters are swapped, it tells the handler, changes nothing and returns PAL_EVALUE. */
PAL_API pal_status pal_average_update(pal_average *average);
/* Exchanges average and parameters, in order to evaluate or save with the average. Call it again
 * before training continues. PAL_EVALUE as above if parameters were created since; the average
 * can be taken out again even then. */
PAL_API pal_status pal_average_swap(pal_average *average);
/* The number of updates so far: t. */
PAL_API int64_t pal_average_updates(const pal_average *average);
/* Writes group/a/NAME, group/step and kind = "average". PAL_EVALUE while average and parameters are
 * swapped. */
PAL_API PAL_CHECKED pal_status pal_average_put(const pal_average *average, pal_h5 *file,
                                               const char *group, pal_error *error);
/* Reads the state that pal_average_put wrote: all of it or nothing, as for an optimiser. PAL_EVALUE
 * while they are swapped. */
PAL_API PAL_CHECKED pal_status pal_average_get(pal_average *average, pal_h5 *file,
                                               const char *group, pal_error *error);

/* ---- Clipping ---- */

/*
 * Limits the norm of the gradients. norm is the Euclidean norm of all gradients taken together,
 * summed in double. If norm > max_norm > 0, it multiplies all gradients by max_norm / (norm +
 * 1e-6), as PyTorch does. max_norm = 0 only measures. Returns norm as it was before; 0 if nothing
 * is trainable. If norm is not finite, it is returned and the gradients do not change: the caller
 * decides.
 */
PAL_API double pal_clip_grad_norm(pal_params *params, double max_norm);

/* ---- Schedule ---- */

/* What the learning rate does after the linear warm-up to lr. */
typedef enum pal_schedule_kind {
    PAL_CONSTANT, /* it stays at lr */
    PAL_LINEAR,   /* it falls linearly to min_lr */
    PAL_COSINE,   /* it falls to min_lr along half a cosine */
    PAL_WSD,      /* warm-up, stable, decay: it stays at lr, and falls linearly at the end */
    PAL_RESTARTS  /* half cosines from lr to min_lr, one after another */
} pal_schedule_kind;

/* A learning rate for every step. Steps count from 0. */
typedef struct pal_schedule {
    pal_schedule_kind kind; /* what follows the warm-up */
    double lr;              /* the largest rate */
    double min_lr;  /* the rate at the end, 0 .. lr; PAL_CONSTANT reads neither this nor steps */
    int64_t warmup; /* steps in which the rate rises */
    int64_t steps;  /* the step at which min_lr is reached, with the warm-up included */
    int64_t decay_steps; /* PAL_WSD: length of the decay in steps, at most steps - warmup.
                            PAL_RESTARTS: length of the first cosine, at least 1 */
    double growth; /* PAL_RESTARTS: how many times longer than the one before each further cosine
                      is, 1 .. 1e6; 0: 1 */
} pal_schedule;

/*
 * The rate of step i = 0, 1, ... With a(n) = (i - (steps - n)) / n, the fraction of the last n
 * steps that is done:
 *
 *     i < warmup       lr (i + 1) / warmup
 *     i >= steps       min_lr                                           (not PAL_CONSTANT: lr)
 *     PAL_LINEAR       min_lr + (lr - min_lr) (1 - a(steps - warmup))
 *     PAL_COSINE       min_lr + (lr - min_lr) (1 + cos(pi a(steps - warmup))) / 2
 *     PAL_WSD          min_lr + (lr - min_lr) (1 - a(decay_steps))
 *                      lr where i < steps - decay_steps
 *     PAL_RESTARTS     min_lr + (lr - min_lr) (1 + cos(pi j / n)) / 2, at step j of a cosine of n
 *                      steps: decay_steps, then growth times that, rounded down, and so on. It
 *                      does not read steps and has no end
 *
 * Sources: Loshchilov, Hutter 2017 (arXiv 1608.03983) for the cosine; Hu et al. 2024 (arXiv
 * 2404.06395) for warm-up, stable, decay, whose decay is linear here.
 */
PAL_API double pal_schedule_lr(const pal_schedule *schedule, int64_t i);
/*
 * Checks a schedule from a command line or a file; pal_schedule_lr does not check. PAL_EVALUE names
 * the first field that is out of range in *error (may be NULL).
 */
PAL_API PAL_CHECKED pal_status pal_schedule_check(const pal_schedule *schedule, pal_error *error);

#ifdef __cplusplus
}
#endif
#endif
