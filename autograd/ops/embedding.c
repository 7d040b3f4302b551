/*
 * embedding.c - rows of a table, by index.
 *
 * In the gradient several indices may name the same row of the table. So the work is divided by
 * columns, not by rows: each block of columns goes through all indices in their order. Then every
 * sum is taken in one order for every number of threads.
 */
#include "autograd/ops/lines.h"
#include "autograd/ops/map.h"
#include "autograd/ops/shape.h"

#include <string.h>

enum { COLUMNS = 64 };

static pal_status infer(pal_call *call)
{
    const pal_array *w = call->in[0], *index = call->in[1];
    pal_status status = PAL_OK;
    if (!w || w->dtype != PAL_BF16) status = pal_map_need(call, 0, true, false);
    if (status == PAL_OK) status = pal_map_need(call, 1, false, true);
    if (status != PAL_OK) return status;
    if (w->ndim != 2) return pal_call_error(call, PAL_ESHAPE, "weight is not of two axes");
    status = pal_check_indices(call, 1, w->shape[0]);
    if (status != PAL_OK) return status;
    pal_shape shape = pal_array_shape(index);
    if (shape.ndim == PAL_MAX_DIMS)
        return pal_call_error(call, PAL_ESHAPE, "more than %d dimensions", PAL_MAX_DIMS);
    shape.dim[shape.ndim++] = w->shape[1];
    status = pal_call_out(call, 0, pal_gradient_dtype(w->dtype), shape);
    if (status != PAL_OK) return status;
    /* Room for contiguous indices, if they are not contiguous. */
    size_t bytes =
        pal_array_contiguous(index) ? 0 : (size_t)pal_array_count(index) * sizeof(int64_t);
    return pal_call_scratch(call, bytes, bytes);
}

/* The indices in contiguous memory. */
static const int64_t *indices(const pal_call *call)
{
    const pal_array *index = call->in[1];
    if (pal_array_contiguous(index)) return index->data;
    pal_array run = pal_array_of(PAL_I64, pal_array_shape(index), call->scratch);
    pal_array_assign(&run, index);
    return call->scratch;
}

/* A row of a table in bf16, whose entries are `step` apart. */
static void assign_row(const pal_array *to, const pal_array *from, int64_t step)
{
    pal_array line = *from;
    line.stride[0] = step;
    pal_array_assign(to, &line);
}

static void forward(const pal_call *call)
{
    const pal_array *w = call->in[0], *y = call->out[0];
    if (pal_array_count(y) == 0) return;
    const int64_t *at = indices(call);
    pal_lines rows = pal_lines_of(w, 1);
    int64_t n = pal_array_count(call->in[1]), d = rows.n;
    char *to = y->data;
    const bool narrow = w->dtype == PAL_BF16;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < n; i++) {
        if (narrow) {
            const pal_array from = pal_array_of(PAL_BF16, PAL_SHAPE(d), pal_line(&rows, at[i])),
                            row = pal_array_of(PAL_F32, PAL_SHAPE(d), to + i * d * 4);
            assign_row(&row, &from, rows.step);
            continue;
        }
        char *row = to + (size_t)(i * d) * rows.size;
        const void *from = pal_line_read(&rows, pal_line(&rows, at[i]), 0, d, row);
        if (from != row) memcpy(row, from, (size_t)d * rows.size);
    }
}

static void backward(const pal_call *call)
{
    const pal_array *dw = call->din[0], *dy = call->dout[0];
    if (!dw || pal_array_count(dy) == 0) return;
    const int64_t *at = indices(call);
    const pal_kernels *k = pal_kernels_for(dw->dtype);
    pal_lines rows = pal_lines_of(dw, 1);
    int64_t n = pal_array_count(call->in[1]), d = rows.n, blocks = (d + COLUMNS - 1) / COLUMNS;
    const char *from = dy->data;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t start = b * COLUMNS, width = d - start < COLUMNS ? d - start : COLUMNS;
        for (int64_t i = 0; i < n; i++)
            pal_line_add(&rows, k, pal_line(&rows, at[i]), start, width,
                         from + (size_t)(i * d + start) * rows.size);
    }
}

static const pal_op embedding_op = {.name = "embedding",
                                    .args = "weight index",
                                    .infer = infer,
                                    .forward = forward,
                                    .backward = backward,
                                    .unread_in = 1,
                                    .unread_out = 1};

pal_tensor pal_embedding(pal_tensor weight, pal_tensor index)
{
    pal_tensor y;
    pal_apply(&embedding_op, NULL, 0, 2, (pal_tensor[]){weight, index}, 1, &y);
    return y;
}
