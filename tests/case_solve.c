/*
 * case_solve.c - triangular_solve. The diagonal is kept away from 0 and the other elements are
 * small, so that the systems are well-conditioned. The triangle that is not read holds numbers too.
 */
#include "tests/support/case.h"

/* option = {upper, unit, transpose} */
static pal_solve_opts opts_of(const pal_variant *v)
{
    return (pal_solve_opts){
        .upper = v->option[0] != 0, .unit = v->option[1] != 0, .transpose = v->option[2] != 0};
}

/* in[0] is the matrix, in[1] the right-hand side, and in[2] is added to the diagonal. */
static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_triangular_solve(pal_add(in[0], in[2]), in[1], opts_of(v));
}

/* Element (i, j) of the matrix of batch b of the result. */
static double element(const pal_array *in, const pal_array *out, int64_t b, int64_t i, int64_t j)
{
    int64_t n = out->shape[out->ndim - 2];
    pal_array square = *out; /* the shape of the matrices, broadcast to the result's batches */
    square.shape[out->ndim - 1] = n;
    int64_t at = (b * n + i) * n + j;
    return pal_ref_broadcast(&in[0], &square, at) + pal_ref_broadcast(&in[2], &square, at);
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_solve_opts o = opts_of(v);
    int64_t n = out->shape[out->ndim - 2], m = out->shape[out->ndim - 1];
    int64_t batches = n > 0 && m > 0 ? pal_array_count(out) / (n * m) : 0;
    bool upper = o.upper != o.transpose;
    for (int64_t b = 0; b < batches; b++)
        for (int64_t c = 0; c < m; c++)
            for (int64_t step = 0; step < n; step++) {
                int64_t i = upper ? n - 1 - step : step;
                double *x = (double *)out->data + b * n * m + c;
                double sum = pal_ref_broadcast(&in[1], out, (b * n + i) * m + c);
                for (int64_t j = upper ? i + 1 : 0; j < (upper ? n : i); j++)
                    sum -= element(in, out, b, o.transpose ? j : i, o.transpose ? i : j) * x[j * m];
                x[i * m] = o.unit ? sum : sum / element(in, out, b, i, i);
            }
}

#define S(...) .shape = PAL_DIMS(__VA_ARGS__)
#define V(n, upper, unit, transpose)                                        \
    .name = n, .nin = 3, .nout = 1, .build = build, .reference = reference, \
    .option = {upper, unit, transpose}
/* The entries of the matrix are small. The second shape makes its diagonal about 2. */
#define T(n, ...)                                            \
    {                                                        \
        S(__VA_ARGS__), .low = -0.5 / (n), .high = 0.5 / (n) \
    }

static const pal_variant variants[] = {
    {V("lower", 0, 0, 0), .in = {T(5, 5, 5), {S(5, 3)}, {S(1), .low = 1.5, .high = 2}}},
    {V("upper", 1, 0, 0), .in = {T(5, 5, 5), {S(5, 3)}, {S(1), .low = 1.5, .high = 2}}},
    {V("unit", 0, 1, 0), .in = {T(1, 6, 6), {S(6, 2)}, {S(1), .low = 0, .high = 0.1}}},
    {V("unit upper", 1, 1, 0), .in = {T(1, 6, 6), {S(6, 2)}, {S(1), .low = 0, .high = 0.1}}},
    {V("transpose", 0, 0, 1), .in = {T(5, 5, 5), {S(5, 3)}, {S(1), .low = 1.5, .high = 2}}},
    {V("upper transpose", 1, 0, 1), .in = {T(5, 5, 5), {S(5, 3)}, {S(1), .low = 1.5, .high = 2}}},
    {V("unit transpose", 0, 1, 1), .in = {T(1, 6, 6), {S(6, 2)}, {S(1), .low = 0, .high = 0.1}}},
    {V("batch", 0, 0, 0), .in = {T(4, 3, 4, 4), {S(3, 4, 2)}, {S(1), .low = 1.5, .high = 2}}},
    {V("one matrix", 0, 0, 0), .in = {T(4, 4, 4), {S(2, 3, 4, 2)}, {S(1), .low = 1.5, .high = 2}}},
    {V("one side", 1, 0, 0), .in = {T(4, 2, 3, 4, 4), {S(4, 2)}, {S(1), .low = 1.5, .high = 2}}},
    {V("both stretch", 0, 0, 1),
     .in = {T(3, 2, 1, 3, 3), {S(4, 3, 2)}, {S(1), .low = 1.5, .high = 2}}},
    {V("one by one", 0, 0, 0), .in = {T(1, 1, 1), {S(1, 1)}, {S(1), .low = 1.5, .high = 2}}},
    {V("empty", 0, 0, 0), .in = {{S(0, 0)}, {S(0, 2)}, {S(1)}}},
    {V("no columns", 0, 0, 0), .in = {T(2, 2, 2), {S(2, 0)}, {S(1), .low = 1.5, .high = 2}}},
    {V("large", 0, 1, 0), .in = {T(40, 8, 40, 40), {S(8, 40, 110)}, {S(1), .high = 0.01}}},
};

const pal_case pal_case_solve = {.name = "triangular_solve",
                                 .count = sizeof variants / sizeof variants[0],
                                 .variants = variants};
