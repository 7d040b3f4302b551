/*
 * test_bf16.c - bf16 as an element type: rounding on every instruction set, views and copies,
 * printing, HDF5 and other files, and gradients that pass through it.
 */
#include "autograd/autograd.h"
#include "tensor/files/elements.h"
#include "tests/support/isa.h"
#include "tests/support/kernel_test.h"

#include <stdlib.h>
#include <unistd.h>

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* ---- Rounding ---- */

/* The neighbour of x that is nearest, by distances in long double, where all are exact. */
static uint16_t nearest(long double x)
{
    if (x != x) return 0x7fc0;
    const uint16_t sign = signbit(x) ? 0x8000 : 0;
    const long double size = fabsl(x);
    uint16_t low = 0, high = 0x7f80; /* of the bits, which are in the order of the numbers */
    if (size >= 0x1.ffp127L) return sign | high; /* half way to 2^128 */
    while (high - low > 1) {
        const uint16_t middle = (uint16_t)((low + high) / 2);
        if ((long double)pal_bf16_to_f32(middle) <= size)
            low = middle;
        else
            high = middle;
    }
    const long double above = high == 0x7f80 ? 0x1p128L : (long double)pal_bf16_to_f32(high);
    const long double d = size - (long double)pal_bf16_to_f32(low), up = above - size;
    return sign | (d < up || (d == up && low % 2 == 0) ? low : high);
}

enum { MOST = 4096 };

/* Numbers near every kind of edge: ties, the largest, subnormal ones, infinities. */
static double hard_number(int i, uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    const uint32_t bits = (uint32_t)(*state >> 32);
    const double x = (double)float_of(bits);
    switch (i % 6) {
    case 0:
        return (double)float_of((bits & 0xffff0000) | 0x8000); /* a tie */
    case 1:
        return (double)float_of((bits & 0xffff0000) | 0x8001);
    case 2:
        return (double)float_of((bits & 0xffff0000) | 0x7fff);
    case 3:
        return (double)float_of((bits & 0x80000000) | 0x7f7f0000 | (bits & 0xffff));
    case 4:
        return (double)float_of(bits & 0x807fffff);
    default:
        return x;
    }
}

START_TEST(rounds_to_the_nearest)
{
    const variant v = variant_at(_i);
    if (!v.kernels) return;
    static double x[MOST];
    static uint16_t y[MOST + 1];
    static double back[MOST];
    uint64_t state = 7;
    for (int i = 0; i < MOST; i++) {
        double h = hard_number(i, &state);
        /* a double beside a tie, which f32 would round to the tie */
        if (v.dtype == PAL_F64 && i % 2) h = nextafter(h, i % 4 == 1 ? INFINITY : -INFINITY);
        put(v.dtype, x, i, (long double)h);
    }
    for (int64_t n = 0; n <= MOST; n = n < 70 ? n + 1 : n + 1971) {
        const int64_t from = MOST - n;
        y[n] = 0x1234;
        v.kernels->to_bf16(n, at(&v, x, from), y);
        ck_assert_msg(y[n] == 0x1234, "%s wrote behind the end", v.name);
        v.kernels->from_bf16(n, y, back);
        for (int64_t i = 0; i < n; i++) {
            const long double exact = get(v.dtype, x, from + i);
            const uint16_t want = nearest(exact);
            const bool nan = exact != exact;
            ck_assert_msg(nan ? (y[i] & 0x7fff) > 0x7f80 : y[i] == want,
                          "%s: %.20Lg became %04x, not %04x", v.name, exact, y[i], want);
            const long double got = get(v.dtype, back, i);
            ck_assert(nan ? got != got : got == (long double)pal_bf16_to_f32(y[i]));
            pal_element_set(PAL_BF16, y, i, (double)exact);
            ck_assert(nan ? (y[i] & 0x7fff) > 0x7f80 : y[i] == want);
        }
    }
    isa_select_best();
}
END_TEST

START_TEST(every_number_comes_back)
{
    static uint16_t half[1 << 16], again[1 << 16];
    static float x[1 << 16];
    for (int i = 0; i < 1 << 16; i++) half[i] = (uint16_t)i;
    const pal_shape shape = PAL_SHAPE(1 << 16);
    const pal_array h = pal_array_of(PAL_BF16, shape, half), f = pal_array_of(PAL_F32, shape, x),
                    a = pal_array_of(PAL_BF16, shape, again);
    ck_assert_int_eq(pal_array_copy(&f, &h, NULL), PAL_OK);
    ck_assert_int_eq(pal_array_copy(&a, &f, NULL), PAL_OK);
    for (int i = 0; i < 1 << 16; i++) { /* a NaN keeps its bits, too */
        ck_assert_msg(again[i] == half[i], "%04x came back as %04x", half[i], again[i]);
        ck_assert(pal_bf16_from_f32(x[i]) == half[i]);
    }
}
END_TEST

