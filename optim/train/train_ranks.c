/* train_ranks.c - what the loop compares on all ranks before it begins. */
#include "optim/data/batches.h"
#include "optim/optimisers/internal.h"
#include "optim/ranks/ranks.h"
#include "optim/train/run_folder.h"
#include "optim/train/train_step.h"
#include "tensor/number.h"

#include <string.h>

pal_status pal_train_part(const pal_train_opts *o, pal_error *error)
{
    const pal_batches_opts *b = &o->batches->opts;
    const pal_dist *d = o->dist;
    if (b->data_index == pal_dist_data_index(d) && b->data_count == pal_dist_data_count(d) &&
        b->sequence_index == pal_dist_sequence_index(d) &&
        b->sequence_count == pal_dist_sequence_count(d))
        return PAL_OK;
    return pal_error_set(error, PAL_EVALUE,
                         "train: batches are of part %d of %d rows, %d of %d tokens, and this rank "
                         "has part %d of %d, %d of %d",
                         b->data_index, b->data_count, b->sequence_index, b->sequence_count,
                         pal_dist_data_index(d), pal_dist_data_count(d), pal_dist_sequence_index(d),
                         pal_dist_sequence_count(d));
}

/* "adamw:beta1=0.9:beta2=0.999": what the optimiser was made with, but for its groups. */
static char *describe_optim(const pal_optim *optim, char text[512])
{
    const size_t n = (size_t)snprintf(text, 512, "%s", pal_optim_name(optim));
    pal_keys_print(&optim->kind->keys, optim->opts, text + n, 512 - n);
    return text;
}

pal_status pal_train_compare(const pal_train_opts *o, int64_t check_every, pal_error *error)
{
    PAL_C_LOCALE;
    char text[3072], optim[512], columns[PAL_COLUMNS];
    pal_batches_opts none = {0}, b = o->batches ? o->batches->opts : none;
    const pal_schedule *c = &o->schedule;
    const char *kernels = pal_kernels_in_use(), *threads = strrchr(kernels, ',');
    if (pal_dist_size(o->dist) == 1) return PAL_OK;
    snprintf(text, sizeof text,
             "kernels: %.*s\nsteps: %lld\naccumulate: %lld\nclip: %.17g\nresume: %lld\n"
             "save_every: %lld\nevaluate_every: %lld\nsample_every: %lld\ncheck: %lld\n"
             "callbacks: %d %d %d %d %d\npatience: %lld\nmetrics: %s\nfolder: %d\ntokenizer: "
             "%d\noptimiser: %s\n"
             "batches: %d\nkind: %d\nbatch: %lld\nlen: %lld\nseed: %llu\nheld_out: %.17g\n"
             "noise: %d\nwatch: %lld\n"
             "schedule: %d %.17g %.17g %lld %lld %lld %.17g %d\n",
             (int)(threads ? threads - kernels : 64), kernels, (long long)o->steps,
             (long long)o->accumulate, o->clip, (long long)o->resume, (long long)o->save_every,
             (long long)o->evaluate_every, (long long)o->sample_every, (long long)check_every,
             o->evaluate != NULL, o->measure != NULL, o->sample != NULL, o->finished != NULL,
             o->average != NULL, (long long)o->patience, pal_train_columns(o, columns),
             o->folder != NULL, o->tokenizer != NULL, describe_optim(o->optim, optim),
             o->batches != NULL, (int)b.kind, (long long)b.batch, (long long)b.len,
             (unsigned long long)b.seed, b.held_out, o->noise,
             (long long)(o->watch ? o->watch_every : -1), (int)c->kind, c->lr, c->min_lr,
             (long long)c->warmup, (long long)c->steps, (long long)c->decay_steps, c->growth,
             o->rate != NULL);
    pal_status s = pal_dist_same_text(o->dist, "train: the options", text, error);
    if (s == PAL_OK)
        s = pal_dist_same_text(o->dist, "train: the configuration", o->config ? o->config : "",
                               error);
    const char *data = o->data ? o->data : "";
    if (!o->data && o->batches && o->batches->set) data = pal_dataset_identity(o->batches->set);
    if (s == PAL_OK) s = pal_dist_same_text(o->dist, "train: data", data, error);
    return s;
}

int pal_train_signal(pal_dist *dist)
{
    double own = pal_stop_requested();
    if (pal_dist_size(dist) == 1) return (int)own;
    const double *all = pal_dist_gather(dist, 1, &own);
    for (int r = 0; r < pal_dist_size(dist); r++)
        if (all[r] > 0) return (int)all[r];
    return 0;
}
