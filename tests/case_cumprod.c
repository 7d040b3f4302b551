/*
 * case_cumprod.c - running products, also where entries are 0.
 */
#include "tests/support/case.h"

/* option = {axis, zeros}: with zeros, x is multiplied by in[1], which is 0 or 1. */
static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    pal_tensor x = in[0];
    if (v->option[1] != 0) x = pal_mul(x, pal_cast(in[1], pal_dtype_of(x)));
    out[0] = pal_cumprod(x, (int)v->option[0]);
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_shape shape = v->in[0].shape;
    const int axis = (int)v->option[0] + (v->option[0] < 0 ? shape.ndim : 0);
    int64_t inner = 1;
    pal_ref_shape(out, shape);
    for (int d = axis + 1; d < shape.ndim; d++) inner *= shape.dim[d];
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        double x = pal_ref_get(&in[0], i);
        if (v->option[1] != 0) x *= pal_ref_broadcast(&in[1], out, i);
        double before = i / inner % shape.dim[axis] ? ((double *)out->data)[i - inner] : 1;
        ((double *)out->data)[i] = before * x;
    }
}

#define S(...) .shape = PAL_DIMS(__VA_ARGS__)
#define V(n, axis, zeros, ...)                                              \
    .name = n, .nin = 2, .nout = 1, .build = build, .reference = reference, \
    .option = {axis, zeros}, .in = {{S(__VA_ARGS__), .low = 0.5, .high = 1.5}
#define NO_MASK                \
    , { S(1), .absent = true } \
    }
/* The mask is 0 or 1 along the last axis, so some products have no zero, some one and some several.
 */
#define MASK(...)                                              \
    , { S(__VA_ARGS__), .integer = true, .low = 0, .high = 2 } \
    }

static const pal_variant variants[] = {
    {V("last", -1, 0, 3, 7) NO_MASK},
    {V("first", 0, 0, 6, 4) NO_MASK},
    {V("middle", 1, 0, 2, 5, 3) NO_MASK},
    {V("zeros, last", 1, 1, 9, 5) MASK(9, 5)},
    {V("zeros, first", 0, 1, 5, 40) MASK(5, 40)},
    {V("one entry", 0, 0, 1) NO_MASK},
    {V("empty", 1, 0, 3, 0) NO_MASK},
    {V("no lines", 1, 0, 0, 3) NO_MASK},
    {.name = "i64",
     .nin = 1,
     .nout = 1,
     .build = build,
     .reference = reference,
     .option = {1},
     .in = {{S(4, 9), .integer = true, .low = -4, .high = 5}},
     .no_gradient = true},
    {V("large", -1, 0, 1300, 27) NO_MASK},
};

const pal_case pal_case_cumprod = {
    .name = "cumprod", .count = sizeof variants / sizeof variants[0], .variants = variants};
