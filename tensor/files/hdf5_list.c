/*
 * hdf5_list.c - walks over what a file has, in the order of names.
 *
 * HDF5 is asked for links in the order in which it has them, and they are sorted here. If it is
 * asked for another order, it builds a table of them. HDF5 1.10.8 frees an invalid pointer when it
 * finds damage while it does so.
 */
#include "tensor/files/hdf5_private.h"

#include <stdlib.h>
#include <string.h>

/* The names of one group, one after another, each with its final NUL. */
typedef struct names {
    char *text;
    size_t used, room;
    int64_t count, most; /* and how many there may still be */
    bool long_name, no_memory;
} names;

static bool add_name(names *n, const char *name)
{
    const size_t length = strlen(name) + 1;
    if (n->used + length > n->room) {
        const size_t room = 2 * n->room + length + 256;
        char *more = realloc(n->text, room);
        if (!more) return false;
        n->text = more, n->room = room;
    }
    memcpy(n->text + n->used, name, length);
    n->used += length;
    return true;
}

static herr_t at_link(hid_t group, const char *name, const H5L_info_t *info, void *data)
{
    (void)group;
    names *n = data;
    n->long_name = strlen(name) >= PAL_H5_PATH;
    if (n->count == n->most || n->long_name) return -1;
    n->count++;
    if (info->type != H5L_TYPE_HARD) return 0;
    n->no_memory = !add_name(n, name);
    return n->no_memory ? -1 : 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names in order, for free(), with NULL at the end. They stay in n->text. */
static const char **sorted(const names *n)
{
    const char **list = malloc(((size_t)n->count + 1) * sizeof *list);
    int64_t count = 0;
    if (!list) return NULL;
    for (size_t at = 0; at < n->used; at += strlen(n->text + at) + 1) list[count++] = n->text + at;
    list[count] = NULL;
    if (count) qsort(list, (size_t)count, sizeof *list, by_name);
    return list;
}

typedef struct walk {
    const pal_h5 *file;
    pal_h5_visit *visit;
    void *user;
    pal_error *error;
    int64_t links; /* how many more there may be */
    bool stopped;  /* by the visitor */
    size_t from;   /* where names relative to the first group begin in `path` */
    char path[PAL_H5_PATH];
} walk;

static pal_status PAL_PRINTF(2, 3) trouble(walk *w, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return pal_error_set(w->error, PAL_EFORMAT, "%s: cannot list '%.300s': %s", w->file->path,
                         w->path, text);
}

static pal_status list_names(walk *w, hid_t group, names *n)
{
    hsize_t at = 0;
    n->most = w->links;
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_NATIVE, &at, at_link, n) >= 0) {
        w->links -= n->count;
        return PAL_OK;
    }
    if (n->no_memory)
        return pal_error_set(w->error, PAL_ENOMEM, "%s: no memory to list '%.300s'", w->file->path,
                             w->path);
    if (n->long_name) return trouble(w, "a name is longer than %d bytes", PAL_H5_PATH - 1);
    if (n->count == n->most) return trouble(w, "the file has more than %d names", PAL_H5_LINKS);
    return trouble(w, "%s", pal_h5_why().text);
}

static pal_status walk_group(walk *w, hid_t group, int depth);

/* The path is that of the object. */
static pal_status visit_object(walk *w, hid_t group, const char *name, int depth)
{
    pal_status status = PAL_OK;
    const hid_t id = H5Oopen(group, name, H5P_DEFAULT);
    if (id < 0) return trouble(w, "%s", pal_h5_why().text);
    const H5I_type_t type = H5Iget_type(id);
    if (type == H5I_GROUP || type == H5I_DATASET)
        w->stopped = !w->visit(w->path + w->from, type == H5I_GROUP, w->user);
    if (type == H5I_GROUP && !w->stopped) status = walk_group(w, id, depth + 1);
    pal_h5_drop(id);
    return status;
}

static pal_status visit_names(walk *w, hid_t group, const char *const *name, int depth)
{
    const size_t length = strlen(w->path);
    const char *between = length && w->path[length - 1] == '/' ? "" : "/";
    pal_status status = PAL_OK;
    for (; *name && !w->stopped && status == PAL_OK; name++) {
        const int n = snprintf(w->path + length, sizeof w->path - length, "%s%s", between, *name);
        const bool fits = n > 0 && (size_t)n < sizeof w->path - length;
        if (fits) status = visit_object(w, group, *name, depth);
        w->path[length] = '\0';
        if (!fits) status = trouble(w, "a path is longer than %d bytes", PAL_H5_PATH - 1);
    }
    return status;
}

static pal_status walk_group(walk *w, hid_t group, int depth)
{
    if (depth > PAL_H5_DEPTH)
        return trouble(w, "its groups are nested more than %d deep", PAL_H5_DEPTH);
    names n = {.text = NULL};
    const char **list = NULL;
    pal_status status = list_names(w, group, &n);
    if (status == PAL_OK && !(list = sorted(&n)))
        status = pal_error_set(w->error, PAL_ENOMEM, "%s: no memory to list '%.300s'",
                               w->file->path, w->path);
    if (status == PAL_OK) status = visit_names(w, group, list, depth);
    free(list);
    free(n.text);
    return status;
}

pal_status pal_h5_walk(const pal_h5 *file, const char *group, pal_h5_visit *visit, void *user,
                       pal_error *error)
{
    walk w = {.file = file, .visit = visit, .user = user, .error = error, .links = PAL_H5_LINKS};
    pal_h5_voice voice = pal_h5_hush();
    pal_status status = pal_h5_room(file->path, 0, error);
    hid_t id = -1;
    if (status == PAL_OK && pal_h5_reachable(file, group))
        id = H5Gopen2(file->id, group, H5P_DEFAULT);
    if (status == PAL_OK && id < 0) {
        status = pal_error_set(error, PAL_EFORMAT, "%s: there is no group '%s'", file->path, group);
    } else if (status == PAL_OK) {
        snprintf(w.path, sizeof w.path, "%s", group); /* reachable: it is shorter */
        w.from = strlen(group);
        if (w.from && group[w.from - 1] != '/') w.from++;
        status = walk_group(&w, id, pal_h5_depth(group) + 1);
        pal_h5_drop(id);
    }
    pal_h5_speak(voice);
    return status;
}

/* ---- Datasets ---- */

typedef struct each {
    bool (*visit)(const char *name, void *user);
    void *user;
} each;

static bool if_dataset(const char *name, bool is_group, void *user)
{
    const each *e = user;
    return is_group || e->visit(name, e->user);
}

pal_status pal_h5_each(pal_h5 *file, const char *group, bool (*visit)(const char *name, void *user),
                       void *user, pal_error *error)
{
    each e = {visit, user};
    return pal_h5_walk(file, group, if_dataset, &e, error);
}
