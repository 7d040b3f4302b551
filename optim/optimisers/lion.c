/*
 * lion.c - the sign of a momentum.
 */
#include "optim/optimisers/internal.h"
#include "optim/optimisers/kernels/lion.h"

#include <math.h>

static void classify(const void *opts, const pal_params *params, int i, pal_setting *setting)
{
    (void)opts, (void)params, (void)i;
    setting->moments = 1;
}

static void update(const pal_optim *optim, const pal_extent *extent, double lr)
{
    const pal_lion_opts *o = optim->opts;
    pal_lion_numbers c = {.beta1 = o->beta1,
                          .one_beta1 = 1 - o->beta1,
                          .beta2 = o->beta2,
                          .one_beta2 = 1 - o->beta2,
                          .rate = lr,
                          .decay = lr * extent->decay};
    pal_dtype dtype = pal_params_block(optim->params, extent->block).dtype;
    pal_update_extent(optim, extent, pal_optim_kernels_for(dtype)->lion, &c);
}

static const pal_key rows[] = {
    {"beta1", PAL_KEY_REAL, PAL_AT(pal_lion_opts, beta1), .high = 1, .open = PAL_OPEN_BOTH},
    {"beta2", PAL_KEY_REAL, PAL_AT(pal_lion_opts, beta2), .high = 1, .open = PAL_OPEN_BOTH},
    {"decay", PAL_KEY_REAL, PAL_AT(pal_lion_opts, decay), .high = HUGE_VAL, .tag = PAL_IN_SETTING},
};

pal_optim *pal_lion_new(pal_params *params, pal_lion_opts o)
{
    if (o.beta1 == 0) o.beta1 = 0.9;
    if (o.beta2 == 0) o.beta2 = 0.99;
    return pal_optim_make(&pal_update_lion, params, &o, o.groups, o.group_count, o.decay);
}

static pal_optim *create(pal_params *params, const void *opts)
{
    return pal_lion_new(params, *(const pal_lion_opts *)opts);
}

const pal_update_kind pal_update_lion = {.name = "lion",
                                         .keys = PAL_KEYS(rows),
                                         .opts_size = sizeof(pal_lion_opts),
                                         .groups = offsetof(pal_lion_opts, groups),
                                         .averages = true,
                                         .create = create,
                                         .classify = classify,
                                         .update = update};
