/*
 * test_hooks.c - a hook sees the tensors of a mixer, under the names and in the order of
 * pal_hook_fn. What it puts in their place is used.
 */
#include "tests/support/check.h"
#include "tests/support/rule_compare.h"
#include "tests/support/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double CLOSE = 1e-12;

enum { B = 2, T = 21, WIDTH = 12, VOCAB = 11 };

/* ---- Hooks ---- */

/* Keeps a line "layer name dtype[shape]" for every tensor. */
typedef struct notes {
    size_t n;
    char text[4096];
} notes;

static bool look(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    notes *s = user;
    char what[128];
    pal_array a = pal_value(*t);
    s->n += (size_t)snprintf(s->text + s->n, sizeof s->text - s->n, "%lld %s %s\n",
                             (long long)layer, name, pal_array_describe(&a, what, sizeof what));
    ck_assert(s->n < sizeof s->text);
    return strcmp(name, "x") == 0; /* matters only for x */
}

/* What the hook does to the tensor `name` in one layer (-1: in each). */
typedef enum deed { MEAN, ZERO, SKIP, PASS, NARROW, NOTHING, OTHER_DTYPE } deed;
typedef struct order {
    const char *name;
    deed deed;
    int64_t layer;
    int met;
} order;

static bool act(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    order *o = user;
    if (strcmp(name, o->name) != 0 || (o->layer >= 0 && o->layer != layer)) return true;
    o->met++;
    switch (o->deed) {
    case MEAN:
        *t = pal_expand(pal_mean(*t, -1, true), pal_shape_of(*t));
        break;
    case ZERO:
        *t = pal_affine(*t, 0, 0);
        break;
    case SKIP:
        *t = PAL_NONE;
        return false;
    case PASS:
        return false;
    case NARROW:
        *t = pal_slice(*t, -1, 0, 1, 1);
        break;
    case NOTHING:
        *t = PAL_NONE;
        break;
    case OTHER_DTYPE:
        *t = pal_cast(*t, PAL_F32);
        break;
    }
    return true;
}

/* ---- A mixer ---- */

typedef struct call {
    const pal_mixer *mixer;
    pal_run_opts run;
} call;

static int forward(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const call *c = context;
    pal_mixer_state state = {.seen = 0};
    (void)tape;
    out[0] = pal_mixer_forward(c->mixer, x, &state, c->run);
    out[1] = pal_mixer_state_get(&state, "state");
    return pal_is_none(pal_mixer_state_get(&state, "state")) ? 1 : 2;
}

static trial_result run_mixer(const char *text, pal_run_opts run)
{
    trial_layer l = trial_layer_new(text, WIDTH, PAL_F64, 3);
    pal_array x = trial_input(9, PAL_SHAPE(B, T, WIDTH));
    call c = {l.mixer, run};
    trial t = {forward, &c, l.params, PAL_F64, &x};
    trial_result r = trial_run(&t);
    for (int i = 0; i < r.count; i++) r.name[i] = "a parameter"; /* its name will be freed */
    pal_params_free(l.params);
    free(x.data);
    return r;
}

/* ---- Names, order and shapes ---- */

