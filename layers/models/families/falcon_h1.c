/*
 * falcon_h1.c - Falcon-H1: in each block Mamba-2 and attention read the same input and their
 * outputs are added; thirteen multipliers.
 */
#include "layers/models/families/family.h"

#include <math.h>

enum { MOST = 1 << 24, HYBRID = 0 };

typedef struct falcon_h1 {
    int64_t layers, width, vocab, mlp;
    int64_t heads, kv_heads, head_dim;
    int64_t m_inner, m_heads, m_head_dim, m_state, m_groups, m_kernel;
    double eps, theta, m_expand;
    double embedding, logits, key, attention_in, attention_out, ssm_in, ssm_out;
    bool tie, bias, mlp_bias, out_bias, m_conv_bias, m_bias, m_norm, m_norm_late;
} falcon_h1;

#define SIZE(field)  PAL_AT(falcon_h1, field), .low = 1, .high = MOST
#define ABOVE(field) PAL_AT(falcon_h1, field), .high = HUGE_VAL, .open = PAL_OPEN_LOW
#define FLAG(field)  PAL_AT(falcon_h1, field)

static const pal_key rows[] = {
    {"num_hidden_layers", PAL_KEY_WHOLE, PAL_AT(falcon_h1, layers), .low = 1,
     .high = PAL_FOLDER_LAYERS, .tag = PAL_CONFIG_NEEDED},
    {"hidden_size", PAL_KEY_WHOLE, SIZE(width), .tag = PAL_CONFIG_NEEDED},
    {"vocab_size", PAL_KEY_WHOLE, SIZE(vocab), .tag = PAL_CONFIG_NEEDED},
    {"intermediate_size", PAL_KEY_WHOLE, SIZE(mlp)},
    {"num_attention_heads", PAL_KEY_WHOLE, SIZE(heads)},
    {"num_key_value_heads", PAL_KEY_WHOLE, SIZE(kv_heads)},
    {"head_dim", PAL_KEY_WHOLE, SIZE(head_dim)},
    {"rope_theta", PAL_KEY_REAL, ABOVE(theta)},
    {"rms_norm_eps", PAL_KEY_REAL, PAL_AT(falcon_h1, eps), .high = 1, .open = PAL_OPEN_LOW},
    {"mamba_d_ssm", PAL_KEY_WHOLE, SIZE(m_inner)},
    {"mamba_n_heads", PAL_KEY_WHOLE, SIZE(m_heads)},
    {"mamba_d_head", PAL_KEY_WHOLE, SIZE(m_head_dim), .words = "auto"},
    {"mamba_d_state", PAL_KEY_WHOLE, SIZE(m_state)},
    {"mamba_n_groups", PAL_KEY_WHOLE, SIZE(m_groups)},
    {"mamba_d_conv", PAL_KEY_WHOLE, SIZE(m_kernel)},
    {"mamba_expand", PAL_KEY_REAL, PAL_AT(falcon_h1, m_expand), .high = 64, .open = PAL_OPEN_LOW},
    {"mamba_conv_bias", PAL_KEY_FLAG, FLAG(m_conv_bias)},
    {"mamba_proj_bias", PAL_KEY_FLAG, FLAG(m_bias)},
    {"mamba_rms_norm", PAL_KEY_FLAG, FLAG(m_norm)},
    {"mamba_norm_before_gate", PAL_KEY_FLAG, FLAG(m_norm_late)},
    {"projectors_bias", PAL_KEY_FLAG, FLAG(out_bias)},
    {"attention_bias", PAL_KEY_FLAG, FLAG(bias)},
    {"mlp_bias", PAL_KEY_FLAG, FLAG(mlp_bias)},
    {"embedding_multiplier", PAL_KEY_REAL, ABOVE(embedding)},
    {"lm_head_multiplier", PAL_KEY_REAL, ABOVE(logits)},
    {"key_multiplier", PAL_KEY_REAL, ABOVE(key)},
    {"attention_in_multiplier", PAL_KEY_REAL, ABOVE(attention_in)},
    {"attention_out_multiplier", PAL_KEY_REAL, ABOVE(attention_out)},
    {"ssm_in_multiplier", PAL_KEY_REAL, ABOVE(ssm_in)},
    {"ssm_out_multiplier", PAL_KEY_REAL, ABOVE(ssm_out)},
    {"tie_word_embeddings", PAL_KEY_FLAG, FLAG(tie)},
};
static const pal_key rope_rows[] = {{"rope_theta", PAL_KEY_REAL, ABOVE(theta)}};
static const pal_keys keys = PAL_KEYS(rows), rope_keys = PAL_KEYS(rope_rows);
static const pal_fixed fixed[] = {{"hidden_act", "silu|swish"},   {"attention_dropout", "0"},
                                  {"rope_scaling", "null"},       {"mamba_use_mlp", "true"},
                                  {"attn_layer_indices", "null"}, {NULL, NULL}};
