/*
 * open.c - the model of a file or a folder in one call: description, tokenizer, parameters.
 */
#include "layers/models/description.h"
#include "layers/models/lm.h"
#include "layers/models/open_folder.h"
#include "tensor/files/checkpoint.h"

#include <stdlib.h>
#include <string.h>

/* What a file is believed to have at most: twice as many still fit into 64 bits. */
static const int64_t MOST_ELEMENTS = INT64_C(1) << 60;

/* What the file's group of parameters has. A description that asks for more is refused before
 * memory is taken for it. */
typedef struct survey {
    pal_h5 *file;
    const char *group;
    int64_t datasets, elements, layers, vocab, width;
} survey;

static bool look(const char *name, void *user)
{
    static const char layer[] = "model.layers.";
    survey *s = user;
    char path[512];
    pal_dtype dtype;
    pal_shape shape;
    s->datasets++;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", s->group, name) >= sizeof path ||
        pal_h5_info(s->file, path, &dtype, &shape, NULL) != PAL_OK)
        return true; /* reading the parameters says what is wrong with it */
    const int64_t count = pal_shape_count(shape);
    s->elements += count < 0                             ? 0
                   : count < MOST_ELEMENTS - s->elements ? count
                                                         : MOST_ELEMENTS - s->elements;
    if (strcmp(name, "model.embeddings.weight") == 0 && shape.ndim == 2)
        s->vocab = shape.dim[0], s->width = shape.dim[1];
    if (strncmp(name, layer, strlen(layer)) == 0) {
        const int64_t i = strtoll(name + strlen(layer), NULL, 10);
        if (i >= s->layers && i < INT32_MAX) s->layers = i + 1;
    }
    return true;
}

/* What the description leaves open is as the file has it; what it says has to be as in the file. */
static pal_status complete(pal_lm_opts *o, const survey *s, pal_error *error)
{
    const struct {
        const char *name;
        int64_t *says, has;
    } all[] = {{"vocab", &o->vocab, s->vocab},
               {"width", &o->width, s->width},
               {"layers", &o->layers, s->layers}};
    for (int i = 0; i < 3; i++) {
        if (*all[i].says == 0) *all[i].says = all[i].has;
        if (all[i].has && *all[i].says != all[i].has)
            return pal_error_set(error, PAL_EFORMAT,
                                 "its configuration says that %s is %lld, and it is %lld in its "
                                 "parameters",
                                 all[i].name, (long long)*all[i].says, (long long)all[i].has);
    }
    if (o->layers == 0) o->layers = o->mixers ? pal_mixers_count(o->mixers) : 1;
    if (o->layers > s->datasets) /* each has parameters */
        return pal_error_set(error, PAL_EFORMAT,
                             "its configuration says %lld layers, and it has %lld parameters",
                             (long long)o->layers, (long long)s->datasets);
    return PAL_OK;
}

static pal_status open_model(pal_lm_file *f, pal_h5 *file, const char *group, pal_lm_open_opts opts,
                             pal_error *error)
{
    survey s = {.file = file, .group = group};
    pal_lm_opts o;
    char *copy = NULL;
    pal_status status = pal_description_read(f->description, &o, &copy, error);
    if (status == PAL_OK) status = pal_h5_each(file, group, look, &s, error);
    if (status == PAL_OK) status = complete(&o, &s, error);
    if (opts.dtype == PAL_BF16) o.dtype = PAL_BF16;
    if (status == PAL_OK) status = pal_lm_make_empty(f, o, s.elements, error);
    free(copy);
    if (status != PAL_OK) return status;
    return pal_params_read_in_place(f->params, file, group, opts.progress, error);
}

/* ---- Description and tokenizer ---- */

static pal_status read_tokenizer(pal_lm_file *f, pal_h5 *file, pal_error *error)
{
    char *json;
    int64_t length;
    pal_error why;
    pal_status s = pal_checkpoint_read_tokenizer(file, &json, &length, error);
    if (s != PAL_OK) return s;
    s = pal_tokenizer_load(&f->tokenizer, json, length, &why);
    if (s != PAL_OK) pal_error_set(error, s, "its tokenizer: %.500s", why.message);
    free(json);
    return s;
}

static pal_status check_vocabulary(const pal_lm_file *f, pal_error *error)
{
    int64_t size;
    const int64_t vocab = f->lm->opts.vocab, tokens = pal_tokenizer_vocab_size(f->tokenizer);
    pal_tokenizer_json(f->tokenizer, &size);
    if (size == 0 || tokens <= vocab) return PAL_OK; /* that it reads bytes is only supposed */
    return pal_error_set(error, PAL_EFORMAT,
                         "its tokenizer has %lld tokens, more tokens than its model, which "
                         "knows %lld",
                         (long long)tokens, (long long)vocab);
}

/* ---- The file ---- */

/* Says what the file is instead, where that is known. */
static pal_status other_kind(const char *path, pal_status s, pal_error *why)
{
    const pal_file_kind kind = pal_file_kind_of(path);
    if (kind != PAL_FILE_NONE && kind != PAL_FILE_CHECKPOINT && kind != PAL_FILE_HDF5)
        pal_error_add(why, "; it is %s, and a checkpoint is wanted", pal_file_kind_name(kind));
    return s;
}

