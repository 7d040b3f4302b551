/*
 * test_params.c - parameters and kept tensors: where they lie, that they outlive a step, and files.
 */
#include "autograd/autograd.h"
#include "tests/support/check.h"

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

/* ---- Files ---- */

static char path[] = "/tmp/palimpsest-params-XXXXXX";

/* A new file with these parameters, opened. */
static pal_h5 *saved(const pal_params *from)
{
    pal_error e = {0};
    pal_h5 *file = NULL;
    strcpy(strrchr(path, '-'), "-XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_msg(pal_h5_create(&file, path, &e) == PAL_OK &&
                      pal_params_put(from, file, "/params", &e) == PAL_OK &&
                      pal_h5_commit(file, &e) == PAL_OK && pal_h5_open(&file, path, &e) == PAL_OK,
                  "%s", e.message);
    remove(path);
    return file;
}

/* Loading is refused with these words, and every value is what it was: 1. */
static void refuses(pal_params *p, pal_h5 *file, const char *words)
{
    pal_error e = {0};
    for (int i = 0; i < pal_params_count(p); i++) pal_fill(pal_params_at(p, i), 1);
    ck_assert_int_eq(pal_params_get(p, file, "/params", NULL), PAL_EFORMAT);
    ck_assert_int_eq(pal_params_get(p, file, "/params", &e), PAL_EFORMAT);
    ck_assert_int_eq(e.status, PAL_EFORMAT);
    ck_assert_msg(!strcmp(e.message, words), "\"%s\"\nis not\n\"%s\"", e.message, words);
    for (int i = 0; i < pal_params_count(p); i++) {
        pal_array a = pal_params_array(p, i);
        for (int64_t j = 0; j < pal_array_count(&a); j++) {
            pal_array flat = pal_array_of(a.dtype, PAL_SHAPE(pal_array_count(&a)), a.data);
            ck_assert(pal_array_get(&flat, &j) == 1);
        }
    }
}

START_TEST(parameters_load_strictly)
{
    pal_error e = {0};
    pal_tensor a = pal_fill(pal_param(params, "layer.a", PAL_F64, PAL_SHAPE(2, 3)), 4);
    pal_tensor b = pal_fill(pal_param(params, "b", PAL_F32, PAL_SHAPE(5)), 5);
    pal_keep(params, "seen", pal_arange(tape, PAL_I64, 2));
    pal_h5 *file = saved(params);
    pal_fill(a, 0), pal_fill(b, 0);
    ck_assert_msg(pal_params_get(params, file, "/params", &e) == PAL_OK, "%s", e.message);
    ck_assert_double_eq(pal_f64(a)[5], 4);
    ck_assert(pal_f32(b)[4] == 5);
    ck_assert_int_eq(pal_i64(pal_params_find(params, "seen"))[1], 1);

    pal_params *other = pal_params_new();
    pal_param(other, "layer.a", PAL_F64, PAL_SHAPE(3, 2));
    pal_param(other, "c", PAL_F32, PAL_SHAPE(5));
    pal_param(other, "seen", PAL_F32, PAL_SHAPE(2));
    refuses(other, file,
            "params_get: the parameters of /params do not fit: 1 missing: c; 1 that the model does "
            "not have: b; 1 of another shape: layer.a is f64[2,3] where f64[3,2] is wanted; 1 of "
            "another type: seen is i64[2] where f32[2] is wanted");
    ck_assert_int_eq(pal_params_get(other, file, "/none", &e), PAL_EFORMAT);
    ck_assert_msg(strstr(e.message, "of /none do not fit: 3 missing: layer.a, c, seen; 1 unread"),
                  "%s", e.message);
    pal_params_free(other);
    pal_h5_close(file);
}
END_TEST

