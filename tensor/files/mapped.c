/*
 * mapped.c - regular files for reading: as memory, or whole as a text.
 */
#include "tensor/files/mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static pal_status refused(const char *path, const char *what, pal_error *error)
{
    return pal_error_set(error, PAL_EIO, "%.400s: cannot %s it: %s", path, what, strerror(errno));
}

/* Opens a regular file; *fd is -1 after an error. */
static pal_status open_regular(const char *path, int *fd, size_t *size, pal_error *error)
{
    struct stat is;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would be waited for */
    if (*fd < 0) return refused(path, "open", error);
    const int got = fstat(*fd, &is);
    if (got == 0 && S_ISREG(is.st_mode)) {
        *size = (size_t)is.st_size;
        return PAL_OK;
    }
    const pal_status s = got != 0
                             ? refused(path, "look at", error)
                             : pal_error_set(error, PAL_EIO, "%.400s: it is no regular file", path);
    close(*fd);
    *fd = -1;
    return s;
}

pal_status pal_mapped_open(pal_mapped *file, const char *path, pal_error *error)
{
    int fd;
    *file = (pal_mapped){0};
    pal_status s = open_regular(path, &fd, &file->size, error);
    if (s != PAL_OK || file->size == 0) {
        if (fd >= 0) close(fd);
        return s;
    }
    void *at = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (at == MAP_FAILED) {
        s = refused(path, "map", error);
        file->size = 0;
    } else {
        file->at = at;
    }
    close(fd);
    return s;
}

void pal_mapped_close(pal_mapped *file)
{
    if (file->at) munmap((void *)file->at, file->size);
    *file = (pal_mapped){0};
}

void pal_mapped_forget(const pal_mapped *file, size_t begin, size_t end)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
    if (begin < end) madvise((void *)(file->at + begin), end - begin, MADV_DONTNEED);
}

pal_status pal_file_text(const char *path, size_t most, char **text, size_t *size, pal_error *error)
{
    int fd;
    *text = NULL;
    *size = 0;
    size_t want = 0, have = 0;
    pal_status s = open_regular(path, &fd, &want, error);
    if (s != PAL_OK) return s;
    if (want > most) {
        close(fd);
        return pal_error_set(error, PAL_EFORMAT, "%.400s has %zu bytes, and at most %zu are read",
                             path, want, most);
    }
    char *all = malloc(want + 1);
    ssize_t n = 1;
    while (all && have < want && n != 0) {
        n = read(fd, all + have, want - have);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break;
        have += (size_t)n;
    }
    if (!all)
        s = pal_error_set(error, PAL_ENOMEM, "%.400s: out of memory", path);
    else if (n < 0)
        s = refused(path, "read", error);
    close(fd);
    if (s != PAL_OK) {
        free(all);
        return s;
    }
    all[have] = '\0';
    *text = all;
    *size = have;
    return PAL_OK;
}
