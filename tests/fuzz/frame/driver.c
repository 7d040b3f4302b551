/*
 * driver.c - runs a fuzzer where there is no libFuzzer, with the same command line:
 *
 *     PROGRAM [-runs=N] [-seed=N] [-artifact_prefix=PREFIX] FOLDER...    N mutations of the files
 * in the folders PROGRAM FILE...    each file as it is, to repeat a fault
 *
 * Input i is a function of the seed, i and the files, whose order is that of their names. An input
 * that crashes, hangs for 20 s or breaks a demand is written to PREFIXfailed-PROGRAM-i, and the
 * status is not 0.
 */
#include "tests/fuzz/frame/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST = 4096, FILES = 256, HANGS = 20 };

typedef struct bytes {
    uint8_t at[MOST];
    size_t size;
} bytes;

static bytes file[FILES], input;
static int files;
static const char *program = "fuzz", *prefix = "";
static long long number = -1; /* of the input that runs; -1: none */

/* ---- What is left of a crash ---- */

static void leave(void)
{
    char path[512];
    if (number < 0) return;
    snprintf(path, sizeof path, "%.300sfailed-%s-%lld", prefix, program, number);
    number = -1;
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd >= 0 && write(fd, input.at, input.size) == (ssize_t)input.size)
        dprintf(STDERR_FILENO, "fuzz: the input is in %s\n", path);
    if (fd >= 0) close(fd);
}

static void caught(int which)
{
    dprintf(STDERR_FILENO, "fuzz: signal %d%s\n", which, which == SIGALRM ? ": it hangs" : "");
    leave();
    signal(which, SIG_DFL);
    raise(which);
}

/* A program that ends within an input ends here. */
static void at_end(void)
{
    if (number < 0) return;
    leave();
    _exit(70);
}

extern void __sanitizer_set_death_callback(void (*)(void)) __attribute__((weak));

static void watch(void)
{
    static const int fatal[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGALRM};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        if (!__sanitizer_set_death_callback || fatal[i] == SIGALRM || fatal[i] == SIGABRT)
            signal(fatal[i], caught);
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(leave);
    atexit(at_end);
}

/* ---- Files ---- */

static void read_file(const char *path)
{
    FILE *from = fopen(path, "rb");
    if (!from || files == FILES) {
        fprintf(stderr, "fuzz: %s: %s\n", path, from ? "too many files" : "cannot be read");
        exit(2);
    }
    file[files].size = fread(file[files].at, 1, MOST, from);
    files++;
    fclose(from);
}

static void read_folder(const char *path)
{
    struct dirent **entry;
    char name[4096];
    const int n = scandir(path, &entry, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        struct stat is;
        snprintf(name, sizeof name, "%s/%s", path, entry[i]->d_name);
        if (stat(name, &is) == 0 && S_ISREG(is.st_mode)) read_file(name);
        free(entry[i]);
    }
    if (n >= 0) free(entry);
}

/* ---- Mutations ---- */

static uint64_t state;

/* A number below n (splitmix64). */
static size_t below(size_t n)
{
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return n ? (size_t)((z ^ z >> 31) % n) : 0;
}

/* Puts n bytes in the place of `gone` bytes at `at`, as far as there is room. */
static void put(size_t at, size_t gone, const void *byte, size_t n)
{
    bytes old = input;
    if (at > old.size) at = old.size;
    if (gone > old.size - at) gone = old.size - at;
    if (n > MOST - (old.size - gone)) n = MOST - (old.size - gone);
    if (n) memcpy(input.at + at, byte, n);
    memcpy(input.at + at + n, old.at + at + gone, old.size - at - gone);
    input.size = old.size - gone + n;
}

static const char *const words[] = {"0",
                                    "-1",
                                    "1",
                                    "00",
                                    "9223372036854775807",
                                    "9223372036854775808",
                                    "1e3",
                                    "4",
                                    "1e400",
                                    "1e-400",
                                    "18446744073709551616",
                                    "-9223372036854775809",
                                    "nan",
                                    "inf",
                                    "0x1p-3",
                                    "65536",
                                    "2147483648",
                                    "-0",
                                    "true",
                                    "false",
                                    "null",
                                    "{}",
                                    "[]",
                                    "\"\"",
                                    "=",
                                    ":",
                                    ",",
                                    "\n",
                                    "\r\n",
                                    " ",
                                    "\t",
                                    "#",
                                    "\\",
                                    "\\u0000",
                                    "\\ud800",
                                    "\xef\xbb\xbf",
                                    "\xc3\xa9",
                                    "\xff",
                                    "\xe2\x80\x94",
                                    "\xf0\x9f\x98\x80",
                                    "\xc0\x80",
                                    "%s%n"};

