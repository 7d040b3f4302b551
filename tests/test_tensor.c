/*
 * test_tensor.c - compares shapes, views, fills, copies and conversions with loops over
 * pal_array_get.
 */
#include "tensor/internal.h"
#include "tensor/team.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Helpers ---- */

/* Counts through all indices of an array in row-major order; false after the last. */
static bool next_index(const pal_array *a, int64_t *index)
{
    for (int i = a->ndim - 1; i >= 0; i--) {
        if (++index[i] < a->shape[i]) return true;
        index[i] = 0;
    }
    return false;
}

/* dst equals the converted src at every index; both have the same shape. */
static void assert_same(const pal_array *dst, const pal_array *src)
{
    int64_t index[PAL_MAX_DIMS] = {0};
    if (pal_array_count(dst) == 0) return;
    do {
        double x = pal_array_get(src, index), y = pal_array_get(dst, index);
        if (dst->dtype == PAL_I64) x = trunc(x);
        if (dst->dtype == PAL_F32) x = (double)(float)x;
        if (!(x == y)) ck_abort_msg("got %g, want %g", y, x);
    } while (next_index(dst, index));
}

static pal_array counting(pal_dtype dtype, pal_shape shape, void *data)
{
    pal_array a = pal_array_of(dtype, shape, data), flat;
    ck_assert_int_eq(pal_array_reshape(&a, PAL_SHAPE(-1), &flat, NULL), PAL_OK);
    for (int64_t i = 0; i < flat.shape[0]; i++) pal_array_set(&flat, &i, (double)i + 0.25);
    return a;
}

static void assert_shape(const pal_array *a, pal_shape want)
{
    ck_assert(pal_shape_equal(pal_array_shape(a), want));
}

/* ---- Shapes ---- */

START_TEST(shape_counts)
{
    ck_assert_int_eq(pal_shape_count(PAL_SCALAR), 1);
    ck_assert_int_eq(pal_shape_count(PAL_SHAPE(2, 3, 4)), 24);
    ck_assert_int_eq(pal_shape_count(PAL_SHAPE(2, 0, 4)), 0);
    ck_assert_int_eq(pal_shape_count(PAL_SHAPE(2, -1)), -1);
    ck_assert_int_eq(pal_shape_count((pal_shape){.ndim = 9}), -1);
    ck_assert_int_eq(pal_shape_count((pal_shape){.ndim = -1}), -1);
    ck_assert_int_eq(pal_shape_count(PAL_SHAPE(INT64_MAX / 8)), INT64_MAX / 8);
    ck_assert_int_eq(pal_shape_count(PAL_SHAPE(INT64_MAX / 8 + 1)), -1);
    ck_assert_int_eq(pal_shape_count(PAL_SHAPE(INT64_C(1) << 32, INT64_C(1) << 32)), -1);
    ck_assert_int_eq(pal_shape_count(PAL_SHAPE(0, INT64_C(1) << 32, INT64_C(1) << 32)), -1);
    ck_assert_uint_eq(pal_shape_bytes(PAL_F32, PAL_SHAPE(3, 5)), 60);
    ck_assert_uint_eq(pal_shape_bytes(PAL_I64, PAL_SHAPE(3, 5)), 120);
}
END_TEST

START_TEST(shape_broadcast)
{
    pal_shape out;
    ck_assert_int_eq(pal_shape_broadcast(PAL_SHAPE(4, 1, 3), PAL_SHAPE(2, 1), &out), PAL_OK);
    ck_assert(pal_shape_equal(out, PAL_SHAPE(4, 2, 3)));
    ck_assert_int_eq(pal_shape_broadcast(PAL_SCALAR, PAL_SHAPE(0, 3), &out), PAL_OK);
    ck_assert(pal_shape_equal(out, PAL_SHAPE(0, 3)));
    ck_assert_int_eq(pal_shape_broadcast(PAL_SHAPE(0), PAL_SHAPE(1), &out), PAL_OK);
    ck_assert(pal_shape_equal(out, PAL_SHAPE(0)));
    ck_assert_int_eq(pal_shape_broadcast(PAL_SHAPE(2), PAL_SHAPE(3), &out), PAL_ESHAPE);
    ck_assert_int_eq(pal_shape_broadcast(PAL_SHAPE(0), PAL_SHAPE(3), &out), PAL_ESHAPE);
}
END_TEST

