/*
 * kernel_test.h - what the tests of the vector kernels share: every combination of instruction set
 * and element type as one loop index, elements as long double, and distances in ulp.
 */
#ifndef PAL_KERNEL_TEST_H
#define PAL_KERNEL_TEST_H

#include "tensor/kernels.h"
#include "tests/support/check.h"
#include <math.h>
#include <string.h>

/* Loop index 0..5: instruction set index / 2, f32 or f64. */
enum { VARIANTS = 6 };
typedef struct variant {
    pal_dtype dtype;
    const pal_kernels *kernels; /* NULL: this processor does not have the instruction set */
    size_t size;                /* bytes of an element */
    int vector;                 /* elements of a vector */
    char name[16];
} variant;

static inline variant variant_at(int index)
{
    static const int bytes[] = {16, 32, 64};
    pal_isa isa = (pal_isa)(index / 2);
    variant v = {.dtype = index % 2 ? PAL_F64 : PAL_F32, .size = index % 2 ? 8 : 4};
    v.vector = bytes[isa] / (int)v.size;
    snprintf(v.name, sizeof v.name, "%s f%d", pal_isa_name(isa), (int)v.size * 8);
    if (pal_kernels_select(isa)) v.kernels = pal_kernels_for(v.dtype);
    return v;
}

static inline long double get(pal_dtype dtype, const void *p, int64_t i)
{
    return dtype == PAL_F64 ? (long double)((const double *)p)[i]
                            : (long double)((const float *)p)[i];
}

static inline void put(pal_dtype dtype, void *p, int64_t i, long double value)
{
    if (dtype == PAL_F64)
        ((double *)p)[i] = (double)value;
    else
        ((float *)p)[i] = (float)value;
}

static inline void *at(const variant *v, void *p, int64_t i)
{
    return (char *)p + (size_t)i * v->size;
}

/* Half the distance of neighbours at 1: the relative error of one rounding. */
static inline long double unit_roundoff(pal_dtype dtype)
{
    return dtype == PAL_F64 ? 0x1p-53L : 0x1p-24L;
}

/*
 * |got - exact| in units of the last place of the exact value. 0 where exact rounds to infinity or
 * NaN and got is the same; infinity where it is not.
 */
static inline double ulps(pal_dtype dtype, long double got, long double exact)
{
    long double rounded = dtype == PAL_F64 ? (long double)(double)exact : (long double)(float)exact;
    if (!isfinite(rounded) || !isfinite(got)) {
        bool same = isnan(rounded) ? isnan(got) : got == rounded;
        return same ? 0 : (double)INFINITY;
    }
    int digits = dtype == PAL_F64 ? 53 : 24, lowest = dtype == PAL_F64 ? -1074 : -149, exponent = 0;
    if (exact != 0) frexpl(exact, &exponent);
    int unit = exact == 0 || exponent - digits < lowest ? lowest : exponent - digits;
    return (double)ldexpl(fabsl(got - exact), -unit);
}

/* A reproducible number in [-1, 1). */
static inline double noise(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(*state ^ (*state >> 29)) * 0x1p-63;
}

#endif
