/*
 * test_lm.c - the language model: names, loss, recomputation and decoding.
 */
#include "layers/layers.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const pal_lm_opts SMALL = {.vocab = 11,
                                  .width = 8,
                                  .mixers = "mamba2:head_dim=4:state_size=3,gdn,kda,gdn2",
                                  .mlp_width = 12};

enum { B = 2, T = 7 };
static const int64_t tokens[B * T] = {1, 2, 3, 4, 5, 6, 7, 10, 9, 0, 8, 1, 1, 2};

static pal_lm *small(pal_params *params, pal_lm_opts opts)
{
    pal_rng rng = pal_rng_new(4, 0);
    pal_lm *lm = pal_lm_new(params, opts, &rng);
    ck_assert(lm != NULL);
    return lm;
}

START_TEST(names)
{
    static const char *const some[] = {
        "model.embeddings.weight",
        "model.layers.0.attn_norm.weight",
        "model.layers.0.attn.in_proj.weight",
        "model.layers.0.mlp_norm.weight",
        "model.layers.3.attn.f_proj.1.weight",
        "model.layers.3.mlp.down_proj.weight",
        "model.layers.4.attn.A_log",
        "model.norm.weight",
    };
    for (int tie = 0; tie < 2; tie++) {
        pal_params *params = pal_params_new();
        pal_lm_opts opts = SMALL;
        opts.layers = 5, opts.tie = tie;
        pal_lm *lm = small(params, opts);
        for (size_t i = 0; i < sizeof some / sizeof *some; i++)
            ck_assert_msg(!pal_is_none(pal_params_find(params, some[i])), "no %s", some[i]);
        ck_assert(pal_is_none(pal_params_find(params, "lm_head.weight")) == (tie == 1));
        ck_assert_str_eq(pal_mixer_name(pal_lm_mixer(lm, 4)), "mamba2"); /* the list repeats */
        ck_assert(pal_lm_mixer(lm, 5) == NULL);
        ck_assert_int_eq(pal_lm_options(lm).layers, 5);
        pal_params_free(params);
    }
}
END_TEST

/* The loss is the mean cross-entropy, computed here from the logits. */
START_TEST(loss)
{
    pal_params *params = pal_params_new();
    pal_lm *lm = small(params, SMALL);
    pal_tape *tape = pal_tape_new();
    pal_tensor x = pal_from(tape, PAL_I64, PAL_SHAPE(B, T), tokens);
    pal_tensor logits = pal_lm_logits(lm, x, (pal_run_opts){0});
    double sum = 0, got = pal_item(pal_lm_loss(lm, x, x, (pal_run_opts){0}));
    ck_assert_int_eq(pal_count(logits), B * T * SMALL.vocab);
    for (int i = 0; i < B * T; i++) {
        const float *row = pal_f32(logits) + i * SMALL.vocab;
        double total = 0;
        for (int j = 0; j < SMALL.vocab; j++) total += exp((double)row[j]);
        sum += log(total) - (double)row[tokens[i]];
    }
    ck_assert_msg(fabs(got - sum / (B * T)) <= 1e-5, "loss %g, not %g", got, sum / (B * T));
    pal_tape_free(tape);
    pal_params_free(params);
}
END_TEST

/* The gradients of all parameters have the same bits with and without recomputation. */
START_TEST(recompute)
{
    pal_params *params[2];
    for (int i = 0; i < 2; i++) {
        pal_lm_opts opts = SMALL;
        params[i] = pal_params_new();
        opts.recompute = i == 1;
        pal_lm *lm = small(params[i], opts);
        pal_tape *tape = pal_tape_new();
        pal_tensor x = pal_from(tape, PAL_I64, PAL_SHAPE(B, T), tokens);
        ck_assert(pal_backward(pal_lm_loss(lm, x, x, (pal_run_opts){0})) == PAL_OK);
        pal_tape_free(tape);
    }
    for (int b = 0; b < pal_params_blocks(params[0]); b++) {
        pal_param_block one = pal_params_block(params[0], b), two = pal_params_block(params[1], b);
        ck_assert(memcmp(one.grad, two.grad, (size_t)one.count * sizeof(float)) == 0);
        float most = 0;
        for (int64_t i = 0; i < one.count; i++) most = fmaxf(most, fabsf(((float *)one.grad)[i]));
        ck_assert(most > 0);
    }
    pal_params_free(params[0]);
    pal_params_free(params[1]);
}
END_TEST

