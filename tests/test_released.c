/*
 * test_released.c - folders of released models: what is opened is written back byte for byte, also
 * through a checkpoint and from shards.
 */
#include <palimpsest.h>
#include "tests/support/released.h"

#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const models[] = {"falcon_h1", "fla_gdn",    "granite4h",   "lfm2",
                                     "mamba2",    "nemotron_h", "olmo_hybrid", "qwen3_5"};
enum { MODELS = sizeof models / sizeof *models };

/* ---- Back again ---- */

START_TEST(there_and_back)
{
    for (int i = 0; i < MODELS; i++) {
        const char *from = released_source(models[i]),
                   *to = released_at(released_scratch, models[i]);
        pal_lm_file f = released_open(from), again;
        ck_assert_str_eq(f.notes, "");
        ck_assert_msg(pal_lm_export(f.lm, from, to, &released_error) == PAL_OK, "%s",
                      released_error.message);
        released_same_file(released_at(from, "model.safetensors"),
                           released_at(to, "model.safetensors"));
        released_same_file(released_at(from, "config.json"), released_at(to, "config.json"));
        released_same_file(released_at(from, "tokenizer.json"), released_at(to, "tokenizer.json"));

        /* Through a checkpoint, in f32. */
        const pal_checkpoint c = {.params = f.params, .config = f.description};
        ck_assert_int_eq(
            pal_checkpoint_save(&c, released_at(released_scratch, "saved.h5"), &released_error),
            PAL_OK);
        ck_assert_msg(pal_lm_open(&again, released_at(released_scratch, "saved.h5"), released_bare,
                                  &released_error) == PAL_OK,
                      "%s", released_error.message);
        released_same_params(f.params, again.params);
        to = released_at(released_scratch, "back");
        ck_assert_msg(pal_lm_export(again.lm, from, to, &released_error) == PAL_OK, "%s",
                      released_error.message);
        released_same_file(released_at(from, "model.safetensors"),
                           released_at(to, "model.safetensors"));

        /* An export overwrites nothing. */
        ck_assert_int_eq(pal_lm_export(again.lm, from, to, &released_error), PAL_EVALUE);
        ck_assert(strstr(released_error.message, "overwrites nothing") != NULL);
        char command[320];
        snprintf(command, sizeof command, "rm -r %s/back", released_scratch);
        ck_assert_int_eq(system(command), 0);
        pal_lm_close(&again);
        pal_lm_close(&f);
    }
}
END_TEST

/* Only what a training changed is other, and f64 comes as near. */
START_TEST(changed_numbers)
{
    const char *from = released_source("qwen3_5"), *to = released_at(released_scratch, "out");
    pal_lm_file f, back;
    const pal_lm_open_opts opts = {.no_tokenizer = true, .dtype = PAL_F64};
    ck_assert_int_eq(pal_lm_open(&f, from, opts, &released_error), PAL_OK);
    pal_tensor k = pal_params_find(f.params, "model.layers.0.attn.k_proj.weight");
    ck_assert_int_eq(pal_dtype_of(k), PAL_F64);
    pal_fill(k, 1 + 0x1p-8 + 0x1p-40);    /* bf16 has 1 and 1 + 2^-7 */
    ck_assert_int_eq(mkdir(to, 0700), 0); /* an empty folder is as good as none */
    ck_assert_msg(pal_lm_export(f.lm, from, to, &released_error) == PAL_OK, "%s",
                  released_error.message);
    back = released_open(to);
    for (int i = 0; i < pal_params_count(back.params); i++) {
        const pal_array x = pal_params_array(f.params, i), y = pal_params_array(back.params, i);
        const bool other =
            strcmp(pal_params_name(f.params, i), "model.layers.0.attn.k_proj.weight") == 0;
        for (int64_t j = 0; j < pal_array_count(&x); j++)
            ck_assert(((float *)y.data)[j] == (other ? 1 + 0x1p-7f : (float)((double *)x.data)[j]));
    }
    pal_lm_close(&back);
    pal_lm_close(&f);
}
END_TEST

START_TEST(other_models)
{
    pal_rng rng = pal_rng_new(1, 0);
    pal_params *params = pal_params_new();
    const pal_lm_file f = released_open(released_source("mamba2"));
    pal_lm_opts o = pal_lm_options(f.lm);
    o.tie = false;
    pal_lm *lm = pal_lm_new(params, o, &rng);
    ck_assert_int_eq(pal_lm_export(lm, released_source("mamba2"),
                                   released_at(released_scratch, "x"), &released_error),
                     PAL_EVALUE);
    ck_assert_msg(strstr(released_error.message, "the model has tie false") != NULL, "%s",
                  released_error.message);
    ck_assert_int_eq(pal_lm_export(lm, released_source("fla_gdn"),
                                   released_at(released_scratch, "x"), &released_error),
                     PAL_EVALUE);
    ck_assert_msg(strstr(released_error.message, "the model has the mixers mamba2") != NULL, "%s",
                  released_error.message);
    ck_assert_int_eq(pal_lm_export(f.lm, released_at(released_scratch, "none"),
                                   released_at(released_scratch, "x"), &released_error),
                     PAL_EIO);
    ck_assert_int_eq(pal_lm_export(f.lm, released_source("mamba2"),
                                   released_at(released_scratch, "no/x"), &released_error),
                     PAL_EIO);
    ck_assert_int_eq(access(released_at(released_scratch, "x"), F_OK), -1);
    pal_params_free(params);
    pal_lm_file g = f;
    pal_lm_close(&g);
}
END_TEST

