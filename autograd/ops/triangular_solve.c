/*
 * triangular_solve.c - solves T x = b for triangular T, by substitution.
 *
 * Row i of x is b_i minus multiples of the rows that are already known, so the inner loop is an
 * axpy over the m columns of b. M stands for T, or for T^T if that is solved:
 *
 *     db = M^-T dx        dM = -tri(db x^T)
 *
 * where tri keeps the triangle that is read, without its diagonal if that counts as 1.
 */
#include "autograd/ops/map.h"
#include "autograd/ops/shape.h"

#include <string.h>

/* The leading axes of a matrix batch. */
static pal_shape batch_of(const pal_array *a)
{
    pal_shape s = pal_array_shape(a);
    s.ndim -= 2;
    return s;
}

static pal_status infer(pal_call *call)
{
    for (int i = 0; i < 2; i++) {
        pal_status status = pal_map_need(call, i, true, false);
        if (status != PAL_OK) return status;
        if (call->in[i]->ndim < 2)
            return pal_call_error(call, PAL_ESHAPE, "both operands need two axes or more");
    }
    const pal_array *t = call->in[0], *b = call->in[1];
    int64_t n = t->shape[t->ndim - 1], m = b->shape[b->ndim - 1];
    pal_shape shape;
    if (t->dtype != b->dtype) return pal_call_error(call, PAL_EDTYPE, "the dtypes differ");
    if (t->shape[t->ndim - 2] != n) return pal_call_error(call, PAL_ESHAPE, "t is not square");
    if (b->shape[b->ndim - 2] != n)
        return pal_call_error(call, PAL_ESHAPE, "t has %lld rows and b %lld", (long long)n,
                              (long long)b->shape[b->ndim - 2]);
    if (pal_shape_broadcast(batch_of(t), batch_of(b), &shape) != PAL_OK)
        return pal_call_error(call, PAL_ESHAPE, "the leading axes do not broadcast");
    shape.dim[shape.ndim++] = n;
    shape.dim[shape.ndim++] = m;
    pal_status status = pal_call_out(call, 0, t->dtype, shape);
    if (status != PAL_OK) return status;
    pal_call_work(call, pal_array_count(call->out[0]) * (n / 2 + 1) + 1);
    return pal_call_scratch(call, 0, pal_shape_bytes(t->dtype, shape)); /* db */
}

/* A triangular matrix of a batch: element (i, j) at data[i * row + j * column]. */
typedef struct triangle {
    pal_dtype dtype;
    const char *data;
    int64_t n, row, column;
    bool upper, unit;
} triangle;

static double at(const triangle *t, int64_t i, int64_t j)
{
    int64_t k = i * t->row + j * t->column;
    return pal_element_get(t->dtype, t->data, k);
}

/* x <- M^-1 x for x [n, m], rows in place. */
static void solve(const triangle *t, int64_t m, char *x)
{
    const pal_kernels *k = pal_kernels_for(t->dtype);
    size_t row = (size_t)m * pal_dtype_size(t->dtype);
    for (int64_t step = 0; step < t->n; step++) {
        int64_t i = t->upper ? t->n - 1 - step : step;
        int64_t first = t->upper ? i + 1 : 0, last = t->upper ? t->n : i;
        char *xi = x + (size_t)i * row;
        for (int64_t j = first; j < last; j++) k->axpy(m, -at(t, i, j), x + (size_t)j * row, xi);
        if (t->unit) continue;
        double scale[2] = {1 / at(t, i, i), 0};
        k->affine(m, xi, scale, xi);
    }
}

static const char *matrix(const pal_array *a, const pal_array *whole, int64_t batch)
{
    int added = whole->ndim - a->ndim;
    int64_t offset = 0;
    for (int d = whole->ndim - 3; d >= 0; d--) {
        int64_t i = batch % whole->shape[d];
        batch /= whole->shape[d];
        if (d >= added && a->shape[d - added] > 1) offset += i * a->stride[d - added];
    }
    return (const char *)a->data + offset * (int64_t)pal_dtype_size(a->dtype);
}

/* M of one batch entry, or its transpose. */
static triangle triangle_of(const pal_call *call, int64_t batch, bool transposed)
{
    const pal_solve_opts *o = call->opts;
    const pal_array *t = call->in[0];
    bool turn = o->transpose != transposed;
    int64_t rs = t->stride[t->ndim - 2], cs = t->stride[t->ndim - 1];
    return (triangle){.dtype = t->dtype,
                      .data = matrix(t, call->out[0], batch),
                      .n = t->shape[t->ndim - 1],
                      .row = turn ? cs : rs,
                      .column = turn ? rs : cs,
                      .upper = o->upper != turn,
                      .unit = o->unit};
}

