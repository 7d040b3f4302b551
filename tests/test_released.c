/*
 * test_released.c - folders of released models: what is opened is written back byte for byte, also
 * through a checkpoint and from shards.
 */
#include <palimpsest.h>
#include "tests/support/check.h"
#include "tests/support/released.h"

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
    enum { OURS, MAMBA, MAMBA_SSM } names; /* whose names the tensors have */
    const char *note;                      /* words of it; NULL: there is none */
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
     OURS,
     NULL,
     {.layers = 3, .width = 16, .vocab = 20, .mlp_width = 256, .norm_eps = 1e-6}},
    {"mamba2:head_dim=4:state_size=6:expand=2:n_groups=2:conv_kernel=4:dt_min=0.01:dt_max=0.5:"
     "norm_before_gate=true:norm_eps=0.001",
     "{\"model_type\":\"mamba2\",\"num_hidden_layers\":2,\"hidden_size\":16,\"vocab_size\":20,"
     "\"head_dim\":4,\"state_size\":6,\"n_groups\":2,\"norm_eps\":1e-3,\"dt_limit\":[0.01,0.5],"
     "\"norm_before_gate\":true,\"tie_word_embeddings\":true,\"num_heads\":8}",
     MAMBA,
     NULL,
     {.layers = 2, .width = 16, .vocab = 20, .no_mlp = true, .tie = true, .norm_eps = 1e-3}},
    {"mamba2:head_dim=4:state_size=128:expand=2:n_groups=1:conv_kernel=4:rmsnorm=false:"
     "norm_eps=1e-05",
     "{\"n_layer\":2,\"d_model\":16,\"vocab_size\":17,\"ssm_cfg\":{\"layer\":\"Mamba2\","
     "\"headdim\":4,\"rmsnorm\":false},\"attn_layer_idx\":[],\"attn_cfg\":{},"
     "\"tie_embeddings\":false,\"pad_vocab_size_multiple\":4}",
     MAMBA,
     NULL,
     {.layers = 2, .width = 16, .vocab = 20, .no_mlp = true, .norm_eps = 1e-5}},
    {"mamba3:head_dim=12:state_size=10:expand=2:n_groups=1:rope_fraction=0.5:A_floor=0.0001:"
     "use_bias=true:norm_eps=2e-05",
     "{\"model_type\":\"mamba3\",\"hidden_size\":24,\"state_size\":10,\"head_dim\":12,\"n_groups\":"
     "1,"
     "\"num_hidden_layers\":3,\"vocab_size\":20,\"expand\":2,\"use_bias\":true,\"is_mimo\":false,"
     "\"mimo_rank\":4,\"norm_eps\":2e-5,\"rmsnorm\":true,\"num_heads\":4,\"chunk_size\":64}",
     MAMBA,
     NULL,
     {.layers = 3, .width = 24, .vocab = 20, .no_mlp = true, .norm_eps = 2e-5}},
    {"mamba3:head_dim=8:state_size=6:expand=2:n_groups=2:is_mimo=true:mimo_rank=2:rope_fraction=1:"
     "A_floor=0.001:is_outproj_norm=true:norm_eps=1e-05",
     "{\"n_layer\":2,\"d_model\":16,\"d_intermediate\":100,\"vocab_size\":18,\"ssm_cfg\":{"
     "\"layer\":"
     "\"Mamba3\",\"d_state\":6,\"headdim\":8,\"ngroups\":2,\"rope_fraction\":1.0,\"is_mimo\":true,"
     "\"mimo_rank\":2,\"is_outproj_norm\":true,\"A_floor\":1e-3,\"chunk_size\":32},"
     "\"attn_layer_idx\":[],\"attn_cfg\":{},\"rms_norm\":true}",
     MAMBA_SSM,
     "add \"A_act\": \"heavy_tail\" to ssm_cfg",
     {.layers = 2, .width = 16, .vocab = 24, .mlp_width = 128, .tie = true, .norm_eps = 1e-5}},
    {"mamba3:head_dim=64:state_size=8:expand=4:n_groups=1:rope_fraction=0.5:A_floor=0.0001:"
     "A_act=heavy_tail:norm_eps=1e-05",
     "{\"n_layer\":1,\"d_model\":32,\"vocab_size\":16,\"ssm_cfg\":{\"layer\":\"Mamba3\",\"expand\":"
     "4,"
     "\"d_state\":8,\"A_act\":\"heavy_tail\"},\"tie_embeddings\":false}",
     MAMBA_SSM,
     NULL,
     {.layers = 1, .width = 32, .vocab = 16, .no_mlp = true, .norm_eps = 1e-5}},
};

