/*
 * case_copy.c - contiguous, expand and cast.
 */
#include "tests/support/case.h"

#include <math.h>

/* The last two axes of x are swapped first, so that contiguous has something to copy. */
static void contiguous_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    out[0] = pal_contiguous(pal_transpose(in[0], -1, -2));
}

static void contiguous_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    (void)v;
    pal_array t = in[0];
    int last = t.ndim - 1;
    t.shape[last] = in[0].shape[last - 1], t.stride[last] = in[0].stride[last - 1];
    t.shape[last - 1] = in[0].shape[last], t.stride[last - 1] = in[0].stride[last];
    pal_ref_shape(out, pal_array_shape(&t));
    for (int64_t i = 0; i < pal_array_count(out); i++)
        ((double *)out->data)[i] = pal_ref_get(&t, i);
}

static pal_shape target(const pal_variant *v)
{
    pal_shape s = {.ndim = 3};
    for (int i = 0; i < 3; i++) s.dim[i] = (int64_t)v->option[i];
    return s;
}

static void expand_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_expand(in[0], target(v));
}

static void expand_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_ref_shape(out, target(v));
    for (int64_t i = 0; i < pal_array_count(out); i++)
        ((double *)out->data)[i] = pal_ref_broadcast(&in[0], out, i);
}

/* option = {the new dtype} */
static void cast_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_cast(in[0], (pal_dtype)v->option[0]);
}

static void cast_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    bool integer = (pal_dtype)v->option[0] == PAL_I64;
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        double x = pal_ref_get(&in[0], i);
        ((double *)out->data)[i] = integer ? trunc(x) : x;
    }
}

#define V(n, what, ...)                                                                   \
    .name = n, .nin = 1, .nout = 1, .build = what##_build, .reference = what##_reference, \
    .option = {__VA_ARGS__}

static const pal_variant variants[] = {
    {V("contiguous", contiguous, 0), .in = {{.shape = PAL_DIMS(3, 4, 5)}}},
    {V("contiguous empty", contiguous, 0), .in = {{.shape = PAL_DIMS(3, 0)}}},
    {V("contiguous special", contiguous, 0), .in = {{.shape = PAL_DIMS(13, 9), .special = true}}},
    {V("contiguous i64", contiguous, 0),
     .in = {{.shape = PAL_DIMS(3, 4), .integer = true, .low = -9, .high = 9}}},
    {V("contiguous large", contiguous, 0), .in = {{.shape = PAL_DIMS(3, 150, 170)}}},
    {V("expand", expand, 2, 3, 4), .in = {{.shape = PAL_DIMS(3, 1)}}},
    {V("expand in front", expand, 2, 3, 4), .in = {{.shape = PAL_DIMS(3, 4)}}},
    {V("expand to itself", expand, 2, 3, 4), .in = {{.shape = PAL_DIMS(2, 3, 4)}}},
    {V("expand a scalar", expand, 2, 3, 4), .in = {{.low = 1, .high = 2}}},
    {V("expand to nothing", expand, 2, 0, 4), .in = {{.shape = PAL_DIMS(1, 4)}}},
    {V("expand i64", expand, 2, 3, 4),
     .in = {{.shape = PAL_DIMS(3, 1), .integer = true, .low = -9, .high = 9}}},
    {V("expand large", expand, 20, 30, 140), .in = {{.shape = PAL_DIMS(20, 1, 140)}}},
    {V("cast to f64", cast, PAL_F64), .in = {{.shape = PAL_DIMS(5, 7)}}},
    {V("cast to i64", cast, PAL_I64), .in = {{.shape = PAL_DIMS(5, 7), .low = -9, .high = 9}}},
    {V("cast from i64", cast, PAL_F64),
     .in = {{.shape = PAL_DIMS(5, 7), .integer = true, .low = -9, .high = 9}}},
    {V("cast large", cast, PAL_F64), .in = {{.shape = PAL_DIMS(70001)}}},
};

const pal_case pal_case_copy = {
    .name = "copy", .count = sizeof variants / sizeof variants[0], .variants = variants};
