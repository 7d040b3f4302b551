/*
 * result.c - the file that a run leaves: its description, a line "result", and numbers.
 *
 * A file is believed only if its description is the one that is asked for and every number is
 * there, up to the last line, "end", and the model if it was to be kept. Anything else counts as
 * missing, and the run is made again. The lines that say which program made it are no part of the
 * description: a new version of the program does not make a study begin again.
 */
#include "bench/ablate_parts/ablate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char MARK[] = "\nresult\n";
enum { MOST_BYTES = 1 << 26 };

void result_free(result *x)
{
    if (x) free(x->look);
    free(x);
}

double result_accuracy(const result *x)
{
    double sum = 0;
    for (int i = 0; i < x->points; i++) sum += x->score[i].accuracy;
    return x->failed || !x->points ? NAN : sum / x->points;
}

/* ---- Writing ---- */

typedef struct described {
    const result *x;
    const char *description;
} described;

static void put_result(FILE *to, const void *what)
{
    const described *d = what;
    const result *x = d->x;
    fprintf(to, "%s%scode %s\n%s\n", d->description, MARK, pal_code_version(),
            pal_kernels_in_use());
    fprintf(to, "steps %" PRId64 " loss %.17g seconds %.3f failed %d points %d looks %d\n",
            x->steps, x->loss, x->seconds, x->failed, x->points, x->looks);
    for (int i = 0; i < x->points; i++) {
        const task_score *p = &x->score[i];
        fprintf(to, "point %.17g %.17g %.17g %" PRId64 " %" PRId64 "\n", p->accuracy, p->whole,
                p->loss, p->asked, p->rows);
    }
    for (int i = 0; i < x->looks; i++) {
        fprintf(to, "look %" PRId64 " %.17g", x->look[i].step, x->look[i].loss);
        for (int j = 0; j < x->points; j++) fprintf(to, " %.17g", x->look[i].accuracy[j]);
        fprintf(to, "\n");
    }
    fprintf(to, "end\n");
}

pal_status result_write(const result *x, const char *folder, const char *name,
                        const char *description, pal_error *error)
{
    char file[4 * NAME];
    const described d = {x, description};
    snprintf(file, sizeof file, "%s.txt", name);
    return text_write(folder, file, put_result, &d, false, error);
}

/* ---- Reading ---- */

static char *read_file(const char *folder, const char *name)
{
    char path[PAL_PATH];
    snprintf(path, sizeof path, "%s/%s.txt", folder, name);
    FILE *from = fopen(path, "r");
    if (!from) return NULL;
    char *text = NULL;
    long size = -1;
    if (fseek(from, 0, SEEK_END) == 0) size = ftell(from);
    if (size >= 0 && size <= MOST_BYTES && fseek(from, 0, SEEK_SET) == 0)
        text = malloc((size_t)size + 1);
    if (text) text[fread(text, 1, (size_t)size, from)] = '\0';
    fclose(from);
    return text;
}

/* The next number of a text. */
static bool next(char **at, double *out)
{
    char *end;
    *out = strtod(*at, &end);
    const bool found = end != *at;
    *at = end;
    return found;
}

static bool word(char **at, const char *expected)
{
    const size_t n = strlen(expected);
    *at += strspn(*at, " \n");
    if (strncmp(*at, expected, n)) return false;
    *at += n;
    return true;
}

static bool read_score(char **at, task_score *p)
{
    double asked, rows;
    if (!word(at, "point") || !next(at, &p->accuracy) || !next(at, &p->whole) ||
        !next(at, &p->loss) || !next(at, &asked) || !next(at, &rows))
        return false;
    if (!(asked >= 0 && asked < 1e15 && rows >= 0 && rows < 1e15)) return false;
    p->asked = (int64_t)asked, p->rows = (int64_t)rows;
    return true;
}

static bool read_look(char **at, look *l, int points)
{
    double step;
    if (!word(at, "look") || !next(at, &step) || !(step >= 0 && step < 1e15) || !next(at, &l->loss))
        return false;
    l->step = (int64_t)step;
    for (int j = 0; j < points; j++)
        if (!next(at, &l->accuracy[j])) return false;
    return true;
}

/* A line that begins with `name`; what follows, or all of it. Where there is none nothing is read:
 * results were written without. */
static void read_line(char **at, const char *name, bool all, char *to, size_t size)
{
    const size_t n = strlen(name), length = strcspn(*at, "\n"), skip = all ? 0 : n;
    if (strncmp(*at, name, n) || !(*at)[length]) return;
    snprintf(to, size, "%.*s", (int)(length - skip), *at + skip);
    *at += length + 1;
}

static bool read_numbers(result *x, char *at)
{
    int n = 0, failed;
    read_line(&at, "code ", false, x->code, sizeof x->code);
    read_line(&at, "kernels ", true, x->kernels, sizeof x->kernels);
    if (sscanf(at, "steps %" SCNd64 " loss %lf seconds %lf failed %d points %d looks %d\n%n",
               &x->steps, &x->loss, &x->seconds, &failed, &x->points, &x->looks, &n) != 6 ||
        n == 0 || x->points < 0 || x->points > MOST_POINTS || x->looks < 0 || x->looks > MOST_LOOKS)
        return false;
    x->failed = failed != 0;
    at += n;
    x->look = calloc((size_t)x->looks + 1, sizeof *x->look);
    if (!x->look) return false;
    for (int i = 0; i < x->points; i++)
        if (!read_score(&at, &x->score[i])) return false;
    for (int i = 0; i < x->looks; i++)
        if (!read_look(&at, &x->look[i], x->points)) return false;
    return word(&at, "end\n");
}

/* A run that failed leaves none. */
static bool model_there(const char *folder, const run *r, const result *x)
{
    char path[PAL_PATH];
    snprintf(path, sizeof path, "%s/%s.h5", folder, r->name);
    return !r->model || x->failed || access(path, F_OK) == 0;
}

result *result_read(const char *folder, const run *r)
{
    char *text = read_file(folder, r->name);
    const size_t n = strlen(r->text);
    result *x = NULL;
    if (text && strncmp(text, r->text, n) == 0 && strncmp(text + n, MARK, strlen(MARK)) == 0) {
        x = calloc(1, sizeof *x);
        if (x && (!read_numbers(x, text + n + strlen(MARK)) || x->points != r->points ||
                  !model_there(folder, r, x))) {
            result_free(x);
            x = NULL;
        }
    }
    free(text);
    return x;
}
