/*
 * test_optim.c - AdamW: its formula, padding, threads, wrong uses, failing memory, saved state;
 * clipping; and pal_optim_update. The other optimisers are in test_optim_formulas.c.
 */
#include "tests/support/check.h"
#include "tests/support/isa.h"
#include "tests/support/optim_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 37 };

/* Three parameters: one that decays, one that does not, one that is frozen. */
static pal_params *three(pal_dtype dtype)
{
    pal_params *p = pal_params_new();
    optim_fill_value(pal_param(p, "w", dtype, PAL_SHAPE(N)), 1);
    optim_fill_value(pal_no_decay(pal_param(p, "b", dtype, PAL_SHAPE(N))), 2);
    optim_fill_value(pal_freeze(pal_param(p, "f", dtype, PAL_SHAPE(N)), true), 3);
    return p;
}

/* ---- AdamW ---- */

/* The formula as it is printed, in double, one number at a time. */
typedef struct plain {
    double x[N], m[N], v[N];
} plain;
static void plain_step(plain *s, const double *g, int t, double lr, pal_adamw_opts o, double decay)
{
    for (int i = 0; i < N; i++) {
        s->m[i] = o.beta1 * s->m[i] + (1 - o.beta1) * g[i];
        s->v[i] = o.beta2 * s->v[i] + (1 - o.beta2) * g[i] * g[i];
        double m_hat = s->m[i] / (1 - pow(o.beta1, t)), v_hat = s->v[i] / (1 - pow(o.beta2, t));
        s->x[i] = s->x[i] - lr * decay * s->x[i] - lr * m_hat / (sqrt(v_hat) + o.eps);
    }
}

static void against_the_formula(pal_dtype dtype, double tolerance)
{
    pal_adamw_opts o = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1};
    pal_params *p = three(dtype);
    pal_optim *adamw = pal_adamw_new(p, o);
    plain want[3];
    memset(want, 0, sizeof want);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < N; j++) want[i].x[j] = optim_at(pal_params_array(p, i), j);
    for (int t = 1; t <= 10; t++) {
        double lr = 0.01 * t;
        optim_fill_grad(p, (uint64_t)t);
        for (int i = 0; i < 2; i++) {
            double g[N];
            for (int j = 0; j < N; j++) g[j] = optim_grad_at(p, i, j);
            plain_step(&want[i], g, t, lr, o, i == 0 ? o.decay : 0);
        }
        ck_assert_int_eq(pal_optim_step(adamw, lr), PAL_OK);
    }
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < N; j++) {
            double got = optim_at(pal_params_array(p, i), j), error = fabs(got - want[i].x[j]);
            if (!(error <= (i == 2 ? 0 : tolerance)))
                ck_abort_msg("%s[%d] is %.17g where the formula gives %.17g", pal_params_name(p, i),
                             j, got, want[i].x[j]);
        }
    ck_assert_int_eq(pal_optim_steps(adamw), 10);
    pal_optim_free(adamw);
    pal_params_free(p);
}

START_TEST(ten_steps_follow_the_formula)
{
    for (int isa = 0; isa < ISAS; isa++) {
        if (!isa_select(isa)) continue;
        against_the_formula(PAL_F64, 1e-13);
        against_the_formula(PAL_F32, 3e-6);
    }
    isa_select_best();
}
END_TEST

/* With a zero gradient only the decay moves a parameter. */
START_TEST(decay_is_real_and_has_two_groups)
{
    pal_params *p = three(PAL_F64);
    pal_optim *adamw = pal_adamw_new(p, (pal_adamw_opts){.decay = 0.5});
    double w = optim_at(pal_params_array(p, 0), 3), b = optim_at(pal_params_array(p, 1), 3);
    ck_assert_int_eq(pal_optim_step(adamw, 0.1), PAL_OK);
    ck_assert_double_eq_tol(optim_at(pal_params_array(p, 0), 3), w * (1 - 0.1 * 0.5), 1e-15);
    ck_assert(optim_at(pal_params_array(p, 1), 3) == b);
    pal_optim_free(adamw);
    pal_params_free(p);
}
END_TEST

START_TEST(padding_stays_zero)
{
    pal_params *p = three(PAL_F32);
    pal_optim *adamw = pal_adamw_new(p, (pal_adamw_opts){.decay = 0.1});
    for (int t = 0; t < 3; t++) {
        optim_fill_grad(p, 7);
        pal_clip_grad_norm(p, 0.1);
        ck_assert_int_eq(pal_optim_step(adamw, 0.1), PAL_OK);
    }
    pal_param_block b = pal_params_block(p, 0);
    pal_span first = pal_params_span(p, 0), second = pal_params_span(p, 1);
    ck_assert_int_gt(second.offset, first.offset + first.count);
    for (int64_t i = first.offset + first.count; i < second.offset; i++)
        ck_assert(((float *)b.value)[i] == 0 && ((float *)b.grad)[i] == 0);
    pal_optim_free(adamw);
    pal_params_free(p);
}
END_TEST

