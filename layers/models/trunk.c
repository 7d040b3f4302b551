/*
 * trunk.c - a trunk: embedding, blocks of mixer and MLP, norm.
 *
 * Without gradients nobody reads what a block has computed once it has ended. So a long x goes
 * through each block as a segment, whose memory is given back. The numbers are the same.
 */
#include "layers/models/trunk.h"
#include "layers/mixers/internal.h"

#include <math.h>
#include <string.h>

/* ---- Building ---- */

static bool wrong(const char *what, const char *name, int64_t value)
{
    pal_fail_nowhere(PAL_EVALUE, "%s: %s %lld is out of range", what, name, (long long)value);
    return false;
}

static bool fill_defaults(pal_trunk_opts *o, const char *what)
{
    if (!o->width) o->width = 128;
    if (!o->mixers) o->mixers = "gdn2";
    if (o->embed_scale == 0) o->embed_scale = 1;
    if (o->vocab < 0 || o->vocab > 1 << 30) return wrong(what, "vocab", o->vocab);
    if (o->inputs < 0 || o->inputs > 1 << 24 || (o->inputs && o->vocab))
        return wrong(what, o->vocab ? "vocab together with inputs" : "inputs", o->inputs);
    if (o->width < 1 || o->width > 1 << 24) return wrong(what, "width", o->width);
    if (!(o->embed_scale > 0) || o->embed_scale >= HUGE_VAL) {
        pal_fail_nowhere(PAL_EVALUE, "%s: embed_scale %g is out of range", what, o->embed_scale);
        return false;
    }
    if (!pal_block_defaults(&o->block, what, o->width)) return false;
    pal_error error = {PAL_OK, ""};
    if (pal_mixers_check(o->mixers, &error) != PAL_OK) {
        pal_raise(&error);
        return false;
    }
    if (!o->layers) o->layers = pal_mixers_count(o->mixers);
    if (o->layers < 1 || o->layers > 1 << 16) return wrong(what, "layers", o->layers);
    return true;
}

static char *copied(pal_params *params, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = pal_params_alloc(params, size);
    return copy ? memcpy(copy, text, size) : NULL;
}

static bool build_blocks(pal_trunk *t, pal_build *b)
{
    char prefix[PAL_NAME_MAX];
    const char *own = b->prefix;
    for (int64_t i = 0; i < t->opts.layers; i++) {
        snprintf(prefix, sizeof prefix, "%s%slayers.%lld", own, *own ? "." : "", (long long)i);
        b->prefix = prefix;
        if (!pal_block_build(&t->blocks[i], b, t->opts.width, t->opts.mixers, i, &t->opts.block))
            return false;
    }
    b->prefix = own;
    return true;
}

static void build_inputs(pal_trunk *t, pal_build *b)
{
    const pal_trunk_opts *o = &t->opts;
    t->in = pal_param(b->params, pal_build_name(b, "in.weight"), o->dtype,
                      PAL_SHAPE(o->width, o->inputs));
    if (b->rng) pal_fill_normal(t->in, 0, 1 / sqrt((double)o->inputs), b->rng);
    t->in_bias = pal_bias_new(b->params, pal_build_name(b, "in.bias"), o->width, o->dtype);
}

pal_trunk *pal_trunk_make(pal_params *params, const char *what, const char *prefix,
                          pal_trunk_opts o, pal_rng *rng)
{
    if (!fill_defaults(&o, what)) return NULL;
    pal_trunk *t = pal_params_alloc(params, sizeof *t);
    char *mixers = copied(params, o.mixers), *own = copied(params, prefix ? prefix : "");
    pal_block *blocks = pal_params_alloc(params, (size_t)o.layers * sizeof *blocks);
    if (!t || !mixers || !own || !blocks) return NULL;
    o.mixers = mixers;
    *t = (pal_trunk){.opts = o, .what = what, .prefix = own, .params = params, .blocks = blocks};
    pal_build b = {params, own, o.dtype, rng, ""};
    if (o.vocab)
        t->embeddings = pal_embedding_weight(params, pal_build_name(&b, "embeddings.weight"),
                                             o.vocab, o.width, o.dtype, rng);
    if (o.inputs) build_inputs(t, &b);
    if (!build_blocks(t, &b)) return NULL;
    if (!o.no_norm) t->norm = pal_build_norm(&b, "norm.weight", o.width, o.block.norm_plus_one);
    return pal_params_status(params) == PAL_OK ? t : NULL;
}

