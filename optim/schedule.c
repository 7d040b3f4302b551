/*
 * schedule.c - the learning rate of a step: linear warm-up, then half a cosine.
 */
#include "optim/optim.h"

#include <math.h>

double pal_cosine_lr(const pal_cosine *s, int64_t i)
{
    if (i < s->warmup) return s->lr * (double)(i + 1) / (double)s->warmup;
    if (i >= s->steps) return s->min_lr;
    double along = (double)(i - s->warmup) / (double)(s->steps - s->warmup);
    return s->min_lr + (s->lr - s->min_lr) / 2 * (1 + cos(3.14159265358979323846 * along));
}
