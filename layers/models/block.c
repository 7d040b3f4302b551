/*
 * block.c - a block: a mixer and an MLP with their norms, added to the residual stream.
 */
#include "layers/models/trunk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Building ---- */

static int64_t default_mlp(int64_t width) { return (width * 8 / 3 + 31) / 32 * 32; }

static bool in_range(double x, double above, double below) { return x > above && x < below; }

bool pal_block_defaults(pal_block_opts *o, const char *what, int64_t width)
{
    if (o->norm_eps == 0) o->norm_eps = 1e-5;
    if (o->residual_scale == 0) o->residual_scale = 1;
    if (o->mlp_gate_scale == 0) o->mlp_gate_scale = 1;
    if (o->mlp_down_scale == 0) o->mlp_down_scale = 1;
    if (o->no_mlp)
        o->mlp_width = 0;
    else if (!o->mlp_width)
        o->mlp_width = default_mlp(width);
    if ((o->mlp_width < 1 && !o->no_mlp) || o->mlp_width > 1 << 24)
        pal_fail_nowhere(PAL_EVALUE, "%s: mlp_width %lld is out of range", what,
                         (long long)o->mlp_width);
    else if (!in_range(o->mlp_gate_scale, 0, HUGE_VAL) || !in_range(o->mlp_down_scale, 0, HUGE_VAL))
        pal_fail_nowhere(PAL_EVALUE, "%s: mlp_gate_scale %g or mlp_down_scale %g is out of range",
                         what, o->mlp_gate_scale, o->mlp_down_scale);
    else if (!in_range(o->norm_eps, 0, HUGE_VAL) || !in_range(o->residual_scale, 0, HUGE_VAL) ||
             !(o->dropout >= 0 && o->dropout < 1))
        pal_fail_nowhere(PAL_EVALUE,
                         "%s: norm_eps %g, residual_scale %g or dropout %g is out of range", what,
                         o->norm_eps, o->residual_scale, o->dropout);
    else
        return true;
    return false;
}

/* The options of the entry, and the text of its mixer, for free(); NULL after an error. */
static char *read_entry(pal_block *block, const pal_build *b, int64_t width, const char *list,
                        int64_t i)
{
    char *text;
    pal_error error = {PAL_OK, ""};
    if (pal_mixers_entry(list, i, &text, &block->opts, &error) != PAL_OK) {
        pal_raise(&error);
        return NULL;
    }
    block->empty = pal_mixer_is_none(text);
    if (block->empty && block->opts.no_mlp)
        pal_build_fail(b, "block", "a block of the mixer none has an MLP, and no_mlp is set");
    else if (pal_block_defaults(&block->opts, b->prefix, width))
        return text;
    free(text);
    return NULL;
}

/* The mixer's last projection begins at 0, so that at first it adds nothing. */
static void zero_projection(pal_params *params, const char *mixer)
{
    static const char *const names[] = {"o_proj.weight", "out_proj.weight"};
    char name[PAL_NAME_MAX + 32];
    for (int i = 0; i < pal_params_count(params); i++)
        for (int j = 0; j < 2; j++) {
            snprintf(name, sizeof name, "%s.%s", mixer, names[j]);
            if (strcmp(pal_params_name(params, i), name)) continue;
            const pal_array a = pal_params_array(params, i);
            memset(a.data, 0, (size_t)pal_array_count(&a) * pal_dtype_size(a.dtype));
        }
}

