/*
 * rules.h - the recurrences of linear attention, and softmax attention: operations on tensors
 * without parameters. Letters as in layers.h.
 */
#ifndef PAL_LAYERS_RULES_H
#define PAL_LAYERS_RULES_H

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
    pal_rule_mode mode; /* how it is computed */
    double scale;       /* of the output; 0: K^-1/2 (Mamba-2: 1) */
    pal_tensor state;   /* initial state [B,HV,K,V], or [N,HV,K,V] when packed; PAL_NONE: zeros */
    pal_tensor offsets; /* packed sequences: i64 [N+1], from 0 to T without a decrease; B is 1 */
    int64_t chunk;      /* tokens of a chunk: a multiple of 16 up to 256; 0: 16 */
    int64_t keep_every; /* chunks from one kept state to the next: less memory, more to do again; 0:
                           2 */
    bool normalize;     /* q and k are x / sqrt(sum x^2 + 1e-6) of what is given (delta rules) */
    /* With both of these the argument g is the pre-activation f of pal_log_decay (not for DeltaNet
     * and Mamba-2): A_log [heads of g], */
    pal_tensor A_log;
    pal_tensor dt_bias; /* and dt_bias [heads of g, or heads * K] */
    double lower_bound; /* as in pal_log_decay */
    /* Decoding: the final state is written over `state`, which must be a contiguous parameter or
     * kept tensor, and .state of the result is that tensor. Gradients must be off. */
    bool in_place;
    const pal_comm *parts; /* sequences over processes, as in pal_run_opts; not in_place */
    bool continued;        /* as there */
} pal_rule_opts;

/* What a rule returns. */
typedef struct pal_rule_out {
    pal_tensor o;     /* [B,T,HV,V] */
    pal_tensor state; /* after the last token: [B,HV,K,V], or [N,HV,K,V] */
} pal_rule_out;

/* ---- Rules by name ---- */

/* A rule as data: its operands by name, and one way to call all rules. */
typedef struct pal_rule pal_rule;

/* Rule i from 0; NULL at the end. */
PAL_API const pal_rule *pal_rule_at(int i);
/* The rule of this name, "gdn2" for pal_gdn2; NULL if there is none. */
PAL_API const pal_rule *pal_rule_find(const char *name);
/* Its name. */
PAL_API const char *pal_rule_name(const pal_rule *rule);
/* The name of operand i of its function, from 0 and without the options; NULL at the end. */
PAL_API const char *pal_rule_operand(const pal_rule *rule, int i);
/* The axes of operand i, a letter each: B, T, H key heads, J value heads, K, V; E is H or J, as the
 * tensor has it. Mamba-2's groups are H, its state size is K. NULL at the end. */
PAL_API const char *pal_rule_axes(const pal_rule *rule, int i);
/* Calls the rule with its operands in order; what is optional may be PAL_NONE. Costs and errors are
 * those of its function. */
PAL_API pal_rule_out pal_rule_call(const pal_rule *rule, const pal_tensor *operands,
                                   pal_rule_opts opts);

/* ---- The rules ---- */

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

/* Options of pal_attention; zero is full causal attention over whole sequences. */
typedef struct pal_attention_opts {
    double scale;       /* of the scores; 0: D^-1/2 */
    int64_t window;     /* query i sees key j when i - window < j <= i; 0: every j <= i */
    pal_tensor offsets; /* packed sequences, as in pal_rule_opts; S - T keys are before the first */
    bool composed;      /* from generic operations: slow, T x S memory, and the reference */
    const pal_comm *parts; /* sequences over processes, as in pal_run_opts */
    bool continued;        /* as there */
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

/* Options of pal_rotary. */
typedef struct pal_rotary_opts {
    double base;           /* 0: 10000 */
    int64_t start;         /* position of the first token */
    pal_tensor offsets;    /* packed sequences, as in pal_rule_opts: each begins at start again */
    const pal_comm *parts; /* sequences over processes, as in pal_run_opts */
    bool continued;        /* as there */
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

#ifdef __cplusplus
}
#endif
#endif
