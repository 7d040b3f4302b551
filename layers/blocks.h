/*
 * blocks.h - blocks of a mixer and an MLP, and a trunk of several: what a model of one's own is
 * made of. pal_lm (model.h) is a trunk with a head for the next token. Letters as in layers.h.
 */
#ifndef PAL_LAYERS_BLOCKS_H
#define PAL_LAYERS_BLOCKS_H

#include "layers/mixers.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- A block ---- */

/*
 * A block: norm and mixer, norm and MLP, each added to the residual stream. With a =
 * residual_scale,
 *
 *     x += a drop(mixer(norm(x)));  x += a drop(mlp(norm(x)))          norm = before
 *     x += a drop(norm(mixer(x)));  x += a drop(norm(mlp(x)))          norm = after
 *
 * The parameters that it was made on own it.
 */
typedef struct pal_block pal_block;
/*
 * Makes a block of model width d = `width` from the text of an entry, such as
 * "gdn2:num_heads=4:block.no_mlp=true" (pal_mixers_check). opts is what the entry does not say.
 * Parameters: prefix.attn_norm.weight, prefix.attn.*, prefix.mlp_norm.weight, prefix.mlp.*
 * (pal_mlp); a block without mixer or MLP has neither its norm. If rng is NULL, nothing is drawn
 * and these parameters are zero. If an option is wrong, the handler is told and NULL returned.
 */
PAL_API pal_block *pal_block_new(pal_params *params, const char *prefix, int64_t width,
                                 pal_dtype dtype, const char *text, pal_block_opts opts,
                                 pal_rng *rng);
/*
 * The block of x [B,T,d]; the result has the same shape. state and run are those of
 * pal_mixer_forward. With run.training, dropout draws from the tape's generator (pal_dropout). If a
 * hook skips the mixer without a replacement, nothing is added for it.
 */
PAL_API pal_tensor pal_block_forward(const pal_block *block, pal_tensor x, pal_mixer_state *state,
                                     pal_run_opts run);
/* Its mixer. That of a block without one is "none", which gives zeros. */
PAL_API const pal_mixer *pal_block_mixer(const pal_block *block);
/* Its options, with every default filled in; mlp_width is 0 if there is no MLP. */
PAL_API pal_block_opts pal_block_options(const pal_block *block);

/* ---- A trunk ---- */

/* Blocks one after another, with an embedding before them and a norm behind them. The parameters
 * that it was made on own it. */
typedef struct pal_trunk pal_trunk;

/* What a trunk is made of; zero is the default of every field. */
typedef struct pal_trunk_opts {
    int64_t width;        /* d; 0: 128 */
    int64_t layers;       /* number of blocks; 0: one for each entry of mixers */
    const char *mixers;   /* a list (pal_mixers_check), block i has entry i modulo its length; NULL:
                             "gdn2"; copied */
    pal_block_opts block; /* of blocks whose entry does not say otherwise; norm_eps and
                             norm_plus_one are those of the last norm too */
    int64_t vocab;        /* tokens are 0 .. vocab-1; 0: there is no embedding, and hidden states
                             come in */
    int64_t inputs;       /* real numbers of a step of the sequences that come in, which a linear
                             map makes a hidden state; 0: none. Not with vocab */
    double embed_scale;   /* of embeddings; 0: 1 */
    bool no_norm;         /* there is no norm behind the last block */
    pal_dtype dtype;      /* 0: f32 */
    bool recompute; /* keep only the input of each block, and recompute the rest in backward */
} pal_trunk_opts;

/*
 * Makes a trunk. Parameters: prefix.embeddings.weight [vocab,d] if there is a vocabulary,
 * prefix.in.weight [d,inputs], N(0, 1 / inputs), and prefix.in.bias if there are inputs,
 * prefix.layers.I.* of each block (pal_block_new), prefix.norm.weight. If rng is NULL, nothing is
 * drawn and these parameters are zero. If an option is wrong, the handler is told and NULL
 * returned.
 */
PAL_API pal_trunk *pal_trunk_new(pal_params *params, const char *prefix, pal_trunk_opts opts,
                                 pal_rng *rng);
/* Its options, with every default filled in. */
PAL_API pal_trunk_opts pal_trunk_options(const pal_trunk *trunk);
/* Block 0 .. layers-1; NULL for another. */
PAL_API const pal_block *pal_trunk_block(const pal_trunk *trunk, int64_t layer);

/* The state of every block after the tokens seen so far, with memory of its own (pal_lm_state). */
typedef struct pal_trunk_state pal_trunk_state;
PAL_API pal_trunk_state *pal_trunk_state_new(const pal_trunk *trunk); /* at the start */
/* NULL is allowed. */
PAL_API void pal_trunk_state_free(pal_trunk_state *state);

/* States in files, as pal_lm_state_put and its neighbours tell (model.h). put and get write and
 * read a group of an open file; the file has a checksum of the trunk's parameters. */
PAL_API PAL_CHECKED pal_status pal_trunk_state_put(const pal_trunk_state *state, pal_h5 *file,
                                                   const char *group, pal_error *error);
/* Reads the group. */
PAL_API PAL_CHECKED pal_status pal_trunk_state_get(const pal_trunk *trunk, pal_trunk_state *state,
                                                   pal_h5 *file, const char *group,
                                                   pal_error *error);
/* Writes a file that has only the state. */
PAL_API PAL_CHECKED pal_status pal_trunk_state_save(const pal_trunk_state *state, const char *path,
                                                    pal_error *error);
/* Reads such a file. */
PAL_API PAL_CHECKED pal_status pal_trunk_state_load(const pal_trunk *trunk, pal_trunk_state *state,
                                                    const char *path, pal_error *error);

