/* leaf.c - makes tensors from outside of the tape, and gives access to tensors from outside. */
#include "autograd/internal.h"

#include <math.h>
#include <string.h>

/* ---- Making leaves ---- */

static void refuse_shape(pal_tape *tape, const char *op, pal_dtype dtype, pal_shape shape)
{
    if (shape.ndim < 0 || shape.ndim > PAL_MAX_DIMS) {
        pal_fail(&tape->owner, PAL_ESHAPE, "%s: a shape of %d dimensions; there may be %d", op,
                 shape.ndim, PAL_MAX_DIMS);
        return;
    }
    char text[256];
    pal_array a = {.dtype = dtype, .ndim = shape.ndim}; /* the strides might overflow */
    memcpy(a.shape, shape.dim, sizeof a.shape);
    pal_fail(&tape->owner, PAL_ESHAPE, "%s: %s has a negative size or too many elements", op,
             pal_array_describe(&a, text, sizeof text));
}

/* Makes a leaf with uninitialised memory. On failure the tape is sticky and it returns NULL. */
static pal_node *leaf(pal_tape *tape, const char *op, pal_dtype dtype, pal_shape shape)
{
    if (tape->owner.error.status != PAL_OK) return NULL;
    if (!pal_dtype_known(dtype)) {
        pal_fail(&tape->owner, PAL_EDTYPE, "%s: %d is not a dtype", op, (int)dtype);
        return NULL;
    }
    if (pal_shape_count(shape) < 0) {
        refuse_shape(tape, op, dtype, shape);
        return NULL;
    }
    pal_node *n = pal_node_new(tape, op);
    if (!n) return NULL;
    n->a = pal_array_of(dtype, shape, NULL);
    if (!pal_node_allocate(tape, n)) {
        char text[128];
        pal_fail(&tape->owner, PAL_ENOMEM, "%s: out of memory for %s", op,
                 pal_array_describe(&n->a, text, sizeof text));
        return NULL;
    }
    pal_tape_note_peak(tape);
    return n;
}

/* `op` is the function that the user called. */
static pal_tensor full(pal_tape *tape, const char *op, pal_dtype dtype, pal_shape shape,
                       double value)
{
    pal_node *n = leaf(tape, op, dtype, shape);
    if (!n) return pal_poison(&tape->owner);
    pal_array_fill(&n->a, value);
    return pal_handle(n);
}

pal_tensor pal_full(pal_tape *tape, pal_dtype dtype, pal_shape shape, double value)
{
    return full(tape, "full", dtype, shape, value);
}

pal_tensor pal_zeros(pal_tape *tape, pal_dtype dtype, pal_shape shape)
{
    return full(tape, "zeros", dtype, shape, 0);
}

pal_tensor pal_scalar(pal_tape *tape, pal_dtype dtype, double value)
{
    return full(tape, "scalar", dtype, PAL_SCALAR, value);
}

pal_tensor pal_arange(pal_tape *tape, pal_dtype dtype, int64_t count)
{
    pal_node *n = leaf(tape, "arange", dtype, PAL_SHAPE(count));
    if (!n) return pal_poison(&tape->owner);
    for (int64_t i = 0; i < count; i++) pal_array_set(&n->a, &i, (double)i);
    return pal_handle(n);
}

pal_tensor pal_from(pal_tape *tape, pal_dtype dtype, pal_shape shape, const void *data)
{
    pal_node *n = leaf(tape, "from", dtype, shape);
    if (!n) return pal_poison(&tape->owner);
    size_t bytes = pal_shape_bytes(dtype, shape);
    if (bytes) memcpy(n->a.data, data, bytes);
    return pal_handle(n);
}

pal_tensor pal_from_array(pal_tape *tape, const pal_array *a)
{
    pal_node *n = leaf(tape, "from_array", a->dtype, pal_array_shape(a));
    if (!n) return pal_poison(&tape->owner);
    pal_status same_shape = pal_array_copy(&n->a, a, NULL);
    (void)same_shape; /* cannot fail: the shape is a's */
    return pal_handle(n);
}

