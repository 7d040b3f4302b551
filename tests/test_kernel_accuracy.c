/*
 * test_kernel_accuracy.c - compares the transcendental kernels with long double, on every
 * instruction set. The bounds are 1 or 2 units of the last place.
 *
 * The samples of f32 are spread over all bit patterns: one in each run of 2^14, at a place that
 * varies. So denormal, huge and NaN arguments are among them; infinities are in `limits`. f64 takes
 * random bit patterns, and random numbers of the sizes at which the functions change most.
 */
#include "tests/support/kernel_test.h"
#include <stddef.h>
#include <stdlib.h>

static long double ref_exp(long double x) { return expl(x); }
static long double ref_log(long double x) { return logl(x); }
static long double ref_sin(long double x) { return sinl(x); }
static long double ref_cos(long double x) { return cosl(x); }
static long double ref_tanh(long double x) { return tanhl(x); }
static long double ref_sigmoid(long double x) { return 1 / (1 + expl(-x)); }
/* softplus is defined as in PyTorch with its defaults (beta 1, threshold 20), in tests and library:
 * above the threshold it is x itself. */
static long double ref_softplus(long double x) { return x > 20 ? x : log1pl(expl(x)); }
static long double ref_silu(long double x)
{
    return x == -(long double)INFINITY ? -0.0L : x / (1 + expl(-x));
}
static long double ref_rsqrt(long double x) { return 1 / sqrtl(x); }

static const struct function {
    const char *name;
    long double (*exact)(long double x);
    size_t offset;
    double f32, f64; /* bounds in ulp */
} functions[] = {
    {"exp", ref_exp, offsetof(pal_kernels, exp), 1, 1},
    {"log", ref_log, offsetof(pal_kernels, log), 1, 1},
    {"sigmoid", ref_sigmoid, offsetof(pal_kernels, sigmoid), 2, 2},
    {"softplus", ref_softplus, offsetof(pal_kernels, softplus), 2, 2},
    {"silu", ref_silu, offsetof(pal_kernels, silu), 2, 2},
    {"tanh", ref_tanh, offsetof(pal_kernels, tanh), 2, 2},
    {"sin", ref_sin, offsetof(pal_kernels, sin), 2, 2},
    {"cos", ref_cos, offsetof(pal_kernels, cos), 2, 2},
    {"rsqrt", ref_rsqrt, offsetof(pal_kernels, rsqrt), 2, 2},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions, SAMPLES = 1 << 18 };

static double sample_f64(int64_t i, uint64_t *state)
{
    static const double scales[] = {1, 20, 800};
    double x = noise(state);
    if (i % 2) return x * scales[i / 2 % 3];
    uint64_t b;
    memcpy(&b, &x, sizeof b);
    b ^= *state; /* so that all exponents occur */
    memcpy(&x, &b, sizeof x);
    return x;
}

static float sample_f32(int64_t i)
{
    uint32_t b = (uint32_t)i << 14 | (((uint32_t)i * 2654435761u) >> 18);
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}

static pal_map1 *kernel_of(const pal_kernels *kernels, size_t offset)
{
    pal_map1 *kernel;
    memcpy(&kernel, (const char *)kernels + offset, sizeof kernel);
    return kernel;
}

static void compare(const variant *v, const struct function *f, const void *x, const void *y,
                    const long double *exact)
{
    double bound = v->dtype == PAL_F64 ? f->f64 : f->f32, worst = 0;
    for (int64_t i = 0; i < SAMPLES; i++) {
        long double in = get(v->dtype, x, i), got = get(v->dtype, y, i);
        double e = ulps(v->dtype, got, exact[i]);
        if (!(e <= bound))
            ck_abort_msg("%s %s(%La) is %La, exactly %La: %.2f ulp", v->name, f->name, in, got,
                         exact[i], e);
        if (e > worst) worst = e;
    }
    /* An error of 0 everywhere would mean that nothing was compared. */
    ck_assert_msg(worst > 0.25, "%s %s: worst error %g ulp", v->name, f->name, worst);
}

