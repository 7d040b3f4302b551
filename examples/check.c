/*
 * check.c - says whether HDF5 can read files without harm.
 *
 *     check build/run/step-00000200.h5 build/debian.h5
 *
 * HDF5 can crash on a file that is damaged or was made for it, so it is tried out in a process of
 * its own. That process is this program again, with --alone: it reads the file that is its standard
 * input as the other programs would, within limits of memory and time. The other programs start it
 * in the same way before they open a file (flags/checked.h).
 */
#include <palimpsest.h>
#include "examples/check/heap.h"
#include "examples/flags/checked.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- The process that may crash ---- */

enum { MEMORY = 256 << 20, STACK = 1 << 20 };

static int seconds;     /* of processor time */
static bool less_given; /* the system's own limit is lower */

/* Ends the process with a sentence, without anything that HDF5 would do at its end. */
static void give_up(int status, const char *format, long long number)
{
    char text[128];
    const int n = snprintf(text, sizeof text, format, number);
    if (n > 0 && write(STDOUT_FILENO, text, (size_t)n) < 0) _exit(CHECKED_FAILED);
    _exit(status);
}

static void out_of_time(int signal)
{
    (void)signal;
    if (less_given)
        give_up(CHECKED_IO,
                ": the limit of processor time (ulimit -t) ends the check of it, which "
                "may take %lld s",
                seconds);
    give_up(CHECKED_BAD, ": HDF5 needs more than %lld s to read it", seconds);
}

static void out_of_memory(size_t limit)
{
    give_up(CHECKED_BAD, ": HDF5 needs more than %lld MB to read it", (long long)(limit >> 20));
}

static void no_memory(size_t wanted)
{
    give_up(CHECKED_MEMORY, ": the system has no memory of %lld bytes to check it",
            (long long)wanted);
}

/* Stack that the system has no memory for would end the process by a signal, as a bad file may. */
static void touch_stack(void)
{
    volatile char room[STACK];
    struct rlimit addresses;
    enum { PAGE = 4096, SPARE = 2 };
    if (getrlimit(RLIMIT_AS, &addresses) != 0 || addresses.rlim_cur == RLIM_INFINITY) return;
    free(malloc((size_t)SPARE * STACK)); /* ends the process if there is none */
    for (size_t i = STACK; i > 0; i -= PAGE) room[i - 1] = 0;
    (void)room[0];
}

/* Memory and time grow with the file. */
static void set_limits(long long bytes)
{
    const struct rlimit none = {0, 0};
    struct rlimit is;
    seconds = checked_seconds(bytes);
    setrlimit(RLIMIT_CORE, &none);
    heap_limit(MEMORY + (size_t)bytes, out_of_memory, no_memory);
    if (!heap_is_ours()) return; /* a sanitizer: it is slow, and has its own memory */
    touch_stack();
    signal(SIGXCPU, out_of_time);
    less_given = getrlimit(RLIMIT_CPU, &is) == 0 && is.rlim_cur <= (rlim_t)seconds;
    if (!less_given) setrlimit(RLIMIT_CPU, &(struct rlimit){(rlim_t)seconds, (rlim_t)seconds + 1});
}

/* HDF5 does not say whether the file or the system is to blame, so all of it is read again. */
static void try_to_read(long long bytes)
{
    static char room[1 << 16];
    long long at = 0;
    ssize_t n = 1;
    while (at < bytes && n > 0) {
        n = pread(STDIN_FILENO, room, sizeof room, (off_t)at);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n > 0)
            at += n;
    }
    if (n >= 0) return;
    char text[128];
    snprintf(text, sizeof text, ": cannot be read at byte %%lld: %s", strerror(errno));
    give_up(CHECKED_IO, text, at);
}

/* `path` is of the same file, for where there is no /proc. */
static void check_alone(const char *path)
{
    static const char of_input[] = "/proc/self/fd/0";
    const char *name = access(of_input, R_OK) == 0 ? of_input : path;
    struct stat is;
    pal_error error;
    const long long bytes = fstat(STDIN_FILENO, &is) == 0 ? (long long)is.st_size : 0;
    set_limits(bytes);
    pal_h5 *any;
    if (pal_h5_create(&any, "any", NULL) == PAL_OK) pal_h5_close(any); /* starts HDF5 */
    heap_guard();
    if (pal_h5_check(name, &error) == PAL_OK) _exit(0);
    if (error.status == PAL_EFORMAT) try_to_read(bytes);
    const char *text = error.message;
    if (strncmp(text, name, strlen(name)) == 0) text += strlen(name);
    if (write(STDOUT_FILENO, text, strlen(text)) < 0) _exit(CHECKED_FAILED);
    _exit(error.status == PAL_ENOMEM ? CHECKED_MEMORY
          : error.status == PAL_EIO  ? CHECKED_IO
                                     : CHECKED_BAD);
}

/* ---- The program ---- */

static const char usage[] =
    "Usage: check FILE...\n"
    "Says whether HDF5 can read each FILE without harm, and what the file is.\n";

static bool check(const char *path)
{
    pal_h5 *file;
    pal_error error;
    if (pal_h5_open(&file, path, &error) != PAL_OK) {
        fprintf(stderr, "check: %s\n", error.message);
        return false;
    }
    pal_h5_close(file);
    printf("%s: %s; HDF5 reads it without harm\n", path,
           pal_file_kind_name(pal_file_kind_of(path)));
    return true;
}

int main(int argc, char **argv)
{
    bool good = true;
    if (argc == 3 && strcmp(argv[1], CHECKED_ALONE) == 0) check_alone(argv[2]);
    const bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
    if (help || (argc == 2 && strcmp(argv[1], "--version") == 0)) {
        fputs(help ? usage : "palimpsest " PAL_VERSION "\n", stdout);
        return fflush(stdout) != 0;
    }
    if (argc < 2 || argv[1][0] == '-') {
        fputs(usage, stderr);
        return EXIT_FAILURE;
    }
    checked_files();
    for (int i = 1; i < argc; i++) good = check(argv[i]) && good;
    if (fflush(stdout) != 0) {
        fprintf(stderr, "check: standard output cannot be written: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
