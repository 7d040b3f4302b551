/*
 * test_blas.c - compares products of every shape and stride with a triple loop in long double, and
 * tests the choice of BLIS's kernels. test_blas_threads.c compares numbers of threads.
 */
#include "tensor/internal.h"
#include "tests/support/products.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *self; /* argv[0] */

/* |got - want| is at most k roundings of the largest terms, for arrays of 2 axes. */
static void assert_product(double alpha, const pal_array *a, const pal_array *b, double beta,
                           const pal_array *before, const pal_array *c)
{
    int64_t m = c->shape[0], n = c->shape[1], k = a->shape[1];
    double eps = c->dtype == PAL_F32 ? 0x1p-24 : 0x1p-53;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            long double sum = 0, size = 0;
            for (int64_t q = 0; q < k; q++) {
                long double t = (long double)pal_array_get(a, (int64_t[]){i, q}) *
                                (long double)pal_array_get(b, (int64_t[]){q, j});
                sum += t;
                size += fabsl(t);
            }
            long double old = beta == 0 ? 0 : (long double)pal_array_get(before, (int64_t[]){i, j});
            long double want = (long double)alpha * sum + (long double)beta * old;
            long double bound =
                (fabsl((long double)alpha) * size + fabsl((long double)beta * old)) *
                (long double)(eps * (double)(k + 4));
            long double got = (long double)pal_array_get(c, (int64_t[]){i, j});
            if (!(fabsl(got - want) <= bound))
                ck_abort_msg("%ldx%ldx%ld at %ld,%ld: %Lg, want %Lg", (long)m, (long)n, (long)k,
                             (long)i, (long)j, got, want);
        }
}

static const char *self; /* argv[0] */

/* ---- One product ---- */

/* Shapes that take every path: tiny, vectors, odd sizes, larger than a block of BLIS. */
static pal_shape pick_shape(int i)
{
    static const int64_t fixed[][3] = {{1, 1, 1},    {1, 700, 90},  {700, 1, 90}, {1, 1, 5000},
                                       {97, 101, 1}, {16, 16, 32},  {33, 65, 17}, {5, 300, 7},
                                       {300, 3, 41}, {130, 70, 300}};
    int known = (int)(sizeof fixed / sizeof fixed[0]);
    if (i < known) return PAL_SHAPE(fixed[i][0], fixed[i][1], fixed[i][2]);
    return PAL_SHAPE(1 + below(70), 1 + below(70), 1 + below(70));
}

START_TEST(gemm_any_shape)
{
    static const double scale[][2] = {{1, 0}, {1, 1}, {-0.5, 2}, {1.5, 0.25}};
    for (int i = 0; i < 40; i++) {
        random_seed((uint64_t)(_i * 1000 + i));
        pal_dtype dtype = _i % 2 ? PAL_F64 : PAL_F32;
        pal_shape s = pick_shape(i);
        void *ma, *mb, *mc, *mt;
        double alpha = scale[i % 4][0], beta = scale[i % 4][1];
        pal_array a = random_matrix(dtype, PAL_SHAPE(s.dim[0], s.dim[2]), (int)below(LAYOUTS), &ma);
        pal_array b = random_matrix(dtype, PAL_SHAPE(s.dim[2], s.dim[1]), (int)below(LAYOUTS), &mb);
        pal_array c = random_matrix(dtype, PAL_SHAPE(s.dim[0], s.dim[1]), (int)below(LAYOUTS), &mc);
        pal_array before = contiguous_copy(&c, &mt);
        gemm_of(alpha, &a, &b, beta, &c, 1 + i % 3);
        assert_product(alpha, &a, &b, beta, &before, &c);
        free(ma), free(mb), free(mc), free(mt);
    }
}
END_TEST

START_TEST(gemm_edges)
{
    double a[4] = {NAN, NAN, NAN, NAN}, c[4] = {1, 2, 3, 4};
    pal_gemm(PAL_F64, 2, 2, 0, 1.0, a, 0, 1, a, 2, 1, 0.5, c, 2, 1, 2);
    ck_assert(c[0] == 0.5 && c[3] == 2.0); /* k = 0: only beta C is left */
    pal_gemm(PAL_F64, 0, 2, 2, 1.0, a, 2, 1, a, 2, 1, 0.0, c, 2, 1, 2);
    pal_gemm(PAL_F64, 2, 0, 2, 1.0, a, 2, 1, a, 0, 1, 0.0, c, 0, 1, 2);
    ck_assert(c[0] == 0.5 && c[3] == 2.0);
    pal_gemm(PAL_F64, 2, 2, 0, 1.0, NULL, 0, 1, NULL, 2, 1, 0.0, c, 2, 1, 2);
    for (int i = 0; i < 4; i++) ck_assert(c[i] == 0.0);
}
END_TEST