START_TEST(integers_are_rounded_once)
{
    const int64_t x[] = {0,
                         -3,
                         257,
                         (INT64_C(257) << 50) + 1, /* just above a tie */
                         (INT64_C(257) << 50) - 1, /* below: a double is the tie */
                         -(INT64_C(257) << 50) - 1,
                         INT64_C(257) << 50,
                         INT64_C(259) << 50,
                         INT64_MAX,
                         INT64_MIN};
    enum { N = sizeof x / sizeof *x };
    uint16_t y[N];
    int64_t back[N];
    const pal_array a = pal_array_of(PAL_I64, PAL_SHAPE(N), (void *)(uintptr_t)x),
                    h = pal_array_of(PAL_BF16, PAL_SHAPE(N), y),
                    b = pal_array_of(PAL_I64, PAL_SHAPE(N), back);
    ck_assert_int_eq(pal_array_copy(&h, &a, NULL), PAL_OK);
    ck_assert_int_eq(pal_array_copy(&b, &h, NULL), PAL_OK);
    for (int i = 0; i < N; i++) {
        ck_assert_msg(y[i] == nearest((long double)x[i]), "%lld: %04x", (long long)x[i], y[i]);
        ck_assert(back[i] == pal_to_i64((double)pal_bf16_to_f32(y[i])));
    }
}
END_TEST

/* ---- Views and copies ---- */

START_TEST(copies_between_strides)
{
    enum { A = 5, B = 7, C = 33 };
    static const pal_dtype dtype[] = {PAL_F32, PAL_F64, PAL_I64, PAL_BF16};
    static const int axes[3] = {2, 0, 1};
    static char data[8 * A * B * C], other[8 * A * B * C];
    for (int t = 0; t < 8; t++) {
        const pal_dtype to = t < 4 ? dtype[t] : PAL_BF16, from = t < 4 ? PAL_BF16 : dtype[t - 4];
        pal_array x = pal_array_of(from, PAL_SHAPE(A, B, C), data), y, part;
        for (int64_t i = 0; i < A * B * C; i++) pal_element_set(from, data, i, (double)i / 8 - 40);
        ck_assert_int_eq(pal_array_permute(&x, axes, &x, NULL), PAL_OK);
        ck_assert_int_eq(pal_array_slice(&x, 0, 1, C, 2, &part, NULL), PAL_OK);
        y = pal_array_of(to, pal_array_shape(&part), other);
        ck_assert_int_eq(pal_array_copy(&y, &part, NULL), PAL_OK);
        for (int64_t i = 0; i < pal_array_count(&y); i++) {
            const int64_t at[] = {i / (A * B), i / B % A, i % B};
            double want;
            pal_element_set(to, &want, 0, pal_array_get(&part, at));
            ck_assert(pal_array_get(&y, at) == pal_element_get(to, &want, 0));
        }
        const double one = 1.0;
        const pal_array scalar = pal_array_of(PAL_F64, PAL_SCALAR, (void *)(uintptr_t)&one);
        ck_assert_int_eq(pal_array_copy(&y, &scalar, NULL), PAL_OK);
        ck_assert(pal_element_get(to, other, 77) == 1);
        pal_array_fill(&part, 2.5);
        ck_assert(pal_array_get(&part, (int64_t[]){3, 1, 2}) == (from == PAL_I64 ? 2 : 2.5));
    }
}
END_TEST

START_TEST(is_printed_and_described)
{
    uint16_t x[6];
    char *text = NULL;
    size_t size;
    pal_array a = pal_array_of(PAL_BF16, PAL_SHAPE(2, 3), x);
    for (int i = 0; i < 6; i++) pal_element_set(PAL_BF16, x, i, i == 5 ? (double)NAN : i * 0.5);
    FILE *to = open_memstream(&text, &size);
    pal_array_print(to, "x", &a);
    fclose(to);
    ck_assert_str_eq(text, "x bf16[2,3]\n[[0.0000 0.5000 1.0000]\n [1.5000 2.0000    nan]]\n");
    free(text);
    ck_assert_uint_eq(pal_dtype_size(PAL_BF16), 2);
    ck_assert(!pal_dtype_real(PAL_BF16) && pal_dtype_carries(PAL_BF16));
}
END_TEST

