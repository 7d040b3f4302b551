/*
 * trial.c - a function of parameters and an input, run forward and backward.
 */
#include "tests/support/trial.h"
#include "tests/support/check.h"
#include "tests/support/inputs.h"
#include "tests/support/node.h"
#include "tests/support/rule_compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void backward(pal_tape *tape, int n, const pal_tensor *out, pal_dtype dtype)
{
    pal_tensor from[TRIAL_OUTPUTS], cotangent[TRIAL_OUTPUTS];
    int many = 0;
    for (int i = 0; i < n; i++) {
        if (!needs_grad(out[i])) continue;
        double *draws = malloc((size_t)pal_count(out[i]) * sizeof *draws + 8);
        pal_draw_cotangent(100 + (uint64_t)i, pal_count(out[i]), draws);
        pal_array a = pal_array_of(PAL_F64, pal_shape_of(out[i]), draws);
        from[many] = out[i];
        cotangent[many++] = pal_input_leaf(tape, &a, dtype, false, false);
        free(draws);
    }
    if (many) ck_assert(pal_backward_from(many, from, cotangent) == PAL_OK);
}

static void put(trial_result *r, const char *name, pal_tensor t)
{
    ck_assert_int_lt(r->count, TRIAL_VALUES);
    r->name[r->count] = name;
    r->value[r->count++] = run_doubles(t);
}

trial_result trial_run(const trial *t)
{
    trial_result r = {0};
    pal_tape *tape = pal_tape_new();
    pal_tensor x = PAL_NONE, out[TRIAL_OUTPUTS];
    if (t->x) x = pal_input_leaf(tape, t->x, t->dtype, false, true);
    pal_params_zero_grad(t->params);
    r.outputs = t->fn(t->context, tape, x, out);
    backward(tape, r.outputs, out, t->dtype);
    for (int i = 0; i < r.outputs; i++) put(&r, "output", out[i]);
    if (t->x) {
        pal_tensor g = pal_grad(x);
        put(&r, "x", pal_is_none(g) ? pal_zeros(tape, t->dtype, pal_shape_of(x)) : g);
    }
    for (int i = 0; i < pal_params_count(t->params); i++)
        put(&r, pal_params_name(t->params, i), pal_grad(pal_params_at(t->params, i)));
    pal_tape_free(tape);
    return r;
}

void trial_free(trial_result *r)
{
    for (int i = 0; i < r->count; i++) free(r->value[i].data);
}

double trial_distance(const trial_result *r, const trial_result *ref, int from, int to,
                      const char **worst)
{
    double most = -1;
    for (int i = from; i < to; i++) {
        ck_assert_msg(
            pal_shape_equal(pal_array_shape(&r->value[i]), pal_array_shape(&ref->value[i])),
            "%s has two shapes", ref->name[i]);
        double error =
            run_error(pal_array_count(&ref->value[i]), r->value[i].data, ref->value[i].data);
        if (error <= most) continue; /* NaN is worse than all */
        most = error;
        if (worst) *worst = ref->name[i];
        if (isnan(error)) break;
    }
    return most;
}

void trial_agree(const trial_result *r, const trial_result *ref, double outputs, double gradients,
                 const char *text)
{
    const char *worst = "";
    ck_assert_int_eq(r->outputs, ref->outputs);
    ck_assert_int_eq(r->count, ref->count);
    double error = trial_distance(r, ref, 0, r->outputs, &worst);
    ck_assert_msg(error <= outputs, "%s: outputs differ by %.3g, more than %.3g", text, error,
                  outputs);
    error = trial_distance(r, ref, r->outputs, r->count, &worst);
    ck_assert_msg(error <= gradients, "%s: gradients of %s differ by %.3g, more than %.3g", text,
                  worst, error, gradients);
}

/* ---- What is drawn ---- */

pal_array trial_input(uint64_t seed, pal_shape shape)
{
    pal_array a = pal_array_of(PAL_F64, shape, NULL);
    int64_t n = pal_array_count(&a);
    double *x = malloc((size_t)n * sizeof *x + 8);
    ck_assert(x != NULL);
    pal_draw_cotangent(seed, n, x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)tanh(x[i]);
    a.data = x;
    return a;
}

void trial_draw(pal_params *params, uint64_t seed)
{
    for (int i = 0; i < pal_params_count(params); i++) {
        pal_array to = pal_params_array(params, i);
        pal_array a = trial_input(1000 * seed + (uint64_t)i, pal_array_shape(&to));
        double *x = a.data, at = strstr(pal_params_name(params, i), "dt_bias") ? -2 : 0.1;
        for (int64_t j = 0; j < pal_array_count(&a); j++) x[j] = (float)(0.5 * x[j] + at);
        pal_assign(pal_params_at(params, i), &a);
        free(x);
    }
}

trial_layer trial_layer_new(const char *text, int64_t width, pal_dtype dtype, uint64_t seed)
{
    trial_layer l = {.params = pal_params_new()};
    pal_rng rng = pal_rng_new(1, 0);
    l.mixer = pal_mixer_new(l.params, "", width, dtype, text, &rng);
    ck_assert(l.mixer != NULL);
    trial_draw(l.params, seed);
    return l;
}
