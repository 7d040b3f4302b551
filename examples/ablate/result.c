/*
 * result.c - the file that a run leaves: its description, a line "result", and numbers.
 *
 * A file is believed only if its description is the one that is asked for, every number is there,
 * up to the last line, "end", and can be one of such a run, and the model is there if it was to be
 * kept. Anything else counts as missing, and the run is made again. The lines that say which
 * program made it are no part of the description: a new version of the program does not make a
 * study begin again.
 */
#include "examples/ablate/ablate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char MARK[] = "\nresult\n";
enum { MOST_BYTES = 1 << 26 };

void result_free(result *x)
{
    if (x) free(x->look);
    free(x);
}

double result_value(const result *x, int point)
{
    double sum = 0;
    int n = 0;
    if (x->failed) return NAN;
    for (int i = 0; i < x->points; i++) {
        if (point < 0 ? x->part[i] : point != i) continue;
        sum += x->bits ? x->score[i].loss / log(2) : x->score[i].accuracy;
        n++;
    }
    return n ? sum / n : NAN;
}

double result_look(const result *x, const look *l)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < x->points; i++)
        if (!x->part[i]) sum += l->value[i], n++;
    return n ? sum / n : NAN;
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
    fprintf(to, "%s%s", d->description, MARK);
    if (*x->code) fprintf(to, "code %s\n", x->code);
    if (*x->kernels) fprintf(to, "%s\n", x->kernels);
    if (*x->machine) fprintf(to, "machine %s\n", x->machine);
    fprintf(to, "steps %" PRId64 " loss %.17g seconds %.3f failed %d points %d looks %d\n",
            x->steps, x->loss, x->seconds, x->failed, x->points, x->looks);
    for (int i = 0; i < x->points; i++) {
        const task_score *p = &x->score[i];
        fprintf(to, "point %.17g %.17g %.17g %" PRId64 " %" PRId64 "\n", p->accuracy, p->whole,
                p->loss, p->asked, p->rows);
    }
    for (int i = 0; i < x->looks; i++) {
        fprintf(to, "look %" PRId64 " %.17g", x->look[i].step, x->look[i].loss);
        for (int j = 0; j < x->points; j++) fprintf(to, " %.17g", x->look[i].value[j]);
        fprintf(to, "\n");
    }
    fprintf(to, "end\n");
}

char *result_text(const result *x, const char *description)
{
    PAL_C_LOCALE;
    const described d = {x, description};
    FILE *to = pal_stream_open();
    if (!to) return NULL;
    put_result(to, &d);
    return pal_stream_close(to, NULL);
}

pal_status result_write(const result *x, const char *folder, const char *name,
                        const char *description, pal_error *error)
{
    char file[4 * NAME];
    const described d = {x, description};
    snprintf(file, sizeof file, "%s.txt", name);
    return text_write(folder, file, put_result, &d, false, error);
}

/* The name of the processor, as Linux tells it. */
static void processor(char *name, size_t size)
{
    char line[256];
    FILE *from = fopen("/proc/cpuinfo", "r");
    snprintf(name, size, "a processor");
    while (from && fgets(line, sizeof line, from)) {
        char *colon = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
        if (!colon) continue;
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(name, size, "%s", pal_trim(colon + 1));
        break;
    }
    if (from) fclose(from);
}

void result_machine(char text[160])
{
    char name[96], day[16];
    const time_t now = time(NULL);
    struct tm tm;
    processor(name, sizeof name);
    strftime(day, sizeof day, "%Y-%m-%d", gmtime_r(&now, &tm));
    snprintf(text, 160, "%s, %s, %ld processors", day, name, sysconf(_SC_NPROCESSORS_ONLN));
}

/* ---- Reading ---- */

