/* optim_table.k.c - the table of this element type and instruction set. */
#include "optim/optimisers/kernels/kernels.k.h"

extern const pal_optim_kernels K(optim_table);
const pal_optim_kernels K(optim_table) = {
#define PAL_KERNEL(type, name) .name = K(name),
#include "optim/optimisers/optimisers.def"
};
