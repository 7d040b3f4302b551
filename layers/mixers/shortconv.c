/*
 * shortconv.c - the gated short convolution, a mixer without a rule (Liquid AI 2025, arXiv
 * 2511.23404).
 */
#include "layers/mixers/internal.h"

typedef struct shortconv {
    pal_mixer mixer;
    int64_t d, W;
    pal_tensor in_proj, in_bias, conv, conv_bias, out_proj, out_bias;
} shortconv;

static pal_tensor forward(const pal_mixer *mixer, pal_tensor u, const pal_mixer_call *call)
{
    const shortconv *m = (const shortconv *)mixer;
    pal_tensor bcx = pal_linear(u, m->in_proj, m->in_bias), part[3];
    pal_tape *tape = pal_tape_of(bcx.node);
    if (!tape || pal_tape_status(tape) != PAL_OK) return bcx;
    pal_split(bcx, -1, 3, (int64_t[]){m->d, m->d, m->d}, part); /* B, C, x */
    const pal_short_conv_opts how = {.tail = pal_mixer_find_part(call, pal_conv_part(0)),
                                     .offsets = call->opts.offsets,
                                     .parts = call->opts.parts,
                                     .continued = call->opts.continued};
    pal_tensor v = pal_mul(part[0], part[2]);
    pal_mixer_show(call, "v", &v);
    pal_tensor o = pal_short_conv(v, m->conv, m->conv_bias, how);
    pal_mixer_show(call, "o", &o);
    pal_mixer_show(call, "gate", &part[1]);
    return pal_linear(pal_mul(part[1], o), m->out_proj, m->out_bias);
}

static pal_remembered remembers(const pal_mixer *mixer, int64_t B, int64_t seen)
{
    const shortconv *m = (const shortconv *)mixer;
    pal_remembered memory = {0};
    (void)seen;
    pal_remember(&memory, pal_conv_part(0), PAL_SHAPE(B, m->W - 1, m->d));
    return memory;
}

static void parameters(shortconv *m, pal_build *b, bool bias)
{
    m->in_proj = pal_build_linear(b, "in_proj.weight", 3 * m->d, m->d);
    m->conv = pal_conv_weight(b->params, pal_build_name(b, "conv1d.weight"), m->d, m->W, b->dtype,
                              b->rng);
    m->out_proj = pal_build_linear(b, "out_proj.weight", m->d, m->d);
    if (!bias) return;
    m->in_bias = pal_bias_new(b->params, pal_build_name(b, "in_proj.bias"), 3 * m->d, b->dtype);
    m->conv_bias = pal_bias_new(b->params, pal_build_name(b, "conv1d.bias"), m->d, b->dtype);
    m->out_bias = pal_bias_new(b->params, pal_build_name(b, "out_proj.bias"), m->d, b->dtype);
}

pal_mixer *pal_shortconv_new(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                             pal_shortconv_opts opts, pal_rng *rng)
{
    pal_build b = {params, prefix, dtype, rng, ""};
    const int64_t W = opts.conv_size ? opts.conv_size : 3;
    if (width < 1 || width > 1 << 28 || W < 1 || W > 1 << 20) {
        pal_build_fail(&b, "shortconv", "the width %lld or conv_size %lld is out of range",
                       (long long)width, (long long)W);
        return NULL;
    }
    shortconv *m = pal_params_alloc(params, sizeof *m);
    if (!m) return NULL;
    *m = (shortconv){.mixer = {.name = "shortconv", .forward = forward, .remembers = remembers},
                     .d = width,
                     .W = W};
    parameters(m, &b, opts.use_bias);
    return pal_params_status(params) == PAL_OK ? &m->mixer : NULL;
}

static pal_mixer *create(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const void *opts, pal_rng *rng)
{
    return pal_shortconv_new(params, prefix, width, dtype, *(const pal_shortconv_opts *)opts, rng);
}

static const pal_key rows[] = {
    {"conv_size", PAL_KEY_WHOLE, PAL_AT(pal_shortconv_opts, conv_size), .low = 1,
     .high = PAL_MOST_SIZE},
    {"use_bias", PAL_KEY_FLAG, PAL_AT(pal_shortconv_opts, use_bias)},
};
const pal_mixer_kind pal_mixer_kind_shortconv = {"shortconv", PAL_KEYS(rows),
                                                 sizeof(pal_shortconv_opts), create};
