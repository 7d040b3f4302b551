/*
 * cross_entropy.c - the loss of a classifier, from logits.
 *
 * If a fraction s of the target is spread over the n classes, the loss of a row is
 *   logsumexp(x) - (1 - s) x[target] - s mean(x)
 * and its gradient is softmax(x) - (1 - s) e_target - s / n, both times the weight of the row. Only
 * the log-sum-exps are kept. The
 * probabilities are as large as the logits, so backward computes them again row by row.
 */
#include "autograd/ops/map.h"
#include "autograd/ops/shape.h"
#include "autograd/ops/targets.h"

#include <omp.h>

enum { BLOCKS = 64 };

static pal_status infer(pal_call *call)
{
    const pal_array *x = call->in[0], *t = call->in[1];
    const pal_cross_entropy_opts *o = call->opts;
    const bool each = o->reduction == PAL_REDUCE_NONE;
    pal_status status = pal_map_need(call, 0, true, false);
    int64_t n = x->ndim > 0 ? x->shape[x->ndim - 1] : 0;
    if (status == PAL_OK) status = pal_targets_check(call, o, 1, n);
    if (status == PAL_OK)
        status = pal_call_out(call, 0, x->dtype, each ? pal_array_shape(t) : PAL_SCALAR);
    if (status == PAL_OK) status = pal_call_save(call, PAL_F64, PAL_SHAPE(pal_array_count(t)));
    if (status != PAL_OK) return status;
    int64_t work = pal_array_count(x) + 1;
    size_t team = (size_t)pal_call_team(call, work);
    size_t row = pal_round_up((size_t)n * sizeof(double), PAL_ALIGN);
    return pal_call_scratch(call, BLOCKS * sizeof(double) + team * row, 2 * team * row);
}

/* ---- Forward ---- */

typedef struct problem {
    const pal_cross_entropy_opts *o;
    pal_lines x;
    pal_targets targets;
    const pal_kernels *k;
    pal_dtype dtype;
    int64_t rows, n;
    size_t row; /* bytes of a buffer for one row */
} problem;

static problem describe(const pal_call *call)
{
    const pal_array *x = call->in[0];
    problem p = {.o = call->opts, .dtype = x->dtype, .n = x->shape[x->ndim - 1]};
    p.x = pal_lines_of(x, x->ndim - 1);
    p.targets = pal_targets_of(call, p.o, 1);
    p.k = pal_kernels_for(x->dtype);
    p.rows = p.x.count;
    p.row = pal_round_up((size_t)p.n * sizeof(double), PAL_ALIGN);
    return p;
}

static double row_loss(const problem *p, int64_t i, int64_t target, void *buffer, double *lse)
{
    const void *x = pal_line_read(&p->x, pal_line(&p->x, i), 0, p->n, buffer);
    double s = p->o->label_smoothing;
    *lse = p->k->logsumexp_row(p->n, x);
    double loss = *lse - (1 - s) * pal_element_get(p->dtype, x, target);
    return s > 0 ? loss - s * p->k->sum(p->n, x) / (double)p->n : loss;
}

/* The weighted loss of row i; 0 if it is ignored. */
static double weighted(const problem *p, int64_t i, void *buffer, double *lse)
{
    int64_t target = pal_target(&p->targets, i);
    if (target < 0) return 0;
    return pal_target_weight(&p->targets, i) * row_loss(p, i, target, buffer, &lse[i]);
}

/* Rows are summed in at most BLOCKS blocks, and the blocks in their order. */
static void forward(const pal_call *call)
{
    problem p = describe(call);
    double *sums = call->scratch, *lse = call->saved[0].data, loss = 0;
    char *buffers = (char *)(sums + BLOCKS);
    int64_t blocks = p.rows < BLOCKS ? p.rows : BLOCKS;
    const bool each = p.o->reduction == PAL_REDUCE_NONE;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t b = 0; b < blocks; b++) {
        void *buffer = buffers + (size_t)omp_get_thread_num() * p.row;
        sums[b] = 0;
        for (int64_t i = p.rows * b / blocks; i < p.rows * (b + 1) / blocks; i++) {
            double l = weighted(&p, i, buffer, lse);
            if (each) pal_element_set(p.dtype, call->out[0]->data, i, l);
            sums[b] += l;
        }
    }
    if (each) return;
    for (int64_t b = 0; b < blocks; b++) loss += sums[b];
    pal_element_set(p.dtype, call->out[0]->data, 0, loss * pal_targets_share(&p.targets));
}

/* ---- Backward ---- */

/* dx of one row, scaled by g. */
static void d_row(const problem *p, int64_t i, int64_t target, double lse, double g, void *buffer,
                  void *dx)
{
    double s = p->o->label_smoothing;
    if (target < 0) {
        p->k->fill(p->n, 0, dx);
        return;
    }
    const void *x = pal_line_read(&p->x, pal_line(&p->x, i), 0, p->n, buffer);
    p->k->exp_row(p->n, x, lse, g, dx);
    if (s > 0) p->k->affine(p->n, dx, (double[]){1, -g * s / (double)p->n}, dx);
    pal_element_set(p->dtype, dx, target, pal_element_get(p->dtype, dx, target) - g * (1 - s));
}

static void backward(const pal_call *call)
{
    problem p = describe(call);
    const pal_array *dx = call->din[0], *dy = call->dout[0];
    if (!dx || pal_array_count(dx) == 0) return;
    pal_lines d = pal_lines_of(dx, dx->ndim - 1);
    const double *lse = call->saved[0].data;
    bool fresh = pal_call_fresh(call, 0);
    const bool each = p.o->reduction == PAL_REDUCE_NONE;
    const double share = pal_targets_share(&p.targets);
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < p.rows; i++) {
        char *own = (char *)call->scratch + 2 * (size_t)omp_get_thread_num() * p.row;
        char *line = pal_line(&d, i);
        void *to = pal_line_target(&d, line, fresh, own + p.row);
        double g = pal_element_get(dy->dtype, dy->data, each ? i : 0) * share;
        g *= pal_target_weight(&p.targets, i);
        d_row(&p, i, pal_target(&p.targets, i), lse[i], g, own, to);
        pal_line_give(&d, p.k, line, fresh, p.n, to);
    }
}

static const pal_op cross_entropy_op = {.name = "cross_entropy",
                                        .args = "logits targets weight",
                                        .infer = infer,
                                        .forward = forward,
                                        .backward = backward,
                                        .unread_out = 1,
                                        .overwrites = 1};

pal_tensor pal_cross_entropy(pal_tensor logits, pal_tensor targets, pal_cross_entropy_opts opts)
{
    pal_tensor y;
    pal_apply(&cross_entropy_op, &opts, sizeof opts, pal_is_none(opts.weight) ? 2 : 3,
              (pal_tensor[]){logits, targets, opts.weight}, 1, &y);
    return y;
}
