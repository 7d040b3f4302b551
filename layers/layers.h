/*
 * layers.h - linear attention: the rules, the modules around them, and a small language model.
 *
 * From the bottom up, each on what is before it:
 *
 * - rules: pal_gdn2, pal_kda, pal_gdn, pal_deltanet, pal_mamba2; one recurrence each, an operation
 *   on tensors without parameters;
 * - attention: softmax attention, full or in a window, and rotary positions;
 * - modules: linear, norms, short convolution, SwiGLU; a few parameters and a function;
 * - mixers: the layers of the papers (projections, convolutions, gates, a rule, a norm, a
 *   projection), made from text such as "gdn2:num_heads=4:head_dim=32";
 * - the model: embedding, blocks of mixer and MLP, norm, head; a loss, and logits token by token.
 *
 * Letters in shapes: B batch, T time, H key heads, HV value heads (a multiple of H), K key width,
 * V value width, N packed sequences, d model width; in attention H query heads, HKV heads of keys
 * and values, D head width, S keys. The state S of a head is K x V everywhere.
 * Parameters carry the names of flash-linear-attention, so that its checkpoints fit.
 */
#ifndef PAL_LAYERS_H
#define PAL_LAYERS_H

#include "autograd/autograd.h"
#include "tensor/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Rules ---- */

/* How a rule is computed. All give the same numbers up to rounding. */
typedef enum pal_rule_mode {
    PAL_RULE_AUTO = 0,  /* chunk or recurrent, by the length of the sequences alone */
    PAL_RULE_COMPOSED,  /* token by token from generic operations: slow, and the reference */
    PAL_RULE_RECURRENT, /* one fused pass, token by token: for decoding; its gradient is chunk's */
    PAL_RULE_CHUNK      /* chunks of tokens at once, as matrix products: for training */
} pal_rule_mode;

/* What every rule takes besides its inputs; all zero is the default. */
typedef struct pal_rule_opts {
    pal_rule_mode mode;
    double scale;       /* of the output; 0: K^-1/2 (Mamba-2: 1) */
    pal_tensor state;   /* initial state [B,HV,K,V], or [N,HV,K,V] when packed; PAL_NONE: zeros */
    pal_tensor offsets; /* packed sequences: i64 [N+1], from 0 to T without a decrease; B is 1 */
    int64_t chunk;      /* tokens of a chunk: a multiple of 16 up to 256; 0: 16 */
    int64_t keep_every; /* chunks from one kept state to the next: less memory, more to do again; 0:
                           2 */
    bool normalize;     /* q and k are x / sqrt(sum x^2 + 1e-6) of what is given (delta rules) */
    /* With both of these the argument g is the pre-activation f of pal_log_decay (not for DeltaNet
     * and Mamba-2): A_log [heads of g], dt_bias [heads of g, or heads * K]. */
    pal_tensor A_log, dt_bias;
    double lower_bound; /* as in pal_log_decay */
    /* Decoding: the final state is written over `state`, which must be a contiguous parameter or
     * kept tensor, and .state of the result is that tensor. Gradients must be off. */
    bool in_place;
    const pal_comm *parts; /* sequences over processes, as in pal_run_opts; not in_place */
    bool continued;
} pal_rule_opts;

typedef struct pal_rule_out {
    pal_tensor o;     /* [B,T,HV,V] */
    pal_tensor state; /* after the last token: [B,HV,K,V], or [N,HV,K,V] */
} pal_rule_out;

