/*
 * lfm2.c - LFM2 without experts: gated short convolutions, and attention with norms of q and k.
 */
#include "layers/models/families/family.h"

#include <math.h>

enum { MOST = 1 << 24, CONV = 0, FULL = 1 };

typedef struct lfm2 {
    int64_t layers, width, vocab, mlp, multiple;
    int64_t heads, kv_heads, head_dim, conv;
    double eps, theta, factor;
    bool untied, conv_bias, as_it_is;
} lfm2;

#define SIZE(field)  PAL_AT(lfm2, field), .low = 1, .high = MOST
#define ABOVE(field) PAL_AT(lfm2, field), .high = HUGE_VAL, .open = PAL_OPEN_LOW

static const pal_key rows[] = {
    {"num_hidden_layers", PAL_KEY_WHOLE, PAL_AT(lfm2, layers), .low = 1, .high = PAL_FOLDER_LAYERS,
     .tag = PAL_CONFIG_NEEDED},
    {"hidden_size", PAL_KEY_WHOLE, SIZE(width), .tag = PAL_CONFIG_NEEDED},
    {"vocab_size", PAL_KEY_WHOLE, SIZE(vocab), .tag = PAL_CONFIG_NEEDED},
    {"intermediate_size", PAL_KEY_WHOLE, SIZE(mlp)},
    {"block_ff_dim", PAL_KEY_WHOLE, SIZE(mlp)}, /* an earlier name of it, which goes before */
    {"block_auto_adjust_ff_dim", PAL_KEY_NOT, PAL_AT(lfm2, as_it_is)},
    {"block_ffn_dim_multiplier", PAL_KEY_REAL, PAL_AT(lfm2, factor), .high = 1024,
     .open = PAL_OPEN_LOW},
    {"block_multiple_of", PAL_KEY_WHOLE, SIZE(multiple)},
    {"num_attention_heads", PAL_KEY_WHOLE, SIZE(heads)},
    {"num_key_value_heads", PAL_KEY_WHOLE, SIZE(kv_heads)},
    {"head_dim", PAL_KEY_WHOLE, SIZE(head_dim)},
    {"conv_L_cache", PAL_KEY_WHOLE, SIZE(conv)},
    {"conv_bias", PAL_KEY_FLAG, PAL_AT(lfm2, conv_bias)},
    {"norm_eps", PAL_KEY_REAL, PAL_AT(lfm2, eps), .high = 1, .open = PAL_OPEN_LOW},
    {"rope_theta", PAL_KEY_REAL, ABOVE(theta)},
    {"tie_word_embeddings", PAL_KEY_NOT, PAL_AT(lfm2, untied)},
    {"tie_embedding", PAL_KEY_NOT, PAL_AT(lfm2, untied)},
};
static const pal_key rope_rows[] = {{"rope_theta", PAL_KEY_REAL, ABOVE(theta)}};
static const pal_keys keys = PAL_KEYS(rows), rope_keys = PAL_KEYS(rope_rows);
static const pal_fixed fixed[] = {
    {"rope_scaling", "null"}, {"use_pos_enc", "true"}, {"block_use_swiglu", "true"}, {NULL, NULL}};
static const pal_fixed rope_fixed[] = {
    {"rope_type", "default"}, {"partial_rotary_factor", "1"}, {NULL, NULL}};
static const pal_section sections[] = {
    {.path = "",
     .keys = &keys,
     .fixed = fixed,
     .own = "layer_types full_attn_idxs rope_parameters",
     .free = "max_position_embeddings block_dim block_norm_eps block_mlp_init_scale "
             "block_out_init_scale block_use_xavier_init conv_dim conv_dim_out "
             "conv_use_xavier_init num_heads theta"},
    {.path = "rope_parameters", .keys = &rope_keys, .fixed = rope_fixed},
};
static const lfm2 defaults = {.mlp = 12288,
                              .multiple = 256,
                              .heads = 32,
                              .kv_heads = 8,
                              .conv = 3,
                              .eps = 1e-5,
                              .theta = 1e6,
                              .factor = 1};

