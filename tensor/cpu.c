/*
 * cpu.c - which kernels run.
 *
 * The instruction set is chosen once, on first use: the widest that processor and operating system
 * both support, or a narrower one named by PAL_ISA. A value of PAL_ISA that is unknown or wider
 * than the machine is ignored, so that a setting made for another machine never stops a program.
 * First use from several threads at once is harmless: they all find the same answer.
 */
#include "tensor/kernels.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

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
