/*
 * extreme.c - max, min, argmax and argmin. A NaN counts as more extreme than every number. Of equal
 * elements the first is chosen; backward needs only its index.
 */
#include "autograd/ops/map.h"
#include "autograd/ops/reduce.h"

#include <math.h>

static bool beats(double a, double b, bool smallest)
{
    if (isnan(a)) return !isnan(b);
    return smallest ? a < b : a > b;
}

/* The first index that has this value, which may be NaN. */
static int64_t find(const pal_reduce_elements *e, double value)
{
    int64_t i = 0;
    if (isnan(value))
        while (!isnan(pal_element_get(e->dtype, e->x, i))) i++;
    else
        while (pal_element_get(e->dtype, e->x, i) != value) i++;
    return i;
}

static void add(pal_partial *p, const pal_reduce_elements *e, bool smallest)
{
    if (e->k) {
        double v = smallest ? e->k->min(e->n, e->x) : e->k->max(e->n, e->x);
        if (p->at >= 0 && !beats(v, p->real, smallest)) return;
        p->real = v;
        p->at = e->first + find(e, v);
        return;
    }
    const int64_t *x = e->x;
    for (int64_t i = 0; i < e->n; i++) {
        if (p->at >= 0 && (smallest ? x[i] >= p->integer : x[i] <= p->integer)) continue;
        p->integer = x[i];
        p->at = e->first + i;
    }
}

static void merge(pal_partial *p, const pal_partial *q, bool smallest)
{
    bool better = smallest ? q->integer < p->integer : q->integer > p->integer;
    if (q->at >= 0 && (p->at < 0 || better || beats(q->real, p->real, smallest))) *p = *q;
}

static void add_max(pal_partial *p, const pal_reduce_elements *e) { add(p, e, false); }
static void add_min(pal_partial *p, const pal_reduce_elements *e) { add(p, e, true); }
static void merge_max(pal_partial *p, const pal_partial *q) { merge(p, q, false); }
static void merge_min(pal_partial *p, const pal_partial *q) { merge(p, q, true); }

/* The element that was chosen gets the gradient. */
static void backward(const pal_call *call)
{
    const pal_reduce_opts *o = call->opts;
    const pal_array *dx = call->din[0], *dy = call->dout[0];
    const int64_t *at = call->saved[0].data;
    int axis = o->axis == PAL_ALL ? PAL_ALL : pal_axis(o->axis, dx->ndim);
    pal_lines l = pal_lines_of(dx, axis);
    for (int64_t i = 0; i < pal_array_count(dy); i++) {
        int64_t line = axis == PAL_ALL ? at[i] / l.n : i;
        int64_t entry = axis == PAL_ALL ? at[i] % l.n : at[i];
        double g = pal_element_get(dy->dtype, dy->data, i);
        void *to = pal_line(&l, line);
        pal_element_set(dy->dtype, to, entry * l.step,
                        pal_element_get(dy->dtype, to, entry * l.step) + g);
    }
}

static const pal_reduce_op max_op = {.op = {.name = "max",
                                            .args = "x",
                                            .infer = pal_reduce_infer,
                                            .forward = pal_reduce_forward,
                                            .backward = backward,
                                            .unread_in = 1,
                                            .unread_out = 1},
                                     .integers = true,
                                     .nonempty = true,
                                     .saves_at = true,
                                     .add = add_max,
                                     .merge = merge_max};

static const pal_reduce_op min_op = {.op = {.name = "min",
                                            .args = "x",
                                            .infer = pal_reduce_infer,
                                            .forward = pal_reduce_forward,
                                            .backward = backward,
                                            .unread_in = 1,
                                            .unread_out = 1},
                                     .integers = true,
                                     .nonempty = true,
                                     .saves_at = true,
                                     .add = add_min,
                                     .merge = merge_min};

static const pal_reduce_op argmax_op = {
    .op = {.name = "argmax", .args = "x", .infer = pal_reduce_infer, .forward = pal_reduce_forward},
    .integers = true,
    .nonempty = true,
    .indices = true,
    .add = add_max,
    .merge = merge_max};

static const pal_reduce_op argmin_op = {
    .op = {.name = "argmin", .args = "x", .infer = pal_reduce_infer, .forward = pal_reduce_forward},
    .integers = true,
    .nonempty = true,
    .indices = true,
    .add = add_min,
    .merge = merge_min};

pal_tensor pal_max(pal_tensor x, int axis, bool keep)
{
    return pal_reduce_apply(&max_op, x, axis, keep);
}

pal_tensor pal_min(pal_tensor x, int axis, bool keep)
{
    return pal_reduce_apply(&min_op, x, axis, keep);
}

pal_tensor pal_argmax(pal_tensor x, int axis, bool keep)
{
    return pal_reduce_apply(&argmax_op, x, axis, keep);
}

pal_tensor pal_argmin(pal_tensor x, int axis, bool keep)
{
    return pal_reduce_apply(&argmin_op, x, axis, keep);
}
