/*
 * map_op.c - operations that are nothing but a kernel: infer, forward and backward from a table
 * entry.
 */
#include "autograd/ops/map.h"

#include <string.h>

/* The kernel at a place in the table: every member is a pointer to a function. */
static pal_map_fn kernel_at(size_t place, pal_dtype dtype, int nin)
{
    pal_map_fn fn = {.nin = nin};
    memcpy(&fn.f, (const char *)(const void *)pal_kernels_for(dtype) + place, sizeof fn.f);
    return fn;
}

static const pal_map_op *op_of(const pal_call *call)
{
    return (const pal_map_op *)(const void *)call->op;
}

/* ---- Infer ---- */

pal_status pal_map_need(pal_call *call, int i, bool reals, bool integers)
{
    const pal_array *in = call->in[i];
    if (in && ((reals && pal_dtype_real(in->dtype)) || (integers && in->dtype == PAL_I64)))
        return PAL_OK;
    char name[32];
    pal_arg_name(call->op->args, i, name);
    if (!in) return pal_call_error(call, PAL_EVALUE, "argument %s is missing", name);
    return pal_call_error(call, PAL_EDTYPE, "argument %s is %s, but must be %s", name,
                          pal_dtype_name(in->dtype),
                          !reals     ? "i64"
                          : integers ? "f32, f64 or i64"
                                     : "f32 or f64");
}

pal_status pal_map_given(pal_call *call, int i)
{
    if (call->in[i] && call->in[i]->dtype == PAL_BF16) return PAL_OK;
    return pal_map_need(call, i, true, true);
}

static bool same_shape(const pal_array *a, const pal_array *b)
{
    if (a->ndim != b->ndim) return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->shape[i] != b->shape[i]) return false;
    return true;
}

pal_status pal_map_broadcast(pal_call *call, int n)
{
    pal_shape shape = pal_array_shape(call->in[0]);
    for (int i = 1; i < n; i++)
        if (!same_shape(call->in[0], call->in[i]) &&
            pal_shape_broadcast(shape, pal_array_shape(call->in[i]), &shape) != PAL_OK)
            return pal_call_error(call, PAL_ESHAPE, "the shapes do not broadcast");
    return pal_call_out(call, 0, call->in[0]->dtype, shape);
}

pal_status pal_map_op_infer(pal_call *call)
{
    const pal_map_op *op = op_of(call);
    pal_status status = PAL_OK;
    for (int i = 0; i < op->nin && status == PAL_OK; i++)
        status = pal_map_need(call, i, op->reals, op->integer.one != NULL);
    if (status != PAL_OK) return status;
    if (op->nin == 2 && call->in[0]->dtype != call->in[1]->dtype)
        return pal_call_error(call, PAL_EDTYPE, "the dtypes differ; see pal_cast");
    status = pal_map_broadcast(call, op->nin);
    return status == PAL_OK && call->op->backward ? pal_map_scratch(call) : status;
}

/* ---- Forward and backward ---- */

void pal_map_op_forward(const pal_call *call)
{
    const pal_map_op *op = op_of(call);
    pal_map_fn fn = {.nin = op->nin};
    if (pal_dtype_real(call->in[0]->dtype))
        fn = kernel_at(op->kernel, call->in[0]->dtype, op->nin);
    else if (op->nin == 1)
        fn.f.one = op->integer.one;
    else
        fn.f.two = op->integer.two;
    pal_map_forward(&fn, call->in, call->out[0], call->team);
}

static const pal_array *operand(const pal_call *call, unsigned which)
{
    switch (which) {
    case PAL_READS_A:
        return call->in[0];
    case PAL_READS_B:
        return call->in[1];
    case PAL_READS_Y:
        return call->out[0];
    default:
        return call->dout[0];
    }
}

void pal_map_op_backward(const pal_call *call)
{
    const pal_map_op *op = op_of(call);
    for (int i = 0; i < op->nin; i++) {
        const pal_array *x[3];
        int n = 0;
        for (unsigned left = op->d[i].operands; left; left >>= 4) x[n++] = operand(call, left & 15);
        pal_map_fn fn = {.nin = n};
        if (op->d[i].kernel != PAL_AT(copy))
            fn = kernel_at(op->d[i].kernel, call->out[0]->dtype, n);
        pal_map_backward(call, i, &fn, x);
    }
}

pal_tensor pal_map_op_apply1(const pal_map_op *op, pal_tensor x)
{
    pal_tensor y;
    pal_apply(&op->op, NULL, 0, 1, &x, 1, &y);
    return y;
}

pal_tensor pal_map_op_apply2(const pal_map_op *op, pal_tensor a, pal_tensor b)
{
    pal_tensor y;
    pal_apply(&op->op, NULL, 0, 2, (pal_tensor[]){a, b}, 1, &y);
    return y;
}
