/*
 * case_unary.c - functions of one operand.
 */
#include "tests/support/case.h"

#include <math.h>

typedef pal_tensor unary_fn(pal_tensor x);
typedef double real_fn(double x);

static double neg(double x) { return -x; }
static double sign(double x) { return isnan(x) ? x : (double)((x > 0) - (x < 0)); }
static double square(double x) { return x * x; }
static double rsqrt(double x) { return 1 / sqrt(x); }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
/* softplus is defined as in PyTorch with its defaults (beta 1, threshold 20), in tests and library:
 * above the threshold it is x itself. */
static double softplus(double x) { return x > 20 ? x : log1p(exp(x)); }
static double silu(double x) { return x == -INFINITY ? -0.0 : x / (1 + exp(-x)); }
static double relu(double x) { return x <= 0 ? 0 : x; }

static double gelu(double x)
{
    const double pi = 3.14159265358979323846;
    return x == -INFINITY ? -0.0 : x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x)));
}

/* An operation, and its reference. */
typedef struct unary {
    unary_fn *op;
    real_fn *f;
} unary;

static const unary *unary_of(const pal_variant *v) { return v->subject; }

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = unary_of(v)->op(in[0]);
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t i = 0; i < pal_array_count(out); i++)
        ((double *)out->data)[i] = unary_of(v)->f(pal_ref_get(&in[0], i));
}

#define OP(n, op, f)                                                        \
    .name = n, .nin = 1, .nout = 1, .build = build, .reference = reference, \
    .subject = &(const unary)                                               \
    {                                                                       \
        op, f                                                               \
    }
#define X(...) .in = {{.shape = PAL_DIMS(__VA_ARGS__)
#define END \
    }       \
    }
#define EACH(n, o, f, ...) \
    {OP(n, o, f), X(3, 7), __VA_ARGS__ END}, { OP(n " special", o, f), X(301), .special = true END }
#define INTEGERS(n, o, f)                                                       \
    {                                                                           \
        OP(n " i64", o, f), X(5, 3), .integer = true, .low = -5, .high = 5 END, \
                                     .no_gradient = true                        \
    }

static const pal_variant variants[] = {
    EACH("neg", pal_neg, neg, .low = -1, .high = 1),
    EACH("abs", pal_abs, fabs, .away = 0.05),
    EACH("square", pal_square, square, .low = -2, .high = 2),
    EACH("sqrt", pal_sqrt, sqrt, .low = 0.2, .high = 2),
    EACH("rsqrt", pal_rsqrt, rsqrt, .low = 0.2, .high = 2),
    EACH("exp", pal_exp, exp, .low = -3, .high = 3),
    EACH("log", pal_log, log, .low = 0.2, .high = 3),
    EACH("sin", pal_sin, sin, .low = -7, .high = 7),
    EACH("cos", pal_cos, cos, .low = -7, .high = 7),
    EACH("erf", pal_erf, erf, .low = -3, .high = 3),
    EACH("tanh", pal_tanh, tanh, .low = -2, .high = 2),
    EACH("sigmoid", pal_sigmoid, sigmoid, .low = -4, .high = 4),
    EACH("softplus", pal_softplus, softplus, .low = -4, .high = 19),
    {OP("softplus above 20", pal_softplus, softplus), X(5), .low = 20.5, .high = 30 END},
    EACH("silu", pal_silu, silu, .low = -4, .high = 4),
    EACH("relu", pal_relu, relu, .away = 0.05),
    EACH("gelu", pal_gelu, gelu, .low = -3, .high = 3),
    {OP("sign", pal_sign, sign), X(3, 7) END, .no_gradient = true},
    {OP("sign special", pal_sign, sign), X(301), .special = true END, .no_gradient = true},
    INTEGERS("neg", pal_neg, neg),
    INTEGERS("abs", pal_abs, fabs),
    INTEGERS("sign", pal_sign, sign),
    INTEGERS("square", pal_square, square),
    {OP("scalar", pal_exp, exp), .in = {{.low = -1, .high = 1}}},
    {OP("empty", pal_exp, exp), X(3, 0, 2) END},
    {OP("one element", pal_log, log), X(1), .low = 1, .high = 2 END},
    {OP("eight axes", pal_tanh, tanh), X(2, 1, 3, 1, 2, 1, 2, 3) END},
    {OP("large, from the result", pal_exp, exp), X(173, 403) END},
    {OP("large, from x", pal_silu, silu), X(173, 403) END},
};

const pal_case pal_case_unary = {
    .name = "unary", .count = sizeof variants / sizeof variants[0], .variants = variants};
