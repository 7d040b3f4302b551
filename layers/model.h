/*
 * model.h - a language model of mixers: loss, scores, decoding, sampling. Letters as in layers.h.
 */
#ifndef PAL_LAYERS_MODEL_H
#define PAL_LAYERS_MODEL_H

#include "layers/mixers.h"
#include "tensor/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- A block and a language model ---- */

/* A language model of mixers. Owned by the parameters it was made on. */
typedef struct pal_lm pal_lm;

/* What a model is made of; zero is the default of every field. */
typedef struct pal_lm_opts {
    int64_t vocab;      /* tokens are 0 .. vocab-1; 0: 256 (bytes) */
    int64_t width;      /* d; 0: 128 */
    int64_t layers;     /* 0: one for each entry of mixers */
    const char *mixers; /* a list (pal_mixers_check); NULL: "gdn2"; copied */
    int64_t mlp_width;  /* intermediate size; 0: 8/3 d rounded up to a multiple of 32 */
    bool no_mlp;        /* blocks are x += mixer(rms_norm(x)) only; mlp_width is not read */
    bool tie;           /* the head is the embedding table; no lm_head.weight */
    double norm_eps;    /* of all norms that a block does not say otherwise; 0: 1e-5 */
    pal_dtype dtype;    /* 0: f32 */
    bool recompute;     /* forget each block's insides and recompute them in backward */
} pal_lm_opts;

/*
 * A language model on params: embedding, `layers` blocks of
 *
 *     x += mixer(rms_norm(x));  x += mlp(rms_norm(x))
 *
 * norm and head. mlp_width, no_mlp and norm_eps are those of blocks whose entry in `mixers` does
 * not say otherwise (pal_block_opts). With rng NULL nothing is drawn, and what would have been
 * drawn is zero: for parameters that are loaded. Parameters: model.embeddings.weight;
 * model.layers.I.attn_norm.weight, .attn.*, .mlp_norm.weight, .mlp.*; model.norm.weight;
 * lm_head.weight. Owned by params. NULL after telling the handler if an option is wrong.
 */
PAL_API pal_lm *pal_lm_new(pal_params *params, pal_lm_opts opts, pal_rng *rng);
/* The options with every default filled in. */
PAL_API pal_lm_opts pal_lm_options(const pal_lm *lm);
/* The mixer of a layer 0 .. layers-1; NULL for another. */
PAL_API const pal_mixer *pal_lm_mixer(const pal_lm *lm, int64_t layer);
/* What a block 0 .. layers-1 has beside its mixer, defaults filled in; zeros for another. */
PAL_API pal_block_opts pal_lm_block(const pal_lm *lm, int64_t layer);
/*
 * Parameters by part: of one layer (zeros if there is none), or of the whole model (layer -1),
 * whose norms include the last one. A mixer's own norms belong to the mixer. A tied head is counted
 * once, as embeddings. Frozen parameters count. The second prints a table, a line a layer.
 */
typedef struct pal_lm_counts {
    int64_t embeddings; /* the table */
    int64_t mixer;      /* all of the mixers, norms inside them included */
    int64_t mlp;        /* the MLPs */
    int64_t norms;      /* those of the blocks, and the last one */
    int64_t head;       /* 0 where it is tied */
    int64_t total;      /* the sum of these */
} pal_lm_counts;
/* The counts of a layer, or of the model for layer -1. */
PAL_API pal_lm_counts pal_lm_count(const pal_lm *lm, int64_t layer);
/* The table of all layers. */
PAL_API void pal_lm_print_counts(const pal_lm *lm, FILE *file);
/* Logits [B,T,vocab] of the next token after each of tokens [B,T] (i64, on a tape). */
PAL_API pal_tensor pal_lm_logits(const pal_lm *lm, pal_tensor tokens, pal_run_opts run);
/* Mean cross-entropy (nats) of targets [B,T] (i64) after tokens [B,T], over the targets that are
 * not PAL_IGNORE; with run.parts, over those of this stretch. The logits never exist at once
 * (pal_linear_cross_entropy). */
