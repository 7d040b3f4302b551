/*
 * team.c - on how many threads work is done.
 */
#include "tensor/team.h"
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>

/* What pal_set_threads asked for; 0: OpenMP's default. The program's own OpenMP settings are left
 * alone. */
static _Atomic int wanted_threads;

void pal_set_threads(int n) { atomic_store(&wanted_threads, n < 1 ? 0 : n); }

/* Lists of threads are on libgomp's stack. 100000 threads leave it. */
enum { MOST_THREADS = 4096 };

int pal_threads(void)
{
    int n = atomic_load_explicit(&wanted_threads, memory_order_relaxed);
    if (n == 0) n = omp_get_max_threads();
    return n < MOST_THREADS ? n : MOST_THREADS;
}

/*
 * Work is counted in elements of a vector kernel, of which one thread does about one in a
 * nanosecond if it waits for memory. A region of less than about 100 us stays on one thread: waking
 * a team costs a few microseconds alone, and much more beside busy processes. It is all threads or
 * one, because OpenMP runtimes keep a team asleep between regions of one size, and make and destroy
 * threads when the size changes.
 */
static _Atomic int64_t least_work = 100000;
/* Beside busy processes a thread may have to wait for a slice of their time, some ms. */
enum { BESIDE = 10 };

void pal_team_from(int64_t work) { atomic_store(&least_work, work); }

/*
 * libgomp ends the process if there is no memory for the stack of a thread. So the threads of a
 * team are made at once, as many as there is memory for. If they are fewer than wanted, the next
 * region asks again. Results do not depend on their number.
 */
static int with_stacks(int threads)
{
    static _Thread_local int made = 1; /* each thread that calls us has a team of its own */
    if (threads < made) made = threads;
    if (threads <= made) return made;
    const int more = pal_stacks_left(threads - made);
    if (more == 0) return made;
    made += more;
#pragma omp parallel num_threads(made)
    __asm__ volatile(""); /* the compiler would leave an empty region out */
    return made;
}

/*
 * A child of fork has only the thread that forked, but libgomp there still believes in the parent's
 * team, and waits for it for ever. So a child of a process that had a team works on one thread.
 */
static _Atomic bool had_team, orphaned;

/* Work that was planned for a team before the fork, as on a tape, runs on one thread too. */
static void in_child(void)
{
    atomic_store(&orphaned, true);
    omp_set_max_active_levels(0);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
    atomic_store(&had_team, true);
}

int pal_team_most(int64_t work, int threads)
{
    if (work < atomic_load_explicit(&least_work, memory_order_relaxed) || omp_in_parallel() ||
        atomic_load_explicit(&orphaned, memory_order_relaxed))
        return 1;
    if (threads < 1) threads = pal_threads();
    return threads < MOST_THREADS ? threads : MOST_THREADS;
}

int pal_team_of(int64_t work, int threads)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    threads = pal_team_most(work, threads);
    if (threads == 1) return 1;
    if (!atomic_load_explicit(&had_team, memory_order_relaxed)) pthread_once(&once, watch_forks);
    if (pal_share_processors(threads) &&
        work / BESIDE < atomic_load_explicit(&least_work, memory_order_relaxed))
        return 1;
    return with_stacks(threads);
}

int pal_team(int64_t work) { return pal_team_of(work, 0); }
