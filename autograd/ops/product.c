/*
 * product.c - products of matrices whose batch axes broadcast, and their sums over those axes.
 *
 * If one matrix serves a whole batch, its gradient is a sum of products. If strides allow, the
 * batch axis joins the inner axis of the product, so that the gradient of a weight is one large
 * product. Otherwise the products are added one after the other.
 */
#include "autograd/ops/product.h"

#include "autograd/ops/shape.h"
#include "tensor/products.h"

pal_array pal_array_transposed(const pal_array *a)
{
    pal_array t = *a;
    int i = a->ndim - 2, j = a->ndim - 1;
    t.shape[i] = a->shape[j], t.shape[j] = a->shape[i];
    t.stride[i] = a->stride[j], t.stride[j] = a->stride[i];
    return t;
}

/* Adds axes of size 1 in front, up to ndim axes. */
static pal_array padded(const pal_array *a, int ndim)
{
    pal_array p = *a;
    int added = ndim - a->ndim;
    p.ndim = ndim;
    for (int d = ndim - 1; d >= 0; d--) {
        p.shape[d] = d < added ? 1 : a->shape[d - added];
        p.stride[d] = d < added ? 0 : a->stride[d - added];
    }
    return p;
}

/* Entry i of an axis, which stays with size 1; for an axis of size 1, its only entry. */
static pal_array entry(const pal_array *a, int axis, int64_t i)
{
    pal_array e = *a;
    if (a->shape[axis] != 1)
        e.data = (char *)a->data + i * a->stride[axis] * (int64_t)pal_dtype_size(a->dtype);
    e.shape[axis] = 1;
    return e;
}

/* Joins axis d with the inner axis of the product, if the layout of both operands allows it. */
static bool join(pal_array *a, pal_array *b, int d)
{
    int row = a->ndim - 2, column = a->ndim - 1;
    int64_t k = a->shape[column], n = a->shape[d];
    if (b->shape[d] != n) return false;
    if (k == 1) { /* an inner axis of size 1 may have any stride */
        a->stride[column] = a->stride[d];
        b->stride[row] = b->stride[d];
    } else if (a->stride[d] != k * a->stride[column] || b->stride[d] != k * b->stride[row]) {
        return false;
    }
    a->shape[column] = b->shape[row] = k * n;
    a->shape[d] = b->shape[d] = 1;
    return true;
}

/* The last leading axis that an operand has and c does not have, or -1. */
static int summed_axis(const pal_array *a, const pal_array *b, const pal_array *c)
{
    for (int d = c->ndim - 3; d >= 0; d--)
        if (c->shape[d] == 1 && (a->shape[d] != 1 || b->shape[d] != 1)) return d;
    return -1;
}

static void sum_products(const pal_array *a, const pal_array *b, bool add, const pal_array *c)
{
    pal_array left = *a, right = *b;
    int d = summed_axis(&left, &right, c);
    while (d >= 0 && join(&left, &right, d)) d = summed_axis(&left, &right, c);
    if (d < 0) {
        pal_matmul_arrays(1, &left, &right, add, c);
        return;
    }
    int64_t n = left.shape[d] != 1 ? left.shape[d] : right.shape[d];
    if (n == 0 && !add) pal_array_fill(c, 0);
    for (int64_t i = 0; i < n; i++) {
        pal_array ai = entry(&left, d, i), bi = entry(&right, d, i);
        sum_products(&ai, &bi, add || i > 0, c);
    }
}

pal_status pal_product_ready(pal_call *call, double multiplications)
{
    enum { SMALL = 8192 }; /* as in tensor/blas.c */
    if (multiplications <= SMALL || pal_blas_ready()) return PAL_OK;
    return pal_call_error(call, PAL_ENOMEM, "out of memory for a product of matrices");
}

void pal_product_sum(const pal_array *a, const pal_array *b, bool add, const pal_array *c)
{
    int ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    if (c->ndim > ndim) ndim = c->ndim;
    pal_array pa = padded(a, ndim), pb = padded(b, ndim), pc = padded(c, ndim);
    if (pal_array_count(c) > 0) sum_products(&pa, &pb, add, &pc);
}

/* ---- In bf16 ---- */

bool pal_call_narrow(const pal_call *call)
{
    return ((const pal_record *)(const void *)call)->products == PAL_BF16;
}

pal_status pal_narrow_need(pal_call *call, int i)
{
    const pal_array *in = call->in[i];
    if (in && (in->dtype == PAL_F32 || in->dtype == PAL_BF16)) return PAL_OK;
    char name[32];
    pal_arg_name(call->op->args, i, name);
    if (!in) return pal_call_error(call, PAL_EVALUE, "argument %s is missing", name);
    return pal_call_error(call, PAL_EDTYPE, "argument %s is %s, but a product in bf16 takes f32",
                          name, pal_dtype_name(in->dtype));
}

pal_status pal_narrow_ready(pal_call *call, double multiplications)
{
    const pal_status status = pal_product_ready(call, multiplications);
    if (status != PAL_OK || pal_widen_ready()) return status;
    return pal_call_error(call, PAL_ENOMEM, "out of memory for a product of matrices");
}

pal_array pal_narrow(const pal_array *a, pal_carver *c)
{
    if (a->dtype == PAL_BF16) return *a;
    const pal_shape shape = pal_array_shape(a);
    void *memory = pal_carve(c, pal_shape_bytes(PAL_BF16, shape));
    const pal_array narrow = pal_array_of(PAL_BF16, shape, memory);
    if (memory) pal_array_assign(&narrow, a);
    return narrow;
}

/* The parameter whose copy serves as in[i], or NULL. */
static pal_node *narrowed_param(const pal_call *call, int i)
{
    pal_node *base = ((const pal_record *)(const void *)call)->in[i]->base;
    const bool serves = base->param >= 0 && !pal_node_kept(base) && base->a.dtype == PAL_F32 &&
                        pal_array_contiguous(&base->a);
    return serves ? base : NULL;
}

pal_status pal_narrow_weight_ready(pal_call *call, int i)
{
    pal_node *param = narrowed_param(call, i);
    if (!param || pal_params_narrow(param)) return PAL_OK;
    return pal_call_error(call, PAL_ENOMEM, "out of memory for a weight in bf16");
}

pal_array pal_narrow_weight(const pal_call *call, int i, pal_carver *c)
{
    pal_node *param = narrowed_param(call, i);
    if (!param) return pal_narrow(call->in[i], c);
    pal_array narrow = *call->in[i];
    narrow.dtype = PAL_BF16;
    narrow.data = pal_params_narrow(param) +
                  ((const float *)call->in[i]->data - (const float *)param->a.data);
    return narrow;
}

void pal_call_scratch_at_least(pal_call *call, size_t forward_bytes, size_t backward_bytes)
{
    pal_record *r = (pal_record *)(void *)call;
    if (forward_bytes > r->forward_scratch) r->forward_scratch = forward_bytes;
    if (backward_bytes > r->backward_scratch) r->backward_scratch = backward_bytes;
}
