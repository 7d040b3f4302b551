/*
 * attn.c - the attention layer, full ("attn") or in a window ("swa"), as in hybrid models.
 */
#include "layers/mixers/internal.h"

#include <math.h>

typedef struct attn {
    pal_mixer mixer;
    pal_attn_opts opts;
    int64_t H, HKV, D, R;          /* R channels of a head are turned */
    pal_tensor weight[3], bias[3]; /* of q_proj, k_proj, v_proj */
    pal_tensor norm[2];            /* of q and k */
    pal_tensor o_proj, o_bias;
} attn;

static const char *const names[3] = {"q", "k", "v"};
enum { SWA_WINDOW = 2048, MOST_DIM = 128 };

/* Joins the keys or values of the state and the new ones, and stores in the state those that later
 * queries may see. */
static pal_tensor with_past(const attn *m, pal_tensor *past, pal_tensor x)
{
    if (!pal_is_none(*past)) x = pal_concat(2, (const pal_tensor[]){*past, x}, 1);
    int64_t n = pal_dim(x, 1), w = m->opts.window_size, first = w && n > w - 1 ? n - (w - 1) : 0;
    *past = pal_slice(x, 1, first, n, 1);
    return x;
}

/* The RMS norm of q (i = 0) or k, [B,T,heads,D], by head or over all heads. */
static pal_tensor normalise(const attn *m, int i, pal_tensor x)
{
    const pal_shape heads = pal_shape_of(x);
    const pal_tensor weight = pal_norm_gain(x, m->norm[i], m->opts.norm_plus_one);
    if (!m->opts.qk_norm_whole || heads.ndim != 4) return pal_rms_norm(x, weight, m->opts.norm_eps);
    x = pal_reshape(x, PAL_SHAPE(heads.dim[0], heads.dim[1], heads.dim[2] * heads.dim[3]));
    return pal_reshape(pal_rms_norm(x, weight, m->opts.norm_eps), heads);
}

/* q, k and v of x with their norms and positions, and the gate (PAL_NONE: there is none). */
static void project(const attn *m, pal_tensor x, const pal_mixer_call *call, pal_tensor qkv[3],
                    pal_tensor *gate)
{
    const pal_rotary_opts rotary = {.base = m->opts.rope_theta,
                                    .channels = m->R,
                                    .interleaved = m->opts.rope == PAL_ROPE_INTERLEAVED,
                                    .start = call->state ? call->state->seen : 0,
                                    .offsets = call->opts.offsets,
                                    .parts = call->opts.parts,
                                    .continued = call->opts.continued};
    *gate = PAL_NONE;
    for (int i = 0; i < 3; i++) {
        const bool both = i == 0 && m->opts.output_gate != PAL_GATE_NONE;
        qkv[i] = pal_project_heads(x, m->weight[i], m->bias[i], i ? m->HKV : m->H,
                                   both ? 2 * m->D : m->D);
        if (both) {
            pal_tensor part[2] = {qkv[i], qkv[i]}; /* of a failure, poison */
            pal_split(qkv[i], -1, 2, (int64_t[]){m->D, m->D}, part);
            qkv[i] = part[0], *gate = part[1];
        }
        if (i < 2 && !pal_is_none(m->norm[i])) qkv[i] = normalise(m, i, qkv[i]);
        if (i < 2 && m->opts.rope != PAL_ROPE_NONE) qkv[i] = pal_rotary(qkv[i], rotary);
    }
}

static pal_tensor gated(const attn *m, pal_tensor o, pal_tensor gate)
{
    if (pal_is_none(gate)) return o;
    return pal_mul(o, m->opts.output_gate == PAL_GATE_SILU ? pal_silu(gate) : pal_sigmoid(gate));
}

static pal_tensor forward(const pal_mixer *mixer, pal_tensor x, const pal_mixer_call *call)
{
    const attn *m = (const attn *)mixer;
    pal_mixer_state *state = call->state;
    const pal_attention_opts how = {.window = m->opts.window_size,
                                    .scale = m->opts.scale,
                                    .offsets = call->opts.offsets,
                                    .composed = call->opts.mode == PAL_RULE_COMPOSED,
                                    .parts = call->opts.parts,
                                    .continued = call->opts.continued};
    pal_tensor qkv[3], gate;
    x = pal_scaled(x, m->opts.in_scale);
    project(m, x, call, qkv, &gate);
    for (int i = 0; i < 3; i++) pal_mixer_show(call, names[i], &qkv[i]);
    if (state) {
        state->seen += pal_dim(x, 1);
        for (int i = 1; i < 3; i++) {
            pal_tensor *past = pal_mixer_find_part(call, names[i]);
            if (past) qkv[i] = with_past(m, past, qkv[i]);
        }
    }
    pal_tensor y = pal_attention(qkv[0], qkv[1], qkv[2], how);
    pal_mixer_show(call, "o", &y);
    pal_mixer_show(call, "gate", &gate);
    y = gated(m, y, gate);
    y = pal_reshape(y, PAL_SHAPE(pal_dim(x, 0), pal_dim(x, 1), m->H * m->D));
    y = pal_mixer_heads(call, y, m->H);
    return pal_scaled(pal_linear(y, m->o_proj, m->o_bias), m->opts.out_scale);
}