/* Opens the file; *checkpoint false: it has only parameters. */
static pal_status open_file(pal_h5 **file, const char *path, bool *checkpoint, pal_error *error)
{
    const pal_file_kind kind = pal_file_kind_of(path);
    *file = NULL;
    if (kind == PAL_FILE_SPECIAL)
        return pal_error_set(error, PAL_EIO, "%.400s is %s, and a checkpoint is wanted", path,
                             pal_file_kind_name(kind));
    pal_status s = pal_h5_open(file, path, error);
    if (s != PAL_OK) return other_kind(path, s, error);
    const bool bare = !*checkpoint && kind == PAL_FILE_PARAMS;
    if (!bare) s = pal_checkpoint_version(*file, error);
    *checkpoint = !bare;
    return s == PAL_OK ? s : other_kind(path, s, error);
}

/* Into new parameters, or into those that there are. */
static pal_status take_file(pal_lm_file *f, pal_params *params, const char *path,
                            pal_lm_open_opts opts, pal_error *error)
{
    pal_h5 *file;
    bool checkpoint = params == NULL;
    if (params && pal_file_kind_of(path) == PAL_FILE_TENSORS)
        return pal_lm_load_tensors(params, path, error);
    pal_status s = open_file(&file, path, &checkpoint, error);
    if (s == PAL_OK && checkpoint) s = pal_checkpoint_read_config(file, &f->description, error);
    if (s == PAL_OK && checkpoint) s = read_tokenizer(f, file, error);
    if (s == PAL_OK) {
        f->averaged = !opts.last && pal_h5_has(file, PAL_CHECKPOINT_AVERAGE);
        const char *group = f->averaged ? PAL_CHECKPOINT_AVERAGE : PAL_CHECKPOINT_PARAMS;
        s = params ? pal_params_get(params, file, group, error)
                   : open_model(f, file, group, opts, error);
    }
    pal_h5_close(file);
    return s;
}

static pal_status take(pal_lm_file *f, pal_params *params, const char *path, pal_lm_open_opts opts,
                       pal_error *error)
{
    const bool folder = pal_file_kind_of(path) == PAL_FILE_FOLDER;
    const pal_status s = folder ? pal_lm_open_folder(f, params, path, opts, error)
                                : take_file(f, params, path, opts, error);
    return s == PAL_OK && f->lm && f->tokenizer ? check_vocabulary(f, error) : s;
}

static pal_status take_or_nothing(pal_lm_file *f, pal_params *params, const char *path,
                                  pal_lm_open_opts opts, pal_error *error)
{
    pal_error why = {PAL_OK, ""};
    *f = (pal_lm_file){0};
    const pal_status s = take(f, params, path, opts, &why);
    if (s == PAL_OK) return s;
    pal_lm_close(f);
    return pal_checkpoint_failed(path, s, &why, error);
}

pal_status pal_lm_open(pal_lm_file *file, const char *path, pal_lm_open_opts opts, pal_error *error)
{
    return take_or_nothing(file, NULL, path, opts, error);
}

static pal_status describe(const char *path, char **description, pal_error *error)
{
    pal_h5 *file;
    bool checkpoint = true;
    if (pal_file_kind_of(path) == PAL_FILE_FOLDER)
        return pal_lm_describe_folder(path, description, error);
    pal_status s = open_file(&file, path, &checkpoint, error);
    if (s == PAL_OK) s = pal_checkpoint_read_config(file, description, error);
    pal_h5_close(file);
    return s;
}

pal_status pal_lm_describe(const char *path, char **description, pal_error *error)
{
    pal_error why = {PAL_OK, ""};
    *description = NULL;
    const pal_status s = describe(path, description, &why);
    return s == PAL_OK ? s : pal_checkpoint_failed(path, s, &why, error);
}

pal_status pal_lm_load(pal_params *params, const char *path, pal_lm_open_opts opts,
                       pal_lm_file *about, pal_error *error)
{
    pal_lm_file own;
    const pal_status s = take_or_nothing(about ? about : &own, params, path, opts, error);
    if (!about) pal_lm_close(&own);
    return s;
}

static pal_status compare(pal_lm_file *f, pal_lm_opts o, pal_h5 *file, pal_error *error)
{
    survey s = {.file = file, .group = PAL_CHECKPOINT_PARAMS};
    pal_status status = pal_checkpoint_version(file, error);
    if (status == PAL_OK) status = pal_h5_each(file, s.group, look, &s, error);
    if (status == PAL_OK) status = complete(&o, &s, error);
    return status == PAL_OK ? pal_lm_make_empty(f, o, s.elements, error) : status;
}

pal_status pal_lm_compare(pal_lm_opts opts, const char *path, pal_error *error)
{
    pal_lm_file scratch = {.lm = NULL};
    pal_error why = {PAL_OK, ""};
    pal_h5 *file;
    pal_status s = pal_h5_open(&file, path, &why);
    if (s == PAL_OK) {
        s = compare(&scratch, opts, file, &why);
        pal_h5_close(file);
    }
    pal_lm_close(&scratch);
    return s == PAL_OK ? s : pal_checkpoint_failed(path, s, &why, error);
}

void pal_lm_close(pal_lm_file *f)
{
    pal_params_free(f->params);
    pal_tokenizer_free(f->tokenizer);
    free(f->description);
    free(f->notes);
    *f = (pal_lm_file){0};
}
