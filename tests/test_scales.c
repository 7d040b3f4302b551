/*
 * test_scales.c - results and gradients at scales where squares leave the range of numbers.
 *
 * A function that is homogeneous of degree d has y(s x) = s^d y(x) and dx(s x) = s^(d - 1) dx(x).
 * With s a power of two both sides are almost the same numbers. The tests compare scale s with
 * scale 1, on every instruction set, while inputs and results are in range: s from 2^-100 to 2^100
 * in f32, from 2^-660 to 2^660 in f64.
 */
#include <palimpsest.h>

#include "tensor/internal.h"
#include "tests/support/check.h"
#include <math.h>
#include <stdlib.h>

enum { ROWS = 9, N = 37, COUNT = ROWS * N };

static pal_tape *tape;

static void setup(void) { tape = pal_tape_new(); }
static void teardown(void) { pal_tape_free(tape); }

/* ---- The functions ---- */

static const pal_gated_norm_opts none = {.eps = 1e-300, .gate = PAL_GATE_NONE};
static const pal_gated_norm_opts after = {.eps = 1e-300, .gate = PAL_GATE_SILU};
static const pal_gated_norm_opts before = {
    .eps = 1e-300, .gate = PAL_GATE_SIGMOID, .gate_first = true};

/* x [ROWS, N] is scaled; z [ROWS, N] and w [N] are not. */
typedef pal_tensor fn(pal_tensor x, pal_tensor z, pal_tensor w);
static pal_tensor f_rms(pal_tensor x, pal_tensor z, pal_tensor w)
{
    (void)z;
    return pal_rms_norm(x, w, 0);
}
static pal_tensor f_l2(pal_tensor x, pal_tensor z, pal_tensor w)
{
    return pal_mul(pal_l2_norm(x, 0), pal_mul(z, w));
}
static pal_tensor f_layer(pal_tensor x, pal_tensor z, pal_tensor w)
{
    return pal_mul(pal_layer_norm(x, w, PAL_NONE, 0), z);
}
static pal_tensor f_gated_none(pal_tensor x, pal_tensor z, pal_tensor w)
{
    return pal_mul(pal_gated_rms_norm(x, PAL_NONE, w, none), z);
}
static pal_tensor f_gated_after(pal_tensor x, pal_tensor z, pal_tensor w)
{
    return pal_gated_rms_norm(x, z, w, after);
}
static pal_tensor f_gated_before(pal_tensor x, pal_tensor z, pal_tensor w)
{
    return pal_gated_rms_norm(x, z, w, before);
}
/* The norm along one axis or all, times what is of degree 0. */
static pal_tensor norm_along(pal_tensor x, pal_tensor z, pal_tensor w, int axis)
{
    return pal_mul(pal_mul(z, w), pal_norm(x, axis, true));
}
static pal_tensor f_norm_rows(pal_tensor x, pal_tensor z, pal_tensor w)
{
    return norm_along(x, z, w, 1);
}
static pal_tensor f_norm_columns(pal_tensor x, pal_tensor z, pal_tensor w)
{
    return norm_along(x, z, w, 0);
}
static pal_tensor f_norm_all(pal_tensor x, pal_tensor z, pal_tensor w)
{
    return pal_mul(pal_mul(z, w), pal_norm(x, PAL_ALL, false));
}
static pal_tensor f_mean(pal_tensor x, pal_tensor z, pal_tensor w)
{
    return pal_mul(pal_mul(z, w), pal_mean(x, 1, true));
}
static pal_tensor f_quotient(pal_tensor x, pal_tensor z, pal_tensor w)
{
    return pal_mul(pal_div(pal_mul(x, z), pal_abs(x)), w);
}
static pal_tensor f_mul(pal_tensor x, pal_tensor z, pal_tensor w)
{
    return pal_mul(pal_mul(x, z), w);
}

