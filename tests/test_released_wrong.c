/*
 * test_released_wrong.c - folders of released models that are other than expected: what is wrong is
 * said by one sentence and nothing is loaded; other spellings of the same are taken.
 */
#include <palimpsest.h>
#include "tests/support/check.h"
#include "tests/support/released.h"

#include <stdlib.h>
#include <string.h>

START_TEST(wrong_tensors)
{
    static const char down[] = "model.layers.1.mlp.down_proj.weight";
    static const char table[] = "backbone.embeddings.weight";
    pal_lm_file f;
    released_refused("fla_gdn", (released_change){.drop = down},
                     "it lacks the tensor model.layers.1.mlp.down_proj");
    released_refused("fla_gdn", (released_change){.drop = down, .rename = "model.layers.3.x"},
                     "it lacks the tensor");
    released_refused("fla_gdn", (released_change){.twice = down, .rename = "model.layers.3.x"},
                     "it has the tensor model.layers.3.x, which its model does not have");
    released_refused("fla_gdn", (released_change){.drop = down, .rows = 31},
                     "model.layers.1.mlp.down_proj.weight is bf16[31,48] where [32,48] is wanted");
    released_refused(
        "qwen3_5",
        (released_change){.drop = "model.language_model.layers.0.linear_attn.in_proj_qkv.weight",
                          .rows = 127},
        "in_proj_qkv.weight is bf16[127,40]; with what belongs to it, it does not have 128");
    released_refused(
        "olmo_hybrid",
        (released_change){.drop = "model.layers.1.linear_attn.v_conv1d.weight", .rows = 31},
        "does not have 96 rows like those of [24,1,4]");
    released_refused("fla_gdn", (released_change){.drop = "lm_head.weight"},
                     "it lacks the tensor lm_head.weight");
    released_refused("mamba2",
                     (released_change){.twice = table, .rename = "lm_head.weight", .spoil = true},
                     "lm_head.weight differs from backbone.embeddings.weight");
    f = released_open(
        released_changed("mamba2", (released_change){.twice = table, .rename = "lm_head.weight"}));
    pal_lm_close(&f);
    f = released_open(released_changed(
        "mamba2", (released_change){.drop = table, .rename = "backbone.embedding.weight"}));
    pal_lm_close(&f);
    f = released_open(released_changed(
        "qwen3_5", (released_change){.twice = "mtp.norm.weight", .rename = "mtp.more"}));
    pal_lm_close(&f);
}
END_TEST

/* After an error the parameters are what they were. */
START_TEST(nothing_loaded)
{
    pal_lm_file a = released_open(released_source("fla_gdn")),
                b = released_open(released_source("fla_gdn")), about;
    const char *bad = released_changed("fla_gdn", (released_change){.drop = "lm_head.weight"});
    pal_fill(pal_params_at(a.params, 0), 0.5);
    pal_fill(pal_params_at(b.params, 0), 0.5);
    ck_assert_int_eq(pal_lm_load(a.params, bad, released_bare, &about, &released_error),
                     PAL_EFORMAT);
    ck_assert(!about.description && !about.notes);
    released_same_params(a.params, b.params);
    ck_assert_int_eq(
        pal_lm_load(a.params, released_source("fla_gdn"), released_bare, &about, &released_error),
        PAL_OK);
    ck_assert(about.description && !about.lm);
    pal_lm_close(&about);
    pal_lm_close(&b);
    b = released_open(released_source("fla_gdn"));
    released_same_params(a.params, b.params);
    pal_lm_close(&a);
    pal_lm_close(&b);
}
END_TEST

/* An edit of a model's config.json, and words of the sentence that refuses it. */
typedef struct refused {
    const char *model, *old, *new, *words;
} refused;

static void refuse(const refused *all, size_t count)
{
    for (size_t i = 0; i < count; i++)
        released_refused(all[i].model, (released_change){.old = all[i].old, .new = all[i].new},
                         all[i].words);
}

