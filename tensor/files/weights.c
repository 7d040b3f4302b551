/*
 * weights.c - the tensors of a folder, of one file or of several.
 */
#include "tensor/files/weights.h"
#include "tensor/files/json.h"
#include "tensor/files/mapped.h"
#include "tensor/internal.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char SINGLE[] = "model.safetensors", INDEX[] = "model.safetensors.index.json";
enum { INDEX_BYTES = 64 << 20 };

typedef struct place {
    const pal_stored *tensor;
    int file;
} place;

struct pal_weights {
    char *folder;
    int files;
    char **name; /* of the files */
    pal_safetensors **file;
    int64_t count;
    place *place; /* in the order of names */
};

static pal_status path_of(const pal_weights *w, const char *name, char path[PATH_MAX],
                          pal_error *error)
{
    const int n = snprintf(path, PATH_MAX, "%s/%s", w->folder, name);
    if (n > 0 && n < PATH_MAX) return PAL_OK;
    return pal_error_set(error, PAL_EIO, "%.400s: the path is too long", w->folder);
}

static bool is_there(const pal_weights *w, const char *name)
{
    char path[PATH_MAX];
    return path_of(w, name, path, NULL) == PAL_OK && access(path, F_OK) == 0;
}

/* ---- Files ---- */

static pal_status no_memory(const pal_weights *w, pal_error *error)
{
    return pal_error_set(error, PAL_ENOMEM, "%.400s: out of memory", w->folder);
}

/* A further file; path NULL: it is the one of that name in the folder. */
static pal_status add_file(pal_weights *w, const char *name, const char *path, pal_error *error)
{
    char in_folder[PATH_MAX];
    if (w->files == PAL_SHARDS_MOST)
        return pal_error_set(error, PAL_EFORMAT, "%.400s/%s: it lists more than %d files",
                             w->folder, INDEX, PAL_SHARDS_MOST);
    const size_t n = (size_t)w->files + 1;
    char **names = realloc(w->name, n * sizeof *names);
    if (names) w->name = names;
    pal_safetensors **files = names ? realloc(w->file, n * sizeof *files) : NULL;
    if (files) w->file = files;
    char *copy = files ? strdup(name) : NULL;
    if (!copy) return no_memory(w, error);
    w->name[w->files] = copy;
    w->file[w->files] = NULL;
    w->files++;
    pal_status s = path ? PAL_OK : path_of(w, name, in_folder, error);
    if (s != PAL_OK) return s;
    return pal_safetensors_open(&w->file[w->files - 1], path ? path : in_folder, error);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const place *)a)->tensor->name, ((const place *)b)->tensor->name);
}

/* All tensors of all files by name, each once. */
static pal_status gather(pal_weights *w, pal_error *error)
{
    char shown[PAL_JSON_SHOWN];
    int64_t n = 0;
    for (int f = 0; f < w->files; f++) n += pal_safetensors_count(w->file[f]);
    w->place = calloc((size_t)n + 1, sizeof *w->place);
    if (!w->place) return no_memory(w, error);
    for (int f = 0; f < w->files; f++)
        for (int64_t i = 0; i < pal_safetensors_count(w->file[f]); i++)
            w->place[w->count++] = (place){pal_safetensors_at(w->file[f], i), f};
    qsort(w->place, (size_t)n, sizeof *w->place, by_name);
    for (int64_t i = 1; i < n; i++)
        if (by_name(&w->place[i - 1], &w->place[i]) == 0)
            return pal_error_set(error, PAL_EFORMAT, "%.400s: %s is in %.100s and in %.100s",
                                 w->folder, pal_json_show(w->place[i].tensor->name, shown),
                                 w->name[w->place[i - 1].file], w->name[w->place[i].file]);
    return PAL_OK;
}

/* ---- The index ---- */