/* ---- Files ---- */

static void ok(pal_status s, const pal_error *e)
{
    ck_assert_msg(s == PAL_OK, "%s", s == PAL_OK ? "" : e->message);
}

static void compare_file(pal_h5 *file, const pal_array *x)
{
    static const pal_dtype dtype[] = {PAL_BF16, PAL_F32, PAL_F64};
    pal_error e;
    for (int t = 0; t < 3; t++) {
        double data[12];
        const pal_array back = pal_array_of(dtype[t], PAL_SHAPE(3, 4), data);
        ok(pal_h5_get(file, "x", &back, &e), &e);
        for (int64_t i = 0; i < 12; i++) {
            const double want = pal_array_get(x, (int64_t[]){i / 4, i % 4});
            const double got = pal_element_get(dtype[t], data, i);
            ck_assert(want != want ? got != got : got == want);
        }
    }
    int64_t whole[12];
    const pal_array integers = pal_array_of(PAL_I64, PAL_SHAPE(3, 4), whole);
    ck_assert_int_eq(pal_h5_get(file, "x", &integers, &e), PAL_EFORMAT);
    ck_assert_ptr_nonnull(strstr(e.message, "bf16[3,4]"));
    /* what was stored wider is rounded to the nearest */
    uint16_t narrow[2];
    const pal_array to = pal_array_of(PAL_BF16, PAL_SHAPE(2), narrow);
    ok(pal_h5_get(file, "wide", &to, &e), &e);
    ck_assert(narrow[0] == 0x3f81 && narrow[1] == 0x3f80);
}

START_TEST(hdf5_has_it)
{
    char path[] = "/tmp/bf16-XXXXXX", text[16], command[700];
    const int fd = mkstemp(path);
    ck_assert(fd >= 0);
    close(fd);
    uint16_t x[12];
    for (int i = 0; i < 12; i++) pal_element_set(PAL_BF16, x, i, i * 1.5 - 3);
    x[3] = 0x7fc0, x[4] = 0x0001, x[5] = 0x7f7f, x[6] = 0xff80;
    pal_array a = pal_array_of(PAL_BF16, PAL_SHAPE(4, 3), x), t;
    ck_assert_int_eq(pal_array_permute(&a, (int[]){1, 0}, &t, NULL), PAL_OK);
    const double wide[] = {1 + 0x1p-8 + 0x1p-40, 1 + 0x1p-8};
    const pal_array w = pal_array_of(PAL_F64, PAL_SHAPE(2), (void *)(uintptr_t)wide);
    pal_h5 *file;
    pal_error e;
    ok(pal_h5_create(&file, path, &e), &e);
    ok(pal_h5_put(file, "x", &t, &e), &e);
    ok(pal_h5_put(file, "wide", &w, &e), &e);
    ok(pal_h5_commit(file, &e), &e);
    ok(pal_h5_check(path, &e), &e);
    ok(pal_h5_open(&file, path, &e), &e);
    pal_dtype dtype;
    pal_shape shape;
    ok(pal_h5_info(file, "x", &dtype, &shape, &e), &e);
    ck_assert(dtype == PAL_BF16 && pal_shape_equal(shape, PAL_SHAPE(3, 4)));
    ok(pal_h5_get_text(file, "x", "dtype", text, sizeof text, &e), &e);
    ck_assert_str_eq(text, "bf16");
    compare_file(file, &t);
    pal_h5_close(file);
    snprintf(command, sizeof command,
             "/usr/bin/python3 -c 'import h5py' 2>/dev/null || { echo note: no h5py; exit 0; }\n"
             "exec /usr/bin/python3 -c 'import h5py, numpy\n"
             "x = h5py.File(\"%s\")[\"x\"]\n"
             "assert x.dtype == numpy.float32, x.dtype\n"
             "assert x.attrs[\"dtype\"] == b\"bf16\"\n"
             "y = (x[:].T.copy().view(numpy.uint32) >> 16).ravel()\n"
             "assert y[5] == 0x7f7f and y[4] == 1 and y[6] == 0xff80 and y[7] == 0x40f0, y'",
             path);
    ck_assert_int_eq(system(command), 0);
    unlink(path);
}
END_TEST

