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
    PAL_RULE_AUTO = 0,  /* chunk or recurrent; it depends only on the length of the sequences */
    PAL_RULE_COMPOSED,  /* token by token from generic operations: slow, and the reference */
    PAL_RULE_RECURRENT, /* one fused pass, token by token, for decoding; its gradient is that of
                           chunk */
    PAL_RULE_CHUNK      /* many tokens at once, as matrix products, for training */
} pal_rule_mode;

/* Which channels Mamba-3 turns together: pair j is channels 2j and 2j + 1, or j and j + K/2. */
typedef enum pal_pair {
    PAL_PAIR_ADJACENT = 0, /* channels 2j and 2j + 1 */
    PAL_PAIR_HALF,         /* channels j and j + K/2 */
} pal_pair;

/* The most parts that the state of a rule has. All rules but Mamba-3 have one. */
enum { PAL_RULE_STATES = 4 };

/* What every rule takes besides its inputs. All zero is the default. */
typedef struct pal_rule_opts {
    pal_rule_mode mode; /* how it is computed */
    double scale;       /* factor of the output; 0: K^-1/2 (Mamba-2: 1) */
    pal_tensor state;   /* initial state [B,HV,K,V], or [N,HV,K,V] when packed; PAL_NONE: zeros */
    pal_tensor
        offsets;   /* packed sequences: i64 [N+1], from 0 to T, never decreasing; B must be 1 */
    int64_t chunk; /* tokens of a chunk: a multiple of 16 up to 256; 0: 16 */
    int64_t keep_every; /* backward keeps the state before every keep_every-th chunk: a larger
                           number takes less memory and more time; 0: 2 */
    bool normalize;     /* delta rules: replace q and k by x / sqrt(sum x^2 + 1e-6) */
    /* If both of these are given, the argument g is the pre-activation f of pal_log_decay (not for
     * DeltaNet and Mamba-2). A_log [heads of g] */
    pal_tensor A_log;
    pal_tensor dt_bias; /* [heads of g], or [heads * K] */
    double lower_bound; /* as in pal_log_decay */
    /* For decoding: the final state overwrites `state`, which must be a contiguous parameter or
     * kept tensor; .state of the result is that tensor. Gradients must be off. */
    bool in_place;
    /* Processes that share each sequence, as in pal_run_opts; not with in_place. Heads wider than
     * 512, and other numbers of rows a token than 1, 2, 4 and 8, are refused then (PAL_ESHAPE). */
    const pal_comm *parts;
    bool continued; /* as in pal_run_opts */
    /* Only Mamba-3: the other parts of the initial state, in the order of pal_rule_state. */
    pal_tensor more[PAL_RULE_STATES - 1];
    pal_pair pair; /* only Mamba-3 */
} pal_rule_opts;

/* What a rule returns. */
typedef struct pal_rule_out {
    pal_tensor o;     /* [B,T,HV,V] */
    pal_tensor state; /* after the last token: [B,HV,K,V], or [N,HV,K,V] */
    pal_tensor
        more[PAL_RULE_STATES - 1]; /* the other parts of the state; PAL_NONE: there is none */
} pal_rule_out;

/* ---- Rules by name ---- */

/* A rule as an object: its name, its operands, and one function that calls any rule. */
typedef struct pal_rule pal_rule;

/* Rule i, from 0; NULL after the last. */
PAL_API const pal_rule *pal_rule_at(int i);
/* The rule of this name, "gdn2" for pal_gdn2; NULL if there is none. */
PAL_API const pal_rule *pal_rule_find(const char *name);
/* Its name. */
PAL_API const char *pal_rule_name(const pal_rule *rule);
/* The name of operand i of its function, from 0, without the options; NULL after the last. */
PAL_API const char *pal_rule_operand(const pal_rule *rule, int i);
/* The axes of operand i, one letter each: B, T, H (key heads), J (value heads), K, V, R (ranks), A
 * (angles). E stands for H or J; the tensor may have either. Of Mamba-2 and Mamba-3 the groups are
 * H and the state size is K. NULL after the last. */
