/*
 * loss.c - losses between an array and a target of the same shape: squared, absolute and Huber's
 * error, and binary cross-entropy from logits.
 *
 * A loss is a function of one element, which gives its value and both derivatives in double. The
 * elements are summed in at most GROUPS groups, and the groups in their order.
 */
#include "autograd/ops/elements.h"
#include "autograd/ops/map.h"
#include "autograd/ops/targets.h"

#include <math.h>

enum { X, TARGET, WEIGHT, POS_WEIGHT, INPUTS };
enum { BLOCK = 256, GROUPS = 64 };

/* The loss of an element, and its derivatives by x and by the target. */
typedef struct element {
    double loss, dx, dt;
} element;
typedef element loss_fn(double x, double t, double pos_weight, double delta);

/* `op` comes first, so that a pointer to it is a pointer to the whole. */
typedef struct loss_op {
    pal_op op;
    loss_fn *f;
} loss_op;

/* ---- The losses ---- */

static double sign(double d) { return d > 0 ? 1 : d < 0 ? -1 : d; } /* NaN stays NaN */

static element mse(double x, double t, double pos_weight, double delta)
{
    (void)pos_weight, (void)delta;
    double d = x - t;
    return (element){d * d, 2 * d, -2 * d};
}

static element mae(double x, double t, double pos_weight, double delta)
{
    (void)pos_weight, (void)delta;
    double d = x - t;
    return (element){fabs(d), sign(d), -sign(d)};
}

static element huber(double x, double t, double pos_weight, double delta)
{
    (void)pos_weight;
    double d = x - t, slope = fabs(d) <= delta ? d : delta * sign(d);
    double loss = fabs(d) <= delta ? d * d / 2 : delta * (fabs(d) - delta / 2);
    return (element){loss, slope, -slope};
}

/* log s(x) = -softplus(-x). Everything is computed from e^-|x|, which cannot overflow. */
static element bce_logits(double x, double t, double p, double delta)
{
    (void)delta;
    const double e = exp(-fabs(x)), rest = log1p(e);
    const double less = rest + (x < 0 ? -x : 0), more = rest + (x > 0 ? x : 0);
    const double s = (x >= 0 ? 1 : e) / (1 + e), opposite = (x >= 0 ? e : 1) / (1 + e);
    return (element){p * t * less + (1 - t) * more, (1 - t) * s - p * t * opposite,
                     p * less - more};
}

/* ---- Infer ---- */

/* NULL: it is left out. */
static const pal_array *input(const pal_call *call, int i)
{
    return i < call->nin ? call->in[i] : NULL;
}

static pal_status check_weights(pal_call *call, int i)
{
    const pal_array *x = call->in[X], *w = input(call, i);
    pal_shape shape;
    if (!w) return PAL_OK;
    if (i == POS_WEIGHT && ((const loss_op *)(const void *)call->op)->f != bce_logits)
        return pal_call_error(call, PAL_EVALUE, "pos_weight belongs to bce_logits");
    pal_status status = pal_map_need(call, i, true, false);
    if (status != PAL_OK) return status;
    if (w->dtype != x->dtype)
        return pal_call_error(call, PAL_EDTYPE, "the dtypes differ; see pal_cast");
    if (pal_shape_broadcast(pal_array_shape(x), pal_array_shape(w), &shape) != PAL_OK ||
        !pal_shape_equal(shape, pal_array_shape(x)))
        return pal_call_error(call, PAL_ESHAPE, "%s does not broadcast to x",
                              i == WEIGHT ? "weight" : "pos_weight");
    return pal_weights_check(call, i);
}

static pal_status infer(pal_call *call)
{
    const pal_loss_opts *o = call->opts;
    pal_status status = pal_map_need(call, X, true, false);
    if (status == PAL_OK) status = pal_map_need(call, TARGET, true, false);
    if (status != PAL_OK) return status;
    const pal_array *x = call->in[X], *t = call->in[TARGET];
    if (x->dtype != t->dtype)
        return pal_call_error(call, PAL_EDTYPE, "the dtypes differ; see pal_cast");
    if (!pal_shape_equal(pal_array_shape(x), pal_array_shape(t)))
        return pal_call_error(call, PAL_ESHAPE, "x and target differ in shape");
    if (o->reduction < PAL_REDUCE_MEAN || o->reduction > PAL_REDUCE_NONE)
        return pal_call_error(call, PAL_EVALUE, "reduction %d is none that there is",
                              (int)o->reduction);
    if (!(o->delta >= 0 && isfinite(o->delta)))
        return pal_call_error(call, PAL_EVALUE, "delta %g is not a finite number from 0", o->delta);
    for (int i = WEIGHT; i < INPUTS && status == PAL_OK; i++) status = check_weights(call, i);
    if (status != PAL_OK) return status;
    bool each = o->reduction == PAL_REDUCE_NONE;
    status = pal_call_out(call, 0, x->dtype, each ? pal_array_shape(x) : PAL_SCALAR);
    if (status == PAL_OK) status = pal_call_save(call, PAL_F64, PAL_SCALAR);
    if (status != PAL_OK) return status;
    pal_call_work(call, 8 * pal_array_count(x) + 1);
    return pal_call_scratch(call, (size_t)2 * GROUPS * sizeof(double), 0);
}

/* ---- Blocks ---- */

typedef struct problem {
    const pal_call *call;
    loss_fn *f;
    pal_array in[INPUTS]; /* broadcast to x; without data: left out */
    int64_t count, groups;
    double delta;
    bool each;
} problem;

