/*
 * test_kernel_rows.c - reductions, sums into a vector, and the row kernels of softmax and the
 * norms, on every instruction set and type. All short lengths and a long one are compared with
 * plain loops in long double. Guards behind the end show writes outside, and special values are
 * tested too.
 */
#include "tests/support/check.h"
#include "tests/support/kernel_test.h"

typedef long double real;
enum { LONG = 5000, GUARD = 32, SHORT = 3 * 16 + 1 };

/* Arrays of one test, with elements of the variant's type. out is followed by a guard. */
typedef struct arrays {
    double x[LONG], w[LONG], b[LONG], dy[LONG], out[LONG + GUARD];
} arrays;

static void fill(const variant *v, arrays *t, int64_t n, real centre)
{
    uint64_t state = (uint64_t)n + 3;
    for (int64_t i = 0; i < n; i++) {
        put(v->dtype, t->x, i, centre + 3 * noise(&state));
        put(v->dtype, t->w, i, 1 + noise(&state) / 2);
        put(v->dtype, t->b, i, noise(&state));
        put(v->dtype, t->dy, i, noise(&state));
    }
    memset(t->out, 0xa5, sizeof t->out);
}

/* |got - exact| <= roundings * u * scale, where u is one rounding. */
static void expect(const variant *v, const char *what, int64_t n, real got, real exact,
                   double roundings, real scale)
{
    if (!(fabsl(got - exact) <= (real)roundings * unit_roundoff(v->dtype) * scale))
        ck_abort_msg("%s %s of %d: %La, exactly %La", v->name, what, (int)n, got, exact);
}

static void expect_guard(const variant *v, const char *what, int64_t n, arrays *t)
{
    const unsigned char *end = at(v, t->out, n);
    for (size_t i = 0; i < GUARD * sizeof(double); i++)
        ck_assert_msg(end[i] == 0xa5, "%s %s of %d writes behind the end", v->name, what, (int)n);
}

#define X(i)   get(v->dtype, t->x, i)
#define W(i)   get(v->dtype, t->w, i)
#define B(i)   get(v->dtype, t->b, i)
#define DY(i)  get(v->dtype, t->dy, i)
#define OUT(i) get(v->dtype, t->out, i)

/* ---- Reductions ---- */

static void check_reductions(const variant *v, int64_t n, arrays *t)
{
    real sum = 0, size = 0, square = 0, dot = 0, dots = 0, max = -INFINITY, min = INFINITY;
    fill(v, t, n, 0);
    for (int64_t i = 0; i < n; i++) {
        sum += X(i);
        size += fabsl(X(i));
        square += X(i) * X(i);
        dot += X(i) * DY(i);
        dots += fabsl(X(i) * DY(i));
        max = fmaxl(max, X(i));
        min = fminl(min, X(i));
    }
    /* Sums are in double, so for f32 they are much more exact than its rounding. */
    double r = v->dtype == PAL_F64 ? 40 : 1e-4;
    expect(v, "sum", n, v->kernels->sum(n, t->x), sum, r, size);
    expect(v, "sum_square", n, v->kernels->sum_square(n, t->x), square, r, square);
    expect(v, "dot", n, v->kernels->dot(n, t->x, t->dy), dot, r, dots);
    ck_assert(v->kernels->max(n, t->x) == max);
    ck_assert(v->kernels->min(n, t->x) == min);
    ck_assert(v->kernels->zero_sum(n, t->x) == 0);
    for (int64_t i = 0; i < n && n <= SHORT; i++) { /* a NaN at any place is the result */
        put(v->dtype, t->x, i, NAN);
        ck_assert(isnan(v->kernels->max(n, t->x)) && isnan(v->kernels->min(n, t->x)));
        ck_assert(isnan(v->kernels->zero_sum(n, t->x)));
        ck_assert(isnan(v->kernels->sum(n, t->x)));
        put(v->dtype, t->x, i, i % 2 ? INFINITY : -INFINITY);
        ck_assert(isnan(v->kernels->zero_sum(n, t->x)));
        put(v->dtype, t->x, i, 0);
    }
}

