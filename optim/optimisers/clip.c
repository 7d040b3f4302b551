/*
 * clip.c - the norm of all gradients, and scaling them down to a given one.
 */
#include "autograd/internal.h"
#include "optim/optimisers/internal.h"

#include <math.h>

void pal_scale_gradients(pal_params *params, double factor)
{
    for (pal_extent extent = {0}; pal_extent_next(params, NULL, &extent);) {
        pal_param_block b = pal_params_block_as_is(params, extent.block);
        if (!b.grad) continue; /* all are zero */
        pal_scale(b.dtype, extent.count, pal_element(b.dtype, b.grad, extent.offset), factor);
    }
}

pal_squares pal_gradient_squares(const pal_params *params, const pal_setting *setting)
{
    pal_squares sum = {0};
    for (pal_extent extent = {0}; pal_extent_next(params, setting, &extent);) {
        pal_param_block b = pal_params_block_as_is(params, extent.block);
        if (!b.grad) continue;
        pal_squares_add(&sum, pal_sum_square(b.dtype, extent.count,
                                             pal_element(b.dtype, b.grad, extent.offset)));
    }
    return sum;
}

double pal_clip_factor(double norm, double max_norm)
{
    if (!(max_norm > 0) || !isfinite(norm) || norm <= max_norm) return 1;
    return max_norm / (norm + 1e-6); /* as PyTorch: runs there and here agree */
}

double pal_clip_to(pal_params *params, double norm, double max_norm)
{
    const double factor = pal_clip_factor(norm, max_norm);
    if (factor != 1) pal_scale_gradients(params, factor);
    return norm;
}

double pal_clip_grad_norm(pal_params *params, double max_norm)
{
    return pal_clip_to(params, pal_squares_root(pal_gradient_squares(params, NULL)), max_norm);
}
