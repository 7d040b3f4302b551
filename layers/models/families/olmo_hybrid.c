/*
 * olmo_hybrid.c - OLMo Hybrid: Gated DeltaNet, and attention whose blocks have their norms behind
 * mixer and MLP.
 */
#include "layers/models/families/family.h"

#include <math.h>

enum { MOST = 1 << 24, LINEAR = 0, FULL = 1 };

typedef struct olmo_hybrid {
    int64_t layers, width, vocab, mlp;
    int64_t heads, kv_heads, head_dim;
    int64_t k_heads, v_heads, k_dim, v_dim, conv;
    double eps, theta;
    bool tie, bias, no_neg_eigval;
} olmo_hybrid;

#define SIZE(field) PAL_AT(olmo_hybrid, field), .low = 1, .high = MOST

static const pal_key rows[] = {
    {"num_hidden_layers", PAL_KEY_WHOLE, PAL_AT(olmo_hybrid, layers), .low = 1,
     .high = PAL_FOLDER_LAYERS, .tag = PAL_CONFIG_NEEDED},
    {"hidden_size", PAL_KEY_WHOLE, SIZE(width), .tag = PAL_CONFIG_NEEDED},
    {"vocab_size", PAL_KEY_WHOLE, SIZE(vocab), .tag = PAL_CONFIG_NEEDED},
    {"intermediate_size", PAL_KEY_WHOLE, SIZE(mlp), .tag = PAL_CONFIG_NEEDED},
    {"num_attention_heads", PAL_KEY_WHOLE, SIZE(heads)},
    {"num_key_value_heads", PAL_KEY_WHOLE, SIZE(kv_heads)},
    {"head_dim", PAL_KEY_WHOLE, SIZE(head_dim)},
    {"linear_num_key_heads", PAL_KEY_WHOLE, SIZE(k_heads)},
    {"linear_num_value_heads", PAL_KEY_WHOLE, SIZE(v_heads)},
    {"linear_key_head_dim", PAL_KEY_WHOLE, SIZE(k_dim)},
    {"linear_value_head_dim", PAL_KEY_WHOLE, SIZE(v_dim)},
    {"linear_conv_kernel_dim", PAL_KEY_WHOLE, SIZE(conv)},
    {"linear_allow_neg_eigval", PAL_KEY_NOT, PAL_AT(olmo_hybrid, no_neg_eigval)},
    {"rms_norm_eps", PAL_KEY_REAL, PAL_AT(olmo_hybrid, eps), .high = 1, .open = PAL_OPEN_LOW},
    {"attention_bias", PAL_KEY_FLAG, PAL_AT(olmo_hybrid, bias)},
    {"tie_word_embeddings", PAL_KEY_FLAG, PAL_AT(olmo_hybrid, tie)},
};
static const pal_key rope_rows[] = {
    {"rope_theta", PAL_KEY_REAL, PAL_AT(olmo_hybrid, theta), .high = HUGE_VAL,
     .open = PAL_OPEN_LOW},
};
static const pal_keys keys = PAL_KEYS(rows), rope_keys = PAL_KEYS(rope_rows);
static const pal_fixed fixed[] = {{"hidden_act", "silu|swish"}, {"attention_dropout", "0"},
                                  {"rope_scaling", "null"},     {"rope_theta", "null"},
                                  {"linear_use_gate", "true"},  {NULL, NULL}};
static const pal_fixed rope_fixed[] = {
    {"rope_type", "default"}, {"partial_rotary_factor", "1"}, {NULL, NULL}};
static const pal_section sections[] = {
    {.path = "",
     .keys = &keys,
     .fixed = fixed,
     .own = "layer_types rope_parameters",
     .free = "max_position_embeddings linear_a_log_min linear_a_log_max linear_dt_min "
             "linear_dt_max linear_dt_init_floor"},
    {.path = "rope_parameters", .keys = &rope_keys, .fixed = rope_fixed},
};
static const olmo_hybrid defaults = {.heads = 30, .conv = 4, .eps = 1e-6};