/*
 * Gated DeltaNet-2: decay, erase and write by separate channel-wise gates. Per value head
 *
 *     S <- (I - k (b*k)^T) diag(exp g) S + k (w*v)^T        o = scale S^T q
 *
 * q, k [B,T,H,K], already normalised; v, w [B,T,HV,V]; g (log-decay, <= 0) and b (erase, 0..1, or
 * 0..2 for negative eigenvalues) [B,T,H,K] or [B,T,HV,K]; w (write) 0..1. g may be PAL_NONE: no
 * decay. What has H heads is shared by the HV/H value heads of its group: value head j reads key
 * head j / (HV/H). f32 or f64, all of one dtype. Packed: sequence n is the tokens offsets[n] ..
 * offsets[n+1]-1; an empty one leaves its state as it was. T = 0 is allowed.
 *
 * Differentiable in every input and in the initial state. Cost: about 7 B T HV K V flops, and twice
 * that backward. Fused modes take K and V up to 512 (auto composes what is wider) and keep the
 * state before every keep_every-th chunk for backward, K V / 32 numbers a token and value head by
 * default; composed keeps three states a token. Errors: PAL_ESHAPE, PAL_EDTYPE, PAL_EVALUE for
 * offsets that do not fit and for options that do not, PAL_EGRAD for in_place with gradients on,
 * PAL_ENOMEM. Source: Hatamizadeh, Choi, Kautz 2026 (arXiv 2605.22791), section 3.
 */
PAL_API pal_rule_out pal_gdn2(pal_tensor q, pal_tensor k, pal_tensor v, pal_tensor g, pal_tensor b,
                              pal_tensor w, pal_rule_opts opts);

/*
 * Kimi Delta Attention: channel-wise decay, one gate beta for erase and write.
 *
 *     S <- (I - beta k k^T) diag(exp g) S + beta k v^T
 *
 * q, k [B,T,H,K]; v [B,T,HV,V]; g [B,T,HV,K] or PAL_NONE; beta [B,T,HV]. Otherwise as pal_gdn2.
 * Source: Kimi Linear (arXiv 2510.26692).
 */
PAL_API pal_rule_out pal_kda(pal_tensor q, pal_tensor k, pal_tensor v, pal_tensor g,
                             pal_tensor beta, pal_rule_opts opts);

/*
 * Gated DeltaNet: one decay and one gate a head.
 *
 *     S <- exp(g) (I - beta k k^T) S + beta k v^T
 *
 * q, k [B,T,H,K]; v [B,T,HV,V]; g [B,T,HV] or PAL_NONE; beta [B,T,HV]. Otherwise as pal_gdn2.
 * Source: Yang, Kautz, Hatamizadeh, ICLR 2025 (arXiv 2412.06464).
 */
PAL_API pal_rule_out pal_gdn(pal_tensor q, pal_tensor k, pal_tensor v, pal_tensor g,
                             pal_tensor beta, pal_rule_opts opts);

/*
 * DeltaNet: the delta rule without decay.
 *
 *     S <- (I - beta k k^T) S + beta k v^T
 *
 * q, k [B,T,H,K]; v [B,T,HV,V]; beta [B,T,HV]. Otherwise as pal_gdn2.
 * Source: Yang et al., NeurIPS 2024 (arXiv 2406.06484).
 */
PAL_API pal_rule_out pal_deltanet(pal_tensor q, pal_tensor k, pal_tensor v, pal_tensor beta,
                                  pal_rule_opts opts);

/*
 * Mamba-2 (SSD): decay and write, no erase.
 *
 *     S <- exp(A dt) S + Bm (dt x)^T        o = scale S^T Cm + D x
 *
 * x [B,T,nh,P]; dt [B,T,nh], after its softplus; A [nh], negative; Bm, Cm [B,T,G,N], nh a multiple
 * of G, head h reads group h / (nh/G); D [nh] or PAL_NONE. The state is [B,nh,N,P] (K = N, V = P).
 * scale is 1 unless given. Otherwise as pal_gdn2.
 * Source: Dao, Gu 2024 (arXiv 2405.21060).
 */
PAL_API pal_rule_out pal_mamba2(pal_tensor x, pal_tensor dt, pal_tensor A, pal_tensor Bm,
                                pal_tensor Cm, pal_tensor D, pal_rule_opts opts);

/*
 * Log-decay of the delta rules from a projection f:
 *
 *     g = -exp(A_log) softplus(f + dt_bias)                        lower_bound = 0
 *     g = lower_bound sigmoid(exp(A_log) (f + dt_bias))            lower_bound < 0 (usually -5)
 *
 * f [B,T,H] with A_log, dt_bias [H], or f [B,T,H,K] with A_log [H] and dt_bias [H*K]. A_log counts
 * as 80 where it is larger, so that value and gradient stay finite. Differentiable in all three.
 */
