/*
 * test_trunk.c - trunks and heads as a program of one's own uses them: tokens or hidden states in,
 * states from call to call and in files, pooling, classes and values.
 */
#include "layers/layers.h"
#include "optim/optim.h"
#include "tests/support/check.h"
#include "tests/support/node.h"
#include "tests/support/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { B = 2, T = 6, WIDTH = 8, VOCAB = 9 };
static const int64_t tokens[B * T] = {1, 2, 3, 4, 5, 6, 7, 8, 0, 2, 2, 1};
static const char mixers[] = "gdn2:num_heads=2,attn:num_heads=2:rope=none:block.norm=after";

typedef struct own {
    pal_params *params;
    pal_trunk *trunk;
    pal_tape *tape;
} own;

static own make(pal_trunk_opts o)
{
    own m = {.params = pal_params_new(), .tape = pal_tape_new()};
    o.width = WIDTH, o.dtype = PAL_F64;
    if (!o.mixers) o.mixers = mixers;
    m.trunk = pal_trunk_new(m.params, "body", o, NULL);
    ck_assert(m.trunk != NULL);
    trial_draw(m.params, 5);
    return m;
}

static void drop(own *m)
{
    pal_tape_free(m->tape);
    pal_params_free(m->params);
}

static pal_tensor on(pal_tape *tape) { return pal_from(tape, PAL_I64, PAL_SHAPE(B, T), tokens); }

static double distance(pal_tensor a, pal_tensor b)
{
    double most = 0;
    ck_assert(pal_shape_equal(pal_shape_of(a), pal_shape_of(b)));
    a = pal_contiguous(a), b = pal_contiguous(b);
    for (int64_t i = 0; i < pal_count(a); i++)
        most = fmax(most, fabs(pal_f64(a)[i] - pal_f64(b)[i]));
    return isfinite(most) ? most : INFINITY;
}

/* ---- Trunks ---- */

/* Tokens, and the hidden states that the table has for them, give the same; the parameters have the
 * prefix. */
START_TEST(tokens_or_hidden_states)
{
    own m = make((pal_trunk_opts){.vocab = VOCAB, .embed_scale = 3});
    const pal_tensor table = pal_params_find(m.params, "body.embeddings.weight");
    const pal_tensor x = pal_affine(pal_embedding(table, on(m.tape)), 3, 0);
    const pal_tensor a = pal_trunk_forward(m.trunk, on(m.tape), NULL, (pal_run_opts){0});
    const pal_tensor b = pal_trunk_forward(m.trunk, x, NULL, (pal_run_opts){0});
    ck_assert(memcmp(pal_f64(a), pal_f64(b), sizeof(double) * B * T * WIDTH) == 0);
    for (int i = 0; i < pal_params_count(m.params); i++)
        ck_assert(strncmp(pal_params_name(m.params, i), "body.", 5) == 0);
    ck_assert(!pal_is_none(pal_params_find(m.params, "body.layers.1.attn.q_proj.weight")));
    ck_assert(pal_trunk_block(m.trunk, 2) == NULL && pal_trunk_block(m.trunk, -1) == NULL);
    ck_assert_str_eq(pal_mixer_name(pal_block_mixer(pal_trunk_block(m.trunk, 0))), "gdn2");
    ck_assert(pal_trunk_options(m.trunk).layers == 2);
    drop(&m);
}
END_TEST

/* It is blocks one after another, and without a norm only these. */
START_TEST(blocks_in_order)
{
    own m = make((pal_trunk_opts){.no_norm = true});
    pal_rng rng = pal_rng_new(4, 0);
    const pal_tensor x = pal_normal(m.tape, PAL_F64, PAL_SHAPE(B, T, WIDTH), 0, 1, &rng);
    pal_tensor y = x;
    for (int i = 0; i < 2; i++)
        y = pal_block_forward(pal_trunk_block(m.trunk, i), y, NULL, (pal_run_opts){0});
    const pal_tensor z = pal_trunk_forward(m.trunk, x, NULL, (pal_run_opts){0});
    ck_assert(memcmp(pal_f64(y), pal_f64(z), sizeof(double) * B * T * WIDTH) == 0);
    ck_assert(pal_is_none(pal_params_find(m.params, "body.norm.weight")));
    ck_assert(pal_is_none(pal_params_find(m.params, "body.embeddings.weight")));
    drop(&m);
}
END_TEST