START_TEST(describe)
{
    char text[64], small[6];
    pal_array a = pal_array_of(PAL_F32, PAL_SHAPE(2, 3), NULL);
    ck_assert_str_eq(pal_array_describe(&a, text, sizeof text), "f32[2,3]");
    ck_assert_str_eq(pal_array_describe(&a, small, sizeof small), "f32[2");
    a = pal_array_of(PAL_I64, PAL_SCALAR, NULL);
    ck_assert_str_eq(pal_array_describe(&a, text, sizeof text), "i64[]");
}
END_TEST

/* ---- Views ---- */

START_TEST(reshape_follows_row_major_order)
{
    float data[24];
    pal_array a = counting(PAL_F32, PAL_SHAPE(2, 3, 4), data), b, c;
    ck_assert_int_eq(pal_array_reshape(&a, PAL_SHAPE(6, 1, -1), &b, NULL), PAL_OK);
    assert_shape(&b, PAL_SHAPE(6, 1, 4));
    ck_assert(pal_array_contiguous(&b));
    ck_assert_int_eq(pal_array_reshape(&a, PAL_SHAPE(1, 24, 1), &b, NULL), PAL_OK);
    ck_assert_int_eq(b.stride[1], 1);

    /* Axes that together are contiguous can be regrouped, although the whole array is not
     * contiguous. */
    int axes[] = {1, 2, 0};
    ck_assert_int_eq(pal_array_permute(&a, axes, &b, NULL), PAL_OK); /* [3,4,2] */
    ck_assert_int_eq(pal_array_reshape(&b, PAL_SHAPE(2, 6, 1, 2), &c, NULL), PAL_OK);
    ck_assert_int_eq(c.stride[0], 6);
    ck_assert_int_eq(c.stride[1], 1);
    ck_assert_int_eq(c.stride[3], 12);
    pal_array before = c;
    pal_error error = {0};
    ck_assert_int_eq(pal_array_reshape(&b, PAL_SHAPE(24), &c, &error), PAL_ESHAPE);
    ck_assert_ptr_nonnull(strstr(error.message, "f32[3,4,2] to [24]"));
    ck_assert_mem_eq(&before, &c, sizeof c);
}
END_TEST

START_TEST(reshape_refuses)
{
    float data[24];
    pal_array a = counting(PAL_F32, PAL_SHAPE(2, 3, 4), data), b;
    ck_assert_int_eq(pal_array_reshape(&a, PAL_SHAPE(5, -1), &b, NULL), PAL_ESHAPE);
    ck_assert_int_eq(pal_array_reshape(&a, PAL_SHAPE(-1, -1), &b, NULL), PAL_ESHAPE);
    ck_assert_int_eq(pal_array_reshape(&a, PAL_SHAPE(23), &b, NULL), PAL_ESHAPE);
    ck_assert_int_eq(pal_array_reshape(&a, PAL_SHAPE(-2, -12), &b, NULL), PAL_ESHAPE);
    ck_assert_int_eq(pal_array_reshape(&a, (pal_shape){.ndim = 9}, &b, NULL), PAL_ESHAPE);
    pal_array empty = pal_array_of(PAL_F32, PAL_SHAPE(0, 3), data);
    ck_assert_int_eq(pal_array_reshape(&empty, PAL_SHAPE(0, -1), &b, NULL), PAL_ESHAPE);
    ck_assert_int_eq(pal_array_reshape(&empty, PAL_SHAPE(-1, 7), &b, NULL), PAL_OK);
    assert_shape(&b, PAL_SHAPE(0, 7));
    pal_array scalar = pal_array_of(PAL_F32, PAL_SCALAR, data);
    ck_assert_int_eq(pal_array_reshape(&scalar, PAL_SHAPE(1, 1), &b, NULL), PAL_OK);
    ck_assert_int_eq(pal_array_reshape(&b, PAL_SCALAR, &b, NULL), PAL_OK);
    ck_assert_int_eq(b.ndim, 0);
}
END_TEST

