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
    DRAWN = 8 * QL,  /* elements of a vector of blocks */
    GROUP = 4,       /* vectors of blocks at a time */
    SPAN = 256       /* elements at a time: what the widest vectors draw at once */
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

#if defined(__SSE2__)
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
#endif

/* Words 0 to 3 of QL blocks, in the low halves of four vectors. */
typedef struct blocks {
    Q word[4];
} blocks;

/* How the half-words of blocks compare with a number: bit i is that of half-word i. */
typedef struct compared {
    uint64_t less, equal;
} compared;

/*
 * Instructions that join and pack work within 128 bits. The blocks of elements 0, 2, ... come into
 * one vector and the others into a second. Packing brings the blocks of SSE2 and AVX2 into order
 * again. A comparison of AVX-512 gives bits at once, so there block_order puts the first half of
 * the blocks into elements 0, 2, ... and the second half into the others.
 */
static inline compared compare(const blocks *w, uint32_t with)
{
#if defined(__AVX512F__)
    const __m512i ab = (__m512i)alternate(w->word[0], w->word[1]);
    const __m512i cd = (__m512i)alternate(w->word[2], w->word[3]);
    const __m512i low = _mm512_unpacklo_epi64(ab, cd), high = _mm512_unpackhi_epi64(ab, cd);
    const __m512i number = _mm512_set1_epi16((short)with);
    return (compared){_mm512_cmplt_epu16_mask(low, number) |
                          (uint64_t)_mm512_cmplt_epu16_mask(high, number) << 32,
                      _mm512_cmpeq_epi16_mask(low, number) |
                          (uint64_t)_mm512_cmpeq_epi16_mask(high, number) << 32};
#elif defined(__AVX2__)
    const __m256i ab = (__m256i)alternate(w->word[0], w->word[1]);
    const __m256i cd = (__m256i)alternate(w->word[2], w->word[3]);
    const __m256i low = _mm256_unpacklo_epi64(ab, cd), high = _mm256_unpackhi_epi64(ab, cd);
    const __m256i number = _mm256_set1_epi16((short)with);
    const __m256i more =
        _mm256_packs_epi16(_mm256_cmpeq_epi16(_mm256_max_epu16(low, number), low),
                           _mm256_cmpeq_epi16(_mm256_max_epu16(high, number), high));
    const __m256i equal =
        _mm256_packs_epi16(_mm256_cmpeq_epi16(low, number), _mm256_cmpeq_epi16(high, number));
    return (compared){(uint32_t)~_mm256_movemask_epi8(more), (uint32_t)_mm256_movemask_epi8(equal)};
#elif defined(__SSE2__)
    const __m128i ab = (__m128i)alternate(w->word[0], w->word[1]);
    const __m128i cd = (__m128i)alternate(w->word[2], w->word[3]);
    const __m128i low = _mm_unpacklo_epi64(ab, cd), high = _mm_unpackhi_epi64(ab, cd);
    const __m128i number = _mm_set1_epi16((short)with), zero = _mm_setzero_si128();
    const __m128i more = _mm_packs_epi16(_mm_cmpeq_epi16(_mm_subs_epu16(number, low), zero),
                                         _mm_cmpeq_epi16(_mm_subs_epu16(number, high), zero));
    const __m128i equal =
        _mm_packs_epi16(_mm_cmpeq_epi16(low, number), _mm_cmpeq_epi16(high, number));
    return (compared){(uint16_t)~_mm_movemask_epi8(more), (uint16_t)_mm_movemask_epi8(equal)};
#else
    compared c = {0, 0};
    for (int i = 0; i < DRAWN; i++) {
        const uint32_t half = (uint32_t)w->word[i % 8 / 2][i / 8] >> i % 2 * 16 & UINT16_MAX;
        c.less |= (uint64_t)(half < with) << i;
        c.equal |= (uint64_t)(half == with) << i;
    }
    return c;
#endif
}

