/*
 * test_ablate_edits.c - every edit of ablate --layers gives the same logits as another way to do
 * it: an option of the mixer with the same weights, weights set by hand, or a hook that computes
 * the means itself.
 */
#include "examples/ablate/ablate.h"
#include "tests/support/trial.h"

#include <check.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Differences of logits in f64, relative to the largest logit: rounding, and the least change by an
 * edit. */
static const double CLOSE = 1e-12, FAR = 1e-3;

enum { B = 2, T = 21, WIDTH = 12, VOCAB = 11, LAYERS = 2, LOGITS = B * T * VOCAB };

/* edits.c needs this function of the program. */
void stop(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ck_abort_msg("%s", text);
}

/* ---- Models ---- */

typedef struct model_of {
    pal_params *params;
    pal_lm *lm;
} model_of;

/* A model whose layer `layer` is the mixer `other`, and whose other layers are `text`. */
static model_of make(const char *text, const char *other, int layer)
{
    char mixers[512];
    pal_rng rng = pal_rng_new(1, 0);
    model_of m = {.params = pal_params_new()};
    snprintf(mixers, sizeof mixers, "%s,%s", layer == 0 ? other : text, layer == 1 ? other : text);
    m.lm = pal_lm_new(m.params,
                      (pal_lm_opts){.vocab = VOCAB,
                                    .width = WIDTH,
                                    .layers = LAYERS,
                                    .mixers = mixers,
                                    .no_mlp = true,
                                    .dtype = PAL_F64},
                      &rng);
    ck_assert_ptr_nonnull(m.lm);
    trial_draw(m.params, 5);
    return m;
}

static void set_all(pal_params *params, const char *name, double value)
{
    for (int i = 0; i < pal_params_count(params); i++) {
        const pal_array a = pal_params_array(params, i);
        if (strcmp(pal_params_name(params, i), name)) continue;
        for (int64_t j = 0; j < pal_array_count(&a); j++) ((double *)a.data)[j] = value;
        pal_params_touch(params);
        return;
    }
    ck_abort_msg("no parameter %s", name);
}

/* Copies the weights of one model to another that has no further parameters. Those with another
 * shape stay as they are. */
static void take_weights(const model_of *to, const model_of *from)
{
    for (int i = 0; i < pal_params_count(to->params); i++) {
        const char *name = pal_params_name(to->params, i);
        const pal_array a = pal_params_array(to->params, i);
        const size_t size = (size_t)pal_array_count(&a) * sizeof(double);
        bool found = false;
        for (int j = 0; j < pal_params_count(from->params) && !found; j++) {
            const pal_array b = pal_params_array(from->params, j);
            if (strcmp(pal_params_name(from->params, j), name)) continue;
            found = true;
            if (pal_array_count(&b) == pal_array_count(&a)) memcpy(a.data, b.data, size);
        }
        ck_assert_msg(found, "%s is in one model alone", name);
    }
    pal_params_touch(to->params);
}

static void pass(const model_of *m, pal_tape *tape, pal_run_opts how, double out[LOGITS])
{
    int64_t tokens[B * T];
    for (int i = 0; i < B * T; i++) tokens[i] = (i * i + 3 * i) % VOCAB;
    const pal_tensor y =
        pal_lm_logits(m->lm, pal_from(tape, PAL_I64, PAL_SHAPE(B, T), tokens), how);
    memcpy(out, pal_f64(y), LOGITS * sizeof *out);
    pal_tape_reset(tape);
}

/* The largest difference, relative to the largest logit; NaN if a logit is not finite. */
static double distance(const double *a, const double *b)
{
    double most = 0, difference = 0;
    for (int i = 0; i < LOGITS; i++) {
        if (!isfinite(a[i]) || !isfinite(b[i])) return NAN;
        most = fmax(most, fabs(b[i]));
        difference = fmax(difference, fabs(a[i] - b[i]));
    }
    return difference / most;
}

