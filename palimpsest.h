/*
 * palimpsest.h - everything of the library: tensors with gradients, layers, optimisers.
 *
 *     cc -std=c11 program.c $(pkg-config --cflags --libs palimpsest)
 */
#ifndef PALIMPSEST_H
#define PALIMPSEST_H

#include "tensor/tensor.h"
#include "tensor/comm.h"
#include "tensor/text.h"
#include "autograd/autograd.h"
#include "layers/layers.h"
#include "optim/optim.h"
#include "optim/data.h"
#include "optim/dist.h"
#include "optim/train.h"

/* Hands a failure to the error handler (pal_raise), which by default prints it and ends the
 * program. */
static inline void pal_must(pal_status status, const pal_error *error)
{
    if (status != PAL_OK) pal_raise(error);
}

#endif
