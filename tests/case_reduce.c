/*
 * case_reduce.c - reductions along one axis and over all elements. The reduced elements are
 * contiguous or strided, and some shapes are large enough to be divided into parts.
 */
#include "tests/support/case.h"

#include <math.h>

typedef pal_tensor reduce_fn(pal_tensor x, int axis, bool keep);
enum { SUM, MEAN, MAX, MIN, ARGMAX, ARGMIN, LOGSUMEXP, NORM };

/* option = {operation, axis, keep} */
static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    static reduce_fn *const ops[] = {pal_sum,    pal_mean,   pal_max,       pal_min,
                                     pal_argmax, pal_argmin, pal_logsumexp, pal_norm};
    out[0] = ops[(int)v->option[0]](in[0], (int)v->option[1], v->option[2] != 0);
}

/* n numbers of x: elements first, first + step, ... */
typedef struct line {
    const pal_array *x;
    int64_t first, step, n;
} line;

static double at(const line *l, int64_t i) { return pal_ref_get(l->x, l->first + i * l->step); }

static int64_t extreme(const line *l, double sign)
{
    int64_t best = 0;
    for (int64_t i = 0; i < l->n; i++) {
        if (isnan(at(l, i))) return i;
        if (sign * at(l, i) > sign * at(l, best)) best = i;
    }
    return best;
}

static double logsumexp(const line *l)
{
    if (l->n == 0) return -INFINITY;
    double max = at(l, extreme(l, 1));
    if (!isfinite(max)) return max;
    long double s = 0;
    for (int64_t i = 0; i < l->n; i++) s += expl((long double)at(l, i) - max);
    return (double)(max + logl(s));
}

static double reduce(int op, const line *l)
{
    long double sum = 0, squares = 0;
    for (int64_t i = 0; i < l->n; i++) {
        sum += at(l, i);
        squares += (long double)at(l, i) * at(l, i);
    }
    switch (op) {
    case SUM:
        return (double)sum;
    case MEAN:
        return (double)(sum / l->n);
    case MAX:
        return at(l, extreme(l, 1));
    case MIN:
        return at(l, extreme(l, -1));
    case ARGMAX:
        return (double)extreme(l, 1);
    case ARGMIN:
        return (double)extreme(l, -1);
    case LOGSUMEXP:
        return logsumexp(l);
    default:
        return (double)sqrtl(squares);
    }
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int axis = (int)v->option[1];
    bool all = axis == PAL_ALL, keep = v->option[2] != 0;
    if (!all && axis < 0) axis += in->ndim;
    pal_shape shape = {.ndim = 0};
    line l = {.x = in, .step = 1, .n = all ? pal_array_count(in) : in->shape[axis]};
    for (int d = 0; d < in->ndim; d++) {
        bool reduced = all || d == axis;
        if (!reduced || keep) shape.dim[shape.ndim++] = reduced ? 1 : in->shape[d];
        if (!all && d > axis) l.step *= in->shape[d];
    }
    pal_ref_shape(out, shape);
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        l.first = i / l.step * l.n * l.step + i % l.step;
        ((double *)out->data)[i] = reduce((int)v->option[0], &l);
    }
}

#define S(...) .shape = PAL_DIMS(__VA_ARGS__)
/* The step of gradcheck's differences. It is small for max and min, whose values are distinct, but
 * close together in the large shapes. It is large for logsumexp: over a long line the result is a
 * large number that one entry hardly changes. */
#define STEP(op) ((op) == MAX || (op) == MIN ? 2e-6 : (op) == LOGSUMEXP ? 2e-2 : 0)
#define V(n, op, axis, keep)                                                \
    .name = n, .nin = 1, .nout = 1, .build = build, .reference = reference, \
    .option = {op, axis, keep}, .step = STEP(op)
/* The layouts that every reduction goes through. */
#define LAYOUTS(n, op)                                                              \
    {V(n " last", op, -1, 0), .in = {{S(3, 4, 7), .distinct = true}}},              \
        {V(n " first, keep", op, 0, 1), .in = {{S(5, 3, 9), .distinct = true}}},    \
        {V(n " middle", op, 1, 0), .in = {{S(3, 6, 11), .distinct = true}}},        \
        {V(n " all", op, PAL_ALL, 0), .in = {{S(3, 5, 7), .distinct = true}}},      \
        {V(n " all, keep", op, PAL_ALL, 1), .in = {{S(17, 3), .distinct = true}}},  \
        {V(n " scalar", op, PAL_ALL, 0), .in = {{.low = 1, .high = 2}}},            \
        {V(n " of no lines", op, 1, 0), .in = {{S(0, 3)}}},                         \
        {V(n " special", op, 1, 0), .in = {{S(60, 5), .special = true}}},           \
        {V(n " special, across", op, 0, 0), .in = {{S(5, 60), .special = true}}},   \
        {V(n " many lines", op, 1, 0), .in = {{S(700, 51), .distinct = true}}},     \
        {V(n " large, across", op, 0, 0), .in = {{S(301, 130), .distinct = true}}}, \
        {V(n " long, across", op, 0, 0), .in = {{S(4100, 9), .distinct = true}}},   \
        {V(n " long lines", op, -1, 0), .in = {{S(2, 33000), .distinct = true}}},   \
    {                                                                               \
        V(n " long", op, PAL_ALL, 0), .in = { {S(100001), .distinct = true} }       \
    }
#define EMPTY(n, op)                                                \
    {V(n " of none", op, 1, 0), .in = {{S(3, 0)}}},                 \
    {                                                               \
        V(n " of none at all", op, PAL_ALL, 0), .in = { {S(0, 2)} } \
    }
#define WHOLE(n, op)                                                                               \
    {V(n " i64", op, 1, 0), .in = {{S(5, 90), .integer = true, .low = -30, .high = 30}}},          \
        {V(n " i64 across", op, 0, 1), .in = {{S(90, 9), .integer = true, .low = -9, .high = 9}}}, \
    {                                                                                              \
        V(n " i64 long", op, PAL_ALL, 0), .in = {                                                  \
            {S(300, 150), .integer = true, .low = -1000, .high = 1000}                             \
        }                                                                                          \
    }
/* The input has only a few values, and the index of the first of equal ones is the answer. There is
 * no gradient, because max has kinks there. */
#define TIES(n, op)                                                                        \
    {                                                                                      \
        V(n " ties", op, 1, 0), .in = { {S(6, 70), .integer = true, .low = 0, .high = 4} } \
    }

static const pal_variant variants[] = {
    LAYOUTS("sum", SUM),
    EMPTY("sum", SUM),
    WHOLE("sum", SUM),
    LAYOUTS("mean", MEAN),
    EMPTY("mean", MEAN),
    LAYOUTS("max", MAX),
    WHOLE("max", MAX),
    LAYOUTS("min", MIN),
    WHOLE("min", MIN),
    LAYOUTS("argmax", ARGMAX),
    WHOLE("argmax", ARGMAX),
    TIES("argmax", ARGMAX),
    LAYOUTS("argmin", ARGMIN),
    WHOLE("argmin", ARGMIN),
    TIES("argmin", ARGMIN),
    LAYOUTS("logsumexp", LOGSUMEXP),
    EMPTY("logsumexp", LOGSUMEXP),
    LAYOUTS("norm", NORM),
    EMPTY("norm", NORM),
};

const pal_case pal_case_reduce = {
    .name = "reduce", .count = sizeof variants / sizeof variants[0], .variants = variants};
