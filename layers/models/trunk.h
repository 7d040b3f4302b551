/*
 * trunk.h - the structs of blocks and trunks, and what the language model takes of them in parts.
 */
#ifndef PAL_MODELS_TRUNK_H
#define PAL_MODELS_TRUNK_H

#include "layers/blocks.h"
#include "layers/mixers/internal.h"

struct pal_block {
    pal_tensor attn_norm, mlp_norm; /* PAL_NONE where there is no mixer, or no MLP */
    pal_mixer *mixer;
    pal_mlp mlp;
    bool empty; /* its mixer is "none" */
    pal_block_opts opts;
};

struct pal_trunk {
    pal_trunk_opts opts;         /* with every default filled in */
    const char *what;            /* the name in messages: "lm" */
    const char *prefix;          /* of its parameters */
    const pal_params *params;    /* that own it */
    pal_tensor embeddings, norm; /* PAL_NONE: there is none */
    pal_tensor in, in_bias;      /* of inputs; likewise */
    bool tokens_only;            /* hidden states are refused */
    pal_block *blocks;
};

struct pal_trunk_state {
    const pal_trunk *trunk;
    int64_t layers;
    pal_params *store;
    pal_mixer_state layer[]; /* kept tensors; PAL_NONE at the start */
};

/* ---- Building (block.c, trunk.c) ---- */

/* Fills in the defaults of a block of this width; false after an error, which begins with `what`.
 */
bool pal_block_defaults(pal_block_opts *opts, const char *what, int64_t width);
/* Makes a block of entry i of the list, with the parameters b->prefix.*; opts as in pal_block_new.
 * false after an error. */
bool pal_block_build(pal_block *block, pal_build *b, int64_t width, const char *list, int64_t i,
                     const pal_block_opts *opts);
/* pal_trunk_new for an owner that messages call `what`. */
pal_trunk *pal_trunk_make(pal_params *params, const char *what, const char *prefix,
                          pal_trunk_opts opts, pal_rng *rng);

/* ---- Running ---- */

/* Sets *out to the output of the last block, [B,T,d]; false if it is poison. x as in
 * pal_trunk_forward. (trunk.c) */
bool pal_trunk_run(const pal_trunk *trunk, pal_tensor x, pal_run_opts run, pal_tensor *out);
/* The same from a state on. *after becomes the states of all blocks, which pal_trunk_keep keeps.
 * (trunk_state.c) */
bool pal_trunk_go_on(const pal_trunk *trunk, pal_trunk_state *state, pal_tensor x, pal_run_opts run,
                     pal_tensor *out, pal_mixer_state **after);
void pal_trunk_keep(pal_trunk_state *state, pal_mixer_state *after);
/* Block run.layer on a state that it replaces. Without gradients a long x costs the memory of one
 * block: what stood between is forgotten. (trunk.c) */
pal_tensor pal_trunk_block_on(const pal_trunk *trunk, pal_tape *tape, pal_tensor x,
                              pal_mixer_state *state, pal_run_opts run);
/* The last norm, if there is one. (trunk.c) */
pal_tensor pal_trunk_last_norm(const pal_trunk *trunk, pal_tensor x);
/* Sets *x to what the first block takes: embeddings of tokens, or x itself. If x or the offsets are
 * wrong, *x is poison and it returns false. (trunk.c) */
bool pal_trunk_begin(const pal_trunk *trunk, const pal_run_opts *run, pal_tensor *x);
/* Checks that sequences are whole: otherwise the next token may be on another rank. False after an
 * error was reported. (trunk_state.c) */
bool pal_trunk_whole(const char *op, const pal_run_opts *run, pal_tensor x);

/* Copies a part of the layer's state to `store`, over the earlier copy, and returns the copy;
 * PAL_NONE if t is PAL_NONE. (trunk_state.c) */
pal_tensor pal_state_keep(pal_params *store, int64_t layer, const char *part, pal_tensor t);

#endif
