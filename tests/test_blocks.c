/* test_blocks.c - a model's blocks with each option: values, gradients, decoding, packing. */
#include "layers/layers.h"
#include "tests/support/check.h"
#include "tests/support/inputs.h"
#include "tests/support/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { B = 2, T = 7, WIDTH = 8, VOCAB = 11 };
static const int64_t tokens[B * T] = {1, 2, 3, 4, 5, 6, 7, 10, 9, 0, 8, 1, 1, 2};

#define GDN "gdn:num_heads=1:head_dim=4"
#define ATT "attn:num_heads=2"
static const pal_lm_opts variants[] = {
    {.mixers = GDN ":block.norm=after," ATT ":rope=none:qk_norm_whole=true:block.norm=after"},
    {.mixers = GDN ":block.mlp=relu2:block.mlp_bias=true," ATT ":block.mlp=geglu:block.mlp_width=5,"
                   "swa:num_heads=1:window_size=3:block.mlp=gelu:block.mlp_bias=true"},
    {.mixers = "none:block.mlp=relu2," GDN ":block.no_mlp=true,none:block.norm=after"},
    {.mixers = GDN "," ATT ":block.norm_plus_one=false:block.norm_eps=0.01,"
                   "none:block.norm=after",
     .norm_plus_one = true,
     .norm_eps = 1e-6},
    {.mixers = GDN "," ATT ":scale=0.3:block.residual_scale=0.7",
     .embed_scale = 12,
     .residual_scale = 0.25,
     .logit_scale = 1. / 3,
     .tie = true},
    {.mixers = ATT ":num_kv_heads=1:head_dim=8:rope_fraction=0.25:output_gate=sigmoid:qk_norm=true:"
                   "norm_plus_one=true:norm_eps=1e-6,"
                   "gdn:num_heads=1:num_v_heads=2:head_dim=4:head_v_dim=3:allow_neg_eigval=true",
     .norm_plus_one = true},
    {.mixers =
         "mamba2:num_heads=3:head_dim=2:state_size=3:in_scale=1.25:out_scale=0.24:z_scale=0.35:"
         "block.mlp_gate_scale=0.9:block.mlp_down_scale=0.4+attn:num_heads=2:in_scale=1.1:"
         "scale=0.3:out_scale=0.9,shortconv"},
    {.mixers = "mamba2:num_heads=3:head_dim=2:state_size=3:dt_min=0.01:block.mlp_bias=true",
     .residual_scale = 0.5,
     .no_mlp = true},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

typedef struct model {
    pal_params *params;
    pal_lm *lm;
    pal_tape *tape; /* of the formulas */
} model;

static model make(pal_lm_opts o, pal_dtype dtype)
{
    model m = {.params = pal_params_new()};
    o.vocab = VOCAB, o.width = WIDTH, o.dtype = dtype;
    if (!o.no_mlp && !o.mlp_width) o.mlp_width = 12;
    m.lm = pal_lm_new(m.params, o, NULL);
    ck_assert(m.lm != NULL);
    trial_draw(m.params, 7);
    return m;
}

static pal_tensor on(pal_tape *tape) { return pal_from(tape, PAL_I64, PAL_SHAPE(B, T), tokens); }

/* The largest difference of two tensors, relative to the largest number of the second. */
static double distance(pal_tensor a, pal_tensor b)
{
    double most = 0, size = 0;
    ck_assert(pal_shape_equal(pal_shape_of(a), pal_shape_of(b)));
    a = pal_contiguous(a), b = pal_contiguous(b);
    for (int64_t i = 0; i < pal_count(a); i++) {
        most = fmax(most, fabs(pal_f64(a)[i] - pal_f64(b)[i]));
        size = fmax(size, fabs(pal_f64(b)[i]));
    }
    ck_assert(size > 0 && isfinite(size));
    return most / size;
}

/* ---- Formulas ---- */

static pal_tensor named(const model *m, int64_t layer, const char *suffix)
{
    char name[128];
    if (layer < 0)
        snprintf(name, sizeof name, "%s", suffix);
    else
        snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)layer, suffix);
    const pal_tensor t = pal_params_find(m->params, name);
    return pal_is_none(t) ? t : pal_on(m->tape, t);
}

