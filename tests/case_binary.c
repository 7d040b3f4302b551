/*
 * case_binary.c - arithmetic of two operands. Each operation is tested in a few layouts. Layouts
 * that take another path through the loop (empty, scalar, eight axes, sums divided over threads)
 * are tested with one operation each.
 */
#include "tests/support/case.h"

#include <math.h>

typedef pal_tensor binary_fn(pal_tensor a, pal_tensor b);
typedef double real_fn(double a, double b);

static double add(double a, double b) { return a + b; }
static double sub(double a, double b) { return a - b; }
static double mul(double a, double b) { return a * b; }
static double quotient(double a, double b) { return a / b; }
static double maximum(double a, double b) { return isnan(a) || isnan(b) ? NAN : a > b ? a : b; }
static double minimum(double a, double b) { return isnan(a) || isnan(b) ? NAN : a < b ? a : b; }
/* The quotient of two i64, rounded down. */
static double floored(double a, double b) { return b == 0 ? 0 : floor(a / b); }
static double mod(double a, double b) { return b == 0 ? 0 : a - b * floor(a / b); }

/* An operation, and its reference. */
typedef struct binary {
    binary_fn *op;
    real_fn *f;
} binary;

static const binary *binary_of(const pal_variant *v) { return v->subject; }

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = binary_of(v)->op(in[0], in[1]);
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_shape shape;
    pal_shape_broadcast(pal_array_shape(&in[0]), pal_array_shape(&in[1]), &shape);
    pal_ref_shape(out, shape);
    for (int64_t i = 0; i < pal_array_count(out); i++)
        ((double *)out->data)[i] =
            binary_of(v)->f(pal_ref_broadcast(&in[0], out, i), pal_ref_broadcast(&in[1], out, i));
}

#define S(...) .shape = PAL_DIMS(__VA_ARGS__)
#define OP(n, op, f)                                                        \
    .name = n, .nin = 2, .nout = 1, .build = build, .reference = reference, \
    .subject = &(const binary)                                              \
    {                                                                       \
        op, f                                                               \
    }
#define RANGE(l, h) .low = l, .high = h
#define EACH(n, o, f, ...)                                                                     \
    {OP(n, o, f), .in = {{S(3, 5), __VA_ARGS__}, {S(3, 5), __VA_ARGS__}}},                     \
        {OP(n " broadcast", o, f), .in = {{S(4, 1, 3), __VA_ARGS__}, {S(5, 1), __VA_ARGS__}}}, \
    {                                                                                          \
        OP(n " special", o, f), .in = {                                                        \
            {S(40, 7), __VA_ARGS__, .special = true},                                          \
            {S(40, 7), __VA_ARGS__, .special = true}                                           \
        }                                                                                      \
    }
#define INTEGERS(n, o, f)                                \
    {                                                    \
        OP(n " i64", o, f), .no_gradient = true, .in = { \
            {S(6, 1, 7), RANGE(-9, 9), .integer = true}, \
            {S(3, 1), RANGE(-4, 4), .integer = true}     \
        }                                                \
    }

static const pal_variant variants[] = {
    EACH("add", pal_add, add, RANGE(-1, 1)),
    EACH("sub", pal_sub, sub, RANGE(-1, 1)),
    EACH("mul", pal_mul, mul, RANGE(-1, 1)),
    EACH("div", pal_div, quotient, RANGE(-2, 2), .away = 0.5),
    EACH("pow", pal_pow, pow, RANGE(0.5, 2)),
    EACH("atan2", pal_atan2, atan2, RANGE(-2, 2), .away = 0.3),
    EACH("maximum", pal_maximum, maximum, RANGE(-1, 1), .away = 0.05),
    EACH("minimum", pal_minimum, minimum, RANGE(-1, 1), .away = 0.05),
    INTEGERS("add", pal_add, add),
    INTEGERS("sub", pal_sub, sub),
    INTEGERS("mul", pal_mul, mul),
    INTEGERS("div", pal_div, floored),
    INTEGERS("mod", pal_mod, mod),
    INTEGERS("maximum", pal_maximum, maximum),
    INTEGERS("minimum", pal_minimum, minimum),
    {OP("scalars", pal_mul, mul), .in = {{.low = 0}, {.low = 0}}},
    {OP("scalar and array", pal_sub, sub), .in = {{.low = 0}, {S(7)}}},
    {OP("one element", pal_div, quotient), .in = {{S(1)}, {S(1, 1), RANGE(1, 2)}}},
    {OP("empty", pal_mul, mul), .in = {{S(0, 3)}, {S(1, 3)}}},
    {OP("empty by broadcast", pal_add, add), .in = {{S(2, 1)}, {S(0)}}},
    {OP("eight axes", pal_mul, mul),
     .in = {{S(2, 1, 3, 1, 2, 1, 2, 3)}, {S(1, 2, 1, 2, 2, 1, 1, 3)}}},
    {OP("rows longer than a block", pal_mul, mul), .in = {{S(3, 1100)}, {S(3, 1)}}},
    {OP("large", pal_mul, mul), .in = {{S(70001)}, {S(70001)}}},
    {OP("large with a bias", pal_add, add), .in = {{S(600, 133)}, {S(133)}}},
    {OP("large, leading axis kept", pal_mul, mul), .in = {{S(16, 1, 96)}, {S(16, 50, 96)}}},
    {OP("large, last axis stretched", pal_mul, mul), .in = {{S(9, 80, 100)}, {S(9, 80, 1)}}},
    {OP("large with a scalar", pal_div, quotient), .in = {{S(300, 301)}, {RANGE(1, 2)}}},
    {OP("large, two wide rows", pal_mul, mul), .in = {{S(2, 40000)}, {S(1, 40000)}}},
};

const pal_case pal_case_binary = {
    .name = "binary", .count = sizeof variants / sizeof variants[0], .variants = variants};
