/*
 * case_dropout.c - dropout. It draws from the tape's generator, which is set before every build.
 */
#include "tests/support/case.h"
#include "tests/support/node.h"

static void seed(const pal_tensor *in)
{
    pal_tape *tape = tape_of(in[0]);
    if (tape) *pal_tape_rng(tape) = pal_rng_new(42, 7);
}

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    seed(in);
    out[0] = pal_dropout(in[0], v->option[0]);
}

static void segment(void *context, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_mul(in[0], pal_dropout(in[0], *(const double *)context));
}

/* Backward runs the segment again after the generator has moved on. The mask has to be the same. */
static void recomputed_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    seed(in);
    pal_tape *tape = tape_of(in[0]);
    if (tape)
        pal_recompute(tape, segment, (void *)(uintptr_t)v->option, 1, in, 1, out);
    else
        out[0] = in[0];
    if (tape) pal_rng_next(pal_tape_rng(tape));
}

/* A 32-bit word of Philox 4x32-10, as the paper writes it (Salmon et al., SC 2011). */
static uint32_t word(const pal_rng *rng, uint64_t block, int which)
{
    uint32_t c[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)rng->stream,
                     (uint32_t)(rng->stream >> 32)};
    for (uint32_t round = 0; round < 10; round++) {
        const uint64_t p0 = 0xD2511F53ull * c[0], p1 = 0xCD9E8D57ull * c[2];
        c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ ((uint32_t)rng->seed + round * 0x9E3779B9u);
        c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ ((uint32_t)(rng->seed >> 32) + round * 0xBB67AE85u);
        c[3] = (uint32_t)p0;
    }
    return c[which];
}

/* The number of element i: 16 bits of one block, then 16 of a second (pal_drops). */
static uint32_t number(const pal_rng *rng, int64_t i)
{
    const uint64_t block = (uint64_t)i / 8;
    const int which = (int)(i % 8) / 2, shift = (int)(i % 2) * 16;
    const uint32_t first = word(rng, block, which) >> shift & 0xFFFF;
    return first << 16 | (word(rng, block + (1ull << 63), which) >> shift & 0xFFFF);
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_rng tape = pal_rng_new(42, 7), rng = pal_rng_split(&tape);
    double p = v->option[0];
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        const double x = pal_ref_get(&in[0], i);
        const bool drop = number(&rng, i) < p * 0x1p32;
        ((double *)out->data)[i] = drop ? 0 : x / (1 - p);
        if (v->build == recomputed_build) ((double *)out->data)[i] *= x;
    }
}

#define V(n, b, p) .name = n, .nin = 1, .nout = 1, .build = b, .reference = reference, .option = {p}

static const pal_variant variants[] = {
    {V("half", build, 0.5), .in = {{.shape = PAL_DIMS(6, 11)}}},
    {V("a little", build, 0.1), .in = {{.shape = PAL_DIMS(3, 5, 7)}}},
    {V("none", build, 0), .in = {{.shape = PAL_DIMS(9)}}},
    {V("scalar", build, 0.3), .in = {{.low = 1, .high = 2}}},
    {V("empty", build, 0.3), .in = {{.shape = PAL_DIMS(3, 0)}}},
    {V("special", build, 0.5), .in = {{.shape = PAL_DIMS(99), .special = true}}},
    {V("recomputed", recomputed_build, 0.5), .in = {{.shape = PAL_DIMS(6, 11)}}},
    /* Two of these elements need their second 16 bits; one of them is kept, one is dropped. */
    {V("large", build, 0.413), .in = {{.shape = PAL_DIMS(211, 307)}}},
};

const pal_case pal_case_dropout = {
    .name = "dropout", .count = sizeof variants / sizeof variants[0], .variants = variants};
