/*
 * cpu.c - which kernels run, and on how many threads.
 *
 * The instruction set is chosen once, on first use: the widest that processor and operating system
 * both support, or a narrower one named by PAL_ISA. A value of PAL_ISA that is unknown or wider
 * than the machine is ignored, so that a setting made for another machine never stops a program.
 * First use from several threads at once is harmless: they all find the same answer.
 */
#include "tensor/internal.h"
#include "tensor/kernels.h"
#include <omp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/* ---- Instruction set ---- */

static const char *const isa_names[] = {"base", "avx2", "avx512"};

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
    }
#endif
    (void)feature;
    return false;
}

static pal_isa machine_isa(void)
{
    if (!pal_cpu_has(PAL_CPU_AVX2)) return PAL_ISA_BASE;
    return pal_cpu_has(PAL_CPU_AVX512) ? PAL_ISA_AVX512 : PAL_ISA_AVX2;
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

int pal_threads(void)
{
    int n = atomic_load_explicit(&wanted_threads, memory_order_relaxed);
    return n ? n : omp_get_max_threads();
}

/*
 * Waking a team costs a few microseconds. A vector kernel that is bound by memory does about one
 * element per nanosecond on one thread. A team has all threads or one: OpenMP runtimes keep a team
 * asleep between regions of one size, but make and destroy threads when the size changes.
 */
int pal_team(int64_t work)
{
    enum { THRESHOLD = 1 << 15 };
    return work < THRESHOLD || omp_in_parallel() ? 1 : pal_threads();
}

/*
 * How many times libgomp's threads go round their waiting loop before they sleep. Beside busy
 * processes this time is lost (bench/neighbour). On an idle machine, waking many threads costs more
 * than spinning. On 16 threads of a Xeon 1000 turns made a step 9% slower than the default of
 * 300000 does, and 20000 did not; on 2 threads 1000 cost 2% or less.
 */
static const char *spins(void) { return omp_get_max_threads() > 4 ? "20000" : "1000"; }

void pal_share_processors(char **argv)
{
    static const char variable[] = "GOMP_SPINCOUNT";
    char path[4096];
    if (!argv || !argv[0] || getenv("OMP_WAIT_POLICY") || getenv(variable)) return;
    /* AT_BASE is 0 if there is no dynamic linker, or if it was started as the program. */
    if (getauxval(AT_BASE) == 0) return;
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0 || setenv(variable, spins(), 1) != 0) return;
    path[length] = '\0';
    execv(path, argv);
    unsetenv(variable); /* it could not be started: everything stays as it is */
}
