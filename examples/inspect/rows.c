/*
 * rows.c - the tokens to look at: a text, a row of a task, or a window of the data.
 */
#include "examples/inspect/look.h"
#include "examples/lm/text.h"
#include "examples/tasks/source.h"

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

static pal_status of_text(rows *r, const source_opts *o, pal_tokenizer *tokenizer, const void *byte,
                          int64_t size, int64_t first, int64_t most, pal_error *error)
{
    pal_token_ids ids = {.id = NULL};
    pal_status s = pal_tokenizer_encode(tokenizer, byte, size, &ids, error);
    int64_t count = ids.count - first;
    if (s == PAL_OK && count < 1)
        s = pal_error_set(error, PAL_EVALUE, "%s",
                          first > 0 ? "--row: the data end before it" : "the text is empty");
    if (s == PAL_OK) s = take(r, o, most > 0 && count > most ? most : count, error);
    if (s == PAL_OK) memcpy(r->id, ids.id + first, (size_t)r->count * sizeof *r->id);
    pal_token_ids_free(&ids);
    return s;
}

static pal_status of_store(rows *r, const source_opts *o, const rows_data *d, const char *path,
                           pal_error *error)
{
    const int64_t first = o->row * d->len;
    char is[16];
    pal_tokens *store;
    pal_status s = pal_tokens_open(&store, path, error);
    if (s != PAL_OK) return s;
    snprintf(is, sizeof is, "%08x", (unsigned)pal_tokens_checksum(store));
    if (*d->checksum && strcmp(is, d->checksum) != 0)
        s = pal_error_set(error, PAL_EVALUE,
                          "%.400s has the checksum %s and the model was trained on %.15s: these "
                          "are other data",
                          path, is, d->checksum);
    const int64_t left = pal_tokens_count(store) - first;
    if (s == PAL_OK && left < 1)
        s = pal_error_set(error, PAL_EVALUE, "--row=%lld: %.400s ends before it", (long long)o->row,
                          path);
    if (s == PAL_OK) s = take(r, o, left < d->len ? left : d->len, error);
    if (s == PAL_OK) s = pal_tokens_read(store, first, r->count, r->id, error);
    pal_tokens_close(store);
    return s;
}

/* Window `row` of the data: tokens row*len .. of a store, or of the text that the file is. */
static pal_status of_data(rows *r, const source_opts *o, const rows_data *d,
                          const data_source *from, pal_error *error)
{
    snprintf(r->about, sizeof r->about, "tokens from %lld of %.150s%s",
             (long long)(o->row * d->len), from->path,
             from->store || !*d->checksum ? ""
                                          : " (not compared with what the model was trained on)");
    if (from->store) return of_store(r, o, d, from->path, error);
    lm_text text = {.byte = NULL};
    pal_status s = lm_text_read(&text, from->path, error);
    if (s == PAL_OK)
        s = of_text(r, o, d->tokenizer, text.byte, text.size, o->row * d->len, d->len, error);
    lm_text_free(&text);
    return s;
}

static pal_status of_source(rows *r, const source_opts *o, const rows_data *d, pal_error *error)
{
    data_source from;
    pal_status s = data_find(&from, d->name, d->checkpoint, error);
    if (s == PAL_OK)
        s = from.task ? of_task(r, o, from.task, error) : of_data(r, o, d, &from, error);
    data_free(&from);
    return s;
}

pal_status rows_read(rows *r, const source_opts *o, rows_data d, pal_error *error)
{
    if (data_names_task(d.name) && !o->text) return of_source(r, o, &d, error);
    if (data_names_task(d.name))
        return pal_error_set(error, PAL_EVALUE,
                             "--text: the tokens of the task %.200s are no text; --row chooses one "
                             "of its rows",
                             d.name);
    if (o->point > 0)
        return pal_error_set(error, PAL_EVALUE, "--point belongs to tasks: %.400s is none",
                             *d.name ? d.name : "--text");
    if (o->text) {
        snprintf(r->about, sizeof r->about, "--text");
        return of_text(r, o, d.tokenizer, o->text, (int64_t)strlen(o->text), 0, 0, error);
    }
    if (!*d.name)
        return pal_error_set(error, PAL_EVALUE, "--text or --data has to say what is read");
    return of_source(r, o, &d, error);
}
