/*
 * released.c - a run that begins with a model that is there, and ends as a folder like a released
 * one.
 */
#include "examples/lm/released.h"
#include "examples/lm/open.h"

#include <stdlib.h>
#include <string.h>

static pal_status of_init(pal_status s, const pal_error *why, pal_error *error)
{
    return s == PAL_OK ? s : pal_error_set(error, s, "--init: %s", why->message);
}

pal_status lm_begin(lm_options *o, pal_error *error)
{
    char *text;
    pal_error why;
    const pal_file_kind kind = pal_file_kind_of(o->init);
    if (kind != PAL_FILE_CHECKPOINT && kind != PAL_FILE_FOLDER) return PAL_OK;
    pal_status s = pal_lm_describe(o->init, &text, &why);
    if (s == PAL_OK) s = lm_options_begin(o, text, kind == PAL_FILE_CHECKPOINT, &why);
    free(text);
    if (s == PAL_OK && kind == PAL_FILE_FOLDER && !*o->like)
        snprintf(o->like, sizeof o->like, "%s", o->init);
    return of_init(s, &why, error);
}

/* A model for fine-tuning has read the tokens of the data. What does not say what its tokens are is
 * believed. */
static pal_status check_tokenizer(const char *path, const pal_tokenizer *own,
                                  const pal_tokenizer *data, pal_error *error)
{
    int64_t size, own_size;
    if (!own) return PAL_OK;
    const char *want = pal_tokenizer_json(data, &size), *have = pal_tokenizer_json(own, &own_size);
    if (size == own_size && memcmp(want, have, (size_t)size) == 0) return PAL_OK;
    if (pal_file_kind_of(path) == PAL_FILE_FOLDER)
        return pal_error_set(error, PAL_EVALUE,
                             "--init: %.400s reads by another tokenizer than that of --data; "
                             "`tokenize --tokenizer %.400s` makes a store by its own",
                             path, path);
    return pal_error_set(error, PAL_EVALUE,
                         "--init: %.400s was trained with another tokenizer than that of --data; "
                         "examples/convert.py takes its parameters alone",
                         path);
}

/* A model of other mixers, which have to contain those of --init. */
static pal_status map(pal_params *params, const pal_lm *lm, const lm_options *o, pal_lm_file *from,
                      pal_error *why)
{
    pal_error error;
    pal_status s = pal_lm_open(from, o->init, (pal_lm_open_opts){.last = o->init_last}, why);
    if (s != PAL_OK) return s;
    s = pal_lm_map(lm, params, from->lm, from->params, &error);
    if (s == PAL_OK) return s;
    pal_lm_close(from);
    return pal_error_set(why, s, "%.400s has other mixers, and they are not mapped: %s", o->init,
                         error.message);
}

static bool has_other_mixers(const lm_options *o)
{
    char *text = NULL;
    pal_error error;
    const bool others = pal_file_kind_of(o->init) == PAL_FILE_CHECKPOINT &&
                        pal_lm_describe(o->init, &text, &error) == PAL_OK &&
                        lm_options_other_mixers(o, text);
    free(text);
    return others;
}

pal_status lm_load(pal_params *params, const pal_lm *lm, const lm_options *o,
                   const pal_tokenizer *data, bool *averaged, pal_error *error)
{
    pal_lm_file from;
    pal_error why;
    pal_status s =
        has_other_mixers(o)
            ? map(params, lm, o, &from, &why)
            : pal_lm_load(params, o->init, (pal_lm_open_opts){.last = o->init_last}, &from, &why);
    if (s != PAL_OK) return of_init(s, &why, error);
    lm_print_notes(o->init, &from);
    *averaged = from.averaged;
    s = check_tokenizer(o->init, from.tokenizer, data, error);
    pal_lm_close(&from);
    return s;
}

static pal_status of_export(pal_status s, const pal_error *why, pal_error *error)
{
    return s == PAL_OK ? s : pal_error_set(error, s, "--export: %s", why->message);
}

pal_status lm_export_check(const lm_options *o, const pal_lm *lm, pal_error *error)
{
    pal_error why;
    if (!*o->export) return PAL_OK;
    if (!*o->like)
        return pal_error_set(error, PAL_EVALUE,
                             "--export: --like has to name the folder of the released model that "
                             "this one is like");
    return of_export(pal_lm_export_check(pal_lm_options(lm), o->like, o->export, &why), &why,
                     error);
}

pal_status lm_export(const lm_options *o, const pal_lm *lm, pal_error *error)
{
    pal_error why;
    const pal_status s = pal_lm_export(lm, o->like, o->export, &why);
    if (s == PAL_OK) printf("export  %s, a folder like %s\n", o->export, o->like);
    return of_export(s, &why, error);
}