/* What a model of Mamba calls a parameter. */
static void mamba_name(const char *ours, bool ssm, char to[160])
{
    static const char *const begin[][3] = {
        {"model.embeddings.", "backbone.embeddings.", "backbone.embedding."},
        {"model.norm.", "backbone.norm_f.", "backbone.norm_f."},
        {"lm_head.", "lm_head.", "lm_head."}};
    static const char *const within[][2] = {{"attn.", "mixer."},
                                            {"attn_norm.", "norm."},
                                            {"mlp_norm.", "norm2."},
                                            {"mlp.down_proj.", "mlp.fc2."}};
    int64_t i;
    char rest[128];
    snprintf(to, 160, "%s", ours);
    for (int k = 0; k < 3; k++)
        if (strncmp(ours, begin[k][0], strlen(begin[k][0])) == 0)
            snprintf(to, 160, "%s%s", begin[k][1 + ssm], ours + strlen(begin[k][0]));
    if (sscanf(ours, "model.layers.%" SCNd64 ".%127s", &i, rest) != 2) return;
    for (int k = 0; k < 4; k++)
        if (strncmp(rest, within[k][0], strlen(within[k][0])) == 0)
            snprintf(to, 160, "backbone.layers.%" PRId64 ".%s%s", i, within[k][1],
                     rest + strlen(within[k][0]));
}

/* The model's tensors under the names that a folder has. An MLP of mamba_ssm has up and gate in one
 * tensor, of which *joined is the memory. */
static int tensors_of(pal_params *params, const struct made *m, pal_stored *all, char (*names)[160],
                      float *joined)
{
    int n = 0;
    for (int i = 0; i < pal_params_count(params); i++) {
        const pal_array a = pal_params_array(params, i);
        const char *name = pal_params_name(params, i), *gate = strstr(name, "gate_proj");
        pal_stored s = {.dtype = "F32",
                        .shape = pal_array_shape(&a),
                        .bytes = (size_t)pal_array_count(&a) * 4,
                        .data = a.data};
        if (m->names == MAMBA_SSM && strstr(name, "up_proj")) continue;
        snprintf(names[n], 160, "%s", name);
        if (m->names != OURS) mamba_name(name, m->names == MAMBA_SSM, names[n]);
        if (m->names == MAMBA_SSM && gate) {
            char up[160];
            int64_t layer;
            ck_assert_int_eq(sscanf(name, "model.layers.%" SCNd64, &layer), 1);
            snprintf(names[n], 160, "backbone.layers.%" PRId64 ".mlp.fc1.weight", layer);
            snprintf(up, sizeof up, "model.layers.%" PRId64 ".mlp.up_proj.weight", layer);
            const pal_array first = pal_value(pal_params_find(params, up));
            memcpy(joined, first.data, s.bytes);
            memcpy((char *)joined + s.bytes, a.data, s.bytes);
            s.data = (const void *)joined;
            joined += s.bytes / 2;
            s.bytes *= 2, s.shape.dim[0] *= 2;
        }
        s.name = names[n];
        all[n++] = s;
    }
    return n;
}