START_TEST(permute_and_slice)
{
    double data[24];
    pal_array a = counting(PAL_F64, PAL_SHAPE(2, 3, 4), data), b;
    int axes[] = {-1, 0, 1}, twice[] = {0, 0, 1}, far[] = {0, 1, 3};
    ck_assert_int_eq(pal_array_permute(&a, axes, &b, NULL), PAL_OK);
    assert_shape(&b, PAL_SHAPE(4, 2, 3));
    ck_assert(pal_array_get(&b, (int64_t[]){3, 1, 2}) == 23.25);
    ck_assert_int_eq(pal_array_permute(&a, twice, &b, NULL), PAL_EVALUE);
    ck_assert_int_eq(pal_array_permute(&a, far, &b, NULL), PAL_EVALUE);

    ck_assert_int_eq(pal_array_slice(&a, 2, -3, INT64_MAX, 2, &b, NULL), PAL_OK);
    assert_shape(&b, PAL_SHAPE(2, 3, 2));
    ck_assert(pal_array_get(&b, (int64_t[]){1, 2, 1}) == 23.25);
    ck_assert_int_eq(pal_array_slice(&a, -2, 2, 1, 1, &b, NULL), PAL_OK);
    assert_shape(&b, PAL_SHAPE(2, 0, 4));
    ck_assert_int_eq(pal_array_slice(&a, 1, INT64_MIN, 2, INT64_MAX, &b, NULL), PAL_OK);
    assert_shape(&b, PAL_SHAPE(2, 1, 4));
    ck_assert_int_eq(pal_array_slice(&a, 3, 0, 1, 1, &b, NULL), PAL_EVALUE);
    ck_assert_int_eq(pal_array_slice(&a, 0, 0, 1, 0, &b, NULL), PAL_EVALUE);
}
END_TEST

START_TEST(broadcast_view)
{
    double data[3];
    pal_array a = counting(PAL_F64, PAL_SHAPE(3, 1), data), b;
    ck_assert_int_eq(pal_array_broadcast(&a, PAL_SHAPE(2, 3, 4), &b, NULL), PAL_OK);
    ck_assert_int_eq(b.stride[0], 0);
    ck_assert_int_eq(b.stride[2], 0);
    ck_assert(pal_array_get(&b, (int64_t[]){1, 2, 3}) == 2.25);
    pal_error error = {0};
    ck_assert_int_eq(pal_array_broadcast(&a, PAL_SHAPE(2, 4), &b, &error), PAL_ESHAPE);
    ck_assert_ptr_nonnull(strstr(error.message, "f64[3,1] to [2,4]"));
    ck_assert_int_eq(pal_array_broadcast(&a, PAL_SHAPE(3), &b, NULL), PAL_ESHAPE);
    ck_assert_int_eq(pal_array_broadcast(&a, PAL_SHAPE(3, -1), &b, NULL), PAL_ESHAPE);
}
END_TEST

START_TEST(contiguity)
{
    float data[24];
    pal_array a = counting(PAL_F32, PAL_SHAPE(2, 3, 4), data), b;
    ck_assert(pal_array_contiguous(&a));
    ck_assert_int_eq(pal_array_slice(&a, 2, 0, 3, 1, &b, NULL), PAL_OK);
    ck_assert(!pal_array_contiguous(&b));
    ck_assert_int_eq(pal_array_slice(&b, 2, 0, 0, 1, &b, NULL), PAL_OK);
    ck_assert(pal_array_contiguous(&b)); /* empty */
    ck_assert_int_eq(pal_array_slice(&a, 0, 1, 2, 1, &b, NULL), PAL_OK);
    ck_assert(pal_array_contiguous(&b));
    int axes[] = {2, 0, 1};
    ck_assert_int_eq(pal_array_permute(&a, axes, &b, NULL), PAL_OK);
    ck_assert(!pal_array_contiguous(&b));
}
END_TEST

/* ---- Copies ---- */

