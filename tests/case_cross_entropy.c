/*
 * case_cross_entropy.c - the cross-entropy loss with its options.
 */
#include "tests/support/case.h"

#include <math.h>

/* option = {reduction, label smoothing, has_ignore, ignore}. in[2] is the weight of each target. */
static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_cross_entropy(
        in[0], in[1],
        (pal_cross_entropy_opts){.reduction = (pal_loss_reduction)(int)v->option[0],
                                 .weight = in[2],
                                 .label_smoothing = v->option[1],
                                 .has_ignore = v->option[2] != 0,
                                 .ignore = (int64_t)v->option[3]});
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    const pal_array *x = &in[0];
    int64_t n = x->shape[x->ndim - 1], rows = pal_array_count(&in[1]);
    const int reduction = (int)v->option[0];
    double loss = 0, smooth = v->option[1], total = 0;
    pal_ref_shape(out, reduction == PAL_REDUCE_NONE ? pal_array_shape(&in[1]) : PAL_SCALAR);
    for (int64_t r = 0; r < rows; r++) {
        int64_t target = (int64_t)pal_ref_get(&in[1], r);
        double weight = in[2].data ? pal_ref_get(&in[2], r) : 1, before = loss;
        if (reduction == PAL_REDUCE_NONE) ((double *)out->data)[r] = 0;
        if (v->option[2] != 0 && target == (int64_t)v->option[3]) continue;
        double max = -INFINITY, s = 0;
        for (int64_t i = 0; i < n; i++) max = fmax(max, pal_ref_get(x, r * n + i));
        for (int64_t i = 0; i < n; i++) s += exp(pal_ref_get(x, r * n + i) - max);
        for (int64_t i = 0; i < n; i++) {
            double share = smooth / (double)n + (i == target ? 1 - smooth : 0);
            if (share > 0) loss += weight * share * (max + log(s) - pal_ref_get(x, r * n + i));
        }
        if (reduction == PAL_REDUCE_NONE) ((double *)out->data)[r] = loss - before;
        total += weight;
    }
    if (reduction == PAL_REDUCE_NONE) return;
    *(double *)out->data = reduction == PAL_REDUCE_SUM || total == 0 ? loss : loss / total;
}

#define V(n, sum, smooth, ignores, ignore)                                  \
    .name = n, .nin = 3, .nout = 1, .build = build, .reference = reference, \
    .option = {sum, smooth, ignores, ignore}
#define S(...)          .shape = PAL_DIMS(__VA_ARGS__)
#define LOGITS(...)     S(__VA_ARGS__), .low = -4, .high = 4
#define TARGETS(n, ...) S(__VA_ARGS__), .integer = true, .low = 0, .high = n
#define WEIGHTS(...)    S(__VA_ARGS__), .low = 0.25, .high = 2, .constant = true
#define NONE            S(1), .absent = true

static const pal_variant variants[] = {
    {V("mean", 0, 0, 0, 0), .in = {{LOGITS(6, 5)}, {TARGETS(5, 6)}, {NONE}}},
    {V("sum", 1, 0, 0, 0), .in = {{LOGITS(2, 3, 7)}, {TARGETS(7, 2, 3)}, {NONE}}},
    {V("smooth", 0, 0.1, 0, 0), .in = {{LOGITS(6, 5)}, {TARGETS(5, 6)}, {NONE}}},
    {V("ignore", 0, 0, 1, 2), .in = {{LOGITS(20, 4)}, {TARGETS(4, 20)}, {NONE}}},
    {V("ignore outside the range, smooth", 1, 0.2, 1, -100),
     .in = {{LOGITS(20, 4)}, {TARGETS(4, 20)}, {NONE}}},
    {V("all ignored", 0, 0, 1, 0), .in = {{LOGITS(5, 4)}, {TARGETS(1, 5)}, {NONE}}},
    {V("one row", 0, 0, 0, 0), .in = {{LOGITS(9)}, {.integer = true, .low = 0, .high = 9}, {NONE}}},
    {V("no rows", 0, 0, 0, 0), .in = {{LOGITS(0, 4)}, {TARGETS(4, 0)}, {NONE}}},
    {V("one class", 0, 0, 0, 0), .in = {{LOGITS(4, 1)}, {TARGETS(1, 4)}, {NONE}}},
    {V("huge logits", 0, 0, 0, 0),
     .in = {{S(5, 9), .low = -1e4, .high = 1e4}, {TARGETS(9, 5)}, {NONE}}, .no_gradient = true},
    {V("weights", 0, 0, 0, 0), .in = {{LOGITS(6, 5)}, {TARGETS(5, 6)}, {WEIGHTS(6)}}},
    {V("weights, sum, smooth, ignore", PAL_REDUCE_SUM, 0.1, 1, 2),
     .in = {{LOGITS(2, 9, 4)}, {TARGETS(4, 2, 9)}, {WEIGHTS(2, 9)}}},
    {V("weights, mean, smooth, ignore", PAL_REDUCE_MEAN, 0.1, 1, 2),
     .in = {{LOGITS(2, 9, 4)}, {TARGETS(4, 2, 9)}, {WEIGHTS(2, 9)}}},
    {V("none", PAL_REDUCE_NONE, 0, 1, 2), .in = {{LOGITS(2, 9, 4)}, {TARGETS(4, 2, 9)}, {NONE}}},
    {V("none, weights", PAL_REDUCE_NONE, 0.1, 0, 0),
     .in = {{LOGITS(6, 5)}, {TARGETS(5, 6)}, {WEIGHTS(6)}}},
    {V("none, one row", PAL_REDUCE_NONE, 0, 0, 0),
     .in = {{LOGITS(9)}, {.integer = true, .low = 0, .high = 9}, {NONE}}},
    {V("none of none", PAL_REDUCE_NONE, 0, 0, 0), .in = {{LOGITS(0, 4)}, {TARGETS(4, 0)}, {NONE}}},
    {V("none, large", PAL_REDUCE_NONE, 0, 1, 3),
     .in = {{LOGITS(5, 70, 130)}, {TARGETS(130, 5, 70)}, {WEIGHTS(5, 70)}}},
    {V("large", 0, 0.05, 1, 3), .in = {{LOGITS(5, 70, 130)}, {TARGETS(130, 5, 70)}, {NONE}}},
};

const pal_case pal_case_cross_entropy = {
    .name = "cross_entropy", .count = sizeof variants / sizeof variants[0], .variants = variants};
