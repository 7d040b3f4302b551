/*
 * check.h - what every layer does first: it checks its arguments and keeps apart what shares
 * memory.
 */
#ifndef PAL_LAYERS_CHECK_H
#define PAL_LAYERS_CHECK_H

#include "autograd/internal.h"

/*
 * One argument and what its axes stand for: a letter an axis, equal letters meaning equal sizes.
 * The letters are those of layers.h, with J for HV (value heads), and for Mamba-2 h heads, G
 * groups.
 */
typedef struct pal_arg {
    const char *name, *dims;
    pal_tensor t; /* in: as given; out: on the tape */
    bool optional;
} pal_arg;

typedef struct pal_frame {
    const char *op;
    pal_tape *tape;
    pal_dtype dtype;       /* of all real arguments */
    int64_t size['z' + 1]; /* of each letter; -1 while unknown */
    const char *shown;     /* pairs of letters: messages call the first by the second; NULL: none */
} pal_frame;

void pal_frame_init(pal_frame *f, const char *op);
/* Checks handles, dtype and shapes and brings parameters onto the tape. false after reporting. May
 * be called again with more arguments. */
bool pal_frame_add(pal_frame *f, int n, pal_arg *args);
/* Reports on behalf of the frame's operation; returns false. */
bool pal_frame_fail(pal_frame *f, pal_status status, const char *format, ...) PAL_PRINTF(3, 4);
/* Checks that `many` heads are shared evenly among `few`. */
bool pal_frame_groups(pal_frame *f, char many, char few);
/* The offsets of packed sequences and their number, checked: 0 = o_0 <= o_1 <= ... <= o_N = T, and
 * batch is 1. NULL after reporting. */
const int64_t *pal_frame_offsets(pal_frame *f, pal_tensor offsets, int64_t batch, int64_t T,
                                 int64_t *sequences);
/* The poison tensor of whatever owner is known. */
pal_tensor pal_frame_poison(const pal_frame *f);

/*
 * For operations whose threads write gradients by token and head: in[i] if it shares no memory with
 * an earlier one, or only in such a way that an element belongs to one token and head in both
 * (slices of one projection; `tokens` says that axes 0 to 2 are batch, time and heads); else a
 * copy. (heads.c)
 */
pal_tensor pal_apart(const pal_tensor *in, int i, bool tokens);

/* [B,T,H,..] as [B,T,H n,..]: head j of the result is head j / n of x (not j modulo H). */
pal_tensor pal_share_heads(pal_tensor x, int64_t n);

#endif
