/*
 * test_inspect_layers.c - what examples/inspect sees of the layers of a model: the rule, step by
 * step, gives what the layer returned, and the state that it hands on.
 */
#include "examples/inspect/look.h"
#include "tests/support/check.h"
#include "tests/support/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void near(double x, double wanted, double within, const char *what)
{
    if (!(fabs(x - wanted) <= within)) ck_abort_msg("%s is %.17g, not %.17g", what, x, wanted);
}

/* For every mixer, with grouped heads: the rule, step by step, gives what the layer returned, and
 * so does the sum over A. */
START_TEST(layers)
{
    static const char *const mixers[] = {
        "gdn2:num_heads=2:num_v_heads=4:head_dim=6:expand_v=0.5",
        "kda:num_heads=2:num_v_heads=4:head_dim=6",
        "gdn:num_heads=2:head_dim=6:allow_neg_eigval=true",
        "mamba2:head_dim=8:state_size=6:n_groups=2",
        "attn:num_heads=4:num_kv_heads=2",
        "gdn2:num_heads=1,swa:num_heads=2:window_size=5",
        "mamba3:head_dim=8:state_size=6:n_groups=2",
        "mamba3:head_dim=8:state_size=6:is_mimo=true:mimo_rank=2:is_outproj_norm=true"};
    static const int64_t heads[] = {4, 4, 2, 4, 4, 3, 4, 4};
    int64_t id[23];
    for (int t = 0; t < 23; t++) id[t] = t * t % 11;
    for (size_t i = 0; i < sizeof mixers / sizeof *mixers; i++) {
        observation ob;
        pal_error error;
        pal_rng rng = pal_rng_new(3, 0);
        pal_params *params = pal_params_new();
        pal_lm *lm = pal_lm_new(
            params, (pal_lm_opts){.vocab = 11, .width = 16, .mixers = mixers[i], .dtype = PAL_F64},
            &rng);
        ck_assert_int_eq(ob_begin(&ob, 23, &error), PAL_OK);
        ck_assert_int_eq(ob_model(&ob, mixers[i], &error), PAL_OK);
        if (look_model(&ob, lm, params, mixers[i], id, (look_opts){-1, -1}, &error) != PAL_OK)
            ck_abort_msg("%s", error.message);
        ob_measure(&ob, PAL_RULE_RECURRENT);
        ck_assert_int_eq(ob.heads, heads[i]);
        for (int j = 0; j < ob.heads; j++) {
            near(ob.head[j].A_error, 0, 1e-10, mixers[i]);
            near(ob.head[j].given_error, 0, 1e-10, mixers[i]);
            ck_assert(ob.head[j].given_most > 0);
        }
        ob_free(&ob);
        pal_params_free(params);
    }
}
END_TEST

/* The input of layer 0. */
static bool keep_input(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    if (layer == 0 && strcmp(name, "x") == 0) *(pal_tensor *)user = *t;
    return true;
}

static void same_part(const pal_mixer_state *state, const char *name, int64_t head, int64_t n,
                      const double *shown)
{
    const pal_tensor part = pal_mixer_state_get(state, name);
    ck_assert(!pal_is_none(part));
    ck_assert_int_eq(pal_count(part) / pal_dim(part, 1), n);
    const double *is = pal_f64(part) + head * n;
    for (int64_t i = 0; i < n; i++) near(shown[i], is[i], 1e-12, name);
}

/* The state that is shown after the last token is what the layer hands on to its next call, every
 * part of it. */
START_TEST(states)
{
    static const char *const mixers[] = {
        "gdn2:num_heads=2:num_v_heads=4:head_dim=6", "mamba2:head_dim=8:state_size=6:n_groups=2",
        "mamba3:head_dim=8:state_size=6:n_groups=2",
        "mamba3:head_dim=8:state_size=6:n_groups=4:is_mimo=true:mimo_rank=3:rope_fraction=1",
        "mamba3:head_dim=8:state_size=7:rope_fraction=1:A_act=heavy_tail"};
    int64_t id[29];
    for (int t = 0; t < 29; t++) id[t] = t * t % 11;
    for (size_t i = 0; i < sizeof mixers / sizeof *mixers; i++) {
        observation ob;
        pal_error error;
        pal_rng rng = pal_rng_new(3, 0);
        pal_params *params = pal_params_new();
        pal_lm *lm = pal_lm_new(
            params, (pal_lm_opts){.vocab = 11, .width = 16, .mixers = mixers[i], .dtype = PAL_F64},
            &rng);
        trial_draw(params, 5);
        ck_assert_int_eq(ob_begin(&ob, 29, &error), PAL_OK);
        ck_assert_int_eq(ob_model(&ob, mixers[i], &error), PAL_OK);
        if (look_model(&ob, lm, params, mixers[i], id, (look_opts){0, -1}, &error) != PAL_OK)
            ck_abort_msg("%s", error.message);
        ob_measure(&ob, PAL_RULE_RECURRENT);
        pal_tape *tape = pal_tape_new();
        pal_tensor x = PAL_NONE;
        pal_mixer_state state = {0};
        pal_set_grad(tape, false);
        pal_lm_logits(lm, pal_from(tape, PAL_I64, PAL_SHAPE(1, 29), id),
                      (pal_run_opts){.hook = keep_input, .user = &x});
        pal_mixer_forward(pal_lm_mixer(lm, 0), x, &state, (pal_run_opts){0});
        for (int j = 0; j < ob.heads; j++) {
            const ob_head *h = &ob.head[j];
            const int64_t n = h->K * h->V, k = h->R * h->K, J = h->turns.J;
            same_part(&state, "state", j, n, h->S + 28 * n);
            if (h->rule != OB_MAMBA3) continue;
            ck_assert(h->turns.pair == (h->R == 3 ? PAL_PAIR_HALF : PAL_PAIR_ADJACENT));
            same_part(&state, "th", j, J, h->turns.angle + 28 * J);
            same_part(&state, "k", j, k, h->k + 28 * k);
            same_part(&state, "x", j, h->V, h->turns.x + 28 * h->V);
        }
        pal_tape_free(tape);
        ob_free(&ob);
        pal_params_free(params);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("inspect_layers");
    TCase *tc = tcase_create("layers");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, layers);
    tcase_add_test(tc, states);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
