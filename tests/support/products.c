/*
 * products.c - matrices of random layout, and the same suite under every family of BLIS kernels.
 */
#include "tests/support/products.h"
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Matrices ---- */

static uint64_t state = 1;

void random_seed(uint64_t seed) { state = seed; }

int64_t below(int64_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((state >> 33) % (uint64_t)n);
}

double value(void) { return (double)below(2001) / 1000.0 - 1.0; }

size_t matrix_bytes(pal_dtype dtype, pal_shape shape, int layout)
{
    return pal_shape_bytes(dtype, shape) * (layout >= 4 ? 2 : 1);
}

pal_array random_matrix(pal_dtype dtype, pal_shape shape, int layout, void **memory)
{
    int n = shape.ndim, order[PAL_MAX_DIMS], inverse[PAL_MAX_DIMS];
    for (int i = 0; i < n; i++) order[i] = i;
    if (layout % 2 == 1 && n >= 2) { /* column-major */
        order[n - 1] = n - 2;
        order[n - 2] = n - 1;
    }
    if (layout / 2 % 2 == 1) /* leading axis innermost: [m, B, n] as attention heads lie */
        for (int i = 0; i + 1 < n; i++) {
            int t = order[i];
            order[i] = order[i + 1];
            order[i + 1] = t;
        }
    int64_t step = layout >= 4 ? 2 : 1;
    pal_shape stored = {.ndim = n};
    for (int i = 0; i < n; i++) {
        stored.dim[i] = shape.dim[order[i]] * (i == n - 1 ? step : 1);
        inverse[order[i]] = i;
    }
    *memory = calloc(1, matrix_bytes(dtype, shape, layout) + 1);
    pal_array a = pal_array_of(dtype, stored, *memory);
    if (step == 2) ck_assert_int_eq(pal_array_slice(&a, -1, 0, INT64_MAX, 2, &a, NULL), PAL_OK);
    ck_assert_int_eq(pal_array_permute(&a, inverse, &a, NULL), PAL_OK);
    ck_assert(pal_shape_equal(pal_array_shape(&a), shape));
    int64_t index[PAL_MAX_DIMS] = {0}, count = pal_array_count(&a);
    for (int64_t e = 0; e < count; e++) {
        int64_t rest = e;
        for (int i = n - 1; i >= 0; i--) {
            index[i] = rest % shape.dim[i];
            rest /= shape.dim[i];
        }
        pal_array_set(&a, index, value());
    }
    return a;
}

pal_array contiguous_copy(const pal_array *a, void **memory)
{
    pal_shape shape = pal_array_shape(a);
    *memory = malloc(pal_shape_bytes(a->dtype, shape) + 1);
    pal_array out = pal_array_of(a->dtype, shape, *memory);
    ck_assert_int_eq(pal_array_copy(&out, a, NULL), PAL_OK);
    return out;
}

void gemm_of(double alpha, const pal_array *a, const pal_array *b, double beta, const pal_array *c,
             int threads)
{
    pal_gemm(c->dtype, c->shape[0], c->shape[1], a->shape[1], alpha, a->data, a->stride[0],
             a->stride[1], b->data, b->stride[0], b->stride[1], beta, c->data, c->stride[0],
             c->stride[1], threads);
}

/* ---- Families ---- */

static const char *self; /* argv[0] */

START_TEST(suite_in_another_family)
{
    static const char *const isa[] = {"base", "avx2"};
    if (_i == 1 && !pal_cpu_has(PAL_CPU_AVX2)) return;
    pid_t child = fork();
    if (child == 0) {
        setenv("PAL_ISA", isa[_i], 1);
        unsetenv("BLIS_ARCH_TYPE");
        execl(self, self, "--again", (char *)NULL);
        _exit(127);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "PAL_ISA=%s failed", isa[_i]);
}
END_TEST

int run_in_families(Suite *suite, int argc, char **argv)
{
    const bool again = argc > 1 && strcmp(argv[1], "--again") == 0;
    self = argv[0];
    if (!again) {
        TCase *families = tcase_create("families");
        tcase_set_timeout(families, 60);
        tcase_add_loop_test(families, suite_in_another_family, 0, 2);
        suite_add_tcase(suite, families);
    }
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, again ? CK_MINIMAL : CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
