/*
 * test_blas_threads.c - a product has the same bits on every number of threads. It tests every
 * class of shape and every layout, with beta = 0, beta = 1 and another beta.
 */
#include "tensor/internal.h"
#include "tests/support/isa.h"
#include "tests/support/products.h"

#include <stdlib.h>
#include <string.h>

static const int threads[] = {2, 3, 7, 16};
enum { TEAMS = sizeof threads / sizeof *threads };

/* ---- One product ---- */

/* m, n, k. The sizes are not multiples of a kernel's tiles, so that there are incomplete tiles at
 * the edges. */
static const struct shape_class {
    const char *name;
    int64_t m, n, k;
} classes[] = {
    {"thin", 700, 31, 48},
    {"thin, many rows", 2048, 48, 32},
    {"wide", 29, 650, 40},
    {"short", 90, 70, 2},
    {"long", 50, 46, 1500},
    {"square", 131, 135, 133},
    {"one unit", 16, 16, 900},
    {"just two units", 97, 17, 60},
    {"row", 1, 1500, 300},
    {"column", 1500, 1, 300},
    {"tiny", 9, 11, 13},
    {"one element", 1, 1, 3000},
    {"two rows", 2, 700, 90},
    {"two columns", 700, 2, 90},
    {"no rows", 0, 40, 30},
    {"no columns", 40, 0, 30},
    {"nothing to add", 120, 140, 0},
};
enum { CLASSES = sizeof classes / sizeof *classes };

typedef struct problem {
    pal_array a, b, c;
    double alpha, beta;
    void *before; /* the contents of C's memory before the product */
    size_t bytes; /* bytes of C's memory, with the gaps */
} problem;

/* After the product on each number of threads, C's memory is what it is after the product on
 * one. The calls take the numbers in turn; with PAL_TEST_ALL=1 each takes all of them. */
static void same_bits(const problem *p, void *memory, const char *name)
{
    static int calls;
    void *one = malloc(p->bytes + 1);
    calls++;
    gemm_of(p->alpha, &p->a, &p->b, p->beta, &p->c, 1);
    memcpy(one, memory, p->bytes);
    for (int t = 0; t < TEAMS; t++) {
        if (!test_all() && t != calls % TEAMS) continue;
        memcpy(memory, p->before, p->bytes);
        gemm_of(p->alpha, &p->a, &p->b, p->beta, &p->c, threads[t]);
        if (memcmp(one, memory, p->bytes) != 0)
            ck_abort_msg("%s, %s, alpha %g, beta %g: other bits on %d threads", name,
                         pal_dtype_name(p->c.dtype), p->alpha, p->beta, threads[t]);
    }
    free(one);
}

START_TEST(every_class)
{
    static const double scale[][2] = {{1, 0}, {1, 1}, {2.0315, -4.775}};
    enum { SCALES = sizeof scale / sizeof *scale };
    const struct shape_class *s = &classes[_i];
    for (int i = 0; i < 2 * LAYOUTS; i++) {
        const pal_dtype dtype = i % 2 ? PAL_F64 : PAL_F32;
        const pal_shape shape = PAL_SHAPE(s->m, s->n);
        const int layout = i / 2;
        void *ma, *mb, *mc;
        random_seed((uint64_t)(_i * 100 + i));
        problem p = {.bytes = matrix_bytes(dtype, shape, layout)};
        p.a = random_matrix(dtype, PAL_SHAPE(s->m, s->k), (int)below(LAYOUTS), &ma);
        p.b = random_matrix(dtype, PAL_SHAPE(s->k, s->n), (int)below(LAYOUTS), &mb);
        p.c = random_matrix(dtype, shape, layout, &mc);
        p.before = malloc(p.bytes + 1);
        memcpy(p.before, mc, p.bytes);
        for (int j = 0; j < SCALES; j++) {
            p.alpha = scale[j][0];
            p.beta = scale[j][1];
            memcpy(mc, p.before, p.bytes);
            same_bits(&p, mc, s->name);
        }
        free(ma), free(mb), free(mc), free(p.before);
    }
}
END_TEST

