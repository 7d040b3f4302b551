/*
 * reduce.c - the loop behind the reductions.
 *
 * The elements of one result are cut into pieces of PIECE elements. The pieces are divided among at
 * most GROUPS groups; each group is reduced by itself, and the groups are merged in order. All of
 * this depends only on the shape, so every number of threads gives the same bits. Partial sums of
 * f32 are doubles too.
 *
 * A sum over an axis that is not the innermost adds rows of memory to a row of doubles instead.
 */
#include "autograd/ops/reduce.h"

#include "autograd/ops/map.h"
#include "tensor/squares.h"

#include <string.h>

enum { PIECE = 1 << 13, GROUPS = 64, BUFFER = 512, COLUMNS = 512 };

static int64_t at_most(int64_t n, int64_t most) { return n < most ? n : most; }
static int64_t above(int64_t n, int64_t by) { return (n + by - 1) / by; }

/* ---- Shapes ---- */

static int axis_of(const pal_call *call)
{
    const pal_reduce_opts *o = call->opts;
    return o->axis == PAL_ALL ? PAL_ALL : pal_axis(o->axis, call->in[0]->ndim);
}

static pal_shape result_shape(const pal_array *x, int axis, bool keep)
{
    pal_shape s = {0};
    for (int d = 0; d < x->ndim; d++) {
        bool reduced = axis == PAL_ALL || d == axis;
        if (!reduced || keep) s.dim[s.ndim++] = reduced ? 1 : x->shape[d];
    }
    return s;
}

int64_t pal_reduce_length(const pal_call *call)
{
    int axis = axis_of(call);
    return axis == PAL_ALL ? pal_array_count(call->in[0]) : call->in[0]->shape[axis];
}

pal_array pal_reduce_spread(const pal_call *call, const pal_array *y)
{
    pal_array view = *call->in[0];
    int axis = axis_of(call);
    int64_t stride = 1;
    view.dtype = y->dtype;
    view.data = y->data;
    for (int d = view.ndim - 1; d >= 0; d--) {
        bool reduced = axis == PAL_ALL || d == axis;
        view.stride[d] = reduced ? 0 : stride;
        if (!reduced) stride *= view.shape[d];
    }
    return view;
}

/* How the work is divided. */
typedef struct division {
    pal_lines x;
    int64_t results, lines; /* results, and lines of x for each result */
    int64_t pieces;         /* of each line */
    int64_t groups;         /* of each result */
    /* for `across`: x is [outer, n, inner] with a contiguous inner axis */
    bool across;
    int64_t outer, inner;
} division;

static division divide(const pal_call *call)
{
    const pal_reduce_op *op = (const pal_reduce_op *)(const void *)call->op;
    int axis = axis_of(call);
    division d = {.x = pal_lines_of(call->in[0], axis)};
    pal_lines *x = &d.x;
    bool all = axis == PAL_ALL;
    d.results = all ? 1 : x->count;
    d.lines = all ? x->count : 1;
    d.pieces = above(x->n, PIECE);
    d.groups = at_most(d.lines * d.pieces, GROUPS);
    if (d.groups < 1) d.groups = 1;
    int last = x->ndim - 1;
    d.across = op->across && call->in[0]->dtype != PAL_I64 && !all && x->ndim && x->step != 1 &&
               x->stride[last] == 1 && x->dim[last] >= 8;
    if (d.across) {
        d.inner = x->dim[last];
        d.outer = x->count / d.inner;
        bool few = d.outer * above(d.inner, COLUMNS) < 16;
        d.groups = few && x->n >= 2048 ? at_most(x->n / 1024, 16) : 1;
    }
    return d;
}

/* ---- infer ---- */

static pal_status ask_scratch(pal_call *call)
{
    size_t bytes = 0;
    if (pal_array_count(call->in[0]) > 0) {
        division d = divide(call);
        size_t one = d.across ? sizeof(double) : sizeof(pal_partial);
        bytes = (size_t)(d.results * d.groups) * one;
    }
    size_t back = (size_t)pal_array_count(call->out[0]) * sizeof(double);
    return pal_call_scratch(call, bytes, back);
}