/* Large enough that a team works on it; the sizes are no multiple of a piece. */
static pal_params *large(void)
{
    pal_params *p = pal_params_new();
    optim_fill_value(pal_param(p, "w", PAL_F32, PAL_SHAPE(301, 517)), 1);
    optim_fill_value(pal_no_decay(pal_param(p, "b", PAL_F32, PAL_SHAPE(517))), 2);
    optim_fill_value(pal_param(p, "u", PAL_F32, PAL_SHAPE(517, 211)), 3);
    return p;
}

START_TEST(threads_do_not_change_a_bit)
{
    static const int teams[] = {1, 2, 3, 16};
    pal_params *all[4];
    double norm[4] = {0};
    for (int k = 0; k < 4; k++) {
        pal_set_threads(teams[k]);
        pal_params *p = all[k] = large();
        pal_optim *adamw = pal_adamw_new(p, (pal_adamw_opts){.decay = 0.1});
        for (int t = 0; t < 3; t++) {
            optim_fill_grad(p, (uint64_t)t);
            norm[k] = pal_clip_grad_norm(p, 1);
            pal_optim_step(adamw, 0.01);
        }
        pal_optim_free(adamw);
        ck_assert(norm[k] > 1 && norm[k] == norm[0]);
        for (int i = 0; i < pal_params_blocks(p); i++) {
            pal_param_block a = pal_params_block(all[0], i), b = pal_params_block(p, i);
            ck_assert(!memcmp(a.value, b.value, (size_t)b.count * sizeof(float)));
        }
    }
    for (int k = 0; k < 4; k++) pal_params_free(all[k]);
}
END_TEST

START_TEST(wrong_uses_are_named)
{
    pal_params *p = three(PAL_F32);
    ck_assert(!pal_adamw_new(p, (pal_adamw_opts){.beta1 = 1}));
    ck_assert(optim_last.status == PAL_EVALUE && strstr(optim_last.message, "beta1"));
    ck_assert(!pal_adamw_new(p, (pal_adamw_opts){.decay = (double)NAN}));
    ck_assert(strstr(optim_last.message, "decay"));
    ck_assert(!pal_adamw_new(NULL, (pal_adamw_opts){0}));
    pal_optim *adamw = pal_adamw_new(p, (pal_adamw_opts){0});
    double before = optim_at(pal_params_array(p, 0), 0);
    pal_param(p, "late", PAL_F32, PAL_SHAPE(2));
    optim_fill_grad(p, 1);
    ck_assert_int_eq(pal_optim_step(adamw, 0.1), PAL_EVALUE);
    ck_assert(strstr(optim_last.message, "3 parameters") &&
              optim_at(pal_params_array(p, 0), 0) == before);
    ck_assert_int_eq(pal_optim_steps(adamw), 0);
    pal_optim_free(adamw);
    pal_params_free(p);
}
END_TEST

/* ---- Failing allocations ---- */

START_TEST(every_allocation_may_fail)
{
    int failures = 0;
    optim_budget b = {.left = 1000};
    pal_set_allocator(optim_meagre, &b);
    pal_params *p = large();
    int64_t base = b.live;
    for (int64_t n = 0;; n++) {
        b.left = n;
        optim_last.status = PAL_OK;
        pal_optim *adamw = pal_adamw_new(p, (pal_adamw_opts){0});
        if (adamw) {
            pal_optim_free(adamw);
            ck_assert(b.live == base);
            break;
        }
        failures++;
        ck_assert(optim_last.status == PAL_ENOMEM && b.live == base);
    }
    ck_assert_int_ge(failures, 4);
    pal_params_free(p);
    ck_assert(b.live == 0);
    pal_set_allocator(NULL, NULL);
}
END_TEST

/* ---- State in a file ---- */