/* The number of the block in each element of a vector. */
static inline Q block_order(void)
{
    Q order = {0};
    for (int j = 0; j < QL; j++)
#if defined(__AVX512F__)
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

/* `count` vectors of blocks from block `counter` on. */
static inline void philox(const pal_drops *d, const keys *k, uint64_t counter, int count, blocks *w)
{
    for (int g = 0; g < count; g++) {
        w[g].word[0] = block_order() + (counter + (uint64_t)(g * QL));
        w[g].word[1] = high(w[g].word[0]);
        w[g].word[2] = (Q){0} + (uint32_t)d->stream;
        w[g].word[3] = (Q){0} + (d->stream >> 32);
    }
    for (int round = 0; round < 10; round++)
        for (int g = 0; g < count; g++) {
            Q *c = w[g].word;
            const Q p0 = product_of_low(c[0], 0xD2511F53), p1 = product_of_low(c[2], 0xCD9E8D57);
            c[0] = high(p1) ^ c[1] ^ k->first[round];
            c[2] = high(p0) ^ c[3] ^ k->second[round];
            c[1] = p1;
            c[3] = p0;
        }
}

/* One bit for each of the DRAWN elements of a vector of blocks: whether it is dropped. */
static inline uint64_t dropped(const pal_drops *d, const keys *k, uint64_t counter, const blocks *w)
{
    const compared first = compare(w, d->below >> 16);
    if (!first.equal) return first.less;
    blocks second;
    philox(d, k, counter + PAL_DROPS_SECOND, 1, &second);
    return first.less | (first.equal & compare(&second, d->below & UINT16_MAX).less);
}

/* One bit for each of the SPAN elements from block `counter` on: whether it is kept. */
static inline void draw(const pal_drops *d, const keys *k, uint64_t counter,
                        uint64_t bits[SPAN / 64])
{
    for (int i = 0; i < SPAN / 64; i++) bits[i] = UINT64_MAX;
    for (int at = 0; at < SPAN; at += GROUP * DRAWN) {
        blocks w[GROUP];
        philox(d, k, counter + (uint64_t)at / 8, GROUP, w);
        for (int g = 0; g < GROUP; g++) {
            const int first = at + g * DRAWN;
            bits[first / 64] ^= dropped(d, k, counter + (uint64_t)first / 8, &w[g]) << first % 64;
        }
    }
}

/* x scale where the bit of an element is set, else 0, of n <= 64 elements. */
static inline void keep_up_to_64(int64_t n, uint64_t bits, const R *x, V scale, bool add, R *y)
{
    VW bit;
    for (int l = 0; l < VL; l++) bit[l] = (UInt)1 << l;
    for (int64_t i = 0; i < n; i += VL) {
        const VI kept = (VI)((((VW){0} + (UInt)(bits >> i)) & bit) != 0);
        const V value = only(kept, ld(x, i, n) * scale);
        st(y, i, n, add ? ld(y, i, n) + value : value);
    }
}

/* A count that the compiler knows needs no tests for the end. */
static inline void keep_64(int64_t n, uint64_t bits, const R *x, V scale, bool add, R *y)
{
    if (n >= 64)
        keep_up_to_64(64, bits, x, scale, add, y);
    else
        keep_up_to_64(n, bits, x, scale, add, y);
}

void K(drop)(int64_t n, const pal_drops *d, const void *x, double scale, void *y, uint64_t *keep)
{
    const V factor = splat((R)scale);
    keys k;
    set_keys(d->seed, &k);
    for (int64_t i = 0; i < n; i += SPAN) {
        uint64_t bits[SPAN / 64];
        draw(d, &k, d->counter + (uint64_t)i / 8, bits);
        for (int64_t j = i; j < n && j < i + SPAN; j += 64) {
            keep[j / 64] = bits[(j - i) / 64];
            keep_64(n - j, keep[j / 64], (const R *)x + j, factor, false, (R *)y + j);
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
