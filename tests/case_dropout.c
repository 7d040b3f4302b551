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

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_rng tape = pal_rng_new(42, 7), rng = pal_rng_split(&tape);
    double p = v->option[0];
    pal_ref_shape(out, v->in[0].shape);
    pal_array draws = pal_array_of(PAL_F32, v->in[0].shape, out->data); /* is read from the end */
    if (p > 0 && pal_array_count(out)) pal_rng_uniform(&rng, &draws, 0, 1);
    for (int64_t i = pal_array_count(out) - 1; i >= 0; i--) {
        double x = pal_ref_get(&in[0], i), u = p > 0 ? pal_ref_get(&draws, i) : 1;
        ((double *)out->data)[i] = u < p ? 0 : x / (1 - p);
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
    {V("large", build, 0.25), .in = {{.shape = PAL_DIMS(211, 307)}}},
};

const pal_case pal_case_dropout = {
    .name = "dropout", .count = sizeof variants / sizeof variants[0], .variants = variants};
