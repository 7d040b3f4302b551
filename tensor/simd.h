/*
 * simd.h - the vector vocabulary of the kernels (.k.c files). The Makefile's rule for kernels
 * defines REAL and SUFFIX; the width follows from the instruction set that the file is compiled
 * for.
 *
 * Vectors are the compiler's own (vector_size), so + - * / and comparisons are written as for
 * numbers. A comparison gives a mask: a VI in which all bits of an element are set or clear.
 * Intrinsics appear only where the compiler's extension has no operation (fused multiply-add,
 * square root) or a slow one (the end of a row). Both branches of `sizeof(R) == 4` compile for both
 * types, because vectors of one size convert by reinterpretation; the wrong branch is never
 * executed.
 *
 * Everything is static inline, so that no wide instruction gets into an object compiled for a
 * narrower set.
 */
#ifndef PAL_SIMD_H
#define PAL_SIMD_H

#include <stdint.h>
#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define PAL_JOIN_(a, b) a##b
#define PAL_JOIN(a, b)  PAL_JOIN_(a, b)
/* K(exp) is the symbol pal_k_exp_f32_avx512 and so on. */
#define K(name) PAL_JOIN(pal_k_##name, SUFFIX)

/* ---- Types ---- */

typedef REAL R;
typedef __typeof__(_Generic((R)0, float : (int32_t)0, double : (int64_t)0)) Int;
typedef __typeof__(_Generic((R)0, float : (uint32_t)0, double : (uint64_t)0)) UInt;
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
/* a whole vector, aligned in memory */
typedef R VA __attribute__((vector_size(VBYTES), may_alias));
typedef Int VI __attribute__((vector_size(VBYTES))); /* masks */
/* words: bit patterns and exponents, with arithmetic modulo 2^32 or 2^64 */
typedef UInt VW __attribute__((vector_size(VBYTES)));

/* Sums run in double for both types: VD holds DL doubles, and VN holds the DL elements of type R
 * that they come from. */
enum { DL = VBYTES / sizeof(double) };
typedef double VD __attribute__((vector_size(VBYTES)));
typedef R VN __attribute__((vector_size(DL * sizeof(R))));
typedef R VNU __attribute__((vector_size(DL * sizeof(R)), aligned(sizeof(R)), may_alias));

/* A constant of the element type, written with its own digits for f32 and for f64. */
static inline R pick(double f32, double f64) { return (R)(sizeof(R) == 4 ? f32 : f64); }

static inline V splat(R a) { return a - (V){0}; } /* a - 0 keeps the sign of a zero */
static inline VW bits(V a) { return (VW)a; }
static inline V from_bits(VW a) { return (V)a; }

/* ---- Loads and stores ---- */

#if defined(__AVX2__) && !defined(__AVX512F__)
/* All bits of the first `count` elements. */
static inline __m256i first_elements(int64_t count)
{
    VI element;
    for (int l = 0; l < VL; l++) element[l] = l;
    return (__m256i)(element < (VI){0} + (Int)count);
}
#endif

/* Loads the first `count` elements (0 < count < VL) from memory; the others become 0 and are not
 * read. It makes no call, so that the loop around it keeps its registers. */
static inline V ld_part(const R *x, int64_t count)
{
#if defined(__AVX512F__)
    unsigned mask = (1u << count) - 1;
    if (sizeof(R) == 4) return (V)_mm512_maskz_loadu_ps((__mmask16)mask, x);
    return (V)_mm512_maskz_loadu_pd((__mmask8)mask, x);
#elif defined(__AVX2__)
    if (sizeof(R) == 4) return (V)_mm256_maskload_ps((const float *)x, first_elements(count));
    return (V)_mm256_maskload_pd((const double *)x, first_elements(count));
#else
    V v = {0};
    for (int l = 0; l < VL - 1; l++)
        if (l < count) v[l] = x[l];
    return v;
#endif
}

