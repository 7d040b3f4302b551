/* progress.c - a line on a terminal that says how far something is. */
#include "examples/lm/progress.h"

#include <time.h>
#include <unistd.h>

static const double SOON = 0.5; /* seconds in which nothing is said */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

lm_progress lm_progress_begin(const char *what)
{
    return (lm_progress){.what = what, .began = seconds()};
}

void lm_progress_show(void *user, int64_t done, int64_t all)
{
    lm_progress *p = user;
    if (done >= all) {
        if (p->shown) fputs("\r\033[K", stderr);
        p->shown = false;
        return;
    }
    if (!isatty(STDERR_FILENO) || (!p->shown && seconds() - p->began < SOON)) return;
    p->shown = true;
    fprintf(stderr, "\r\033[K%s: %.2f of %.2f GB", p->what, 1e-9 * (double)done,
            1e-9 * (double)all);
}
