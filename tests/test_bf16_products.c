/*
 * test_bf16_products.c - products of bf16 operands: against sums in double, with strides and
 * transposes; the same bits on every number of threads; nothing is made after the first call of a
 * shape. Each is tried with the default library, by widening, and with oneDNN where it is there.
 */
#include "tensor/blis.h"
#include "tensor/products.h"
#include "tests/support/check.h"
#include "tests/support/isa.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LIBRARIES = 3 };
static const char *const library[LIBRARIES] = {"", "blis", "onednn"};

/* Each test is a process of its own, in which nothing has been chosen yet. */
static void choose(int i) { setenv("PAL_PRODUCTS", library[i], 1); }

static const struct shape_class {
    const char *name;
    int64_t m, n, k;
} classes[] = {
    {"thin", 700, 31, 48},        {"wide", 29, 650, 40},       {"short", 90, 70, 2},
    {"long", 50, 46, 1500},       {"square", 131, 135, 133},   {"one unit", 16, 16, 900},
    {"row", 1, 1500, 300},        {"column", 1500, 1, 300},    {"tiny", 9, 11, 13},
    {"two rows", 2, 700, 90},     {"one element", 1, 1, 3000}, {"two columns", 700, 2, 91},
    {"blocks", 300, 530, 520},    {"no rows", 0, 40, 30},      {"nothing to add", 120, 140, 0},
    {"even", 256, 128, 512},      {"odd", 257, 129, 513},      {"one over", 129, 65, 70},
    {"over again", 65, 193, 130},
};
enum { CLASSES = sizeof classes / sizeof *classes };

/* How a matrix lies in memory: by rows, by columns, or every third element of either. */
enum { LAYOUTS = 4 };
static void strides(int layout, int64_t rows, int64_t columns, int64_t *rs, int64_t *cs)
{
    const int64_t step = layout / 2 ? 3 : 1;
    *rs = layout % 2 ? step : columns * step + 5;
    *cs = layout % 2 ? rows * step + 7 : step;
}

static double noise(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(int64_t)(*state >> 11) * 0x1p-52 - 1;
}

static int64_t room(int64_t rows, int64_t columns, int64_t rs, int64_t cs)
{
    return rows > 0 && columns > 0 ? (rows - 1) * rs + (columns - 1) * cs + 1 : 1;
}

typedef struct problem {
    pal_product p;
    uint16_t *a, *b;
    float *c, *before;
    int64_t size; /* of c */
} problem;

static problem make(const struct shape_class *s, int la, int lb, int lc, double alpha, double beta)
{
    problem q = {.p = {s->m, s->n, s->k, alpha, beta, 0, 0, 0, 0, 0, 0}};
    uint64_t state = 3;
    strides(la, s->m, s->k, &q.p.rsa, &q.p.csa);
    strides(lb, s->k, s->n, &q.p.rsb, &q.p.csb);
    strides(lc, s->m, s->n, &q.p.rsc, &q.p.csc);
    const int64_t na = room(s->m, s->k, q.p.rsa, q.p.csa), nb = room(s->k, s->n, q.p.rsb, q.p.csb);
    q.size = room(s->m, s->n, q.p.rsc, q.p.csc);
    q.a = malloc((size_t)na * 2), q.b = malloc((size_t)nb * 2);
    q.c = malloc((size_t)q.size * 4), q.before = malloc((size_t)q.size * 4);
    for (int64_t i = 0; i < na; i++) pal_element_set(PAL_BF16, q.a, i, noise(&state));
    for (int64_t i = 0; i < nb; i++) pal_element_set(PAL_BF16, q.b, i, noise(&state));
    for (int64_t i = 0; i < q.size; i++) q.before[i] = (float)noise(&state);
    return q;
}

static void drop(problem *q) { free(q->a), free(q->b), free(q->c), free(q->before); }

static void compute(problem *q, int threads)
{
    const pal_product *p = &q->p;
    memcpy(q->c, q->before, (size_t)q->size * 4);
    pal_gemm(PAL_BF16, p->m, p->n, p->k, p->alpha, q->a, p->rsa, p->csa, q->b, p->rsb, p->csb,
             p->beta, q->c, p->rsc, p->csc, threads);
}

/* Operands are exact here, so the error is that of sums in f32, which is far less than the 2^-8 per
 * term that operands rounded to bf16 have. */