static const pal_fixed rope_fixed[] = {
    {"rope_type", "default"}, {"partial_rotary_factor", "1"}, {NULL, NULL}};
static const pal_section sections[] = {
    {.path = "",
     .keys = &keys,
     .fixed = fixed,
     .own = "mlp_multipliers ssm_multipliers rope_parameters time_step_limit",
     .free = "max_position_embeddings mamba_chunk_size num_logits_to_keep mlp_expansion_factor"},
    {.path = "rope_parameters", .keys = &rope_keys, .fixed = rope_fixed},
};
static const falcon_h1 defaults = {.mlp = 14336,
                                   .heads = 32,
                                   .kv_heads = 8,
                                   .m_inner = 1024,
                                   .m_heads = 128,
                                   .m_head_dim = -1,
                                   .m_state = 256,
                                   .m_groups = 1,
                                   .m_kernel = 4,
                                   .m_expand = 2,
                                   .eps = 1e-5,
                                   .theta = 10000,
                                   .embedding = 1,
                                   .logits = 1,
                                   .key = 1,
                                   .attention_in = 1,
                                   .attention_out = 1,
                                   .ssm_in = 1,
                                   .ssm_out = 1,
                                   .m_conv_bias = true,
                                   .m_norm_late = true};

static void mamba_scales(const falcon_h1 *v, const double ssm[5], pal_described *d)
{
    static const char *const names[] = {"z_scale", "x_scale", "B_scale", "C_scale", "dt_scale"};
    pal_entry_real(d, HYBRID, "in_scale", v->ssm_in);
    pal_entry_real(d, HYBRID, "out_scale", v->ssm_out);
    for (int i = 0; i < 5; i++) pal_entry_real(d, HYBRID, names[i], ssm[i]);
}

static pal_status mamba(const pal_config *c, const falcon_h1 *v, pal_described *d, pal_error *error)
{
    double low = 0, high = HUGE_VAL, ssm[5] = {1, 1, 1, 1, 1};
    pal_status s = pal_config_bounds(c, "time_step_limit", &low, &high, error);
    if (s == PAL_OK) s = pal_config_reals(c, "ssm_multipliers", 5, ssm, error);
    if (s != PAL_OK) return s;
    const int64_t head_dim = v->m_head_dim > 0 ? v->m_head_dim : v->m_inner / v->m_heads;
    if (v->m_heads * head_dim != v->m_inner)
        return pal_config_bad(error, "mamba_n_heads %lld times mamba_d_head %lld is not %lld",
                              (long long)v->m_heads, (long long)head_dim, (long long)v->m_inner);
    if (v->m_bias != v->out_bias)
        return pal_config_bad(error, "mamba_proj_bias and projectors_bias differ; both projections "
                                     "of Mamba-2 have biases, or none");
    pal_entry_begin(d, HYBRID, "mamba2");
    pal_entry_whole(d, HYBRID, "num_heads", v->m_heads);
    pal_entry_whole(d, HYBRID, "head_dim", head_dim);
    pal_entry_whole(d, HYBRID, "state_size", v->m_state);
    pal_entry_whole(d, HYBRID, "n_groups", v->m_groups);
    pal_entry_whole(d, HYBRID, "conv_kernel", v->m_kernel);
    if (low > 0) pal_entry_real(d, HYBRID, "dt_min", low);
    if (high < HUGE_VAL) pal_entry_real(d, HYBRID, "dt_max", high);
    if (!v->m_conv_bias) pal_entry_flag(d, HYBRID, "use_conv_bias", false);
    if (v->m_bias) pal_entry_flag(d, HYBRID, "use_bias", true);
    if (!v->m_norm) pal_entry_flag(d, HYBRID, "rmsnorm", false);
    if (v->m_norm && v->m_norm_late) pal_entry_flag(d, HYBRID, "norm_before_gate", true);
    pal_entry_real(d, HYBRID, "norm_eps", v->eps);
    mamba_scales(v, ssm, d);
    return PAL_OK;
}

