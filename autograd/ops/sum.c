/*
 * sum.c - sum and mean. The gradient of each element is that of the result (for mean divided by the
 * number of elements). It does not depend on the elements, so nothing is kept for backward.
 */
#include "autograd/ops/map.h"
#include "autograd/ops/reduce.h"

static void add(pal_partial *p, const pal_reduce_elements *e)
{
    if (e->k) {
        p->real += e->k->sum(e->n, e->x);
        return;
    }
    const int64_t *x = e->x;
    uint64_t s = (uint64_t)p->integer; /* unsigned, so that it may wrap around */
    for (int64_t i = 0; i < e->n; i++) s += (uint64_t)x[i];
    p->integer = (int64_t)s;
}

static void merge(pal_partial *p, const pal_partial *q)
{
    p->real += q->real;
    p->integer = (int64_t)((uint64_t)p->integer + (uint64_t)q->integer);
}

static void sum_backward(const pal_call *call)
{
    pal_array dx = pal_reduce_spread(call, call->dout[0]);
    pal_give_gradient(call, 0, &dx);
}

static const pal_reduce_op sum_op = {.op = {.name = "sum",
                                            .args = "x",
                                            .infer = pal_reduce_infer,
                                            .forward = pal_reduce_forward,
                                            .backward = sum_backward,
                                            .unread_in = 1,
                                            .unread_out = 1,
                                            .overwrites = 1},
                                     .integers = true,
                                     .add = add,
                                     .merge = merge,
                                     .across = PAL_AT(widen_add)};

pal_tensor pal_sum(pal_tensor x, int axis, bool keep)
{
    return pal_reduce_apply(&sum_op, x, axis, keep);
}

/* ---- mean ---- */

static double divide(const pal_partial *p, int64_t n) { return p->real / (double)n; }

static void mean_backward(const pal_call *call)
{
    const pal_array *dy = call->dout[0];
    pal_array scaled = *dy;
    double p[2] = {1 / (double)pal_reduce_length(call), 0};
    if (pal_array_count(call->in[0]) == 0) return;
    scaled.data = call->scratch;
    pal_kernels_for(dy->dtype)->affine(pal_array_count(dy), dy->data, p, scaled.data);
    pal_array dx = pal_reduce_spread(call, &scaled);
    pal_give_gradient(call, 0, &dx);
}

static const pal_reduce_op mean_op = {.op = {.name = "mean",
                                             .args = "x",
                                             .infer = pal_reduce_infer,
                                             .forward = pal_reduce_forward,
                                             .backward = mean_backward,
                                             .unread_in = 1,
                                             .unread_out = 1,
                                             .overwrites = 1},
                                      .add = add,
                                      .merge = merge,
                                      .finish = divide,
                                      .across = PAL_AT(widen_add)};

pal_tensor pal_mean(pal_tensor x, int axis, bool keep)
{
    return pal_reduce_apply(&mean_op, x, axis, keep);
}
