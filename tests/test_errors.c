/*
 * test_errors.c - the errors of operations that are used wrongly. Wrong uses of the tape are in
 * test_tape_errors.c.
 */
#include "autograd/autograd.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Fixtures ---- */

static pal_error first;
static int errors;

static void remember(const pal_error *e, void *user)
{
    (void)user;
    if (errors++ == 0) first = *e;
}

static pal_tape *tape;
static pal_params *params;

static void setup(void)
{
    errors = 0;
    pal_set_error_handler(remember, NULL);
    tape = pal_tape_new();
    params = pal_params_new();
}

static void teardown(void)
{
    pal_tape_free(tape);
    pal_params_free(params);
    pal_set_error_handler(NULL, NULL);
}

static pal_tensor zeros(pal_dtype dtype, pal_shape shape) { return pal_zeros(tape, dtype, shape); }
static pal_tensor f32(pal_shape shape) { return zeros(PAL_F32, shape); }

/* The result is poison, and there was one error, whose text contains a, b and c. Then the tape is
 * reset. */
static void expect_status(pal_status status, const char *a, const char *b, const char *c)
{
    ck_assert_int_eq(errors, 1);
    ck_assert_msg(first.status == status, "status %s: %s", pal_status_name(first.status),
                  first.message);
    const char *parts[] = {a, b, c};
    for (int i = 0; i < 3; i++)
        ck_assert_msg(!parts[i] || strstr(first.message, parts[i]), "\"%s\" lacks \"%s\"",
                      first.message, parts[i]);
    errors = 0;
    pal_tape_reset(tape);
}

static void expect(pal_tensor result, pal_status status, const char *a, const char *b,
                   const char *c)
{
    ck_assert(result.node != NULL);
    ck_assert(pal_value(result).data == NULL);
    expect_status(status, a, b, c);
}

/* ---- Leaves ---- */

START_TEST(shapes_that_do_not_exist)
{
    pal_shape bad = PAL_SHAPE(3, -1), huge = PAL_SHAPE(INT64_MAX / 2, 3), deep = {.ndim = 9};
    pal_rng rng = pal_rng_new(1, 0);
    expect(f32(bad), PAL_ESHAPE, "zeros: f32[3,-1] has a negative size", NULL, NULL);
    expect(f32(huge), PAL_ESHAPE, "zeros: f32[4611686018427387903,3]", "too many elements", NULL);
    expect(f32(deep), PAL_ESHAPE, "zeros: a shape of 9 dimensions; there may be 8", NULL, NULL);
    expect(pal_full(tape, PAL_F64, bad, 1), PAL_ESHAPE, "full: f64[3,-1]", NULL, NULL);
    expect(pal_arange(tape, PAL_I64, -2), PAL_ESHAPE, "arange: i64[-2]", NULL, NULL);
    expect(pal_from(tape, PAL_F32, bad, NULL), PAL_ESHAPE, "from: f32[3,-1]", NULL, NULL);
    expect(pal_uniform(tape, PAL_F32, bad, 0, 1, &rng), PAL_ESHAPE, "uniform: f32[3,-1]", NULL,
           NULL);
    expect(pal_normal(tape, PAL_F32, bad, 0, 1, &rng), PAL_ESHAPE, "normal: f32[3,-1]", NULL, NULL);
}
END_TEST

/* ---- Elementwise operations ---- */

typedef pal_tensor binary_fn(pal_tensor a, pal_tensor b);
typedef pal_tensor unary_fn(pal_tensor x);