/* Whether a name is one of a file in the folder itself. */
static bool plain_name(const char *name)
{
    return name && !pal_text_trouble(name) && !strchr(name, '/') && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

static int find_file(const pal_weights *w, const char *name)
{
    for (int f = w->files; f-- > 0;) /* neighbours are mostly in the same */
        if (strcmp(w->name[f], name) == 0) return f;
    return -1;
}

static pal_status open_listed(pal_weights *w, const pal_json *map, pal_error *error)
{
    char shown[PAL_JSON_SHOWN], file_shown[PAL_JSON_SHOWN];
    int64_t n = 0;
    for (const pal_json *o = pal_json_first(map); o; o = pal_json_next(o)) {
        const char *name = pal_json_text(o);
        if (!plain_name(name))
            return pal_error_set(error, PAL_EFORMAT,
                                 "%.400s/%s: the file \"%s\" of %s is none of the folder",
                                 w->folder, INDEX, pal_json_show(name ? name : "", file_shown),
                                 pal_json_show(pal_json_key(o), shown));
        if (++n > PAL_SAFETENSORS_MOST)
            return pal_error_set(error, PAL_EFORMAT, "%.400s/%s: it has more than %d tensors",
                                 w->folder, INDEX, PAL_SAFETENSORS_MOST);
        const pal_status s = find_file(w, name) < 0 ? add_file(w, name, NULL, error) : PAL_OK;
        if (s != PAL_OK) return s;
    }
    return PAL_OK;
}

/* Each tensor is where the index says, and the files have no others. */
static pal_status compare(const pal_weights *w, const pal_json *map, pal_error *error)
{
    char shown[PAL_JSON_SHOWN];
    int64_t listed = 0;
    bool *seen = calloc((size_t)w->count + 1, sizeof *seen);
    if (!seen) return no_memory(w, error);
    pal_status s = PAL_OK;
    for (const pal_json *o = pal_json_first(map); o && s == PAL_OK; o = pal_json_next(o)) {
        const int64_t i = pal_weights_find(w, pal_json_key(o));
        pal_json_show(pal_json_key(o), shown);
        listed++;
        if (i < 0 || strcmp(w->name[w->place[i].file], pal_json_text(o)) != 0)
            s = pal_error_set(error, PAL_EFORMAT, "%.400s/%s: %s is not in %.100s", w->folder,
                              INDEX, shown, pal_json_text(o));
        else
            seen[i] = true;
    }
    for (int64_t i = 0; s == PAL_OK && listed < w->count && i < w->count; i++)
        if (!seen[i])
            s = pal_error_set(error, PAL_EFORMAT, "%.400s/%s: it does not list %s of %.100s",
                              w->folder, INDEX, pal_json_show(w->place[i].tensor->name, shown),
                              w->name[w->place[i].file]);
    free(seen);
    return s;
}

static pal_status open_index(pal_weights *w, pal_error *error)
{
    char path[PATH_MAX], *text;
    size_t size;
    pal_json *root = NULL;
    pal_error why = {PAL_OK, ""};
    pal_status s = path_of(w, INDEX, path, error);
    if (s == PAL_OK) s = pal_file_text(path, INDEX_BYTES, &text, &size, error);
    if (s != PAL_OK) return s;
    s = pal_json_parse(&root, text, size, &why);
    free(text);
    if (s != PAL_OK) return pal_error_set(error, s, "%.400s: %.600s", path, why.message);
    const pal_json *map = pal_json_get(root, "weight_map");
    if (!pal_json_is_object(map))
        s = pal_error_set(error, PAL_EFORMAT, "%.400s: it has no object weight_map", path);
    if (s == PAL_OK) s = open_listed(w, map, error);
    if (s == PAL_OK) s = gather(w, error);
    if (s == PAL_OK) s = compare(w, map, error);
    pal_json_free(root);
    return s;
}

/* ---- The folder ---- */

static bool ends(const char *name, const char *with)
{
    const size_t n = strlen(name), m = strlen(with);
    return n > m && strcmp(name + n - m, with) == 0;
}

/* Whether the file has pickles of PyTorch, of which convert.py takes the parameters. */
static bool is_pickle(const char *name)
{
    return ends(name, ".bin") || ends(name, ".pt") || ends(name, ".pth");
}

static pal_status nothing_there(const pal_weights *w, pal_error *error)
{
    DIR *d = opendir(w->folder);
    char found[NAME_MAX + 1] = "";
    if (!d)
        return pal_error_set(error, PAL_EIO, "%.400s: cannot list it: %s", w->folder,
                             strerror(errno));
    for (const struct dirent *e; (e = readdir(d));)
        if (is_pickle(e->d_name) && (!*found || strcmp(e->d_name, found) < 0))
            snprintf(found, sizeof found, "%s", e->d_name);
    closedir(d);
    if (!*found)
        return pal_error_set(error, PAL_EIO, "%.400s: it has neither %s nor %s", w->folder, SINGLE,
                             INDEX);
    return pal_error_set(error, PAL_EFORMAT,
                         "%.300s has %.100s and no %s: PyTorch's pickles are programs, and are not "
                         "read here; `python3 examples/convert.py %.300s %.300s/%s` converts them",
                         w->folder, found, SINGLE, w->folder, w->folder, SINGLE);
}

static pal_status open_path(pal_weights **weights, const char *path, bool folder, pal_error *error)
{
    *weights = NULL;
    pal_weights *w = calloc(1, sizeof *w);
    if (w) w->folder = strdup(path);
    if (!w || !w->folder) {
        free(w);
        return pal_error_set(error, PAL_ENOMEM, "%.400s: out of memory", path);
    }
    pal_status s;
    if (!folder) {
        s = add_file(w, path, path, error);
        if (s == PAL_OK) s = gather(w, error);
    } else if (is_there(w, SINGLE)) {
        s = add_file(w, SINGLE, NULL, error);
        if (s == PAL_OK) s = gather(w, error);
    } else {
        s = is_there(w, INDEX) ? open_index(w, error) : nothing_there(w, error);
    }
    if (s == PAL_OK)
        *weights = w;
    else
        pal_weights_close(w);
    return s;
}

pal_status pal_weights_open(pal_weights **weights, const char *folder, pal_error *error)
{
    return open_path(weights, folder, true, error);
}

pal_status pal_weights_open_file(pal_weights **weights, const char *path, pal_error *error)
{
    return open_path(weights, path, false, error);
}

void pal_weights_close(pal_weights *w)
{
    if (!w) return;
    for (int f = 0; f < w->files; f++) {
        pal_safetensors_close(w->file[f]);
        free(w->name[f]);
    }
    free(w->name);
    free(w->file);
    free(w->place);
    free(w->folder);
    free(w);
}

int64_t pal_weights_find(const pal_weights *w, const char *name)
{
    int64_t low = 0, high = w->count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int order = strcmp(name, w->place[middle].tensor->name);
        if (order == 0) return middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

int64_t pal_weights_count(const pal_weights *w) { return w->count; }
const pal_stored *pal_weights_at(const pal_weights *w, int64_t i) { return w->place[i].tensor; }

void pal_weights_forget(const pal_weights *w, int64_t i)
{
    pal_safetensors_forget(w->file[w->place[i].file], w->place[i].tensor);
}

int pal_weights_files(const pal_weights *w) { return w->files; }
const char *pal_weights_file_name(const pal_weights *w, int file) { return w->name[file]; }
const pal_safetensors *pal_weights_file(const pal_weights *w, int file) { return w->file[file]; }
