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
static double softplus(double x) { return x > 20 ? x : log1p(exp(x)); }
static double silu(double x) { return x == -INFINITY ? -0.0 : x / (1 + exp(-x)); }
static double relu(double x) { return x <= 0 ? 0 : x; }

static double gelu(double x)
{
    const double pi = 3.14159265358979323846;
    return x == -INFINITY ? -0.0 : x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x)));
}

enum {
    NEG,
    ABS,
    SIGN,
    SQUARE,
    SQRT,
    RSQRT,
    EXP,
    LOG,
    SIN,
    COS,
    TANH,
    SIGMOID,
    SOFTPLUS,
    SILU,
    RELU,
    GELU
};

static const struct {
    unary_fn *op;
    real_fn *f;
} table[] = {
    [NEG] = {pal_neg, neg},
    [ABS] = {pal_abs, fabs},
    [SIGN] = {pal_sign, sign},
    [SQUARE] = {pal_square, square},
    [SQRT] = {pal_sqrt, sqrt},
    [RSQRT] = {pal_rsqrt, rsqrt},
    [EXP] = {pal_exp, exp},
    [LOG] = {pal_log, log},
    [SIN] = {pal_sin, sin},
    [COS] = {pal_cos, cos},
    [TANH] = {pal_tanh, tanh},
    [SIGMOID] = {pal_sigmoid, sigmoid},
    [SOFTPLUS] = {pal_softplus, softplus},
    [SILU] = {pal_silu, silu},
    [RELU] = {pal_relu, relu},
    [GELU] = {pal_gelu, gelu},
};

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = table[(int)v->option[0]].op(in[0]);
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t i = 0; i < pal_array_count(out); i++)
        ((double *)out->data)[i] = table[(int)v->option[0]].f(pal_ref_get(&in[0], i));
}

#define OP(n, o) \
    .name = n, .nin = 1, .nout = 1, .build = build, .reference = reference, .option = {o}
#define X(...) .in = {{.shape = PAL_DIMS(__VA_ARGS__)
#define END \
    }       \
    }
#define EACH(n, o, ...) \
    {OP(n, o), X(3, 7), __VA_ARGS__ END}, { OP(n " special", o), X(301), .special = true END }
#define INTEGERS(n, o)                                                                           \
    {                                                                                            \
        OP(n " i64", o), X(5, 3), .integer = true, .low = -5, .high = 5 END, .no_gradient = true \
    }

static const pal_variant variants[] = {
    EACH("neg", NEG, .low = -1, .high = 1),
    EACH("abs", ABS, .away = 0.05),
    EACH("square", SQUARE, .low = -2, .high = 2),
    EACH("sqrt", SQRT, .low = 0.2, .high = 2),
    EACH("rsqrt", RSQRT, .low = 0.2, .high = 2),
    EACH("exp", EXP, .low = -3, .high = 3),
    EACH("log", LOG, .low = 0.2, .high = 3),
    EACH("sin", SIN, .low = -7, .high = 7),
    EACH("cos", COS, .low = -7, .high = 7),
    EACH("tanh", TANH, .low = -2, .high = 2),
    EACH("sigmoid", SIGMOID, .low = -4, .high = 4),
    EACH("softplus", SOFTPLUS, .low = -4, .high = 19),
    {OP("softplus above 20", SOFTPLUS), X(5), .low = 20.5, .high = 30 END},
    EACH("silu", SILU, .low = -4, .high = 4),
    EACH("relu", RELU, .away = 0.05),
    EACH("gelu", GELU, .low = -3, .high = 3),
    {OP("sign", SIGN), X(3, 7) END, .no_gradient = true},
    {OP("sign special", SIGN), X(301), .special = true END, .no_gradient = true},
    INTEGERS("neg", NEG),
    INTEGERS("abs", ABS),
    INTEGERS("sign", SIGN),
    INTEGERS("square", SQUARE),
    {OP("scalar", EXP), .in = {{.low = -1, .high = 1}}},
    {OP("empty", EXP), X(3, 0, 2) END},
    {OP("one element", LOG), X(1), .low = 1, .high = 2 END},
    {OP("eight axes", TANH), X(2, 1, 3, 1, 2, 1, 2, 3) END},
    {OP("large, from the result", EXP), X(173, 403) END},
    {OP("large, from x", SILU), X(173, 403) END},
};

const pal_case pal_case_unary = {
    .name = "unary", .count = sizeof variants / sizeof variants[0], .variants = variants};
