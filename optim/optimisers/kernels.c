/*
 * kernels.c - the kernels of this floor for the selected instruction set.
 */
#include "optim/optimisers/kernels.h"

PAL_KERNEL_TABLES(pal_optim_kernels, optim_table);

const pal_optim_kernels *pal_optim_kernels_for(pal_dtype dtype)
{
    return PAL_KERNEL_TABLE(optim_table, dtype);
}
