/* hook_grad.c - the identity, whose backward shows the gradient to a callback, which may replace
 * it. */
#include "autograd/internal.h"
#include "autograd/ops/map.h"

typedef struct hook {
    pal_see_grad_fn *see;
    void *user;
} hook;

static pal_status infer(pal_call *call)
{
    const hook *h = call->opts;
    const pal_array *x = call->in[0];
    pal_status status = pal_map_need(call, 0, true, false);
    if (status != PAL_OK) return status;
    if (!h->see) return pal_call_error(call, PAL_EVALUE, "there is no callback (NULL)");
    status = pal_call_out(call, 0, x->dtype, pal_array_shape(x));
    return status == PAL_OK
               ? pal_call_scratch(call, 0, pal_shape_bytes(x->dtype, pal_array_shape(x)))
               : status;
}

static void forward(const pal_call *call)
{
    pal_status fits = pal_array_copy(call->out[0], call->in[0], NULL);
    (void)fits; /* infer has given it the same shape */
}

static void backward(const pal_call *call)
{
    const hook *h = call->opts;
    const pal_array *dy = call->dout[0];
    pal_array own = pal_array_of(dy->dtype, pal_array_shape(dy), call->scratch);
    if (!call->din[0] || pal_array_copy(&own, dy, NULL) != PAL_OK) return;
    h->see(h->user, &own);
    own = pal_array_of(dy->dtype, pal_array_shape(dy), call->scratch); /* whatever it did to it */
    pal_array_add(call->din[0], &own);
}

static const pal_op hook_grad_op = {.name = "hook_grad",
                                    .args = "x",
                                    .infer = infer,
                                    .forward = forward,
                                    .backward = backward,
                                    .unread_in = 1,
                                    .unread_out = 1};

pal_tensor pal_hook_grad(pal_tensor x, pal_see_grad_fn *see, void *user)
{
    pal_tensor y;
    hook h = {see, user};
    pal_apply(&hook_grad_op, &h, sizeof h, 1, &x, 1, &y);
    return y;
}
