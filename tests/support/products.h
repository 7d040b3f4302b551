/*
 * products.h - matrices of random layout, and the same suite under every family of BLIS kernels.
 */
#ifndef PAL_TESTS_PRODUCTS_H
#define PAL_TESTS_PRODUCTS_H

#include "tensor/tensor.h"
#include "tests/support/check.h"

/* Layouts of random_matrix: bit 0 column-major, bit 1 leading axis innermost; from 4 on with gaps.
 */
enum { LAYOUTS = 6 };

void random_seed(uint64_t seed);
int64_t below(int64_t n); /* 0 .. n - 1 */
double value(void);       /* -1 .. 1 */

/* A matrix (or batch) view of a layout, filled with random numbers; free(*memory) later. */
pal_array random_matrix(pal_dtype dtype, pal_shape shape, int layout, void **memory);
/* Bytes of *memory, gaps included. */
size_t matrix_bytes(pal_dtype dtype, pal_shape shape, int layout);
pal_array contiguous_copy(const pal_array *a, void **memory);

void gemm_of(double alpha, const pal_array *a, const pal_array *b, double beta, const pal_array *c,
             int threads);

/*
 * Runs the suite, and again with PAL_ISA=base and avx2; returns the program's exit status. The
 * family is fixed once in a process, so a test for each starts this program anew.
 */
int run_in_families(Suite *suite, int argc, char **argv);

#endif
