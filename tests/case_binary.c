/*
 * case_binary.c - arithmetic of two operands: each operation in a few layouts, and the layouts that
 * take another path through the loop (empty, scalar, eight axes, sums divided over threads).
 */
#include "tests/support/case.h"

#include <math.h>

typedef pal_tensor binary_fn(pal_tensor a, pal_tensor b);
enum { ADD, SUB, MUL, DIV, POW, MAXIMUM, MINIMUM, MOD };

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    static binary_fn *const ops[] = {pal_add, pal_sub,     pal_mul,     pal_div,
                                     pal_pow, pal_maximum, pal_minimum, pal_mod};
    out[0] = ops[(int)v->option[0]](in[0], in[1]);
}

static double real(int op, double a, double b)
{
    switch (op) {
    case ADD:
        return a + b;
    case SUB:
        return a - b;
    case MUL:
        return a * b;
    case DIV:
        return a / b;
    case POW:
        return pow(a, b);
    case MAXIMUM:
        return isnan(a) || isnan(b) ? NAN : a > b ? a : b;
    default:
        return isnan(a) || isnan(b) ? NAN : a < b ? a : b;
    }
}

static double whole(int op, double a, double b)
{
    if (op == DIV) return b == 0 ? 0 : floor(a / b);
    if (op == MOD) return b == 0 ? 0 : a - b * floor(a / b);
    return real(op, a, b);
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int64_t n = pal_array_count(out);
    int op = (int)v->option[0];
    pal_shape shape;
    pal_shape_broadcast(pal_array_shape(&in[0]), pal_array_shape(&in[1]), &shape);
    pal_ref_shape(out, shape);
    for (int64_t i = 0; i < n; i++) {
        double a = pal_ref_broadcast(&in[0], out, i), b = pal_ref_broadcast(&in[1], out, i);
        ((double *)out->data)[i] = v->in[0].integer ? whole(op, a, b) : real(op, a, b);
    }
}

#define S(...) .shape = PAL_DIMS(__VA_ARGS__)
#define BOTH(n, o) \
    .name = n, .nin = 2, .nout = 1, .build = build, .reference = reference, .option = {o}
#define RANGE(l, h) .low = l, .high = h
#define EACH(n, o, ...)                                                                       \
    {BOTH(n, o), .in = {{S(3, 5), __VA_ARGS__}, {S(3, 5), __VA_ARGS__}}},                     \
        {BOTH(n " broadcast", o), .in = {{S(4, 1, 3), __VA_ARGS__}, {S(5, 1), __VA_ARGS__}}}, \
    {                                                                                         \
        BOTH(n " special", o), .in = {                                                        \
            {S(40, 7), __VA_ARGS__, .special = true},                                         \
            {S(40, 7), __VA_ARGS__, .special = true}                                          \
        }                                                                                     \
    }
#define INTEGERS(n, o)                                   \
    {                                                    \
        BOTH(n " i64", o), .no_gradient = true, .in = {  \
            {S(6, 1, 7), RANGE(-9, 9), .integer = true}, \
            {S(3, 1), RANGE(-4, 4), .integer = true}     \
        }                                                \
    }

static const pal_variant variants[] = {
    EACH("add", ADD, RANGE(-1, 1)),
    EACH("sub", SUB, RANGE(-1, 1)),
    EACH("mul", MUL, RANGE(-1, 1)),
    EACH("div", DIV, RANGE(-2, 2), .away = 0.5),
    EACH("pow", POW, RANGE(0.5, 2)),
    EACH("maximum", MAXIMUM, RANGE(-1, 1), .away = 0.05),
    EACH("minimum", MINIMUM, RANGE(-1, 1), .away = 0.05),
    INTEGERS("add", ADD),
    INTEGERS("sub", SUB),
    INTEGERS("mul", MUL),
    INTEGERS("div", DIV),
    INTEGERS("mod", MOD),
    INTEGERS("maximum", MAXIMUM),
    INTEGERS("minimum", MINIMUM),
    {BOTH("scalars", MUL), .in = {{.low = 0}, {.low = 0}}},
    {BOTH("scalar and array", SUB), .in = {{.low = 0}, {S(7)}}},
    {BOTH("one element", DIV), .in = {{S(1)}, {S(1, 1), RANGE(1, 2)}}},
    {BOTH("empty", MUL), .in = {{S(0, 3)}, {S(1, 3)}}},
    {BOTH("empty by broadcast", ADD), .in = {{S(2, 1)}, {S(0)}}},
    {BOTH("eight axes", MUL), .in = {{S(2, 1, 3, 1, 2, 1, 2, 3)}, {S(1, 2, 1, 2, 2, 1, 1, 3)}}},
    {BOTH("rows longer than a block", MUL), .in = {{S(3, 1100)}, {S(3, 1)}}},
    {BOTH("large", MUL), .in = {{S(70001)}, {S(70001)}}},
    {BOTH("large with a bias", ADD), .in = {{S(600, 133)}, {S(133)}}},
    {BOTH("large, leading axis kept", MUL), .in = {{S(16, 1, 96)}, {S(16, 50, 96)}}},
    {BOTH("large, last axis stretched", MUL), .in = {{S(9, 80, 100)}, {S(9, 80, 1)}}},
    {BOTH("large with a scalar", DIV), .in = {{S(300, 301)}, {RANGE(1, 2)}}},
    {BOTH("large, two wide rows", MUL), .in = {{S(2, 40000)}, {S(1, 40000)}}},
};

const pal_case pal_case_binary = {
    .name = "binary", .count = sizeof variants / sizeof variants[0], .variants = variants};
