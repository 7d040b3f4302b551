/*
 * lm.c - a language model: embedding, blocks of mixer and MLP, norm, head.
 */
#include "layers/models/lm.h"
#include "layers/models/description.h"

#include <stdlib.h>
#include <string.h>

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
    {"dtype", PAL_KEY_CHOICE, PAL_AT(pal_lm_opts, dtype), .words = "f32|f64",
     .help = "of parameters and sums (f32)"},
    {"recompute", PAL_KEY_FLAG, PAL_AT(pal_lm_opts, recompute), .tag = PAL_LM_FREE,
     .help = "blocks are computed twice, and need less memory"},
};
const pal_keys pal_lm_keys = PAL_KEYS(rows);

/* ---- Building ---- */

static bool wrong(const char *what, int64_t value)
{
    pal_fail_nowhere(PAL_EVALUE, "lm: %s %lld is out of range", what, (long long)value);
    return false;
}

static int64_t default_mlp(int64_t width) { return (width * 8 / 3 + 31) / 32 * 32; }

static bool fill_defaults(pal_lm_opts *o)
{
    if (!o->vocab) o->vocab = 256;
    if (!o->width) o->width = 128;
    if (!o->mixers) o->mixers = "gdn2";
    if (!(o->norm_eps > 0)) o->norm_eps = 1e-5;
    if (o->vocab < 1 || o->vocab > 1 << 30) return wrong("vocab", o->vocab);
    if (o->width < 1 || o->width > 1 << 24) return wrong("width", o->width);
    if (o->no_mlp)
        o->mlp_width = 0;
    else if (!o->mlp_width)
        o->mlp_width = default_mlp(o->width);
    if ((o->mlp_width < 1 && !o->no_mlp) || o->mlp_width > 1 << 24)
        return wrong("mlp_width", o->mlp_width);
    pal_error error = {PAL_OK, ""};
    if (pal_mixers_check(o->mixers, &error) != PAL_OK) {
        pal_raise(&error);
        return false;
    }
    if (!o->layers) o->layers = pal_mixers_count(o->mixers);
    if (o->layers < 1 || o->layers > 1 << 16) return wrong("layers", o->layers);
    return true;
}

/* Reads the options of a block and its mixer. Those that its entry does not name are the model's.
 */
static bool build_mixer(pal_block_layer *block, pal_build *b, const pal_lm_opts *o, int64_t i)
{
    char part[PAL_NAME_MAX], *text;
    pal_error error = {PAL_OK, ""};
    block->opts = (pal_block_opts){o->mlp_width, o->no_mlp, o->norm_eps};
    if (pal_mixers_entry(o->mixers, i, &text, &block->opts, &error) != PAL_OK) {
        pal_raise(&error);
        return false;
    }
    if (block->opts.no_mlp)
        block->opts.mlp_width = 0;
    else if (!block->opts.mlp_width) /* of a model without MLPs */
        block->opts.mlp_width = default_mlp(o->width);
    snprintf(part, sizeof part, "%s.attn", b->prefix);
    block->mixer = pal_mixer_new(b->params, part, o->width, o->dtype, text, b->rng);
    free(text);
    return block->mixer != NULL;
}

static bool build_block(pal_block_layer *block, pal_build *b, const pal_lm_opts *o, int64_t i)
{
    char prefix[PAL_NAME_MAX / 2], part[PAL_NAME_MAX];
    snprintf(prefix, sizeof prefix, "model.layers.%lld", (long long)i);
    b->prefix = prefix;
    const char *name = pal_build_name(b, "attn_norm.weight");
    block->attn_norm = pal_ones_new(b->params, name, o->width, o->dtype);
    if (!build_mixer(block, b, o, i)) return false;
    block->mlp_norm = PAL_NONE;
    if (block->opts.no_mlp) return pal_params_status(b->params) == PAL_OK;
    name = pal_build_name(b, "mlp_norm.weight");
    block->mlp_norm = pal_ones_new(b->params, name, o->width, o->dtype);
    snprintf(part, sizeof part, "%s.mlp", prefix);
    block->mlp = pal_mlp_new(b->params, part, o->width, block->opts.mlp_width, o->dtype, b->rng);
    return pal_params_status(b->params) == PAL_OK;
}

pal_lm *pal_lm_new(pal_params *params, pal_lm_opts o, pal_rng *rng)
{
    if (!fill_defaults(&o)) return NULL;
    size_t length = strlen(o.mixers) + 1;
    pal_lm *lm = pal_params_alloc(params, sizeof *lm);
    char *mixers = pal_params_alloc(params, length);
    pal_block_layer *blocks = pal_params_alloc(params, (size_t)o.layers * sizeof *blocks);
    if (!lm || !mixers || !blocks) return NULL;
    o.mixers = memcpy(mixers, o.mixers, length);
    lm->opts = o;
    lm->blocks = blocks;
    lm->embeddings =
        pal_embedding_weight(params, "model.embeddings.weight", o.vocab, o.width, o.dtype, rng);
    pal_build b = {params, "", o.dtype, rng, ""};
    for (int64_t i = 0; i < o.layers; i++)
        if (!build_block(&blocks[i], &b, &o, i)) return NULL;
    lm->norm = pal_ones_new(params, "model.norm.weight", o.width, o.dtype);
    lm->head = o.tie ? lm->embeddings
                     : pal_linear_weight(params, "lm_head.weight", o.vocab, o.width, o.dtype, rng);
    return pal_params_status(params) == PAL_OK ? lm : NULL;
}

