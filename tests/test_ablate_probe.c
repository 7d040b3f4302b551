/*
 * test_ablate_probe.c - edits of places hold what they promise: a layer that is patched with all of
 * the clean run gives the clean logits bit for bit; without all heads nothing of a mixer is left;
 * the lens at the last layer is the model; zeros are what zeros in the weights are; and the same
 * for means, rows and single tokens.
 */
#include "examples/ablate/probe.h"
#include "tests/ablate/edited.h"
#include "tests/support/check.h"
#include "tests/support/trial.h"

#include <stdlib.h>
#include <string.h>

static const char *const mixers[] = {GDN2,
                                     KDA,
                                     GDN,
                                     "deltanet:num_heads=2:head_dim=4",
                                     MAMBA2,
                                     "mamba3:head_dim=6:state_size=6:rope_fraction=1",
                                     "attn:num_heads=2:head_dim=6"};
enum { MIXERS = sizeof mixers / sizeof *mixers };

typedef struct subject {
    pal_params *params;
    pal_lm *lm;
    pal_tape *tape;
    probe *probe;
} subject;

static subject make(const char *mixer)
{
    pal_rng rng = pal_rng_new(1, 0);
    subject s = {.params = pal_params_new(), .tape = pal_tape_new()};
    s.lm = pal_lm_new(
        s.params,
        (pal_lm_opts){
            .vocab = VOCAB, .width = WIDTH, .layers = LAYERS, .mixers = mixer, .mlp_width = 9},
        &rng);
    ck_assert_ptr_nonnull(s.lm);
    trial_draw(s.params, 5);
    pal_set_grad(s.tape, false);
    s.probe = probe_new(s.tape, LAYERS);
    return s;
}

static void end(subject *s)
{
    probe_free(s->probe);
    pal_tape_free(s->tape);
    pal_params_free(s->params);
}

/* Logits of B rows of tokens, drawn by the seed. */
static void pass_of(subject *s, pal_run_opts how, uint64_t seed, float out[LOGITS])
{
    int64_t tokens[B * T];
    pal_rng rng = pal_rng_new(seed, 0);
    for (int i = 0; i < B * T; i++) tokens[i] = pal_rng_below(&rng, VOCAB);
    for (int pass = 0; pass < (how.hook ? probe_passes(s->probe) : 1); pass++) {
        pal_tape_reset(s->tape);
        if (how.hook) probe_pass(s->probe, pass);
        const pal_tensor in = pal_from(s->tape, PAL_I64, PAL_SHAPE(B, T), tokens);
        memcpy(out, pal_f32(pal_lm_logits(s->lm, in, how)), LOGITS * sizeof *out);
        ck_assert(pal_tape_status(s->tape) == PAL_OK);
    }
}

static void probed(subject *s, by how, const site *at, int n, uint64_t seed, float out[LOGITS])
{
    probe_set(s->probe, how, at, n);
    pass_of(s, probe_opts(s->probe), seed, out);
    probe_clear(s->probe);
}

static bool same(const float *a, const float *b)
{
    for (int i = 0; i < LOGITS; i++)
        if (!(a[i] == b[i])) return false;
    return true;
}

/* A hook that skips the mixer or the MLP of layer 1. */
static bool skip(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    if (layer != 1 || strcmp(name, user)) return true;
    *t = PAL_NONE;
    return false;
}

/* All heads of a layer. */
static int all_heads(const subject *s, int64_t layer, site *at)
{
    const int64_t n = probe_heads(s->probe, layer);
    for (int64_t h = 0; h < n; h++) at[h] = (site){layer, AT_HEAD, h, -1};
    return (int)n;
}

START_TEST(a_whole_layer_of_the_clean_run)
{
    subject s = make(mixers[_i]);
    static float clean[LOGITS], corrupted[LOGITS], out[LOGITS];
    probe_record(s.probe);
    pass_of(&s, probe_opts(s.probe), 1, clean);
    probe_clear(s.probe);
    pass_of(&s, probe_opts(s.probe), 2, corrupted);
    ck_assert(!same(clean, corrupted));
    for (int64_t l = 0; l < LAYERS; l++) {
        probed(&s, BY_PATCH, &(site){l, AT_OUT, 0, -1}, 1, 2, out);
        ck_assert_msg(same(out, clean), "%s: layer %d", mixers[_i], (int)l);
        probed(&s, BY_PATCH, &(site){l, AT_MIXER, 0, -1}, 1, 2, out);
        ck_assert(!same(out, clean) && !same(out, corrupted));
    }
    /* One token alone is not enough, and it changes nothing before it. */
    probed(&s, BY_PATCH, &(site){LAYERS - 1, AT_OUT, 0, 7}, 1, 2, out);
    for (int b = 0; b < B; b++)
        for (int t = 0; t < T; t++)
            for (int v = 0; v < VOCAB; v++) {
                const int i = (b * T + t) * VOCAB + v;
                ck_assert(out[i] == (t == 7 ? clean : corrupted)[i]);
            }
    end(&s);
}
END_TEST

