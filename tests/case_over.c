/*
 * case_over.c - reductions over several axes, and variance and standard deviation. The reference
 * puts every element into the result that it belongs to.
 */
#include "tests/support/case.h"

#include <math.h>
#include <stdlib.h>

enum { SUM, MEAN, MAX, MIN, VAR, STD };

/* option = {operation, keep, correction, n, axes..} */
static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    const int n = (int)v->option[3];
    const bool keep = v->option[1] != 0;
    int axes[4];
    for (int i = 0; i < n; i++) axes[i] = (int)v->option[4 + i];
    switch ((int)v->option[0]) {
    case SUM:
        out[0] = pal_sum_over(in[0], n, axes, keep);
        return;
    case MEAN:
        out[0] = pal_mean_over(in[0], n, axes, keep);
        return;
    case MAX:
        out[0] = pal_max_over(in[0], n, axes, keep);
        return;
    case MIN:
        out[0] = pal_min_over(in[0], n, axes, keep);
        return;
    case VAR:
        out[0] = pal_var(in[0], n, axes, v->option[2], keep);
        return;
    default:
        out[0] = pal_std(in[0], n, axes, v->option[2], keep);
    }
}

static bool reduced(const pal_variant *v, int d, int ndim)
{
    for (int i = 0; i < (int)v->option[3]; i++) {
        int axis = (int)v->option[4 + i];
        if (axis == PAL_ALL || axis == d || axis == d - ndim) return true;
    }
    return false;
}

/* The place in the result, without the axes that are reduced, of element i. */
static int64_t place(const pal_variant *v, const pal_array *x, int64_t i)
{
    int64_t at = 0, step = 1;
    for (int d = x->ndim - 1; d >= 0; d--) {
        if (!reduced(v, d, x->ndim)) {
            at += i % x->shape[d] * step;
            step *= x->shape[d];
        }
        i /= x->shape[d];
    }
    return at;
}

static void result_shape(const pal_variant *v, const pal_array *x, const pal_array *out)
{
    pal_shape shape = {.ndim = 0};
    for (int d = 0; d < x->ndim; d++) {
        if (!reduced(v, d, x->ndim))
            shape.dim[shape.ndim++] = x->shape[d];
        else if (v->option[1] != 0)
            shape.dim[shape.ndim++] = 1;
    }
    pal_ref_shape(out, shape);
}

typedef struct sums {
    long double n, sum, squares;
    double max, min;
} sums;

static double finish(const pal_variant *v, const sums *s)
{
    const long double left = s->n - v->option[2];
    const double var = s->n == 0 ? NAN : (double)(s->squares / (left > 0 ? left : 0));
    const double values[] = {(double)s->sum, (double)(s->sum / s->n), s->max, s->min, var,
                             sqrt(var)};
    return values[(int)v->option[0]];
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    result_shape(v, in, out);
    const int64_t results = pal_array_count(out), n = pal_array_count(in);
    sums *s = calloc((size_t)results + 1, sizeof *s);
    for (int64_t i = 0; i < results; i++) s[i].max = -INFINITY, s[i].min = INFINITY;
    for (int64_t i = 0; i < n; i++) {
        sums *to = &s[place(v, in, i)];
        double x = pal_ref_get(in, i);
        to->n++, to->sum += x;
        to->max = isnan(x) || x > to->max ? x : to->max;
        to->min = isnan(x) || x < to->min ? x : to->min;
    }
    for (int64_t i = 0; i < n; i++) {
        sums *to = &s[place(v, in, i)];
        long double d = pal_ref_get(in, i) - to->sum / to->n;
        to->squares += d * d;
    }
    for (int64_t i = 0; i < results; i++) ((double *)out->data)[i] = finish(v, &s[i]);
    free(s);
}

#define S(...) .shape = PAL_DIMS(__VA_ARGS__)
#define V(n, op, keep, correction, ...)                                     \
    .name = n, .nin = 1, .nout = 1, .build = build, .reference = reference, \
    .option = {op, keep, correction, __VA_ARGS__}
/* Small where a larger one would change which element is the largest. */
#define STEP(op) ((op) == MAX || (op) == MIN ? 1e-6 : 0)
#define DISTINCT(...)                    \
    {                                    \
        S(__VA_ARGS__), .distinct = true \
    }
#define LAYOUTS(n, op, correction)                                                                \
    {V(n " one axis", op, 0, correction, 1, 1), .in = {DISTINCT(3, 4, 5)}},                       \
        {V(n " two, last", op, 0, correction, 2, -1, 1), .in = {DISTINCT(3, 4, 5)}},              \
        {V(n " two, around", op, 0, correction, 2, 0, 2), .in = {DISTINCT(4, 3, 5)}},             \
        {V(n " two, around, keep", op, 1, correction, 2, 2, 0), .in = {DISTINCT(4, 3, 5)}},       \
        {V(n " three, keep", op, 1, correction, 3, 0, 2, 3), .in = {DISTINCT(2, 3, 2, 4)}},       \
        {V(n " all", op, 0, correction, 1, PAL_ALL), .in = {DISTINCT(3, 7)}},                     \
        {V(n " all, keep", op, 1, correction, 2, 0, 1), .in = {DISTINCT(3, 7)}},                  \
        {V(n " no results", op, 0, correction, 2, 1, 2), .in = {{S(0, 3, 2)}}},                   \
    {                                                                                             \
        V(n " large", op, 0, correction, 2, 0, 2), .in = {DISTINCT(40, 9, 101)}, .step = STEP(op) \
    }

static const pal_variant variants[] = {
    LAYOUTS("sum", SUM, 0),
    LAYOUTS("mean", MEAN, 0),
    LAYOUTS("max", MAX, 0),
    LAYOUTS("min", MIN, 0),
    LAYOUTS("var", VAR, 1),
    LAYOUTS("std", STD, 1),
    {V("sum of none", SUM, 0, 0, 2, 0, 1), .in = {{S(3, 0, 2)}}},
    {V("mean of none", MEAN, 1, 0, 2, 0, 1), .in = {{S(3, 0, 2)}}},
    {V("var of none", VAR, 0, 0, 2, 0, 1), .in = {{S(3, 0, 2)}}},
    {V("sum i64", SUM, 0, 0, 2, 0, 2), .in = {{S(3, 4, 5), .integer = true, .low = -9, .high = 9}},
     .no_gradient = true},
    {V("max i64", MAX, 0, 0, 2, 0, 2), .in = {{S(3, 4, 5), .integer = true, .low = -9, .high = 9}},
     .no_gradient = true},
    {V("var of elements", VAR, 0, 0, 1, 0), .in = {{S(7, 3)}}},
    {V("std of elements", STD, 0, 0, 1, -1), .in = {{S(7, 3)}}},
    {V("var of a scalar", VAR, 0, 0, 1, PAL_ALL), .in = {{.low = 1, .high = 2}}, .f64 = 1e-12},
    {V("var of one, corrected", VAR, 0, 1, 1, 1), .in = {{S(3, 1)}}, .no_gradient = true},
    {V("var far from 0", VAR, 0, 1, 1, 1), .in = {{S(5, 60), .low = 1000, .high = 1001}},
     .f32 = 2e-6, .gradient = 1e-6},
    {V("std long", STD, 0, 1, 1, PAL_ALL), .in = {{S(3, 17000)}}},
};

const pal_case pal_case_over = {
    .name = "over", .count = sizeof variants / sizeof variants[0], .variants = variants};
