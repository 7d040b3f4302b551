/* kernels.k.h - every .k.c file of this folder includes it: simd.h and the prototypes of all
 * kernels. */
#ifndef PAL_KERNELS_K_H
#define PAL_KERNELS_K_H

#include "tensor/kernels.h"
#include "tensor/simd.h"

#define PAL_KERNEL(type, name) type K(name);
#include "tensor/kernels/kernels.def"
#undef PAL_KERNEL

#endif