pal_lm_opts pal_lm_options(const pal_lm *lm) { return lm->opts; }

const pal_mixer *pal_lm_mixer(const pal_lm *lm, int64_t layer)
{
    return layer >= 0 && layer < lm->opts.layers ? lm->blocks[layer].mixer : NULL;
}

pal_block_opts pal_lm_block(const pal_lm *lm, int64_t layer)
{
    return layer >= 0 && layer < lm->opts.layers ? lm->blocks[layer].opts : (pal_block_opts){0};
}

/* ---- Running ---- */

pal_tensor pal_block_forward(const pal_block_layer *block, pal_tensor x, pal_mixer_state *state,
                             pal_run_opts run)
{
    pal_tensor y = pal_rms_norm(x, block->attn_norm, block->opts.norm_eps);
    y = pal_mixer_forward(block->mixer, y, state, run);
    if (!pal_is_none(y)) x = pal_add(x, y);
    if (pal_is_none(block->mlp_norm)) return x;
    y = pal_rms_norm(x, block->mlp_norm, block->opts.norm_eps);
    return pal_add(x, pal_mlp_forward(&block->mlp, y));
}

/* A block as a segment for pal_recompute. */
typedef struct segment {
    const pal_block_layer *block;
    pal_run_opts run;
} segment;

static void block_segment(void *context, const pal_tensor *in, pal_tensor *out)
{
    const segment *s = context;
    out[0] = pal_block_forward(s->block, in[0], NULL, s->run);
}

/* The segment's context lives as long as what the tape records. */
static pal_tensor recomputed_block(pal_tape *tape, const pal_block_layer *block, pal_tensor x,
                                   pal_run_opts run)
{
    segment *s = pal_arena_zeroed(&pal_tape_level(tape)->heads, sizeof *s);
    if (!s) {
        pal_fail(&tape->owner, PAL_ENOMEM, "lm: out of memory for a block");
        return pal_poison(&tape->owner);
    }
    *s = (segment){block, run};
    pal_recompute(tape, block_segment, s, 1, &x, 1, &x);
    return x;
}

static pal_tensor embed(const pal_lm *lm, pal_tensor tokens)
{
    pal_node *n = pal_node_of(tokens, "lm", "tokens");
    if (!n) return tokens.node ? pal_poison(tokens.node->owner) : pal_poison_nowhere();
    if (n->a.ndim == 2 && n->a.dtype == PAL_I64) return pal_embedding(lm->embeddings, tokens);
    char text[128];
    pal_fail(n->owner, PAL_ESHAPE, "lm: argument tokens is %s and should be i64[B,T]",
             pal_array_describe(&n->a, text, sizeof text));
    return pal_poison(n->owner);
}

pal_tensor pal_lm_head(const pal_lm *lm, pal_tensor x)
{
    return pal_linear(pal_rms_norm(x, lm->norm, lm->opts.norm_eps), lm->head, PAL_NONE);
}

bool pal_lm_begin(const pal_lm *lm, pal_tensor tokens, const pal_run_opts *run, pal_tensor *x)
{
    *x = embed(lm, tokens);
    pal_tape *tape = pal_tape_of(x->node);
    if (!tape || pal_tape_status(tape) != PAL_OK) return false;
    if (pal_is_none(run->offsets)) return true;
    pal_frame f;
    int64_t sequences;
    pal_frame_init(&f, "lm");
    f.tape = tape;
    if (pal_frame_offsets(&f, run->offsets, pal_dim(*x, 0), pal_dim(*x, 1), &sequences))
        return true;
    *x = pal_poison(&tape->owner);
    return false;
}

bool pal_lm_blocks(const pal_lm *lm, pal_tensor tokens, pal_run_opts run, pal_tensor *x)
{
    if (!pal_lm_begin(lm, tokens, &run, x)) return false;
    pal_tape *tape = pal_tape_of(x->node);
    for (run.layer = 0; run.layer < lm->opts.layers && pal_tape_status(tape) == PAL_OK;
         run.layer++) {
        const pal_block_layer *block = &lm->blocks[run.layer];
        *x = lm->opts.recompute ? recomputed_block(tape, block, *x, run)
                                : pal_block_forward(block, *x, NULL, run);
    }
    return pal_tape_status(tape) == PAL_OK;
}

pal_tensor pal_lm_logits(const pal_lm *lm, pal_tensor tokens, pal_run_opts run)
{
    pal_tensor x;
    return pal_lm_blocks(lm, tokens, run, &x) ? pal_lm_head(lm, x) : x;
}

pal_tensor pal_lm_loss(const pal_lm *lm, pal_tensor tokens, pal_tensor targets, pal_run_opts run)
{
    pal_tensor x;
    const pal_cross_entropy_opts opts = {.has_ignore = true, .ignore = PAL_IGNORE};
    if (!pal_lm_blocks(lm, tokens, run, &x)) return x;
    x = pal_rms_norm(x, lm->norm, lm->opts.norm_eps);
    return pal_linear_cross_entropy(x, lm->head, PAL_NONE, targets, opts);
}