/* Of many names the first of each kind are said, and all are counted. */
START_TEST(a_long_list_is_cut)
{
    pal_params *other = pal_params_new();
    char name[400];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "model.layers.%d.attn.A.weight", i);
        pal_param(params, name, PAL_F32, PAL_SHAPE(2));
        snprintf(name, sizeof name, "model.layers.%d.attn.B.weight", i);
        pal_param(other, name, PAL_F32, PAL_SHAPE(2));
        snprintf(name, sizeof name, "model.layers.%d.attn.C.weight", i);
        pal_param(params, name, PAL_F32, PAL_SHAPE(2));
        pal_param(other, name, PAL_F32, PAL_SHAPE(3));
    }
    pal_h5 *file = saved(params);
    refuses(other, file,
            "params_get: the parameters of /params do not fit: 100 missing: "
            "model.layers.0.attn.B.weight, model.layers.1.attn.B.weight, "
            "model.layers.2.attn.B.weight, model.layers.3.attn.B.weight, "
            "model.layers.4.attn.B.weight, model.layers.5.attn.B.weight, "
            "model.layers.6.attn.B.weight, model.layers.7.attn.B.weight and 92 more; 100 that"
            " the model does not have: model.layers.0.attn.A.weight, "
            "model.layers.1.attn.A.weight, model.layers.10.attn.A.weight, "
            "model.layers.11.attn.A.weight, model.layers.12.attn.A.weight, "
            "model.layers.13.attn.A.weight, model.layers.14.attn.A.weight, "
            "model.layers.15.attn.A.weight and 92 more; 100 of another shape: "
            "model.layers.0.attn.C.weight is f32[2] where f32[3] is wanted, "
            "model.layers.1.attn.C.weight is f32[2] where f32[3] is wanted, "
            "model.layers.2.attn.C.weight is f32[2] where f32[3] is wanted, "
            "model.layers.3.attn.C.weight is f32[2] where f32[3] is wanted and 96 more");
    pal_h5_close(file);
    pal_params_free(other);

    /* Names that alone would fill the message. */
    other = pal_params_new();
    for (int i = 0; i < 3; i++) {
        memset(name, 'a' + i, sizeof name - 1);
        name[sizeof name - 1] = '\0';
        pal_param(other, name, PAL_F32, PAL_SCALAR);
    }
    pal_error e = {0};
    file = saved(params);
    ck_assert_int_eq(pal_params_get(other, file, "/params", &e), PAL_EFORMAT);
    ck_assert_msg(strstr(e.message, "3 missing: aaa") &&
                      strstr(e.message, "aaa and 2 more; 200 ") && strstr(e.message, " more") &&
                      strlen(e.message) < sizeof e.message - 1,
                  "%s", e.message);
    pal_h5_close(file);
    pal_params_free(other);
}
END_TEST

/* f32 to f64 is exact; f64 to f32 rounds to the nearest, ties to even, and too large is inf. */
START_TEST(floats_convert)
{
    static const double wide[] = {1.0 / 3, 1 + 0x1p-24, 1 + 3 * 0x1p-24, -1e300, 0x1p-149};
    pal_error e = {0};
    pal_params *other = pal_params_new();
    pal_tensor w = pal_param(params, "w", PAL_F64, PAL_SHAPE(5));
    pal_tensor n = pal_param(other, "w", PAL_F32, PAL_SHAPE(5));
    const pal_array from = pal_array_of(PAL_F64, PAL_SHAPE(5), (void *)(uintptr_t)wide);
    pal_assign(w, &from);
    pal_h5 *file = saved(params);
    ck_assert_msg(pal_params_get(other, file, "/params", &e) == PAL_OK, "%s", e.message);
    for (int i = 0; i < 5; i++) ck_assert(pal_f32(n)[i] == (float)wide[i]);
    ck_assert(pal_f32(n)[1] == 1 && pal_f32(n)[2] == 1 + 0x1p-22f);
    pal_h5_close(file);
    file = saved(other);
    ck_assert_msg(pal_params_get(params, file, "/params", &e) == PAL_OK, "%s", e.message);
    for (int i = 0; i < 5; i++) ck_assert(pal_f64(w)[i] == (double)(float)wide[i]);
    pal_h5_close(file);
    pal_params_free(other);
}
END_TEST

/* ---- Freezing ---- */

static void expect_frozen(const char *names)
{
    char list[200] = "";
    for (int i = 0; i < pal_params_count(params); i++)
        if (pal_params_frozen(params, i)) strcat(strcat(list, pal_params_name(params, i)), " ");
    ck_assert_str_eq(list, names);
}

