/* train.c - the loop: steps, evaluation, samples, log, checkpoints, and how it ends. What the
 * folder and the state need at the beginning is in begin.c. */
#include "autograd/autograd.h"
#include "optim/data/batches.h"
#include "optim/optimisers/internal.h"
#include "optim/ranks/ranks.h"
#include "optim/train/run_folder.h"
#include "optim/train/train_step.h"
#include "tensor/internal.h"
#include "tensor/stream.h"
#include "tensor/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct loop {
    const pal_train_opts *o;
    pal_checkpoint state;
    pal_journal *log;
    pal_log_sums sums; /* of the logs at the last save */
    bool missed;       /* a log that is gone was told */
    bool unpaired;     /* log.jsonl need not have the rows of log.csv: a user has mended them */
    pal_lock *lock;    /* lock that was taken here; NULL: none, or the caller's */
    pal_step last;
    int64_t first;   /* the step after which this process began */
    int64_t counted; /* number of targets in this process */
    double began;
    int64_t saved; /* last step with a checkpoint on disk */
    int64_t named; /* step that best.txt names; 0: none */
    bool unsaved;  /* the last attempt to write a checkpoint failed */
    bool writes;   /* this process keeps the folder; only rank 0 does */
    bool finished; /* a callback has ended the run */
    bool patience_over;
    double value[PAL_METRICS]; /* of the evaluation of this step; NAN: none */
    double noise;              /* the noise scale after this step; NAN: none */
    pal_field *field;          /* room for a row of the log */
    int fields;
    bool together; /* all ranks write a checkpoint, because the optimiser's state is divided */
    bool quiet;    /* only rank 0 prints */
    pal_accord accord;
    int64_t check_every; /* PAL_CHECK=ranks: steps between comparisons; 0: none */
    bool line_open; /* the progress line on a terminal is not finished and can be overwritten */
} loop;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- Output on the terminal ---- */

static void end_line(loop *l)
{
    if (l->line_open) printf("\n");
    l->line_open = false;
    fflush(stdout);
}

/* On a terminal the line is overwritten. Otherwise one step in twenty is printed. */
static void progress(loop *l)
{
    const int64_t step = l->state.step, steps = l->o->steps;
    bool measured = false;
    for (int i = 0; i < pal_train_metrics(l->o); i++) measured |= isfinite(l->value[i]);
    const bool terminal = isatty(STDOUT_FILENO), keep = step == steps || measured;
    const int64_t every = terminal ? 1 : (steps + 19) / 20;
    if (l->quiet || (step % every && !keep && step != l->first + 1)) return;
    PAL_C_LOCALE;
    double time = now() - l->began,
           left = time / (double)(step - l->first) * (double)(steps - step);
    printf("%sstep %6lld/%lld  loss %7.4f", l->line_open ? "\r" : "", (long long)step,
           (long long)steps, l->last.loss);
    if (l->last.bytes)
        printf("  %6.4f bits/byte",
               l->last.loss / log(2) * (double)l->last.counted / (double)l->last.bytes);
    for (int i = 0; i < pal_train_metrics(l->o); i++)
        if (isfinite(l->value[i]))
            printf("  %s %.4f", l->o->measure ? pal_train_metric(l->o, i) : "held out",
                   l->value[i]);
    printf("  lr %.3g  %8.0f %s/s  %3d:%02d left ", l->last.lr, (double)l->counted / time,
           pal_train_unit(l->o), (int)(left / 60), (int)left % 60);
    l->line_open = true;
    if (!terminal || keep) end_line(l);
    fflush(stdout);
}

/* ---- Files that cannot be written ---- */

static pal_status cannot_write(loop *l, pal_status s, pal_error *why, pal_error *error)
{
    end_line(l);
    if (l->o->go_on) {
        fprintf(stderr, "warning: %s; the training goes on\n", why->message);
        return PAL_OK;
    }
    return pal_error_set(error, s, "%s", why->message);
}

/* ---- Checkpoints ---- */

