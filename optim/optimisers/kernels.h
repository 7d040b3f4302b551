/*
 * kernels.h - the table of the optimisers' vector kernels for one element type. It is made like
 * the one of tensor/kernels.h.
 */
#ifndef PAL_OPTIM_KERNELS_H
#define PAL_OPTIM_KERNELS_H

#include "tensor/internal.h"

/*
 * One pass over n elements: gradients g, values x, and up to two moments of each. Contiguous, any
 * alignment; what a kernel does not use may be NULL. `numbers` is the struct of the kernel
 * (kernels/NAME.h): the same for all elements, multiplied out beforehand.
 */
typedef void pal_update(int64_t n, const void *numbers, const void *g, void *x, void *m, void *v);

typedef struct pal_optim_kernels {
#define PAL_KERNEL(type, name) type *name;
#include "optim/optimisers/optimisers.def"
} pal_optim_kernels;

/* The table for an element type (PAL_F32 or PAL_F64) and the selected instruction set. */
const pal_optim_kernels *pal_optim_kernels_for(pal_dtype dtype);

#endif