pal_status pal_reduce_infer(pal_call *call)
{
    const pal_reduce_op *op = (const pal_reduce_op *)(const void *)call->op;
    const pal_reduce_opts *o = call->opts;
    pal_status status = pal_map_need(call, 0, true, op->integers);
    if (status != PAL_OK) return status;
    const pal_array *x = call->in[0];
    if (o->axis != PAL_ALL && pal_axis(o->axis, x->ndim) < 0)
        return pal_axis_error(call, o->axis, x);
    if (op->nonempty && pal_reduce_length(call) == 0)
        return pal_call_error(call, PAL_EVALUE, "there is nothing to choose from: %s is empty",
                              o->axis == PAL_ALL ? "x" : "the axis");
    pal_shape shape = result_shape(x, axis_of(call), o->keep);
    status = pal_call_out(call, 0, op->indices ? PAL_I64 : x->dtype, shape);
    if (status == PAL_OK && op->saves_at && x->dtype != PAL_I64)
        status = pal_call_save(call, PAL_I64, shape);
    if (status != PAL_OK) return status;
    pal_call_work(call, pal_array_count(x) + 1);
    return ask_scratch(call);
}

/* ---- Forward, along lines ---- */

/* Reduces group k of a result into p. */
static void reduce_group(const pal_call *call, const division *d, int64_t result, int64_t k,
                         pal_partial *p)
{
    const pal_reduce_op *op = (const pal_reduce_op *)(const void *)call->op;
    double buffer[BUFFER];
    int64_t items = d->lines * d->pieces, first = items * k / d->groups;
    pal_reduce_elements run = {.dtype = call->in[0]->dtype};
    if (run.dtype != PAL_I64) run.k = pal_kernels_for(run.dtype);
    int64_t most = d->x.step == 1 ? PIECE : BUFFER;
    *p = (pal_partial){.real = op->start, .at = -1};
    for (int64_t item = first; item < items * (k + 1) / d->groups; item++) {
        int64_t line = result * d->lines + item / d->pieces;
        int64_t start = item % d->pieces * PIECE, stop = at_most(d->x.n, start + PIECE);
        const char *at = pal_line(&d->x, line);
        for (; start < stop; start += run.n) {
            run.n = at_most(stop - start, most);
            run.first = item / d->pieces * d->x.n + start;
            run.x = pal_line_read(&d->x, at, start, run.n, buffer);
            op->add(p, &run);
        }
    }
}

static void store(const pal_call *call, int64_t i, const pal_partial *p)
{
    const pal_reduce_op *op = (const pal_reduce_op *)(const void *)call->op;
    const pal_array *y = call->out[0];
    if (op->indices)
        ((int64_t *)y->data)[i] = p->at;
    else if (y->dtype == PAL_I64)
        ((int64_t *)y->data)[i] = p->integer;
    else
        pal_element_set(y->dtype, y->data, i,
                        op->finish ? op->finish(p, pal_reduce_length(call)) : p->real);
    if (call->nsaved) ((int64_t *)call->saved[0].data)[i] = p->at;
}

static void along(const pal_call *call, const division *d)
{
    const pal_reduce_op *op = (const pal_reduce_op *)(const void *)call->op;
    pal_partial *p = call->scratch;
    int64_t total = d->results * d->groups;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < total; i++) reduce_group(call, d, i / d->groups, i % d->groups, &p[i]);
    for (int64_t i = 0; i < d->results; i++) {
        pal_partial *first = &p[i * d->groups];
        for (int64_t k = 1; k < d->groups; k++) op->merge(first, &first[k]);
        store(call, i, first);
    }
}

/* ---- Forward, across the inner axis ---- */

/* Adds the rows of one group to its row of doubles, for one tile of columns. */
static void sum_rows(const pal_call *call, const division *d, pal_widen *kernel, int64_t item,
                     int64_t tiles)
{
    int64_t tile = item % tiles, group = item / tiles % d->groups, outer = item / tiles / d->groups;
    int64_t column = tile * COLUMNS, width = at_most(d->inner - column, COLUMNS);
    double *sum = (double *)call->scratch + (outer * d->groups + group) * d->inner + column;
    const char *x = pal_line(&d->x, outer * d->inner + column);
    memset(sum, 0, (size_t)width * sizeof *sum);
    for (int64_t j = d->x.n * group / d->groups; j < d->x.n * (group + 1) / d->groups; j++)
        kernel(width, x + j * d->x.step * (int64_t)d->x.size, sum);
}