static pal_tensor norm(pal_tensor x, pal_tensor w, bool plus_one, double eps)
{
    pal_tensor square = pal_mean(pal_mul(x, x), -1, true);
    x = pal_div(x, pal_sqrt(pal_affine(square, 1, eps)));
    return plus_one ? pal_add(x, pal_mul(x, w)) : pal_mul(x, w);
}

static pal_tensor linear(const model *m, int64_t i, const char *what, pal_tensor x)
{
    char weight[64], bias[64];
    snprintf(weight, sizeof weight, "mlp.%s_proj.weight", what);
    snprintf(bias, sizeof bias, "mlp.%s_proj.bias", what);
    x = pal_matmul(x, pal_transpose(named(m, i, weight), 0, 1));
    return pal_is_none(named(m, i, bias)) ? x : pal_add(x, named(m, i, bias));
}

static pal_tensor mlp(const model *m, int64_t i, pal_tensor x)
{
    const pal_mlp_kind kind = pal_lm_block(m->lm, i).mlp;
    const bool gated = kind == PAL_MLP_SWIGLU || kind == PAL_MLP_GEGLU;
    ck_assert(gated != pal_is_none(named(m, i, "mlp.gate_proj.weight")));
    ck_assert(pal_lm_block(m->lm, i).mlp_bias != pal_is_none(named(m, i, "mlp.up_proj.bias")));
    const pal_block_opts o = pal_lm_block(m->lm, i);
    pal_tensor up = linear(m, i, "up", x), gate = gated ? linear(m, i, "gate", x) : up;
    if (gated) gate = pal_affine(gate, o.mlp_gate_scale, 0);
    if (kind == PAL_MLP_SWIGLU)
        gate = pal_mul(gate, pal_sigmoid(gate));
    else if (kind == PAL_MLP_RELU2)
        gate = pal_mul(pal_maximum(gate, pal_affine(gate, 0, 0)), gate);
    else
        gate = pal_gelu(gate);
    return pal_affine(linear(m, i, "down", gated ? pal_mul(gate, up) : gate), o.mlp_down_scale, 0);
}

static pal_tensor block(const model *m, int64_t i, pal_tensor x)
{
    const pal_block_opts o = pal_lm_block(m->lm, i);
    for (int part = 0; part < 2; part++) {
        const pal_tensor w = named(m, i, part ? "mlp_norm.weight" : "attn_norm.weight");
        const bool none = strcmp(pal_mixer_name(pal_lm_mixer(m->lm, i)), "none") == 0;
        ck_assert(pal_is_none(w) == (part ? o.no_mlp : none));
        if (pal_is_none(w)) continue;
        pal_tensor y = o.norm == PAL_NORM_BEFORE ? norm(x, w, o.norm_plus_one, o.norm_eps) : x;
        y = part ? mlp(m, i, y)
                 : pal_mixer_forward(pal_lm_mixer(m->lm, i), y, NULL, (pal_run_opts){0});
        if (o.norm == PAL_NORM_AFTER) y = norm(y, w, o.norm_plus_one, o.norm_eps);
        x = pal_add(x, pal_affine(y, o.residual_scale, 0));
    }
    return x;
}

static pal_tensor written(const model *m, pal_tensor in)
{
    const pal_lm_opts o = pal_lm_options(m->lm);
    const pal_tensor table = named(m, -1, "model.embeddings.weight");
    pal_tensor x = pal_affine(pal_embedding(table, in), o.embed_scale, 0);
    for (int64_t i = 0; i < o.layers; i++) x = block(m, i, x);
    x = norm(x, named(m, -1, "model.norm.weight"), o.norm_plus_one, o.norm_eps);
    x = pal_matmul(x, pal_transpose(o.tie ? table : named(m, -1, "lm_head.weight"), 0, 1));
    return pal_affine(x, o.logit_scale, 0);
}

START_TEST(formulas)
{
    model m = make(variants[_i], PAL_F64);
    pal_tape *tape = m.tape = pal_tape_new();
    const pal_tensor logits = pal_lm_logits(m.lm, on(tape), (pal_run_opts){0});
    const double error = distance(logits, written(&m, on(tape)));
    ck_assert_msg(error <= 1e-13, "%s: %g", variants[_i].mixers, error);
    pal_tape_free(tape);
    pal_params_free(m.params);
}
END_TEST

