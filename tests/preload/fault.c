/*
 * fault.c - a library for LD_PRELOAD that ends a process, or lets a system call fail, at the N-th
 * call of one kind on a file below a folder. Tests of what a killed program leaves are made by it.
 *
 *     FAULT_BELOW=FOLDER FAULT=rename:3:kill        SIGKILL in place of the third rename
 *     FAULT_BELOW=FOLDER FAULT=fsync:2:5            the second fsync fails with errno 5
 *     FAULT_BELOW=FOLDER FAULT_COUNTS=FILE          the number of calls of each kind goes to FILE
 *
 * Calls that the C library makes itself, such as those of fflush, are not seen.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WRITE, RENAME, UNLINK, LINK, MKDIR, FSYNC, TRUNCATE, KINDS };
static const char *const names[KINDS] = {"write", "rename", "unlink",  "link",
                                         "mkdir", "fsync",  "truncate"};
static int counts[KINDS];

static int below(const char *path)
{
    const char *folder = getenv("FAULT_BELOW");
    return folder && strncmp(path, folder, strlen(folder)) == 0;
}

/* Whether this call fails, with errno set; or the process ends here. */
static int fails(int kind, const char *path)
{
    if (!below(path)) return 0;
    const int number = __atomic_add_fetch(&counts[kind], 1, __ATOMIC_RELAXED);
    const char *fault = getenv("FAULT");
    const size_t n = strlen(names[kind]);
    if (!fault || strncmp(fault, names[kind], n) != 0 || fault[n] != ':') return 0;
    char *end;
    if (strtol(fault + n + 1, &end, 10) != number) return 0;
    if (strcmp(end, ":kill") == 0) kill(getpid(), SIGKILL);
    errno = atoi(end + 1);
    return 1;
}

static int fails_at(int kind, int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = '\0';
    return fails(kind, path);
}

/* The function that this library stands before. dlsym gives a pointer to data. */
#define NEXT(type, name)                       \
    static type *next;                         \
    if (!next) {                               \
        void *found = dlsym(RTLD_NEXT, #name); \
        memcpy(&next, &found, sizeof next);    \
    }

typedef ssize_t write_fn(int, const void *, size_t);
typedef ssize_t pwrite_fn(int, const void *, size_t, off_t);
typedef int two_fn(const char *, const char *), one_fn(const char *), fd_fn(int);
typedef int mkdir_fn(const char *, mode_t), unlinkat_fn(int, const char *, int);
typedef int truncate_fn(const char *, off_t), ftruncate_fn(int, off_t);

ssize_t write(int fd, const void *data, size_t size)
{
    NEXT(write_fn, write)
    return fails_at(WRITE, fd) ? -1 : next(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    NEXT(pwrite_fn, pwrite)
    return fails_at(WRITE, fd) ? -1 : next(fd, data, size, at);
}

int rename(const char *from, const char *to)
{
    NEXT(two_fn, rename)
    return fails(RENAME, to) ? -1 : next(from, to);
}

int link(const char *from, const char *to)
{
    NEXT(two_fn, link)
    return fails(LINK, to) ? -1 : next(from, to);
}

int unlink(const char *path)
{
    NEXT(one_fn, unlink)
    return fails(UNLINK, path) ? -1 : next(path);
}

int unlinkat(int folder, const char *path, int flags)
{
    NEXT(unlinkat_fn, unlinkat)
    return fails_at(UNLINK, folder) ? -1 : next(folder, path, flags);
}

int mkdir(const char *path, mode_t mode)
{
    NEXT(mkdir_fn, mkdir)
    return fails(MKDIR, path) ? -1 : next(path, mode);
}

int fsync(int fd)
{
    NEXT(fd_fn, fsync)
    return fails_at(FSYNC, fd) ? -1 : next(fd);
}

int truncate(const char *path, off_t size)
{
    NEXT(truncate_fn, truncate)
    return fails(TRUNCATE, path) ? -1 : next(path, size);
}

int ftruncate(int fd, off_t size)
{
    NEXT(ftruncate_fn, ftruncate)
    return fails_at(TRUNCATE, fd) ? -1 : next(fd, size);
}

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("FAULT_COUNTS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    for (int k = 0; k < KINDS; k++)
        if (counts[k]) fprintf(file, "%s %d\n", names[k], counts[k]);
    fclose(file);
}
