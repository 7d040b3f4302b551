/*
 * qwen3_5.c - Qwen3.5 and Qwen3.6 without experts: the text part of the multimodal model, or the
 * text model by itself. What sees pictures (visual) and predicts several tokens (mtp) is left out.
 */
#include "layers/models/families/family.h"

#include <math.h>
#include <string.h>

enum { MOST = 1 << 24, LINEAR = 0, FULL = 1 };

typedef struct qwen3_5 {
    int64_t layers, width, vocab, mlp, every;
    int64_t heads, kv_heads, head_dim;
    int64_t k_heads, v_heads, k_dim, v_dim, conv;
    double eps, theta, fraction;
    bool tie, bias, no_gate;
} qwen3_5;

#define SIZE(field) PAL_AT(qwen3_5, field), .low = 1, .high = MOST
#define THETA       PAL_AT(qwen3_5, theta), .high = HUGE_VAL, .open = PAL_OPEN_LOW
#define FRACTION    PAL_AT(qwen3_5, fraction), .high = 1, .open = PAL_OPEN_LOW

static const pal_key rows[] = {
    {"num_hidden_layers", PAL_KEY_WHOLE, PAL_AT(qwen3_5, layers), .low = 1,
     .high = PAL_FOLDER_LAYERS, .tag = PAL_CONFIG_NEEDED},
    {"hidden_size", PAL_KEY_WHOLE, SIZE(width), .tag = PAL_CONFIG_NEEDED},
    {"vocab_size", PAL_KEY_WHOLE, SIZE(vocab), .tag = PAL_CONFIG_NEEDED},
    {"intermediate_size", PAL_KEY_WHOLE, SIZE(mlp), .tag = PAL_CONFIG_NEEDED},
    {"full_attention_interval", PAL_KEY_WHOLE, SIZE(every)},
    {"num_attention_heads", PAL_KEY_WHOLE, SIZE(heads)},
    {"num_key_value_heads", PAL_KEY_WHOLE, SIZE(kv_heads)},
    {"head_dim", PAL_KEY_WHOLE, SIZE(head_dim)},
    {"linear_num_key_heads", PAL_KEY_WHOLE, SIZE(k_heads)},
    {"linear_num_value_heads", PAL_KEY_WHOLE, SIZE(v_heads)},
    {"linear_key_head_dim", PAL_KEY_WHOLE, SIZE(k_dim)},
    {"linear_value_head_dim", PAL_KEY_WHOLE, SIZE(v_dim)},
    {"linear_conv_kernel_dim", PAL_KEY_WHOLE, SIZE(conv)},
    {"rms_norm_eps", PAL_KEY_REAL, PAL_AT(qwen3_5, eps), .high = 1, .open = PAL_OPEN_LOW},
    {"rope_theta", PAL_KEY_REAL, THETA},
    {"partial_rotary_factor", PAL_KEY_REAL, FRACTION},
    {"attention_bias", PAL_KEY_FLAG, PAL_AT(qwen3_5, bias)},
    {"attn_output_gate", PAL_KEY_NOT, PAL_AT(qwen3_5, no_gate)},
    {"tie_word_embeddings", PAL_KEY_FLAG, PAL_AT(qwen3_5, tie)},
};
static const pal_key rope_rows[] = {
    {"rope_theta", PAL_KEY_REAL, THETA},
    {"partial_rotary_factor", PAL_KEY_REAL, FRACTION},
};
static const pal_keys keys = PAL_KEYS(rows), rope_keys = PAL_KEYS(rope_rows);
static const pal_fixed fixed[] = {{"hidden_act", "silu|swish"}, {"attention_dropout", "0"},
                                  {"rope_scaling", "null"},     {"use_sliding_window", "false"},
                                  {"num_experts", "0"},         {NULL, NULL}};
static const pal_fixed rope_fixed[] = {
    {"rope_type", "default"}, {"type", "default|mrope"}, {NULL, NULL}};
/* Positions of text are the same in all sections of mrope. */
static const pal_section sections[] = {
    {.path = "",
     .keys = &keys,
     .fixed = fixed,
     .own = "layer_types rope_parameters",
     .free = "max_position_embeddings mamba_ssm_dtype mlp_only_layers mtp_num_hidden_layers "
             "mtp_use_dedicated_embeddings"},
    {.path = "rope_parameters",
     .keys = &rope_keys,
     .fixed = rope_fixed,
     .free = "mrope_interleaved mrope_section"},
};
static const pal_section outside = {
    .path = "",
    .own = "text_config tie_word_embeddings",
    .free = "vision_config image_token_id video_token_id vision_start_token_id "
            "vision_end_token_id language_model_only",
};
static const qwen3_5 defaults = {.every = 4,
                                 .heads = 16,
                                 .kv_heads = 4,
                                 .head_dim = 256,
                                 .k_heads = 16,
                                 .v_heads = 32,
                                 .k_dim = 128,
                                 .v_dim = 128,
                                 .conv = 4,
                                 .eps = 1e-6,
                                 .theta = 10000,
                                 .fraction = 0.25};

static void linear(const qwen3_5 *v, pal_described *d)
{
    pal_entry_begin(d, LINEAR, "gdn");
    pal_entry_whole(d, LINEAR, "num_heads", v->k_heads);
    pal_entry_whole(d, LINEAR, "num_v_heads", v->v_heads);
    pal_entry_whole(d, LINEAR, "head_dim", v->k_dim);
    pal_entry_whole(d, LINEAR, "head_v_dim", v->v_dim);
    pal_entry_whole(d, LINEAR, "conv_size", v->conv);
    pal_entry_real(d, LINEAR, "norm_eps", v->eps);
}

