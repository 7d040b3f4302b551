/*
 * source.c - models of checkpoints, or fresh ones by text, and the tokens that all of them see.
 */
#include "examples/inspect/models.h"
#include "examples/lm/data.h"
#include "examples/lm/keep.h"

#include <stdlib.h>
#include <string.h>

typedef source_model model;

/* ---- Models ---- */

/* A released model names no data. */
static pal_status open_checkpoint(model *m, const char *path, const source_opts *o,
                                  pal_error *error)
{
    const bool released = pal_file_kind_of(path) == PAL_FILE_FOLDER;
    const pal_status s = lm_open(&m->file, &m->o, path, (lm_how){o->last, o->dtype}, error);
    if (s == PAL_OK && released && o->data) snprintf(m->o.data, sizeof m->o.data, "%s", o->data);
    m->checkpoint = released ? NULL : path;
    return s;
}

/* A fresh model's tokenizer and vocabulary: of the store that the data are, else bytes. */
static pal_status read_vocabulary(model *m, pal_error *error)
{
    const char *json = NULL;
    pal_tokens *store = NULL;
    pal_status s = PAL_OK;
    if (lm_data_is_store(m->o.data)) s = pal_tokens_open(&store, m->o.data, error);
    if (store) json = pal_tokens_tokenizer(store);
    if (s == PAL_OK)
        s = pal_tokenizer_load(&m->file.tokenizer, json, json ? (int64_t)strlen(json) : 0, error);
    if (s == PAL_OK)
        m->o.model.vocab =
            store ? pal_tokens_vocab_size(store) : pal_tokenizer_vocab_size(m->file.tokenizer);
    pal_tokens_close(store);
    return s;
}

static pal_status fresh(model *m, const source_opts *o, const char *mixer, pal_error *error)
{
    pal_rng rng = pal_rng_new((uint64_t)o->seed, 0);
    pal_status s = lm_options_read(&m->o, "", error);
    if (s == PAL_OK) s = pal_mixers_check(mixer, error);
    if (s != PAL_OK) return s;
    m->o.model.layers = o->layers, m->o.model.width = o->width;
    m->o.model.mixers = mixer;
    snprintf(m->o.data, sizeof m->o.data, "%s", o->data ? o->data : "");
    s = read_vocabulary(m, error);
    if (s != PAL_OK) return s;
    const int64_t task = rows_task_vocab(m->o.data);
    if (task > 0) m->o.model.vocab = task;
    m->file.params = pal_params_new();
    m->file.lm = pal_lm_new(m->file.params, lm_options_model(&m->o), &rng);
    return PAL_OK;
}

/* ---- Names ---- */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The file alone where that tells it from the others, else its path. */
static const char *short_name(const source_opts *o, int i)
{
    const char *path = o->checkpoint[i];
    for (int j = 0; j < o->checkpoints; j++)
        if (j != i && strcmp(last_part(path), last_part(o->checkpoint[j])) == 0) return path;
    return last_part(path);
}

/* ---- All of them ---- */

pal_status source_rows(rows *r, const source_opts *o, const model *m, pal_error *error)
{
    const rows_data data = {.name = m->o.data,
                            .checksum = m->o.data_checksum,
                            .checkpoint = m->checkpoint,
                            .len = m->o.len,
                            .tokenizer = m->file.tokenizer};
    return rows_read(r, o, data, error);
}

/* Tokens come from the first model; the others have to read the same. */
static pal_status same_tokens(const model *m, const source_opts *o, const rows *first,
                              const char *name, pal_error *error)
{
    rows r = {.id = NULL};
    pal_status s = source_rows(&r, o, m, error);
    if (s == PAL_OK &&
        (r.count != first->count || memcmp(r.id, first->id, (size_t)r.count * sizeof *r.id) != 0))
        s = pal_error_set(
            error, PAL_EVALUE,
            "%s reads other tokens than the first model: models side by side need the "
            "same data or tokenizer",
            name);
    rows_free(&r);
    return s;
}

static void show_tokens(observation *ob, const model *m, const rows *r)
{
    const bool task = rows_task_vocab(m->o.data) > 0;
    ob_about(ob, r->about);
    for (int64_t t = 0; t < r->count; t++) {
        char number[24];
        int64_t size;
        const char *byte = task ? NULL : pal_tokenizer_token(m->file.tokenizer, r->id[t], &size);
        /* A number, where a token has no text. */
        if (!byte) size = snprintf(number, sizeof number, "%lld", (long long)r->id[t]);
        ob_token(ob, t, byte ? byte : number, size);
    }
}

typedef struct observer {
    observation *ob;
    rows r; /* of all models */
} observer;

/* One model over the tokens, which it brings along if it is the first. */
static pal_status observe(void *user, const source_opts *o, model *m, const char *name,
                          pal_error *error)
{
    observer *own = user;
    observation *ob = own->ob;
    rows *r = &own->r;
    pal_status s = PAL_OK;
    if (!r->id) {
        s = source_rows(r, o, m, error);
        if (s == PAL_OK) s = ob_begin(ob, r->count, error);
        if (s == PAL_OK) show_tokens(ob, m, r);
    } else {
        s = same_tokens(m, o, r, name, error);
    }
    for (int64_t t = 0; s == PAL_OK && t < r->count; t++)
        if (r->id[t] >= m->o.model.vocab)
            s = pal_error_set(error, PAL_EVALUE, "%s: token %lld is %lld of %lld", name,
                              (long long)t, (long long)r->id[t], (long long)m->o.model.vocab);
    if (s == PAL_OK) s = ob_model(ob, name, error);
    if (s == PAL_OK)
        s = look_model(ob, m->file.lm, m->file.params, m->o.model.mixers, r->id, o->look, error);
    return s;
}

/* Entry i of the list that fresh models are made of; NULL: there are no more. */
static const char *entry_of(const char *mixers, int64_t i)
{
    size_t length;
    if (i >= pal_mixers_count(mixers)) return NULL;
    const char *at = pal_mixers_at(mixers, i, &length);
    return lm_keep(at, length);
}

pal_status source_each(const source_opts *o, source_fn *fn, void *user, pal_error *error)
{
    pal_status s = PAL_OK;
    for (int i = 0; s == PAL_OK && i < o->checkpoints; i++) {
        model m = {.checkpoint = NULL};
        s = open_checkpoint(&m, o->checkpoint[i], o, error);
        if (s == PAL_OK) s = fn(user, o, &m, short_name(o, i), error);
        pal_lm_close(&m.file);
    }
    const char *mixer = NULL;
    if (s == PAL_OK && o->checkpoints == 0) s = pal_mixers_check(o->mixers, error);
    for (int64_t i = 0; s == PAL_OK && o->mixers && (mixer = entry_of(o->mixers, i)); i++) {
        model m = {.checkpoint = NULL};
        s = fresh(&m, o, mixer, error);
        if (s == PAL_OK) s = fn(user, o, &m, mixer, error);
        pal_lm_close(&m.file);
    }
    return s;
}

pal_status source_observe(observation *ob, const source_opts *o, pal_error *error)
{
    observer own = {.ob = ob};
    const pal_status s = source_each(o, observe, &own, error);
    rows_free(&own.r);
    return s;
}