PAL_API const char *pal_rule_axes(const pal_rule *rule, int i);
/* The name of part i of its state, from 0: "state", then those of opts.more; NULL after the last.
 */
PAL_API const char *pal_rule_state(const pal_rule *rule, int i);
/* The axes of part i, with S for the sequences. NULL after the last. */
PAL_API const char *pal_rule_state_axes(const pal_rule *rule, int i);
/* Calls the rule with its operands in order. Optional ones may be PAL_NONE. Costs and errors are
 * those of its function. */
PAL_API pal_rule_out pal_rule_call(const pal_rule *rule, const pal_tensor *operands,
                                   pal_rule_opts opts);

/* ---- The rules ---- */

/*
 * Gated DeltaNet-2: decay, erase and write have separate gates for each channel. Per value head
 *
 *     S <- (I - k (b*k)^T) diag(exp g) S + k (w*v)^T        o = scale S^T q
 *
 * q, k [B,T,H,K], already normalised; v, w [B,T,HV,V]; g, b [B,T,H,K] or [B,T,HV,K]. g is the
 * log-decay, <= 0, or PAL_NONE: no decay. b is the erase gate, in 0..1, or in 0..2 for negative
 * eigenvalues. w is the write gate, in 0..1. HV/H value heads share what has H heads: value head j
 * reads key head j / (HV/H). f32 or f64, all of one dtype. Packed: sequence n has the tokens
 * offsets[n] .. offsets[n+1]-1; an empty sequence leaves its state as it was. T = 0 is allowed.
 *
 * Differentiable in every input and in the initial state. Cost: about 7 B T HV K V flops, and twice
 * that backward. Fused modes take K and V up to 512; auto composes wider heads. For backward they
 * keep the state before every keep_every-th chunk, which by default is K V / 32 numbers per token
 * and value head. The composed mode keeps three states per token. Errors: PAL_ESHAPE, PAL_EDTYPE,
 * PAL_EVALUE for offsets that do not fit and for options that do not, PAL_EGRAD for in_place with
 * gradients on, PAL_ENOMEM. Source: Hatamizadeh, Choi, Kautz 2026 (arXiv 2605.22791), section 3.
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
 * Gated DeltaNet: one decay and one gate for each head.
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
 * Mamba-3: the write of a token is divided between the token and the next one (trapezoid), queries
 * and keys are turned by angles that add up, and each token has R rows. Per head, with i = 1 .. R,
 *
 *     phi_t = phi_{t-1} + dt_t om_t                                              J angles
 *     k_i = Rot(phi) (Bm_i + B_bias_i)    q_i = scale Rot(phi) (Cm_i + C_bias_i)    v_i = mimo_x_i
 * * x S <- exp(g_t) (S + (1 - lam_t) dt_t sum_i k_{i,t-1} v_{i,t-1}^T) + lam_t dt_t sum_i k_i v_i^T
 *     o_i = S^T q_i + D v_i
 *
 * x [B,T,nh,P]; dt [B,T,nh], after its softplus; g [B,T,nh], the log-decay, <= 0; lam [B,T,nh], in
 * 0..1; om [B,T,J], radians per unit of dt, 2 J <= N; Bm, Cm [B,T,R,G,N], nh a multiple of G, head
 * h reads group h / (nh/G); B_bias, C_bias [nh,R,N], D [nh] and mimo_x [nh,R,P] or PAL_NONE (biases
 * and D: 0, mimo_x: 1). Rot turns J pairs of channels (opts.pair); the other N - 2J stay. o has the
 * shape [B,T,nh,R,P]. scale is 1 unless given.
 *
 * The state has four parts: "state" [B,nh,N,P]; "th" [B,nh,J], the angles in [0, 2 pi); "k"
 * [B,nh,R,N], the last token's keys; and "x" [B,nh,P], its x. All of them are differentiable. Those
 * that are not given are zeros. An empty sequence leaves all four as they were. Angles add up in
 * double. Otherwise as pal_gdn2. Fused modes take R = 1, 2, 4 and 8; auto composes other numbers. A
 * chunk has at most 256 / R tokens. Cost: about 4 R B T nh N P flops and half as much for the
 * products of tokens with each other, and twice that backward.
 * Source: Lahoti, Li, Chen et al., ICLR 2026 (arXiv 2603.15569).
 */