/* What the checkpoint will say of the logs, which are on disk. */
static pal_status sum_logs(loop *l, char logs[PAL_LOGS], pal_error *error)
{
    static const char *const names[] = {"log.csv", "log.jsonl", "samples.txt"};
    const char *folder = l->o->folder;
    int fd[3] = {-1, -1, -1};
    pal_journal_files(l->log, &fd[0], &fd[1]);
    pal_status s = pal_log_sum_grow(&l->sums.csv, fd[0], INT64_MAX, names[0], error);
    if (s == PAL_OK) s = pal_log_sum_grow(&l->sums.json, fd[1], INT64_MAX, names[1], error);
    if (s == PAL_OK && l->o->sample)
        s = pal_log_sum_file(&l->sums.samples, folder, names[2], INT64_MAX, error);
    for (int i = 0; i < (l->o->sample ? 3 : 2) && !l->missed; i++) {
        if (!pal_log_replaced(folder, names[i], fd[i])) continue;
        end_line(l);
        fprintf(stderr,
                "warning: %.400s/%s is not the file that the run writes any more; a later resume "
                "will refuse it\n",
                folder, names[i]);
        l->missed = true;
    }
    pal_log_sums told = l->sums;
    if (!l->o->sample) told.samples.bytes = -1; /* the file is left as it is */
    if (l->unpaired) told.json.lines = -1;
    l->state.logs = pal_log_sums_text(logs, &told);
    return s;
}

/* Writes the checkpoint, then best.txt, and removes old checkpoints. l->saved shows whether the
 * checkpoint is on disk. */
static pal_status write_checkpoint(loop *l, pal_error *error)
{
    char path[PAL_PATH], logs[PAL_LOGS];
    const pal_train_opts *o = l->o;
    pal_run_path(path, sizeof path, o->folder, l->state.step);
    pal_status s = pal_journal_sync(l->log, error);
    if (s == PAL_OK) s = sum_logs(l, logs, error);
    if (l->together) s = pal_dist_agree(o->dist, s, error);
    if (s == PAL_OK) s = pal_checkpoint_save(&l->state, path, error);
    l->state.logs = NULL;
    if (s == PAL_OK) l->saved = l->state.step;
    if (s == PAL_OK && l->named != l->state.best_step) {
        s = pal_run_set_best(o->folder, l->state.best_step, l->state.best, error);
        if (s == PAL_OK) l->named = l->state.best_step;
    }
    /* Only after best.txt names the new best, because this removes the checkpoint of the old
     * best. */
    if (s == PAL_OK) s = pal_run_keep(o->folder, o->keep, l->state.best_step, error);
    return s;
}

/* value: the evaluation at this step, NaN if there was none. */
static pal_status save_folder(loop *l, double value, pal_error *error)
{
    pal_error why, reason;
    const int64_t best_step = l->state.best_step;
    const double best = l->state.best;
    const bool better = pal_train_better(l->o, value, best_step, best);
    if (better) {
        l->state.best_step = l->state.step;
        l->state.best = value;
    }
    pal_status s = write_checkpoint(l, &why);
    l->unsaved = l->saved != l->state.step;
    if (s == PAL_OK) return PAL_OK;
    if (!l->unsaved) {
        pal_error_set(&reason, s, "step %lld is saved, but %.700s", (long long)l->state.step,
                      why.message);
        return cannot_write(l, s, &reason, error);
    }
    l->state.best_step = best_step; /* a checkpoint that was not written cannot be the best */
    l->state.best = best;
    int64_t old;
    if (pal_run_find(l->o->folder, "", 0, &old, NULL) != PAL_OK) old = 0; /* `why` tells more */
    if (old == l->state.step)
        pal_error_set(&reason, s, "step %lld is saved, but may be lost in a power failure: %.700s",
                      (long long)old, why.message);
    else if (old)
        pal_error_set(&reason, s,
                      "step %lld is not saved: %.700s; the last checkpoint is that of "
                      "step %lld",
                      (long long)l->state.step, why.message, (long long)old);
    else
        pal_error_set(&reason, s, "step %lld is not saved: %.700s", (long long)l->state.step,
                      why.message);
    return cannot_write(l, s, &reason, error);
}

/* The work of a rank that does not keep the folder. */
static void help_to_save(loop *l)
{
    char path[PAL_PATH];
    pal_error why;
    pal_run_path(path, sizeof path, l->o->folder, l->state.step);
    pal_status s = pal_dist_agree(l->o->dist, PAL_OK, &why);
    l->state.logs = ""; /* the text is that of the rank that keeps the folder */
    if (s == PAL_OK) s = pal_checkpoint_save(&l->state, path, &why);
    l->state.logs = NULL;
    (void)s; /* the same outcome as on the rank that keeps the folder */
}

