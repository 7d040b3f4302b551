/*
 * linear.c - x W^T + bias: the product that layers are made of.
 *
 * A parameter is on no tape, so no transposed view of it can be made; this operation reads it as it
 * is stored. All rows of x form one product, and so do those of the gradient of W.
 */
#include "autograd/ops/map.h"
#include "autograd/ops/product.h"
#include "autograd/ops/shape.h"

/* A single row counts as a matrix of one. */
static pal_array as_rows(const pal_array *a)
{
    pal_array r = *a;
    if (a->ndim > 1) return r;
    r.ndim = 2;
    r.shape[0] = 1, r.shape[1] = a->shape[0];
    r.stride[0] = 0, r.stride[1] = a->stride[0];
    return r;
}

static pal_status infer(pal_call *call)
{
    const pal_array *x = call->in[0], *w = call->in[1], *bias = call->in[2];
    for (int i = 0; i < (bias ? 3 : 2); i++) {
        pal_status status = pal_map_need(call, i, true, false);
        if (status != PAL_OK) return status;
        if (call->in[i]->dtype != x->dtype)
            return pal_call_error(call, PAL_EDTYPE, "the dtypes differ");
    }
    if (x->ndim < 1) return pal_call_error(call, PAL_ESHAPE, "x has no axis to multiply along");
    if (w->ndim != 2)
        return pal_call_error(call, PAL_ESHAPE, "weight has %d axes, not two", w->ndim);
    pal_shape shape = pal_array_shape(x);
    int64_t d = shape.dim[x->ndim - 1];
    if (d != w->shape[1])
        return pal_call_error(call, PAL_ESHAPE,
                              "rows of x have %lld entries and rows of weight %lld", (long long)d,
                              (long long)w->shape[1]);
    if (bias && (bias->ndim != 1 || bias->shape[0] != w->shape[0]))
        return pal_call_error(call, PAL_ESHAPE, "bias is not of shape [%lld]",
                              (long long)w->shape[0]);
    shape.dim[x->ndim - 1] = w->shape[0];
    pal_status status = pal_call_out(call, 0, x->dtype, shape);
    if (status == PAL_OK)
        status = pal_product_ready(call, (double)pal_shape_count(shape) * (double)d);
    return status == PAL_OK && bias ? pal_map_scratch(call) : status;
}

static void forward(const pal_call *call)
{
    pal_array x = as_rows(call->in[0]), y = as_rows(call->out[0]);
    pal_array wt = pal_array_transposed(call->in[1]);
    if (call->in[2]) pal_array_assign(call->out[0], call->in[2]);
    pal_product_sum(&x, &wt, call->in[2] != NULL, &y);
}

/* dx = dy W, dW = dy^T x summed over all rows, dbias = the sum of the rows of dy. */
static void backward(const pal_call *call)
{
    pal_array x = as_rows(call->in[0]), dy = as_rows(call->dout[0]);
    if (call->din[0]) {
        pal_array dx = as_rows(call->din[0]);
        pal_product_sum(&dy, call->in[1], !pal_call_fresh(call, 0), &dx);
    }
    if (call->din[1]) {
        pal_array dyt = pal_array_transposed(&dy);
        pal_product_sum(&dyt, &x, !pal_call_fresh(call, 1), call->din[1]);
    }
    pal_map_fn copy = {.nin = 1};
    if (call->in[2]) pal_map_backward(call, 2, &copy, call->dout);
}

static const pal_op linear_op = {.name = "linear",
                                 .args = "x weight bias",
                                 .infer = infer,
                                 .forward = forward,
                                 .backward = backward,
                                 .unread_in = 4,
                                 .unread_out = 1,
                                 .overwrites = 7};

pal_tensor pal_linear(pal_tensor x, pal_tensor weight, pal_tensor bias)
{
    pal_tensor y;
    pal_apply(&linear_op, NULL, 0, 3, (pal_tensor[]){x, weight, bias}, 1, &y);
    return y;
}
