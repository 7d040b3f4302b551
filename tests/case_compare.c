/*
 * case_compare.c - comparisons. They give 1 and 0 in the dtype of the operands.
 */
#include "tests/support/case.h"

typedef pal_tensor compare_fn(pal_tensor a, pal_tensor b);
enum { EQ, NE, LT, LE, GT, GE };

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    static compare_fn *const ops[] = {pal_eq, pal_ne, pal_lt, pal_le, pal_gt, pal_ge};
    out[0] = ops[(int)v->option[0]](in[0], in[1]);
}

static bool holds(int op, double a, double b)
{
    switch (op) {
    case EQ:
        return a == b;
    case NE:
        return a != b;
    case LT:
        return a < b;
    case LE:
        return a <= b;
    case GT:
        return a > b;
    default:
        return a >= b;
    }
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_shape shape;
    pal_shape_broadcast(pal_array_shape(&in[0]), pal_array_shape(&in[1]), &shape);
    pal_ref_shape(out, shape);
    for (int64_t i = 0; i < pal_array_count(out); i++)
        ((double *)out->data)[i] = holds((int)v->option[0], pal_ref_broadcast(&in[0], out, i),
                                         pal_ref_broadcast(&in[1], out, i));
}

#define OP(n, o)                                                                           \
    .name = n, .nin = 2, .nout = 1, .build = build, .reference = reference, .option = {o}, \
    .no_gradient = true
#define EACH(n, o)                                                            \
    {OP(n, o), .in = {{.shape = PAL_DIMS(13, 1, 9), .special = true},         \
                      {.shape = PAL_DIMS(5, 1), .special = true}}},           \
    {                                                                         \
        OP(n " i64", o), .in = {                                              \
            {.shape = PAL_DIMS(4, 9), .integer = true, .low = -2, .high = 3}, \
            {.shape = PAL_DIMS(9), .integer = true, .low = -2, .high = 3}     \
        }                                                                     \
    }

static const pal_variant variants[] = {
    EACH("eq", EQ),
    EACH("ne", NE),
    EACH("lt", LT),
    EACH("le", LE),
    EACH("gt", GT),
    EACH("ge", GE),
    {OP("empty", LT), .in = {{.shape = PAL_DIMS(0)}, {.shape = PAL_DIMS(3, 1)}}},
    {OP("large", LT), .in = {{.shape = PAL_DIMS(300, 200)}, {.shape = PAL_DIMS(200)}}},
};

const pal_case pal_case_compare = {
    .name = "compare", .count = sizeof variants / sizeof variants[0], .variants = variants};
