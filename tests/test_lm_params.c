/*
 * test_lm_params.c - the parameters of a model: how many there are, which decay, and freezing some.
 */
#include "layers/layers.h"
#include "optim/optim.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pal_lm *model(pal_params *params, pal_lm_opts opts)
{
    pal_rng rng = pal_rng_new(5, 0);
    pal_lm *lm = pal_lm_new(params, opts, &rng);
    ck_assert(lm != NULL);
    return lm;
}

/* ---- Counts ---- */

/* The parameters of a mixer of width d by formula. H, K, V, HV and W are as in layers.h. */
typedef struct sizes {
    int64_t d, H, HV, K, V, W;
} sizes;

static int64_t qkvo(sizes s) /* projections, convolutions of width W, norm of the output */
{
    return (2 * s.H * s.K + 2 * s.HV * s.V) * s.d + (2 * s.H * s.K + s.HV * s.V) * s.W + s.V;
}
static int64_t gdn(sizes s) /* a, b, A_log and dt_bias by head; a full output gate */
{
    return qkvo(s) + 2 * s.HV * s.d + 2 * s.HV + s.HV * s.V * s.d;
}
static int64_t narrow(sizes s) /* f_proj.0, g_proj with its bias */
{
    return 2 * s.V * s.d + s.HV * s.V * s.V + s.HV * s.V;
}
static int64_t kda(sizes s)
{
    return qkvo(s) + narrow(s) + s.HV * s.K * s.V + s.HV * s.d + s.HV + s.HV * s.K;
}
static int64_t gdn2(sizes s)
{
    return qkvo(s) + narrow(s) + s.H * s.K * s.V + (s.H * s.K + s.HV * s.V) * s.d + s.H + s.H * s.K;
}
static int64_t mamba2(int64_t d, int64_t P, int64_t N, int64_t G)
{
    int64_t di = 2 * d, nh = di / P, channels = di + 2 * G * N;
    return (di + channels + nh) * d + channels * 4 + channels + 3 * nh + di + d * di;
}

/* One layer of width 2048 with the papers' defaults: 16 heads of 128 (KDA, GDN-2), 6 heads of 256
 * with values twice as wide (GDN), 64 heads of 64 with a state of 128 (Mamba-2). */
START_TEST(the_papers_layers)
{
    static const struct {
        const char *mixer;
        int64_t published;
    } layer[] = {{"gdn", 25215500}, {"kda", 17887376}, {"gdn2", 26243216}, {"mamba2", 25847232}};
    const int64_t d = 2048;
    const sizes heads = {.d = d, .H = 16, .HV = 16, .K = 128, .V = 128, .W = 4};
    const sizes wide = {.d = d, .H = 6, .HV = 6, .K = 256, .V = 512, .W = 4};
    const int64_t formula[] = {gdn(wide), kda(heads), gdn2(heads), mamba2(d, 64, 128, 1)};
    pal_params *params = pal_params_new();
    pal_lm_counts c = pal_lm_count(
        model(params,
              (pal_lm_opts){.vocab = 1, .width = d, .mixers = layer[_i].mixer, .mlp_width = 1}),
        0);
    ck_assert_int_eq(formula[_i], layer[_i].published);
    ck_assert_int_eq(c.mixer, layer[_i].published);
    ck_assert_int_eq(c.mlp, 3 * d);
    ck_assert_int_eq(c.norms, 2 * d);
    pal_params_free(params);
}
END_TEST

/* A hybrid model with grouped heads. The counts of its parts add up to the number of its
 * parameters. */
