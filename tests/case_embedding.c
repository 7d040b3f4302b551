/*
 * case_embedding.c - rows of a table by index.
 */
#include "tests/support/case.h"

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    out[0] = pal_embedding(in[0], in[1]);
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int64_t d = in[0].shape[1];
    pal_shape shape = v->in[1].shape;
    shape.dim[shape.ndim++] = d;
    pal_ref_shape(out, shape);
    for (int64_t i = 0; i < pal_array_count(out); i++)
        ((double *)out->data)[i] =
            pal_ref_get(&in[0], (int64_t)pal_ref_get(&in[1], i / d) * d + i % d);
}

#define V(n)          .name = n, .nin = 2, .nout = 1, .build = build, .reference = reference
#define S(...)        .shape = PAL_DIMS(__VA_ARGS__)
#define INDEX(n, ...) S(__VA_ARGS__), .integer = true, .low = 0, .high = n

static const pal_variant variants[] = {
    {V("plain"), .in = {{S(6, 3)}, {INDEX(6, 4)}}},
    {V("repeated"), .in = {{S(3, 5)}, {INDEX(3, 4, 6)}}},
    {V("one index"), .in = {{S(6, 3)}, {.integer = true, .low = 2, .high = 6}}},
    {V("no index"), .in = {{S(6, 3)}, {INDEX(6, 0)}}},
    {V("no columns"), .in = {{S(6, 0)}, {INDEX(6, 4)}}},
    {V("special"), .in = {{S(20, 3), .special = true}, {INDEX(20, 40)}}},
    {V("large"), .in = {{S(20, 200)}, {INDEX(20, 4, 60)}}},
};

const pal_case pal_case_embedding = {
    .name = "embedding", .count = sizeof variants / sizeof variants[0], .variants = variants};
