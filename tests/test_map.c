/*
 * test_map.c - properties of elementwise operations that a case cannot express: identities, NaN
 * that must not spread, the ends of i64, how often dropout drops, and sums over many elements.
 */
#include "autograd/internal.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>

static pal_tape *tape;

static void setup(void) { tape = pal_tape_new(); }
static void teardown(void) { pal_tape_free(tape); }

static pal_tensor row(const double *x, int64_t n)
{
    return pal_from(tape, PAL_F64, PAL_SHAPE(n), x);
}

/* ---- Identities ---- */

START_TEST(what_need_not_be_done_is_not)
{
    pal_tensor x = pal_zeros(tape, PAL_F32, PAL_SHAPE(2, 3));
    ck_assert(pal_contiguous(x).node == x.node);
    ck_assert(pal_dropout(x, 0).node == x.node);
    pal_tensor t = pal_transpose(x, 0, 1);
    ck_assert(pal_contiguous(t).node != t.node);
}
END_TEST

/* ---- NaN in the branch not taken ---- */

START_TEST(a_branch_not_taken_has_no_gradient)
{
    /* dy is infinite at [0] and NaN at [1] */
    pal_tensor c = row((double[]){0, 0, 1}, 3), w = row((double[]){INFINITY, NAN, 2}, 3);
    pal_tensor a = pal_want_grad(row((double[]){1, 2, 3}, 3));
    pal_tensor b = pal_want_grad(row((double[]){4, 5, NAN}, 3));
    pal_tensor y = pal_where(c, a, b);
    ck_assert(pal_f64(y)[2] == 3);
    ck_assert_int_eq(pal_backward_from(1, &y, &w), PAL_OK);
    const double *da = pal_f64(pal_grad(a)), *db = pal_f64(pal_grad(b));
    ck_assert(da[0] == 0 && da[1] == 0 && da[2] == 2);
    ck_assert(isinf(db[0]) && isnan(db[1]) && db[2] == 0);

    pal_tensor x = pal_want_grad(row((double[]){NAN, INFINITY, 3}, 3));
    pal_tensor mask = row((double[]){1, NAN, 0}, 3); /* NaN is not 0 */
    y = pal_masked_fill(x, mask, -1);
    ck_assert(pal_f64(y)[0] == -1 && pal_f64(y)[1] == -1 && pal_f64(y)[2] == 3);
    ck_assert_int_eq(pal_backward_from(1, &y, &w), PAL_OK);
    const double *dx = pal_f64(pal_grad(x));
    ck_assert(dx[0] == 0 && dx[1] == 0 && dx[2] == 2);
}
END_TEST

START_TEST(nothing_survives_outside_a_triangle)
{
    pal_tensor w = pal_full(tape, PAL_F64, PAL_SHAPE(2, 2), NAN);
    pal_tensor x = pal_want_grad(pal_full(tape, PAL_F64, PAL_SHAPE(2, 2), INFINITY));
    pal_tensor y = pal_tril(x, 0);
    ck_assert(pal_f64(y)[1] == 0 && isinf(pal_f64(y)[2]));
    ck_assert_int_eq(pal_backward_from(1, &y, &w), PAL_OK);
    ck_assert(pal_f64(pal_grad(x))[1] == 0 && isnan(pal_f64(pal_grad(x))[2]));
}
END_TEST

START_TEST(ties_share_the_gradient)
{
    pal_tensor a = pal_want_grad(row((double[]){1, 2, 3}, 3));
    pal_tensor b = pal_want_grad(row((double[]){1, 3, 2}, 3));
    pal_tensor y = pal_maximum(a, b), w = row((double[]){4, 4, 4}, 3);
    ck_assert_int_eq(pal_backward_from(1, &y, &w), PAL_OK);
    const double *da = pal_f64(pal_grad(a)), *db = pal_f64(pal_grad(b));
    ck_assert(da[0] == 2 && da[1] == 0 && da[2] == 4);
    ck_assert(db[0] == 2 && db[1] == 4 && db[2] == 0);
}
END_TEST

/* ---- Integers ---- */

START_TEST(integers_wrap_and_round_down)
{
    pal_shape s = PAL_SHAPE(6);
    pal_tensor a =
        pal_from(tape, PAL_I64, s, (int64_t[]){INT64_MIN, INT64_MAX, -7, 7, -7, INT64_MIN});
    pal_tensor b = pal_from(tape, PAL_I64, s, (int64_t[]){-1, 1, 2, -2, -2, 0});
    const int64_t *q = pal_i64(pal_div(a, b)), *r = pal_i64(pal_mod(a, b));
    const int64_t quotient[] = {INT64_MIN, INT64_MAX, -4, -4, 3, 0}, rest[] = {0, 0, 1, -1, -1, 0};
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(q[i], quotient[i]);
        ck_assert_int_eq(r[i], rest[i]);
    }
    ck_assert_int_eq(pal_i64(pal_add(a, b))[0], INT64_MAX);
    ck_assert_int_eq(pal_i64(pal_neg(a))[0], INT64_MIN);
    ck_assert_int_eq(pal_i64(pal_abs(a))[2], 7);
    ck_assert_int_eq(pal_i64(pal_affine(b, 2.5, -1.2))[2], 3 * 2 - 1);
    /* This number has more digits than a double. */
    pal_tensor big = pal_from(tape, PAL_I64, PAL_SHAPE(1), (int64_t[]){((int64_t)1 << 53) + 1});
    ck_assert_int_eq(pal_i64(pal_maximum(big, pal_affine(big, 1, -1)))[0], ((int64_t)1 << 53) + 1);
    ck_assert_int_eq(pal_i64(pal_where(big, big, big))[0], ((int64_t)1 << 53) + 1);
    ck_assert_int_eq(pal_i64(pal_gt(big, pal_affine(big, 1, -1)))[0], 1);
}
END_TEST

