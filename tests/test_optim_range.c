/*
 * test_optim_range.c - gradients at the end of the range, and beyond it: every optimiser keeps its
 * moments finite, refuses what is not finite before it changes anything, and its files hold no
 * such number.
 */
#include "tests/support/optim_test.h"

#include "optim/optimisers/internal.h"
#include "optim/train.h"
#include "tests/support/check.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROWS = 4, N = 6 };

/* A matrix and a vector, so that Muon does both of its updates. */
static pal_params *two(pal_dtype dtype)
{
    pal_params *p = pal_params_new();
    optim_fill_value(pal_param(p, "matrix", dtype, PAL_SHAPE(ROWS, N)), 1);
    optim_fill_value(pal_param(p, "vector", dtype, PAL_SHAPE(N)), 2);
    return p;
}

static void set_gradient(pal_params *p, int i, int64_t j, double value)
{
    const pal_param_block b = pal_params_block(p, 0);
    const int64_t at = pal_params_span(p, i).offset + j;
    if (b.dtype == PAL_F32)
        ((float *)b.grad)[at] = (float)value;
    else
        ((double *)b.grad)[at] = value;
}

static bool finite_state(const pal_optim *o, pal_error *error)
{
    return pal_state_finite(&o->state, "the moment", error) == PAL_OK &&
           !pal_bad_parameter(o->params);
}

static void spike(const optim_kind *kind, pal_dtype dtype, double value)
{
    pal_params *p = two(dtype);
    pal_optim *o = kind->make(p, NULL, 0);
    for (int step = 0; step < 30; step++) {
        optim_fill_grad(p, (uint64_t)step);
        if (step >= 2 && step < 12)
            for (int i = 0; i < 2; i++) set_gradient(p, i, 1, step % 2 ? value : -value);
        ck_assert_int_eq(pal_optim_step(o, 1e-30), PAL_OK);
        pal_error error = {PAL_OK, ""};
        ck_assert_msg(finite_state(o, &error), "%s %s: step %d with a gradient of %g: %s",
                      kind->name, pal_dtype_name(dtype), step, value, error.message);
    }
    pal_optim_free(o);
    pal_params_free(p);
}

START_TEST(moments_stay_finite)
{
    for (int k = 0; k < OPTIM_KINDS; k++) {
        spike(&optim_kinds[k], PAL_F32, 1e21);
        spike(&optim_kinds[k], PAL_F32, 3e38);
        spike(&optim_kinds[k], PAL_F64, 1e170);
        spike(&optim_kinds[k], PAL_F64, 1.7e308);
    }
}
END_TEST

/* The second parameter is bad, so an update in order would have changed the first. */
START_TEST(what_is_not_finite_is_refused)
{
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    for (int k = 0; k < OPTIM_KINDS; k++)
        for (int dtype = 0; dtype < 2; dtype++)
            for (int i = 0; i < 3; i++) {
                const pal_dtype type = dtype ? PAL_F64 : PAL_F32;
                pal_params *p = two(type), *q = two(type);
                pal_optim *o = optim_kinds[k].make(p, NULL, 0),
                          *r = optim_kinds[k].make(q, NULL, 0);
                optim_fill_grad(p, 1);
                optim_fill_grad(q, 1);
                set_gradient(p, 1, 3, bad[i]);
                ck_assert_int_eq(pal_optim_step(o, 0.1), PAL_ENUMERIC);
                ck_assert_ptr_nonnull(strstr(optim_last.message, "vector"));
                ck_assert(optim_same(p, q));
                ck_assert_int_eq(pal_optim_steps(o), 0);
                optim_fill_grad(p, 1); /* the moments have not changed either */
                ck_assert_int_eq(pal_optim_step(o, 0.1), PAL_OK);
                ck_assert_int_eq(pal_optim_step(r, 0.1), PAL_OK);
                ck_assert(optim_same(p, q));
                pal_optim_free(o);
                pal_optim_free(r);
                pal_params_free(p);
                pal_params_free(q);
            }
}
END_TEST

/* What was known of the gradients of a refused step says nothing of those of the next. */
START_TEST(a_refused_step_forgets_what_was_known)
{
    pal_params *p = two(PAL_F32);
    pal_optim *o = pal_adamw_new(p, (pal_adamw_opts){0});
    optim_fill_grad(p, 1);
    o->known_finite = true;
    ck_assert_int_eq(pal_optim_step(o, NAN), PAL_EVALUE);
    set_gradient(p, 1, 3, NAN);
    ck_assert_int_eq(pal_optim_step(o, 0.1), PAL_ENUMERIC);
    optim_fill_grad(p, 2);
    o->known_finite = true;
    ck_assert_int_eq(pal_optim_step(o, 0.1), PAL_OK);
    set_gradient(p, 1, 3, NAN);
    ck_assert_int_eq(pal_optim_step(o, 0.1), PAL_ENUMERIC);
    pal_optim_free(o);
    pal_params_free(p);
}
END_TEST

/* A gradient that the optimiser does not use is not looked at. */
START_TEST(frozen_gradients_do_not_count)
{
    pal_params *p = two(PAL_F32);
    pal_optim *o = pal_adamw_new(p, (pal_adamw_opts){0});
    optim_fill_grad(p, 1);
    set_gradient(p, 1, 3, NAN);
    pal_freeze(pal_params_at(p, 1), true);
    ck_assert_int_eq(pal_optim_step(o, 0.1), PAL_OK);
    pal_optim_free(o);
    pal_params_free(p);
}
END_TEST

