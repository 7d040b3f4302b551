/*
 * case_swiglu.c - silu(gate) up.
 */
#include "tests/support/case.h"

#include <math.h>

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    out[0] = pal_swiglu(in[0], in[1]);
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        double gate = pal_ref_get(&in[0], i);
        ((double *)out->data)[i] = gate / (1 + exp(-gate)) * pal_ref_get(&in[1], i);
    }
}

/* gate and up are overlapping views of one tensor: rows of one are rows of the other. */
static void overlap_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    int64_t rows = v->in[0].shape.dim[0];
    out[0] = pal_swiglu(pal_slice(in[0], 0, 0, rows - 1, 1), pal_slice(in[0], 0, 1, rows, 1));
}

static void overlap_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int64_t rows = v->in[0].shape.dim[0], n = v->in[0].shape.dim[1];
    pal_ref_shape(out, PAL_SHAPE(rows - 1, n));
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        double gate = pal_ref_get(&in[0], i);
        ((double *)out->data)[i] = gate / (1 + exp(-gate)) * pal_ref_get(&in[0], i + n);
    }
}

#define V(n) .name = n, .nin = 2, .nout = 1, .build = build, .reference = reference
#define S(...)                         \
    {                                  \
        .shape = PAL_DIMS(__VA_ARGS__) \
    }
static const pal_variant variants[] = {
    {V("a batch"), .in = {S(2, 3, 5), S(2, 3, 5)}},
    {V("scalars"), .in = {{.low = -1, .high = 1}, {.low = -1, .high = 1}}},
    {V("a row"), .in = {S(33), S(33)}},
    {V("nothing"), .in = {S(0, 4), S(0, 4)}},
    {V("rows of nothing"), .in = {S(4, 0), S(4, 0)}},
    {V("strong gates"), .in = {{.shape = PAL_DIMS(3, 50), .low = -200, .high = 200}, S(3, 50)}},
    {V("frozen up"), .in = {S(3, 7), {.shape = PAL_DIMS(3, 7), .constant = true}}},
    {V("frozen gate"), .in = {{.shape = PAL_DIMS(3, 7), .constant = true}, S(3, 7)}},
    {V("large"), .in = {S(3, 130, 100), S(3, 130, 100)}},
    {.name = "overlapping views",
     .nin = 1,
     .nout = 1,
     .build = overlap_build,
     .reference = overlap_reference,
     .in = {S(400, 90)}},
};
const pal_case pal_case_swiglu = {"swiglu", sizeof variants / sizeof *variants, variants};
