/*
 * test_bf16_attention.c - attention on a tape whose products are in bf16: operands are rounded
 * before they are multiplied, and nothing else is; strides, bits on every number of threads, and
 * the distance from sums in double.
 */
#include "layers/layers.h"
#include "tensor/internal.h"
#include "tests/support/check.h"
#include "tests/support/isa.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { Q, K, V, DO, INPUTS };
enum { O, DQ, DK, DV, RESULTS };

typedef struct problem {
    int64_t B, T, H, J, D, window;
    double scale;
} problem;

static const problem problems[] = {
    {1, 70, 4, 2, 33, 0, 0}, {1, 130, 2, 2, 16, 48, 0.5}, {2, 200, 3, 1, 64, 0, 0}};
enum { PROBLEMS = sizeof problems / sizeof *problems, QUICK = 2 };

/* How it is computed. */
typedef struct how {
    pal_dtype products, dtype;
    bool rounded;  /* inputs are rounded before */
    bool strided;  /* they are views of other layouts */
    bool composed; /* by generic operations */
} how;

static pal_tensor input(pal_tape *tape, const problem *p, int i, const how *h)
{
    pal_rng rng = pal_rng_new(7, (uint64_t)i);
    const bool keys = i == K || i == V;
    const pal_shape shape = PAL_SHAPE(p->B, p->T, keys ? p->J : p->H, p->D);
    pal_tensor x = pal_uniform(tape, PAL_F32, shape, -2, 2, &rng);
    if (h->rounded) x = pal_cast(pal_cast(x, PAL_BF16), PAL_F32);
    x = pal_cast(x, h->dtype);
    if (h->strided) x = pal_contiguous(pal_transpose(x, 1, 3));
    pal_set_grad(tape, true);
    x = pal_want_grad(x);
    return x;
}

/* The results one after another, for free(); count of each in n. */
static double *compute(const problem *p, how h, int64_t n[RESULTS])
{
    pal_tape *tape = pal_tape_new();
    pal_tensor leaf[INPUTS], x[INPUTS];
    pal_tape_precision(tape, h.products);
    for (int i = 0; i < INPUTS; i++) {
        pal_set_grad(tape, false);
        leaf[i] = input(tape, p, i, &h);
        x[i] = h.strided ? pal_transpose(leaf[i], 1, 3) : leaf[i];
    }
    const pal_tensor o = pal_attention(
        x[Q], x[K], x[V],
        (pal_attention_opts){.window = p->window, .scale = p->scale, .composed = h.composed});
    pal_set_grad(tape, false);
    const pal_tensor given = pal_contiguous(x[DO]);
    ck_assert_int_eq(pal_backward_from(1, &o, &given), PAL_OK);
    int64_t all = 0;
    double *out = NULL;
    for (int r = 0; r < RESULTS; r++) {
        pal_tensor t = r == O ? o : pal_grad(leaf[r - DQ]);
        if (r != O && h.strided) t = pal_transpose(t, 1, 3);
        const pal_array a = pal_value(pal_cast(pal_contiguous(t), PAL_F64));
        n[r] = pal_array_count(&a);
        out = realloc(out, (size_t)(all + n[r]) * sizeof *out);
        memcpy(out + all, a.data, (size_t)n[r] * sizeof *out);
        all += n[r];
    }
    pal_tape_free(tape);
    return out;
}

static size_t bytes(const int64_t n[RESULTS])
{
    return (size_t)(n[O] + n[DQ] + n[DK] + n[DV]) * sizeof(double);
}

static const how narrow = {PAL_BF16, PAL_F32, false, false, false};

/* With a scale of a power of 2, inputs that are rounded before give the same bits, and in f32 they
 * do not. */
START_TEST(operands_are_rounded)
{
    int64_t n[RESULTS];
    problem p = problems[_i];
    p.scale = 0.25;
    how h = narrow;
    double *plain = compute(&p, h, n);
    h.rounded = true;
    double *rounded = compute(&p, h, n);
    ck_assert_mem_eq(plain, rounded, bytes(n));
    h.products = PAL_F32;
    double *wide = compute(&p, h, n);
    ck_assert(memcmp(plain, wide, bytes(n)) != 0);
    free(plain), free(rounded), free(wide);
}
END_TEST

/* A query that sees only itself has the weight 1: the output is the rounded value. */
START_TEST(one_key)
{
    int64_t n[RESULTS];
    problem p = problems[_i];
    p.window = 1, p.J = p.H;
    how h = narrow;
    double *got = compute(&p, h, n);
    pal_tape *tape = pal_tape_new();
    pal_set_grad(tape, false);
    h.rounded = true;
    const int of[] = {V, DO}, at[] = {O, DV};
    for (int i = 0; i < 2; i++) {
        const pal_array want = pal_value(input(tape, &p, of[i], &h));
        const double *from = got + (at[i] == O ? 0 : n[O] + n[DQ] + n[DK]);
        for (int64_t j = 0; j < n[O]; j++)
            ck_assert(from[j] == (double)((const float *)want.data)[j]);
    }
    pal_tape_free(tape);
    free(got);
}
END_TEST

/* A term of o is at most 2, one of a gradient at most 2 times 2 sqrt(D): scores are sums of D
 * products. */
START_TEST(near_the_exact_one)
{
    int64_t n[RESULTS], at = 0;
    const problem *p = &problems[_i];
    double *exact = compute(p, (how){PAL_F32, PAL_F64, false, false, true}, n);
    for (int isa = 0; isa < PAL_ISAS; isa++) {
        if (!test_all() && isa != (int)pal_isa_best()) continue;
        if (!pal_kernels_select((pal_isa)isa)) continue;
        double *got = compute(p, narrow, n);
        at = 0;
        for (int r = 0; r < RESULTS; r++) {
            double error = 0, size = 0, most = 0;
            for (int64_t i = at; i < at + n[r]; i++) {
                error += (got[i] - exact[i]) * (got[i] - exact[i]);
                size += exact[i] * exact[i];
                most = fmax(most, fabs(got[i] - exact[i]));
            }
            ck_assert_msg(sqrt(error / size) <= 0x1p-7, "result %d differs by %g", r,
                          sqrt(error / size));
            if (r == O)
                ck_assert_msg(most <= 2 * 0x1p-8 * sqrt((double)p->D), "o differs by %g", most);
            at += n[r];
        }
        free(got);
    }
    free(exact);
}
END_TEST

START_TEST(strides_and_threads_change_no_bit)
{
    static const int threads[] = {1, 2, 3, 16};
    int64_t n[RESULTS];
    const problem *p = &problems[_i];
    pal_team_from(1 << 10);
    pal_set_threads(1);
    double *want = compute(p, narrow, n);
    for (int t = 0; t < 4; t++) {
        how h = narrow;
        h.strided = t % 2;
        pal_set_threads(threads[t]);
        double *got = compute(p, h, n);
        ck_assert_msg(memcmp(want, got, bytes(n)) == 0, "other bits on %d threads%s", threads[t],
                      h.strided ? ", other strides" : "");
        free(got);
    }
    free(want);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bf16_attention");
    TCase *tc = tcase_create("bf16_attention");
    const int n = test_all() ? PROBLEMS : QUICK;
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, operands_are_rounded, 0, n);
    tcase_add_loop_test(tc, one_key, 0, n);
    tcase_add_loop_test(tc, near_the_exact_one, 0, n);
    tcase_add_loop_test(tc, strides_and_threads_change_no_bit, 0, n);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
