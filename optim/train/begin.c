/* begin.c - how a run begins or continues: its folder, its small files, and the state of its
 * checkpoint. */
#include "optim/data/batches.h"
#include "optim/ranks/ranks.h"
#include "optim/train/run_folder.h"
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

/* Everything is compared before anything is loaded. */
static pal_status load_from(const pal_train_opts *o, pal_checkpoint *state, const char *path,
                            pal_error *error)
{
    pal_checkpoint found = *state;
    pal_status s = pal_checkpoint_peek(&found, path, error);
    if (s == PAL_OK && found.step != o->resume)
        s = pal_error_set(error, PAL_EFORMAT, "%.400s: it holds step %lld", path,
                          (long long)found.step);
    if (s == PAL_OK && o->batches && !pal_batches_has(o->batches, found.position))
        s = pal_error_set(error, PAL_EVALUE,
                          "%.400s: its position in the data, %lld of epoch %lld, is not there",
                          path, (long long)found.position.index, (long long)found.position.epoch);
    s = pal_dist_agree(o->dist, s, error);
    if (s == PAL_OK) s = pal_checkpoint_load(&found, path, error);
    if (s == PAL_OK && o->batches) s = pal_batches_seek(o->batches, found.position, error);
    if (s != PAL_OK) return s;
    *state = found;
    if (!found.same_kernels && pal_dist_rank(o->dist) == 0)
        fprintf(stderr,
                "warning: the run was made with %s and goes on with %s: its "
                "bits will differ from those of a run that was not stopped\n",
                found.kernels, pal_kernels_in_use());
    return s;
}

/* A checkpoint before this one that can be used. 0: none. Only rank 0 looks for it, since
 * programs have files checked there before they open them. */
static int64_t older_one(const pal_train_opts *o, const pal_checkpoint *state)
{
    char path[PAL_PATH];
    if (pal_dist_rank(o->dist) > 0) return 0;
    for (int64_t step = o->resume;
         pal_run_find(o->folder, "", step, &step, NULL) == PAL_OK && step;) {
        pal_checkpoint found = *state;
        pal_run_path(path, sizeof path, o->folder, step);
        if (pal_checkpoint_peek(&found, path, NULL) == PAL_OK && found.step == step &&
            (!o->batches || pal_batches_has(o->batches, found.position)))
            return step;
    }
    return 0;
}

pal_status pal_begin_from(const pal_train_opts *o, pal_checkpoint *state, pal_error *error)
{
    char path[PAL_PATH];
    pal_run_path(path, sizeof path, o->folder, o->resume);
    pal_status s = load_from(o, state, path, error);
    /* Other failures, of memory or of the system, have other remedies. */
    const bool damaged = s == PAL_EFORMAT || s == PAL_EVALUE || s == PAL_ENUMERIC;
    const int64_t older = damaged ? older_one(o, state) : 0;
    if (older)
        pal_error_add(error, "; the checkpoint of step %lld is there to go on from",
                      (long long)older);
    if (s == PAL_OK && pal_dist_rank(o->dist) == 0) s = pal_intact_best(o, state, error);
    return s;
}

/* The columns of log.csv, for free(). */
static pal_status all_columns(const pal_train_opts *o, char **columns, pal_error *error)
{
    char text[PAL_COLUMNS];
    pal_train_columns(o, text);
    *columns = NULL;
    if (o->watch && pal_dist_shards(o->dist, o->optim))
        return pal_error_set(error, PAL_EVALUE,
                             "train: watch needs all gradients on each rank, and they are divided "
                             "(shard)");
    if (asprintf(columns, "%s%s%s", text, o->watch ? "," : "",
                 o->watch ? pal_watch_columns(o->watch) : "") >= 0)
        return PAL_OK;
    *columns = NULL;
    return pal_error_set(error, PAL_ENOMEM, "train: out of memory for the names of columns");
}

/*
 * Prepares the small files of the folder for a run that begins or continues. All are written under
 * other names and compared before the first is renamed. Later checkpoints are set aside before
 * that. So if the process is killed in between, the logs may be too long for the newest checkpoint,
 * but never too short; the next start cuts them. best.txt changes first, so that it never names a
 * checkpoint that has another name now.
 */
