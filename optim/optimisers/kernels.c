/*
 * kernels.c - the kernels of this floor for the selected instruction set.
 */
#include "optim/optimisers/kernels.h"

extern const pal_optim_kernels pal_k_optim_table_f32_base, pal_k_optim_table_f32_avx2,
    pal_k_optim_table_f32_avx512;
extern const pal_optim_kernels pal_k_optim_table_f64_base, pal_k_optim_table_f64_avx2,
    pal_k_optim_table_f64_avx512;

const pal_optim_kernels *pal_optim_kernels_for(pal_dtype dtype)
{
    static const pal_optim_kernels *const tables[2][3] = {
        {&pal_k_optim_table_f32_base, &pal_k_optim_table_f32_avx2, &pal_k_optim_table_f32_avx512},
        {&pal_k_optim_table_f64_base, &pal_k_optim_table_f64_avx2, &pal_k_optim_table_f64_avx512}};
    return tables[dtype == PAL_F64][pal_isa_selected()];
}