static void edited(const model_of *m, int layer, edit e, double out[LOGITS])
{
    double before[LOGITS], after[LOGITS];
    pal_tape *tape = pal_tape_new();
    pal_set_grad(tape, false);
    surgeon *s = surgeon_new(m->params, tape, LAYERS);
    surgeon_begin(s, -1, NOTHING);
    pass(m, tape, surgeon_opts(s), before);
    surgeon_end(s);
    ck_assert(surgeon_can(s, layer, e));
    surgeon_begin(s, layer, e);
    for (int i = 0; i < surgeon_passes(s); i++) {
        surgeon_pass(s, i);
        pass(m, tape, surgeon_opts(s), out);
    }
    surgeon_end(s);
    surgeon_begin(s, -1, NOTHING);
    pass(m, tape, surgeon_opts(s), after);
    surgeon_end(s);
    surgeon_free(s);
    pal_tape_free(tape);
    ck_assert_msg(memcmp(before, after, sizeof before) == 0, "%s does not end", edit_name(e));
    ck_assert_msg(distance(out, before) >= FAR, "%s changes nothing", edit_name(e));
}

static void plain(const model_of *m, pal_run_opts how, int passes, double out[LOGITS])
{
    pal_tape *tape = pal_tape_new();
    pal_set_grad(tape, false);
    for (int i = 0; i < passes; i++) pass(m, tape, how, out);
    pal_tape_free(tape);
}

static void agree(const double *is, const double *wanted, edit e, int layer)
{
    const double error = distance(is, wanted);
    ck_assert_msg(error <= CLOSE, "%s of layer %d is off by %g", edit_name(e), layer, error);
}

/* ---- The option of the mixer ---- */

#define GDN2     "gdn2:num_heads=2:head_dim=4:num_v_heads=4"
#define KDA      "kda:num_heads=2:head_dim=4"
#define GDN      "gdn:num_heads=2:head_dim=4"
#define MAMBA2   "mamba2:head_dim=6:state_size=5"
#define NO_SHORT ":use_short_conv=false"

static const struct {
    const char *text, *other;
    edit e;
} option[] = {
    {GDN2, GDN2 ":erase=scalar", MEAN_B},
    {GDN2, GDN2 ":write=scalar", MEAN_W},
    {GDN2, GDN2 NO_SHORT, NO_CONV},
    {GDN2 ":conv_bias=true", GDN2 NO_SHORT, NO_CONV},
    {KDA, KDA NO_SHORT, NO_CONV},
    {GDN ":conv_bias=true", GDN NO_SHORT, NO_CONV},
    {MAMBA2, MAMBA2 ":conv_kernel=1", NO_CONV},
};
enum { OPTIONS = sizeof option / sizeof *option };

START_TEST(as_the_option)
{
    const int layer = _i % LAYERS;
    const char *text = option[_i / LAYERS].text, *other = option[_i / LAYERS].other;
    const edit e = option[_i / LAYERS].e;
    double is[LOGITS], wanted[LOGITS];
    const model_of m = make(text, text, layer), reference = make(text, other, layer);
    take_weights(&reference, &m);
    if (strncmp(text, "mamba2", 6) == 0) { /* it has no such option: a kernel of 1 with weight 1 */
        char name[64];
        snprintf(name, sizeof name, "model.layers.%d.attn.conv1d.weight", layer);
        set_all(reference.params, name, 1);
        snprintf(name, sizeof name, "model.layers.%d.attn.conv1d.bias", layer);
        set_all(reference.params, name, 0);
    }
    edited(&m, layer, e, is);
    plain(&reference, (pal_run_opts){0}, 1, wanted);
    agree(is, wanted, e, layer);
    pal_params_free(m.params);
    pal_params_free(reference.params);
}
END_TEST

/* ---- A mixer whose output is 0 ---- */

static const char *const skipped[] = {GDN2, KDA, GDN, MAMBA2, "attn:num_heads=2"};
enum { SKIPPED = sizeof skipped / sizeof *skipped };

