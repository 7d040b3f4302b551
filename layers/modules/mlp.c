/*
 * mlp.c - the SwiGLU block between mixers (Shazeer 2020, arXiv 2002.05202).
 */
#include "layers/modules/init.h"

pal_mlp pal_mlp_new(pal_params *params, const char *prefix, int64_t d, int64_t n, pal_dtype dtype,
                    pal_rng *rng)
{
    pal_build b = {params, prefix, dtype, rng, ""};
    /* Initialisers run in order: gate and up are neighbours, for one product over both. */
    pal_mlp mlp;
    mlp.gate_proj = pal_build_linear(&b, "gate_proj.weight", n, d);
    mlp.up_proj = pal_build_linear(&b, "up_proj.weight", n, d);
    mlp.down_proj = pal_build_linear(&b, "down_proj.weight", d, n);
    return mlp;
}

pal_tensor pal_mlp_forward(const pal_mlp *mlp, pal_tensor x)
{
    pal_tensor gate = pal_linear(x, mlp->gate_proj, PAL_NONE); /* [..,n] */
    pal_tensor up = pal_linear(x, mlp->up_proj, PAL_NONE);
    return pal_linear(pal_swiglu(gate, up), mlp->down_proj, PAL_NONE);
}