START_TEST(freezing_by_pattern)
{
    static const char *const names[] = {"m.0.attn.q", "m.1.attn.q", "m.10.attn.k", "m.1.mlp.q",
                                        "n"};
    for (int i = 0; i < 5; i++) pal_param(params, names[i], PAL_F64, PAL_SHAPE(2, 3));
    pal_keep(params, "m.kept", leaf6());
    ck_assert_int_eq(pal_params_freeze(params, "m.*.attn.*", true), 3);
    expect_frozen("m.0.attn.q m.1.attn.q m.10.attn.k m.kept ");
    ck_assert_int_eq(pal_params_freeze(params, "m.1*", false), 3); /* m.1.mlp.q was free */
    expect_frozen("m.0.attn.q m.kept ");
    ck_assert_int_eq(pal_params_freeze(params, "*", true), 5);
    ck_assert_int_eq(pal_params_freeze(params, "m.[01].*.?", false), 3);
    expect_frozen("m.10.attn.k n m.kept ");
    ck_assert_int_eq(last.status, PAL_OK);

    /* A pattern has to match a whole name of a parameter. */
    static const char *const nothing[] = {"attn", "m.2.*", "", "m.kept", "N"};
    ck_assert_int_eq(pal_params_freeze(params, NULL, true), 0);
    for (int i = 0; i < 5; i++) {
        last = (pal_error){0};
        ck_assert_int_eq(pal_params_freeze(params, nothing[i], true), 0);
        expect_error(PAL_EVALUE, "params_freeze: no parameter's name matches \"");
        expect_error(PAL_EVALUE, nothing[i]);
    }
    expect_frozen("m.10.attn.k n m.kept ");
    ck_assert_int_eq(pal_params_status(params), PAL_OK);

    /* Frozen is a constant; not any more, and there is a gradient. */
    pal_tensor n = pal_params_find(params, "n");
    ck_assert_int_eq(pal_backward(pal_sum(pal_mul(leaf6(), n), PAL_ALL, false)), PAL_EGRAD);
    pal_tape_reset(tape);
    ck_assert_int_eq(pal_params_freeze(params, "n", false), 1);
    ck_assert_int_eq(pal_backward(pal_sum(pal_mul(leaf6(), n), PAL_ALL, false)), PAL_OK);
    ck_assert_double_eq(pal_f64(pal_grad(n))[5], 6);
}
END_TEST

/* ---- What changes between a call and its backward pass ---- */

/* Backward goes by the shape that was kept then. */
START_TEST(kept_again_before_backward)
{
    enum { N = 3000 };
    const pal_tensor past = pal_keep(params, "k", pal_full(tape, PAL_F64, PAL_SHAPE(N, 2), 1));
    const pal_tensor x = pal_want_grad(pal_full(tape, PAL_F64, PAL_SHAPE(N, 2), 2));
    const pal_tensor y = pal_concat(2, (pal_tensor[]){past, x}, 0);
    const pal_tensor weight = pal_reshape(pal_arange(tape, PAL_F64, 4 * N), PAL_SHAPE(2 * N, 2));
    const pal_tensor loss = pal_sum(pal_mul(y, weight), PAL_ALL, false);
    pal_keep(params, "k", y);
    ck_assert_int_eq(pal_backward(loss), PAL_OK);
    for (int64_t i = 0; i < 2 * N; i++)
        ck_assert_double_eq(pal_f64(pal_grad(x))[i], (double)(2 * N + i));
}
END_TEST

/* A kept tensor that a product rounds may be larger the next time, and lie elsewhere. */
START_TEST(kept_for_products_in_bf16)
{
    pal_tape_precision(tape, PAL_BF16);
    for (int64_t n = 16; n <= 4096; n *= 16) {
        const pal_tensor x = pal_full(tape, PAL_F32, PAL_SHAPE(2, 64), 1);
        const pal_tensor bank =
            pal_keep(params, "bank", pal_full(tape, PAL_F32, PAL_SHAPE(n, 64), 1));
        const pal_tensor view = pal_on(tape, bank);
        ck_assert(pal_f32(pal_linear(x, bank, PAL_NONE))[2 * n - 1] == 64);
        pal_keep(params, "bank", pal_full(tape, PAL_F32, PAL_SHAPE(4 * n, 64), 1));
        ck_assert(pal_f32(pal_linear(x, view, PAL_NONE))[2 * n - 1] == 64);
        pal_tape_reset(tape);
    }
}
END_TEST

/* A parameter that was frozen when a layer read it gets no gradient from it, by whichever
 * operation; one that is frozen before backward gets none either. */
