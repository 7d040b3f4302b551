/*
 * sgd.c - gradient descent with momentum.
 */
#include "autograd/internal.h"
#include "optim/optimisers/internal.h"

static void classify(const void *opts, const pal_params *params, int i, pal_setting *setting)
{
    const pal_sgd_opts *o = opts;
    (void)params, (void)i;
    setting->moments = o->momentum > 0;
}

static void update(const pal_optim *optim, const pal_run *run, double lr)
{
    const pal_sgd_opts *o = optim->opts;
    pal_sgd_numbers c = {
        .rate = lr, .momentum = o->momentum, .l2 = run->decay, .nesterov = o->nesterov};
    pal_dtype dtype = pal_params_block(optim->params, run->block).dtype;
    pal_update_run(optim, run, pal_optim_kernels_for(dtype)->sgd, &c);
}

static int numbers(const void *opts, pal_number number[PAL_NUMBERS])
{
    const pal_sgd_opts *o = opts;
    int n = 0;
    number[n++] = (pal_number){"momentum", o->momentum};
    number[n++] = (pal_number){"nesterov", o->nesterov};
    return n;
}

static const pal_rule sgd = {
    .name = "sgd", .classify = classify, .numbers = numbers, .update = update};

pal_optim *pal_sgd_new(pal_params *params, pal_sgd_opts opts)
{
    if (!(opts.momentum >= 0 && opts.momentum < 1) || (opts.nesterov && opts.momentum == 0)) {
        pal_fail_nowhere(PAL_EVALUE,
                         "sgd_new: momentum %g must be in [0, 1), and not 0 for nesterov",
                         opts.momentum);
        return NULL;
    }
    if (!pal_option_not_negative(&sgd, "decay", opts.decay)) return NULL;
    return pal_optim_make(&sgd, params, opts.groups, opts.group_count, opts.decay, &opts,
                          sizeof opts);
}
