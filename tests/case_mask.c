/*
 * case_mask.c - the triangles of matrices.
 */
#include "tests/support/case.h"

/* option = {diagonal, upper} */
static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    int64_t diagonal = (int64_t)v->option[0];
    out[0] = v->option[1] != 0 ? pal_triu(in[0], diagonal) : pal_tril(in[0], diagonal);
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_ref_shape(out, v->in[0].shape);
    int64_t rows = out->shape[out->ndim - 2], columns = out->shape[out->ndim - 1];
    double diagonal = v->option[0];
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        double r = (double)(i / columns % rows), c = (double)(i % columns);
        bool kept = v->option[1] != 0 ? c >= r + diagonal : c <= r + diagonal;
        ((double *)out->data)[i] = kept ? pal_ref_get(&in[0], i) : 0;
    }
}

#define V(n, d, upper) \
    .name = n, .nin = 1, .nout = 1, .build = build, .reference = reference, .option = {d, upper}

static const pal_variant variants[] = {
    {V("tril", 0, 0), .in = {{.shape = PAL_DIMS(5, 5)}}},
    {V("triu", 0, 1), .in = {{.shape = PAL_DIMS(5, 5)}}},
    {V("tril above", 2, 0), .in = {{.shape = PAL_DIMS(2, 3, 7)}}},
    {V("tril below", -1, 0), .in = {{.shape = PAL_DIMS(2, 7, 3)}}},
    {V("triu above", 1, 1), .in = {{.shape = PAL_DIMS(2, 3, 7)}}},
    {V("triu below", -2, 1), .in = {{.shape = PAL_DIMS(2, 7, 3)}}},
    {V("tril of nothing", -9, 0), .in = {{.shape = PAL_DIMS(4, 4)}}},
    {V("tril special", 0, 0), .in = {{.shape = PAL_DIMS(9, 9), .special = true}}},
    {V("triu i64", 0, 1), .in = {{.shape = PAL_DIMS(4, 6), .integer = true, .low = -9, .high = 9}}},
    {V("tril empty", 0, 0), .in = {{.shape = PAL_DIMS(0, 3)}}},
    {V("tril large", -1, 0), .in = {{.shape = PAL_DIMS(6, 128, 100)}}},
};

const pal_case pal_case_mask = {
    .name = "mask", .count = sizeof variants / sizeof variants[0], .variants = variants};