START_TEST(without_heads_nothing_is_left)
{
    subject s = make(mixers[_i]);
    static float plain[LOGITS], skipped[LOGITS], out[LOGITS];
    site at[PROBE_SITES];
    pass_of(&s, probe_opts(s.probe), 1, plain);
    const int n = all_heads(&s, 1, at);
    ck_assert_int_ge(n, 2);
    ck_assert(probe_has_mlp(s.probe, 1));
    pass_of(&s, (pal_run_opts){.hook = skip, .user = "x"}, 1, skipped);
    probed(&s, BY_ZERO, at, n, 1, out);
    ck_assert(same(out, skipped) && !same(out, plain));
    probed(&s, BY_ZERO, &(site){1, AT_MIXER, 0, -1}, 1, 1, out);
    ck_assert(same(out, skipped));
    pass_of(&s, (pal_run_opts){.hook = skip, .user = "mlp_x"}, 1, skipped);
    probed(&s, BY_ZERO, &(site){1, AT_MLP, 0, -1}, 1, 1, out);
    ck_assert(same(out, skipped) && !same(out, plain));
    end(&s);
}
END_TEST

START_TEST(the_lens_at_the_last_layer_is_the_model)
{
    subject s = make(mixers[_i]);
    static float plain[LOGITS], out[LOGITS];
    pass_of(&s, probe_opts(s.probe), 1, plain);
    probed(&s, BY_LENS, &(site){LAYERS - 1, AT_OUT, 0, -1}, 1, 1, out);
    ck_assert(same(out, plain));
    probed(&s, BY_LENS, &(site){0, AT_OUT, 0, -1}, 1, 1, out);
    ck_assert(!same(out, plain));
    end(&s);
}
END_TEST

/* The columns of a head in o_proj or out_proj become 0. */
static void zero_weights(subject *s, int64_t layer, int64_t head, int64_t heads)
{
    char names[2][64];
    snprintf(names[0], 64, "model.layers.%d.attn.o_proj.weight", (int)layer);
    snprintf(names[1], 64, "model.layers.%d.attn.out_proj.weight", (int)layer);
    for (int i = 0; i < pal_params_count(s->params); i++) {
        const char *name = pal_params_name(s->params, i);
        if (strcmp(name, names[0]) && strcmp(name, names[1])) continue;
        const pal_array a = pal_params_array(s->params, i);
        const int64_t width = a.shape[1] / heads;
        for (int64_t r = 0; r < a.shape[0]; r++)
            memset((float *)a.data + r * a.shape[1] + head * width, 0,
                   (size_t)width * sizeof(float));
    }
    pal_params_touch(s->params);
}

START_TEST(zeros_are_zeros_in_the_weights)
{
    subject s = make(mixers[_i]);
    static float plain[LOGITS], wanted[LOGITS], out[LOGITS];
    pass_of(&s, probe_opts(s.probe), 1, plain);
    const int64_t n = probe_heads(s.probe, 0);
    probed(&s, BY_ZERO, &(site){0, AT_HEAD, n - 1, -1}, 1, 1, out);
    zero_weights(&s, 0, n - 1, n);
    pass_of(&s, probe_opts(s.probe), 1, wanted);
    ck_assert_msg(same(out, wanted) && !same(out, plain), "%s", mixers[_i]);
    end(&s);
}
END_TEST

START_TEST(means_and_rows)
{
    subject s = make(mixers[0]);
    static float plain[LOGITS], out[LOGITS], again[LOGITS];
    pass_of(&s, probe_opts(s.probe), 1, plain);
    /* Of rows that change places, all of a stream gives the logits of the other row. */
    probed(&s, BY_ROW, &(site){1, AT_OUT, 0, -1}, 1, 1, out);
    for (int i = 0; i < LOGITS; i++) ck_assert(out[i] == plain[(i + LOGITS / 2) % LOGITS]);
    /* Of one mean for all tokens, all logits are the same. */
    probed(&s, BY_MEAN, &(site){1, AT_OUT, 0, -1}, 1, 1, out);
    for (int i = VOCAB; i < LOGITS; i++) ck_assert(out[i] == out[i % VOCAB]);
    /* A mean is no zero, and the same the second time. */
    probed(&s, BY_MEAN, &(site){0, AT_HEAD, 1, -1}, 1, 1, out);
    probed(&s, BY_MEAN, &(site){0, AT_HEAD, 1, -1}, 1, 1, again);
    ck_assert(same(out, again) && !same(out, plain));
    probed(&s, BY_ZERO, &(site){0, AT_HEAD, 1, -1}, 1, 1, again);
    ck_assert(!same(out, again));
    end(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ablate's probe");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_loop_test(all, a_whole_layer_of_the_clean_run, 0, MIXERS);
    tcase_add_loop_test(all, without_heads_nothing_is_left, 0, MIXERS);
    tcase_add_loop_test(all, the_lens_at_the_last_layer_is_the_model, 0, MIXERS);
    tcase_add_loop_test(all, zeros_are_zeros_in_the_weights, 0, MIXERS);
    tcase_add_test(all, means_and_rows);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