static void full(const qwen3_5 *v, pal_described *d)
{
    pal_entry_begin(d, FULL, "attn");
    pal_entry_whole(d, FULL, "num_heads", v->heads);
    pal_entry_whole(d, FULL, "num_kv_heads", v->kv_heads);
    pal_entry_whole(d, FULL, "head_dim", v->head_dim);
    pal_entry_flag(d, FULL, "qk_norm", true);
    pal_entry_flag(d, FULL, "norm_plus_one", true);
    pal_entry_real(d, FULL, "norm_eps", v->eps);
    if (v->fraction < 1) pal_entry_real(d, FULL, "rope_fraction", v->fraction);
    pal_entry_real(d, FULL, "rope_theta", v->theta);
    if (!v->no_gate) pal_entry_word(d, FULL, "output_gate", "sigmoid");
    if (v->bias) pal_entry_flag(d, FULL, "qkv_bias", true);
    if (v->bias) pal_entry_flag(d, FULL, "o_bias", true);
}

/*
 * Whether the head is the embedding, where the file and its text_config may say it. In transformers
 * the class that `architectures` names asks its own configuration: ..ForCausalLM is the text model,
 * and ..ForConditionalGeneration the whole, for which a missing key means false.
 */
static pal_status tied(const pal_config *c, bool inside, bool *tie, pal_error *error)
{
    static const char key[] = "tie_word_embeddings", causal[] = "ForCausalLM";
    const pal_json *said = pal_json_get(c->root, key);
    const char *class = pal_json_text(pal_json_first(pal_json_get(c->root, "architectures")));
    const bool text = class && strstr(class, causal), given = !pal_json_is_null(said);
    bool whole = false;
    *tie = inside;
    if (c->model == c->root) return PAL_OK;
    if (given && !pal_json_flag(said, &whole))
        return pal_config_bad(error, "%s is neither true nor false", key);
    if (!text) *tie = whole;
    if (given && pal_config_get(c, key) && inside != whole)
        fprintf(c->notes, "config.json: %s is %s, and %s in text_config; the %s counts\n", key,
                whole ? "true" : "false", inside ? "true" : "false", text ? "latter" : "former");
    if (!given && !text && inside)
        fprintf(c->notes,
                "config.json: %s is missing outside of text_config, which means false; true in it "
                "does not count\n",
                key);
    return PAL_OK;
}

static pal_status describe(const pal_config *c, const void *values, pal_described *d,
                           pal_error *error)
{
    const qwen3_5 *v = values;
    d->opts = (pal_lm_opts){.layers = v->layers,
                            .width = v->width,
                            .vocab = v->vocab,
                            .mlp_width = v->mlp,
                            .tie = v->tie,
                            .norm_eps = v->eps,
                            .norm_plus_one = true};
    const pal_status s = tied(c, v->tie, &d->opts.tie, error);
    if (s != PAL_OK) return s;
    for (int64_t i = 0; i < v->layers; i++) d->kind[i] = (i + 1) % v->every == 0 ? FULL : LINEAR;
    linear(v, d);
    full(v, d);
    return pal_config_layers(c, "layer_types", "linear_attention|full_attention", 2, d, error);
}

static const pal_spelling spellings[] = {
    {NULL, "model.embeddings.weight", "^embed_tokens.weight"},
    {NULL, "model.norm.weight", "^norm.weight"},
    {NULL, "lm_head.weight", "lm_head.weight"},
    {NULL, ".attn_norm.weight", ".input_layernorm.weight"},
    {NULL, ".mlp_norm.weight", ".post_attention_layernorm.weight"},
    {NULL, ".mlp.*", ".mlp.*"},
    {"attn", ".attn.*", ".self_attn.*"},
    {"gdn", ".attn.q_proj.weight .attn.k_proj.weight .attn.v_proj.weight",
     ".linear_attn.in_proj_qkv.weight"},
    {"gdn", ".attn.q_conv1d.weight .attn.k_conv1d.weight .attn.v_conv1d.weight",
     ".linear_attn.conv1d.weight"},
    {"gdn", ".attn.g_proj.weight", ".linear_attn.in_proj_z.weight"},
    {"gdn", ".attn.a_proj.weight", ".linear_attn.in_proj_a.weight"},
    {"gdn", ".attn.b_proj.weight", ".linear_attn.in_proj_b.weight"},
    {"gdn", ".attn.o_norm.weight", ".linear_attn.norm.weight"},
    {"gdn", ".attn.o_proj.weight", ".linear_attn.out_proj.weight"},
    {"gdn", ".attn.*", ".linear_attn.*"},
};

const pal_family pal_family_qwen3_5 = {
    .name = "Qwen3.5",
    .types = "qwen3_5|qwen3_5_text",
    .inside = "text_config",
    .outside = &outside,
    .sections = sections,
    .section_count = 2,
    .size = sizeof(qwen3_5),
    .defaults = &defaults,
    .describe = describe,
    .spellings = spellings,
    .spelling_count = (int)(sizeof spellings / sizeof *spellings),
    .prefixes = "model.language_model.|model.",
    .left_out = "model.visual.|visual.|mtp.",
};