PAL_API pal_tensor pal_log_decay(pal_tensor f, pal_tensor A_log, pal_tensor dt_bias,
                                 double lower_bound);

/* ---- Attention ---- */

typedef struct pal_attention_opts {
    double scale;       /* of the scores; 0: D^-1/2 */
    int64_t window;     /* query i sees key j when i - window < j <= i; 0: every j <= i */
    pal_tensor offsets; /* packed sequences, as in pal_rule_opts; S - T keys are before the first */
    bool composed;      /* from generic operations: slow, T x S memory, and the reference */
    const pal_comm *parts; /* sequences over processes, as in pal_run_opts */
    bool continued;
} pal_attention_opts;

/*
 * Causal softmax attention. Per query head
 *
 *     o_i = sum_j softmax_j(scale <q_i, k_j>) v_j            over the keys j that query i sees
 *
 * q [B,T,H,D]; k, v [B,S,HKV,D]; the result is [B,T,H,D]. H is a multiple of HKV: query head h
 * reads kv head h / (H/HKV). S >= T: the queries are the last T of S positions, so a call with
 * cached keys before the new ones continues a sequence. f32 or f64, all of one dtype, any strides.
 *
 * Differentiable in q, k and v. Cost: 4 D flops a visible pair and head and 10 D backward (14 D
 * where B HKV is less than the number of threads); keeps one number a query and head for backward,
 * and never a T x S matrix. No element of a token, finite or not, reaches a query that does not see
 * it, nor its gradients (composed multiplies it by 0). Errors: PAL_ESHAPE, PAL_EDTYPE, PAL_EVALUE
 * for offsets, window and scale, PAL_ENOMEM. Source: Vaswani et al. 2017 (arXiv 1706.03762); the
 * form without T x S is FlashAttention's (Dao 2023, arXiv 2307.08691).
 */
PAL_API pal_tensor pal_attention(pal_tensor q, pal_tensor k, pal_tensor v, pal_attention_opts opts);

typedef struct pal_rotary_opts {
    double base;           /* 0: 10000 */
    int64_t start;         /* position of the first token */
    pal_tensor offsets;    /* packed sequences, as in pal_rule_opts: each begins at start again */
    const pal_comm *parts; /* sequences over processes, as in pal_run_opts */
    bool continued;
} pal_rotary_opts;

/*
 * Rotary positions, the halves of a head as pairs: at position p, for c < D/2,
 *
 *     (y_c, y_{c+D/2}) = (x_c, x_{c+D/2}) turned by the angle p base^(-2c/D)
 *
 * x [B,T,H,D], D even; any strides. Differentiable in x. 6 flops a pair. Angles are in double, so
 * that a position of 10^6 is as good as one of 1. Errors: PAL_ESHAPE, PAL_EDTYPE, PAL_EVALUE for
 * offsets, a base or a start below 0. Source: Su et al. 2021 (arXiv 2104.09864).
 */
PAL_API pal_tensor pal_rotary(pal_tensor x, pal_rotary_opts opts);

/* ---- Modules ---- */

/* The gate of a gated norm. */
typedef enum pal_gate {
    PAL_GATE_DEFAULT = 0, /* what the layer's paper has */
    PAL_GATE_SILU,
    PAL_GATE_SIGMOID,
    PAL_GATE_NONE /* no gate at all */
} pal_gate;

/* Parameters as the papers initialise them. `name` is the full name ("model.norm.weight"). Each is
 * registered in params and returned. */

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
/* log U(low, high) [n] with draws floored at 0.01, without weight decay. */
PAL_API pal_tensor pal_A_log_new(pal_params *params, const char *name, int64_t n, double low,
                                 double high, pal_dtype dtype, pal_rng *rng);
/* Inverse softplus of exp(U(ln 0.001, ln 0.1)), floored at 1e-4; [n], without weight decay. */
PAL_API pal_tensor pal_dt_bias_new(pal_params *params, const char *name, int64_t n, pal_dtype dtype,
                                   pal_rng *rng);

