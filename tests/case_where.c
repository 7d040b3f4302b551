/*
 * case_where.c - where and masked_fill, with conditions of every dtype.
 */
#include "tests/support/case.h"

static void where_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    out[0] = pal_where(in[0], in[1], in[2]);
}

static void where_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    (void)v;
    pal_shape shape = pal_array_shape(&in[0]);
    for (int i = 1; i < 3; i++) pal_shape_broadcast(shape, pal_array_shape(&in[i]), &shape);
    pal_ref_shape(out, shape);
    for (int64_t i = 0; i < pal_array_count(out); i++)
        ((double *)out->data)[i] =
            pal_ref_broadcast(&in[pal_ref_broadcast(&in[0], out, i) != 0 ? 1 : 2], out, i);
}

/* The condition has the other real type, and holds 0, a small and a subnormal number. */
static void mixed_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    pal_tensor condition = pal_affine(pal_cast(in[0], PAL_F64), 1e-310, 0);
    out[0] = pal_where(condition, in[1], in[2]);
}

static void fill_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_masked_fill(in[0], in[1], v->option[0]);
}

static void fill_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t i = 0; i < pal_array_count(out); i++)
        ((double *)out->data)[i] =
            pal_ref_broadcast(&in[1], out, i) != 0 ? v->option[0] : pal_ref_get(&in[0], i);
}

#define WHERE(n) .name = n, .nin = 3, .nout = 1, .build = where_build, .reference = where_reference
#define FILL(n, x) \
    .name = n, .nin = 2, .nout = 1, .build = fill_build, .reference = fill_reference, .option = {x}
#define BITS .integer = true, .low = 0, .high = 2

static const pal_variant variants[] = {
    {WHERE("where"),
     .in = {{.shape = PAL_DIMS(3, 5), BITS}, {.shape = PAL_DIMS(3, 5)}, {.shape = PAL_DIMS(3, 5)}}},
    {WHERE("where broadcast"),
     .in = {{.shape = PAL_DIMS(4, 1, 3), BITS}, {.shape = PAL_DIMS(5, 1)}, {.shape = PAL_DIMS(3)}}},
    {WHERE("where, real condition"),
     .in = {{.shape = PAL_DIMS(40), .special = true, .constant = true},
            {.shape = PAL_DIMS(40), .special = true},
            {.shape = PAL_DIMS(40), .special = true}}},
    {.name = "where, condition of another type",
     .nin = 3,
     .nout = 1,
     .build = mixed_build,
     .reference = where_reference,
     .in = {{.shape = PAL_DIMS(30), BITS}, {.shape = PAL_DIMS(30)}, {.shape = PAL_DIMS(30)}}},
    {WHERE("where i64"), .in = {{.shape = PAL_DIMS(4, 6), .constant = true},
                                {.shape = PAL_DIMS(6), .integer = true, .low = -9, .high = 9},
                                {.shape = PAL_DIMS(4, 1), .integer = true, .low = -9, .high = 9}}},
    {WHERE("where empty"),
     .in = {{.shape = PAL_DIMS(2, 1), BITS}, {.shape = PAL_DIMS(1, 0)}, {.low = 1, .high = 2}}},
    {WHERE("where large"),
     .in = {{.shape = PAL_DIMS(300, 1), BITS}, {.shape = PAL_DIMS(301)}, {.low = 1, .high = 2}}},
    {FILL("masked_fill", -7), .in = {{.shape = PAL_DIMS(4, 5)}, {.shape = PAL_DIMS(4, 5), BITS}}},
    {FILL("masked_fill broadcast", -1e9),
     .in = {{.shape = PAL_DIMS(3, 4, 5)}, {.shape = PAL_DIMS(4, 1), BITS}}},
    {FILL("masked_fill special", 2),
     .in = {{.shape = PAL_DIMS(50), .special = true},
            {.shape = PAL_DIMS(50), .special = true, .constant = true}}},
    {FILL("masked_fill i64", 3),
     .in = {{.shape = PAL_DIMS(4, 5), .integer = true, .low = -9, .high = 9},
            {.shape = PAL_DIMS(5), BITS}}},
    {FILL("masked_fill large", 0.5),
     .in = {{.shape = PAL_DIMS(4, 150, 150)}, {.shape = PAL_DIMS(150, 150), BITS}}},
};

const pal_case pal_case_where = {
    .name = "where", .count = sizeof variants / sizeof variants[0], .variants = variants};
