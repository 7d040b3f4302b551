/*
 * kernels.h - the table of this floor's vector kernels for one element type, made like the one of
 * tensor/kernels.h.
 */
#ifndef PAL_OPTIM_KERNELS_H
#define PAL_OPTIM_KERNELS_H

#include "tensor/internal.h"

/*
 * One pass over n elements: gradients g, values x, and up to two moments of each. Contiguous, any
 * alignment; what a kernel does not use may be NULL. `numbers` is the struct below of the kernel's
 * optimiser: the same for all elements, multiplied out beforehand.
 */
typedef void pal_update(int64_t n, const void *numbers, const void *g, void *x, void *m, void *v);

typedef struct pal_adamw_numbers {
    double beta1, one_beta1; /* beta1, 1 - beta1 */
    double beta2, one_beta2;
    double rate;    /* lr / (1 - beta1^t) */
    double correct; /* 1 / sqrt(1 - beta2^t) */
    double eps;
    double decay; /* lr times weight decay, decoupled */
    double l2;    /* weight decay in the gradient */
} pal_adamw_numbers;

typedef struct pal_sgd_numbers {
    double rate, momentum, l2;
    bool nesterov;
} pal_sgd_numbers;

typedef struct pal_lion_numbers {
    double beta1, one_beta1, beta2, one_beta2;
    double rate, decay; /* lr, lr times weight decay */
} pal_lion_numbers;

typedef struct pal_muon_numbers {
    double momentum;
    bool nesterov;
    double rate, decay; /* lr times the factor of the shape, lr times weight decay */
} pal_muon_numbers;

typedef struct pal_optim_kernels {
#define PAL_KERNEL(type, name) type *name;
#include "optim/optimisers/kernels/kernels.def"
#undef PAL_KERNEL
} pal_optim_kernels;

/* The table for an element type (PAL_F32 or PAL_F64) and the selected instruction set. */
const pal_optim_kernels *pal_optim_kernels_for(pal_dtype dtype);

#endif