static pal_remembered remembers(const pal_mixer *mixer, int64_t B, int64_t seen)
{
    const attn *m = (const attn *)mixer;
    const int64_t w = m->opts.window_size, n = w && seen > w - 1 ? w - 1 : seen;
    pal_remembered memory = {.counts = true};
    for (int i = 1; i < 3; i++) pal_remember(&memory, names[i], PAL_SHAPE(B, n, m->HKV, m->D));
    return memory;
}

static void parameters(attn *m, pal_build *b, int64_t d)
{
    static const char *const weight[] = {"q_proj.weight", "k_proj.weight", "v_proj.weight"};
    static const char *const bias[] = {"q_proj.bias", "k_proj.bias", "v_proj.bias"};
    static const char *const norm[] = {"q_norm.weight", "k_norm.weight"};
    const int64_t both = m->opts.output_gate != PAL_GATE_NONE ? 2 : 1;
    const int64_t rows[] = {both * m->H * m->D, m->HKV * m->D, m->HKV * m->D};
    for (int i = 0; i < 3; i++) m->weight[i] = pal_build_linear(b, weight[i], rows[i], d);
    for (int i = 0; i < 3 && m->opts.qkv_bias; i++)
        m->bias[i] = pal_bias_new(b->params, pal_build_name(b, bias[i]), rows[i], b->dtype);
    for (int i = 0; i < 2 && (m->opts.qk_norm || m->opts.qk_norm_whole); i++)
        m->norm[i] =
            pal_build_norm(b, norm[i], m->opts.qk_norm_whole ? (i ? m->HKV : m->H) * m->D : m->D,
                           m->opts.norm_plus_one);
    m->o_proj = pal_build_linear(b, "o_proj.weight", d, m->H * m->D);
    if (m->opts.o_bias)
        m->o_bias = pal_bias_new(b->params, pal_build_name(b, "o_proj.bias"), d, b->dtype);
}

static bool heads(const pal_build *b, const char *name, int64_t d, attn *m)
{
    m->H = m->opts.num_heads, m->D = m->opts.head_dim;
    if (d < 1) return pal_build_fail(b, name, "the width is %lld", (long long)d);
    if (m->H > 0 && m->D == 0) {
        if (d % m->H)
            return pal_build_fail(b, name, "the width %lld cannot be cut into %lld heads",
                                  (long long)d, (long long)m->H);
        m->D = d / m->H;
    } else if (m->D == 0) {
        m->D = d / 4 < 2 ? 2 : d / 4 < MOST_DIM ? d / 4 / 2 * 2 : MOST_DIM;
    }
    if (m->D > 0 && m->H == 0) m->H = d / m->D < 1 ? 1 : d / m->D;
    m->HKV = m->opts.num_kv_heads ? m->opts.num_kv_heads : m->H;
    if (m->H < 1 || m->D < 1 || m->HKV < 1 || m->opts.window_size < 0 || m->H > 1 << 20 ||
        m->D > 1 << 20 || !(m->opts.rope_theta >= 0))
        return pal_build_fail(b, name,
                              "num_heads %lld, num_kv_heads %lld, head_dim %lld, window_size %lld "
                              "or rope_theta %g is out of range",
                              (long long)m->H, (long long)m->HKV, (long long)m->D,
                              (long long)m->opts.window_size, m->opts.rope_theta);
    if (m->H % m->HKV)
        return pal_build_fail(b, name, "num_heads %lld is no multiple of num_kv_heads %lld",
                              (long long)m->H, (long long)m->HKV);
    return true;
}

/* Defaults of the options that say no size, and how many channels are turned. */
static bool details(const pal_build *b, const char *name, attn *m)
{
    pal_attn_opts *o = &m->opts;
    const double share = o->rope_fraction != 0 ? o->rope_fraction : 1;
    if (o->norm_eps == 0) o->norm_eps = 1e-5;
    if (o->output_gate == PAL_GATE_DEFAULT) o->output_gate = PAL_GATE_NONE;
    if (!(share > 0 && share <= 1) || !(o->norm_eps > 0 && o->norm_eps < HUGE_VAL) ||
        !isfinite(o->scale) || !isfinite(o->in_scale) || !isfinite(o->out_scale))
        return pal_build_fail(b, name,
                              "rope_fraction %g, norm_eps %g, scale %g, in_scale %g or out_scale "
                              "%g is out of range",
                              o->rope_fraction, o->norm_eps, o->scale, o->in_scale, o->out_scale);
    if (o->rope == PAL_ROPE_NONE) return true;
    m->R = share < 1 ? (int64_t)(share * (double)m->D + 1e-9) : m->D; /* 0.7 of 10 is 7 */
    if (m->D % 2 && share >= 1)
        return pal_build_fail(b, name, "head_dim %lld is odd, and rotary turns pairs",
                              (long long)m->D);
    return (m->R > 0 && m->R % 2 == 0) ||
           pal_build_fail(b, name,
                          "rope_fraction %g of head_dim %lld is %lld channels, and rotary turns "
                          "pairs",
                          share, (long long)m->D, (long long)m->R);
}