static const struct function {
    const char *name;
    fn *call;
    int degree;
    int lowest; /* exponent of s below which eps decides; 0: none */
} functions[] = {
    {"rms_norm", f_rms, 0, 0},
    {"l2_norm", f_l2, 0, 0},
    {"layer_norm", f_layer, 0, 0},
    {"gated_rms_norm without a gate", f_gated_none, 0, -400},
    {"gated_rms_norm", f_gated_after, 0, -400},
    {"gated_rms_norm, gate first", f_gated_before, 0, -400},
    {"norm of rows", f_norm_rows, 1, 0},
    {"norm of columns", f_norm_columns, 1, 0},
    {"norm of all", f_norm_all, 1, 0},
    {"mean", f_mean, 1, 0},
    {"div", f_quotient, 0, 0},
    {"mul", f_mul, 1, 0},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

/* ---- One comparison ---- */

typedef struct results {
    double y[COUNT], dx[COUNT], dz[COUNT], dw[N];
} results;

static pal_tensor numbers(pal_dtype dtype, pal_shape shape, uint64_t seed, double scale)
{
    pal_rng rng = {.seed = seed};
    pal_tensor t = pal_normal(tape, dtype, shape, 0, 1, &rng);
    const pal_array a = pal_value(pal_affine(t, scale, 0));
    return pal_from_array(tape, &a); /* a leaf */
}

static void copy(pal_tensor t, int64_t count, double *to)
{
    if (pal_is_none(t)) { /* what the function does not use has no gradient */
        for (int64_t i = 0; i < count; i++) to[i] = 0;
        return;
    }
    const pal_array a = pal_value(t);
    for (int64_t i = 0; i < count; i++)
        to[i] =
            a.dtype == PAL_F32 ? (double)((const float *)a.data)[i] : ((const double *)a.data)[i];
}

static void measure(const struct function *f, pal_dtype dtype, double s, double size, results *r)
{
    pal_tape_reset(tape);
    pal_tensor x = pal_want_grad(numbers(dtype, PAL_SHAPE(ROWS, N), 1, s));
    pal_tensor z = pal_want_grad(numbers(dtype, PAL_SHAPE(ROWS, N), 2, 1));
    pal_tensor w = pal_want_grad(numbers(dtype, PAL_SHAPE(N), 3, 1));
    pal_tensor y = f->call(x, z, w);
    pal_backward(pal_sum(pal_mul(y, numbers(dtype, PAL_SHAPE(ROWS, N), 4, size)), PAL_ALL, false));
    ck_assert_int_eq(pal_tape_status(tape), PAL_OK);
    copy(y, COUNT, r->y);
    copy(pal_grad(x), COUNT, r->dx);
    copy(pal_grad(z), COUNT, r->dz);
    copy(pal_grad(w), N, r->dw);
}

/* Relative to the largest number of each; infinite if one of them is NaN. */
static double distance(int64_t n, const double *a, double scale, const double *b)
{
    double most = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(b[i]));
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs(a[i] * scale - b[i]) / (most > 0 ? most : 1);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d; /* a later number must not replace it */
    }
    return worst;
}

static void compare(const struct function *f, pal_dtype dtype, int exponent)
{
    static results one, scaled;
    if (exponent < f->lowest && f->lowest) return;
    const double s = scalbn(1, exponent), tolerance = dtype == PAL_F32 ? 1e-5 : 1e-12;
    /* A cotangent that keeps the gradient of a function of degree 0 in range, and 1. */
    const double sizes[] = {1, exponent > 0 ? scalbn(1, exponent / 2) : scalbn(1, exponent / 4)};
    for (int i = 0; i < 2; i++) {
        const double back = 1 / sizes[i], y = f->degree ? 1 / s : 1, dx = f->degree ? 1 : s;
        measure(f, dtype, 1, 1, &one);
        measure(f, dtype, s, sizes[i], &scaled);
        const double error[] = {
            distance(COUNT, scaled.y, y, one.y), distance(COUNT, scaled.dx, dx * back, one.dx),
            distance(COUNT, scaled.dz, y * back, one.dz), distance(N, scaled.dw, y * back, one.dw)};
        /* The gradient of z of degree 1 is as large as s times the cotangent. */
        const int parts = f->degree && i ? 2 : 4;
        for (int k = 0; k < parts; k++)
            ck_assert_msg(error[k] <= tolerance, "%s %s times 2^%d, cotangent %g: %s differs by %g",
                          f->name, pal_dtype_name(dtype), exponent, sizes[i],
                          (const char *const[]){"y", "dx", "dz", "dw"}[k], error[k]);
    }
}

