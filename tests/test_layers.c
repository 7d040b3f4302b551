/*
 * test_layers.c - the mixers: gradients of every parameter, sizes and names, options as text.
 */
#include "tests/support/check.h"
#include "tests/support/inputs.h"
#include "tests/support/isa.h"
#include "tests/support/layer_case.h"

#include "tensor/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PAL_LAYER(name, test) extern const pal_layer_case pal_layer_case_##test;
#include "layers/layers.def"

static const pal_layer_case *const cases[] = {
#define PAL_LAYER(name, test) &pal_layer_case_##test,
#include "layers/layers.def"
};
enum { CASES = sizeof cases / sizeof *cases };

static int variants(void)
{
    int n = 0;
    for (int i = 0; i < CASES; i++) n += cases[i]->count;
    return n;
}

static const char *variant(int i)
{
    for (int c = 0; c < CASES; i -= cases[c++]->count)
        if (i < cases[c]->count) return cases[c]->texts[i];
    ck_abort_msg("there is no such variant");
    return NULL;
}

/* ---- One layer ---- */

enum { B = 2, T = 6, WIDTH = 12 };

typedef struct layer {
    pal_dtype dtype;
    pal_params *params;
    pal_mixer *mixer;
    double *x; /* [B,T,WIDTH] */
} layer;

/* Draws the same parameters in either type. The values are doubles that f32 holds exactly. */
static layer make(const char *text, pal_dtype dtype)
{
    layer l = {.dtype = dtype, .params = pal_params_new()};
    pal_rng rng = pal_rng_new(5, 0);
    l.mixer = pal_mixer_new(l.params, "", WIDTH, dtype, text, &rng);
    ck_assert(l.mixer != NULL);
    for (int i = 0; i < pal_params_count(l.params); i++) {
        pal_array value = pal_params_array(l.params, i);
        int64_t n = pal_array_count(&value);
        double *draws = malloc((size_t)n * sizeof *draws);
        pal_draw_cotangent(40 + (uint64_t)i, n, draws);
        for (int64_t j = 0; j < n; j++) draws[j] = (float)(0.5 * tanh(draws[j]) + 0.1);
        pal_array source = pal_array_of(PAL_F64, pal_array_shape(&value), draws);
        pal_assign(pal_params_at(l.params, i), &source);
        free(draws);
    }
    l.x = malloc(B * T * WIDTH * sizeof *l.x);
    pal_draw_cotangent(3, B * T * WIDTH, l.x);
    for (int i = 0; i < B * T * WIDTH; i++) l.x[i] = (float)tanh(l.x[i]);
    return l;
}

static void drop(layer *l)
{
    pal_params_free(l->params);
    free(l->x);
}

static pal_tensor leaf(pal_tape *tape, pal_dtype dtype, pal_shape shape, const double *x)
{
    pal_array a = pal_array_of(PAL_F64, shape, (void *)(uintptr_t)x);
    return pal_input_leaf(tape, &a, dtype, false, true);
}

/* Puts what a mixer gives into `out`: y and the parts of its state. Returns their number. */
enum { OUTPUTS = 1 + PAL_MIXER_PARTS };
static int outputs_of(pal_tensor y, const pal_mixer_state *state, pal_tensor out[OUTPUTS])
{
    int n = 0;
    out[n++] = y;
    for (int i = 0; i < PAL_MIXER_PARTS && state->part[i].name; i++)
        out[n++] = state->part[i].tensor;
    ck_assert_int_ge(n, 2);
    return n;
}

/* The loss is a weighted sum of everything that the mixer gives. */
static pal_tensor loss_of(pal_tape *tape, const layer *l, pal_tensor x, pal_tensor *y)
{
    pal_mixer_state state = {.seen = 0};
    pal_tensor out[OUTPUTS], sum = pal_scalar(tape, l->dtype, 0);
    *y = pal_mixer_forward(l->mixer, x, &state, (pal_run_opts){0});
    int n = outputs_of(*y, &state, out);
    for (int i = 0; i < n; i++) {
        double *w = malloc((size_t)pal_count(out[i]) * sizeof *w);
        pal_draw_cotangent(60 + (uint64_t)i, pal_count(out[i]), w);
        pal_tensor c = pal_detach(leaf(tape, l->dtype, pal_shape_of(out[i]), w));
        sum = pal_add(sum, pal_sum(pal_mul(c, out[i]), PAL_ALL, false));
        free(w);
    }
    return sum;
}

static double loss_value(const layer *l)
{
    pal_tape *tape = pal_tape_new();
    pal_set_grad(tape, false);
    pal_tensor y;
    double value = pal_item(
        loss_of(tape, l, pal_detach(leaf(tape, l->dtype, PAL_SHAPE(B, T, WIDTH), l->x)), &y));
    pal_tape_free(tape);
    return value;
}

