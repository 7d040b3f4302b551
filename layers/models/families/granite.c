/*
 * granite.c - Granite 4.0 without experts: Mamba-2 and attention, with multipliers.
 */
#include "layers/models/families/family.h"

#include <math.h>

enum { MOST = 1 << 24, MAMBA = 0, ATTENTION = 1 };

typedef struct granite {
    int64_t layers, width, vocab, mlp, experts;
    int64_t heads, kv_heads;
    int64_t m_heads, m_head_dim, m_state, m_groups, m_kernel;
    double eps, theta, m_expand, embedding, residual, attention, logits;
    bool tie, bias, m_conv_bias, m_bias;
    int positions;
} granite;

#define SIZE(field)  PAL_AT(granite, field), .low = 1, .high = MOST
#define ABOVE(field) PAL_AT(granite, field), .high = HUGE_VAL, .open = PAL_OPEN_LOW

static const pal_key rows[] = {
    {"num_hidden_layers", PAL_KEY_WHOLE, PAL_AT(granite, layers), .low = 1,
     .high = PAL_FOLDER_LAYERS, .tag = PAL_CONFIG_NEEDED},
    {"hidden_size", PAL_KEY_WHOLE, SIZE(width), .tag = PAL_CONFIG_NEEDED},
    {"vocab_size", PAL_KEY_WHOLE, SIZE(vocab), .tag = PAL_CONFIG_NEEDED},
    {"shared_intermediate_size", PAL_KEY_WHOLE, SIZE(mlp)},
    {"num_local_experts", PAL_KEY_WHOLE, PAL_AT(granite, experts), .high = MOST},
    {"num_attention_heads", PAL_KEY_WHOLE, SIZE(heads)},
    {"num_key_value_heads", PAL_KEY_WHOLE, SIZE(kv_heads)},
    {"position_embedding_type", PAL_KEY_CHOICE, PAL_AT(granite, positions), .words = "nope|rope"},
    {"rope_theta", PAL_KEY_REAL, ABOVE(theta)},
    {"rms_norm_eps", PAL_KEY_REAL, PAL_AT(granite, eps), .high = 1, .open = PAL_OPEN_LOW},
    {"embedding_multiplier", PAL_KEY_REAL, ABOVE(embedding)},
    {"residual_multiplier", PAL_KEY_REAL, ABOVE(residual)},
    {"attention_multiplier", PAL_KEY_REAL, ABOVE(attention)},
    {"logits_scaling", PAL_KEY_REAL, ABOVE(logits)},
    {"attention_bias", PAL_KEY_FLAG, PAL_AT(granite, bias)},
    {"mamba_n_heads", PAL_KEY_WHOLE, SIZE(m_heads)},
    {"mamba_d_head", PAL_KEY_WHOLE, SIZE(m_head_dim), .words = "auto"},
    {"mamba_d_state", PAL_KEY_WHOLE, SIZE(m_state)},
    {"mamba_n_groups", PAL_KEY_WHOLE, SIZE(m_groups)},
    {"mamba_d_conv", PAL_KEY_WHOLE, SIZE(m_kernel)},
    {"mamba_expand", PAL_KEY_REAL, PAL_AT(granite, m_expand), .high = 64, .open = PAL_OPEN_LOW},
    {"mamba_conv_bias", PAL_KEY_FLAG, PAL_AT(granite, m_conv_bias)},
    {"mamba_proj_bias", PAL_KEY_FLAG, PAL_AT(granite, m_bias)},
    {"tie_word_embeddings", PAL_KEY_FLAG, PAL_AT(granite, tie)},
};
static const pal_key rope_rows[] = {{"rope_theta", PAL_KEY_REAL, ABOVE(theta)}};
static const pal_keys keys = PAL_KEYS(rows), rope_keys = PAL_KEYS(rope_rows);
static const pal_fixed fixed[] = {{"hidden_act", "silu|swish"},
                                  {"attention_dropout", "0"},
                                  {"rope_scaling", "null"},
                                  {"normalization_function", "rmsnorm"},
                                  {NULL, NULL}};
static const pal_fixed rope_fixed[] = {
    {"rope_type", "default"}, {"partial_rotary_factor", "1"}, {NULL, NULL}};
static const pal_section sections[] = {
    {.path = "",
     .keys = &keys,
     .fixed = fixed,
     .own = "layer_types layers_block_type rope_parameters time_step_limit",
     .free = "intermediate_size num_experts_per_tok output_router_logits router_aux_loss_coef "
             "max_position_embeddings init_method mamba_chunk_size expert_parallel"},
    {.path = "rope_parameters", .keys = &rope_keys, .fixed = rope_fixed},
};
static const granite defaults = {.mlp = 1024,
                                 .experts = 8,
                                 .heads = 32,
                                 .m_heads = 128,
                                 .m_head_dim = -1,
                                 .m_state = 256,
                                 .m_groups = 1,
                                 .m_kernel = 4,
                                 .m_expand = 2,
                                 .eps = 1e-6,
                                 .theta = 10000,
                                 .embedding = 1,
                                 .residual = 1,
                                 .attention = 1,
                                 .logits = 1,
                                 .m_conv_bias = true};