/* With beta = 0 no path may read C, so a NaN in it does not spread. */
START_TEST(beta_zero_overwrites)
{
    static const int64_t sizes[][3] = {{3, 4, 5}, {1, 600, 70}, {600, 1, 70}, {40, 50, 60}};
    for (int i = 0; i < 4; i++) {
        void *ma, *mb, *mc;
        const int64_t *s = sizes[i];
        pal_array a = random_matrix(PAL_F32, PAL_SHAPE(s[0], s[2]), 0, &ma);
        pal_array b = random_matrix(PAL_F32, PAL_SHAPE(s[2], s[1]), 0, &mb);
        pal_array c = random_matrix(PAL_F32, PAL_SHAPE(s[0], s[1]), 0, &mc);
        pal_array_fill(&c, NAN);
        gemm_of(1.0, &a, &b, 0.0, &c, 2);
        assert_product(1.0, &a, &b, 0.0, &c, &c);
        free(ma), free(mb), free(mc);
    }
}
END_TEST

START_TEST(broadcast_operands)
{
    float row[80], out[60 * 70];
    void *mb, *mc;
    pal_array a = pal_array_of(PAL_F32, PAL_SHAPE(80), row), wide;
    for (int i = 0; i < 80; i++) row[i] = (float)value();
    ck_assert_int_eq(pal_array_broadcast(&a, PAL_SHAPE(60, 80), &wide, NULL), PAL_OK);
    pal_array b = random_matrix(PAL_F32, PAL_SHAPE(80, 70), 0, &mb);
    pal_array c = pal_array_of(PAL_F32, PAL_SHAPE(60, 70), out);
    pal_matmul_arrays(1.0, &wide, &b, 0.0, &c); /* all rows are equal: their stride is 0 */
    assert_product(1.0, &wide, &b, 0.0, &c, &c);
    float x = 0.5f; /* both strides are 0, as in the gradient of a sum */
    pal_array scalar = pal_array_of(PAL_F32, PAL_SCALAR, &x);
    ck_assert_int_eq(pal_array_broadcast(&scalar, PAL_SHAPE(60, 80), &wide, NULL), PAL_OK);
    pal_matmul_arrays(1.0, &wide, &b, 0.0, &c);
    pal_array dense = contiguous_copy(&wide, &mc);
    assert_product(1.0, &dense, &b, 0.0, &c, &c);
    free(mb), free(mc);
}
END_TEST

/* ---- Batches ---- */

static pal_array matrix_at(const pal_array *x, const pal_array *c, const int64_t *index)
{
    pal_array m = {.dtype = x->dtype, .ndim = 2};
    int added = c->ndim - x->ndim;
    int64_t offset = 0;
    for (int i = 0; i < x->ndim - 2; i++)
        if (x->shape[i] > 1) offset += index[i + added] * x->stride[i];
    for (int i = 0; i < 2; i++) {
        m.shape[i] = x->shape[x->ndim - 2 + i];
        m.stride[i] = x->stride[x->ndim - 2 + i];
    }
    m.data = (char *)x->data + offset * (int64_t)pal_dtype_size(x->dtype);
    return m;
}

START_TEST(batched_products)
{
    static const int64_t sizes[][3] = {
        {3, 4, 5}, {1, 64, 64}, {33, 17, 40}, {64, 1, 64}, {2, 3, 0}};
    for (int i = 0; i < 40; i++) {
        const int64_t *s = sizes[i % 5];
        pal_shape as = PAL_SHAPE(3, 4, s[0], s[2]), bs = PAL_SHAPE(3, 4, s[2], s[1]);
        if (i % 3 == 1) bs = PAL_SHAPE(s[2], s[1]); /* one matrix for all batches */
        if (i % 3 == 2) as.dim[0] = bs.dim[1] = 1;
        void *ma, *mb, *mc;
        random_seed((uint64_t)i);
        pal_array a = random_matrix(PAL_F32, as, (int)below(LAYOUTS), &ma);
        pal_array b = random_matrix(PAL_F32, bs, (int)below(LAYOUTS), &mb);
        pal_array c = random_matrix(PAL_F32, PAL_SHAPE(3, 4, s[0], s[1]), (int)below(LAYOUTS), &mc);
        pal_set_threads(1 + i % 3);
        pal_array_fill(&c, NAN);
        pal_matmul_arrays(1.0, &a, &b, 0.0, &c);
        for (int64_t e = 0; e < 12; e++) {
            int64_t index[2] = {e / 4, e % 4};
            pal_array x = matrix_at(&a, &c, index), y = matrix_at(&b, &c, index),
                      z = matrix_at(&c, &c, index);
            assert_product(1.0, &x, &y, 0.0, &z, &z);
        }
        free(ma), free(mb), free(mc);
    }
}
END_TEST

