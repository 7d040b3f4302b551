/*
 * test_decode.c - for every mixer, a sequence that is given in pieces has the logits of the whole
 * sequence. It also tests how likely a text is (pal_lm_score).
 */
#include "layers/layers.h"
#include "tensor/internal.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { B = 2, T = 130, VOCAB = 11 };

static const char *const lists[] = {
    "mamba2:head_dim=4:state_size=3,mamba2:n_groups=2:head_dim=8:state_size=4",
    "mamba3:head_dim=4:state_size=6,mamba3:n_groups=2:head_dim=8:state_size=4:is_mimo=true",
    "gdn,gdn:num_heads=2:num_v_heads=4:head_dim=4:use_short_conv=false",
    "kda,kda:lower_bound=-5:allow_neg_eigval=true",
    "gdn2,gdn2:num_heads=1:num_v_heads=3:head_dim=4:conv_size=1",
    "attn:num_heads=2,attn:num_heads=4:num_kv_heads=2",
    "swa:num_heads=2:window_size=5,swa:num_heads=2:window_size=1,swa:num_heads=2:window_size=200",
    "gdn2,swa:num_heads=2:window_size=17,gdn2,attn:num_heads=2",
};
enum { LISTS = sizeof lists / sizeof *lists, LINEAR = 5 };

static pal_params *params;
static pal_tape *tape;

static void setup(void)
{
    params = pal_params_new();
    tape = pal_tape_new();
    pal_set_threads(1); /* such small work is faster on one thread */
    pal_set_grad(tape, false);
}

static void teardown(void)
{
    pal_tape_free(tape);
    pal_params_free(params);
}

static pal_lm *model(const char *mixers, pal_dtype dtype, int64_t vocab)
{
    pal_rng rng = pal_rng_new(4, 0);
    pal_lm *lm = pal_lm_new(
        params,
        (pal_lm_opts){
            .vocab = vocab, .width = 16, .mixers = mixers, .mlp_width = 24, .dtype = dtype},
        &rng);
    ck_assert(lm != NULL);
    return lm;
}

static void draw_tokens(int64_t n, int64_t *x)
{
    pal_rng rng = pal_rng_new(8, 0);
    for (int64_t i = 0; i < n; i++) x[i] = pal_rng_below(&rng, VOCAB);
}

/* All of a tensor's numbers as doubles, in row-major order. */
static double *values(pal_tensor t)
{
    pal_array a = pal_value(t);
    double *x = malloc(((size_t)pal_count(t) + 1) * sizeof *x);
    pal_array to = pal_array_of(PAL_F64, pal_shape_of(t), x);
    ck_assert(pal_array_copy(&to, &a, NULL) == PAL_OK);
    return x;
}

static double tolerance(pal_dtype dtype) { return dtype == PAL_F64 ? 1e-11 : 1e-5; }

static void close_to(const double *x, const double *want, int64_t n, pal_dtype dtype,
                     const char *what, int64_t at)
{
    double size = 0;
    for (int64_t i = 0; i < n; i++) size = fmax(size, fabs(want[i]));
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabs(x[i] - want[i]) <= tolerance(dtype) * size,
                      "%s at %lld: %.17g, not %.17g", what, (long long)at, x[i], want[i]);
}

/* ---- In pieces ---- */

/* Feeds tokens at .. at + n - 1 of each row, and returns the logits after the last. */
static double *feed(const pal_lm *lm, pal_lm_state *state, const int64_t *x, int64_t at, int64_t n)
{
    int64_t part[B * T];
    for (int64_t i = 0; i < B * n; i++) part[i] = x[i / n * T + at + i % n];
    pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(B, n), part);
    double *y = values(pal_lm_step(lm, state, in, (pal_run_opts){0}));
    pal_tape_reset(tape);
    return y;
}

static void check_split(const pal_lm *lm, const int64_t *x, const double *whole, pal_dtype dtype,
                        int pieces, const int64_t *sizes, const char *what)
{
    pal_lm_state *state = pal_lm_state_new(lm);
    int64_t at = 0;
    for (int i = 0; i < pieces; i++) {
        double *y = feed(lm, state, x, at, sizes[i]);
        at += sizes[i];
        for (int b = 0; b < B; b++)
            close_to(y + b * VOCAB, whole + (b * T + at - 1) * VOCAB, VOCAB, dtype, what, at);
        free(y);
    }
    ck_assert_int_eq(at, T);
    pal_lm_state_free(state);
}

