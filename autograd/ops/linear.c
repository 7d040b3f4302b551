/*
 * linear.c - x W^T + bias: the product that layers are made of.
 *
 * A parameter is on no tape, so no transposed view of it can be made; this operation reads it as it
 * is stored. All rows of x form one product, and so do those of the gradient of W.
 */
#include "autograd/ops/map.h"
#include "autograd/ops/product.h"
#include "autograd/ops/shape.h"
#include "tensor/rows.h"

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

/* Whether the operands are rounded to bf16: if one of them is bf16, or where the tape says so. */
static bool is_narrow(const pal_call *call)
{
    const pal_array *x = call->in[0], *w = call->in[1];
    if (!x || !w) return false;
    return x->dtype == PAL_BF16 || w->dtype == PAL_BF16 ||
           (x->dtype == PAL_F32 && pal_call_narrow(call));
}

static pal_status check_dtypes(pal_call *call)
{
    const pal_array *x = call->in[0], *bias = call->in[2];
    pal_status status = PAL_OK;
    const bool narrow = is_narrow(call);
    for (int i = 0; i < 2 && narrow && status == PAL_OK; i++) status = pal_narrow_need(call, i);
    for (int i = narrow ? 2 : 0; i < (bias ? 3 : 2) && status == PAL_OK; i++) {
        status = pal_map_need(call, i, true, false);
        if (status == PAL_OK && call->in[i]->dtype != (narrow ? PAL_F32 : x->dtype))
            status = pal_call_error(call, PAL_EDTYPE, "the dtypes differ");
    }
    return status;
}

/* The operands of a product in bf16. What backward has no use for is not asked for. */
typedef struct operands {
    pal_array x, w, dy;
} operands;

static operands narrowed(const pal_call *call, bool back, pal_carver *c)
{
    operands o;
    pal_array x = as_rows(call->in[0]), dy = as_rows(back ? call->dout[0] : call->out[0]);
    dy.dtype = PAL_F32;
    o.x = pal_narrow(&x, c);
    o.w = pal_narrow_weight(call, 1, c);
    o.dy = dy;
    if (back) o.dy = pal_narrow(&dy, c);
    return o;
}

/* A few rows of f32 and a weight that is stored in bf16, as in decoding: x is not rounded. */
static bool is_thin(const pal_call *call)
{
    const pal_array *x = call->in[0], *w = call->in[1];
    const int64_t k = w->shape[1];
    return w->dtype == PAL_BF16 && x->dtype == PAL_F32 && w->stride[1] == 1 && k > 0 &&
           pal_array_count(x) <= PAL_ROWS_MOST * k && (x->ndim < 3 || pal_array_contiguous(x)) &&
           !pal_call_narrow(call);
}

/* After all other checks. */
static pal_status ask_narrow(pal_call *call, double multiplications)
{
    pal_carver c = {0};
    pal_status status = pal_narrow_ready(call, multiplications);
    if (status == PAL_OK) status = pal_narrow_weight_ready(call, 1);
    if (status != PAL_OK) return status;
    (void)narrowed(call, false, &c);
    size_t forward = c.used;
    if (is_thin(call)) {
        const int64_t k = call->in[1]->shape[1], n = call->in[1]->shape[0];
        const size_t thin = pal_rows_bytes(pal_array_count(call->in[0]) / k, k);
        if (thin > forward) forward = thin;
        pal_call_work(call, n * k / 8 + 1); /* about a nanosecond each */
    }
    pal_carve(&c, pal_shape_bytes(PAL_BF16, pal_array_shape(call->out[0])));
    pal_call_scratch_at_least(call, forward, c.used);
    return PAL_OK;
}

static pal_status infer(pal_call *call)
{
    const pal_array *x = call->in[0], *w = call->in[1], *bias = call->in[2];
    pal_status status = check_dtypes(call);
    if (status != PAL_OK) return status;
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
    const bool narrow = is_narrow(call);
    status = pal_call_out(call, 0, narrow ? PAL_F32 : x->dtype, shape);
    const double multiplications = (double)pal_shape_count(shape) * (double)d;
    if (status == PAL_OK && bias) status = pal_map_scratch(call);
    if (status != PAL_OK) return status;
    return narrow ? ask_narrow(call, multiplications) : pal_product_ready(call, multiplications);
}

/* x as rows of k; only its last two axes have more than one entry, or it is contiguous. */
static void forward_thin(const pal_call *call)
{
    const pal_array *x = call->in[0], *w = call->in[1], *y = call->out[0];
    const int64_t k = w->shape[1], n = w->shape[0], rows = pal_array_count(x) / k;
    const int64_t row = x->ndim == 2 ? x->stride[0] : k;
    if (call->in[2]) pal_array_assign(y, call->in[2]);
    pal_rows_product(rows, n, k, x->data, row, x->stride[x->ndim - 1], w->data, w->stride[0],
                     call->in[2] != NULL, y->data, n, call->scratch, call->team);
}

static void forward(const pal_call *call)
{
    pal_array x = as_rows(call->in[0]), y = as_rows(call->out[0]), w = *call->in[1];
    pal_carver c = {.base = call->scratch};
    if (is_thin(call)) {
        forward_thin(call);
        return;
    }
    if (is_narrow(call)) {
        const operands o = narrowed(call, false, &c);
        x = o.x, w = o.w;
    }
    pal_array wt = pal_array_transposed(&w);
    if (call->in[2]) pal_array_assign(call->out[0], call->in[2]);
    pal_product_sum(&x, &wt, call->in[2] != NULL, &y);
}

/* dx = dy W, dW = dy^T x summed over all rows, dbias = the sum of the rows of dy. */
static void backward(const pal_call *call)
{
    pal_array x = as_rows(call->in[0]), dy = as_rows(call->dout[0]), w = *call->in[1];
    pal_carver c = {.base = call->scratch};
    if (is_narrow(call)) {
        const operands o = narrowed(call, true, &c);
        x = o.x, w = o.w, dy = o.dy;
    }
    if (call->din[0]) {
        pal_array dx = as_rows(call->din[0]);
        pal_product_sum(&dy, &w, !pal_call_fresh(call, 0), &dx);
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
