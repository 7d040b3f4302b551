/*
 * products.h - the table behind pal_gemm: which library computes a large product, by dtype.
 *
 * f32 and f64 are BLIS's. bf16 is oneDNN's where the processor multiplies bf16 faster than f32, and
 * elsewhere the operands are widened for BLIS, block by block. PAL_PRODUCTS=onednn in the
 * environment gives oneDNN f32 too, and bf16 wherever there are instructions for it;
 * PAL_PRODUCTS=blis gives it nothing.
 */
#ifndef PAL_TENSOR_PRODUCTS_H
#define PAL_TENSOR_PRODUCTS_H

#include "tensor/kernels.h"

/* One product on the calling thread. Strides are those that BLIS takes; C of bf16 operands is f32.
 */
typedef void pal_product_run(pal_dtype dtype, const pal_product *p, const void *a, const void *b,
                             void *c);

/* Into how many pieces C is cut; by rows only, or so that pieces are as square as possible. 0
 * pieces: one for each thread. */
typedef struct pal_product_cut {
    int64_t pieces;
    bool by_rows;
} pal_product_cut;

typedef struct pal_product_maker {
    const char *name; /* "BLIS", "oneDNN", "BLIS on widened operands" */
    pal_product_run *run;
    /* Rows and columns of C are cut at multiples of this. */
    int64_t (*unit)(pal_dtype dtype, double beta);
    /* The cut of a product, whatever the number of threads is: for a library whose sums depend on
     * the shape of a piece. No piece then has less than a unit of rows or columns, unless C has:
     * what is left over is the last piece's. NULL: one piece for each thread. */
    pal_product_cut (*cut)(pal_dtype dtype, const pal_product *p);
} pal_product_maker;

/* Who computes a product. It depends on nothing but dtype, shape, strides and factors. */
const pal_product_maker *pal_product_maker_for(pal_dtype dtype, const pal_product *p);

/* ---- bf16 by widening (widen.c) ---- */

/* Whether there is memory for a block of widened operands. */
bool pal_widen_ready(void);
void pal_widen_product(pal_dtype dtype, const pal_product *p, const void *a, const void *b,
                       void *c);

/* ---- oneDNN (onednn.c; onednn_none.c without it) ---- */

/* The version as "oneDNN 2.6.3", or NULL: it is not there. Loads the library. */
const char *pal_onednn_name(void);
/* Whether the processor has instructions for bf16 that the library uses, and whether these are
 * faster than its instructions for f32. */
bool pal_onednn_has_bf16(void);
bool pal_onednn_fast_bf16(void);
/* Whether it takes a product: alpha is 1, and one stride of each matrix is 1. */
bool pal_onednn_takes(const pal_product *p);
/* Computes it; false: there is no memory or no library, and C is as it was. */
bool pal_onednn_product(pal_dtype dtype, const pal_product *p, const void *a, const void *b,
                        void *c);
/* How many things oneDNN was asked to make so far. For tests. */
int64_t pal_onednn_made(void);

#endif
