/*
 * case_repeat.c - repeat, repeat_interleave, pad and flip. Each entry of the result is an entry of
 * the input along one axis, or padding.
 */
#include "tests/support/case.h"

/* option = {axis, n or before, after, value} */
static void repeat_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_repeat(in[0], (int)v->option[0], (int64_t)v->option[1]);
}

static void interleave_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_repeat_interleave(in[0], (int)v->option[0], (int64_t)v->option[1]);
}

static void pad_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_pad(in[0], (int)v->option[0], (int64_t)v->option[1], (int64_t)v->option[2],
                     v->option[3]);
}

static void flip_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_flip(in[0], (int)v->option[0]);
}

/* Which of the n entries of the axis becomes entry i of the result; -1 for padding. */
static int64_t source(const pal_variant *v, int64_t n, int64_t i)
{
    int64_t times = (int64_t)v->option[1];
    if (v->build == repeat_build) return i % n;
    if (v->build == interleave_build) return i / times;
    if (v->build == flip_build) return n - 1 - i;
    return i < times || i >= times + n ? -1 : i - times;
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_shape shape = v->in[0].shape;
    int axis = (int)v->option[0] + (v->option[0] < 0 ? shape.ndim : 0);
    int64_t n = shape.dim[axis], inner = 1;
    if (v->build == pad_build)
        shape.dim[axis] += (int64_t)v->option[1] + (int64_t)v->option[2];
    else if (v->build != flip_build)
        shape.dim[axis] *= (int64_t)v->option[1];
    pal_ref_shape(out, shape);
    for (int d = axis + 1; d < shape.ndim; d++) inner *= shape.dim[d];
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        int64_t outer = i / (inner * shape.dim[axis]);
        int64_t from = source(v, n, i / inner % shape.dim[axis]);
        ((double *)out->data)[i] =
            from < 0 ? v->option[3] : pal_ref_get(in, (outer * n + from) * inner + i % inner);
    }
}

#define S(...)     .shape = PAL_DIMS(__VA_ARGS__)
#define WHOLE(...) S(__VA_ARGS__), .integer = true, .low = -9, .high = 9
#define V(n, b, ...) \
    .name = n, .nin = 1, .nout = 1, .build = b, .reference = reference, .option = {__VA_ARGS__}

static const pal_variant variants[] = {
    {V("repeat first", repeat_build, 0, 3), .in = {{S(2, 3)}}},
    {V("repeat last", repeat_build, -1, 2), .in = {{S(2, 3)}}},
    {V("repeat once", repeat_build, 1, 1), .in = {{S(2, 3, 2)}}},
    {V("repeat never", repeat_build, 1, 0), .in = {{S(2, 3)}}},
    {V("repeat i64", repeat_build, 1, 2), .in = {{WHOLE(2, 3)}}},
    {V("repeat special", repeat_build, 0, 2), .in = {{S(30), .special = true}}},
    {V("repeat large", repeat_build, 1, 3), .in = {{S(120, 100)}}},
    {V("interleave first", interleave_build, 0, 3), .in = {{S(2, 3)}}},
    {V("interleave middle", interleave_build, 1, 2), .in = {{S(2, 3, 4)}}},
    {V("interleave 8 axes", interleave_build, 3, 2), .in = {{S(1, 2, 1, 2, 1, 2, 1, 2)}}},
    {V("interleave never", interleave_build, 0, 0), .in = {{S(2, 3)}}},
    {V("interleave large", interleave_build, -1, 3), .in = {{S(120, 100)}}},
    {V("pad both", pad_build, 0, 2, 1, 0.5), .in = {{S(2, 3)}}},
    {V("pad after", pad_build, -1, 0, 2), .in = {{S(2, 3)}}},
    {V("pad by nothing", pad_build, 1, 0, 0), .in = {{S(2, 3)}}},
    {V("pad nothing", pad_build, 1, 1, 2, -1), .in = {{S(2, 0)}}},
    {V("pad i64", pad_build, 0, 1, 1, 7), .in = {{WHOLE(3)}}},
    {V("pad large", pad_build, 1, 3, 0), .in = {{S(200, 180)}}},
    {V("flip first", flip_build, 0), .in = {{S(4, 3)}}},
    {V("flip last", flip_build, -1), .in = {{S(4, 3)}}},
    {V("flip nothing", flip_build, 0), .in = {{S(0, 3)}}},
    {V("flip i64", flip_build, 0), .in = {{WHOLE(5)}}},
    {V("flip large", flip_build, 1), .in = {{S(200, 180)}}},
};

const pal_case pal_case_repeat = {
    .name = "repeat", .count = sizeof variants / sizeof variants[0], .variants = variants};
