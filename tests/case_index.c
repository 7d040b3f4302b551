/*
 * case_index.c - index_select and scatter_add.
 */
#include "tests/support/case.h"

/* Where element i of an array of this shape lies along the axis, and before and behind it. */
typedef struct place {
    int64_t outer, at, inner;
} place;

static int64_t inner_of(const pal_array *x, int axis)
{
    int64_t inner = 1;
    for (int d = axis + 1; d < x->ndim; d++) inner *= x->shape[d];
    return inner;
}

static place place_of(const pal_array *x, int axis, int64_t i)
{
    int64_t inner = inner_of(x, axis), n = x->shape[axis];
    return (place){i / inner / n, i / inner % n, i % inner};
}

static int axis_of(const pal_variant *v, const pal_array *x)
{
    return (int)v->option[0] + (v->option[0] < 0 ? x->ndim : 0);
}

/* ---- index_select: option = {axis} ---- */

static void select_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_index_select(in[0], (int)v->option[0], in[1]);
}

static void select_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    const int axis = axis_of(v, &in[0]);
    pal_shape shape = pal_array_shape(&in[0]);
    shape.dim[axis] = in[1].shape[0];
    pal_ref_shape(out, shape);
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        place p = place_of(out, axis, i);
        int64_t at = (int64_t)pal_ref_get(&in[1], p.at);
        ((double *)out->data)[i] =
            pal_ref_get(&in[0], (p.outer * in[0].shape[axis] + at) * inner_of(out, axis) + p.inner);
    }
}

/* ---- scatter_add: option = {axis} ---- */

static void scatter_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_scatter_add(in[0], (int)v->option[0], in[1], in[2]);
}

static void scatter_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    const int axis = axis_of(v, &in[0]);
    pal_ref_shape(out, pal_array_shape(&in[0]));
    for (int64_t i = 0; i < pal_array_count(out); i++)
        ((double *)out->data)[i] = pal_ref_get(&in[0], i);
    for (int64_t i = 0; i < pal_array_count(&in[1]); i++) {
        place p = place_of(&in[1], axis, i);
        int64_t at = (int64_t)pal_ref_get(&in[1], i);
        int64_t to = (p.outer * in[0].shape[axis] + at) * inner_of(out, axis) + p.inner;
        ((double *)out->data)[to] += pal_ref_get(&in[2], i);
    }
}

#define S(...)        .shape = PAL_DIMS(__VA_ARGS__)
#define BELOW(n, ...) S(__VA_ARGS__), .integer = true, .low = 0, .high = n
#define I(n, axis)                                                         \
    .name = "index_select " n, .nin = 2, .nout = 1, .build = select_build, \
    .reference = select_reference, .option = {axis}
#define A(n, axis)                                                         \
    .name = "scatter_add " n, .nin = 3, .nout = 1, .build = scatter_build, \
    .reference = scatter_reference, .option = {axis}

static const pal_variant variants[] = {
    {I("last", -1), .in = {{S(3, 5)}, {BELOW(5, 8)}}},
    {I("first", 0), .in = {{S(4, 3)}, {BELOW(4, 3)}}},
    {I("middle", 1), .in = {{S(2, 3, 4)}, {BELOW(3, 6)}}},
    {I("none", 1), .in = {{S(2, 3)}, {BELOW(3, 0)}}},
    {I("of no lines", 1), .in = {{S(0, 3)}, {BELOW(3, 2)}}},
    {I("i64", 0), .in = {{BELOW(9, 6)}, {BELOW(6, 4)}}},
    {I("special", 0), .in = {{S(40), .special = true}, {BELOW(40, 90)}}},
    {I("large", 1), .in = {{S(20, 30, 9)}, {BELOW(30, 210)}}},
    {A("last", -1), .in = {{S(3, 5)}, {BELOW(5, 3, 7)}, {S(3, 7)}}},
    {A("first", 0), .in = {{S(3, 5)}, {BELOW(3, 4, 5)}, {S(4, 5)}}},
    {A("middle", 1), .in = {{S(2, 3, 4)}, {BELOW(3, 2, 6, 4)}, {S(2, 6, 4)}}},
    {A("none", 1), .in = {{S(2, 3)}, {BELOW(3, 2, 0)}, {S(2, 0)}}},
    {A("of no lines", 1), .in = {{S(0, 3)}, {BELOW(3, 0, 2)}, {S(0, 2)}}},
    {A("i64", 0), .in = {{BELOW(9, 6)}, {BELOW(6, 14)}, {BELOW(9, 14)}}},
    {A("large", 1), .in = {{S(200, 30)}, {BELOW(30, 200, 180)}, {S(200, 180)}}},
};

const pal_case pal_case_index = {
    .name = "index", .count = sizeof variants / sizeof variants[0], .variants = variants};
