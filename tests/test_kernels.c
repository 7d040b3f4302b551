/*
 * test_kernels.c - every elementwise kernel of kernels.def, on every instruction set and type.
 * Values are compared with plain C in long double. Runs of every length up to three vectors and one
 * element are tried, unaligned and in place, with guards behind the end. A kernel without a
 * reference here fails.
 */
#include "tests/support/kernel_test.h"
#include <stddef.h>

/* ---- The list ---- */

typedef struct entry {
    const char *type, *name;
    size_t offset;
} entry;
static const entry entries[] = {
#define PAL_KERNEL(kernel_type, kernel_name) \
    {#kernel_type, #kernel_name, offsetof(pal_kernels, kernel_name)},
#include "tensor/kernels/kernels.def"
#undef PAL_KERNEL
};
enum { ENTRIES = sizeof entries / sizeof *entries };

static bool is_a(const entry *e, const char *type) { return strcmp(e->type, type) == 0; }

/* How many arrays an elementwise kernel reads; 0 for the others. */
static int operands(const entry *e)
{
    if (strstr(e->name, "_row") || strcmp(e->name, "accumulate") == 0) return 0;
    if (is_a(e, "pal_map1") || is_a(e, "pal_map1p")) return 1;
    if (is_a(e, "pal_map2") || is_a(e, "pal_map2p")) return 2;
    return is_a(e, "pal_map3") ? 3 : 0;
}

static const double params[2] = {-0.75, 1.25}; /* the two numbers of clamp, d_clamp and affine */

static void run(const variant *v, const entry *e, int64_t n, const void *a, const void *b,
                const void *c, void *y)
{
    union {
        pal_map1 *map1;
        pal_map2 *map2;
        pal_map3 *map3;
        pal_map1p *map1p;
        pal_map2p *map2p;
    } k;
    memcpy(&k, (const char *)v->kernels + e->offset, sizeof k);
    if (is_a(e, "pal_map1"))
        k.map1(n, a, y);
    else if (is_a(e, "pal_map2"))
        k.map2(n, a, b, y);
    else if (is_a(e, "pal_map3"))
        k.map3(n, a, b, c, y);
    else if (is_a(e, "pal_map1p"))
        k.map1p(n, a, params, y);
    else
        k.map2p(n, a, b, params, y);
}

/* ---- References ---- */

typedef long double real;
typedef struct args {
    real a, b, c;
} args;

static real sigmoid(real x) { return 1 / (1 + expl(-x)); }
static real inner(real x)
{
    return 1.59576912160573071175978423973752L * (x + 0.044715L * x * x * x);
}

static real r_add(const args *v) { return v->a + v->b; }
static real r_sub(const args *v) { return v->a - v->b; }
static real r_mul(const args *v) { return v->a * v->b; }
static real r_div(const args *v) { return v->a / v->b; }
static real r_pow(const args *v) { return powl(v->a, v->b); }
static real r_atan2(const args *v) { return atan2l(v->a, v->b); }
static real nan_or(const args *v, real y) { return isnan(v->a) || isnan(v->b) ? (real)NAN : y; }
static real r_maximum(const args *v) { return nan_or(v, v->a > v->b ? v->a : v->b); }
static real r_minimum(const args *v) { return nan_or(v, v->a < v->b ? v->a : v->b); }
static real r_eq(const args *v) { return v->a == v->b; }
static real r_ne(const args *v) { return v->a != v->b; }
static real r_lt(const args *v) { return v->a < v->b; }
static real r_le(const args *v) { return v->a <= v->b; }
static real r_gt(const args *v) { return v->a > v->b; }
static real r_ge(const args *v) { return v->a >= v->b; }
static real r_select(const args *v) { return v->a != 0 ? v->b : v->c; }
static real r_d_div_b(const args *v) { return -v->c * v->b / v->a; }
static real r_d_pow_a(const args *v) { return v->b == 0 ? 0 : v->c * v->b * powl(v->a, v->b - 1); }
static real r_d_pow_b(const args *v) { return v->a <= 0 ? 0 : v->c * v->b * logl(v->a); }
static real over_squares(const args *v, real x)
{
    return v->a == 0 && v->b == 0 ? 0 : v->c * x / (v->a * v->a + v->b * v->b);
}
static real r_d_atan2_a(const args *v) { return over_squares(v, v->b); }
static real r_d_atan2_b(const args *v) { return over_squares(v, -v->a); }
static real r_d_maximum(const args *v) { return v->a > v->b ? v->c : v->a == v->b ? v->c / 2 : 0; }
static real r_d_minimum(const args *v) { return v->a < v->b ? v->c : v->a == v->b ? v->c / 2 : 0; }

static real r_copy(const args *v) { return v->a; }
static real r_neg(const args *v) { return -v->a; }
static real r_abs(const args *v) { return fabsl(v->a); }
static real r_sign(const args *v) { return isnan(v->a) ? v->a : (v->a > 0) - (v->a < 0); }
static real r_square(const args *v) { return v->a * v->a; }
static real r_sqrt(const args *v) { return sqrtl(v->a); }
static real r_rsqrt(const args *v) { return 1 / sqrtl(v->a); }
static real r_reciprocal(const args *v) { return 1 / v->a; }
static real r_exp(const args *v) { return expl(v->a); }
static real r_log(const args *v) { return logl(v->a); }
static real r_sin(const args *v) { return sinl(v->a); }
static real r_cos(const args *v) { return cosl(v->a); }
static real r_erf(const args *v) { return erfl(v->a); }
static real r_tanh(const args *v) { return tanhl(v->a); }
static real r_sigmoid(const args *v) { return sigmoid(v->a); }
/* softplus is defined as in PyTorch with its defaults (beta 1, threshold 20), in tests and library:
 * above the threshold it is x itself. */
static real r_softplus(const args *v) { return v->a > 20 ? v->a : log1pl(expl(v->a)); }
static real r_silu(const args *v) { return v->a < -1e4L ? 0 : v->a * sigmoid(v->a); }
static real r_swiglu(const args *v) { return v->a * sigmoid(v->a) * v->b; }
static real r_relu(const args *v) { return v->a <= 0 ? 0 : v->a; }
static real r_gelu(const args *v) { return v->a < -1e3L ? 0 : v->a * sigmoid(inner(v->a)); }
static real r_clamp(const args *v)
{
    return v->a < params[0] ? params[0] : v->a > params[1] ? params[1] : v->a;
}
static real r_affine(const args *v) { return v->a * params[0] + params[1]; }

static real r_d_abs(const args *v) { return v->b * ((v->a > 0) - (v->a < 0)); }
static real r_d_square(const args *v) { return 2 * v->a * v->b; }
static real r_d_sqrt(const args *v) { return v->b / (2 * v->a); }
static real r_d_rsqrt(const args *v) { return -v->b * v->a * v->a * v->a / 2; }
static real r_d_reciprocal(const args *v) { return -v->b * v->a * v->a; }
static real r_d_log(const args *v) { return v->b / v->a; }
static real r_d_sin(const args *v) { return v->b * cosl(v->a); }
static real r_d_cos(const args *v) { return -v->b * sinl(v->a); }
static real r_d_erf(const args *v)
{
    return v->b * 1.12837916709551257389615890312154517L * expl(-v->a * v->a);
}
static real r_d_tanh(const args *v) { return v->b * (1 - v->a * v->a); }
static real r_d_sigmoid(const args *v) { return v->b * v->a * (1 - v->a); }
static real r_d_softplus(const args *v) { return v->a > 20 ? v->b : v->b * sigmoid(v->a); }
static real r_d_silu(const args *v)
{
    real s = sigmoid(v->a);
    return v->b * (s + v->a * s * sigmoid(-v->a));
}
static real r_d_relu(const args *v) { return v->a > 0 ? v->b : 0; }
static real r_d_gelu(const args *v)
{
    real z = inner(v->a),
         slope = 1.59576912160573071175978423973752L * (1 + 0.134145L * v->a * v->a);
    return v->b * (sigmoid(z) + v->a * sigmoid(z) * sigmoid(-z) * slope);
}
static real r_d_clamp(const args *v) { return v->a >= params[0] && v->a <= params[1] ? v->b : 0; }

/*
 * |got - exact| <= u (relative |exact| + absolute |last operand|), where u is one rounding. The
 * absolute part is for functions in which terms cancel. `forward` adds infinities, NaN, huge and
 * denormal operands.
 */
static const struct reference {
    const char *name;
    real (*exact)(const args *v);
    double relative, absolute;
    bool forward;
} references[] = {
    {"add", r_add, 1, 0, true},
    {"sub", r_sub, 1, 0, true},
    {"mul", r_mul, 1, 0, true},
    {"div", r_div, 1, 0, true},
    {"pow", r_pow, 2, 0, true},
    {"atan2", r_atan2, 2, 0, true},
    {"maximum", r_maximum, 0, 0, true},
    {"minimum", r_minimum, 0, 0, true},
    {"eq", r_eq, 0, 0, true},
    {"ne", r_ne, 0, 0, true},
    {"lt", r_lt, 0, 0, true},
    {"le", r_le, 0, 0, true},
    {"gt", r_gt, 0, 0, true},
    {"ge", r_ge, 0, 0, true},
    {"swiglu", r_swiglu, 5, 0, false},
    {"select", r_select, 0, 0, true},
    {"d_div_b", r_d_div_b, 2, 0, false},
    {"d_pow_a", r_d_pow_a, 20, 0, false},
    {"d_pow_b", r_d_pow_b, 4, 0, false},
    {"d_atan2_a", r_d_atan2_a, 4, 0, false},
    {"d_atan2_b", r_d_atan2_b, 4, 0, false},
    {"d_maximum", r_d_maximum, 0, 0, false},
    {"d_minimum", r_d_minimum, 0, 0, false},
    {"copy", r_copy, 0, 0, true},
    {"neg", r_neg, 0, 0, true},
    {"abs", r_abs, 0, 0, true},
    {"sign", r_sign, 0, 0, true},
    {"square", r_square, 1, 0, true},
    {"sqrt", r_sqrt, 1, 0, true},
    {"rsqrt", r_rsqrt, 3, 0, true},
    {"reciprocal", r_reciprocal, 1, 0, true},
    {"exp", r_exp, 4, 0, true},
    {"log", r_log, 4, 0, true},
    {"sin", r_sin, 4, 0, true},
    {"cos", r_cos, 4, 0, true},
    {"erf", r_erf, 2, 0, true},
    {"tanh", r_tanh, 4, 0, true},
    {"sigmoid", r_sigmoid, 4, 0, true},
    {"softplus", r_softplus, 4, 0, true},
    {"silu", r_silu, 4, 0, true},
    {"relu", r_relu, 0, 0, true},
    {"gelu", r_gelu, 4, 2, true},
    {"clamp", r_clamp, 0, 0, true},
    {"affine", r_affine, 1, 1, true},
    {"d_abs", r_d_abs, 0, 0, false},
    {"d_square", r_d_square, 1, 0, false},
    {"d_sqrt", r_d_sqrt, 1, 0, false},
    {"d_rsqrt", r_d_rsqrt, 4, 0, false},
    {"d_reciprocal", r_d_reciprocal, 2, 0, false},
    {"d_exp", r_mul, 1, 0, false},
    {"d_log", r_d_log, 1, 0, false},
    {"d_sin", r_d_sin, 4, 0, false},
    {"d_cos", r_d_cos, 4, 0, false},
    {"d_erf", r_d_erf, 4, 2, false},
    {"d_tanh", r_d_tanh, 4, 0, false},
    {"d_sigmoid", r_d_sigmoid, 4, 0, false},
    {"d_softplus", r_d_softplus, 4, 0, false},
    {"d_silu", r_d_silu, 4, 8, false},
    {"d_relu", r_d_relu, 0, 0, false},
    {"d_gelu", r_d_gelu, 4, 16, false},
    {"d_clamp", r_d_clamp, 0, 0, false},
};

static const struct reference *reference_of(const char *name)
{
    for (size_t i = 0; i < sizeof references / sizeof *references; i++)
        if (strcmp(references[i].name, name) == 0) return &references[i];
    ck_abort_msg("kernel %s has no reference here", name);
}

/* ---- Operands: all pairs of chosen values, then noise ---- */

enum { VALUES = 24, FINITE = 15, COUNT = VALUES * VALUES + 500 };

static void fill_operands(const variant *v, bool forward, double *a, double *b, double *c)
{
    const double values[VALUES] = {-30,       -3,  -1,    -0.75,  -0.5,     -0.0, 0,     0.25,
                                   0.5,       1,   1.25,  2,      3,        20,   21,    INFINITY,
                                   -INFINITY, NAN, 1e-41, -1e-41, 0x1p-149, 1e30, -1e30, 0x1p127};
    const int used = forward ? VALUES : FINITE;
    uint64_t state = 5;
    for (int64_t i = 0; i < COUNT; i++) {
        bool grid = i < used * used;
        put(v->dtype, a, i, grid ? values[i / used] : 4 * noise(&state));
        put(v->dtype, b, i, grid ? values[i % used] : 4 * noise(&state));
        put(v->dtype, c, i, noise(&state));
    }
}

static void check_values(const variant *v, const entry *e)
{
    static double a[COUNT], b[COUNT], c[COUNT], y[COUNT];
    const struct reference *ref = reference_of(e->name);
    const long double u = unit_roundoff(v->dtype),
                      least = v->dtype == PAL_F64 ? 0x1p-1074L : 0x1p-149L;
    fill_operands(v, ref->forward, a, b, c);
    run(v, e, COUNT, a, b, c, y);
    const double *last = operands(e) == 1 ? a : operands(e) == 2 ? b : c;
    for (int64_t i = 0; i < COUNT; i++) {
        args x = {get(v->dtype, a, i), get(v->dtype, b, i), get(v->dtype, c, i)};
        real exact = ref->exact(&x), got = get(v->dtype, y, i);
        real bound =
            u * (ref->relative * fabsl(exact) + ref->absolute * fabsl(get(v->dtype, last, i)));
        if (ref->relative > 0) bound += 2 * least;
        if (ulps(v->dtype, got, exact) <= 0.5 || fabsl(got - exact) <= bound) continue;
        ck_abort_msg("%s %s(%Lg, %Lg, %Lg) is %La, exactly %La", v->name, e->name, x.a, x.b, x.c,
                     got, exact);
    }
}

START_TEST(values)
{
    variant v = variant_at(_i);
    int compared = 0;
    for (int k = 0; v.kernels && k < ENTRIES; k++) {
        if (!operands(&entries[k])) continue;
        check_values(&v, &entries[k]);
        compared++;
    }
    ck_assert(!v.kernels || compared == sizeof references / sizeof *references);
}
END_TEST

/* ---- Lengths ---- */

enum { LONGEST = 3 * 16 + 1, GUARD = 20 };

/* Results do not depend on the length of the run or on the place in it, and nothing behind the end
 * changes. Operand `inplace` of the three is also the output; 3 means none. */
static void check_length(const variant *v, const entry *e, int64_t n, int inplace)
{
    static double in[3][LONGEST + 2], whole[LONGEST + 2], out[LONGEST + 2 + GUARD],
        copy[LONGEST + 2 + GUARD];
    uint64_t state = 11;
    for (int64_t i = 0; i < LONGEST + 2; i++)
        for (int k = 0; k < 3; k++) put(v->dtype, in[k], i, 0.1 + fabs(noise(&state)));
    run(v, e, LONGEST, at(v, in[0], 1), at(v, in[1], 1), at(v, in[2], 1), whole);
    memset(out, 0xa5, sizeof out);
    const void *x[3] = {at(v, in[0], 1), at(v, in[1], 1), at(v, in[2], 1)};
    if (inplace < 3) {
        if (n > 0) memcpy(at(v, out, 1), x[inplace], (size_t)n * v->size);
        x[inplace] = at(v, out, 1);
    }
    memcpy(copy, out, sizeof out);
    run(v, e, n, x[0], x[1], x[2], at(v, out, 1));
    ck_assert_msg(memcmp(at(v, out, 1), whole, (size_t)n * v->size) == 0,
                  "%s %s: %d elements give other values (in place: %d)", v->name, e->name, (int)n,
                  inplace);
    size_t end = (size_t)(n + 1) * v->size;
    ck_assert_msg(memcmp(out, copy, v->size) == 0 &&
                      memcmp((char *)out + end, (char *)copy + end, sizeof out - end) == 0,
                  "%s %s: %d elements write outside", v->name, e->name, (int)n);
}

START_TEST(lengths)
{
    variant v = variant_at(_i);
    for (int k = 0; v.kernels && k < ENTRIES; k++) {
        int in = operands(&entries[k]);
        for (int64_t n = 0; in && n <= 3 * v.vector + 1; n++) {
            check_length(&v, &entries[k], n, 3);
            for (int operand = 0; operand < in; operand++)
                check_length(&v, &entries[k], n, operand);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels");
    TCase *tc = tcase_create("maps");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, values, 0, VARIANTS);
    tcase_add_loop_test(tc, lengths, 0, VARIANTS);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
