/*
 * elements.h - the elements of an array in row-major order as doubles, a block at a time. It serves
 * operations that are computed in double whatever the dtype, and costs more than a kernel.
 */
#ifndef PAL_OPS_ELEMENTS_H
#define PAL_OPS_ELEMENTS_H

#include "autograd/internal.h"

/* Elements start .. start + n - 1. */
void pal_row_read(const pal_array *a, int64_t start, int64_t n, double *out);
/* Puts x there, or with `add` adds it. */
void pal_row_write(const pal_array *a, int64_t start, int64_t n, const double *x, bool add);

#endif
