/*
 * folder.c - the folder of a model that others have released.
 */
#include "layers/models/families/folder.h"
#include "autograd/internal.h"
#include "layers/models/description.h"
#include "tensor/files/mapped.h"
#include "tensor/stream.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONFIG_BYTES = 16 << 20, TOKENIZER_BYTES = 256 << 20 };

static bool path_in(const char *folder, const char *name, char path[PATH_MAX])
{
    const int n = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return n > 0 && n < PATH_MAX;
}

bool pal_folder_is(const char *path)
{
    char config[PATH_MAX];
    return path_in(path, "config.json", config) && access(config, F_OK) == 0;
}

/* ---- Opening ---- */

static pal_status read_config(pal_folder *f, const pal_json *root, pal_error *error)
{
    FILE *notes = pal_stream_open();
    if (!notes) return pal_stream_failed("warnings", error);
    const pal_status s = pal_config_read(root, notes, &f->family, &f->described, &f->mixers, error);
    f->notes = pal_stream_close(notes, NULL);
    return s == PAL_OK && !f->notes ? pal_stream_failed("warnings", error) : s;
}

static pal_status open_config(pal_folder *f, pal_error *error)
{
    char path[PATH_MAX], *text;
    size_t size;
    pal_json *root = NULL;
    pal_error why = {PAL_OK, ""};
    if (!path_in(f->path, "config.json", path))
        return pal_error_set(error, PAL_EIO, "the path is too long");
    pal_status s = pal_file_text(path, CONFIG_BYTES, &text, &size, error);
    if (s != PAL_OK) return s;
    s = pal_json_parse(&root, text, size, &why);
    free(text);
    if (s != PAL_OK) return pal_error_set(error, s, "config.json: %.600s", why.message);
    s = read_config(f, root, error);
    pal_json_free(root);
    return s;
}

pal_status pal_folder_open(pal_folder *f, const char *path, pal_error *error)
{
    pal_error why = {PAL_OK, ""};
    *f = (pal_folder){.path = strdup(path)};
    if (!f->path) return pal_error_set(error, PAL_ENOMEM, "%.400s: out of memory", path);
    pal_status s = open_config(f, &why);
    if (s == PAL_OK) s = pal_weights_open(&f->weights, path, &why);
    if (s == PAL_OK) return s;
    pal_folder_close(f);
    if (strncmp(why.message, path, strlen(path)) == 0)
        return pal_error_set(error, s, "%s", why.message);
    return pal_error_set(error, s, "%.400s: %.600s", path, why.message);
}

void pal_folder_close(pal_folder *f)
{
    pal_weights_close(f->weights);
    free(f->path);
    free(f->mixers);
    free(f->notes);
    *f = (pal_folder){0};
}

/* ---- What it says ---- */

char *pal_folder_description(const pal_folder *f, pal_dtype dtype)
{
    static const pal_lm_opts none;
    pal_lm_opts o = f->described.opts;
    o.dtype = dtype;
    FILE *to = pal_stream_open();
    if (!to) return NULL;
    fprintf(to, "mixers = %s\n", f->mixers);
    for (int i = 0; i < pal_lm_keys.count; i++) {
        const pal_key *key = &pal_lm_keys.key[i];
        char value[256];
        if (key->kind == PAL_KEY_STRING || pal_key_same(key, &o, &none)) continue;
        pal_key_print(key, &o, value, sizeof value);
        fprintf(to, "%s = %s\n", key->name, value);
    }
    return pal_stream_close(to, NULL);
}

int64_t pal_folder_elements(const pal_folder *f)
{
    size_t bytes = 0; /* each lies in a file of its own place */
    for (int64_t i = 0; i < pal_weights_count(f->weights); i++)
        bytes += pal_weights_at(f->weights, i)->bytes;
    return (int64_t)(bytes / 2);
}

int64_t pal_folder_widened(const pal_folder *f)
{
    int64_t all = 0, bf16 = 0;
    for (int64_t i = 0; i < pal_weights_count(f->weights); i++) {
        const pal_stored *t = pal_weights_at(f->weights, i);
        const int64_t n = pal_shape_count(t->shape);
        all += n;
        if (t->type == PAL_EL_BF16) bf16 += n;
    }
    return bf16 > all / 2 ? 4 * all : 0;
}

pal_status pal_folder_tokenizer(const pal_folder *f, char **text, size_t *length, pal_error *error)
{
    char path[PATH_MAX];
    *text = NULL;
    *length = 0;
    if (!path_in(f->path, "tokenizer.json", path) || access(path, F_OK) != 0) return PAL_OK;
    return pal_file_text(path, TOKENIZER_BYTES, text, length, error);
}

/* ---- Its numbers ---- */

typedef struct reading {
    pal_params *params;
    const pal_stored *tensor;
} reading;

static void read_piece(void *user, int param, int64_t at, int64_t of_tensor, int64_t count)
{
    const reading *r = user;
    const pal_array p = pal_params_array(r->params, param);
    const int64_t size = (int64_t)pal_element_size(r->tensor->type);
    pal_elements_read(r->tensor->type, r->tensor->data + of_tensor * size, p.dtype,
                      (char *)p.data + at * (int64_t)pal_dtype_size(p.dtype), count);
}

void pal_folder_read(const pal_weights *w, const pal_names *names, pal_params *params,
                     pal_progress progress)
{
    int64_t done = 0, all = 0;
    for (int64_t t = 0; t < pal_weights_count(w); t++) all += (int64_t)pal_weights_at(w, t)->bytes;
    for (int64_t t = 0; t < pal_weights_count(w); t++) {
        reading r = {params, pal_weights_at(w, t)};
        if (pal_names_role(names, t) == PAL_ROLE_MODEL) pal_names_pieces(names, t, read_piece, &r);
        pal_weights_forget(w, t);
        done += (int64_t)r.tensor->bytes;
        if (progress.fn) progress.fn(progress.user, done, all);
    }
    pal_params_touch(params);
}