START_TEST(rows_fold_into_one_product)
{
    void *ma, *mb, *mc;
    pal_array a = random_matrix(PAL_F64, PAL_SHAPE(6, 50, 40), 0, &ma), flat_a, flat_c;
    pal_array b = random_matrix(PAL_F64, PAL_SHAPE(40, 30), 1, &mb);
    pal_array c = random_matrix(PAL_F64, PAL_SHAPE(6, 50, 30), 0, &mc);
    ck_assert_int_eq(pal_array_reshape(&a, PAL_SHAPE(300, 40), &flat_a, NULL), PAL_OK);
    ck_assert_int_eq(pal_array_reshape(&c, PAL_SHAPE(300, 30), &flat_c, NULL), PAL_OK);
    pal_matmul_arrays(1.0, &a, &b, 0.0, &c);
    assert_product(1.0, &flat_a, &b, 0.0, &flat_c, &flat_c);
    free(ma), free(mb), free(mc);
}
END_TEST

/* ---- Families ---- */

/* The family of kernels that a new process chooses with this setting of an environment variable. */
static void family_with(const char *variable, const char *setting, char *text, size_t size)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        unsetenv("BLIS_ARCH_TYPE");
        unsetenv("PAL_ISA");
        setenv(variable, setting, 1);
        execl(self, self, "--family", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t n; used + 1 < size && (n = read(ends[0], text + used, size - used - 1)) > 0;)
        used += (size_t)n;
    text[used] = '\0';
    close(ends[0]);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s=%s: exit %d", variable,
                  setting, status);
}

START_TEST(family_follows_the_instruction_set)
{
    char text[200];
    family_with("PAL_ISA", "base", text, sizeof text);
    ck_assert_str_eq(text, "generic");
    if (!pal_cpu_has(PAL_CPU_AVX2)) return;
    family_with("PAL_ISA", "avx2", text, sizeof text);
    ck_assert_str_eq(text, "haswell");
    if (!pal_cpu_has(PAL_CPU_AVX512)) return;
    family_with("PAL_ISA", "avx512", text, sizeof text);
    ck_assert_str_eq(text, "skx");
}
END_TEST

START_TEST(users_choice)
{
    static const char *const unusable[] = {"haswell", "", "-1", "99", "1", "2", "3x"};
    char text[200];
    if (pal_cpu_has(PAL_CPU_AVX2)) {
        family_with("BLIS_ARCH_TYPE", "3", text, sizeof text); /* 0.9: haswell */
        ck_assert_str_eq(text, "haswell");
    }
    for (size_t i = 0; i < sizeof unusable / sizeof unusable[0]; i++) {
        family_with("BLIS_ARCH_TYPE", unusable[i], text, sizeof text);
        ck_assert_msg(strstr(text, "is not usable") != NULL, "'%s' gave %s", unusable[i], text);
    }
}
END_TEST

int main(int argc, char **argv)
{
    self = argv[0];
    if (argc > 1 && strcmp(argv[1], "--family") == 0) {
        fputs(pal_blas_family(), stdout);
        return 0;
    }
    Suite *suite = suite_create("blas");
    TCase *tc = tcase_create("products");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, gemm_any_shape, 0, 6);
    tcase_add_test(tc, gemm_edges);
    tcase_add_test(tc, beta_zero_overwrites);
    tcase_add_test(tc, broadcast_operands);
    tcase_add_test(tc, batched_products);
    tcase_add_test(tc, rows_fold_into_one_product);
    tcase_add_test(tc, family_follows_the_instruction_set);
    tcase_add_test(tc, users_choice);
    suite_add_tcase(suite, tc);
    return run_in_families(suite, argc, argv);
}
