/*
 * test_errors_more.c - the errors of losses, reductions over several axes, einsum, sort, indices,
 * group norm and conv1d that are used wrongly.
 */
#include "autograd/autograd.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pal_error first;
static int errors;
static pal_tape *tape;

static void remember(const pal_error *e, void *user)
{
    (void)user;
    if (errors++ == 0) first = *e;
}

static void setup(void)
{
    errors = 0;
    pal_set_error_handler(remember, NULL);
    tape = pal_tape_new();
}

static void teardown(void)
{
    pal_tape_free(tape);
    pal_set_error_handler(NULL, NULL);
}

static pal_tensor f32(pal_shape shape) { return pal_zeros(tape, PAL_F32, shape); }
static pal_tensor f64(pal_shape shape) { return pal_zeros(tape, PAL_F64, shape); }
static pal_tensor i64(pal_shape shape) { return pal_zeros(tape, PAL_I64, shape); }

/* The result is poison, and there was one error, whose text contains a and b. Then the tape is
 * reset. */
static void expect(pal_tensor result, pal_status status, const char *a, const char *b)
{
    ck_assert(result.node != NULL && pal_value(result).data == NULL);
    ck_assert_int_eq(errors, 1);
    ck_assert_msg(first.status == status, "status %s: %s", pal_status_name(first.status),
                  first.message);
    ck_assert_msg(strstr(first.message, a), "\"%s\" lacks \"%s\"", first.message, a);
    ck_assert_msg(!b || strstr(first.message, b), "\"%s\" lacks \"%s\"", first.message, b);
    errors = 0;
    pal_tape_reset(tape);
}

START_TEST(losses)
{
    pal_shape s = PAL_SHAPE(2, 3);
    pal_loss_opts none = {0}, bad = {.reduction = (pal_loss_reduction)7}, delta = {.delta = -1};
    expect(pal_mse(f32(s), f32(PAL_SHAPE(3)), none), PAL_ESHAPE,
           "mse: x and target differ in shape", "target f32[3]");
    expect(pal_mae(f32(s), f64(s), none), PAL_EDTYPE, "mae: the dtypes differ", NULL);
    expect(pal_mae(f32(s), i64(s), none), PAL_EDTYPE, "mae: argument target is i64", NULL);
    expect(pal_mse(f32(s), f32(s), bad), PAL_EVALUE, "mse: reduction 7", NULL);
    expect(pal_huber(f32(s), f32(s), delta), PAL_EVALUE, "huber: delta -1", NULL);
    expect(pal_mse(f32(s), f32(s), (pal_loss_opts){.weight = f32(PAL_SHAPE(2))}), PAL_ESHAPE,
           "mse: weight does not broadcast to x", "weight f32[2]");
    expect(pal_mse(f32(s), f32(s), (pal_loss_opts){.pos_weight = f32(PAL_SHAPE(3))}), PAL_EVALUE,
           "mse: pos_weight belongs to bce_logits", NULL);
    expect(pal_bce_logits(f32(s), f32(s),
                          (pal_loss_opts){.pos_weight = pal_full(tape, PAL_F32, s, -1)}),
           PAL_EVALUE, "bce_logits: element 0 of pos_weight is -1", NULL);
    expect(pal_mse(f32(s), f32(s), (pal_loss_opts){.weight = pal_full(tape, PAL_F32, s, NAN)}),
           PAL_EVALUE, "mse: element 0 of weight is nan", NULL);
    expect(pal_mse(f32(s), f32(s), (pal_loss_opts){.weight = pal_want_grad(f32(s))}), PAL_EGRAD,
           "mse: weight wants a gradient", "pal_detach");
}
END_TEST

START_TEST(cross_entropies)
{
    pal_shape s = PAL_SHAPE(2, 3), rows = PAL_SHAPE(2);
    pal_cross_entropy_opts both = {.sum = true, .reduction = PAL_REDUCE_NONE};
    expect(pal_cross_entropy(f32(s), i64(rows), both), PAL_EVALUE,
           "cross_entropy: reduction 2 with", NULL);
    expect(pal_cross_entropy(f32(s), i64(rows), (pal_cross_entropy_opts){.weight = f32(s)}),
           PAL_ESHAPE, "cross_entropy: weight and targets differ in shape", "weight f32[2,3]");
    expect(pal_cross_entropy(f32(s), i64(rows), (pal_cross_entropy_opts){.weight = f64(rows)}),
           PAL_EDTYPE, "cross_entropy: the dtypes differ", NULL);
    pal_tensor w = pal_full(tape, PAL_F32, rows, -2);
    expect(pal_cross_entropy(f32(s), i64(rows), (pal_cross_entropy_opts){.weight = w}), PAL_EVALUE,
           "cross_entropy: element 0 of weight is -2", NULL);
    w = pal_want_grad(f32(rows));
    expect(pal_linear_cross_entropy(f32(s), f32(PAL_SHAPE(4, 3)), PAL_NONE, i64(rows),
                                    (pal_cross_entropy_opts){.weight = w}),
           PAL_EGRAD, "linear_cross_entropy: row_weight wants a gradient", NULL);
}
END_TEST

