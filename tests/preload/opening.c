/*
 * opening.c - a library for LD_PRELOAD that ends a process with status 97 if HDF5 opens a file
 * before the file OPENING_AFTER is there.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int64_t H5Fopen(const char *name, unsigned flags, int64_t how);

int64_t H5Fopen(const char *name, unsigned flags, int64_t how)
{
    int64_t (*next)(const char *, unsigned, int64_t);
    void *found = dlsym(RTLD_NEXT, "H5Fopen"); /* dlsym gives a pointer to data */
    const char *first = getenv("OPENING_AFTER");
    if (first && access(first, F_OK) != 0) {
        fprintf(stderr, "HDF5 opens %s, and nothing was asked before\n", name);
        _exit(97);
    }
    memcpy(&next, &found, sizeof next);
    return next(name, flags, how);
}

static int is_hidden(const char *path)
{
    if (!getenv("OPENING_PROC") || strncmp(path, "/proc/", 6) != 0) return 0;
    errno = ENOENT;
    return 1;
}

ssize_t readlink(const char *path, char *to, size_t size)
{
    return is_hidden(path) ? -1 : readlinkat(AT_FDCWD, path, to, size);
}

int access(const char *path, int how)
{
    return is_hidden(path) ? -1 : faccessat(AT_FDCWD, path, how, 0);
}
