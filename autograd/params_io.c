/*
 * params_io.c - parameters to and from HDF5. Loading is all or nothing.
 */
#include "autograd/internal.h"
#include "tensor/number.h"

#include <stdlib.h>
#include <string.h>

static bool join(char *path, size_t size, const char *group, const char *name)
{
    int n = snprintf(path, size, "%s/%s", group, name);
    return n > 0 && (size_t)n < size;
}

enum { PATH_BYTES = 1024 };

pal_status pal_params_put(const pal_params *params, pal_h5 *file, const char *group,
                          pal_error *error)
{
    for (int i = 0; i < pal_params_count(params); i++) {
        char path[PATH_BYTES];
        const char *name = pal_params_name(params, i);
        if (!join(path, sizeof path, group, name))
            return pal_error_set(error, PAL_EVALUE, "params_put: the name %s/%s is too long", group,
                                 name);
        pal_array a = pal_params_array(params, i);
        pal_status s = pal_h5_put(file, path, &a, error);
        if (s != PAL_OK) return s;
    }
    return PAL_OK;
}

/* ---- What does not fit, gathered into one message ---- */

typedef enum kind { MISSING, EXTRA, SHAPE, TYPE, UNREADABLE, KINDS } kind;
static const char *const said[KINDS] = {"missing", "that the model does not have",
                                        "of another shape", "of another type", "unreadable"};

enum { MOST = 12 }; /* kept of each kind; how many are shown depends on the room */

typedef struct list {
    int count, kept;
    size_t end[MOST]; /* where the text of each ends */
    char text[sizeof(((pal_error *)0)->message)];
} list;

typedef struct complaints {
    const pal_params *params;
    list of[KINDS];
} complaints;

static void PAL_PRINTF(3, 4) complain(complaints *c, kind k, const char *format, ...)
{
    list *l = &c->of[k];
    size_t used = l->kept ? l->end[l->kept - 1] : 0, room = sizeof l->text - used;
    va_list args;
    l->count++;
    if (l->kept == MOST || l->kept < l->count - 1) return; /* in order, without gaps */
    va_start(args, format);
    int n = pal_vsnprintf(l->text + used, room, format, args);
    va_end(args);
    if (n < 0 || ((size_t)n >= room && l->kept)) return;
    l->end[l->kept++] = used + ((size_t)n < room ? (size_t)n : room - 1);
}

static pal_status report(const complaints *c, const char *group, pal_error *error)
{
    int kinds = 0;
    for (int k = 0; k < KINDS; k++) kinds += c->of[k].count > 0;
    if (!kinds) return PAL_OK;
    if (!error) return PAL_EFORMAT;
    pal_error_set(error, PAL_EFORMAT, "params_get: the parameters of %.80s do not fit", group);
    const size_t room = sizeof error->message - strlen(error->message);
    const size_t share = room / (size_t)kinds - 64; /* for names; 64 for what is around them */
    const char *mark = ": ";
    for (int k = 0; k < KINDS; k++) {
        const list *l = &c->of[k];
        int shown = l->kept;
        if (!l->count) continue;
        while (shown > 1 && l->end[shown - 1] > share) shown--;
        size_t length = l->end[shown - 1] < share ? l->end[shown - 1] : share;
        /* The text of each begins with ", " */
        pal_error_add(error, "%s%d %s: %.*s", mark, l->count, said[k], (int)length - 2,
                      l->text + 2);
        if (shown < l->count) pal_error_add(error, " and %d more", l->count - shown);
        mark = "; ";
    }
    return PAL_EFORMAT;
}

static bool note_extra(const char *name, void *user)
{
    complaints *c = user;
    for (int i = 0; i < pal_params_count(c->params); i++)
        if (!strcmp(pal_params_name(c->params, i), name)) return true;
    complain(c, EXTRA, ", %s", name);
    return true;
}

static void check_entry(complaints *c, pal_h5 *file, const char *path, int i)
{
    const char *name = pal_params_name(c->params, i);
    pal_array have = pal_params_array(c->params, i), found = have;
    pal_shape shape;
    pal_error why;
    if (!pal_h5_has(file, path)) {
        complain(c, MISSING, ", %s", name);
        return;
    }
    if (pal_h5_info(file, path, &found.dtype, &shape, &why) != PAL_OK) {
        complain(c, UNREADABLE, ", %s", why.message);
        return;
    }
    char a[128], b[128];
    bool same = pal_shape_equal(shape, pal_array_shape(&have));
    if (same && (found.dtype == PAL_I64) == (have.dtype == PAL_I64)) return;
    found = pal_array_of(found.dtype, shape, NULL);
    complain(c, same ? TYPE : SHAPE, ", %s is %s where %s is wanted", name,
             pal_array_describe(&found, a, sizeof a), pal_array_describe(&have, b, sizeof b));
}