/*
 * Gated RMS norm over the last axis: rms_norm(x) * weight * act(gate), or, with gate_first
 * (Mamba-2), rms_norm(x * act(gate)) * weight. x, gate [.., n]; weight [n] or PAL_NONE. With groups
 * = G > 1 the mean square is taken over each of G equal parts of the last axis. Differentiable in
 * all three. Keeps one number a row and group; x and gate are read where they lie if the entries of
 * a row are next to each other. Errors: PAL_ESHAPE, PAL_EDTYPE, PAL_EVALUE, PAL_ENOMEM.
 */
typedef struct pal_gated_norm_opts {
    double eps;    /* 0: 1e-5 */
    pal_gate gate; /* PAL_GATE_DEFAULT: SiLU; with PAL_GATE_NONE, gate may be PAL_NONE */
    bool gate_first;
    int64_t groups; /* 0: 1 */
} pal_gated_norm_opts;
PAL_API pal_tensor pal_gated_rms_norm(pal_tensor x, pal_tensor gate, pal_tensor weight,
                                      pal_gated_norm_opts opts);

/*
 * Causal depthwise convolution along time: y[b,t,c] = bias[c] + sum_j weight[c,0,j] x[b,t-W+1+j,c],
 * then SiLU if asked for. x [B,T,n]; weight [n,1,W]; bias [n] or PAL_NONE. Packed: no tap reaches
 * into another sequence, and an empty one leaves its tail as it was. Differentiable in all of them
 * and in the tail. 2 B T n W flops, about three times that backward; keeps nothing. x is read where
 * it lies if its channels are next to each other, as in a slice of a wider projection. Errors:
 * PAL_ESHAPE, PAL_EDTYPE, PAL_EVALUE for offsets that do not fit, PAL_ENOMEM.
 */
typedef struct pal_short_conv_opts {
    bool silu;
    pal_tensor *tail;      /* if not NULL: in, the W-1 inputs before x, [B,W-1,n] or [N,W-1,n] when
                              packed (PAL_NONE: zeros); out, those before what follows x */
    pal_tensor offsets;    /* packed sequences: i64 [N+1], from 0 to T without a decrease; B is 1 */
    const pal_comm *parts; /* sequences over processes, as in pal_run_opts */
    bool continued;
} pal_short_conv_opts;
PAL_API pal_tensor pal_short_conv(pal_tensor x, pal_tensor weight, pal_tensor bias,
                                  pal_short_conv_opts opts);

/* SwiGLU MLP: down_proj(silu(gate_proj x) * up_proj x), without biases; x [.., d], inner width n.
 * Parameters prefix.gate_proj.weight, up_proj.weight [n,d], down_proj.weight [d,n]. */
typedef struct pal_mlp {
    pal_tensor gate_proj, up_proj, down_proj;
} pal_mlp;
PAL_API pal_mlp pal_mlp_new(pal_params *params, const char *prefix, int64_t d, int64_t n,
                            pal_dtype dtype, pal_rng *rng);
PAL_API pal_tensor pal_mlp_forward(const pal_mlp *mlp, pal_tensor x);

/* ---- Mixers ---- */

/* A layer that mixes along time: [B,T,d] -> [B,T,d]. Owned by the parameters it was made on. */
typedef struct pal_mixer pal_mixer;

/*
 * What a mixer carries from one piece of a sequence to the next; all zero (PAL_NONE) is the start
 * of a sequence. state is the rule's [B,HV,K,V]; conv the tails of the short convolutions.
 * Attention has the keys (after rotary) and values [B,n,HKV,D] that later queries may see, the last
 * min(seen, window - 1) of them, and the number of tokens seen.
 */
typedef struct pal_mixer_state {
    pal_tensor state;
    pal_tensor conv[3];
    pal_tensor k, v;
    int64_t seen;
} pal_mixer_state;

