/*
 * lm.c - a language model: embedding, blocks of mixer and MLP, norm, head.
 */
#include "layers/models/lm.h"
#include "layers/models/description.h"

#include <math.h>

/* ---- Options by name ---- */

enum { MOST = INT32_MAX };
static const pal_key rows[] = {
    {"mixers", PAL_KEY_STRING, PAL_AT(pal_lm_opts, mixers), .required = true,
     .check = pal_mixers_check, .names = pal_mixers_name, .argument = "LIST",
     .help = "layers' mixers: name[:key=value...], comma-separated, cycled over the layers; "
             "N*(LIST) repeats (gdn2)"},
    {"layers", PAL_KEY_WHOLE, PAL_AT(pal_lm_opts, layers), .high = MOST,
     .help = "number of blocks; 0: one for each entry of --mixers (2)"},
    {"width", PAL_KEY_WHOLE, PAL_AT(pal_lm_opts, width), .low = 1, .high = MOST,
     .help = "model width (64)"},
    {"mlp-width", PAL_KEY_WHOLE, PAL_AT(pal_lm_opts, mlp_width), .high = MOST,
     .help = "inner width of the MLPs (0: 8/3 of --width, up to a multiple of 32)"},
    {"no-mlp", PAL_KEY_FLAG, PAL_AT(pal_lm_opts, no_mlp),
     .help = "blocks of a mixer only, without an MLP"},
    {"vocab", PAL_KEY_WHOLE, PAL_AT(pal_lm_opts, vocab), .high = MOST,
     .help = "tokens that the model knows (0: those of the data)"},
    {"tie", PAL_KEY_FLAG, PAL_AT(pal_lm_opts, tie), .help = "the head is the embedding table"},
    {"norm-eps", PAL_KEY_REAL, PAL_AT(pal_lm_opts, norm_eps), .high = 1, .argument = "EPS",
     .help = "of the blocks' norms (0: 1e-5)"},
    {"norm-plus-one", PAL_KEY_FLAG, PAL_AT(pal_lm_opts, norm_plus_one), .sparse = true,
     .help = "norms store w and apply 1 + w"},
    {"embed-scale", PAL_KEY_REAL, PAL_AT(pal_lm_opts, embed_scale), .high = HUGE_VAL,
     .sparse = true, .argument = "X", .help = "of the embeddings (0: 1)"},
    {"residual-scale", PAL_KEY_REAL, PAL_AT(pal_lm_opts, residual_scale), .high = HUGE_VAL,
     .sparse = true, .argument = "X",
     .help = "of what mixers and MLPs add to the residual stream (0: 1)"},
    {"logit-scale", PAL_KEY_REAL, PAL_AT(pal_lm_opts, logit_scale), .high = HUGE_VAL,
     .sparse = true, .argument = "X", .help = "of the logits (0: 1)"},
    {"dropout", PAL_KEY_REAL, PAL_AT(pal_lm_opts, dropout), .high = 1, .open = PAL_OPEN_HIGH,
     .sparse = true, .argument = "SHARE",
     .help = "of what mixers and MLPs add that is dropped in training (0)"},
    {"dtype", PAL_KEY_CHOICE, PAL_AT(pal_lm_opts, dtype), .words = "f32|f64",
     .help = "of parameters and sums (f32)"},
    {"recompute", PAL_KEY_FLAG, PAL_AT(pal_lm_opts, recompute), .tag = PAL_LM_FREE,
     .help = "blocks are computed twice, and need less memory"},
};
const pal_keys pal_lm_keys = PAL_KEYS(rows);

/* ---- Building ---- */

/* The default of a mixers list is the trunk's. */
static pal_trunk_opts trunk_of(const pal_lm_opts *o)
{
    return (pal_trunk_opts){
        .width = o->width,
        .layers = o->layers,
        .mixers = o->mixers,
        .block = {.mlp_width = o->mlp_width,
                  .no_mlp = o->no_mlp,
                  .norm_eps = o->norm_eps > 0 ? o->norm_eps : 0,
                  .norm_plus_one = o->norm_plus_one,
                  .residual_scale = o->residual_scale,
                  .dropout = o->dropout},
        .vocab = o->vocab ? o->vocab : 256,
        .embed_scale = o->embed_scale,
        .dtype = o->dtype,
        .recompute = o->recompute,
    };
}

static void fill_defaults(pal_lm_opts *o, const pal_trunk_opts *t)
{
    o->width = t->width, o->layers = t->layers, o->mixers = t->mixers, o->vocab = t->vocab;
    o->mlp_width = t->block.mlp_width, o->norm_eps = t->block.norm_eps;
    o->residual_scale = t->block.residual_scale, o->embed_scale = t->embed_scale;
}

pal_lm *pal_lm_new(pal_params *params, pal_lm_opts o, pal_rng *rng)
{
    if (o.logit_scale == 0) o.logit_scale = 1;
    if (!(o.logit_scale > 0) || o.logit_scale >= HUGE_VAL) {
        pal_fail_nowhere(PAL_EVALUE, "lm: logit_scale %g is out of range", o.logit_scale);
        return NULL;
    }
    pal_trunk *trunk = pal_trunk_make(params, "lm", "model", trunk_of(&o), rng);
    pal_lm *lm = trunk ? pal_params_alloc(params, sizeof *lm) : NULL;
    if (!lm) return NULL;
    trunk->tokens_only = true;
    fill_defaults(&o, &trunk->opts);
    *lm = (pal_lm){.opts = o, .trunk = trunk};
    lm->head = o.tie ? trunk->embeddings
                     : pal_linear_weight(params, "lm_head.weight", o.vocab, o.width, o.dtype, rng);
    return pal_params_status(params) == PAL_OK ? lm : NULL;
}

pal_lm_opts pal_lm_options(const pal_lm *lm) { return lm->opts; }
const pal_trunk *pal_lm_trunk(const pal_lm *lm) { return lm->trunk; }

const pal_mixer *pal_lm_mixer(const pal_lm *lm, int64_t layer)
{
    const pal_block *block = pal_trunk_block(lm->trunk, layer);
    return block ? block->mixer : NULL;
}

pal_block_opts pal_lm_block(const pal_lm *lm, int64_t layer)
{
    const pal_block *block = pal_trunk_block(lm->trunk, layer);
    return block ? block->opts : (pal_block_opts){0};
}

/* ---- Running ---- */

pal_tensor pal_lm_normed(const pal_lm *lm, pal_tensor x)
{
    x = pal_trunk_last_norm(lm->trunk, x);
    return lm->opts.logit_scale != 1 ? pal_affine(x, lm->opts.logit_scale, 0) : x;
}

pal_tensor pal_lm_head(const pal_lm *lm, pal_tensor x)
{
    return pal_linear(pal_lm_normed(lm, x), lm->head, PAL_NONE);
}

pal_tensor pal_lm_logits(const pal_lm *lm, pal_tensor tokens, pal_run_opts run)
{
    pal_tensor x;
    return pal_trunk_run(lm->trunk, tokens, run, &x) ? pal_lm_head(lm, x) : x;
}

pal_tensor pal_lm_loss(const pal_lm *lm, pal_tensor tokens, pal_tensor targets, pal_run_opts run)
{
    pal_tensor x;
    const pal_cross_entropy_opts opts = {.has_ignore = true, .ignore = PAL_IGNORE};
    if (!pal_trunk_run(lm->trunk, tokens, run, &x)) return x;
    return pal_linear_cross_entropy(pal_lm_normed(lm, x), lm->head, PAL_NONE, targets, opts);
}
