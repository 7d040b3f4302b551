/*
 * lion.c - the sign of a momentum.
 */
#include "optim/optimisers/internal.h"

static void classify(const void *opts, const pal_params *params, int i, pal_setting *setting)
{
    (void)opts, (void)params, (void)i;
    setting->moments = 1;
}

static void update(const pal_optim *optim, const pal_run *run, double lr)
{
    const pal_lion_opts *o = optim->opts;
    pal_lion_numbers c = {.beta1 = o->beta1,
                          .one_beta1 = 1 - o->beta1,
                          .beta2 = o->beta2,
                          .one_beta2 = 1 - o->beta2,
                          .rate = lr,
                          .decay = lr * run->decay};
    pal_dtype dtype = pal_params_block(optim->params, run->block).dtype;
    pal_update_run(optim, run, pal_optim_kernels_for(dtype)->lion, &c);
}

static int numbers(const void *opts, pal_number number[PAL_NUMBERS])
{
    const pal_lion_opts *o = opts;
    int n = 0;
    number[n++] = (pal_number){"beta1", o->beta1};
    number[n++] = (pal_number){"beta2", o->beta2};
    return n;
}

static const pal_rule lion = {
    .name = "lion", .classify = classify, .numbers = numbers, .update = update};

pal_optim *pal_lion_new(pal_params *params, pal_lion_opts opts)
{
    if (opts.beta1 == 0) opts.beta1 = 0.9;
    if (opts.beta2 == 0) opts.beta2 = 0.99;
    if (!pal_option_in_unit(&lion, "beta1", opts.beta1) ||
        !pal_option_in_unit(&lion, "beta2", opts.beta2) ||
        !pal_option_not_negative(&lion, "decay", opts.decay))
        return NULL;
    return pal_optim_make(&lion, params, opts.groups, opts.group_count, opts.decay, &opts,
                          sizeof opts);
}