/* A [4,5,3] view, permuted and sliced out of a larger array as `variant` says. */
static pal_array odd_view(pal_dtype dtype, void *data, int variant)
{
    static const int axes[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                   {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static const int64_t sizes[3] = {4, 5, 3};
    const int *order = axes[variant % 6];
    pal_shape shape = {.ndim = 3};
    int64_t step = variant / 6 + 1;
    for (int i = 0; i < 3; i++) shape.dim[order[i]] = sizes[i] * step + variant % 3;
    pal_array a = counting(dtype, shape, data), view;
    ck_assert_int_eq(pal_array_permute(&a, order, &view, NULL), PAL_OK);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pal_array_slice(&view, i, 0, sizes[i] * step, step, &view, NULL), PAL_OK);
    assert_shape(&view, PAL_SHAPE(4, 5, 3));
    return view;
}

START_TEST(copy_any_strides_and_dtypes)
{
    double from[2048], to[2048];
    pal_dtype d = (pal_dtype)(_i % 3), s = (pal_dtype)(_i / 3);
    for (int dst_variant = 0; dst_variant < 12; dst_variant++)
        for (int variant = 0; variant < 12; variant++) {
            pal_array src = odd_view(s, from, variant), dst = odd_view(d, to, dst_variant);
            pal_array_fill(&dst, -1.0);
            ck_assert_int_eq(pal_array_copy(&dst, &src, NULL), PAL_OK);
            assert_same(&dst, &src);
        }
}
END_TEST

START_TEST(copy_leaves_the_rest_alone)
{
    float data[60];
    pal_array a = counting(PAL_F32, PAL_SHAPE(5, 12), data), b;
    ck_assert_int_eq(pal_array_slice(&a, 1, 1, 12, 3, &b, NULL), PAL_OK);
    pal_array_fill(&b, -7.5);
    for (int i = 0; i < 60; i++) ck_assert(data[i] == (i % 12 % 3 == 1 ? -7.5f : (float)i + 0.25f));
}
END_TEST

START_TEST(copy_broadcasts)
{
    double row[3], to[24];
    pal_array a = counting(PAL_F64, PAL_SHAPE(3, 1), row), wide;
    pal_array dst = pal_array_of(PAL_F64, PAL_SHAPE(2, 3, 4), to);
    ck_assert_int_eq(pal_array_copy(&dst, &a, NULL), PAL_OK);
    ck_assert_int_eq(pal_array_broadcast(&a, PAL_SHAPE(2, 3, 4), &wide, NULL), PAL_OK);
    assert_same(&dst, &wide);
    pal_error error = {0};
    pal_array small = pal_array_of(PAL_F64, PAL_SHAPE(2), to);
    ck_assert_int_eq(pal_array_copy(&small, &a, &error), PAL_ESHAPE);
    ck_assert_int_eq(error.status, PAL_ESHAPE);
    ck_assert_int_eq(pal_array_copy(&dst, &dst, NULL), PAL_OK);
    pal_array empty = pal_array_of(PAL_F64, PAL_SHAPE(2, 0), NULL);
    ck_assert_int_eq(pal_array_copy(&empty, &empty, NULL), PAL_OK);
    pal_array_fill(&empty, 1.0);
}
END_TEST

START_TEST(copy_large_at_every_thread_count)
{
    static const int threads[] = {1, 2, 3, 16};
    enum { M = 301, N = 1003 };
    float *from = malloc(sizeof(float) * M * N);
    double *to = malloc(sizeof(double) * M * N);
    pal_set_threads(threads[_i]);
    pal_array src = counting(PAL_F32, PAL_SHAPE(M, N), from), t;
    pal_array dst = pal_array_of(PAL_F64, PAL_SHAPE(N, M), to);
    int axes[] = {1, 0};
    ck_assert_int_eq(pal_array_permute(&src, axes, &t, NULL), PAL_OK);
    ck_assert_int_eq(pal_array_copy(&dst, &t, NULL), PAL_OK);
    assert_same(&dst, &t);
    dst = pal_array_of(PAL_F64, PAL_SHAPE(M, N), to);
    ck_assert_int_eq(pal_array_copy(&dst, &src, NULL), PAL_OK);
    assert_same(&dst, &src);
    pal_array_fill(&dst, 3.5);
    for (int i = 0; i < M * N; i++)
        if (!(to[i] == 3.5)) ck_abort_msg("element %d is %g", i, to[i]);
    free(from);
    free(to);
}
END_TEST

START_TEST(zeros_at_every_thread_count)
{
    static const size_t sizes[] = {0, 1, (2 << 20) - 1, 2 << 20, (5 << 20) + 3};
    const size_t room = 6 << 20;
    unsigned char *memory = malloc(room);
    for (int threads = 1; threads <= 4; threads++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            pal_set_threads(threads);
            memset(memory, 0xab, room);
            ck_assert_ptr_eq(pal_zero(memory + 7, sizes[i]), memory + 7);
            size_t zeros = 0;
            for (size_t j = 7; j < 7 + sizes[i]; j++) zeros += memory[j] == 0;
            ck_assert_uint_eq(zeros, sizes[i]);
            ck_assert(memory[6] == 0xab && memory[7 + sizes[i]] == 0xab);
        }
    free(memory);
}
END_TEST

START_TEST(conversion_to_integers)
{
    double from[] = {-2.9, 2.9, NAN, INFINITY, -INFINITY, 1e300, 0x1p53};
    const int64_t want[] = {-2, 2, 0, INT64_MAX, INT64_MIN, INT64_MAX, INT64_C(1) << 53};
    int64_t to[7];
    pal_array src = pal_array_of(PAL_F64, PAL_SHAPE(7), from);
    pal_array dst = pal_array_of(PAL_I64, PAL_SHAPE(7), to);
    ck_assert_int_eq(pal_array_copy(&dst, &src, NULL), PAL_OK);
    for (int i = 0; i < 7; i++) ck_assert_int_eq(to[i], want[i]);
    pal_array_fill(&dst, -1.75);
    ck_assert_int_eq(to[6], -1);
}
END_TEST

/* ---- Printing ---- */

static void assert_prints(const char *name, const pal_array *a, const char *want)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    pal_array_print(file, name, a);
    fclose(file);
    ck_assert_str_eq(text, want);
    free(text);
}

