/*
 * case_loss.c - losses between an array and a target: squared, absolute, Huber's error, and binary
 * cross-entropy from logits. Inputs are x, target, weight and pos_weight.
 */
#include "tests/support/case.h"

#include <math.h>

enum { MSE, MAE, HUBER, BCE };

/* option = {loss, reduction, delta} */
static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    const pal_loss_opts o = {.reduction = (pal_loss_reduction)(int)v->option[1],
                             .weight = in[2],
                             .pos_weight = in[3],
                             .delta = v->option[2]};
    switch ((int)v->option[0]) {
    case MSE:
        out[0] = pal_mse(in[0], in[1], o);
        return;
    case MAE:
        out[0] = pal_mae(in[0], in[1], o);
        return;
    case HUBER:
        out[0] = pal_huber(in[0], in[1], o);
        return;
    default:
        out[0] = pal_bce_logits(in[0], in[1], o);
    }
}

static long double log_sigmoid(long double x)
{
    return x < 0 ? x - log1pl(expl(x)) : -log1pl(expl(-x));
}

static long double loss(const pal_variant *v, double x, double t, double p)
{
    const double delta = v->option[2] > 0 ? v->option[2] : 1;
    const long double d = fabsl((long double)x - t);
    switch ((int)v->option[0]) {
    case MSE:
        return d * d;
    case MAE:
        return d;
    case HUBER:
        return d <= delta ? d * d / 2 : delta * (d - delta / 2);
    default:
        return -p * t * log_sigmoid(x) - (1 - t) * log_sigmoid(-x);
    }
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    const int reduction = (int)v->option[1];
    long double sum = 0, total = 0;
    pal_ref_shape(out, reduction == PAL_REDUCE_NONE ? pal_array_shape(&in[0]) : PAL_SCALAR);
    for (int64_t i = 0; i < pal_array_count(&in[0]); i++) {
        double w = in[2].data ? pal_ref_broadcast(&in[2], &in[0], i) : 1;
        double p = in[3].data ? pal_ref_broadcast(&in[3], &in[0], i) : 1;
        long double l = w * loss(v, pal_ref_get(&in[0], i), pal_ref_get(&in[1], i), p);
        if (reduction == PAL_REDUCE_NONE) ((double *)out->data)[i] = (double)l;
        sum += l;
        total += w;
    }
    if (reduction == PAL_REDUCE_NONE) return;
    *(double *)out->data = (double)(reduction == PAL_REDUCE_MEAN && total > 0 ? sum / total : sum);
}

#define V(n, ...) \
    .name = n, .nin = 4, .nout = 1, .build = build, .reference = reference, .option = {__VA_ARGS__}
#define S(...) .shape = PAL_DIMS(__VA_ARGS__)
#define WEIGHT(...)                                              \
    {                                                            \
        S(__VA_ARGS__), .low = 0.25, .high = 2, .constant = true \
    }
#define NONE                 \
    {                        \
        S(1), .absent = true \
    }
/* x and targets that are never equal, and never at the distance of Huber's corner. */
#define APART(...) \
    {S(__VA_ARGS__), .low = 0.7, .high = 0.9}, { S(__VA_ARGS__), .low = -0.2, .high = 0 }
#define BITS(...) \
    {S(__VA_ARGS__), .low = -6, .high = 6}, { S(__VA_ARGS__), .low = 0, .high = 1 }

static const pal_variant variants[] = {
    {V("mse", MSE, PAL_REDUCE_MEAN), .in = {{S(3, 5)}, {S(3, 5)}, NONE, NONE}},
    {V("mse sum, weights", MSE, PAL_REDUCE_SUM), .in = {{S(3, 5)}, {S(3, 5)}, WEIGHT(3, 5), NONE}},
    {V("mse mean, weights of rows", MSE, PAL_REDUCE_MEAN),
     .in = {{S(3, 5)}, {S(3, 5)}, WEIGHT(3, 1), NONE}},
    {V("mse none", MSE, PAL_REDUCE_NONE), .in = {{S(2, 3, 4)}, {S(2, 3, 4)}, WEIGHT(4), NONE}},
    {V("mse of scalars", MSE, PAL_REDUCE_MEAN),
     .in = {{.low = 0, .high = 1}, {.low = 0}, NONE, NONE}},
    {V("mse of none", MSE, PAL_REDUCE_MEAN), .in = {{S(3, 0)}, {S(3, 0)}, NONE, NONE}},
    {V("mse of none, none", MSE, PAL_REDUCE_NONE), .in = {{S(0, 2)}, {S(0, 2)}, NONE, NONE}},
    {V("mse, all weights 0", MSE, PAL_REDUCE_MEAN),
     .in = {{S(3)}, {S(3)}, {S(3), .low = 0, .high = 1e-300, .constant = true}, NONE}},
    {V("mse, target constant", MSE, PAL_REDUCE_MEAN),
     .in = {{S(3, 5)}, {S(3, 5), .constant = true}, NONE, NONE}},
    {V("mse large", MSE, PAL_REDUCE_MEAN), .in = {{S(170, 211)}, {S(170, 211)}, WEIGHT(211), NONE}},
    {V("mae", MAE, PAL_REDUCE_MEAN), .in = {APART(4, 3), NONE, NONE}},
    {V("mae none", MAE, PAL_REDUCE_NONE), .in = {APART(4, 3), WEIGHT(4, 1), NONE}},
    {V("huber inside", HUBER, PAL_REDUCE_MEAN, 2), .in = {APART(4, 3), NONE, NONE}},
    {V("huber outside", HUBER, PAL_REDUCE_SUM, 0.5), .in = {APART(4, 3), WEIGHT(3), NONE}},
    {V("huber of 1", HUBER, PAL_REDUCE_NONE, 0),
     .in = {{S(9), .low = 1.1, .high = 2}, {S(9), .low = -1, .high = 0}, NONE, NONE}},
    {V("huber large", HUBER, PAL_REDUCE_NONE, 2), .in = {APART(3, 11003), NONE, NONE}},
    {V("bce", BCE, PAL_REDUCE_MEAN), .in = {BITS(5, 3), NONE, NONE}},
    {V("bce pos_weight", BCE, PAL_REDUCE_SUM), .in = {BITS(5, 3), NONE, WEIGHT(3)}},
    {V("bce both weights", BCE, PAL_REDUCE_MEAN), .in = {BITS(5, 3), WEIGHT(5, 1), WEIGHT(3)}},
    {V("bce none", BCE, PAL_REDUCE_NONE), .in = {BITS(2, 3, 4), WEIGHT(2, 3, 4), WEIGHT(1)}},
    {V("bce far", BCE, PAL_REDUCE_NONE),
     .in = {{S(40), .low = -900, .high = 900}, {S(40), .low = 0, .high = 1}, NONE, NONE}},
    {V("bce of none", BCE, PAL_REDUCE_SUM), .in = {BITS(0), NONE, NONE}},
};

const pal_case pal_case_loss = {
    .name = "loss", .count = sizeof variants / sizeof variants[0], .variants = variants};
