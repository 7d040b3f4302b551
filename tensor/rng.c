/*
 * rng.c - Philox 4x32-10: random numbers as a function of (seed, stream, counter).
 *
 * A block is four 32-bit words, philox(counter, key): the 128-bit counter is (counter, stream), the
 * 64-bit key is the seed. Every element of a filled array has its own words, so any thread can
 * compute any element. All four fills use two 64-bit words of each block, so a call moves the
 * counter by ceil(n / 2) blocks. This depends only on the count n.
 *
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 */
#include "tensor/internal.h"

#include <math.h>

/* ---- Philox ---- */

typedef struct words {
    uint64_t w[2];
} words;

static words philox(uint64_t key, uint64_t counter, uint64_t stream)
{
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32), c2 = (uint32_t)stream,
             c3 = (uint32_t)(stream >> 32), k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = UINT64_C(0xD2511F53) * c0, p1 = UINT64_C(0xCD9E8D57) * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9; /* the golden ratio and sqrt(3) - 1, as in Philox's key schedule */
        k1 += 0xBB67AE85;
    }
    return (words){{(uint64_t)c1 << 32 | c0, (uint64_t)c3 << 32 | c2}};
}

pal_rng pal_rng_new(uint64_t seed, uint64_t stream)
{
    return (pal_rng){.seed = seed, .stream = stream};
}

/* The child's key and stream are 128 random bits of the parent. */
pal_rng pal_rng_split(pal_rng *rng)
{
    words x = philox(rng->seed, rng->counter++, rng->stream);
    return (pal_rng){.seed = x.w[0], .stream = x.w[1]};
}

/* ---- Numbers from 64 bits ---- */

static inline double unit(uint64_t x) { return (double)(x >> 11) * 0x1p-53; } /* [0, 1) */

/* floor(x * n / 2^64): each value has probability 1/n to within 2^-64. */
static inline uint64_t scaled(uint64_t x, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)x * n) >> 64);
}

double pal_rng_next(pal_rng *rng)
{
    return unit(philox(rng->seed, rng->counter++, rng->stream).w[0]);
}

/* Exact: 2^64 mod n values of x would favour some results, so they are drawn again (Lemire 2019),
 * first from the same block and then from the next. */
int64_t pal_rng_below(pal_rng *rng, int64_t n)
{
    uint64_t m = n < 1 ? 1 : (uint64_t)n, excess = (0 - m) % m;
    for (;;) {
        words x = philox(rng->seed, rng->counter++, rng->stream);
        for (int i = 0; i < 2; i++)
            if (x.w[i] * m >= excess) return (int64_t)scaled(x.w[i], m);
    }
}

/* ---- Fills ---- */

enum { CHUNK = 1024 }; /* elements computed at a time, an even number */

typedef enum law { UNIFORM, NORMAL, INTEGERS } law;

typedef struct fill {
    law law;
    pal_rng rng;
    double low, high; /* for NORMAL: mean, deviation */
    int64_t first;
    uint64_t span;
} fill;

/* Rounding to float may give the excluded upper end. Then the result is the float below it. */
static double below_high(double x, double low, double high, pal_dtype dtype)
{
    float y = (float)x;
    switch (dtype) {
    case PAL_F32:
        if ((double)y >= high) y = nextafterf((float)high, -INFINITY);
        if ((double)y >= high) y = nextafterf(y, -INFINITY);
        return (double)y < low ? low : (double)y;
    case PAL_F64:
        return x < high ? x : low < high ? nextafter(high, low) : low;
    case PAL_I64:
    case PAL_BF16:
        break;
    }
    pal_dtype_unknown(dtype, __func__);
}

/* Elements 2i and 2i + 1 from block i of the call. */
static void pair(const fill *f, pal_dtype dtype, int64_t i, double *x)
{
    words r = philox(f->rng.seed, f->rng.counter + (uint64_t)i, f->rng.stream);
    if (f->law == UNIFORM) {
        for (int e = 0; e < 2; e++)
            x[e] = below_high(f->low + (f->high - f->low) * unit(r.w[e]), f->low, f->high, dtype);
    } else { /* Box and Muller 1958; 1 - unit is in (0, 1], so the logarithm is finite */
        double radius = sqrt(-2.0 * log(1.0 - unit(r.w[0]))), angle = 2.0 * M_PI * unit(r.w[1]);
        x[0] = f->low + f->high * (radius * cos(angle));
        x[1] = f->low + f->high * (radius * sin(angle));
    }
}

