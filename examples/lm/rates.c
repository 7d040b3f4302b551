/* rates.c - schedules, changes of the rate during a run, the search for one, and whether it was
 * drawn. */
#include "examples/lm/rates.h"
#include "tensor/keys.h"
#include "tensor/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- Schedules ---- */

bool lm_schedule_ends(const lm_options *o)
{
    return o->schedule != PAL_CONSTANT && !o->schedule_steps &&
           !(o->schedule == PAL_RESTARTS && o->decay_steps);
}

pal_schedule lm_options_schedule(const lm_options *o)
{
    pal_schedule s = {.kind = o->schedule,
                      .lr = o->lr,
                      .min_lr = o->lr * o->lr_end,
                      .warmup = o->warmup,
                      .steps = o->schedule_steps ? o->schedule_steps : o->steps,
                      .decay_steps = o->decay_steps,
                      .growth = o->growth};
    if (s.kind != PAL_CONSTANT && s.warmup > s.steps) s.warmup = s.steps;
    if (s.kind == PAL_WSD && s.decay_steps == 0) {
        s.decay_steps = s.steps / 5;
        if (s.decay_steps > s.steps - s.warmup) s.decay_steps = s.steps - s.warmup;
    }
    if (s.kind == PAL_RESTARTS && s.decay_steps == 0) {
        s.decay_steps = (s.steps - s.warmup) / 5;
        if (s.decay_steps < 1) s.decay_steps = 1;
    }
    return s;
}

#define OF(field) PAL_AT(lm_options, field)
static const pal_key kind_row = {"schedule", PAL_KEY_CHOICE, OF(schedule), .words = LM_SCHEDULES};
static const pal_key part_rows[] = {
    {"lr", PAL_KEY_REAL, OF(lr), .high = HUGE_VAL, .open = PAL_OPEN_LOW},
    {"lr_end", PAL_KEY_REAL, OF(lr_end), .high = 1},
    {"warmup", PAL_KEY_WHOLE, OF(warmup), .high = INT32_MAX},
    {"steps", PAL_KEY_WHOLE, OF(schedule_steps), .low = 1, .high = INT32_MAX},
    {"decay_steps", PAL_KEY_WHOLE, OF(decay_steps), .low = 1, .high = INT32_MAX},
    {"growth", PAL_KEY_REAL, OF(growth), .low = 1, .high = 1e6},
};
static const pal_keys part_keys = PAL_KEYS(part_rows);

/* Reads the n bytes PATTERN=KIND[:KEY=VALUE...] into the fields of a schedule. */
static pal_status read_part(const char *entry, size_t n, lm_options *part, pal_error *error)
{
    const char *equals = memchr(entry, '=', n);
    if (n == 0 || equals == entry) return pal_error_set(error, PAL_EVALUE, "a pattern is empty");
    if (!equals)
        return pal_error_set(error, PAL_EVALUE,
                             "'%.*s' has no schedule; PATTERN=KIND[:KEY=VALUE...] is wanted",
                             (int)(n < 200 ? n : 200), entry);
    const char *kind = equals + 1, *end = entry + n;
    const char *colon = memchr(kind, ':', (size_t)(end - kind));
    const int length = (int)((colon ? colon : end) - kind);
    char name[16], prefix[240];
    snprintf(name, sizeof name, "%.*s", length, kind);
    if (!pal_key_read(&kind_row, part, name))
        return pal_error_set(error, PAL_EVALUE, "'%.100s' is no schedule; there are %s", name,
                             kind_row.words);
    snprintf(prefix, sizeof prefix, "'%.*s': ", (int)(equals - entry), entry);
    return pal_keys_read(&part_keys, part, prefix, colon ? colon : end,
                         colon ? (size_t)(end - colon) : 0, true, error);
}

pal_status lm_schedules_check(const char *text, pal_error *error)
{
    lm_options part = {.warmup = 0};
    const size_t all = strlen(text);
    pal_status s = PAL_OK;
    if (all > 0 && text[all - 1] == ',')
        return pal_error_set(error, PAL_EVALUE, "a pattern is empty");
    while (*text && s == PAL_OK) {
        const size_t n = strcspn(text, ",");
        s = read_part(text, n, &part, error);
        text += n + (text[n] == ',');
    }
    return s;
}