static void check_sums_into(const variant *v, int64_t n, arrays *t)
{
    const pal_kernels *k = v->kernels;
    fill(v, t, n, 0);
    k->fill(n, 0.5, t->out);
    for (int64_t i = 0; i < n; i++) ck_assert(OUT(i) == 0.5L);
    k->accumulate(n, t->x, t->out);
    for (int64_t i = 0; i < n; i++) expect(v, "accumulate", n, OUT(i), 0.5L + X(i), 1, 4);
    k->axpy(n, -2, t->x, t->out);
    for (int64_t i = 0; i < n; i++) expect(v, "axpy", n, OUT(i), 0.5L - X(i), 4, 4);
    k->axmuly(n, 0.25, t->x, t->dy, t->out);
    for (int64_t i = 0; i < n; i++)
        expect(v, "axmuly", n, OUT(i), 0.5L - X(i) + 0.25L * X(i) * DY(i), 8, 4);
    expect_guard(v, "sums", n, t);
}

/* The sums are doubles, whatever the type of the elements that are added. */
static void check_widened(const variant *v, int64_t n, arrays *t)
{
    fill(v, t, n, 0);
    for (int64_t i = 0; i < n; i++) t->out[i] = 0.25;
    v->kernels->widen_add(n, t->x, t->out);
    v->kernels->widen_add_square(n, t->dy, t->out);
    for (int64_t i = 0; i < n; i++) {
        real exact = 0.25L + X(i) + DY(i) * DY(i);
        ck_assert_msg(fabsl(t->out[i] - exact) <= 4 * 0x1p-53L * (1 + fabsl(X(i)) + DY(i) * DY(i)),
                      "%s widened sums of %d: %La, exactly %La", v->name, (int)n, (real)t->out[i],
                      exact);
    }
    const unsigned char *end = (const unsigned char *)(t->out + n);
    for (size_t i = 0; i < GUARD * sizeof(double); i++)
        ck_assert_msg(end[i] == 0xa5, "%s widened sums of %d write behind the end", v->name,
                      (int)n);
}

/* ---- Softmax ---- */

static void check_softmax(const variant *v, int64_t n, arrays *t, real centre)
{
    const pal_kernels *k = v->kernels;
    real max = -INFINITY, sum = 0, dot = 0, plain = 0;
    fill(v, t, n, centre);
    for (int64_t i = 0; i < n; i++) max = fmaxl(max, X(i));
    for (int64_t i = 0; i < n; i++) sum += expl(X(i) - max);
    real lse = max + logl(sum);
    expect(v, "logsumexp", n, k->logsumexp_row(n, t->x), lse, 4, 1 + fabsl(lse));
    /* The shift is a double, so in f64 its own rounding counts too. */
    double units = v->dtype == PAL_F64 ? 16 + (double)fabsl(lse) : 16;
    k->exp_row(n, t->x, k->logsumexp_row(n, t->x), 3, t->out);
    for (int64_t i = 0; i < n; i++)
        expect(v, "exp_row", n, OUT(i), 3 * expl(X(i) - lse), units, 3 * expl(X(i) - lse));
    k->softmax_row(n, t->x, t->out);
    for (int64_t i = 0; i < n; i++)
        expect(v, "softmax", n, OUT(i), expl(X(i) - max) / sum, 16, expl(X(i) - max) / sum);
    expect_guard(v, "softmax", n, t);
    memcpy(t->b, t->out, sizeof t->b);
    ck_assert(k->scaled_softmax_row(n, t->x, 3, t->out) == k->logsumexp_row(n, t->x));
    for (int64_t i = 0; i < n; i++) expect(v, "scaled softmax", n, OUT(i), 3 * B(i), 4, 3 * B(i));
    expect_guard(v, "scaled softmax", n, t);
    k->softmax_row(n, t->x, t->out);

    memcpy(t->b, t->out, sizeof t->b);
    for (int64_t i = 0; i < n; i++) dot += B(i) * DY(i);
    k->d_softmax_row(n, t->b, t->dy, t->out);
    for (int64_t i = 0; i < n; i++)
        expect(v, "d_softmax", n, OUT(i), B(i) * (DY(i) - dot), 6, B(i));

    k->log_softmax_row(n, t->x, t->out);
    for (int64_t i = 0; i < n; i++)
        expect(v, "log_softmax", n, OUT(i), X(i) - lse, 4, 1 + fabsl(X(i) - lse));
    memcpy(t->b, t->out, sizeof t->b);
    for (int64_t i = 0; i < n; i++) plain += DY(i);
    k->d_log_softmax_row(n, t->b, t->dy, t->out);
    for (int64_t i = 0; i < n; i++)
        expect(v, "d_log_softmax", n, OUT(i), DY(i) - expl(B(i)) * plain, 8, 1 + fabsl(plain));
    expect_guard(v, "log_softmax", n, t);
}

