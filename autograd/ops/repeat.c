/*
 * repeat.c - copies that enlarge or reverse one axis: repeat, repeat_interleave, pad and flip.
 *
 * The result consists of ranges that are copies of the input. Range i has the entries start, start
 * + step, ... of the axis. The gradient of the input is the sum over the ranges.
 */
#include "autograd/ops/map.h"
#include "autograd/ops/shape.h"

typedef enum form { REPEAT, INTERLEAVE, PAD, FLIP } form;

typedef struct copy_opts {
    form form;
    int axis;
    int64_t n, after; /* how often; for pad: entries before and after */
    double value;
} copy_opts;

static pal_status infer(pal_call *call)
{
    const copy_opts *o = call->opts;
    pal_status status = pal_map_need(call, 0, true, true);
    if (status != PAL_OK) return status;
    const pal_array *x = call->in[0];
    int axis = pal_axis(o->axis, x->ndim);
    if (axis < 0) return pal_axis_error(call, o->axis, x);
    if (o->n < 0 || o->after < 0)
        return pal_call_error(call, PAL_EVALUE, "%lld is negative",
                              (long long)(o->n < 0 ? o->n : o->after));
    pal_shape shape = pal_array_shape(x);
    int64_t *size = &shape.dim[axis];
    bool large = false;
    if (o->form == PAD)
        large = __builtin_add_overflow(*size, o->n, size) ||
                __builtin_add_overflow(*size, o->after, size);
    else if (o->form != FLIP)
        large = __builtin_mul_overflow(*size, o->n, size);
    if (large) *size = -1; /* pal_call_out will report it */
    return pal_call_out(call, 0, x->dtype, shape);
}

static int64_t ranges(const copy_opts *o)
{
    return o->form == REPEAT || o->form == INTERLEAVE ? o->n : 1;
}

/* Range i of y, which has the result's shape. It is as long as the axis of the input. */
static pal_array range(const pal_call *call, const pal_array *y, int64_t i)
{
    const copy_opts *o = call->opts;
    int axis = pal_axis(o->axis, y->ndim);
    int64_t n = call->in[0]->shape[axis];
    switch (o->form) {
    case REPEAT:
        return pal_axis_range(y, axis, i * n, n, 1);
    case INTERLEAVE:
        return pal_axis_range(y, axis, i, n, o->n);
    case PAD:
        return pal_axis_range(y, axis, o->n, n, 1);
    case FLIP:
        break;
    }
    return pal_axis_range(y, axis, n - 1, n, -1);
}

static void forward(const pal_call *call)
{
    const copy_opts *o = call->opts;
    if (o->form == PAD) pal_array_fill(call->out[0], o->value);
    for (int64_t i = 0; i < ranges(o); i++) {
        pal_array to = range(call, call->out[0], i);
        pal_array_assign(&to, call->in[0]);
    }
}

static void backward(const pal_call *call)
{
    for (int64_t i = 0; i < ranges(call->opts); i++) {
        pal_array g = range(call, call->dout[0], i);
        pal_array_add(call->din[0], &g);
    }
}

static const pal_op repeat_op = {.name = "repeat",
                                 .args = "x",
                                 .infer = infer,
                                 .forward = forward,
                                 .backward = backward,
                                 .unread_in = 1,
                                 .unread_out = 1};

static const pal_op interleave_op = {.name = "repeat_interleave",
                                     .args = "x",
                                     .infer = infer,
                                     .forward = forward,
                                     .backward = backward,
                                     .unread_in = 1,
                                     .unread_out = 1};

static const pal_op pad_op = {.name = "pad",
                              .args = "x",
                              .infer = infer,
                              .forward = forward,
                              .backward = backward,
                              .unread_in = 1,
                              .unread_out = 1};

static const pal_op flip_op = {.name = "flip",
                               .args = "x",
                               .infer = infer,
                               .forward = forward,
                               .backward = backward,
                               .unread_in = 1,
                               .unread_out = 1};

static pal_tensor apply(const pal_op *op, pal_tensor x, copy_opts opts)
{
    pal_tensor y;
    pal_apply(op, &opts, sizeof opts, 1, &x, 1, &y);
    return y;
}

pal_tensor pal_repeat(pal_tensor x, int axis, int64_t n)
{
    return apply(&repeat_op, x, (copy_opts){.form = REPEAT, .axis = axis, .n = n});
}

pal_tensor pal_repeat_interleave(pal_tensor x, int axis, int64_t n)
{
    return apply(&interleave_op, x, (copy_opts){.form = INTERLEAVE, .axis = axis, .n = n});
}

pal_tensor pal_pad(pal_tensor x, int axis, int64_t before, int64_t after, double value)
{
    copy_opts o = {.form = PAD, .axis = axis, .n = before, .after = after, .value = value};
    return apply(&pad_op, x, o);
}

pal_tensor pal_flip(pal_tensor x, int axis)
{
    return apply(&flip_op, x, (copy_opts){.form = FLIP, .axis = axis});
}
