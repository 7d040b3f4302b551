/*
 * model.h - a language model of mixers: loss, scores, decoding, sampling. Letters as in layers.h.
 */
#ifndef PAL_LAYERS_MODEL_H
#define PAL_LAYERS_MODEL_H

#include "layers/blocks.h"
#include "tensor/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- A language model ---- */

/* A language model of mixers. The parameters it was made on own it. */
typedef struct pal_lm pal_lm;

/* What a model is made of; zero is the default of every field. */
typedef struct pal_lm_opts {
    int64_t vocab;      /* tokens are 0 .. vocab-1; 0: 256 (bytes) */
    int64_t width;      /* d; 0: 128 */
    int64_t layers;     /* 0: one for each entry of mixers */
    const char *mixers; /* a list (pal_mixers_check); NULL: "gdn2"; copied */
    int64_t mlp_width;  /* intermediate size; 0: 8/3 d rounded up to a multiple of 32 */
    bool no_mlp;     /* blocks have no MLP, only x += mixer(rms_norm(x)); mlp_width is not read */
    bool tie;        /* the head uses the embedding table; there is no lm_head.weight */
    double norm_eps; /* of all norms, unless an entry of mixers says otherwise; 0: 1e-5 */
    bool norm_plus_one;    /* these norms store w and apply 1 + w */
    double embed_scale;    /* of the embeddings; 0: 1 */
    double residual_scale; /* of what mixers and MLPs add, unless an entry says otherwise; 0: 1 */
    double logit_scale;    /* of the logits; 0: 1 */
    double dropout;  /* of what mixers and MLPs add, unless an entry says otherwise; 0: none */
    pal_dtype dtype; /* 0: f32 */
    bool recompute;  /* keep only the input of each block, and recompute the rest in backward */
} pal_lm_opts;

/*
 * A language model on params: a trunk (blocks.h) of an embedding, `layers` blocks of
 *
 *     x += mixer(rms_norm(x));  x += mlp(rms_norm(x))
 *
 * and a norm, and the head: logits are logit_scale times head times norm(x). What an entry in
 * `mixers` says of its block comes before mlp_width, no_mlp, norm_eps, norm_plus_one,
 * residual_scale and dropout (pal_block_opts). If rng is NULL, nothing is drawn and these
 * parameters are zero: for models whose parameters are loaded. Parameters: model.embeddings.weight;
 * model.layers.I.attn_norm.weight, .attn.*, .mlp_norm.weight, .mlp.*; model.norm.weight;
 * lm_head.weight. params owns the model. If an option is wrong, the handler is told and NULL
 * returned.
 */
PAL_API pal_lm *pal_lm_new(pal_params *params, pal_lm_opts opts, pal_rng *rng);
/* The model's options, with every default filled in. */
PAL_API pal_lm_opts pal_lm_options(const pal_lm *lm);
/*
 * The embedding, the blocks and the norm of the model; hidden states of tokens are
 *
 *     pal_tensor h = pal_trunk_forward(pal_lm_trunk(lm), tokens, NULL, (pal_run_opts){0});
 */
PAL_API const pal_trunk *pal_lm_trunk(const pal_lm *lm);
/* The mixer of a layer 0 .. layers-1; NULL for another. */
PAL_API const pal_mixer *pal_lm_mixer(const pal_lm *lm, int64_t layer);
/* The options of block 0 .. layers-1 beside those of its mixer, with defaults filled in; zeros for
 * another. */
PAL_API pal_block_opts pal_lm_block(const pal_lm *lm, int64_t layer);
/*
 * Numbers of parameters: of one layer (zeros if there is no such layer), or of the whole model
 * (layer -1), whose norms include the last one. The norms inside a mixer count as the mixer's. A
 * tied head is counted once, as embeddings. Frozen parameters count.
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
/* Prints a table of these counts, one line for each layer. */
PAL_API void pal_lm_print_counts(const pal_lm *lm, FILE *file);
/* Logits [B,T,vocab] of the next token after each of tokens [B,T] (i64, on a tape). */
PAL_API pal_tensor pal_lm_logits(const pal_lm *lm, pal_tensor tokens, pal_run_opts run);
/* Mean cross-entropy (nats) of targets [B,T] (i64) after tokens [B,T], over the targets that are
 * not PAL_IGNORE; with run.parts, over those on this rank. The logits never exist all at once
 * (pal_linear_cross_entropy). */
