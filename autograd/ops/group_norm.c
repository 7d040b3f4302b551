/*
 * group_norm.c - the layer norm of groups of channels. A group is one run of x, so it is a row of a
 * layer norm without weights; these follow, one for each channel.
 */
#include "autograd/ops/shape.h"

static bool refuse(pal_node *x, pal_status status, const char *what)
{
    char text[128];
    pal_fail(x->owner, status, "group_norm: %s (x %s)", what,
             pal_array_describe(&x->a, text, sizeof text));
    return false;
}

static bool check_weight(pal_node *x, pal_tensor w, const char *name)
{
    if (pal_is_none(w)) return true;
    pal_node *node = pal_node_of(w, "group_norm", name);
    char text[200], have[128];
    if (!node) return false;
    if (node->a.ndim == 1 && node->a.shape[0] == x->a.shape[1] && node->a.dtype == x->a.dtype)
        return true;
    snprintf(text, sizeof text, "%s is not %s[%lld] but %s", name, pal_dtype_name(x->a.dtype),
             (long long)x->a.shape[1], pal_array_describe(&node->a, have, sizeof have));
    return refuse(x, node->a.dtype == x->a.dtype ? PAL_ESHAPE : PAL_EDTYPE, text);
}

static bool check(pal_node *x, int64_t groups, pal_tensor weight, pal_tensor bias, double eps)
{
    char text[96];
    snprintf(text, sizeof text, "argument x is %s, but must be f32 or f64",
             pal_dtype_name(x->a.dtype));
    if (!pal_dtype_real(x->a.dtype)) return refuse(x, PAL_EDTYPE, text);
    if (x->a.ndim < 2) return refuse(x, PAL_ESHAPE, "x has fewer than two axes");
    snprintf(text, sizeof text, "%lld groups do not divide %lld channels", (long long)groups,
             (long long)x->a.shape[1]);
    if (groups < 1 || x->a.shape[1] % groups) return refuse(x, PAL_EVALUE, text);
    snprintf(text, sizeof text, "eps %g is negative", eps);
    if (!(eps >= 0)) return refuse(x, PAL_EVALUE, text);
    return check_weight(x, weight, "weight") && check_weight(x, bias, "bias");
}

/* [C] as [C, 1, ..], which broadcasts to x. */
static pal_tensor by_channel(pal_tape *tape, pal_tensor w, int ndim)
{
    pal_shape shape = {.ndim = ndim - 1, .dim = {pal_dim(w, 0)}};
    for (int d = 1; d < shape.ndim; d++) shape.dim[d] = 1;
    return pal_reshape(pal_on(tape, w), shape);
}

pal_tensor pal_group_norm(pal_tensor x, int64_t groups, pal_tensor weight, pal_tensor bias,
                          double eps)
{
    pal_node *node = pal_viewable(x, "group_norm");
    if (!node || !check(node, groups, weight, bias, eps)) return pal_failed(x);
    pal_tape *tape = pal_tape_of(node);
    const pal_shape shape = pal_shape_of(x);
    int64_t n = shape.dim[1] / groups;
    for (int d = 2; d < shape.ndim; d++) n *= shape.dim[d];
    pal_tensor rows = pal_reshape(x, PAL_SHAPE(shape.dim[0], groups, n));
    pal_tensor y = pal_reshape(pal_layer_norm(rows, PAL_NONE, PAL_NONE, eps), shape);
    if (!pal_is_none(weight)) y = pal_mul(y, by_channel(tape, weight, shape.ndim));
    if (!pal_is_none(bias)) y = pal_add(y, by_channel(tape, bias, shape.ndim));
    return y;
}
