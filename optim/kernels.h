/*
 * kernels.h - the table of this floor's vector kernels for one element type, made like the one of
 * tensor/kernels.h.
 */
#ifndef PAL_OPTIM_KERNELS_H
#define PAL_OPTIM_KERNELS_H

#include "tensor/internal.h"

/* The numbers of one AdamW step, with what is the same for all elements multiplied out. */
typedef struct pal_adamw_numbers {
    double beta1, one_beta1; /* beta1, 1 - beta1 */
    double beta2, one_beta2;
    double rate;    /* lr / (1 - beta1^t) */
    double correct; /* 1 / sqrt(1 - beta2^t) */
    double eps;
    double decay; /* lr times weight decay */
} pal_adamw_numbers;

/* Updates n elements of x, m and v from their gradients g. Contiguous, any alignment. */
typedef void pal_adamw_update(int64_t n, const pal_adamw_numbers *c, const void *g, void *x,
                              void *m, void *v);

typedef struct pal_optim_kernels {
#define PAL_KERNEL(type, name) type *name;
#include "optim/kernels/kernels.def"
#undef PAL_KERNEL
} pal_optim_kernels;

/* The table for an element type (PAL_F32 or PAL_F64) and the selected instruction set. */
const pal_optim_kernels *pal_optim_kernels_for(pal_dtype dtype);

#endif