/* Gradients reach the hidden states, with the same bits where blocks are recomputed. */
START_TEST(gradient_of_hidden_states)
{
    double *grad[2];
    for (int i = 0; i < 2; i++) {
        own m = make((pal_trunk_opts){.recompute = i == 1, .block = {.dropout = 0.2}});
        pal_rng rng = pal_rng_new(4, 0);
        *pal_tape_rng(m.tape) = pal_rng_new(8, 0);
        const pal_tensor x =
            pal_want_grad(pal_normal(m.tape, PAL_F64, PAL_SHAPE(B, T, WIDTH), 0, 1, &rng));
        const pal_tensor y = pal_trunk_forward(m.trunk, x, NULL, (pal_run_opts){.training = true});
        ck_assert(pal_backward(pal_sum(pal_square(y), PAL_ALL, false)) == PAL_OK);
        grad[i] = malloc(sizeof(double) * B * T * WIDTH);
        memcpy(grad[i], pal_f64(pal_grad(x)), sizeof(double) * B * T * WIDTH);
        drop(&m);
    }
    ck_assert(memcmp(grad[0], grad[1], sizeof(double) * B * T * WIDTH) == 0 && grad[0][0] != 0);
    free(grad[0]), free(grad[1]);
}
END_TEST

/* Pieces with a state give what the whole sequence gives, also from a state that was in a file. */
START_TEST(from_call_to_call)
{
    char path[] = "/tmp/palimpsest-trunk-XXXXXX";
    pal_error error = {PAL_OK, ""};
    const int made = mkstemp(path);
    ck_assert(made >= 0 && close(made) == 0);
    own m = make((pal_trunk_opts){.vocab = VOCAB});
    const pal_tensor whole = pal_trunk_forward(m.trunk, on(m.tape), NULL, (pal_run_opts){0});
    pal_trunk_state *state = pal_trunk_state_new(m.trunk);
    for (int64_t at = 0; at < T; at += 2) {
        const pal_tensor in = pal_slice(on(m.tape), 1, at, at + 2, 1);
        const pal_tensor part = pal_trunk_forward(m.trunk, in, state, (pal_run_opts){0});
        ck_assert(distance(part, pal_slice(whole, 1, at, at + 2, 1)) <= 1e-12);
        ck_assert_msg(pal_trunk_state_save(state, path, &error) == PAL_OK, "%s", error.message);
        pal_trunk_state_free(state);
        state = pal_trunk_state_new(m.trunk);
        ck_assert_msg(pal_trunk_state_load(m.trunk, state, path, &error) == PAL_OK, "%s",
                      error.message);
    }
    /* A parameter that changed is another model's. */
    pal_fill(pal_params_find(m.params, "body.layers.0.attn_norm.weight"), 2);
    ck_assert(pal_trunk_state_load(m.trunk, state, path, &error) == PAL_EFORMAT);
    ck_assert_msg(strstr(error.message, "of another model") != NULL, "%s", error.message);
    pal_trunk_state_free(state);
    unlink(path);
    drop(&m);
}
END_TEST

static bool skip_second(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    ++*(int *)user;
    if (layer != 1 || strcmp(name, "x") != 0) return true;
    *t = PAL_NONE;
    return false;
}

/* ---- Training from call to call ---- */

static const char *const stateful[] = {"gdn2:num_heads=2",
                                       "kda:num_heads=2",
                                       "gdn:num_heads=2",
                                       "deltanet:num_heads=2",
                                       "mamba2:head_dim=4:state_size=4",
                                       "mamba3:head_dim=4:state_size=4",
                                       "shortconv",
                                       "attn:num_heads=2",
                                       "swa:num_heads=2:window_size=4",
                                       "attn:num_heads=2+gdn2:num_heads=2"};
