/* table.k.c - the table of kernels for this element type and instruction set. */
#include "tensor/kernels/kernels.k.h"

extern const pal_kernels K(table);
const pal_kernels K(table) = {
#define PAL_KERNEL(type, name) .name = K(name),
#include "tensor/kernels/kernels.def"
#undef PAL_KERNEL
};