PAL_API pal_rule_out pal_mamba3(pal_tensor x, pal_tensor dt, pal_tensor g, pal_tensor lam,
                                pal_tensor om, pal_tensor Bm, pal_tensor Cm, pal_tensor B_bias,
                                pal_tensor C_bias, pal_tensor D, pal_tensor mimo_x,
                                pal_rule_opts opts);

/*
 * Log-decay of the delta rules from a projection f:
 *
 *     g = -exp(A_log) softplus(f + dt_bias)                        lower_bound = 0
 *     g = lower_bound sigmoid(exp(A_log) (f + dt_bias))            lower_bound < 0 (usually -5)
 *
 * f [B,T,H] with A_log, dt_bias [H], or f [B,T,H,K] with A_log [H] and dt_bias [H*K]. An
 * A_log above 80 counts as 80, so that value and gradient stay finite. Differentiable in all three.
 */
PAL_API pal_tensor pal_log_decay(pal_tensor f, pal_tensor A_log, pal_tensor dt_bias,
                                 double lower_bound);

/* ---- Attention ---- */

/* Options of pal_attention; zero is full causal attention over whole sequences. */
typedef struct pal_attention_opts {
    double scale;   /* of the scores; 0: D^-1/2 */
    int64_t window; /* query i sees key j when i - window < j <= i; 0: every j <= i */
    pal_tensor
        offsets; /* packed sequences, as in pal_rule_opts; the first S - T keys come before them */
    bool composed;         /* made of generic operations: slow, takes T x S memory; the reference */
    const pal_comm *parts; /* processes that share each sequence, as in pal_run_opts */
    bool continued;        /* as in pal_run_opts */
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
 * Differentiable in q, k and v. Cost: 4 D flops for each head and pair of a query and a key that it
 * sees; backward 10 D (14 D if B HKV is less than the number of threads). It keeps one number per
 * query and head for backward, and never makes a T x S matrix. A query does not depend on tokens
 * that it does not see, even if they are not finite (composed multiplies them by 0). Errors:
 * PAL_ESHAPE, PAL_EDTYPE, PAL_EVALUE for offsets, window and scale, PAL_ENOMEM. Source: Vaswani et
 * al. 2017 (arXiv 1706.03762); the form without T x S is FlashAttention's (Dao 2023, arXiv
 * 2307.08691).
 */
PAL_API pal_tensor pal_attention(pal_tensor q, pal_tensor k, pal_tensor v, pal_attention_opts opts);

/* Options of pal_rotary. */
typedef struct pal_rotary_opts {
    double base;           /* 0: 10000 */
    int64_t channels;      /* R: the first channels of a head, which are turned; even; 0: all D */
    bool interleaved;      /* pairs are channels 2c and 2c + 1, not c and c + R/2 */
    int64_t start;         /* position of the first token */
    pal_tensor offsets;    /* packed sequences, as in pal_rule_opts: each begins at `start` */
    const pal_comm *parts; /* processes that share each sequence, as in pal_run_opts */
    bool continued;        /* as in pal_run_opts */
} pal_rotary_opts;

/*
 * Rotary positions. Channels c and c + R/2 of a head form a pair, or, interleaved, 2c and 2c + 1.
 * At position p, for c < R/2,
 *
 *     (y_c, y_{c+R/2}) = (x_c, x_{c+R/2}) turned by the angle p base^(-2c/R)
 *
 * and channels from R on stay as they are. x [B,T,H,D], R even and at most D; any strides.
 * Differentiable in x. 6 flops per pair. Angles are computed in double, so position 10^6 is as
 * accurate as position 1. Errors: PAL_ESHAPE, PAL_EDTYPE, PAL_EVALUE for offsets, channels, a base
 * or a start below 0. Source: Su et al. 2021 (arXiv 2104.09864).
 */
PAL_API pal_tensor pal_rotary(pal_tensor x, pal_rotary_opts opts);

#ifdef __cplusplus
}
#endif
#endif