enum { STATEFUL = sizeof stateful / sizeof *stateful, CALLS = 3 };

/* The loss of the last call, whose parameters are moved by so much along a direction. The calls
 * before are trained too. With `slope` its gradient along the direction. */
static double last_call(const char *mixer, double move, double *slope)
{
    own m = make((pal_trunk_opts){.vocab = VOCAB, .layers = 1, .mixers = mixer});
    pal_trunk_state *state = pal_trunk_state_new(m.trunk);
    double loss = NAN;
    for (int i = 0; i < CALLS; i++) {
        const bool last = i == CALLS - 1;
        pal_params_zero_grad(m.params);
        for (int b = 0; b < pal_params_blocks(m.params) && last; b++) {
            const pal_param_block block = pal_params_block(m.params, b);
            for (int64_t k = 0; k < block.count; k++)
                ((double *)block.value)[k] += move * sin((double)k + 1);
        }
        pal_params_touch(m.params);
        const pal_tensor y =
            pal_trunk_forward(m.trunk, on(m.tape), state, (pal_run_opts){.training = true});
        const pal_tensor l = pal_mean(pal_square(pal_affine(y, 1, 1)), PAL_ALL, false);
        loss = pal_item(l);
        ck_assert_msg(pal_backward(l) == PAL_OK, "%s: call %d", mixer, i + 1);
        pal_tape_reset(m.tape);
    }
    for (int b = 0; b < pal_params_blocks(m.params) && slope; b++) {
        const pal_param_block block = pal_params_block(m.params, b);
        for (int64_t k = 0; k < block.count; k++)
            *slope += ((const double *)block.grad)[k] * sin((double)k + 1);
    }
    pal_trunk_state_free(state);
    drop(&m);
    return loss;
}

/* Backward comes after the state has gone on, and is the gradient at the state before. */
START_TEST(trained_from_call_to_call)
{
    const double h = 1e-6;
    double slope = 0;
    last_call(stateful[_i], 0, &slope);
    const double want =
        (last_call(stateful[_i], h, NULL) - last_call(stateful[_i], -h, NULL)) / (2 * h);
    ck_assert_msg(fabs(slope - want) <= 1e-6 * (1 + fabs(want)), "%s: the slope is %.9g, not %.9g",
                  stateful[_i], slope, want);
}
END_TEST

/* A hook sees the blocks by number. */
START_TEST(hooked)
{
    own m = make((pal_trunk_opts){.vocab = VOCAB, .block = {.no_mlp = true}});
    int calls = 0;
    const pal_run_opts run = {.hook = skip_second, .user = &calls};
    const pal_tensor a = pal_trunk_forward(m.trunk, on(m.tape), NULL, run);
    pal_tensor x = pal_embedding(pal_params_find(m.params, "body.embeddings.weight"), on(m.tape));
    x = pal_block_forward(pal_trunk_block(m.trunk, 0), x, NULL, (pal_run_opts){0});
    x = pal_rms_norm(x, pal_params_find(m.params, "body.norm.weight"), 1e-5);
    ck_assert(calls > 2 && distance(a, x) <= 1e-13);
    drop(&m);
}
END_TEST

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

