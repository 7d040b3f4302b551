/*
 * subject.c - a trained model and the rows that it is examined on: a checkpoint or a released
 * model's folder, and test rows of a task or the text that was held out.
 */
#include "examples/ablate/subject.h"
#include "examples/lm/open.h"
#include "examples/tasks/internal.h"
#include "examples/tasks/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64, BATCHES = 16 };

/* ---- Opening ---- */

/* What the checkpoint names may have been replaced since. */
static void check_store(const subject *x, const char *path)
{
    char now[16];
    snprintf(now, sizeof now, "%08x", (unsigned)pal_tokens_checksum(x->store));
    if (*x->o.data_checksum && strcmp(now, x->o.data_checksum))
        stop("%s has the checksum %s, and what the model was trained on had %s; --data takes a "
             "store nevertheless",
             path, now, x->o.data_checksum);
}

static void open_store(subject *x, const char *data, const char *path)
{
    pal_error error;
    if (pal_tokens_open(&x->store, path, &error) != PAL_OK)
        stop("'%s' is no task of that name and no store of tokens (%s); --data names one", data,
             error.message);
    if (!x->how->data) check_store(x, path);
    /* What was held out, and if nothing was, all of it. */
    const double share = x->o.held_out > 0 ? x->o.held_out : 1;
    x->held =
        pal_batches_new(x->store, (pal_batches_opts){.kind = x->o.packed ? PAL_PACKED : PAL_WINDOWS,
                                                     .batch = x->o.batch,
                                                     .len = x->o.len,
                                                     .seed = x->o.seed,
                                                     .held_out = share,
                                                     .validation = true});
    if (!x->held) stop("%s: no batches", path);
    snprintf(x->what, sizeof x->what, "%s of %.180s, the first %lld batches of %lld x %lld",
             x->o.held_out > 0 ? "the held-out part" : "all (nothing was held out)", data,
             (long long)(x->how->rows ? x->how->rows : BATCHES), (long long)x->o.batch,
             (long long)x->o.len);
}

static void open_data(subject *x)
{
    pal_error error;
    data_source from;
    const char *data = x->how->data ? x->how->data : x->o.data;
    int64_t vocab;
    if (!*data)
        stop("%s: a released model names no data; --data names a task or a store of tokens",
             x->how->checkpoint);
    /* A run on a text has its tokens beside its checkpoints. */
    if (data_find(&from, data, x->how->data ? NULL : x->how->checkpoint, &error) != PAL_OK)
        stop("%s; --data names a task or a store", error.message);
    if (from.task) {
        x->task = from.task;
        vocab = task_vocab(x->task);
        snprintf(x->what, sizeof x->what, "%lld test rows of each point of %.180s",
                 (long long)(x->how->rows ? x->how->rows : ROWS), task_text(x->task));
    } else {
        open_store(x, data, from.path);
        vocab = pal_tokens_vocab_size(x->store);
    }
    if (!x->o.model.vocab) x->o.model.vocab = vocab;
    if (x->o.model.vocab < vocab)
        stop("the model knows %lld tokens, and the data have %lld", (long long)x->o.model.vocab,
             (long long)vocab);
}

void subject_open(subject *x)
{
    pal_error error;
    if (lm_open(&x->file, &x->o, x->how->checkpoint, (lm_how){x->how->last, x->how->dtype},
                &error) != PAL_OK)
        stop("--layers: %s", error.message);
    open_data(x);
    x->tape = pal_tape_new();
    pal_set_grad(x->tape, false);
    x->layers = pal_lm_options(x->file.lm).layers;
}

void subject_close(subject *x)
{
    free(x->row);
    pal_batches_free(x->held);
    pal_tokens_close(x->store);
    pal_tape_free(x->tape);
    pal_lm_close(&x->file);
    task_free(x->task);
}

/* ---- Evaluating ---- */