/*
 * A look into a running layer: called with what a mixer has just computed, by name, which it may
 * read or replace (*t, by a tensor of the same shape and dtype; PAL_ESHAPE names layer and tensor
 * otherwise). In this order, as far as a mixer has them:
 *
 *     x                 its input, [B,T,d]; returning false skips the mixer: what *t then is counts
 *                       as its output, PAL_NONE adds nothing to the residual stream, and a state
 *                       that is carried stays as it was
 *     b w, beta, dt     the gates of erase [B,T,H,K] and write [B,T,HV,V], or the one for both, or
 *                       Mamba-2's step, both [B,T,HV]
 *     q k v             after convolution, SiLU and unit length (attention: after rotary;
 *                       Mamba-2: its C, B, x); q and k have H heads, v has HV (attention: k
 *                       and v HKV, of the new tokens)
 *     g                 the log-decay, [B,T,H,K] (KDA: [B,T,HV,K], GDN, Mamba-2: [B,T,HV]; that of
 *                       Mamba-2 is A dt)
 *     o state           what the rule returns (attention: o alone)
 *     gate              the output gate before its activation, [B,T,HV,V] (Mamba-2: [B,T,HV V])
 *     y                 the mixer's output, [B,T,d]
 *
 * Other names may come; what is returned for names but x does not count. With a hook the unit
 * length and the log-decay are operations of their own, so that they can be seen. Replacing g of
 * Mamba-2 has no effect on its rule, which takes A and dt. Under recomputation a hook sees
 * everything twice, has to do the same both times, and what it puts in is made of *t, parameters
 * and constants.
 */
typedef bool pal_hook_fn(void *user, int64_t layer, const char *name, pal_tensor *t);

/*
 * How layers run; all zero: whole sequences from their start.
 *
 * With parts, sequences lie over processes: x [B,T,d] is this process's stretch of each, in the
 * order of ranks; lengths may differ, and be 0. Packed, offsets are those of the pieces that lie in
 * this stretch, from 0 to its T, and `continued` says that the first of them goes on from the last
 * of the rank before. A sequence may run over any number of ranks. Results are those of the whole
 * sequences, up to rounding, and so are gradients: that of a token is whole on the rank that has
 * it, those of parameters are to be summed over ranks. A state is read where its sequence begins,
 * and what is returned is the state after the last token of this stretch (of each piece). Every
 * rank calls the same layers in the same order, and runs backward through the same results: one
 * without a loss of its own from zeros. Parts of one process are as none.
 */
typedef struct pal_run_opts {
    pal_tensor offsets; /* packed sequences, as in pal_rule_opts: nothing crosses a boundary */
    pal_rule_mode mode; /* of the rules; attention is composed if they are */
    pal_hook_fn *hook;
    void *user;    /* of the hook */
    int64_t layer; /* what the hook is told of a mixer by itself; a model counts by itself */
    const pal_comm *parts; /* processes over which each sequence lies; NULL: it is whole */
    bool continued;        /* packed parts: the first piece began on an earlier rank */
} pal_run_opts;

/* state: in, what came before; out, what comes after. NULL: a whole sequence, from the start. With
 * offsets the rules' states are of the N sequences; attention takes no state then, nor with parts.
 */
PAL_API pal_tensor pal_mixer_forward(const pal_mixer *mixer, pal_tensor x, pal_mixer_state *state,
                                     pal_run_opts run);
PAL_API const char *pal_mixer_name(const pal_mixer *mixer); /* "gdn2", ... */

/*
 * Options of the mixers; zero is the default. Each field's text key is its name unless noted.
 * Defaults of heads follow the width d: head_dim is min(128, d/4) and num_heads is d/head_dim (GDN:
 * min(256, d/4), and 3/4 of d over head_dim), which at d = 2048 are the papers' 16 heads of 128
 * (GDN: 6 of 256).
 */
typedef struct pal_gdn2_opts {
    int64_t num_heads;   /* H */
    int64_t head_dim;    /* K */
    int64_t num_v_heads; /* HV; 0: H */
    double expand_v;     /* V = expand_v K; 0: 1 */
    bool no_conv;        /* key use_short_conv=false: SiLU alone */
    int64_t conv_size;   /* W; 0: 4 */
    bool conv_bias;
    bool allow_neg_eigval; /* the erase gate b runs to 2 */
    pal_gate output_gate;  /* silu (default), sigmoid or none */
    bool scalar_erase;     /* key erase=scalar: b is its mean over K; default channel */
    bool scalar_write;     /* key write=scalar: w is its mean over V */
    double norm_eps;       /* 0: 1e-5 */
} pal_gdn2_opts;
PAL_API pal_mixer *pal_gdn2_new(pal_params *params, const char *prefix, int64_t width,
                                pal_dtype dtype, pal_gdn2_opts opts, pal_rng *rng);

