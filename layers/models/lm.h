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

/*
 * Makes a model without values in f->params and f->lm. It may have twice as many parameters, and
 * 2^16, as the file that describes it has numbers, and no more memory is taken. What is wrong with
 * the options is told to *error, not to the handler.
 */
PAL_CHECKED pal_status pal_lm_make_empty(pal_lm_file *f, pal_lm_opts opts, int64_t elements,
                                         pal_error *error);

#endif