bool lm_schedules_next(const char **at, const lm_options *o, char **pattern, lm_options *part)
{
    pal_error error;
    const size_t n = strcspn(*at, ",");
    *part = *o;
    if (n == 0 || read_part(*at, n, part, &error) != PAL_OK) return false;
    *pattern = strndup(*at, strcspn(*at, "="));
    *at += n + ((*at)[n] == ',');
    return true;
}

bool lm_schedules_end(const lm_options *o)
{
    char *pattern;
    lm_options part;
    bool end = false;
    for (const char *at = o->schedule_of; lm_schedules_next(&at, o, &pattern, &part);) {
        end = end || lm_schedule_ends(&part);
        free(pattern);
    }
    return end;
}

/* ---- Changes ---- */

/* The next entry STEP=FACTOR of a list; *at moves behind it. false: it is none. */
static bool next_change(const char **at, int64_t *step, double *factor)
{
    char entry[128];
    const size_t n = strcspn(*at, ",");
    snprintf(entry, sizeof entry, "%.*s", (int)(n < sizeof entry ? n : sizeof entry - 1), *at);
    *at += n + ((*at)[n] == ',');
    char *equals = strchr(entry, '=');
    if (n >= sizeof entry || !equals) return false;
    *equals = '\0';
    return pal_integer_read(entry, step) && pal_number_read(equals + 1, factor);
}

pal_status lm_changes_check(const char *text, pal_error *error)
{
    int64_t before = 0, step;
    double factor;
    const size_t n = strlen(text);
    if (n > 0 && text[n - 1] == ',') return pal_error_set(error, PAL_EVALUE, "an entry is empty");
    while (*text) {
        const char *entry = text;
        if (!next_change(&text, &step, &factor) || !(factor >= 0 && isfinite(factor)))
            return pal_error_set(error, PAL_EVALUE,
                                 "'%.100s' does not begin with STEP=FACTOR, such as 500=0.5",
                                 entry);
        if (step <= before)
            return pal_error_set(error, PAL_EVALUE,
                                 "step %lld comes after step %lld; steps rise from 1 on",
                                 (long long)step, (long long)before);
        before = step;
    }
    return PAL_OK;
}

double lm_change_at(const char *text, int64_t step)
{
    double now = 1, factor;
    int64_t from;
    while (*text && next_change(&text, &from, &factor) && from <= step) now = factor;
    return now;
}

bool lm_changes_agree(const char *a, const char *b, int64_t steps)
{
    const char *const list[] = {a, b};
    for (int i = 0; i < 2; i++) {
        int64_t step;
        double factor;
        for (const char *at = list[i]; *at && next_change(&at, &step, &factor) && step <= steps;)
            if (lm_change_at(a, step) != lm_change_at(b, step)) return false;
    }
    return true;
}

/* ---- The search ---- */

pal_status lm_find_lr(const pal_train_opts *o, pal_error *error)
{
    enum { STEPS = 100, EVERY = 4 };
    pal_lr_point point[STEPS];
    pal_lr_found found;
    const bool first = pal_dist_rank(o->dist) == 0;
    if (first) printf("find-lr makes up to %d steps with rising rates, and keeps none\n", STEPS);
    fflush(stdout);
    const pal_status s = pal_find_lr(o, (pal_find_lr_opts){.steps = STEPS}, point, &found, error);
    if (!first) return s;
    PAL_C_LOCALE;
    printf("      rate      loss  smoothed\n");
    for (int64_t i = 0; i < found.steps; i += EVERY)
        printf("%10.2e %9.4f %9.4f\n", point[i].lr, point[i].loss, point[i].smooth);
    if (s != PAL_OK) return s;
    printf("the loss falls fastest at %.2g and is lowest at %.2g: begin with --lr %.2g\n", found.lr,
           found.lowest, found.lr);
    return PAL_OK;
}

/* ---- Plots ---- */

bool lm_plots_are_old(const char *folder)
{
    static const char *const names[] = {"log.csv", "loss.svg", "rate.svg"};
    struct timespec made[3] = {{0}};
    for (int i = 0; i < 3; i++) {
        char path[PAL_PATH];
        struct stat is;
        snprintf(path, sizeof path, "%.4000s/%s", folder, names[i]);
        if (stat(path, &is) == 0) made[i] = is.st_mtim;
    }
    for (int i = 1; i < 3; i++)
        if (made[i].tv_sec < made[0].tv_sec ||
            (made[i].tv_sec == made[0].tv_sec && made[i].tv_nsec < made[0].tv_nsec))
            return true;
    return false;
}
