/*
 * shape.c - small helpers on shapes, axes and gradients that several operations share.
 */
#include "autograd/ops/shape.h"

#include "autograd/ops/lines.h"

pal_status pal_axis_error(pal_call *call, int axis, const pal_array *x)
{
    if (x->ndim == 0) return pal_call_error(call, PAL_EVALUE, "a scalar has no axis %d", axis);
    return pal_call_error(call, PAL_EVALUE, "axis %d is not between %d and %d", axis, -x->ndim,
                          x->ndim - 1);
}

bool pal_call_wanted(const pal_call *call, int i)
{
    const pal_record *r = (const pal_record *)(const void *)call;
    return i < call->nin && (r->in_bits[i] & PAL_IN_WANTS);
}

pal_status pal_check_constant(pal_call *call, int i)
{
    if (!pal_call_wanted(call, i)) return PAL_OK;
    char name[32];
    pal_arg_name(call->op->args, i, name);
    return pal_call_error(call, PAL_EGRAD, "%s wants a gradient, and there is none; see pal_detach",
                          name);
}

pal_status pal_check_indices(pal_call *call, int i, int64_t n)
{
    pal_lines l = pal_lines_of(call->in[i], PAL_ALL);
    for (int64_t line = 0; line < l.count && l.n > 0; line++) {
        const int64_t *x = (const int64_t *)(const void *)pal_line(&l, line);
        for (int64_t j = 0; j < l.n; j++) {
            int64_t index = x[j * l.step];
            if (index < 0 || index >= n)
                return pal_call_error(call, PAL_EVALUE, "index %lld is not between 0 and %lld",
                                      (long long)index, (long long)n - 1);
        }
    }
    return PAL_OK;
}

bool pal_array_has_all(const pal_array *view, int64_t count)
{
    int64_t covered = 1;
    for (bool more = true; more && covered < count;) {
        more = false;
        for (int d = 0; d < view->ndim && !more; d++)
            if (view->shape[d] > 1 && view->stride[d] == covered)
                covered *= view->shape[d], more = true;
    }
    return covered == count && pal_array_count(view) == count;
}

void pal_array_assign(const pal_array *dst, const pal_array *src)
{
    pal_status fits = pal_array_copy(dst, src, NULL);
    (void)fits;
}

void pal_give_gradient(const pal_call *call, int i, const pal_array *g)
{
    if (!call->din[i]) return;
    if (pal_call_fresh(call, i))
        pal_array_assign(call->din[i], g);
    else
        pal_array_add(call->din[i], g);
}

pal_array pal_axis_range(const pal_array *a, int axis, int64_t start, int64_t count, int64_t step)
{
    pal_array view = *a;
    view.shape[axis] = count;
    view.stride[axis] = a->stride[axis] * step;
    if (a->data && count > 0)
        view.data = (char *)a->data + start * a->stride[axis] * (int64_t)pal_dtype_size(a->dtype);
    return view;
}