/* Without MLPs a block is x + mixer(norm(x)), and has no other parameters. */
START_TEST(without_mlp)
{
    pal_params *params = pal_params_new();
    pal_lm_opts opts = SMALL;
    opts.no_mlp = true;
    pal_lm *lm = small(params, opts);
    for (int i = 0; i < pal_params_count(params); i++)
        ck_assert_msg(!strstr(pal_params_name(params, i), "mlp"), "%s", pal_params_name(params, i));
    ck_assert_int_eq(pal_lm_options(lm).mlp_width, 0);
    ck_assert_int_eq(pal_lm_count(lm, -1).mlp, 0);
    pal_tape *tape = pal_tape_new();
    pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(B, T), tokens);
    pal_tensor x = pal_embedding(pal_params_find(params, "model.embeddings.weight"), in);
    for (int i = 0; i < 4; i++) {
        char name[64];
        snprintf(name, sizeof name, "model.layers.%d.attn_norm.weight", i);
        pal_tensor y = pal_rms_norm(x, pal_params_find(params, name), 1e-5);
        y = pal_mixer_forward(pal_lm_mixer(lm, i), y, NULL, (pal_run_opts){0});
        x = pal_add(x, y);
    }
    x = pal_rms_norm(x, pal_params_find(params, "model.norm.weight"), 1e-5);
    x = pal_linear(x, pal_params_find(params, "lm_head.weight"), PAL_NONE);
    pal_tensor logits = pal_lm_logits(lm, in, (pal_run_opts){0});
    ck_assert(memcmp(pal_f32(x), pal_f32(logits), (size_t)pal_count(x) * sizeof(float)) == 0);
    pal_tape_free(tape);
    pal_params_free(params);
}
END_TEST

/* A prompt and then single tokens give the logits of the whole sequence, in constant memory. */
START_TEST(decoding)
{
    pal_params *params = pal_params_new();
    pal_lm *lm = small(params, SMALL);
    pal_tape *tape = pal_tape_new();
    pal_tensor all =
        pal_lm_logits(lm, pal_from(tape, PAL_I64, PAL_SHAPE(B, T), tokens), (pal_run_opts){0});
    float whole[B * T * 11];
    memcpy(whole, pal_f32(all), sizeof whole);
    pal_lm_state *state = pal_lm_state_new(lm);
    size_t reserved = 0;
    for (int64_t at = 0, next = 3; at < T; at = next++) {
        int64_t part[B * T];
        for (int64_t i = 0; i < B * (next - at); i++)
            part[i] = tokens[i / (next - at) * T + at + i % (next - at)];
        pal_tape_reset(tape);
        pal_set_grad(tape, false);
        pal_tensor y = pal_lm_step(
            lm, state, pal_from(tape, PAL_I64, PAL_SHAPE(B, next - at), part), (pal_run_opts){0});
        for (int b = 0; b < B; b++)
            for (int j = 0; j < 11; j++)
                ck_assert(fabsf(pal_f32(y)[b * 11 + j] - whole[(b * T + next - 1) * 11 + j]) <=
                          1e-5f);
        if (at > 0 && reserved == 0) reserved = pal_tape_memory(tape).reserved;
        ck_assert(at == 0 || pal_tape_memory(tape).reserved == reserved);
    }
    pal_lm_state_free(state);
    pal_tape_free(tape);
    pal_params_free(params);
}
END_TEST

/* ---- Attention, whose state is a cache ---- */

enum { LONG = 45 };

/* Counts the bytes that the library has allocated. */
static void *count_bytes(void *block, size_t old_size, size_t size, void *user)
{
    int64_t *live = user;
    *live -= block ? (int64_t)old_size : 0;
    *live += (int64_t)size;
    if (size) return aligned_alloc(64, (size + 63) / 64 * 64);
    free(block);
    return NULL;
}

static void long_tokens(int64_t x[B * LONG])
{
    pal_rng rng = pal_rng_new(8, 0);
    for (int i = 0; i < B * LONG; i++) x[i] = pal_rng_below(&rng, SMALL.vocab);
}

/* Makes a step with tokens at .. next - 1 of each row, and compares its logits with those of the
 * whole sequence. */
static void step(const pal_lm *lm, pal_lm_state *state, pal_tape *tape, const int64_t *x,
                 const float *whole, int64_t at, int64_t next)
{
    int64_t part[B * LONG], n = next - at, vocab = SMALL.vocab;
    for (int64_t i = 0; i < B * n; i++) part[i] = x[i / n * LONG + at + i % n];
    pal_tape_reset(tape);
    pal_tensor y =
        pal_lm_step(lm, state, pal_from(tape, PAL_I64, PAL_SHAPE(B, n), part), (pal_run_opts){0});
    for (int64_t i = 0; i < B * vocab; i++) {
        float want = whole[(i / vocab * LONG + next - 1) * vocab + i % vocab];
        ck_assert_msg(fabsf(pal_f32(y)[i] - want) <= 1e-5f, "after %lld tokens: %g, not %g",
                      (long long)next, (double)pal_f32(y)[i], (double)want);
    }
}