static pal_status mamba(const pal_config *c, const granite *v, pal_described *d, pal_error *error)
{
    const double inner = v->m_expand * (double)v->width;
    double low = 0, high = HUGE_VAL;
    pal_status s = pal_config_bounds(c, "time_step_limit", &low, &high, error);
    if (s != PAL_OK) return s;
    const int64_t head_dim =
        v->m_head_dim > 0 ? v->m_head_dim : (int64_t)(inner / (double)v->m_heads);
    if ((double)(v->m_heads * head_dim) != inner)
        return pal_config_bad(error,
                              "mamba_n_heads %lld times mamba_d_head %lld is not mamba_expand %g "
                              "times the width %lld",
                              (long long)v->m_heads, (long long)head_dim, v->m_expand,
                              (long long)v->width);
    pal_entry_begin(d, MAMBA, "mamba2");
    pal_entry_whole(d, MAMBA, "num_heads", v->m_heads);
    pal_entry_whole(d, MAMBA, "head_dim", head_dim);
    pal_entry_whole(d, MAMBA, "state_size", v->m_state);
    pal_entry_whole(d, MAMBA, "n_groups", v->m_groups);
    pal_entry_whole(d, MAMBA, "conv_kernel", v->m_kernel);
    if (low > 0) pal_entry_real(d, MAMBA, "dt_min", low);
    if (high < HUGE_VAL) pal_entry_real(d, MAMBA, "dt_max", high);
    if (!v->m_conv_bias) pal_entry_flag(d, MAMBA, "use_conv_bias", false);
    if (v->m_bias) pal_entry_flag(d, MAMBA, "use_bias", true);
    pal_entry_real(d, MAMBA, "norm_eps", v->eps);
    return PAL_OK;
}

static void attention(const granite *v, pal_described *d)
{
    pal_entry_begin(d, ATTENTION, "attn");
    pal_entry_whole(d, ATTENTION, "num_heads", v->heads);
    if (v->kv_heads) pal_entry_whole(d, ATTENTION, "num_kv_heads", v->kv_heads);
    pal_entry_real(d, ATTENTION, "scale", v->attention);
    if (v->positions)
        pal_entry_real(d, ATTENTION, "rope_theta", v->theta);
    else
        pal_entry_word(d, ATTENTION, "rope", "none");
    if (v->bias) pal_entry_flag(d, ATTENTION, "qkv_bias", true);
    if (v->bias) pal_entry_flag(d, ATTENTION, "o_bias", true);
}

static pal_status describe(const pal_config *c, const void *values, pal_described *d,
                           pal_error *error)
{
    static const char words[] = "mamba|attention|linear_attention|full_attention";
    const granite *v = values;
    if (v->experts > 0)
        return pal_config_bad(error,
                              "num_local_experts is %lld: mixtures of experts (MoE) are not "
                              "there",
                              (long long)v->experts);
    d->opts = (pal_lm_opts){.layers = v->layers,
                            .width = v->width,
                            .vocab = v->vocab,
                            .mlp_width = v->mlp,
                            .tie = v->tie,
                            .norm_eps = v->eps,
                            .embed_scale = v->embedding,
                            .residual_scale = v->residual,
                            .logit_scale = 1 / v->logits};
    pal_status s = pal_config_layers(c, "layers_block_type", words, 2, d, error);
    if (s == PAL_OK) s = pal_config_layers(c, "layer_types", words, 2, d, error);
    if (s == PAL_OK) s = mamba(c, v, d, error);
    attention(v, d);
    return s;
}

static const pal_spelling spellings[] = {
    {NULL, "model.embeddings.weight", "^embed_tokens.weight"},
    {NULL, "model.norm.weight", "^norm.weight"},
    {NULL, "lm_head.weight", "lm_head.weight"},
    {NULL, ".attn_norm.weight", ".input_layernorm.weight"},
    {NULL, ".mlp_norm.weight", ".post_attention_layernorm.weight"},
    {NULL, ".mlp.gate_proj.weight .mlp.up_proj.weight", ".shared_mlp.input_linear.weight"},
    {NULL, ".mlp.down_proj.weight", ".shared_mlp.output_linear.weight"},
    {"attn", ".attn.*", ".self_attn.*"},
    {"mamba2", ".attn.*", ".mamba.*"},
};

const pal_family pal_family_granite = {
    .name = "Granite 4.0",
    .types = "granitemoehybrid",
    .sections = sections,
    .section_count = 2,
    .size = sizeof(granite),
    .defaults = &defaults,
    .describe = describe,
    .spellings = spellings,
    .spelling_count = (int)(sizeof spellings / sizeof *spellings),
    .prefixes = "model.",
};
