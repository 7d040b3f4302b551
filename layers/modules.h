/*
 * modules.h - what stands around the rules: initialised weights, norms, short convolution, MLP.
 * Letters as in layers.h.
 */
#ifndef PAL_LAYERS_MODULES_H
#define PAL_LAYERS_MODULES_H

#include "layers/rules.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Modules ---- */

/* The gate of a gated norm. */
typedef enum pal_gate {
    PAL_GATE_DEFAULT = 0, /* the gate of the layer's paper */
    PAL_GATE_SILU,        /* x sigmoid(x) */
    PAL_GATE_SIGMOID,     /* 1 / (1 + e^-x) */
    PAL_GATE_NONE         /* no gate at all */
} pal_gate;

/* The next functions make parameters with the initial values of the papers. `name` is the full name
 * ("model.norm.weight"). Each adds its parameter to params and returns it. If rng is NULL, the
 * function draws nothing and leaves zeros instead: for parameters that are loaded from a file. */

/* Linear weight [out, in] for pal_linear, Xavier-uniform with gain 2^-2.5. */
PAL_API pal_tensor pal_linear_weight(pal_params *params, const char *name, int64_t out, int64_t in,
                                     pal_dtype dtype, pal_rng *rng);
/* Zeros [n], without weight decay. */
PAL_API pal_tensor pal_bias_new(pal_params *params, const char *name, int64_t n, pal_dtype dtype);
/* Norm weight or Mamba-2's D: ones [n], without weight decay. */
PAL_API pal_tensor pal_ones_new(pal_params *params, const char *name, int64_t n, pal_dtype dtype);
/* Embedding table [n, d] for pal_embedding, N(0, 0.02). */
PAL_API pal_tensor pal_embedding_weight(pal_params *params, const char *name, int64_t n, int64_t d,
                                        pal_dtype dtype, pal_rng *rng);
/* Depthwise convolution weight [n, 1, width], U(+-1/sqrt width). */
PAL_API pal_tensor pal_conv_weight(pal_params *params, const char *name, int64_t n, int64_t width,
                                   pal_dtype dtype, pal_rng *rng);
/* log of draws from U(low, high), which are raised to 0.01 where they are smaller; [n], without
 * weight decay. */
PAL_API pal_tensor pal_A_log_new(pal_params *params, const char *name, int64_t n, double low,
                                 double high, pal_dtype dtype, pal_rng *rng);
/* Inverse softplus of exp(U(ln 0.001, ln 0.1)), which is at least 1e-4; [n], without weight decay.
 */
PAL_API pal_tensor pal_dt_bias_new(pal_params *params, const char *name, int64_t n, pal_dtype dtype,
                                   pal_rng *rng);

/* Options of pal_gated_rms_norm. */
typedef struct pal_gated_norm_opts {
    double eps;      /* 0: 1e-5 */
    pal_gate gate;   /* PAL_GATE_DEFAULT: SiLU; with PAL_GATE_NONE, gate may be PAL_NONE */
    bool gate_first; /* Mamba-2's order: the gate before the norm */
    int64_t groups;  /* 0: 1 */
} pal_gated_norm_opts;
/*
 * Gated RMS norm over the last axis: rms_norm(x) * weight * act(gate), or, with gate_first
 * (Mamba-2), rms_norm(x * act(gate)) * weight. x, gate [.., n]; weight [n] or PAL_NONE. With groups
 * = G > 1 the mean square is taken over each of G equal parts of the last axis. Differentiable in
 * all three. It keeps one number per row and group for backward. x and gate are not copied if the
 * entries of a row are next to each other. Errors: PAL_ESHAPE, PAL_EDTYPE, PAL_EVALUE, PAL_ENOMEM.
 */
PAL_API pal_tensor pal_gated_rms_norm(pal_tensor x, pal_tensor gate, pal_tensor weight,
                                      pal_gated_norm_opts opts);

/*
 * Linear attention with a decay, for rules of one's own that do not erase: retention, gated linear
 * attention, and others whose decay is one number a head or one a channel of the key.
 *
 *     S <- diag(exp g) S + k v^T        o = scale S^T q
 *
 * q, k [B,T,H,K]; v [B,T,HV,V]; g, which is <= 0, [B,T,H,K], [B,T,HV,K], [B,T,H], [B,T,HV], or
 * PAL_NONE for no decay. It is pal_gdn2 with b = 0 and w = 1, in all its modes: fused by chunks or
 * token by token, packed, with a state, over processes, and differentiable in the same operands.
 * Cost and errors are those of pal_gdn2, and B T HV (K + V) numbers more. Sources: Sun et al. 2023
 * (arXiv 2307.08621), Yang et al. 2024 (arXiv 2312.06635).
 */
PAL_API pal_rule_out pal_linear_attention(pal_tensor q, pal_tensor k, pal_tensor v, pal_tensor g,
                                          pal_rule_opts opts);

