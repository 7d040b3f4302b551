/*
 * cumprod.c - running products along one axis.
 *
 * With P[s] the product of the entries before s, and S[s] = dy[s] + x[s+1] S[s+1], the gradient is
 * dx[s] = P[s] S[s]. So nothing is divided by an entry, which may be 0. All is carried in double.
 */
#include "autograd/ops/lines.h"
#include "autograd/ops/map.h"
#include "autograd/ops/shape.h"

#include <omp.h>

static pal_status infer(pal_call *call)
{
    const int given = *(const int *)call->opts;
    pal_status status = pal_map_need(call, 0, true, true);
    if (status != PAL_OK) return status;
    const pal_array *x = call->in[0];
    const int axis = pal_axis(given, x->ndim);
    if (axis < 0) return pal_axis_error(call, given, x);
    const int64_t work = pal_array_count(x) + 1;
    const size_t line = pal_round_up((size_t)x->shape[axis] * sizeof(double), PAL_ALIGN);
    status = pal_call_out(call, 0, x->dtype, pal_array_shape(x));
    return status == PAL_OK ? pal_call_scratch(call, 0, (size_t)pal_call_team(call, work) * line)
                            : status;
}

static int axis_of(const pal_call *call)
{
    return pal_axis(*(const int *)call->opts, call->in[0]->ndim);
}

static void scan(pal_dtype dtype, int64_t n, const void *x, int64_t x_step, void *y, int64_t y_step)
{
    double product = 1;
    uint64_t whole = 1; /* unsigned, so that it may wrap around */
    for (int64_t i = 0; i < n; i++) {
        if (dtype == PAL_I64) {
            whole *= (uint64_t)((const int64_t *)x)[i * x_step];
            ((int64_t *)y)[i * y_step] = (int64_t)whole;
        } else {
            product *= pal_element_get(dtype, x, i * x_step);
            pal_element_set(dtype, y, i * y_step, product);
        }
    }
}

static void forward(const pal_call *call)
{
    const pal_array *x = call->in[0];
    if (pal_array_count(x) == 0) return;
    const pal_lines from = pal_lines_of(x, axis_of(call));
    const pal_lines to = pal_lines_of(call->out[0], axis_of(call));
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < from.count; i++)
        scan(x->dtype, from.n, pal_line(&from, i), from.step, pal_line(&to, i), to.step);
}

static void backward(const pal_call *call)
{
    const pal_array *x = call->in[0];
    if (pal_array_count(x) == 0) return;
    const pal_lines from = pal_lines_of(x, axis_of(call));
    const pal_lines dy = pal_lines_of(call->dout[0], axis_of(call));
    const pal_lines dx = pal_lines_of(call->din[0], axis_of(call));
    const size_t bytes = pal_round_up((size_t)from.n * sizeof(double), PAL_ALIGN);
    const bool fresh = pal_call_fresh(call, 0);
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < from.count; i++) {
        double *before =
            (double *)(void *)((char *)call->scratch + (size_t)omp_get_thread_num() * bytes);
        const void *v = pal_line(&from, i), *g = pal_line(&dy, i);
        void *d = pal_line(&dx, i);
        double product = 1, behind = 0;
        for (int64_t s = 0; s < from.n; s++) {
            before[s] = product;
            product *= pal_element_get(x->dtype, v, s * from.step);
        }
        for (int64_t s = from.n - 1; s >= 0; s--) {
            double sum = behind + pal_element_get(x->dtype, g, s * dy.step);
            double old = fresh ? 0 : pal_element_get(x->dtype, d, s * dx.step);
            pal_element_set(x->dtype, d, s * dx.step, old + before[s] * sum);
            behind = pal_element_get(x->dtype, v, s * from.step) * sum;
        }
    }
}

static const pal_op cumprod_op = {.name = "cumprod",
                                  .args = "x",
                                  .infer = infer,
                                  .forward = forward,
                                  .backward = backward,
                                  .unread_out = 1,
                                  .overwrites = 1};

pal_tensor pal_cumprod(pal_tensor x, int axis)
{
    pal_tensor y;
    pal_apply(&cumprod_op, &axis, sizeof axis, 1, &x, 1, &y);
    return y;
}