/* Adds the groups of result i. */
static void add_groups(const pal_call *call, const division *d, int64_t i)
{
    const pal_reduce_op *op = (const pal_reduce_op *)(const void *)call->op;
    const double *group =
        (const double *)call->scratch + i / d->inner * d->groups * d->inner + i % d->inner;
    pal_partial p = {0};
    for (int64_t k = 0; k < d->groups; k++) p.real += group[k * d->inner];
    if (op->squares && call->in[0]->dtype == PAL_F64 && !pal_squares_fit(p.real)) {
        division whole = *d; /* a result at a time */
        whole.groups = 1;
        reduce_group(call, &whole, i, 0, &p);
    }
    store(call, i, &p);
}

static void across(const pal_call *call, const division *d)
{
    const pal_reduce_op *op = (const pal_reduce_op *)(const void *)call->op;
    const char *table = (const char *)pal_kernels_for(call->in[0]->dtype);
    pal_widen *kernel = *(pal_widen *const *)(const void *)(table + op->across);
    int64_t tiles = above(d->inner, COLUMNS), items = d->outer * d->groups * tiles;
#pragma omp parallel num_threads(call->team) if (call->team > 1)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < items; i++) sum_rows(call, d, kernel, i, tiles);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < d->results; i++) add_groups(call, d, i);
    }
}

void pal_reduce_forward(const pal_call *call)
{
    const pal_reduce_op *op = (const pal_reduce_op *)(const void *)call->op;
    if (pal_array_count(call->in[0]) == 0) {
        pal_partial empty = {.real = op->start, .at = -1};
        for (int64_t i = 0; i < pal_array_count(call->out[0]); i++) store(call, i, &empty);
        return;
    }
    division d = divide(call);
    if (d.across)
        across(call, &d);
    else
        along(call, &d);
}

/* ---- Backward ---- */

typedef struct backward_loop {
    pal_lines x, dx;
    const pal_kernels *k;
    pal_dtype dtype;
    bool all, fresh;
    const void *y, *dy;
} backward_loop;

/* Backward for the elements of one block of a line. */
static void backward_block(const backward_loop *b, pal_reduce_d *f, int64_t line, int64_t start)
{
    double x[BUFFER], d[BUFFER];
    int64_t n = at_most(b->x.n - start, BUFFER), result = b->all ? 0 : line;
    const void *run = pal_line_read(&b->x, pal_line(&b->x, line), start, n, x);
    f(b->k, n, run, pal_element_get(b->dtype, b->y, result),
      pal_element_get(b->dtype, b->dy, result), d);
    char *to = pal_line(&b->dx, line);
    if (b->fresh)
        pal_line_write(&b->dx, to, start, n, d);
    else
        pal_line_add(&b->dx, b->k, to, start, n, d);
}

void pal_reduce_backward(const pal_call *call, pal_reduce_d *f)
{
    const pal_array *x = call->in[0], *dx = call->din[0];
    int axis = axis_of(call);
    if (pal_array_count(x) == 0) return;
    backward_loop b = {.dtype = x->dtype,
                       .k = pal_kernels_for(x->dtype),
                       .all = axis == PAL_ALL,
                       .fresh = pal_call_fresh(call, 0),
                       .y = call->out[0]->data,
                       .dy = call->dout[0]->data};
    /* Over all elements, x and dx must have the same lines: single lines, or lines along the last
     * axis. */
    if (b.all && !(pal_array_contiguous(x) && pal_array_contiguous(dx))) axis = x->ndim - 1;
    b.x = pal_lines_of(x, axis);
    b.dx = pal_lines_of(dx, axis);
    int64_t blocks = above(b.x.n, BUFFER), items = b.x.count * blocks;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < items; i++) backward_block(&b, f, i / blocks, i % blocks * BUFFER);
}

pal_tensor pal_reduce_apply(const pal_reduce_op *op, pal_tensor x, int axis, bool keep)
{
    pal_tensor y;
    pal_reduce_opts o = {.axis = axis, .keep = keep};
    pal_apply(&op->op, &o, sizeof o, 1, &x, 1, &y);
    return y;
}
