/*
 * check.h - what every layer does first: it checks its arguments, and copies those that share
 * memory where threads would write to the same gradient.
 */
#ifndef PAL_LAYERS_CHECK_H
#define PAL_LAYERS_CHECK_H

#include "autograd/internal.h"

/*
 * One argument and what its axes stand for: one letter for each axis. Equal letters mean equal
 * sizes. The letters are those of layers.h, with J for HV (value heads), and for Mamba-2 h heads, G
 * groups.
 */
typedef struct pal_arg {
    const char *name, *dims;
    pal_tensor t; /* before pal_frame_add: as given; after it: on the tape */
    bool optional;
} pal_arg;

typedef struct pal_frame {
    const char *op;
    pal_tape *tape;
    bool started;          /* arguments were added */
    pal_dtype dtype;       /* of all real arguments */
    bool narrow;           /* set before: these may be bf16 */
    int64_t size['z' + 1]; /* of each letter; -1 while unknown */
    const char
        *shown; /* pairs of letters: messages show the second instead of the first; NULL: none */
    /* NULL: the arguments are tensors. Else they are on no tape: of the node of each only the array
     * is set (pal_plain_tensor), and a failure is written here. */
    pal_error *error;
} pal_frame;

void pal_frame_init(pal_frame *f, const char *op);
/* Array x (NULL: none) as an argument of a frame on no tape; it lives as long as the node, which is
 * the caller's. */
pal_tensor pal_plain_tensor(const pal_array *x, pal_node *node);
/* Checks handles, dtype and shapes, and brings parameters onto the tape. false after an error was
 * reported. It may be called again with more arguments. */
bool pal_frame_add(pal_frame *f, int n, pal_arg *args);
/* Reports an error of the frame's operation; returns false. */
bool pal_frame_fail(pal_frame *f, pal_status status, const char *format, ...) PAL_PRINTF(3, 4);
/* Checks that the size of letter `many` is a multiple of that of letter `few`. */
bool pal_frame_groups(pal_frame *f, char many, char few);
/* The offsets of packed sequences and their number N. It checks that 0 = o_0 <= o_1 <= ... <= o_N =
 * T and that batch is 1. NULL after an error was reported. */
const int64_t *pal_frame_offsets(pal_frame *f, pal_tensor offsets, int64_t batch, int64_t T,
                                 int64_t *sequences);
/* The poison tensor of the tape, or of no owner if the tape is not known yet. */
pal_tensor pal_frame_poison(const pal_frame *f);

/*
 * For operations whose threads write gradients by token and head. It returns in[i] if that shares
 * no memory with an earlier input, else a copy. Shared memory is allowed if an element belongs to
 * the same token and head in both inputs, as in slices of one projection. `tokens` says that axes 0
 * to 2 are batch, time and heads. (heads.c)
 */
pal_tensor pal_apart(const pal_tensor *in, int i, bool tokens);

/* [B,T,H,..] as [B,T,H n,..]: head j of the result is head j / n of x (not j modulo H). */
pal_tensor pal_share_heads(pal_tensor x, int64_t n);

#endif