/* Solves for all batch entries of x, which is contiguous and has the result's shape. */
static void solve_all(const pal_call *call, void *x, bool transposed)
{
    const pal_array *y = call->out[0];
    int64_t n = y->shape[y->ndim - 2], m = y->shape[y->ndim - 1];
    int64_t batches = pal_array_count(y) ? pal_array_count(y) / (n * m) : 0;
    size_t bytes = (size_t)(n * m) * pal_dtype_size(y->dtype);
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < batches; i++) {
        triangle t = triangle_of(call, i, transposed);
        solve(&t, m, (char *)x + (size_t)i * bytes);
    }
}

static void forward(const pal_call *call)
{
    pal_array_assign(call->out[0], call->in[1]);
    solve_all(call, call->out[0]->data, false);
}

/* ---- Backward ---- */

/* Row i of dT: dT_ij -= <db_i, x_j>, or <x_i, db_j> if T^T was solved. It sums over all batch
 * entries in their order. */
static void add_row(const pal_call *call, const char *db, int64_t i)
{
    const pal_solve_opts *o = call->opts;
    const pal_array *y = call->out[0], *dt = call->din[0];
    const pal_kernels *k = pal_kernels_for(y->dtype);
    int64_t n = y->shape[y->ndim - 2], m = y->shape[y->ndim - 1];
    int64_t batches = pal_array_count(y) / (n * m);
    int64_t first = o->upper ? i + o->unit : 0, last = o->upper ? n : i + !o->unit;
    size_t row = (size_t)m * pal_dtype_size(y->dtype), bytes = (size_t)n * row;
    for (int64_t batch = 0; batch < batches; batch++) {
        const char *g = db + (size_t)batch * bytes;
        const char *x = (const char *)y->data + (size_t)batch * bytes;
        const char *left = (o->transpose ? x : g) + (size_t)i * row;
        const char *right = o->transpose ? g : x;
        char *to = (char *)(uintptr_t)matrix(dt, y, batch);
        for (int64_t j = first; j < last; j++) {
            int64_t e = i * dt->stride[dt->ndim - 2] + j * dt->stride[dt->ndim - 1];
            pal_element_add(y->dtype, to, e, -k->dot(m, left, right + (size_t)j * row));
        }
    }
}

/* Adds db to din[1], summed over the batch axes along which b was repeated. */
static void add_db(const pal_call *call, const pal_array *db)
{
    const pal_array *to = call->din[1];
    int64_t n = db->shape[db->ndim - 2], m = db->shape[db->ndim - 1];
    int64_t batches = pal_array_count(db) / (n * m);
    for (int64_t i = 0; i < batches; i++) {
        pal_array part = pal_array_of(db->dtype, PAL_SHAPE(n, m), NULL), sum = part;
        part.data = (char *)db->data + (size_t)(i * n * m) * pal_dtype_size(db->dtype);
        sum.data = (char *)(uintptr_t)matrix(to, db, i);
        sum.stride[0] = to->stride[to->ndim - 2];
        sum.stride[1] = to->stride[to->ndim - 1];
        pal_array_add(&sum, &part);
    }
}

static void backward(const pal_call *call)
{
    const pal_array *dy = call->dout[0];
    if (pal_array_count(dy) == 0) return;
    pal_array db = pal_array_of(dy->dtype, pal_array_shape(dy), call->scratch);
    pal_array_assign(&db, dy);
    solve_all(call, db.data, true);
    if (call->din[1]) add_db(call, &db);
    if (!call->din[0]) return;
    int64_t n = dy->shape[dy->ndim - 2];
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < n; i++) add_row(call, db.data, i);
}

static const pal_op solve_op = {.name = "triangular_solve",
                                .args = "t b",
                                .infer = infer,
                                .forward = forward,
                                .backward = backward,
                                .unread_in = 2};

pal_tensor pal_triangular_solve(pal_tensor t, pal_tensor b, pal_solve_opts opts)
{
    pal_tensor x;
    pal_apply(&solve_op, &opts, sizeof opts, 2, (pal_tensor[]){t, b}, 1, &x);
    return x;
}