/* ---- Shards and types ---- */

START_TEST(shards)
{
    for (int m = 0; m < MODELS; m++) {
        pal_weights *w;
        pal_stored all[RELEASED_TENSORS];
        const char *from = released_source(models[m]),
                   *to = released_at(released_scratch, models[m]);
        char index[1 << 15], shard[64];
        size_t size = (size_t)snprintf(index, sizeof index, "{\"weight_map\": {");
        ck_assert_int_eq(mkdir(to, 0700), 0);
        released_config(from, to, (released_change){0});
        ck_assert_int_eq(pal_weights_open(&w, from, &released_error), PAL_OK);
        const int64_t n = released_tensors(w, (released_change){0}, all);
        for (int64_t i = 0, k = 0; i < n; i += (n + 2) / 3, k++) {
            const int64_t here = n - i < (n + 2) / 3 ? n - i : (n + 2) / 3;
            snprintf(shard, sizeof shard, "model-%05d-of-00003.safetensors", (int)k + 1);
            released_write_tensors(released_at(to, shard), here, all + i, NULL);
            for (int64_t j = i; j < i + here; j++)
                size += (size_t)snprintf(index + size, sizeof index - size, "%s\"%s\": \"%s\"",
                                         j ? ", " : "", all[j].name, shard);
        }
        size += (size_t)snprintf(index + size, sizeof index - size, "}}");
        ck_assert(size < sizeof index);
        released_write(released_at(to, "model.safetensors.index.json"), index, size);
        pal_weights_close(w);

        pal_lm_file one = released_open(from), three = released_open(to);
        released_same_params(one.params, three.params);
        const char *back = released_at(released_scratch, "back");
        ck_assert_msg(pal_lm_export(one.lm, to, back, &released_error) == PAL_OK, "%s",
                      released_error.message);
        released_same_file(released_at(to, shard), released_at(back, shard));
        released_same_file(released_at(to, "model.safetensors.index.json"),
                           released_at(back, "model.safetensors.index.json"));
        pal_lm_close(&one);
        pal_lm_close(&three);
        ck_assert_int_eq(truncate(released_at(to, shard), 1000), 0);
        ck_assert_int_eq(pal_lm_open(&one, to, released_bare, &released_error), PAL_EFORMAT);
        ck_assert_msg(strstr(released_error.message, shard) != NULL, "%s", released_error.message);
        char command[320];
        snprintf(command, sizeof command, "rm -r %s/back", released_scratch);
        ck_assert_int_eq(system(command), 0);
    }
}
END_TEST

/* The same bits under another type are other numbers; a type that is no float is refused. */
START_TEST(types)
{
    static const char name[] = "model.layers.0.attn.A_log";
    const released_change f16 = {.drop = name, .dtype = "F16"};
    pal_lm_file a = released_open(released_source("fla_gdn")),
                b = released_open(released_changed("fla_gdn", f16));
    const pal_array x = pal_value(pal_params_find(a.params, name)),
                    y = pal_value(pal_params_find(b.params, name));
    uint16_t bits[2];
    float want[2];
    pal_elements_write(PAL_F32, x.data, PAL_EL_BF16, bits, 2);
    pal_elements_read(PAL_EL_F16, bits, PAL_F32, want, 2);
    ck_assert_int_eq(memcmp(y.data, want, sizeof want), 0);
    ck_assert_int_ne(memcmp(y.data, x.data, sizeof want), 0);
    pal_lm_close(&a);
    pal_lm_close(&b);
    released_refused("fla_gdn", (released_change){.drop = name, .dtype = "I16"},
                     "model.layers.0.attn.A_log is I16[2]");
}
END_TEST

/* ---- Families without a reference here: a model of our own in their form ---- */

