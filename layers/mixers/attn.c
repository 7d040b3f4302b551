/*
 * attn.c - the attention layer, full ("attn") or in a window ("swa"), as in hybrid models.
 */
#include "layers/mixers/internal.h"

typedef struct attn {
    pal_mixer mixer;
    pal_attn_opts opts;
    int64_t H, HKV, D;
    pal_tensor weight[3], bias[3]; /* of q_proj, k_proj, v_proj */
    pal_tensor norm[2];            /* of q and k */
    pal_tensor o_proj;
} attn;

static const double NORM_EPS = 1e-5;
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

static pal_tensor forward(const pal_mixer *mixer, pal_tensor x, const pal_mixer_call *call)
{
    const attn *m = (const attn *)mixer;
    pal_mixer_state *state = call->state;
    const pal_rotary_opts rotary = {.base = m->opts.rope_theta,
                                    .start = state ? state->seen : 0,
                                    .offsets = call->opts.offsets,
                                    .parts = call->opts.parts,
                                    .continued = call->opts.continued};
    const pal_attention_opts how = {.window = m->opts.window_size,
                                    .offsets = call->opts.offsets,
                                    .composed = call->opts.mode == PAL_RULE_COMPOSED,
                                    .parts = call->opts.parts,
                                    .continued = call->opts.continued};
    pal_tensor qkv[3];
    for (int i = 0; i < 3; i++) {
        qkv[i] = pal_project_heads(x, m->weight[i], m->bias[i], i ? m->HKV : m->H, m->D);
        if (i < 2 && m->opts.qk_norm) qkv[i] = pal_rms_norm(qkv[i], m->norm[i], NORM_EPS);
        if (i < 2) qkv[i] = pal_rotary(qkv[i], rotary);
    }
    for (int i = 0; i < 3; i++) pal_mixer_show(call, names[i], &qkv[i]);
    const bool packed = !pal_is_none(call->opts.offsets);
    if (state && (packed || (call->opts.parts && call->opts.parts->size > 1))) {
        pal_node *n = x.node;
        pal_fail(n->owner, PAL_EVALUE, "%s: %s leave no state to go on from", mixer->name,
                 packed ? "packed sequences" : "sequences over processes");
        return pal_poison(n->owner);
    }
    if (state) {
        state->seen += pal_dim(x, 1);
        for (int i = 1; i < 3; i++) {
            pal_tensor *past = pal_mixer_find_part(call, names[i]);
            if (past) qkv[i] = with_past(m, past, qkv[i]);
        }
    }
    pal_tensor y = pal_attention(qkv[0], qkv[1], qkv[2], how);
    pal_mixer_show(call, "o", &y);
    y = pal_reshape(y, PAL_SHAPE(pal_dim(x, 0), pal_dim(x, 1), m->H * m->D));
    return pal_linear(y, m->o_proj, PAL_NONE);
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
    for (int i = 0; i < 3; i++)
        m->weight[i] = pal_build_linear(b, weight[i], (i ? m->HKV : m->H) * m->D, d);
    for (int i = 0; i < 3 && m->opts.qkv_bias; i++)
        m->bias[i] = pal_bias_new(b->params, pal_build_name(b, bias[i]), (i ? m->HKV : m->H) * m->D,
                                  b->dtype);
    for (int i = 0; i < 2 && m->opts.qk_norm; i++)
        m->norm[i] = pal_ones_new(b->params, pal_build_name(b, norm[i]), m->D, b->dtype);
    m->o_proj = pal_build_linear(b, "o_proj.weight", d, m->H * m->D);
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
    return m->D % 2 == 0 ||
           pal_build_fail(b, name, "head_dim %lld is odd, and rotary turns pairs", (long long)m->D);
}

static pal_mixer *build(const char *name, pal_params *params, const char *prefix, int64_t width,
                        pal_dtype dtype, pal_attn_opts opts, pal_rng *rng)
{
    pal_build b = {params, prefix, dtype, rng, ""};
    attn layer = {.mixer = {name, forward, remembers}, .opts = opts};
    if (!heads(&b, name, width, &layer)) return NULL;
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
    {"rope_theta", PAL_KEY_REAL, PAL_AT(pal_attn_opts, rope_theta)},
    {"qkv_bias", PAL_KEY_FLAG, PAL_AT(pal_attn_opts, qkv_bias)},
    {"qk_norm", PAL_KEY_FLAG, PAL_AT(pal_attn_opts, qk_norm)},
};
const pal_mixer_kind pal_mixer_kind_attn = {"attn", PAL_KEYS(rows), sizeof(pal_attn_opts), create};
const pal_mixer_kind pal_mixer_kind_swa = {"swa", PAL_KEYS(rows), sizeof(pal_attn_opts),
                                           create_swa};
