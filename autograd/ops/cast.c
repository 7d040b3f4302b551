/* cast.c - changes the dtype. A gradient passes between reals and bf16, and stops at i64. */
#include "autograd/ops/map.h"

static pal_status infer(pal_call *call)
{
    pal_dtype to = *(const pal_dtype *)call->opts;
    pal_status status = pal_map_given(call, 0);
    if (status != PAL_OK) return status;
    if (!pal_dtype_known(to)) return pal_call_error(call, PAL_EDTYPE, "%d is not a dtype", (int)to);
    return pal_call_out(call, 0, to, pal_array_shape(call->in[0]));
}

static void forward(const pal_call *call)
{
    pal_status fits = pal_array_copy(call->out[0], call->in[0], NULL);
    (void)fits; /* the shapes are equal */
}

static void backward(const pal_call *call)
{
    pal_map_fn copy = {.nin = 1}; /* converts to the dtype of din[0] */
    pal_map_backward(call, 0, &copy, call->dout);
}

static const pal_op cast_op = {.name = "cast",
                               .args = "x",
                               .infer = infer,
                               .forward = forward,
                               .backward = backward,
                               .unread_in = 1,
                               .unread_out = 1,
                               .overwrites = 1};

pal_tensor pal_cast(pal_tensor x, pal_dtype dtype)
{
    pal_tensor y;
    pal_apply(&cast_op, &dtype, sizeof dtype, 1, &x, 1, &y);
    return y;
}