START_TEST(casts)
{
    pal_tensor x = row((double[]){1.75, -1.75, NAN, 1e300, -INFINITY}, 5);
    const int64_t *n = pal_i64(pal_cast(x, PAL_I64));
    const int64_t want[] = {1, -1, 0, INT64_MAX, INT64_MIN};
    for (int i = 0; i < 5; i++) ck_assert_int_eq(n[i], want[i]);
    ck_assert(isinf(pal_f32(pal_cast(x, PAL_F32))[3]));

    pal_tensor a = pal_want_grad(pal_from(tape, PAL_F32, PAL_SHAPE(2), (float[]){1, 2}));
    pal_tensor y = pal_cast(pal_square(pal_cast(a, PAL_F64)), PAL_F32);
    pal_tensor w = pal_from(tape, PAL_F32, PAL_SHAPE(2), (float[]){3, 5});
    ck_assert_int_eq(pal_backward_from(1, &y, &w), PAL_OK);
    ck_assert(pal_f32(pal_grad(a))[0] == 6 && pal_f32(pal_grad(a))[1] == 20);
}
END_TEST

/* ---- Dropout ---- */

START_TEST(dropout_drops_its_share)
{
    enum { N = 100000 };
    pal_tensor x = pal_want_grad(pal_full(tape, PAL_F32, PAL_SHAPE(N), 1));
    pal_tensor y = pal_dropout(x, 0.2), again = pal_dropout(x, 0.2);
    pal_tensor ones = pal_full(tape, PAL_F32, PAL_SHAPE(N), 1);
    const float *v = pal_f32(y), *u = pal_f32(again);
    int kept = 0, both = 0;
    for (int i = 0; i < N; i++) {
        ck_assert(v[i] == 0 || v[i] == (float)(1 / 0.8));
        kept += v[i] != 0;
        both += v[i] != 0 && u[i] != 0;
    }
    ck_assert_int_lt(abs(kept - 80000), 600); /* 126 is one standard deviation */
    ck_assert_int_lt(abs(both - 64000), 800); /* two calls are independent */
    ck_assert_int_eq(pal_backward_from(1, &y, &ones), PAL_OK);
    const float *g = pal_f32(pal_grad(x));
    for (int i = 0; i < N; i++) ck_assert(g[i] == v[i]);
}
END_TEST

/* ---- Sums ---- */

START_TEST(a_scalar_gradient_of_many_elements_is_exact_enough)
{
    enum { N = 1 << 20 };
    pal_tensor s = pal_want_grad(pal_scalar(tape, PAL_F32, 1));
    pal_tensor x = pal_full(tape, PAL_F32, PAL_SHAPE(N), 0.1);
    pal_tensor y = pal_mul(s, x), w = pal_full(tape, PAL_F32, PAL_SHAPE(N), 1);
    ck_assert_int_eq(pal_backward_from(1, &y, &w), PAL_OK);
    double want = (double)0.1f * N;
    ck_assert(fabs(pal_item(pal_grad(s)) - want) <= 1e-5 * want);
}
END_TEST

START_TEST(arrays_add_along_any_strides)
{
    double a[24], b[24];
    for (int i = 0; i < 24; i++) a[i] = i, b[i] = 100 * i;
    pal_array x = pal_array_of(PAL_F64, PAL_SHAPE(2, 3, 4), a), dst, src;
    pal_array y = pal_array_of(PAL_F64, PAL_SHAPE(4, 3, 2), b);
    pal_error e;
    ck_assert_int_eq(pal_array_permute(&x, (const int[]){2, 1, 0}, &dst, &e), PAL_OK);
    ck_assert_int_eq(pal_array_slice(&dst, 0, 1, 4, 2, &dst, &e), PAL_OK);
    ck_assert_int_eq(pal_array_slice(&y, 0, 1, 4, 2, &src, &e), PAL_OK);
    pal_array_add(&dst, &src);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 4; k++) {
                int at = (i * 3 + j) * 4 + k, from = (k * 3 + j) * 2 + i;
                ck_assert(a[at] == at + (k % 2 ? 100.0 * from : 0));
            }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("map");
    TCase *tc = tcase_create("map");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_need_not_be_done_is_not);
    tcase_add_test(tc, a_branch_not_taken_has_no_gradient);
    tcase_add_test(tc, nothing_survives_outside_a_triangle);
    tcase_add_test(tc, ties_share_the_gradient);
    tcase_add_test(tc, integers_wrap_and_round_down);
    tcase_add_test(tc, casts);
    tcase_add_test(tc, dropout_drops_its_share);
    tcase_add_test(tc, a_scalar_gradient_of_many_elements_is_exact_enough);
    tcase_add_test(tc, arrays_add_along_any_strides);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
