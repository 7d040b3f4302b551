/*
 * edited.h - small models under the edits of ablate --layers (examples/ablate/edits.c), and other
 * ways to the same logits.
 */
#ifndef PAL_TESTS_EDITED_H
#define PAL_TESTS_EDITED_H

#include "examples/ablate/ablate.h"

enum { B = 2, T = 21, WIDTH = 12, VOCAB = 11, LAYERS = 2, LOGITS = B * T * VOCAB };

#define GDN2   "gdn2:num_heads=2:head_dim=4:num_v_heads=4"
#define KDA    "kda:num_heads=2:head_dim=4"
#define GDN    "gdn:num_heads=2:head_dim=4"
#define MAMBA2 "mamba2:head_dim=6:state_size=5"
#define MAMBA3 "mamba3:head_dim=6:state_size=6:rope_fraction=1:use_bias=true"

/* In f64. */
typedef struct model_of {
    pal_params *params;
    pal_lm *lm;
} model_of;

/* A model whose layer `layer` is the mixer `other`, and whose other layers are `text`. */
model_of edit_model(const char *text, const char *other, int layer);
/* All of a parameter becomes one number. */
void edit_fill(pal_params *params, const char *name, double value);
/* Copies the weights of one model to another that has no further parameters. Those with another
 * shape stay as they are. */
void edit_take(const model_of *to, const model_of *from);

/* The logits of the model under this hook. */
void edit_pass(const model_of *m, pal_tape *tape, pal_run_opts how, double out[LOGITS]);
/* The same `passes` times, on a tape of its own; the last ones are kept. */
void edit_plain(const model_of *m, pal_run_opts how, int passes, double out[LOGITS]);
/* Under an edit of a layer, which has to change something, and to end. */
void edit_run(const model_of *m, int layer, edit e, double out[LOGITS]);
/* Fails the test unless logits are equal but for rounding. */
void edit_agree(const double *is, const double *wanted, edit e, int layer);

#endif