static void store(const fill *f, const pal_array *out, int64_t begin, int64_t end)
{
    int64_t index[PAL_MAX_DIMS], rest = begin, at = 0;
    for (int d = out->ndim - 1; d >= 0; d--) {
        index[d] = rest % out->shape[d];
        rest /= out->shape[d];
        at += index[d] * out->stride[d];
    }
    double x[2] = {0, 0};
    words r = {{0, 0}};
    for (int64_t e = begin; e < end; e++) {
        if (f->law == INTEGERS) {
            if (e % 2 == 0)
                r = philox(f->rng.seed, f->rng.counter + (uint64_t)(e / 2), f->rng.stream);
            uint64_t value = (uint64_t)f->first + scaled(r.w[e % 2], f->span);
            ((int64_t *)out->data)[at] = (int64_t)value;
        } else {
            if (e % 2 == 0) pair(f, out->dtype, e / 2, x);
            pal_element_set(out->dtype, out->data, at, x[e % 2]);
        }
        for (int d = out->ndim - 1; d >= 0; d--) { /* move to the next index */
            at += out->stride[d];
            if (++index[d] < out->shape[d]) break;
            at -= index[d] * out->stride[d];
            index[d] = 0;
        }
    }
}

static void run_fill(pal_rng *rng, fill *f, const pal_array *out)
{
    int64_t n = pal_array_count(out), chunks = (n + CHUNK - 1) / CHUNK;
    f->rng = *rng;
    int team = pal_team(n * 8); /* an element costs about as much as eight copies */
#pragma omp parallel for num_threads(team) schedule(static) if (team > 1)
    for (int64_t c = 0; c < chunks; c++)
        store(f, out, c * CHUNK, (c + 1) * CHUNK < n ? (c + 1) * CHUNK : n);
    rng->counter += (uint64_t)(n / 2 + n % 2);
}

/* A fill can fail only because of the caller's arguments. */
static bool check(bool good, const char *name, const pal_array *out, const char *want)
{
    char text[200];
    if (good) return true;
    pal_error error;
    pal_error_set(&error, PAL_EDTYPE, "%s: out is %s, must be %s", name,
                  pal_array_describe(out, text, sizeof text), want);
    pal_raise(&error);
    return false;
}

void pal_rng_uniform(pal_rng *rng, const pal_array *out, double low, double high)
{
    if (!check(pal_dtype_real(out->dtype), "pal_rng_uniform", out, "f32 or f64")) return;
    run_fill(rng, &(fill){.law = UNIFORM, .low = low, .high = high}, out);
}

void pal_rng_normal(pal_rng *rng, const pal_array *out, double mean, double deviation)
{
    if (!check(pal_dtype_real(out->dtype), "pal_rng_normal", out, "f32 or f64")) return;
    run_fill(rng, &(fill){.law = NORMAL, .low = mean, .high = deviation}, out);
}

void pal_rng_integers(pal_rng *rng, const pal_array *out, int64_t low, int64_t high)
{
    if (!check(out->dtype == PAL_I64, "pal_rng_integers", out, "i64")) return;
    if (low >= high) {
        pal_error error;
        pal_error_set(&error, PAL_EVALUE, "pal_rng_integers: [%lld, %lld) is empty", (long long)low,
                      (long long)high);
        pal_raise(&error);
        return;
    }
    uint64_t span = (uint64_t)high - (uint64_t)low;
    run_fill(rng, &(fill){.law = INTEGERS, .first = low, .span = span}, out);
}

/* Fisher and Yates from the end: step i swaps element i with one of 0..i. It is serial because each
 * step needs the one before. It takes one block for every two elements. */
void pal_rng_permutation(pal_rng *rng, const pal_array *out)
{
    bool good = out->dtype == PAL_I64 && out->ndim == 1;
    if (!check(good, "pal_rng_permutation", out, "i64 of one dimension")) return;
    int64_t n = out->shape[0], s = out->stride[0], *x = out->data;
    words r = {{0, 0}};
    for (int64_t i = 0; i < n; i++) x[i * s] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t draw = n - 1 - i;
        if (draw % 2 == 0) r = philox(rng->seed, rng->counter + (uint64_t)(draw / 2), rng->stream);
        int64_t j = (int64_t)scaled(r.w[draw % 2], (uint64_t)i + 1), t = x[i * s];
        x[i * s] = x[j * s];
        x[j * s] = t;
    }
    rng->counter += (uint64_t)(n / 2 + n % 2);
}