START_TEST(saved_state_continues_bit_for_bit)
{
    char path[OPTIM_PATH];
    optim_temporary(path);
    pal_error error = {0};
    pal_params *p = three(PAL_F32), *q = three(PAL_F32);
    pal_adamw_opts o = {.decay = 0.1};
    pal_optim *a = pal_adamw_new(p, o), *b = pal_adamw_new(q, o);
    for (int t = 0; t < 6; t++) {
        if (t == 3) {
            pal_h5 *file = NULL;
            ck_assert(pal_h5_create(&file, path, &error) == PAL_OK);
            ck_assert(pal_params_put(p, file, "/params", &error) == PAL_OK);
            ck_assert(pal_optim_put(a, file, "/adamw", &error) == PAL_OK);
            ck_assert_msg(pal_h5_commit(file, &error) == PAL_OK, "%s", error.message);
            ck_assert(pal_h5_open(&file, path, &error) == PAL_OK);
            ck_assert(pal_params_get(q, file, "/params", &error) == PAL_OK);
            ck_assert_msg(pal_optim_get(b, file, "/adamw", &error) == PAL_OK, "%s", error.message);
            pal_h5_close(file);
            ck_assert_int_eq(pal_optim_steps(b), 3);
        }
        optim_fill_grad(p, (uint64_t)t);
        pal_optim_step(a, 0.01);
        if (t < 3) continue;
        optim_fill_grad(q, (uint64_t)t);
        pal_optim_step(b, 0.01);
    }
    for (int i = 0; i < 3; i++)
        ck_assert(
            !memcmp(pal_params_array(p, i).data, pal_params_array(q, i).data, N * sizeof(float)));

    /* A state that does not fit is refused and changes nothing. */
    pal_params *other = pal_params_new();
    pal_param(other, "w", PAL_F32, PAL_SHAPE(N + 1));
    pal_optim *c = pal_adamw_new(other, o);
    pal_h5 *file = NULL;
    ck_assert(pal_h5_open(&file, path, &error) == PAL_OK);
    ck_assert(pal_optim_get(c, file, "/adamw", &error) == PAL_EFORMAT);
    ck_assert_msg(strstr(error.message, "/adamw/m/w") && strstr(error.message, "f32[38]"), "%s",
                  error.message);
    ck_assert(pal_optim_get(c, file, "/nothing", &error) == PAL_EFORMAT);
    ck_assert_int_eq(pal_optim_steps(c), 0);
    pal_h5_close(file);
    pal_optim_free(a);
    pal_optim_free(b);
    pal_optim_free(c);
    pal_params_free(p);
    pal_params_free(q);
    pal_params_free(other);
    remove(path);
}
END_TEST

/* ---- Clipping ---- */

START_TEST(clipping_scales_to_the_norm)
{
    pal_params *p = three(PAL_F64);
    optim_fill_grad(p, 5);
    double sum = 0;
    for (int i = 0; i < 2; i++) /* the third is frozen */
        for (int j = 0; j < N; j++) sum += optim_grad_at(p, i, j) * optim_grad_at(p, i, j);
    double first = optim_grad_at(p, 0, 4), frozen = optim_grad_at(p, 2, 4), norm = sqrt(sum);
    ck_assert_double_eq_tol(pal_clip_grad_norm(p, 0), norm, 1e-13 * norm);
    ck_assert(optim_grad_at(p, 0, 4) == first);
    pal_clip_grad_norm(p, 2 * norm);
    ck_assert(optim_grad_at(p, 0, 4) == first);
    ck_assert_double_eq_tol(pal_clip_grad_norm(p, 0.25), norm, 1e-13 * norm);
    ck_assert_double_eq_tol(optim_grad_at(p, 0, 4), first * 0.25 / (norm + 1e-6), 1e-15);
    ck_assert_double_eq_tol(pal_clip_grad_norm(p, 0), 0.25 * norm / (norm + 1e-6), 1e-14);
    ck_assert(optim_grad_at(p, 2, 4) == frozen);
    pal_params_free(p);
}
END_TEST

START_TEST(clipping_has_edges)
{
    pal_params *p = pal_params_new();
    ck_assert(pal_clip_grad_norm(p, 1) == 0);
    pal_tensor w = pal_param(p, "w", PAL_F32, PAL_SHAPE(3));
    ck_assert(pal_clip_grad_norm(p, 1) == 0);
    pal_param_block b = pal_params_block(p, 0);
    ((float *)b.grad)[0] = 1e30f; /* its square is beyond f32 */
    ck_assert_double_eq_tol(pal_clip_grad_norm(p, 1), 1e30, 1e24);
    ck_assert_double_eq_tol(((float *)b.grad)[0], 1, 1e-6);
    ((float *)b.grad)[1] = (float)NAN;
    ck_assert(isnan(pal_clip_grad_norm(p, 0.5)) && ((float *)b.grad)[0] > 0.9f);
    pal_freeze(w, true);
    ck_assert(pal_clip_grad_norm(p, 1) == 0);
    pal_params_free(p);
}
END_TEST

