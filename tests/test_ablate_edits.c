/*
 * test_ablate_edits.c - every edit of ablate --layers gives the same logits as another way to do
 * it: an option of the mixer with the same weights, weights set by hand, or a hook that computes
 * the means itself. Those of Mamba-3 are in test_ablate_turns.c.
 */
#include "tests/ablate/edited.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

/* ---- The option of the mixer ---- */

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
    const model_of m = edit_model(text, text, layer), reference = edit_model(text, other, layer);
    edit_take(&reference, &m);
    if (strncmp(text, "mamba2", 6) == 0) { /* it has no such option: a kernel of 1 with weight 1 */
        char name[64];
        snprintf(name, sizeof name, "model.layers.%d.attn.conv1d.weight", layer);
        edit_fill(reference.params, name, 1);
        snprintf(name, sizeof name, "model.layers.%d.attn.conv1d.bias", layer);
        edit_fill(reference.params, name, 0);
    }
    edit_run(&m, layer, e, is);
    edit_plain(&reference, (pal_run_opts){0}, 1, wanted);
    edit_agree(is, wanted, e, layer);
    pal_params_free(m.params);
    pal_params_free(reference.params);
}
END_TEST

/* ---- A mixer whose output is 0 ---- */

static const char *const skipped[] = {GDN2, KDA, GDN, MAMBA2, MAMBA3, "attn:num_heads=2"};
enum { SKIPPED = sizeof skipped / sizeof *skipped };

START_TEST(skipping)
{
    const int layer = _i % LAYERS;
    const char *text = skipped[_i / LAYERS];
    double is[LOGITS], wanted[LOGITS];
    char name[64];
    const model_of m = edit_model(text, text, layer);
    edit_run(&m, layer, SKIP, is);
    snprintf(name, sizeof name, "model.layers.%d.attn.%s.weight", layer,
             strncmp(text, "mamba", 5) ? "o_proj" : "out_proj");
    edit_fill(m.params, name, 0);
    snprintf(name, sizeof name, "model.layers.%d.attn.out_proj.bias", layer);
    if (strstr(text, "use_bias")) edit_fill(m.params, name, 0);
    edit_plain(&m, (pal_run_opts){0}, 1, wanted);
    edit_agree(is, wanted, SKIP, layer);
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
    const model_of m = edit_model(text, text, layer);
    edit_run(&m, layer, e, is);
    edit_plain(&m, (pal_run_opts){.hook = put_means, .user = &mine}, 2, wanted);
    ck_assert_int_eq(mine.met, e == TIE ? 4 : 2);
    edit_agree(is, wanted, e, layer);
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
