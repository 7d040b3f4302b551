/*
 * deltanet.c - the DeltaNet layer (Yang et al., NeurIPS 2024; arXiv 2406.06484).
 *
 * The delta rule without any decay; beta is one number a value head and token.
 */
#include "layers/mixers/internal.h"

typedef struct deltanet {
    pal_mixer mixer;
    pal_deltanet_opts opts;
    pal_heads h;
    pal_qkv qkv;
    pal_tensor b_proj, g_proj, o_norm, o_proj;
} deltanet;

static pal_tensor forward(const pal_mixer *mixer, pal_tensor x, const pal_mixer_call *call)
{
    const deltanet *m = (const deltanet *)mixer;
    const pal_heads *h = &m->h;
    pal_tensor qkv[3];
    pal_qkv_forward(&m->qkv, h, x, call, qkv);
    pal_tensor beta = pal_sigmoid(pal_linear(x, m->b_proj, PAL_NONE)); /* [B,T,HV] */
    if (m->opts.allow_neg_eigval) beta = pal_affine(beta, 2, 0);
    pal_mixer_show(call, "beta", &beta);
    pal_rule_opts opts = pal_mixer_rule(call, &pal_rule_deltanet);
    pal_mixer_delta(call, PAL_NONE, PAL_NONE, 0, qkv, NULL, &opts);
    pal_rule_out out = pal_deltanet(qkv[0], qkv[1], qkv[2], beta, opts);
    pal_mixer_done(call, &pal_rule_deltanet, &out);

    pal_gate kind = m->opts.use_gate ? PAL_GATE_SILU : PAL_GATE_NONE;
    pal_tensor gate =
        m->opts.use_gate ? pal_project_heads(x, m->g_proj, PAL_NONE, h->HV, h->V) : PAL_NONE;
    pal_mixer_show(call, "gate", &gate);
    pal_tensor y = pal_gated_norm_read(out.o, gate, m->o_norm,
                                       (pal_gated_norm_opts){.eps = h->eps, .gate = kind});
    y = pal_reshape(y, PAL_SHAPE(pal_dim(x, 0), pal_dim(x, 1), h->HV * h->V));
    return pal_linear(pal_mixer_heads(call, y, h->HV), m->o_proj, PAL_NONE);
}

static pal_remembered remembers(const pal_mixer *mixer, int64_t B, int64_t seen)
{
    (void)seen;
    return pal_heads_remember(&((const deltanet *)mixer)->h, &pal_rule_deltanet, B);
}

static void parameters(deltanet *m, pal_build *b)
{
    const pal_heads *h = &m->h;
    pal_qkv_projections(b, h, &m->qkv);
    m->b_proj = pal_build_linear(b, "b_proj.weight", h->HV, h->d);
    if (m->opts.use_gate) m->g_proj = pal_build_linear(b, "g_proj.weight", h->HV * h->V, h->d);
    pal_qkv_convolutions(b, h, &m->qkv);
    m->o_norm = pal_ones_new(b->params, pal_build_name(b, "o_norm.weight"), h->V, b->dtype);
    m->o_proj = pal_build_linear(b, "o_proj.weight", h->d, h->HV * h->V);
}

pal_mixer *pal_deltanet_new(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                            pal_deltanet_opts opts, pal_rng *rng)
{
    pal_build b = {params, prefix, dtype, rng, ""};
    pal_heads h = {
        .d = width,
        .H = opts.num_heads,
        .HV = opts.num_v_heads,
        .K = opts.head_dim,
        .V = opts.head_v_dim,
        .conv = opts.no_conv     ? 0
                : opts.conv_size ? opts.conv_size
                                 : 4,
        .conv_bias = opts.conv_bias,
        .eps = opts.norm_eps,
    };
    if (!pal_heads_init(&b, "deltanet", &h, opts.expand_v != 0 ? opts.expand_v : 1, 128, 1))
        return NULL;
    deltanet *m = pal_params_alloc(params, sizeof *m);
    if (!m) return NULL;
    *m = (deltanet){.mixer = {.name = "deltanet", .forward = forward, .remembers = remembers},
                    .opts = opts,
                    .h = h};
    parameters(m, &b);
    return pal_params_status(params) == PAL_OK ? &m->mixer : NULL;
}

static pal_mixer *create(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const void *opts, pal_rng *rng)
{
    return pal_deltanet_new(params, prefix, width, dtype, *(const pal_deltanet_opts *)opts, rng);
}

static const pal_key rows[] = {
    {"num_heads", PAL_KEY_WHOLE, PAL_AT(pal_deltanet_opts, num_heads), .low = 1,
     .high = PAL_MOST_SIZE},
    {"head_dim", PAL_KEY_WHOLE, PAL_AT(pal_deltanet_opts, head_dim), .low = 1,
     .high = PAL_MOST_SIZE},
    {"num_v_heads", PAL_KEY_WHOLE, PAL_AT(pal_deltanet_opts, num_v_heads), .low = 1,
     .high = PAL_MOST_SIZE},
    {"expand_v", PAL_KEY_REAL, PAL_AT(pal_deltanet_opts, expand_v)},
    {"head_v_dim", PAL_KEY_WHOLE, PAL_AT(pal_deltanet_opts, head_v_dim), .low = 1,
     .high = PAL_MOST_SIZE},
    {"use_gate", PAL_KEY_FLAG, PAL_AT(pal_deltanet_opts, use_gate)},
    {"use_short_conv", PAL_KEY_NOT, PAL_AT(pal_deltanet_opts, no_conv)},
    {"conv_size", PAL_KEY_WHOLE, PAL_AT(pal_deltanet_opts, conv_size), .low = 1,
     .high = PAL_MOST_SIZE},
    {"conv_bias", PAL_KEY_FLAG, PAL_AT(pal_deltanet_opts, conv_bias)},
    {"allow_neg_eigval", PAL_KEY_FLAG, PAL_AT(pal_deltanet_opts, allow_neg_eigval)},
    {"norm_eps", PAL_KEY_REAL, PAL_AT(pal_deltanet_opts, norm_eps)},
};
const pal_mixer_kind pal_mixer_kind_deltanet = {"deltanet", PAL_KEYS(rows),
                                                sizeof(pal_deltanet_opts), create};