pal_tensor pal_uniform(pal_tape *tape, pal_dtype dtype, pal_shape shape, double low, double high,
                       pal_rng *rng)
{
    return pal_fill_uniform(full(tape, "uniform", dtype, shape, 0), low, high, rng);
}

pal_tensor pal_normal(pal_tape *tape, pal_dtype dtype, pal_shape shape, double mean,
                      double deviation, pal_rng *rng)
{
    return pal_fill_normal(full(tape, "normal", dtype, shape, 0), mean, deviation, rng);
}

pal_tensor pal_on(pal_tape *tape, pal_tensor t)
{
    if (tape->owner.error.status != PAL_OK) return pal_poison(&tape->owner);
    const char *problem = pal_handle_problem(t);
    if (problem) {
        pal_fail(&tape->owner, PAL_ESTALE, "on: argument t %s", problem);
        return pal_poison(&tape->owner);
    }
    if (pal_tape_of(t.node) == tape) return t;
    if (t.node->owner->is_tape) return pal_from_array(tape, &t.node->a);
    return pal_view("on", tape, t.node, &t.node->a);
}

pal_tape *pal_tape_at(pal_tensor t)
{
    return pal_is_none(t) || pal_handle_problem(t) ? NULL : pal_tape_of(t.node);
}

pal_tensor pal_detach(pal_tensor t)
{
    pal_node *x = pal_node_of(t, "detach", "t");
    if (!x) return t.node ? t : pal_poison_nowhere();
    pal_tape *tape = pal_tape_of(x);
    if (!tape) {
        pal_fail(x->owner, PAL_EVALUE,
                 "detach: argument t is a parameter; freeze it, or bring it onto a tape by pal_on");
        return pal_poison(x->owner);
    }
    pal_tensor y = pal_view("detach", tape, x, &x->a);
    if (!pal_is_poison(y.node)) y.node->needs_grad = false;
    return y;
}

pal_tensor pal_want_grad(pal_tensor t)
{
    pal_node *n = pal_node_of(t, "want_grad", "t");
    if (!n) return t;
    if (!pal_dtype_real(n->a.dtype)) {
        pal_fail(n->owner, PAL_EDTYPE,
                 "want_grad: argument t is %s, which has no gradient of its own",
                 pal_dtype_name(n->a.dtype));
    } else if (!n->owner->is_tape || (n->base != n && !n->needs_grad)) {
        pal_fail(
            n->owner, PAL_EGRAD,
            "want_grad: argument t is a parameter or a view of a constant; mark what it shows");
    } else if (pal_tape_of(n)->depth) {
        pal_fail(n->owner, PAL_EGRAD,
                 "want_grad: called inside a recomputed segment, whose tensors do not outlive it; "
                 "mark the tensor before and pass it as an input");
    } else {
        n->needs_grad = n->base->needs_grad = n->base->wanted = true;
    }
    return t;
}

/* ---- Writing in place ---- */

pal_array pal_edit(pal_tensor t)
{
    pal_node *n = pal_node_of(t, "edit", "t");
    if (!n) return t.node ? t.node->owner->poison.a : pal_poison_nowhere().node->a;
    n->base->version++;
    return n->a;
}

/* Checks that a tensor can be filled with random numbers. */
static bool is_real(pal_tensor t, const char *op)
{
    pal_node *n = pal_node_of(t, op, "t");
    if (n && !pal_dtype_real(n->a.dtype))
        pal_fail(n->owner, PAL_EDTYPE, "%s: argument t is %s; it must be f32 or f64", op,
                 pal_dtype_name(n->a.dtype));
    return n && pal_dtype_real(n->a.dtype);
}

pal_tensor pal_fill(pal_tensor t, double value)
{
    if (!pal_node_of(t, "fill", "t")) return t;
    pal_array a = pal_edit(t);
    pal_array_fill(&a, value);
    return t;
}

pal_tensor pal_fill_uniform(pal_tensor t, double low, double high, pal_rng *rng)
{
    if (!is_real(t, "fill_uniform")) return t;
    pal_array a = pal_edit(t);
    pal_rng_uniform(rng, &a, low, high);
    return t;
}