START_TEST(wrong_inputs)
{
    pal_error heard = {PAL_OK, ""};
    pal_set_error_handler(hear, &heard);
    const pal_comm two = {.size = 2};
    for (int i = 0; i < 6; i++) {
        own m = make((pal_trunk_opts){.vocab = i < 2 ? VOCAB : 0});
        pal_trunk_state *state = i == 4 ? pal_trunk_state_new(m.trunk) : NULL;
        const pal_tensor f = pal_zeros(m.tape, PAL_F64, PAL_SHAPE(1, 3, WIDTH));
        const struct {
            pal_tensor x;
            const char *words;
        } row[] = {
            {pal_zeros(m.tape, PAL_I64, PAL_SHAPE(3)),
             "should be i64[B,T] or f64[B,T,8] on a tape"},
            {pal_zeros(m.tape, PAL_F32, PAL_SHAPE(1, 3, WIDTH)), "trunk: argument x is f32[1,3,8]"},
            {on(m.tape), "argument x is i64[2,6] and should be f64[B,T,8] on a tape"},
            {pal_slice(f, 2, 0, 4, 1), "argument x is f64[1,3,4]"},
            {f, "trunk_forward: takes whole sequences, and run.parts has 2 processes"},
            {pal_param(m.params, "x", PAL_F64, PAL_SHAPE(1, 3, WIDTH)), "on a tape"},
        };
        pal_trunk_forward(m.trunk, row[i].x, state, (pal_run_opts){.parts = i == 4 ? &two : NULL});
        ck_assert_msg(strstr(heard.message, row[i].words) != NULL, "%d: %s", i, heard.message);
        pal_trunk_state_free(state);
        drop(&m);
    }
    pal_params *params = pal_params_new();
    ck_assert(pal_trunk_new(params, "t", (pal_trunk_opts){.vocab = -1}, NULL) == NULL);
    ck_assert(strstr(heard.message, "trunk: vocab -1 is out of range") != NULL);
    pal_params_free(params);
}
END_TEST

/* ---- Pooling and heads ---- */

static const char *const poolings[] = {"mean", "last", "attention", "none"};

/* What pooling gives of tokens first .. end - 1 of row b, channel c, by loops. */
static double pooled(const double *x, const double *query, pal_pooling how, const int64_t at[2],
                     int64_t c)
{
    double sum = 0, total = 0;
    if (how == PAL_POOL_LAST) return x[(at[1] - 1) * WIDTH + c];
    for (int64_t t = at[0]; t < at[1]; t++) {
        double score = 0;
        for (int64_t j = 0; j < WIDTH; j++) score += x[t * WIDTH + j] * query[j];
        const double w = how == PAL_POOL_MEAN ? 1 : exp(score / sqrt(WIDTH));
        sum += w * x[t * WIDTH + c], total += w;
    }
    return sum / total;
}

static const int64_t rows[] = {0, T, 2 * T}, joined[] = {0, 1, 5, 12};

typedef struct pooling {
    pal_pooling how;
    bool packed;
} pooling;

static void pool(void *context, const pal_tensor *in, pal_tensor *out)
{
    const pooling *p = context;
    pal_tape *tape = tape_of(in[0]);
    const pal_tensor at = p->packed ? pal_from(tape, PAL_I64, PAL_SHAPE(4), joined) : PAL_NONE;
    out[0] = pal_pool(in[0], p->how == PAL_POOL_ATTENTION ? in[1] : PAL_NONE, p->how, at);
}

START_TEST(pooled_states)
{
    const pal_pooling how = (pal_pooling)(_i % 3);
    const bool packed = _i >= 3;
    pooling p = {.how = how, .packed = packed};
    pal_tape *tape = pal_tape_new();
    pal_rng rng = pal_rng_new(6, (uint64_t)_i);
    const pal_shape shape = packed ? PAL_SHAPE(1, B * T, WIDTH) : PAL_SHAPE(B, T, WIDTH);
    const pal_tensor x = pal_normal(tape, PAL_F64, shape, 0, 1, &rng);
    const pal_tensor query = pal_normal(tape, PAL_F64, PAL_SHAPE(WIDTH), 0, 1, &rng);
    const pal_tensor in[] = {x, query};
    pal_tensor y;
    pool(&p, in, &y);
    y = pal_contiguous(y);
    const int64_t n = packed ? 3 : 2, *at = packed ? joined : rows;
    ck_assert(pal_dim(y, 0) == n && pal_dim(y, 1) == WIDTH);
    for (int64_t i = 0; i < n * WIDTH; i++) {
        const double want = pooled(pal_f64(x), pal_f64(query), how, &at[i / WIDTH], i % WIDTH);
        ck_assert_msg(fabs(pal_f64(y)[i] - want) <= 1e-13, "%s", poolings[how]);
    }
    const pal_array values[] = {pal_value(x), pal_value(query)};
    pal_error error;
    ck_assert_msg(
        pal_gradcheck(pool, &p, how == PAL_POOL_ATTENTION ? 2 : 1, values, 1, NULL, &error), "%s",
        error.message);
    pal_tape_free(tape);
}
END_TEST

