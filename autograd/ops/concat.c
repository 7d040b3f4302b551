/*
 * concat.c - concat and stack. Each input is copied to its range of the result, and its gradient is
 * that range of the result's gradient.
 */
#include "autograd/ops/map.h"
#include "autograd/ops/shape.h"

static pal_status check_part(pal_call *call, int axis, int i)
{
    const pal_array *first = call->in[0], *part = call->in[i];
    pal_status status = pal_map_need(call, i, true, true);
    if (status != PAL_OK) return status;
    if (part->dtype != first->dtype)
        return pal_call_error(call, PAL_EDTYPE, "parts 0 and %d have different dtypes", i);
    bool same = part->ndim == first->ndim;
    for (int d = 0; d < first->ndim && same; d++)
        same = d == axis || part->shape[d] == first->shape[d];
    if (same) return PAL_OK;
    return pal_call_error(call, PAL_ESHAPE, "parts 0 and %d differ in more than axis %d", i, axis);
}

static pal_status infer(pal_call *call)
{
    int given = *(const int *)call->opts;
    const pal_array *first = call->in[0];
    pal_status status = pal_map_need(call, 0, true, true);
    if (status != PAL_OK) return status;
    int axis = pal_axis(given, first->ndim);
    if (axis < 0) return pal_axis_error(call, given, first);
    pal_shape shape = pal_array_shape(first);
    for (int i = 1; i < call->nin; i++) {
        status = check_part(call, axis, i);
        if (status != PAL_OK) return status;
        if (__builtin_add_overflow(shape.dim[axis], call->in[i]->shape[axis], &shape.dim[axis]))
            shape.dim[axis] = -1;
    }
    return pal_call_out(call, 0, first->dtype, shape);
}

/* The range of y that input i fills; y has the shape of the result. *at moves past the range. */
static pal_array range_of(const pal_call *call, const pal_array *y, int i, int64_t *at)
{
    int axis = pal_axis(*(const int *)call->opts, y->ndim);
    int64_t n = call->in[i]->shape[axis];
    pal_array r = pal_axis_range(y, axis, *at, n, 1);
    *at += n;
    return r;
}

static void forward(const pal_call *call)
{
    int64_t at = 0;
    for (int i = 0; i < call->nin; i++) {
        pal_array to = range_of(call, call->out[0], i, &at);
        pal_array_assign(&to, call->in[i]);
    }
}

static void backward(const pal_call *call)
{
    int64_t at = 0;
    for (int i = 0; i < call->nin; i++) {
        pal_array g = range_of(call, call->dout[0], i, &at);
        pal_give_gradient(call, i, &g);
    }
}

static const pal_op concat_op = {.name = "concat",
                                 .args = "part",
                                 .infer = infer,
                                 .forward = forward,
                                 .backward = backward,
                                 .unread_in = ~0u,
                                 .unread_out = 1,
                                 .overwrites = ~0u};

pal_tensor pal_concat(int n, const pal_tensor *parts, int axis)
{
    pal_tensor y;
    pal_apply(&concat_op, &axis, sizeof axis, n > 0 ? n : 0, parts, 1, &y);
    return y;
}

/* ---- stack ---- */

/*
 * stack is not a concat of unsqueezed inputs: inputs may be parameters, which have no views, and
 * there may be any number of them.
 */
static pal_status stack_infer(pal_call *call)
{
    int given = *(const int *)call->opts;
    const pal_array *first = call->in[0];
    for (int i = 0; i < call->nin; i++) {
        pal_status status = check_part(call, -1, i);
        if (status != PAL_OK) return status;
    }
    if (first->ndim == PAL_MAX_DIMS)
        return pal_call_error(call, PAL_ESHAPE, "more than %d dimensions", PAL_MAX_DIMS);
    int axis = pal_axis(given, first->ndim + 1);
    if (axis < 0)
        return pal_call_error(call, PAL_EVALUE, "axis %d is not between %d and %d", given,
                              -first->ndim - 1, first->ndim);
    pal_shape shape = {.ndim = first->ndim + 1};
    for (int d = 0; d < shape.ndim; d++)
        shape.dim[d] = d < axis ? first->shape[d] : d == axis ? call->nin : first->shape[d - 1];
    return pal_call_out(call, 0, first->dtype, shape);
}

/* Entry i of the new axis of y, which has the shape of the result. */
static pal_array layer_of(const pal_call *call, const pal_array *y, int i)
{
    int axis = pal_axis(*(const int *)call->opts, y->ndim);
    pal_array l = pal_axis_range(y, axis, i, 1, 1);
    l.ndim--;
    for (int d = axis; d < l.ndim; d++) {
        l.shape[d] = y->shape[d + 1];
        l.stride[d] = y->stride[d + 1];
    }
    return l;
}

static void stack_forward(const pal_call *call)
{
    for (int i = 0; i < call->nin; i++) {
        pal_array to = layer_of(call, call->out[0], i);
        pal_array_assign(&to, call->in[i]);
    }
}

static void stack_backward(const pal_call *call)
{
    for (int i = 0; i < call->nin; i++) {
        pal_array g = layer_of(call, call->dout[0], i);
        pal_give_gradient(call, i, &g);
    }
}

static const pal_op stack_op = {.name = "stack",
                                .args = "part",
                                .infer = stack_infer,
                                .forward = stack_forward,
                                .backward = stack_backward,
                                .unread_in = ~0u,
                                .unread_out = 1,
                                .overwrites = ~0u};

pal_tensor pal_stack(int n, const pal_tensor *parts, int axis)
{
    pal_tensor y;
    pal_apply(&stack_op, &axis, sizeof axis, n > 0 ? n : 0, parts, 1, &y);
    return y;
}