START_TEST(a_model_by_parts)
{
    const int64_t d = 24, n = 40, vocab = 11;
    const sizes s = {.d = d, .H = 2, .HV = 4, .K = 6, .V = 6, .W = 4};
    const int64_t mixer[] = {gdn(s),
                             kda(s),
                             gdn2(s),
                             mamba2(d, 8, 5, 2),
                             (2 * 4 + 2 * 2) * 6 * d,
                             (2 * 4 + 2 * 2) * 6 * d + 2 * 6};
    for (int tie = 0; tie < 2; tie++) {
        pal_params *params = pal_params_new();
        pal_lm *lm =
            model(params, (pal_lm_opts){.vocab = vocab,
                                        .width = d,
                                        .mlp_width = n,
                                        .tie = tie,
                                        .layers = 7,
                                        .mixers = "gdn:num_heads=2:head_dim=6:num_v_heads=4:"
                                                  "expand_v=1,"
                                                  "kda:num_heads=2:head_dim=6:num_v_heads=4,"
                                                  "gdn2:num_heads=2:head_dim=6:num_v_heads=4,"
                                                  "mamba2:head_dim=8:state_size=5:n_groups=2,"
                                                  "attn:num_heads=4:head_dim=6:num_kv_heads=2,"
                                                  "swa:num_heads=4:head_dim=6:num_kv_heads=2:"
                                                  "qk_norm=true"});
        pal_lm_counts all = pal_lm_count(lm, -1);
        int64_t mixers = 0;
        for (int64_t i = 0; i < 7; i++) {
            pal_lm_counts c = pal_lm_count(lm, i);
            ck_assert_msg(c.mixer == mixer[i % 6], "layer %d: %lld, not %lld", (int)i,
                          (long long)c.mixer, (long long)mixer[i % 6]);
            ck_assert(c.mlp == 3 * n * d && c.norms == 2 * d && !c.embeddings && !c.head);
            ck_assert_int_eq(c.total, c.mixer + c.mlp + c.norms);
            mixers += c.mixer;
        }
        ck_assert_int_eq(all.mixer, mixers);
        ck_assert_int_eq(all.mlp, 7 * 3 * n * d);
        ck_assert_int_eq(all.norms, 15 * d);
        ck_assert_int_eq(all.embeddings, vocab * d);
        ck_assert_int_eq(all.head, tie ? 0 : vocab * d);
        ck_assert_int_eq(all.total, mixers + all.mlp + 15 * d + (tie ? 1 : 2) * vocab * d);
        ck_assert_int_eq(all.total, pal_params_size(params));
        pal_params_free(params);
    }
}
END_TEST

START_TEST(the_table)
{
    pal_params *params = pal_params_new();
    pal_lm *lm =
        model(params, (pal_lm_opts){.vocab = 3, .width = 8, .mixers = "attn", .tie = true});
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    pal_lm_print_counts(lm, file);
    fclose(file);
    const char *at = text;
    static const char *const said[] = {
        "embeddings", "24\n",  "layer 0    attn",       "256", "768",   "16",  "1040\n",
        "norm ",      "8\n",   "head (the embeddings)", "0\n", "total", "256", "768",
        "24",         "1072\n"};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        at = strstr(at, said[i]);
        ck_assert_msg(at != NULL, "no %s in its place in\n%s", said[i], text);
        at += strlen(said[i]);
    }
    free(text);
    pal_params_free(params);
}
END_TEST

/* ---- Decay ---- */

/* All mixers, with every option that adds a parameter. */
static const pal_lm_opts ZOO = {
    .vocab = 11,
    .width = 12,
    .mlp_width = 8,
    .mixers =
        "gdn2:num_heads=2:head_dim=4:conv_bias=true,kda:num_heads=2:head_dim=4:conv_bias=true,"
        "gdn:num_heads=2:head_dim=4:conv_bias=true,"
        "mamba2:head_dim=6:state_size=4:use_bias=true,"
        "attn:num_heads=2:qkv_bias=true:qk_norm=true:o_bias=true:output_gate=sigmoid:"
        "norm_plus_one=true,"
        "swa:num_heads=2:window_size=3:qkv_bias=true:qk_norm=true,"
        "deltanet:num_heads=2:head_dim=4:conv_bias=true:use_gate=true,"
        "mamba3:head_dim=6:state_size=4:is_mimo=true:is_outproj_norm=true:use_bias=true,"
        "shortconv:use_bias=true,"
        "none:block.mlp_bias=true:block.norm_plus_one=true",
};

/* The parameters that decay, without "model.layers.I.attn." */
static const char *const decaying[] = {
    "q_proj.weight q_conv1d.weight k_proj.weight k_conv1d.weight v_proj.weight v_conv1d.weight "
    "b_proj.weight w_proj.weight f_proj.0.weight f_proj.1.weight g_proj.0.weight g_proj.1.weight "
    "o_proj.weight ",
    "q_proj.weight q_conv1d.weight k_proj.weight k_conv1d.weight v_proj.weight v_conv1d.weight "
    "b_proj.weight f_proj.0.weight f_proj.1.weight g_proj.0.weight g_proj.1.weight o_proj.weight ",
    "q_proj.weight q_conv1d.weight k_proj.weight k_conv1d.weight v_proj.weight v_conv1d.weight "
    "a_proj.weight b_proj.weight g_proj.weight o_proj.weight ",
    "in_proj.weight conv1d.weight out_proj.weight ",
    "q_proj.weight k_proj.weight v_proj.weight o_proj.weight ",
    "q_proj.weight k_proj.weight v_proj.weight o_proj.weight ",
    "q_proj.weight q_conv1d.weight k_proj.weight k_conv1d.weight v_proj.weight v_conv1d.weight "
    "b_proj.weight g_proj.weight o_proj.weight ",
    "in_proj.weight out_proj.weight ",
    "in_proj.weight conv1d.weight out_proj.weight ",
    "",
};

/* Whether the list contains the word. */
static bool has(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ' ') && at[n] == ' ') return true;
    return false;
}