static const struct {
    const char *text, *seen;
} mixers[] = {
    {"gdn2:num_heads=2:head_dim=4:num_v_heads=6:expand_v=0.5",
     "7 x f64[2,21,12]\n7 b f64[2,21,2,4]\n7 w f64[2,21,6,2]\n"
     "7 q f64[2,21,2,4]\n7 k f64[2,21,2,4]\n7 v f64[2,21,6,2]\n7 g f64[2,21,2,4]\n"
     "7 o f64[2,21,6,2]\n7 state f64[2,6,4,2]\n7 gate f64[2,21,6,2]\n7 heads f64[2,21,6,2]\n7 y "
     "f64[2,21,12]\n"},
    {"kda:num_heads=2:head_dim=4:num_v_heads=6:expand_v=0.5",
     "7 x f64[2,21,12]\n7 beta f64[2,21,6]\n"
     "7 q f64[2,21,2,4]\n7 k f64[2,21,2,4]\n7 v f64[2,21,6,2]\n7 g f64[2,21,6,4]\n"
     "7 o f64[2,21,6,2]\n7 state f64[2,6,4,2]\n7 gate f64[2,21,6,2]\n7 heads f64[2,21,6,2]\n7 y "
     "f64[2,21,12]\n"},
    {"gdn:num_heads=2:head_dim=4:num_v_heads=6:expand_v=0.5",
     "7 x f64[2,21,12]\n7 beta f64[2,21,6]\n"
     "7 q f64[2,21,2,4]\n7 k f64[2,21,2,4]\n7 v f64[2,21,6,2]\n7 g f64[2,21,6]\n"
     "7 o f64[2,21,6,2]\n7 state f64[2,6,4,2]\n7 gate f64[2,21,6,2]\n7 heads f64[2,21,6,2]\n7 y "
     "f64[2,21,12]\n"},
    {"gdn:num_heads=1:head_dim=4:use_gate=false",
     "7 x f64[2,21,12]\n7 beta f64[2,21,1]\n"
     "7 q f64[2,21,1,4]\n7 k f64[2,21,1,4]\n7 v f64[2,21,1,8]\n7 g f64[2,21,1]\n"
     "7 o f64[2,21,1,8]\n7 state f64[2,1,4,8]\n7 heads f64[2,21,1,8]\n7 y f64[2,21,12]\n"},
    {"mamba2:head_dim=6:state_size=5:n_groups=2",
     "7 x f64[2,21,12]\n7 dt f64[2,21,4]\n"
     "7 q f64[2,21,2,5]\n7 k f64[2,21,2,5]\n7 v f64[2,21,4,6]\n7 g f64[2,21,4]\n"
     "7 o f64[2,21,4,6]\n7 state f64[2,4,5,6]\n7 gate f64[2,21,24]\n7 heads f64[2,21,4,6]\n7 y "
     "f64[2,21,12]\n"},
    {"mamba3:head_dim=6:state_size=5:n_groups=2",
     "7 x f64[2,21,12]\n7 dt f64[2,21,4]\n7 lam f64[2,21,4]\n7 om f64[2,21,1]\n"
     "7 q f64[2,21,1,2,5]\n7 k f64[2,21,1,2,5]\n7 v f64[2,21,4,6]\n7 g f64[2,21,4]\n"
     "7 o f64[2,21,4,1,6]\n7 state f64[2,4,5,6]\n7 gate f64[2,21,24]\n7 heads f64[2,21,4,6]\n7 y "
     "f64[2,21,12]\n"},
    {"attn:num_heads=4:head_dim=6:num_kv_heads=2",
     "7 x f64[2,21,12]\n7 q f64[2,21,4,6]\n7 k f64[2,21,2,6]\n7 v f64[2,21,2,6]\n"
     "7 o f64[2,21,4,6]\n7 heads f64[2,21,4,6]\n7 y f64[2,21,12]\n"},
    {"attn:num_heads=2:num_kv_heads=1:head_dim=6:output_gate=sigmoid:rope=none",
     "7 x f64[2,21,12]\n7 q f64[2,21,2,6]\n7 k f64[2,21,1,6]\n7 v f64[2,21,1,6]\n"
     "7 o f64[2,21,2,6]\n7 gate f64[2,21,2,6]\n7 heads f64[2,21,2,6]\n7 y f64[2,21,12]\n"},
    {"shortconv", "7 x f64[2,21,12]\n7 v f64[2,21,12]\n7 o f64[2,21,12]\n7 gate f64[2,21,12]\n"
                  "7 y f64[2,21,12]\n"},
    {"none", "7 x f64[2,21,12]\n7 y f64[2,21,12]\n"},
    {"swa:num_heads=2:window_size=3",
     "7 x f64[2,21,12]\n7 q f64[2,21,2,6]\n7 k f64[2,21,2,6]\n7 v f64[2,21,2,6]\n"
     "7 o f64[2,21,2,6]\n7 heads f64[2,21,2,6]\n7 y f64[2,21,12]\n"},
};
enum { MIXERS = sizeof mixers / sizeof *mixers };

