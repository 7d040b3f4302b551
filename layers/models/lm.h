/*
 * lm.h - what training (lm.c) and decoding (decode.c) of a language model share.
 */
#ifndef PAL_LAYERS_LM_H
#define PAL_LAYERS_LM_H

#include "layers/mixers/internal.h"
#include "layers/model.h"

typedef struct pal_block_layer {
    pal_tensor attn_norm, mlp_norm; /* mlp_norm is PAL_NONE where there is no MLP */
    pal_mixer *mixer;
    pal_mlp mlp;
    pal_block_opts opts;
} pal_block_layer;

struct pal_lm {
    pal_lm_opts opts; /* with every default filled in */
    pal_tensor embeddings, norm, head;
    pal_block_layer *blocks;
};

struct pal_lm_state {
    const pal_lm *lm;
    int64_t layers;
    pal_params *store;
    pal_mixer_state layer[]; /* kept tensors; PAL_NONE at the start */
};

/* Sets *x [B,T,d] to the embedding of tokens [B,T]. If they or the offsets are wrong, *x is poison
 * and it returns false. */
bool pal_lm_begin(const pal_lm *lm, pal_tensor tokens, const pal_run_opts *run, pal_tensor *x);
/* Sets *x [B,T,d] to the output of the last block; false if it is poison. */
bool pal_lm_blocks(const pal_lm *lm, pal_tensor tokens, pal_run_opts run, pal_tensor *x);
pal_tensor pal_block_forward(const pal_block_layer *block, pal_tensor x, pal_mixer_state *state,
                             pal_run_opts run);
pal_tensor pal_lm_head(const pal_lm *lm, pal_tensor x); /* [..,d] to [..,vocab] */

/*
 * Makes a model without values in f->params and f->lm. It may have twice as many parameters, and
 * 2^16, as the file that describes it has numbers, and no more memory is taken. What is wrong with
 * the options is told to *error, not to the handler.
 */
PAL_CHECKED pal_status pal_lm_make_empty(pal_lm_file *f, pal_lm_opts opts, int64_t elements,
                                         pal_error *error);

/* Copies a part of the layer's state to `store`, over the earlier copy, and returns the copy;
 * PAL_NONE if t is PAL_NONE. (decode.c) */
pal_tensor pal_state_keep(pal_params *store, int64_t layer, const char *part, pal_tensor t);

#endif