static void add_row(subject *x, double loss)
{
    if (x->rows == x->room) {
        x->room = x->room ? 2 * x->room : 256;
        x->row = realloc(x->row, (size_t)x->room * sizeof *x->row);
        if (!x->row) stop("out of memory");
    }
    x->row[x->rows++] = loss;
}

/* A few rows of a point, marked as task_test marks them, one by one. */
static void add_rows(subject *x, const passes *how, task_score *sum, int point, int64_t first,
                     int64_t B, int64_t T, int64_t *tokens, int64_t *targets)
{
    task_rows(x->task, TASK_TEST, point, x->o.seed, first, B, tokens, targets);
    pal_tensor logits = PAL_NONE;
    for (int pass = 0; pass < how->passes; pass++) {
        how->begin(how->user, pass);
        pal_tape_reset(x->tape);
        pal_tensor in = pal_from(x->tape, PAL_I64, PAL_SHAPE(B, T), tokens);
        logits = pal_lm_logits(x->file.lm, in, how->opts);
    }
    const pal_array all = pal_value(logits);
    const int64_t V = all.shape[2];
    for (int64_t b = 0; b < B; b++) {
        const task_score before = *sum;
        const pal_array one =
            pal_array_of(all.dtype, PAL_SHAPE(1, T, V),
                         (char *)all.data + (size_t)(b * T * V) * pal_dtype_size(all.dtype));
        task_mark(sum, &one, targets + b * T, 1, T, V);
        const double asked = (double)(sum->asked - before.asked);
        add_row(x, asked > 0 ? (sum->loss - before.loss) / asked : 0);
    }
}

/* Means over the points, each as a study has it. */
static score score_task(subject *x, const passes *how)
{
    score mean = {0, 0};
    const int64_t rows = x->how->rows ? x->how->rows : ROWS;
    const int points = task_points(x->task, TASK_TEST);
    for (int p = 0; p < points; p++) {
        task_score sum = {0};
        const int64_t T = task_point_at(x->task, TASK_TEST, p).len;
        const int64_t most = task_rows_at_once(x->o.model.vocab, T, rows);
        int64_t *tokens = malloc((size_t)(2 * most * T) * sizeof *tokens);
        if (!tokens) stop("out of memory");
        for (int64_t first = 0; first < rows; first += most) {
            const int64_t B = rows - first < most ? rows - first : most;
            add_rows(x, how, &sum, p, first, B, T, tokens, tokens + most * T);
        }
        free(tokens);
        if (!sum.asked) stop("the test rows ask nothing");
        mean.loss += sum.loss / (double)sum.asked / points;
        mean.accuracy += sum.accuracy / (double)sum.asked / points;
    }
    return mean;
}

static score score_text(subject *x, const passes *p)
{
    pal_error error;
    const int64_t batches = x->how->rows ? x->how->rows : BATCHES;
    double nats = 0, counted = 0;
    if (pal_batches_seek(x->held, (pal_position){0}, &error) != PAL_OK) stop("%s", error.message);
    for (int64_t i = 0; i < batches; i++) {
        const pal_position here = pal_batches_position(x->held);
        pal_batch b = {.end = true};
        double loss = 0;
        for (int pass = 0; pass < p->passes; pass++) {
            pal_tape_reset(x->tape);
            p->begin(p->user, pass);
            if (pal_batches_seek(x->held, here, &error) != PAL_OK ||
                pal_batches_next(x->held, x->tape, &b, &error) != PAL_OK)
                stop("%s", error.message);
            if (b.end) break;
            pal_run_opts how = p->opts;
            how.offsets = b.offsets;
            loss = pal_item(pal_lm_loss(x->file.lm, b.tokens, b.targets, how));
        }
        if (b.end) break;
        add_row(x, loss);
        nats += loss * (double)b.counted;
        counted += (double)b.counted;
    }
    if (counted == 0) stop("the held-out part is empty");
    return (score){nats / counted, NAN};
}

score subject_score(subject *x, const passes *how)
{
    x->rows = 0;
    const score s = x->task ? score_task(x, how) : score_text(x, how);
    pal_tape_reset(x->tape);
    return s;
}