/* All ranks get the outcome of the rank that writes. */
static pal_status save(loop *l, double value, pal_error *error)
{
    struct {
        int64_t saved, named, best_step;
        double best;
        bool unsaved;
    } out;
    pal_dist_place(l->o->dist, "the save of step", l->state.step);
    pal_status s = l->writes ? save_folder(l, value, error) : PAL_OK;
    if (l->together && !l->writes) help_to_save(l);
    memset(&out, 0, sizeof out);
    out.saved = l->saved, out.named = l->named, out.unsaved = l->unsaved;
    out.best_step = l->state.best_step, out.best = l->state.best;
    pal_dist_broadcast(l->o->dist, &out, sizeof out);
    l->saved = out.saved, l->named = out.named, l->unsaved = out.unsaved;
    l->state.best_step = out.best_step, l->state.best = out.best;
    return pal_dist_agree(l->o->dist, s, error);
}

/* ---- Evaluation and samples ---- */

/* The evaluation does not change the generator. */
static pal_status evaluate(loop *l, pal_error *error)
{
    const pal_train_opts *o = l->o;
    const pal_rng rng = *pal_tape_rng(o->tape);
    pal_dist_place(o->dist, "the evaluation of step", l->state.step);
    if (o->average) pal_average_swap(o->average);
    bool before = pal_set_grad(o->tape, false);
    pal_batch none = {.counted = 1};
    pal_status s = PAL_OK;
    if (o->held_out)
        s = pal_measure(o->held_out, o->tape, o->measure, o->user, pal_train_metrics(o), l->value,
                        error);
    else if (o->measure)
        o->measure(o->user, o->tape, &none, l->value);
    else
        l->value[0] = o->evaluate(o->user, o->tape, l->state.step);
    if (s == PAL_OK && (s = pal_tape_status(o->tape)) != PAL_OK)
        pal_error_set(error, s, "evaluation: %s", pal_tape_message(o->tape));
    pal_tape_reset(o->tape);
    pal_set_grad(o->tape, before);
    if (o->average) pal_average_swap(o->average);
    *pal_tape_rng(o->tape) = rng;
    pal_dist_broadcast(o->dist, l->value, sizeof l->value);
    return pal_dist_agree(o->dist, s, error);
}

static pal_status sample_alone(loop *l, pal_error *error)
{
    const pal_train_opts *o = l->o;
    const pal_rng rng = *pal_tape_rng(o->tape);
    size_t size = 0;
    FILE *to = pal_stream_open();
    if (!to) return pal_stream_failed("a sample", error);
    if (o->average) pal_average_swap(o->average);
    bool before = pal_set_grad(o->tape, false);
    o->sample(o->user, o->tape, l->state.step, to);
    pal_status s = pal_tape_status(o->tape);
    if (s != PAL_OK) pal_error_set(error, s, "sample: %s", pal_tape_message(o->tape));
    pal_tape_reset(o->tape);
    pal_set_grad(o->tape, before);
    if (o->average) pal_average_swap(o->average);
    *pal_tape_rng(o->tape) = rng;
    char *text = pal_stream_close(to, &size);
    if (s == PAL_OK && !text) s = pal_stream_failed("a sample", error);
    pal_error why;
    if (s == PAL_OK && o->folder) {
        pal_status written = pal_samples_add(o->folder, l->state.step, text, size, &why);
        if (written != PAL_OK) s = cannot_write(l, written, &why, error);
    }
    free(text);
    return s;
}

static pal_status sample(loop *l, pal_error *error)
{
    pal_dist *dist = l->o->dist;
    pal_dist_place(dist, "the sample of step", l->state.step);
    return pal_dist_agree(dist, pal_dist_rank(dist) ? PAL_OK : sample_alone(l, error), error);
}

/* ---- The beginning ---- */

static pal_status check(loop *l, pal_error *error)
{
    const pal_train_opts *o = l->o;
    if (!o->params || !o->optim || !o->tape || !o->loss)
        return pal_error_set(error, PAL_EVALUE,
                             "train: params, optim, tape and loss are all needed");
    if (o->resume && !o->folder)
        return pal_error_set(error, PAL_EVALUE, "train: resume needs the folder of the run");
    if (o->batches && o->dist) {
        pal_status s = pal_train_part(o, error);
        if (s != PAL_OK) return s;
    }
    if (o->batches) l->state.position = pal_batches_position(o->batches);
    pal_status s = pal_train_check_metrics(o, error);
    return s == PAL_OK ? pal_schedule_check(&o->schedule, error) : s;
}

static pal_status reserve_row(loop *l, pal_error *error)
{
    const pal_field *more;
    l->fields = PAL_TRAIN_FIELDS + (l->o->watch ? pal_watch_fields(l->o->watch, &more) : 0);
    l->field = pal_malloc((size_t)l->fields * sizeof *l->field);
    return l->field ? PAL_OK : pal_error_set(error, PAL_ENOMEM, "train: out of memory for a row");
}

