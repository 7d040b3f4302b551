/*
 * lm.h - what training (lm.c) and decoding (decode.c) of a language model share.
 */
#ifndef PAL_LAYERS_LM_H
#define PAL_LAYERS_LM_H

#include "layers/model.h"
#include "layers/models/trunk.h"

struct pal_lm {
    pal_lm_opts opts; /* with every default filled in */
    pal_trunk *trunk; /* without its last norm, which belongs to the head here */
    pal_tensor head;  /* weight [vocab,d] */
};

/* [..,d] behind the last norm, times logit_scale: what the head's product takes. */
pal_tensor pal_lm_normed(const pal_lm *lm, pal_tensor x);
pal_tensor pal_lm_head(const pal_lm *lm, pal_tensor x); /* [..,d] to [..,vocab] */

#endif
