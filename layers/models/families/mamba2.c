/*
 * mamba2.c - Mamba-2 (arXiv 2405.21060) as transformers, flash-linear-attention and its authors
 * (state-spaces) release it. Blocks have no MLP.
 */
#include "layers/models/families/family.h"

#include <math.h>
#include <string.h>

enum { MOST = 1 << 24 };

typedef struct mamba2 {
    int64_t layers, width, vocab, multiple, heads, head_dim, state, groups, kernel;
    double expand, eps;
    bool tie, bias, conv_bias, no_norm, norm_first;
    const char *dt_limit; /* the key with the bounds of dt */
} mamba2;

/* What all three have. */
static pal_status describe(const pal_config *c, const void *values, pal_described *d,
                           pal_error *error)
{
    const mamba2 *v = values;
    const double inner = v->expand * (double)v->width;
    double low = 0, high = HUGE_VAL;
    pal_status s = pal_config_bounds(c, v->dt_limit, &low, &high, error);
    if (s != PAL_OK) return s;
    if (v->heads && (double)(v->heads * v->head_dim) != inner)
        return pal_config_bad(error,
                              "num_heads %lld times head_dim %lld is not expand %g times the width "
                              "%lld",
                              (long long)v->heads, (long long)v->head_dim, v->expand,
                              (long long)v->width);
    d->opts = (pal_lm_opts){
        .layers = v->layers,
        .width = v->width,
        .vocab = (v->vocab + v->multiple - 1) / v->multiple * v->multiple,
        .no_mlp = true,
        .tie = v->tie,
        .norm_eps = v->eps,
    };
    pal_entry_begin(d, 0, "mamba2");
    pal_entry_whole(d, 0, "head_dim", v->head_dim);
    pal_entry_whole(d, 0, "state_size", v->state);
    pal_entry_real(d, 0, "expand", v->expand);
    pal_entry_whole(d, 0, "n_groups", v->groups);
    pal_entry_whole(d, 0, "conv_kernel", v->kernel);
    if (low > 0) pal_entry_real(d, 0, "dt_min", low);
    if (high < HUGE_VAL) pal_entry_real(d, 0, "dt_max", high);
    if (!v->conv_bias) pal_entry_flag(d, 0, "use_conv_bias", false);
    if (v->bias) pal_entry_flag(d, 0, "use_bias", true);
    if (v->no_norm) pal_entry_flag(d, 0, "rmsnorm", false);
    if (v->norm_first) pal_entry_flag(d, 0, "norm_before_gate", true);
    pal_entry_real(d, 0, "norm_eps", v->eps);
    return PAL_OK;
}

static const pal_spelling spellings[] = {
    {NULL, "model.embeddings.weight", "backbone.embeddings.weight"},
    {NULL, "model.embeddings.weight", "backbone.embedding.weight"},
    {NULL, "model.norm.weight", "backbone.norm_f.weight"},
    {NULL, "lm_head.weight", "lm_head.weight"},
    {NULL, ".attn_norm.weight", ".norm.weight"},
    {NULL, ".attn.*", ".mixer.*"},
};
#define SPELLINGS                                    \
    .spellings = spellings, .prefixes = "backbone.", \
    .spelling_count = (int)(sizeof spellings / sizeof *spellings)

#define SIZE(field) PAL_AT(mamba2, field), .low = 1, .high = MOST

/* ---- transformers ---- */

static const pal_key rows[] = {
    {"num_hidden_layers", PAL_KEY_WHOLE, PAL_AT(mamba2, layers), .low = 1,
     .high = PAL_FOLDER_LAYERS, .tag = PAL_CONFIG_NEEDED},
    {"hidden_size", PAL_KEY_WHOLE, SIZE(width), .tag = PAL_CONFIG_NEEDED},
    {"vocab_size", PAL_KEY_WHOLE, SIZE(vocab), .tag = PAL_CONFIG_NEEDED},
    {"num_heads", PAL_KEY_WHOLE, SIZE(heads)},
    {"head_dim", PAL_KEY_WHOLE, SIZE(head_dim)},
    {"state_size", PAL_KEY_WHOLE, SIZE(state)},
    {"n_groups", PAL_KEY_WHOLE, SIZE(groups)},
    {"conv_kernel", PAL_KEY_WHOLE, SIZE(kernel)},
    {"expand", PAL_KEY_REAL, PAL_AT(mamba2, expand), .high = 64, .open = PAL_OPEN_LOW},
    {"layer_norm_epsilon", PAL_KEY_REAL, PAL_AT(mamba2, eps), .high = 1, .open = PAL_OPEN_LOW},
    {"use_bias", PAL_KEY_FLAG, PAL_AT(mamba2, bias)},
    {"use_conv_bias", PAL_KEY_FLAG, PAL_AT(mamba2, conv_bias)},
    {"tie_word_embeddings", PAL_KEY_FLAG, PAL_AT(mamba2, tie)},
};
static const pal_keys keys = PAL_KEYS(rows);
static const pal_fixed fixed[] = {{"hidden_act", "silu|swish"}, {NULL, NULL}};
static const pal_section section = {
    .path = "",
    .keys = &keys,
    .fixed = fixed,
    .own = "time_step_limit",
    .free = "chunk_size rescale_prenorm_residual residual_in_fp32 time_step_floor time_step_max "
            "time_step_min time_step_rank layer_types max_position_embeddings num_logits_to_keep "
            "intermediate_size",
};
static const mamba2 defaults = {.multiple = 1,
                                .heads = 128,
                                .head_dim = 64,
                                .state = 128,
                                .groups = 8,
                                .kernel = 4,
                                .expand = 2,
                                .eps = 1e-5,
                                .conv_bias = true,
                                .dt_limit = "time_step_limit"};
