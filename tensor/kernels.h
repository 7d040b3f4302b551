/*
 * kernels.h - the table of vector kernels for one element type.
 *
 * Each kernel is written once, in kernels/NAME.k.c, and compiled for {f32, f64} x {base, avx2,
 * avx512}. kernels.def lists them all; the table of each combination is made from that list in
 * kernels/table.k.c, and pal_kernels_for returns the one for this processor. Pointers are void so
 * that one signature serves both types; simd.h's loads and stores give them their type back.
 */
#ifndef PAL_KERNELS_H
#define PAL_KERNELS_H

#include "tensor/internal.h"

/* y[i] = f(x[i]), and with two and three operands. All contiguous, n >= 0, any alignment; y may be
 * an operand. */
typedef void pal_map1(int64_t n, const void *x, void *y);
typedef void pal_map2(int64_t n, const void *a, const void *b, void *y);
typedef void pal_map3(int64_t n, const void *a, const void *b, const void *c, void *y);

typedef struct pal_kernels {
#define PAL_KERNEL(type, name) type *name;
#include "tensor/kernels/kernels.def"
#undef PAL_KERNEL
} pal_kernels;

/* The table for an element type (PAL_F32 or PAL_F64) and the selected instruction set. */
const pal_kernels *pal_kernels_for(pal_dtype dtype);

#endif
