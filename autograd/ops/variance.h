/* variance.h - variance and standard deviation along the last axis. */
#ifndef PAL_OPS_VARIANCE_H
#define PAL_OPS_VARIANCE_H

#include "autograd/autograd.h"

/* sum (x - mean x)^2 / (n - correction) for x [.., n], or with `root` its square root: [..]. */
pal_tensor pal_variance_of_rows(pal_tensor x, double correction, bool root);

#endif
