/*
 * heads.c - what rules and attention both do with heads: they share key heads among value heads,
 * and copy inputs whose gradients different threads would write to the same memory.
 */
#include "layers/check.h"

#include <string.h>

/* The least and the largest offset of a token's elements from its first one. */
static void token_span(const pal_array *a, int64_t span[2])
{
    span[0] = span[1] = 0;
    for (int d = 2; d < a->ndim; d++) {
        int64_t reach = (a->shape[d] - 1) * a->stride[d];
        span[reach > 0] += reach;
    }
}

/*
 * Whether different threads can write the gradients of two views of one memory. They can if tokens
 * have the same layout in both views, and the elements of a token are either the same or disjoint,
 * as in slices of one projection. Then an element belongs to one token and head.
 */
static bool apart(const pal_array *a, const pal_array *b)
{
    int64_t x[2], y[2], shift = (const char *)b->data - (const char *)a->data;
    shift /= (int64_t)pal_dtype_size(a->dtype);
    if (a->ndim < 3 || b->ndim < 3 || a->stride[1] != b->stride[1] || a->stride[0] != b->stride[0])
        return false;
    if (shift == 0 && a->ndim == b->ndim && memcmp(a->shape, b->shape, sizeof a->shape) == 0 &&
        memcmp(a->stride, b->stride, sizeof a->stride) == 0)
        return true;
    token_span(a, x);
    token_span(b, y);
    y[0] += shift, y[1] += shift;
    int64_t least = x[0] < y[0] ? x[0] : y[0], most = x[1] > y[1] ? x[1] : y[1];
    int64_t step = INT64_MAX; /* from a token to the nearest other one, in time or batch */
    for (int d = 0; d < 2; d++) {
        int64_t stride = a->stride[d] < 0 ? -a->stride[d] : a->stride[d];
        if (a->shape[d] > 1 && stride < step) step = stride;
    }
    return most - least < step && (x[1] < y[0] || y[1] < x[0]);
}

pal_tensor pal_apart(const pal_tensor *in, int i, bool tokens)
{
    for (int j = 0; j < i; j++) {
        const pal_node *a = in[i].node, *b = in[j].node;
        if (!a || !b || a->base != b->base || !a->needs_grad) continue;
        if (!tokens || !apart(&a->a, &b->a)) return pal_affine(in[i], 1, 0);
    }
    return in[i];
}

pal_tensor pal_share_heads(pal_tensor x, int64_t n)
{
    if (n == 1) return x;
    pal_shape shape = pal_shape_of(x), wide = shape;
    if (shape.ndim != 4) return x; /* a failure's poison */
    wide.ndim = 5;
    wide.dim[3] = n, wide.dim[4] = shape.dim[3];
    shape.dim[2] *= n;
    return pal_reshape(pal_expand(pal_unsqueeze(x, 3), wide), shape);
}