START_TEST(several_axes)
{
    pal_shape s = PAL_SHAPE(2, 3);
    expect(pal_sum_over(f32(s), 2, (int[]){0, 2}, false), PAL_EVALUE,
           "sum_over: axis 2 is not between -2 and 1", "(x f32[2,3])");
    expect(pal_max_over(f32(s), 2, (int[]){0, -2}, false), PAL_EVALUE,
           "max_over: axis 0 is named twice", NULL);
    expect(pal_var(f32(s), 0, NULL, 1, false), PAL_EVALUE, "var: no axis is named", NULL);
    expect(pal_std(f32(s), 1, (int[]){0}, -1, false), PAL_EVALUE, "std: correction -1", NULL);
    expect(pal_var(i64(s), 1, (int[]){0}, 1, false), PAL_EDTYPE, "var: argument x is i64", NULL);
}
END_TEST

START_TEST(einsums)
{
    pal_shape s = PAL_SHAPE(2, 3);
    expect(pal_einsum("ij,jk->ik", f32(s), f32(s)), PAL_ESHAPE,
           "einsum: letter j has size 3 in a and 2 in b", "a f32[2,3]");
    expect(pal_einsum("ij,jk->iz", f32(s), f32(PAL_SHAPE(3, 2))), PAL_EVALUE, "letter z", "result");
    expect(pal_einsum("ii,ij->j", f32(s), f32(s)), PAL_EVALUE, "letter i is twice in a", NULL);
    expect(pal_einsum("ij,jk->ii", f32(s), f32(s)), PAL_EVALUE, "letter i is twice in the result",
           NULL);
    expect(pal_einsum("ijk,jk->i", f32(s), f32(s)), PAL_ESHAPE, "a has 2 axes and 3 letters", NULL);
    expect(pal_einsum("ij", f32(s), f32(s)), PAL_EVALUE, "there is no comma", NULL);
    expect(pal_einsum("i.,ij", f32(s), f32(s)), PAL_EVALUE, "is no letter", NULL);
    expect(pal_einsum("abcdefghi,ij", f32(s), f32(s)), PAL_EVALUE, "too many letters", NULL);
    expect(pal_einsum("ij,ij", i64(s), i64(s)), PAL_EDTYPE, "an operand is i64", NULL);
    expect(pal_einsum("ij,ij", f32(s), f64(s)), PAL_EDTYPE, "the dtypes differ", NULL);
    expect(pal_einsum(NULL, f32(s), f32(s)), PAL_EVALUE, "there is no comma", NULL);
    expect(pal_einsum("ij,ij", f32(s), PAL_NONE), PAL_EVALUE, "einsum: argument b is missing",
           NULL);
}
END_TEST

START_TEST(indices_and_order)
{
    pal_shape s = PAL_SHAPE(2, 3);
    pal_tensor index = pal_full(tape, PAL_I64, PAL_SHAPE(2), 3), k[2];
    expect(pal_index_select(f32(s), 1, index), PAL_EVALUE, "index_select: index 3 is not between",
           NULL);
    expect(pal_index_select(f32(s), 2, i64(PAL_SHAPE(2))), PAL_EVALUE, "index_select: axis 2",
           NULL);
    expect(pal_index_select(f32(s), 0, i64(s)), PAL_ESHAPE,
           "index_select: index is not of one axis", NULL);
    expect(pal_scatter_add(f32(s), 0, i64(s), f32(PAL_SHAPE(1, 3))), PAL_ESHAPE,
           "scatter_add: index and src differ in shape", NULL);
    expect(pal_scatter_add(f32(s), 0, i64(PAL_SHAPE(4, 2)), f32(PAL_SHAPE(4, 2))), PAL_ESHAPE,
           "scatter_add: x and index differ in more than axis 0", NULL);
    expect(pal_scatter_add(f32(s), 0, i64(s), f64(s)), PAL_EDTYPE, "scatter_add: the dtypes", NULL);
    expect(pal_cumprod(f32(s), 2), PAL_EVALUE, "cumprod: axis 2", NULL);
    pal_sort(f32(s), -3, false, k);
    expect(k[0], PAL_EVALUE, "sort: axis -3", "(x f32[2,3])");
}
END_TEST

