/*
 * where.c - chooses between two values: where and masked_fill.
 *
 * Both choose, in forward and in backward; nothing is multiplied by a mask. So a NaN or an infinity
 * in the value that is not chosen reaches neither the result nor a gradient.
 */
#include "autograd/ops/map.h"

static void select_i64(int64_t n, const void *c, const void *a, const void *b, void *y)
{
    const int64_t *condition = c, *p = a, *q = b;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = condition[i] ? p[i] : q[i];
}

pal_map_fn pal_map_select(pal_dtype dtype)
{
    pal_map_fn fn = {.nin = 3, .conditions = 1};
    fn.f.three = dtype == PAL_I64 ? select_i64 : pal_kernels_for(dtype)->select;
    return fn;
}

/* An array of shape [] over *element, set to value. */
static pal_array scalar(pal_dtype dtype, double value, double *element)
{
    pal_array a = {.dtype = dtype, .data = element};
    pal_array_set(&a, NULL, value);
    return a;
}

/* ---- where ---- */

static pal_status where_infer(pal_call *call)
{
    pal_status status = PAL_OK;
    for (int i = 0; i < 3 && status == PAL_OK; i++) status = pal_map_need(call, i, true, true);
    if (status != PAL_OK) return status;
    if (call->in[1]->dtype != call->in[2]->dtype)
        return pal_call_error(call, PAL_EDTYPE, "the dtypes of a and b differ; see pal_cast");
    pal_shape shape = pal_array_shape(call->in[0]);
    for (int i = 1; i < 3; i++)
        if (pal_shape_broadcast(shape, pal_array_shape(call->in[i]), &shape) != PAL_OK)
            return pal_call_error(call, PAL_ESHAPE, "the shapes do not broadcast");
    status = pal_call_out(call, 0, call->in[1]->dtype, shape);
    return status == PAL_OK ? pal_map_scratch(call) : status;
}

static void where_forward(const pal_call *call)
{
    pal_map_fn fn = pal_map_select(call->out[0]->dtype);
    pal_map_forward(&fn, call->in, call->out[0], call->team);
}

static void where_backward(const pal_call *call)
{
    double element;
    pal_map_fn fn = pal_map_select(call->out[0]->dtype);
    pal_array zero = scalar(call->out[0]->dtype, 0, &element);
    const pal_array *c = call->in[0], *g = call->dout[0];
    pal_map_backward(call, 1, &fn, (const pal_array *[]){c, g, &zero});
    pal_map_backward(call, 2, &fn, (const pal_array *[]){c, &zero, g});
}

static const pal_op where_op = {.name = "where",
                                .args = "condition a b",
                                .infer = where_infer,
                                .forward = where_forward,
                                .backward = where_backward,
                                .unread_in = 6,
                                .unread_out = 1,
                                .overwrites = 6};

pal_tensor pal_where(pal_tensor condition, pal_tensor a, pal_tensor b)
{
    pal_tensor y;
    pal_apply(&where_op, NULL, 0, 3, (pal_tensor[]){condition, a, b}, 1, &y);
    return y;
}

/* ---- masked_fill ---- */

static pal_status masked_fill_infer(pal_call *call)
{
    pal_status status = PAL_OK;
    for (int i = 0; i < 2 && status == PAL_OK; i++) status = pal_map_need(call, i, true, true);
    if (status != PAL_OK) return status;
    pal_shape x = pal_array_shape(call->in[0]), both;
    if (pal_shape_broadcast(x, pal_array_shape(call->in[1]), &both) != PAL_OK ||
        !pal_shape_equal(x, both))
        return pal_call_error(call, PAL_ESHAPE, "the mask does not broadcast to x");
    return pal_call_out(call, 0, call->in[0]->dtype, x);
}

static void masked_fill_forward(const pal_call *call)
{
    double element;
    pal_map_fn fn = pal_map_select(call->out[0]->dtype);
    pal_array value = scalar(call->out[0]->dtype, *(const double *)call->opts, &element);
    pal_map_forward(&fn, (const pal_array *[]){call->in[1], &value, call->in[0]}, call->out[0],
                    call->team);
}

static void masked_fill_backward(const pal_call *call)
{
    double element;
    pal_map_fn fn = pal_map_select(call->out[0]->dtype);
    pal_array zero = scalar(call->out[0]->dtype, 0, &element);
    pal_map_backward(call, 0, &fn, (const pal_array *[]){call->in[1], &zero, call->dout[0]});
}

static const pal_op masked_fill_op = {.name = "masked_fill",
                                      .args = "x mask",
                                      .infer = masked_fill_infer,
                                      .forward = masked_fill_forward,
                                      .backward = masked_fill_backward,
                                      .unread_in = 1,
                                      .unread_out = 1,
                                      .overwrites = 1};

pal_tensor pal_masked_fill(pal_tensor x, pal_tensor mask, double value)
{
    pal_tensor y;
    pal_apply(&masked_fill_op, &value, sizeof value, 2, (pal_tensor[]){x, mask}, 1, &y);
    return y;
}
