/*
 * about.c - a line that says what computes here.
 */
#include "tensor/internal.h"

#include <stdio.h>

const char *pal_kernels_in_use(void)
{
    static _Thread_local char line[128];
    snprintf(line, sizeof line, "kernels %s, BLIS %s, %d thread%s",
             pal_isa_name(pal_isa_selected()), pal_blas_family(), pal_threads(),
             pal_threads() == 1 ? "" : "s");
    return line;
}
