/*
 * matmul.c - the batched matrix product. A transpose is only a change of strides, in forward and in
 * backward: no operand is copied.
 */
#include "autograd/ops/map.h"
#include "autograd/ops/product.h"

/* The leading axes of a matrix batch. */
static pal_shape batch_of(const pal_array *a)
{
    pal_shape s = pal_array_shape(a);
    s.ndim -= 2;
    return s;
}

static pal_status infer(pal_call *call)
{
    for (int i = 0; i < 2; i++) {
        pal_status status = pal_map_need(call, i, true, false);
        if (status != PAL_OK) return status;
        if (call->in[i]->ndim < 2)
            return pal_call_error(call, PAL_ESHAPE,
                                  "both operands need two axes or more; give a vector one of size "
                                  "1 by pal_unsqueeze");
    }
    const pal_array *a = call->in[0], *b = call->in[1];
    int64_t m = a->shape[a->ndim - 2], k = a->shape[a->ndim - 1];
    int64_t inner = b->shape[b->ndim - 2], n = b->shape[b->ndim - 1];
    pal_shape shape;
    if (a->dtype != b->dtype) return pal_call_error(call, PAL_EDTYPE, "the dtypes differ");
    if (k != inner)
        return pal_call_error(call, PAL_ESHAPE, "the inner sizes %lld and %lld differ",
                              (long long)k, (long long)inner);
    if (pal_shape_broadcast(batch_of(a), batch_of(b), &shape) != PAL_OK)
        return pal_call_error(call, PAL_ESHAPE, "the leading axes do not broadcast");
    shape.dim[shape.ndim++] = m;
    shape.dim[shape.ndim++] = n;
    pal_status status = pal_call_out(call, 0, a->dtype, shape);
    return status == PAL_OK ? pal_product_ready(call, (double)pal_shape_count(shape) * (double)k)
                            : status;
}

static void forward(const pal_call *call)
{
    pal_product_sum(call->in[0], call->in[1], false, call->out[0]);
}

/* da = dy b^T, db = a^T dy, summed over the batch axes along which a or b was repeated. */
static void backward(const pal_call *call)
{
    const pal_array *dy = call->dout[0];
    if (call->din[0]) {
        pal_array bt = pal_array_transposed(call->in[1]);
        pal_product_sum(dy, &bt, !pal_call_fresh(call, 0), call->din[0]);
    }
    if (call->din[1]) {
        pal_array at = pal_array_transposed(call->in[0]);
        pal_product_sum(&at, dy, !pal_call_fresh(call, 1), call->din[1]);
    }
}

static const pal_op matmul_op = {.name = "matmul",
                                 .args = "a b",
                                 .infer = infer,
                                 .forward = forward,
                                 .backward = backward,
                                 .unread_out = 1,
                                 .overwrites = 3};

pal_tensor pal_matmul(pal_tensor a, pal_tensor b)
{
    pal_tensor y;
    pal_apply(&matmul_op, NULL, 0, 2, (pal_tensor[]){a, b}, 1, &y);
    return y;
}
