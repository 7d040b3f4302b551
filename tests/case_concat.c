/*
 * case_concat.c - concat and stack.
 */
#include "tests/support/case.h"

/* option = {axis} */
static void concat_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_concat(v->nin, in, (int)v->option[0]);
}

static void stack_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_stack(v->nin, in, (int)v->option[0]);
}

/* Copies the parts, seen as [outer, n, inner], one after the other along n. */
static void join(int parts, const pal_array *in, const int64_t *n, int64_t inner,
                 const pal_array *out)
{
    int64_t total = 0, before = 0;
    for (int i = 0; i < parts; i++) total += n[i];
    for (int i = 0; i < parts; i++) {
        for (int64_t j = 0; j < pal_array_count(&in[i]); j++) {
            int64_t outer = j / (n[i] * inner), rest = j % (n[i] * inner);
            ((double *)out->data)[(outer * total + before) * inner + rest] = pal_ref_get(&in[i], j);
        }
        before += n[i];
    }
}

static void concat_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_shape shape = v->in[0].shape;
    int axis = (int)v->option[0] + (v->option[0] < 0 ? shape.ndim : 0);
    int64_t n[PAL_CASE_INPUTS], inner = 1, total = 0;
    for (int i = 0; i < v->nin; i++) total += n[i] = in[i].shape[axis];
    for (int d = axis + 1; d < shape.ndim; d++) inner *= shape.dim[d];
    shape.dim[axis] = total;
    pal_ref_shape(out, shape);
    join(v->nin, in, n, inner, out);
}

static void stack_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_shape part = v->in[0].shape, shape = {.ndim = part.ndim + 1};
    int axis = (int)v->option[0] + (v->option[0] < 0 ? shape.ndim : 0);
    int64_t n[PAL_CASE_INPUTS], inner = 1;
    for (int d = 0; d < shape.ndim; d++)
        shape.dim[d] = d < axis ? part.dim[d] : d == axis ? v->nin : part.dim[d - 1];
    for (int i = 0; i < v->nin; i++) n[i] = 1;
    for (int d = axis; d < part.ndim; d++) inner *= part.dim[d];
    pal_ref_shape(out, shape);
    join(v->nin, in, n, inner, out);
}

/* One tensor is given several times, so its gradients have to be summed. */
static void twice_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_concat(2, (pal_tensor[]){in[0], in[0]}, (int)v->option[0]);
}

static void twice_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_variant two = *v;
    two.nin = 2;
    concat_reference(&two, (pal_array[]){in[0], in[0]}, out);
}

#define S(...)     .shape = PAL_DIMS(__VA_ARGS__)
#define WHOLE(...) S(__VA_ARGS__), .integer = true, .low = -9, .high = 9
#define C(n, parts, axis)                                                \
    .name = "concat " n, .nin = parts, .nout = 1, .build = concat_build, \
    .reference = concat_reference, .option = {axis}
#define T(n, parts, axis)                                              \
    .name = "stack " n, .nin = parts, .nout = 1, .build = stack_build, \
    .reference = stack_reference, .option = {axis}

static const pal_variant variants[] = {
    {C("first", 3, 0), .in = {{S(2, 3)}, {S(1, 3)}, {S(4, 3)}}},
    {C("last", 2, -1), .in = {{S(2, 3, 4)}, {S(2, 3, 1)}}},
    {C("middle", 3, 1), .in = {{S(2, 3, 4)}, {S(2, 0, 4)}, {S(2, 2, 4)}}},
    {C("one", 1, 0), .in = {{S(3)}}},
    {C("empty", 2, 1), .in = {{S(0, 3)}, {S(0, 2)}}},
    {C("special", 2, 0), .in = {{S(30), .special = true}, {S(20), .special = true}}},
    {C("i64", 2, 1), .in = {{WHOLE(3, 4)}, {WHOLE(3, 2)}}},
    {C("large", 2, 1), .in = {{S(110, 3, 70)}, {S(110, 2, 70)}}},
    {.name = "concat of one tensor",
     .nin = 1,
     .nout = 1,
     .build = twice_build,
     .reference = twice_reference,
     .in = {{S(3, 4)}}},
    {T("first", 3, 0), .in = {{S(2, 3)}, {S(2, 3)}, {S(2, 3)}}},
    {T("last", 2, -1), .in = {{S(2, 3)}, {S(2, 3)}}},
    {T("middle", 2, 1), .in = {{S(4, 3)}, {S(4, 3)}}},
    {T("scalars", 3, 0), .in = {{.low = 1, .high = 2}, {.low = 1, .high = 2}, {.low = 1}}},
    {T("i64", 2, 0), .in = {{WHOLE(4)}, {WHOLE(4)}}},
    {T("empty", 2, 1), .in = {{S(0)}, {S(0)}}},
    {T("large", 2, 1), .in = {{S(200, 120)}, {S(200, 120)}}},
};

const pal_case pal_case_concat = {
    .name = "concat", .count = sizeof variants / sizeof variants[0], .variants = variants};
