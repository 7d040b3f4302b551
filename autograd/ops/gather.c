/*
 * gather.c - entries by index along one axis: gather, and its inverse one_hot.
 *
 * A line of the index reads only the same line of x, and in backward adds only to that line. So
 * lines are independent. Each one is walked in order, so the sums do not depend on the number of
 * threads.
 */
#include "autograd/ops/lines.h"
#include "autograd/ops/map.h"
#include "autograd/ops/shape.h"

#include <string.h>

/* ---- gather ---- */

static pal_status infer(pal_call *call)
{
    int given = *(const int *)call->opts;
    pal_status status = pal_map_need(call, 0, true, true);
    if (status == PAL_OK) status = pal_map_need(call, 1, false, true);
    if (status != PAL_OK) return status;
    const pal_array *x = call->in[0], *index = call->in[1];
    int axis = pal_axis(given, x->ndim);
    if (axis < 0) return pal_axis_error(call, given, x);
    bool fits = x->ndim == index->ndim;
    for (int d = 0; d < x->ndim && fits; d++) fits = d == axis || x->shape[d] == index->shape[d];
    if (!fits)
        return pal_call_error(call, PAL_ESHAPE, "x and index differ in more than axis %d", axis);
    status = pal_check_indices(call, 1, x->shape[axis]);
    if (status != PAL_OK) return status;
    return pal_call_out(call, 0, x->dtype, pal_array_shape(index));
}

static void forward(const pal_call *call)
{
    const pal_array *y = call->out[0];
    if (pal_array_count(y) == 0) return;
    int axis = pal_axis(*(const int *)call->opts, y->ndim);
    pal_lines from = pal_lines_of(call->in[0], axis), to = pal_lines_of(y, axis);
    pal_lines index = pal_lines_of(call->in[1], axis);
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < to.count; i++) {
        const int64_t *at = (const int64_t *)(const void *)pal_line(&index, i);
        const char *x = pal_line(&from, i);
        char *line = pal_line(&to, i);
        for (int64_t j = 0; j < to.n; j++)
            memcpy(line + j * to.step * (int64_t)to.size,
                   x + at[j * index.step] * from.step * (int64_t)from.size, to.size);
    }
}

static void backward(const pal_call *call)
{
    const pal_array *dy = call->dout[0];
    if (!call->din[0] || pal_array_count(dy) == 0) return;
    int axis = pal_axis(*(const int *)call->opts, dy->ndim);
    pal_lines from = pal_lines_of(dy, axis), to = pal_lines_of(call->din[0], axis);
    pal_lines index = pal_lines_of(call->in[1], axis);
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < from.count; i++) {
        const int64_t *at = (const int64_t *)(const void *)pal_line(&index, i);
        const void *g = pal_line(&from, i);
        void *dx = pal_line(&to, i);
        for (int64_t j = 0; j < from.n; j++) {
            int64_t k = at[j * index.step] * to.step;
            pal_element_set(dy->dtype, dx, k,
                            pal_element_get(dy->dtype, dx, k) +
                                pal_element_get(dy->dtype, g, j * from.step));
        }
    }
}

static const pal_op gather_op = {.name = "gather",
                                 .args = "x index",
                                 .infer = infer,
                                 .forward = forward,
                                 .backward = backward,
                                 .unread_in = 1,
                                 .unread_out = 1};

pal_tensor pal_gather(pal_tensor x, int axis, pal_tensor index)
{
    pal_tensor y;
    pal_apply(&gather_op, &axis, sizeof axis, 2, (pal_tensor[]){x, index}, 1, &y);
    return y;
}

/* ---- one_hot ---- */

typedef struct one_hot_opts {
    int64_t n;
    pal_dtype dtype;
} one_hot_opts;

static pal_status one_hot_infer(pal_call *call)
{
    const one_hot_opts *o = call->opts;
    pal_status status = pal_map_need(call, 0, false, true);
    if (status == PAL_OK) status = pal_check_indices(call, 0, o->n);
    if (status != PAL_OK) return status;
    pal_shape shape = pal_array_shape(call->in[0]);
    if (shape.ndim == PAL_MAX_DIMS)
        return pal_call_error(call, PAL_ESHAPE, "more than %d dimensions", PAL_MAX_DIMS);
    shape.dim[shape.ndim++] = o->n;
    return pal_call_out(call, 0, o->dtype, shape);
}

static void one_hot_forward(const pal_call *call)
{
    const one_hot_opts *o = call->opts;
    const pal_array *y = call->out[0];
    pal_array_fill(y, 0);
    pal_lines index = pal_lines_of(call->in[0], PAL_ALL);
    for (int64_t i = 0, row = 0; i < index.count && index.n > 0; i++) {
        const int64_t *at = (const int64_t *)(const void *)pal_line(&index, i);
        for (int64_t j = 0; j < index.n; j++, row++) {
            int64_t k = row * o->n + at[j * index.step];
            pal_element_set(o->dtype, y->data, k, 1);
        }
    }
}

static const pal_op one_hot_op = {
    .name = "one_hot", .args = "index", .infer = one_hot_infer, .forward = one_hot_forward};

pal_tensor pal_one_hot(pal_tensor index, int64_t n, pal_dtype dtype)
{
    pal_tensor y;
    one_hot_opts o = {n, dtype};
    pal_apply(&one_hot_op, &o, sizeof o, 1, &index, 1, &y);
    return y;
}
