/* tables.c - files of arrays: which format one has. */
#include "optim/data/arrays.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pal_status open_file(pal_table *t, pal_error *error)
{
    struct stat is;
    t->fd = open(t->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (t->fd < 0 || fstat(t->fd, &is) != 0)
        return pal_error_set(error, PAL_EIO, "%.400s: cannot be opened: %s", t->path,
                             strerror(errno));
    if (!S_ISREG(is.st_mode))
        return pal_error_set(error, PAL_EIO, "%.400s: it is not a file", t->path);
    t->size = is.st_size;
    return PAL_OK;
}

pal_status pal_table_open(pal_table *t, const char *path, bool missing, pal_error *error)
{
    const size_t length = strlen(path) + 1;
    unsigned char begin[8] = {0};
    *t = (pal_table){.fd = -1, .missing = missing, .path = pal_malloc(length)};
    if (!t->path) return pal_error_set(error, PAL_ENOMEM, "%.400s: no memory to open it", path);
    memcpy(t->path, path, length);
    pal_status s = open_file(t, error);
    const size_t n = t->size < 8 ? (size_t)t->size : 8;
    if (s == PAL_OK) s = pal_table_bytes(t, 0, begin, n, error);
    if (s == PAL_OK) {
        t->kind = pal_bytes_are_hdf5(begin, n)                        ? &pal_table_h5
                  : n >= 6 && !memcmp(begin, "\x93NUMPY", 6)          ? &pal_table_npy
                  : n >= 4 && !memcmp(begin, "PK", 2) && begin[2] < 8 ? &pal_table_npz
                                                                      : &pal_table_csv;
        s = t->kind->open(t, error);
    }
    if (s != PAL_OK) pal_table_close(t);
    return s;
}

void pal_table_close(pal_table *t)
{
    if (t->kind) t->kind->close(t);
    if (t->fd >= 0) close(t->fd);
    if (t->path) pal_free(t->path, strlen(t->path) + 1);
    *t = (pal_table){.fd = -1};
}