/* A hook that only looks changes neither outputs nor gradients. */
START_TEST(looking)
{
    notes seen = {.n = 0};
    trial_result with =
        run_mixer(mixers[_i].text, (pal_run_opts){.hook = look, .user = &seen, .layer = 7});
    trial_result without = run_mixer(mixers[_i].text, (pal_run_opts){.layer = 7});
    ck_assert_str_eq(seen.text, mixers[_i].seen);
    trial_agree(&with, &without, CLOSE, CLOSE, mixers[_i].text);
    trial_free(&with), trial_free(&without);
}
END_TEST

/* ---- Replacing ---- */

START_TEST(mean_gate_is_the_option)
{
    static const char *const name[] = {"b", "w"}, *const option[] = {":erase=scalar",
                                                                     ":write=scalar"};
    char text[128];
    order o = {name[_i], MEAN, -1, 0};
    snprintf(text, sizeof text, "%s%s", mixers[0].text, option[_i]);
    trial_result hooked = run_mixer(mixers[0].text, (pal_run_opts){.hook = act, .user = &o});
    trial_result built = run_mixer(text, (pal_run_opts){0});
    trial_result plain = run_mixer(mixers[0].text, (pal_run_opts){0});
    trial_agree(&hooked, &built, CLOSE, CLOSE, text);
    ck_assert(trial_distance(&hooked, &plain, 0, 1, NULL) > 1e-3);
    ck_assert_int_eq(o.met, 1);
    trial_free(&hooked), trial_free(&built), trial_free(&plain);
}
END_TEST

/* Nothing is written to the state if the write gate is 0. */
START_TEST(closed_gate_keeps_the_state_empty)
{
    static const char *const gate[] = {"w", "beta", "beta", "beta", "dt"};
    order o = {gate[_i], ZERO, -1, 0};
    trial_result r = run_mixer(mixers[_i].text, (pal_run_opts){.hook = act, .user = &o});
    trial_result plain = run_mixer(mixers[_i].text, (pal_run_opts){0});
    double most = 0, usual = 0;
    for (int64_t i = 0; i < pal_array_count(&r.value[1]); i++) {
        most += ((double *)r.value[1].data)[i] != 0;
        usual += ((double *)plain.value[1].data)[i] != 0;
    }
    ck_assert_int_eq(r.outputs, 2);
    ck_assert_msg(most == 0 && usual > 0, "%s: %g entries of the state are not 0", mixers[_i].text,
                  most);
    trial_free(&r), trial_free(&plain);
}
END_TEST

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

START_TEST(wrong_replacements)
{
    static const struct {
        const char *name;
        deed deed;
        const char *words;
    } wrong[] = {
        {"x", NARROW, "hook: x of layer 3 was replaced by f64[2,21,1]"},
        {"x", NOTHING, "hook: x of layer 3 was replaced by nothing"},
        {"b", NARROW, "hook: b of layer 3 was replaced by f64[2,21,2,1]"},
        {"q", OTHER_DTYPE, "hook: q of layer 3 was replaced by f32[2,21,2,4]"},
        {"g", NOTHING, "hook: g of layer 3 was replaced by nothing"},
        {"state", NARROW, "hook: state of layer 3 was replaced by f64[2,6,4,1]"},
        {"y", NARROW, "hook: y of layer 3 was replaced by f64[2,21,1]"},
    };
    pal_error heard = {PAL_OK, ""};
    order o = {wrong[_i].name, wrong[_i].deed, -1, 0};
    trial_layer l = trial_layer_new(mixers[0].text, WIDTH, PAL_F64, 3);
    pal_tape *tape = pal_tape_new();
    pal_set_error_handler(hear, &heard);
    pal_tensor y = pal_mixer_forward(l.mixer, pal_zeros(tape, PAL_F64, PAL_SHAPE(B, T, WIDTH)),
                                     NULL, (pal_run_opts){.hook = act, .user = &o, .layer = 3});
    ck_assert_str_eq(heard.message, wrong[_i].words);
    ck_assert(heard.status == PAL_ESHAPE && pal_tape_status(tape) == PAL_ESHAPE);
    ck_assert_int_eq(o.met, 1); /* the hook is not called after an error */
    ck_assert_int_eq(pal_count(y), 0);
    pal_tape_free(tape);
    pal_params_free(l.params);
}
END_TEST

