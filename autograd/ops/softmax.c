/* softmax.c - softmax and log_softmax along one axis. Backward needs only the result. */
#include "autograd/ops/lines.h"
#include "autograd/ops/map.h"
#include "autograd/ops/shape.h"

#include <omp.h>

/* `op` comes first, so that a pointer to it is a pointer to the whole. The kernels are offsets in
 * pal_kernels. */
typedef struct softmax_op {
    pal_op op;
    size_t row, d_row;
} softmax_op;

static const softmax_op *op_of(const pal_call *call)
{
    return (const softmax_op *)(const void *)call->op;
}

static const void *kernel(const pal_call *call, size_t place)
{
    return (const char *)(const void *)pal_kernels_for(call->in[0]->dtype) + place;
}

static size_t row_bytes(const pal_array *x, int axis)
{
    return pal_round_up((size_t)x->shape[axis] * pal_dtype_size(x->dtype), PAL_ALIGN);
}

static pal_status infer(pal_call *call)
{
    int given = *(const int *)call->opts;
    pal_status status = pal_map_need(call, 0, true, false);
    if (status != PAL_OK) return status;
    const pal_array *x = call->in[0];
    int axis = pal_axis(given, x->ndim);
    if (axis < 0) return pal_axis_error(call, given, x);
    int64_t work = 4 * pal_array_count(x) + 1;
    size_t team = (size_t)pal_call_team(call, work), row = row_bytes(x, axis);
    status = pal_call_out(call, 0, x->dtype, pal_array_shape(x));
    /* For each thread there is room for a line of x, or for lines of y, dy and dx. */
    return status == PAL_OK ? pal_call_scratch(call, team * row, 3 * team * row) : status;
}

static void forward(const pal_call *call)
{
    const pal_array *x = call->in[0];
    if (pal_array_count(x) == 0) return;
    int axis = pal_axis(*(const int *)call->opts, x->ndim);
    pal_map1 *row = *(pal_map1 *const *)kernel(call, op_of(call)->row);
    pal_lines from = pal_lines_of(x, axis), to = pal_lines_of(call->out[0], axis);
    size_t bytes = row_bytes(x, axis);
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < from.count; i++) {
        char *buffer = (char *)call->scratch + (size_t)omp_get_thread_num() * bytes;
        char *line = pal_line(&to, i);
        void *y = to.step == 1 ? line : buffer;
        row(from.n, pal_line_read(&from, pal_line(&from, i), 0, from.n, buffer), y);
        pal_line_write(&to, line, 0, to.n, y);
    }
}

static void backward(const pal_call *call)
{
    const pal_array *out = call->out[0];
    if (pal_array_count(out) == 0) return;
    int axis = pal_axis(*(const int *)call->opts, out->ndim);
    pal_map2 *d_row = *(pal_map2 *const *)kernel(call, op_of(call)->d_row);
    const pal_kernels *k = pal_kernels_for(out->dtype);
    pal_lines y = pal_lines_of(out, axis), dy = pal_lines_of(call->dout[0], axis);
    pal_lines dx = pal_lines_of(call->din[0], axis);
    size_t bytes = row_bytes(out, axis);
    bool fresh = pal_call_fresh(call, 0);
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < y.count; i++) {
        char *buffer = (char *)call->scratch + 3 * (size_t)omp_get_thread_num() * bytes;
        char *line = pal_line(&dx, i);
        const void *a = pal_line_read(&y, pal_line(&y, i), 0, y.n, buffer);
        const void *b = pal_line_read(&dy, pal_line(&dy, i), 0, y.n, buffer + bytes);
        void *to = fresh && dx.step == 1 ? line : buffer + 2 * bytes;
        d_row(y.n, a, b, to);
        if (fresh)
            pal_line_write(&dx, line, 0, y.n, to);
        else
            pal_line_add(&dx, k, line, 0, y.n, to);
    }
}

static const softmax_op softmax = {.op = {.name = "softmax",
                                          .args = "x",
                                          .infer = infer,
                                          .forward = forward,
                                          .backward = backward,
                                          .unread_in = 1,
                                          .overwrites = 1},
                                   .row = PAL_AT(softmax_row),
                                   .d_row = PAL_AT(d_softmax_row)};

static const softmax_op log_softmax = {.op = {.name = "log_softmax",
                                              .args = "x",
                                              .infer = infer,
                                              .forward = forward,
                                              .backward = backward,
                                              .unread_in = 1,
                                              .overwrites = 1},
                                       .row = PAL_AT(log_softmax_row),
                                       .d_row = PAL_AT(d_log_softmax_row)};

static pal_tensor apply(const softmax_op *op, pal_tensor x, int axis)
{
    pal_tensor y;
    pal_apply(&op->op, &axis, sizeof axis, 1, &x, 1, &y);
    return y;
}

pal_tensor pal_softmax(pal_tensor x, int axis) { return apply(&softmax, x, axis); }
pal_tensor pal_log_softmax(pal_tensor x, int axis) { return apply(&log_softmax, x, axis); }