/* ---- Gradients ---- */

static double loss_of(const model *m, pal_run_opts run)
{
    pal_tape *tape = pal_tape_new();
    *pal_tape_rng(tape) = pal_rng_new(3, 1);
    const double value = pal_item(pal_lm_loss(m->lm, on(tape), on(tape), run));
    pal_tape_free(tape);
    return value;
}

/* The derivative along the direction u of n numbers at p, by a difference of four points. */
static double difference(const model *m, pal_run_opts run, double *p, const double *u, int64_t n)
{
    static const double at[] = {-2, -1, 1, 2}, weight[] = {1, -8, 8, -1};
    double sum = 0, *keep = malloc((size_t)n * sizeof *keep);
    memcpy(keep, p, (size_t)n * sizeof *p);
    for (int i = 0; i < 4; i++) {
        for (int64_t j = 0; j < n; j++) p[j] = keep[j] + 1e-4 * at[i] * u[j];
        sum += weight[i] * loss_of(m, run);
    }
    memcpy(p, keep, (size_t)n * sizeof *p);
    free(keep);
    return sum / 12e-4;
}

static void check_gradients(const model *m, pal_run_opts run, const char *text)
{
    pal_tape *tape = pal_tape_new();
    *pal_tape_rng(tape) = pal_rng_new(3, 1);
    ck_assert(pal_backward(pal_lm_loss(m->lm, on(tape), on(tape), run)) == PAL_OK);
    for (int i = 0; i < pal_params_count(m->params); i++) {
        const pal_array value = pal_params_array(m->params, i);
        const int64_t n = pal_array_count(&value);
        const double *gradient = pal_f64(pal_grad(pal_params_at(m->params, i)));
        double *u = malloc((size_t)n * sizeof *u), norm2 = 0, analytic = 0, square = 0;
        pal_draw_cotangent(90, n, u);
        for (int64_t j = 0; j < n; j++) norm2 += u[j] * u[j];
        for (int64_t j = 0; j < n; j++) {
            u[j] /= sqrt(norm2);
            analytic += u[j] * gradient[j];
            square += gradient[j] * gradient[j];
        }
        const double numeric = difference(m, run, value.data, u, n);
        const double scale = fmax(fmax(fabs(numeric), fabs(analytic)), sqrt(square / (double)n));
        ck_assert_msg(square > 0 && fabs(numeric - analytic) <= 1e-6 * scale + 1e-11,
                      "%s: d %s is %.12g, not %.12g", text, pal_params_name(m->params, i), analytic,
                      numeric);
        free(u);
    }
    pal_tape_free(tape);
}

START_TEST(gradients)
{
    model m = make(variants[_i], PAL_F64);
    check_gradients(&m, (pal_run_opts){0}, variants[_i].mixers);
    pal_params_free(m.params);
}
END_TEST

/* ---- Ways to run ---- */

/* Four tokens and then single ones give the logits of the whole sequence. */
START_TEST(decoding)
{
    model m = make(variants[_i], PAL_F64);
    pal_tape *all = pal_tape_new(), *tape = pal_tape_new();
    const pal_tensor whole = pal_lm_logits(m.lm, on(all), (pal_run_opts){0});
    pal_lm_state *state = pal_lm_state_new(m.lm);
    pal_set_grad(tape, false);
    for (int64_t at = 0, next = 4; at < T; at = next++) {
        pal_tape_reset(tape);
        const pal_tensor in = pal_slice(on(tape), 1, at, next, 1);
        const pal_tensor last = pal_lm_step(m.lm, state, in, (pal_run_opts){0});
        const double error = distance(last, pal_on(tape, pal_select(whole, 1, next - 1)));
        ck_assert_msg(error <= 1e-12, "%s: token %lld: %g", variants[_i].mixers, (long long)next,
                      error);
    }
    pal_lm_state_free(state);
    pal_tape_free(tape), pal_tape_free(all);
    pal_params_free(m.params);
}
END_TEST