/* The derivative of the loss with respect to the n doubles at p along direction u, by a difference
 * of four points. */
static double difference(const layer *l, double *p, const double *u, int64_t n)
{
    static const double at[] = {-2, -1, 1, 2}, weight[] = {1, -8, 8, -1};
    double h = 1e-4, sum = 0, *keep = malloc((size_t)n * sizeof *keep);
    memcpy(keep, p, (size_t)n * sizeof *p);
    for (int i = 0; i < 4; i++) {
        for (int64_t j = 0; j < n; j++) p[j] = keep[j] + h * at[i] * u[j];
        sum += weight[i] * loss_value(l);
    }
    memcpy(p, keep, (size_t)n * sizeof *p);
    free(keep);
    return sum / (12 * h);
}

static void check_direction(const char *text, const char *name, const layer *l, double *p,
                            const double *gradient, int64_t n)
{
    double *u = malloc((size_t)n * sizeof *u), norm = 0, analytic = 0, square = 0;
    pal_draw_cotangent(90, n, u);
    for (int64_t i = 0; i < n; i++) norm += u[i] * u[i];
    for (int64_t i = 0; i < n; i++) {
        u[i] /= sqrt(norm);
        analytic += u[i] * gradient[i];
        square += gradient[i] * gradient[i];
    }
    double numeric = difference(l, p, u, n);
    double scale = fmax(fmax(fabs(numeric), fabs(analytic)), sqrt(square / (double)n));
    ck_assert_msg(fabs(numeric - analytic) <= 1e-7 * scale, "%s: d %s is %.12g, not %.12g", text,
                  name, analytic, numeric);
    free(u);
}

START_TEST(gradients)
{
    const char *text = variant(_i);
    layer l = make(text, PAL_F64);
    pal_tape *tape = pal_tape_new();
    pal_tensor x = leaf(tape, PAL_F64, PAL_SHAPE(B, T, WIDTH), l.x), y;
    ck_assert(pal_backward(loss_of(tape, &l, x, &y)) == PAL_OK);
    check_direction(text, "x", &l, l.x, pal_f64(pal_grad(x)), B * T * WIDTH);
    for (int i = 0; i < pal_params_count(l.params); i++) {
        pal_array value = pal_params_array(l.params, i);
        check_direction(text, pal_params_name(l.params, i), &l, value.data,
                        pal_f64(pal_grad(pal_params_at(l.params, i))), pal_array_count(&value));
    }
    pal_tape_free(tape);
    drop(&l);
}
END_TEST

/* Returns the output and the gradients of x and of all parameters as doubles, one after another. */
static double *everything(const char *text, pal_dtype dtype, int threads, int64_t *n)
{
    pal_set_threads(threads);
    layer l = make(text, dtype);
    pal_tape *tape = pal_tape_new();
    pal_tensor x = leaf(tape, dtype, PAL_SHAPE(B, T, WIDTH), l.x), y;
    ck_assert(pal_backward(loss_of(tape, &l, x, &y)) == PAL_OK);
    *n = 0;
    double *all = malloc((size_t)(2 * B * T * WIDTH + pal_params_size(l.params)) * sizeof *all);
    for (int i = -2; i < pal_params_count(l.params); i++) {
        pal_tensor t = i == -2 ? y : pal_grad(i == -1 ? x : pal_params_at(l.params, i));
        pal_array from = pal_value(t);
        pal_array to = pal_array_of(PAL_F64, pal_array_shape(&from), all + *n);
        ck_assert(pal_array_copy(&to, &from, NULL) == PAL_OK);
        *n += pal_array_count(&to);
    }
    pal_tape_free(tape);
    drop(&l);
    return all;
}

START_TEST(types_and_threads)
{
    const char *text = variant(_i);
    int64_t n;
    pal_team_from(1 << 8); /* each test is a process of its own */
    double *f64 = everything(text, PAL_F64, 1, &n), *f32 = everything(text, PAL_F32, 1, &n);
    double error = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        error += (f32[i] - f64[i]) * (f32[i] - f64[i]);
        norm += f64[i] * f64[i];
    }
    ck_assert_msg(sqrt(error) <= 1e-4 * sqrt(norm), "%s: f32 is off by %g", text,
                  sqrt(error / norm));
    for (int i = 0; i < 3; i++) {
        static const int threads[] = {2, 3, 16};
        if (!test_all() && i != _i % 3) continue;
        double *other = everything(text, PAL_F32, threads[i], &n);
        ck_assert_msg(memcmp(other, f32, (size_t)n * sizeof *f32) == 0,
                      "%s: other bits with %d threads", text, threads[i]);
        free(other);
    }
    free(f64);
    free(f32);
}
END_TEST

