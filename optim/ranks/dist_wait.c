/*
 * dist_wait.c - waiting for other ranks, and naming those that do not come.
 *
 * MPI cannot say which rank a collective operation waits for, and a rank that hangs says nothing.
 * So a rank that has waited for a second tells ranks 0 and 1 that it waits, and later that it goes
 * on. When these have waited for PAL_PATIENCE seconds, the missing ranks are those whose last word
 * is not that they wait; where a rank has just gone on, they are named a little later. Rank 0
 * prints their names, or that all wait; rank 1 prints them if rank 0 is missing. All go on waiting,
 * and from the first second on they hardly use a processor; with OMP_WAIT_POLICY=passive from the
 * first moment on. Ranks that wait less than a second send nothing, so this costs nothing as long
 * as all goes well.
 */
#include "optim/ranks/dist_private.h"
#include "tensor/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* How a rank waits. Until it naps it looks at its messages `TESTS` times between two looks at the
 * clock. A look at messages may hand the processor to others, for all of their turn. */
enum { TESTS = 64 };
static const double active = 1, passive = 0; /* seconds before the first nap */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- Telling and hearing ---- */

/* Sends this rank's word to those that have another one. A rank that takes no messages may be the
 * one that hangs; it gets the word later. */
static void tell(pal_dist *d)
{
    for (int r = 0; r < PAL_TALKERS && r < d->size; r++) {
        int sent = 1;
        if (r == d->rank || d->telling[r] == d->waits) continue;
        MPI_Test(&d->told[r], &sent, MPI_STATUS_IGNORE);
        if (!sent) continue;
        d->telling[r] = d->waits;
        MPI_Isend(&d->telling[r], 1, MPI_INT, r, 0, d->watch, &d->told[r]);
    }
}

static void hear(pal_dist *d)
{
    int there;
    MPI_Status from;
    if (d->rank >= PAL_TALKERS || !d->heard) return; /* NULL: the start failed */
    MPI_Iprobe(MPI_ANY_SOURCE, 0, d->watch, &there, &from);
    while (there) {
        int *const heard = &d->heard[from.MPI_SOURCE], before = *heard;
        MPI_Recv(heard, 1, MPI_INT, from.MPI_SOURCE, 0, d->watch, MPI_STATUS_IGNORE);
        if (before && !*heard) d->let_go = now();
        MPI_Iprobe(MPI_ANY_SOURCE, 0, d->watch, &there, &from);
    }
}

/* The names of the missing ranks, "rank 2" or "ranks 2, 5". Returns their number. */
static int missing(const pal_dist *d, char *text, size_t size)
{
    enum { SHOWN = 16 };
    int n = 0;
    size_t used = 0;
    for (int r = 0; r < d->size; r++) {
        if (r == d->rank || d->heard[r]) continue;
        if (n++ < SHOWN)
            used += (size_t)snprintf(text + used, size - used, "%s%d", n > 1 ? ", " : " ", r);
    }
    if (n > SHOWN) snprintf(text + used, size - used, " and %d more", n - SHOWN);
    return n;
}

/* Prints who is missing, unless rank 0 does it. Returns whether it has printed something. */
static bool say(pal_dist *d, double waited)
{
    PAL_C_LOCALE;
    char ranks[256] = "", place[96] = "a call of all ranks";
    if (d->rank > 0 && d->heard[0]) return false;
    if (d->place) snprintf(place, sizeof place, "%.60s %lld", d->place, (long long)d->place_step);
    const int n = missing(d, ranks, sizeof ranks);
    if (n > 0)
        fprintf(stderr, "rank %d: waiting for rank%s%s for %.3g s, in %s\n", d->rank,
                n > 1 ? "s" : "", ranks, waited, place);
    else /* one was stopped while it waited, or they wait for different things */
        fprintf(stderr, "rank %d: waiting for %.3g s, in %s; all other ranks say that they wait\n",
                d->rank, waited, place);
    fflush(stderr);
    return true;
}

