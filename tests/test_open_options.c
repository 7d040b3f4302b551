/*
 * test_open_options.c - options of models and blocks in the configuration of a checkpoint.
 */
#include "layers/layers.h"
#include "optim/train.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/palimpsest-options-XXXXXX";
static pal_error error;
static pal_lm_file f;

/* Writes a checkpoint of the model, whose configuration is `lines`, and opens it. */
static pal_status through_a_file(const char *lines, pal_lm_opts opts)
{
    pal_rng rng = pal_rng_new(5, 0);
    pal_params *params = pal_params_new();
    ck_assert_ptr_nonnull(pal_lm_new(params, opts, &rng));
    const pal_checkpoint c = {.params = params, .config = lines, .step = 3};
    ck_assert_msg(pal_checkpoint_save(&c, path, &error) == PAL_OK, "%s", error.message);
    pal_params_free(params);
    return pal_lm_open(&f, path, (pal_lm_open_opts){0}, &error);
}

static void setup(void)
{
    const int file = mkstemp(path);
    ck_assert(file >= 0 && close(file) == 0);
}
static void teardown(void) { unlink(path); }

/* The scales, dropout and norms of 1 + w that a configuration names are those of the model. */
START_TEST(options_by_name)
{
    static const char lines[] =
        "mixers = gdn2:num_heads=2:head_dim=4:block.norm=after\nlayers = 2\n"
        "width = 8\nvocab = 300\nnorm-plus-one = true\n"
        "embed-scale = 12\nresidual-scale = 0.246\n"
        "logit-scale = 0.33333333333333331\ndropout = 0.1\n";
    const pal_lm_opts opts = {.vocab = 300,
                              .width = 8,
                              .layers = 2,
                              .mixers = "gdn2:num_heads=2:head_dim=4:block.norm=after",
                              .norm_plus_one = true,
                              .embed_scale = 12,
                              .residual_scale = 0.246,
                              .logit_scale = 1. / 3,
                              .dropout = 0.1};
    ck_assert_msg(through_a_file(lines, opts) == PAL_OK, "%s", error.message);
    const pal_lm_opts o = pal_lm_options(f.lm);
    ck_assert(o.norm_plus_one && o.embed_scale == 12 && o.residual_scale == 0.246);
    ck_assert(o.logit_scale == 1. / 3 && o.dropout == 0.1);
    ck_assert(pal_lm_block(f.lm, 1).norm == PAL_NORM_AFTER && pal_lm_block(f.lm, 1).norm_plus_one);
    pal_lm_close(&f);
}
END_TEST

/* Blocks without a mixer, and sums of mixers, whose parameters have the mixers' names. */
START_TEST(mixers_by_name)
{
    static const char list[] = "none:block.mlp=relu2,shortconv,"
                               "mamba2:head_dim=4:state_size=4:block.no_mlp=true+attn:num_heads=2";
    char lines[256];
    snprintf(lines, sizeof lines, "mixers = %s\nwidth = 8\nvocab = 300\n", list);
    const pal_lm_opts opts = {.vocab = 300, .width = 8, .mixers = list};
    ck_assert_msg(through_a_file(lines, opts) == PAL_OK, "%s", error.message);
    ck_assert_str_eq(pal_mixer_name(pal_lm_mixer(f.lm, 0)), "none");
    ck_assert_str_eq(pal_mixer_name(pal_lm_mixer(f.lm, 2)), "mamba2+attn");
    ck_assert(pal_lm_block(f.lm, 2).no_mlp && !pal_lm_block(f.lm, 1).no_mlp);
    ck_assert(!pal_is_none(pal_params_find(f.params, "model.layers.2.attn.mamba2.in_proj.weight")));
    ck_assert(!pal_is_none(pal_params_find(f.params, "model.layers.2.attn.attn.q_proj.weight")));
    pal_lm_close(&f);
}
END_TEST

START_TEST(wrong_values)
{
    static const char *const wrong[][2] = {{"residual-scale = -1", "residual-scale=-1 should be"},
                                           {"dropout = 1", "dropout=1 should be a number from 0"},
                                           {"logit-scale = x", "logit-scale=x should be"}};
    char lines[256];
    snprintf(lines, sizeof lines, "mixers = gdn2:num_heads=2\nwidth = 8\nvocab = 300\n%s\n",
             wrong[_i][0]);
    const pal_lm_opts opts = {.vocab = 300, .width = 8, .mixers = "gdn2:num_heads=2"};
    ck_assert(through_a_file(lines, opts) != PAL_OK);
    ck_assert_msg(strstr(error.message, wrong[_i][1]) != NULL, "%s", error.message);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("open options");
    TCase *tc = tcase_create("open options");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, options_by_name);
    tcase_add_test(tc, mixers_by_name);
    tcase_add_loop_test(tc, wrong_values, 0, 3);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