/* ---- A model ---- */

static const char list[] = "gdn2:num_heads=2,swa:window_size=4,mamba2:head_dim=6:state_size=8,attn";
enum { LAYERS = 4 };

typedef struct model {
    pal_params *params;
    pal_lm *lm;
    pal_run_opts run;
    int64_t tokens[B * T];
} model;

static model make_model(bool recompute, pal_run_opts run)
{
    model m = {.params = pal_params_new(), .run = run};
    pal_rng rng = pal_rng_new(2, 0);
    pal_lm_opts opts = {.vocab = VOCAB,
                        .width = WIDTH,
                        .mixers = list,
                        .mlp_width = 16,
                        .dtype = PAL_F64,
                        .recompute = recompute};
    m.lm = pal_lm_new(m.params, opts, &rng);
    ck_assert(m.lm != NULL);
    trial_draw(m.params, 7);
    for (int i = 0; i < B * T; i++) m.tokens[i] = pal_rng_below(&rng, VOCAB);
    return m;
}

static int logits(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const model *m = context;
    (void)x;
    out[0] = pal_lm_logits(m->lm, pal_from(tape, PAL_I64, PAL_SHAPE(B, T), m->tokens), m->run);
    return 1;
}

static pal_tensor parameter(const model *m, const char *name)
{
    pal_tensor t = pal_params_find(m->params, name);
    ck_assert_msg(!pal_is_none(t), "no %s", name);
    return t;
}

static pal_tensor of_layer(const model *m, int layer, const char *suffix)
{
    char name[128];
    snprintf(name, sizeof name, "model.layers.%d.%s", layer, suffix);
    return parameter(m, name);
}

/* The model composed by hand, without the mixer of layer `skip`. With `pass` the identity is in its
 * place. */
typedef struct written {
    const model *m;
    int skip;
    bool pass;
} written;

static int logits_without(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const written *w = context;
    const model *m = w->m;
    pal_tensor tokens = pal_from(tape, PAL_I64, PAL_SHAPE(B, T), m->tokens);
    x = pal_embedding(parameter(m, "model.embeddings.weight"), tokens);
    for (int i = 0; i < LAYERS; i++) {
        pal_mlp mlp = {.gate_proj = of_layer(m, i, "mlp.gate_proj.weight"),
                       .up_proj = of_layer(m, i, "mlp.up_proj.weight"),
                       .down_proj = of_layer(m, i, "mlp.down_proj.weight")};
        pal_tensor y = pal_rms_norm(x, of_layer(m, i, "attn_norm.weight"), 1e-5);
        if (i != w->skip)
            x = pal_add(x, pal_mixer_forward(pal_lm_mixer(m->lm, i), y, NULL, (pal_run_opts){0}));
        else if (w->pass)
            x = pal_add(x, y);
        y = pal_rms_norm(x, of_layer(m, i, "mlp_norm.weight"), 1e-5);
        x = pal_add(x, pal_mlp_forward(&mlp, y));
    }
    out[0] = pal_linear(pal_rms_norm(x, parameter(m, "model.norm.weight"), 1e-5),
                        parameter(m, "lm_head.weight"), PAL_NONE);
    return 1;
}