/* ---- A step in one call ---- */

/* Both dtypes, a matrix of many pieces, parameters without decay and frozen. */
static pal_params *mixed(void)
{
    pal_params *p = pal_params_new();
    optim_fill_value(pal_param(p, "w", PAL_F32, PAL_SHAPE(131, 317)), 1);
    optim_fill_value(pal_freeze(pal_param(p, "f", PAL_F32, PAL_SHAPE(N)), true), 2);
    optim_fill_value(pal_no_decay(pal_param(p, "b", PAL_F32, PAL_SHAPE(N))), 3);
    optim_fill_value(pal_param(p, "d", PAL_F64, PAL_SHAPE(N, 9)), 4);
    return p;
}

static void expect_no_gradients(const pal_params *p, const char *what)
{
    for (int i = 0; pal_params_block(p, i).count > 0; i++) {
        const pal_param_block b = pal_params_block(p, i);
        for (int64_t j = 0; b.grad && j < b.count; j++)
            ck_assert_msg(optim_at(pal_array_of(b.dtype, PAL_SHAPE(b.count), b.grad), j) == 0,
                          "%s: gradient %lld of block %d is left", what, (long long)j, i);
    }
}

/* Norms to clip to: none, one that changes nothing, one that scales, one whose factor is no normal
 * float. */
START_TEST(one_call_does_what_three_do)
{
    static const double clip[] = {0, 1e9, 0.5, 1e-37};
    for (int k = 0; k < OPTIM_KINDS; k++) {
        pal_params *p = mixed(), *q = mixed();
        pal_optim *o = optim_kinds[k].make(p, NULL, 0), *r = optim_kinds[k].make(q, NULL, 0);
        for (int t = 0; t < 8; t++) {
            optim_fill_grad(p, (uint64_t)t);
            optim_fill_grad(q, (uint64_t)t);
            const double norm = pal_clip_grad_norm(q, clip[t % 4]);
            ck_assert_int_eq(pal_optim_step(r, 0.01), PAL_OK);
            ck_assert(pal_optim_update(o, clip[t % 4], 0.01) == norm && norm > 1);
            ck_assert_msg(optim_same(p, q), "%s, step %d", optim_kinds[k].name, t);
            expect_no_gradients(p, optim_kinds[k].name);
        }
        ck_assert_int_eq(optim_last.status, PAL_OK);
        pal_optim_free(o);
        pal_optim_free(r);
        pal_params_free(p);
        pal_params_free(q);
    }
}
END_TEST

/* A step that is refused leaves the weights, but no gradients. */
START_TEST(one_call_may_be_refused)
{
    for (int how = 0; how < 3; how++) {
        pal_params *p = mixed(), *q = mixed();
        pal_optim *o = pal_adamw_new(p, (pal_adamw_opts){0});
        optim_fill_grad(p, 1);
        pal_param_block b = pal_params_block(p, 0);
        if (how == 0) ((float *)b.grad)[5] = (float)NAN;
        if (how == 2) {
            pal_param(p, "late", PAL_F32, PAL_SHAPE(3));
            pal_param(q, "late", PAL_F32, PAL_SHAPE(3));
        }
        ck_assert(isnan(pal_optim_update(o, 1, how == 1 ? INFINITY : 0.1)) == (how == 0));
        ck_assert_int_eq(optim_last.status, how == 0 ? PAL_ENUMERIC : PAL_EVALUE);
        ck_assert(optim_same(p, q) && pal_optim_steps(o) == 0);
        expect_no_gradients(p, "refused");
        optim_last.status = PAL_OK;
        pal_optim_free(o);
        pal_params_free(p);
        pal_params_free(q);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("optim");
    TCase *c = tcase_create("optim");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, optim_setup, optim_teardown);
    tcase_add_test(c, ten_steps_follow_the_formula);
    tcase_add_test(c, decay_is_real_and_has_two_groups);
    tcase_add_test(c, padding_stays_zero);
    tcase_add_test(c, threads_do_not_change_a_bit);
    tcase_add_test(c, wrong_uses_are_named);
    tcase_add_test(c, every_allocation_may_fail);
    tcase_add_test(c, saved_state_continues_bit_for_bit);
    tcase_add_test(c, clipping_scales_to_the_norm);
    tcase_add_test(c, clipping_has_edges);
    tcase_add_test(c, one_call_does_what_three_do);
    tcase_add_test(c, one_call_may_be_refused);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
