/*
 * case_rows_norm.c - rms_norm, layer_norm and l2_norm.
 */
#include "tests/support/case.h"

#include <math.h>

enum { RMS, LAYER, L2 };

/* option = {operation, eps, scale of x} */
static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    double eps = v->option[1], scale = v->option[2];
    int op = (int)v->option[0];
    pal_tensor x = scale != 0 ? pal_affine(in[0], scale, 0) : in[0];
    out[0] = op == RMS     ? pal_rms_norm(x, in[1], eps)
             : op == LAYER ? pal_layer_norm(x, in[1], in[2], eps)
                           : pal_l2_norm(x, eps);
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int op = (int)v->option[0];
    double eps = v->option[1], scale = v->option[2] != 0 ? v->option[2] : 1;
    int64_t n = in->shape[in->ndim - 1], count = pal_array_count(in);
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t first = 0; first < count; first += n) {
        double mean = 0, squares = 0;
        for (int64_t i = 0; i < n && op == LAYER; i++)
            mean += scale * pal_ref_get(in, first + i) / (double)n;
        for (int64_t i = 0; i < n; i++)
            squares += pow(scale * pal_ref_get(in, first + i) - mean, 2);
        double r = 1 / sqrt((op == L2 ? squares : squares / (double)n) + eps);
        for (int64_t i = 0; i < n; i++) {
            double y = (scale * pal_ref_get(in, first + i) - mean) * r;
            if (v->nin > 1 && in[1].data) y *= pal_ref_get(&in[1], i);
            if (v->nin > 2 && in[2].data) y += pal_ref_get(&in[2], i);
            ((double *)out->data)[first + i] = y;
        }
    }
}

#define S(...) .shape = PAL_DIMS(__VA_ARGS__)
#define V(n, inputs, op, ...)                                                    \
    .name = n, .nin = inputs, .nout = 1, .build = build, .reference = reference, \
    .option = {op, __VA_ARGS__}

static const pal_variant variants[] = {
    {V("rms_norm", 2, RMS, 1e-5), .in = {{S(4, 7)}, {S(7)}}},
    {V("rms_norm without weight", 2, RMS, 1e-5), .in = {{S(2, 3, 9)}, {.absent = true}}},
    {V("rms_norm one row", 2, RMS, 1e-6), .in = {{S(33)}, {S(33)}}},
    {V("rms_norm constant weight", 2, RMS, 1e-6), .in = {{S(3, 5)}, {S(5), .constant = true}}},
    {V("rms_norm constant x", 2, RMS, 1e-6), .in = {{S(40, 5), .constant = true}, {S(5)}}},
    {V("rms_norm no rows", 2, RMS, 1e-6), .in = {{S(0, 5)}, {S(5)}}},
    {V("rms_norm no width", 2, RMS, 1e-6), .in = {{S(3, 0)}, {S(0)}}},
    {V("rms_norm special", 2, RMS, 1e-6), .in = {{S(9, 3), .special = true}, {S(3)}}},
    {V("rms_norm large", 2, RMS, 1e-5), .in = {{S(3, 150, 60)}, {S(60)}}},
    {V("layer_norm", 3, LAYER, 1e-5), .in = {{S(4, 7)}, {S(7)}, {S(7)}}},
    {V("layer_norm plain", 3, LAYER, 1e-5),
     .in = {{S(2, 3, 9)}, {.absent = true}, {.absent = true}}},
    {V("layer_norm without bias", 3, LAYER, 1e-5), .in = {{S(5, 6)}, {S(6)}, {.absent = true}}},
    {V("layer_norm without weight", 3, LAYER, 1e-5), .in = {{S(5, 6)}, {.absent = true}, {S(6)}}},
    {V("layer_norm no rows", 3, LAYER, 1e-5), .in = {{S(0, 6)}, {S(6)}, {S(6)}}},
    {V("layer_norm large", 3, LAYER, 1e-5), .in = {{S(3, 150, 60)}, {S(60)}, {S(60)}}},
    {V("l2_norm", 1, L2, 1e-6), .in = {{S(4, 7)}}},
    {V("l2_norm one row", 1, L2, 0), .in = {{S(19)}}},
    {V("l2_norm short rows", 1, L2, 1e-12, 1e-4), .in = {{S(3, 4)}}, .step = 1e-3},
    {V("l2_norm zero rows", 1, L2, 1e-6), .in = {{S(3, 4), .low = 0, .high = 1e-300}},
     .step = 1e-6},
    {V("l2_norm large", 1, L2, 1e-6), .in = {{S(3, 150, 80)}}},
};

const pal_case pal_case_rows_norm = {
    .name = "rows_norm", .count = sizeof variants / sizeof variants[0], .variants = variants};