typedef struct pal_kda_opts {
    int64_t num_heads, head_dim, num_v_heads;
    double expand_v; /* 0: 1 */
    bool no_conv;    /* key use_short_conv=false */
    int64_t conv_size;
    bool conv_bias;
    bool allow_neg_eigval; /* beta runs to 2 */
    double lower_bound;    /* < 0: the bounded log-decay (pal_log_decay); 0: the softplus form */
    pal_gate output_gate;  /* sigmoid (default), silu or none */
    double norm_eps;
} pal_kda_opts;
PAL_API pal_mixer *pal_kda_new(pal_params *params, const char *prefix, int64_t width,
                               pal_dtype dtype, pal_kda_opts opts, pal_rng *rng);

typedef struct pal_gdn_opts {
    int64_t num_heads, head_dim, num_v_heads;
    double expand_v; /* 0: 2 */
    bool no_gate;    /* key use_gate=false: a plain RMS norm on the output */
    bool no_conv;    /* key use_short_conv=false */
    int64_t conv_size;
    bool conv_bias;
    bool allow_neg_eigval; /* beta runs to 2 */
    double norm_eps;
} pal_gdn_opts;
PAL_API pal_mixer *pal_gdn_new(pal_params *params, const char *prefix, int64_t width,
                               pal_dtype dtype, pal_gdn_opts opts, pal_rng *rng);

typedef struct pal_mamba2_opts {
    int64_t head_dim;    /* P; 0: 64, or the inner width where that is smaller */
    int64_t state_size;  /* N; 0: 128 */
    double expand;       /* inner width / width; 0: 2 */
    int64_t n_groups;    /* G; 0: 1 */
    int64_t conv_kernel; /* 0: 4 */
    double dt_min;       /* dt after its softplus is kept within dt_min .. dt_max */
    double dt_max;       /* 0: no limit */
    bool no_conv_bias;   /* key use_conv_bias=false */
    bool use_bias;       /* biases in in_proj and out_proj */
    bool no_norm;        /* key rmsnorm=false: y * silu(z), no weight */
    bool norm_before_gate;
    double norm_eps;
} pal_mamba2_opts;
PAL_API pal_mixer *pal_mamba2_new(pal_params *params, const char *prefix, int64_t width,
                                  pal_dtype dtype, pal_mamba2_opts opts, pal_rng *rng);

/*
 * Softmax attention with rotary positions: o_proj(attention(rotary(q_proj x), rotary(k_proj x),
 * v_proj x)). Text "attn"; "swa" is the same layer with a window of 2048 unless window_size says
 * otherwise. Parameters: q_proj, k_proj, v_proj, o_proj (.weight, .bias), q_norm.weight and
 * k_norm.weight [D].
 */
typedef struct pal_attn_opts {
    int64_t num_heads;    /* H; 0: width / head_dim */
    int64_t head_dim;     /* D, even; 0: width / num_heads, or if that is 0 too min(128, width/4),
                             rounded down to an even number */
    int64_t num_kv_heads; /* HKV, of which H is a multiple; 0: H */
    int64_t window_size;  /* tokens that a query sees, itself included; 0: all before it */
    double rope_theta;    /* base of the rotary angles; 0: 10000 */
    bool qkv_bias;        /* biases in q_proj, k_proj, v_proj */
    bool qk_norm;         /* RMS norm (eps 1e-5) of q and k by head, before rotary */
} pal_attn_opts;
PAL_API pal_mixer *pal_attn_new(pal_params *params, const char *prefix, int64_t width,
                                pal_dtype dtype, pal_attn_opts opts, pal_rng *rng);

/*
 * Mixers by text: `name[:key=value...]`, as in "gdn2:num_heads=4:output_gate=sigmoid"; flags are
 * true or false. A list is such texts separated by commas; layer i of a model has entry i modulo
 * their number. The names are those of layers.def.
 */
PAL_API pal_mixer *pal_mixer_new(pal_params *params, const char *prefix, int64_t width,
                                 pal_dtype dtype, const char *text, pal_rng *rng);
