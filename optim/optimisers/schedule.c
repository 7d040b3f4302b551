/*
 * schedule.c - the learning rate of a step.
 */
#include "optim/optimisers/internal.h"
#include "tensor/number.h"

#include <math.h>

/* What is left of the way from lr down to min_lr at step i, in [0, 1]. */
static double left(const pal_schedule *s, int64_t i)
{
    int64_t from = s->kind == PAL_WSD ? s->steps - s->decay_steps : s->warmup;
    if (s->kind == PAL_CONSTANT) return 1;
    if (i >= s->steps) return 0;
    if (i < from) return 1;
    double along = (double)(i - from) / (double)(s->steps - from);
    return s->kind == PAL_COSINE ? (1 + cos(3.14159265358979323846 * along)) / 2 : 1 - along;
}

/* How much of the cosine is left that step i is in. */
static double left_of_cycle(const pal_schedule *s, int64_t i)
{
    double n = (double)s->decay_steps, j = (double)(i - s->warmup);
    while (n >= 1 && j >= n) {
        const double longer = floor(n * fmax(1, s->growth));
        j = longer == n ? fmod(j, n) : j - n;
        n = longer;
    }
    return (1 + cos(3.14159265358979323846 * j / n)) / 2;
}

double pal_schedule_lr(const pal_schedule *s, int64_t i)
{
    if (i < s->warmup) return s->lr * (double)(i + 1) / (double)s->warmup;
    double share = s->kind == PAL_RESTARTS ? left_of_cycle(s, i) : left(s, i);
    return share == 1 ? s->lr : s->min_lr + (s->lr - s->min_lr) * share;
}

pal_status pal_schedule_check(const pal_schedule *s, pal_error *error)
{
    const long long warmup = s->warmup, steps = s->steps, decay = s->decay_steps;
    if ((int)s->kind < PAL_CONSTANT || (int)s->kind > PAL_RESTARTS)
        return pal_error_set(error, PAL_EVALUE, "schedule: there is no kind %d", (int)s->kind);
    if (!(s->lr >= 0 && isfinite(s->lr)))
        return pal_error_set(error, PAL_EVALUE, "schedule: lr %g must be finite and >= 0", s->lr);
    if (warmup < 0)
        return pal_error_set(error, PAL_EVALUE, "schedule: warmup %lld must be >= 0", warmup);
    if (s->kind == PAL_CONSTANT) return PAL_OK;
    if (!(s->min_lr >= 0 && s->min_lr <= s->lr))
        return pal_error_set(error, PAL_EVALUE, "schedule: min_lr %g must be in [0, lr = %g]",
                             s->min_lr, s->lr);
    if (s->kind == PAL_RESTARTS) {
        if (decay >= 1 && (s->growth == 0 || (s->growth >= 1 && s->growth <= 1e6))) return PAL_OK;
        return pal_error_set(error, PAL_EVALUE,
                             "schedule: a first cosine of %lld steps and a growth of %g; they must "
                             "be >= 1",
                             decay, s->growth);
    }
    if (steps < warmup)
        return pal_error_set(error, PAL_EVALUE,
                             "schedule: steps %lld must not be less than warmup %lld, which they "
                             "count",
                             steps, warmup);
    if (s->kind == PAL_WSD && (decay < 0 || decay > steps - warmup))
        return pal_error_set(error, PAL_EVALUE,
                             "schedule: decay_steps %lld must be in [0, steps - warmup = %lld]",
                             decay, steps - warmup);
    return PAL_OK;
}

char *pal_schedule_text(const pal_schedule *s, char text[PAL_SCHEDULE_TEXT])
{
    PAL_C_LOCALE;
    enum { ROOM = PAL_SCHEDULE_TEXT };
    static const char *const kinds[] = {"constant", "linear", "cosine", "wsd", "restarts"};
    const bool known = (int)s->kind >= 0 && (int)s->kind <= PAL_RESTARTS;
    int n = snprintf(text, ROOM, "%s lr=%.17g warmup=%lld", known ? kinds[s->kind] : "unknown",
                     s->lr, (long long)s->warmup);
    if (s->kind != PAL_CONSTANT)
        n += snprintf(text + n, (size_t)(ROOM - n), " min_lr=%.17g steps=%lld", s->min_lr,
                      (long long)s->steps);
    if (s->kind == PAL_RESTARTS)
        n += snprintf(text + n, (size_t)(ROOM - n), " growth=%.17g", s->growth);
    if (s->kind == PAL_WSD || s->kind == PAL_RESTARTS)
        snprintf(text + n, (size_t)(ROOM - n), " decay_steps=%lld", (long long)s->decay_steps);
    return text;
}
