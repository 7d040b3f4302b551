/*
 * view.c - shapes, and views that see the same memory with other strides.
 *
 * A view never copies. If strides cannot express the view, that is an error, and the caller decides
 * whether to copy. Nothing here reads or writes elements.
 */
#include "tensor/internal.h"

#include <string.h>

/* ---- Shapes ---- */

int64_t pal_shape_count(pal_shape shape)
{
    if (shape.ndim < 0 || shape.ndim > PAL_MAX_DIMS) return -1;
    /* The strides of an empty array are computed as if sizes of 0 were 1, and those must fit
     * too. */
    int64_t product = 1;
    bool empty = false;
    for (int i = 0; i < shape.ndim; i++) {
        int64_t d = shape.dim[i];
        if (d < 0) return -1;
        if (d == 0)
            empty = true;
        else if (__builtin_mul_overflow(product, d, &product))
            return -1;
    }
    if (product > INT64_MAX / (int64_t)sizeof(double)) return -1;
    return empty ? 0 : product;
}

bool pal_shape_equal(pal_shape a, pal_shape b)
{
    if (a.ndim != b.ndim) return false;
    for (int i = 0; i < a.ndim; i++)
        if (a.dim[i] != b.dim[i]) return false;
    return true;
}

pal_status pal_shape_broadcast(pal_shape a, pal_shape b, pal_shape *out)
{
    pal_shape s = {.ndim = a.ndim > b.ndim ? a.ndim : b.ndim};
    for (int i = 0; i < s.ndim; i++) { /* i counts from the last axis */
        int64_t da = i < a.ndim ? a.dim[a.ndim - 1 - i] : 1;
        int64_t db = i < b.ndim ? b.dim[b.ndim - 1 - i] : 1;
        if (da != db && da != 1 && db != 1) return PAL_ESHAPE;
        s.dim[s.ndim - 1 - i] = da == 1 ? db : da;
    }
    if (pal_shape_count(s) < 0) return PAL_ESHAPE;
    *out = s;
    return PAL_OK;
}

size_t pal_shape_bytes(pal_dtype dtype, pal_shape shape)
{
    return (size_t)pal_shape_count(shape) * pal_dtype_size(dtype);
}

/* ---- Arrays ---- */

pal_array pal_array_of(pal_dtype dtype, pal_shape shape, void *data)
{
    pal_array a = {.dtype = dtype, .ndim = shape.ndim, .data = data};
    int64_t stride = 1;
    for (int i = shape.ndim - 1; i >= 0; i--) {
        a.shape[i] = shape.dim[i];
        a.stride[i] = stride;
        if (shape.dim[i] > 1) stride *= shape.dim[i];
    }
    return a;
}

pal_shape pal_array_shape(const pal_array *a)
{
    pal_shape s = {.ndim = a->ndim};
    memcpy(s.dim, a->shape, (size_t)a->ndim * sizeof s.dim[0]);
    return s;
}

int64_t pal_array_count(const pal_array *a)
{
    int64_t count = 1;
    for (int i = 0; i < a->ndim; i++) count *= a->shape[i];
    return count;
}

bool pal_array_contiguous(const pal_array *a)
{
    int64_t expected = 1;
    bool dense = true;
    for (int i = a->ndim - 1; i >= 0; i--) {
        if (a->shape[i] == 0) return true;
        if (a->shape[i] == 1) continue; /* its stride is never used */
        if (a->stride[i] != expected) dense = false;
        expected *= a->shape[i];
    }
    return dense;
}

enum { TEXT_MAX = 200 }; /* eight dimensions of 20 digits and the dtype */

static char *shape_text(pal_shape s, char *text, size_t size)
{
    size_t used = 0;
    if (size == 0) return text;
    text[0] = '\0';
    for (int i = 0; i <= s.ndim && used < size; i++) {
        const char *before = i == 0 ? "[" : i < s.ndim ? "," : "";
        int n = i < s.ndim
                    ? snprintf(text + used, size - used, "%s%lld", before, (long long)s.dim[i])
                    : snprintf(text + used, size - used, "%s]", before);
        used += (size_t)n;
    }
    return text;
}

char *pal_array_describe(const pal_array *a, char *text, size_t size)
{
    char dims[TEXT_MAX];
    if (size > 0)
        snprintf(text, size, "%s%s", pal_dtype_name(a->dtype),
                 shape_text(pal_array_shape(a), dims, sizeof dims));
    return text;
}

/* ---- Views ---- */

static pal_status refuse(pal_error *error, const char *what, const pal_array *a, pal_shape to,
                         const char *why)
{
    char from[TEXT_MAX], text[TEXT_MAX];
    return pal_error_set(error, PAL_ESHAPE, "cannot %s %s to %s%s%s", what,
                         pal_array_describe(a, from, sizeof from),
                         shape_text(to, text, sizeof text), why[0] ? ": " : "", why);
}

/* Replaces a size of -1 so that the counts are equal. false if that is impossible. */
static bool infer_dimension(int64_t count, pal_shape *shape)
{
    int unknown = -1;
    pal_shape known = *shape;
    for (int i = 0; i < shape->ndim; i++) {
        if (shape->dim[i] != -1) continue;
        if (unknown >= 0) return false;
        unknown = i;
        known.dim[i] = 1;
    }
    int64_t product = pal_shape_count(known);
    if (product < 0) return false;
    if (unknown < 0) return product == count;
    if (product == 0 || count % product != 0) return false;
    shape->dim[unknown] = count / product;
    return true;
}