/* A piece of a file from one character that is no letter to the next. */
static void put_word(size_t at, size_t gone)
{
    const bytes *from = &file[below((size_t)files)];
    size_t begin = below(from->size + 1), end = begin;
    while (begin > 0 && from->at[begin - 1] > ' ' && !strchr(",:=", from->at[begin - 1])) begin--;
    while (end < from->size && from->at[end] > ' ' && !strchr(",:=", from->at[end])) end++;
    put(at, gone, from->at + begin, end - begin);
}

static void mutate(void)
{
    uint8_t some[300];
    const size_t at = below(input.size + 1), few = 1 + below(8);
    const char *word = words[below(sizeof words / sizeof *words)];
    const bytes *other = &file[below((size_t)files)];
    switch (below(11)) {
    case 0:
        if (at < input.size) input.at[at] ^= (uint8_t)(1u << below(8));
        return;
    case 1:
        if (at < input.size) input.at[at] = (uint8_t)below(256);
        return;
    case 2:
        put(at, below(2) * few, word, strlen(word));
        return;
    case 3:
        put(at, few, "", 0);
        return;
    case 4:
        put(at, below(input.size + 1), "", 0);
        return;
    case 5: { /* a piece once more, elsewhere */
        const size_t from = below(input.size + 1), n = below(input.size - from + 1);
        memcpy(some, input.at + from, n < sizeof some ? n : sizeof some);
        put(at, 0, some, n < sizeof some ? n : sizeof some);
        return;
    }
    case 6: /* one byte many times */
        memset(some, at < input.size ? input.at[at] : (int)below(256), sizeof some);
        put(at, 0, some, below(sizeof some));
        return;
    case 7:
        for (size_t i = 0; i < few; i++) some[i] = (uint8_t)below(256);
        put(at, 0, some, few);
        return;
    case 8: { /* the end of another file */
        const size_t from = below(other->size + 1);
        put(at, input.size, other->at + from, other->size - from);
        return;
    }
    default:
        put_word(at, below(2) * few);
    }
}

/* Input i of a seed. */
static void make_input(uint64_t seed, long long i)
{
    state = seed * UINT64_C(0xd1342543de82ef95) + (uint64_t)i;
    input = file[below((size_t)files)];
    for (size_t n = 1 + below(below(4) ? 4 : 24); n > 0; n--) mutate();
}

static void run_one(long long i)
{
    /* A copy of the exact size, so that a sanitizer sees who reads behind it. */
    uint8_t *exact = malloc(input.size ? input.size : 1);
    if (!exact) abort();
    memcpy(exact, input.at, input.size);
    number = i;
    alarm(HANGS);
    LLVMFuzzerTestOneInput(exact, input.size);
    alarm(0);
    number = -1;
    free(exact);
}

int main(int argc, char **argv)
{
    long long runs = 500, seed = 1;
    bool folders = false;
    const char *slash = strrchr(argv[0], '/');
    program = slash ? slash + 1 : argv[0];
    for (int i = 1; i < argc; i++) {
        struct stat is;
        if (strncmp(argv[i], "-runs=", 6) == 0) {
            runs = strtoll(argv[i] + 6, NULL, 10);
        } else if (strncmp(argv[i], "-seed=", 6) == 0) {
            seed = strtoll(argv[i] + 6, NULL, 10);
        } else if (strncmp(argv[i], "-artifact_prefix=", 17) == 0) {
            prefix = argv[i] + 17;
        } else if (argv[i][0] == '-') {
            continue; /* an option that only libFuzzer has */
        } else if (stat(argv[i], &is) == 0 && S_ISDIR(is.st_mode)) {
            folders = true;
            read_folder(argv[i]);
        } else {
            read_file(argv[i]);
        }
    }
    if (files == 0) {
        fprintf(stderr, "fuzz: no file to begin with\n");
        return 2;
    }
    watch();
    for (int i = 0; i < files; i++) input = file[i], run_one(i);
    for (long long i = 0; folders && i < runs; i++) make_input((uint64_t)seed, i), run_one(i);
    printf("%s: %d files and %lld mutations of seed %lld\n", program, files, folders ? runs : 0,
           seed);
    return 0;
}