/* pal_linear of x [B,T,d] by weight [H K,d], cut into heads: [B,T,H,K]. PAL_ESHAPE if H does not
 * divide the rows of the weight. Differentiable in both. */
PAL_API pal_tensor pal_linear_heads(pal_tensor x, pal_tensor weight, int64_t H);
/* Heads side by side: [B,T,H V] of x [B,T,H,V]. */
PAL_API pal_tensor pal_merge_heads(pal_tensor x);

/* Options of pal_short_conv. */
typedef struct pal_short_conv_opts {
    bool silu;        /* SiLU of the result */
    pal_tensor *tail; /* NULL: zeros come before x. Else it is read as the W-1 inputs before
                         x, [B,W-1,n], or [N,W-1,n] when packed (PAL_NONE: zeros), and
                         replaced by the W-1 inputs before what follows x */
    pal_tensor
        offsets; /* packed sequences: i64 [N+1], from 0 to T, never decreasing; B must be 1 */
    const pal_comm *parts; /* processes that share each sequence, as in pal_run_opts */
    bool continued;        /* as in pal_run_opts */
} pal_short_conv_opts;
/*
 * Causal depthwise convolution along time: y[b,t,c] = bias[c] + sum_j weight[c,0,j] x[b,t-W+1+j,c],
 * then SiLU if asked for. x [B,T,n]; weight [n,1,W]; bias [n] or PAL_NONE. Packed: no
 * sequence reads inputs of another, and an empty one leaves its tail as it was. Differentiable in
 * x, weight, bias and tail. 2 B T n W flops, and about three times as many backward; it keeps
 * nothing. x is not copied if its channels are next to each other, as in a slice of a wider
 * projection. Errors: PAL_ESHAPE, PAL_EDTYPE, PAL_EVALUE for offsets that do not fit, PAL_ENOMEM.
 */
PAL_API pal_tensor pal_short_conv(pal_tensor x, pal_tensor weight, pal_tensor bias,
                                  pal_short_conv_opts opts);

/* What an MLP computes of x, with gelu in its tanh form (pal_gelu). */
typedef enum pal_mlp_kind {
    PAL_MLP_SWIGLU = 0, /* down_proj(silu(gate_proj x) * up_proj x) */
    PAL_MLP_GEGLU,      /* down_proj(gelu(gate_proj x) * up_proj x) */
    PAL_MLP_GELU,       /* down_proj(gelu(up_proj x)) */
    PAL_MLP_RELU2,      /* down_proj(relu(up_proj x)^2) */
} pal_mlp_kind;

/* Options of an MLP; zero is SwiGLU without biases. */
typedef struct pal_mlp_opts {
    pal_mlp_kind kind; /* what it computes */
    bool bias;         /* each projection has one, beginning at 0 */
    double gate_scale; /* of gate_proj x, before its activation; 0: 1 */
    double down_scale; /* of the result; 0: 1 */
} pal_mlp_opts;

/* An MLP of x [.., d] with inner width n. Parameters: prefix.gate_proj.weight (not of gelu and
 * relu2) and up_proj.weight [n,d], down_proj.weight [d,n]; with biases also .bias of each. Sources:
 * Shazeer 2020 (arXiv 2002.05202); relu2: So et al. 2021 (arXiv 2109.08668). */
typedef struct pal_mlp {
    pal_tensor gate_proj; /* weight [n,d]; PAL_NONE for gelu and relu2 */
    pal_tensor up_proj;   /* weight [n,d] */
    pal_tensor down_proj; /* weight [d,n] */
    pal_mlp_opts opts;    /* what it computes of them */
    pal_tensor gate_bias; /* [n]; PAL_NONE: there is none, as for the next two */
    pal_tensor up_bias;   /* [n] */
    pal_tensor down_bias; /* [d] */
} pal_mlp;
/*
 * Makes the three weights of SwiGLU:
 *
 *     pal_mlp mlp = pal_mlp_new(params, "mlp", 128, 352, PAL_F32, &rng);
 *     pal_tensor y = pal_mlp_forward(&mlp, x);
 */
PAL_API pal_mlp pal_mlp_new(pal_params *params, const char *prefix, int64_t d, int64_t n,
                            pal_dtype dtype, pal_rng *rng);
/* Makes the parameters of any kind of MLP. */
PAL_API pal_mlp pal_mlp_new_with(pal_params *params, const char *prefix, int64_t d, int64_t n,
                                 pal_mlp_opts opts, pal_dtype dtype, pal_rng *rng);
/* The MLP of x [.., d]; the result has the same shape. Differentiable in x and all parameters. */
PAL_API pal_tensor pal_mlp_forward(const pal_mlp *mlp, pal_tensor x);

#ifdef __cplusplus
}
#endif
#endif
