/*
 * sums.c - gradients of what a head has once, for all tokens: A, D, the parameters of the decay,
 * biases. Each lane sums its own in doubles; they are added to the gradients in the order of lanes.
 */
#include "layers/rules/fused/fused.h"

/* The operands with values for each head, in the order of pal_head_grad.sums. sum_width says how
 * many elements the gradient of each has; it is 0 if the rule has no such operand. */
static const int by_head[] = {PAL_IN_A,      PAL_IN_D,      PAL_IN_A_LOG, PAL_IN_DT_BIAS,
                              PAL_IN_B_BIAS, PAL_IN_C_BIAS, PAL_IN_MIMO_X};
enum { BY_HEAD = sizeof by_head / sizeof *by_head };

static int64_t sum_width(const pal_fused *f, int place)
{
    if (f->at[place] < 0) return 0;
    if (place == PAL_IN_A || place == PAL_IN_D) return 1;
    if (place == PAL_IN_MIMO_X) return pal_fused_in(f, place) ? f->shape.ranks * f->shape.V : 0;
    if (place == PAL_IN_B_BIAS || place == PAL_IN_C_BIAS)
        return pal_fused_in(f, place) ? f->shape.ranks * f->shape.K : 0;
    if (!f->opts->activate) return 0;
    return place == PAL_IN_DT_BIAS && f->shape.channel_decay ? f->shape.K : 1;
}

int64_t pal_fused_sum_count(const pal_fused *f)
{
    int64_t n = 0;
    for (int i = 0; i < BY_HEAD; i++) n += sum_width(f, by_head[i]);
    return n;
}

double *pal_fused_sums_of(const pal_fused *f, int place, double *sums)
{
    if (!sum_width(f, place)) return NULL;
    for (int i = 0; by_head[i] != place; i++) sums += sum_width(f, by_head[i]);
    return sums;
}

/* Adds to element i of x in row-major order. */
static void add_at(const pal_array *x, int64_t i, double value)
{
    int64_t at[PAL_MAX_DIMS];
    for (int d = x->ndim - 1; d >= 0; i /= x->shape[d--]) at[d] = i % x->shape[d];
    pal_array_set(x, at, pal_array_get(x, at) + value);
}

void pal_fused_hand_out_sums(const pal_fused *f, const double *sums)
{
    for (int64_t lane = 0; lane < f->lanes; lane++)
        for (int i = 0; i < BY_HEAD; i++) {
            const int64_t width = sum_width(f, by_head[i]);
            const pal_array *d = width ? pal_fused_din(f, by_head[i]) : NULL;
            /* Value heads may share what belongs to key heads. */
            const int64_t heads = d ? pal_array_count(d) / width : f->HV;
            const int64_t first = pal_fused_value_head(f, lane) / (f->HV / heads) * width;
            for (int64_t j = 0; j < width && d; j++) add_at(d, first + j, sums[j]);
            sums += width;
        }
}