START_TEST(operands_of_two_dtypes)
{
    static const struct {
        binary_fn *op;
        const char *name;
    } table[] = {
        {pal_add, "add:"}, {pal_sub, "sub:"},         {pal_mul, "mul:"},         {pal_div, "div:"},
        {pal_pow, "pow:"}, {pal_maximum, "maximum:"}, {pal_minimum, "minimum:"}, {pal_eq, "eq:"},
        {pal_ne, "ne:"},   {pal_lt, "lt:"},           {pal_le, "le:"},           {pal_gt, "gt:"},
        {pal_ge, "ge:"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        expect(table[i].op(f32(PAL_SHAPE(2, 3)), zeros(PAL_F64, PAL_SHAPE(3))), PAL_EDTYPE,
               table[i].name, "dtypes differ", "(a f32[2,3], b f64[3])");
        expect(table[i].op(f32(PAL_SHAPE(2, 3)), f32(PAL_SHAPE(4, 2))), PAL_ESHAPE, table[i].name,
               "do not broadcast", "(a f32[2,3], b f32[4,2])");
        expect(table[i].op(f32(PAL_SHAPE(2, 3)), PAL_NONE), PAL_EVALUE, table[i].name,
               "argument b is missing", "b none");
    }
}
END_TEST

START_TEST(reals_only)
{
    static const struct {
        unary_fn *op;
        const char *name;
    } table[] = {{pal_sqrt, "sqrt:"}, {pal_rsqrt, "rsqrt:"},     {pal_exp, "exp:"},
                 {pal_log, "log:"},   {pal_sin, "sin:"},         {pal_cos, "cos:"},
                 {pal_tanh, "tanh:"}, {pal_sigmoid, "sigmoid:"}, {pal_softplus, "softplus:"},
                 {pal_silu, "silu:"}, {pal_relu, "relu:"},       {pal_gelu, "gelu:"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        expect(table[i].op(zeros(PAL_I64, PAL_SHAPE(2, 3))), PAL_EDTYPE, table[i].name,
               "argument x is i64, but must be f32 or f64", "(x i64[2,3])");
    pal_tensor n = zeros(PAL_I64, PAL_SHAPE(2));
    expect(pal_pow(n, n), PAL_EDTYPE, "pow: argument a is i64", NULL, NULL);
    expect(pal_clamp(zeros(PAL_I64, PAL_SHAPE(2)), 0, 1), PAL_EDTYPE, "clamp: argument x", NULL,
           NULL);
    expect(pal_dropout(zeros(PAL_I64, PAL_SHAPE(2)), 0), PAL_EDTYPE, "dropout: argument x", NULL,
           NULL);
    expect(pal_mod(f32(PAL_SHAPE(2)), f32(PAL_SHAPE(2))), PAL_EDTYPE,
           "mod: argument a is f32, but must be i64", NULL, NULL);
}
END_TEST

START_TEST(options_out_of_range)
{
    expect(pal_clamp(f32(PAL_SHAPE(2)), 2, 1), PAL_EVALUE, "clamp: low 2", "high 1", "(x f32[2])");
    expect(pal_wrap(f32(PAL_SHAPE(2)), 0), PAL_EVALUE, "wrap: the period is 0", NULL, NULL);
    expect(pal_clamp(f32(PAL_SHAPE(2)), NAN, 1), PAL_EVALUE, "clamp: low", NULL, NULL);
    expect(pal_dropout(f32(PAL_SHAPE(2)), 1), PAL_EVALUE, "dropout: probability 1", "[0, 1)", NULL);
    expect(pal_dropout(f32(PAL_SHAPE(2)), -0.5), PAL_EVALUE, "dropout: probability -0.5", NULL,
           NULL);
    expect(pal_dropout(f32(PAL_SHAPE(2)), NAN), PAL_EVALUE, "dropout: probability", NULL, NULL);
    expect(pal_tril(f32(PAL_SHAPE(5)), 0), PAL_ESHAPE, "tril: x has fewer than two axes",
           "(x f32[5])", NULL);
    expect(pal_triu(f32(PAL_SCALAR), 0), PAL_ESHAPE, "triu:", "(x f32[])", NULL);
    expect(pal_cast(f32(PAL_SHAPE(2)), (pal_dtype)9), PAL_EDTYPE, "cast: 9 is not a dtype", NULL,
           NULL);
}
END_TEST

START_TEST(where_and_masks)
{
    pal_shape s = PAL_SHAPE(2, 3);
    expect(pal_where(f32(s), f32(s), zeros(PAL_F64, s)), PAL_EDTYPE, "where:", "a and b differ",
           "b f64[2,3]");
    expect(pal_where(f32(PAL_SHAPE(4)), f32(s), f32(s)), PAL_ESHAPE, "where:", "do not broadcast",
           "condition f32[4]");
    expect(pal_where(PAL_NONE, f32(s), f32(s)), PAL_EVALUE, "where: argument condition is missing",
           NULL, NULL);
    expect(pal_masked_fill(f32(s), f32(PAL_SHAPE(4, 2, 3)), 0), PAL_ESHAPE,
           "masked_fill: the mask does not broadcast to x", "mask f32[4,2,3]", NULL);
}
END_TEST

START_TEST(copies)
{
    expect(pal_expand(f32(PAL_SHAPE(2, 3)), PAL_SHAPE(2, 4)), PAL_ESHAPE, "expand:", "[2,4]",
           "(x f32[2,3])");
    expect(pal_expand(f32(PAL_SHAPE(2, 3)), PAL_SHAPE(3)), PAL_ESHAPE, "expand:", NULL, NULL);
    expect(pal_expand(f32(PAL_SHAPE(1)), PAL_SHAPE(-1)), PAL_ESHAPE, "expand:", NULL, NULL);
    int64_t huge = (int64_t)1 << 40;
    expect(pal_expand(f32(PAL_SHAPE(1)), PAL_SHAPE(huge, huge)), PAL_ESHAPE, "expand:", NULL, NULL);
    expect(pal_add(pal_expand(f32(PAL_SCALAR), PAL_SHAPE(0, huge, 1)),
                   pal_expand(f32(PAL_SCALAR), PAL_SHAPE(0, 1, huge))),
           PAL_ESHAPE, "add:", NULL, NULL);
}
END_TEST

/* ---- Reductions and rows ---- */

typedef pal_tensor reduction_fn(pal_tensor x, int axis, bool keep);

START_TEST(axes_that_are_not_there)
{
    static const struct {
        reduction_fn *op;
        const char *name;
    } table[] = {{pal_sum, "sum:"},   {pal_mean, "mean:"},          {pal_max, "max:"},
                 {pal_min, "min:"},   {pal_argmax, "argmax:"},      {pal_argmin, "argmin:"},
                 {pal_norm, "norm:"}, {pal_logsumexp, "logsumexp:"}};
    pal_shape s = PAL_SHAPE(2, 3);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        expect(table[i].op(f32(s), 2, false), PAL_EVALUE, table[i].name,
               "axis 2 is not between -2 and 1", "(x f32[2,3])");
        expect(table[i].op(f32(PAL_SCALAR), 0, false), PAL_EVALUE, table[i].name,
               "a scalar has no axis 0", "(x f32[])");
    }
    expect(pal_max(f32(PAL_SHAPE(2, 0)), 1, false), PAL_EVALUE, "max:", "is empty", "x f32[2,0]");
    expect(pal_argmin(f32(PAL_SHAPE(0)), PAL_ALL, false), PAL_EVALUE, "argmin:", "empty", NULL);
    expect(pal_softmax(f32(s), -3), PAL_EVALUE, "softmax: axis -3", "(x f32[2,3])", NULL);
    expect(pal_log_softmax(f32(s), 5), PAL_EVALUE, "log_softmax: axis 5", NULL, NULL);
    expect(pal_cumsum(f32(s), 2, true), PAL_EVALUE, "cumsum: axis 2", "(x f32[2,3])", NULL);
    expect(pal_mean(zeros(PAL_I64, s), 0, false), PAL_EDTYPE, "mean: argument x is i64", NULL,
           NULL);
    expect(pal_softmax(zeros(PAL_I64, s), 0), PAL_EDTYPE, "softmax: argument x is i64", NULL, NULL);
}
END_TEST

START_TEST(rows_that_do_not_fit)
{
    pal_shape s = PAL_SHAPE(2, 3);
    expect(pal_rms_norm(f32(s), f32(PAL_SHAPE(2)), 1e-5), PAL_ESHAPE, "rms_norm: weight", "[3]",
           "weight f32[2]");
    expect(pal_layer_norm(f32(s), PAL_NONE, f32(s), 1e-5), PAL_ESHAPE, "layer_norm: bias", NULL,
           "bias f32[2,3]");
    expect(pal_l2_norm(f32(s), -1), PAL_EVALUE, "l2_norm: eps -1", NULL, NULL);
    expect(pal_rms_norm(f32(PAL_SCALAR), PAL_NONE, 0), PAL_ESHAPE, "rms_norm: a scalar", NULL,
           NULL);
    pal_tensor k[2];
    pal_topk(f32(s), 4, k);
    ck_assert(pal_value(k[1]).data == NULL);
    expect(k[0], PAL_EVALUE, "topk: k = 4", "(x f32[2,3])", NULL);
    pal_cross_entropy_opts plain = {0}, smooth = {.label_smoothing = 1};
    pal_tensor targets = zeros(PAL_I64, PAL_SHAPE(2));
    expect(pal_cross_entropy(f32(PAL_SHAPE(2, 3)), f32(PAL_SHAPE(2)), plain), PAL_EDTYPE,
           "cross_entropy: argument targets is f32", NULL, NULL);
    targets = zeros(PAL_I64, PAL_SHAPE(3));
    expect(pal_cross_entropy(f32(s), targets, plain), PAL_ESHAPE, "cross_entropy:", "f32[2,3]",
           "targets i64[3]");
    targets = pal_full(tape, PAL_I64, PAL_SHAPE(2), 3);
    expect(pal_cross_entropy(f32(s), targets, plain), PAL_EVALUE, "cross_entropy:", "3", NULL);
    targets = zeros(PAL_I64, PAL_SHAPE(2));
    expect(pal_cross_entropy(f32(s), targets, smooth), PAL_EVALUE,
           "cross_entropy:", "label_smoothing 1", NULL);
}
END_TEST

START_TEST(heads_that_do_not_fit)
{
    pal_tensor x = f32(PAL_SHAPE(2, 3)), w = f32(PAL_SHAPE(4, 3)), t = zeros(PAL_I64, PAL_SHAPE(2));
    pal_cross_entropy_opts plain = {0};
    expect(pal_linear_cross_entropy(x, f32(PAL_SHAPE(4, 2)), PAL_NONE, t, plain), PAL_ESHAPE,
           "linear_cross_entropy: x should be", "x f32[2,3]", "weight f32[4,2]");
    x = f32(PAL_SHAPE(2, 3)), w = f32(PAL_SHAPE(4, 3)), t = zeros(PAL_I64, PAL_SHAPE(2));
    expect(pal_linear_cross_entropy(x, w, f32(PAL_SHAPE(3)), t, plain), PAL_ESHAPE,
           "linear_cross_entropy: bias is not of shape [4]", "bias f32[3]", NULL);
    x = f32(PAL_SHAPE(2, 3)), w = f32(PAL_SHAPE(4, 3)), t = zeros(PAL_I64, PAL_SHAPE(3));
    expect(pal_linear_cross_entropy(x, w, PAL_NONE, t, plain), PAL_ESHAPE,
           "linear_cross_entropy: targets do not have the shape of x", "targets i64[3]", NULL);
    x = f32(PAL_SHAPE(2, 3)), w = f32(PAL_SHAPE(4, 3));
    t = pal_full(tape, PAL_I64, PAL_SHAPE(2), 4);
    expect(pal_linear_cross_entropy(x, w, PAL_NONE, t, plain), PAL_EVALUE,
           "linear_cross_entropy: target 4 of row 0 is not between 0 and 3", NULL, NULL);
    x = f32(PAL_SHAPE(2, 3)), w = zeros(PAL_F64, PAL_SHAPE(4, 3));
    t = zeros(PAL_I64, PAL_SHAPE(2));
    expect(pal_linear_cross_entropy(x, w, PAL_NONE, t, plain), PAL_EDTYPE,
           "linear_cross_entropy: the dtypes differ", "weight f64[4,3]", NULL);
}
END_TEST

/* ---- Products ---- */

START_TEST(products_that_do_not_exist)
{
    pal_shape s = PAL_SHAPE(2, 3);
    expect(pal_matmul(f32(s), f32(s)), PAL_ESHAPE, "matmul: the inner sizes 3 and 2 differ",
           "(a f32[2,3], b f32[2,3])", NULL);
    expect(pal_matmul(f32(s), f32(PAL_SHAPE(3))), PAL_ESHAPE, "matmul:", "two axes", "b f32[3]");
    expect(pal_matmul(f32(s), zeros(PAL_F64, PAL_SHAPE(3, 2))), PAL_EDTYPE, "matmul:", "dtypes",
           NULL);
    expect(pal_matmul(f32(PAL_SHAPE(2, 2, 3)), f32(PAL_SHAPE(4, 3, 2))), PAL_ESHAPE,
           "matmul:", "leading axes", NULL);
    expect(pal_linear(f32(s), f32(PAL_SHAPE(4, 2)), PAL_NONE), PAL_ESHAPE,
           "linear:", "weight f32[4,2]", NULL);
    expect(pal_linear(f32(s), f32(PAL_SHAPE(4, 3)), f32(PAL_SHAPE(3))), PAL_ESHAPE, "linear: bias",
           "[4]", "bias f32[3]");
    pal_solve_opts lower = {0};
    expect(pal_triangular_solve(f32(s), f32(s), lower), PAL_ESHAPE,
           "triangular_solve: t is not square", "(t f32[2,3], b f32[2,3])", NULL);
    expect(pal_triangular_solve(f32(PAL_SHAPE(3, 3)), f32(s), lower), PAL_ESHAPE,
           "triangular_solve: t has 3 rows and b 2", NULL, NULL);
}
END_TEST

/* ---- Copies along an axis, and indices ---- */

START_TEST(parts_and_indices_that_do_not_fit)
{
    pal_shape s = PAL_SHAPE(2, 3);
    pal_tensor parts[2] = {f32(s), f32(PAL_SHAPE(2, 4))};
    expect(pal_concat(2, parts, 0), PAL_ESHAPE, "concat: parts 0 and 1", "part f32[2,4]", NULL);
    pal_tensor mixed[2] = {f32(s), zeros(PAL_F64, s)};
    expect(pal_stack(2, mixed, 0), PAL_EDTYPE, "stack: parts 0 and 1", NULL, NULL);
    expect(pal_repeat(f32(s), 0, -1), PAL_EVALUE, "repeat: -1 is negative", "(x f32[2,3])", NULL);
    expect(pal_repeat_interleave(f32(s), 2, 2), PAL_EVALUE, "repeat_interleave: axis 2", NULL,
           NULL);
    expect(pal_repeat(f32(s), 0, INT64_MAX), PAL_ESHAPE, "repeat: the result has too many", NULL,
           NULL);
    expect(pal_pad(f32(s), 1, 0, -2, 0), PAL_EVALUE, "pad: -2 is negative", NULL, NULL);
    expect(pal_pad(f32(s), 1, INT64_MAX, 1, 0), PAL_ESHAPE, "pad: the result has too many", NULL,
           NULL);
    expect(pal_flip(f32(PAL_SCALAR), 0), PAL_EVALUE, "flip: a scalar has no axis 0", NULL, NULL);
    pal_tensor at = pal_full(tape, PAL_I64, s, 3);
    expect(pal_gather(f32(s), 1, at), PAL_EVALUE, "gather: index 3 is not between 0 and 2", NULL,
           NULL);
    at = zeros(PAL_I64, PAL_SHAPE(3, 3));
    expect(pal_gather(f32(s), 1, at), PAL_ESHAPE, "gather: x and index differ", "index i64[3,3]",
           NULL);
    expect(pal_gather(f32(s), 1, f32(s)), PAL_EDTYPE, "gather: argument index is f32", NULL, NULL);
    at = pal_full(tape, PAL_I64, PAL_SHAPE(4), -1);
    expect(pal_embedding(f32(s), at), PAL_EVALUE, "embedding: index -1 is not between 0 and 1",
           NULL, NULL);
    at = pal_full(tape, PAL_I64, PAL_SHAPE(4), 5);
    expect(pal_one_hot(at, 5, PAL_F32), PAL_EVALUE, "one_hot: index 5 is not between 0 and 4", NULL,
           NULL);
}
END_TEST

/* ---- Views ---- */

START_TEST(views_that_do_not_exist)
{
    pal_shape s = PAL_SHAPE(2, 3);
    expect(pal_reshape(f32(s), PAL_SHAPE(4, 2)), PAL_ESHAPE, "reshape:", "[4,2]", "(x f32[2,3])");
    expect(pal_reshape(f32(s), PAL_SHAPE(-1, -1)), PAL_ESHAPE, "reshape:", "(x f32[2,3])", NULL);
    expect(pal_reshape(f32(PAL_SHAPE(0)), PAL_SHAPE(0, -1)), PAL_ESHAPE, "reshape:", NULL, NULL);
    expect(pal_permute(f32(s), (const int[]){0, 0}), PAL_EVALUE, "permute:", "axes[1] = 0",
           "(x f32[2,3])");
    expect(pal_permute(f32(s), (const int[]){0, 2}), PAL_EVALUE, "permute:", "axes[1] = 2", NULL);
    expect(pal_transpose(f32(s), 0, 2), PAL_EVALUE, "transpose: axis 2", "(x f32[2,3])", NULL);
    expect(pal_slice(f32(s), 0, 0, 2, 0), PAL_EVALUE, "slice:", "step 0", "(x f32[2,3])");
    expect(pal_slice(f32(s), -3, 0, 2, 1), PAL_EVALUE, "slice:", "axis -3", "(x f32[2,3])");
    expect(pal_select(f32(s), 1, 3), PAL_EVALUE, "select: index 3 of axis 1", "(x f32[2,3])", NULL);
    expect(pal_select(f32(s), 1, -4), PAL_EVALUE, "select: index -4", NULL, NULL);
    expect(pal_squeeze(f32(s), 1), PAL_ESHAPE, "squeeze: axis 1 has 3", "(x f32[2,3])", NULL);
    expect(pal_unsqueeze(f32(s), 3), PAL_EVALUE, "unsqueeze: axis 3", "(x f32[2,3])", NULL);
    expect(pal_unsqueeze(f32(PAL_SHAPE(1, 1, 1, 1, 1, 1, 1, 1)), 0), PAL_ESHAPE,
           "unsqueeze:", "more than 8", NULL);
    pal_tensor part[2];
    pal_split(f32(s), 1, 2, (const int64_t[]){1, 1}, part);
    ck_assert(pal_value(part[0]).data == NULL);
    expect(part[1], PAL_ESHAPE, "split: the 2 sizes do not add up", "(x f32[2,3])", NULL);
    pal_split(f32(s), 1, 2, (const int64_t[]){4, -1}, part);
    expect(part[0], PAL_ESHAPE, "split:", NULL, NULL);
}
END_TEST

/* ---- Operations of one's own ---- */

static pal_status refuse(pal_call *call)
{
    (void)call;
    return PAL_EVALUE;
}
static void nothing(const pal_call *call) { (void)call; }

/* A message names the operands, also a missing one. */
static pal_status want_two(pal_call *call)
{
    if (call->in[1]) return pal_call_out(call, 0, call->in[0]->dtype, PAL_SCALAR);
    return pal_call_error(call, PAL_EVALUE, "an operand is missing");
}

START_TEST(a_missing_operand_is_named)
{
    static const pal_op op = {.name = "two", .args = "a b", .infer = want_two, .forward = nothing};
    pal_tensor y;
    pal_apply(&op, NULL, 0, 2, (pal_tensor[]){f32(PAL_SHAPE(2, 3)), PAL_NONE}, 1, &y);
    expect(y, PAL_EVALUE, "two: an operand is missing (a f32[2,3], b none)", NULL, NULL);
}
END_TEST

/* infer may return a status without a message; the failure is reported all the same. */
START_TEST(a_refusal_without_words)
{
    static const pal_op op = {.name = "picky", .args = "x", .infer = refuse, .forward = nothing};
    pal_tensor x = f32(PAL_SHAPE(2, 3)), y;
    pal_apply(&op, NULL, 0, 1, &x, 1, &y);
    ck_assert_int_eq(pal_tape_status(tape), PAL_EVALUE);
    expect(y, PAL_EVALUE, "picky: ", "x f32[2,3]", NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("errors");
    TCase *tc = tcase_create("errors");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, shapes_that_do_not_exist);
    tcase_add_test(tc, operands_of_two_dtypes);
    tcase_add_test(tc, reals_only);
    tcase_add_test(tc, options_out_of_range);
    tcase_add_test(tc, where_and_masks);
    tcase_add_test(tc, copies);
    tcase_add_test(tc, axes_that_are_not_there);
    tcase_add_test(tc, rows_that_do_not_fit);
    tcase_add_test(tc, heads_that_do_not_fit);
    tcase_add_test(tc, products_that_do_not_exist);
    tcase_add_test(tc, parts_and_indices_that_do_not_fit);
    tcase_add_test(tc, views_that_do_not_exist);
    tcase_add_test(tc, a_missing_operand_is_named);
    tcase_add_test(tc, a_refusal_without_words);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
