/*
 * plain.c - a call of an operation on arrays of its caller. It belongs to no tape: nothing is
 * allocated or recorded, and a failure is written where the caller says.
 *
 * Operations see of a call what autograd/ops.h shows them, and so do not know the difference.
 */
#include "autograd/internal.h"
#include "tensor/team.h"

#include <string.h>

void pal_plain_begin(pal_plain *p, const pal_op *op, const void *opts, int nin,
                     const pal_array *const *in, int nout, pal_array *const *out, int threads,
                     pal_error *error)
{
    *p = (pal_plain){.threads = threads, .error = error};
    p->record.call = (pal_call){
        .op = op, .opts = opts, .nin = nin, .nout = nout, .in = in, .out = out, .saved = p->saved};
    *error = (pal_error){.status = PAL_OK};
}

pal_status pal_plain_infer(pal_plain *p)
{
    pal_call *call = &p->record.call;
    const pal_status status = call->op->infer(call);
    if (status != PAL_OK) return pal_call_error(call, status, "the arguments do not fit");
    const int64_t work = p->record.work;
    if (!call->team) pal_call_team(call, work ? work : pal_array_count(call->out[0]));
    return PAL_OK;
}

void pal_plain_forward(pal_plain *p, void *scratch)
{
    p->record.call.scratch = scratch;
    p->record.call.op->forward(&p->record.call);
}

void pal_plain_backward(pal_plain *p, const pal_array *const *dout, pal_array *const *din,
                        void *scratch)
{
    pal_call *call = &p->record.call;
    p->record.fresh = 0;
    for (int i = 0; i < call->nin; i++) {
        if (!din[i]) continue;
        if (i < 32 && (call->op->overwrites >> i & 1))
            p->record.fresh |= 1u << i;
        else
            pal_array_fill(din[i], 0);
    }
    call->din = din;
    call->dout = dout;
    call->scratch = scratch;
    call->op->backward(call);
}