static problem describe(const pal_call *call)
{
    const pal_loss_opts *o = call->opts;
    problem p = {.call = call,
                 .f = ((const loss_op *)(const void *)call->op)->f,
                 .count = pal_array_count(call->in[X]),
                 .delta = o->delta > 0 ? o->delta : 1,
                 .each = o->reduction == PAL_REDUCE_NONE};
    for (int i = 0; i < INPUTS; i++) {
        if (!input(call, i)) continue;
        pal_shape shape = pal_array_shape(call->in[X]);
        pal_status fits = pal_array_broadcast(call->in[i], shape, &p.in[i], NULL);
        (void)fits; /* infer has checked it */
    }
    p.groups = p.count < GROUPS ? p.count : GROUPS;
    return p;
}

/* n elements from start: each with its weight. */
static void read_block(const problem *p, int64_t start, int64_t n, element *e, double *weight)
{
    double in[INPUTS][BLOCK];
    for (int i = 0; i < INPUTS; i++) {
        if (input(p->call, i))
            pal_row_read(&p->in[i], start, n, in[i]);
        else
            for (int64_t j = 0; j < n; j++) in[i][j] = 1;
    }
    for (int64_t j = 0; j < n; j++) {
        e[j] = p->f(in[X][j], in[TARGET][j], in[POS_WEIGHT][j], p->delta);
        weight[j] = in[WEIGHT][j];
    }
}

/* ---- Forward ---- */

/* The weighted losses of a group, and its weights, are added to sums[0] and sums[1]. */
static void group_forward(const problem *p, int64_t k, double *sums)
{
    element e[BLOCK];
    double weight[BLOCK], l[BLOCK];
    int64_t stop = p->count * (k + 1) / p->groups, n;
    for (int64_t start = p->count * k / p->groups; start < stop; start += n) {
        n = stop - start < BLOCK ? stop - start : BLOCK;
        read_block(p, start, n, e, weight);
        for (int64_t j = 0; j < n; j++) {
            l[j] = weight[j] * e[j].loss;
            sums[0] += l[j];
            sums[1] += weight[j];
        }
        if (p->each) pal_row_write(p->call->out[0], start, n, l, false);
    }
}

static void forward(const pal_call *call)
{
    const pal_loss_opts *o = call->opts;
    problem p = describe(call);
    double *sums = call->scratch, loss = 0, total = 0;
    for (int i = 0; i < 2 * GROUPS; i++) sums[i] = 0;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t k = 0; k < p.groups; k++) group_forward(&p, k, &sums[2 * k]);
    for (int64_t k = 0; k < p.groups; k++) {
        loss += sums[2 * k];
        total += sums[2 * k + 1];
    }
    double share = o->reduction == PAL_REDUCE_MEAN && total > 0 ? 1 / total : 1;
    *(double *)call->saved[0].data = share;
    if (!p.each) pal_element_set(call->out[0]->dtype, call->out[0]->data, 0, loss * share);
}

/* ---- Backward ---- */

static void group_backward(const problem *p, int64_t k)
{
    const pal_call *call = p->call;
    const pal_array *dy = call->dout[0];
    const double share = *(const double *)call->saved[0].data;
    element e[BLOCK];
    double weight[BLOCK], g[BLOCK], d[BLOCK];
    int64_t stop = p->count * (k + 1) / p->groups, n;
    for (int64_t start = p->count * k / p->groups; start < stop; start += n) {
        n = stop - start < BLOCK ? stop - start : BLOCK;
        read_block(p, start, n, e, weight);
        if (p->each) pal_row_read(dy, start, n, g);
        for (int64_t j = 0; j < n && !p->each; j++) g[j] = pal_element_get(dy->dtype, dy->data, 0);
        for (int i = X; i <= TARGET; i++) {
            if (!call->din[i]) continue;
            for (int64_t j = 0; j < n; j++)
                d[j] = share * weight[j] * g[j] * (i == X ? e[j].dx : e[j].dt);
            pal_row_write(call->din[i], start, n, d, !pal_call_fresh(call, i));
        }
    }
}

static void backward(const pal_call *call)
{
    problem p = describe(call);
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t k = 0; k < p.groups; k++) group_backward(&p, k);
}

/* ---- Operations ---- */

#define OP(loss)                                 \
    .op = {.name = loss,                         \
           .args = "x target weight pos_weight", \
           .infer = infer,                       \
           .forward = forward,                   \
           .backward = backward,                 \
           .unread_out = 1,                      \
           .overwrites = 3}
static const loss_op mse_op = {OP("mse"), .f = mse};
static const loss_op mae_op = {OP("mae"), .f = mae};
static const loss_op huber_op = {OP("huber"), .f = huber};
static const loss_op bce_logits_op = {OP("bce_logits"), .f = bce_logits};

static pal_tensor apply(const loss_op *op, pal_tensor x, pal_tensor target, pal_loss_opts o)
{
    pal_tensor y;
    int nin = !pal_is_none(o.pos_weight) ? 4 : !pal_is_none(o.weight) ? 3 : 2;
    pal_apply(&op->op, &o, sizeof o, nin, (pal_tensor[]){x, target, o.weight, o.pos_weight}, 1, &y);
    return y;
}

pal_tensor pal_mse(pal_tensor x, pal_tensor target, pal_loss_opts opts)
{
    return apply(&mse_op, x, target, opts);
}

pal_tensor pal_mae(pal_tensor x, pal_tensor target, pal_loss_opts opts)
{
    return apply(&mae_op, x, target, opts);
}

pal_tensor pal_huber(pal_tensor x, pal_tensor target, pal_loss_opts opts)
{
    return apply(&huber_op, x, target, opts);
}

pal_tensor pal_bce_logits(pal_tensor x, pal_tensor target, pal_loss_opts opts)
{
    return apply(&bce_logits_op, x, target, opts);
}