const pal_family pal_family_mamba2 = {
    .name = "Mamba-2",
    .types = "mamba2",
    .sections = &section,
    .section_count = 1,
    .size = sizeof(mamba2),
    .defaults = &defaults,
    .describe = describe,
    SPELLINGS,
};

/* ---- flash-linear-attention, told by a key that transformers does not have ---- */

static const pal_key fla_rows[] = {
    {"num_hidden_layers", PAL_KEY_WHOLE, PAL_AT(mamba2, layers), .low = 1,
     .high = PAL_FOLDER_LAYERS, .tag = PAL_CONFIG_NEEDED},
    {"hidden_size", PAL_KEY_WHOLE, SIZE(width), .tag = PAL_CONFIG_NEEDED},
    {"vocab_size", PAL_KEY_WHOLE, SIZE(vocab), .tag = PAL_CONFIG_NEEDED},
    {"head_dim", PAL_KEY_WHOLE, SIZE(head_dim)},
    {"state_size", PAL_KEY_WHOLE, SIZE(state)},
    {"n_groups", PAL_KEY_WHOLE, SIZE(groups)},
    {"conv_kernel", PAL_KEY_WHOLE, SIZE(kernel)},
    {"expand", PAL_KEY_REAL, PAL_AT(mamba2, expand), .high = 64, .open = PAL_OPEN_LOW},
    {"norm_eps", PAL_KEY_REAL, PAL_AT(mamba2, eps), .high = 1, .open = PAL_OPEN_LOW},
    {"use_bias", PAL_KEY_FLAG, PAL_AT(mamba2, bias)},
    {"use_conv_bias", PAL_KEY_FLAG, PAL_AT(mamba2, conv_bias)},
    {"rmsnorm", PAL_KEY_NOT, PAL_AT(mamba2, no_norm)},
    {"rms_norm", PAL_KEY_NOT, PAL_AT(mamba2, no_norm)}, /* its earlier name */
    {"norm_before_gate", PAL_KEY_FLAG, PAL_AT(mamba2, norm_first)},
    {"tie_word_embeddings", PAL_KEY_FLAG, PAL_AT(mamba2, tie)},
};
static const pal_keys fla_keys = PAL_KEYS(fla_rows);
static const pal_fixed fla_fixed[] = {
    {"hidden_act", "silu|swish"}, {"D_has_hdim", "false"}, {NULL, NULL}};
static const pal_section fla_section = {
    .path = "",
    .keys = &fla_keys,
    .fixed = fla_fixed,
    .own = "dt_limit time_step_limit",
    .free = "num_heads chunk_size conv_init A_init_range dt_min dt_max dt_init_floor "
            "rescale_prenorm_residual residual_in_fp32 fuse_norm fuse_cross_entropy "
            "fuse_linear_cross_entropy use_l2warp time_step_rank time_step_min time_step_max "
            "time_step_floor",
};
static const mamba2 fla_defaults = {.multiple = 1,
                                    .head_dim = 64,
                                    .state = 128,
                                    .groups = 1,
                                    .kernel = 4,
                                    .expand = 2,
                                    .eps = 1e-5,
                                    .conv_bias = true};

static pal_status describe_fla(const pal_config *c, const void *values, pal_described *d,
                               pal_error *error)
{
    mamba2 v = *(const mamba2 *)values;
    v.dt_limit = pal_config_get(c, "dt_limit") ? "dt_limit" : "time_step_limit";
    return describe(c, &v, d, error);
}

