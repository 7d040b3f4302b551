/*
 * frame.c - demands, texts and files of the fuzzers; and what stands in for parts of programs that
 * keep memory or end the program.
 */
#include "tests/fuzz/frame/fuzz.h"
#include "examples/ablate/ablate.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fuzz_must(bool met, const char *what)
{
    if (met) return;
    fprintf(stderr, "fuzz: not met: %s\n", what);
    abort();
}

void fuzz_refused(pal_status status, const pal_error *error)
{
    if (status == PAL_OK) return;
    fuzz_must(strnlen(error->message, sizeof error->message) < sizeof error->message,
              "a message ends");
    fuzz_must(error->message[0] != '\0', "what is refused is refused with a message");
}

/* ---- Texts ---- */

typedef struct kept {
    struct kept *next;
    char *text;
} kept;
static kept *all;

static char *keep(const void *text, size_t size)
{
    kept *k = malloc(sizeof *k);
    char *copy = malloc(size + 1);
    if (!k || !copy) abort();
    if (size) memcpy(copy, text, size);
    copy[size] = '\0';
    *k = (kept){all, copy};
    all = k;
    return copy;
}

char *fuzz_text(const uint8_t *data, size_t size) { return keep(data, size); }

/* That of examples/lm/keep.c keeps every text until the program ends. */
const char *lm_keep(const char *text, size_t n) { return keep(text, n); }

void fuzz_forget(void)
{
    for (kept *next; all; all = next) {
        next = all->next;
        free(all->text);
        free(all);
    }
}

jmp_buf fuzz_stopped;

void stop(const char *format, ...)
{
    char message[1 << 12];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    fuzz_must(n > 0, "what ends a program says why");
    longjmp(fuzz_stopped, 1);
}

/* ---- Files ---- */

static char folder[64];

static void remove_folder(void)
{
    char path[512];
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (snprintf(path, sizeof path, "%s/%s", folder, e->d_name) < (int)sizeof path)
            unlink(path);
    if (d) closedir(d);
    rmdir(folder);
}

const char *fuzz_folder(void)
{
    if (*folder) return folder;
    strcpy(folder, access("/dev/shm", W_OK) == 0 ? "/dev/shm/fuzz-XXXXXX" : "/tmp/fuzz-XXXXXX");
    if (!mkdtemp(folder)) abort();
    atexit(remove_folder);
    return folder;
}

void fuzz_file(const char *name, const uint8_t *data, size_t size)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    FILE *to = fopen(path, "wb");
    if (!to) abort();
    if (size) fwrite(data, 1, size, to);
    if (fclose(to) != 0) abort();
}

/* Files of the fuzzers need not outlive the power. */
int fsync(int fd)
{
    (void)fd;
    return 0;
}
