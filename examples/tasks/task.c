/*
 * task.c - the table of tasks, and what all of them have in common: points, and rows by number.
 */
#include "examples/tasks/internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const task_kind *const kinds[] = {
#define TASK(name) &task_##name,
#include "examples/tasks/tasks.def"
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

const char *task_names(int i) { return i >= 0 && i < KINDS ? kinds[i]->name : NULL; }
const char *task_help(int i) { return i >= 0 && i < KINDS ? kinds[i]->help : NULL; }

/* ---- Making one ---- */

pal_status task_wrong(pal_error *error, const task *t, const char *format, ...)
{
    char what[400];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return pal_error_set(error, PAL_EVALUE, "task %s: %s", t->kind->name, what);
}

static void share_weights(task *t)
{
    double sum = 0;
    for (int i = 0; i < t->points[TASK_TRAIN]; i++) sum += t->point[TASK_TRAIN][i].weight;
    for (int i = 0; i < t->points[TASK_TRAIN]; i++) t->point[TASK_TRAIN][i].weight /= sum;
}

pal_status task_new(task **out, const char *text, pal_error *error)
{
    const int i =
        pal_kind_find((const void *const *)kinds, KINDS, "task", text, strcspn(text, ":"), error);
    *out = NULL;
    if (i < 0) return PAL_EVALUE;
    const task_kind *kind = kinds[i];
    task *t = calloc(1, sizeof *t);
    if (!t) return pal_error_set(error, PAL_ENOMEM, "task %s: out of memory", kind->name);
    t->kind = kind;
    pal_status s = task_read_keys(t, text + strlen(kind->name), error);
    if (s == PAL_OK) s = kind->begin(t, error);
    if (s == PAL_OK) s = task_write_text(t, error);
    if (s != PAL_OK) {
        task_free(t);
        return s;
    }
    share_weights(t);
    *out = t;
    return PAL_OK;
}

void task_free(task *t)
{
    if (t && t->kind->end) t->kind->end(t);
    free(t);
}

/* ---- For the families ---- */

int64_t task_list_at(const task_list *list, int i) { return list->of[list->count > 1 ? i : 0]; }

pal_status task_add_point(task *t, task_split split, task_point p, pal_error *error)
{
    const int n = t->points[split];
    for (int i = 0; i < n; i++)
        if (strcmp(t->point[split][i].name, p.name) == 0)
            return task_wrong(error, t, "%s is there twice among the points for %s", p.name,
                              split == TASK_TRAIN ? "training" : "tests");
    if (n == TASK_POINTS) return task_wrong(error, t, "more than %d points", TASK_POINTS);
    t->point[split][n] = p;
    t->points[split]++;
    return PAL_OK;
}

pal_status task_points_by_len(task *t, int64_t least, int64_t step, pal_error *error)
{
    if (t->test_len.count == 0) t->test_len = t->len;
    for (int split = TASK_TRAIN; split <= TASK_TEST; split++) {
        const task_list *list = split == TASK_TRAIN ? &t->len : &t->test_len;
        for (int i = 0; i < list->count; i++) {
            task_point p = {
                .len = list->of[i], .level = list->of[i], .weight = split == TASK_TRAIN};
            if (p.len < least || p.len % step)
                return task_wrong(error, t, "a length of %lld: it should be at least %lld%s%.0lld",
                                  (long long)p.len, (long long)least,
                                  step > 1 ? ", and a multiple of " : "",
                                  (long long)(step > 1 ? step : 0));
            snprintf(p.name, sizeof p.name, "length %lld", (long long)p.len);
            const pal_status s = task_add_point(t, (task_split)split, p, error);
            if (s != PAL_OK) return s;
        }
    }
    return PAL_OK;
}

/* The first n steps of a shuffle (Fisher, Yates). */
void task_distinct(pal_rng *rng, int64_t low, int64_t high, int64_t n, int64_t *out)
{
    int32_t deck[TASK_WORDS];
    const int64_t cards = high - low;
    for (int64_t i = 0; i < cards; i++) deck[i] = (int32_t)i;
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = i + pal_rng_below(rng, cards - i);
        out[i] = low + deck[j];
        deck[j] = deck[i];
    }
}

/* ---- Asking one ---- */

const char *task_text(const task *t) { return t->text; }
const char *task_name(const task *t) { return t->kind->name; }
const char *task_level_name(const task *t) { return t->kind->level; }
int64_t task_vocab(const task *t) { return t->vocab; }
double task_chance(const task *t) { return t->kind->chance ? t->kind->chance(t) : 0; }
bool task_in_bits(const task *t) { return t->kind->bits; }
int task_points(const task *t, task_split split) { return t->points[split]; }
task_point task_point_at(const task *t, task_split split, int i) { return t->point[split][i]; }

/* ---- Rows ---- */

/*
 * Every row has a stream of random numbers of its own, told by split, point and number. The
 * highest bit keeps them apart from streams that are counted from 0, as those of parameters are.
 */
enum { STREAM_TRAIN = 4, STREAM_TEST, STREAM_POINT, STREAM_BITS = 61, POINT_BITS = 5 };

static pal_rng stream(uint64_t seed, uint64_t of, int point, int64_t number)
{
    return pal_rng_new(seed, of << STREAM_BITS | (uint64_t)point << (STREAM_BITS - POINT_BITS) |
                                 (uint64_t)number);
}

void task_rows(const task *t, task_split split, int point, uint64_t seed, int64_t first, int64_t B,
               int64_t *tokens, int64_t *targets)
{
    const task_point *p = &t->point[split][point];
    const uint64_t of = split == TASK_TRAIN ? STREAM_TRAIN : STREAM_TEST;
    for (int64_t b = 0; b < B; b++, tokens += p->len, targets += p->len) {
        pal_rng rng = stream(seed, of, point, first + b);
        for (int64_t i = 0; i < p->len; i++) tokens[i] = 0, targets[i] = PAL_IGNORE;
        if (t->kind->numbered)
            t->kind->numbered(t, split, p, &rng, first + b, tokens, targets);
        else
            t->kind->row(t, split, p, &rng, tokens, targets);
    }
}

int task_point_of(const task *t, uint64_t seed, int64_t n)
{
    pal_rng rng = stream(seed, STREAM_POINT, 0, n);
    double x = pal_rng_next(&rng);
    const int last = t->points[TASK_TRAIN] - 1;
    for (int i = 0; i < last; i++) {
        x -= t->point[TASK_TRAIN][i].weight;
        if (x < 0) return i;
    }
    return last;
}
