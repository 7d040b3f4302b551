/*
 * export.c - a model as a folder like the one that it came from.
 *
 * Each file of tensors gets the names, types, order and metadata of the one there, so that a model
 * that did not change gives the same bytes. The folder is built under a temporary name.
 */
#include "layers/models/description.h"
#include "layers/models/families/folder.h"
#include "layers/models/lm.h"
#include "tensor/files/mapped.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is being written. */
typedef struct export
{
    const pal_params *params;
    pal_folder like;
    pal_names *names;
    char folder[PATH_MAX]; /* without a slash at its end */
    char building[PATH_MAX];
}
export;

static pal_status refused(const char *path, const char *what, pal_error *error)
{
    return pal_error_set(error, PAL_EIO, "%.400s: cannot %s: %s", path, what, strerror(errno));
}

/* ---- What may be written ---- */

static bool name_folder(export *e, const char *folder)
{
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/') n--;
    const int m = snprintf(e->folder, sizeof e->folder, "%.*s", (int)n, folder);
    const int l =
        snprintf(e->building, sizeof e->building, "%s.tmp-%ld", e->folder, (long)getpid());
    return n > 0 && m > 0 && (size_t)m < sizeof e->folder && l > 0 &&
           (size_t)l < sizeof e->building;
}

/* Nothing of that name is there, or an empty folder. */
static pal_status check_free(const char *folder, pal_error *error)
{
    struct stat is;
    if (lstat(folder, &is) != 0)
        return errno == ENOENT ? PAL_OK : refused(folder, "look at it", error);
    DIR *d = S_ISDIR(is.st_mode) ? opendir(folder) : NULL;
    bool empty = d != NULL;
    for (const struct dirent *x; d && empty && (x = readdir(d));)
        empty = strcmp(x->d_name, ".") == 0 || strcmp(x->d_name, "..") == 0;
    if (d) closedir(d);
    if (empty) return PAL_OK;
    return pal_error_set(error, PAL_EVALUE,
                         "%.400s is there already, and an export overwrites nothing: name a folder "
                         "that is new or empty",
                         folder);
}

/* Every default that an option of zero has. */
static pal_lm_opts complete(pal_lm_opts o)
{
    if (o.no_mlp) o.mlp_width = 0;
    if (o.embed_scale == 0) o.embed_scale = 1;
    if (o.residual_scale == 0) o.residual_scale = 1;
    if (o.logit_scale == 0) o.logit_scale = 1;
    o.dropout = 0; /* these say nothing about the model itself */
    o.dtype = PAL_F32;
    o.recompute = false;
    return o;
}

/* Whether these are the options of the folder's model. */
static pal_status check_options(const export *e, pal_lm_opts opts, pal_error *error)
{
    const pal_lm_opts is = complete(opts), want = complete(e->like.described.opts);
    if (strcmp(is.mixers, want.mixers) != 0)
        return pal_error_set(error, PAL_EVALUE,
                             "the model has the mixers %.300s, and that of %.200s %.300s",
                             is.mixers, e->like.path, want.mixers);
    for (int i = 0; i < pal_lm_keys.count; i++) {
        char a[64], b[64];
        const pal_key *key = &pal_lm_keys.key[i];
        if (key->kind == PAL_KEY_STRING || pal_key_same(key, &is, &want)) continue;
        pal_key_print(key, &is, a, sizeof a);
        pal_key_print(key, &want, b, sizeof b);
        return pal_error_set(error, PAL_EVALUE, "the model has %s %s, and that of %.200s %s",
                             key->name, a, e->like.path, b);
    }
    return PAL_OK;
}

static pal_status prepare(export *e, pal_lm_opts opts, const char *like, const char *folder,
                          pal_error *error)
{
    *e = (export){.params = NULL};
    if (!name_folder(e, folder))
        return pal_error_set(error, PAL_EVALUE, "\"%.400s\" is no name of a folder, or too long",
                             folder);
    pal_status s = check_free(e->folder, error);
    if (s == PAL_OK) s = pal_folder_open(&e->like, like, error);
    return s == PAL_OK ? check_options(e, opts, error) : s;
}

static void release(export *e)
{
    pal_names_free(e->names);
    if (e->like.path) pal_folder_close(&e->like);
}

/* ---- Tensors ---- */

enum { PIECE = 1 << 18 };

typedef struct writing {
    const export *e;
    pal_safetensors_out *out;
    const pal_stored *tensor;
    unsigned char *buffer; /* PIECE numbers of any type */
    pal_status status;
    pal_error *error;
} writing;

static void write_piece(void *user, int param, int64_t at, int64_t of_tensor, int64_t count)
{
    writing *w = user;
    const pal_array p = pal_params_array(w->e->params, param);
    const int64_t wide = (int64_t)pal_dtype_size(p.dtype);
    const size_t size = pal_element_size(w->tensor->type);
    (void)of_tensor; /* pieces come in order */
    for (int64_t i = 0; i < count && w->status == PAL_OK; i += PIECE) {
        const int64_t n = count - i < PIECE ? count - i : PIECE;
        pal_elements_write(p.dtype, (const char *)p.data + (at + i) * wide, w->tensor->type,
                           w->buffer, n);
        w->status = pal_safetensors_put(w->out, w->buffer, (size_t)n * size, w->error);
    }
}