START_TEST(splits)
{
    static int64_t ones[T];
    static const struct {
        int pieces;
        int64_t size[4];
    } some[] = {{1, {130}}, {2, {64, 66}}, {2, {3, 127}}, {4, {64, 1, 1, 64}}};
    const pal_dtype dtype = _i % 2 ? PAL_F64 : PAL_F32;
    const pal_lm *lm = model(lists[_i / 2], dtype, VOCAB);
    int64_t x[B * T];
    draw_tokens(B * T, x);
    pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(B, T), x);
    double *whole = values(pal_lm_logits(lm, in, (pal_run_opts){0}));
    pal_tape_reset(tape);
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        check_split(lm, x, whole, dtype, some[i].pieces, some[i].size, lists[_i / 2]);
    for (int i = 0; i < T; i++) ones[i] = 1;
    check_split(lm, x, whole, dtype, T, ones, lists[_i / 2]);
    free(whole);
}
END_TEST

/* Steps have the same bits on every team: of whole heads, and of parts of heads where there are
 * fewer heads than threads. */
static const char *const wide[] = {
    "gdn2:num_heads=5:head_dim=72,kda:num_heads=3:head_dim=72:expand_v=2",
    "gdn:num_heads=5:head_dim=40:expand_v=4,mamba2:expand=27:head_dim=144:state_size=9",
    "mamba3:expand=27:head_dim=144,mamba3:expand=27:head_dim=72:is_mimo=true",
    "attn:num_heads=4:num_kv_heads=2,swa:num_heads=2:window_size=9",
};
enum { WIDE = sizeof wide / sizeof *wide };

START_TEST(steps_on_any_team)
{
    static const int teams[] = {1, 2, 3, 4, 5, 7, 12, 16};
    static const int64_t pieces[] = {1, 3, 70, 1, 2};
    const pal_dtype dtype = _i % 2 ? PAL_F64 : PAL_F32;
    const pal_lm *lm = model(wide[_i / 2], dtype, VOCAB);
    int64_t x[B * T];
    double *first[5];
    draw_tokens(B * T, x);
    pal_team_from(1);
    for (size_t t = 0; t < sizeof teams / sizeof *teams; t++) {
        pal_set_threads(teams[t]);
        pal_lm_state *state = pal_lm_state_new(lm);
        for (int64_t i = 0, at = 0; i < 5; at += pieces[i++]) {
            double *y = feed(lm, state, x, at, pieces[i]);
            if (t == 0)
                first[i] = y;
            else
                ck_assert_msg(memcmp(y, first[i], B * VOCAB * sizeof *y) == 0,
                              "%s, piece %lld, %d threads", wide[_i / 2], (long long)i, teams[t]);
            if (t > 0) free(y);
        }
        pal_lm_state_free(state);
    }
    for (int i = 0; i < 5; i++) free(first[i]);
}
END_TEST

/* Without gradients a prompt takes the memory of one block, whatever the number of layers, and
 * gives the bits that it gives with them. */
START_TEST(forgotten_blocks)
{
    int64_t x[B * T];
    size_t peak[2];
    double *y[2];
    draw_tokens(B * T, x);
    for (int on = 0; on < 2; on++) {
        pal_tape *own = pal_tape_new();
        pal_params *all = pal_params_new();
        pal_rng rng = pal_rng_new(4, 0);
        const pal_lm *lm = pal_lm_new(all,
                                      (pal_lm_opts){.vocab = VOCAB,
                                                    .width = 16,
                                                    .layers = 8,
                                                    .mixers = "gdn,mamba2+attn:num_heads=2,none"},
                                      &rng);
        pal_set_grad(own, on);
        pal_lm_state *state = pal_lm_state_new(lm);
        for (int turn = 0; turn < 2; turn++) {
            pal_tensor in = pal_from(own, PAL_I64, PAL_SHAPE(B, T), x);
            y[on] = values(pal_lm_step(lm, state, in, (pal_run_opts){0}));
            peak[on] = pal_tape_memory(own).peak;
            pal_tape_reset(own);
            if (turn == 0) free(y[on]);
        }
        pal_lm_state_free(state);
        pal_params_free(all);
        pal_tape_free(own);
    }
    ck_assert(memcmp(y[0], y[1], B * VOCAB * sizeof **y) == 0);
    ck_assert_msg(3 * peak[0] < peak[1], "%zu bytes without gradients, %zu with them", peak[0],
                  peak[1]);
    free(y[0]);
    free(y[1]);
}
END_TEST

