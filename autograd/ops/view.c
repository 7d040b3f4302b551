/*
 * view.c - views: another shape over the same memory.
 *
 * A view is a node without a record (autograd/internal.h). It costs no arithmetic in forward, and
 * its gradient is the same view of its base's gradient.
 */
#include "autograd/ops/shape.h"

/* ---- Common to all ---- */

pal_node *pal_viewable(pal_tensor x, const char *op)
{
    pal_node *n = pal_node_of(x, op, "x");
    if (!n) return NULL;
    if (n->owner->is_tape) return n->owner->error.status == PAL_OK ? n : NULL;
    pal_fail(
        n->owner, PAL_EVALUE,
        "%s: argument x is a parameter (%s), and no operand names a tape; bring it onto one by "
        "pal_on",
        op, n->label);
    return NULL;
}

pal_tensor pal_failed(pal_tensor x)
{
    return x.node ? pal_poison(x.node->owner) : pal_poison_nowhere();
}

/* The view of x, or the error why->message for operation op. */
static pal_tensor finish(const char *op, pal_node *x, const pal_array *view, pal_status status,
                         const pal_error *why)
{
    if (status == PAL_OK) return pal_view(op, pal_tape_of(x), x, view);
    char text[128];
    pal_fail(x->owner, status, "%s: %s (x %s)", op, why->message,
             pal_array_describe(&x->a, text, sizeof text));
    return pal_poison(x->owner);
}

/* Checks an axis; on failure it reports an error and returns -1. */
static int axis_of(const char *op, pal_node *x, int axis, int ndim)
{
    int i = pal_axis(axis, ndim);
    char text[128];
    if (i < 0)
        pal_fail(x->owner, PAL_EVALUE, "%s: axis %d is not between %d and %d (x %s)", op, axis,
                 -ndim, ndim - 1, pal_array_describe(&x->a, text, sizeof text));
    return i;
}

/* ---- The views ---- */

pal_tensor pal_reshape(pal_tensor x, pal_shape shape)
{
    pal_node *n = pal_viewable(x, "reshape");
    pal_array view;
    pal_error why;
    if (!n) return pal_failed(x);
    pal_status status = pal_array_reshape(&n->a, shape, &view, &why);
    if (status == PAL_OK || pal_array_contiguous(&n->a))
        return finish("reshape", n, &view, status, &why);
    /* If the strides do not allow the shape, a contiguous copy does. */
    pal_array plain = pal_array_of(n->a.dtype, pal_array_shape(&n->a), n->a.data);
    status = pal_array_reshape(&plain, shape, &view, &why);
    if (status != PAL_OK) return finish("reshape", n, &view, status, &why);
    return pal_reshape(pal_contiguous(x), shape);
}

pal_tensor pal_permute(pal_tensor x, const int *axes)
{
    pal_node *n = pal_viewable(x, "permute");
    pal_array view;
    pal_error why;
    if (!n) return pal_failed(x);
    pal_status status = pal_array_permute(&n->a, axes, &view, &why);
    return finish("permute", n, &view, status, &why);
}

pal_tensor pal_transpose(pal_tensor x, int axis1, int axis2)
{
    pal_node *n = pal_viewable(x, "transpose");
    if (!n) return pal_failed(x);
    int i = axis_of("transpose", n, axis1, n->a.ndim);
    int j = i < 0 ? -1 : axis_of("transpose", n, axis2, n->a.ndim);
    if (j < 0) return pal_failed(x);
    pal_array view = n->a;
    view.shape[i] = n->a.shape[j], view.shape[j] = n->a.shape[i];
    view.stride[i] = n->a.stride[j], view.stride[j] = n->a.stride[i];
    return pal_view("transpose", pal_tape_of(n), n, &view);
}

pal_tensor pal_slice(pal_tensor x, int axis, int64_t start, int64_t stop, int64_t step)
{
    pal_node *n = pal_viewable(x, "slice");
    pal_array view;
    pal_error why;
    if (!n) return pal_failed(x);
    pal_status status = pal_array_slice(&n->a, axis, start, stop, step, &view, &why);
    return finish("slice", n, &view, status, &why);
}

