/* attention_op.h - the operation behind pal_attention. */
#ifndef PAL_ATTENTION_OP_H
#define PAL_ATTENTION_OP_H

#include "layers/check.h"
#include "layers/rules.h"

typedef struct pal_attention_call {
    double scale;
    int64_t window; /* at most the number of keys */
} pal_attention_call;

/* The operation on q, k, v and offsets, which pal_attention has checked. */
extern const pal_op pal_attention_op;

#endif