START_TEST(softmax_special)
{
    variant at_i = variant_at(_i), *v = &at_i;
    static arrays arena, *t = &arena;
    const pal_kernels *k = v->kernels;
    for (int64_t n = 1; k && n <= SHORT; n++) {
        fill(v, t, n, 0);
        for (int64_t i = 0; i < n; i++) put(v->dtype, t->x, i, -INFINITY);
        ck_assert(k->logsumexp_row(n, t->x) == -(double)INFINITY);
        k->softmax_row(n, t->x, t->out);
        for (int64_t i = 0; i < n; i++) ck_assert(OUT(i) == 0);
        ck_assert(k->scaled_softmax_row(n, t->x, 2, t->out) == -(double)INFINITY);
        k->exp_row(n, t->x, -(double)INFINITY, 1, t->out);
        for (int64_t i = 0; i < n; i++) ck_assert(OUT(i) == 0);
        k->log_softmax_row(n, t->x, t->out);
        for (int64_t i = 0; i < n; i++) ck_assert(OUT(i) == -(real)INFINITY);
        put(v->dtype, t->x, n - 1, 7); /* the only entry that is not masked */
        k->softmax_row(n, t->x, t->x);
        for (int64_t i = 0; i < n; i++) ck_assert(X(i) == (i == n - 1));
        put(v->dtype, t->x, n - 1, NAN);
        k->softmax_row(n, t->x, t->out);
        for (int64_t i = 0; i < n; i++) ck_assert(isnan(OUT(i)));
        ck_assert(isnan(k->logsumexp_row(n, t->x)));
        expect_guard(v, "special rows", n, t);
    }
    if (k) ck_assert(k->logsumexp_row(0, NULL) == -(double)INFINITY);
}
END_TEST

/* ---- Convolution ---- */

/* The W rows overlap in x, and the taps are n apart in w. */
static void check_conv(const variant *v, int64_t n, int64_t W, arrays *t, bool silu, bool add)
{
    const void *rows[8];
    fill(v, t, LONG, 0);
    for (int64_t j = 0; j < W; j++) rows[j] = at(v, t->x, 3 * j);
    memcpy(t->out, t->dy, (size_t)n * v->size);
    v->kernels->conv_row(n, W, rows, t->w, n, add ? NULL : t->b, silu, add, t->out);
    for (int64_t i = 0; i < n; i++) {
        real sum = add ? 0 : B(i), size = fabsl(sum);
        for (int64_t j = 0; j < W; j++) {
            sum += W(j * n + i) * X(3 * j + i);
            size += fabsl(W(j * n + i) * X(3 * j + i));
        }
        real exact = (silu ? sum / (1 + expl(-sum)) : sum) + (add ? DY(i) : 0);
        expect(v, "conv_row", n, OUT(i), exact, 12, 1 + size + fabsl(exact));
    }
    expect_guard(v, "conv_row", n, t);
}

static void check_d_conv(const variant *v, int64_t n, int64_t W, arrays *t)
{
    const void *rows[8];
    fill(v, t, LONG, 0);
    for (int64_t j = 0; j < W; j++) rows[j] = at(v, t->x, 3 * j);
    memcpy(t->out, t->w, (size_t)(W * n) * v->size);
    v->kernels->d_conv_row(n, W, rows, t->dy, n, t->out, NULL);
    for (int64_t i = 0; i < W * n; i++) {
        real term = DY(i % n) * X(3 * (i / n) + i % n), exact = W(i) + term;
        expect(v, "d_conv_row", n, OUT(i), exact, 3, fabsl(W(i)) + fabsl(term));
    }
    expect_guard(v, "d_conv_row", W * n, t);
    memcpy(t->out, t->b, (size_t)n * v->size);
    v->kernels->d_conv_row(n, W, rows, t->dy, n, NULL, t->out);
    for (int64_t i = 0; i < n; i++) expect(v, "dbias", n, OUT(i), B(i) + DY(i), 1, fabsl(OUT(i)));
}