static char *read_file(const char *folder, const char *name)
{
    char path[PAL_PATH];
    snprintf(path, sizeof path, "%s/%s.txt", folder, name);
    if (pal_file_kind_of(path) != PAL_FILE_OTHER) return NULL;
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

static bool next(char **at, double *out)
{
    const char *from = *at;
    const bool found = pal_number_next(&from, out);
    *at += from - *at;
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

static bool next_share(char **at, double *out) { return next(at, out) && *out >= 0 && *out <= 1; }

static bool next_count(char **at, int64_t *out)
{
    double x;
    if (!next(at, &x) || !(x >= 0 && x < 1e15 && x == floor(x))) return false;
    *out = (int64_t)x;
    return true;
}

/* The loss may be infinite or no number although that of training never was: a row of a test can be
 * longer than all of them. */
static bool read_score(char **at, task_score *p)
{
    return word(at, "point") && next_share(at, &p->accuracy) && next_share(at, &p->whole) &&
           next(at, &p->loss) && !(p->loss < 0) && next_count(at, &p->asked) &&
           next_count(at, &p->rows);
}

/* A share, or bits: these may be infinite as a loss may. */
static bool next_value(char **at, bool bits, double *out)
{
    return next(at, out) && *out >= 0 && (bits || *out <= 1);
}

static bool read_look(char **at, look *l, int points, bool bits)
{
    if (!word(at, "look") || !next_count(at, &l->step) || !next(at, &l->loss) || !isfinite(l->loss))
        return false;
    for (int j = 0; j < points; j++)
        if (!next_value(at, bits, &l->value[j])) return false;
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
    PAL_C_LOCALE;
    int n = 0, failed;
    read_line(&at, "code ", false, x->code, sizeof x->code);
    read_line(&at, "kernels ", true, x->kernels, sizeof x->kernels);
    read_line(&at, "machine ", false, x->machine, sizeof x->machine);
    if (sscanf(at, "steps %" SCNd64 " loss %lf seconds %lf failed %d points %d looks %d\n%n",
               &x->steps, &x->loss, &x->seconds, &failed, &x->points, &x->looks, &n) != 6 ||
        n == 0 || x->points < 0 || x->points > MOST_POINTS || x->looks < 0 ||
        x->looks > MOST_LOOKS || (failed & ~1) || !(x->seconds >= 0 && isfinite(x->seconds)))
        return false;
    x->failed = failed != 0;
    at += n;
    x->look = calloc((size_t)x->looks + 1, sizeof *x->look);
    if (!x->look) return false;
    for (int i = 0; i < x->points; i++)
        if (!read_score(&at, &x->score[i])) return false;
    for (int i = 0; i < x->looks; i++)
        if (!read_look(&at, &x->look[i], x->points, x->bits)) return false;
    return word(&at, "end\n") && !*at;
}

/* ---- Whether it can be ---- */

/* Looks are made one after the other, and scores are those of the last one: zeros before it. */
static bool scores_can_be(const result *x, const run *r)
{
    for (int i = 0; i < x->looks; i++)
        if (x->look[i].step <= (i ? x->look[i - 1].step : 0) || x->look[i].step > x->steps)
            return false;
    for (int j = 0; j < x->points; j++) {
        const task_score *p = &x->score[j];
        const double last = x->looks ? x->look[x->looks - 1].value[j] : 0;
        const bool all = r->bits ? p->rows <= r->rows && (p->rows > 0) == (x->looks > 0)
                                 : p->rows == (x->looks ? r->rows : 0);
        if (fabs((r->bits ? p->loss / log(2) : p->accuracy) - last) > 1e-12 * fabs(last) || !all ||
            (p->asked > 0) != (x->looks > 0))
            return false;
    }
    return true;
}

/* A run that failed has not made the step at which it did. One that did not ends with a look, after
 * all steps or where every accuracy is `enough`. */
static bool can_be(const result *x, const run *r)
{
    if (x->points != r->points || x->steps < 0 || !scores_can_be(x, r)) return false;
    if (x->failed) return x->steps < r->steps;
    const look *last = x->looks ? &x->look[x->looks - 1] : NULL;
    if (!last || last->step != x->steps || last->loss != x->loss) return false;
    for (int j = 0; j < x->points && x->steps < r->steps; j++)
        if (!(r->enough > 0 && x->score[j].accuracy >= r->enough)) return false;
    return x->steps <= r->steps;
}

result *result_read(const char *folder, const run *r)
{
    char *text = read_file(folder, r->name);
    const size_t n = strlen(r->text);
    result *x = NULL;
    if (text && strncmp(text, r->text, n) == 0 && strncmp(text + n, MARK, strlen(MARK)) == 0) {
        x = calloc(1, sizeof *x);
        if (x) memcpy(x->part, r->part, sizeof x->part), x->bits = r->bits;
        /* A run that failed leaves no model. */
        if (x && (!read_numbers(x, text + n + strlen(MARK)) || !can_be(x, r) ||
                  (r->model && !x->failed && !kept_is(folder, r, x->steps)))) {
            result_free(x);
            x = NULL;
        }
    }
    free(text);
    return x;
}
