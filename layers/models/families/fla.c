/*
 * fla.c - Gated DeltaNet and Kimi Delta Attention as flash-linear-attention releases them, whose
 * names of parameters this library has. Some of the layers may be attention.
 */
#include "layers/models/families/family.h"

#include <math.h>

enum { MOST = 1 << 24, MIXER = 0, ATTENTION = 1, SIGMOID = 2 };

typedef struct fla {
    int64_t layers, width, vocab, heads, head_dim, v_heads, conv, ratio, mlp;
    double expand_v, eps, lower_bound;
    bool tie, neg_eigval, no_conv, no_gate;
    int gate; /* SIGMOID, or one of two names of SiLU */
} fla;

/* Attention, which may be in some of the layers. */
typedef struct fla_attn {
    int64_t heads, kv_heads, window;
    double theta;
    bool bias;
} fla_attn;

#define SIZE(field) PAL_AT(fla, field), .low = 1, .high = MOST
#define COMMON                                                                                   \
    {"num_hidden_layers",       PAL_KEY_WHOLE,           PAL_AT(fla, layers), .low = 1,          \
     .high = PAL_FOLDER_LAYERS, .tag = PAL_CONFIG_NEEDED},                                       \
        {"hidden_size", PAL_KEY_WHOLE, SIZE(width), .tag = PAL_CONFIG_NEEDED},                   \
        {"vocab_size", PAL_KEY_WHOLE, SIZE(vocab), .tag = PAL_CONFIG_NEEDED},                    \
        {"num_heads", PAL_KEY_WHOLE, SIZE(heads)}, {"head_dim", PAL_KEY_WHOLE, SIZE(head_dim)},  \
        {"num_v_heads", PAL_KEY_WHOLE, SIZE(v_heads)}, {"conv_size", PAL_KEY_WHOLE, SIZE(conv)}, \
        {"hidden_ratio", PAL_KEY_WHOLE, SIZE(ratio)},                                            \
        {"intermediate_size", PAL_KEY_WHOLE, SIZE(mlp)},                                         \
        {"expand_v", PAL_KEY_REAL, PAL_AT(fla, expand_v), .high = 64, .open = PAL_OPEN_LOW},     \
        {"norm_eps", PAL_KEY_REAL, PAL_AT(fla, eps), .high = 1, .open = PAL_OPEN_LOW},           \
        {"allow_neg_eigval", PAL_KEY_FLAG, PAL_AT(fla, neg_eigval)},                             \
        {"use_short_conv", PAL_KEY_NOT, PAL_AT(fla, no_conv)},                                   \
    {                                                                                            \
        "tie_word_embeddings", PAL_KEY_FLAG, PAL_AT(fla, tie)                                    \
    }

static const pal_key gdn_rows[] = {
    COMMON,
    {"use_gate", PAL_KEY_NOT, PAL_AT(fla, no_gate)},
    {"output_gate_activation", PAL_KEY_CHOICE, PAL_AT(fla, gate), .words = "swish|silu|sigmoid"},
};
static const pal_key kda_rows[] = {
    COMMON,
    {"lower_bound", PAL_KEY_REAL, PAL_AT(fla, lower_bound), .low = -HUGE_VAL, .high = 0,
     .open = PAL_OPEN_HIGH},
};
static const pal_keys gdn_keys = PAL_KEYS(gdn_rows), kda_keys = PAL_KEYS(kda_rows);
static const pal_fixed fixed[] = {{"hidden_act", "swish|silu"},
                                  {"attnres_block_size", "null"},
                                  {"norm_first", "false"},
                                  {NULL, NULL}};
static const char without_meaning[] =
    "attn_mode max_position_embeddings fuse_norm fuse_swiglu fuse_cross_entropy "
    "fuse_linear_cross_entropy use_l2warp safe_gate";
#define ATTN_SECTION                                                                           \
    {                                                                                          \
        .path = "attn", .own = "layers num_heads num_kv_heads qkv_bias window_size rope_theta" \
    }
static const pal_section gdn_sections[] = {
    {.path = "", .keys = &gdn_keys, .fixed = fixed, .own = "attn", .free = without_meaning},
    ATTN_SECTION,
};
static const pal_section kda_sections[] = {
    {.path = "", .keys = &kda_keys, .fixed = fixed, .own = "attn", .free = without_meaning},
    ATTN_SECTION,
};

/* ---- Attention ---- */

static bool whole(const pal_json *o, const char *key, int64_t high, int64_t *value)
{
    const pal_json *v = pal_json_get(o, key);
    return pal_json_is_null(v) || (pal_json_whole(v, value) && *value >= 1 && *value <= high);
}

/* One object {layers, num_heads, ..}, whose layers become those of a kind. */
static pal_status read_attention(const pal_json *o, int kind, pal_described *d, fla_attn *a,
                                 pal_error *error)
{
    const pal_json *layers = pal_json_get(o, "layers"), *bias = pal_json_get(o, "qkv_bias"),
                   *theta = pal_json_get(o, "rope_theta");
    if (!pal_json_is_list(layers) || !pal_json_get(o, "num_heads") ||
        !whole(o, "num_heads", MOST, &a->heads) || !whole(o, "num_kv_heads", MOST, &a->kv_heads) ||
        !whole(o, "window_size", INT32_MAX, &a->window) ||
        !(pal_json_is_null(bias) || pal_json_flag(bias, &a->bias)) ||
        !(pal_json_is_null(theta) || (pal_json_number(theta, &a->theta) && a->theta > 0)))
        return pal_config_bad(error, "attn has other values than layers, num_heads, num_kv_heads, "
                                     "qkv_bias, window_size and rope_theta");
    for (const pal_json *v = pal_json_first(layers); v; v = pal_json_next(v)) {
        int64_t i;
        if (!pal_json_whole(v, &i) || i < 0 || i >= d->opts.layers || d->kind[i] != MIXER)
            return pal_config_bad(error, "attn.layers has a number that is no layer's, or twice");
        d->kind[i] = (unsigned char)kind;
    }
    return PAL_OK;
}