/* Feeds prompts of 5, 1 and 70 tokens in one call, and then makes steps of all three sequences. */
START_TEST(packed_prompts)
{
    enum { N = 3, STEPS = 4 };
    const pal_dtype dtype = _i % 2 ? PAL_F64 : PAL_F32;
    const pal_lm *lm = model(lists[_i / 2], dtype, VOCAB);
    const int64_t offsets[N + 1] = {0, 5, 6, 76};
    int64_t x[76 + N * STEPS];
    double *joint[1 + STEPS];
    draw_tokens(76 + N * STEPS, x);
    pal_lm_state *all = pal_lm_state_new(lm);
    const pal_run_opts packed = {.offsets = pal_from(tape, PAL_I64, PAL_SHAPE(N + 1), offsets)};
    joint[0] = values(pal_lm_step(lm, all, pal_from(tape, PAL_I64, PAL_SHAPE(1, 76), x), packed));
    for (int i = 0; i < STEPS; i++) {
        pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(N, 1), x + 76 + N * i);
        joint[i + 1] = values(pal_lm_step(lm, all, in, (pal_run_opts){0}));
        pal_tape_reset(tape);
    }
    for (int n = 0; n < N; n++) {
        pal_lm_state *one = pal_lm_state_new(lm);
        for (int i = 0; i <= STEPS; i++) {
            int64_t length = i ? 1 : offsets[n + 1] - offsets[n];
            const int64_t *from = i ? x + 76 + N * (i - 1) + n : x + offsets[n];
            pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(1, length), from);
            double *alone = values(pal_lm_step(lm, one, in, (pal_run_opts){0}));
            close_to(joint[i] + n * VOCAB, alone, VOCAB, dtype, lists[_i / 2], i);
            free(alone);
            pal_tape_reset(tape);
        }
        pal_lm_state_free(one);
    }
    for (int i = 0; i <= STEPS; i++) free(joint[i]);
    pal_lm_state_free(all);
}
END_TEST

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

/* A step that is refused, however late, leaves the state as it was. The following steps have the
 * same bits as without it. */
START_TEST(refused_steps)
{
    static const char *const said[] = {"sequence 1 is empty", "packed sequences leave no state",
                                       "offsets must run", "another number of layers"};
    const int64_t hole[] = {0, 3, 3, 5}, whole[] = {0, 2, 4, 5}, wrong[] = {0, 2, 4, 6};
    const bool late = _i == 1; /* the first layer has succeeded when attention refuses */
    const pal_lm *lm = model(late ? "gdn2,swa:num_heads=2" : "gdn2,mamba2", PAL_F64, VOCAB);
    pal_lm_state *state = pal_lm_state_new(lm), *twin = pal_lm_state_new(lm);
    int64_t x[B * T];
    draw_tokens(B * T, x);
    if (_i > 1) free(feed(lm, twin, x, 0, 7)), free(feed(lm, state, x, 0, 7));

    pal_error error = {.status = PAL_OK};
    pal_set_error_handler(hear, &error);
    const int64_t *at = _i == 0 ? hole : _i == 2 ? wrong : whole;
    const pal_run_opts packed = {.offsets = pal_from(tape, PAL_I64, PAL_SHAPE(4), at)};
    pal_params *others = pal_params_new();
    pal_rng rng = pal_rng_new(4, 0);
    const pal_lm *longer = pal_lm_new(
        others, (pal_lm_opts){.vocab = VOCAB, .width = 16, .layers = 3, .dtype = PAL_F64}, &rng);
    if (_i == 3)
        pal_lm_step(longer, state, pal_from(tape, PAL_I64, PAL_SHAPE(B, 1), x), (pal_run_opts){0});
    else
        pal_lm_step(lm, state, pal_from(tape, PAL_I64, PAL_SHAPE(1, 5), x), packed);
    ck_assert_msg(strstr(error.message, said[_i]) != NULL, "\"%s\" lacks \"%s\"", error.message,
                  said[_i]);
    pal_set_error_handler(NULL, NULL);
    pal_tape_reset(tape);

    double *want = feed(lm, twin, x, 7, 3), *got = feed(lm, state, x, 7, 3);
    ck_assert(memcmp(want, got, (size_t)(B * VOCAB) * sizeof *want) == 0);
    free(want), free(got);
    pal_params_free(others);
    pal_lm_state_free(state);
    pal_lm_state_free(twin);
}
END_TEST

/* ---- How likely a text is ---- */

/* The scores are the entries of log_softmax(logits) for the tokens. A large vocabulary makes many
 * blocks. */
