/*
 * adamw.c - Adam with decoupled decay, and Adam with decay in the gradient.
 */
#include "optim/optimisers/internal.h"
#include "optim/optimisers/kernels/adamw.h"

#include <math.h>

void pal_adamw_update_extent(const pal_optim *optim, const pal_extent *extent,
                             const pal_adamw_opts *o, double lr, bool coupled)
{
    double t = (double)optim->steps;
    pal_adamw_numbers c = {.beta1 = o->beta1,
                           .one_beta1 = 1 - o->beta1,
                           .beta2 = o->beta2,
                           .one_beta2 = 1 - o->beta2,
                           .rate = lr / (1 - pow(o->beta1, t)),
                           .correct = 1 / sqrt(1 - pow(o->beta2, t)),
                           .eps = o->eps,
                           .decay = coupled ? 0 : lr * extent->decay,
                           .l2 = coupled ? extent->decay : 0};
    pal_dtype dtype = pal_params_block(optim->params, extent->block).dtype;
    pal_update_extent(optim, extent, pal_optim_kernels_for(dtype)->adamw, &c);
}

static void classify(const void *opts, const pal_params *params, int i, pal_setting *setting)
{
    (void)opts, (void)params, (void)i;
    setting->moments = 2;
}

static void adamw_update(const pal_optim *optim, const pal_extent *extent, double lr)
{
    pal_adamw_update_extent(optim, extent, optim->opts, lr, false);
}

static void adam_update(const pal_optim *optim, const pal_extent *extent, double lr)
{
    pal_adamw_update_extent(optim, extent, optim->opts, lr, true);
}

static const pal_key rows[] = {
    {"beta1", PAL_KEY_REAL, PAL_AT(pal_adamw_opts, beta1), .high = 1, .open = PAL_OPEN_BOTH},
    {"beta2", PAL_KEY_REAL, PAL_AT(pal_adamw_opts, beta2), .high = 1, .open = PAL_OPEN_BOTH},
    {"eps", PAL_KEY_REAL, PAL_AT(pal_adamw_opts, eps), .high = HUGE_VAL},
    {"decay", PAL_KEY_REAL, PAL_AT(pal_adamw_opts, decay), .high = HUGE_VAL, .tag = PAL_IN_SETTING},
};

static pal_optim *make(const pal_update_kind *kind, pal_params *params, pal_adamw_opts o)
{
    if (o.beta1 == 0) o.beta1 = 0.9;
    if (o.beta2 == 0) o.beta2 = 0.999;
    if (o.eps == 0) o.eps = 1e-8;
    return pal_optim_make(kind, params, &o, o.groups, o.group_count, o.decay);
}

pal_optim *pal_adamw_new(pal_params *params, pal_adamw_opts opts)
{
    return make(&pal_update_adamw, params, opts);
}

pal_optim *pal_adam_new(pal_params *params, pal_adamw_opts opts)
{
    return make(&pal_update_adam, params, opts);
}

static pal_optim *create_adamw(pal_params *params, const void *opts)
{
    return pal_adamw_new(params, *(const pal_adamw_opts *)opts);
}

static pal_optim *create_adam(pal_params *params, const void *opts)
{
    return pal_adam_new(params, *(const pal_adamw_opts *)opts);
}

const pal_update_kind pal_update_adamw = {.name = "adamw",
                                          .keys = PAL_KEYS(rows),
                                          .opts_size = sizeof(pal_adamw_opts),
                                          .groups = offsetof(pal_adamw_opts, groups),
                                          .create = create_adamw,
                                          .classify = classify,
                                          .update = adamw_update};
const pal_update_kind pal_update_adam = {.name = "adam",
                                         .keys = PAL_KEYS(rows),
                                         .opts_size = sizeof(pal_adamw_opts),
                                         .groups = offsetof(pal_adamw_opts, groups),
                                         .create = create_adam,
                                         .classify = classify,
                                         .update = adam_update};