/* Rows joined to one have the logits that they have alone. */
START_TEST(packed)
{
    static const int64_t at[] = {0, T, 2 * T};
    model m = make(variants[_i], PAL_F64);
    pal_tape *tape = pal_tape_new();
    const pal_tensor alone = pal_lm_logits(m.lm, on(tape), (pal_run_opts){0});
    const pal_run_opts run = {.offsets = pal_from(tape, PAL_I64, PAL_SHAPE(3), at)};
    const pal_tensor joined = pal_lm_logits(m.lm, pal_reshape(on(tape), PAL_SHAPE(1, B * T)), run);
    const double error = distance(pal_reshape(joined, pal_shape_of(alone)), alone);
    ck_assert_msg(error <= 1e-12, "%s: %g", variants[_i].mixers, error);
    pal_tape_free(tape);
    pal_params_free(m.params);
}
END_TEST

/* Recomputed blocks give the same bits, and drop the same numbers. */
START_TEST(recomputed)
{
    for (int training = 0; training < 2; training++) {
        model m[2];
        for (int i = 0; i < 2; i++) {
            pal_lm_opts o = variants[_i];
            o.recompute = i == 1, o.dropout = 0.3;
            m[i] = make(o, PAL_F32);
            pal_tape *tape = pal_tape_new();
            *pal_tape_rng(tape) = pal_rng_new(9, 2);
            const pal_run_opts run = {.training = training};
            ck_assert(pal_backward(pal_lm_loss(m[i].lm, on(tape), on(tape), run)) == PAL_OK);
            pal_tape_free(tape);
        }
        const pal_param_block one = pal_params_block(m[0].params, 0),
                              two = pal_params_block(m[1].params, 0);
        ck_assert(memcmp(one.grad, two.grad, (size_t)one.count * sizeof(float)) == 0);
        pal_params_free(m[0].params), pal_params_free(m[1].params);
    }
}
END_TEST

/* ---- Parameters ---- */

START_TEST(counted)
{
    model m = make(variants[_i], PAL_F32);
    const pal_lm_counts all = pal_lm_count(m.lm, -1);
    ck_assert_int_eq(all.total, pal_params_size(m.params));
    for (int64_t i = 0; i < pal_lm_options(m.lm).layers; i++) {
        const pal_block_opts o = pal_lm_block(m.lm, i);
        const pal_lm_counts c = pal_lm_count(m.lm, i);
        const bool gated = o.mlp == PAL_MLP_SWIGLU || o.mlp == PAL_MLP_GEGLU;
        const bool none = strcmp(pal_mixer_name(pal_lm_mixer(m.lm, i)), "none") == 0;
        int64_t want = (gated ? 3 : 2) * o.mlp_width * WIDTH;
        if (o.mlp_bias) want += (gated ? 2 : 1) * o.mlp_width + WIDTH;
        ck_assert_int_eq(c.mlp, o.no_mlp ? 0 : want);
        ck_assert_int_eq(c.norms, (!none + !o.no_mlp) * WIDTH);
        ck_assert((c.mixer == 0) == none);
    }
    pal_params_free(m.params);
}
END_TEST

/* What an entry does not say is the model's. */
START_TEST(options_of_entries)
{
    pal_params *params = pal_params_new();
    pal_lm *lm = pal_lm_new(
        params,
        (pal_lm_opts){.width = 16,
                      .mixers = "gdn:num_heads=1,attn:block.norm=after:block.norm_plus_one=false:"
                                "block.mlp=relu2:block.mlp_bias=true:block.residual_scale=2:"
                                "block.dropout=0:block.mlp_width=9",
                      .norm_plus_one = true,
                      .residual_scale = 0.5,
                      .dropout = 0.1},
        NULL);
    const pal_block_opts a = pal_lm_block(lm, 0), b = pal_lm_block(lm, 1);
    ck_assert(a.norm == PAL_NORM_BEFORE && a.norm_plus_one && a.mlp == PAL_MLP_SWIGLU);
    ck_assert(!a.mlp_bias && a.residual_scale == 0.5 && a.dropout == 0.1 && a.mlp_width == 64);
    ck_assert(b.norm == PAL_NORM_AFTER && !b.norm_plus_one && b.mlp == PAL_MLP_RELU2);
    ck_assert(b.mlp_bias && b.residual_scale == 2 && b.dropout == 0 && b.mlp_width == 9);
    pal_params_free(params);
}
END_TEST

