/*
 * mixers.h - the layers of the papers: how they are made, how they run, and the state that they
 * carry from call to call. Letters as in layers.h.
 */
#ifndef PAL_LAYERS_MIXERS_H
#define PAL_LAYERS_MIXERS_H

#include "layers/modules.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Mixers ---- */

/* A layer that mixes along time: [B,T,d] -> [B,T,d]. The parameters it was made on own it. */
typedef struct pal_mixer pal_mixer;

/*
 * The state of a mixer between two calls on the same sequences: named tensors (its parts), and the
 * number of tokens seen. A state of zeros is the start of a sequence. The first call adds the
 * parts, in the order in which the mixer makes them:
 *
 *     state             the state of the rule, [B,HV,K,V]
 *     conv.0 .. conv.2  the tails of the short convolutions of q, k, v, [B,W-1,channels] (Mamba-2:
 *                       conv.0 only, of x, B, C; shortconv: conv.0)
 *     th k x            Mamba-3: the angles [B,HV,J], and the keys [B,HV,R,K] and x [B,HV,V] of the
 *                       last token (pal_mamba3)
 *     k v               attention: the keys (after rotary) and values [B,n,HKV,D] that later
 *                       queries may see: the last min(seen, window - 1) of them
 */
enum { PAL_MIXER_PARTS = 8 }; /* the most parts that a state can have */
/* One part of a state. */
typedef struct pal_mixer_part {
    const char *name;  /* NULL: neither this part nor a later one is there */
    pal_tensor tensor; /* its value */
} pal_mixer_part;
/* A mixer's state. */
typedef struct pal_mixer_state {
    pal_mixer_part part[PAL_MIXER_PARTS]; /* in the order above; unused ones are zero */
    int64_t seen;                         /* number of tokens; only attention counts them */
} pal_mixer_state;
/* The part of this name; PAL_NONE if there is none. */
PAL_API pal_tensor pal_mixer_state_get(const pal_mixer_state *state, const char *name);
/* Sets the part of this name. The mixer must have such a part, and the string must live as long as
 * the state. If there is no room for another part, the handler is told (PAL_EVALUE). */
PAL_API void pal_mixer_state_set(pal_mixer_state *state, const char *name, pal_tensor tensor);

/*
 * A function that is called while a mixer runs, with each tensor that the mixer has just computed.
 * It may read *t, or replace it by a tensor of the same shape and dtype (otherwise PAL_ESHAPE names
 * the layer and the tensor). The tensors come in this order, as far as the mixer has them:
 *
 *     x                 its input, [B,T,d]. If the function returns false, the mixer is skipped:
 *                       *t counts as its output, or nothing is added to the residual stream if
 *                       *t is PAL_NONE; the state stays as it was
 *     b w, beta, dt     the gates of erase [B,T,H,K] and write [B,T,HV,V]; or one gate for both,
 *                       [B,T,HV]; or the step of Mamba-2 and Mamba-3, [B,T,HV]
 *     lam om            Mamba-3: the share of a write that is done at once [B,T,HV], and the rates
 *                       of the angles [B,T,J]
 *     q k v             after convolution, SiLU and unit length (attention: after rotary;
 *                       Mamba-2 and Mamba-3: C, B, x; Mamba-3's C and B are those before the
 *                       bias and the angles, [B,T,R,H,K]); q and k have H heads, v has HV
 *                       (attention: k and v HKV, of the new tokens)
 *     g                 the log-decay, [B,T,H,K] (KDA: [B,T,HV,K], GDN, Mamba-2, Mamba-3: [B,T,HV];
 *                       that of Mamba-2 is A dt)
 *     o state           what the rule returns (attention: only o; Mamba-3: o [B,T,HV,R,V])
 *     gate              the output gate before its activation, [B,T,HV,V] (Mamba-2, Mamba-3:
 *                       [B,T,HV V]; attention: [B,T,H,D])
 *     heads             what the last projection reads, after norm and gate, [B,T,HV,V]: of a head
 *                       that is 0 there nothing enters the output (not shortconv)
 *     y                 the mixer's output, [B,T,d]
 *
 * A block shows its own tensors, [B,T,d], around those of its mixer:
 *
 *     stream            the residual stream as the block gets it
 *     stream_mid        after the mixer was added
 *     mlp_x mlp_y       what the MLP reads, and its output. If the function returns false for
 *                       mlp_x, the MLP is skipped as a mixer is
 *     stream_out        the residual stream as the block leaves it
 *
 * Later versions may add names, so a hook ignores names that it does not know. What it returns
 * counts only for x and mlp_x. With a hook, unit length and log-decay are separate operations, so
 * that it can see their results. Replacing g of Mamba-2 has no effect, because its rule takes A and
 * dt. Under recomputation the hook is called twice for each tensor and must do the same both times.
 * There, a replacement may be computed only from *t, parameters and constants.
 */