/* One function and one type, on every instruction set. The exact values are computed once, because
 * they are slow. */
START_TEST(accuracy)
{
    const struct function *f = &functions[_i / 2];
    pal_dtype dtype = _i % 2 ? PAL_F64 : PAL_F32;
    long double *exact = malloc(SAMPLES * sizeof *exact);
    double *x = malloc(SAMPLES * sizeof *x), *y = malloc(SAMPLES * sizeof *y);
    uint64_t state = 1;
    for (int64_t i = 0; i < SAMPLES; i++) {
        if (dtype == PAL_F64)
            x[i] = sample_f64(i, &state);
        else
            ((float *)x)[i] = sample_f32(i);
        exact[i] = f->exact(get(dtype, x, i));
    }
    for (int k = _i % 2; k < VARIANTS; k += 2) {
        variant v = variant_at(k);
        if (!v.kernels) continue;
        kernel_of(v.kernels, f->offset)(SAMPLES, x, y);
        compare(&v, f, x, y, exact);
    }
    free(exact);
    free(x);
    free(y);
}
END_TEST

/* The results at zeros, infinities and other limits are exact, and so is the sign of zero. */
START_TEST(limits)
{
    variant v = variant_at(_i);
    if (!v.kernels) return;
    const long double inf = (long double)INFINITY;
    const struct {
        size_t offset;
        long double x, y;
    } cases[] = {
        {offsetof(pal_kernels, exp), -inf, 0},
        {offsetof(pal_kernels, exp), inf, inf},
        {offsetof(pal_kernels, exp), -0.0L, 1},
        {offsetof(pal_kernels, log), 0, -inf},
        {offsetof(pal_kernels, log), -0.0L, -inf},
        {offsetof(pal_kernels, log), 1, 0},
        {offsetof(pal_kernels, log), inf, inf},
        {offsetof(pal_kernels, log), -inf, (long double)NAN},
        {offsetof(pal_kernels, tanh), -0.0L, -0.0L},
        {offsetof(pal_kernels, tanh), inf, 1},
        {offsetof(pal_kernels, tanh), -inf, -1},
        {offsetof(pal_kernels, sin), -0.0L, -0.0L},
        {offsetof(pal_kernels, sin), inf, (long double)NAN},
        {offsetof(pal_kernels, silu), -inf, -0.0L},
        {offsetof(pal_kernels, silu), inf, inf},
        {offsetof(pal_kernels, silu), -0.0L, -0.0L},
        {offsetof(pal_kernels, gelu), -inf, -0.0L},
        {offsetof(pal_kernels, gelu), inf, inf},
        {offsetof(pal_kernels, gelu), -1e30L, -0.0L},
        {offsetof(pal_kernels, sigmoid), -inf, 0},
        {offsetof(pal_kernels, sigmoid), inf, 1},
        {offsetof(pal_kernels, softplus), -inf, 0},
        {offsetof(pal_kernels, softplus), inf, inf},
        {offsetof(pal_kernels, relu), -inf, 0},
        {offsetof(pal_kernels, cos), -0.0L, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double x[1], y[1];
        put(v.dtype, x, 0, cases[i].x);
        kernel_of(v.kernels, cases[i].offset)(1, x, y);
        long double got = get(v.dtype, y, 0);
        ck_assert_msg(ulps(v.dtype, got, cases[i].y) <= 0.0, "%s case %zu: f(%Lg) is %Lg", v.name,
                      i, cases[i].x, got);
        ck_assert_msg(isnan(got) || !signbit(got) == !signbit(cases[i].y),
                      "%s case %zu: the sign of f(%Lg)", v.name, i, cases[i].x);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernel accuracy");
    TCase *tc = tcase_create("accuracy");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, accuracy, 0, 2 * FUNCTIONS);
    tcase_add_loop_test(tc, limits, 0, VARIANTS);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
