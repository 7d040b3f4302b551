/*
 * adamw.c - Adam with decoupled decay, and Adam with decay in the gradient.
 */
#include "optim/optimisers/internal.h"

#include <math.h>

bool pal_adamw_check(const pal_rule *rule, pal_adamw_opts *o)
{
    if (o->beta1 == 0) o->beta1 = 0.9;
    if (o->beta2 == 0) o->beta2 = 0.999;
    if (o->eps == 0) o->eps = 1e-8;
    return pal_option_in_unit(rule, "beta1", o->beta1) &&
           pal_option_in_unit(rule, "beta2", o->beta2) &&
           pal_option_not_negative(rule, "eps", o->eps) &&
           pal_option_not_negative(rule, "decay", o->decay);
}

void pal_adamw_update_run(const pal_optim *optim, const pal_run *run, const pal_adamw_opts *o,
                          double lr, bool coupled)
{
    double t = (double)optim->steps;
    pal_adamw_numbers c = {.beta1 = o->beta1,
                           .one_beta1 = 1 - o->beta1,
                           .beta2 = o->beta2,
                           .one_beta2 = 1 - o->beta2,
                           .rate = lr / (1 - pow(o->beta1, t)),
                           .correct = 1 / sqrt(1 - pow(o->beta2, t)),
                           .eps = o->eps,
                           .decay = coupled ? 0 : lr * run->decay,
                           .l2 = coupled ? run->decay : 0};
    pal_dtype dtype = pal_params_block(optim->params, run->block).dtype;
    pal_update_run(optim, run, pal_optim_kernels_for(dtype)->adamw, &c);
}

static void classify(const void *opts, const pal_params *params, int i, pal_setting *setting)
{
    (void)opts, (void)params, (void)i;
    setting->moments = 2;
}

static void adamw_update(const pal_optim *optim, const pal_run *run, double lr)
{
    pal_adamw_update_run(optim, run, optim->opts, lr, false);
}

static void adam_update(const pal_optim *optim, const pal_run *run, double lr)
{
    pal_adamw_update_run(optim, run, optim->opts, lr, true);
}

static int numbers(const void *opts, pal_number number[PAL_NUMBERS])
{
    const pal_adamw_opts *o = opts;
    int n = 0;
    number[n++] = (pal_number){"beta1", o->beta1};
    number[n++] = (pal_number){"beta2", o->beta2};
    number[n++] = (pal_number){"eps", o->eps};
    return n;
}

static const pal_rule adamw = {
    .name = "adamw", .classify = classify, .numbers = numbers, .update = adamw_update};
static const pal_rule adam = {
    .name = "adam", .classify = classify, .numbers = numbers, .update = adam_update};

pal_optim *pal_adamw_new(pal_params *params, pal_adamw_opts opts)
{
    if (!pal_adamw_check(&adamw, &opts)) return NULL;
    return pal_optim_make(&adamw, params, opts.groups, opts.group_count, opts.decay, &opts,
                          sizeof opts);
}

pal_optim *pal_adam_new(pal_params *params, pal_adamw_opts opts)
{
    if (!pal_adamw_check(&adam, &opts)) return NULL;
    return pal_optim_make(&adam, params, opts.groups, opts.group_count, opts.decay, &opts,
                          sizeof opts);
}