/* ---- Waiting ---- */

bool pal_dist_naps(const pal_dist *d) { return d->naps_after < active; }

static bool all_done(int n, MPI_Request *request, int tests)
{
    int done = 0;
    for (int i = 0; i < tests && !done; i++) MPI_Testall(n, request, &done, MPI_STATUSES_IGNORE);
    return done;
}

/* The others are late, not a moment behind: what they do needs the processor more. */
static void nap(double waited)
{
    const double seconds = fmin(fmax(waited / 4, 5e-5), 1e-3);
    nanosleep(&(struct timespec){.tv_nsec = (long)(1e9 * seconds)}, NULL);
}

static void wait_long(pal_dist *d, int n, MPI_Request *request)
{
    const double began = now();
    double next = d->patience;
    bool said = false;
    while (!all_done(n, request, pal_dist_naps(d) ? 1 : TESTS)) {
        const double waited = now() - began;
        if (waited >= d->naps_after) nap(waited);
        if (waited >= fmin(1, d->patience / 4)) {
            d->waits = 1;
            tell(d);
        }
        if (waited < next || d->rank >= PAL_TALKERS) continue;
        hear(d);
        /* Where others have just gone on, what this rank waits for may be on its way. */
        if (now() - d->let_go < d->patience / 4) continue;
        said = say(d, waited) || said;
        next *= 2;
    }
    d->waits = 0;
    tell(d);
    if (!said) return;
    PAL_C_LOCALE;
    fprintf(stderr, "rank %d: after %.3g s it goes on\n", d->rank, now() - began);
    fflush(stderr);
}

void pal_dist_wait(pal_dist *d, int n, MPI_Request *request)
{
    if (d->patience == 0) {
        MPI_Waitall(n, request, MPI_STATUSES_IGNORE);
        return;
    }
    if (++d->count % TESTS == 0) hear(d); /* so that messages do not pile up */
    if (!all_done(n, request, pal_dist_naps(d) ? 1 : TESTS)) wait_long(d, n, request);
}

void pal_dist_place(pal_dist *d, const char *place, int64_t step)
{
    if (!d) return;
    d->place = place;
    d->place_step = step;
}

/* ---- Life ---- */

pal_status pal_watch_start(pal_dist *d, pal_error *error)
{
    const char *text = getenv("PAL_PATIENCE"), *rest = text;
    d->patience = 30;
    const char *policy = getenv("OMP_WAIT_POLICY");
    d->naps_after = policy && strcasecmp(policy, "passive") == 0 ? passive : active;
    for (int r = 0; r < PAL_TALKERS; r++) d->told[r] = MPI_REQUEST_NULL;
    if (text && (!pal_number_next(&rest, &d->patience) || *rest || !(d->patience >= 0) ||
                 isinf(d->patience)))
        return pal_error_set(error, PAL_EVALUE,
                             "dist_start: PAL_PATIENCE is '%.40s': it should be a number of "
                             "seconds, from 0 on",
                             text);
    d->heard = pal_malloc((size_t)d->size * sizeof *d->heard);
    if (!d->heard) return pal_error_set(error, PAL_ENOMEM, "dist_start: out of memory");
    memset(d->heard, 0, (size_t)d->size * sizeof *d->heard);
    return PAL_OK;
}

void pal_watch_end(pal_dist *d)
{
    if (d->watch != MPI_COMM_NULL) {
        MPI_Request request;
        if (!d->heard) d->patience = 0;
        MPI_Ibarrier(d->world, &request);
        pal_dist_wait(d, 1, &request); /* ranks that come to the end early can say who is missing */
        MPI_Barrier(d->world);         /* nobody tells any more */
        hear(d);
        MPI_Waitall(PAL_TALKERS, d->told, MPI_STATUSES_IGNORE);
        MPI_Comm_free(&d->watch);
    }
    pal_free(d->heard, (size_t)d->size * sizeof *d->heard);
}