PAL_API pal_tensor pal_lm_loss(const pal_lm *lm, pal_tensor tokens, pal_tensor targets,
                               pal_run_opts run);

/*
 * How likely a text is. Entry t of the result [B,T-1] is the log-probability (nats) of token t+1
 * given tokens 0..t of the same row of tokens [B,T]. The sum of a row is the log-probability of its
 * text without the first token. Packed, the entry between two sequences is 0. Differentiable in the
 * parameters. Logits exist for about 8 MB at a time (at least 64 rows), and are made again in
 * backward. PAL_EVALUE for run.parts, because the token after the last one of a part is on another
 * rank.
 */
PAL_API pal_tensor pal_lm_score(const pal_lm *lm, pal_tensor tokens, pal_run_opts run);

/*
 * Padded batches run as packed ones. pal_pack takes the first lengths[b] entries of each row b of x
 * [B,T,..], or the last ones if `left` (padding comes first), and joins them to [1, sum of lengths,
 * ..]. *offsets (may be NULL), i64 [B+1], says where each row begins. pal_unpack is the inverse:
 * [B,T,..] with zeros for padding. Both are differentiable in x.
 */
PAL_API pal_tensor pal_pack(pal_tensor x, const int64_t *lengths, bool left, pal_tensor *offsets);
/* The inverse of pal_pack. */
PAL_API pal_tensor pal_unpack(pal_tensor x, pal_tensor offsets, int64_t T, bool left);

/*
 * For decoding: the state of every layer after the tokens seen so far. It has memory of its own,
 * which does not grow (except for attention without a window, which keeps all keys and values). So
 * every token costs the same in a loop of
 *
 *     pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(1, 1), &token);
 *     pal_tensor logits = pal_lm_step(lm, state, in, (pal_run_opts){0});
 *     token = pal_sample(logits, (pal_sample_opts){.temperature = 0.8}, &rng);
 *     pal_tape_reset(tape);
 *
 * Run it with gradients off (pal_set_grad): then a long prompt takes the memory of one block,
 * unless a hook looks on, and the state is not copied onto the tape.
 */
typedef pal_trunk_state pal_lm_state;
PAL_API pal_lm_state *pal_lm_state_new(const pal_lm *lm); /* at the start of a sequence */
/* NULL is allowed. */
PAL_API void pal_lm_state_free(pal_lm_state *state);
/*
 * Feeds tokens [B,T], T >= 1 (a prompt, or one token), and returns the logits [B,vocab] after the
 * last. B must be the same in all calls. A prompt of N sequences of different lengths is packed,
 * [1,T] with run.offsets; then the logits are [N,vocab] and B is N from then on. None of them may
 * be empty, and attention does not take them. run.parts is refused. After an error the state is as
 * before.
 */
PAL_API pal_tensor pal_lm_step(const pal_lm *lm, pal_lm_state *state, pal_tensor tokens,
                               pal_run_opts run);

/*
 * States in files. put and get write and read a state as the group `group` of an open file; save
 * and load do so with a file that has only the state, and save replaces the file as a whole. Every
 * bit is kept, so a state that was read continues as the one that was written. A state without
 * tokens can be saved too.
 *
 * Files are not trusted. The number and names of the mixers, the dtypes and the shapes are compared
 * with the model. One message names all that does not fit, and then the state stays as it was. The
 * file does not have the parameters; they must be the same as when it was written. It has a
 * checksum of their names and values, taken in one pass over them: another one is PAL_EFORMAT. A
 * file of an earlier version has none, and is taken. Tensors that pal_lm_step returned before
 * reading are stale: reset their tape. Errors: PAL_EIO, PAL_EFORMAT, PAL_EVALUE if the model has
 * another number of layers, PAL_ENOMEM (which may reach the handler too).
 */
PAL_API PAL_CHECKED pal_status pal_lm_state_put(const pal_lm_state *state, pal_h5 *file,
                                                const char *group, pal_error *error);
/* Reads the group. */
PAL_API PAL_CHECKED pal_status pal_lm_state_get(const pal_lm *lm, pal_lm_state *state, pal_h5 *file,
                                                const char *group, pal_error *error);
/* Writes a file that has only the state. */
PAL_API PAL_CHECKED pal_status pal_lm_state_save(const pal_lm_state *state, const char *path,
                                                 pal_error *error);
