/*
 * mixers.h - the layers of the papers, how they run and what they carry along. Letters as in
 * layers.h.
 */
#ifndef PAL_LAYERS_MIXERS_H
#define PAL_LAYERS_MIXERS_H

#include "layers/modules.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Mixers ---- */

/* A layer that mixes along time: [B,T,d] -> [B,T,d]. Owned by the parameters it was made on. */
typedef struct pal_mixer pal_mixer;

/*
 * What a mixer carries from one piece of a sequence to the next: parts by name, and the number of
 * tokens seen. All zero is the start of a sequence. A part is there after the first call, in the
 * order in which the mixer makes it:
 *
 *     state             the rule's, [B,HV,K,V]
 *     conv.0 .. conv.2  the tails of the short convolutions of q, k, v, [B,W-1,channels] (Mamba-2:
 *                       conv.0 only, of x, B, C)
 *     k v               attention: the keys (after rotary) and values [B,n,HKV,D] that later
 *                       queries may see, the last min(seen, window - 1) of them
 */
enum { PAL_MIXER_PARTS = 8 }; /* at most */
/* One part of a state. */
typedef struct pal_mixer_part {
    const char *name;  /* NULL: this part and those behind it are not there */
    pal_tensor tensor; /* its numbers */
} pal_mixer_part;
/* A mixer's state. */
typedef struct pal_mixer_state {
    pal_mixer_part part[PAL_MIXER_PARTS]; /* those that are there come first */
    int64_t seen;                         /* tokens; only attention counts them */
} pal_mixer_state;
/* The part of this name; PAL_NONE if there is none. */
PAL_API pal_tensor pal_mixer_state_get(const pal_mixer_state *state, const char *name);
/* Sets the part of this name, which has to be one that the mixer has and has to outlive the state.
 * PAL_EVALUE goes to the handler if there is no room for one more. */
PAL_API void pal_mixer_state_set(pal_mixer_state *state, const char *name, pal_tensor tensor);

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
    pal_hook_fn *hook;  /* NULL: none */
    void *user;         /* of the hook */
    int64_t layer;      /* what the hook is told of a mixer by itself; a model counts by itself */
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
    int64_t num_heads;     /* H */
    int64_t head_dim;      /* K */
    int64_t num_v_heads;   /* HV; 0: H */
    double expand_v;       /* V = expand_v K; 0: 1 */
    bool no_conv;          /* key use_short_conv=false: SiLU alone */
    int64_t conv_size;     /* W; 0: 4 */
    bool conv_bias;        /* biases in the convolutions */
    bool allow_neg_eigval; /* the erase gate b runs to 2 */
    pal_gate output_gate;  /* silu (default), sigmoid or none */
    bool scalar_erase;     /* key erase=scalar: b is its mean over K; default channel */
    bool scalar_write;     /* key write=scalar: w is its mean over V */
    double norm_eps;       /* 0: 1e-5 */
} pal_gdn2_opts;
/* A Gated DeltaNet-2 layer of model width `width`; parameters are named prefix.q_proj.weight and so
 * on. NULL after telling the handler if an option is wrong, as for the other layers. */
PAL_API pal_mixer *pal_gdn2_new(pal_params *params, const char *prefix, int64_t width,
                                pal_dtype dtype, pal_gdn2_opts opts, pal_rng *rng);

/* Kimi Delta Attention. */
typedef struct pal_kda_opts {
    int64_t num_heads;     /* H */
    int64_t head_dim;      /* K */
    int64_t num_v_heads;   /* HV; 0: H */
    double expand_v;       /* 0: 1 */
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
    bool no_gate;          /* key use_gate=false: a plain RMS norm on the output */
    bool no_conv;          /* key use_short_conv=false */
    int64_t conv_size;     /* 0: 4 */
    bool conv_bias;        /* biases in the convolutions */
    bool allow_neg_eigval; /* beta runs to 2 */
    double norm_eps;       /* 0: 1e-5 */
} pal_gdn_opts;
/* A Gated DeltaNet layer. */
PAL_API pal_mixer *pal_gdn_new(pal_params *params, const char *prefix, int64_t width,
                               pal_dtype dtype, pal_gdn_opts opts, pal_rng *rng);

/* DeltaNet: Gated DeltaNet without the decay, values as wide as keys, and no output gate unless
 * asked for. */
