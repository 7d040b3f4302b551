/*
 * save.c - a model of a task as a checkpoint.
 */
#include "examples/tasks/save.h"

#include <stdlib.h>

void task_describe(lm_options *o, const task *t, const task_run *run)
{
    const task_run r = task_run_defaults(*run);
    snprintf(o->data, sizeof o->data, "%s", task_text(t));
    o->model.vocab = task_vocab(t);
    o->len = 0;
    for (int i = 0; i < task_points(t, TASK_TRAIN); i++) {
        const int64_t len = task_point_at(t, TASK_TRAIN, i).len;
        if (len > o->len) o->len = len;
    }
    o->batch = r.batch;
    o->steps = r.steps;
    o->warmup = r.warmup;
    o->lr = r.lr;
    o->lr_end = 0.1;
    o->weight_decay = r.weight_decay > 0 ? r.weight_decay : 0;
    o->clip = r.clip;
    o->seed = r.seed;
    o->bf16 = r.bf16;
    snprintf(o->optimizer, sizeof o->optimizer, "%s", r.optimizer);
    o->schedule = PAL_COSINE;
}

pal_status task_save(pal_params *params, const lm_options *o, int64_t step, const char *folder,
                     const char *name, pal_error *error)
{
    char path[PAL_PATH];
    pal_status s = pal_run_make(folder, error);
    if (s != PAL_OK) return s;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path)
        return pal_error_set(error, PAL_EVALUE, "the path of %s is too long", name);
    char *config = lm_options_text(o);
    const pal_checkpoint c = {.params = params,
                              .config = config,
                              .step = step,
                              .precision = o->bf16 ? PAL_BF16 : PAL_F32};
    s = pal_checkpoint_save(&c, path, error);
    free(config);
    return s;
}