/* Reads such a file. */
PAL_API PAL_CHECKED pal_status pal_lm_state_load(const pal_lm *lm, pal_lm_state *state,
                                                 const char *path, pal_error *error);

/* ---- Models of files ---- */

/* How a model is taken from a file; zero is the default. */
typedef struct pal_lm_open_opts {
    bool last; /* take the parameters of the last step, even if the file has their moving average */
    bool no_tokenizer; /* of a folder: leave out its tokenizer, and be NULL there */
    pal_dtype dtype; /* of the model of a folder; 0: f32. PAL_BF16, of a checkpoint too: the weights
                        of linear layers, embeddings and head are stored in bf16 and cannot train,
                        and all else is f32. It takes about 2 bytes a parameter */
    bool fit; /* of a folder whose weights are in bf16, where dtype is f32: PAL_BF16, if 4 bytes for
                 each number of its tensors are more than the memory that the system says is
                 available. `notes` then says so */
    pal_progress progress; /* is told of the bytes of parameters that were read; NULL: nobody */
} pal_lm_open_opts;

/* What is in a file. */
typedef struct pal_lm_file {
    pal_params *params;       /* of the model */
    pal_lm *lm;               /* on params */
    pal_tokenizer *tokenizer; /* the tokenizer of its data; bytes if the file has none */
    char *description;        /* the text of its configuration, lines `name = value` */
    char *notes;              /* what is not as expected, a line each; NULL or "": nothing */
    bool averaged;            /* the parameters are their moving average */
} pal_lm_file;

/*
 * Opens the model of a checkpoint (optim/train.h), or of a folder that others have released, and
 * fills *file, which pal_lm_close frees.
 *
 * Of a checkpoint it reads the lines mixers, layers, width, mlp-width, no-mlp, vocab, tie,
 * norm-eps, norm-plus-one, embed-scale, residual-scale, logit-scale, dropout, dtype and recompute
 * of the description and ignores others. If vocab, width, layers or dtype are 0 or missing, they
 * follow from the parameters in the file.
 *
 * A folder has a config.json of a family that docs/models.md lists, its tensors in
 * model.safetensors or in the shards of model.safetensors.index.json (bf16, f16, f32 or f64), and
 * mostly a tokenizer.json. The files are mapped, and their numbers go straight into the parameters.
 * What the configuration says is the description. A key of it that the family does not know is a
 * line of `notes`.
 *
 * No random numbers are drawn. Memory holds one copy of the parameters; gradients come with the
 * first backward pass.
 *
 * Files are not trusted (pal_set_file_check says what remains). What the description says is
 * compared with the parameters' shapes before memory is taken for a model. The error is one
 * sentence that names the file, and *file is then zeros, for: a file of another kind, a line that
 * is not valid, a parameter that is missing, not expected or of another shape, a tokenizer that is
 * damaged or has more tokens than the model; of a folder also for a type of model that is not
 * known, an option that is not there, and shards that their index does not fit. PAL_EIO,
 * PAL_EFORMAT, PAL_ENOMEM, PAL_EVALUE for an option that the model refuses.
 */
PAL_API PAL_CHECKED pal_status pal_lm_open(pal_lm_file *file, const char *path,
                                           pal_lm_open_opts opts, pal_error *error);
/* The description of the model in a checkpoint or a folder, as pal_lm_open has it, for free(). Its
 * parameters are not read. Errors as of pal_lm_open. */
PAL_API PAL_CHECKED pal_status pal_lm_describe(const char *path, char **description,
                                               pal_error *error);
/*
 * Loads into existing parameters those of a checkpoint, of a folder as in pal_lm_open, or of a file
 * that has only parameters: HDF5 (examples/convert.py), or safetensors with these names or those of
 * a Mamba-2 model. Floats of another width are converted. *about
 * (may be NULL) gets tokenizer, description, notes and `averaged`; its lm and params are NULL. If
 * the file has only parameters, tokenizer and description are NULL too; if a folder has no
 * tokenizer.json, the tokenizer is. pal_lm_close frees it. After an error nothing has changed, and
 * *about is zeros. Errors as of pal_lm_open.
 */
PAL_API PAL_CHECKED pal_status pal_lm_load(pal_params *params, const char *path,
                                           pal_lm_open_opts opts, pal_lm_file *about,
                                           pal_error *error);
