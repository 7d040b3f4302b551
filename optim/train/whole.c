/* whole.c - what ends a training, and what takes its best parameters up again. */
#include "optim/data/batches.h"
#include "optim/train/run_folder.h"
#include "tensor/files/checkpoint.h"

pal_status pal_run_load_best(const char *folder, pal_params *params, double *value,
                             pal_error *error)
{
    char path[PAL_PATH];
    int64_t step;
    double best;
    pal_h5 *file = NULL;
    pal_error why;
    pal_status s = pal_run_best(folder, &step, &best, error);
    if (s != PAL_OK) return s;
    if (step == 0)
        return pal_error_set(error, PAL_EVALUE,
                             "%.400s: it has no best.txt, so that nothing was evaluated yet",
                             folder);
    pal_run_path(path, sizeof path, folder, step);
    s = pal_h5_open(&file, path, error);
    if (s != PAL_OK) return s;
    s = pal_checkpoint_version(file, &why);
    if (s == PAL_OK)
        s = pal_params_get(params, file,
                           pal_h5_has(file, PAL_CHECKPOINT_AVERAGE) ? PAL_CHECKPOINT_AVERAGE
                                                                    : PAL_CHECKPOINT_PARAMS,
                           &why);
    pal_h5_close(file);
    if (s != PAL_OK) return pal_checkpoint_failed(path, s, &why, error);
    if (value) *value = best;
    return PAL_OK;
}

void pal_train_free(pal_train_opts *o)
{
    pal_dataset *set[2] = {NULL, NULL};
    pal_tokens *store[2] = {NULL, NULL};
    pal_batches *const both[2] = {o->batches, o->held_out};
    for (int i = 0; i < 2; i++)
        if (both[i]) set[i] = both[i]->set, store[i] = both[i]->store;
    for (int i = 0; i < 2; i++) pal_batches_free(both[i]);
    for (int i = 0; i < 2; i++) {
        if (i == 0 || set[i] != set[0]) pal_dataset_close(set[i]);
        if (i == 0 || store[i] != store[0]) pal_tokens_close(store[i]);
    }
    pal_average_free(o->average);
    pal_watch_free(o->watch);
    pal_optim_free(o->optim);
    pal_tape_free(o->tape);
    if (o->params) pal_params_free(o->params);
    o->batches = o->held_out = NULL;
    o->average = NULL, o->watch = NULL, o->optim = NULL, o->tape = NULL, o->params = NULL;
}