static bool should_decay(const char *name)
{
    int layer, used = 0;
    if (sscanf(name, "model.layers.%d.attn.%n", &layer, &used) == 1 && used)
        return has(decaying[layer], name + used);
    if (sscanf(name, "model.layers.%d.mlp.%n", &layer, &used) == 1 && used)
        return has("gate_proj.weight up_proj.weight down_proj.weight ", name + used);
    return has("model.embeddings.weight lm_head.weight ", name);
}

static int64_t words(const char *list)
{
    int64_t n = 0;
    for (; *list; list++) n += *list == ' ';
    return n;
}

/* With zero gradients, a step multiplies parameters that decay by 1 - lr decay, and does not change
 * the others. */
START_TEST(what_decays)
{
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(6, 0);
    model(params, ZOO);
    int64_t decay = 0, want = 2;
    for (int i = 0; pal_mixers_name(i); i++) {
        char entry[64];
        snprintf(entry, sizeof entry, "%s:", pal_mixers_name(i));
        ck_assert_msg(strstr(ZOO.mixers, entry) != NULL, "%s is not in this test", entry);
    }
    for (size_t i = 0; i < sizeof decaying / sizeof *decaying; i++) want += words(decaying[i]) + 3;
    int n = pal_params_count(params);
    for (int i = 0; i < n; i++) pal_fill_uniform(pal_params_at(params, i), 1, 2, &rng);
    size_t bytes = (size_t)pal_params_block(params, 0).count * sizeof(float);
    ck_assert_int_eq(pal_params_blocks(params), 1);
    float *before = malloc(bytes);
    memcpy(before, pal_params_block(params, 0).value, bytes);
    pal_optim *adamw = pal_adamw_new(params, (pal_adamw_opts){.decay = 0.5});
    ck_assert_int_eq(pal_optim_step(adamw, 0.25), PAL_OK);
    const float *after = pal_params_block(params, 0).value;
    for (int i = 0; i < n; i++) {
        const char *name = pal_params_name(params, i);
        bool decays = pal_params_decays(params, i);
        pal_span span = pal_params_span(params, i);
        ck_assert_msg(decays == should_decay(name), "%s: decay is %d", name, decays);
        decay += decays;
        for (int64_t j = span.offset; j < span.offset + span.count; j++) {
            float to = decays ? before[j] * 0.875f : before[j];
            ck_assert_msg(fabsf(after[j] - to) <= (decays ? 1e-6f : 0), "%s: %.9g from %.9g", name,
                          (double)after[j], (double)before[j]);
        }
    }
    ck_assert_int_eq(decay, want); /* every parameter of the list exists */
    free(before);
    pal_optim_free(adamw);
    pal_params_free(params);
}
END_TEST

/* ---- Freezing ---- */

enum { B = 2, T = 9 };

/* Computes the gradients of a fixed batch, and makes a step of training if there is an optimiser.
 * Returns the norm of the gradients. */
static double step(pal_params *params, const pal_lm *lm, pal_optim *adamw)
{
    int64_t tokens[B * T];
    for (int64_t i = 0; i < B * T; i++) tokens[i] = i * i % 11;
    pal_tape *tape = pal_tape_new();
    pal_tensor x = pal_from(tape, PAL_I64, PAL_SHAPE(B, T), tokens);
    pal_params_zero_grad(params);
    ck_assert_int_eq(pal_backward(pal_lm_loss(lm, x, x, (pal_run_opts){0})), PAL_OK);
    double norm = pal_clip_grad_norm(params, adamw ? 0.1 : 0);
    if (adamw) ck_assert_int_eq(pal_optim_step(adamw, 0.01), PAL_OK);
    pal_tape_free(tape);
    return norm;
}

static void *copy_block(const pal_params *params, bool grad)
{
    pal_param_block b = pal_params_block(params, 0);
    void *copy = malloc((size_t)b.count * sizeof(float));
    return memcpy(copy, grad ? b.grad : b.value, (size_t)b.count * sizeof(float));
}

/* Whether parameter i is the same in two copies of the block. */
static bool same(const pal_params *params, int i, const float *a, const float *b)
{
    pal_span s = pal_params_span(params, i);
    return memcmp(a + s.offset, b + s.offset, (size_t)s.count * sizeof(float)) == 0;
}

static void never_frozen(pal_params *params, int i, void *user)
{
    int *calls = user;
    ++*calls;
    ck_assert_msg(!pal_params_frozen(params, i), "a gradient of %s", pal_params_name(params, i));
}

/* Gradients of parameters that are not frozen have the same bits as without freezing: gradients
 * pass through frozen parts. */
