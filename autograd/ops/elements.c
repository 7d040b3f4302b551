/* elements.c - the elements of an array in row-major order as doubles, a block at a time. */
#include "autograd/ops/elements.h"

/* A run along the last axis that begins at an element; *n is cut to what is left of the axis. */
static void *run_at(const pal_array *a, int64_t start, int64_t *n, int64_t *step)
{
    int64_t offset = 0, last = a->ndim - 1;
    *step = a->ndim ? a->stride[last] : 1;
    if (a->ndim && *n > a->shape[last] - start % a->shape[last])
        *n = a->shape[last] - start % a->shape[last];
    for (int d = a->ndim - 1; d >= 0; d--) {
        offset += start % a->shape[d] * a->stride[d];
        start /= a->shape[d];
    }
    return (char *)a->data + offset * (int64_t)pal_dtype_size(a->dtype);
}

void pal_row_read(const pal_array *a, int64_t start, int64_t n, double *out)
{
    for (int64_t done = 0, run; done < n; done += run) {
        int64_t step;
        run = n - done;
        const void *x = run_at(a, start + done, &run, &step);
        for (int64_t i = 0; i < run; i++) out[done + i] = pal_element_get(a->dtype, x, i * step);
    }
}

void pal_row_write(const pal_array *a, int64_t start, int64_t n, const double *x, bool add)
{
    for (int64_t done = 0, run; done < n; done += run) {
        int64_t step;
        run = n - done;
        void *to = run_at(a, start + done, &run, &step);
        for (int64_t i = 0; i < run; i++) {
            double before = add ? pal_element_get(a->dtype, to, i * step) : 0;
            pal_element_set(a->dtype, to, i * step, add ? before + x[done + i] : x[done + i]);
        }
    }
}
