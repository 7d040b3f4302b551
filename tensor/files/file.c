/* file.c - system calls on files that continue after a signal, and the first bytes of HDF5. */
#include "tensor/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

bool pal_bytes_are_hdf5(const void *bytes, size_t size)
{
    static const char signature[] = "\x89HDF\r\n\x1a\n";
    return size >= sizeof signature - 1 && memcmp(bytes, signature, sizeof signature - 1) == 0;
}

bool pal_write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        data += n;
        size -= (size_t)n;
    }
    return true;
}

bool pal_flush(int fd)
{
    int result;
    do result = fsync(fd);
    while (result != 0 && errno == EINTR);
    return result == 0;
}

bool pal_flush_folder(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (length >= sizeof folder) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(folder, path, length);
    strcpy(folder + length, length == 0 ? "." : "");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return false;
    bool good = pal_flush(fd) || errno == EINVAL; /* some file systems cannot flush folders */
    int why = errno;
    close(fd);
    errno = why;
    return good;
}