typedef bool pal_hook_fn(void *user, int64_t layer, const char *name, pal_tensor *t);

/*
 * How layers run. All zero means whole sequences from their start.
 *
 * With `parts`, each sequence is divided among processes: x [B,T,d] is the part that this rank has,
 * and ranks have consecutive parts. T may differ between ranks and may be 0. In packed form,
 * offsets run from 0 to the T of this rank and describe what it has of each sequence. `continued`
 * says that the first of these sequences began on an earlier rank. A sequence may extend over any
 * number of ranks. Results and gradients are those of whole sequences, up to rounding. The gradient
 * of a token is complete on the rank that has the token; the caller sums the gradients of
 * parameters over ranks. A given state is read on the rank where its sequence begins. The returned
 * state is the one after the last token that this rank has of each sequence. Every rank must call
 * the same layers in the same order, and run backward through the same results. A rank without a
 * loss of its own also runs backward, from gradients that are zero. If `parts` has one process, it
 * has no effect.
 */
typedef struct pal_run_opts {
    pal_tensor
        offsets; /* packed sequences, as in pal_rule_opts: nothing passes from one to another */
    pal_rule_mode mode;    /* form of the rules; PAL_RULE_COMPOSED also composes attention */
    pal_hook_fn *hook;     /* NULL: none */
    void *user;            /* handed to the hook */
    int64_t layer;         /* layer number for the hook; a model sets it */
    const pal_comm *parts; /* processes that share each sequence; NULL: sequences are whole */
    bool continued;        /* packed, with parts: the first sequence began on an earlier rank */
    bool training;         /* blocks and heads drop what their dropout says (pal_block_opts) */
} pal_run_opts;

/*
 * Runs the mixer on x [B,T,d]. *state is read as the state before x and then replaced by the state
 * after it; NULL: sequences start here and no state is returned. With offsets the states belong to
 * the N sequences. Attention refuses a state together with offsets or parts.
 */
PAL_API pal_tensor pal_mixer_forward(const pal_mixer *mixer, pal_tensor x, pal_mixer_state *state,
                                     pal_run_opts run);
PAL_API const char *pal_mixer_name(const pal_mixer *mixer); /* such as "gdn2" */

/*
 * Options of the mixers. Zero means the default. The key of a field in text is its name, unless the
 * comment gives another. The defaults of heads depend on the width d: head_dim is min(128, d/4) and
 * num_heads is d / head_dim. For GDN they are min(256, d/4) and 3/4 d / head_dim. At d = 2048 this
 * gives the papers' 16 heads of 128 (GDN: 6 of 256).
 */