/* A norm of 1 + w begins with zeros. */
START_TEST(norms_of_one_plus_w)
{
    pal_rng rng = pal_rng_new(1, 0);
    pal_params *params = pal_params_new();
    pal_lm_new(params,
               (pal_lm_opts){.mixers = "attn:qk_norm=true:norm_plus_one=true",
                             .width = 16,
                             .norm_plus_one = true},
               &rng);
    int norms = 0;
    for (int i = 0; i < pal_params_count(params); i++) {
        const pal_array w = pal_params_array(params, i);
        if (!strstr(pal_params_name(params, i), "norm")) continue;
        norms++;
        ck_assert(!pal_params_decays(params, i));
        for (int64_t j = 0; j < pal_array_count(&w); j++)
            ck_assert(((const float *)w.data)[j] == 0);
    }
    ck_assert_int_eq(norms, 5);
    pal_params_free(params);
}
END_TEST

/* ---- Dropout ---- */

/* Without run.training nothing is drawn; with it, gradients are those of what was kept. */
START_TEST(dropout)
{
    pal_lm_opts o = variants[0];
    o.dropout = 0.4;
    model m = make(o, PAL_F64), plain = make(variants[0], PAL_F64);
    pal_tape *tape = pal_tape_new();
    const pal_tensor alone = pal_lm_logits(plain.lm, on(tape), (pal_run_opts){0});
    const uint64_t before = pal_tape_rng(tape)->counter;
    const pal_tensor idle = pal_lm_logits(m.lm, on(tape), (pal_run_opts){0});
    ck_assert(pal_tape_rng(tape)->counter == before);
    ck_assert(memcmp(pal_f64(alone), pal_f64(idle), sizeof(double) * (size_t)pal_count(idle)) == 0);
    const pal_tensor drawn = pal_lm_logits(m.lm, on(tape), (pal_run_opts){.training = true});
    ck_assert(pal_tape_rng(tape)->counter != before && distance(drawn, idle) > 0.01);
    check_gradients(&m, (pal_run_opts){.training = true}, "dropout");
    pal_tape_free(tape);
    pal_params_free(m.params), pal_params_free(plain.params);
}
END_TEST

/* The last projection of the mixer is 0, and all else is as without. */
START_TEST(a_projection_that_begins_at_0)
{
    static const char *const mixers[] = {"gdn2:num_heads=2", "mamba2:head_dim=4:state_size=4"};
    for (int i = 0; i < 2; i++) {
        char text[128];
        pal_params *params[2] = {pal_params_new(), pal_params_new()};
        for (int zero = 0; zero < 2; zero++) {
            pal_rng rng = pal_rng_new(4, 0);
            snprintf(text, sizeof text, "%s:block.out_zero=%s", mixers[i], zero ? "true" : "false");
            ck_assert_ptr_nonnull(pal_block_new(params[zero], "b", WIDTH, PAL_F64, text,
                                                (pal_block_opts){.mlp_width = 5}, &rng));
        }
        for (int k = 0; k < pal_params_count(params[0]); k++) {
            const pal_array a = pal_params_array(params[0], k), b = pal_params_array(params[1], k);
            const char *name = pal_params_name(params[0], k);
            const bool last = strstr(name, "attn.o_proj") || strstr(name, "attn.out_proj");
            for (int64_t j = 0; j < pal_array_count(&a); j++) {
                const double x = ((double *)a.data)[j], y = ((double *)b.data)[j];
                ck_assert_msg(last ? x != 0 && y == 0 : x == y, "%s: %g and %g", name, x, y);
            }
        }
        pal_params_free(params[0]), pal_params_free(params[1]);
    }
}
END_TEST

