/*
 * case_gather.c - gather, one_hot and topk.
 */
#include "tests/support/case.h"

/* ---- gather: option = {axis} ---- */

static void gather_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_gather(in[0], (int)v->option[0], in[1]);
}

static void gather_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_shape shape = v->in[1].shape;
    int axis = (int)v->option[0] + (v->option[0] < 0 ? shape.ndim : 0);
    int64_t n = in[0].shape[axis], inner = 1;
    pal_ref_shape(out, shape);
    for (int d = axis + 1; d < shape.ndim; d++) inner *= shape.dim[d];
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        int64_t outer = i / (inner * shape.dim[axis]), at = (int64_t)pal_ref_get(&in[1], i);
        ((double *)out->data)[i] = pal_ref_get(&in[0], (outer * n + at) * inner + i % inner);
    }
}

/* ---- one_hot: option = {n} ---- */

static void one_hot_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_one_hot(in[0], (int64_t)v->option[0], PAL_F32);
    out[1] = pal_one_hot(in[0], (int64_t)v->option[0], PAL_I64);
}

static void one_hot_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_shape shape = v->in[0].shape;
    int64_t n = (int64_t)v->option[0];
    shape.dim[shape.ndim++] = n;
    for (int k = 0; k < 2; k++) {
        pal_ref_shape(&out[k], shape);
        for (int64_t i = 0; i < pal_array_count(&out[k]); i++)
            ((double *)out[k].data)[i] = pal_ref_get(in, i / n) == (double)(i % n);
    }
}

/* ---- topk: option = {k} ---- */

static void topk_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    pal_topk(in[0], (int64_t)v->option[0], out);
}

/* NaN counts as the largest number. Of equal numbers the first one comes first. */
static bool comes_before(double a, double b) { return a != a ? b == b : a > b; }

static void topk_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_shape shape = v->in[0].shape;
    int64_t k = (int64_t)v->option[0], n = shape.dim[shape.ndim - 1];
    shape.dim[shape.ndim - 1] = k;
    pal_ref_shape(&out[0], shape);
    pal_ref_shape(&out[1], shape);
    for (int64_t i = 0; i < pal_array_count(in); i++) {
        int64_t row = i / n, rank = 0; /* rank: how many entries of the row come before this one */
        double x = pal_ref_get(in, i);
        for (int64_t j = row * n; j < (row + 1) * n; j++) {
            double y = pal_ref_get(in, j);
            rank += comes_before(y, x) || (j < i && !comes_before(x, y));
        }
        if (rank >= k) continue;
        ((double *)out[0].data)[row * k + rank] = x;
        ((double *)out[1].data)[row * k + rank] = (double)(i % n);
    }
}

#define S(...)        .shape = PAL_DIMS(__VA_ARGS__)
#define BELOW(n, ...) S(__VA_ARGS__), .integer = true, .low = 0, .high = n
#define G(n, axis)                                                   \
    .name = "gather " n, .nin = 2, .nout = 1, .build = gather_build, \
    .reference = gather_reference, .option = {axis}
#define H(n, classes)                                                  \
    .name = "one_hot " n, .nin = 1, .nout = 2, .build = one_hot_build, \
    .reference = one_hot_reference, .option = {classes}, .no_gradient = true
#define K(n, k)                                                                               \
    .name = "topk " n, .nin = 1, .nout = 2, .build = topk_build, .reference = topk_reference, \
    .option = {k}

static const pal_variant variants[] = {
    {G("last", -1), .in = {{S(3, 5)}, {BELOW(5, 3, 2)}}},
    {G("first", 0), .in = {{S(3, 5)}, {BELOW(3, 7, 5)}}},
    {G("middle", 1), .in = {{S(2, 3, 4)}, {BELOW(3, 2, 6, 4)}}},
    {G("none", 1), .in = {{S(2, 3)}, {BELOW(3, 2, 0)}}},
    {G("i64", 0), .in = {{BELOW(9, 6)}, {BELOW(6, 4)}}},
    {G("special", 0), .in = {{S(40), .special = true}, {BELOW(40, 90)}}},
    {G("large", -1), .in = {{S(200, 30)}, {BELOW(30, 200, 180)}}},
    {H("vector", 4), .in = {{BELOW(4, 6)}}},
    {H("matrix", 3), .in = {{BELOW(3, 2, 5)}}},
    {H("scalar", 3), .in = {{.integer = true, .low = 0, .high = 3}}},
    {H("empty", 3), .in = {{BELOW(3, 0)}}},
    {K("some", 3), .in = {{S(4, 7), .distinct = true}}},
    {K("all", 5), .in = {{S(2, 3, 5), .distinct = true}}},
    {K("one", 1), .in = {{S(9), .distinct = true}}},
    {K("none", 0), .in = {{S(3, 4), .distinct = true}}},
    {K("special", 20), .in = {{S(3, 40), .special = true}}},
    {K("large", 5), .in = {{S(300, 120), .distinct = true}},
     .step = 1e-6}, /* entries are 5e-5 apart */
};

const pal_case pal_case_gather = {
    .name = "gather", .count = sizeof variants / sizeof variants[0], .variants = variants};