static pal_status check_all(const pal_params *params, pal_h5 *file, const char *group,
                            pal_error *error)
{
    complaints c = {.params = params};
    pal_error why;
    for (int i = 0; i < pal_params_count(params); i++) {
        char path[PATH_BYTES];
        if (join(path, sizeof path, group, pal_params_name(params, i)))
            check_entry(&c, file, path, i);
        else
            complain(&c, UNREADABLE, ", %s is too long a name", pal_params_name(params, i));
    }
    if (pal_h5_each(file, group, note_extra, &c, &why) != PAL_OK)
        complain(&c, UNREADABLE, ", %s", why.message);
    return report(&c, group, error);
}

/* ---- Loading ---- */

/* Reads everything into one piece of memory; `at` moves over it in the order of the parameters.
 * NULL: reads directly into the parameters. */
static pal_status read_all(const pal_params *params, pal_h5 *file, const char *group,
                           unsigned char *at, pal_progress progress, pal_error *error)
{
    int64_t done = 0, all = 0;
    for (int i = 0; i < pal_params_count(params); i++) {
        const pal_array a = pal_params_array(params, i);
        all += (int64_t)pal_shape_bytes(a.dtype, pal_array_shape(&a));
    }
    for (int i = 0; i < pal_params_count(params); i++) {
        char path[PATH_BYTES];
        join(path, sizeof path, group, pal_params_name(params, i));
        pal_array a = pal_params_array(params, i);
        pal_array to = at ? pal_array_of(a.dtype, pal_array_shape(&a), at) : a;
        pal_status s = pal_h5_get(file, path, &to, error);
        if (s != PAL_OK) return s;
        done += (int64_t)pal_shape_bytes(a.dtype, pal_array_shape(&a));
        if (progress.fn) progress.fn(progress.user, done, all);
        if (at) at += pal_round_up(pal_shape_bytes(a.dtype, pal_array_shape(&a)), 8);
    }
    return PAL_OK;
}

pal_status pal_params_read(pal_params *params, pal_h5 *file, const char *group,
                           pal_pending *pending, pal_error *error)
{
    *pending = (pal_pending){0};
    pal_status s = check_all(params, file, group, error);
    if (s != PAL_OK) return s;
    size_t bytes = 0;
    for (int i = 0; i < pal_params_count(params); i++) {
        pal_array a = pal_params_array(params, i);
        bytes += pal_round_up(pal_shape_bytes(a.dtype, pal_array_shape(&a)), 8);
    }
    unsigned char *all = pal_malloc(bytes);
    if (!all)
        return pal_error_set(error, PAL_ENOMEM, "params_get: out of memory for %zu bytes", bytes);
    s = read_all(params, file, group, all, (pal_progress){NULL, NULL}, error);
    if (s == PAL_OK)
        *pending = (pal_pending){params, all, bytes};
    else
        pal_free(all, bytes);
    return s;
}

void pal_params_settle(pal_pending *pending, bool take)
{
    pal_params *params = pending->params;
    const unsigned char *at = pending->values;
    if (!params) return;
    for (int i = 0; i < pal_params_count(params) && take; i++) {
        pal_array a = pal_params_array(params, i);
        size_t size = pal_shape_bytes(a.dtype, pal_array_shape(&a));
        memcpy(a.data, at, size);
        at += pal_round_up(size, 8);
    }
    if (take) pal_params_touch(params);
    pal_free(pending->values, pending->bytes);
    *pending = (pal_pending){0};
}

pal_status pal_params_read_in_place(pal_params *params, pal_h5 *file, const char *group,
                                    pal_progress progress, pal_error *error)
{
    pal_status s = check_all(params, file, group, error);
    if (s == PAL_OK) s = read_all(params, file, group, NULL, progress, error);
    pal_params_touch(params);
    return s;
}

pal_status pal_params_get(pal_params *params, pal_h5 *file, const char *group, pal_error *error)
{
    pal_pending pending;
    pal_status s = pal_params_read(params, file, group, &pending, error);
    pal_params_settle(&pending, s == PAL_OK);
    return s;
}
