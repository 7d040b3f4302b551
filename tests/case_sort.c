/*
 * case_sort.c - sorted lines and their indices. The reference counts what stands before an entry.
 */
#include "tests/support/case.h"

#include <math.h>

/* option = {axis, descending} */
static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    pal_sort(in[0], (int)v->option[0], v->option[1] != 0, out);
}

/* A NaN is larger than every number. */
static bool larger(double a, double b) { return isnan(a) ? !isnan(b) : a > b; }

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_shape shape = v->in[0].shape;
    const int axis = (int)v->option[0] + (v->option[0] < 0 ? shape.ndim : 0);
    const int64_t n = shape.dim[axis];
    int64_t inner = 1;
    for (int d = axis + 1; d < shape.ndim; d++) inner *= shape.dim[d];
    pal_ref_shape(&out[0], shape);
    pal_ref_shape(&out[1], shape);
    for (int64_t i = 0; i < pal_array_count(in); i++) {
        const int64_t at = i / inner % n, first = i - at * inner;
        const double x = pal_ref_get(in, i);
        int64_t rank = 0;
        for (int64_t j = 0; j < n; j++) {
            double y = pal_ref_get(in, first + j * inner);
            bool before = v->option[1] != 0 ? larger(y, x) : larger(x, y);
            bool behind = v->option[1] != 0 ? larger(x, y) : larger(y, x);
            rank += before || (!behind && j < at);
        }
        ((double *)out[0].data)[first + rank * inner] = x;
        ((double *)out[1].data)[first + rank * inner] = (double)at;
    }
}

#define V(n, axis, descending)                                              \
    .name = n, .nin = 1, .nout = 2, .build = build, .reference = reference, \
    .option = {axis, descending}
#define DISTINCT(...) .in = {{.shape = PAL_DIMS(__VA_ARGS__), .distinct = true}}
#define WHOLE(...)    .in = {{.shape = PAL_DIMS(__VA_ARGS__), .integer = true, .low = -3, .high = 4}}
#define SPECIAL(...)  .in = {{.shape = PAL_DIMS(__VA_ARGS__), .special = true}}

static const pal_variant variants[] = {
    {V("last", -1, 0), DISTINCT(4, 7)},
    {V("last, descending", -1, 1), DISTINCT(4, 8)},
    {V("first", 0, 0), DISTINCT(9, 3)},
    {V("middle, descending", 1, 1), DISTINCT(2, 5, 3)},
    {V("one entry", 0, 0), DISTINCT(1)},
    {V("empty", 1, 0), DISTINCT(3, 0)},
    {V("no lines", 1, 0), DISTINCT(0, 3)},
    {V("ties", 1, 0), WHOLE(3, 40), .no_gradient = true},
    {V("ties, descending", 1, 1), WHOLE(3, 40), .no_gradient = true},
    {V("special", 0, 0), SPECIAL(90, 3)},
    {V("special, descending", 1, 1), SPECIAL(3, 90)},
    {V("large", 1, 0), DISTINCT(300, 120), .step = 1e-6}, /* entries are 5e-5 apart */
};

const pal_case pal_case_sort = {
    .name = "sort", .count = sizeof variants / sizeof variants[0], .variants = variants};
