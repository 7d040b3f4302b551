/*
 * rows.c - the tokens to look at: a text, a row of a task, or a window of the data.
 */
#include "examples/inspect_parts/look.h"
#include "examples/lm/text.h"
#include "examples/tasks/tasks.h"

#include <stdlib.h>
#include <string.h>

void rows_free(rows *r)
{
    free(r->id);
    *r = (rows){.id = NULL};
}

int64_t rows_task_vocab(const char *data)
{
    task *t;
    if (task_new(&t, data, NULL) != PAL_OK) return 0;
    const int64_t vocab = task_vocab(t);
    task_free(t);
    return vocab;
}

static pal_status take(rows *r, const source_opts *o, int64_t count, pal_error *error)
{
    r->count = o->tokens > 0 && o->tokens < count ? o->tokens : count;
    r->id = calloc((size_t)(count > 0 ? count : 1), sizeof *r->id);
    if (r->id) return PAL_OK;
    return pal_error_set(error, PAL_ENOMEM, "out of memory for %lld tokens", (long long)count);
}

/* ---- A task ---- */

static pal_status of_task(rows *r, const source_opts *o, const task *t, pal_error *error)
{
    const int points = task_points(t, TASK_TEST);
    if (o->point >= points)
        return pal_error_set(error, PAL_EVALUE, "--point=%lld: the test points of %s are 0 to %d",
                             (long long)o->point, task_text(t), points - 1);
    const task_point p = task_point_at(t, TASK_TEST, (int)o->point);
    pal_status s = take(r, o, p.len, error);
    if (s != PAL_OK) return s;
    int64_t *targets = calloc((size_t)p.len, sizeof *targets);
    if (!targets) return pal_error_set(error, PAL_ENOMEM, "out of memory for a row");
    task_rows(t, TASK_TEST, (int)o->point, (uint64_t)o->seed, o->row, 1, r->id, targets);
    free(targets);
    snprintf(r->about, sizeof r->about, "test row %lld of %.150s, point %s, seed %lld",
             (long long)o->row, task_text(t), p.name, (long long)o->seed);
    return PAL_OK;
}

/* ---- A text, or the data ---- */

static pal_status of_text(rows *r, const source_opts *o, bpe *tokenizer, const void *byte,
                          int64_t size, int64_t first, int64_t most, pal_error *error)
{
    bpe_ids ids = {.id = NULL};
    pal_status s = bpe_encode(tokenizer, byte, size, &ids, error);
    int64_t count = ids.count - first;
    if (s == PAL_OK && count < 1)
        s = pal_error_set(error, PAL_EVALUE, "%s",
                          first > 0 ? "--row: the data end before it" : "the text is empty");
    if (s == PAL_OK) s = take(r, o, most > 0 && count > most ? most : count, error);
    if (s == PAL_OK) memcpy(r->id, ids.id + first, (size_t)r->count * sizeof *r->id);
    bpe_ids_free(&ids);
    return s;
}

/* Window `row` of the data: tokens row*len .. of a store, or of the text that the file is. */
static pal_status of_data(rows *r, const source_opts *o, const char *data, int64_t len,
                          bpe *tokenizer, pal_error *error)
{
    pal_status s;
    snprintf(r->about, sizeof r->about, "tokens from %lld of %.150s", (long long)(o->row * len),
             data);
    if (!lm_is_hdf5(data)) {
        lm_text text = {.byte = NULL};
        s = lm_text_read(&text, data, error);
        if (s == PAL_OK)
            s = of_text(r, o, tokenizer, text.byte, text.size, o->row * len, len, error);
        lm_text_free(&text);
        return s;
    }
    pal_tokens *store;
    s = pal_tokens_open(&store, data, error);
    if (s != PAL_OK) return s;
    const int64_t left = pal_tokens_count(store) - o->row * len;
    if (left < 1)
        s = pal_error_set(error, PAL_EVALUE, "--row=%lld: %.400s ends before it", (long long)o->row,
                          data);
    if (s == PAL_OK) s = take(r, o, left < len ? left : len, error);
    if (s == PAL_OK) s = pal_tokens_read(store, o->row * len, r->count, r->id, error);
    pal_tokens_close(store);
    return s;
}

pal_status rows_read(rows *r, const source_opts *o, const char *data, int64_t len, bpe *tokenizer,
                     pal_error *error)
{
    task *t;
    pal_status s = task_new(&t, data, NULL);
    if (s == PAL_OK) {
        s = o->text ? pal_error_set(error, PAL_EVALUE,
                                    "--text: the tokens of the task %.200s are no text; --row "
                                    "chooses one of its rows",
                                    data)
                    : of_task(r, o, t, error);
        task_free(t);
        return s;
    }
    if (o->text) {
        snprintf(r->about, sizeof r->about, "--text");
        return of_text(r, o, tokenizer, o->text, (int64_t)strlen(o->text), 0, 0, error);
    }
    if (!*data) return pal_error_set(error, PAL_EVALUE, "--text or --data has to say what is read");
    return of_data(r, o, data, len, tokenizer, error);
}
