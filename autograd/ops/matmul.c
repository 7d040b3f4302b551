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

/* Operands of bf16, of which one may be f32, have a product in f32. */
static bool is_narrow(const pal_call *call)
{
    const pal_array *a = call->in[0], *b = call->in[1];
    return a && b && (a->dtype == PAL_BF16 || b->dtype == PAL_BF16);
}

/* The operands, and dy after them, as the products read them. dy NULL: it is not asked for. */
static void operands(const pal_call *call, const pal_array *dy, pal_carver *c, pal_array out[3])
{
    const pal_array *in[3] = {call->in[0], call->in[1], dy};
    for (int i = 0; i < (dy ? 3 : 2); i++) out[i] = is_narrow(call) ? pal_narrow(in[i], c) : *in[i];
}

static pal_status ask_scratch(pal_call *call)
{
    pal_carver c = {0};
    pal_array all[3], y = *call->out[0];
    operands(call, NULL, &c, all);
    const size_t forward = c.used;
    c.used = 0;
    operands(call, &y, &c, all);
    pal_call_scratch_at_least(call, forward, c.used);
    return PAL_OK;
}

static pal_status infer(pal_call *call)
{
    const bool narrow = is_narrow(call);
    for (int i = 0; i < 2; i++) {
        pal_status status = narrow ? pal_narrow_need(call, i) : pal_map_need(call, i, true, false);
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
    if (!narrow && a->dtype != b->dtype)
        return pal_call_error(call, PAL_EDTYPE, "the dtypes differ");
    if (k != inner)
        return pal_call_error(call, PAL_ESHAPE, "the inner sizes %lld and %lld differ",
                              (long long)k, (long long)inner);
    if (pal_shape_broadcast(batch_of(a), batch_of(b), &shape) != PAL_OK)
        return pal_call_error(call, PAL_ESHAPE, "the leading axes do not broadcast");
    shape.dim[shape.ndim++] = m;
    shape.dim[shape.ndim++] = n;
    pal_status status = pal_call_out(call, 0, narrow ? PAL_F32 : a->dtype, shape);
    const double multiplications = (double)pal_shape_count(shape) * (double)k;
    if (status != PAL_OK) return status;
    if (!narrow) return pal_product_ready(call, multiplications);
    status = pal_narrow_ready(call, multiplications);
    return status == PAL_OK ? ask_scratch(call) : status;
}

static void forward(const pal_call *call)
{
    pal_carver c = {.base = call->scratch};
    pal_array in[3];
    operands(call, NULL, &c, in);
    pal_product_sum(&in[0], &in[1], false, call->out[0]);
}

/* da = dy b^T, db = a^T dy, summed over the batch axes along which a or b was repeated. */
static void backward(const pal_call *call)
{
    pal_carver c = {.base = call->scratch};
    pal_array in[3];
    operands(call, call->dout[0], &c, in);
    if (call->din[0]) {
        pal_array bt = pal_array_transposed(&in[1]);
        pal_product_sum(&in[2], &bt, !pal_call_fresh(call, 0), call->din[0]);
    }
    if (call->din[1]) {
        pal_array at = pal_array_transposed(&in[0]);
        pal_product_sum(&at, &in[2], !pal_call_fresh(call, 1), call->din[1]);
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
