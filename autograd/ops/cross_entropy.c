/*
 * cross_entropy.c - the loss of a classifier, from logits.
 *
 * With share s of the target spread over the n classes, a row's loss is
 *   logsumexp(x) - (1 - s) x[target] - s mean(x)
 * and its gradient softmax(x) - (1 - s) e_target - s / n. Only the log-sum-exps are kept: the
 * probabilities, as large as the logits, are made again row by row in backward.
 */
#include "autograd/ops/lines.h"
#include "autograd/ops/map.h"
#include "autograd/ops/shape.h"

#include <omp.h>

typedef pal_cross_entropy_opts options;

enum { BLOCKS = 64 };

/* ---- Targets ---- */

static bool ignored(const options *o, int64_t target)
{
    return o->has_ignore && target == o->ignore;
}

/* Target of row i. */
static int64_t target_of(const pal_lines *targets, int64_t i)
{
    const char *line = pal_line(targets, i / targets->n);
    return ((const int64_t *)(const void *)line)[i % targets->n * targets->step];
}

static int64_t count_targets(const options *o, const pal_lines *targets, int64_t rows)
{
    int64_t n = 0;
    for (int64_t i = 0; i < rows; i++) n += !ignored(o, target_of(targets, i));
    return n;
}

static pal_status check_targets(pal_call *call)
{
    const pal_array *x = call->in[0], *t = call->in[1];
    int64_t n = x->shape[x->ndim - 1], rows = pal_array_count(t);
    pal_lines targets = pal_lines_of(t, PAL_ALL);
    for (int64_t i = 0; i < rows; i++) {
        int64_t target = target_of(&targets, i);
        if (!ignored(call->opts, target) && (target < 0 || target >= n))
            return pal_call_error(call, PAL_EVALUE,
                                  "target %lld of row %lld is not between 0 and %lld",
                                  (long long)target, (long long)i, (long long)n - 1);
    }
    return PAL_OK;
}

static pal_status infer(pal_call *call)
{
    const pal_array *x = call->in[0], *t = call->in[1];
    const options *o = call->opts;
    pal_status status = pal_map_need(call, 0, true, false);
    if (status == PAL_OK) status = pal_map_need(call, 1, false, true);
    if (status != PAL_OK) return status;
    if (!(o->label_smoothing >= 0 && o->label_smoothing < 1))
        return pal_call_error(call, PAL_EVALUE, "label_smoothing %g is not in [0, 1)",
                              o->label_smoothing);
    pal_shape rows = pal_array_shape(x);
    rows.ndim--;
    if (x->ndim == 0 || !pal_shape_equal(rows, pal_array_shape(t)))
        return pal_call_error(call, PAL_ESHAPE,
                              "targets do not have the shape of logits without the last axis");
    status = check_targets(call);
    if (status == PAL_OK) status = pal_call_out(call, 0, x->dtype, PAL_SCALAR);
    if (status == PAL_OK) status = pal_call_save(call, PAL_F64, PAL_SHAPE(pal_shape_count(rows)));
    if (status != PAL_OK) return status;
    int64_t work = pal_array_count(x) + 1;
    size_t team = (size_t)pal_team(work), row = (size_t)x->shape[x->ndim - 1] * sizeof(double);
    row = pal_round_up(row, PAL_ALIGN);
    pal_call_work(call, work);
    return pal_call_scratch(call, BLOCKS * sizeof(double) + team * row, 2 * team * row);
}

/* ---- Forward ---- */

typedef struct problem {
    const options *o;
    pal_lines x, targets;
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
    p.targets = pal_lines_of(call->in[1], PAL_ALL);
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
    double loss = *lse - (1 - s) * pal_run_get(p->dtype, x, target);
    return s > 0 ? loss - s * p->k->sum(p->n, x) / (double)p->n : loss;
}

/* Rows are summed in at most BLOCKS blocks, and these in their order. */
static void forward(const pal_call *call)
{
    problem p = describe(call);
    double *sums = call->scratch, *lse = call->saved[0].data, loss = 0;
    char *buffers = (char *)(sums + BLOCKS);
    int64_t blocks = p.rows < BLOCKS ? p.rows : BLOCKS;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t b = 0; b < blocks; b++) {
        void *buffer = buffers + (size_t)omp_get_thread_num() * p.row;
        sums[b] = 0;
        for (int64_t i = p.rows * b / blocks; i < p.rows * (b + 1) / blocks; i++) {
            int64_t target = target_of(&p.targets, i);
            if (!ignored(p.o, target)) sums[b] += row_loss(&p, i, target, buffer, &lse[i]);
        }
    }
    for (int64_t b = 0; b < blocks; b++) loss += sums[b];
    int64_t counted = count_targets(p.o, &p.targets, p.rows);
    if (!p.o->sum && counted > 0) loss /= (double)counted;
    pal_run_set(p.dtype, call->out[0]->data, 0, loss);
}

/* ---- Backward ---- */

/* dx of one row, scaled by g. */
static void d_row(const problem *p, int64_t i, int64_t target, double lse, double g, void *buffer,
                  void *dx)
{
    double s = p->o->label_smoothing;
    if (ignored(p->o, target)) {
        p->k->fill(p->n, 0, dx);
        return;
    }
    const void *x = pal_line_read(&p->x, pal_line(&p->x, i), 0, p->n, buffer);
    p->k->exp_row(p->n, x, lse, g, dx);
    if (s > 0) p->k->affine(p->n, dx, (double[]){1, -g * s / (double)p->n}, dx);
    pal_run_set(p->dtype, dx, target, pal_run_get(p->dtype, dx, target) - g * (1 - s));
}

static void backward(const pal_call *call)
{
    problem p = describe(call);
    const pal_array *dx = call->din[0], *dy = call->dout[0];
    if (!dx || pal_array_count(dx) == 0) return;
    pal_lines d = pal_lines_of(dx, dx->ndim - 1);
    const double *lse = call->saved[0].data;
    bool fresh = pal_call_fresh(call, 0);
    int64_t counted = count_targets(p.o, &p.targets, p.rows);
    double g = pal_run_get(dy->dtype, dy->data, 0);
    if (!p.o->sum && counted > 0) g /= (double)counted;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < p.rows; i++) {
        char *own = (char *)call->scratch + 2 * (size_t)omp_get_thread_num() * p.row;
        char *line = pal_line(&d, i);
        bool direct = fresh && d.step == 1;
        void *to = direct ? line : own + p.row;
        d_row(&p, i, target_of(&p.targets, i), lse[i], g, own, to);
        if (fresh)
            pal_line_write(&d, line, 0, p.n, to);
        else
            pal_line_add(&d, p.k, line, 0, p.n, to);
    }
}

static const pal_op cross_entropy_op = {.name = "cross_entropy",
                                        .args = "logits targets",
                                        .infer = infer,
                                        .forward = forward,
                                        .backward = backward,
                                        .unread_out = 1,
                                        .overwrites = 1};

pal_tensor pal_cross_entropy(pal_tensor logits, pal_tensor targets, pal_cross_entropy_opts opts)
{
    pal_tensor y;
    pal_apply(&cross_entropy_op, &opts, sizeof opts, 2, (pal_tensor[]){logits, targets}, 1, &y);
    return y;
}
