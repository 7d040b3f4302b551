/*
 * norm.c - norm and logsumexp: reductions whose gradient needs the elements and the result.
 */
#include "autograd/ops/map.h"
#include "autograd/ops/reduce.h"
#include "tensor/squares.h"

#include <float.h>
#include <math.h>

/* ---- norm: sqrt(sum x^2) ---- */

static void merge(pal_partial *p, pal_squares more)
{
    pal_squares s = {p->real, p->exponent};
    pal_squares_add(&s, more);
    p->real = s.sum;
    p->exponent = s.exponent;
}

static void add_squares(pal_partial *p, const pal_reduce_elements *e)
{
    merge(p, pal_squares_of(e->dtype, e->n, e->x));
}

static void merge_squares(pal_partial *p, const pal_partial *q)
{
    merge(p, (pal_squares){q->real, q->exponent});
}

static double root(const pal_partial *p, int64_t n)
{
    (void)n;
    return pal_squares_root((pal_squares){p->real, p->exponent});
}

/* dx = dy x / y; 0 where y is 0. dy / y may be out of a float's range although x / y is not. */
static void d_norm(const pal_kernels *k, int64_t n, const void *x, double y, double dy, void *dx)
{
    double p[2] = {y == 0 ? 0 : dy / y, 0};
    const double slope = fabs(p[0]);
    const bool f32 = k == pal_kernels_for(PAL_F32);
    const double least = f32 ? FLT_MIN : DBL_MIN, most = f32 ? FLT_MAX : DBL_MAX;
    if (slope != 0 && !(slope >= least && slope <= most) && isfinite(dy) && isfinite(1 / y)) {
        const double unit[2] = {1 / y, 0}, size[2] = {dy, 0};
        k->affine(n, x, unit, dx);
        k->affine(n, dx, size, dx);
        return;
    }
    k->affine(n, x, p, dx);
}

static void norm_backward(const pal_call *call) { pal_reduce_backward(call, d_norm); }

static const pal_reduce_op norm_op = {.op = {.name = "norm",
                                             .args = "x",
                                             .infer = pal_reduce_infer,
                                             .forward = pal_reduce_forward,
                                             .backward = norm_backward,
                                             .overwrites = 1},
                                      .add = add_squares,
                                      .merge = merge_squares,
                                      .finish = root,
                                      .across = PAL_AT(widen_add_square),
                                      .squares = true};

pal_tensor pal_norm(pal_tensor x, int axis, bool keep)
{
    return pal_reduce_apply(&norm_op, x, axis, keep);
}

/* ---- logsumexp ---- */

/* log(e^a + e^b) */
static double log_add(double a, double b)
{
    double high = a > b || isnan(a) ? a : b, low = a > b || isnan(a) ? b : a;
    if (!isfinite(high) || isnan(low)) return isnan(low) ? low : high;
    return high + log1p(exp(low - high));
}

static void add_exponentials(pal_partial *p, const pal_reduce_elements *e)
{
    p->real = log_add(p->real, e->k->logsumexp_row(e->n, e->x));
}

static void merge_exponentials(pal_partial *p, const pal_partial *q)
{
    p->real = log_add(p->real, q->real);
}

/* dx = dy e^(x - y) */
static void d_logsumexp(const pal_kernels *k, int64_t n, const void *x, double y, double dy,
                        void *dx)
{
    k->exp_row(n, x, y, dy, dx);
}

static void logsumexp_backward(const pal_call *call) { pal_reduce_backward(call, d_logsumexp); }

static const pal_reduce_op logsumexp_op = {.op = {.name = "logsumexp",
                                                  .args = "x",
                                                  .infer = pal_reduce_infer,
                                                  .forward = pal_reduce_forward,
                                                  .backward = logsumexp_backward,
                                                  .overwrites = 1},
                                           .start = -INFINITY,
                                           .add = add_exponentials,
                                           .merge = merge_exponentials};

pal_tensor pal_logsumexp(pal_tensor x, int axis, bool keep)
{
    return pal_reduce_apply(&logsumexp_op, x, axis, keep);
}