START_TEST(skipping)
{
    for (int pass = 0; pass < 2; pass++) {
        order o = {"x", pass ? PASS : SKIP, _i, 0};
        model m = make_model(false, (pal_run_opts){.hook = act, .user = &o});
        written w = {&m, _i, pass};
        trial t = {.fn = logits, .context = &m, .params = m.params, .dtype = PAL_F64};
        trial_result hooked = trial_run(&t);
        t.fn = logits_without, t.context = &w;
        trial_result out = trial_run(&t);
        trial_agree(&hooked, &out, CLOSE, CLOSE, "a mixer skipped");
        w.skip = -1;
        trial_result whole = trial_run(&t);
        ck_assert(trial_distance(&hooked, &whole, 0, 1, NULL) > 1e-3);
        ck_assert_int_eq(o.met, 1);
        trial_free(&hooked), trial_free(&out), trial_free(&whole);
        pal_params_free(m.params);
    }
}
END_TEST

/* A hook that replaces gives the same gradients with and without recomputation. It is called twice
 * with it. */
START_TEST(recomputation)
{
    trial_result r[2];
    model m[2];
    for (int i = 0; i < 2; i++) {
        order o = {"b", MEAN, 0, 0};
        m[i] = make_model(i, (pal_run_opts){.hook = act, .user = &o});
        trial t = {.fn = logits, .context = &m[i], .params = m[i].params, .dtype = PAL_F64};
        r[i] = trial_run(&t);
        ck_assert_int_eq(o.met, i + 1);
    }
    trial_agree(&r[1], &r[0], 0, CLOSE, "recomputed under a hook");
    for (int i = 0; i < 2; i++) {
        trial_free(&r[i]);
        pal_params_free(m[i].params);
    }
}
END_TEST

/* Decoding token by token after a prompt gives the logits of the whole sequence under the same
 * hook. */
START_TEST(decoding)
{
    static const order orders[] = {{"b", MEAN, 0, 0}, {"dt", ZERO, 2, 0}, {"x", SKIP, 0, 0},
                                   {"x", SKIP, 1, 0}, {"x", PASS, 2, 0},  {"v", ZERO, 3, 0}};
    order o = orders[_i];
    model m = make_model(false, (pal_run_opts){.hook = act, .user = &o});
    trial t = {.fn = logits, .context = &m, .params = m.params, .dtype = PAL_F64};
    trial_result whole = trial_run(&t);
    pal_tape *tape = pal_tape_new();
    pal_lm_state *state = pal_lm_state_new(m.lm);
    pal_set_grad(tape, false);
    for (int at = 0, next = 5; at < T; at = next++) {
        int64_t part[B * T];
        const int n = next - at;
        for (int i = 0; i < B * n; i++) part[i] = m.tokens[i / n * T + at + i % n];
        pal_tensor y =
            pal_lm_step(m.lm, state, pal_from(tape, PAL_I64, PAL_SHAPE(B, n), part), m.run);
        for (int b = 0; b < B; b++) {
            const double *want = (double *)whole.value[0].data + (b * T + next - 1) * VOCAB;
            double error = run_error(VOCAB, pal_f64(y) + b * VOCAB, want);
            ck_assert_msg(error <= CLOSE, "%s: after %d tokens logits differ by %g", o.name, next,
                          error);
        }
        pal_tape_reset(tape);
    }
    ck_assert_int_eq(o.met, 1 + 1 + T - 5);
    pal_lm_state_free(state);
    pal_tape_free(tape);
    trial_free(&whole);
    pal_params_free(m.params);
}
END_TEST

/* The state of a layer does not change in a step in which it is skipped. */
START_TEST(skipping_a_step_keeps_the_state)
{
    static const char gdn2[] = "gdn2:num_heads=2";
    order o = {"x", SKIP, -1, 0};
    trial_layer l = trial_layer_new(gdn2, WIDTH, PAL_F64, 3);
    pal_array data = trial_input(9, PAL_SHAPE(B, T, WIDTH));
    pal_tape *tape = pal_tape_new();
    pal_tensor x = pal_from_array(tape, &data);
    pal_mixer_state state = {.seen = 0};
    pal_mixer_forward(l.mixer, x, &state, (pal_run_opts){0});
    pal_mixer_state before = state;
    pal_tensor y = pal_mixer_forward(l.mixer, x, &state, (pal_run_opts){.hook = act, .user = &o});
    ck_assert(pal_is_none(y));
    ck_assert(memcmp(&before, &state, sizeof state) == 0);
    pal_tape_free(tape);
    pal_params_free(l.params);
    free(data.data);
}
END_TEST