START_TEST(convolution)
{
    variant v = variant_at(_i);
    static arrays t;
    for (int64_t n = 1; v.kernels && n <= SHORT; n++)
        for (int64_t W = 1; W <= 6; W++) {
            for (int how = 0; how < 4; how++) check_conv(&v, n, W, &t, how & 1, how & 2);
            check_d_conv(&v, n, W, &t);
        }
}
END_TEST

/* ---- Norms ---- */

static void check_root_norms(const variant *v, int64_t n, arrays *t, const void *weight, bool l2)
{
    const pal_kernels *k = v->kernels;
    const double eps = 1e-5;
    const char *what = l2 ? "l2_norm" : "rms_norm";
    real square = 0, dot = 0, count = l2 ? 1 : (real)n;
    fill(v, t, n, 0);
    for (int64_t i = 0; i < n; i++) {
        square += X(i) * X(i);
        dot += X(i) * DY(i) * (weight ? W(i) : 1);
    }
    real r = 1 / sqrtl(square / count + eps);
    double got = (l2 ? k->l2_norm_row : k->rms_norm_row)(n, t->x, weight, eps, t->out);
    expect(v, what, n, got, r, v->dtype == PAL_F64 ? 40 : 1e-4, r);
    for (int64_t i = 0; i < n; i++) {
        real y = X(i) * r * (weight ? W(i) : 1);
        expect(v, what, n, OUT(i), y, v->dtype == PAL_F64 ? 40 : 4, fabsl(y));
    }
    (l2 ? k->d_l2_norm_row : k->d_rms_norm_row)(n, t->x, weight, got, t->dy, t->out);
    for (int64_t i = 0; i < n; i++) {
        real g = DY(i) * (weight ? W(i) : 1), c = X(i) * r * r * dot / count;
        expect(v, what, n, OUT(i), r * (g - c), 80, r * (fabsl(g) + fabsl(c) + 1));
    }
    expect_guard(v, what, n, t);
}

static void check_layer_norm(const variant *v, int64_t n, arrays *t, const void *weight,
                             const void *bias, real centre)
{
    const pal_kernels *k = v->kernels;
    const double eps = 1e-5;
    real mean = 0, square = 0, plain = 0, dot = 0;
    double stats[2];
    fill(v, t, n, centre);
    for (int64_t i = 0; i < n; i++) mean += X(i) / (real)n;
    for (int64_t i = 0; i < n; i++) square += (X(i) - mean) * (X(i) - mean) / (real)n;
    real r = 1 / sqrtl(square + eps), units = 80 * (1 + fabsl(centre) * (v->dtype == PAL_F64));
    k->layer_norm_row(n, t->x, weight, bias, eps, t->out, stats);
    for (int64_t i = 0; i < n; i++) {
        real z = (X(i) - mean) * r, g = DY(i) * (weight ? W(i) : 1);
        expect(v, "layer_norm", n, OUT(i), z * (weight ? W(i) : 1) + (bias ? B(i) : 0),
               (double)units, r + 2);
        plain += g / (real)n;
        dot += g * z / (real)n;
    }
    k->d_layer_norm_row(n, t->x, weight, stats, t->dy, t->out);
    for (int64_t i = 0; i < n; i++) {
        real z = (X(i) - mean) * r, g = DY(i) * (weight ? W(i) : 1);
        expect(v, "d_layer_norm", n, OUT(i), r * (g - plain - z * dot), (double)units,
               (r + 1) * (r + 4));
    }
    k->fill(n, 1, t->out);
    k->d_layer_norm_weight(n, t->x, stats, t->dy, t->out);
    for (int64_t i = 0; i < n; i++)
        expect(v, "d_layer_norm_weight", n, OUT(i), 1 + DY(i) * (X(i) - mean) * r, (double)units,
               r + 4);
    expect_guard(v, "layer_norm", n, t);
}

/* ---- All lengths ---- */

static void check_length(const variant *v, int64_t n, arrays *t)
{
    check_reductions(v, n, t);
    check_sums_into(v, n, t);
    check_widened(v, n, t);
    if (n == 0) return; /* softmax_special tests the empty row; a norm has none */
    check_softmax(v, n, t, 0);
    check_softmax(v, n, t, 300);
    for (int l2 = 0; l2 < 2; l2++) {
        check_root_norms(v, n, t, NULL, l2);
        check_root_norms(v, n, t, t->w, l2);
    }
    check_layer_norm(v, n, t, NULL, NULL, 0);
    check_layer_norm(v, n, t, t->w, t->b, 0);
    if (n > 1) check_layer_norm(v, n, t, t->w, t->b, 1000);
}

