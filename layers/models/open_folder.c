/*
 * open_folder.c - the model of a folder that others have released.
 */
#include "layers/models/open_folder.h"
#include "layers/models/families/folder.h"
#include "layers/models/lm.h"
#include "tensor/stream.h"

#include <stdlib.h>
#include <string.h>

/* Without a tokenizer.json a new model reads bytes, and it is not known what another one reads. */
static pal_status read_tokenizer(pal_lm_file *f, const pal_folder *folder, bool bytes,
                                 pal_error *error)
{
    char *text;
    size_t length;
    pal_error why;
    pal_status s = pal_folder_tokenizer(folder, &text, &length, error);
    if (s != PAL_OK || (!text && !bytes)) return s;
    s = pal_tokenizer_load(&f->tokenizer, text, (int64_t)length, &why);
    free(text);
    return s == PAL_OK ? s : pal_error_set(error, s, "its tokenizer: %.500s", why.message);
}

static pal_status read_texts(pal_lm_file *f, const pal_folder *folder, pal_lm_open_opts opts,
                             bool bytes, pal_error *error)
{
    f->description = pal_folder_description(folder, opts.dtype == PAL_BF16 ? PAL_F32 : opts.dtype);
    f->notes = strdup(folder->notes);
    if (!f->description || !f->notes) return pal_error_set(error, PAL_ENOMEM, "out of memory");
    return opts.no_tokenizer ? PAL_OK : read_tokenizer(f, folder, bytes, error);
}

/* A folder in bf16 stays so where it would not fit in f32, and a line says it. */
static pal_status fit(pal_lm_file *f, const pal_folder *folder, pal_lm_open_opts *opts,
                      pal_error *error)
{
    const int64_t wide = pal_folder_widened(folder), available = pal_memory_available();
    if (!opts->fit || opts->dtype != PAL_F32 || wide <= available) return PAL_OK;
    opts->dtype = PAL_BF16;
    FILE *to = pal_stream_open();
    if (!to) return pal_stream_failed("warnings", error);
    fprintf(to,
            "%sits weights stay in bf16: in f32 they would take %.2f GB, and %.2f GB of memory are "
            "available\n",
            f->notes, 1e-9 * (double)wide, 1e-9 * (double)available);
    char *notes = pal_stream_close(to, NULL);
    if (!notes) return pal_stream_failed("warnings", error);
    free(f->notes);
    f->notes = notes;
    return PAL_OK;
}

/* Each layer has tensors: what a file says of itself is compared with what it has. */
static pal_status make_model(pal_lm_file *f, const pal_folder *folder, pal_lm_open_opts opts,
                             pal_error *error)
{
    pal_lm_opts o = folder->described.opts;
    o.dtype = opts.dtype;
    if (o.layers > pal_weights_count(folder->weights))
        return pal_error_set(error, PAL_EFORMAT,
                             "config.json says %lld layers, and there are %lld "
                             "tensors",
                             (long long)o.layers, (long long)pal_weights_count(folder->weights));
    return pal_lm_make_empty(f, o, pal_folder_elements(folder), error);
}

static pal_status fill(pal_params *params, const pal_family *family, const pal_described *d,
                       const pal_weights *weights, pal_progress progress, pal_error *error)
{
    pal_names *names;
    const pal_status s = pal_names_match(&names, params, family, d, weights, error);
    if (s == PAL_OK) pal_folder_read(weights, names, params, progress);
    pal_names_free(names);
    return s;
}

static pal_status open_folder(pal_folder *folder, const char *path, pal_error *error)
{
    if (pal_folder_is(path)) return pal_folder_open(folder, path, error);
    return pal_error_set(error, PAL_EFORMAT,
                         "%.400s is a folder without config.json, and a checkpoint or the folder "
                         "of a model is wanted",
                         path);
}

pal_status pal_lm_describe_folder(const char *path, char **description, pal_error *error)
{
    pal_folder folder;
    pal_status s = open_folder(&folder, path, error);
    if (s != PAL_OK) return s;
    *description = pal_folder_description(&folder, PAL_F32);
    pal_folder_close(&folder);
    return *description ? s : pal_error_set(error, PAL_ENOMEM, "out of memory");
}

pal_status pal_lm_open_folder(pal_lm_file *f, pal_params *params, const char *path,
                              pal_lm_open_opts opts, pal_error *error)
{
    pal_folder folder;
    pal_status s = open_folder(&folder, path, error);
    if (s != PAL_OK) return s;
    s = read_texts(f, &folder, opts, !params, error);
    if (s == PAL_OK && !params) s = fit(f, &folder, &opts, error);
    if (s == PAL_OK && !params) s = make_model(f, &folder, opts, error);
    if (s == PAL_OK)
        s = fill(params ? params : f->params, folder.family, &folder.described, folder.weights,
                 opts.progress, error);
    pal_folder_close(&folder);
    return s;
}

pal_status pal_lm_load_tensors(pal_params *params, const char *path, pal_error *error)
{
    static const char head[] = "lm_head.weight";
    pal_weights *weights;
    pal_described d = {.opts = {.tie = true}};
    for (int i = 0; i < pal_params_count(params); i++)
        if (strcmp(pal_params_name(params, i), head) == 0) d.opts.tie = false;
    pal_status s = pal_weights_open_file(&weights, path, error);
    if (s == PAL_OK)
        s = fill(params, &pal_family_plain, &d, weights, (pal_progress){NULL, NULL}, error);
    pal_weights_close(weights);
    return s;
}