/*
 * Hidden states [B,T,d] behind the last norm, of x: tokens i64 [B,T], or hidden states [B,T,d] of
 * the trunk's dtype. A trunk with a vocabulary takes both; without one only the latter. A trunk
 * with inputs takes x [B,T,inputs], also as [B,T] if inputs is 1.
 *
 * state NULL: sequences start here. Else x is what follows the tokens seen so far, and *state
 * becomes the one after it, copied out of the tape, so that no gradient passes into earlier calls
 * (with gradients on, the state before is copied onto the tape too, for backward);
 * run.parts is then refused, and after an error the state is as before. B is the same in all calls;
 * packed, the states belong to the N sequences, and attention refuses them. run is as for
 * pal_mixer_forward; the trunk sets run.layer, and recompute has no effect with a state.
 * Differentiable in x and the parameters. Errors: PAL_ESHAPE, PAL_EDTYPE, PAL_EVALUE, PAL_ENOMEM.
 */
PAL_API pal_tensor pal_trunk_forward(const pal_trunk *trunk, pal_tensor x, pal_trunk_state *state,
                                     pal_run_opts run);

/* ---- Heads ---- */

/* How the hidden states of a sequence become one. */
typedef enum pal_pooling {
    PAL_POOL_MEAN = 0,  /* their mean */
    PAL_POOL_LAST,      /* that of the last token */
    PAL_POOL_ATTENTION, /* sum_t softmax_t(<x_t, query> / sqrt d) x_t */
    PAL_POOL_NONE,      /* they stay, one a token */
} pal_pooling;
/*
 * x [B,T,d] becomes [B,d]; packed, with offsets (PAL_NONE: x is not packed), [1,T,d] becomes [N,d].
 * query [d] is read by PAL_POOL_ATTENTION only. PAL_POOL_NONE returns x. For padded sequences see
 * pal_pack (model.h). Differentiable in x and query. A sequence sees no token of another, and none
 * may be empty. Errors: PAL_ESHAPE, PAL_EDTYPE, PAL_EVALUE for offsets and empty sequences,
 * PAL_ENOMEM.
 */
PAL_API pal_tensor pal_pool(pal_tensor x, pal_tensor query, pal_pooling how, pal_tensor offsets);

/* Options of a head; zero is the default of every field. */
typedef struct pal_task_head_opts {
    pal_pooling pooling; /* mean (default), last, attention or none */
    bool no_bias;        /* there is no bias */
    double dropout;      /* share of its input that is dropped in training; 0: none */
} pal_task_head_opts;
/* A head: n numbers of a sequence, or of each token, from hidden states. */
typedef struct pal_task_head {
    pal_tensor weight;       /* [n,d] */
    pal_tensor bias;         /* [n]; PAL_NONE: there is none */
    pal_tensor query;        /* [d], of PAL_POOL_ATTENTION; else PAL_NONE */
    pal_task_head_opts opts; /* how it pools, and what it drops */
} pal_task_head;
/*
 * Makes prefix.weight, prefix.bias, which begins at 0, and prefix.query, N(0, 0.02). n classes or
 * values; d is the width of the hidden states. If rng is NULL, nothing is drawn. If an option is
 * wrong, the handler is told and all tensors are PAL_NONE.
 */
PAL_API pal_task_head pal_task_head_new(pal_params *params, const char *prefix, int64_t d,
                                        int64_t n, pal_task_head_opts opts, pal_dtype dtype,
                                        pal_rng *rng);
/*
 * weight drop(pool(x)) + bias: [B,n], packed [N,n]; with PAL_POOL_NONE [B,T,n]. Of run, offsets,
 * parts and training are read; pooling refuses sequences over processes (PAL_EVALUE). Errors as of
 * pal_pool.
 */
PAL_API pal_tensor pal_task_head_forward(const pal_task_head *head, pal_tensor x, pal_run_opts run);
/* The mean cross-entropy (nats) of classes, i64 of one for each row of the result, which are
 * 0 .. n-1 or PAL_IGNORE. */
PAL_API pal_tensor pal_task_head_classify(const pal_task_head *head, pal_tensor x,
                                          pal_tensor classes, pal_run_opts run);
/* The share of classes whose score is the largest: of scores [..., n] and classes i64 [...], where
 * PAL_IGNORE does not count. Of equal scores the first is the largest. NaN if there is no class.
 * Errors go to the handler: PAL_ESHAPE, PAL_EDTYPE; the result is then NaN. */
PAL_API double pal_accuracy(pal_tensor scores, pal_tensor classes);
/* The mean of the squares of result - targets; targets have the shape and dtype of the result. */
PAL_API pal_tensor pal_task_head_regress(const pal_task_head *head, pal_tensor x,
                                         pal_tensor targets, pal_run_opts run);

/* ---- A trunk with a head ---- */

/* A trunk and a task head behind it: classes or values of sequences, or of each of their steps. */
typedef struct pal_predictor pal_predictor;
/*
 * Makes a trunk with the parameters prefix.trunk.* (pal_trunk_new) and a head of n classes or
 * values with prefix.head.* (pal_task_head_new). The parameters that it was made on own it. If rng
 * is NULL, nothing is drawn. If an option is wrong, the handler is told and NULL returned.
 */
PAL_API pal_predictor *pal_predictor_new(pal_params *params, const char *prefix,
                                         pal_trunk_opts trunk, int64_t n, pal_task_head_opts head,
                                         pal_rng *rng);
/* The head of the trunk of x, as pal_trunk_forward and pal_task_head_forward take and give them. */
PAL_API pal_tensor pal_predictor_forward(const pal_predictor *predictor, pal_tensor x,
                                         pal_run_opts run);
/* Its trunk. */
PAL_API const pal_trunk *pal_predictor_trunk(const pal_predictor *predictor);

#ifdef __cplusplus
}
#endif
#endif
