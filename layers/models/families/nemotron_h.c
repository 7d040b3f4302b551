/*
 * nemotron_h.c - Nemotron-H without experts: blocks of one part each, Mamba-2, an MLP or attention.
 */
#include "layers/models/families/family.h"

#include <math.h>
#include <string.h>

enum { MOST = 1 << 24, MAMBA = 0, MLP, ATTENTION, EXPERTS, KINDS };

typedef struct nemotron_h {
    int64_t width, vocab, mlp;
    int64_t heads, kv_heads, head_dim;
    int64_t m_heads, m_head_dim, m_state, m_groups, m_kernel;
    double eps, dt_min;
    bool mlp_bias, m_conv_bias, m_bias;
} nemotron_h;

#define SIZE(field) PAL_AT(nemotron_h, field), .low = 1, .high = MOST
#define FLAG(field) PAL_AT(nemotron_h, field)

static const pal_key rows[] = {
    {"hidden_size", PAL_KEY_WHOLE, SIZE(width), .tag = PAL_CONFIG_NEEDED},
    {"vocab_size", PAL_KEY_WHOLE, SIZE(vocab), .tag = PAL_CONFIG_NEEDED},
    {"intermediate_size", PAL_KEY_WHOLE, SIZE(mlp)},
    {"num_attention_heads", PAL_KEY_WHOLE, SIZE(heads)},
    {"num_key_value_heads", PAL_KEY_WHOLE, SIZE(kv_heads)},
    {"head_dim", PAL_KEY_WHOLE, SIZE(head_dim)},
    {"attention_head_dim", PAL_KEY_WHOLE, SIZE(head_dim)}, /* its earlier name */
    {"mamba_num_heads", PAL_KEY_WHOLE, SIZE(m_heads)},
    {"mamba_head_dim", PAL_KEY_WHOLE, SIZE(m_head_dim)},
    {"ssm_state_size", PAL_KEY_WHOLE, SIZE(m_state)},
    {"n_groups", PAL_KEY_WHOLE, SIZE(m_groups)},
    {"mamba_n_groups", PAL_KEY_WHOLE, SIZE(m_groups)}, /* earlier names of the next three, too */
    {"conv_kernel", PAL_KEY_WHOLE, SIZE(m_kernel)},
    {"mamba_d_conv", PAL_KEY_WHOLE, SIZE(m_kernel)},
    {"layer_norm_epsilon", PAL_KEY_REAL, PAL_AT(nemotron_h, eps), .high = 1, .open = PAL_OPEN_LOW},
    {"time_step_min", PAL_KEY_REAL, PAL_AT(nemotron_h, dt_min), .high = HUGE_VAL},
    {"mamba_dt_min", PAL_KEY_REAL, PAL_AT(nemotron_h, dt_min), .high = HUGE_VAL},
    {"use_conv_bias", PAL_KEY_FLAG, FLAG(m_conv_bias)},
    {"mamba_conv_bias", PAL_KEY_FLAG, FLAG(m_conv_bias)},
    {"use_bias", PAL_KEY_FLAG, FLAG(m_bias)},
    {"mlp_bias", PAL_KEY_FLAG, FLAG(mlp_bias)},
};
static const pal_keys keys = PAL_KEYS(rows);
static const pal_fixed fixed[] = {
    {"mlp_hidden_act", "relu2"},
    {"mamba_hidden_act", "silu|swish"},
    {"attention_bias", "false"},
    {"attention_dropout", "0"},
    {"hidden_dropout", "0"},
    {"sliding_window", "null"},
    {"mamba_proj_bias", "false"},
    {"num_nextn_predict_layers", "0"},
    {NULL, NULL},
};
/* dt has a least value, time_step_min, and time_step_limit is not used. The head is a tensor of its
 * own, whatever tie_word_embeddings says: transformers does not tie it. */
static const pal_section section = {
    .path = "",
    .keys = &keys,
    .fixed = fixed,
    .own = "layers_block_type layer_types hybrid_override_pattern",
    .free = "num_hidden_layers expand mamba_expand chunk_size mamba_chunk_size "
            "mamba_ssm_cache_dtype max_position_embeddings num_logits_to_keep "
            "rescale_prenorm_residual residual_in_fp32 time_step_limit time_step_max "
            "time_step_floor time_step_rank mamba_dt_limit mamba_dt_max mamba_dt_init_floor "
            "use_mamba_kernels rms_norm_eps tie_word_embeddings "
            /* of experts, and of the prediction of several tokens: there are none */
            "moe_intermediate_size moe_latent_size moe_shared_expert_intermediate_size "
            "moe_shared_expert_overlap mtp_layers_block_type mtp_hybrid_override_pattern n_group "
            "n_routed_experts n_shared_experts norm_topk_prob num_experts_per_tok "
            "output_router_logits routed_scaling_factor topk_group",
};
static const nemotron_h defaults = {.mlp = 21504,
                                    .heads = 32,
                                    .kv_heads = 8,
                                    .head_dim = 128,
                                    .m_heads = 128,
                                    .m_head_dim = 64,
                                    .m_state = 128,
                                    .m_groups = 8,
                                    .m_kernel = 4,
                                    .eps = 1e-5,
                                    .dt_min = 0.001,
                                    .m_conv_bias = true};