START_TEST(wrong_configurations)
{
    static const refused all[] = {
        {"mamba2", "\"mamba2\"", "\"mamba9\"",
         "model_type mamba9 is not known; there are models of"},
        {"mamba2", "\"model_type\": \"mamba2\",", "", "model_type (missing) is not known"},
        {"qwen3_5", "\"qwen3_5\"", "\"qwen3_5_moe\"", "model_type qwen3_5_moe is not known"},
        {"mamba2", "\"mamba2\",", "\"x\", \"num_experts\": 8,", "mixtures of experts (MoE)"},
        {"mamba2", "\"mamba2\",", "\"x\", \"kv_lora_rank\": 8,",
         "multi-head latent attention (MLA)"},
        {"granite4h", "\"num_local_experts\": 0", "\"num_local_experts\": 4",
         "mixtures of experts (MoE) are not there"},
        {"granite4h", "\"silu\"", "\"gelu\"", "hidden_act is gelu; models of Granite 4.0 are read"},
        {"granite4h", "\"rope_theta\": 10000", "\"rope_scaling\": {}",
         "rope_scaling is a list or an"},
        {"granite4h", "\"mamba\"", "\"lstm\"", "layer_types has a layer \"lstm\""},
        {"granite4h", "    \"mamba\",\n", "", "layer_types has 3 entries, and the model 4 layers"},
        {"granite4h", "\"mamba_n_heads\": 8", "\"mamba_n_heads\": 7", "mamba_n_heads 7 times"},
        {"granite4h", "\"hidden_size\": 32", "\"hidden_size\": \"wide\"",
         "hidden_size=wide should be"},
        {"granite4h", "\"hidden_size\": 32", "\"hidden_size\": 0", "hidden_size=0 should be"},
        {"granite4h", "\"hidden_size\": 32", "\"hidden_size\": [32]", "hidden_size is a list"},
        {"granite4h", "\"hidden_size\": 32,", "", "hidden_size is missing"},
        {"granite4h", "\"vocab_size\": 336", "\"vocab_size\": 336, \"vocab_size\": 336",
         "stands twice"},
        {"granite4h", "\"hidden_size\": 32", "\"hidden_size\": 64", "mamba_n_heads 8 times"},
        {"granite4h", "\"num_hidden_layers\": 4", "\"num_hidden_layers\": 4097", "from 1 to 4096"},
        {"qwen3_5", "\"rope_type\": \"default\"", "\"rope_type\": \"yarn\"", "rope_type is yarn"},
        {"qwen3_5", "\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": NaN", "it is not JSON"},
        {"qwen3_5", "\"hidden_size\": 40,", "\"hidden_size\": 40,, ", "it is not JSON"},
        {"fla_gdn", "\"attn\": null", "\"attn\": [7]", "attn is no object"},
        {"fla_gdn", "\"attn\": null", "\"attn\": {\"layers\": [3], \"num_heads\": 2}",
         "is no layer's"},
        {"fla_gdn", "\"attnres_block_size\": null", "\"attnres_block_size\": 4",
         "attnres_block_size is 4"},
        {"fla_gdn", "\"num_heads\": 2", "\"num_heads\": 16777216", "its configuration: "},
        {"mamba2", "\"__float__\"", "\"float\"", "time_step_limit is no list of two bounds"},
        {"mamba2", "\"use_cache\": true", "\"quantization_config\": {}", "quantization_config is"},
        {"mamba2", "\"n_groups\": 1", "\"n_groups\": 3", "its configuration: "},
        {"qwen3_5", "\"tie_word_embeddings\": true,\n  \"transformers", "\"transformers",
         "it lacks the tensor lm_head.weight"},
        {"qwen3_5", "\"tie_word_embeddings\": true,\n  \"t", "\"tie_word_embeddings\": 2,\n  \"t",
         "tie_word_embeddings is neither true nor false"},
    };
    refuse(all, sizeof all / sizeof *all);
}
END_TEST

START_TEST(wrong_kinds_of_blocks)
{
    static const refused all[] = {
        {"nemotron_h", "\"M-*M-\"", "\"M-*ME\"", "layer 4 is a mixture of experts (MoE)"},
        {"falcon_h1", "0.31", "0.31, 1", "ssm_multipliers is no list of 5 numbers above 0"},
        {"falcon_h1", "0.31", "-0.31", "ssm_multipliers is no list of 5 numbers above 0"},
        {"falcon_h1", "\"mamba_n_heads\": 6", "\"mamba_n_heads\": 5", "mamba_n_heads 5 times"},
        {"falcon_h1", "\"projectors_bias\": false", "\"projectors_bias\": true",
         "mamba_proj_bias and projectors_bias differ"},
        {"falcon_h1", "\"key_multiplier\": 0.4", "\"key_multiplier\": 0",
         "key_multiplier=0 should"},
        {"lfm2", "\"conv\"", "\"moe\"", "layer_types has a layer \"moe\""},
        {"lfm2", "null,\n  \"hidden_size\"", "[2, 4],\n  \"layer_types\": null, \"hidden_size\"",
         "stands twice"},
        {"lfm2", "\"conv\",\n    \"conv\",\n    \"full_attention\",\n    \"conv\"\n  ]",
         "\"conv\"]", "layer_types has 1 entries, and the model 4 layers"},
        {"lfm2", "\"block_auto_adjust_ff_dim\": false", "\"block_auto_adjust_ff_dim\": true",
         "feed_forward.w1.weight is bf16[48,32] where [256,32] is wanted"},
        {"lfm2", "\"conv_bias\": false", "\"use_pos_enc\": false", "use_pos_enc is false"},
        {"nemotron_h", "\"M-*M-\"", "\"M-*MX\"", "hybrid_override_pattern has other characters"},
        {"nemotron_h", "\"M-*M-\"", "\"\"", "hybrid_override_pattern has 0 layers"},
    };
    refuse(all, sizeof all / sizeof *all);
}
END_TEST

/* Other spellings of the same, and keys that are not known. */
START_TEST(other_configurations)
{
    static const struct {
        const char *model, *old, *new, *notes, *line;
    } all[] = {
        {"mamba2", "\"use_cache\"", "\"brand_new\": 1, \"use_cache\"",
         "config.json: brand_new is not known to models of Mamba-2, and not read\n", "width = 32"},
        {"mamba2", "{\n      \"__float__\": \"Infinity\"\n    }", "Infinity", "", "layers = 3"},
        {"mamba2", "{\n      \"__float__\": \"Infinity\"\n    }", "0.5", "", ":dt_max=0.5:"},
        {"mamba2", "\"chunk_size\": 32,", "", "", "no-mlp = true"},
        {"granite4h", "\"mamba_d_head\": 8", "\"mamba_d_head\": \"auto\"", "", "embed-scale = 12"},
        {"granite4h", "\"nope\"", "\"rope\"", "",
         "attn:num_heads=4:num_kv_heads=2:scale=0.25:rope_theta"},
        {"granite4h", "\"mamba\",\n    \"mamba\",\n    \"attention\",\n    \"mamba\"",
         "\"linear_attention\",\n    \"mamba\",\n    \"full_attention\",\n    \"mamba\"", "",
         "logit-scale = 0.3333333333333333"},
        {"qwen3_5", "\"mrope_interleaved\": true,", "\"alpha\": 3,",
         "config.json: rope_parameters.alpha is not known to models of Qwen3.5, and not read\n",
         "mixers = 3*gdn:"},
        {"qwen3_5",
         "\"layer_types\": [\n      \"linear_attention\",\n      \"linear_attention\",\n"
         "      \"linear_attention\",\n      \"full_attention\"\n    ],",
         "\"full_attention_interval\": 4,", "", ",attn:num_heads=4:num_kv_heads=2:head_dim=16:"},
        {"qwen3_5", "\"tie_word_embeddings\": true,\n    \"use",
         "\"tie_word_embeddings\": false,\n    \"use",
         "config.json: tie_word_embeddings is true, and false in text_config; the former counts\n",
         "tie = true"},
        {"qwen3_5", "ForConditionalGeneration", "ForCausalLM", "", "tie = true"},
        {"lfm2", "\"intermediate_size\": 48", "\"block_ff_dim\": 48", "", "mlp-width = 48"},
        {"falcon_h1", "\"mamba_d_head\": 8", "\"mamba_d_head\": \"auto\"", "",
         ":dt_scale=0.31+attn:num_heads=4:"},
        {"nemotron_h", "\"hybrid_override_pattern\": \"M-*M-\"",
         "\"layers_block_type\": [\"mamba\", \"mlp\", \"attention\", \"mamba\", \"mlp\"]", "",
         ",none:block.mlp=relu2:block.mlp_width=56,attn:"},
        {"olmo_hybrid", "\"rope_theta\": 10000.0", "\"rope_theta\": null", "", ":rope=none:"},
        {"fla_gdn", "\"output_gate_activation\": \"swish\"",
         "\"output_gate_activation\": \"sigmoid\"", "", ":output_gate=sigmoid\n"},
        {"fla_gdn", "\"allow_neg_eigval\": false", "\"allow_neg_eigval\": true", "",
         ":allow_neg_eigval=true:"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        pal_lm_file f = released_open(released_changed(
            all[i].model, (released_change){.old = all[i].old, .new = all[i].new}));
        ck_assert_str_eq(f.notes, all[i].notes);
        ck_assert_msg(strstr(f.description, all[i].line) != NULL, "no %s: %s", all[i].line,
                      f.description);
        pal_lm_close(&f);
    }
}
END_TEST

/* Names that others have for the same tensors. */
START_TEST(other_names)
{
    static const char *const names[][3] = {
        {"olmo_hybrid", "model.layers.0.attention_layer_norm.weight",
         "model.layers.0.input_layernorm.weight"},
        {"olmo_hybrid", "model.layers.0.feedforward_layer_norm.weight",
         "model.layers.0.post_attention_layernorm.weight"},
        {"olmo_hybrid", "model.layers.3.feedforward_layer_norm.weight",
         "model.layers.3.post_attention_layernorm.weight"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const released_change c = {.drop = names[i][1], .rename = names[i][2]};
        pal_lm_file a = released_open(released_source(names[i][0])),
                    b = released_open(released_changed(names[i][0], c));
        released_same_params(a.params, b.params);
        pal_lm_close(&a);
        pal_lm_close(&b);
    }
}
END_TEST

/* A tokenizer that knows more tokens than the table has rows. */
START_TEST(tokens)
{
    size_t n;
    pal_lm_file f;
    const released_change c = {.old = "\"vocab_size\": 336",
                               .new = "\"vocab_size\": 329",
                               .drop = "model.embed_tokens.weight",
                               .rows = 329};
    const char *path = released_changed("granite4h", c);
    f = released_open(path);
    pal_lm_close(&f);
    char *text = released_read(released_at(released_source("granite4h"), "tokenizer.json"), &n);
    released_write(released_at(path, "tokenizer.json"), text, n);
    free(text);
    ck_assert_int_eq(pal_lm_open(&f, path, (pal_lm_open_opts){0}, &released_error), PAL_EFORMAT);
    ck_assert_msg(
        strstr(released_error.message, "330 tokens, more tokens than its model, which knows 329"),
        "%s", released_error.message);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("released_wrong");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, released_setup, released_teardown);
    tcase_add_test(tc, wrong_tensors);
    tcase_add_test(tc, nothing_loaded);
    tcase_add_test(tc, wrong_configurations);
    tcase_add_test(tc, wrong_kinds_of_blocks);
    tcase_add_test(tc, other_configurations);
    tcase_add_test(tc, other_names);
    tcase_add_test(tc, tokens);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