static void compare(const problem *q, const char *name)
{
    const pal_product *p = &q->p;
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            const int64_t at = i * p->rsc + j * p->csc;
            double sum = 0, size = 0;
            for (int64_t l = 0; l < p->k; l++) {
                const double x = pal_element_get(PAL_BF16, q->a, i * p->rsa + l * p->csa) *
                                 pal_element_get(PAL_BF16, q->b, l * p->rsb + j * p->csb);
                sum += x, size += fabs(x);
            }
            sum *= p->alpha, size *= fabs(p->alpha);
            if (p->beta != 0) sum += p->beta * (double)q->before[at];
            size += fabs(p->beta) + 1;
            const double got = (double)q->c[at];
            if (!(fabs(got - sum) <= size * 0x1p-21))
                ck_abort_msg("%s: C[%lld, %lld] is %g, not %g", name, (long long)i, (long long)j,
                             got, sum);
        }
}

START_TEST(against_double)
{
    choose(_i);
    for (int c = 0; c < CLASSES; c++) {
        const struct shape_class *s = &classes[c];
        const int64_t work = s->m * s->n * s->k;
        for (int l = 0; l < LAYOUTS * LAYOUTS; l++) {
            if (!test_all() && work > 100000 && l % 16 != c % 16) continue; /* one layout of each */
            problem q = make(s, l % LAYOUTS, l / LAYOUTS, l % 3, l % 2 ? 1 : 0.5, l % 3 / 2.0);
            compute(&q, 2);
            compare(&q, s->name);
            drop(&q);
            q = make(s, l % LAYOUTS, l / LAYOUTS, 0, 1, l % 2);
            compute(&q, 1);
            compare(&q, s->name);
            drop(&q);
        }
    }
}
END_TEST

START_TEST(same_bits_on_every_number_of_threads)
{
    static const int threads[] = {2, 3, 7, 16};
    choose(_i);
    for (int c = 0; c < CLASSES; c++)
        for (int l = 0; l < LAYOUTS * 2; l++) {
            if (!test_all() && l % 4 != (c + _i * (_i < 2)) % 4) continue;
            const double beta = l % 3 == 2 ? 0.75 : l % 3;
            /* oneDNN gets layouts that it takes. */
            const int la = _i < 2 ? l % LAYOUTS : l % 2,
                      lb = _i < 2 ? l * 3 / 2 % LAYOUTS : l / 2 % 2;
            problem q = make(&classes[c], la, lb, _i < 2 ? l % 2 : 0, 1, beta);
            float *one = malloc((size_t)q.size * 4);
            compute(&q, 1);
            memcpy(one, q.c, (size_t)q.size * 4);
            for (int t = 0; t < 4; t++) {
                compute(&q, threads[t]);
                ck_assert_msg(memcmp(one, q.c, (size_t)q.size * 4) == 0,
                              "%s, layout %d, %s: other bits on %d threads", classes[c].name, l,
                              pal_product_library(PAL_BF16), threads[t]);
            }
            free(one);
            drop(&q);
        }
}
END_TEST

/* What linear layers multiply, forward and backward. oneDNN sums some products otherwise where C is
 * not contiguous, as pieces of the columns are. */
START_TEST(same_bits_of_layers)
{
    static const int64_t sizes[] = {64, 128, 200, 512, 700, 1100};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    choose(_i);
    for (int64_t i = 0; i < 2 * SIZES * SIZES * 3; i++) {
        const int64_t k = sizes[i / 3 % SIZES], n = sizes[i / 3 / SIZES % SIZES];
        const int64_t m = i / 3 / SIZES / SIZES ? 1024 : 64;
        if (!test_all() && (m > 64 ? i % 23 != 0 : (k > 512 || n > 512) && i % 5 != 0)) continue;
        /* x W^T of x [m, k]; dy W of dy [m, k]; dy^T x of dy [k, m] and x [k, n] */
        const int layout = (int)(i % 3);
        const struct shape_class s = {"layer", m, n, k};
        problem q = make(&s, layout == 2, layout == 0, 0, 1, (double)(i % 2));
        q.p.rsa = layout == 2 ? 1 : k, q.p.csa = layout == 2 ? m : 1;
        q.p.rsb = layout == 0 ? 1 : n, q.p.csb = layout == 0 ? k : 1;
        q.p.rsc = n;
        float *one = malloc((size_t)q.size * 4);
        compute(&q, 1);
        memcpy(one, q.c, (size_t)q.size * 4);
        if (m > 64 && m * n * k < 1 << 24) compare(&q, s.name);
        for (int t = 2; t <= 16; t += 7) {
            compute(&q, t);
            ck_assert_msg(memcmp(one, q.c, (size_t)q.size * 4) == 0,
                          "m %lld, n %lld, k %lld, layout %d, %s: other bits on %d threads",
                          (long long)m, (long long)n, (long long)k, layout,
                          pal_product_library(PAL_BF16), t);
        }
        free(one);
        drop(&q);
    }
}
END_TEST