bool pal_block_build(pal_block *block, pal_build *b, int64_t width, const char *list, int64_t i,
                     const pal_block_opts *opts)
{
    char part[PAL_NAME_MAX + 8];
    *block = (pal_block){.opts = *opts};
    char *text = read_entry(block, b, width, list, i);
    if (!text) return false;
    const pal_block_opts *o = &block->opts;
    if (!block->empty)
        block->attn_norm = pal_build_norm(b, "attn_norm.weight", width, o->norm_plus_one);
    snprintf(part, sizeof part, "%s", pal_build_name(b, "attn"));
    block->mixer = pal_mixer_new(b->params, part, width, b->dtype, text, b->rng);
    free(text);
    if (!block->mixer) return false;
    if (o->out_zero) zero_projection(b->params, part);
    if (o->no_mlp) return pal_params_status(b->params) == PAL_OK;
    block->mlp_norm = pal_build_norm(b, "mlp_norm.weight", width, o->norm_plus_one);
    snprintf(part, sizeof part, "%s", pal_build_name(b, "mlp"));
    const pal_mlp_opts mlp = {.kind = o->mlp,
                              .bias = o->mlp_bias,
                              .gate_scale = o->mlp_gate_scale,
                              .down_scale = o->mlp_down_scale};
    block->mlp = pal_mlp_new_with(b->params, part, width, o->mlp_width, mlp, b->dtype, b->rng);
    return pal_params_status(b->params) == PAL_OK;
}

pal_block *pal_block_new(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const char *text, pal_block_opts opts, pal_rng *rng)
{
    pal_build b = {params, prefix, dtype, rng, ""};
    if (pal_mixers_count(text) > 1) {
        pal_build_fail(&b, "block", "\"%.300s\" is a list; one entry is wanted", text);
        return NULL;
    }
    if (width < 1 || width > 1 << 24) {
        pal_build_fail(&b, "block", "width %lld is out of range", (long long)width);
        return NULL;
    }
    pal_block *block = pal_params_alloc(params, sizeof *block);
    return block && pal_block_build(block, &b, width, text, 0, &opts) ? block : NULL;
}

const pal_mixer *pal_block_mixer(const pal_block *block) { return block->mixer; }
pal_block_opts pal_block_options(const pal_block *block) { return block->opts; }

/* ---- Running ---- */

static pal_tensor normalise(const pal_block *block, pal_tensor x, pal_tensor weight)
{
    const pal_block_opts *o = &block->opts;
    return pal_rms_norm(x, pal_norm_gain(x, weight, o->norm_plus_one), o->norm_eps);
}

/* What mixer or MLP read. Only products read it if `products`. */
static pal_tensor before(const pal_block *block, pal_tensor x, pal_tensor weight, bool products)
{
    const pal_block_opts *o = &block->opts;
    if (o->norm != PAL_NORM_BEFORE) return x;
    if (!products) return normalise(block, x, weight);
    return pal_rms_norm_as(x, pal_norm_gain(x, weight, o->norm_plus_one), o->norm_eps,
                           pal_narrow_dtype(x));
}

/* x and what mixer or MLP have made of it. */
static pal_tensor add(const pal_block *block, pal_tensor x, pal_tensor y, pal_tensor weight,
                      const pal_run_opts *run)
{
    const pal_block_opts *o = &block->opts;
    if (o->norm == PAL_NORM_AFTER) y = normalise(block, y, weight);
    if (run->training) y = pal_dropout(y, o->dropout);
    return pal_add(x, pal_scaled(y, o->residual_scale));
}

pal_tensor pal_block_forward(const pal_block *block, pal_tensor x, pal_mixer_state *state,
                             pal_run_opts run)
{
    const pal_mixer_call call = {NULL, run}; /* for the hook */
    pal_mixer_show(&call, "stream", &x);
    if (!block->empty) {
        const bool products = pal_mixer_takes_bf16(block->mixer) && !run.hook;
        pal_tensor y = before(block, x, block->attn_norm, products);
        y = pal_mixer_forward(block->mixer, y, state, run);
        if (!pal_is_none(y)) x = add(block, x, y, block->attn_norm, &run);
    }
    pal_mixer_show(&call, "stream_mid", &x);
    if (!block->opts.no_mlp) {
        pal_tensor y = before(block, x, block->mlp_norm, !run.hook);
        if (pal_mixer_show(&call, "mlp_x", &y)) {
            y = pal_mlp_forward(&block->mlp, y);
            pal_mixer_show(&call, "mlp_y", &y);
        }
        if (!pal_is_none(y)) x = add(block, x, y, block->mlp_norm, &run);
    }
    pal_mixer_show(&call, "stream_out", &x);
    return x;
}