START_TEST(functions_at_every_scale)
{
    static const int of_f32[] = {-100, -83, -50, 50, 63, 83, 100};
    static const int of_f64[] = {-660, -520, -300, -100, 100, 300, 520, 660};
    for (int isa = PAL_ISA_BASE; isa <= (int)pal_isa_best(); isa++) {
        ck_assert(pal_kernels_select((pal_isa)isa));
        for (int f = 0; f < FUNCTIONS; f++) {
            for (size_t i = 0; i < sizeof of_f32 / sizeof *of_f32; i++)
                compare(&functions[f], PAL_F32, of_f32[i]);
            for (size_t i = 0; i < sizeof of_f64 / sizeof *of_f64; i++)
                compare(&functions[f], PAL_F64, of_f64[i]);
        }
    }
}
END_TEST

/* ---- Rows and columns of zeros ---- */

/* Gradients of a norm where every other row has no cotangent, as masked tokens have none. */
START_TEST(rows_without_a_cotangent)
{
    static double dy[COUNT];
    for (int i = 0; i < COUNT; i++) dy[i] = i / N % 2 ? 0 : 1;
    for (int f = 0; f < FUNCTIONS; f++)
        for (int exponent = -50; exponent <= 50; exponent += 50) {
            if (functions[f].call == f_norm_columns || functions[f].call == f_norm_all) continue;
            pal_tape_reset(tape);
            pal_tensor x = numbers(PAL_F64, PAL_SHAPE(ROWS, N), 1, scalbn(1, exponent));
            pal_tensor z = numbers(PAL_F64, PAL_SHAPE(ROWS, N), 2, 1);
            pal_tensor w = numbers(PAL_F64, PAL_SHAPE(N), 3, 1);
            x = pal_want_grad(x);
            pal_tensor y = functions[f].call(x, z, w);
            pal_tensor m = pal_from(tape, PAL_F64, PAL_SHAPE(ROWS, N), dy);
            pal_backward(pal_sum(pal_mul(y, m), PAL_ALL, false));
            const double *dx = pal_f64(pal_grad(x));
            for (int i = 0; i < COUNT; i++)
                ck_assert_msg(dy[i] != 0 ? isfinite(dx[i]) : dx[i] == 0, "%s: dx[%d] is %g",
                              functions[f].name, i, dx[i]);
        }
}
END_TEST

/* Columns whose squares vanish are summed again, by each thread its own. */
START_TEST(columns_of_every_size)
{
    enum { LONG = 50, WIDE = 600 };
    static const double sizes[] = {0, 0x1p-600, 1, 0x1p600};
    static double x[LONG * WIDE];
    pal_rng rng = {.seed = 6};
    for (int i = 0; i < LONG * WIDE; i++) x[i] = sizes[i % WIDE % 4] * pal_rng_next(&rng);
    pal_team_from(1);
    for (int threads = 1; threads <= 3; threads++) {
        pal_set_threads(threads);
        const double *y =
            pal_f64(pal_norm(pal_from(tape, PAL_F64, PAL_SHAPE(LONG, WIDE), x), 0, false));
        for (int j = 0; j < WIDE; j++) {
            const double s = sizes[j % 4];
            double sum = 0;
            for (int i = 0; i < LONG && s > 0; i++)
                sum += x[i * WIDE + j] / s * (x[i * WIDE + j] / s);
            ck_assert_double_le(fabs(y[j] - s * sqrt(sum)), 1e-14 * s * sqrt(sum));
        }
    }
}
END_TEST

/* ---- Rules: q and k of unit length ---- */

enum { T = 21, K = 24, V = 16 };

typedef struct rule_results {
    double o[T * V], dq[T * K], dk[T * K];
} rule_results;

