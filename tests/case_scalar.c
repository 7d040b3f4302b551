/*
 * case_scalar.c - clamp, leaky_relu, affine and wrap, which take one operand and one or two
 * numbers.
 */
#include "tests/support/case.h"

#include <math.h>

static void affine_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_affine(in[0], v->option[0], v->option[1]);
}

static void affine_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    double scale = v->option[0], shift = v->option[1];
    if (v->in[0].integer) scale = round(scale), shift = round(shift);
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t i = 0; i < pal_array_count(out); i++)
        ((double *)out->data)[i] = scale * pal_ref_get(&in[0], i) + shift;
}

static void clamp_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_clamp(in[0], v->option[0], v->option[1]);
}

static void clamp_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        double x = pal_ref_get(&in[0], i);
        ((double *)out->data)[i] = x < v->option[0]   ? v->option[0]
                                   : x > v->option[1] ? v->option[1]
                                                      : x;
    }
}

static void leaky_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_leaky_relu(in[0], v->option[0]);
}

static void leaky_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        double x = pal_ref_get(&in[0], i);
        ((double *)out->data)[i] = x > 0 ? x : v->option[0] * x;
    }
}

static void wrap_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_wrap(in[0], v->option[0]);
}

static void wrap_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    const double period = v->option[0];
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        double x = pal_ref_get(&in[0], i), y = remainder(x, period); /* nearest to 0 */
        ((double *)out->data)[i] = y < 0 ? y + period : y;
    }
}

#define AFFINE(n, ...)                                                                    \
    .name = n, .nin = 1, .nout = 1, .build = affine_build, .reference = affine_reference, \
    .option = {__VA_ARGS__}
#define CLAMP(n, ...)                                                                   \
    .name = n, .nin = 1, .nout = 1, .build = clamp_build, .reference = clamp_reference, \
    .option = {__VA_ARGS__}

#define WRAP(n, period)                                                               \
    .name = n, .nin = 1, .nout = 1, .build = wrap_build, .reference = wrap_reference, \
    .option = {period}

#define LEAKY(n, slope)                                                                 \
    .name = n, .nin = 1, .nout = 1, .build = leaky_build, .reference = leaky_reference, \
    .option = {slope}

static const pal_variant variants[] = {
    {AFFINE("affine", -2.5, 0.75), .in = {{.shape = PAL_DIMS(3, 5)}}},
    {AFFINE("affine by zero", 0, 1), .in = {{.shape = PAL_DIMS(4)}}},
    {AFFINE("affine special", -2, 1), .in = {{.shape = PAL_DIMS(150), .special = true}}},
    {AFFINE("affine scalar", 3, -1), .in = {{.low = 1, .high = 2}}},
    {AFFINE("affine empty", 3, -1), .in = {{.shape = PAL_DIMS(2, 0)}}},
    {AFFINE("affine large", 1.5, -1), .in = {{.shape = PAL_DIMS(211, 307)}}},
    {AFFINE("affine i64", -2.6, 7.4),
     .in = {{.shape = PAL_DIMS(4, 5), .integer = true, .low = -9, .high = 9}}},
    {CLAMP("clamp", -0.5, 0.375), .in = {{.shape = PAL_DIMS(5, 7)}}},
    {CLAMP("clamp open above", -0.5, INFINITY), .in = {{.shape = PAL_DIMS(5, 7)}}},
    {CLAMP("clamp special", -0.5, 0.5), .in = {{.shape = PAL_DIMS(150), .special = true}}},
    {CLAMP("clamp large", -0.5, 0.5), .in = {{.shape = PAL_DIMS(66001)}}},
    {LEAKY("leaky", 0.125), .in = {{.shape = PAL_DIMS(5, 7), .away = 0.05}}},
    {LEAKY("leaky special", 0.125), .in = {{.shape = PAL_DIMS(150), .special = true}}},
    {LEAKY("leaky empty", 0.125), .in = {{.shape = PAL_DIMS(0, 3)}}},
    {LEAKY("leaky large", 0.125), .in = {{.shape = PAL_DIMS(66001), .away = 0.05}}},
    {WRAP("wrap from above", 3), .in = {{.shape = PAL_DIMS(5, 7), .low = 3.1, .high = 5.9}}},
    {WRAP("wrap from below", 3), .in = {{.shape = PAL_DIMS(5, 7), .low = -2.9, .high = -0.1}}},
    {WRAP("wrap in place", 3), .in = {{.shape = PAL_DIMS(5), .low = 0.1, .high = 2.9}}},
    {WRAP("wrap many turns", 6.283185307179586),
     .in = {{.shape = PAL_DIMS(40, 9), .low = -1000, .high = 1000}}, .no_gradient = true},
    {WRAP("wrap empty", 3), .in = {{.shape = PAL_DIMS(2, 0)}}},
    {WRAP("wrap large", 3), .in = {{.shape = PAL_DIMS(66001), .low = 0.1, .high = 2.9}}},
};

const pal_case pal_case_scalar = {
    .name = "scalar", .count = sizeof variants / sizeof variants[0], .variants = variants};
