/*
 * index.c - entries of one axis by index: index_select, and scatter_add, which adds to them.
 *
 * Everything happens within lines along the axis, so lines are independent. Each one is walked in
 * order, so sums do not depend on the number of threads.
 */
#include "autograd/ops/lines.h"
#include "autograd/ops/map.h"
#include "autograd/ops/shape.h"

#include <string.h>

static const int64_t *indices(const char *line) { return (const int64_t *)(const void *)line; }

/* to[i] += from[j]; integers wrap around. */
static void add_element(pal_dtype dtype, void *to, int64_t i, const void *from, int64_t j)
{
    if (dtype == PAL_I64)
        ((int64_t *)to)[i] =
            (int64_t)((uint64_t)((int64_t *)to)[i] + (uint64_t)((const int64_t *)from)[j]);
    else
        pal_element_add(dtype, to, i, pal_element_get(dtype, from, j));
}

static int axis_of(const pal_call *call)
{
    return pal_axis(*(const int *)call->opts, call->in[0]->ndim);
}

/* ---- index_select ---- */

static pal_status select_infer(pal_call *call)
{
    pal_status status = pal_map_need(call, 0, true, true);
    if (status == PAL_OK) status = pal_map_need(call, 1, false, true);
    if (status != PAL_OK) return status;
    const pal_array *x = call->in[0], *index = call->in[1];
    int axis = axis_of(call);
    if (axis < 0) return pal_axis_error(call, *(const int *)call->opts, x);
    if (index->ndim != 1) return pal_call_error(call, PAL_ESHAPE, "index is not of one axis");
    status = pal_check_indices(call, 1, x->shape[axis]);
    if (status != PAL_OK) return status;
    pal_shape shape = pal_array_shape(x);
    shape.dim[axis] = index->shape[0];
    return pal_call_out(call, 0, x->dtype, shape);
}

static void select_forward(const pal_call *call)
{
    const pal_array *y = call->out[0], *index = call->in[1];
    if (pal_array_count(y) == 0) return;
    const pal_lines from = pal_lines_of(call->in[0], axis_of(call));
    const pal_lines to = pal_lines_of(y, axis_of(call));
    const int64_t *at = index->data;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < to.count; i++) {
        const char *x = pal_line(&from, i);
        char *line = pal_line(&to, i);
        for (int64_t j = 0; j < to.n; j++)
            memcpy(line + j * to.step * (int64_t)to.size,
                   x + at[j * index->stride[0]] * from.step * (int64_t)from.size, to.size);
    }
}

static void select_backward(const pal_call *call)
{
    const pal_array *dy = call->dout[0], *index = call->in[1];
    if (!call->din[0] || pal_array_count(dy) == 0) return;
    const pal_lines from = pal_lines_of(dy, axis_of(call));
    const pal_lines to = pal_lines_of(call->din[0], axis_of(call));
    const int64_t *at = index->data;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < from.count; i++) {
        const void *g = pal_line(&from, i);
        void *dx = pal_line(&to, i);
        for (int64_t j = 0; j < from.n; j++)
            add_element(dy->dtype, dx, at[j * index->stride[0]] * to.step, g, j * from.step);
    }
}

static const pal_op index_select_op = {.name = "index_select",
                                       .args = "x index",
                                       .infer = select_infer,
                                       .forward = select_forward,
                                       .backward = select_backward,
                                       .unread_in = 1,
                                       .unread_out = 1};

pal_tensor pal_index_select(pal_tensor x, int axis, pal_tensor index)
{
    pal_tensor y;
    pal_apply(&index_select_op, &axis, sizeof axis, 2, (pal_tensor[]){x, index}, 1, &y);
    return y;
}

/* ---- scatter_add ---- */

enum { X, INDEX, SRC };

static pal_status scatter_infer(pal_call *call)
{
    pal_status status = pal_map_need(call, X, true, true);
    if (status == PAL_OK) status = pal_map_need(call, INDEX, false, true);
    if (status == PAL_OK) status = pal_map_need(call, SRC, true, true);
    if (status != PAL_OK) return status;
    const pal_array *x = call->in[X], *index = call->in[INDEX], *src = call->in[SRC];
    int axis = axis_of(call);
    if (axis < 0) return pal_axis_error(call, *(const int *)call->opts, x);
    if (x->dtype != src->dtype)
        return pal_call_error(call, PAL_EDTYPE, "the dtypes of x and src differ; see pal_cast");
    if (!pal_shape_equal(pal_array_shape(index), pal_array_shape(src)))
        return pal_call_error(call, PAL_ESHAPE, "index and src differ in shape");
    bool fits = x->ndim == index->ndim;
    for (int d = 0; d < x->ndim && fits; d++) fits = d == axis || x->shape[d] == index->shape[d];
    if (!fits)
        return pal_call_error(call, PAL_ESHAPE, "x and index differ in more than axis %d", axis);
    status = pal_check_indices(call, INDEX, x->shape[axis]);
    if (status != PAL_OK) return status;
    pal_call_work(call, pal_array_count(x) + pal_array_count(src) + 1);
    return pal_call_out(call, 0, x->dtype, pal_array_shape(x));
}

static void scatter_forward(const pal_call *call)
{
    const pal_array *y = call->out[0], *src = call->in[SRC];
    pal_array_assign(y, call->in[X]);
    if (pal_array_count(src) == 0) return;
    const pal_lines from = pal_lines_of(src, axis_of(call)), to = pal_lines_of(y, axis_of(call));
    const pal_lines index = pal_lines_of(call->in[INDEX], axis_of(call));
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < from.count; i++) {
        const int64_t *at = indices(pal_line(&index, i));
        const void *x = pal_line(&from, i);
        void *line = pal_line(&to, i);
        for (int64_t j = 0; j < from.n; j++)
            add_element(y->dtype, line, at[j * index.step] * to.step, x, j * from.step);
    }
}

static void scatter_backward(const pal_call *call)
{
    const pal_array *dy = call->dout[0], *dsrc = call->din[SRC];
    pal_give_gradient(call, X, dy);
    if (!dsrc || pal_array_count(dsrc) == 0) return;
    const pal_lines from = pal_lines_of(dy, axis_of(call)), to = pal_lines_of(dsrc, axis_of(call));
    const pal_lines index = pal_lines_of(call->in[INDEX], axis_of(call));
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < to.count; i++) {
        const int64_t *at = indices(pal_line(&index, i));
        const void *g = pal_line(&from, i);
        void *line = pal_line(&to, i);
        for (int64_t j = 0; j < to.n; j++)
            add_element(dy->dtype, line, j * to.step, g, at[j * index.step] * from.step);
    }
}

static const pal_op scatter_add_op = {.name = "scatter_add",
                                      .args = "x index src",
                                      .infer = scatter_infer,
                                      .forward = scatter_forward,
                                      .backward = scatter_backward,
                                      .unread_in = 5,
                                      .unread_out = 1,
                                      .overwrites = 1};

pal_tensor pal_scatter_add(pal_tensor x, int axis, pal_tensor index, pal_tensor src)
{
    pal_tensor y;
    pal_apply(&scatter_add_op, &axis, sizeof axis, 3, (pal_tensor[]){x, index, src}, 1, &y);
    return y;
}
