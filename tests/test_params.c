/*
 * test_params.c - parameters and kept tensors: where they lie, that they outlive a step, and files.
 */
#include "autograd/autograd.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Fixtures ---- */

static pal_error last;
static void remember(const pal_error *e, void *user)
{
    (void)user;
    last = *e;
}

static pal_tape *tape;
static pal_params *params;

static void setup(void)
{
    last = (pal_error){0};
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

static pal_tensor leaf6(void)
{
    return pal_from(tape, PAL_F64, PAL_SHAPE(2, 3), (double[]){1, 2, 3, 4, 5, 6});
}

static void expect_error(pal_status status, const char *text)
{
    ck_assert_msg(last.status == status, "status %d: %s", last.status, last.message);
    ck_assert_msg(strstr(last.message, text) != NULL, "\"%s\" lacks \"%s\"", last.message, text);
}

/* ---- Tests ---- */

START_TEST(parameters_lie_in_blocks)
{
    pal_tensor a = pal_param(params, "a", PAL_F32, PAL_SHAPE(3, 5));
    pal_tensor b = pal_no_decay(pal_param(params, "b", PAL_F32, PAL_SHAPE(7)));
    pal_tensor c = pal_param(params, "c", PAL_F64, PAL_SHAPE(1 << 18));
    pal_tensor d = pal_param(params, "d", PAL_F32, PAL_SCALAR);
    ck_assert_int_eq(pal_params_count(params), 4);
    ck_assert_int_eq(pal_params_size(params), 15 + 7 + (1 << 18) + 1);
    ck_assert_int_eq(pal_params_blocks(params), 2);
    ck_assert_int_eq(pal_params_span(params, 1).offset, 16);
    ck_assert_int_eq(pal_params_span(params, 3).offset, 32);
    ck_assert(pal_params_decays(params, 0) && !pal_params_decays(params, 1));
    pal_fill(a, 1), pal_fill(b, 2), pal_fill(c, 3), pal_fill(d, 4);
    const float *x = pal_params_block(params, 0).value;
    ck_assert_int_eq(pal_params_block(params, 0).count, 48);
    ck_assert(x[14] == 1 && x[15] == 0 && x[22] == 2 && x[23] == 0 && x[32] == 4);
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq((uintptr_t)pal_params_array(params, i).data % 64, 0);
    ck_assert(pal_params_find(params, "d").node == d.node);
    ck_assert(pal_is_none(pal_params_find(params, "e")));
    pal_param(params, "a", PAL_F32, PAL_SCALAR);
    expect_error(PAL_EVALUE, "param: the name \"a\" is taken");
    ck_assert_int_eq(pal_params_status(params), PAL_EVALUE);
}
END_TEST

START_TEST(kept_tensors_survive_the_reset)
{
    pal_tensor s = PAL_NONE;
    size_t reserved = 0;
    for (int i = 0; i < 100; i++) {
        pal_tensor x = leaf6();
        if (i) x = pal_mul(x, s);
        s = pal_keep(params, "state", pal_transpose(pal_reshape(x, PAL_SHAPE(3, 2)), 0, 1));
        pal_tape_reset(tape);
        if (i == 50) reserved = pal_tape_memory(tape).reserved;
    }
    ck_assert_uint_eq(pal_tape_memory(tape).reserved, reserved);
    ck_assert_int_eq(pal_params_count(params), 1);
    ck_assert_int_eq(pal_backward(pal_sum(pal_on(tape, s), PAL_ALL, false)),
                     PAL_EGRAD); /* constants */
    pal_tape_reset(tape);
    pal_keep(params, "state", pal_scalar(tape, PAL_F64, 1));
    expect_error(PAL_ESHAPE, "keep: \"state\" is a kept tensor f64[2,3], and t is f64[]");
}
END_TEST

/* Sizes may change; memory is that of the largest so far, or twice it. */
START_TEST(a_kept_tensor_grows)
{
    const void *before = NULL;
    int moved = 0;
    for (int64_t n = 1; n <= 100; n++) {
        pal_tensor x = pal_reshape(pal_arange(tape, PAL_F64, 3 * n), PAL_SHAPE(n, 3));
        pal_tensor s = pal_keep(params, "s", x);
        for (int64_t i = 0; i < 3 * n; i++) ck_assert_double_eq(pal_f64(s)[i], (double)i);
        moved += pal_f64(s) != before;
        before = pal_f64(s);
        /* Less of it, out of itself. */
        s = pal_keep(params, "s", pal_slice(pal_on(tape, s), 0, n / 2, n, 1));
        ck_assert_int_eq(pal_dim(s, 0), n - n / 2);
        for (int64_t i = 0; i < 3 * (n - n / 2); i++)
            ck_assert_double_eq(pal_f64(s)[i], (double)(3 * (n / 2) + i));
        pal_tape_reset(tape);
    }
    ck_assert_msg(moved <= 8, "moved %d times", moved);
    ck_assert_int_eq(pal_params_count(params), 1);
}
END_TEST

/* The new state may be a transposed view of the old one: it is read before it is written. */
START_TEST(a_kept_tensor_is_kept_transposed)
{
    pal_tensor s =
        pal_keep(params, "s", pal_reshape(pal_arange(tape, PAL_F64, 9), PAL_SHAPE(3, 3)));
    s = pal_keep(params, "s", pal_transpose(pal_on(tape, s), 0, 1));
    for (int i = 0; i < 9; i++) ck_assert_double_eq(pal_f64(s)[i], 3 * (i % 3) + i / 3);
}
END_TEST

START_TEST(parameters_load_strictly)
{
    char path[] = "/tmp/palimpsest-params-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    pal_error e = {0};
    pal_h5 *file;
    pal_tensor a = pal_fill(pal_param(params, "layer.a", PAL_F64, PAL_SHAPE(2, 3)), 4);
    pal_tensor b = pal_fill(pal_param(params, "b", PAL_F32, PAL_SHAPE(5)), 5);
    ck_assert_int_eq(pal_h5_create(&file, path, &e), PAL_OK);
    ck_assert_int_eq(pal_params_put(params, file, "/params", &e), PAL_OK);
    ck_assert_int_eq(pal_h5_commit(file, &e), PAL_OK);
    pal_fill(a, 0), pal_fill(b, 0);
    ck_assert_int_eq(pal_h5_open(&file, path, &e), PAL_OK);
    ck_assert_msg(pal_params_get(params, file, "/params", &e) == PAL_OK, "%s", e.message);
    ck_assert_double_eq(pal_f64(a)[5], 4);
    ck_assert(pal_f32(b)[4] == 5);

    pal_params *other = pal_params_new();
    pal_tensor c = pal_fill(pal_param(other, "layer.a", PAL_F64, PAL_SHAPE(3, 2)), 1);
    pal_tensor d = pal_fill(pal_param(other, "c", PAL_F32, PAL_SHAPE(5)), 1);
    ck_assert_int_eq(pal_params_get(other, file, "/params", &e), PAL_EFORMAT);
    ck_assert_msg(strstr(e.message, "layer.a is f64[2,3] where f64[3,2] is wanted") &&
                      strstr(e.message, "c is missing") &&
                      strstr(e.message, "b is not a parameter"),
                  "%s", e.message);
    ck_assert(pal_f64(c)[0] == 1 && pal_f32(d)[0] == 1);
    pal_params_free(other);
    pal_h5_close(file);
    remove(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("params");
    TCase *c = tcase_create("params");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, parameters_lie_in_blocks);
    tcase_add_test(c, kept_tensors_survive_the_reset);
    tcase_add_test(c, a_kept_tensor_is_kept_transposed);
    tcase_add_test(c, a_kept_tensor_grows);
    tcase_add_test(c, parameters_load_strictly);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
