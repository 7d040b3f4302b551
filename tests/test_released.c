/*
 * test_released.c - folders of released models: what is opened is written back byte for byte, also
 * through a checkpoint and from shards.
 */
#include <palimpsest.h>
#include "tests/support/released.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const models[] = {"fla_gdn", "granite4h", "mamba2", "olmo_hybrid", "qwen3_5"};
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
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