typedef struct pal_gdn2_opts {
    int64_t num_heads;     /* H */
    int64_t head_dim;      /* K */
    int64_t num_v_heads;   /* HV; 0: H */
    double expand_v;       /* V = expand_v K; 0: 1 */
    int64_t head_v_dim;    /* V; 0: expand_v K */
    bool no_conv;          /* key use_short_conv=false: only SiLU, no convolution */
    int64_t conv_size;     /* W; 0: 4 */
    bool conv_bias;        /* biases in the convolutions */
    bool allow_neg_eigval; /* the erase gate b is in 0..2, not 0..1 */
    pal_gate output_gate;  /* silu (default), sigmoid or none */
    bool scalar_erase; /* key erase=scalar (default channel): b is replaced by its mean over K */
    bool scalar_write; /* key write=scalar (default channel): w is replaced by its mean over V */
    double norm_eps;   /* 0: 1e-5 */
} pal_gdn2_opts;
/* Makes a Gated DeltaNet-2 layer of model width `width`. Its parameters are named
 * prefix.q_proj.weight and so on. If an option is wrong, this and the other constructors tell the
 * handler and return NULL. */
PAL_API pal_mixer *pal_gdn2_new(pal_params *params, const char *prefix, int64_t width,
                                pal_dtype dtype, pal_gdn2_opts opts, pal_rng *rng);

/* Kimi Delta Attention. */
typedef struct pal_kda_opts {
    int64_t num_heads;     /* H */
    int64_t head_dim;      /* K */
    int64_t num_v_heads;   /* HV; 0: H */
    double expand_v;       /* 0: 1 */
    int64_t head_v_dim;    /* V; 0: expand_v K */
    bool no_conv;          /* key use_short_conv=false */
    int64_t conv_size;     /* 0: 4 */
    bool conv_bias;        /* biases in the convolutions */
    bool allow_neg_eigval; /* beta runs to 2 */
    double lower_bound;    /* < 0: the bounded log-decay (pal_log_decay); 0: the softplus form */
    pal_gate output_gate;  /* sigmoid (default), silu or none */
    double norm_eps;       /* 0: 1e-5 */
} pal_kda_opts;
/* A Kimi Delta Attention layer. */
PAL_API pal_mixer *pal_kda_new(pal_params *params, const char *prefix, int64_t width,
                               pal_dtype dtype, pal_kda_opts opts, pal_rng *rng);

/* Gated DeltaNet. */
typedef struct pal_gdn_opts {
    int64_t num_heads;     /* H */
    int64_t head_dim;      /* K */
    int64_t num_v_heads;   /* HV; 0: H */
    double expand_v;       /* 0: 2 */
    int64_t head_v_dim;    /* V; 0: expand_v K */
    bool no_gate;          /* key use_gate=false: as output_gate=none */
    pal_gate output_gate;  /* of the output norm: silu (default), sigmoid or none */
    bool no_conv;          /* key use_short_conv=false */
    int64_t conv_size;     /* 0: 4 */
    bool conv_bias;        /* biases in the convolutions */
    bool allow_neg_eigval; /* beta runs to 2 */
    double norm_eps;       /* 0: 1e-5 */
} pal_gdn_opts;
/* A Gated DeltaNet layer. */
PAL_API pal_mixer *pal_gdn_new(pal_params *params, const char *prefix, int64_t width,
                               pal_dtype dtype, pal_gdn_opts opts, pal_rng *rng);

/* DeltaNet: like Gated DeltaNet, but without decay, with values as wide as keys, and with an output
 * gate only if use_gate asks for it. */
typedef struct pal_deltanet_opts {
    int64_t num_heads;     /* H */
    int64_t head_dim;      /* K */
    int64_t num_v_heads;   /* HV; 0: H */
    double expand_v;       /* V = expand_v K; 0: 1 */
    int64_t head_v_dim;    /* V; 0: expand_v K */
    bool use_gate;         /* the output norm has a SiLU gate, with its own projection */
    bool no_conv;          /* key use_short_conv=false */
    int64_t conv_size;     /* 0: 4 */
    bool conv_bias;        /* biases in the convolutions */
    bool allow_neg_eigval; /* beta runs to 2 */
    double norm_eps;       /* 0: 1e-5 */
} pal_deltanet_opts;
/*
 * Makes a DeltaNet layer. q, k and v are projections of x, followed by a short convolution and
 * SiLU; q and k then get unit length. beta = sigmoid(b_proj x). The output is o_proj applied to the
 * RMS norm of what the rule returns. Source: Yang, Wang, Zhang, Shen, Kim 2024 (arXiv 2406.06484).
 */