/* way & 1: SiLU, & 2: gate first, & 4: no weight; 8: no gate. */
static void check_gated(const variant *v, int64_t n, arrays *t, int way)
{
    static double dz[SHORT + GUARD];
    const bool gated = way != 8, first = way & 2;
    const pal_act kind = way & 1 ? PAL_ACT_SILU : PAL_ACT_SIGMOID;
    const void *z = gated ? t->b : NULL, *weight = way & 4 ? NULL : t->w;
    real a[SHORT], slope[SHORT], square = 0, along = 0, size = 0;
    fill(v, t, n, 0);
    for (int64_t i = 0; i < n; i++) {
        real s = 1 / (1 + expl(-B(i)));
        a[i] = !gated ? 1 : way & 1 ? B(i) * s : s;
        slope[i] = way & 1 ? s * (1 + B(i) * (1 - s)) : s * (1 - s);
        square += X(i) * X(i) * (first ? a[i] * a[i] : 1);
    }
    const real r = 1 / sqrtl(square / (real)n + 1e-3L);
    double got = v->kernels->gated_norm_row(n, t->x, z, weight, kind, first, 1e-3, t->out);
    expect(v, "1 / rms of gated_norm_row", n, got, r, 16, r);
    for (int64_t i = 0; i < n; i++) {
        real exact = X(i) * r * a[i] * (weight ? W(i) : 1);
        expect(v, "gated_norm_row", n, OUT(i), exact, 24, fabsl(exact));
        real term = exact * DY(i);
        along += term;
        size += fabsl(term);
    }
    expect_guard(v, "gated_norm_row", n, t);
    memset(dz, 0xa5, sizeof dz);
    v->kernels->d_gated_norm_row(n, t->x, z, weight, kind, first, (double)r, t->dy, t->out, dz,
                                 NULL);
    expect_guard(v, "d_gated_norm_row", n, t);
    along /= (real)n, size /= (real)n;
    for (int64_t i = 0; i < n; i++) {
        const real g = DY(i) * (weight ? W(i) : 1), w = weight ? W(i) : 1;
        const real xr = X(i) * r * (first ? a[i] : 1), scale = r * (fabsl(g) + fabsl(xr) * size);
        const real dx = r * ((first ? g : g * a[i]) - xr * along) * (first ? a[i] : 1);
        expect(v, "dx of d_gated_norm_row", n, OUT(i), dx, 64, scale);
        if (!gated) continue;
        const real exact =
            first ? r * (g - xr * along) * X(i) * slope[i] : DY(i) * w * X(i) * r * slope[i];
        expect(v, "dz", n, get(v->dtype, dz, i), exact, 64, scale * (fabsl(X(i)) + 1));
    }
    const unsigned char *end = at(v, dz, gated ? n : 0);
    for (size_t i = 0; i < GUARD * sizeof(double); i++) ck_assert(end[i] == 0xa5);
}

static void check_d_swiglu(const variant *v, int64_t n, arrays *t)
{
    static double db[SHORT + GUARD];
    fill(v, t, n, 0);
    memset(db, 0xa5, sizeof db);
    v->kernels->d_swiglu(n, t->x, t->w, t->dy, t->out, db);
    for (int64_t i = 0; i < n; i++) {
        real s = 1 / (1 + expl(-X(i))), slope = s + X(i) * s * (1 - s);
        expect(v, "da of d_swiglu", n, OUT(i), DY(i) * W(i) * slope, 12, fabsl(DY(i) * W(i)));
        expect(v, "db of d_swiglu", n, get(v->dtype, db, i), DY(i) * X(i) * s, 6,
               fabsl(DY(i) * X(i) * s));
    }
    expect_guard(v, "d_swiglu", n, t);
    const unsigned char *end = at(v, db, n);
    for (size_t i = 0; i < GUARD * sizeof(double); i++) ck_assert(end[i] == 0xa5);
}

START_TEST(gates)
{
    variant v = variant_at(_i);
    static arrays t;
    for (int64_t n = 1; v.kernels && n <= SHORT; n++) {
        for (int way = 0; way <= 8; way++) check_gated(&v, n, &t, way);
        check_d_swiglu(&v, n, &t);
    }
}
END_TEST

