/*
 * team.c - on how many threads work is done.
 */
#include "tensor/team.h"
#include <limits.h>
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

/* The bytes of a thread's stack, as libgomp takes them: from these variables, in KiB if no letter
 * names another unit, else the system's. A value that is no size it ignores. */
static size_t stack_size(void)
{
    static const char *const variables[] = {"OMP_STACKSIZE", "GOMP_STACKSIZE"};
    static const char units[] = "bkmg";
    pthread_attr_t standard;
    size_t stack = 8 << 20;
    for (int i = 0; i < 2; i++) {
        const char *text = getenv(variables[i]);
        char *end = NULL;
        const size_t n = text ? strtoul(text, &end, 10) : 0;
        if (n == 0) continue;
        end += strspn(end, " \t\n");
        const char *unit = *end ? strchr(units, *end | 0x20) : units + 1;
        const int shift = unit ? 10 * (int)(unit - units) : 0;
        if (unit && n <= SIZE_MAX >> shift && n << shift >= (size_t)PTHREAD_STACK_MIN)
            return n << shift;
    }
    if (pthread_getattr_default_np(&standard) == 0) {
        pthread_attr_getstacksize(&standard, &stack);
        pthread_attr_destroy(&standard);
    }
    return stack;
}

/* How many of `n` stacks there is memory for. Each is a mapping, as it will be for its thread: the
 * system may refuse one mapping of all of them that is larger than the machine's memory. */
static int mapped(int n, size_t size)
{
    void *stack = n > 0
                      ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                      : MAP_FAILED;
    if (stack == MAP_FAILED) return 0;
    const int more = mapped(n - 1, size);
    munmap(stack, size);
    return 1 + more;
}

/* Stacks on which our work would not find room (OMP_STACKSIZE, ulimit -s) are not made. */
int pal_stacks_left(int n)
{
    enum { MORE = 1 << 20 };    /* bytes beside the stack */
    enum { LEAST = 256 << 10 }; /* of a stack; products by BLIS need more than 32 KiB */
    const size_t stack = stack_size();
    return stack >= LEAST && stack < SIZE_MAX - MORE ? mapped(n, stack + MORE) : 0;
}

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

int pal_team_of(int64_t work, int threads)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const int64_t least = atomic_load_explicit(&least_work, memory_order_relaxed);
    if (work < least || omp_in_parallel() || atomic_load_explicit(&orphaned, memory_order_relaxed))
        return 1;
    if (threads < 1) threads = pal_threads();
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    if (threads > 1 && !atomic_load_explicit(&had_team, memory_order_relaxed))
        pthread_once(&once, watch_forks);
    if (threads > 1 && pal_share_processors(threads) && work / BESIDE < least) return 1;
    return with_stacks(threads);
}

int pal_team(int64_t work) { return pal_team_of(work, 0); }
