/*
 * mamba3.c - Mamba-3 (arXiv 2603.15569) as flash-linear-attention and its authors (state-spaces)
 * release it. Shapes and orders are the same there and here; what differs is names, and that the
 * authors' models may have MLPs.
 */
#include "layers/models/families/family.h"

#include <string.h>

enum { MOST = 1 << 24, SOFTPLUS = 0, HEAVY_TAIL = 1 };

typedef struct mamba3 {
    int64_t layers, width, vocab, multiple, mlp, head_dim, state, groups, rank;
    double expand, fraction, floor, eps;
    bool tie, bias, mimo, norm;
    int A_act;
} mamba3;

/* What both have. */
static pal_status describe(const pal_config *c, const void *values, pal_described *d,
                           pal_error *error)
{
    const mamba3 *v = values;
    (void)c, (void)error;
    d->opts = (pal_lm_opts){
        .layers = v->layers,
        .width = v->width,
        .vocab = (v->vocab + v->multiple - 1) / v->multiple * v->multiple,
        .mlp_width = (v->mlp + 127) / 128 * 128, /* as the authors' MLP rounds */
        .no_mlp = v->mlp == 0,
        .tie = v->tie,
        .norm_eps = v->eps,
    };
    pal_entry_begin(d, 0, "mamba3");
    pal_entry_whole(d, 0, "head_dim", v->head_dim);
    pal_entry_whole(d, 0, "state_size", v->state);
    pal_entry_real(d, 0, "expand", v->expand);
    pal_entry_whole(d, 0, "n_groups", v->groups);
    if (v->mimo) {
        pal_entry_flag(d, 0, "is_mimo", true);
        pal_entry_whole(d, 0, "mimo_rank", v->rank);
    }
    pal_entry_real(d, 0, "rope_fraction", v->fraction);
    pal_entry_real(d, 0, "A_floor", v->floor);
    if (v->A_act == HEAVY_TAIL) pal_entry_word(d, 0, "A_act", "heavy_tail");
    if (v->norm) pal_entry_flag(d, 0, "is_outproj_norm", true);
    if (v->bias) pal_entry_flag(d, 0, "use_bias", true);
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
    {NULL, ".mlp_norm.weight", ".norm2.weight"},
    /* The first half of fc1 is what is multiplied, the second is the gate. */
    {NULL, ".mlp.up_proj.weight .mlp.gate_proj.weight", ".mlp.fc1.weight"},
    {NULL, ".mlp.down_proj.weight", ".mlp.fc2.weight"},
};
#define SPELLINGS                                    \
    .spellings = spellings, .prefixes = "backbone.", \
    .spelling_count = (int)(sizeof spellings / sizeof *spellings)

#define SIZE(field)  PAL_AT(mamba3, field), .low = 1, .high = MOST
#define ABOVE(field) PAL_AT(mamba3, field), .high = MOST, .open = PAL_OPEN_LOW
/* Under the same names in both. No file of either has A_act: whoever knows that a model was trained
 * with the other function adds this key. */
#define COMMON                                                                                     \
    {"expand", PAL_KEY_REAL, PAL_AT(mamba3, expand), .high = 64, .open = PAL_OPEN_LOW},            \
        {"rope_fraction", PAL_KEY_REAL, ABOVE(fraction)}, {"A_floor", PAL_KEY_REAL, ABOVE(floor)}, \
        {"A_act", PAL_KEY_CHOICE, PAL_AT(mamba3, A_act), .words = "softplus|heavy_tail"},          \
        {"is_mimo", PAL_KEY_FLAG, PAL_AT(mamba3, mimo)}, {"mimo_rank", PAL_KEY_WHOLE, SIZE(rank)}, \
    {                                                                                              \
        "is_outproj_norm", PAL_KEY_FLAG, PAL_AT(mamba3, norm)                                      \
    }
#define DEFAULTS                                                                        \
    .head_dim = 64, .state = 128, .groups = 1, .rank = 4, .expand = 2, .fraction = 0.5, \
    .floor = 1e-4, .eps = 1e-5

/* ---- flash-linear-attention ---- */