typedef struct pal_deltanet_opts {
    int64_t num_heads;     /* H */
    int64_t head_dim;      /* K */
    int64_t num_v_heads;   /* HV; 0: H */
    double expand_v;       /* V = expand_v K; 0: 1 */
    bool use_gate;         /* the output norm has a SiLU gate of its own projection */
    bool no_conv;          /* key use_short_conv=false */
    int64_t conv_size;     /* 0: 4 */
    bool conv_bias;        /* biases in the convolutions */
    bool allow_neg_eigval; /* beta runs to 2 */
    double norm_eps;       /* 0: 1e-5 */
} pal_deltanet_opts;
/*
 * A DeltaNet layer: q, k and v are projections of x through a short convolution and SiLU, q and k
 * of unit length; beta = sigmoid(b_proj x); the output is o_proj of the RMS norm of the rule's.
 * Source: Yang, Wang, Zhang, Shen, Kim 2024 (arXiv 2406.06484).
 */
PAL_API pal_mixer *pal_deltanet_new(pal_params *params, const char *prefix, int64_t width,
                                    pal_dtype dtype, pal_deltanet_opts opts, pal_rng *rng);

/* Mamba-2. */
typedef struct pal_mamba2_opts {
    int64_t head_dim;      /* P; 0: 64, or the inner width where that is smaller */
    int64_t state_size;    /* N; 0: 128 */
    double expand;         /* inner width / width; 0: 2 */
    int64_t n_groups;      /* G; 0: 1 */
    int64_t conv_kernel;   /* 0: 4 */
    double dt_min;         /* dt after its softplus is kept within dt_min .. dt_max */
    double dt_max;         /* 0: no limit */
    bool no_conv_bias;     /* key use_conv_bias=false */
    bool use_bias;         /* biases in in_proj and out_proj */
    bool no_norm;          /* key rmsnorm=false: y * silu(z), no weight */
    bool norm_before_gate; /* rms_norm(y) * silu(z) instead of rms_norm(y * silu(z)) */
    double norm_eps;       /* 0: 1e-5 */
} pal_mamba2_opts;
/* A Mamba-2 layer. */
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
/* An attention layer. */
PAL_API pal_mixer *pal_attn_new(pal_params *params, const char *prefix, int64_t width,
                                pal_dtype dtype, pal_attn_opts opts, pal_rng *rng);

/*
 * A mixer by text: `name[:key=value...]`, as in "gdn2:num_heads=4:output_gate=sigmoid"; flags are
 * true or false. The names are those of layers.def.
 */
PAL_API pal_mixer *pal_mixer_new(pal_params *params, const char *prefix, int64_t width,
                                 pal_dtype dtype, const char *text, pal_rng *rng);
/* Checks name and keys of the text of one mixer without building anything; *error (may be NULL)
 * says what is unknown and what there is. */
PAL_API PAL_CHECKED pal_status pal_mixer_check(const char *text, pal_error *error);

/* What a block of a model has beside its mixer (layers/model.h). */
typedef struct pal_block_opts {
    int64_t mlp_width; /* key block.mlp_width: intermediate size of the MLP */
    bool no_mlp;       /* key block.no_mlp: a mixer only, without an MLP */
    double norm_eps;   /* key block.norm_eps: of the norms before mixer and MLP */
} pal_block_opts;
/*
 * A list of blocks by text, separated by commas: block i of a model has entry i modulo their
 * number. N*ENTRY repeats an entry and N*(LIST) a list, up to 8 within each other:
 * "6*(gdn2,gdn2,gdn2,attn)" has 24 entries; there are 65536 at most. An entry is the text of a
 * mixer, among whose keys may be those of pal_block_opts: "gdn2:num_heads=4:block.no_mlp=true".
 *
 * pal_mixers_check checks all entries without building anything; *error (may be NULL) says what is
 * wrong. PAL_EVALUE, PAL_ENOMEM.
 */
PAL_API PAL_CHECKED pal_status pal_mixers_check(const char *list, pal_error *error);
/* The number of entries; 0 if the list is not well formed. */
PAL_API int64_t pal_mixers_count(const char *list);
/* Entry i modulo their number, i >= 0: where it begins in the text of the list, and its length.
 * NULL if the list is not well formed. */
PAL_API const char *pal_mixers_at(const char *list, int64_t i, size_t *length);
/* Names of all mixers: i from 0; NULL at the end. */
PAL_API const char *pal_mixers_name(int i);

#ifdef __cplusplus
}
#endif
#endif
