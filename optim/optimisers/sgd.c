/*
 * sgd.c - gradient descent with momentum.
 */
#include "autograd/internal.h"
#include "optim/optimisers/internal.h"
#include "optim/optimisers/kernels/sgd.h"

#include <math.h>

static void classify(const void *opts, const pal_params *params, int i, pal_setting *setting)
{
    const pal_sgd_opts *o = opts;
    (void)params, (void)i;
    setting->moments = o->momentum > 0;
}

static void update(const pal_optim *optim, const pal_extent *extent, double lr)
{
    const pal_sgd_opts *o = optim->opts;
    pal_sgd_numbers c = {
        .rate = lr, .momentum = o->momentum, .l2 = extent->decay, .nesterov = o->nesterov};
    pal_dtype dtype = pal_params_block(optim->params, extent->block).dtype;
    pal_update_extent(optim, extent, pal_optim_kernels_for(dtype)->sgd, &c);
}

static const pal_key rows[] = {
    {"momentum", PAL_KEY_REAL, PAL_AT(pal_sgd_opts, momentum), .high = 1, .open = PAL_OPEN_HIGH},
    {"nesterov", PAL_KEY_FLAG, PAL_AT(pal_sgd_opts, nesterov)},
    {"decay", PAL_KEY_REAL, PAL_AT(pal_sgd_opts, decay), .high = HUGE_VAL, .tag = PAL_IN_SETTING},
};

pal_optim *pal_sgd_new(pal_params *params, pal_sgd_opts o)
{
    if (o.nesterov && o.momentum == 0) {
        pal_fail_nowhere(PAL_EVALUE, "sgd_new: nesterov needs a momentum that is not 0");
        return NULL;
    }
    return pal_optim_make(&pal_update_sgd, params, &o, o.groups, o.group_count, o.decay);
}

static pal_optim *create(pal_params *params, const void *opts)
{
    return pal_sgd_new(params, *(const pal_sgd_opts *)opts);
}

const pal_update_kind pal_update_sgd = {.name = "sgd",
                                        .keys = PAL_KEYS(rows),
                                        .opts_size = sizeof(pal_sgd_opts),
                                        .groups = offsetof(pal_sgd_opts, groups),
                                        .create = create,
                                        .classify = classify,
                                        .update = update};
