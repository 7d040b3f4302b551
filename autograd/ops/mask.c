/*
 * mask.c - triangles of matrices: tril and triu.
 *
 * The triangle is written once, as a matrix of 0 and 1 in scratch, and broadcasts over the leading
 * axes. Entries outside of it are replaced, not multiplied by 0, so a NaN there does not remain.
 */
#include "autograd/ops/map.h"

typedef struct triangle {
    int64_t diagonal;
    bool upper;
} triangle;

/* Whether entry (i, j) is inside the triangle. */
static bool inside(const triangle *t, int64_t i, int64_t j)
{
    return t->upper ? j - i >= t->diagonal : j - i <= t->diagonal;
}

static pal_status infer(pal_call *call)
{
    pal_status status = pal_map_need(call, 0, true, true);
    if (status != PAL_OK) return status;
    const pal_array *x = call->in[0];
    if (x->ndim < 2) return pal_call_error(call, PAL_ESHAPE, "x has fewer than two axes");
    pal_shape matrix = PAL_SHAPE(x->shape[x->ndim - 2], x->shape[x->ndim - 1]);
    status = pal_map_broadcast(call, 1);
    if (status != PAL_OK || pal_array_count(x) == 0) return status;
    size_t bytes = pal_shape_bytes(x->dtype, matrix);
    return pal_call_scratch(call, bytes, bytes);
}

/* Writes the mask to scratch: [rows, columns] of x's dtype. */
static pal_array make_mask(const pal_call *call)
{
    const pal_array *x = call->in[0];
    const triangle *t = call->opts;
    int64_t rows = x->shape[x->ndim - 2], columns = x->shape[x->ndim - 1];
    pal_array m = pal_array_of(x->dtype, PAL_SHAPE(rows, columns), call->scratch);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            pal_element_set(x->dtype, m.data, i * columns + j, inside(t, i, j));
    return m;
}

static void forward(const pal_call *call)
{
    int64_t zero_bits = 0; /* zero in every dtype */
    if (pal_array_count(call->out[0]) == 0) return;
    pal_array mask = make_mask(call), zero = {.dtype = mask.dtype, .data = &zero_bits};
    pal_map_fn fn = pal_map_select(mask.dtype);
    pal_map_forward(&fn, (const pal_array *[]){&mask, call->in[0], &zero}, call->out[0],
                    call->team);
}

static void backward(const pal_call *call)
{
    int64_t zero_bits = 0;
    if (pal_array_count(call->out[0]) == 0) return;
    pal_array mask = make_mask(call), zero = {.dtype = mask.dtype, .data = &zero_bits};
    pal_map_fn fn = pal_map_select(mask.dtype);
    pal_map_backward(call, 0, &fn, (const pal_array *[]){&mask, call->dout[0], &zero});
}

static const pal_op tril_op = {.name = "tril",
                               .args = "x",
                               .infer = infer,
                               .forward = forward,
                               .backward = backward,
                               .unread_in = 1,
                               .unread_out = 1,
                               .overwrites = 1};

static const pal_op triu_op = {.name = "triu",
                               .args = "x",
                               .infer = infer,
                               .forward = forward,
                               .backward = backward,
                               .unread_in = 1,
                               .unread_out = 1,
                               .overwrites = 1};

static pal_tensor apply(const pal_op *op, pal_tensor x, int64_t diagonal, bool upper)
{
    pal_tensor y;
    triangle t = {.diagonal = diagonal, .upper = upper};
    pal_apply(op, &t, sizeof t, 1, &x, 1, &y);
    return y;
}

pal_tensor pal_tril(pal_tensor x, int64_t diagonal) { return apply(&tril_op, x, diagonal, false); }

pal_tensor pal_triu(pal_tensor x, int64_t diagonal) { return apply(&triu_op, x, diagonal, true); }