const pal_family pal_family_mamba2_fla = {
    .name = "flash-linear-attention's Mamba-2",
    .types = "mamba2",
    .sign = "norm_eps",
    .sections = &fla_section,
    .section_count = 1,
    .size = sizeof(mamba2),
    .defaults = &fla_defaults,
    .describe = describe_fla,
    SPELLINGS,
};

/* ---- state-spaces: no model_type, and the layer's options in an object ---- */

static const pal_key ssm_model_rows[] = {
    {"n_layer", PAL_KEY_WHOLE, PAL_AT(mamba2, layers), .low = 1, .high = PAL_FOLDER_LAYERS,
     .tag = PAL_CONFIG_NEEDED},
    {"d_model", PAL_KEY_WHOLE, SIZE(width), .tag = PAL_CONFIG_NEEDED},
    {"vocab_size", PAL_KEY_WHOLE, SIZE(vocab), .tag = PAL_CONFIG_NEEDED},
    {"pad_vocab_size_multiple", PAL_KEY_WHOLE, SIZE(multiple)},
    {"tie_embeddings", PAL_KEY_FLAG, PAL_AT(mamba2, tie)},
};
static const pal_key ssm_rows[] = {
    {"d_state", PAL_KEY_WHOLE, SIZE(state)},
    {"d_conv", PAL_KEY_WHOLE, SIZE(kernel)},
    {"headdim", PAL_KEY_WHOLE, SIZE(head_dim)},
    {"ngroups", PAL_KEY_WHOLE, SIZE(groups)},
    {"expand", PAL_KEY_REAL, PAL_AT(mamba2, expand), .high = 64, .open = PAL_OPEN_LOW},
    {"rmsnorm", PAL_KEY_NOT, PAL_AT(mamba2, no_norm)},
    {"norm_before_gate", PAL_KEY_FLAG, PAL_AT(mamba2, norm_first)},
    {"bias", PAL_KEY_FLAG, PAL_AT(mamba2, bias)},
    {"conv_bias", PAL_KEY_FLAG, PAL_AT(mamba2, conv_bias)},
};
static const pal_keys ssm_model_keys = PAL_KEYS(ssm_model_rows), ssm_keys = PAL_KEYS(ssm_rows);
static const pal_fixed ssm_model_fixed[] = {
    {"d_intermediate", "0"}, {"rms_norm", "true"}, {NULL, NULL}};
static const pal_fixed ssm_fixed[] = {
    {"layer", "Mamba2"}, {"D_has_hdim", "false"}, {"d_ssm", "null"}, {NULL, NULL}};
static const pal_section ssm_sections[] = {
    {.path = "",
     .keys = &ssm_model_keys,
     .fixed = ssm_model_fixed,
     .own = "ssm_cfg attn_layer_idx",
     .free = "attn_cfg residual_in_fp32 fused_add_norm"},
    {.path = "ssm_cfg",
     .keys = &ssm_keys,
     .fixed = ssm_fixed,
     .own = "dt_limit",
     .free = "A_init_range conv_init dt_min dt_max dt_init_floor chunk_size use_mem_eff_path "
             "process_group sequence_parallel"},
};
static const mamba2 ssm_defaults = {.multiple = 8,
                                    .head_dim = 64,
                                    .state = 128,
                                    .groups = 1,
                                    .kernel = 4,
                                    .expand = 2,
                                    .eps = 1e-5,
                                    .tie = true,
                                    .conv_bias = true,
                                    .dt_limit = "ssm_cfg.dt_limit"};

static pal_status describe_ssm(const pal_config *c, const void *values, pal_described *d,
                               pal_error *error)
{
    const char *layer = pal_json_text(pal_config_get(c, "ssm_cfg.layer"));
    if (!layer || strcmp(layer, "Mamba2") != 0)
        return pal_config_bad(error,
                              "ssm_cfg has no layer Mamba2 or Mamba3, and others are not there");
    if (pal_json_first(pal_config_get(c, "attn_layer_idx")))
        return pal_config_bad(error, "attn_layer_idx is not empty: attention behind a convolution "
                                     "is not there");
    return describe(c, values, d, error);
}

const pal_family pal_family_mamba2_ssm = {
    .name = "state-spaces' Mamba-2",
    .types = "",
    .sign = "ssm_cfg",
    .sections = ssm_sections,
    .section_count = 2,
    .size = sizeof(mamba2),
    .defaults = &ssm_defaults,
    .describe = describe_ssm,
    SPELLINGS,
};