/* Batches broadcast as they do in f32, and C is f32. */
START_TEST(batches)
{
    enum { N = 3, M = 20, K = 33, L = 40 };
    choose(_i);
    static uint16_t a[N * M * K], b[K * L];
    static float x[N * M * K], y[K * L], c[N * M * L], want[N * M * L];
    uint64_t state = 1;
    for (int i = 0; i < N * M * K; i++) pal_element_set(PAL_BF16, a, i, noise(&state));
    for (int i = 0; i < K * L; i++) pal_element_set(PAL_BF16, b, i, noise(&state));
    for (int i = 0; i < N * M * K; i++) x[i] = pal_bf16_to_f32(a[i]);
    for (int i = 0; i < K * L; i++) y[i] = pal_bf16_to_f32(b[i]);
    const pal_array A = pal_array_of(PAL_BF16, PAL_SHAPE(N, M, K), a),
                    B = pal_array_of(PAL_BF16, PAL_SHAPE(K, L), b),
                    C = pal_array_of(PAL_F32, PAL_SHAPE(N, M, L), c),
                    X = pal_array_of(PAL_F32, PAL_SHAPE(N, M, K), x),
                    Y = pal_array_of(PAL_F32, PAL_SHAPE(K, L), y),
                    W = pal_array_of(PAL_F32, PAL_SHAPE(N, M, L), want);
    pal_matmul_arrays(1, &A, &B, 0, &C);
    pal_matmul_arrays(1, &X, &Y, 0, &W);
    for (int i = 0; i < N * M * L; i++) ck_assert(fabsf(c[i] - want[i]) <= 1e-5f * (float)K);
}
END_TEST

START_TEST(nothing_is_made_twice)
{
    choose(2);
    problem q = make(&classes[15], 0, 1, 0, 1, 0);
    compute(&q, 1);
    const int64_t made = pal_onednn_made();
    for (int i = 0; i < 5; i++) compute(&q, 1);
    ck_assert_int_eq(pal_onednn_made(), made);
    /* Two threads have pieces of the same shape. They may meet in it at any time, and it then has
     * two. */
    for (int i = 0; i < 20; i++) compute(&q, 2);
    ck_assert_int_le(pal_onednn_made(), made + 1);
    const bool widest =
        (int)pal_isa_selected() == PAL_ISAS - 1; /* PAL_ISA asks for no narrower one */
    ck_assert(!widest || !pal_onednn_has_bf16() || made > 0);
    drop(&q);
}
END_TEST

/* With PAL_TEST_ALL=1 more shapes than are kept. */
START_TEST(many_shapes)
{
    choose(2);
    for (int64_t k = 100; k < 1400; k++) {
        const struct shape_class s = {"many", 9, 16, k};
        if (!test_all() && k % 10 != 0) continue;
        problem q = make(&s, 0, 1, 0, 1, 0);
        compute(&q, 1);
        if (k % 50 == 0) compare(&q, s.name);
        drop(&q);
    }
}
END_TEST

