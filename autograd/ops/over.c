/*
 * over.c - reductions over several axes. The axes move behind the others and become one, which is
 * then reduced as any other.
 */
#include "autograd/ops/shape.h"
#include "autograd/ops/variance.h"

/* ---- Several axes as the last one ---- */

/* What is left after the reduction: the order of the axes, and the shapes. */
typedef struct plan {
    int order[PAL_MAX_DIMS];
    pal_shape merged, result; /* x with one axis for all that are reduced; the result */
} plan;

/* Marks the axes that are named; false if one is wrong, and then this has been reported. */
static bool mark(const char *op, pal_node *x, int n, const int *axes, bool *reduced)
{
    char text[128];
    pal_array_describe(&x->a, text, sizeof text);
    const bool all = n == 1 && axes[0] == PAL_ALL;
    for (int d = 0; d < x->a.ndim; d++) reduced[d] = all;
    if (n < 1) pal_fail(x->owner, PAL_EVALUE, "%s: no axis is named (x %s)", op, text);
    for (int i = 0; i < n && !all; i++) {
        int d = pal_axis(axes[i], x->a.ndim);
        if (d < 0)
            pal_fail(x->owner, PAL_EVALUE, "%s: axis %d is not between %d and %d (x %s)", op,
                     axes[i], -x->a.ndim, x->a.ndim - 1, text);
        else if (reduced[d])
            pal_fail(x->owner, PAL_EVALUE, "%s: axis %d is named twice (x %s)", op, d, text);
        if (d < 0 || reduced[d]) return false;
        reduced[d] = true;
    }
    return n >= 1;
}

static bool make_plan(const char *op, pal_node *x, int n, const int *axes, bool keep, plan *p)
{
    bool reduced[PAL_MAX_DIMS];
    int64_t product = 1;
    int at = 0;
    *p = (plan){0};
    if (!mark(op, x, n, axes, reduced)) return false;
    for (int d = 0; d < x->a.ndim; d++) {
        if (!reduced[d] || keep) p->result.dim[p->result.ndim++] = reduced[d] ? 1 : x->a.shape[d];
        if (reduced[d]) product *= x->a.shape[d];
        if (reduced[d]) continue;
        p->merged.dim[p->merged.ndim++] = x->a.shape[d];
        p->order[at++] = d;
    }
    for (int d = 0; d < x->a.ndim; d++)
        if (reduced[d]) p->order[at++] = d;
    p->merged.dim[p->merged.ndim++] = product;
    return true;
}

/* x with the axes as its last one; poison if that cannot be. */
static pal_tensor together(const char *op, pal_tensor x, int n, const int *axes, bool keep, plan *p)
{
    pal_node *node = pal_viewable(x, op);
    if (!node || !make_plan(op, node, n, axes, keep, p)) return pal_failed(x);
    return pal_reshape(pal_permute(x, p->order), p->merged);
}

typedef pal_tensor reduce_fn(pal_tensor x, int axis, bool keep);

static pal_tensor reduce(const char *op, reduce_fn *one, pal_tensor x, int n, const int *axes,
                         bool keep)
{
    if (n == 1) return one(x, axes[0], keep);
    plan p = {0};
    pal_tensor y = one(together(op, x, n, axes, keep, &p), -1, false);
    return keep ? pal_reshape(y, p.result) : y;
}

/* ---- Operations ---- */

pal_tensor pal_sum_over(pal_tensor x, int n, const int *axes, bool keep)
{
    return reduce("sum_over", pal_sum, x, n, axes, keep);
}

pal_tensor pal_mean_over(pal_tensor x, int n, const int *axes, bool keep)
{
    return reduce("mean_over", pal_mean, x, n, axes, keep);
}

pal_tensor pal_max_over(pal_tensor x, int n, const int *axes, bool keep)
{
    return reduce("max_over", pal_max, x, n, axes, keep);
}

pal_tensor pal_min_over(pal_tensor x, int n, const int *axes, bool keep)
{
    return reduce("min_over", pal_min, x, n, axes, keep);
}

static pal_tensor deviation(bool root, pal_tensor x, int n, const int *axes, double correction,
                            bool keep)
{
    plan p = {0};
    pal_tensor whole = together(root ? "std" : "var", x, n, axes, keep, &p);
    pal_tensor y = pal_variance_of_rows(whole, correction, root);
    return keep ? pal_reshape(y, p.result) : y;
}

pal_tensor pal_var(pal_tensor x, int n, const int *axes, double correction, bool keep)
{
    return deviation(false, x, n, axes, correction, keep);
}

pal_tensor pal_std(pal_tensor x, int n, const int *axes, double correction, bool keep)
{
    return deviation(true, x, n, axes, correction, keep);
}
