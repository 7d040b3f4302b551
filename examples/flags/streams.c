/*
 * streams.c - the standard streams of every program in examples/ and bench/, which are linked with
 * this object. Nothing has to be called, so no program can forget it.
 *
 * At the start, a descriptor 0, 1 or 2 that is closed gets /dev/null, opened for the wrong
 * direction. Without that, a checkpoint might be opened as descriptor 1 and receive what is
 * printed. Using such a stream still fails, as on a closed descriptor.
 *
 * A file that may not grow is an error of the write that needs it, and no SIGXFSZ that ends the
 * program without a sentence. Texts in memory are such files, too (tensor/stream.h).
 *
 * A stack on which HDF5 and the program would not find room (ulimit -s) is told at the start,
 * before it ends the program by a signal, or a good file is taken for one that crashes HDF5.
 *
 * At the end, standard output that could not be written is status 1 and a sentence. This includes
 * --help and all other ways to end by exit(). A closed pipe is the usual SIGPIPE, unless the
 * program or its parent ignores this signal.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Why the file behind standard output cannot grow, where that was told only when an earlier part of
 * it was written; 0: it can, or it is no file. */
static int why_not_longer(void)
{
    struct stat is;
    if (fstat(STDOUT_FILENO, &is) != 0 || !S_ISREG(is.st_mode)) return 0;
    const int why = posix_fallocate(STDOUT_FILENO, is.st_size, 1);
    return !why && ftruncate(STDOUT_FILENO, is.st_size) != 0 ? errno : why;
}

/* What was printed may already be lost (ferror), or be lost now. Some file systems report a full
 * disk only when a descriptor is closed, so a copy of it is closed. */
static void check_output(void)
{
    errno = 0;
    const bool flushed = fflush(stdout) == 0;
    const int copy = flushed ? dup(STDOUT_FILENO) : -1;
    if (flushed && !ferror(stdout) && (copy < 0 || close(copy) == 0)) return;
    if (!errno) errno = why_not_longer();
    fprintf(stderr, "%s: standard output cannot be written%s%s\n", program_invocation_short_name,
            errno ? ": " : "", errno ? strerror(errno) : "");
    _exit(EXIT_FAILURE);
}

/* `check` touches a mebibyte of it, and needs some more. */
static void need_stack(void)
{
    enum { LEAST = 2 << 20 };
    struct rlimit stack;
    if (getrlimit(RLIMIT_STACK, &stack) != 0 || stack.rlim_cur >= LEAST) return;
    fprintf(stderr, "%s: the stack has %llu KiB (ulimit -s), and %d are needed\n",
            program_invocation_short_name, (unsigned long long)stack.rlim_cur >> 10, LEAST >> 10);
    _exit(EXIT_FAILURE);
}

__attribute__((constructor)) static void begin(void)
{
    signal(SIGXFSZ, SIG_IGN);
    need_stack();
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
        /* The lowest free descriptor is fd. */
        if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) {
            fprintf(stderr, "%s: standard streams are closed, and /dev/null cannot be opened\n",
                    program_invocation_short_name);
            _exit(EXIT_FAILURE);
        }
    }
    if (atexit(check_output) == 0) return;
    fprintf(stderr, "%s: out of memory\n", program_invocation_short_name);
    _exit(EXIT_FAILURE);
}