/*
 * Finds the strides with which `out` visits the elements of `a` in the same order. Both shapes are
 * cut into the shortest groups of axes with equal products. Within a group the old axes must be
 * evenly spaced (each stride is the next one times its size); the new axes divide that group.
 */
static bool regroup(const pal_array *a, pal_array *out)
{
    int64_t dim[PAL_MAX_DIMS], stride[PAL_MAX_DIMS];
    int n = 0;
    for (int i = 0; i < a->ndim; i++) {
        if (a->shape[i] == 1) continue;
        dim[n] = a->shape[i];
        stride[n++] = a->stride[i];
    }
    int i = 0, j = 0;
    while (i < n) {
        while (j < out->ndim - 1 && out->shape[j] == 1)
            j++; /* keeps the contiguous stride that it already has */
        int i_end = i + 1, j_end = j + 1;
        int64_t before = dim[i], after = out->shape[j];
        while (before != after) {
            if (before < after)
                before *= dim[i_end++];
            else
                after *= out->shape[j_end++];
        }
        for (int p = i; p + 1 < i_end; p++)
            if (stride[p] != stride[p + 1] * dim[p + 1]) return false;
        int64_t step = stride[i_end - 1];
        for (int q = j_end - 1; q >= j; q--) {
            out->stride[q] = step;
            step *= out->shape[q];
        }
        i = i_end;
        j = j_end;
    }
    return true;
}

pal_status pal_array_reshape(const pal_array *a, pal_shape shape, pal_array *out, pal_error *error)
{
    pal_shape to = shape;
    if (to.ndim < 0 || to.ndim > PAL_MAX_DIMS)
        return pal_error_set(error, PAL_ESHAPE, "cannot reshape to %d dimensions, %d is the limit",
                             to.ndim, PAL_MAX_DIMS);
    int64_t count = pal_array_count(a);
    if (!infer_dimension(count, &to)) return refuse(error, "reshape", a, shape, "");
    pal_array view = pal_array_of(a->dtype, to, a->data);
    if (count > 0 && !regroup(a, &view))
        return refuse(error, "reshape", a, shape, "its strides would need a copy");
    *out = view;
    return PAL_OK;
}

pal_status pal_array_permute(const pal_array *a, const int *axes, pal_array *out, pal_error *error)
{
    char text[TEXT_MAX];
    pal_array view = {.dtype = a->dtype, .ndim = a->ndim, .data = a->data};
    bool seen[PAL_MAX_DIMS] = {false};
    for (int i = 0; i < a->ndim; i++) {
        int axis = axes[i] < 0 ? axes[i] + a->ndim : axes[i];
        if (axis < 0 || axis >= a->ndim || seen[axis])
            return pal_error_set(error, PAL_EVALUE,
                                 "cannot permute %s: axes[%d] = %d is out of range or repeated",
                                 pal_array_describe(a, text, sizeof text), i, axes[i]);
        seen[axis] = true;
        view.shape[i] = a->shape[axis];
        view.stride[i] = a->stride[axis];
    }
    *out = view;
    return PAL_OK;
}

static int64_t clamp_index(int64_t index, int64_t length)
{
    if (index < 0) index += length;
    return index < 0 ? 0 : index > length ? length : index;
}

pal_status pal_array_slice(const pal_array *a, int axis, int64_t start, int64_t stop, int64_t step,
                           pal_array *out, pal_error *error)
{
    char text[TEXT_MAX];
    int i = axis < 0 ? axis + a->ndim : axis;
    if (i < 0 || i >= a->ndim)
        return pal_error_set(error, PAL_EVALUE, "cannot slice %s along axis %d",
                             pal_array_describe(a, text, sizeof text), axis);
    if (step < 1)
        return pal_error_set(error, PAL_EVALUE, "cannot slice %s with step %lld, it must be >= 1",
                             pal_array_describe(a, text, sizeof text), (long long)step);
    int64_t from = clamp_index(start, a->shape[i]), to = clamp_index(stop, a->shape[i]);
    int64_t length = to > from ? (to - from - 1) / step + 1 : 0;
    pal_array view = *a;
    view.shape[i] = length;
    /* With at most one element the stride is not used, and stride * step might overflow. */
    if (length > 1) view.stride[i] = a->stride[i] * step;
    if (length > 0 && pal_array_count(a) > 0)
        view.data = (char *)a->data + from * a->stride[i] * (int64_t)pal_dtype_size(a->dtype);
    *out = view;
    return PAL_OK;
}

pal_status pal_array_broadcast(const pal_array *a, pal_shape shape, pal_array *out,
                               pal_error *error)
{
    if (shape.ndim < a->ndim || pal_shape_count(shape) < 0)
        return refuse(error, "broadcast", a, shape, "");
    pal_array view = {.dtype = a->dtype, .ndim = shape.ndim, .data = a->data};
    int added = shape.ndim - a->ndim;
    for (int i = 0; i < shape.ndim; i++) {
        view.shape[i] = shape.dim[i];
        if (i < added) continue; /* stride 0 */
        int64_t d = a->shape[i - added];
        if (d == shape.dim[i])
            view.stride[i] = a->stride[i - added];
        else if (d != 1)
            return refuse(error, "broadcast", a, shape, "");
    }
    *out = view;
    return PAL_OK;
}
