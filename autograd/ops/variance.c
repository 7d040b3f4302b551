/*
 * variance.c - variance and standard deviation along the last axis.
 *
 * A row is cut into pieces of PIECE elements. Each piece gives its mean and the squares of the
 * deviations from it, in two passes, and the pieces of a row are merged in order. So no digits are
 * lost where the mean is large, and the bits do not depend on the number of threads. Merging: Chan,
 * Golub and LeVeque, 1979.
 */
#include "autograd/ops/variance.h"

#include "autograd/ops/lines.h"
#include "autograd/ops/map.h"

#include <math.h>

enum { PIECE = 1 << 13 };

typedef struct variance_opts {
    double correction;
    bool root;
} variance_opts;

/* A part of a row: the number of its elements, their mean, and the sum of (x - mean)^2. */
typedef struct stats {
    double n, mean, squares;
} stats;

static int64_t pieces_of(int64_t n) { return (n + PIECE - 1) / PIECE; }

static pal_status infer(pal_call *call)
{
    const variance_opts *o = call->opts;
    const pal_array *x = call->in[0];
    pal_status status = pal_map_need(call, 0, true, false);
    if (status != PAL_OK) return status;
    if (!(o->correction >= 0 && isfinite(o->correction)))
        return pal_call_error(call, PAL_EVALUE, "correction %g is not a finite number from 0",
                              o->correction);
    pal_shape rows = pal_array_shape(x);
    rows.ndim--;
    status = pal_call_out(call, 0, x->dtype, rows);
    if (status == PAL_OK) status = pal_call_save(call, PAL_F64, rows);
    if (status != PAL_OK) return status;
    pal_call_work(call, 2 * pal_array_count(x) + 1);
    size_t parts = (size_t)(pal_shape_count(rows) * pieces_of(x->shape[x->ndim - 1]));
    return pal_call_scratch(call, parts * sizeof(stats), 0);
}

static stats stats_of(const pal_lines *l, int64_t row, int64_t start)
{
    const int64_t n = l->n - start < PIECE ? l->n - start : PIECE;
    const char *x = pal_line(l, row) + start * l->step * (int64_t)l->size;
    stats p = {.n = (double)n};
    for (int64_t i = 0; i < n; i++) p.mean += pal_element_get(l->dtype, x, i * l->step);
    p.mean /= p.n;
    for (int64_t i = 0; i < n; i++) {
        double d = pal_element_get(l->dtype, x, i * l->step) - p.mean;
        p.squares += d * d;
    }
    return p;
}

static stats merged(stats a, stats b)
{
    double n = a.n + b.n, d = b.mean - a.mean;
    return (stats){n, a.mean + d * b.n / n, a.squares + b.squares + d * d * a.n * b.n / n};
}

static void forward(const pal_call *call)
{
    const variance_opts *o = call->opts;
    const pal_array *x = call->in[0], *y = call->out[0];
    pal_lines l = pal_lines_of(x, x->ndim - 1);
    stats *all = call->scratch;
    const int64_t pieces = pieces_of(l.n);
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < l.count * pieces; i++)
        all[i] = stats_of(&l, i / pieces, i % pieces * PIECE);
    for (int64_t row = 0; row < l.count; row++) {
        stats p = pieces ? all[row * pieces] : (stats){0};
        for (int64_t i = 1; i < pieces; i++) p = merged(p, all[row * pieces + i]);
        double left = p.n - o->correction, v = p.n > 0 ? p.squares / (left > 0 ? left : 0) : NAN;
        ((double *)call->saved[0].data)[row] = p.mean;
        pal_element_set(y->dtype, y->data, row, o->root ? sqrt(v) : v);
    }
}

/* dx = 2 (x - mean) dy / (n - correction); for the root dx = (x - mean) dy / (y (n - correction)).
 */
static double slope(const pal_call *call, int64_t row, int64_t n)
{
    const variance_opts *o = call->opts;
    const pal_array *y = call->out[0], *dy = call->dout[0];
    const double left = (double)n - o->correction, g = pal_element_get(dy->dtype, dy->data, row);
    if (!o->root) return 2 * g / (left > 0 ? left : 0);
    const double root = pal_element_get(y->dtype, y->data, row);
    return root == 0 ? 0 : g / (root * (left > 0 ? left : 0));
}

static void backward(const pal_call *call)
{
    const pal_array *x = call->in[0], *dx = call->din[0];
    if (pal_array_count(x) == 0) return;
    pal_lines l = pal_lines_of(x, x->ndim - 1), d = pal_lines_of(dx, x->ndim - 1);
    const double *mean = call->saved[0].data;
    const bool fresh = pal_call_fresh(call, 0);
    const int64_t pieces = pieces_of(l.n);
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < l.count * pieces; i++) {
        const int64_t row = i / pieces, start = i % pieces * PIECE;
        const int64_t stop = l.n - start < PIECE ? l.n : start + PIECE;
        const double s = slope(call, row, l.n);
        const char *from = pal_line(&l, row);
        char *to = pal_line(&d, row);
        for (int64_t j = start; j < stop; j++) {
            double v = s * (pal_element_get(l.dtype, from, j * l.step) - mean[row]);
            double before = fresh ? 0 : pal_element_get(d.dtype, to, j * d.step);
            pal_element_set(d.dtype, to, j * d.step, before + v);
        }
    }
}

static const pal_op var_op = {.name = "var",
                              .args = "x",
                              .infer = infer,
                              .forward = forward,
                              .backward = backward,
                              .unread_out = 1,
                              .overwrites = 1};
static const pal_op std_op = {.name = "std",
                              .args = "x",
                              .infer = infer,
                              .forward = forward,
                              .backward = backward,
                              .overwrites = 1};

pal_tensor pal_variance_of_rows(pal_tensor x, double correction, bool root)
{
    pal_tensor y;
    variance_opts o = {correction, root};
    pal_apply(root ? &std_op : &var_op, &o, sizeof o, 1, &x, 1, &y);
    return y;
}
