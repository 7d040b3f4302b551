/*
 * test_bf16_weights.c - models whose weights are stored in bf16: a few rows times such a weight, on
 * every instruction set and number of threads; and whole models against those in f32.
 */
#include "autograd/internal.h"
#include "layers/layers.h"
#include "optim/optim.h"
#include "tensor/rows.h"
#include "tests/support/check.h"
#include "tests/support/isa.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double noise(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(int64_t)(*state >> 11) * 0x1p-52 - 1;
}

/* ---- Rows ---- */

enum { N = 37, MOST_K = 200, ROWS = 3 };

static void check_rows(int64_t k, int64_t step, int64_t csx, bool add)
{
    static float x[ROWS * MOST_K * 2], y[ROWS * N], want[ROWS * N], before[ROWS * N];
    static uint16_t w[N * (MOST_K + 3)];
    uint64_t state = (uint64_t)k;
    void *memory = aligned_alloc(PAL_ALIGN, pal_rows_bytes(ROWS, k));
    for (int64_t i = 0; i < ROWS * k * csx; i++) x[i] = (float)noise(&state);
    for (int64_t i = 0; i < N * step; i++) pal_element_set(PAL_BF16, w, i, noise(&state));
    for (int i = 0; i < ROWS * N; i++) before[i] = (float)noise(&state);
    static const int threads[] = {1, 2, 3, 16};
    for (int t = 0; t < 4; t++) {
        memcpy(y, before, sizeof y);
        pal_rows_product(ROWS, N, k, x, k * csx, csx, w, step, add, y, N, memory, threads[t]);
        if (t == 0) memcpy(want, y, sizeof y);
        ck_assert_mem_eq(y, want, sizeof y);
    }
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < N; j++) {
            double sum = add ? (double)before[i * N + j] : 0;
            for (int64_t l = 0; l < k; l++)
                sum +=
                    (double)x[i * k * csx + l * csx] * pal_element_get(PAL_BF16, w, j * step + l);
            ck_assert_msg(fabs((double)y[i * N + j] - sum) <= 1e-5 * (double)(k + 1),
                          "%s, %lld numbers: %g, not %g", isa_name(), (long long)k,
                          (double)y[i * N + j], sum);
        }
    free(memory);
}

START_TEST(rows_on_every_instruction_set)
{
    if (!isa_select(_i)) return;
    for (int64_t k = 0; k <= MOST_K; k = k < 70 ? k + 1 : k + 13) {
        check_rows(k, k, 1, false);
        check_rows(k, k + 3, 2, true);
    }
    isa_select_best();
}
END_TEST

/* ---- Models ---- */

enum { VOCAB = 40, LEN = 12, B = 2 };
static const char *const mixers[] = {"gdn2:num_heads=2:head_dim=16",
                                     "mamba2:head_dim=16:state_size=16",
                                     "attn:num_heads=4",
                                     "kda:num_heads=2:head_dim=16",
                                     "gdn:num_heads=2:head_dim=16",
                                     "deltanet:num_heads=2:head_dim=16",
                                     "mamba3",
                                     "shortconv",
                                     "mamba2:head_dim=16:state_size=16+swa:num_heads=4"};
enum { MIXERS = sizeof mixers / sizeof *mixers };

typedef struct model {
    pal_params *params;
    pal_lm *lm;
} model;

/* `like` NULL: drawn, in f32; else the same values, stored in bf16. */
static model make(const char *mixer, bool tie, const model *like)
{
    pal_rng rng = pal_rng_new(1, 0);
    model m = {.params = pal_params_new()};
    if (like) pal_params_store(m.params, PAL_BF16);
    m.lm = pal_lm_new(
        m.params,
        (pal_lm_opts){.vocab = VOCAB, .width = 32, .layers = 2, .mixers = mixer, .tie = tie},
        like ? NULL : &rng);
    ck_assert_ptr_nonnull(m.lm);
    for (int i = 0; like && i < pal_params_count(m.params); i++) {
        const pal_array to = pal_params_array(m.params, i),
                        from = pal_params_array(like->params, i);
        ck_assert_str_eq(pal_params_name(m.params, i), pal_params_name(like->params, i));
        ck_assert_int_eq(pal_array_copy(&to, &from, NULL), PAL_OK);
    }
    pal_params_touch(m.params);
    return m;
}

