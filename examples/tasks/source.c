/*
 * source.c - tells task, store and text apart.
 */
#include "examples/tasks/source.h"
#include "examples/flags/files.h"

#include <string.h>

bool data_names_task(const char *data)
{
    const size_t length = strcspn(data, ":");
    const char *name;
    for (int i = 0; (name = task_names(i)); i++)
        if (strlen(name) == length && memcmp(name, data, length) == 0) return true;
    return false;
}

/* The store beside a checkpoint; false: the path is too long for one. */
static bool beside(const char *checkpoint, char path[PAL_PATH])
{
    const char *slash = strrchr(checkpoint, '/');
    const int folder = slash ? (int)(slash - checkpoint) + 1 : 0;
    const int n = snprintf(path, PAL_PATH, "%.*sdata.h5", folder, checkpoint);
    return n < PAL_PATH;
}

pal_status data_find(data_source *d, const char *data, const char *checkpoint, pal_error *error)
{
    *d = (data_source){.task = NULL};
    if (data_names_task(data)) return task_new(&d->task, data, error);
    if (flags_is_stdin(data))
        return pal_error_set(error, PAL_EVALUE,
                             "%s: a file is wanted, because it may be read more than once", data);
    const pal_file_kind kind = pal_file_kind_of(data);
    d->store = pal_file_kind_is_hdf5(kind);
    if (!d->store && checkpoint && beside(checkpoint, d->path)) {
        const pal_file_kind copy = pal_file_kind_of(d->path);
        d->store = pal_file_kind_is_hdf5(copy);
        if (d->store) return PAL_OK;
        if (copy == PAL_FILE_SPECIAL)
            return pal_error_set(error, PAL_EVALUE, "%.400s is %s", d->path,
                                 pal_file_kind_name(copy));
    }
    if (kind == PAL_FILE_SPECIAL || kind == PAL_FILE_FOLDER)
        return pal_error_set(error, PAL_EVALUE, "%.400s: a file is wanted, and it is %s", data,
                             pal_file_kind_name(kind));
    if ((size_t)snprintf(d->path, sizeof d->path, "%s", data) < sizeof d->path) return PAL_OK;
    return pal_error_set(error, PAL_EVALUE, "%.100s..: the path is too long", data);
}

void data_free(data_source *d)
{
    task_free(d->task);
    *d = (data_source){.task = NULL};
}