START_TEST(rows)
{
    variant v = variant_at(_i);
    static arrays t;
    if (!v.kernels) return;
    for (int64_t n = 0; n <= 3 * v.vector + 1; n++) check_length(&v, n, &t);
    check_length(&v, 515, &t);
    check_length(&v, LONG, &t);
}
END_TEST

/* Squares of a float beyond 1e19 leave its range; sums of squares do not. */
START_TEST(large_and_small_norms)
{
    variant v = variant_at(_i);
    if (!v.kernels) return;
    double x[8], y[8];
    for (int i = 0; i < 8; i++) put(v.dtype, x, i, 1e30L);
    ck_assert_double_eq_tol(v.kernels->sum_square(8, x), 8e60, 1e54);
    v.kernels->l2_norm_row(8, x, NULL, 1e-6, y);
    ck_assert_double_eq_tol((double)get(v.dtype, y, 3), sqrt(0.125), 1e-7);
    for (int i = 0; i < 8; i++) put(v.dtype, x, i, 0);
    v.kernels->l2_norm_row(8, x, NULL, 1e-6, y);
    ck_assert(get(v.dtype, y, 0) == 0);
}
END_TEST

/* Rounds to the element type. */
static double rounded(const variant *v, double x)
{
    return v->dtype == PAL_F64 ? x : (double)(float)x;
}

/* Entry (i, j) of C, rounded after every operation. `c` is beta times its old value. */
static long double product_entry(const variant *v, const pal_product *p, const void *a,
                                 const void *b, int64_t i, int64_t j, long double c)
{
    enum { SUMS = PAL_PRODUCT_SUMS };
    double part[SUMS] = {0}, rest = 0, sum = (double)c;
    for (int64_t q = 0; q < p->k; q++) {
        const double x = (double)get(v->dtype, a, i * p->rsa + q * p->csa);
        const double y = (double)get(v->dtype, b, q * p->rsb + j * p->csb);
        if (!pal_product_along_k(p))
            sum = rounded(v, sum + rounded(v, rounded(v, p->alpha * x) * y));
        else if (q < p->k / SUMS * SUMS)
            part[q % SUMS] = rounded(v, part[q % SUMS] + rounded(v, x * y));
        else
            rest = rounded(v, rest + rounded(v, x * y));
    }
    if (!pal_product_along_k(p)) return sum;
    for (int half = SUMS / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) part[l] = rounded(v, part[l] + part[l + half]);
    return rounded(v, sum + rounded(v, p->alpha * rounded(v, rest + part[0])));
}

/* Small products have the same bits on every instruction set: those of one sum in order, or of
 * PAL_PRODUCT_SUMS sums. */
START_TEST(products)
{
    enum { M = 3, N = 37, K = 70 };
    variant v = variant_at(_i);
    double a[M * K], b[K * N], got[M * N], want[M * N];
    if (!v.kernels) return;
    for (int i = 0; i < M * K; i++) put(v.dtype, a, i, sinl(i));
    for (int i = 0; i < K * N; i++) put(v.dtype, b, i, cosl(3 * i));
    for (int along = 0; along < 2; along++) {
        const pal_product p = {M, N, K, -0.5, 2, K, 1, along ? 1 : N, along ? K : 1, N, 1};
        ck_assert_int_eq(pal_product_along_k(&p), along);
        for (int i = 0; i < M * N; i++) {
            put(v.dtype, got, i, i - 50);
            put(v.dtype, want, i, product_entry(&v, &p, a, b, i / N, i % N, 2.0L * (i - 50)));
        }
        v.kernels->product(&p, a, b, got);
        ck_assert_msg(memcmp(got, want, M * N * v.size) == 0, "%s: along k %d", v.name, along);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernel rows");
    TCase *tc = tcase_create("rows");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, rows, 0, VARIANTS);
    tcase_add_loop_test(tc, softmax_special, 0, VARIANTS);
    tcase_add_loop_test(tc, gates, 0, VARIANTS);
    tcase_add_loop_test(tc, convolution, 0, VARIANTS);
    tcase_add_loop_test(tc, products, 0, VARIANTS);
    tcase_add_loop_test(tc, large_and_small_norms, 0, VARIANTS);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