PAL_API pal_tensor pal_lm_loss(const pal_lm *lm, pal_tensor tokens, pal_tensor targets,
                               pal_run_opts run);

/*
 * How likely a text is: the log-probability (nats) of each of tokens [B,T] after those before it,
 * but of the first: [B,T-1], entry t of token t+1. Its sum is that of the text. Packed, what is
 * between two sequences is 0. Differentiable in the parameters. Logits exist for about 8 MB at a
 * time (64 rows at least), and again in backward. PAL_EVALUE for run.parts: the token after the
 * last of a stretch is on another process.
 */
PAL_API pal_tensor pal_lm_score(const pal_lm *lm, pal_tensor tokens, pal_run_opts run);

/*
 * Padded batches are run as packed ones. pal_pack joins the first lengths[b] entries of each row b
 * of x [B,T,..] (the last ones if left: padding is before them) to [1, sum of lengths, ..], and
 * *offsets (may be NULL), i64 [B+1], is where each begins. pal_unpack is its inverse, [B,T,..] with
 * zeros for padding. Both are differentiable in x.
 */
PAL_API pal_tensor pal_pack(pal_tensor x, const int64_t *lengths, bool left, pal_tensor *offsets);
/* The inverse of pal_pack. */
PAL_API pal_tensor pal_unpack(pal_tensor x, pal_tensor offsets, int64_t T, bool left);

/*
 * Decoding: the state of every layer after the tokens seen so far. Its memory is its own and does
 * not grow (but for attention without a window, whose cache is all keys and values so far), so a
 * loop of
 *
 *     pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(1, 1), &token);
 *     pal_tensor logits = pal_lm_step(lm, state, in, (pal_run_opts){0});
 *     token = pal_sample(logits, (pal_sample_opts){.temperature = 0.8}, &rng);
 *     pal_tape_reset(tape);
 *
 * costs the same for every token. Run it with gradients off (pal_set_grad).
 */
typedef struct pal_lm_state pal_lm_state;
PAL_API pal_lm_state *pal_lm_state_new(const pal_lm *lm); /* at the start of a sequence */
/* NULL is allowed. */
PAL_API void pal_lm_state_free(pal_lm_state *state);
/* Feeds tokens [B,T], T >= 1 (a prompt, or one token), and returns the logits [B,vocab] after the
 * last. B must stay the same. A prompt of N sequences of different lengths is packed, [1,T] with
 * run.offsets (attention cannot do that); B is N from then on, and so are the logits [N,vocab];
 * none may be empty. Sequences are whole (no run.parts). After an error the state is what it was.
 */
PAL_API pal_tensor pal_lm_step(const pal_lm *lm, pal_lm_state *state, pal_tensor tokens,
                               pal_run_opts run);

/*
 * A state as the group `group` of a file that is being built or read; save and load make and read a
 * file of it alone, which is replaced whole. Everything is kept bit for bit, and a state that has
 * been read goes on as the one that was written. A state of no tokens is one too.
 *
 * Files are untrusted: number and names of the mixers, dtypes and shapes for one batch are
 * compared with the model, all that does not fit is named in one message, and the state stays
 * as it was unless everything fits. The parameters are not in it and have to be those it was made
 * with. Tensors of steps before reading are stale: reset their tape. Errors: PAL_EIO, PAL_EFORMAT,
 * PAL_EVALUE for a state of a model with another number of layers, PAL_ENOMEM (which the handler
 * may hear too).
 */
PAL_API PAL_CHECKED pal_status pal_lm_state_put(const pal_lm_state *state, pal_h5 *file,
                                                const char *group, pal_error *error);
/* Reads the group; see above. */
PAL_API PAL_CHECKED pal_status pal_lm_state_get(const pal_lm *lm, pal_lm_state *state, pal_h5 *file,
                                                const char *group, pal_error *error);
/* Writes a file of the state alone. */
PAL_API PAL_CHECKED pal_status pal_lm_state_save(const pal_lm_state *state, const char *path,
                                                 pal_error *error);