static void attention(const falcon_h1 *v, pal_described *d)
{
    const int64_t head_dim = v->head_dim ? v->head_dim : v->width / v->heads;
    pal_entry_more(d, HYBRID, "attn");
    pal_entry_whole(d, HYBRID, "num_heads", v->heads);
    pal_entry_whole(d, HYBRID, "num_kv_heads", v->kv_heads ? v->kv_heads : v->heads);
    pal_entry_whole(d, HYBRID, "head_dim", head_dim);
    pal_entry_real(d, HYBRID, "rope_theta", v->theta);
    pal_entry_real(d, HYBRID, "scale", v->key / sqrt((double)head_dim)); /* q (key k)^T */
    pal_entry_real(d, HYBRID, "in_scale", v->attention_in);
    pal_entry_real(d, HYBRID, "out_scale", v->attention_out);
    if (v->bias) pal_entry_flag(d, HYBRID, "qkv_bias", true);
    if (v->bias) pal_entry_flag(d, HYBRID, "o_bias", true);
}

/* Null means that it follows from another key, and not what a missing key means. */
static falcon_h1 with_nulls(const pal_config *c, const falcon_h1 *values)
{
    falcon_h1 v = *values;
    const pal_json *inner = pal_json_get(c->model, "mamba_d_ssm"),
                   *kv = pal_json_get(c->model, "num_key_value_heads");
    if (inner && pal_json_is_null(inner)) v.m_inner = (int64_t)(v.m_expand * (double)v.width);
    if (kv && pal_json_is_null(kv)) v.kv_heads = 0;
    return v;
}

static pal_status describe(const pal_config *c, const void *values, pal_described *d,
                           pal_error *error)
{
    const falcon_h1 v = with_nulls(c, values);
    double mlp[2] = {1, 1};
    d->opts = (pal_lm_opts){.layers = v.layers,
                            .width = v.width,
                            .vocab = v.vocab,
                            .mlp_width = v.mlp,
                            .tie = v.tie,
                            .norm_eps = v.eps,
                            .embed_scale = v.embedding,
                            .logit_scale = v.logits};
    pal_status s = pal_config_reals(c, "mlp_multipliers", 2, mlp, error);
    if (s == PAL_OK) s = mamba(c, &v, d, error);
    if (s != PAL_OK) return s;
    attention(&v, d);
    pal_entry_real(d, HYBRID, "block.mlp_gate_scale", mlp[0]);
    pal_entry_real(d, HYBRID, "block.mlp_down_scale", mlp[1]);
    if (v.mlp_bias) pal_entry_flag(d, HYBRID, "block.mlp_bias", true);
    return PAL_OK;
}

static const pal_spelling spellings[] = {
    {NULL, "model.embeddings.weight", "^embed_tokens.weight"},
    {NULL, "model.norm.weight", "^final_layernorm.weight"},
    {NULL, "lm_head.weight", "lm_head.weight"},
    {NULL, ".attn_norm.weight", ".input_layernorm.weight"},
    {NULL, ".mlp_norm.weight", ".pre_ff_layernorm.weight"},
    {NULL, ".mlp.*", ".feed_forward.*"},
    {NULL, ".attn.attn.*", ".self_attn.*"},
    {NULL, ".attn.mamba2.*", ".mamba.*"},
};

const pal_family pal_family_falcon_h1 = {
    .name = "Falcon-H1",
    .types = "falcon_h1",
    .sections = sections,
    .section_count = 2,
    .size = sizeof(falcon_h1),
    .defaults = &defaults,
    .describe = describe,
    .spellings = spellings,
    .spelling_count = (int)(sizeof spellings / sizeof *spellings),
    .prefixes = "model.",
};