START_TEST(printing)
{
    double x[] = {1, -2.5, NAN, INFINITY, 0.125, 10}, large[] = {1, 1e6}, zero = 0;
    int64_t i[] = {1, -20, 300}, index[] = {0};
    float line[100];
    pal_array a = pal_array_of(PAL_F64, PAL_SHAPE(2, 3), x);
    assert_prints("x", &a, "x f64[2,3]\n[[ 1.0000 -2.5000     nan]\n [    inf  0.1250 10.0000]]\n");
    int axes[] = {1, 0};
    ck_assert_int_eq(pal_array_permute(&a, axes, &a, NULL), PAL_OK);
    assert_prints(NULL, &a,
                  "f64[3,2]\n[[ 1.0000     inf]\n [-2.5000  0.1250]\n [    nan 10.0000]]\n");
    a = pal_array_of(PAL_F64, PAL_SHAPE(2), large);
    assert_prints("", &a, "f64[2]\n[1.0000e+00 1.0000e+06]\n");
    a = pal_array_of(PAL_I64, PAL_SHAPE(3), i);
    assert_prints("i", &a, "i i64[3]\n[  1 -20 300]\n");
    a = pal_array_of(PAL_F64, PAL_SCALAR, &zero);
    assert_prints("s", &a, "s f64[]\n0.\n");
    a = pal_array_of(PAL_F64, PAL_SHAPE(2, 0), NULL);
    assert_prints("e", &a, "e f64[2,0]\n[]\n");
    a = pal_array_of(PAL_F32, PAL_SHAPE(100), line);
    for (index[0] = 0; index[0] < 100; index[0]++) pal_array_set(&a, index, (double)index[0]);
    assert_prints("t", &a, "t f32[100]\n[ 0.  1.  2. ... 97. 98. 99.]\n");
    ck_assert_int_eq(pal_array_reshape(&a, PAL_SHAPE(2, 1, 50), &a, NULL), PAL_OK);
    assert_prints("t", &a,
                  "t f32[2,1,50]\n[[[ 0.  1.  2. ... 47. 48. 49.]]\n\n"
                  " [[50. 51. 52. ... 97. 98. 99.]]]\n");
    ck_assert_int_eq(pal_array_reshape(&a, PAL_SHAPE(50, 2), &a, NULL), PAL_OK);
    assert_prints("t", &a,
                  "t f32[50,2]\n[[ 0.  1.]\n [ 2.  3.]\n [ 4.  5.]\n ...\n [94. 95.]\n [96. 97.]\n"
                  " [98. 99.]]\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tensor");
    TCase *tc = tcase_create("arrays");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, shape_counts);
    tcase_add_test(tc, shape_broadcast);
    tcase_add_test(tc, describe);
    tcase_add_test(tc, reshape_follows_row_major_order);
    tcase_add_test(tc, reshape_refuses);
    tcase_add_test(tc, permute_and_slice);
    tcase_add_test(tc, broadcast_view);
    tcase_add_test(tc, contiguity);
    tcase_add_loop_test(tc, copy_any_strides_and_dtypes, 0, 9);
    tcase_add_test(tc, copy_leaves_the_rest_alone);
    tcase_add_test(tc, copy_broadcasts);
    tcase_add_loop_test(tc, copy_large_at_every_thread_count, 0, 4);
    tcase_add_test(tc, zeros_at_every_thread_count);
    tcase_add_test(tc, conversion_to_integers);
    tcase_add_test(tc, printing);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
