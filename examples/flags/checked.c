/*
 * checked.c - starts the program check, and makes a sentence of how it ends.
 */
#include "examples/flags/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- One check ---- */

int checked_seconds(long long bytes)
{
    enum { SECONDS = 4, BYTES_A_SECOND = 4 << 20, MOST = 1 << 20 };
    const long long seconds = SECONDS + bytes / BYTES_A_SECOND;
    return seconds < MOST ? (int)seconds : MOST;
}

/* The program `check` beside this one. Without /proc the system's note of how this one was started
 * names it. */
static bool find_program(char *path, size_t size)
{
    static const char name[] = "check";
    const ssize_t n = readlink("/proc/self/exe", path, size - 1);
    const char *started = (const char *)getauxval(AT_EXECFN);
    if (n > 0)
        path[n] = '\0';
    else if (!started || snprintf(path, size, "%s", started) >= (int)size)
        return false;
    char *slash = strrchr(path, '/');
    if (!slash || (size_t)(slash + 1 - path) + sizeof name > size) return false;
    memcpy(slash + 1, name, sizeof name);
    return true;
}

/* Starts it with the file as its standard input and `out` as its output. Returns 0 or an errno. */
static int start(const char *program, int file, char *path, int out, pid_t *pid)
{
    char *argv[] = {(char[]){"check"}, (char[]){CHECKED_ALONE}, path, NULL};
    posix_spawn_file_actions_t how;
    int why = posix_spawn_file_actions_init(&how);
    if (why) return why;
    why = posix_spawn_file_actions_adddup2(&how, file, STDIN_FILENO);
    if (!why) why = posix_spawn_file_actions_adddup2(&how, out, STDOUT_FILENO);
    /* What HDF5 and the dynamic linker print is no sentence of ours. */
    if (!why) why = posix_spawn_file_actions_addopen(&how, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (!why) why = posix_spawn(pid, program, &how, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&how);
    return why;
}

/* Reads until the other end is closed; what does not fit is lost. */
static void read_text(int from, char *text, size_t size)
{
    char rest[256];
    size_t used = 0;
    for (;;) {
        const bool full = used + 1 >= size;
        const ssize_t n =
            full ? read(from, rest, sizeof rest) : read(from, text + used, size - 1 - used);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        if (!full) used += (size_t)n;
    }
    text[used] = '\0';
}

/* Signals that a process gets by what it does itself. */
static bool is_crash(int by)
{
    return by == SIGSEGV || by == SIGBUS || by == SIGFPE || by == SIGILL || by == SIGABRT;
}

/* What a signal that ended the program says of a file of so many bytes. */
static pal_status ended_by(int by, const struct rusage *used, long long bytes, const char *path,
                           const char *program, pal_error *error)
{
    const int seconds = checked_seconds(bytes);
    if (is_crash(by))
        return pal_error_set(error, PAL_EFORMAT,
                             "%s: is damaged or was made to do harm: HDF5 crashes on it (%s)", path,
                             strsignal(by));
    if (by == SIGKILL && used->ru_utime.tv_sec + used->ru_stime.tv_sec >= seconds)
        return pal_error_set(error, PAL_EFORMAT,
                             "%s: HDF5 needs more than %d s to read it, and could not be "
                             "interrupted",
                             path, seconds);
    return pal_error_set(error, PAL_EIO,
                         "%s: is not opened, because %s, which looks at it first, was ended by a "
                         "signal (%s); try again",
                         path, program, strsignal(by));
}

static pal_status verdict(const char *path, const char *program, int status, const char *text,
                          pal_error *error)
{
    static const pal_status of[] = {
        [CHECKED_BAD] = PAL_EFORMAT, [CHECKED_MEMORY] = PAL_ENOMEM, [CHECKED_IO] = PAL_EIO};
    const int code = WEXITSTATUS(status);
    if (code == 0) return PAL_OK;
    if (code != CHECKED_FAILED && (size_t)code < sizeof of / sizeof *of && *text)
        return pal_error_set(error, of[code], "%s%s", path, text);
    return pal_error_set(error, PAL_EIO,
                         "%s: is not opened, because %s, which looks at it first, ended with "
                         "status %d",
                         path, program, code);
}

static pal_status cannot(const char *path, const char *program, int why, pal_error *error)
{
    return pal_error_set(error, why == ENOMEM ? PAL_ENOMEM : PAL_EIO,
                         "%s: is not opened, because %s, which looks at it first, cannot be "
                         "started: %s",
                         path, program, strerror(why));
}

static pal_status check(int file, long long bytes, const char *path, pal_error *error)
{
    char program[4096] = "check", text[800];
    int ends[2], status = 0;
    struct rusage used;
    pid_t pid;
    if (!find_program(program, sizeof program)) return cannot(path, program, ENOENT, error);
    char *name = strdup(path);
    if (!name) return cannot(path, program, ENOMEM, error);
    if (pipe2(ends, O_CLOEXEC) != 0) {
        const int why = errno;
        free(name);
        return cannot(path, program, why, error);
    }
    const int why = start(program, file, name, ends[1], &pid);
    free(name);
    close(ends[1]);
    if (why == 0) read_text(ends[0], text, sizeof text);
    close(ends[0]);
    if (why) return cannot(path, program, why, error);
    pid_t ended;
    do ended = wait4(pid, &status, 0, &used);
    while (ended < 0 && errno == EINTR);
    if (ended < 0) return cannot(path, program, errno, error);
    if (WIFSIGNALED(status)) return ended_by(WTERMSIG(status), &used, bytes, path, program, error);
    return verdict(path, program, status, text, error);
}

/* ---- Files that were checked ---- */

typedef struct seen {
    struct stat is;
    pal_error verdict;
} seen;

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static pal_status check_once(int fd, const char *path, void *user, pal_error *error)
{
    enum { FILES = 16 };
    static seen known[FILES];
    static int count;
    struct stat is;
    (void)user;
    if (fstat(fd, &is) != 0) return pal_error_set(error, PAL_EIO, "%s: %s", path, strerror(errno));
    for (int i = 0; i < FILES && i < count; i++)
        if (same(&is, &known[i].is)) {
            if (known[i].verdict.status == PAL_OK) return PAL_OK;
            return pal_error_set(error, PAL_EFORMAT, "%s", known[i].verdict.message);
        }
    pal_error why = {PAL_OK, ""};
    const pal_status status = check(fd, (long long)is.st_size, path, &why);
    if (status == PAL_OK || status == PAL_EFORMAT) known[count++ % FILES] = (seen){is, why};
    return status == PAL_OK ? status : pal_error_set(error, status, "%s", why.message);
}

void checked_files(void)
{
    signal(SIGCHLD, SIG_DFL); /* if it is ignored, the system forgets how a child ended */
    pal_set_file_check(check_once, NULL);
}
