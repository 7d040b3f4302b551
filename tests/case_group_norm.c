/*
 * case_group_norm.c - the norm of groups of channels. Inputs are x, weight and bias.
 */
#include "tests/support/case.h"

#include <math.h>

/* option = {groups} */
static const double eps = 1e-3;

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_group_norm(in[0], (int64_t)v->option[0], in[1], in[2], eps);
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    const int64_t groups = (int64_t)v->option[0], all = pal_array_count(in),
                  channels = in->shape[1];
    pal_ref_shape(out, v->in[0].shape);
    if (all == 0) return;
    const int64_t n = all / in->shape[0] / groups, spread = n / (channels / groups);
    for (int64_t first = 0; first < all; first += n) {
        double mean = 0, squares = 0;
        for (int64_t i = first; i < first + n; i++) mean += pal_ref_get(in, i) / (double)n;
        for (int64_t i = first; i < first + n; i++)
            squares += (pal_ref_get(in, i) - mean) * (pal_ref_get(in, i) - mean);
        for (int64_t i = first; i < first + n; i++) {
            const int64_t c = i / spread % channels;
            double y = (pal_ref_get(in, i) - mean) / sqrt(squares / (double)n + eps);
            if (in[1].data) y *= pal_ref_get(&in[1], c);
            if (in[2].data) y += pal_ref_get(&in[2], c);
            ((double *)out->data)[i] = y;
        }
    }
}

#define S(...) .shape = PAL_DIMS(__VA_ARGS__)
#define V(n, groups) \
    .name = n, .nin = 3, .nout = 1, .build = build, .reference = reference, .option = {groups}
#define NONE                 \
    {                        \
        S(1), .absent = true \
    }

static const pal_variant variants[] = {
    {V("two groups", 2), .in = {{S(3, 4, 5)}, {S(4)}, {S(4)}}},
    {V("one group", 1), .in = {{S(3, 4, 5)}, {S(4)}, NONE}},
    {V("a group a channel", 3), .in = {{S(2, 3, 2, 4)}, NONE, {S(3)}}},
    {V("without weights", 2), .in = {{S(3, 6)}, NONE, NONE}},
    {V("empty batch", 2), .in = {{S(0, 4, 5)}, {S(4)}, {S(4)}}},
    {V("empty lines", 2), .in = {{S(3, 4, 0)}, {S(4)}, {S(4)}}},
    {V("large", 4), .in = {{S(9, 8, 500)}, {S(8)}, {S(8)}}},
};

const pal_case pal_case_group_norm = {
    .name = "group_norm", .count = sizeof variants / sizeof variants[0], .variants = variants};