/* What a block adds is dropped element by element, and the rest is larger by 1 / (1 - p). */
START_TEST(dropout_of_a_block)
{
    pal_params *params = pal_params_new();
    pal_block *block = pal_block_new(params, "b", WIDTH, PAL_F64, ATT ":block.no_mlp=true",
                                     (pal_block_opts){.dropout = 0.25}, NULL);
    ck_assert(block != NULL && pal_block_options(block).dropout == 0.25);
    trial_draw(params, 3);
    pal_tape *tape = pal_tape_new();
    pal_rng rng = pal_rng_new(2, 0);
    const pal_tensor x = pal_normal(tape, PAL_F64, PAL_SHAPE(3, 70, WIDTH), 0, 1, &rng);
    const pal_tensor y = pal_sub(pal_block_forward(block, x, NULL, (pal_run_opts){0}), x);
    const pal_tensor z =
        pal_sub(pal_block_forward(block, x, NULL, (pal_run_opts){.training = true}), x);
    int64_t kept = 0, n = pal_count(y);
    for (int64_t i = 0; i < n; i++) {
        const double whole = pal_f64(y)[i], part = pal_f64(z)[i];
        const bool dropped = fabs(part) <= 1e-12;
        kept += !dropped;
        ck_assert(dropped || fabs(part - whole / 0.75) <= 1e-12);
    }
    ck_assert(fabs((double)kept / (double)n - 0.75) < 0.05);
    pal_tape_free(tape);
    pal_params_free(params);
}
END_TEST

/* ---- What is refused ---- */

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

START_TEST(wrong_options)
{
    static const struct {
        pal_lm_opts opts;
        const char *words;
    } wrong[] = {
        {{.residual_scale = -1}, "residual_scale -1 or dropout 0 is out of range"},
        {{.dropout = 1}, "dropout 1 is out of range"},
        {{.embed_scale = NAN}, "lm: embed_scale nan is out of range"},
        {{.logit_scale = -2}, "lm: logit_scale -2 is out of range"},
        {{.mixers = "attn:block.norm=both"}, "block.norm=both should be before|after"},
        {{.mixers = "attn:block.mlp=relu"}, "block.mlp=relu should be swiglu|geglu|gelu|relu2"},
        {{.mixers = "attn:block.dropout=1"},
         "block.dropout=1 should be a number from 0 to below 1"},
        {{.mixers = "attn:block.residual_scale=0"}, "residual_scale=0 should be a number above 0"},
        {{.mixers = "none:block.no_mlp=true"}, "a block of the mixer none has an MLP"},
        {{.mixers = "attn:block.mlp_gate_scale=0"}, "mlp_gate_scale=0 should be a number above 0"},
        {{.mixers = "none:num_heads=2"}, "there is no key \"num_heads\""},
    };
    pal_error heard = {PAL_OK, ""};
    pal_set_error_handler(hear, &heard);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pal_params *params = pal_params_new();
        ck_assert(pal_lm_new(params, wrong[i].opts, NULL) == NULL);
        ck_assert_msg(strstr(heard.message, wrong[i].words) != NULL, "%s", heard.message);
        pal_params_free(params);
    }
    pal_params *params = pal_params_new();
    ck_assert(pal_block_new(params, "b", 8, PAL_F32, "attn,attn", (pal_block_opts){0}, NULL) ==
              NULL);
    ck_assert(strstr(heard.message, "\"attn,attn\" is a list; one entry is wanted") != NULL);
    ck_assert(pal_block_new(params, "b", 0, PAL_F32, "attn", (pal_block_opts){0}, NULL) == NULL);
    ck_assert(strstr(heard.message, "width 0 is out of range") != NULL);
    pal_params_free(params);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("blocks");
    TCase *tc = tcase_create("blocks");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, formulas, 0, VARIANTS);
    tcase_add_loop_test(tc, gradients, 0, VARIANTS);
    tcase_add_loop_test(tc, decoding, 0, VARIANTS);
    tcase_add_loop_test(tc, packed, 0, VARIANTS);
    tcase_add_loop_test(tc, recomputed, 0, VARIANTS);
    tcase_add_loop_test(tc, counted, 0, VARIANTS);
    tcase_add_test(tc, options_of_entries);
    tcase_add_test(tc, norms_of_one_plus_w);
    tcase_add_test(tc, dropout);
    tcase_add_test(tc, dropout_of_a_block);
    tcase_add_test(tc, a_projection_that_begins_at_0);
    tcase_add_test(tc, wrong_options);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