/* Two thirds of the width that the file says, up to a multiple, unless it is to be as it is. */
static int64_t mlp_width(const lfm2 *v)
{
    if (v->as_it_is) return v->mlp;
    const int64_t n = (int64_t)(v->factor * (double)(2 * v->mlp / 3));
    return (n + v->multiple - 1) / v->multiple * v->multiple;
}

/* The blocks of attention: by their names, by their numbers, or all. */
static pal_status read_blocks(const pal_config *c, pal_described *d, pal_error *error)
{
    const pal_json *list = pal_config_get(c, "full_attn_idxs");
    if (pal_config_get(c, "layer_types"))
        return pal_config_layers(c, "layer_types", "conv|full_attention", 2, d, error);
    for (int64_t i = 0; i < d->opts.layers; i++) d->kind[i] = list ? CONV : FULL;
    if (list && !pal_json_is_list(list)) return pal_config_bad(error, "full_attn_idxs is no list");
    for (const pal_json *v = pal_json_first(list); v; v = pal_json_next(v)) {
        int64_t i;
        if (!pal_json_whole(v, &i) || i < 0 || i >= d->opts.layers)
            return pal_config_bad(error,
                                  "full_attn_idxs has an entry that is no layer of 0 to "
                                  "%lld",
                                  (long long)d->opts.layers - 1);
        d->kind[i] = FULL;
    }
    return PAL_OK;
}

static pal_status describe(const pal_config *c, const void *values, pal_described *d,
                           pal_error *error)
{
    const lfm2 *v = values;
    d->opts = (pal_lm_opts){.layers = v->layers,
                            .width = v->width,
                            .vocab = v->vocab,
                            .mlp_width = mlp_width(v),
                            .tie = !v->untied,
                            .norm_eps = v->eps};
    pal_entry_begin(d, CONV, "shortconv");
    pal_entry_whole(d, CONV, "conv_size", v->conv);
    if (v->conv_bias) pal_entry_flag(d, CONV, "use_bias", true);
    pal_entry_begin(d, FULL, "attn");
    pal_entry_whole(d, FULL, "num_heads", v->heads);
    pal_entry_whole(d, FULL, "num_kv_heads", v->kv_heads);
    if (v->head_dim) pal_entry_whole(d, FULL, "head_dim", v->head_dim);
    pal_entry_flag(d, FULL, "qk_norm", true);
    pal_entry_real(d, FULL, "norm_eps", v->eps);
    pal_entry_real(d, FULL, "rope_theta", v->theta);
    return read_blocks(c, d, error);
}

static const pal_spelling spellings[] = {
    {NULL, "model.embeddings.weight", "^embed_tokens.weight"},
    {NULL, "model.norm.weight", "^embedding_norm.weight"},
    {NULL, "lm_head.weight", "lm_head.weight"},
    {NULL, ".attn_norm.weight", ".operator_norm.weight"},
    {NULL, ".mlp_norm.weight", ".ffn_norm.weight"},
    {NULL, ".mlp.gate_proj.weight", ".feed_forward.w1.weight"},
    {NULL, ".mlp.up_proj.weight", ".feed_forward.w3.weight"},
    {NULL, ".mlp.down_proj.weight", ".feed_forward.w2.weight"},
    {"shortconv", ".attn.conv1d.*", ".conv.conv.*"},
    {"shortconv", ".attn.*", ".conv.*"},
    {"attn", ".attn.q_norm.weight", ".self_attn.q_layernorm.weight"},
    {"attn", ".attn.k_norm.weight", ".self_attn.k_layernorm.weight"},
    {"attn", ".attn.o_proj.weight", ".self_attn.out_proj.weight"},
    {"attn", ".attn.*", ".self_attn.*"},
};

const pal_family pal_family_lfm2 = {
    .name = "LFM2",
    .types = "lfm2",
    .sections = sections,
    .section_count = 2,
    .size = sizeof(lfm2),
    .defaults = &defaults,
    .describe = describe,
    .spellings = spellings,
    .spelling_count = (int)(sizeof spellings / sizeof *spellings),
    .prefixes = "model.",
};