pal_tensor pal_fill_normal(pal_tensor t, double mean, double deviation, pal_rng *rng)
{
    if (!is_real(t, "fill_normal")) return t;
    pal_array a = pal_edit(t);
    pal_rng_normal(rng, &a, mean, deviation);
    return t;
}

pal_tensor pal_assign(pal_tensor t, const pal_array *src)
{
    pal_node *n = pal_node_of(t, "assign", "t");
    pal_error why;
    if (!n) return t;
    pal_array a = pal_edit(t);
    if (pal_array_copy(&a, src, &why)) {
        char to[128], from[128];
        pal_fail(n->owner, why.status, "assign: %s (t %s, src %s)", why.message,
                 pal_array_describe(&n->a, to, sizeof to),
                 pal_array_describe(src, from, sizeof from));
    }
    return t;
}

pal_tensor pal_label(pal_tensor t, const char *name)
{
    pal_node *n = pal_node_of(t, "label", "t");
    if (!n || !n->owner->is_tape) return t;
    size_t size = strlen(name) + 1;
    char *copy = pal_arena_take(&pal_tape_level(pal_tape_of(n))->heads, size);
    if (copy) n->label = memcpy(copy, name, size);
    return t;
}

/* ---- Reading ---- */

pal_array pal_value(pal_tensor t)
{
    pal_node *n = pal_node_of(t, "value", "t");
    return n ? n->a : pal_poison_nowhere().node->a;
}

/* Contiguous data of the given dtype; on failure NULL. */
static const void *data_of(pal_tensor t, pal_dtype dtype, const char *op)
{
    pal_node *n = pal_node_of(t, op, "t");
    if (!n) return NULL;
    char text[128];
    if (n->a.dtype != dtype) {
        pal_fail(n->owner, PAL_EDTYPE, "%s: argument t is %s", op,
                 pal_array_describe(&n->a, text, sizeof text));
        return NULL;
    }
    if (!pal_array_contiguous(&n->a)) {
        pal_fail(n->owner, PAL_ESHAPE, "%s: argument t %s is a strided view; use pal_contiguous",
                 op, pal_array_describe(&n->a, text, sizeof text));
        return NULL;
    }
    return n->a.data;
}

const float *pal_f32(pal_tensor t) { return data_of(t, PAL_F32, "f32"); }
const double *pal_f64(pal_tensor t) { return data_of(t, PAL_F64, "f64"); }
const int64_t *pal_i64(pal_tensor t) { return data_of(t, PAL_I64, "i64"); }

double pal_item(pal_tensor t)
{
    pal_node *n = pal_node_of(t, "item", "t");
    if (!n) return NAN;
    if (pal_array_count(&n->a) != 1) {
        char text[128];
        pal_fail(n->owner, PAL_ESHAPE, "item: argument t %s has not one element",
                 pal_array_describe(&n->a, text, sizeof text));
        return NAN;
    }
    return pal_array_get(&n->a, (int64_t[PAL_MAX_DIMS]){0});
}

pal_dtype pal_dtype_of(pal_tensor t)
{
    pal_node *n = pal_node_of(t, "dtype_of", "t");
    return n ? n->a.dtype : PAL_F32;
}

pal_shape pal_shape_of(pal_tensor t)
{
    pal_array a = pal_value(t);
    return pal_array_shape(&a);
}

int64_t pal_dim(pal_tensor t, int axis)
{
    pal_node *n = pal_node_of(t, "dim", "t");
    if (!n) return 0;
    int i = axis < 0 ? axis + n->a.ndim : axis;
    if (i >= 0 && i < n->a.ndim) return n->a.shape[i];
    char text[128];
    pal_fail(n->owner, PAL_EVALUE, "dim: axis %d of t %s", axis,
             pal_array_describe(&n->a, text, sizeof text));
    return 0;
}

int64_t pal_count(pal_tensor t)
{
    pal_array a = pal_value(t);
    return pal_array_count(&a);
}

void pal_print(const char *name, pal_tensor t)
{
    pal_node *n = pal_node_of(t, "print", "t");
    if (n) pal_array_print(stdout, name, &n->a);
}
