/* rates.c - changes of the rate during a run, the search for one, and whether it was drawn. */
#include "examples/lm/rates.h"
#include "tensor/number.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

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