PAL_API pal_mixer *pal_deltanet_new(pal_params *params, const char *prefix, int64_t width,
                                    pal_dtype dtype, pal_deltanet_opts opts, pal_rng *rng);

/* Mamba-2. */
typedef struct pal_mamba2_opts {
    int64_t head_dim;      /* P; 0: 64, or the inner width where that is smaller */
    int64_t state_size;    /* N; 0: 128 */
    int64_t num_heads;     /* the inner width is num_heads P; 0: expand says it */
    double expand;         /* inner width / width; 0: 2 */
    int64_t n_groups;      /* G; 0: 1 */
    int64_t conv_kernel;   /* 0: 4 */
    double dt_min;         /* dt after its softplus is clamped to dt_min .. dt_max */
    double dt_max;         /* 0: no limit */
    bool no_conv_bias;     /* key use_conv_bias=false */
    bool use_bias;         /* biases in in_proj and out_proj */
    bool no_norm;          /* key rmsnorm=false: y * silu(z), no weight */
    bool norm_before_gate; /* rms_norm(y) * silu(z) instead of rms_norm(y * silu(z)) */
    double norm_eps;       /* 0: 1e-5 */
    double in_scale;       /* of the layer's input; 0: 1, as for the next six */
    double out_scale;      /* of the layer's output */
    double z_scale;        /* of z, x, B, C and dt as in_proj gives them */
    double x_scale;        /* of x */
    double B_scale;        /* of B */
    double C_scale;        /* of C */
    double dt_scale;       /* of dt, before dt_bias */
} pal_mamba2_opts;
/* A Mamba-2 layer. */
PAL_API pal_mixer *pal_mamba2_new(pal_params *params, const char *prefix, int64_t width,
                                  pal_dtype dtype, pal_mamba2_opts opts, pal_rng *rng);

/* The gated short convolution of LFM2. */
typedef struct pal_shortconv_opts {
    int64_t conv_size; /* W; 0: 3 */
    bool use_bias;     /* biases in in_proj, the convolution and out_proj */
} pal_shortconv_opts;
/*
 * Makes a gated short convolution, a mixer that remembers W - 1 tokens:
 *
 *     b c x = in_proj u                                          widths d d d
 *     y = out_proj (c * conv1d(b * x))
 *
 * Parameters: in_proj, conv1d, out_proj (.weight, .bias). Source: LFM2, arXiv 2511.23404.
 */
PAL_API pal_mixer *pal_shortconv_new(pal_params *params, const char *prefix, int64_t width,
                                     pal_dtype dtype, pal_shortconv_opts opts, pal_rng *rng);

/* How Mamba-3 makes A of its projection a: softplus(a); or 1 + a for a >= 0 and 1 / (1 - a) below,
 * which lets A vanish less easily. Checkpoints do not say which of the two they were trained with.
 */
typedef enum pal_A_act {
    PAL_A_SOFTPLUS = 0, /* softplus(a) */
    PAL_A_HEAVY_TAIL,   /* 1 + a for a >= 0, 1 / (1 - a) below */
} pal_A_act;