/* Checks names and keys of a list without building anything; *error (may be NULL) says what is
 * unknown and what there is. */
PAL_API PAL_CHECKED pal_status pal_mixers_check(const char *list, pal_error *error);
/* Names of all mixers: i from 0; NULL at the end. */
PAL_API const char *pal_mixers_name(int i);

/* ---- A block and a language model ---- */

typedef struct pal_lm pal_lm;

typedef struct pal_lm_opts {
    int64_t vocab;      /* tokens are 0 .. vocab-1; 0: 256 (bytes) */
    int64_t width;      /* d; 0: 128 */
    int64_t layers;     /* 0: one for each entry of mixers */
    const char *mixers; /* a list; NULL: "gdn2"; copied */
    int64_t mlp_width;  /* intermediate size; 0: 8/3 d rounded up to a multiple of 32 */
    bool tie;           /* the head is the embedding table; no lm_head.weight */
    double norm_eps;    /* 0: 1e-5 */
    pal_dtype dtype;    /* 0: f32 */
    bool recompute;     /* forget each block's insides and recompute them in backward */
} pal_lm_opts;

/*
 * A language model on params: embedding, `layers` blocks of
 *
 *     x += mixer(rms_norm(x));  x += mlp(rms_norm(x))
 *
 * norm and head. Parameters: model.embeddings.weight; model.layers.I.attn_norm.weight, .attn.*,
 * .mlp_norm.weight, .mlp.*; model.norm.weight; lm_head.weight. Owned by params. NULL after telling
 * the handler if an option is wrong.
 */
PAL_API pal_lm *pal_lm_new(pal_params *params, pal_lm_opts opts, pal_rng *rng);
/* The options with every default filled in. */
PAL_API pal_lm_opts pal_lm_options(const pal_lm *lm);
PAL_API const pal_mixer *pal_lm_mixer(const pal_lm *lm, int64_t layer);
/*
 * Parameters by part: of one layer (zeros if there is none), or of the whole model (layer -1),
 * whose norms include the last one. A mixer's own norms belong to the mixer. A tied head is counted
 * once, as embeddings. Frozen parameters count. The second prints a table, a line a layer.
 */
typedef struct pal_lm_counts {
    int64_t embeddings, mixer, mlp, norms, head, total;
} pal_lm_counts;
PAL_API pal_lm_counts pal_lm_count(const pal_lm *lm, int64_t layer);
PAL_API void pal_lm_print_counts(const pal_lm *lm, FILE *file);
/* Logits [B,T,vocab] of the next token after each of tokens [B,T] (i64, on a tape). */
PAL_API pal_tensor pal_lm_logits(const pal_lm *lm, pal_tensor tokens, pal_run_opts run);
/* Mean cross-entropy (nats) of targets [B,T] (i64) after tokens [B,T], over the targets that are
 * not PAL_IGNORE; with run.parts, over those of this stretch. The logits never exist at once
 * (pal_linear_cross_entropy). */
PAL_API pal_tensor pal_lm_loss(const pal_lm *lm, pal_tensor tokens, pal_tensor targets,
                               pal_run_opts run);

/*
 * How likely a text is: the log-probability (nats) of each of tokens [B,T] after those before it,
 * but of the first: [B,T-1], entry t of token t+1. Its sum is that of the text. Packed, what is
 * between two sequences is 0. Differentiable in the parameters. Logits exist for about 8 MB at a
 * time (64 rows at least), and again in backward. PAL_EVALUE for run.parts: the token after the
 * last of a stretch is on another process.
 */
PAL_API pal_tensor pal_lm_score(const pal_lm *lm, pal_tensor tokens, pal_run_opts run);

/*
 * Padded batches are run as packed ones. pal_pack joins the first lengths[b] entries of each row b
 * of x [B,T,..] (the last ones if left: padding is before them) to [1, sum of lengths, ..], and
 * *offsets (may be NULL), i64 [B+1], is where each begins. pal_unpack is its inverse, [B,T,..] with
 * zeros for padding. Both are differentiable in x.
 */