START_TEST(pieces_carry_their_state)
{
    static const int64_t cut[] = {0, 1, 2, 2, 6};
    const char *text = variant(_i);
    layer l = make(text, PAL_F64);
    pal_tape *tape = pal_tape_new();
    pal_tensor x = leaf(tape, PAL_F64, PAL_SHAPE(B, T, WIDTH), l.x), part[4];
    pal_tensor all[OUTPUTS], carried[OUTPUTS];
    pal_mixer_state whole = {.seen = 0}, state = {.seen = 0};
    pal_tensor y = pal_mixer_forward(l.mixer, x, &whole, (pal_run_opts){0});
    for (int i = 0; i < 4; i++)
        part[i] = pal_mixer_forward(l.mixer, pal_slice(x, 1, cut[i], cut[i + 1], 1), &state,
                                    (pal_run_opts){0});
    int n = outputs_of(y, &whole, all);
    ck_assert_int_eq(outputs_of(pal_concat(4, part, 1), &state, carried), n);
    ck_assert_int_eq(whole.seen, state.seen);
    for (int i = 0; i < n; i++) {
        ck_assert(pal_shape_equal(pal_shape_of(all[i]), pal_shape_of(carried[i])));
        if (pal_count(all[i]) == 0) continue; /* a window of one token keeps no keys */
        pal_tensor off = pal_max(pal_abs(pal_sub(all[i], carried[i])), PAL_ALL, false);
        ck_assert_msg(pal_item(off) <= 1e-12, "%s: pieces differ by %g", text, pal_item(off));
    }
    pal_tape_free(tape);
    drop(&l);
}
END_TEST

/* ---- Parameters ---- */

static const struct {
    const char *name;
    int64_t count;
} sizes[] = {
    {"gdn", 25215500},  {"kda", 17887376}, {"gdn2", 26243216},   {"mamba2", 25847232},
    {"attn", 16777216}, {"swa", 16777216}, {"mamba3", 26165632}, {"mamba3:is_mimo=true", 27836800}};

/* The defaults: the number of parameters, which of them decay, and the ranges of their first values
 * are as they should be. Without PAL_TEST_ALL=1 only two mixers have the papers' width, because 25
 * million random numbers take a while. The others are narrow, and their parameters are not counted.
 */
START_TEST(parameters_of_the_papers)
{
    static const char *const fixed[] = {"A_log",  "dt_bias", "D",      ".bias",  "norm.weight",
                                        "B_bias", "C_bias",  "mimo_x", "mimo_z", "mimo_o"};
    enum { FIXED = sizeof fixed / sizeof *fixed };
    const bool papers = test_all() || _i % 4 == 2; /* GDN-2 and Mamba-3 */
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(1, 0);
    ck_assert(pal_mixer_new(params, "m", papers ? 2048 : 64, PAL_F32, sizes[_i].name, &rng) !=
              NULL);
    if (papers) ck_assert_int_eq(pal_params_size(params), sizes[_i].count);
    for (int i = 0; i < pal_params_count(params); i++) {
        const char *name = pal_params_name(params, i);
        pal_array a = pal_params_array(params, i);
        bool decays = true;
        for (int j = 0; j < FIXED; j++) {
            size_t n = strlen(name), tail = strlen(fixed[j]);
            decays = decays && !(n > tail && strcmp(name + n - tail, fixed[j]) == 0);
        }
        ck_assert(strncmp(name, "m.", 2) == 0);
        ck_assert_msg(pal_params_decays(params, i) == decays, "%s: wrong decay", name);
        const float *x = a.data;
        for (int64_t j = 0; j < pal_array_count(&a) && !decays; j++) {
            ck_assert(isfinite(x[j]));
            if (strstr(name, "A_log")) ck_assert(x[j] >= -4.61f && x[j] <= 2.78f);
            if (strstr(name, "dt_bias")) {
                double dt = log1p(exp((double)x[j]));
                ck_assert(dt >= 0.00099 && dt <= 0.101);
            }
            if (strstr(name, ".bias")) ck_assert(x[j] == 0);
            if (strstr(name, "B_bias") || strstr(name, "C_bias")) ck_assert(x[j] == 1);
            if (strstr(name, "mimo")) ck_assert(x[j] == (strstr(name, "mimo_z") ? 1 : 0.25F));
            if (strstr(name, "norm.weight") || strcmp(name, "m.D") == 0) ck_assert(x[j] == 1);
        }
    }
    pal_params_free(params);
}
END_TEST

/* ---- Options as text ---- */

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

