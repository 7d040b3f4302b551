/*
 * mlp.c - the MLP between mixers: gated (SwiGLU, GEGLU) or not (GELU, squared ReLU).
 */
#include "layers/modules/init.h"

static bool gated(pal_mlp_kind kind) { return kind == PAL_MLP_SWIGLU || kind == PAL_MLP_GEGLU; }

pal_mlp pal_mlp_new_with(pal_params *params, const char *prefix, int64_t d, int64_t n,
                         pal_mlp_opts opts, pal_dtype dtype, pal_rng *rng)
{
    pal_build b = {params, prefix, dtype, rng, ""};
    /* Initialisers run in order: gate and up are neighbours, for one product over both. */
    pal_mlp mlp = {.opts = opts};
    const bool gate = gated(opts.kind);
    if (gate) mlp.gate_proj = pal_build_linear(&b, "gate_proj.weight", n, d);
    mlp.up_proj = pal_build_linear(&b, "up_proj.weight", n, d);
    mlp.down_proj = pal_build_linear(&b, "down_proj.weight", d, n);
    if (!opts.bias) return mlp;
    if (gate) mlp.gate_bias = pal_bias_new(params, pal_build_name(&b, "gate_proj.bias"), n, dtype);
    mlp.up_bias = pal_bias_new(params, pal_build_name(&b, "up_proj.bias"), n, dtype);
    mlp.down_bias = pal_bias_new(params, pal_build_name(&b, "down_proj.bias"), d, dtype);
    return mlp;
}

pal_mlp pal_mlp_new(pal_params *params, const char *prefix, int64_t d, int64_t n, pal_dtype dtype,
                    pal_rng *rng)
{
    return pal_mlp_new_with(params, prefix, d, n, (pal_mlp_opts){0}, dtype, rng);
}

pal_tensor pal_mlp_forward(const pal_mlp *mlp, pal_tensor x)
{
    const pal_mlp_kind kind = mlp->opts.kind;
    pal_tensor inner, gate = PAL_NONE; /* [..,n] */
    if (gated(kind))
        gate = pal_scaled(pal_linear(x, mlp->gate_proj, mlp->gate_bias), mlp->opts.gate_scale);
    const pal_tensor up = pal_linear(x, mlp->up_proj, mlp->up_bias);
    if (kind == PAL_MLP_SWIGLU)
        inner = pal_swiglu_as(gate, up, pal_narrow_dtype(up));
    else if (kind == PAL_MLP_GEGLU)
        inner = pal_mul(pal_gelu(gate), up);
    else
        inner = kind == PAL_MLP_GELU ? pal_gelu(up) : pal_square(pal_relu(up));
    return pal_scaled(pal_linear(inner, mlp->down_proj, mlp->down_bias), mlp->opts.down_scale);
}