/* x without the given axis, at position `index` of that axis. */
static pal_array drop_axis(const pal_array *x, int axis, int64_t index)
{
    pal_array view = *x;
    if (x->data)
        view.data = (char *)x->data + index * x->stride[axis] * (int64_t)pal_dtype_size(x->dtype);
    view.ndim--;
    for (int d = axis; d < view.ndim; d++) {
        view.shape[d] = x->shape[d + 1];
        view.stride[d] = x->stride[d + 1];
    }
    return view;
}

pal_tensor pal_select(pal_tensor x, int axis, int64_t index)
{
    pal_node *n = pal_viewable(x, "select");
    char text[128];
    if (!n) return pal_failed(x);
    int d = axis_of("select", n, axis, n->a.ndim);
    if (d < 0) return pal_failed(x);
    int64_t size = n->a.shape[d], i = index < 0 ? index + size : index;
    if (i < 0 || i >= size) {
        pal_fail(n->owner, PAL_EVALUE, "select: index %lld of axis %d with %lld entries (x %s)",
                 (long long)index, d, (long long)size,
                 pal_array_describe(&n->a, text, sizeof text));
        return pal_failed(x);
    }
    pal_array view = drop_axis(&n->a, d, i);
    return pal_view("select", pal_tape_of(n), n, &view);
}

pal_tensor pal_squeeze(pal_tensor x, int axis)
{
    pal_node *n = pal_viewable(x, "squeeze");
    char text[128];
    if (!n) return pal_failed(x);
    int d = axis_of("squeeze", n, axis, n->a.ndim);
    if (d < 0) return pal_failed(x);
    if (n->a.shape[d] != 1) {
        pal_fail(n->owner, PAL_ESHAPE, "squeeze: axis %d has %lld entries, not 1 (x %s)", d,
                 (long long)n->a.shape[d], pal_array_describe(&n->a, text, sizeof text));
        return pal_failed(x);
    }
    pal_array view = drop_axis(&n->a, d, 0);
    return pal_view("squeeze", pal_tape_of(n), n, &view);
}

pal_tensor pal_unsqueeze(pal_tensor x, int axis)
{
    pal_node *n = pal_viewable(x, "unsqueeze");
    char text[128];
    if (!n) return pal_failed(x);
    if (n->a.ndim == PAL_MAX_DIMS) {
        pal_fail(n->owner, PAL_ESHAPE, "unsqueeze: more than %d dimensions (x %s)", PAL_MAX_DIMS,
                 pal_array_describe(&n->a, text, sizeof text));
        return pal_failed(x);
    }
    int d = axis_of("unsqueeze", n, axis, n->a.ndim + 1);
    if (d < 0) return pal_failed(x);
    pal_array view = n->a;
    view.ndim++;
    for (int i = n->a.ndim; i > d; i--) {
        view.shape[i] = n->a.shape[i - 1];
        view.stride[i] = n->a.stride[i - 1];
    }
    view.shape[d] = 1;
    view.stride[d] = d < n->a.ndim ? n->a.shape[d] * n->a.stride[d] : 1;
    return pal_view("unsqueeze", pal_tape_of(n), n, &view);
}

void pal_split(pal_tensor x, int axis, int n, const int64_t *sizes, pal_tensor *out)
{
    pal_node *node = pal_viewable(x, "split");
    int d = node ? axis_of("split", node, axis, node->a.ndim) : -1;
    int64_t total = 0;
    bool good = d >= 0;
    for (int i = 0; i < n && good; i++) {
        good = sizes[i] >= 0 && sizes[i] <= node->a.shape[d] - total;
        total += sizes[i];
    }
    if (d >= 0 && (!good || total != node->a.shape[d])) {
        char text[128];
        pal_fail(node->owner, PAL_ESHAPE,
                 "split: the %d sizes do not add up to the %lld entries of axis %d (x %s)", n,
                 (long long)node->a.shape[d], d, pal_array_describe(&node->a, text, sizeof text));
        good = false;
    }
    int64_t from = 0;
    for (int i = 0; i < n; i++) {
        out[i] = good ? pal_slice(x, d, from, from + sizes[i], 1) : pal_failed(x);
        from += good ? sizes[i] : 0;
    }
}