/* Classes and values of heads, by formula. */
START_TEST(heads)
{
    const pal_pooling how = (pal_pooling)_i;
    const int64_t classes[] = {2, PAL_IGNORE, 1, 0, 2, 1, 0, 0, 1, 2, 2, PAL_IGNORE};
    pal_params *params = pal_params_new();
    pal_tape *tape = pal_tape_new();
    pal_rng rng = pal_rng_new(6, 0);
    const pal_task_head head = pal_task_head_new(
        params, "head", WIDTH, 3, (pal_task_head_opts){.pooling = how}, PAL_F64, &rng);
    ck_assert(pal_params_count(params) == (how == PAL_POOL_ATTENTION ? 3 : 2));
    trial_draw(params, 2);
    const pal_tensor x = pal_normal(tape, PAL_F64, PAL_SHAPE(B, T, WIDTH), 0, 1, &rng);
    const pal_run_opts run = {.training = true}; /* without dropout this changes nothing */
    const pal_tensor y = pal_task_head_forward(&head, x, run);
    const pal_tensor z = pal_add(pal_matmul(pal_pool(x, head.query, how, PAL_NONE),
                                            pal_transpose(pal_on(tape, head.weight), 0, 1)),
                                 pal_params_find(params, "head.bias"));
    ck_assert(distance(y, z) <= 1e-13);
    const bool all = how == PAL_POOL_NONE;
    const pal_tensor c = pal_from(tape, PAL_I64, all ? PAL_SHAPE(B, T) : PAL_SHAPE(B), classes);
    double sum = 0, squares = 0, counted = 0;
    for (int64_t i = 0; i < pal_count(y) / 3; i++) {
        const double *row = pal_f64(y) + i * 3;
        for (int j = 0; j < 3; j++) squares += row[j] * row[j] / (double)pal_count(y);
        if (classes[i] == PAL_IGNORE) continue;
        sum += log(exp(row[0]) + exp(row[1]) + exp(row[2])) - row[classes[i]], counted++;
    }
    const pal_tensor loss = pal_task_head_classify(&head, x, c, run);
    ck_assert(fabs(pal_item(loss) - sum / counted) <= 1e-13);
    const pal_tensor zeros = pal_zeros(tape, PAL_F64, pal_shape_of(y));
    ck_assert(fabs(pal_item(pal_task_head_regress(&head, x, zeros, run)) - squares) <= 1e-13);
    ck_assert(pal_backward(loss) == PAL_OK);
    for (int i = 0; i < pal_params_count(params); i++)
        ck_assert(pal_f64(pal_grad(pal_params_at(params, i)))[0] != 0);
    pal_tape_free(tape);
    pal_params_free(params);
}
END_TEST

