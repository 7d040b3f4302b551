/*
 * optimizer.c - the optimiser of a program: keys before those of the user, who has the last word;
 * and parts of a model that learn slower, or not at all.
 */
#include "examples/lm/optimizer.h"
#include "examples/lm/keep.h"
#include "examples/lm/rates.h"
#include "tensor/number.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 1024 };

static bool is(const char *text, size_t n, const char *name)
{
    return strlen(name) == n && strncmp(text, name, n) == 0;
}

pal_optim *lm_optimizer_new(pal_params *params, const char *text, double decay, double beta2,
                            const pal_group *groups, int group_count)
{
    char all[TEXT], own[64] = "", number[PAL_NUMBER_TEXT];
    const size_t n = strcspn(text, ":");
    if (is(text, n, "adamw") || is(text, n, "adam"))
        snprintf(own, sizeof own, ":beta2=%s", pal_number_print(beta2, number));
    if (is(text, n, "sgd")) snprintf(own, sizeof own, ":momentum=0.9");
    snprintf(all, sizeof all, "%.*s%s:decay=%s%s", (int)n, text, own,
             pal_number_print(decay, number), text + n);
    return pal_optim_new_grouped(params, all, groups, group_count);
}

/* ---- Parts of a model ---- */

/* The next entry of a list, for free(); NULL at its end. */
static char *next_entry(const char **at)
{
    if (!**at) return NULL;
    const size_t n = strcspn(*at, ",");
    char *entry = strndup(*at, n);
    if (!entry) {
        fprintf(stderr, "out of memory for a list of patterns\n");
        exit(EXIT_FAILURE);
    }
    *at += n + ((*at)[n] == ',');
    return entry;
}

/* Cuts an entry into pattern and factor; the factor is 1 if none is wanted. */
static pal_status cut_entry(char *entry, bool factors, double *factor, pal_error *error)
{
    char *equals = factors ? strrchr(entry, '=') : NULL;
    *factor = 1;
    if (factors && !equals)
        return pal_error_set(error, PAL_EVALUE, "'%.200s' has no factor; PATTERN=FACTOR is wanted",
                             entry);
    if (equals) *equals = 0;
    if (!*entry) return pal_error_set(error, PAL_EVALUE, "a pattern is empty");
    if (!equals) return PAL_OK;
    if (!pal_number_read(equals + 1, factor) || !(*factor > 0 && isfinite(*factor)))
        return pal_error_set(error, PAL_EVALUE,
                             "the factor '%.100s' of '%.200s' is no number above 0%s", equals + 1,
                             entry, *factor == 0 ? "; --freeze stops a part" : "");
    return PAL_OK;
}

static pal_status check_list(const char *text, bool factors, pal_error *error)
{
    pal_status s = PAL_OK;
    int count = 0;
    const size_t n = strlen(text);
    if (n > 0 && text[n - 1] == ',') return pal_error_set(error, PAL_EVALUE, "a pattern is empty");
    for (char *entry; s == PAL_OK && (entry = next_entry(&text)); count++) {
        double factor;
        s = cut_entry(entry, factors, &factor, error);
        free(entry);
    }
    if (s == PAL_OK && count > LM_PARTS)
        s = pal_error_set(error, PAL_EVALUE, "%d patterns are more than %d", count, LM_PARTS);
    return s;
}

pal_status lm_patterns_check(const char *text, pal_error *error)
{
    return check_list(text, false, error);
}

pal_status lm_factors_check(const char *text, pal_error *error)
{
    return check_list(text, true, error);
}

/* A pattern that matches nothing is a misspelt one. */
static pal_status must_match(const pal_params *params, const char *flag, const char *pattern,
                             pal_error *error)
{
    for (int i = 0; i < pal_params_count(params); i++)
        if (fnmatch(pattern, pal_params_name(params, i), 0) == 0) return PAL_OK;
    const char *some = pal_params_name(params, pal_params_count(params) - 1);
    return pal_error_set(error, PAL_EVALUE,
                         "--%s: no parameter's name matches '%.200s'; one of them is %s", flag,
                         pattern, some);
}