pal_trunk *pal_trunk_new(pal_params *params, const char *prefix, pal_trunk_opts opts, pal_rng *rng)
{
    return pal_trunk_make(params, "trunk", prefix, opts, rng);
}

pal_trunk_opts pal_trunk_options(const pal_trunk *trunk) { return trunk->opts; }

const pal_block *pal_trunk_block(const pal_trunk *trunk, int64_t layer)
{
    return layer >= 0 && layer < trunk->opts.layers ? &trunk->blocks[layer] : NULL;
}

/* ---- Running ---- */

/* A block as a segment for pal_recompute: x, and the parts of the mixer's state if it has one. */
typedef struct segment {
    const pal_block *block;
    pal_run_opts run;
    const pal_trunk *trunk;
    pal_mixer_state *state; /* NULL: sequences start here, and no state is returned */
    int parts;              /* of the state after it */
} segment;

static void block_segment(void *context, const pal_tensor *in, pal_tensor *out)
{
    const segment *s = context;
    pal_mixer_state *state = s->state;
    int n = 0;
    for (int j = 0; state && j < s->parts; j++) state->part[j].tensor = in[1 + j];
    out[0] = pal_block_forward(s->block, in[0], state, s->run);
    for (; state && n < PAL_MIXER_PARTS && state->part[n].name; n++)
        if (n < s->parts) out[1 + n] = state->part[n].tensor;
    pal_tape *tape = pal_tape_of(out[0].node);
    if (n != s->parts && tape && pal_tape_status(tape) == PAL_OK)
        pal_fail(&tape->owner, PAL_EVALUE, "%s: the mixer %s has made %d parts of a state, not %d",
                 s->trunk->what, pal_mixer_name(s->block->mixer), n, s->parts);
}

/* The segment's context lives as long as what the tape records. */
static pal_tensor recomputed_block(const pal_trunk *t, pal_tape *tape, const pal_block *block,
                                   pal_tensor x, pal_run_opts run)
{
    segment *s = pal_arena_zeroed(&pal_tape_level(tape)->heads, sizeof *s);
    if (!s) {
        pal_fail(&tape->owner, PAL_ENOMEM, "%s: out of memory for a block", t->what);
        return pal_poison(&tape->owner);
    }
    *s = (segment){block, run, t, NULL, 0};
    pal_recompute(tape, block_segment, s, 1, &x, 1, &x);
    return x;
}

/* Hidden states of real numbers [B,T,inputs], or [B,T] if they are one each. */
static pal_tensor project(const pal_trunk *t, const pal_node *n, pal_tensor x)
{
    const bool flat = t->opts.inputs == 1 && n->a.ndim == 2;
    const bool wide = n->a.ndim == 3 && n->a.shape[2] == t->opts.inputs;
    if (pal_tape_of(n) && n->a.dtype == t->opts.dtype && (flat || wide))
        return pal_linear(flat ? pal_unsqueeze(x, 2) : x, t->in, t->in_bias);
    char text[128];
    const char *type = pal_dtype_name(t->opts.dtype);
    pal_fail(n->owner, PAL_ESHAPE, "%s: argument x is %s and should be %s[B,T,%lld] on a tape",
             t->what, pal_array_describe(&n->a, text, sizeof text), type,
             (long long)t->opts.inputs);
    return pal_poison(n->owner);
}

/*
 * Whether what a block computes can be forgotten behind it, because no backward pass will read it
 * and no hook has seen it. A few tokens are not worth the copies of what goes on, and neither is a
 * token of each of many sequences: it is small beside their states.
 */
static bool forgets(const pal_tape *tape, const pal_run_opts *run, pal_tensor x)
{
    enum { FEW = 16 };
    const int64_t B = pal_dim(x, 0), T = pal_dim(x, 1);
    return !tape->grad && !run->hook && !run->parts && T > 1 && B * T > FEW;
}