pal_status pal_begin_files(const pal_train_opts *o, const pal_checkpoint *state, pal_journal **log,
                           pal_error *error)
{
    char *columns;
    static const char *const small[] = {"config.txt", "log.csv", "log.jsonl", "samples.txt"};
    pal_status s = all_columns(o, &columns, error);
    if (s == PAL_OK) s = pal_journal_prepare(o->folder, columns, o->resume, error);
    if (s != PAL_OK) {
        free(columns);
        return s;
    }
    if (o->sample) s = pal_samples_cut(o->folder, o->resume, error);
    if (s == PAL_OK && o->resume) s = pal_intact_logs(o, error);
    if (s == PAL_OK && o->config) s = pal_fresh_write(o->folder, "config.txt", o->config, error);
    if (s == PAL_OK) s = pal_intact_put_best(o, state, error);
    if (s == PAL_OK && o->resume) s = pal_run_set_aside(o->folder, o->resume, error);
    if (s == PAL_OK && o->config) s = pal_fresh_rename(o->folder, "config.txt", error);
    if (s == PAL_OK && o->sample) s = pal_fresh_rename(o->folder, "samples.txt", error);
    if (s == PAL_OK) s = pal_journal_start(log, o->folder, columns, error);
    for (int i = 0; s != PAL_OK && i < 4; i++) pal_fresh_drop(o->folder, small[i]);
    free(columns);
    return s;
}

/* config.txt has what the newest checkpoint says, since no step is made with another one. */
static pal_status put_config(const pal_train_opts *o, pal_error *error)
{
    enum { MOST = 1 << 20 }; /* more than a checkpoint has */
    char path[PAL_PATH];
    if (!o->config) return PAL_OK;
    pal_status s = pal_path_of(path, o->folder, "config.txt", error);
    if (s != PAL_OK) return s;
    char *text = pal_malloc(2 * (size_t)MOST), *now = text ? text + MOST : NULL;
    if (!text) return pal_error_set(error, PAL_ENOMEM, "train: out of memory for config.txt");
    size_t size = 0;
    FILE *file = fopen(path, "r");
    if (file) {
        size = fread(now, 1, MOST, file);
        fclose(file);
    }
    pal_run_path(path, sizeof path, o->folder, o->resume);
    /* A checkpoint need not have one. */
    if (pal_checkpoint_config(path, text, MOST, NULL) == PAL_OK &&
        (!file || size != strlen(text) || memcmp(text, now, size) != 0))
        s = pal_run_write(o->folder, "config.txt", text, error);
    pal_free(text, 2 * (size_t)MOST);
    return s;
}

pal_status pal_begin_over(const pal_train_opts *o, const pal_checkpoint *state, pal_error *error)
{
    int64_t last;
    pal_status s = pal_run_find(o->folder, "", 0, &last, error);
    if (s != PAL_OK || last != o->resume) return s; /* this is a look at an older one */
    s = pal_run_clean(o->folder, error);
    if (s == PAL_OK) s = put_config(o, error);
    if (s == PAL_OK) s = pal_intact_put_best(o, state, error);
    return s == PAL_OK ? pal_run_keep(o->folder, o->keep, state->best_step, error) : s;
}

pal_status pal_begin_in(const pal_train_opts *o, pal_lock **lock, pal_error *error)
{
    if (!*o->folder)
        return pal_error_set(error, PAL_EVALUE, "train: the name of the folder is empty");
    pal_status s = o->resume ? PAL_OK : pal_run_make(o->folder, error);
    if (s == PAL_OK && !o->lock) s = pal_run_lock(lock, o->folder, error);
    int64_t last = 0;
    if (s == PAL_OK && !o->resume) s = pal_run_find(o->folder, "", 0, &last, error);
    if (s == PAL_OK && last)
        s = pal_error_set(error, PAL_EVALUE, "train: %.400s holds a run already", o->folder);
    return s == PAL_OK ? pal_intact_names(o->folder, error) : s;
}
