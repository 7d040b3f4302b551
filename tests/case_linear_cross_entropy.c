/*
 * case_linear_cross_entropy.c - one operation for a linear layer and the cross-entropy of its
 * result.
 */
#include "tests/support/case.h"

#include <math.h>

/* option = {reduction, label smoothing, has_ignore, ignore, start}. x is x[..., start:] of the
 * input, so its rows are not next to each other. */
static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    int64_t start = (int64_t)v->option[4];
    pal_tensor x = start ? pal_slice(in[0], -1, start, pal_dim(in[0], -1), 1) : in[0];
    out[0] = pal_linear_cross_entropy(
        x, in[1], in[2], in[3],
        (pal_cross_entropy_opts){.reduction = (pal_loss_reduction)(int)v->option[0],
                                 .weight = in[4],
                                 .label_smoothing = v->option[1],
                                 .has_ignore = v->option[2] != 0,
                                 .ignore = (int64_t)v->option[3]});
}

static double logit(const pal_array *in, int64_t r, int64_t j, int64_t start)
{
    int64_t width = in[0].shape[in[0].ndim - 1], d = width - start;
    double sum = in[2].data ? pal_ref_get(&in[2], j) : 0;
    for (int64_t c = 0; c < d; c++)
        sum += pal_ref_get(&in[0], r * width + start + c) * pal_ref_get(&in[1], j * d + c);
    return sum;
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int64_t n = in[1].shape[0], rows = pal_array_count(&in[3]), start = (int64_t)v->option[4];
    const int reduction = (int)v->option[0];
    double loss = 0, smooth = v->option[1], total = 0;
    pal_ref_shape(out, reduction == PAL_REDUCE_NONE ? pal_array_shape(&in[3]) : PAL_SCALAR);
    for (int64_t r = 0; r < rows; r++) {
        int64_t target = (int64_t)pal_ref_get(&in[3], r);
        double weight = in[4].data ? pal_ref_get(&in[4], r) : 1, before = loss;
        if (reduction == PAL_REDUCE_NONE) ((double *)out->data)[r] = 0;
        if (v->option[2] != 0 && target == (int64_t)v->option[3]) continue;
        double max = -INFINITY, s = 0;
        for (int64_t j = 0; j < n; j++) max = fmax(max, logit(in, r, j, start));
        for (int64_t j = 0; j < n; j++) s += exp(logit(in, r, j, start) - max);
        for (int64_t j = 0; j < n; j++) {
            double share = smooth / (double)n + (j == target ? 1 - smooth : 0);
            if (share > 0) loss += weight * share * (max + log(s) - logit(in, r, j, start));
        }
        if (reduction == PAL_REDUCE_NONE) ((double *)out->data)[r] = loss - before;
        total += weight;
    }
    if (reduction == PAL_REDUCE_NONE) return;
    *(double *)out->data = reduction == PAL_REDUCE_SUM || total == 0 ? loss : loss / total;
}

#define V(n, ...) \
    .name = n, .nin = 5, .nout = 1, .build = build, .reference = reference, .option = {__VA_ARGS__}
#define S(...)          .shape = PAL_DIMS(__VA_ARGS__)
#define TARGETS(n, ...) S(__VA_ARGS__), .integer = true, .low = 0, .high = n
#define NONE            S(1), .absent = true
#define WEIGHTS(...)    S(__VA_ARGS__), .low = 0.25, .high = 2, .constant = true

static const pal_variant variants[] = {
    {V("mean", 0), .in = {{S(2, 3, 5)}, {S(7, 5)}, {NONE}, {TARGETS(7, 2, 3)}, {NONE}}},
    {V("sum, bias", 1), .in = {{S(6, 5)}, {S(7, 5)}, {S(7)}, {TARGETS(7, 6)}, {NONE}}},
    {V("smooth", 0, 0.1), .in = {{S(6, 5)}, {S(7, 5)}, {S(7)}, {TARGETS(7, 6)}, {NONE}}},
    {V("ignore", 0, 0, 1, 2), .in = {{S(20, 3)}, {S(4, 3)}, {S(4)}, {TARGETS(4, 20)}, {NONE}}},
    {V("all ignored", 0, 0.2, 1, 0), .in = {{S(5, 3)}, {S(4, 3)}, {S(4)}, {TARGETS(1, 5)}, {NONE}}},
    {V("one row", 0),
     .in = {{S(6)}, {S(9, 6)}, {NONE}, {.integer = true, .low = 0, .high = 9}, {NONE}}},
    {V("no rows", 0), .in = {{S(0, 3)}, {S(4, 3)}, {S(4)}, {TARGETS(4, 0)}, {NONE}}},
    {V("d = 0", 0), .in = {{S(3, 0)}, {S(4, 0)}, {S(4)}, {TARGETS(4, 3)}, {NONE}}},
    {V("one class", 0), .in = {{S(4, 3)}, {S(1, 3)}, {NONE}, {TARGETS(1, 4)}, {NONE}}},
    {V("frozen weight", 0),
     .in = {{S(6, 5)}, {S(7, 5), .constant = true}, {NONE}, {TARGETS(7, 6)}, {NONE}}},
    {V("frozen x", 0),
     .in = {{S(6, 5), .constant = true}, {S(7, 5)}, {S(7)}, {TARGETS(7, 6)}, {NONE}}},
    {V("rows apart", 0, 0, 0, 0, 2),
     .in = {{S(2, 3, 7)}, {S(4, 5)}, {NONE}, {TARGETS(4, 2, 3)}, {NONE}}},
    {V("huge logits", 0),
     .in = {{S(5, 3), .low = -1e4, .high = 1e4}, {S(9, 3)}, {NONE}, {TARGETS(9, 5)}, {NONE}},
     .no_gradient = true},
    {V("weights", 0), .in = {{S(2, 3, 5)}, {S(7, 5)}, {NONE}, {TARGETS(7, 2, 3)}, {WEIGHTS(2, 3)}}},
    {V("weights, sum, smooth, ignore", PAL_REDUCE_SUM, 0.1, 1, 2),
     .in = {{S(20, 3)}, {S(4, 3)}, {S(4)}, {TARGETS(4, 20)}, {WEIGHTS(20)}}},
    {V("weights, mean, smooth, ignore", PAL_REDUCE_MEAN, 0.1, 1, 2),
     .in = {{S(20, 3)}, {S(4, 3)}, {S(4)}, {TARGETS(4, 20)}, {WEIGHTS(20)}}},
    {V("none, weights", PAL_REDUCE_NONE, 0.1, 1, 2),
     .in = {{S(20, 3)}, {S(4, 3)}, {S(4)}, {TARGETS(4, 20)}, {WEIGHTS(20)}}},
    {V("large", 0, 0.05, 1, 3),
     .in = {{S(2, 65, 12)}, {S(257, 12)}, {S(257)}, {TARGETS(257, 2, 65)}, {NONE}}},
};

const pal_case pal_case_linear_cross_entropy = {.name = "linear_cross_entropy",
                                                .count = sizeof variants / sizeof variants[0],
                                                .variants = variants};