START_TEST(score)
{
    const pal_dtype dtype = _i % 2 ? PAL_F64 : PAL_F32;
    const bool large = _i / 2;
    const int64_t vocab = large ? 40000 : VOCAB, length = large ? 75 : T;
    const pal_lm *lm = model("gdn2,attn:num_heads=2", dtype, vocab);
    int64_t x[B * T];
    draw_tokens(B * T, x);
    pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(B, length), x);
    pal_tensor got = pal_lm_score(lm, in, (pal_run_opts){0});
    const size_t memory = pal_tape_memory(tape).reserved;
    const size_t logits = (size_t)(B * length * vocab) * pal_dtype_size(dtype);
    ck_assert_msg(!large || memory < logits, "%zu bytes for logits of %zu", memory, logits);
    pal_tensor all = pal_log_softmax(pal_lm_logits(lm, in, (pal_run_opts){0}), -1);
    pal_tensor next = pal_unsqueeze(pal_slice(in, 1, 1, length, 1), 2);
    all = pal_gather(pal_slice(all, 1, 0, length - 1, 1), -1, next);
    ck_assert_int_eq(pal_dim(got, 0), B);
    ck_assert_int_eq(pal_dim(got, 1), length - 1);
    double *y = values(got), *want = values(all);
    close_to(y, want, B * (length - 1), dtype, "score", 0);
    free(y), free(want);
}
END_TEST

/* The sum of scores is minus the loss of the same targets times their number, and so are the
 * gradients. */
START_TEST(score_gradient)
{
    enum { SHORT = 40 };
    const pal_lm *lm = model("gdn,swa:num_heads=2:window_size=9", PAL_F64, 40000);
    int64_t x[B * SHORT];
    draw_tokens(B * SHORT, x);
    pal_set_grad(tape, true);
    double *grad[2];
    for (int i = 0; i < 2; i++) {
        pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(B, SHORT), x);
        pal_tensor y = i ? pal_affine(pal_lm_loss(lm, pal_slice(in, 1, 0, SHORT - 1, 1),
                                                  pal_slice(in, 1, 1, SHORT, 1), (pal_run_opts){0}),
                                      -B * (SHORT - 1), 0)
                         : pal_sum(pal_lm_score(lm, in, (pal_run_opts){0}), PAL_ALL, false);
        ck_assert(pal_backward(y) == PAL_OK);
        pal_param_block block = pal_params_block(params, 0);
        grad[i] = malloc((size_t)block.count * sizeof(double));
        memcpy(grad[i], block.grad, (size_t)block.count * sizeof(double));
        pal_params_zero_grad(params);
        pal_tape_reset(tape);
    }
    close_to(grad[0], grad[1], pal_params_block(params, 0).count, PAL_F64, "gradient", 0);
    free(grad[0]), free(grad[1]);
}
END_TEST

/* Each of several packed texts has the scores that it has by itself, and 0 stands between them. */
START_TEST(score_packed)
{
    enum { N = 4, SUM = 30 };
    const int64_t offsets[N + 1] = {0, 12, 12, 13, SUM};
    const pal_lm *lm = model("gdn2,swa:num_heads=2:window_size=5", PAL_F64, VOCAB);
    int64_t x[SUM];
    draw_tokens(SUM, x);
    const pal_run_opts packed = {.offsets = pal_from(tape, PAL_I64, PAL_SHAPE(N + 1), offsets)};
    double *all = values(pal_lm_score(lm, pal_from(tape, PAL_I64, PAL_SHAPE(1, SUM), x), packed));
    for (int n = 0; n < N; n++) {
        int64_t from = offsets[n], length = offsets[n + 1] - from;
        if (length == 0) continue;
        if (from > 0) ck_assert(all[from - 1] == 0);
        pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(1, length), x + from);
        pal_tensor y = pal_lm_score(lm, in, (pal_run_opts){0});
        ck_assert_int_eq(pal_count(y), length - 1);
        double *alone = values(y);
        close_to(all + from, alone, length - 1, PAL_F64, "packed score", n);
        free(alone);
    }
    free(all);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("decode");
    TCase *tc = tcase_create("decode");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, splits, 0, 2 * LISTS);
    tcase_add_loop_test(tc, steps_on_any_team, 0, 2 * WIDE);
    tcase_add_test(tc, forgotten_blocks);
    tcase_add_loop_test(tc, packed_prompts, 0, 2 * LINEAR);
    tcase_add_loop_test(tc, refused_steps, 0, 4);
    tcase_add_loop_test(tc, score, 0, 4);
    tcase_add_test(tc, score_gradient);
    tcase_add_test(tc, score_packed);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