/* oneDNN takes no part in f32 and f64 unless it is asked to. */
START_TEST(others_stay_as_they_are)
{
    enum { S = 200 };
    static float a[S * S], b[S * S], c[S * S], d[S * S];
    uint64_t state = 9;
    unsetenv("PAL_PRODUCTS");
    for (int i = 0; i < S * S; i++) a[i] = (float)noise(&state), b[i] = (float)noise(&state);
    ck_assert_str_eq(pal_product_library(PAL_F32), "BLIS");
    ck_assert_str_eq(pal_product_library(PAL_F64), "BLIS");
    pal_gemm(PAL_F32, S, S, S, 1, a, S, 1, b, 1, S, 0, c, S, 1, 1);
    pal_onednn_name();
    pal_onednn_product(PAL_F32, &(pal_product){S, S, S, 1, 0, S, 1, 1, S, S, 1}, a, b, d);
    pal_gemm(PAL_F32, S, S, S, 1, a, S, 1, b, 1, S, 0, d, S, 1, 2);
    ck_assert_mem_eq(c, d, sizeof c);
}
END_TEST

START_TEST(f32_where_the_user_asks)
{
    enum { S = 150 };
    static float a[S * S], b[S * S], c[S * S], d[S * S], e[S * S];
    uint64_t state = 9;
    choose(2);
    for (int i = 0; i < S * S; i++) a[i] = (float)noise(&state), b[i] = (float)noise(&state);
    const char *who = pal_product_library(PAL_F32);
    ck_assert(pal_onednn_name() ? strncmp(who, "oneDNN ", 7) == 0 : strcmp(who, "BLIS") == 0);
    pal_gemm(PAL_F32, S, S, S, 1, a, S, 1, b, 1, S, 0, c, S, 1, 1);
    pal_gemm(PAL_F32, S, S, S, 1, a, S, 1, b, 1, S, 0, d, S, 1, 3);
    pal_blis_product(PAL_F32, &(pal_product){S, S, S, 1, 0, S, 1, 1, S, S, 1}, a, b, e);
    ck_assert_mem_eq(c, d, sizeof c);
    for (int i = 0; i < S * S; i++) ck_assert(fabsf(c[i] - e[i]) < 1e-4f);
}
END_TEST

/* oneDNN's sums of f32 depend on the shape of a piece, so its pieces do not depend on threads. */
START_TEST(f32_has_the_same_bits_on_every_number_of_threads)
{
    static const struct shape_class shapes[] = {{"rest of 3 rows", 131, 135, 512},
                                                {"long sums", 200, 70, 1025}};
    static const int threads[] = {2, 3, 7, 16};
    const struct shape_class *s = &shapes[_i / LAYOUTS];
    int64_t rsa, csa, rsb, csb;
    uint64_t state = 5;
    choose(2);
    strides(_i % 2, s->m, s->k, &rsa, &csa);
    strides(_i / 2 % 2, s->k, s->n, &rsb, &csb);
    const int64_t na = room(s->m, s->k, rsa, csa), nb = room(s->k, s->n, rsb, csb);
    const size_t size = (size_t)(s->m * s->n) * sizeof(float);
    float *a = malloc((size_t)na * 4), *b = malloc((size_t)nb * 4), *c = malloc(size),
          *one = malloc(size);
    for (int64_t i = 0; i < na; i++) a[i] = (float)noise(&state);
    for (int64_t i = 0; i < nb; i++) b[i] = (float)noise(&state);
    pal_gemm(PAL_F32, s->m, s->n, s->k, 1, a, rsa, csa, b, rsb, csb, 0, one, s->n, 1, 1);
    for (int t = 0; t < 4; t++) {
        pal_gemm(PAL_F32, s->m, s->n, s->k, 1, a, rsa, csa, b, rsb, csb, 0, c, s->n, 1, threads[t]);
        ck_assert_msg(memcmp(one, c, size) == 0, "%s, layout %d: other bits on %d threads", s->name,
                      _i % LAYOUTS, threads[t]);
    }
    free(a), free(b), free(c), free(one);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bf16_products");
    TCase *tc = tcase_create("bf16_products");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, against_double, 0, LIBRARIES);
    tcase_add_loop_test(tc, same_bits_on_every_number_of_threads, 0, LIBRARIES);
    tcase_add_loop_test(tc, same_bits_of_layers, 0, LIBRARIES);
    tcase_add_loop_test(tc, batches, 0, LIBRARIES);
    tcase_add_test(tc, nothing_is_made_twice);
    tcase_add_test(tc, many_shapes);
    tcase_add_test(tc, others_stay_as_they_are);
    tcase_add_test(tc, f32_where_the_user_asks);
    tcase_add_loop_test(tc, f32_has_the_same_bits_on_every_number_of_threads, 0, 2 * LAYOUTS);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
