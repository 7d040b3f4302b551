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
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* ---- Instruction set ---- */

static const char *const isa_names[] = {"base", "avx2", "avx512"};

const char *pal_isa_name(pal_isa isa) { return isa_names[isa]; }

#if defined(__x86_64__)
/* XCR0: the register states that the operating system saves on a task switch. */
static unsigned saved_states(void)
{
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static pal_isa machine_isa(void)
{
    enum { YMM = 0x06, ZMM = 0xe6 }; /* bits of XCR0 */
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA))
        return PAL_ISA_BASE;
    unsigned states = saved_states();
    if ((states & YMM) != YMM || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2))
        return PAL_ISA_BASE;
    unsigned avx512 = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    return (b & avx512) == avx512 && (states & ZMM) == ZMM ? PAL_ISA_AVX512 : PAL_ISA_AVX2;
}
#else
static pal_isa machine_isa(void) { return PAL_ISA_BASE; }
#endif

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

extern const pal_kernels pal_k_table_f32_base, pal_k_table_f32_avx2, pal_k_table_f32_avx512;
extern const pal_kernels pal_k_table_f64_base, pal_k_table_f64_avx2, pal_k_table_f64_avx512;

const pal_kernels *pal_kernels_for(pal_dtype dtype)
{
    static const pal_kernels *const tables[2][3] = {
        {&pal_k_table_f32_base, &pal_k_table_f32_avx2, &pal_k_table_f32_avx512},
        {&pal_k_table_f64_base, &pal_k_table_f64_avx2, &pal_k_table_f64_avx512}};
    return tables[dtype == PAL_F64][pal_isa_selected()];
}

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
 * Waking a team costs a few microseconds; a vector kernel does about one element a nanosecond on
 * one thread when it is bound by memory. It is all threads or one: the OpenMP runtimes keep a team
 * asleep between regions of one size, and make and destroy threads when the size changes.
 */
int pal_team(int64_t work)
{
    enum { THRESHOLD = 1 << 15 };
    return work < THRESHOLD || omp_in_parallel() ? 1 : pal_threads();
}

/*
 * How long libgomp's threads wait for each other by spinning before they sleep, in turns of its
 * loop. Beside busy processes every turn is lost (bench/neighbour); alone, waking many sleepers
 * costs more than spinning. On 16 threads of a Xeon 1000 turns made a step 9% slower than the
 * default of 300000 does, and 20000 did not; on 2 threads 1000 cost 2% or less.
 */
static const char *spins(void) { return omp_get_max_threads() > 4 ? "20000" : "1000"; }

void pal_share_processors(char **argv)
{
    static const char variable[] = "GOMP_SPINCOUNT";
    char path[4096];
    if (!argv || !argv[0] || getenv("OMP_WAIT_POLICY") || getenv(variable)) return;
    /* Without a base there is no dynamic linker, or it was called as the program. */
    if (getauxval(AT_BASE) == 0) return;
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0 || setenv(variable, spins(), 1) != 0) return;
    path[length] = '\0';
    execv(path, argv);
    unsetenv(variable); /* it could not be started: everything stays as it is */
}

const char *pal_kernels_in_use(void)
{
    static _Thread_local char line[128];
    snprintf(line, sizeof line, "kernels %s, BLIS %s, %d thread%s",
             pal_isa_name(pal_isa_selected()), pal_blas_family(), pal_threads(),
             pal_threads() == 1 ? "" : "s");
    return line;
}