START_TEST(wrong_heads)
{
    static const int64_t gap[] = {0, 2, 2, 3};
    pal_error heard = {PAL_OK, ""};
    pal_set_error_handler(hear, &heard);
    const pal_comm two = {.size = 2};
    for (int i = 0; i < 6; i++) {
        pal_params *params = pal_params_new();
        pal_tape *tape = pal_tape_new();
        const pal_task_head head =
            pal_task_head_new(params, "h", WIDTH, 2, (pal_task_head_opts){0}, PAL_F64, NULL);
        const pal_tensor x = pal_zeros(tape, PAL_F64, PAL_SHAPE(1, 3, WIDTH));
        const pal_run_opts run = {.offsets = i == 0 ? pal_from(tape, PAL_I64, PAL_SHAPE(4), gap)
                                                    : PAL_NONE,
                                  .parts = i == 3 ? &two : NULL};
        static const char *const words[] = {"pool: sequence 1 is empty",
                                            "pool: sequences of no token have nothing",
                                            "pool: argument x is f64[3,8]",
                                            "head: takes whole sequences",
                                            "targets is f64[3] and should be f64[1,2]",
                                            "0 outputs or dropout 0 is out of range"};
        if (i == 4)
            pal_task_head_regress(&head, x, pal_zeros(tape, PAL_F64, PAL_SHAPE(3)), run);
        else if (i == 5)
            pal_task_head_new(params, "g", WIDTH, 0, (pal_task_head_opts){0}, PAL_F64, NULL);
        else
            pal_task_head_forward(&head,
                                  i == 1   ? pal_slice(x, 1, 0, 0, 1)
                                  : i == 2 ? pal_select(x, 0, 0)
                                           : x,
                                  run);
        ck_assert_msg(strstr(heard.message, words[i]) != NULL, "%d: %s", i, heard.message);
        pal_tape_free(tape);
        pal_params_free(params);
    }
}
END_TEST

/* A trunk and a head learn which of two tokens a sequence has more of. */
START_TEST(learns)
{
    pal_params *params = pal_params_new();
    pal_tape *tape = pal_tape_new();
    pal_rng rng = pal_rng_new(1, 0);
    const pal_trunk_opts o = {.width = 16, .vocab = 2, .mixers = "gdn:num_heads=1:head_dim=8"};
    pal_trunk *trunk = pal_trunk_new(params, "model", o, &rng);
    const pal_task_head head = pal_task_head_new(
        params, "head", 16, 2, (pal_task_head_opts){.pooling = PAL_POOL_ATTENTION}, PAL_F32, &rng);
    pal_optim *adamw = pal_adamw_new(params, (pal_adamw_opts){0});
    double loss = 0;
    for (int step = 0; step < 60; step++) {
        int64_t in[16 * 9], class[16];
        for (int b = 0; b < 16; b++) {
            class[b] = 0;
            for (int t = 0; t < 9; t++) class[b] += in[b * 9 + t] = pal_rng_below(&rng, 2);
            class[b] = class[b] > 4;
        }
        pal_tape_reset(tape);
        const pal_tensor x = pal_trunk_forward(trunk, pal_from(tape, PAL_I64, PAL_SHAPE(16, 9), in),
                                               NULL, (pal_run_opts){.training = true});
        const pal_tensor classes = pal_from(tape, PAL_I64, PAL_SHAPE(16), class);
        const pal_tensor mean = pal_task_head_classify(&head, x, classes, (pal_run_opts){0});
        loss = pal_item(mean);
        pal_params_zero_grad(params);
        ck_assert(pal_backward(mean) == PAL_OK);
        ck_assert(pal_optim_step(adamw, 0.02) == PAL_OK);
    }
    pal_optim_free(adamw);
    ck_assert_msg(loss < 0.35, "the loss is %g after 60 steps", loss);
    pal_tape_free(tape);
    pal_params_free(params);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("trunk");
    TCase *tc = tcase_create("trunk");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, tokens_or_hidden_states);
    tcase_add_test(tc, blocks_in_order);
    tcase_add_test(tc, gradient_of_hidden_states);
    tcase_add_test(tc, from_call_to_call);
    tcase_add_loop_test(tc, trained_from_call_to_call, 0, STATEFUL);
    tcase_add_test(tc, hooked);
    tcase_add_test(tc, wrong_inputs);
    tcase_add_loop_test(tc, pooled_states, 0, 6);
    tcase_add_loop_test(tc, heads, 0, 4);
    tcase_add_test(tc, wrong_heads);
    tcase_add_test(tc, learns);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