START_TEST(skipping)
{
    const int layer = _i % LAYERS;
    const char *text = skipped[_i / LAYERS];
    double is[LOGITS], wanted[LOGITS];
    char name[64];
    const model_of m = make(text, text, layer);
    edited(&m, layer, SKIP, is);
    snprintf(name, sizeof name, "model.layers.%d.attn.%s.weight", layer,
             strncmp(text, "mamba2", 6) ? "o_proj" : "out_proj");
    set_all(m.params, name, 0);
    plain(&m, (pal_run_opts){0}, 1, wanted);
    agree(is, wanted, SKIP, layer);
    pal_params_free(m.params);
}
END_TEST

/* ---- A hook of our own ---- */

/* Means over channels, [B,T,heads]. The hook computes them in a first pass and uses them in a
 * second one. */
typedef struct means {
    edit e;
    int layer, met;
    double b[B][T][8], w[B][T][8], g[B][T][8];
} means;

static double *element(double *a, pal_shape s, int i, int t, int h)
{
    return a + ((i * s.dim[1] + t) * s.dim[2] + h) * s.dim[3];
}

/* The mean for a head of b, w or g. */
static double mean_for(const means *m, const char *name, int i, int t, int h)
{
    if (*name == 'g') return m->g[i][t][h];
    /* Each key head, of b, has two value heads, of w. */
    const int key = *name == 'b' ? h : h / 2;
    return (m->b[i][t][key] + (m->w[i][t][2 * key] + m->w[i][t][2 * key + 1]) / 2) / 2;
}

static bool put_means(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    means *m = user;
    const bool gate = strcmp(name, "b") == 0 || strcmp(name, "w") == 0;
    if (layer != m->layer || (m->e == TIE ? !gate : strcmp(name, "g") != 0)) return true;
    const pal_shape s = pal_shape_of(*t);
    const bool first = m->met++ < (m->e == TIE ? 2 : 1);
    double(*to)[T][8] = *name == 'b' ? m->b : *name == 'w' ? m->w : m->g;
    ck_assert(s.ndim == 4 && s.dim[2] <= 8);
    *t = pal_affine(*t, 1, 0); /* a copy */
    double *data = pal_edit(*t).data;
    for (int i = 0; i < B; i++)
        for (int at = 0; at < T; at++)
            for (int h = 0; h < s.dim[2]; h++) {
                double *x = element(data, s, i, at, h), sum = 0;
                for (int c = 0; c < s.dim[3]; c++) sum += x[c] / (double)s.dim[3];
                if (first) to[i][at][h] = sum;
                for (int c = 0; c < s.dim[3] && !first; c++) x[c] = mean_for(m, name, i, at, h);
            }
    return true;
}

static const struct {
    const char *text;
    edit e;
} hooked[] = {{GDN2, TIE}, {GDN2, MEAN_G}, {KDA ":num_v_heads=4", MEAN_G}};
enum { HOOKED = sizeof hooked / sizeof *hooked };

START_TEST(as_a_hook)
{
    const int layer = _i % LAYERS;
    const char *text = hooked[_i / LAYERS].text;
    const edit e = hooked[_i / LAYERS].e;
    double is[LOGITS], wanted[LOGITS];
    means mine = {.e = e, .layer = layer};
    const model_of m = make(text, text, layer);
    edited(&m, layer, e, is);
    plain(&m, (pal_run_opts){.hook = put_means, .user = &mine}, 2, wanted);
    ck_assert_int_eq(mine.met, e == TIE ? 4 : 2);
    agree(is, wanted, e, layer);
    pal_params_free(m.params);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ablate's edits");
    TCase *tc = tcase_create("edits");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, as_the_option, 0, OPTIONS * LAYERS);
    tcase_add_loop_test(tc, skipping, 0, SKIPPED * LAYERS);
    tcase_add_loop_test(tc, as_a_hook, 0, HOOKED * LAYERS);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
