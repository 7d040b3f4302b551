/*
 * gdn.c - the Gated DeltaNet layer (Yang, Kautz, Hatamizadeh, ICLR 2025).
 *
 * Decay and beta are one number a value head and token; values are twice as wide as keys, and the
 * output gate has a full projection.
 */
#include "layers/mixers/internal.h"

typedef struct gdn {
    pal_mixer mixer;
    pal_gdn_opts opts;
    pal_heads h;
    pal_qkv qkv;
    pal_tensor a_proj, b_proj, g_proj, A_log, dt_bias, o_norm, o_proj;
} gdn;

static pal_tensor forward(const pal_mixer *mixer, pal_tensor x, const pal_mixer_call *call)
{
    const gdn *m = (const gdn *)mixer;
    const pal_heads *h = &m->h;
    pal_tensor qkv[3];
    pal_qkv_forward(&m->qkv, h, x, call, qkv);
    pal_tensor beta = pal_sigmoid(pal_linear(x, m->b_proj, PAL_NONE)); /* [B,T,HV] */
    if (m->opts.allow_neg_eigval) beta = pal_affine(beta, 2, 0);
    pal_mixer_show(call, "beta", &beta);
    pal_tensor f = pal_linear(x, m->a_proj, PAL_NONE);
    /* f [B,T,HV] becomes the log-decay, and q and k unit vectors, while the rule reads them. */
    pal_rule_opts opts = pal_mixer_rule(call, &pal_rule_gdn);
    pal_mixer_delta(call, m->A_log, m->dt_bias, 0, qkv, &f, &opts);
    pal_rule_out out = pal_gdn(qkv[0], qkv[1], qkv[2], f, beta, opts);
    pal_mixer_done(call, &pal_rule_gdn, &out);

    const pal_gate kind = m->opts.output_gate;
    pal_tensor gate = PAL_NONE;
    if (kind != PAL_GATE_NONE) gate = pal_project_heads(x, m->g_proj, PAL_NONE, h->HV, h->V);
    pal_mixer_show(call, "gate", &gate);
    pal_tensor y = pal_gated_norm_read(out.o, gate, m->o_norm,
                                       (pal_gated_norm_opts){.eps = h->eps, .gate = kind});
    y = pal_reshape(y, PAL_SHAPE(pal_dim(x, 0), pal_dim(x, 1), h->HV * h->V));
    return pal_linear(pal_mixer_heads(call, y, h->HV), m->o_proj, PAL_NONE);
}

static pal_remembered remembers(const pal_mixer *mixer, int64_t B, int64_t seen)
{
    (void)seen;
    return pal_heads_remember(&((const gdn *)mixer)->h, &pal_rule_gdn, B);
}

static void parameters(gdn *m, pal_build *b)
{
    const pal_heads *h = &m->h;
    pal_qkv_projections(b, h, &m->qkv);
    if (m->opts.output_gate != PAL_GATE_NONE)
        m->g_proj = pal_build_linear(b, "g_proj.weight", h->HV * h->V, h->d);
    m->a_proj = pal_build_linear(b, "a_proj.weight", h->HV, h->d);
    m->b_proj = pal_build_linear(b, "b_proj.weight", h->HV, h->d);
    pal_qkv_convolutions(b, h, &m->qkv);
    m->A_log = pal_A_log_new(b->params, pal_build_name(b, "A_log"), h->HV, 0, 16, b->dtype, b->rng);
    m->dt_bias = pal_dt_bias_new(b->params, pal_build_name(b, "dt_bias"), h->HV, b->dtype, b->rng);
    m->o_norm = pal_ones_new(b->params, pal_build_name(b, "o_norm.weight"), h->V, b->dtype);
    m->o_proj = pal_build_linear(b, "o_proj.weight", h->d, h->HV * h->V);
}

pal_mixer *pal_gdn_new(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                       pal_gdn_opts opts, pal_rng *rng)
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
    if (!pal_heads_init(&b, "gdn", &h, opts.expand_v != 0 ? opts.expand_v : 2, 256, 0.75))
        return NULL;
    if (opts.no_gate) opts.output_gate = PAL_GATE_NONE;
    if (opts.output_gate == PAL_GATE_DEFAULT) opts.output_gate = PAL_GATE_SILU;
    gdn *m = pal_params_alloc(params, sizeof *m);
    if (!m) return NULL;
    *m = (gdn){
        .mixer = {.name = "gdn", .forward = forward, .remembers = remembers}, .opts = opts, .h = h};
    parameters(m, &b);
    return pal_params_status(params) == PAL_OK ? &m->mixer : NULL;
}

static pal_mixer *create(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const void *opts, pal_rng *rng)
{
    return pal_gdn_new(params, prefix, width, dtype, *(const pal_gdn_opts *)opts, rng);
}

static const pal_key rows[] = {
    {"num_heads", PAL_KEY_WHOLE, PAL_AT(pal_gdn_opts, num_heads), .low = 1, .high = PAL_MOST_SIZE},
    {"head_dim", PAL_KEY_WHOLE, PAL_AT(pal_gdn_opts, head_dim), .low = 1, .high = PAL_MOST_SIZE},
    {"num_v_heads", PAL_KEY_WHOLE, PAL_AT(pal_gdn_opts, num_v_heads), .low = 1,
     .high = PAL_MOST_SIZE},
    {"expand_v", PAL_KEY_REAL, PAL_AT(pal_gdn_opts, expand_v)},
    {"head_v_dim", PAL_KEY_WHOLE, PAL_AT(pal_gdn_opts, head_v_dim), .low = 1,
     .high = PAL_MOST_SIZE},
    {"use_gate", PAL_KEY_NOT, PAL_AT(pal_gdn_opts, no_gate)},
    {"output_gate", PAL_KEY_CHOICE, PAL_AT(pal_gdn_opts, output_gate), .low = PAL_GATE_SILU,
     .words = "silu|sigmoid|none"},
    {"use_short_conv", PAL_KEY_NOT, PAL_AT(pal_gdn_opts, no_conv)},
    {"conv_size", PAL_KEY_WHOLE, PAL_AT(pal_gdn_opts, conv_size), .low = 1, .high = PAL_MOST_SIZE},
    {"conv_bias", PAL_KEY_FLAG, PAL_AT(pal_gdn_opts, conv_bias)},
    {"allow_neg_eigval", PAL_KEY_FLAG, PAL_AT(pal_gdn_opts, allow_neg_eigval)},
    {"norm_eps", PAL_KEY_REAL, PAL_AT(pal_gdn_opts, norm_eps)},
};
const pal_mixer_kind pal_mixer_kind_gdn = {"gdn", PAL_KEYS(rows), sizeof(pal_gdn_opts), create};