/* ---- Gradients of gates ---- */

enum { GATES = 4 };
static const char *const gate_name[GATES] = {"b", "w", "g", "gate"};
typedef struct gates {
    pal_tape *tape;
    bool probes; /* a zero is added to each gate, and its gradient is looked at */
    pal_tensor seen[GATES];
} gates;

static bool mark(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    gates *g = user;
    (void)layer;
    for (int i = 0; i < GATES; i++) {
        if (strcmp(name, gate_name[i]) != 0) continue;
        if (!g->probes) {
            g->seen[i] = pal_want_grad(*t);
            continue;
        }
        g->seen[i] = pal_want_grad(pal_zeros(g->tape, PAL_F64, pal_shape_of(*t)));
        *t = pal_add(*t, g->seen[i]);
    }
    return true;
}

/* The gradient of a gate that a hook marks is that of a zero that is added to it. */
START_TEST(gradients_of_gates)
{
    double sum[2][GATES] = {{0}}, first[2][GATES];
    pal_array data = trial_input(9, PAL_SHAPE(B, T, WIDTH));
    for (int probes = 0; probes < 2; probes++) {
        trial_layer l = trial_layer_new("gdn2:num_heads=2:head_dim=4", WIDTH, PAL_F64, 3);
        pal_tape *tape = pal_tape_new();
        gates g = {.tape = tape, .probes = probes};
        pal_tensor y = pal_mixer_forward(l.mixer, pal_from_array(tape, &data), NULL,
                                         (pal_run_opts){.hook = mark, .user = &g});
        ck_assert(pal_is_none(pal_grad(g.seen[0]))); /* before a backward pass */
        ck_assert_int_eq(pal_backward(pal_sum(pal_square(y), PAL_ALL, false)), PAL_OK);
        for (int i = 0; i < GATES; i++) {
            pal_array d = pal_value(pal_grad(g.seen[i]));
            ck_assert(pal_shape_equal(pal_array_shape(&d), pal_shape_of(g.seen[i])));
            first[probes][i] = pal_array_get(&d, (int64_t[4]){1, 2, 1, 0});
            for (int64_t j = 0; j < pal_array_count(&d); j++)
                sum[probes][i] += fabs(((const double *)d.data)[j]);
        }
        pal_tape_free(tape);
        pal_params_free(l.params);
    }
    for (int i = 0; i < GATES; i++) {
        ck_assert_msg(sum[0][i] > 1e-6, "%s has no gradient", gate_name[i]);
        ck_assert_msg(fabs(sum[0][i] - sum[1][i]) <= CLOSE * sum[0][i], "%s: %g and %g",
                      gate_name[i], sum[0][i], sum[1][i]);
        ck_assert(fabs(first[0][i] - first[1][i]) <= CLOSE * sum[0][i]);
    }
    free(data.data);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, looking, 0, MIXERS);
    tcase_add_loop_test(tc, mean_gate_is_the_option, 0, 2);
    tcase_add_loop_test(tc, closed_gate_keeps_the_state_empty, 0, 5);
    tcase_add_loop_test(tc, wrong_replacements, 0, 7);
    tcase_add_loop_test(tc, skipping, 0, LAYERS);
    tcase_add_test(tc, recomputation);
    tcase_add_loop_test(tc, decoding, 0, 6);
    tcase_add_test(tc, skipping_a_step_keeps_the_state);
    tcase_add_test(tc, gradients_of_gates);
}

int main(void) { return rule_test_main("hooks", add); }