static inline void st_part(R *x, int64_t count, V v)
{
#if defined(__AVX512F__)
    unsigned mask = (1u << count) - 1;
    if (sizeof(R) == 4)
        _mm512_mask_storeu_ps(x, (__mmask16)mask, (__m512)v);
    else
        _mm512_mask_storeu_pd(x, (__mmask8)mask, (__m512d)v);
#elif defined(__AVX2__)
    if (sizeof(R) == 4)
        _mm256_maskstore_ps((float *)x, first_elements(count), (__m256)v);
    else
        _mm256_maskstore_pd((double *)x, first_elements(count), (__m256d)v);
#else
    for (int l = 0; l < VL - 1; l++)
        if (l < count) x[l] = v[l];
#endif
}

/* Elements i..i+VL-1 of an array of n elements at p (i < n). Beyond the end, loads give 0 and
 * stores write nothing. */
static inline V ld(const void *p, int64_t i, int64_t n)
{
    const R *x = (const R *)p + i;
    if (n - i >= VL) return *(const VU *)x;
    return ld_part(x, n - i);
}

static inline void st(void *p, int64_t i, int64_t n, V v)
{
    R *x = (R *)p + i;
    if (n - i >= VL)
        *(VU *)x = v;
    else
        st_part(x, n - i, v);
}

/* Stores an aligned vector past the caches, for what is read much later. A thread that has done so
 * calls st_past_end before others may read it. */
