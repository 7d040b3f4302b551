/*
 * params_io.c - parameters to and from HDF5. Loading is all or nothing.
 */
#include "autograd/internal.h"

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

/* What does not fit, gathered into one message. */
typedef struct complaints {
    const pal_params *params;
    pal_error *error;
    size_t used;
    int count;
} complaints;

static void PAL_PRINTF(2, 3) complain(complaints *c, const char *format, ...)
{
    c->count++;
    if (!c->error) return;
    size_t room = sizeof c->error->message - c->used;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(c->error->message + c->used, room, format, args);
    va_end(args);
    if (n > 0) c->used += (size_t)n < room ? (size_t)n : room - 1;
}

static bool note_extra(const char *name, void *user)
{
    complaints *c = user;
    for (int i = 0; i < pal_params_count(c->params); i++)
        if (!strcmp(pal_params_name(c->params, i), name)) return true;
    complain(c, "; %s is not a parameter", name);
    return true;
}

static void check_entry(complaints *c, pal_h5 *file, const char *path, int i)
{
    const char *name = pal_params_name(c->params, i);
    pal_array have = pal_params_array(c->params, i);
    pal_array found = have;
    pal_dtype dtype;
    pal_shape shape;
    pal_error why;
    if (!pal_h5_has(file, path)) {
        complain(c, "; %s is missing", name);
    } else if (pal_h5_info(file, path, &dtype, &shape, &why) != PAL_OK) {
        complain(c, "; %s", why.message);
    } else {
        char a[128], b[128];
        bool floats = (dtype == PAL_I64) == (have.dtype == PAL_I64);
        found = pal_array_of(dtype, shape, NULL);
        if (!pal_shape_equal(shape, pal_array_shape(&have)) || !floats)
            complain(c, "; %s is %s where %s is wanted", name,
                     pal_array_describe(&found, a, sizeof a),
                     pal_array_describe(&have, b, sizeof b));
    }
}

static pal_status check_all(const pal_params *params, pal_h5 *file, const char *group,
                            pal_error *error)
{
    complaints c = {.params = params, .error = error};
    if (error) {
        error->status = PAL_EFORMAT;
        c.used = (size_t)snprintf(error->message, sizeof error->message,
                                  "params_get: the parameters of %.200s do not fit", group);
    }
    for (int i = 0; i < pal_params_count(params); i++) {
        char path[PATH_BYTES];
        if (join(path, sizeof path, group, pal_params_name(params, i)))
            check_entry(&c, file, path, i);
        else
            complain(&c, "; %s is too long a name", pal_params_name(params, i));
    }
    pal_error why;
    pal_status s = pal_h5_each(file, group, note_extra, &c, &why);
    if (s != PAL_OK) complain(&c, "; %s", why.message);
    return c.count ? PAL_EFORMAT : PAL_OK;
}

/* Reads everything into one piece of memory; `at` walks over it in the order of the parameters. */
static pal_status read_all(const pal_params *params, pal_h5 *file, const char *group,
                           unsigned char *at, pal_error *error)
{
    for (int i = 0; i < pal_params_count(params); i++) {
        char path[PATH_BYTES];
        join(path, sizeof path, group, pal_params_name(params, i));
        pal_array a = pal_params_array(params, i);
        pal_array to = pal_array_of(a.dtype, pal_array_shape(&a), at);
        pal_status s = pal_h5_get(file, path, &to, error);
        if (s != PAL_OK) return s;
        at += pal_round_up(pal_shape_bytes(a.dtype, pal_array_shape(&a)), 8);
    }
    return PAL_OK;
}

pal_status pal_params_get(pal_params *params, pal_h5 *file, const char *group, pal_error *error)
{
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
    s = read_all(params, file, group, all, error);
    unsigned char *at = all;
    for (int i = 0; i < pal_params_count(params) && s == PAL_OK; i++) {
        pal_array a = pal_params_array(params, i);
        size_t size = pal_shape_bytes(a.dtype, pal_array_shape(&a));
        memcpy(a.data, at, size);
        at += pal_round_up(size, 8);
    }
    if (s == PAL_OK) pal_params_touch(params);
    pal_free(all, bytes);
    return s;
}
