/* blis.h - one product by BLIS; for blas.c. */
#ifndef PAL_TENSOR_BLIS_H
#define PAL_TENSOR_BLIS_H

#include "tensor/kernels.h"

/* A product on the calling thread, after pal_blas_ready. Strides are those that BLIS takes. */
void pal_blis_product(pal_dtype dtype, const pal_product *p, const void *a, const void *b, void *c);
/* Rows and columns of C are cut at multiples of this. */
int64_t pal_blis_unit(pal_dtype dtype, double beta);

#endif