static pal_status add_attention(const pal_json *o, int kind, pal_described *d, pal_error *error)
{
    fla_attn a = {.theta = 10000};
    if (!pal_json_is_object(o)) return pal_config_bad(error, "attn is no object");
    if (kind == PAL_BLOCK_KINDS)
        return pal_config_bad(error, "attn has more than %d kinds", PAL_BLOCK_KINDS - ATTENTION);
    const pal_status s = read_attention(o, kind, d, &a, error);
    if (s != PAL_OK) return s;
    pal_entry_begin(d, kind, "attn");
    pal_entry_whole(d, kind, "num_heads", a.heads);
    if (a.kv_heads) pal_entry_whole(d, kind, "num_kv_heads", a.kv_heads);
    if (a.window) pal_entry_whole(d, kind, "window_size", a.window);
    pal_entry_real(d, kind, "rope_theta", a.theta);
    if (a.bias) pal_entry_flag(d, kind, "qkv_bias", true);
    return PAL_OK;
}

/* One kind of attention, or a list of several. */
static pal_status add_attentions(const pal_config *c, pal_described *d, pal_error *error)
{
    const pal_json *o = pal_config_get(c, "attn");
    pal_status s = PAL_OK;
    int kind = ATTENTION;
    if (!o) return PAL_OK;
    if (!pal_json_is_list(o)) return add_attention(o, kind, d, error);
    for (o = pal_json_first(o); o && s == PAL_OK; o = pal_json_next(o))
        s = add_attention(o, kind++, d, error);
    return s;
}

/* ---- Both ---- */

static void begin(const fla *v, pal_described *d, const char *mixer)
{
    /* The MLP is so wide unless it is told: 2/3 of the ratio, up to a multiple of 256. */
    const int64_t mlp = (int64_t)((double)(v->width * v->ratio) * 2 / 3);
    d->opts = (pal_lm_opts){.layers = v->layers,
                            .width = v->width,
                            .vocab = v->vocab,
                            .mlp_width = v->mlp ? v->mlp : (mlp + 255) / 256 * 256,
                            .tie = v->tie,
                            .norm_eps = v->eps};
    pal_entry_begin(d, MIXER, mixer);
    pal_entry_whole(d, MIXER, "num_heads", v->heads);
    pal_entry_whole(d, MIXER, "head_dim", v->head_dim);
    if (v->v_heads) pal_entry_whole(d, MIXER, "num_v_heads", v->v_heads);
    pal_entry_real(d, MIXER, "expand_v", v->expand_v);
    if (v->no_conv)
        pal_entry_flag(d, MIXER, "use_short_conv", false);
    else
        pal_entry_whole(d, MIXER, "conv_size", v->conv);
    if (v->neg_eigval) pal_entry_flag(d, MIXER, "allow_neg_eigval", true);
    pal_entry_real(d, MIXER, "norm_eps", v->eps);
}

static pal_status describe_gdn(const pal_config *c, const void *values, pal_described *d,
                               pal_error *error)
{
    const fla *v = values;
    begin(v, d, "gdn");
    if (v->no_gate) pal_entry_flag(d, MIXER, "use_gate", false);
    if (!v->no_gate && v->gate == SIGMOID) pal_entry_word(d, MIXER, "output_gate", "sigmoid");
    return add_attentions(c, d, error);
}

static pal_status describe_kda(const pal_config *c, const void *values, pal_described *d,
                               pal_error *error)
{
    const fla *v = values;
    begin(v, d, "kda");
    if (v->lower_bound < 0) pal_entry_real(d, MIXER, "lower_bound", v->lower_bound);
    return add_attentions(c, d, error);
}

static const pal_spelling spellings[] = {
    {NULL, "model.embeddings.weight", "model.embeddings.weight"},
    {NULL, "model.norm.weight", "model.norm.weight"},
    {NULL, "lm_head.weight", "lm_head.weight"},
    {NULL, ".*", ".*"},
};
#define SPELLINGS                                 \
    .spellings = spellings, .prefixes = "model.", \
    .spelling_count = (int)(sizeof spellings / sizeof *spellings)

static const fla gdn_defaults = {
    .heads = 6, .head_dim = 256, .conv = 4, .ratio = 4, .expand_v = 2, .eps = 1e-6};
static const fla kda_defaults = {
    .heads = 16, .head_dim = 128, .conv = 4, .ratio = 4, .expand_v = 1, .eps = 1e-6};

const pal_family pal_family_gated_deltanet = {
    .name = "flash-linear-attention's Gated DeltaNet",
    .types = "gated_deltanet",
    .sections = gdn_sections,
    .section_count = 2,
    .size = sizeof(fla),
    .defaults = &gdn_defaults,
    .describe = describe_gdn,
    SPELLINGS,
};
const pal_family pal_family_kda = {
    .name = "flash-linear-attention's KDA",
    .types = "kda",
    .sections = kda_sections,
    .section_count = 2,
    .size = sizeof(fla),
    .defaults = &kda_defaults,
    .describe = describe_kda,
    SPELLINGS,
};
