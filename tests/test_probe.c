/*
 * test_probe.c - what users put together: statistics by head from a hook, a trunk with inputs and a
 * head, accuracy, heads of mixers, and logs that are opened by their first row or become HDF5.
 */
#include "tests/support/check.h"

#include <math.h>
#include <palimpsest.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pal_tape *tape;
static pal_params *params;
static pal_error last, error;
static char folder[64];

static void hear(const pal_error *e, void *user) { (void)user, last = *e; }

static void ok(pal_status status)
{
    if (status != PAL_OK) ck_abort_msg("%s: %s", pal_status_name(status), error.message);
}

static void setup(void)
{
    last = (pal_error){0};
    pal_set_error_handler(hear, NULL);
    tape = pal_tape_new();
    params = pal_params_new();
    strcpy(folder, "/tmp/palimpsest-probe-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void teardown(void)
{
    char command[128];
    pal_tape_free(tape);
    pal_params_free(params);
    pal_set_error_handler(NULL, NULL);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* ---- The probe ---- */

static double field(int n, const pal_field *f, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(f[i].name, name) == 0) return f[i].value;
    ck_abort_msg("there is no field %s", name);
    return 0;
}

/* The same numbers by operations. */
static double by_hand(pal_tensor x, int axis, int64_t head, int kind)
{
    const bool grad = pal_set_grad(tape, false);
    pal_tensor h = pal_contiguous(pal_select(kind == 2 ? pal_grad(x) : x, axis, head));
    double value = kind == 1 ? pal_item(pal_std(h, 3, (const int[]){0, 1, 2}, 0, false)) : 0;
    if (kind == 0) value = pal_item(pal_mean(h, PAL_ALL, false));
    if (kind == 2) value = sqrt(pal_item(pal_mean(pal_square(h), PAL_ALL, false)));
    pal_set_grad(tape, grad);
    return value;
}

typedef struct both {
    pal_probe *probe;
    pal_tensor b, state;
} both;

static bool look(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    both *w = user;
    const bool go_on = pal_probe_hook(w->probe, layer, name, t);
    if (layer == 1 && !strcmp(name, "b")) w->b = *t;
    if (layer == 1 && !strcmp(name, "state")) w->state = *t;
    return go_on;
}

START_TEST(probe_by_head)
{
    static const char *const kinds[] = {"mean", "dev", "grad"};
    static char before[4096];
    both w = {.probe = pal_probe_new("b,state")};
    pal_rng rng = pal_rng_new(1, 0);
    const pal_lm_opts o = {
        .vocab = 16, .width = 24, .layers = 2, .mixers = "gdn2:num_heads=2:head_dim=8"};
    pal_lm *lm = pal_lm_new(params, o, &rng);
    ck_assert_str_eq(pal_probe_columns(w.probe), "");
    for (int pass = 0; pass < 2; pass++) {
        int64_t tokens[10];
        const pal_field *f;
        for (int i = 0; i < 10; i++) tokens[i] = pal_rng_below(&rng, 16);
        pal_tape_reset(tape);
        const pal_tensor x = pal_from(tape, PAL_I64, PAL_SHAPE(2, 5), tokens);
        pal_backward(pal_lm_loss(lm, x, x, (pal_run_opts){.hook = look, .user = &w}));
        pal_probe_note(w.probe, "loss", 3 + pass);
        const int n = pal_probe_fields(w.probe, &f);
        ck_assert_int_eq(n, 1 + 2 * 2 * 2 * 3);
        ck_assert(strcmp(f[0].name, "loss") == 0 && f[0].value == 3 + pass);
        for (int h = 0; h < 2; h++)
            for (int k = 0; k < 3; k++) {
                char name[32];
                snprintf(name, sizeof name, "b.1.%d.%s", h, kinds[k]);
                ck_assert_double_eq_tol(field(n, f, name), by_hand(w.b, 2, h, k), 1e-6);
                snprintf(name, sizeof name, "state.1.%d.%s", h, kinds[k]);
                if (k < 2)
                    ck_assert_double_eq_tol(field(n, f, name), by_hand(w.state, 1, h, k), 1e-6);
                else
                    ck_assert(field(n, f, name) == 0); /* nothing depends on the last state */
            }
        ck_assert(field(n, f, "b.0.1.grad") > 0);
        if (pass) ck_assert_str_eq(pal_probe_columns(w.probe), before);
        snprintf(before, sizeof before, "%s", pal_probe_columns(w.probe));
    }
    const pal_field *f;
    ck_assert_int_eq(pal_probe_fields(w.probe, &f), 0); /* nothing was seen since */
    pal_probe_free(w.probe);
    ck_assert_ptr_null(pal_probe_new("b,,w"));
    ck_assert_int_eq(last.status, PAL_EVALUE);
}
END_TEST

/* ---- Models ---- */

START_TEST(predictor_with_inputs)
{
    pal_rng rng = pal_rng_new(2, 0);
    const pal_trunk_opts one = {.inputs = 1, .width = 16, .mixers = "gdn:num_heads=2:head_dim=8"};
    pal_trunk_opts wide = one;
    wide.inputs = 3;
    pal_predictor *p = pal_predictor_new(params, "a", one, 4, (pal_task_head_opts){0}, &rng);
    pal_predictor *q = pal_predictor_new(params, "b", wide, 2,
                                         (pal_task_head_opts){.pooling = PAL_POOL_NONE}, &rng);
    ck_assert_ptr_nonnull(pal_predictor_trunk(p));
    ck_assert(!pal_is_none(pal_params_find(params, "a.trunk.in.weight")));
    ck_assert(!pal_is_none(pal_params_find(params, "b.head.bias")));
    const pal_tensor flat = pal_normal(tape, PAL_F32, PAL_SHAPE(2, 5), 0, 1, &rng);
    const pal_tensor a = pal_predictor_forward(p, flat, (pal_run_opts){0});
    const pal_tensor b = pal_predictor_forward(p, pal_unsqueeze(flat, 2), (pal_run_opts){0});
    ck_assert(pal_dim(a, 0) == 2 && pal_dim(a, 1) == 4);
    ck_assert_int_eq(memcmp(pal_f32(a), pal_f32(b), 8 * sizeof(float)), 0);
    const pal_tensor x = pal_normal(tape, PAL_F32, PAL_SHAPE(2, 5, 3), 0, 1, &rng);
    const pal_tensor y = pal_predictor_forward(q, x, (pal_run_opts){0});
    ck_assert(pal_dim(y, 1) == 5 && pal_dim(y, 2) == 2);
    pal_backward(pal_sum(pal_square(y), PAL_ALL, false));
    const float *g = pal_f32(pal_grad(pal_params_find(params, "b.trunk.in.weight")));
    ck_assert(g[0] != 0 && isfinite(g[0]) && pal_tape_status(tape) == PAL_OK);
    pal_predictor_forward(q, flat, (pal_run_opts){0});
    ck_assert_msg(strstr(last.message, "argument x is f32[2,5] and should be f32[B,T,3]") != NULL,
                  "%s", last.message);
    wide.vocab = 5;
    ck_assert_ptr_null(pal_trunk_new(params, "c", wide, &rng));
    ck_assert_ptr_nonnull(strstr(last.message, "vocab together with inputs"));
}
END_TEST

START_TEST(accuracy_counts)
{
    const float s[] = {1, 2, 0, 5, 5, 1, 0, 0, 9, 3, 2, 1};
    const int64_t y[] = {1, 0, PAL_IGNORE, 2}, none[] = {-100, -100, -100, -100};
    const pal_tensor scores = pal_from(tape, PAL_F32, PAL_SHAPE(2, 2, 3), s);
    ck_assert_double_eq(pal_accuracy(scores, pal_from(tape, PAL_I64, PAL_SHAPE(2, 2), y)), 2.0 / 3);
    ck_assert(isnan(pal_accuracy(scores, pal_from(tape, PAL_I64, PAL_SHAPE(2, 2), none))));
    ck_assert(isnan(pal_accuracy(scores, pal_from(tape, PAL_I64, PAL_SHAPE(4), y))));
    ck_assert_int_eq(last.status, PAL_ESHAPE);
}
END_TEST

START_TEST(heads)
{
    pal_rng rng = pal_rng_new(3, 0);
    const pal_tensor w = pal_linear_weight(params, "w", 6, 4, PAL_F32, &rng);
    const pal_tensor x = pal_normal(tape, PAL_F32, PAL_SHAPE(2, 3, 4), 0, 1, &rng);
    const pal_tensor y = pal_linear_heads(x, w, 2);
    ck_assert(pal_dim(y, 2) == 2 && pal_dim(y, 3) == 3);
    const pal_tensor z = pal_merge_heads(y), wanted = pal_linear(x, w, PAL_NONE);
    ck_assert_int_eq(memcmp(pal_f32(z), pal_f32(wanted), 36 * sizeof(float)), 0);
    pal_linear_heads(x, w, 4);
    ck_assert_ptr_nonnull(strstr(last.message, "linear_heads: 4 heads of f32[2,3,6]"));
    pal_tape_reset(tape);
    pal_merge_heads(pal_zeros(tape, PAL_F32, PAL_SHAPE(2, 3)));
    ck_assert_ptr_nonnull(strstr(last.message, "merge_heads: argument x is f32[2,3]"));
}
END_TEST

/* ---- Logs ---- */

START_TEST(a_log_becomes_hdf5)
{
    char run[80], path[100];
    pal_journal *log = NULL;
    pal_h5 *file;
    double x[3];
    snprintf(run, sizeof run, "%s/run", folder);
    for (int step = 1; step <= 3; step++) {
        const pal_field f[] = {{"loss", 1.0 / step}, {"extra", step}};
        ok(pal_journal_add(&log, run, step, step == 2 ? 1 : 2, f, &error));
    }
    pal_fill(pal_param(params, "w", PAL_F32, PAL_SHAPE(2)), 7);
    ok(pal_journal_save(run, "all.h5", params, &error));
    pal_journal_close(log);
    snprintf(path, sizeof path, "%s/all.h5", run);
    ok(pal_h5_open(&file, path, &error));
    pal_array to = pal_array_of(PAL_F64, PAL_SHAPE(3), x);
    ok(pal_h5_get(file, "/log/step", &to, &error));
    ck_assert(x[0] == 1 && x[2] == 3);
    ok(pal_h5_get(file, "/log/loss", &to, &error));
    ck_assert_double_eq_tol(x[2], 1.0 / 3, 1e-6);
    ok(pal_h5_get(file, "/log/extra", &to, &error));
    ck_assert(x[0] == 1 && isnan(x[1]) && x[2] == 3);
    ck_assert(pal_h5_has(file, "/params/w"));
    pal_h5_close(file);
    snprintf(path, sizeof path, "%s/log.csv", run);
    FILE *f = fopen(path, "a");
    fputs("4,x,1\n", f);
    fclose(f);
    ck_assert_int_eq(pal_journal_save(run, "all.h5", NULL, &error), PAL_EFORMAT);
    ck_assert_ptr_nonnull(strstr(error.message, "row 4 is no row of a log"));
    ck_assert_int_eq(pal_journal_save(folder, "all.h5", NULL, &error), PAL_EIO);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("probe");
    TCase *c = tcase_create("probe");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, probe_by_head);
    tcase_add_test(c, predictor_with_inputs);
    tcase_add_test(c, accuracy_counts);
    tcase_add_test(c, heads);
    tcase_add_test(c, a_log_becomes_hdf5);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
