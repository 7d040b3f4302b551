/* copy.c - copies the elements to new memory: contiguous and expand. */
#include "autograd/ops/map.h"

static void forward(const pal_call *call)
{
    pal_status fits = pal_array_copy(call->out[0], call->in[0], NULL);
    (void)fits; /* infer has checked that in[0] broadcasts */
}

static void backward(const pal_call *call)
{
    pal_map_fn copy = {.nin = 1};
    pal_map_backward(call, 0, &copy, call->dout);
}

/* ---- contiguous ---- */

static pal_status contiguous_infer(pal_call *call)
{
    pal_status status = pal_map_given(call, 0);
    return status == PAL_OK ? pal_map_broadcast(call, 1) : status;
}

static const pal_op contiguous_op = {.name = "contiguous",
                                     .args = "x",
                                     .infer = contiguous_infer,
                                     .forward = forward,
                                     .backward = backward,
                                     .unread_in = 1,
                                     .unread_out = 1,
                                     .overwrites = 1};

pal_tensor pal_contiguous(pal_tensor x)
{
    pal_tensor y;
    const pal_node *n = pal_node_of(x, "contiguous", "x");
    if (n && pal_array_contiguous(&n->a)) return x;
    pal_apply(&contiguous_op, NULL, 0, 1, &x, 1, &y);
    return y;
}

/* ---- expand ---- */

static pal_status expand_infer(pal_call *call)
{
    pal_shape shape = *(const pal_shape *)call->opts;
    pal_array view;
    pal_error why;
    pal_status status = pal_map_given(call, 0);
    if (status != PAL_OK) return status;
    if (pal_array_broadcast(call->in[0], shape, &view, &why) != PAL_OK)
        return pal_call_error(call, PAL_ESHAPE, "%s", why.message);
    status = pal_call_out(call, 0, call->in[0]->dtype, shape);
    return status == PAL_OK ? pal_map_scratch(call) : status;
}

static const pal_op expand_op = {.name = "expand",
                                 .args = "x",
                                 .infer = expand_infer,
                                 .forward = forward,
                                 .backward = backward,
                                 .unread_in = 1,
                                 .unread_out = 1,
                                 .overwrites = 1};

pal_tensor pal_expand(pal_tensor x, pal_shape shape)
{
    pal_tensor y;
    pal_apply(&expand_op, &shape, sizeof shape, 1, &x, 1, &y);
    return y;
}
