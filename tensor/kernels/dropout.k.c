/*
 * dropout.k.c - random bits and what they keep. The words are those of rng.c (Philox 4x32-10,
 * Salmon et al., SC 2011).
 *
 * A block's four 32-bit words are in the low halves of four 64-bit elements, because a product of
 * low halves is one instruction. The high halves hold what is left there, and nothing reads them.
 */
#include "tensor/kernels/kernels.k.h"

typedef uint64_t Q __attribute__((vector_size(VBYTES)));
enum {
    QL = VBYTES / 8, /* blocks of a vector */
    GROUP = 4,       /* vectors at a time */
    SPAN = 128       /* elements at a time: what the widest vectors draw at once */
};

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

#if defined(__AVX2__)
/* The low halves of two vectors, alternating: a[0], b[0], a[1], b[1], ... in 32-bit elements. */
static inline Q alternate(Q a, Q b)
{
#if defined(__AVX512F__)
    return (Q)_mm512_mask_shuffle_epi32((__m512i)a, 0xAAAA, (__m512i)b, (_MM_PERM_ENUM)0xA0);
#else
    return (Q)_mm256_blend_epi32((__m256i)a, _mm256_shuffle_epi32((__m256i)b, 0xA0), 0xAA);
#endif
}
#endif

/*
 * Bit i is set if word i of QL blocks is less than `below`. Vectors a to d hold words 0 to 3 of the
 * blocks in the order of block_order: instructions that join 64-bit halves do so within 128 bits,
 * and bring the blocks of elements 0, 2, ... into one vector and the others into a second.
 */
static inline uint32_t less(Q a, Q b, Q c, Q d, uint32_t below)
{
#if defined(__AVX512F__)
    const __m512i ab = (__m512i)alternate(a, b), cd = (__m512i)alternate(c, d);
    const __m512i limit = _mm512_set1_epi32((int)below);
    const uint32_t first = _mm512_cmplt_epu32_mask(_mm512_unpacklo_epi64(ab, cd), limit);
    const uint32_t second = _mm512_cmplt_epu32_mask(_mm512_unpackhi_epi64(ab, cd), limit);
    return first | second << 16;
#elif defined(__AVX2__)
    const __m256i ab = (__m256i)alternate(a, b), cd = (__m256i)alternate(c, d);
    const __m256i sign = _mm256_set1_epi32(INT32_MIN); /* the comparison is one of signed numbers */
    const __m256i limit = _mm256_xor_si256(_mm256_set1_epi32((int)below), sign);
    const __m256i first = _mm256_xor_si256(_mm256_unpacklo_epi64(ab, cd), sign);
    const __m256i second = _mm256_xor_si256(_mm256_unpackhi_epi64(ab, cd), sign);
    return (uint32_t)_mm256_movemask_ps((__m256)_mm256_cmpgt_epi32(limit, first)) |
           (uint32_t)_mm256_movemask_ps((__m256)_mm256_cmpgt_epi32(limit, second)) << 8;
#else
    uint32_t bits = 0;
    for (int j = 0; j < QL; j++)
        bits |= (uint32_t)((uint32_t)a[j] < below) << 4 * j |
                (uint32_t)((uint32_t)b[j] < below) << (4 * j + 1) |
                (uint32_t)((uint32_t)c[j] < below) << (4 * j + 2) |
                (uint32_t)((uint32_t)d[j] < below) << (4 * j + 3);
    return bits;
#endif
}

/* The number of the block in each element of a vector. */
static inline Q block_order(void)
{
    Q order = {0};
    for (int j = 0; j < QL; j++)
#if defined(__AVX2__)
        order[j] = (uint64_t)(j / 2 + j % 2 * (QL / 2));
#else
        order[j] = (uint64_t)j;
#endif
    return order;
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

/* One bit for each of the SPAN elements from block `counter` on: whether it is kept. */
static inline void draw(const pal_drops *d, const keys *k, uint64_t counter,
                        uint64_t bits[SPAN / 64])
{
    for (int i = 0; i < SPAN / 64; i++) bits[i] = UINT64_MAX;
    for (int at = 0; at < SPAN / 4; at += GROUP * QL) {
        Q c0[GROUP], c1[GROUP], c2[GROUP], c3[GROUP];
        for (int g = 0; g < GROUP; g++) {
            c0[g] = block_order() + (counter + (uint64_t)(at + g * QL));
            c1[g] = high(c0[g]);
            c2[g] = (Q){0} + (uint32_t)d->stream;
            c3[g] = (Q){0} + (d->stream >> 32);
        }
        for (int round = 0; round < 10; round++)
            for (int g = 0; g < GROUP; g++) {
                const Q p0 = product_of_low(c0[g], 0xD2511F53);
                const Q p1 = product_of_low(c2[g], 0xCD9E8D57);
                c0[g] = high(p1) ^ c1[g] ^ k->first[round];
                c2[g] = high(p0) ^ c3[g] ^ k->second[round];
                c1[g] = p1;
                c3[g] = p0;
            }
        for (int g = 0; g < GROUP; g++) {
            const int first = 4 * (at + g * QL);
            bits[first / 64] ^= (uint64_t)less(c0[g], c1[g], c2[g], c3[g], d->below) << first % 64;
        }
    }
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
    for (int64_t i = 0; i < n; i += SPAN) {
        uint64_t bits[SPAN / 64];
        draw(d, &k, d->counter + (uint64_t)(i / 4), bits);
        for (int64_t j = i; j < n && j < i + SPAN; j += 64) {
            keep[j / 64] = bits[(j - i) / 64];
            keep_64(n - j < 64 ? n - j : 64, keep[j / 64], (const R *)x + j, factor, false,
                    (R *)y + j);
        }
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
