/*
 * topk.c - the k largest entries of the last axis, and their indices.
 *
 * A row is read once, and the best k entries so far are kept in order. Once k entries are known,
 * almost all others are smaller than all of them, and cost one comparison.
 */
#include "autograd/ops/lines.h"
#include "autograd/ops/map.h"

#include <math.h>
#include <string.h>

static pal_status infer(pal_call *call)
{
    int64_t k = *(const int64_t *)call->opts;
    pal_status status = pal_map_need(call, 0, true, false);
    if (status != PAL_OK) return status;
    const pal_array *x = call->in[0];
    if (x->ndim == 0) return pal_call_error(call, PAL_ESHAPE, "a scalar has no last axis");
    int64_t n = x->shape[x->ndim - 1];
    if (k < 0 || k > n)
        return pal_call_error(call, PAL_EVALUE, "k = %lld is not between 0 and the %lld entries",
                              (long long)k, (long long)n);
    pal_shape shape = pal_array_shape(x);
    shape.dim[shape.ndim - 1] = k;
    pal_call_work(call, pal_array_count(x) + 1);
    status = pal_call_out(call, 0, x->dtype, shape);
    return status == PAL_OK ? pal_call_out(call, 1, PAL_I64, shape) : status;
}

/* A NaN counts as larger than every number. */
static bool larger(double a, double b) { return isnan(a) ? !isnan(b) : a > b; }

/* at[0..k) = the indices of the k largest elements of a line, in descending order; of equal
 * elements the first comes first. */
static void select_row(pal_dtype dtype, int64_t n, const void *x, int64_t step, int64_t k,
                       int64_t *at)
{
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = pal_element_get(dtype, x, i * step);
        if (found == k && !larger(v, pal_element_get(dtype, x, at[k - 1] * step))) continue;
        int64_t low = 0, high = found; /* behind all that v does not beat */
        while (low < high) {
            int64_t middle = (low + high) / 2;
            if (larger(v, pal_element_get(dtype, x, at[middle] * step)))
                high = middle;
            else
                low = middle + 1;
        }
        if (found < k) found++;
        memmove(at + low + 1, at + low, (size_t)(found - 1 - low) * sizeof *at);
        at[low] = i;
    }
}

static void forward(const pal_call *call)
{
    const pal_array *x = call->in[0];
    int64_t k = *(const int64_t *)call->opts, *index = call->out[1]->data;
    if (pal_array_count(call->out[0]) == 0) return;
    pal_lines rows = pal_lines_of(x, x->ndim - 1);
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < rows.count; i++) {
        const void *row = pal_line(&rows, i);
        select_row(x->dtype, rows.n, row, rows.step, k, index + i * k);
        for (int64_t j = i * k; j < (i + 1) * k; j++)
            pal_element_set(x->dtype, call->out[0]->data, j,
                            pal_element_get(x->dtype, row, index[j] * rows.step));
    }
}

static void backward(const pal_call *call)
{
    const pal_array *dx = call->din[0], *dy = call->dout[0];
    int64_t k = *(const int64_t *)call->opts;
    const int64_t *index = call->out[1]->data;
    if (pal_array_count(dy) == 0) return;
    pal_lines rows = pal_lines_of(dx, dx->ndim - 1);
    for (int64_t i = 0; i < rows.count; i++) {
        void *row = pal_line(&rows, i);
        for (int64_t j = i * k; j < (i + 1) * k; j++) {
            int64_t at = index[j] * rows.step;
            pal_element_set(dx->dtype, row, at,
                            pal_element_get(dx->dtype, row, at) +
                                pal_element_get(dy->dtype, dy->data, j));
        }
    }
}

static const pal_op topk_op = {.name = "topk",
                               .args = "x",
                               .infer = infer,
                               .forward = forward,
                               .backward = backward,
                               .unread_in = 1,
                               .unread_out = 1};

void pal_topk(pal_tensor x, int64_t k, pal_tensor out[2])
{
    pal_apply(&topk_op, &k, sizeof k, 1, &x, 2, out);
}