static pal_mixer *build(const char *name, pal_params *params, const char *prefix, int64_t width,
                        pal_dtype dtype, pal_attn_opts opts, pal_rng *rng)
{
    pal_build b = {params, prefix, dtype, rng, ""};
    attn layer = {.mixer = {.name = name,
                            .forward = forward,
                            .remembers = remembers,
                            .refuses = PAL_NO_PACKED_STATE},
                  .opts = opts};
    if (!heads(&b, name, width, &layer) || !details(&b, name, &layer)) return NULL;
    attn *m = pal_params_alloc(params, sizeof *m);
    if (!m) return NULL;
    *m = layer;
    parameters(m, &b, width);
    return pal_params_status(params) == PAL_OK ? &m->mixer : NULL;
}

pal_mixer *pal_attn_new(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                        pal_attn_opts opts, pal_rng *rng)
{
    return build("attn", params, prefix, width, dtype, opts, rng);
}

static pal_mixer *create(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const void *opts, pal_rng *rng)
{
    return pal_attn_new(params, prefix, width, dtype, *(const pal_attn_opts *)opts, rng);
}

static pal_mixer *create_swa(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                             const void *opts, pal_rng *rng)
{
    pal_attn_opts o = *(const pal_attn_opts *)opts;
    if (!o.window_size) o.window_size = SWA_WINDOW;
    return build("swa", params, prefix, width, dtype, o, rng);
}

static const pal_key rows[] = {
    {"num_heads", PAL_KEY_WHOLE, PAL_AT(pal_attn_opts, num_heads), .low = 1, .high = PAL_MOST_SIZE},
    {"head_dim", PAL_KEY_WHOLE, PAL_AT(pal_attn_opts, head_dim), .low = 1, .high = PAL_MOST_SIZE},
    {"num_kv_heads", PAL_KEY_WHOLE, PAL_AT(pal_attn_opts, num_kv_heads), .low = 1,
     .high = PAL_MOST_SIZE},
    {"window_size", PAL_KEY_WHOLE, PAL_AT(pal_attn_opts, window_size), .low = 1,
     .high = PAL_MOST_SIZE},
    {"rope", PAL_KEY_CHOICE, PAL_AT(pal_attn_opts, rope), .words = "half|interleaved|none"},
    {"rope_theta", PAL_KEY_REAL, PAL_AT(pal_attn_opts, rope_theta)},
    {"rope_fraction", PAL_KEY_REAL, PAL_AT(pal_attn_opts, rope_fraction), .high = 1,
     .open = PAL_OPEN_LOW},
    {"qkv_bias", PAL_KEY_FLAG, PAL_AT(pal_attn_opts, qkv_bias)},
    {"o_bias", PAL_KEY_FLAG, PAL_AT(pal_attn_opts, o_bias)},
    {"qk_norm", PAL_KEY_FLAG, PAL_AT(pal_attn_opts, qk_norm)},
    {"qk_norm_whole", PAL_KEY_FLAG, PAL_AT(pal_attn_opts, qk_norm_whole)},
    {"norm_eps", PAL_KEY_REAL, PAL_AT(pal_attn_opts, norm_eps), .high = HUGE_VAL,
     .open = PAL_OPEN_LOW},
    {"norm_plus_one", PAL_KEY_FLAG, PAL_AT(pal_attn_opts, norm_plus_one)},
    {"scale", PAL_KEY_REAL, PAL_AT(pal_attn_opts, scale)},
    {"in_scale", PAL_KEY_REAL, PAL_AT(pal_attn_opts, in_scale)},
    {"out_scale", PAL_KEY_REAL, PAL_AT(pal_attn_opts, out_scale)},
    {"output_gate", PAL_KEY_CHOICE, PAL_AT(pal_attn_opts, output_gate), .low = PAL_GATE_SILU,
     .words = "silu|sigmoid|none"},
};
const pal_mixer_kind pal_mixer_kind_attn = {"attn", PAL_KEYS(rows), sizeof(pal_attn_opts), create};
const pal_mixer_kind pal_mixer_kind_swa = {"swa", PAL_KEYS(rows), sizeof(pal_attn_opts),
                                           create_swa};