static const pal_key fla_rows[] = {
    {"num_hidden_layers", PAL_KEY_WHOLE, PAL_AT(mamba3, layers), .low = 1,
     .high = PAL_FOLDER_LAYERS, .tag = PAL_CONFIG_NEEDED},
    {"hidden_size", PAL_KEY_WHOLE, SIZE(width), .tag = PAL_CONFIG_NEEDED},
    {"vocab_size", PAL_KEY_WHOLE, SIZE(vocab), .tag = PAL_CONFIG_NEEDED},
    {"head_dim", PAL_KEY_WHOLE, SIZE(head_dim)},
    {"state_size", PAL_KEY_WHOLE, SIZE(state)},
    {"n_groups", PAL_KEY_WHOLE, SIZE(groups)},
    {"norm_eps", PAL_KEY_REAL, PAL_AT(mamba3, eps), .high = 1, .open = PAL_OPEN_LOW},
    {"use_bias", PAL_KEY_FLAG, PAL_AT(mamba3, bias)},
    {"tie_word_embeddings", PAL_KEY_FLAG, PAL_AT(mamba3, tie)},
    COMMON,
};
static const pal_keys fla_keys = PAL_KEYS(fla_rows);
static const pal_fixed fla_fixed[] = {
    {"hidden_act", "silu|swish"}, {"rmsnorm", "true"}, {NULL, NULL}};
static const pal_section fla_section = {
    .path = "",
    .keys = &fla_keys,
    .fixed = fla_fixed,
    .free = "num_heads chunk_size dt_min dt_max dt_init_floor rescale_prenorm_residual "
            "residual_in_fp32 fuse_norm fuse_cross_entropy fuse_linear_cross_entropy use_l2warp",
};
static const mamba3 fla_defaults = {DEFAULTS, .multiple = 1};

const pal_family pal_family_mamba3 = {
    .name = "flash-linear-attention's Mamba-3",
    .types = "mamba3",
    .sections = &fla_section,
    .section_count = 1,
    .size = sizeof(mamba3),
    .defaults = &fla_defaults,
    .describe = describe,
    SPELLINGS,
};

/* ---- state-spaces: no model_type, and the layer's options in an object ---- */

static const pal_key ssm_model_rows[] = {
    {"n_layer", PAL_KEY_WHOLE, PAL_AT(mamba3, layers), .low = 1, .high = PAL_FOLDER_LAYERS,
     .tag = PAL_CONFIG_NEEDED},
    {"d_model", PAL_KEY_WHOLE, SIZE(width), .tag = PAL_CONFIG_NEEDED},
    {"vocab_size", PAL_KEY_WHOLE, SIZE(vocab), .tag = PAL_CONFIG_NEEDED},
    {"d_intermediate", PAL_KEY_WHOLE, PAL_AT(mamba3, mlp), .high = MOST},
    {"pad_vocab_size_multiple", PAL_KEY_WHOLE, SIZE(multiple)},
    {"tie_embeddings", PAL_KEY_FLAG, PAL_AT(mamba3, tie)},
};
static const pal_key ssm_rows[] = {
    {"d_state", PAL_KEY_WHOLE, SIZE(state)},
    {"headdim", PAL_KEY_WHOLE, SIZE(head_dim)},
    {"ngroups", PAL_KEY_WHOLE, SIZE(groups)},
    COMMON,
};
static const pal_keys ssm_model_keys = PAL_KEYS(ssm_model_rows), ssm_keys = PAL_KEYS(ssm_rows);
static const pal_fixed ssm_model_fixed[] = {{"rms_norm", "true"}, {NULL, NULL}};
static const pal_fixed ssm_fixed[] = {{"layer", "Mamba3"}, {NULL, NULL}};
static const pal_section ssm_sections[] = {
    {.path = "",
     .keys = &ssm_model_keys,
     .fixed = ssm_model_fixed,
     .own = "ssm_cfg attn_layer_idx",
     .free = "attn_cfg residual_in_fp32 fused_add_norm"},
    {.path = "ssm_cfg",
     .keys = &ssm_keys,
     .fixed = ssm_fixed,
     .free = "dt_min dt_max dt_init_floor chunk_size dropout layer_idx n_layer"},
};
static const mamba3 ssm_defaults = {DEFAULTS, .multiple = 8, .tie = true};

static pal_status describe_ssm(const pal_config *c, const void *values, pal_described *d,
                               pal_error *error)
{
    if (pal_json_first(pal_config_get(c, "attn_layer_idx")))
        return pal_config_bad(error, "attn_layer_idx is not empty: attention behind a convolution "
                                     "is not there");
    if (!pal_config_get(c, "ssm_cfg.A_act"))
        fprintf(c->notes, "config.json: it does not say which function A has. That of mamba_ssm "
                          "until 2026-06-01 is taken, softplus; for the later one, add "
                          "\"A_act\": \"heavy_tail\" to ssm_cfg\n");
    return describe(c, values, d, error);
}

const pal_family pal_family_mamba3_ssm = {
    .name = "state-spaces' Mamba-3",
    .types = "",
    .sign = "ssm_cfg.layer=Mamba3",
    .sections = ssm_sections,
    .section_count = 2,
    .size = sizeof(mamba3),
    .defaults = &ssm_defaults,
    .describe = describe_ssm,
    SPELLINGS,
};