static const struct {
    const char *text, *words;
} wrong_texts[] = {
    {"gdn3", "there is no mixer \"gdn3\"; there are mamba2, deltanet, gdn, kda"},
    {"", "there is no mixer \"\""},
    {"gdn2,", "there is no mixer \"\""},
    {"gdn2:heads=3", "mixer gdn2: there is no key \"heads\"; its keys are num_heads, head_dim"},
    {"kda,gdn2:num_heads=x",
     "mixer gdn2: num_heads=x should be a whole number from 1 to 1073741824"},
    {"gdn2:num_heads=0", "mixer gdn2: num_heads=0 should be a whole number from 1 to 1073741824"},
    {"gdn2:num_heads", "mixer gdn2: num_heads= should be a whole number from 1 to 1073741824"},
    {"gdn2:conv_bias=yes", "conv_bias=yes should be true or false"},
    {"gdn2:output_gate=relu", "output_gate=relu should be silu|sigmoid|none"},
    {"gdn2:erase=both", "erase=both should be channel|scalar"},
    {"gdn2:expand_v=nan", "expand_v=nan should be a number"},
    {"attn:rope=yes", "rope=yes should be half|interleaved|none"},
    {"attn:rope_fraction=1.5", "rope_fraction=1.5 should be a number above 0, up to 1"},
    {"attn:norm_eps=0", "norm_eps=0 should be a number above 0"},
    {"attn+gdn3", "there is no mixer \"gdn3\""},
    {"attn+kda+gdn+mamba2+mamba3", "is a sum of 5 mixers; 4 are possible"},
    {"gdn:head_v_dim=0", "head_v_dim=0 should be a whole number from 1"},
    {"kda:lower_bound=", "lower_bound= should be a number"},
};

START_TEST(wrong_text)
{
    pal_error error = {PAL_OK, ""}, heard = {PAL_OK, ""};
    ck_assert(pal_mixers_check(wrong_texts[_i].text, &error) == PAL_EVALUE);
    ck_assert_msg(strstr(error.message, wrong_texts[_i].words) != NULL, "%s", error.message);
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(1, 0);
    pal_set_error_handler(hear, &heard);
    ck_assert(pal_mixer_new(params, "", 8, PAL_F32, wrong_texts[_i].text, &rng) == NULL);
    ck_assert(heard.status == PAL_EVALUE);
    ck_assert_int_eq(pal_params_count(params), 0);
    pal_params_free(params);
}
END_TEST

static const struct {
    const char *text, *words;
} wrong_options[] = {
    {"gdn2:num_heads=2:num_v_heads=3", "num_v_heads 3 is no multiple of num_heads 2"},
    {"gdn2:head_dim=3:expand_v=1.5", "expand_v 1.5 times head_dim 3 is no whole number"},
    {"gdn2:expand_v=-1", "out of range"},
    {"kda:lower_bound=2", "lower_bound 2 should be negative"},
    {"attn:num_heads=3", "the width 16 cannot be cut into 3 heads"},
    {"attn:head_dim=3", "head_dim 3 is odd"},
    {"attn:head_dim=8:rope_fraction=0.2", "rope_fraction 0.2 of head_dim 8 is 1 channels"},
    {"attn:head_dim=6:rope_fraction=0.5", "is 3 channels"},
    {"swa:num_heads=4:num_kv_heads=3", "swa (a): num_heads 4 is no multiple of num_kv_heads 3"},
    {"attn:rope_theta=-1", "out of range"},
    {"gdn:num_heads=1+mamba2", "gdn+mamba2 (a): two of these mixers remember a part state"},
    {"attn+swa", "two of these mixers remember a part k"},
    {"mamba2:head_dim=5", "cannot be cut into heads of 5"},
    {"mamba2:head_dim=8:n_groups=3", "in 3 groups"},
    {"mamba2:expand=0.01", "no inner width"},
    {"mamba3:head_dim=5", "cannot be cut into heads of 5"},
    {"mamba3:rope_fraction=0.7", "rope_fraction is 0.7"},
    {"mamba3:is_mimo=true:state_size=5", "an even state_size"},
};

START_TEST(wrong_option)
{
    pal_error error, heard = {PAL_OK, ""};
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(1, 0);
    ck_assert(pal_mixers_check(wrong_options[_i].text, &error) == PAL_OK);
    pal_set_error_handler(hear, &heard);
    ck_assert(pal_mixer_new(params, "a", 16, PAL_F32, wrong_options[_i].text, &rng) == NULL);
    ck_assert_msg(strstr(heard.message, wrong_options[_i].words) != NULL, "%s", heard.message);
    pal_params_free(params);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("layers");
    TCase *tc = tcase_create("mixers");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, gradients, 0, variants());
    tcase_add_loop_test(tc, types_and_threads, 0, variants());
    tcase_add_loop_test(tc, pieces_carry_their_state, 0, variants());
    tcase_add_loop_test(tc, parameters_of_the_papers, 0, (int)(sizeof sizes / sizeof *sizes));
    tcase_add_loop_test(tc, wrong_text, 0, (int)(sizeof wrong_texts / sizeof *wrong_texts));
    tcase_add_loop_test(tc, wrong_option, 0, (int)(sizeof wrong_options / sizeof *wrong_options));
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