/* Makes a model with random numbers, and a folder of its tensors, whose config.json is `config`. */
static pal_params *made_folder(const struct made *m, const char *config, const char *folder)
{
    pal_rng rng = pal_rng_new(7, 0);
    pal_params *params = pal_params_new();
    pal_stored all[RELEASED_TENSORS] = {{0}};
    char names[RELEASED_TENSORS][160];
    pal_lm_opts o = m->opts;
    o.mixers = m->mixers;
    ck_assert_ptr_nonnull(pal_lm_new(params, o, &rng));
    for (int i = 0; i < pal_params_count(params); i++)
        pal_fill_normal(pal_params_at(params, i), 0, 1, &rng);
    float *joined = malloc((size_t)pal_params_size(params) * sizeof *joined);
    ck_assert_ptr_nonnull(joined);
    const int n = tensors_of(params, m, all, names, joined);
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    released_write_tensors(released_at(folder, "model.safetensors"), n, all, NULL);
    released_write(released_at(folder, "config.json"), config, strlen(config));
    free(joined);
    return params;
}

START_TEST(own_models)
{
    for (size_t k = 0; k < sizeof made / sizeof *made; k++) {
        char folder[64], text[1024];
        snprintf(folder, sizeof folder, "%s/%d", released_scratch, (int)k);
        pal_params *params = made_folder(&made[k], made[k].config, folder);
        pal_lm_file f = released_open(folder);
        if (made[k].note)
            ck_assert_msg(strstr(f.notes, made[k].note) != NULL, "%s", f.notes);
        else
            ck_assert_str_eq(f.notes, "");
        snprintf(text, sizeof text, "mixers = %s\n", made[k].mixers);
        ck_assert_msg(strncmp(f.description, text, strlen(text)) == 0, "%s", f.description);
        released_same_params(params, f.params);
        ck_assert_int_eq(pal_lm_export(f.lm, folder, released_at(folder, "out"), &released_error),
                         PAL_OK);
        released_same_file(released_at(folder, "model.safetensors"),
                           released_at(folder, "out/model.safetensors"));
        pal_lm_close(&f);
        f = released_open(released_at(folder, "out"));
        released_same_params(params, f.params);
        pal_lm_close(&f);
        pal_params_free(params);
    }
}
END_TEST

/* Another rank, rotation or number of groups has other shapes. What cannot be here is refused. */
START_TEST(other_mamba3)
{
    static const char *const change[][3] = {
        {"\"mimo_rank\":2", "\"mimo_rank\":4", "layers.0.mixer.in_proj.weight is f32["},
        {"\"is_mimo\":true", "\"is_mimo\":false", "layers.0.mixer.in_proj.weight is f32["},
        {"\"rope_fraction\":1.0", "\"rope_fraction\":0.5", "layers.0.mixer.in_proj.weight is f32["},
        {"\"ngroups\":2", "\"ngroups\":1", "layers.0.mixer.in_proj.weight is f32["},
        {"\"is_outproj_norm\":true", "\"is_outproj_norm\":false", "mixer.norm.weight"},
        {"\"d_intermediate\":100", "\"d_intermediate\":200", "mlp.fc1.weight is f32[256,16]"},
        {"\"d_intermediate\":100", "\"d_intermediate\":0", "which its model does not have"},
        {"\"attn_layer_idx\":[]", "\"attn_layer_idx\":[1]", "attn_layer_idx is not empty"},
        {"\"rms_norm\":true", "\"rms_norm\":false", "rms_norm"},
        {"\"chunk_size\":32", "\"A_act\":\"relu\"", "A_act"},
        {"Mamba3", "Mamba1", "models of state-spaces' Mamba-2"},
    };
    const struct made *m = &made[4];
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        char config[1024], folder[64];
        const char *at = strstr(m->config, change[i][0]);
        ck_assert_ptr_nonnull(at);
        snprintf(config, sizeof config, "%.*s%s%s", (int)(at - m->config), m->config, change[i][1],
                 at + strlen(change[i][0]));
        snprintf(folder, sizeof folder, "%s/%d", released_scratch, (int)i);
        pal_params *params = made_folder(m, config, folder);
        pal_lm_file f;
        ck_assert_int_eq(pal_lm_open(&f, folder, released_bare, &released_error), PAL_EFORMAT);
        ck_assert_msg(strstr(released_error.message, change[i][2]) != NULL, "%s: %s", change[i][1],
                      released_error.message);
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
    tcase_add_test(tc, other_mamba3);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