/* Mamba-3. */
typedef struct pal_mamba3_opts {
    int64_t head_dim;     /* P; 0: 64, or the inner width where that is smaller */
    int64_t state_size;   /* N; 0: 128 */
    double expand;        /* inner width / width; 0: 2 */
    int64_t n_groups;     /* G; 0: 1 */
    bool is_mimo;         /* each token has mimo_rank rows; the pairs are channels j and j + N/2 */
    int64_t mimo_rank;    /* R; 0: 4 */
    double rope_fraction; /* share of the channels that are turned, 0.5 or 1; 0: 0.5 */
    double A_floor;       /* the least A; 0: 1e-4 */
    pal_A_act A_act;      /* softplus (default) or heavy_tail */
    bool is_outproj_norm; /* RMS norm of each head's rows before the gate */
    bool use_bias;        /* biases in in_proj and out_proj */
    double norm_eps;      /* 0: 1e-5 */
} pal_mamba3_opts;
/*
 * Makes a Mamba-3 layer. With di = expand width, nh = di / P and R = 1 without is_mimo:
 *
 *     z x B C dt A lam angle = in_proj u                         widths di di RGN RGN nh nh nh J
 *     o = mamba3(x, softplus(dt + dt_bias), -max(f(A), A_floor) dt, sigmoid(lam), pi tanh(angle),
 *                rms(B), rms(C), B_bias, C_bias, D, mimo_x)
 *     y = out_proj(sum over rows of mimo_o * o * silu(mimo_z * z))
 *
 * B_bias, C_bias [nh,R,N] begin at 1; mimo_x, mimo_z, mimo_o [nh,R,P] at 1/R, 1 and 1/R. Weight
 * decay leaves out biases, D, norms and mimo_*, which are gains. Source: arXiv 2603.15569.
 */
PAL_API pal_mixer *pal_mamba3_new(pal_params *params, const char *prefix, int64_t width,
                                  pal_dtype dtype, pal_mamba3_opts opts, pal_rng *rng);

/* How attention turns queries and keys by their positions (pal_rotary). */
typedef enum pal_rope {
    PAL_ROPE_HALF = 0,    /* channels c and c + R/2 are a pair */
    PAL_ROPE_INTERLEAVED, /* channels 2c and 2c + 1 are */
    PAL_ROPE_NONE,        /* they know no positions */
} pal_rope;

/* Softmax attention. num_heads, num_kv_heads and head_dim may be any, whatever the width is. */
typedef struct pal_attn_opts {
    int64_t num_heads;    /* H; 0: width / head_dim */
    int64_t head_dim;     /* D; 0: width / num_heads. If num_heads is 0 too: min(128, width/4)
                             rounded down to an even number */
    int64_t num_kv_heads; /* HKV, of which H is a multiple; 0: H */
    int64_t window_size;  /* number of tokens that a query sees, itself included; 0: all up to it */
    pal_rope rope;        /* half (default), interleaved or none */
    double rope_theta;    /* base of the rotary angles; 0: 10000 */
    double rope_fraction; /* the first R = rope_fraction D channels are turned, rounded down; R is
                             even; 0: 1 */
    bool qkv_bias;        /* biases in q_proj, k_proj, v_proj */
    bool o_bias;          /* a bias in o_proj */
    bool qk_norm;         /* RMS norm of q and k by head, before rotary */
    bool qk_norm_whole;   /* the same over all heads at once; qk_norm need not be said */
    double norm_eps;      /* of these norms; 0: 1e-5 */
    bool norm_plus_one;   /* they store w and apply 1 + w */
    double scale;         /* of q k^T; 0: 1 / sqrt D */
    pal_gate output_gate; /* none (default), sigmoid or silu */
    double in_scale;      /* of the layer's input; 0: 1 */
    double out_scale;     /* of the layer's output; 0: 1 */
} pal_attn_opts;
/*
 * Makes a layer of softmax attention:
 *
 *     q k v = q_proj x, k_proj x, v_proj x                       widths H D, HKV D, HKV D
 *     y = o_proj (attention(rotary(norm(q)), rotary(norm(k)), v) * act(gate))
 *
 * without norm, rotary and gate where the options say so. With a gate, q_proj has 2 H D rows: those
 * of the query and of the gate of head 0, then those of head 1. Parameters: q_proj, k_proj, v_proj,
 * o_proj (.weight, .bias); q_norm.weight and k_norm.weight, [D], or [H D] and [HKV D] for
 * qk_norm_whole. Its text is "attn"; "swa" is the same layer with a default window_size of 2048.
 * Sources: pal_attention and pal_rotary; the gate is that of Qiu et al. 2025 (arXiv 2505.06708).
 */
