/*
 * lm.h - what training (lm.c) and decoding (decode.c) of a language model share.
 */
#ifndef PAL_LAYERS_LM_H
#define PAL_LAYERS_LM_H

#include "layers/internal.h"

typedef struct pal_block_layer {
    pal_tensor attn_norm, mlp_norm;
    pal_mixer *mixer;
    pal_mlp mlp;
    double eps;
} pal_block_layer;

struct pal_lm {
    pal_lm_opts opts; /* with every default filled in */
    pal_tensor embeddings, norm, head;
    pal_block_layer *blocks;
};

pal_tensor pal_lm_embed(const pal_lm *lm, pal_tensor tokens); /* [B,T] to [B,T,d] */
pal_tensor pal_block_forward(const pal_block_layer *block, pal_tensor x, pal_mixer_state *state,
                             pal_run_opts run);
pal_tensor pal_lm_head(const pal_lm *lm, pal_tensor x); /* [..,d] to [..,vocab] */

#endif
