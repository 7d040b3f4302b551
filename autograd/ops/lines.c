/*
 * lines.c - an array seen as lines along one axis.
 *
 * Kernels work on contiguous memory. A contiguous line is used in place; the elements of any other
 * line are gathered. Neighbouring lines share cache lines. So gathering them one after the other
 * reads memory only once, as long as the cache lines of one line stay in the cache.
 */
#include "autograd/ops/lines.h"

#include <string.h>

pal_lines pal_lines_of(const pal_array *a, int axis)
{
    pal_lines l = {.data = a->data,
                   .dtype = a->dtype,
                   .size = pal_dtype_size(a->dtype),
                   .count = 1,
                   .n = 1,
                   .step = 1};
    for (int d = 0; d < a->ndim; d++) {
        if (d == axis) {
            l.n = a->shape[d];
            l.step = a->stride[d];
            continue;
        }
        l.count *= a->shape[d];
        if (a->shape[d] == 1) continue;
        int last = l.ndim - 1;
        if (l.ndim && l.stride[last] == a->stride[d] * a->shape[d]) {
            l.dim[last] *= a->shape[d];
            l.stride[last] = a->stride[d];
        } else {
            l.dim[l.ndim] = a->shape[d];
            l.stride[l.ndim++] = a->stride[d];
        }
    }
    if (axis == PAL_ALL && l.ndim) { /* the innermost merged axis is the line */
        l.ndim--;
        l.n = l.dim[l.ndim];
        l.step = l.stride[l.ndim];
        l.count = 1;
        for (int d = 0; d < l.ndim; d++) l.count *= l.dim[d];
    }
    return l;
}

char *pal_line(const pal_lines *l, int64_t i)
{
    int64_t offset = 0;
    for (int d = l->ndim - 1; d > 0; d--) {
        offset += i % l->dim[d] * l->stride[d];
        i /= l->dim[d];
    }
    if (l->ndim) offset += i * l->stride[0];
    return l->data + offset * (int64_t)l->size;
}

static char *element(const pal_lines *l, const char *line, int64_t i)
{
    return (char *)(uintptr_t)line + i * l->step * (int64_t)l->size;
}

const void *pal_line_read(const pal_lines *l, const char *line, int64_t start, int64_t n,
                          void *buffer)
{
    const void *from = element(l, line, start);
    int64_t step = l->step;
    if (step == 1) return from;
    pal_run_gather(l->dtype, n, from, step, buffer);
    return buffer;
}

void pal_line_write(const pal_lines *l, char *line, int64_t start, int64_t n, const void *x)
{
    void *to = element(l, line, start);
    int64_t step = l->step;
    if (to == x) return;
    if (step == 1)
        memcpy(to, x, (size_t)n * l->size);
    else
        pal_run_scatter(l->dtype, n, x, to, step);
}

void pal_line_add(const pal_lines *l, const pal_kernels *k, char *line, int64_t start, int64_t n,
                  const void *x)
{
    void *to = element(l, line, start);
    int64_t step = l->step;
    if (step == 1)
        k->accumulate(n, x, to);
    else
        pal_run_add(l->dtype, n, x, to, step);
}

void *pal_line_target(const pal_lines *l, char *line, bool overwrite, void *buffer)
{
    return line && overwrite && l->step == 1 ? line : buffer;
}

void pal_line_give(const pal_lines *l, const pal_kernels *k, char *line, bool overwrite, int64_t n,
                   const void *x)
{
    if (!line) return;
    if (overwrite)
        pal_line_write(l, line, 0, n, x);
    else
        pal_line_add(l, k, line, 0, n, x);
}
