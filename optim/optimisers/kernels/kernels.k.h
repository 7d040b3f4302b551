/* kernels.k.h - every .k.c file of this folder includes it: simd.h and the prototypes of all
 * kernels. */
#ifndef PAL_OPTIM_KERNELS_K_H
#define PAL_OPTIM_KERNELS_K_H

#include "optim/optimisers/kernels.h"
#include "tensor/simd.h"

#include <float.h>

#define PAL_KERNEL(type, name) type K(name);
#include "optim/optimisers/optimisers.def"

/* Moments stay finite if gradients are: what is too large becomes the largest number. A NaN stays.
 */
static inline V finite(V a) { return vclamp(a, pick(-FLT_MAX, -DBL_MAX), pick(FLT_MAX, DBL_MAX)); }

#endif
