/*
 * share.c - threads that wait sleep at once while other programs need the processors.
 *
 * libgomp's threads wait for each other by spinning, 300000 turns of its loop or some milliseconds,
 * before they sleep. Alone that is fastest: to wake a thread takes long, above all on a virtual
 * machine. Beside busy processes a thread that spins takes the processor from the thread that it
 * waits for, and several threads become many times slower than one (docs/threads.md).
 *
 * libgomp turns only 100 times while it has more threads than there are processors (its
 * gomp_throttled_spin_count_var). So while other programs are busy, a second team is kept asleep,
 * which makes libgomp's threads too many. It costs no time, and it ends when the others have gone.
 * A runtime that does not count like this is not disturbed by it.
 *
 * The system shows that others are busy by the processors that it takes away from threads of ours
 * which could go on (involuntary switches of context). Measured with two threads on two processors:
 * 20 a second for each thread alone on a virtual machine, 120 to 260 beside a busy process each.
 */
#include "tensor/team.h"

#include <omp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* ---- When ---- */

bool pal_sharing_next(pal_sharing *s, double now, long taken, int threads, bool (*crowded)(void))
{
    static const double WINDOW = 0.1, SHORTEST = 0.1, LONGEST = 5;
    enum { FEW = 3, MANY = 6 }; /* for a thread in WINDOW */
    const double past = now - s->last;
    const long more = taken - s->taken;
    s->last = now;
    s->taken = taken;
    /* What happened in a longer pause was not beside our teams. */
    s->recent = past < WINDOW ? s->recent * (1 - past / WINDOW) + (double)more : 0;
    if (s->on) {
        if (now < s->until) return true;
        if (crowded()) {
            s->until = now + s->hold;
            return true;
        }
        s->on = false;
        s->recent = 0;
        s->ended = now;
    } else if (s->recent >= FEW * (threads + 1) &&
               (s->recent >= MANY * (threads + 1) || crowded())) {
        /* Others that were believed to have gone and are there are believed less next time. */
        s->hold = s->hold > 0 && now - s->ended < s->hold ? 2 * s->hold : SHORTEST;
        if (s->hold > LONGEST) s->hold = LONGEST;
        s->until = now + s->hold;
        s->on = true;
    }
    return s->on;
}

/* Whether the machine has more threads to run than processors. */
static bool is_crowded(void)
{
    long running = 0;
    FILE *file = fopen("/proc/loadavg", "re");
    if (!file) return false;
    if (fscanf(file, "%*s %*s %*s %ld", &running) != 1) running = 0;
    fclose(file);
    return running > sysconf(_SC_NPROCESSORS_ONLN);
}

/* ---- How ---- */

static sem_t begun, over;
static pthread_t sleeper;

static void wait_for(sem_t *what)
{
    while (sem_wait(what) != 0) { /* a signal */
    }
}

static void *sleep_as_team(void *threads)
{
#pragma omp parallel num_threads(*(const int *)threads)
    if (omp_get_thread_num() == 0) sem_post(&begun); /* libgomp has made all of them */
    wait_for(&over);
    return NULL;
}

#if defined(__clang__) /* LLVM's runtime waits by a rule of its own, KMP_BLOCKTIME */
enum { BY_LIBGOMP = false };
#else
enum { BY_LIBGOMP = true };
#endif

bool pal_sleep_begin(int threads)
{
    static int asleep;
    const int missing = omp_get_num_procs() - threads;
    sigset_t all, before;
    asleep = missing > 0 ? missing + 2 : 2;
    if (!BY_LIBGOMP || pal_stacks_left(asleep) < asleep) return false;
    sem_init(&begun, 0, 0); /* 0 fits, so it succeeds */
    sem_init(&over, 0, 0);
    sigfillset(&all); /* signals are for the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const bool began = pthread_create(&sleeper, NULL, sleep_as_team, &asleep) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    /* Its stacks are made before this thread looks how much memory is left: BLIS and libgomp end
     * the process if there is less than there was. */
    if (began) wait_for(&begun);
    sem_destroy(&begun);
    if (!began) sem_destroy(&over);
    return began;
}

void pal_sleep_end(void)
{
    sem_post(&over);
    pthread_join(sleeper, NULL); /* its team ends with it */
    sem_destroy(&over);
}

/* ---- Both ---- */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One thread at a time looks; others that come meanwhile do not wait for it. */
bool pal_share_processors(int threads)
{
    static const double EVERY = 2e-3;
    static pthread_mutex_t looking = PTHREAD_MUTEX_INITIALIZER;
    static pal_sharing state;
    static bool asleep;
    static _Atomic bool crowd;
    if (pthread_mutex_trylock(&looking) != 0) return atomic_load(&crowd);
    const double now = seconds();
    /* A setting of the user's wins. */
    if (now - state.last >= EVERY && !getenv("GOMP_SPINCOUNT") && !getenv("OMP_WAIT_POLICY")) {
        struct rusage used;
        getrusage(RUSAGE_SELF, &used);
        const bool wanted = pal_sharing_next(&state, now, used.ru_nivcsw, threads, is_crowded);
        if (wanted && !asleep) {
            asleep = pal_sleep_begin(threads);
        } else if (!wanted && asleep) {
            pal_sleep_end();
            asleep = false;
        }
        atomic_store(&crowd, wanted);
    }
    pthread_mutex_unlock(&looking);
    return atomic_load(&crowd);
}
