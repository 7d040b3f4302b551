/*
 * precision.c - in which type a run multiplies, and who does it.
 */
#include "autograd/autograd.h"
#include "optim/train/train_step.h"
#include "tensor/internal.h"

#include <stdio.h>

const char *pal_precision_in_use(pal_dtype precision)
{
    static _Thread_local char line[160];
    const bool slow = precision == PAL_BF16 && !pal_bf16_is_fast();
    snprintf(line, sizeof line, "products in %s by %s%s", pal_dtype_name(precision),
             pal_product_library(precision),
             slow ? ", which is no faster than f32 on this machine" : "");
    return line;
}

pal_dtype pal_precision_of(pal_tape *tape)
{
    if (!tape) return PAL_F32;
    const pal_dtype precision = pal_tape_precision(tape, PAL_F32);
    pal_tape_precision(tape, precision);
    return precision;
}