START_TEST(elements_of_other_files)
{
    enum { N = 3000 };
    static unsigned char bytes[8 * N + 1], again[2 * N + 1];
    static uint16_t x[N];
    static float wide[N];
    for (int i = 0; i < N; i++) {
        const uint16_t half = (uint16_t)(i * 37);
        memcpy(bytes + 1 + 2 * i, &half, 2);
    }
    pal_elements_read(PAL_EL_BF16, bytes + 1, PAL_BF16, x, N);
    ck_assert_mem_eq(x, bytes + 1, 2 * N);
    pal_elements_write(PAL_BF16, x, PAL_EL_BF16, again + 1, N);
    ck_assert_mem_eq(x, again + 1, 2 * N);
    for (int i = 0; i < N; i++) wide[i] = 1 + (float)i * 0x1p-9f;
    memcpy(bytes + 1, wide, sizeof wide);
    pal_elements_read(PAL_EL_F32, bytes + 1, PAL_BF16, x, N);
    for (int i = 0; i < N; i++) ck_assert(x[i] == nearest((long double)wide[i]));
    pal_elements_write(PAL_BF16, x, PAL_EL_F64, bytes, N);
    for (int i = 0; i < N; i++) {
        double d;
        memcpy(&d, bytes + 8 * i, sizeof d);
        ck_assert(d == (double)pal_bf16_to_f32(x[i]));
    }
}
END_TEST

/* ---- Gradients ---- */

static void segment(void *context, const pal_tensor *in, pal_tensor *out)
{
    (void)context;
    out[0] = pal_cast(pal_mul(in[0], in[0]), PAL_BF16);
}

/* The gradient passes in f32: what comes back is not rounded to bf16. */
START_TEST(gradients_pass_in_f32)
{
    pal_rng rng = pal_rng_new(3, 0);
    pal_tape *tape = pal_tape_new();
    pal_tensor x = pal_want_grad(pal_uniform(tape, PAL_F32, PAL_SHAPE(1, 6), -1, 1, &rng));
    pal_tensor w = pal_uniform(tape, PAL_F32, PAL_SHAPE(3, 4), -1, 1, &rng), h, y;
    if (_i == 0)
        h = pal_cast(pal_mul(x, x), PAL_BF16);
    else
        pal_recompute(tape, segment, NULL, 1, &x, 1, &h);
    h = pal_expand(pal_slice(pal_transpose(h, 0, 1), 0, 1, 5, 1), PAL_SHAPE(4, 3));
    ck_assert(pal_dtype_of(h) == PAL_BF16);
    h = pal_contiguous(pal_transpose(h, 0, 1));
    y = pal_cast(pal_reshape(h, PAL_SHAPE(12)), PAL_F32);
    y = pal_sum(pal_mul(y, pal_reshape(w, PAL_SHAPE(12))), PAL_ALL, false);
    ck_assert_int_eq(pal_backward(y), PAL_OK);
    const float *dx = pal_f32(pal_grad(x)), *px = pal_f32(x), *pw = pal_f32(w);
    double sum = 0;
    for (int i = 0; i < 6; i++) {
        float g = 0;
        for (int j = 0; j < 3 && i > 0 && i < 5; j++) {
            g += pw[4 * j + i - 1];
            sum += (double)pw[4 * j + i - 1] *
                   (double)pal_bf16_to_f32(pal_bf16_from_f32(px[i] * px[i]));
        }
        ck_assert_msg(fabsf(dx[i] - 2 * px[i] * g) <= 1e-6f, "%g, not %g", (double)dx[i],
                      (double)(2 * px[i] * g));
    }
    ck_assert(fabs(pal_item(y) - sum) < 1e-5);
    pal_tape_free(tape);
}
END_TEST

START_TEST(a_seed_in_bf16)
{
    pal_tape *tape = pal_tape_new();
    pal_tensor x = pal_want_grad(pal_full(tape, PAL_F32, PAL_SHAPE(3), 1.5));
    pal_tensor y = pal_cast(x, PAL_BF16);
    const pal_tensor c = pal_from(tape, PAL_F32, PAL_SHAPE(3), (float[]){1, 2, 0.3f});
    ck_assert_int_eq(pal_backward_from(1, &y, &c), PAL_OK);
    ck_assert(pal_f32(pal_grad(x))[2] == 0.3f);
    pal_tape_free(tape);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bf16");
    TCase *tc = tcase_create("bf16");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, rounds_to_the_nearest, 0, VARIANTS);
    tcase_add_test(tc, every_number_comes_back);
    tcase_add_test(tc, integers_are_rounded_once);
    tcase_add_test(tc, copies_between_strides);
    tcase_add_test(tc, is_printed_and_described);
    tcase_add_test(tc, hdf5_has_it);
    tcase_add_test(tc, elements_of_other_files);
    tcase_add_loop_test(tc, gradients_pass_in_f32, 0, 2);
    tcase_add_test(tc, a_seed_in_bf16);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
