/*
 * simd.h - the vector vocabulary of the kernels (.k.c files). REAL and SUFFIX come from the
 * Makefile's kernel rule; the width follows from the instruction set the file is compiled for.
 * Everything is static inline, so that no wide instruction leaks into an object compiled for a
 * narrower set.
 */
#ifndef PAL_SIMD_H
#define PAL_SIMD_H

#include <stdint.h>
#include <string.h>

#define PAL_JOIN_(a, b) a##b
#define PAL_JOIN(a, b)  PAL_JOIN_(a, b)
/* K(exp) is the symbol pal_k_exp_f32_avx512 and so on. */
#define K(name) PAL_JOIN(pal_k_##name, SUFFIX)

typedef REAL R;
#if defined(__AVX512F__)
enum { VBYTES = 64 };
#elif defined(__AVX2__)
enum { VBYTES = 32 };
#else
enum { VBYTES = 16 };
#endif
enum { VL = VBYTES / sizeof(R) };
typedef R V __attribute__((vector_size(VBYTES)));
typedef R VU __attribute__((vector_size(VBYTES), aligned(sizeof(R)), may_alias));

/* Elements i..i+VL-1 of an array of n at p; past the end, loads give 0 and stores write nothing. */
static inline V ld(const void *p, int64_t i, int64_t n)
{
    const R *x = (const R *)p + i;
    if (n - i >= VL) return *(const VU *)x;
    V v = {0};
    memcpy(&v, x, (size_t)(n - i) * sizeof(R));
    return v;
}

static inline void st(void *p, int64_t i, int64_t n, V v)
{
    R *x = (R *)p + i;
    if (n - i >= VL)
        *(VU *)x = v;
    else
        memcpy(x, &v, (size_t)(n - i) * sizeof(R));
}

#endif
