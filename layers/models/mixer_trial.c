/*
 * mixer_trial.c - what the checks of pal_mixer_test share: a mixer with inputs and parameters that
 * are the same each time, numbers to compare, and the report.
 */
#include "layers/models/mixer_test.h"
#include "tensor/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { B = PAL_TRIAL_ROWS, T = PAL_TRIAL_TOKENS };

/* ---- Numbers ---- */

double *pal_trial_draw(uint64_t stream, int64_t n)
{
    double *x = calloc((size_t)n + 1, sizeof *x);
    pal_rng rng = pal_rng_new(17, stream);
    const pal_array to = pal_array_of(PAL_F64, PAL_SHAPE(n), x);
    if (x) pal_rng_uniform(&rng, &to, -1, 1);
    for (int64_t i = 0; x && i < n; i++) x[i] = (float)x[i];
    return x;
}

static double *copy_of(pal_tensor t, int64_t *n)
{
    const pal_array from = pal_value(t);
    *n = pal_array_count(&from);
    double *x = calloc((size_t)*n + 1, sizeof *x);
    pal_array to = pal_array_of(PAL_F64, pal_array_shape(&from), x);
    if (x && pal_array_copy(&to, &from, NULL) != PAL_OK) *n = 0;
    return x;
}

void pal_numbers_add(pal_numbers *all, pal_tensor t)
{
    int64_t n;
    if (pal_is_none(t)) return;
    double *x = copy_of(t, &n), *more = realloc(all->x, (size_t)(all->n + n + 1) * sizeof *more);
    if (x && more) {
        memcpy(more + all->n, x, (size_t)n * sizeof *x);
        all->n += n;
    }
    if (more) all->x = more;
    free(x);
}

double pal_numbers_apart(const pal_numbers *a, const pal_numbers *b)
{
    double most = 0, apart = 0;
    if (a->n != b->n || a->n == 0) return HUGE_VAL;
    for (int64_t i = 0; i < a->n; i++) {
        most = fmax(most, fabs(b->x[i]));
        const double d = fabs(a->x[i] - b->x[i]);
        if (!(d <= apart)) apart = d; /* NaN too */
    }
    return apart / (most > 0 ? most : 1);
}

/* ---- A mixer on trial ---- */

bool pal_trial_make(pal_trial *t, const pal_mixer_trial *of, pal_dtype dtype)
{
    pal_rng rng = pal_rng_new(5, 0);
    *t = (pal_trial){.of = of, .dtype = dtype, .params = pal_params_new()};
    t->mixer = pal_mixer_new(t->params, "", of->width, dtype, of->text, &rng);
    for (int i = 0; t->mixer && i < pal_params_count(t->params); i++) {
        const pal_array value = pal_params_array(t->params, i);
        double *x = pal_trial_draw(100 + (uint64_t)i, pal_array_count(&value));
        for (int64_t j = 0; x && j < pal_array_count(&value); j++) x[j] = (float)(0.4 * x[j] + 0.1);
        const pal_array source = pal_array_of(PAL_F64, pal_array_shape(&value), x);
        pal_assign(pal_params_at(t->params, i), &source);
        free(x);
    }
    t->tape = pal_tape_new();
    return t->mixer != NULL;
}

void pal_trial_free(pal_trial *t)
{
    pal_tape_free(t->tape);
    pal_params_free(t->params);
}

pal_tensor pal_trial_input(pal_trial *t, pal_shape shape, const double *x)
{
    const pal_array from = pal_array_of(PAL_F64, shape, (void *)(uintptr_t)x);
    pal_tensor leaf = pal_zeros(t->tape, t->dtype, shape);
    if (pal_tape_status(t->tape) != PAL_OK) return leaf;
    pal_array to = leaf.node->a;
    return pal_array_copy(&to, &from, NULL) == PAL_OK ? pal_want_grad(leaf) : leaf;
}

pal_tensor pal_trial_tokens(pal_trial *t, int64_t rows, int64_t first, int64_t last)
{
    const int64_t d = t->of->width, n = last - first;
    double *all = pal_trial_draw(1, B * T * d), *x = calloc((size_t)(rows * n * d) + 1, sizeof *x);
    for (int64_t b = 0; all && x && b < rows; b++)
        memcpy(x + b * n * d, all + (b * T + first) * d, (size_t)(n * d) * sizeof *x);
    pal_tensor leaf = pal_trial_input(t, PAL_SHAPE(rows, n, d), x);
    free(all), free(x);
    return leaf;
}

/* The sum of <c, t> for cotangents c that depend on the number of t only. */
static pal_tensor weigh(pal_trial *t, pal_tensor sum, pal_tensor of, uint64_t number)
{
    if (pal_is_none(of) || pal_count(of) == 0) return sum;
    double *c = pal_trial_draw(1000 + number, pal_count(of));
    pal_tensor w = pal_detach(pal_trial_input(t, pal_shape_of(of), c));
    free(c);
    return pal_add(sum, pal_sum(pal_mul(w, of), PAL_ALL, false));
}

pal_tensor pal_trial_loss(pal_trial *t, pal_tensor y, const pal_mixer_state *state)
{
    pal_tensor sum = weigh(t, pal_scalar(t->tape, t->dtype, 0), y, 0);
    for (int i = 0; state && i < PAL_MIXER_PARTS && state->part[i].name; i++)
        sum = weigh(t, sum, state->part[i].tensor, 1 + (uint64_t)i);
    return sum;
}

/* ---- The report ---- */

void pal_trial_said(pal_mixer_trial *of, const char *what, double error, double most)
{
    const bool wrong = of->raised || !(error <= most);
    of->failed += wrong;
    if (of->raised)
        fprintf(of->report, "FAIL %-24s %s\n", what, of->error.message);
    else
        fprintf(of->report, "%s %-24s %.1e, at most %.1e\n", wrong ? "FAIL" : "ok  ", what, error,
                most);
    of->raised = false;
}