START_TEST(group_norms)
{
    pal_shape s = PAL_SHAPE(2, 6, 4);
    expect(pal_group_norm(f32(s), 4, PAL_NONE, PAL_NONE, 0), PAL_EVALUE,
           "group_norm: 4 groups do not divide 6 channels", "(x f32[2,6,4])");
    expect(pal_group_norm(f32(s), 0, PAL_NONE, PAL_NONE, 0), PAL_EVALUE, "group_norm: 0 groups",
           NULL);
    expect(pal_group_norm(f32(PAL_SHAPE(3)), 1, PAL_NONE, PAL_NONE, 0), PAL_ESHAPE,
           "group_norm: x has fewer than two axes", NULL);
    expect(pal_group_norm(f32(s), 2, f32(PAL_SHAPE(4)), PAL_NONE, 0), PAL_ESHAPE,
           "group_norm: weight is not f32[6]", NULL);
    expect(pal_group_norm(f32(s), 2, PAL_NONE, f64(PAL_SHAPE(6)), 0), PAL_EDTYPE,
           "group_norm: bias is not f32[6]", NULL);
    expect(pal_group_norm(f32(s), 2, PAL_NONE, PAL_NONE, -1), PAL_EVALUE, "group_norm: eps -1",
           NULL);
    expect(pal_group_norm(i64(s), 2, PAL_NONE, PAL_NONE, 0), PAL_EDTYPE,
           "group_norm: argument x is i64", NULL);
}
END_TEST

START_TEST(convolutions)
{
    pal_shape s = PAL_SHAPE(2, 4, 5), w = PAL_SHAPE(6, 4, 3);
    pal_conv1d_opts plain = {0};
    expect(pal_conv1d(f32(PAL_SHAPE(4, 5)), f32(w), PAL_NONE, plain), PAL_ESHAPE,
           "conv1d: x should be [B, C, T]", "x f32[4,5]");
    expect(pal_conv1d(f32(s), f32(PAL_SHAPE(6, 3, 3)), PAL_NONE, plain), PAL_ESHAPE,
           "conv1d: each of 1 groups has 4 channels, not 3", NULL);
    expect(pal_conv1d(f32(s), f32(w), PAL_NONE, (pal_conv1d_opts){.groups = 3}), PAL_EVALUE,
           "conv1d: 3 groups do not divide 4 and 6 channels", NULL);
    expect(pal_conv1d(f32(s), f32(PAL_SHAPE(6, 4, 6)), PAL_NONE, plain), PAL_ESHAPE,
           "conv1d: the weights reach over more", NULL);
    expect(pal_conv1d(f32(s), f32(PAL_SHAPE(6, 4, 0)), PAL_NONE, plain), PAL_ESHAPE,
           "conv1d:", NULL);
    expect(pal_conv1d(f32(s), f32(w), f32(PAL_SHAPE(4)), plain), PAL_ESHAPE,
           "conv1d: bias is not of shape [6]", NULL);
    expect(pal_conv1d(f32(s), f64(w), PAL_NONE, plain), PAL_EDTYPE, "conv1d: the dtypes differ",
           NULL);
    expect(pal_conv1d(f32(s), f32(w), PAL_NONE, (pal_conv1d_opts){.stride = -1}), PAL_EVALUE,
           "conv1d: stride -1", NULL);
    expect(pal_conv1d(f32(s), f32(w), PAL_NONE, (pal_conv1d_opts){.padding = INT64_MAX}),
           PAL_EVALUE, "conv1d: stride 1, padding", NULL);
    expect(pal_conv1d(f32(s), f32(w), PAL_NONE, (pal_conv1d_opts){.dilation = 1 << 30}), PAL_ESHAPE,
           "conv1d: the weights reach", NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("errors_more");
    TCase *tc = tcase_create("operations");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, losses);
    tcase_add_test(tc, cross_entropies);
    tcase_add_test(tc, several_axes);
    tcase_add_test(tc, einsums);
    tcase_add_test(tc, indices_and_order);
    tcase_add_test(tc, group_norms);
    tcase_add_test(tc, convolutions);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