static pal_status begin(loop *l, pal_error *error)
{
    const pal_train_opts *o = l->o;
    pal_status s = pal_dist_agree(o->dist, check(l, error), error);
    if (s == PAL_OK) s = pal_train_compare(o, l->check_every, error);
    if (s == PAL_OK && !o->resume) s = pal_dist_same_params(o->dist, o->params, error);
    if (s == PAL_OK) s = pal_dist_shard(o->dist, o->optim, error);
    if (s != PAL_OK || !o->folder) return s;
    l->together = pal_dist_shards(o->dist, o->optim);
    if (l->writes) s = pal_begin_in(o, &l->lock, error);
    s = pal_dist_agree(o->dist, s, error);
    if (s != PAL_OK) return s;
    if (o->resume) s = pal_dist_agree(o->dist, pal_begin_from(o, &l->state, error), error);
    /* Machines that share a folder may see different files in it for a moment. */
    pal_dist_broadcast(o->dist, &l->state.best_step, sizeof l->state.best_step);
    pal_dist_broadcast(o->dist, &l->state.best, sizeof l->state.best);
    if (s == PAL_OK && o->resume) s = pal_dist_same_params(o->dist, o->params, error);
    if (s != PAL_OK) return s;
    if (o->resume && o->resume >= o->steps) /* no step will be made */
        return pal_dist_agree(o->dist, l->writes ? pal_begin_over(o, &l->state, error) : s, error);
    l->saved = o->resume;
    l->named = l->state.best_step;
    if (l->writes) {
        s = reserve_row(l, error);
        if (s == PAL_OK) s = pal_run_clean(o->folder, error);
        if (s == PAL_OK) s = pal_begin_files(o, &l->state, &l->log, error);
        if (s == PAL_OK && o->sample) /* so that it is missed if it goes before the first save */
            s = pal_log_sum_file(&l->sums.samples, o->folder, "samples.txt", INT64_MAX, error);
        l->unpaired = o->resume && (o->mend || !pal_logs_paired(o->folder, o->resume));
    }
    return pal_dist_agree(o->dist, s, error);
}

/* ---- The loop ---- */

static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }
static pal_status write_row(loop *l, double took, pal_error *error)
{
    const pal_train_opts *o = l->o;
    int n = pal_train_fields(o, &l->last, l->value, took, l->noise, l->field);
    const pal_field *more;
    const int count = pal_train_watched(o, l->state.step) ? pal_watch_fields(o->watch, &more) : 0;
    for (int i = 0; i < count; i++)
        if (isfinite(more[i].value)) l->field[n++] = more[i];
    pal_error why;
    pal_status s = pal_journal_row(l->log, l->state.step, n, l->field, &why);
    return s == PAL_OK ? s : cannot_write(l, s, &why, error);
}

/* Saves the state after a step that failed and changed nothing. Returns the status of that
 * failure. */
static pal_status save_before(loop *l, pal_status why, pal_error *error)
{
    const int64_t step = l->state.step;
    pal_error not_saved = {0};
    if (!l->o->folder || step == 0 || l->saved == step) return why;
    pal_status s = save(l, NAN, &not_saved);
    if (s != PAL_OK)
        pal_error_add(error, "; %.300s", not_saved.message);
    else if (l->saved == step)
        pal_error_add(error, "; the run is saved after step %lld", (long long)step);
    return why;
}

static bool time_over(const loop *l)
{
    return l->o->seconds > 0 && now() - l->began >= l->o->seconds;
}

