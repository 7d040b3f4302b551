/*
 * sort.c - the entries of lines in order, and their indices: a merge sort, which is stable.
 */
#include "autograd/ops/lines.h"
#include "autograd/ops/map.h"
#include "autograd/ops/shape.h"

#include <math.h>
#include <omp.h>

typedef struct sort_opts {
    int axis;
    bool descending;
} sort_opts;

/* An entry: its value in one of the two forms, and its index. */
typedef struct entry {
    union {
        double real;
        int64_t integer;
    } value;
    int64_t at;
} entry;

static size_t buffer_bytes(int64_t n)
{
    return pal_round_up((size_t)n * 2 * sizeof(entry), PAL_ALIGN);
}

static pal_status infer(pal_call *call)
{
    const sort_opts *o = call->opts;
    pal_status status = pal_map_need(call, 0, true, true);
    if (status != PAL_OK) return status;
    const pal_array *x = call->in[0];
    const int axis = pal_axis(o->axis, x->ndim);
    if (axis < 0) return pal_axis_error(call, o->axis, x);
    const int64_t work = 8 * pal_array_count(x) + 1;
    status = pal_call_out(call, 0, x->dtype, pal_array_shape(x));
    if (status == PAL_OK) status = pal_call_out(call, 1, PAL_I64, pal_array_shape(x));
    if (status != PAL_OK) return status;
    return pal_call_scratch(call, (size_t)pal_call_team(call, work) * buffer_bytes(x->shape[axis]),
                            0);
}

/* Whether a has to stand before b, wherever they were. A NaN is larger than every number. */
static bool before(const entry *a, const entry *b, bool integers, bool descending)
{
    const entry *small = descending ? b : a, *large = descending ? a : b;
    if (integers) return small->value.integer < large->value.integer;
    if (isnan(large->value.real)) return !isnan(small->value.real);
    return small->value.real < large->value.real;
}

/* Merges from[a..b) and from[b..c), which are in order, into to[a..c). */
static void merge(const entry *from, entry *to, int64_t a, int64_t b, int64_t c, bool integers,
                  bool descending)
{
    int64_t i = a, j = b;
    for (int64_t k = a; k < c; k++) {
        bool right = i == b || (j < c && before(&from[j], &from[i], integers, descending));
        to[k] = right ? from[j++] : from[i++];
    }
}

/* Returns where the n entries are in order: in `e` or in `other`. */
static const entry *sort(int64_t n, entry *e, entry *other, bool integers, bool descending)
{
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t a = 0; a < n; a += 2 * width) {
            int64_t b = a + width < n ? a + width : n, c = b + width < n ? b + width : n;
            merge(e, other, a, b, c, integers, descending);
        }
        entry *swap = e;
        e = other;
        other = swap;
    }
    return e;
}

static void forward(const pal_call *call)
{
    const sort_opts *o = call->opts;
    const pal_array *x = call->in[0];
    if (pal_array_count(x) == 0) return;
    const int axis = pal_axis(o->axis, x->ndim);
    const pal_lines from = pal_lines_of(x, axis), to = pal_lines_of(call->out[0], axis);
    const pal_lines index = pal_lines_of(call->out[1], axis);
    const bool integers = x->dtype == PAL_I64;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < from.count; i++) {
        entry *e = (entry *)(void *)((char *)call->scratch +
                                     (size_t)omp_get_thread_num() * buffer_bytes(from.n));
        const void *line = pal_line(&from, i);
        void *y = pal_line(&to, i), *at = pal_line(&index, i);
        for (int64_t j = 0; j < from.n; j++) {
            e[j].at = j;
            if (integers)
                e[j].value.integer = ((const int64_t *)line)[j * from.step];
            else
                e[j].value.real = pal_element_get(x->dtype, line, j * from.step);
        }
        const entry *sorted = sort(from.n, e, e + from.n, integers, o->descending);
        for (int64_t j = 0; j < from.n; j++) {
            ((int64_t *)at)[j * index.step] = sorted[j].at;
            if (integers)
                ((int64_t *)y)[j * to.step] = sorted[j].value.integer;
            else
                pal_element_set(x->dtype, y, j * to.step, sorted[j].value.real);
        }
    }
}

/* Each entry has one place, so every element of dx is met once. */
static void backward(const pal_call *call)
{
    const sort_opts *o = call->opts;
    const pal_array *x = call->in[0], *dy = call->dout[0];
    if (!dy || pal_array_count(dy) == 0) return;
    const int axis = pal_axis(o->axis, x->ndim);
    const pal_lines from = pal_lines_of(dy, axis), to = pal_lines_of(call->din[0], axis);
    const pal_lines index = pal_lines_of(call->out[1], axis);
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < from.count; i++) {
        const int64_t *at = (const int64_t *)(const void *)pal_line(&index, i);
        const void *g = pal_line(&from, i);
        void *dx = pal_line(&to, i);
        for (int64_t j = 0; j < from.n; j++)
            pal_element_add(dy->dtype, dx, at[j * index.step] * to.step,
                            pal_element_get(dy->dtype, g, j * from.step));
    }
}

static const pal_op sort_op = {.name = "sort",
                               .args = "x",
                               .infer = infer,
                               .forward = forward,
                               .backward = backward,
                               .unread_in = 1,
                               .unread_out = 1};

void pal_sort(pal_tensor x, int axis, bool descending, pal_tensor out[2])
{
    sort_opts o = {axis, descending};
    pal_apply(&sort_op, &o, sizeof o, 1, &x, 2, out);
}