static const struct made {
    const char *mixers, *config;
    bool mamba2; /* names of a Mamba-2 model */
    pal_lm_opts opts;
} made[] = {
    {"kda:num_heads=2:head_dim=8:num_v_heads=4:expand_v=1:conv_size=4:norm_eps=1e-06:lower_bound=-"
     "5,"
     "attn:num_heads=4:num_kv_heads=2:window_size=8:rope_theta=10000,"
     "attn:num_heads=2:rope_theta=5000:qkv_bias=true",
     "{\"model_type\":\"kda\",\"num_hidden_layers\":3,\"hidden_size\":16,\"vocab_size\":20,"
     "\"num_heads\":2,\"num_v_heads\":4,\"head_dim\":8,\"safe_gate\":true,\"lower_bound\":-5,"
     "\"intermediate_size\":null,\"hidden_ratio\":2,\"attn\":[{\"layers\":[1],\"num_heads\":4,"
     "\"num_kv_heads\":2,\"window_size\":8},{\"layers\":[2],\"num_heads\":2,\"rope_theta\":5e3,"
     "\"qkv_bias\":true}]}",
     false,
     {.layers = 3, .width = 16, .vocab = 20, .mlp_width = 256, .norm_eps = 1e-6}},
    {"mamba2:head_dim=4:state_size=6:expand=2:n_groups=2:conv_kernel=4:dt_min=0.01:dt_max=0.5:"
     "norm_before_gate=true:norm_eps=0.001",
     "{\"model_type\":\"mamba2\",\"num_hidden_layers\":2,\"hidden_size\":16,\"vocab_size\":20,"
     "\"head_dim\":4,\"state_size\":6,\"n_groups\":2,\"norm_eps\":1e-3,\"dt_limit\":[0.01,0.5],"
     "\"norm_before_gate\":true,\"tie_word_embeddings\":true,\"num_heads\":8}",
     true,
     {.layers = 2, .width = 16, .vocab = 20, .no_mlp = true, .tie = true, .norm_eps = 1e-3}},
    {"mamba2:head_dim=4:state_size=128:expand=2:n_groups=1:conv_kernel=4:rmsnorm=false:"
     "norm_eps=1e-05",
     "{\"n_layer\":2,\"d_model\":16,\"vocab_size\":17,\"ssm_cfg\":{\"layer\":\"Mamba2\","
     "\"headdim\":4,\"rmsnorm\":false},\"attn_layer_idx\":[],\"attn_cfg\":{},"
     "\"tie_embeddings\":false,\"pad_vocab_size_multiple\":4}",
     true,
     {.layers = 2, .width = 16, .vocab = 20, .no_mlp = true, .norm_eps = 1e-5}},
};

/* What a Mamba-2 model calls a parameter. */
static void mamba2_name(const char *ours, char *to, size_t size)
{
    static const char *const names[][2] = {{"model.embeddings.", "backbone.embeddings."},
                                           {"model.norm.", "backbone.norm_f."},
                                           {"lm_head.", "lm_head."}};
    int64_t i;
    char rest[128];
    for (int k = 0; k < 3; k++)
        if (strncmp(ours, names[k][0], strlen(names[k][0])) == 0)
            snprintf(to, size, "%s%s", names[k][1], ours + strlen(names[k][0]));
    if (sscanf(ours, "model.layers.%" SCNd64 ".attn.%127s", &i, rest) == 2)
        snprintf(to, size, "backbone.layers.%" PRId64 ".mixer.%s", i, rest);
    else if (sscanf(ours, "model.layers.%" SCNd64 ".attn_norm.%127s", &i, rest) == 2)
        snprintf(to, size, "backbone.layers.%" PRId64 ".norm.%s", i, rest);
}

START_TEST(own_models)
{
    for (size_t k = 0; k < sizeof made / sizeof *made; k++) {
        pal_rng rng = pal_rng_new(7, 0);
        pal_params *params = pal_params_new();
        pal_stored all[RELEASED_TENSORS] = {{0}};
        char names[RELEASED_TENSORS][160], folder[64], text[1024];
        pal_lm_opts o = made[k].opts;
        o.mixers = made[k].mixers;
        ck_assert_ptr_nonnull(pal_lm_new(params, o, &rng));
        const int n = pal_params_count(params);
        for (int i = 0; i < n; i++) {
            const pal_array a = pal_params_array(params, i);
            snprintf(names[i], sizeof names[i], "%s", pal_params_name(params, i));
            if (made[k].mamba2) mamba2_name(pal_params_name(params, i), names[i], sizeof names[i]);
            all[i] = (pal_stored){.name = names[i],
                                  .dtype = "F32",
                                  .shape = pal_array_shape(&a),
                                  .bytes = (size_t)pal_array_count(&a) * 4,
                                  .data = a.data};
        }
        snprintf(folder, sizeof folder, "%s/%d", released_scratch, (int)k);
        ck_assert_int_eq(mkdir(folder, 0700), 0);
        released_write_tensors(released_at(folder, "model.safetensors"), n, all, NULL);
        released_write(released_at(folder, "config.json"), made[k].config, strlen(made[k].config));
        pal_lm_file f = released_open(folder);
        ck_assert_str_eq(f.notes, "");
        snprintf(text, sizeof text, "mixers = %s\n", made[k].mixers);
        ck_assert_msg(strncmp(f.description, text, strlen(text)) == 0, "%s", f.description);
        released_same_params(params, f.params);
        ck_assert_int_eq(pal_lm_export(f.lm, folder, released_at(folder, "out"), &released_error),
                         PAL_OK);
        released_same_file(released_at(folder, "model.safetensors"),
                           released_at(folder, "out/model.safetensors"));
        pal_lm_close(&f);
        pal_params_free(params);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("released");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, released_setup, released_teardown);
    tcase_add_test(tc, there_and_back);
    tcase_add_test(tc, changed_numbers);
    tcase_add_test(tc, other_models);
    tcase_add_test(tc, shards);
    tcase_add_test(tc, types);
    tcase_add_test(tc, own_models);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