START_TEST(frozen_parameters_take_no_gradient)
{
    static const char *const pattern[] = {
        "model.layers.*.attn.*", "*norm.weight",       "*.A_log",
        "*_proj.weight",         "model.embeddings.*", "lm_head.weight",
        "model.layers.[24].*",   "*conv1d.*"};
    for (int recompute = 0; recompute < 2; recompute++) {
        pal_params *params = pal_params_new();
        pal_lm_opts opts = ZOO;
        opts.recompute = recompute;
        pal_lm *lm = model(params, opts);
        int n = pal_params_count(params), calls = 0;
        float *zero = copy_block(params, true);
        double whole = step(params, lm, NULL);
        float *all = copy_block(params, true);
        ck_assert_int_gt(pal_params_freeze(params, pattern[_i], true), 0);
        pal_params_on_grad(params, never_frozen, &calls);
        double norm = step(params, lm, NULL);
        const float *some = pal_params_block(params, 0).grad;
        ck_assert(norm < whole && calls > 0 && calls < n);
        for (int i = 0; i < n; i++) {
            const char *name = pal_params_name(params, i);
            bool frozen = pal_params_frozen(params, i);
            ck_assert_msg(!same(params, i, all, zero), "%s has no gradient", name);
            ck_assert_msg(same(params, i, some, frozen ? zero : all), "%s, which is %sfrozen", name,
                          frozen ? "" : "not ");
        }
        free(zero), free(all);
        pal_params_free(params);
    }
}
END_TEST

START_TEST(frozen_parameters_rest)
{
    pal_params *params = pal_params_new();
    pal_lm *lm = model(params, ZOO);
    pal_optim *adamw = pal_adamw_new(params, (pal_adamw_opts){.decay = 0.5});
    int n = pal_params_count(params);
    step(params, lm, adamw); /* so that there are moments and gradients that might be used */
    int frozen = pal_params_freeze(params, "model.layers.*.attn.*", true);
    frozen += pal_params_freeze(params, "model.embeddings.weight", true);
    float *start = copy_block(params, false);
    for (int i = 0; i < 4; i++) step(params, lm, adamw);
    const float *now = pal_params_block(params, 0).value;
    int rested = 0;
    for (int i = 0; i < n; i++) {
        bool rests = same(params, i, start, now);
        rested += rests;
        ck_assert_msg(rests == pal_params_frozen(params, i), "%s", pal_params_name(params, i));
    }
    ck_assert_int_eq(rested, frozen);
    /* Then all of them train again. */
    ck_assert_int_eq(pal_params_freeze(params, "*", false), n);
    free(start);
    start = copy_block(params, false);
    step(params, lm, adamw);
    for (int i = 0; i < n; i++)
        ck_assert_msg(!same(params, i, start, now), "%s rests", pal_params_name(params, i));
    free(start);
    pal_optim_free(adamw);
    pal_params_free(params);
}
END_TEST

/* If all parameters are frozen, the gradient of a mixer's input is still the same. */
START_TEST(a_frozen_layer_hands_gradients_on)
{
    static const char *const text[] = {"gdn2", "kda",      "gdn",   "mamba2",
                                       "attn", "deltanet", "mamba3"};
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(7, 0);
    pal_mixer *mixer = pal_mixer_new(params, "m", 8, PAL_F64, text[_i], &rng);
    double want[B * T * 8];
    for (int frozen = 0; frozen < 2; frozen++) {
        pal_tape *tape = pal_tape_new();
        pal_rng draw = pal_rng_new(8, 0);
        if (frozen)
            ck_assert_int_eq(pal_params_freeze(params, "m.*", true), pal_params_count(params));
        pal_tensor x = pal_want_grad(pal_normal(tape, PAL_F64, PAL_SHAPE(B, T, 8), 0, 1, &draw));
        pal_tensor y = pal_mixer_forward(mixer, x, NULL, (pal_run_opts){0});
        ck_assert_int_eq(pal_backward(pal_sum(pal_square(y), PAL_ALL, false)), PAL_OK);
        const double *dx = pal_f64(pal_grad(x));
        for (int i = 0; i < B * T * 8; i++)
            if (frozen)
                ck_assert_msg(fabs(dx[i] - want[i]) <= 1e-14 && dx[i] != 0, "dx[%d] is %g, not %g",
                              i, dx[i], want[i]);
            else
                want[i] = dx[i];
        pal_tape_free(tape);
    }
    pal_params_free(params);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lm_params");
    TCase *c = tcase_create("lm_params");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, the_papers_layers, 0, 4);
    tcase_add_test(c, a_model_by_parts);
    tcase_add_test(c, the_table);
    tcase_add_test(c, what_decays);
    tcase_add_loop_test(c, frozen_parameters_take_no_gradient, 0, 8);
    tcase_add_test(c, frozen_parameters_rest);
    tcase_add_loop_test(c, a_frozen_layer_hands_gradients_on, 0, 7);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