/*
 * Whether a checkpoint's parameters can be those of a model of these options, for a program that
 * has read the options from it and builds the model itself. vocab, width and layers are compared
 * with the shapes in the file, and the model may not have more than twice as many parameters, and
 * 2^16, as the file. Memory is taken for so many at most, and given back. Errors as of pal_lm_open.
 */
PAL_API PAL_CHECKED pal_status pal_lm_compare(pal_lm_opts opts, const char *path, pal_error *error);
/*
 * Gives the parameters of `lm` values with which it computes what `other` computes. Layers of one
 * kind get the same values. Layers of GDN become KDA or GDN-2, and those of KDA become GDN-2: one
 * gate a head becomes equal gates of its channels, and so does one decay (docs/reductions.md has
 * the equations). All else has to be equal: widths, heads, MLPs, vocabulary, element type, and the
 * text of the other layers' mixers. GDN's output gate has a form of its own, so a GDN that is
 * mapped to KDA or GDN-2 has output_gate=none, and so have they. What the larger layer has beyond
 * that, the first matrix of its decay's further channels, stays as it is and is multiplied by 0, so
 * that training can use it. The logits of both for 16 tokens are then compared, to 1e-4 of the
 * largest.
 *
 * params and others are the parameters of the two. It takes memory for those of `lm` once more.
 * PAL_EVALUE names a parameter that has no place, or says that the models still differ; PAL_EDTYPE,
 * PAL_ENOMEM. After an error the parameters are what they were.
 */
PAL_API PAL_CHECKED pal_status pal_lm_map(const pal_lm *lm, pal_params *params, const pal_lm *other,
                                          pal_params *others, pal_error *error);
/* Frees all that *file holds and sets it to zeros. */
PAL_API void pal_lm_close(pal_lm_file *file);

/*
 * Writes a model as a folder of the kind of `like`, from which it was opened: model.safetensors or
 * its shards with the same names, shapes and types (numbers are rounded to the nearest, so those
 * that were read from bf16 and did not change are the same bits), tensors that are no part of the
 * model as they are there, and copies of its configuration, tokenizer, templates and licenses. The
 * model has to have the options of that folder's (dtype, recompute and dropout may differ).
 *
 * `folder` must not exist, or be empty; its own folder exists. It appears as a whole or not at all:
 * it is built as folder.tmp-PROCESS, which only a killed process leaves behind. Memory holds 2 MiB
 * of it. Errors: PAL_EVALUE for another model, or a folder that is not empty; those of pal_lm_open
 * for `like`; PAL_EIO; PAL_ENOMEM. pal_lm_export_check says before a training whether its end could
 * be written.
 */
PAL_API PAL_CHECKED pal_status pal_lm_export(const pal_lm *lm, const char *like, const char *folder,
                                             pal_error *error);
/* Whether a model of these options, with every default filled in, could be written. It writes
 * nothing. */
PAL_API PAL_CHECKED pal_status pal_lm_export_check(pal_lm_opts opts, const char *like,
                                                   const char *folder, pal_error *error);

/* How a token is drawn from logits. Zero is greedy: the token with the largest logit. */
typedef struct pal_sample_opts {
    double temperature; /* 0: greedy, without a random number */
    int64_t top_k;      /* draw among the k largest logits; 0: among all */
    double top_p; /* draw among the smallest set whose probability reaches p; 0, 1: among all */
} pal_sample_opts;
/*
 * Draws a token from a row of n logits with the probabilities softmax(logits / temperature). Only
 * the top_k most likely tokens can be drawn, and of these only the fewest that together have the
 * share top_p of their probability (always at least the most likely one). Of equal tokens the one
 * with the smaller number counts as more likely. NaN is never drawn. pal_sample_rows draws one
 * token for each of the B rows of logits [B,n], in order. A row takes one number of rng; greedy
 * takes none. Cost: n, and log n for each token that is looked at. Errors: PAL_EVALUE for an
 * option, or for a row without a number above -inf; PAL_ESHAPE; PAL_ENOMEM. Then every token is -1.
 * Source of top_p: Holtzman et al. 2019 (arXiv 1904.09751).
 */
PAL_API int64_t pal_sample(pal_tensor logits, pal_sample_opts opts, pal_rng *rng);
/* Draws tokens[0 .. B-1], one for each row of logits [B,n]. */
PAL_API void pal_sample_rows(pal_tensor logits, pal_sample_opts opts, pal_rng *rng, int64_t B,
                             int64_t *tokens);

#ifdef __cplusplus
}
#endif
#endif