static pal_status one_step(loop *l, pal_error *error)
{
    const pal_train_opts *o = l->o;
    double start = now();
    pal_step made;
    for (int i = 0; i < PAL_METRICS; i++) l->value[i] = NAN;
    l->accord = (pal_accord){.time_over = time_over(l)};
    pal_dist_place(o->dist, "step", l->state.step + 1);
    pal_status s = pal_train_step_together(o, l->state.step, &made, &l->accord, error);
    if (s != PAL_OK) return save_before(l, s, error);
    l->last = made;
    l->noise = o->noise ? pal_train_noise(&l->state, &made) : NAN;
    const int64_t step = ++l->state.step;
    if (o->batches) l->state.position = pal_batches_position(o->batches);
    const double took = now() - start;
    l->counted += l->last.counted;
    const bool end = step == o->steps;
    if (pal_train_metrics(o) && (end || due(step, o->evaluate_every))) s = evaluate(l, error);
    const double held_out = l->value[pal_train_best(o)];
    if (s == PAL_OK && o->sample && due(step, o->sample_every)) s = sample(l, error);
    if (o->finished) {
        l->finished = *o->finished;
        pal_dist_broadcast(o->dist, &l->finished, sizeof l->finished);
    }
    if (s == PAL_OK && o->folder)
        s = pal_dist_agree(o->dist, l->writes ? write_row(l, took, error) : PAL_OK, error);
    progress(l);
    if (s == PAL_OK && l->check_every && (end || due(step, l->check_every)))
        s = pal_dist_same_params(o->dist, o->params, error);
    if (s != PAL_OK) return s;
    const bool better = pal_train_better(o, held_out, l->state.best_step, l->state.best);
    if (o->folder && (end || better || due(step, o->save_every))) s = save(l, held_out, error);
    if (!o->folder && better) {
        l->state.best_step = step;
        l->state.best = held_out;
    }
    l->patience_over = pal_train_patience_over(o, step, l->state.best_step);
    return s;
}

/* Saves a run that ends before its last step, and prints why it ends. */
static pal_status stop_early(loop *l, const pal_train_result *result, pal_error *error)
{
    const int64_t step = l->state.step;
    pal_status s = PAL_OK;
    end_line(l);
    if (l->o->folder && step > 0 && l->saved != step) s = save(l, NAN, error);
    if (s != PAL_OK || l->quiet) return s;
    printf("stopped at step %lld by %s", (long long)step,
           result->signal     ? strsignal(result->signal)
           : l->finished      ? "the program"
           : l->patience_over ? "patience: the best evaluation is too long ago"
                              : "the limit of time");
    if (l->o->folder && l->saved == step && step > 0) printf("; the run is saved");
    printf("\n");
    fflush(stdout);
    return s;
}

pal_status pal_train(const pal_train_opts *opts, pal_train_result *result, pal_error *error)
{
    const pal_train_opts own = *opts, *o = &own; /* callbacks may change *opts */
    pal_train_result ignored;
    pal_error why = {0};
    if (!result) result = &ignored;
    *result = (pal_train_result){0};
    loop l = {
        .o = o,
        .state = {.params = o->params,
                  .optim = o->optim,
                  .average = o->average,
                  .dist = o->dist,
                  .rng = o->tape ? pal_tape_rng(o->tape) : NULL,
                  .schedule = &o->schedule,
                  .precision = pal_precision_of(o->tape),
                  .data = o->data                         ? o->data
                          : o->batches && o->batches->set ? pal_dataset_identity(o->batches->set)
                                                          : NULL,
                  .metric = o->measure && o->metric[0].name ? pal_train_metric(o, pal_train_best(o))
                                                            : NULL,
                  .config = o->config,
                  .tokenizer = o->tokenizer,
                  .tokenizer_name = o->tokenizer_name}};
    l.writes = o->folder && pal_dist_rank(o->dist) == 0;
    l.quiet = o->quiet || pal_dist_rank(o->dist) > 0;
    l.check_every = 100;
    if (!pal_environment_has("PAL_CHECK", "ranks", &l.check_every)) l.check_every = 0;
    pal_status s = begin(&l, &why);
    l.first = l.state.step;
    l.patience_over = pal_train_patience_over(o, l.state.step, l.state.best_step);
    l.began = now();
    if (s == PAL_OK) l.accord.signal = pal_train_signal(o->dist);
    while (s == PAL_OK && l.state.step < o->steps && !result->time_out && !l.accord.signal &&
           !l.finished && !l.patience_over) {
        s = one_step(&l, &why);
        if (pal_dist_size(o->dist) == 1)
            l.accord = (pal_accord){.time_over = time_over(&l), .signal = pal_stop_requested()};
        result->time_out = l.accord.time_over;
    }
    result->signal = l.accord.signal;
    result->patience_out = l.patience_over;
    if (s == PAL_OK && l.state.step < o->steps) s = stop_early(&l, result, &why);
    if (s == PAL_OK && l.unsaved)
        s = pal_error_set(&why, PAL_EIO, "the run is over, and step %lld could not be saved",
                          (long long)l.state.step);
    end_line(&l);
    pal_journal_close(l.log);
    pal_run_unlock(l.lock);
    if (l.field) pal_free(l.field, (size_t)l.fields * sizeof *l.field);
    result->step = l.state.step;
    result->last = l.last;
    result->best_step = l.state.best_step;
    result->best = l.state.best;
    return s == PAL_OK ? s : pal_error_set(error, s, "%s", why.message);
}
