/*
 * cumsum.c - running sums along one axis, from its start or from its end. The gradient runs in the
 * other direction. Sums of f32 are carried in double, so that a long axis costs no digits.
 */
#include "autograd/ops/lines.h"
#include "autograd/ops/map.h"
#include "autograd/ops/shape.h"

typedef struct cumsum_opts {
    int axis;
    bool reverse;
} cumsum_opts;

static pal_status infer(pal_call *call)
{
    const cumsum_opts *o = call->opts;
    pal_status status = pal_map_need(call, 0, true, true);
    if (status != PAL_OK) return status;
    if (pal_axis(o->axis, call->in[0]->ndim) < 0) return pal_axis_error(call, o->axis, call->in[0]);
    return pal_call_out(call, 0, call->in[0]->dtype, pal_array_shape(call->in[0]));
}

/* y = running sums of x, or y += running sums (not for i64), over n elements with the given
 * steps. */
static void scan(pal_dtype dtype, int64_t n, const void *x, int64_t x_step, void *y, int64_t y_step,
                 bool add)
{
    double sum = 0;
    if (dtype == PAL_I64) {
        uint64_t whole = 0; /* unsigned, so that it may wrap around */
        for (int64_t i = 0; i < n; i++) {
            whole += (uint64_t)((const int64_t *)x)[i * x_step];
            ((int64_t *)y)[i * y_step] = (int64_t)whole;
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        sum += pal_element_get(dtype, x, i * x_step);
        double before = add ? pal_element_get(dtype, y, i * y_step) : 0;
        pal_element_set(dtype, y, i * y_step, before + sum);
    }
}

static void run(const pal_array *x, const pal_array *y, int axis, bool reverse, bool add, int team)
{
    if (pal_array_count(x) == 0) return;
    pal_lines from = pal_lines_of(x, axis), to = pal_lines_of(y, axis);
    int64_t n = from.n, first = reverse ? n - 1 : 0, sign = reverse ? -1 : 1;
    int64_t size = (int64_t)from.size;
#pragma omp parallel for num_threads(team) schedule(static) if (team > 1)
    for (int64_t i = 0; i < from.count; i++)
        scan(x->dtype, n, pal_line(&from, i) + first * from.step * size, sign * from.step,
             pal_line(&to, i) + first * to.step * size, sign * to.step, add);
}

static void forward(const pal_call *call)
{
    const cumsum_opts *o = call->opts;
    run(call->in[0], call->out[0], pal_axis(o->axis, call->in[0]->ndim), o->reverse, false,
        call->team);
}

static void backward(const pal_call *call)
{
    const cumsum_opts *o = call->opts;
    run(call->dout[0], call->din[0], pal_axis(o->axis, call->in[0]->ndim), !o->reverse,
        !pal_call_fresh(call, 0), call->team);
}

static const pal_op cumsum_op = {.name = "cumsum",
                                 .args = "x",
                                 .infer = infer,
                                 .forward = forward,
                                 .backward = backward,
                                 .unread_in = 1,
                                 .unread_out = 1,
                                 .overwrites = 1};

pal_tensor pal_cumsum(pal_tensor x, int axis, bool reverse)
{
    pal_tensor y;
    cumsum_opts o = {axis, reverse};
    pal_apply(&cumsum_op, &o, sizeof o, 1, &x, 1, &y);
    return y;
}