pal_tensor pal_trunk_block_on(const pal_trunk *t, pal_tape *tape, pal_tensor x,
                              pal_mixer_state *state, pal_run_opts run)
{
    const pal_block *block = &t->blocks[run.layer];
    if (!forgets(tape, &run, x)) return pal_block_forward(block, x, state, run);
    pal_tensor in[1 + PAL_MIXER_PARTS] = {x}, out[1 + PAL_MIXER_PARTS];
    const pal_remembered all = pal_mixer_remembers(block->mixer, 1, 0);
    segment s = {block, run, t, state, all.parts};
    for (int j = 0; j < all.parts; j++) in[1 + j] = state->part[j].tensor;
    pal_recompute(tape, block_segment, &s, 1 + all.parts, in, 1 + all.parts, out);
    for (int j = 0; j < all.parts; j++) state->part[j].tensor = out[1 + j];
    return out[0];
}

/* Embeddings of tokens [B,T], or hidden states as they are. */
static pal_tensor embed(const pal_trunk *t, pal_tensor x)
{
    const bool table = t->opts.vocab > 0, hidden = !t->tokens_only;
    const char *name = hidden ? "x" : "tokens";
    pal_node *n = pal_node_of(x, t->what, name);
    if (!n) return x.node ? pal_poison(x.node->owner) : pal_poison_nowhere();
    if (t->opts.inputs) return project(t, n, x);
    if (n->a.ndim == 2 && n->a.dtype == PAL_I64 && table) {
        x = pal_embedding(t->embeddings, x);
        return pal_scaled(x, t->opts.embed_scale);
    }
    const bool fits =
        n->a.ndim == 3 && n->a.dtype == t->opts.dtype && n->a.shape[2] == t->opts.width;
    if (hidden && fits && pal_tape_of(n)) return x;
    char text[128], states[64] = "";
    if (hidden)
        snprintf(states, sizeof states, "%s%s[B,T,%lld] on a tape", table ? " or " : "",
                 pal_dtype_name(t->opts.dtype), (long long)t->opts.width);
    pal_fail(n->owner, PAL_ESHAPE, "%s: argument %s is %s and should be %s%s", t->what, name,
             pal_array_describe(&n->a, text, sizeof text), table ? "i64[B,T]" : "", states);
    return pal_poison(n->owner);
}

bool pal_trunk_begin(const pal_trunk *t, const pal_run_opts *run, pal_tensor *x)
{
    *x = embed(t, *x);
    pal_tape *tape = pal_tape_of(x->node);
    if (!tape || pal_tape_status(tape) != PAL_OK) return false;
    if (pal_is_none(run->offsets)) return true;
    pal_frame f;
    int64_t sequences;
    pal_frame_init(&f, t->what);
    f.tape = tape;
    if (pal_frame_offsets(&f, run->offsets, pal_dim(*x, 0), pal_dim(*x, 1), &sequences))
        return true;
    *x = pal_poison(&tape->owner);
    return false;
}

bool pal_trunk_run(const pal_trunk *t, pal_tensor x, pal_run_opts run, pal_tensor *out)
{
    *out = x;
    if (!pal_trunk_begin(t, &run, out)) return false;
    pal_tape *tape = pal_tape_of(out->node);
    for (run.layer = 0; run.layer < t->opts.layers && pal_tape_status(tape) == PAL_OK;
         run.layer++) {
        const pal_block *block = &t->blocks[run.layer];
        *out = t->opts.recompute || forgets(tape, &run, *out)
                   ? recomputed_block(t, tape, block, *out, run)
                   : pal_block_forward(block, *out, NULL, run);
    }
    return pal_tape_status(tape) == PAL_OK;
}

pal_tensor pal_trunk_last_norm(const pal_trunk *t, pal_tensor x)
{
    if (pal_is_none(t->norm)) return x;
    return pal_rms_norm(x, pal_norm_gain(x, t->norm, t->opts.block.norm_plus_one),
                        t->opts.block.norm_eps);
}