/* A has equal rows (stride 0), or is one number everywhere. Such products are loops, whatever the
 * size. */
START_TEST(stretched)
{
    for (int i = 0; i < 4; i++) {
        const pal_dtype dtype = i % 2 ? PAL_F64 : PAL_F32;
        const pal_shape shape = PAL_SHAPE(150, 170);
        void *ma, *mb, *mc;
        pal_array few = random_matrix(dtype, i < 2 ? PAL_SHAPE(1, 80) : PAL_SHAPE(1, 1), 0, &ma);
        problem p = {.alpha = 1, .beta = 1, .bytes = matrix_bytes(dtype, shape, 0)};
        ck_assert_int_eq(pal_array_broadcast(&few, PAL_SHAPE(150, 80), &p.a, NULL), PAL_OK);
        p.b = random_matrix(dtype, PAL_SHAPE(80, 170), i % 2, &mb);
        p.c = random_matrix(dtype, shape, 0, &mc);
        p.before = malloc(p.bytes);
        memcpy(p.before, mc, p.bytes);
        same_bits(&p, mc, "stretched");
        free(ma), free(mb), free(mc), free(p.before);
    }
}
END_TEST

START_TEST(inside_a_parallel_region)
{
    void *ma, *mb;
    pal_array a = random_matrix(PAL_F32, PAL_SHAPE(90, 80), 0, &ma);
    pal_array b = random_matrix(PAL_F32, PAL_SHAPE(80, 70), 0, &mb);
    float *out = malloc(sizeof(float) * 4 * 90 * 70);
#pragma omp parallel for num_threads(4)
    for (int i = 0; i < 4; i++) {
        pal_array c = pal_array_of(PAL_F32, PAL_SHAPE(90, 70), out + i * 90 * 70);
        gemm_of(1.0, &a, &b, 0.0, &c, 16);
    }
    for (int i = 1; i < 4; i++) ck_assert_mem_eq(out, out + i * 90 * 70, sizeof(float) * 90 * 70);
    free(ma), free(mb), free(out);
}
END_TEST

/* ---- Batches ---- */

/* A few large products, each of which the team divides, and many small ones, which it shares
 * out. */
START_TEST(batches)
{
    static const int64_t sizes[][4] = {
        {2, 150, 190, 90}, {48, 64, 48, 40}, {3, 1, 900, 300}, {40, 1, 90, 300}, {4, 300, 70, 100}};
    for (int i = 0; i < 10; i++) {
        const int64_t *s = sizes[i / 2];
        const pal_dtype dtype = i % 2 ? PAL_F64 : PAL_F32;
        const pal_shape shape = PAL_SHAPE(s[0], s[1], s[2]);
        void *ma, *mb, *mc, *m1, *mt;
        random_seed((uint64_t)i);
        pal_array a = random_matrix(dtype, PAL_SHAPE(s[0], s[1], s[3]), (int)below(LAYOUTS), &ma);
        pal_array b = random_matrix(dtype, PAL_SHAPE(s[0], s[3], s[2]), (int)below(LAYOUTS), &mb);
        pal_array c = random_matrix(dtype, shape, (int)below(LAYOUTS), &mc);
        pal_set_threads(1);
        pal_matmul_arrays(1.5, &a, &b, 0.0, &c);
        pal_array one = contiguous_copy(&c, &m1);
        for (int t = 0; t < TEAMS; t++) {
            pal_set_threads(threads[t]);
            pal_array_fill(&c, 0.5);
            pal_matmul_arrays(1.5, &a, &b, 0.0, &c);
            pal_array many = contiguous_copy(&c, &mt);
            ck_assert_mem_eq(one.data, many.data, pal_shape_bytes(dtype, shape));
            free(mt);
        }
        free(ma), free(mb), free(mc), free(m1);
    }
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("blas_threads");
    TCase *tc = tcase_create("threads");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, every_class, 0, CLASSES);
    tcase_add_test(tc, stretched);
    tcase_add_test(tc, inside_a_parallel_region);
    tcase_add_test(tc, batches);
    suite_add_tcase(suite, tc);
    return run_in_families(suite, argc, argv);
}
