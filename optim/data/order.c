/* order.c - the random order of an epoch, as a function of (seed, epoch). */
#include "optim/data/batches.h"

pal_rng pal_epoch_rng(const pal_batches *b, int64_t epoch)
{
    pal_rng rng = pal_rng_new(b->opts.seed, UINT64_C(0x62617463686573)); /* "batches" */
    rng.counter = (uint64_t)epoch;
    return pal_rng_split(&rng);
}

/*
 * Entry i of a permutation of 0 .. n-1 that needs no memory. It is a Feistel network of six rounds
 * over the smallest even number of bits that can hold n; Philox is the round function. The network
 * is applied again until the result is below n (fewer than four times on average). Source: Black,
 * Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002.
 */
int64_t pal_permuted(pal_rng rng, int64_t n, int64_t i)
{
    enum { ROUNDS = 6 };
    int half = 0;
    while (((n - 1) >> half) >> half) half++;
    const int64_t size = INT64_C(1) << half;
    do {
        int64_t left = i >> half, right = i & (size - 1);
        for (int round = 0; round < ROUNDS; round++) {
            rng.counter = (uint64_t)(round + 1) << 32 | (uint64_t)right;
            int64_t mixed = left ^ pal_rng_below(&rng, size);
            left = right;
            right = mixed;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}

/* The begin of share i if `all` is divided into n shares. */
int64_t pal_batches_share(int64_t all, int64_t i, int64_t n)
{
    return all / n * i + all % n * i / n; /* all * i / n without overflow */
}
