/* attention_op.h - the operation behind pal_attention. */
#ifndef PAL_ATTENTION_OP_H
#define PAL_ATTENTION_OP_H

#include "layers/check.h"
#include "layers/rules.h"

typedef struct pal_attention_call {
    double scale;
    int64_t window; /* at most the number of keys */
    bool narrow;    /* products in bf16 */
} pal_attention_call;

/* Checks the options against the sizes that the frame knows: T, S and D. */
bool pal_attention_fits(pal_frame *f, const pal_attention_opts *opts);
/* The options of the operation, defaults filled in. */
pal_attention_call pal_attention_options(const pal_frame *f, const pal_attention_opts *opts);

/* The operation on q, k, v and offsets, which pal_attention has checked. */
extern const pal_op pal_attention_op;

#endif