PAL_API pal_tensor pal_pack(pal_tensor x, const int64_t *lengths, bool left, pal_tensor *offsets);
PAL_API pal_tensor pal_unpack(pal_tensor x, pal_tensor offsets, int64_t T, bool left);

/*
 * Decoding: the state of every layer after the tokens seen so far. Its memory is its own and does
 * not grow (but for attention without a window, whose cache is all keys and values so far), so a
 * loop of
 *
 *     pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(1, 1), &token);
 *     pal_tensor logits = pal_lm_step(lm, state, in, (pal_run_opts){0});
 *     token = pal_sample(logits, (pal_sample_opts){.temperature = 0.8}, &rng);
 *     pal_tape_reset(tape);
 *
 * costs the same for every token. Run it with gradients off (pal_set_grad).
 */
typedef struct pal_lm_state pal_lm_state;
PAL_API pal_lm_state *pal_lm_state_new(const pal_lm *lm); /* at the start of a sequence */
PAL_API void pal_lm_state_free(pal_lm_state *state);
/* Feeds tokens [B,T], T >= 1 (a prompt, or one token), and returns the logits [B,vocab] after the
 * last. B must stay the same. A prompt of N sequences of different lengths is packed, [1,T] with
 * run.offsets (attention cannot do that); B is N from then on, and so are the logits [N,vocab];
 * none may be empty. Sequences are whole (no run.parts). After an error the state is what it was.
 */
PAL_API pal_tensor pal_lm_step(const pal_lm *lm, pal_lm_state *state, pal_tensor tokens,
                               pal_run_opts run);

/*
 * A state as the group `group` of a file that is being built or read; save and load make and read a
 * file of it alone, which is replaced whole. Everything is kept bit for bit, and a state that has
 * been read goes on as the one that was written. A state of no tokens is one too.
 *
 * Files are untrusted: number and names of the mixers, dtypes and shapes for one batch are
 * compared with the model, all that does not fit is named in one message, and the state stays
 * as it was unless everything fits. The parameters are not in it and have to be those it was made
 * with. Tensors of steps before reading are stale: reset their tape. Errors: PAL_EIO, PAL_EFORMAT,
 * PAL_EVALUE for a state of a model with another number of layers, PAL_ENOMEM (which the handler
 * may hear too).
 */
PAL_API PAL_CHECKED pal_status pal_lm_state_put(const pal_lm_state *state, pal_h5 *file,
                                                const char *group, pal_error *error);
PAL_API PAL_CHECKED pal_status pal_lm_state_get(const pal_lm *lm, pal_lm_state *state, pal_h5 *file,
                                                const char *group, pal_error *error);
PAL_API PAL_CHECKED pal_status pal_lm_state_save(const pal_lm_state *state, const char *path,
                                                 pal_error *error);
PAL_API PAL_CHECKED pal_status pal_lm_state_load(const pal_lm *lm, pal_lm_state *state,
                                                 const char *path, pal_error *error);

typedef struct pal_sample_opts {
    double temperature; /* 0: greedy, the largest logit, and nothing is drawn */
    int64_t top_k;      /* of the k largest logits; 0: of all */
    double top_p;       /* of the smallest set whose probability reaches p; 0 and 1: of all */
} pal_sample_opts;
/*
 * Draws a token from a row of n logits: from softmax(logits / temperature) among the top_k most
 * likely, and of these among the fewest that together have a share of top_p of their probability
 * (the most likely always). Of equals those of smaller number count as more likely. NaN is never
 * drawn. pal_sample_rows draws one for each of B rows, logits [B,n], in their order; a row takes
 * one number of rng (greedy none). Cost: n, and log n for each token that is looked at. Errors:
 * -1 for every token after PAL_EVALUE for an option or a row without a number above -inf,
 * PAL_ESHAPE, PAL_ENOMEM. Source of top_p: Holtzman et al. 2019 (arXiv 1904.09751).
 */
PAL_API int64_t pal_sample(pal_tensor logits, pal_sample_opts opts, pal_rng *rng);
PAL_API void pal_sample_rows(pal_tensor logits, pal_sample_opts opts, pal_rng *rng, int64_t B,
                             int64_t *tokens);

#ifdef __cplusplus
}
#endif
#endif