PAL_API pal_mixer *pal_attn_new(pal_params *params, const char *prefix, int64_t width,
                                pal_dtype dtype, pal_attn_opts opts, pal_rng *rng);

/*
 * Makes a mixer from text, `name[:key=value...]`, such as "gdn2:num_heads=4:output_gate=sigmoid".
 * Flags are true or false. pal_mixers_name lists the names.
 *
 * Texts with + between them, "mamba2:num_heads=6+attn", make a sum of up to 4 mixers: all read x,
 * and their outputs are added, as in Falcon-H1 (arXiv 2507.22448). The parameters of each are named
 * prefix.NAME.*, and its own name is "mamba2+attn". They share one state, so no two may remember
 * parts of one name (PAL_EVALUE). A hook sees the tensors of the first, then those of the next.
 */
PAL_API pal_mixer *pal_mixer_new(pal_params *params, const char *prefix, int64_t width,
                                 pal_dtype dtype, const char *text, pal_rng *rng);
/* Checks the name and the keys of the text of one mixer or sum. It builds nothing. If one is
 * unknown, *error (may be NULL) names it and lists those that exist. */
PAL_API PAL_CHECKED pal_status pal_mixer_check(const char *text, pal_error *error);

/* Where the norms of a block are. */
typedef enum pal_norm_place {
    PAL_NORM_BEFORE = 0, /* x += mixer(norm(x)); x += mlp(norm(x)) */
    PAL_NORM_AFTER,      /* x += norm(mixer(x)); x += norm(mlp(x)) */
} pal_norm_place;

/* The options of a block (layers/blocks.h) beside those of its mixer. Each has the key `block.NAME`
 * in the text of an entry. */
typedef struct pal_block_opts {
    int64_t mlp_width;   /* intermediate size of the MLP; 0: 8/3 d rounded up to a multiple of 32 */
    bool no_mlp;         /* a mixer only, without an MLP */
    double norm_eps;     /* of the two norms; 0: 1e-5 */
    pal_norm_place norm; /* before (default) or after */
    bool norm_plus_one;  /* the norms store w and apply 1 + w */
    pal_mlp_kind mlp;    /* swiglu (default), geglu, gelu or relu2 */
    bool mlp_bias;       /* biases in the MLP */
    double mlp_gate_scale; /* of gate_proj x, before its activation; 0: 1 */
    double mlp_down_scale; /* of the MLP's output; 0: 1 */
    double residual_scale; /* of what mixer and MLP add; 0: 1 */
    double dropout; /* share of what mixer and MLP add that is dropped in training; 0: none */
    bool out_zero;  /* the mixer's last projection, o_proj or out_proj, begins at 0 */
} pal_block_opts;
/*
 * A list of blocks as text. Its entries are separated by commas; block i of a model has entry i
 * modulo their number. N*ENTRY repeats an entry and N*(LIST) repeats a list; lists nest up to 8
 * deep. "6*(gdn2,gdn2,gdn2,attn)" has 24 entries. A list has at most 65536. An entry is the text of
 * a mixer, whose keys may include those of pal_block_opts: "gdn2:num_heads=4:block.no_mlp=true".
 * The mixer "none" is a block of an MLP only: "none:block.mlp=relu2".
 *
 * pal_mixers_check checks all entries and builds nothing; *error (may be NULL) says what is wrong.
 * PAL_EVALUE, PAL_ENOMEM.
 */
PAL_API PAL_CHECKED pal_status pal_mixers_check(const char *list, pal_error *error);
/* The number of entries; 0 if the list is not well formed. */
PAL_API int64_t pal_mixers_count(const char *list);
/* Where entry i modulo their number begins in the text of the list, i >= 0; *length is its length.
 * NULL if the list is not well formed. */
PAL_API const char *pal_mixers_at(const char *list, int64_t i, size_t *length);
/* The name of mixer i, from 0; NULL after the last. */
PAL_API const char *pal_mixers_name(int i);

#ifdef __cplusplus
}
#endif
#endif
