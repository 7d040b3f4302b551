/*
 * case_matmul.c - products: matmul with broadcast batches, and linear.
 */
#include "tests/support/case.h"
#include "tests/support/check.h"

/* ---- matmul; option[0]: exchange the last two axes of a (1), of b (2), of both (3) ---- */

static void matmul_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    int how = (int)v->option[0];
    pal_tensor a = how & 1 ? pal_transpose(in[0], -1, -2) : in[0];
    pal_tensor b = how & 2 ? pal_transpose(in[1], -1, -2) : in[1];
    out[0] = pal_matmul(a, b);
}

/* Element (i, j) of the matrix of x that belongs to matrix `batch` of out, or of its transpose. */
static double entry(const pal_array *x, bool transposed, const pal_array *out, int64_t batch,
                    int64_t i, int64_t j)
{
    int64_t index[PAL_MAX_DIMS];
    int last = x->ndim - 1, added = out->ndim - x->ndim;
    for (int d = out->ndim - 3; d >= 0; d--) {
        int64_t at = batch % out->shape[d];
        batch /= out->shape[d];
        if (d >= added) index[d - added] = x->shape[d - added] == 1 ? 0 : at;
    }
    index[last - 1] = transposed ? j : i;
    index[last] = transposed ? i : j;
    return pal_array_get(x, index);
}

static void matmul_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int how = (int)v->option[0];
    const pal_array *a = &in[0], *b = &in[1];
    int64_t k = a->shape[how & 1 ? a->ndim - 2 : a->ndim - 1];
    pal_shape left = pal_array_shape(a), right = pal_array_shape(b), shape;
    left.ndim -= 2, right.ndim -= 2;
    ck_assert(pal_shape_broadcast(left, right, &shape) == PAL_OK);
    int64_t m = a->shape[how & 1 ? a->ndim - 1 : a->ndim - 2];
    int64_t n = b->shape[how & 2 ? b->ndim - 2 : b->ndim - 1];
    shape.dim[shape.ndim++] = m;
    shape.dim[shape.ndim++] = n;
    pal_ref_shape(out, shape);
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        double s = 0;
        for (int64_t l = 0; l < k; l++)
            s += entry(a, how & 1, out, i / (m * n), i / n % m, l) *
                 entry(b, how & 2, out, i / (m * n), l, i % n);
        ((double *)out->data)[i] = s;
    }
}

/* A matrix times itself: both gradients are added to one tensor. */
static void square_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    out[0] = pal_matmul(in[0], pal_transpose(in[0], 0, 1));
}

static void square_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_variant both = *v;
    both.option[0] = 2;
    matmul_reference(&both, (pal_array[]){in[0], in[0]}, out);
}

/* ---- linear ---- */

static void linear_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    out[0] = pal_linear(in[0], in[1], in[2]);
}

static void linear_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int64_t d = in[1].shape[1], n = in[1].shape[0];
    pal_shape shape = v->in[0].shape;
    shape.dim[shape.ndim - 1] = n;
    pal_ref_shape(out, shape);
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        double s = in[2].data ? pal_ref_get(&in[2], i % n) : 0;
        for (int64_t l = 0; l < d; l++)
            s += pal_ref_get(&in[0], i / n * d + l) * pal_ref_get(&in[1], i % n * d + l);
        ((double *)out->data)[i] = s;
    }
}

#define S(...) .shape = PAL_DIMS(__VA_ARGS__)
#define M(n, how)                                                                               \
    .name = "matmul " n, .nin = 2, .nout = 1, .build = matmul_build, .f64 = 1e-12, .f32 = 5e-6, \
    .reference = matmul_reference, .option = {how}
#define L(n)                                                                                    \
    .name = "linear " n, .nin = 3, .nout = 1, .build = linear_build, .f64 = 1e-12, .f32 = 5e-6, \
    .reference = linear_reference

static const pal_variant variants[] = {
    {M("plain", 0), .in = {{S(3, 5)}, {S(5, 7)}}},
    {M("a^T", 1), .in = {{S(5, 3)}, {S(5, 7)}}},
    {M("b^T", 2), .in = {{S(3, 5)}, {S(7, 5)}}},
    {M("a^T b^T", 3), .in = {{S(5, 3)}, {S(7, 5)}}},
    {M("row and column", 0), .in = {{S(1, 9)}, {S(9, 1)}}},
    {M("outer product", 0), .in = {{S(9, 1)}, {S(1, 4)}}},
    {M("batch", 0), .in = {{S(2, 3, 4, 5)}, {S(2, 3, 5, 2)}}},
    {M("batch times a matrix", 0), .in = {{S(2, 3, 4, 5)}, {S(5, 6)}}},
    {M("matrix times a batch", 0), .in = {{S(4, 5)}, {S(3, 2, 5, 6)}}},
    {M("stretched batches", 3), .in = {{S(3, 1, 5, 4)}, {S(1, 2, 6, 5)}}},
    {M("stretched within", 2), .in = {{S(2, 3, 1, 4, 5)}, {S(2, 1, 4, 6, 5)}}},
    {M("inner size 1, stretched", 0), .in = {{S(3, 4, 1)}, {S(1, 6)}}},
    {M("rows of 1, stretched", 0), .in = {{S(3, 1, 4)}, {S(4, 6)}}},
    {M("no rows", 0), .in = {{S(0, 3)}, {S(3, 2)}}},
    {M("no inner size", 0), .in = {{S(4, 0)}, {S(0, 2)}}},
    {M("no batch", 0), .in = {{S(0, 4, 3)}, {S(3, 2)}}},
    {M("large", 2), .in = {{S(70, 90)}, {S(65, 90)}}},
    {M("large batch", 0), .in = {{S(9, 17, 33)}, {S(9, 33, 18)}}},
    {M("large, stretched", 1), .in = {{S(4, 30, 31)}, {S(30, 40)}}},
    {.name = "matmul of one tensor",
     .nin = 1,
     .nout = 1,
     .build = square_build,
     .reference = square_reference,
     .in = {{S(4, 3)}}},
    {L("rows"), .in = {{S(4, 5)}, {S(3, 5)}, {S(3)}}},
    {L("without bias"), .in = {{S(4, 5)}, {S(3, 5)}, {.absent = true}}},
    {L("one row"), .in = {{S(5)}, {S(3, 5)}, {S(3)}}},
    {L("batch"), .in = {{S(2, 4, 5)}, {S(3, 5)}, {S(3)}}},
    {L("four axes"), .in = {{S(2, 3, 2, 5)}, {S(7, 5)}, {S(7)}}},
    {L("one output"), .in = {{S(2, 4, 5)}, {S(1, 5)}, {S(1)}}},
    {L("one input"), .in = {{S(2, 4, 1)}, {S(3, 1)}, {.absent = true}}},
    {L("no rows"), .in = {{S(0, 4)}, {S(3, 4)}, {S(3)}}},
    {L("no inputs"), .in = {{S(2, 0)}, {S(3, 0)}, {S(3)}}},
    {L("large"), .in = {{S(3, 50, 40)}, {S(60, 40)}, {S(60)}}},
};

const pal_case pal_case_matmul = {
    .name = "matmul", .count = sizeof variants / sizeof variants[0], .variants = variants};
