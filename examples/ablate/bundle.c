/*
 * bundle.c - all runs of a study in one file, FOLDER/runs.txt, from which its tables and figures
 * can be made again where nothing was trained.
 *
 * For each run a line "run NAME BYTES", and then the file of its result as result.c writes it. What
 * is unpacked is judged there like any result: by its description and by what it can be.
 */
#include "examples/ablate/ablate.h"
#include "examples/lm/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 28 };

typedef struct bundle {
    const char *folder;
    const runs *r;
} bundle;

static void put_runs(FILE *to, const void *what)
{
    const bundle *b = what;
    for (int i = 0; i < b->r->n; i++) {
        result *x = result_read(b->folder, &b->r->at[i]);
        char *text = x ? result_text(x, b->r->at[i].text) : NULL;
        if (text) fprintf(to, "run %s %zu\n%s", b->r->at[i].name, strlen(text), text);
        result_free(x);
        free(text);
    }
}

pal_status bundle_write(const runs *r, const char *where, const char *folder, pal_error *error)
{
    const bundle b = {where, r};
    return text_write(folder, "runs.txt", put_runs, &b, false, error);
}

/* A name that is one in a folder. */
static bool is_plain(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.";
    return *name && *name != '.' && strspn(name, allowed) == strlen(name);
}

/* Writes FOLDER/NAME.txt unless it is there. */
static void unpack_one(const char *folder, const char *name, char *text, const char *path)
{
    char file[4 * NAME], whole[PAL_PATH];
    pal_error error;
    if (!is_plain(name)) stop("%s: '%.100s' is no name of a run", path, name);
    snprintf(file, sizeof file, "%.150s.txt", name);
    snprintf(whole, sizeof whole, "%.3900s/%s", folder, file);
    if (access(whole, F_OK) == 0) return;
    if (pal_run_write(folder, file, text, &error) != PAL_OK) stop("%s", error.message);
}

/* The value of `key` among the keys of a description NAME:key=value:..., and how long it is. */
static const char *value_of(const char *of, const char *end, const char *key, size_t *n)
{
    const size_t length = strlen(key);
    for (const char *at = memchr(of, ':', (size_t)(end - of)); at;
         at = memchr(at, ':', (size_t)(end - at))) {
        at++;
        if ((size_t)(end - at) <= length || strncmp(at, key, length) != 0 || at[length] != '=')
            continue;
        const char *value = at + length + 1, *next = memchr(value, ':', (size_t)(end - value));
        *n = (size_t)((next ? next : end) - value);
        return value;
    }
    return NULL;
}

char *bundle_task(const char *path, const char *of)
{
    static const char data[] = "data = ";
    const char *of_end = of + strlen(of), *store, *line, *end;
    size_t size, n, m;
    lm_text all;
    pal_error error;
    char *whole = NULL;
    store = value_of(of, of_end, "store", &size);
    if (!store || value_of(of, of_end, "checksum", &n)) return NULL;
    if (lm_text_read_most(&all, path, MOST_BYTES, &error) != PAL_OK) stop("%s", error.message);
    const char *last = (const char *)all.byte + all.size;
    for (line = (const char *)all.byte; line < last && !whole; line = end + 1) {
        end = memchr(line, '\n', (size_t)(last - line));
        if (!end) break;
        if (strncmp(line, data, sizeof data - 1) != 0) continue;
        const char *at = value_of(line, end, "store", &n);
        const char *sum = value_of(line, end, "checksum", &m);
        if (!at || n != size || strncmp(at, store, n) != 0 || !sum) continue;
        const char *vocab = value_of(line, end, "vocab", &n);
        if (asprintf(&whole, "%s:checksum=%.*s%s%.*s", of, (int)m, sum, vocab ? ":vocab=" : "",
                     vocab ? (int)n : 0, vocab ? vocab : "") < 0)
            stop("out of memory");
    }
    lm_text_free(&all);
    return whole;
}

void bundle_unpack(const char *path, const char *folder)
{
    lm_text all;
    pal_error error;
    if (pal_run_make(folder, &error) != PAL_OK ||
        lm_text_read_most(&all, path, MOST_BYTES, &error) != PAL_OK)
        stop("%s", error.message);
    const char *at = (const char *)all.byte, *end = at + all.size;
    while (at < end) {
        char name[3 * NAME], *text;
        size_t n;
        int used = 0;
        const char *line = memchr(at, '\n', (size_t)(end - at));
        char head[4 * NAME];
        snprintf(head, sizeof head, "%.*s", line ? (int)(line - at < 180 ? line - at : 180) : 0,
                 at);
        if (sscanf(head, "run %143s %zu%n", name, &n, &used) != 2 || head[used] ||
            n > (size_t)(end - line - 1))
            stop("%s: it is no file of runs, or it is not whole", path);
        text = strndup(line + 1, n);
        if (!text) stop("out of memory");
        unpack_one(folder, name, text, path);
        free(text);
        at = line + 1 + n;
    }
    lm_text_free(&all);
}
