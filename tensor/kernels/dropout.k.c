/*
 * dropout.k.c - random bits and what they keep. The words are those of rng.c (Philox 4x32-10,
 * Salmon et al., SC 2011); 32 blocks give the bits of 64 elements.
 *
 * A block's four 32-bit numbers are in the low halves of four 64-bit elements, because a product of
 * low halves is one instruction. The high halves hold what is left there, and nothing reads them.
 */
#include "tensor/kernels/kernels.k.h"

typedef uint64_t Q __attribute__((vector_size(VBYTES)));
enum { QL = VBYTES / 8, BLOCKS = 32, GROUP = VBYTES == 64 ? 4 : 2 };

/* The product of the low halves. */
static inline Q product_of_low(Q a, uint64_t b)
{
#if defined(__AVX512F__)
    return (Q)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64((long long)b));
#elif defined(__AVX2__)
    return (Q)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x((long long)b));
#elif defined(__SSE2__)
    return (Q)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x((long long)b));
#else
    return (a & UINT32_MAX) * b;
#endif
}

/* The high halves, in the low ones. */
static inline Q high(Q a)
{
#if defined(__AVX512F__)
    return (Q)_mm512_shuffle_epi32((__m512i)a, (_MM_PERM_ENUM)0xF5);
#elif defined(__AVX2__)
    return (Q)_mm256_shuffle_epi32((__m256i)a, 0xF5);
#elif defined(__SSE2__)
    return (Q)_mm_shuffle_epi32((__m128i)a, 0xF5);
#else
    return a >> 32;
#endif
}

/* The low halves of two vectors, alternating: a[0], b[0], a[1], b[1], ... in 32-bit elements. */
static inline Q alternate(Q a, Q b)
{
#if defined(__AVX512F__)
    return (Q)_mm512_mask_shuffle_epi32((__m512i)a, 0xAAAA, (__m512i)b, (_MM_PERM_ENUM)0xA0);
#elif defined(__AVX2__)
    return (Q)_mm256_blend_epi32((__m256i)a, _mm256_shuffle_epi32((__m256i)b, 0xA0), 0xAA);
#else
    return (a & UINT32_MAX) | b << 32;
#endif
}

/* Bit 2j is set if a[j] is at most `last`, and bit 2j + 1 if b[j] is. */
static inline uint32_t at_most(Q a, Q b, uint64_t last)
{
#if defined(__AVX512F__)
    const __m512i limit = _mm512_set1_epi64((long long)last);
    const __m512i first = _mm512_maskz_set1_epi64(_mm512_cmple_epu64_mask((__m512i)a, limit), -1);
    const __mmask8 second = _mm512_cmple_epu64_mask((__m512i)b, limit);
    const __m512i both = (__m512i)alternate((Q)first, (Q)_mm512_maskz_set1_epi64(second, -1));
    return _mm512_cmplt_epi32_mask(both, _mm512_setzero_si512());
#elif defined(__AVX2__)
    const Q sign = (Q){0} + (UINT64_C(1) << 63); /* the comparison is one of signed numbers */
    const __m256i limit = (__m256i)(last ^ sign);
    const __m256i first = _mm256_cmpgt_epi64((__m256i)(a ^ sign), limit);
    const __m256i second = _mm256_cmpgt_epi64((__m256i)(b ^ sign), limit);
    return ~(uint32_t)_mm256_movemask_ps((__m256)_mm256_blend_epi32(first, second, 0xAA)) & 255u;
#else
    uint32_t bits = 0;
    for (int j = 0; j < QL; j++)
        bits |= (uint32_t)(a[j] <= last) << 2 * j | (uint32_t)(b[j] <= last) << (2 * j + 1);
    return bits;
#endif
}

/* The keys of the ten rounds. */
typedef struct keys {
    Q first[10], second[10];
} keys;

