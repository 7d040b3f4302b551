/*
 * temporary.c - the temporary names under which files are built.
 *
 * A process holds a lock on the file that it builds, until the file has its own name. The lock ends
 * with the process, so the next process that builds the same file knows which temporary files
 * nobody writes any more.
 */
#include "tensor/files/temporary.h"
#include "tensor/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

bool pal_h5_is_temporary(const char *name, size_t length)
{
    static const char mark[] = ".tmp-";
    const char *end = name + length;
    if (strncmp(end, mark, sizeof mark - 1) != 0) return false;
    end += sizeof mark - 1;
    if (strncmp(end, "ranks-", 6) == 0) end += 6;
    const size_t process = strspn(end, "0123456789");
    const char *number = end + process + 1;
    if (process == 0 || end[process] != '-' || !*number) return false;
    return strspn(number, "0123456789") == strlen(number);
}

/*
 * Removes one, unless a process has its lock, or the file system has none. Before the lock was got,
 * the file may have been renamed and another one have got its name. While the lock is held, nobody
 * renames the file.
 */
static void remove_dead(int folder, const char *name)
{
    struct stat is, named;
    const int fd = openat(folder, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &is) == 0 &&
        fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && is.st_dev == named.st_dev &&
        is.st_ino == named.st_ino)
        unlinkat(folder, name, 0);
    close(fd);
}

/* Ranks build a file without a lock: on some file systems it would stop the other ranks' writes. */
static void remove_all_dead(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char *folder = slash ? strndup(path, (size_t)(base - path)) : strdup(".");
    DIR *d = folder ? opendir(folder) : NULL;
    free(folder);
    if (!d) return;
    const size_t length = strlen(base);
    for (struct dirent *e; (e = readdir(d));)
        if (strncmp(e->d_name, base, length) == 0 && pal_h5_is_temporary(e->d_name, length) &&
            strncmp(e->d_name + length, ".tmp-ranks-", 11) != 0)
            remove_dead(dirfd(d), e->d_name);
    closedir(d);
}

/* Whether the new file is this process's own. Another process may have taken it for a dead one
 * before it was locked. */
static bool claim(int fd)
{
    struct stat is;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
    return fstat(fd, &is) == 0 && is.st_nlink > 0;
}

int pal_h5_open_temporary(const char *path, bool shared, char *temporary, size_t size)
{
    remove_all_dead(path);
    for (int i = 0; i < 100; i++) {
        snprintf(temporary, size, "%s.tmp-%s%ld-%d", path, shared ? "ranks-" : "", (long)getpid(),
                 i);
        const int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST) return -1;
        if (fd >= 0 && (shared || claim(fd))) return fd;
        if (fd >= 0) close(fd);
    }
    return -1;
}

pal_status pal_h5_refused(const char *path, const char *what, pal_error *error)
{
    return pal_error_set(error, PAL_EIO, "%s: cannot %s: %s", path, what, strerror(errno));
}

/* The lock is given up last: without it another process would take the file for a dead one. What
 * close would report, the flush has reported. */
pal_status pal_h5_publish(int fd, const char *temporary, const char *path, pal_status status,
                          pal_error *error)
{
    if (status == PAL_OK && !pal_flush(fd)) status = pal_h5_refused(path, "write", error);
    if (status == PAL_OK && rename(temporary, path) != 0)
        status = pal_h5_refused(path, "rename the finished file to it", error);
    if (status != PAL_OK) unlink(temporary);
    close(fd);
    if (status == PAL_OK && !pal_flush_folder(path))
        return pal_h5_refused(path, "flush its folder", error);
    return status;
}
