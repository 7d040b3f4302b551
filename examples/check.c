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

enum { SECONDS = 4, BYTES_A_SECOND = 4 << 20, MEMORY = 256 << 20 };

static int seconds; /* of processor time */

/* Ends the process with a sentence, without anything that HDF5 would do at its end. */
static void give_up(const char *format, long long number)
{
    char text[128];
    const int n = snprintf(text, sizeof text, format, number);
    if (n > 0 && write(STDOUT_FILENO, text, (size_t)n) < 0) _exit(CHECKED_FAILED);
    _exit(CHECKED_BAD);
}

static void out_of_time(int signal)
{
    (void)signal;
    give_up(": HDF5 needs more than %lld s to read it", seconds);
}

static void out_of_memory(size_t limit)
{
    give_up(": HDF5 needs more than %lld MB to read it", (long long)(limit >> 20));
}

/* Memory and time grow with the file. */
static void set_limits(void)
{
    struct stat is;
    const long long bytes = fstat(STDIN_FILENO, &is) == 0 ? (long long)is.st_size : 0;
    const struct rlimit none = {0, 0};
    long long most = SECONDS + bytes / BYTES_A_SECOND;
    if (most > 1 << 20) most = 1 << 20;
    seconds = (int)most;
    setrlimit(RLIMIT_CORE, &none);
    heap_limit(MEMORY + (size_t)bytes, out_of_memory);
    if (!heap_is_ours()) return; /* a sanitizer: it is slow, and has its own memory */
    signal(SIGXCPU, out_of_time);
    setrlimit(RLIMIT_CPU, &(struct rlimit){(rlim_t)seconds, (rlim_t)seconds + 1});
}

static void check_alone(void)
{
    static const char name[] = "/proc/self/fd/0";
    pal_error error;
    set_limits();
    if (pal_h5_check(name, &error) == PAL_OK) _exit(0);
    const char *text = error.message;
    if (strncmp(text, name, strlen(name)) == 0) text += strlen(name);
    if (write(STDOUT_FILENO, text, strlen(text)) < 0) _exit(CHECKED_FAILED);
    _exit(CHECKED_BAD);
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
    if (argc == 2 && strcmp(argv[1], CHECKED_ALONE) == 0) check_alone();
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
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