static pal_status freeze(pal_params *params, const char *text, pal_error *error)
{
    pal_status s = PAL_OK;
    for (char *entry; s == PAL_OK && (entry = next_entry(&text));) {
        s = must_match(params, "freeze", entry, error);
        if (s == PAL_OK) pal_params_freeze(params, entry, true);
        free(entry);
    }
    int trained = 0;
    for (int i = 0; i < pal_params_count(params); i++) trained += !pal_params_frozen(params, i);
    if (s == PAL_OK && trained == 0)
        s = pal_error_set(error, PAL_EVALUE,
                          "--freeze: all parameters are frozen, and none trains");
    return s;
}

/* Groups, in their order, with texts that lm_keep keeps. */
typedef struct groups {
    int count;
    pal_group at[2 * LM_PARTS];
    pal_schedule schedule[LM_PARTS];
} groups;

/* Adds those with schedules of their own. */
static pal_status schedules(const pal_params *params, const lm_options *o, groups *all,
                            pal_error *error)
{
    pal_status s = PAL_OK;
    char *pattern;
    pal_error why;
    lm_options part;
    const char *at = o->schedule_of;
    while (s == PAL_OK && lm_schedules_next(&at, o, &pattern, &part)) {
        if (!pattern) return pal_error_set(error, PAL_ENOMEM, "out of memory for --schedule-of");
        const pal_schedule is = lm_options_schedule(&part);
        s = must_match(params, "schedule-of", pattern, error);
        if (s == PAL_OK && pal_schedule_check(&is, &why) != PAL_OK)
            s = pal_error_set(error, PAL_EVALUE, "--schedule-of: '%.200s': %.300s", pattern,
                              why.message);
        if (s == PAL_OK && all->count == LM_PARTS)
            s = pal_error_set(error, PAL_EVALUE, "--schedule-of: more than %d patterns", LM_PARTS);
        if (s == PAL_OK) {
            all->schedule[all->count] = is;
            all->at[all->count] = (pal_group){.pattern = lm_keep(pattern, strlen(pattern)),
                                              .schedule = &all->schedule[all->count]};
            all->count++;
        }
        free(pattern);
    }
    return s;
}

/* Adds those of pattern=factor. */
static pal_status factors(const pal_params *params, const char *text, groups *all, pal_error *error)
{
    pal_status s = PAL_OK;
    const int before = all->count;
    for (char *entry; s == PAL_OK && (entry = next_entry(&text));) {
        double factor;
        s = cut_entry(entry, true, &factor, error);
        if (s == PAL_OK) s = must_match(params, "lr-of", entry, error);
        if (s == PAL_OK && all->count - before == LM_PARTS)
            s = pal_error_set(error, PAL_EVALUE, "--lr-of: more than %d patterns", LM_PARTS);
        if (s == PAL_OK)
            all->at[all->count++] =
                (pal_group){.pattern = lm_keep(entry, strlen(entry)), .rate = factor};
        free(entry);
    }
    return s;
}

pal_status lm_optimizer_of(pal_optim **optim, pal_params *params, const lm_options *o,
                           pal_error *error)
{
    groups all = {.count = 0};
    *optim = NULL;
    pal_status s = freeze(params, o->freeze, error);
    if (s == PAL_OK) s = schedules(params, o, &all, error);
    if (s == PAL_OK) s = factors(params, o->lr_of, &all, error);
    if (s == PAL_OK)
        *optim = lm_optimizer_new(params, o->optimizer, o->weight_decay, 0.95, all.at, all.count);
    return s;
}

void lm_print_parts(const pal_params *params, const lm_options *o)
{
    int64_t trained = 0;
    for (int i = 0; i < pal_params_count(params); i++) {
        const pal_array a = pal_params_array(params, i);
        if (!pal_params_frozen(params, i)) trained += pal_array_count(&a);
    }
    if (*o->freeze)
        printf("trains  %lld of %lld parameters, without %s\n", (long long)trained,
               (long long)pal_params_size(params), o->freeze);
    if (*o->lr_of) printf("rates   %s, and 1 elsewhere\n", o->lr_of);
    if (*o->schedule_of) printf("rates   %s, by schedules of their own\n", o->schedule_of);
}
