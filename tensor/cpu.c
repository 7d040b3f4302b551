/*
 * cpu.c - which kernels run, and on how many threads.
 *
 * The instruction set is chosen once, on first use: the widest that processor and operating system
 * both support, or a narrower one named by PAL_ISA. A value of PAL_ISA that is unknown or wider
 * than the machine is ignored, so that a setting made for another machine never stops a program.
 * First use from several threads at once is harmless: they all find the same answer.
 */
#include "tensor/team.h"
#include "tensor/kernels.h"
#include <omp.h>
#include <pthread.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Instruction set ---- */

#define NAME(x, set) #set
static const char *const isa_names[] = {PAL_SETS(NAME, )};

const char *pal_isa_name(pal_isa isa) { return isa_names[isa]; }

bool pal_cpu_has(pal_cpu_feature feature)
{
#if defined(__x86_64__)
    switch (feature) {
    case PAL_CPU_SSSE3:
        return __builtin_cpu_supports("ssse3");
    case PAL_CPU_AVX:
        return __builtin_cpu_supports("avx");
    case PAL_CPU_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case PAL_CPU_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    case PAL_CPU_AMD:
        return __builtin_cpu_is("amd");
    }
#endif
    (void)feature;
    return false;
}

static pal_isa machine_isa(void)
{
#if defined(__x86_64__)
    if (!pal_cpu_has(PAL_CPU_AVX2)) return PAL_ISA_BASE;
    return pal_cpu_has(PAL_CPU_AVX512) ? PAL_ISA_AVX512 : PAL_ISA_AVX2;
#else
    return (pal_isa)(PAL_ISAS - 1); /* NEON belongs to every 64-bit ARM */
#endif
}

pal_isa pal_isa_best(void)
{
    pal_isa best = machine_isa();
    const char *wanted = getenv("PAL_ISA");
    for (int i = 0; wanted && i < (int)best; i++)
        if (strcmp(wanted, isa_names[i]) == 0) return (pal_isa)i;
    return best;
}

/* 0: not chosen yet; else the instruction set + 1. */
static _Atomic int selection;

pal_isa pal_isa_selected(void)
{
    int chosen = atomic_load_explicit(&selection, memory_order_relaxed);
    if (chosen) return (pal_isa)(chosen - 1);
    pal_isa best = pal_isa_best();
    atomic_compare_exchange_strong(&selection, &chosen, (int)best + 1);
    return chosen ? (pal_isa)(chosen - 1) : best;
}

bool pal_kernels_select(pal_isa isa)
{
    if (isa > machine_isa()) return false;
    atomic_store(&selection, (int)isa + 1);
    return true;
}

/* ---- Kernel tables ---- */

PAL_KERNEL_TABLES(pal_kernels, table);

const pal_kernels *pal_kernels_for(pal_dtype dtype) { return PAL_KERNEL_TABLE(table, dtype); }

/* ---- Threads ---- */

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
static int stacks_left(int n, size_t size)
{
    void *stack = n > 0
                      ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                      : MAP_FAILED;
    if (stack == MAP_FAILED) return 0;
    const int more = stacks_left(n - 1, size);
    munmap(stack, size);
    return 1 + more;
}

/*
 * libgomp ends the process if there is no memory for the stack of a thread. So the threads of a
 * team are made at once, as many as there is memory for. If they are fewer than wanted, the next
 * region asks again. Results do not depend on their number. Stacks on which our work would not find
 * room (OMP_STACKSIZE, ulimit -s) are not made.
 */
static int with_stacks(int threads)
{
    static _Thread_local int made = 1; /* each thread that calls us has a team of its own */
    enum { MORE = 1 << 20 };           /* bytes beside the stack */
    enum { LEAST = 256 << 10 };        /* of a stack; products by BLIS need more than 32 KiB */
    if (threads < made) made = threads;
    if (threads <= made) return made;
    const size_t stack = stack_size();
    const bool usable = stack >= LEAST && stack < SIZE_MAX - MORE;
    const int more = usable ? stacks_left(threads - made, stack + MORE) : 0;
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
    return with_stacks(threads);
}

int pal_team(int64_t work) { return pal_team_of(work, 0); }

/*
 * libgomp's threads wait for each other by spinning, 300000 turns of its loop or about a
 * millisecond, before they sleep. Beside busy processes every turn is lost: then 1000 turns are
 * best for a few threads (bench/neighbour). Alone they cost 2 threads up to 4% of a step on one
 * machine, and 20% on a virtual one, where waking a thread takes long (docs/threads.md).
 * More threads take longer to wake: on 16 threads of a Xeon a step alone was 9% to 20% slower with
 * 1000 turns, and with 20000 it was sometimes several times slower. So a larger team keeps the
 * default.
 */
enum { SMALL_TEAM = 4 };
static const char SPINS[] = "1000";

/* A file may have been replaced while its program runs, and its name been cut off. */
static bool is_this_program(const char *path)
{
    struct stat named, running;
    return stat(path, &named) == 0 && stat("/proc/self/exe", &running) == 0 &&
           named.st_dev == running.st_dev && named.st_ino == running.st_ino;
}

/* Valgrind does not follow a program that starts itself again. */
static bool under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload");
}

void pal_share_processors(char **argv)
{
    static const char variable[] = "GOMP_SPINCOUNT";
    char path[4096];
    if (!argv || !argv[0] || getenv("OMP_WAIT_POLICY") || getenv(variable)) return;
    if (omp_get_max_threads() > SMALL_TEAM) return;
    /* AT_BASE is 0 if there is no dynamic linker, or if it was started as the program. */
    if (getauxval(AT_BASE) == 0) return;
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0 || setenv(variable, SPINS, 1) != 0) return;
    path[length] = '\0';
    if (is_this_program(path) && !under_valgrind()) execv(path, argv);
    unsetenv(variable); /* it could not be started: everything stays as it is */
}
