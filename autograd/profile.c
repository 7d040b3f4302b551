/* profile.c - measures the time of each operation on a tape. */
#include "autograd/internal.h"

#include <string.h>
#include <time.h>

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double pal_profile_start(const pal_tape *tape)
{
    return tape->profile && tape->profile->on ? seconds() : 0;
}

static pal_profile_line *find(pal_profile *p, const char *name)
{
    for (int i = 0; i < p->n; i++)
        if (strcmp(p->line[i].name, name) == 0) return &p->line[i];
    if (p->n == PAL_PROFILE_LINES) return NULL;
    p->line[p->n] = (pal_profile_line){.name = name};
    return &p->line[p->n++];
}

void pal_profile_stop(pal_tape *tape, const char *name, double start, bool backward)
{
    if (start == 0 || !tape->profile->on) return;
    pal_profile_line *line = find(tape->profile, name);
    if (!line) return;
    const double passed = seconds() - start;
    line->calls += !backward;
    *(backward ? &line->backward : &line->forward) += passed;
}

void pal_tape_profile(pal_tape *tape, bool on)
{
    if (!tape->profile) tape->profile = on ? pal_malloc(sizeof *tape->profile) : NULL;
    if (!tape->profile) {
        if (on) pal_fail(&tape->owner, PAL_ENOMEM, "tape_profile: out of memory");
        return;
    }
    if (on) tape->profile->n = 0;
    tape->profile->on = on;
}

int pal_tape_profile_lines(const pal_tape *tape, const pal_profile_line **lines)
{
    *lines = tape->profile ? tape->profile->line : NULL;
    return tape->profile ? tape->profile->n : 0;
}
