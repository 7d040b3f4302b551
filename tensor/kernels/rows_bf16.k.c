/*
 * rows_bf16.k.c - sums over a row of bf16 numbers (tensor/rows.h).
 *
 * A vector of bf16 numbers holds twice as many as a vector of f32. As words, those at odd places
 * are the upper halves and those at even places the lower ones, so a mask and a shift widen them
 * without moving any. x is brought into the same order once. The table of f64 is not used.
 *
 * The hardware reads ahead within a page; rows follow each other, so what is read next is asked
 * for.
 */
#include "tensor/rows.h"
#include "tensor/simd.h"

#include <string.h>

enum { PAIR = 2 * (int)(VBYTES / sizeof(float)), AHEAD = 1024 }; /* numbers */

static void order(int64_t k, const float *x, float *to)
{
    for (int64_t b = 0; b < k; b += PAIR)
        for (int i = 0; i < PAIR; i++) {
            const int64_t at = b + 2 * (i % (PAIR / 2)) + i / (PAIR / 2);
            to[b + i] = at < k ? x[at] : 0;
        }
}

static inline void add_pair(V sum[2], const float *x, const uint16_t *w)
{
    VW words;
    V low, high;
    memcpy(&words, w, sizeof words);
    memcpy(&low, x, sizeof low);
    memcpy(&high, x + PAIR / 2, sizeof high);
    sum[0] = vfma(low, from_bits(words << 16), sum[0]);
    sum[1] = vfma(high, from_bits(words & ((VW){0} + (UInt)0xffff0000)), sum[1]);
}

static float dot(int64_t k, const float *x, const uint16_t *w)
{
    V sum[4] = {{0}};
    int64_t i = 0;
    for (; i + 2 * PAIR <= k; i += 2 * PAIR) {
        __builtin_prefetch(w + i + AHEAD);
        __builtin_prefetch(w + i + PAIR + AHEAD);
        add_pair(sum, x + i, w + i);
        add_pair(sum + 2, x + i + PAIR, w + i + PAIR);
    }
    for (; i < k; i += PAIR) {
        uint16_t last[PAIR] = {0};
        memcpy(last, w + i, sizeof *w * (size_t)(k - i < PAIR ? k - i : PAIR));
        add_pair(sum, x + i, last);
    }
    const V all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    float total = 0, part[VBYTES / sizeof(float)];
    memcpy(part, &all, sizeof part);
    for (size_t l = 0; l < sizeof part / sizeof *part; l++) total += part[l];
    return total;
}

/* Vectors of f64 would take the words for other numbers. */
static float plain(int64_t k, const float *x, const uint16_t *w)
{
    double sum = 0;
    for (int64_t b = 0; b < k; b += PAIR)
        for (int i = 0; i < PAIR; i++) {
            const int64_t at = b + 2 * (i % (PAIR / 2)) + i / (PAIR / 2);
            if (at < k) sum += (double)x[b + i] * (double)pal_bf16_to_f32(w[at]);
        }
    return (float)sum;
}

static float any_dot(int64_t k, const float *x, const uint16_t *w)
{
    return sizeof(R) == 4 ? dot(k, x, w) : plain(k, x, w);
}

extern const pal_rows_table K(rows);
const pal_rows_table K(rows) = {order, any_dot};