START_TEST(files_hold_finite_moments)
{
    char path[OPTIM_PATH];
    pal_error error;
    pal_h5 *file;
    optim_temporary(path);
    pal_params *p = two(PAL_F32);
    pal_optim *o = pal_adamw_new(p, (pal_adamw_opts){0});
    optim_fill_grad(p, 1);
    ck_assert_int_eq(pal_optim_step(o, 0.1), PAL_OK);
    float *v = pal_state_at(&o->state, 1, 1);
    const float before = v[2];
    v[2] = INFINITY;
    const pal_checkpoint c = {.params = p, .optim = o, .step = 1};
    ck_assert_int_eq(pal_checkpoint_save(&c, path, &error), PAL_ENUMERIC);
    ck_assert_ptr_nonnull(strstr(error.message, "vector"));
    /* One that was written elsewhere. */
    ck_assert_int_eq(pal_h5_create(&file, path, &error), PAL_OK);
    ck_assert_int_eq(pal_optim_put(o, file, "/optim", &error), PAL_OK);
    ck_assert_int_eq(pal_h5_commit(file, &error), PAL_OK);
    v[2] = before;
    ck_assert_int_eq(pal_h5_open(&file, path, &error), PAL_OK);
    ck_assert_int_eq(pal_optim_get(o, file, "/optim", &error), PAL_ENUMERIC);
    pal_h5_close(file);
    ck_assert_ptr_nonnull(strstr(error.message, "/optim/v/vector"));
    ck_assert(((float *)pal_state_at(&o->state, 1, 1))[2] == before);
    unlink(path);
    pal_optim_free(o);
    pal_params_free(p);
}
END_TEST

/* ---- In the loop ---- */

static double steepness;

static pal_tensor steep(void *user, pal_tape *tape, int64_t number, pal_batch *batch)
{
    pal_params *p = user;
    (void)batch;
    pal_tensor w = pal_on(tape, pal_params_at(p, 0)), b = pal_on(tape, pal_params_at(p, 1));
    return pal_affine(pal_add(pal_sum(w, PAL_ALL, false), pal_sum(b, PAL_ALL, false)),
                      number == 1 ? steepness : 1, 0);
}

/* A step whose gradients are all `steepness`: refused, and nothing has changed, or `fits`. */
static void steep_step(const optim_kind *kind, pal_dtype dtype, double value, bool fits)
{
    pal_params *p = two(dtype), *q = two(dtype);
    pal_error error = {PAL_OK, ""};
    pal_step made;
    pal_train_opts o = {.params = p,
                        .optim = kind->make(p, NULL, 0),
                        .tape = pal_tape_new(),
                        .schedule = {.kind = PAL_CONSTANT, .lr = 1e-30},
                        .loss = steep,
                        .user = p,
                        .steps = 2};
    steepness = value;
    const pal_status s = pal_train_step(&o, 1, &made, &error);
    ck_assert_msg((s == PAL_OK) == fits, "%s %s, gradients of %g: %d %s", kind->name,
                  pal_dtype_name(dtype), value, (int)s, error.message);
    if (!fits) {
        ck_assert_int_eq(s, PAL_ENUMERIC);
        ck_assert_ptr_nonnull(strstr(error.message, "step 2: the gradient of parameter "));
        ck_assert(optim_same(p, q));
        ck_assert_int_eq(pal_optim_steps(o.optim), 0);
        o.clip = 1;
        ck_assert_int_eq(pal_train_step(&o, 1, &made, &error), PAL_OK);
    }
    pal_tape_free(o.tape);
    pal_optim_free(o.optim);
    pal_params_free(p);
    pal_params_free(q);
}

/* Muon has AdamW's moments for the vector, and a momentum for the matrix. */
START_TEST(the_loop_names_a_gradient_that_is_too_large)
{
    for (int k = 0; k < OPTIM_KINDS; k++) {
        pal_params *p = two(PAL_F32);
        pal_optim *o = optim_kinds[k].make(p, NULL, 0);
        const int moments = o->setting[1].moments;
        const bool lion = strcmp(optim_kinds[k].name, "lion") == 0, clamps = moments > 0 && !lion;
        pal_optim_free(o);
        pal_params_free(p);
        steep_step(&optim_kinds[k], PAL_F32, 1e18, true);
        steep_step(&optim_kinds[k], PAL_F32, 1e21, moments < PAL_MOMENTS);
        steep_step(&optim_kinds[k], PAL_F32, 1e37, !clamps);
        steep_step(&optim_kinds[k], PAL_F64, 1e153, true);
        steep_step(&optim_kinds[k], PAL_F64, 1e160, moments < PAL_MOMENTS);
        steep_step(&optim_kinds[k], PAL_F64, 1e307, !clamps);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("optim_range");
    TCase *tc = tcase_create("optim_range");
    tcase_add_checked_fixture(tc, optim_setup, optim_teardown);
    tcase_set_timeout(tc, 20);
    tcase_add_test(tc, moments_stay_finite);
    tcase_add_test(tc, what_is_not_finite_is_refused);
    tcase_add_test(tc, a_refused_step_forgets_what_was_known);
    tcase_add_test(tc, frozen_gradients_do_not_count);
    tcase_add_test(tc, files_hold_finite_moments);
    tcase_add_test(tc, the_loop_names_a_gradient_that_is_too_large);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