/* Reads such a file. */
PAL_API PAL_CHECKED pal_status pal_lm_state_load(const pal_lm *lm, pal_lm_state *state,
                                                 const char *path, pal_error *error);

/* ---- Models of files ---- */

/* How a model is taken from a file; zero is the default. */
typedef struct pal_lm_open_opts {
    bool last; /* the parameters of the last step, although the file has their moving average */
} pal_lm_open_opts;

/* What is in a file. */
typedef struct pal_lm_file {
    pal_params *params;       /* of the model */
    pal_lm *lm;               /* on params */
    pal_tokenizer *tokenizer; /* of its data; bytes if the file has none */
    char *description;        /* the text of its configuration, lines `name = value` */
    bool averaged;            /* the parameters are their moving average */
} pal_lm_file;

/*
 * Opens the model of a checkpoint (optim/train.h): *file is filled, and is given back by
 * pal_lm_close. Of the description the lines mixers, layers, width, mlp-width, no-mlp, vocab, tie,
 * norm-eps, dtype and recompute are read; others mean nothing here. Where vocab, width, layers or
 * dtype are 0 or missing, they are those of the parameters in the file. Nothing is drawn, and there
 * is one copy of the parameters in memory: gradients come with the first backward pass.
 *
 * Files are untrusted. A file of another kind, a line that cannot be, a parameter that is missing,
 * too many or of another shape, a damaged tokenizer or one with more tokens than the model knows is
 * one sentence that names the file, and *file is zeros. PAL_EIO, PAL_EFORMAT, PAL_EVALUE for an
 * option that the model refuses, PAL_ENOMEM. What building a model tells the error handler goes
 * into *error, so that the handler is set to another for a moment: open from one thread at a time.
 */
PAL_API PAL_CHECKED pal_status pal_lm_open(pal_lm_file *file, const char *path,
                                           pal_lm_open_opts opts, pal_error *error);
/*
 * Loads the parameters of a checkpoint, or of a file of parameters only (examples/convert.py), into
 * parameters that there are; floats of another width convert. *about (may be NULL) gets tokenizer,
 * description and `averaged`, its lm and params are NULL; of a file of parameters only, tokenizer
 * and description are NULL too. It is given back by pal_lm_close. After an error nothing has
 * changed, and *about is zeros. Errors as above.
 */
PAL_API PAL_CHECKED pal_status pal_lm_load(pal_params *params, const char *path,
                                           pal_lm_open_opts opts, pal_lm_file *about,
                                           pal_error *error);
/* Frees all that is there; *file is zeros then. */
PAL_API void pal_lm_close(pal_lm_file *file);

/* How a token is drawn from logits; zero is greedy. */
typedef struct pal_sample_opts {
    double temperature; /* 0: greedy, the largest logit, and nothing is drawn */
    int64_t top_k;      /* of the k largest logits; 0: of all */
    double top_p;       /* of the smallest set whose probability reaches p; 0 and 1: of all */
} pal_sample_opts;
/*
 * Draws a token from a row of n logits: from softmax(logits / temperature) among the top_k most
 * likely, and of these among the fewest that together have a share of top_p of their probability
 * (the most likely always). Of equals those of smaller number count as more likely. NaN is never
 * drawn. pal_sample_rows draws one for each of B rows, logits [B,n], in their order; a row takes
 * one number of rng (greedy none). Cost: n, and log n for each token that is looked at. Errors:
 * -1 for every token after PAL_EVALUE for an option or a row without a number above -inf,
 * PAL_ESHAPE, PAL_ENOMEM. Source of top_p: Holtzman et al. 2019 (arXiv 1904.09751).
 */
PAL_API int64_t pal_sample(pal_tensor logits, pal_sample_opts opts, pal_rng *rng);
/* Draws tokens[0 .. B-1], one a row of logits [B,n]. */
PAL_API void pal_sample_rows(pal_tensor logits, pal_sample_opts opts, pal_rng *rng, int64_t B,
                             int64_t *tokens);

#ifdef __cplusplus
}
#endif
#endif