/* Numbers of the model, or the bytes that are there. */
static pal_status write_tensor(writing *w, const pal_safetensors *from, const pal_stored *t)
{
    const int64_t i = pal_weights_find(w->e->like.weights, t->name);
    w->tensor = t;
    if (pal_names_role(w->e->names, i) == PAL_ROLE_OTHER)
        w->status = pal_safetensors_put(w->out, t->data, t->bytes, w->error);
    else
        pal_names_pieces(w->e->names, i, write_piece, w);
    pal_safetensors_forget(from, t);
    return w->status;
}

static pal_status write_tensors(const export *e, int file, const char *path, pal_error *error)
{
    const pal_safetensors *from = pal_weights_file(e->like.weights, file);
    const int64_t n = pal_safetensors_count(from);
    writing w = {.e = e, .buffer = malloc(PIECE * 8), .error = error};
    char *metadata = pal_safetensors_metadata(from);
    if (!w.buffer)
        w.status = pal_error_set(error, PAL_ENOMEM, "%.400s: out of memory", path);
    else
        w.status =
            pal_safetensors_create(&w.out, path, n, pal_safetensors_at(from, 0), metadata, error);
    for (int64_t i = 0; i < n && w.status == PAL_OK; i++)
        w.status = write_tensor(&w, from, pal_safetensors_at(from, i));
    if (w.out) w.status = pal_safetensors_commit(w.out, w.status, error);
    free(metadata);
    free(w.buffer);
    return w.status;
}

/* ---- Other files ---- */

/* Whether a file goes along as it is: configurations, tokenizers, templates, licenses. */
static bool goes_along(const char *name)
{
    static const char *const patterns[] = {"*.json",  "*.jinja",  "*.txt",
                                           "*.model", "LICENSE*", "NOTICE*"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if (fnmatch(patterns[i], name, FNM_PERIOD) == 0) return true;
    return false;
}

static pal_status copy_file(const char *from, const char *to, pal_error *error)
{
    pal_mapped map;
    pal_status s = pal_mapped_open(&map, from, error);
    if (s != PAL_OK) return s;
    const int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 || !pal_write_all(fd, (const char *)map.at, map.size) || !pal_flush(fd))
        s = refused(to, "write", error);
    if (fd >= 0) close(fd);
    pal_mapped_close(&map);
    return s;
}

static bool join(char path[PATH_MAX], const char *folder, const char *name)
{
    const int n = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return n > 0 && n < PATH_MAX;
}

static pal_status copy_files(const export *e, pal_error *error)
{
    char from[PATH_MAX], to[PATH_MAX];
    pal_status s = PAL_OK;
    DIR *d = opendir(e->like.path);
    if (!d) return refused(e->like.path, "list it", error);
    for (const struct dirent *x; s == PAL_OK && (x = readdir(d));) {
        struct stat is;
        if (!goes_along(x->d_name) || !join(from, e->like.path, x->d_name) ||
            !join(to, e->building, x->d_name) || stat(from, &is) != 0 || !S_ISREG(is.st_mode))
            continue;
        s = copy_file(from, to, error);
    }
    closedir(d);
    return s;
}

/* ---- The folder ---- */

static void remove_building(const export *e)
{
    char path[PATH_MAX];
    DIR *d = opendir(e->building);
    for (const struct dirent *x; d && (x = readdir(d));)
        if (join(path, e->building, x->d_name)) unlink(path);
    if (d) closedir(d);
    rmdir(e->building);
}

static pal_status build(const export *e, pal_error *error)
{
    char path[PATH_MAX];
    pal_status s = PAL_OK;
    if (mkdir(e->building, 0777) != 0) return refused(e->building, "make it", error);
    for (int f = 0; f < pal_weights_files(e->like.weights) && s == PAL_OK; f++)
        s = join(path, e->building, pal_weights_file_name(e->like.weights, f))
                ? write_tensors(e, f, path, error)
                : pal_error_set(error, PAL_EIO, "%.400s: the path is too long", e->building);
    if (s == PAL_OK) s = copy_files(e, error);
    if (s == PAL_OK && join(path, e->building, "x") && !pal_flush_folder(path))
        s = refused(e->building, "flush it", error);
    if (s == PAL_OK && rename(e->building, e->folder) != 0)
        s = refused(e->folder, "rename the finished folder to it", error);
    if (s != PAL_OK)
        remove_building(e);
    else if (!pal_flush_folder(e->folder))
        s = refused(e->folder, "flush its folder", error);
    return s;
}

pal_status pal_lm_export_check(pal_lm_opts opts, const char *like, const char *folder,
                               pal_error *error)
{
    export e;
    const pal_status s = prepare(&e, opts, like, folder, error);
    release(&e);
    return s;
}

pal_status pal_lm_export(const pal_lm *lm, const char *like, const char *folder, pal_error *error)
{
    export e;
    pal_status s = prepare(&e, lm->opts, like, folder, error);
    e.params = lm->trunk->params;
    if (s == PAL_OK)
        s = pal_names_match(&e.names, e.params, e.like.family, &e.like.described, e.like.weights,
                            error);
    if (s == PAL_OK) s = build(&e, error);
    release(&e);
    return s;
}