static void measure_rule(pal_dtype dtype, pal_rule_mode mode, double s, rule_results *r)
{
    pal_tape_reset(tape);
    pal_tensor q = pal_want_grad(numbers(dtype, PAL_SHAPE(1, T, 1, K), 1, s));
    pal_tensor k = pal_want_grad(numbers(dtype, PAL_SHAPE(1, T, 1, K), 2, s));
    pal_tensor v = numbers(dtype, PAL_SHAPE(1, T, 1, V), 3, 1);
    pal_tensor beta = pal_sigmoid(numbers(dtype, PAL_SHAPE(1, T, 1), 4, 1));
    pal_rule_out out =
        pal_deltanet(q, k, v, beta, (pal_rule_opts){.mode = mode, .normalize = true});
    pal_backward(
        pal_sum(pal_mul(out.o, numbers(dtype, PAL_SHAPE(1, T, 1, V), 5, 1)), PAL_ALL, false));
    ck_assert_int_eq(pal_tape_status(tape), PAL_OK);
    copy(out.o, T * V, r->o);
    copy(pal_grad(q), T * K, r->dq);
    copy(pal_grad(k), T * K, r->dk);
}

START_TEST(rules_with_long_keys)
{
    static rule_results one, scaled;
    static const pal_rule_mode modes[] = {PAL_RULE_COMPOSED, PAL_RULE_RECURRENT, PAL_RULE_CHUNK};
    const double s[] = {0x1p83, 0x1p600};
    for (int dtype = 0; dtype < 2; dtype++)
        for (int m = 0; m < 3; m++) {
            const pal_dtype type = dtype ? PAL_F64 : PAL_F32;
            const double tolerance = dtype ? 1e-9 : 1e-4; /* eps counts at scale 64 */
            measure_rule(type, modes[m], 0x1p20, &one);
            measure_rule(type, modes[m], s[dtype], &scaled);
            const double back = s[dtype] / 0x1p20;
            ck_assert_double_le(distance(T * V, scaled.o, 1, one.o), tolerance);
            ck_assert_double_le(distance(T * K, scaled.dq, back, one.dq), tolerance);
            ck_assert_double_le(distance(T * K, scaled.dk, back, one.dk), tolerance);
        }
}
END_TEST

/* ---- Gradients: their norm, and clipping ---- */

static void clip(pal_dtype dtype, double s)
{
    pal_params *p = pal_params_new();
    pal_param(p, "a", dtype, PAL_SHAPE(3));
    pal_param(p, "b", dtype, PAL_SHAPE(20000)); /* more than a piece */
    void *g = pal_params_block(p, 0).grad;
    const pal_span b = pal_params_span(p, 1);
    double got[2];
    for (int i = 0; i < 2; i++) {
        const int64_t at = i ? b.offset + 19999 : 0;
        const double x = (i ? 4 : 3) * s;
        if (dtype == PAL_F32)
            ((float *)g)[at] = (float)x;
        else
            ((double *)g)[at] = x;
    }
    const double norm = pal_clip_grad_norm(p, s > 1 ? 1 : 0);
    for (int i = 0; i < 2; i++) {
        const int64_t at = i ? b.offset + 19999 : 0;
        got[i] = dtype == PAL_F32 ? (double)((float *)g)[at] : ((double *)g)[at];
    }
    ck_assert_double_le(fabs(norm / s - 5), 1e-6);
    const double back = s > 1 ? 5 : 1 / s;
    ck_assert_double_le(fabs(got[0] * back - 3), 1e-5);
    ck_assert_double_le(fabs(got[1] * back - 4), 1e-5);
    pal_params_free(p);
}

START_TEST(clipping)
{
    clip(PAL_F32, 0x1p-100);
    clip(PAL_F32, 0x1p125);
    clip(PAL_F64, 0x1p-700);
    clip(PAL_F64, 0x1p700);
    clip(PAL_F64, 0x1p1000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scales");
    TCase *tc = tcase_create("scales");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, functions_at_every_scale);
    tcase_add_test(tc, rows_without_a_cotangent);
    tcase_add_test(tc, columns_of_every_size);
    tcase_add_test(tc, rules_with_long_keys);
    tcase_add_test(tc, clipping);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