/* ---- The blocks ---- */

/* A character for each block. */
static pal_status read_pattern(const char *pattern, pal_described *d, pal_error *error)
{
    static const char marks[KINDS + 1] = "M-*E";
    const size_t n = pattern ? strlen(pattern) : 0;
    for (size_t i = 0; i < n && i < PAL_FOLDER_LAYERS; i++) {
        const char *mark = strchr(marks, pattern[i]);
        if (!mark)
            return pal_config_bad(error, "hybrid_override_pattern has other characters than %s",
                                  marks);
        d->kind[i] = (unsigned char)(mark - marks);
    }
    d->opts.layers = (int64_t)n;
    return PAL_OK;
}

static pal_status read_blocks(const pal_config *c, pal_described *d, pal_error *error)
{
    static const char words[] = "linear_attention|mlp|full_attention|moe|mamba|mlp|attention|moe";
    const char *key = pal_config_get(c, "layer_types") ? "layer_types" : "layers_block_type";
    const pal_json *list = pal_config_get(c, key);
    for (const pal_json *o = pal_json_first(list); o; o = pal_json_next(o)) d->opts.layers++;
    if (!list) key = "hybrid_override_pattern";
    pal_status s = list && d->opts.layers <= PAL_FOLDER_LAYERS
                       ? pal_config_layers(c, key, words, KINDS, d, error)
                   : list ? PAL_OK
                          : read_pattern(pal_json_text(pal_config_get(c, key)), d, error);
    if (s != PAL_OK) return s;
    if (d->opts.layers < 1 || d->opts.layers > PAL_FOLDER_LAYERS)
        return pal_config_bad(error, "%s has %lld layers, and 1 to %d are read", key,
                              (long long)d->opts.layers, PAL_FOLDER_LAYERS);
    for (int64_t i = 0; i < d->opts.layers; i++)
        if (d->kind[i] == EXPERTS)
            return pal_config_bad(error,
                                  "layer %lld is a mixture of experts (MoE), which is not there",
                                  (long long)i);
    return PAL_OK;
}

static void describe_blocks(const nemotron_h *v, pal_described *d)
{
    pal_entry_begin(d, MAMBA, "mamba2");
    pal_entry_whole(d, MAMBA, "num_heads", v->m_heads);
    pal_entry_whole(d, MAMBA, "head_dim", v->m_head_dim);
    pal_entry_whole(d, MAMBA, "state_size", v->m_state);
    pal_entry_whole(d, MAMBA, "n_groups", v->m_groups);
    pal_entry_whole(d, MAMBA, "conv_kernel", v->m_kernel);
    if (v->dt_min > 0) pal_entry_real(d, MAMBA, "dt_min", v->dt_min);
    if (!v->m_conv_bias) pal_entry_flag(d, MAMBA, "use_conv_bias", false);
    if (v->m_bias) pal_entry_flag(d, MAMBA, "use_bias", true);
    pal_entry_real(d, MAMBA, "norm_eps", v->eps);
    pal_entry_flag(d, MAMBA, "block.no_mlp", true);
    pal_entry_begin(d, MLP, "none");
    pal_entry_word(d, MLP, "block.mlp", "relu2");
    pal_entry_whole(d, MLP, "block.mlp_width", v->mlp);
    if (v->mlp_bias) pal_entry_flag(d, MLP, "block.mlp_bias", true);
    pal_entry_begin(d, ATTENTION, "attn");
    pal_entry_whole(d, ATTENTION, "num_heads", v->heads);
    pal_entry_whole(d, ATTENTION, "num_kv_heads", v->kv_heads);
    pal_entry_whole(d, ATTENTION, "head_dim", v->head_dim);
    pal_entry_word(d, ATTENTION, "rope", "none");
    pal_entry_flag(d, ATTENTION, "block.no_mlp", true);
}

static pal_status describe(const pal_config *c, const void *values, pal_described *d,
                           pal_error *error)
{
    const nemotron_h *v = values;
    d->opts = (pal_lm_opts){
        .width = v->width, .vocab = v->vocab, .mlp_width = v->mlp, .norm_eps = v->eps};
    describe_blocks(v, d);
    return read_blocks(c, d, error);
}

static const pal_spelling spellings[] = {
    {NULL, "model.embeddings.weight", "^embeddings.weight"},
    {NULL, "model.norm.weight", "^norm_f.weight"},
    {NULL, "lm_head.weight", "lm_head.weight"},
    {"none", ".mlp_norm.weight", ".norm.weight"},
    {"none", ".mlp.*", ".mixer.*"},
    {NULL, ".attn_norm.weight", ".norm.weight"},
    {NULL, ".attn.*", ".mixer.*"},
};

const pal_family pal_family_nemotron_h = {
    .name = "Nemotron-H",
    .types = "nemotron_h",
    .sections = &section,
    .section_count = 1,
    .size = sizeof(nemotron_h),
    .defaults = &defaults,
    .describe = describe,
    .spellings = spellings,
    .spelling_count = (int)(sizeof spellings / sizeof *spellings),
    .prefixes = "backbone.|model.",
    .left_out = "mtp.",
};