/* A prompt of any length and then pieces of one or three tokens. */
START_TEST(decoding_with_attention)
{
    static const char mixers[] =
        "attn:num_heads=2,gdn2,swa:num_heads=4:num_kv_heads=2:window_size=5,"
        "swa:window_size=1:qk_norm=true";
    pal_set_threads(1); /* such small work is faster on one thread */
    pal_params *params = pal_params_new();
    pal_lm_opts opts = SMALL;
    opts.mixers = mixers;
    pal_lm *lm = small(params, opts);
    pal_tape *tape = pal_tape_new();
    int64_t x[B * LONG];
    float whole[B * LONG * 11];
    long_tokens(x);
    pal_set_grad(tape, false);
    memcpy(whole,
           pal_f32(pal_lm_logits(lm, pal_from(tape, PAL_I64, PAL_SHAPE(B, LONG), x),
                                 (pal_run_opts){0})),
           sizeof whole);
    for (int64_t prompt = 1; prompt <= LONG; prompt++) {
        pal_lm_state *state = pal_lm_state_new(lm);
        step(lm, state, tape, x, whole, 0, prompt);
        for (int64_t at = prompt, n = prompt % 2 ? 1 : 3; at < LONG; at += n)
            step(lm, state, tape, x, whole, at, at + n < LONG ? at + n : LONG);
        pal_lm_state_free(state);
    }
    pal_tape_free(tape);
    pal_params_free(params);
}
END_TEST

/* Memory of a window does not grow. Memory of full attention at most doubles whenever it is
 * full. */
START_TEST(decoding_in_constant_memory)
{
    enum { STEPS = 300 };
    int64_t live = 0, after[STEPS], token = 3;
    int grown = 0;
    pal_set_allocator(count_bytes, &live);
    pal_set_threads(1);
    pal_params *params = pal_params_new();
    pal_lm_opts opts = SMALL;
    opts.width = 64, opts.mixers = _i ? "attn" : "swa:window_size=9";
    pal_lm *lm = small(params, opts);
    pal_tape *tape = pal_tape_new();
    pal_lm_state *state = pal_lm_state_new(lm);
    pal_set_grad(tape, false);
    for (int i = 0; i < 6 * STEPS; i++) {
        pal_lm_step(lm, state, pal_from(tape, PAL_I64, PAL_SHAPE(1, 1), &token), (pal_run_opts){0});
        pal_tape_reset(tape);
        after[i / 6] = live;
    }
    for (int i = 10; i < STEPS; i++) grown += after[i] != after[i - 1];
    ck_assert_int_eq(pal_tape_status(tape), PAL_OK);
    if (_i)
        ck_assert(grown > 0 && grown <= 12);
    else
        ck_assert_int_eq(grown, 0);
    pal_lm_state_free(state);
    pal_tape_free(tape);
    pal_params_free(params);
    ck_assert_int_eq(live, 0);
    pal_set_allocator(NULL, NULL);
}
END_TEST

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

START_TEST(wrong_options)
{
    static const struct {
        pal_lm_opts opts;
        const char *words;
    } wrong[] = {
        {{.mixers = "gdn2,rnn"}, "there is no mixer \"rnn\""},
        {{.width = -3}, "width -3 is out of range"},
        {{.layers = -1}, "layers -1 is out of range"},
        {{.mlp_width = -1}, "mlp_width -1 is out of range"},
        {{.vocab = -1}, "vocab -1 is out of range"},
    };
    pal_error heard;
    pal_set_error_handler(hear, &heard);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pal_params *params = pal_params_new();
        pal_rng rng = pal_rng_new(1, 0);
        ck_assert(pal_lm_new(params, wrong[i].opts, &rng) == NULL);
        ck_assert_msg(strstr(heard.message, wrong[i].words) != NULL, "%s", heard.message);
        pal_params_free(params);
    }
    pal_params *params = pal_params_new();
    pal_lm *lm = small(params, SMALL);
    pal_tape *tape = pal_tape_new();
    pal_lm_logits(lm, pal_zeros(tape, PAL_I64, PAL_SHAPE(3)), (pal_run_opts){0});
    ck_assert_msg(strstr(heard.message, "tokens is i64[3] and should be i64[B,T]") != NULL, "%s",
                  heard.message);
    pal_tape_free(tape);
    pal_params_free(params);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lm");
    TCase *tc = tcase_create("lm");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, without_mlp);
    tcase_add_test(tc, names);
    tcase_add_test(tc, loss);
    tcase_add_test(tc, recompute);
    tcase_add_test(tc, decoding);
    tcase_add_test(tc, decoding_with_attention);
    tcase_add_loop_test(tc, decoding_in_constant_memory, 0, 2);
    tcase_add_test(tc, wrong_options);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
