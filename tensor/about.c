/*
 * about.c - a line that says what computes here.
 */
#include "tensor/internal.h"

#include <stdio.h>
#include <string.h>

const char *pal_kernels_in_use(void)
{
    static _Thread_local char line[160];
    const char *f32 = pal_product_library(PAL_F32); /* "BLIS" unless the user asks for another */
    const bool other = strcmp(f32, "BLIS") != 0;
    snprintf(line, sizeof line, "kernels %s, %s%sBLIS %s, %d thread%s",
             pal_isa_name(pal_isa_selected()), other ? f32 : "", other ? " and " : "",
             pal_blas_family(), pal_threads(), pal_threads() == 1 ? "" : "s");
    return line;
}