static void linear(const olmo_hybrid *v, pal_described *d)
{
    const int64_t heads = v->k_heads ? v->k_heads : v->heads;
    const int64_t k = v->k_dim ? v->k_dim : (int64_t)(0.75 * (double)v->width / (double)heads);
    pal_entry_begin(d, LINEAR, "gdn");
    pal_entry_whole(d, LINEAR, "num_heads", heads);
    pal_entry_whole(d, LINEAR, "num_v_heads", v->v_heads ? v->v_heads : v->heads);
    pal_entry_whole(d, LINEAR, "head_dim", k);
    pal_entry_whole(d, LINEAR, "head_v_dim", v->v_dim ? v->v_dim : 2 * k);
    pal_entry_whole(d, LINEAR, "conv_size", v->conv);
    if (!v->no_neg_eigval) pal_entry_flag(d, LINEAR, "allow_neg_eigval", true);
    pal_entry_real(d, LINEAR, "norm_eps", 1e-5); /* whatever rms_norm_eps is */
}

static void full(const olmo_hybrid *v, pal_described *d)
{
    pal_entry_begin(d, FULL, "attn");
    pal_entry_whole(d, FULL, "num_heads", v->heads);
    if (v->kv_heads) pal_entry_whole(d, FULL, "num_kv_heads", v->kv_heads);
    if (v->head_dim) pal_entry_whole(d, FULL, "head_dim", v->head_dim);
    pal_entry_flag(d, FULL, "qk_norm_whole", true);
    pal_entry_real(d, FULL, "norm_eps", v->eps);
    if (v->theta > 0)
        pal_entry_real(d, FULL, "rope_theta", v->theta);
    else
        pal_entry_word(d, FULL, "rope", "none");
    if (v->bias) pal_entry_flag(d, FULL, "qkv_bias", true);
    if (v->bias) pal_entry_flag(d, FULL, "o_bias", true);
    pal_entry_word(d, FULL, "block.norm", "after");
}

static pal_status describe(const pal_config *c, const void *values, pal_described *d,
                           pal_error *error)
{
    const olmo_hybrid *v = values;
    bool any = false;
    d->opts = (pal_lm_opts){.layers = v->layers,
                            .width = v->width,
                            .vocab = v->vocab,
                            .mlp_width = v->mlp,
                            .tie = v->tie,
                            .norm_eps = v->eps};
    for (int64_t i = 0; i < v->layers; i++) {
        d->kind[i] = i % 4 == 3 ? FULL : LINEAR;
        any = any || d->kind[i] == FULL;
    }
    if (!any) d->kind[v->layers - 1] = FULL;
    linear(v, d);
    full(v, d);
    return pal_config_layers(c, "layer_types", "linear_attention|full_attention", 2, d, error);
}

/*
 * transformers writes the one convolution of q, k and v as three tensors of as many rows each,
 * wherever they are cut in the model; others write one for each. End to end they are the same.
 */
static const pal_spelling spellings[] = {
    {NULL, "model.embeddings.weight", "^embed_tokens.weight"},
    {NULL, "model.norm.weight", "^norm.weight"},
    {NULL, "lm_head.weight", "lm_head.weight"},
    {NULL, ".mlp.*", ".mlp.*"},
    {"gdn", ".attn_norm.weight", ".input_layernorm.weight"},
    {"gdn", ".attn_norm.weight", ".attention_layer_norm.weight"},
    {"gdn", ".mlp_norm.weight", ".post_attention_layernorm.weight"},
    {"gdn", ".mlp_norm.weight", ".feedforward_layer_norm.weight"},
    {"gdn", ".attn.q_conv1d.weight .attn.k_conv1d.weight .attn.v_conv1d.weight",
     ".linear_attn.q_conv1d.weight .linear_attn.k_conv1d.weight .linear_attn.v_conv1d.weight"},
    {"gdn", ".attn.q_conv1d.weight .attn.k_conv1d.weight .attn.v_conv1d.weight",
     ".linear_attn.conv1d.weight"},
    {"gdn", ".attn.*", ".linear_attn.*"},
    {"attn", ".attn_norm.weight", ".post_attention_layernorm.weight"},
    {"attn", ".attn_norm.weight", ".feedforward_layer_norm.weight"},
    {"attn", ".mlp_norm.weight", ".post_feedforward_layernorm.weight"},
    {"attn", ".attn.*", ".self_attn.*"},
};

const pal_family pal_family_olmo_hybrid = {
    .name = "OLMo Hybrid",
    .types = "olmo_hybrid",
    .sections = sections,
    .section_count = 2,
    .size = sizeof(olmo_hybrid),
    .defaults = &defaults,
    .describe = describe,
    .spellings = spellings,
    .spelling_count = (int)(sizeof spellings / sizeof *spellings),
    .prefixes = "model.",
    .left_out = "mtp.",
};
