/*
 * rows.h - a few rows of f32 times a matrix whose rows are stored in bf16: what one token costs
 * when a model decodes. The matrix is read once, at the speed of memory, and nothing but it is
 * rounded.
 */
#ifndef PAL_TENSOR_ROWS_H
#define PAL_TENSOR_ROWS_H

#include "tensor/internal.h"

/*
 * x in the order in which the sums read it: of each block of 2 VL numbers first those at even
 * places, then the others; zeros fill the last block. `to` has room for PAL_ROWS_BLOCK more.
 */
typedef void pal_rows_order(int64_t k, const float *x, float *to);
/* The sum of x w over k numbers, for x in that order. */
typedef float pal_rows_dot(int64_t k, const float *x, const uint16_t *w);

typedef struct pal_rows_table {
    pal_rows_order *order;
    pal_rows_dot *dot;
} pal_rows_table;

enum { PAL_ROWS_MOST = 8, PAL_ROWS_BLOCK = 32 };

/* Bytes of memory for `rows` rows of k numbers. */
size_t pal_rows_bytes(int64_t rows, int64_t k);

/*
 * y[i, j] = sum_l x[i, l] w[j, l], or with `add` y[i, j] += that, for up to PAL_ROWS_MOST rows of x
 * and n rows of w, which lie `step` numbers apart. x may have any strides; y is y[i * ldy + j].
 * Memory is of pal_rows_bytes. At most `team` threads share the rows of w; the bits are the same
 * for every number.
 */
void pal_rows_product(int64_t rows, int64_t n, int64_t k, const float *x, int64_t rsx, int64_t csx,
                      const uint16_t *w, int64_t step, bool add, float *y, int64_t ldy,
                      void *memory, int team);

#endif