static inline void set_keys(uint64_t seed, keys *k)
{
    for (unsigned i = 0; i < 10; i++) {
        k->first[i] = (Q){0} + (uint64_t)((uint32_t)seed + i * 0x9E3779B9u);
        k->second[i] = (Q){0} + (uint64_t)((uint32_t)(seed >> 32) + i * 0xBB67AE85u);
    }
}

/* The words of GROUP QL blocks from `counter` on. */
static inline void philox(const keys *k, uint64_t stream, uint64_t counter, Q first[GROUP],
                          Q second[GROUP])
{
    Q c0[GROUP], c1[GROUP], c2[GROUP], c3[GROUP], block = {0};
    for (int j = 0; j < QL; j++) block[j] = (uint64_t)j;
    for (int g = 0; g < GROUP; g++) {
        c0[g] = block + (counter + (uint64_t)(g * QL));
        c1[g] = high(c0[g]);
        c2[g] = (Q){0} + (uint32_t)stream;
        c3[g] = (Q){0} + (stream >> 32);
    }
    for (int round = 0; round < 10; round++)
        for (int g = 0; g < GROUP; g++) {
            const Q p0 = product_of_low(c0[g], 0xD2511F53), p1 = product_of_low(c2[g], 0xCD9E8D57);
            c0[g] = high(p1) ^ c1[g] ^ k->first[round];
            c2[g] = high(p0) ^ c3[g] ^ k->second[round];
            c1[g] = p1;
            c3[g] = p0;
        }
    for (int g = 0; g < GROUP; g++) {
        first[g] = alternate(c0[g], c1[g]);
        second[g] = alternate(c2[g], c3[g]);
    }
}

/* What is kept of the 64 elements from block `counter` on. */
static inline uint64_t draw(const pal_drops *d, const keys *k, uint64_t counter)
{
    uint64_t dropped = 0;
    for (int at = 0; at < BLOCKS; at += GROUP * QL) {
        Q first[GROUP], second[GROUP];
        philox(k, d->stream, counter + (uint64_t)at, first, second);
        for (int g = 0; g < GROUP; g++)
            dropped |= (uint64_t)at_most(first[g], second[g], d->last) << 2 * (at + g * QL);
    }
    return ~dropped;
}

/* x scale where the bit of an element is set, else 0, of n <= 64 elements. */
static inline void keep_64(int64_t n, uint64_t bits, const R *x, V scale, bool add, R *y)
{
    VW bit;
    for (int l = 0; l < VL; l++) bit[l] = (UInt)1 << l;
    for (int64_t i = 0; i < n; i += VL) {
        const VI kept = (VI)((((VW){0} + (UInt)(bits >> i)) & bit) != 0);
        const V value = only(kept, ld(x, i, n) * scale);
        st(y, i, n, add ? ld(y, i, n) + value : value);
    }
}

void K(drop)(int64_t n, const pal_drops *d, const void *x, double scale, void *y, uint64_t *keep)
{
    const V factor = splat((R)scale);
    keys k;
    set_keys(d->seed, &k);
    for (int64_t i = 0; i < n; i += 64) {
        const uint64_t bits = d->none ? UINT64_MAX : draw(d, &k, d->counter + (uint64_t)(i / 2));
        keep[i / 64] = bits;
        keep_64(n - i < 64 ? n - i : 64, bits, (const R *)x + i, factor, false, (R *)y + i);
    }
}

/* The bits from number `first` on, of which n are wanted. */
static inline uint64_t bits_from(const uint64_t *keep, int64_t first, int64_t n)
{
    const int shift = (int)(first % 64);
    const uint64_t low = keep[first / 64] >> shift;
    return shift && n > 64 - shift ? low | keep[first / 64 + 1] << (64 - shift) : low;
}

void K(kept)(int64_t n, const uint64_t *keep, int64_t first, const void *x, double scale, bool add,
             void *y)
{
    const V factor = splat((R)scale);
    for (int64_t i = 0; i < n; i += 64) {
        const int64_t count = n - i < 64 ? n - i : 64;
        keep_64(count, bits_from(keep, first + i, count), (const R *)x + i, factor, add,
                (R *)y + i);
    }
}