static inline void st_past(R *x, V v)
{
#if defined(__AVX512F__)
    _mm512_stream_si512((void *)x, (__m512i)v);
#elif defined(__AVX2__)
    _mm256_stream_si256((void *)x, (__m256i)v);
#elif defined(__SSE2__)
    _mm_stream_si128((void *)x, (__m128i)v);
#else
    *(VA *)(void *)x = (VA)v;
#endif
}
static inline void st_past_end(void)
{
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

/* Elements i..i+DL-1 as doubles; all of them must exist. */
static inline VD ld_double_full(const void *p, int64_t i)
{
    return __builtin_convertvector(*(const VNU *)((const R *)p + i), VD);
}

/* The same, with 0 beyond the end. */
static inline VD ld_double(const void *p, int64_t i, int64_t n)
{
    const R *x = (const R *)p + i;
    if (n - i >= DL) return ld_double_full(p, i);
    VD part = {0};
    for (int l = 0; l < DL - 1; l++)
        if (l < n - i) part[l] = (double)x[l];
    return part;
}

/* ---- Selection ---- */

static inline V sel(VI mask, V a, V b) { return (V)((mask & (VI)a) | (~mask & (VI)b)); }
static inline V only(VI mask, V a) { return (V)(mask & (VI)a); } /* a where mask is set, else 0 */

static inline VW sign_bit(V a) { return bits(a) & bits(splat(-(R)0)); }
static inline V vabs(V a) { return from_bits(bits(a) & ~bits(splat(-(R)0))); }
static inline V vcopysign(V size, V sign) { return from_bits(bits(vabs(size)) | sign_bit(sign)); }
static inline VI is_nan(V a) { return (VI)(a != a); }

/* The larger one; NaN if either is NaN. */
static inline V vmax(V a, V b) { return sel((VI)(a > b) | is_nan(a), a, b); }
static inline V vmin(V a, V b) { return sel((VI)(a < b) | is_nan(a), a, b); }
/* x limited to [low, high]; a NaN in x stays NaN. */
static inline V vclamp(V x, R low, R high)
{
    x = sel((VI)(x < splat(low)), splat(low), x);
    return sel((VI)(x > splat(high)), splat(high), x);
}

/* ---- Arithmetic ---- */

/* a b + c, with one rounding if the instruction set has a fused multiply-add, with two in base.
 * The Makefile defines PAL_NEON for the set neon: base is compiled for the same vectors. */
static inline V vfma(V a, V b, V c)
{
#if defined(__AVX512F__)
    if (sizeof(R) == 4) return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
    return (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX2__)
    if (sizeof(R) == 4) return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
    return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(PAL_NEON)
    if (sizeof(R) == 4) return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
    return (V)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;
#endif
}

static inline V vsqrt(V a)
{
#if defined(__AVX512F__)
    if (sizeof(R) == 4) return (V)_mm512_sqrt_ps((__m512)a);
    return (V)_mm512_sqrt_pd((__m512d)a);
#elif defined(__AVX2__)
    if (sizeof(R) == 4) return (V)_mm256_sqrt_ps((__m256)a);
    return (V)_mm256_sqrt_pd((__m256d)a);
#elif defined(__SSE2__)
    if (sizeof(R) == 4) return (V)_mm_sqrt_ps((__m128)a);
    return (V)_mm_sqrt_pd((__m128d)a);
#elif defined(__aarch64__)
    if (sizeof(R) == 4) return (V)vsqrtq_f32((float32x4_t)a);
    return (V)vsqrtq_f64((float64x2_t)a);
#else
    for (int l = 0; l < VL; l++)
        a[l] = (R)(sizeof(R) == 4 ? __builtin_sqrtf((float)a[l]) : __builtin_sqrt(a[l]));
    return a;
#endif
}

/* ---- Integers and exponents ---- */

/* 1.5 * 2^(bits of the mantissa): adding it puts the nearest integer (ties to even) in the low
 * bits. */
static inline R round_magic(void) { return pick(0x1.8p23, 0x1.8p52); }

/* The nearest integer of |x| < 2^21 as a floating-point number and, in *k, as an integer (two's
 * complement). */
static inline V nearest(V x, VW *k)
{
    V t = x + round_magic();
    *k = bits(t) - bits(splat(round_magic()));
    return t - round_magic();
}

/* Converts a small integer in two's complement (|k| < 2^21) to floating point. */
static inline V to_real(VW k) { return from_bits(k + bits(splat(round_magic()))) - round_magic(); }

enum { MANTISSA = sizeof(R) == 4 ? 23 : 52, BIAS = sizeof(R) == 4 ? 127 : 1023 };
/* 2^k for an exponent in the normal range. */
static inline V exp2_int(VW k) { return from_bits((k + BIAS) << MANTISSA); }

/* a 2^k for |k| < 2 BIAS. It takes two steps, so that overflow and denormal results are right;
 * AVX-512 has one instruction that does the same. */
static inline V scale(V a, VW k)
{
#if defined(__AVX512F__)
    if (sizeof(R) == 4) return (V)_mm512_scalef_ps((__m512)a, (__m512)to_real(k));
    return (V)_mm512_scalef_pd((__m512d)a, (__m512d)to_real(k));
#else
    VW half = ((k + 4096) >> 1) - 2048;
    return a * exp2_int(half) * exp2_int(k - half);
#endif
}

/* ---- Across the elements, in a fixed order ---- */

/* Put this before a loop of constant length that has to be unrolled, so that the array that it
 * indexes stays in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Shuffles need literal element numbers, as many as there are elements. So these are macros over
 * the number of elements: PAL_VL is VL for the preprocessor. */
#define PAL_SIZE_float  4
#define PAL_SIZE_double 8
#if defined(__AVX512F__)
#define PAL_VL (64 / PAL_JOIN(PAL_SIZE_, REAL))
#elif defined(__AVX2__)
#define PAL_VL (32 / PAL_JOIN(PAL_SIZE_, REAL))
#else
#define PAL_VL (16 / PAL_JOIN(PAL_SIZE_, REAL))
#endif
#define PAL_ELEMENTS_2(f, h, s) f(0, h, s), f(1, h, s)
#define PAL_ELEMENTS_4(f, h, s) PAL_ELEMENTS_2(f, h, s), f(2, h, s), f(3, h, s)
#define PAL_ELEMENTS_8(f, h, s) \
    PAL_ELEMENTS_4(f, h, s), f(4, h, s), f(5, h, s), f(6, h, s), f(7, h, s)
#define PAL_ELEMENTS_16(f, h, s)                                                            \
    PAL_ELEMENTS_8(f, h, s), f(8, h, s), f(9, h, s), f(10, h, s), f(11, h, s), f(12, h, s), \
        f(13, h, s), f(14, h, s), f(15, h, s)
#if PAL_VL == 16
#define PAL_EACH_ELEMENT PAL_ELEMENTS_16
#elif PAL_VL == 8
#define PAL_EACH_ELEMENT PAL_ELEMENTS_8
#elif PAL_VL == 4
#define PAL_EACH_ELEMENT PAL_ELEMENTS_4
#else
#define PAL_EACH_ELEMENT PAL_ELEMENTS_2
#endif

/* Vectors are divided into groups of 2 h elements. The result has the first (s = 0) or second (s =
 * 1) half of each group of a, followed by that of b. */
#define PAL_HALF_LANE(l, h, s) \
    (((l) % (2 * (h)) < (h) ? (l) + (s) * (h) : VL + (l) - (h) + (s) * (h)) % (2 * VL))
#define PAL_HALVES(a, b, h, s)   __builtin_shufflevector(a, b, PAL_EACH_ELEMENT(PAL_HALF_LANE, h, s))
#define PAL_TURNED_LANE(l, h, s) (((l) + (h)) % VL)
#define PAL_TURNED(a, h)         __builtin_shufflevector(a, a, PAL_EACH_ELEMENT(PAL_TURNED_LANE, h, 0))

/* h is 1, 2, 4 or 8, below VL, and a constant at the place of the call. */
static inline V first_halves(V a, V b, int h)
{
    return h == 8   ? PAL_HALVES(a, b, 8, 0)
           : h == 4 ? PAL_HALVES(a, b, 4, 0)
           : h == 2 ? PAL_HALVES(a, b, 2, 0)
                    : PAL_HALVES(a, b, 1, 0);
}
static inline V second_halves(V a, V b, int h)
{
    return h == 8   ? PAL_HALVES(a, b, 8, 1)
           : h == 4 ? PAL_HALVES(a, b, 4, 1)
           : h == 2 ? PAL_HALVES(a, b, 2, 1)
                    : PAL_HALVES(a, b, 1, 1);
}

#define PAL_SWAPPED_LANE(l, h, s) ((l) ^ 1)
#define PAL_TWICE_LANE(l, h, s)   ((l) / 2 + (s) * (VL / 2))
#define PAL_SECOND_LANE(l, h, s)  (2 * (l) + (s))

/* Each element changes places with its neighbour: 1 0 3 2 .. */
static inline V swap_neighbours(V a)
{
    return __builtin_shufflevector(a, a, PAL_EACH_ELEMENT(PAL_SWAPPED_LANE, 0, 0));
}
/* The first (s = 0) or second (s = 1) half of the elements, each twice: 0 0 1 1 .. */
static inline V each_twice(V a, int s)
{
    return s ? __builtin_shufflevector(a, a, PAL_EACH_ELEMENT(PAL_TWICE_LANE, 0, 1))
             : __builtin_shufflevector(a, a, PAL_EACH_ELEMENT(PAL_TWICE_LANE, 0, 0));
}
/* The elements 0, 2, 4 .. (s = 0) or 1, 3, 5 .. of a, followed by those of b. */
static inline V every_second(V a, V b, int s)
{
    return s ? __builtin_shufflevector(a, b, PAL_EACH_ELEMENT(PAL_SECOND_LANE, 0, 1))
             : __builtin_shufflevector(a, b, PAL_EACH_ELEMENT(PAL_SECOND_LANE, 0, 0));
}

/* The sum of the elements, in a fixed order: the upper half is added to the lower half, and so on.
 */
static inline R sum_elements(V a)
{
    if (VL > 8) a += PAL_TURNED(a, 8);
    if (VL > 4) a += PAL_TURNED(a, 4);
    if (VL > 2) a += PAL_TURNED(a, 2);
    a += PAL_TURNED(a, 1);
    return a[0];
}

static inline double hsum(VD a)
{
    double s = 0;
    for (int l = 0; l < DL; l++) s += a[l];
    return s;
}

static inline R hmax(V a)
{
    if (VL > 8) a = vmax(a, PAL_TURNED(a, 8));
    if (VL > 4) a = vmax(a, PAL_TURNED(a, 4));
    if (VL > 2) a = vmax(a, PAL_TURNED(a, 2));
    return vmax(a, PAL_TURNED(a, 1))[0];
}

static inline R hmin(V a)
{
    if (VL > 8) a = vmin(a, PAL_TURNED(a, 8));
    if (VL > 4) a = vmin(a, PAL_TURNED(a, 4));
    if (VL > 2) a = vmin(a, PAL_TURNED(a, 2));
    return vmin(a, PAL_TURNED(a, 1))[0];
}

#endif