START_TEST(freezing_between_a_call_and_backward)
{
    const pal_tensor w = pal_fill(pal_param(params, "w", PAL_F64, PAL_SHAPE(4, 3)), 0.5);
    const int64_t target[] = {1, 2};
    for (int i = 0; i < 8; i++) {
        const bool composed = i & 1, before = i & 2, view = i & 4;
        pal_freeze(w, before);
        pal_params_zero_grad(params);
        const pal_tensor x = pal_want_grad(pal_full(tape, PAL_F64, PAL_SHAPE(2, 3), 2));
        const pal_tensor t = pal_from(tape, PAL_I64, PAL_SHAPE(2), target);
        const pal_tensor own = view ? pal_slice(pal_on(tape, w), 0, 0, 4, 1) : w;
        const pal_cross_entropy_opts o = {0};
        const pal_tensor loss = composed ? pal_cross_entropy(pal_linear(x, own, PAL_NONE), t, o)
                                         : pal_linear_cross_entropy(x, own, PAL_NONE, t, o);
        pal_freeze(w, !before);
        ck_assert_int_eq(pal_backward(loss), PAL_OK);
        ck_assert(!pal_is_none(pal_grad(x)));
        pal_freeze(w, false);
        const double *g = pal_f64(pal_grad(w));
        for (int k = 0; k < 12; k++) ck_assert_msg(g[k] == 0, "case %d: gradient %g", i, g[k]);
        pal_tape_reset(tape);
    }
}
END_TEST

static void thaw(pal_params *p, int i, void *user)
{
    (void)i, (void)user;
    pal_params_freeze(p, "w0", false);
}

/* The same from the callback of a gradient, in the middle of the pass. */
START_TEST(thawed_within_backward)
{
    const pal_tensor w0 = pal_fill(pal_param(params, "w0", PAL_F64, PAL_SHAPE(20000, 2)), 1);
    const pal_tensor w1 = pal_fill(pal_param(params, "w1", PAL_F64, PAL_SCALAR), 1);
    const int64_t target = 0;
    pal_params_on_grad(params, thaw, NULL);
    for (int i = 0; i < 2; i++) { /* frozen for the call, or only for the plan of the pass */
        pal_freeze(w0, i == 0);
        const pal_tensor x = pal_want_grad(pal_full(tape, PAL_F64, PAL_SHAPE(1, 2), 2));
        const pal_tensor loss = pal_linear_cross_entropy(
            x, w0, PAL_NONE, pal_from(tape, PAL_I64, PAL_SHAPE(1), &target),
            (pal_cross_entropy_opts){0});
        const pal_tensor all = pal_mul(loss, w1);
        pal_freeze(w0, true);
        ck_assert_int_eq(pal_backward(all), PAL_OK);
        ck_assert(!pal_params_frozen(params, 0));
        const double *g = pal_f64(pal_grad(w0));
        for (int k = 0; k < 40000; k++) ck_assert(g[k] == 0);
        ck_assert(pal_f64(pal_grad(w1))[0] == (1 + i) * pal_item(loss));
        pal_tape_reset(tape);
    }
}
END_TEST

static bool out_of_memory;
static void *meagre(void *memory, size_t old, size_t size, void *user)
{
    (void)old, (void)user;
    if (size == 0) {
        free(memory);
        return NULL;
    }
    if (out_of_memory && size > 500000) return NULL;
    return aligned_alloc(64, (size + 63) / 64 * 64);
}

/* A pass that lacks memory for gradients changes nothing, and the same pass on another tape gives
 * them. */
START_TEST(another_tape_after_too_little_memory)
{
    pal_set_allocator(meagre, NULL);
    pal_params *own = pal_params_new();
    const pal_tensor w = pal_fill(pal_param(own, "w", PAL_F64, PAL_SHAPE(100000)), 1);
    for (int i = 0; i < 2; i++) {
        pal_tape *t = pal_tape_new();
        const pal_tensor x = pal_full(t, PAL_F64, PAL_SHAPE(100000), 2);
        const pal_tensor loss = pal_sum(pal_mul(x, w), PAL_ALL, false);
        out_of_memory = i == 0;
        ck_assert_int_eq(pal_backward(loss), i == 0 ? PAL_ENOMEM : PAL_OK);
        out_of_memory = false;
        pal_tape_free(t);
    }
    for (int i = 0; i < 100000; i += 999) ck_assert_double_eq(pal_f64(pal_grad(w))[i], 2);
    pal_params_free(own);
    pal_set_allocator(NULL, NULL);
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
    tcase_add_test(c, a_long_list_is_cut);
    tcase_add_test(c, floats_convert);
    tcase_add_test(c, freezing_by_pattern);
    tcase_add_test(c, kept_again_before_backward);
    tcase_add_test(c, kept_for_products_in_bf16);
    tcase_add_test(c, freezing_between_a_call_and_backward);
    tcase_add_test(c, thawed_within_backward);
    tcase_add_test(c, another_tape_after_too_little_memory);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
