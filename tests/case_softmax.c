/*
 * case_softmax.c - softmax, log_softmax and cumsum. They compute each line of the result from one
 * line of the input.
 */
#include "tests/support/case.h"

#include <math.h>

/* option = {axis, reverse} */
static void softmax_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_softmax(in[0], (int)v->option[0]);
}

static void log_softmax_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_log_softmax(in[0], (int)v->option[0]);
}

static void cumsum_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_cumsum(in[0], (int)v->option[0], v->option[1] != 0);
}

typedef void line_fn(const pal_variant *v, int64_t n, const double *x, double *y, int64_t step);

static void softmax_line(const pal_variant *v, int64_t n, const double *x, double *y, int64_t step)
{
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) max = isnan(x[i * step]) ? NAN : fmax(max, x[i * step]);
    for (int64_t i = 0; i < n; i++) sum += exp(x[i * step] - max);
    for (int64_t i = 0; i < n; i++) {
        double e = x[i * step] - max;
        y[i * step] = v->build == softmax_build ? exp(e) / sum : e - log(sum);
        if (max == -INFINITY) y[i * step] = v->build == softmax_build ? 0 : -INFINITY;
    }
}

static void cumsum_line(const pal_variant *v, int64_t n, const double *x, double *y, int64_t step)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = (v->option[1] != 0 ? n - 1 - i : i) * step;
        y[at] = sum += x[at];
    }
}

/* Applies the function to each line of the input along the axis. */
static void by_lines(const pal_variant *v, const pal_array *in, const pal_array *out, line_fn *fn)
{
    pal_ref_shape(out, v->in[0].shape);
    int axis = (int)v->option[0] + (v->option[0] < 0 ? in->ndim : 0);
    int64_t count = pal_array_count(in), n = in->shape[axis], inner = 1;
    static double x[1 << 17];
    double *y = out->data;
    for (int d = axis + 1; d < in->ndim; d++) inner *= in->shape[d];
    for (int64_t i = 0; i < count; i++) x[i] = pal_ref_get(in, i);
    for (int64_t i = 0; i < count; i++)
        if (i / inner % n == 0) fn(v, n, x + i, y + i, inner);
}

static void softmax_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    by_lines(v, in, out, softmax_line);
}

static void cumsum_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    by_lines(v, in, out, cumsum_line);
}

#define S(...)     .shape = PAL_DIMS(__VA_ARGS__)
#define WHOLE(...) S(__VA_ARGS__), .integer = true, .low = -9, .high = 9
#define M(n, axis)                                                     \
    .name = "softmax " n, .nin = 1, .nout = 1, .build = softmax_build, \
    .reference = softmax_reference, .option = {axis}
#define L(n, axis)                                                             \
    .name = "log_softmax " n, .nin = 1, .nout = 1, .build = log_softmax_build, \
    .reference = softmax_reference, .option = {axis}
#define C(n, axis, reverse)                                          \
    .name = "cumsum " n, .nin = 1, .nout = 1, .build = cumsum_build, \
    .reference = cumsum_reference, .option = {axis, reverse}

static const pal_variant variants[] = {
    {M("last", -1), .in = {{S(3, 7)}}},
    {M("first", 0), .in = {{S(5, 3)}}},
    {M("middle", 1), .in = {{S(2, 5, 3)}}},
    {M("one", 0), .in = {{S(1)}}},
    {M("wide", -1), .in = {{S(2, 131), .low = -30, .high = 30}}},
    {M("special", -1), .in = {{S(9, 7), .special = true}}},
    {M("empty", -1), .in = {{S(3, 0)}}},
    {M("no rows", -1), .in = {{S(0, 3)}}},
    {M("large", -1), .in = {{S(300, 120)}}},
    {M("large, first", 0), .in = {{S(120, 300)}}},
    {L("last", -1), .in = {{S(3, 7)}}},
    {L("first", 0), .in = {{S(5, 3)}}},
    {L("wide", -1), .in = {{S(2, 131), .low = -30, .high = 30}}},
    {L("special", -1), .in = {{S(9, 7), .special = true}}},
    {L("empty", -1), .in = {{S(3, 0)}}},
    {L("large", -1), .in = {{S(300, 120)}}},
    {C("last", -1, 0), .in = {{S(3, 7)}}},
    {C("first", 0, 0), .in = {{S(5, 3)}}},
    {C("reverse", 1, 1), .in = {{S(2, 5, 3)}}},
    {C("i64", 1, 0), .in = {{WHOLE(3, 7)}}},
    {C("i64 reverse", 0, 1), .in = {{WHOLE(3, 7)}}},
    {C("special", -1, 0), .in = {{S(9, 7), .special = true}}},
    {C("empty", -1, 0), .in = {{S(3, 0)}}},
    {C("large", -1, 0), .in = {{S(300, 120)}}},
    {C("large reverse, first", 0, 1), .in = {{S(300, 120)}}},
};

const pal_case pal_case_softmax = {
    .name = "softmax", .count = sizeof variants / sizeof variants[0], .variants = variants};