/* The last logits of B sequences: all tokens at once, or one after the other. */
static void logits(const model *m, bool by_token, float *to)
{
    pal_tape *tape = pal_tape_new();
    pal_set_grad(tape, false);
    int64_t token[B * LEN];
    for (int i = 0; i < B * LEN; i++) token[i] = (7 * i + i * i) % VOCAB;
    pal_tensor all = pal_from(tape, PAL_I64, PAL_SHAPE(B, LEN), token), y = PAL_NONE;
    if (!by_token) {
        y = pal_select(pal_lm_logits(m->lm, all, (pal_run_opts){0}), 1, LEN - 1);
    } else {
        pal_lm_state *state = pal_lm_state_new(m->lm);
        for (int t = 0; t < LEN; t++)
            y = pal_lm_step(m->lm, state, pal_slice(all, 1, t, t + 1, 1), (pal_run_opts){0});
        pal_lm_state_free(state);
    }
    const pal_array a = pal_value(y), out = pal_array_of(PAL_F32, pal_array_shape(&a), to);
    ck_assert_int_eq(pal_array_count(&a), B * VOCAB);
    ck_assert_int_eq(pal_array_copy(&out, &a, NULL), PAL_OK);
    pal_tape_free(tape);
}

static double apart(const float *a, const float *b)
{
    double error = 0, size = 0;
    for (int i = 0; i < B * VOCAB; i++) {
        error += pow((double)a[i] - (double)b[i], 2);
        size += pow((double)b[i], 2);
    }
    return sqrt(error / size);
}

START_TEST(models)
{
    float f32[B * VOCAB], bf16[B * VOCAB], step[B * VOCAB];
    model wide = make(mixers[_i], _i % 2, NULL), narrow = make(mixers[_i], _i % 2, &wide);
    logits(&wide, false, f32);
    logits(&narrow, false, bf16);
    logits(&narrow, true, step);
    ck_assert_msg(apart(bf16, f32) < 3e-2 && apart(bf16, f32) > 0, "%g", apart(bf16, f32));
    ck_assert_msg(apart(step, f32) < 3e-2, "by token: %g", apart(step, f32));
    int64_t weights = 0, all = 0;
    for (int i = 0; i < pal_params_count(narrow.params); i++) {
        const pal_array a = pal_params_array(narrow.params, i);
        all += pal_array_count(&a);
        if (a.dtype == PAL_BF16) weights += pal_array_count(&a);
    }
    ck_assert_msg(weights * 10 > all * 8, "%lld of %lld", (long long)weights, (long long)all);
    pal_params_free(wide.params);
    pal_params_free(narrow.params);
}
END_TEST

static pal_error last;
static void remember(const pal_error *e, void *user)
{
    (void)user;
    last = *e;
}

START_TEST(they_do_not_train)
{
    const model wide = make(mixers[0], false, NULL), narrow = make(mixers[0], false, &wide);
    pal_set_error_handler(remember, NULL);
    ck_assert_ptr_null(pal_adamw_new(narrow.params, (pal_adamw_opts){0}));
    ck_assert_msg(last.status == PAL_EDTYPE && strstr(last.message, "is stored in bf16"), "%s",
                  last.message);
    pal_params_free(wide.params);
    pal_params_free(narrow.params);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bf16_weights");
    TCase *tc = tcase_create("bf16_weights");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, rows_on_every_instruction_set, 0, ISAS);
    tcase_add_loop_test(tc, models, 0, MIXERS);
    tcase_add_test(tc, they_do_not_train);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
