/*
 * test_precision.c - products in bf16 on a tape (pal_tape_precision): against sums in double, the
 * gradients of whole models against those of f32, bits on every number of threads, what is made and
 * kept.
 */
#include "autograd/autograd.h"
#include "layers/layers.h"
#include "tensor/products.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- linear and its loss ---- */

static double rounded(double x)
{
    uint16_t half;
    pal_element_set(PAL_BF16, &half, 0, x);
    return pal_element_get(PAL_BF16, &half, 0);
}

enum { ROWS = 37, D = 70, N = 45 };

typedef struct linear {
    pal_tape *tape;
    pal_params *params;
    pal_tensor x, w, bias, c, y; /* x [ROWS, D] and w [N, D], which may be views */
} linear;

/* The kinds of operand: plain, x strided and a view of a parameter, weight on the tape. */
enum { PLAIN, STRIDED, ON_TAPE, HALF, KINDS };

static linear begin(int kind, bool narrow)
{
    linear l = {.tape = pal_tape_new(), .params = pal_params_new()};
    pal_rng rng = pal_rng_new(5, 0);
    pal_tape_precision(l.tape, narrow ? PAL_BF16 : PAL_F32);
    l.x = pal_want_grad(pal_uniform(l.tape, PAL_F32, PAL_SHAPE(D, ROWS), -1, 1, &rng));
    pal_tensor w =
        pal_fill_uniform(pal_param(l.params, "w", PAL_F32, PAL_SHAPE(2 * N, D)), -1, 1, &rng);
    l.bias = pal_fill_normal(pal_param(l.params, "b", PAL_F32, PAL_SHAPE(N)), 0, 1, &rng);
    l.c = pal_uniform(l.tape, PAL_F32, PAL_SHAPE(ROWS, N), -1, 1, &rng);
    l.w = pal_slice(pal_on(l.tape, w), 0, 0, N, 1);
    if (kind == ON_TAPE) l.w = pal_affine(pal_slice(pal_on(l.tape, w), 0, 0, 2 * N, 2), 1, 0);
    if (kind == STRIDED) l.w = pal_slice(pal_on(l.tape, w), 0, 1, 2 * N, 2);
    pal_tensor x = pal_transpose(l.x, 0, 1);
    if (kind == PLAIN) x = pal_contiguous(x);
    if (kind == HALF) x = pal_cast(x, PAL_BF16);
    l.y = pal_linear(x, l.w, l.bias);
    return l;
}

static void end(linear *l)
{
    pal_tape_free(l->tape);
    pal_params_free(l->params);
}

static double at(const pal_array *a, int64_t i, int64_t j)
{
    return pal_array_get(a, (int64_t[]){i, j});
}

/* got is the sum of products of rounded numbers, to the accuracy of f32, and that of the numbers
 * themselves, of which none is larger than 1, within 2^-8 sqrt(terms). */
static void near(double got, double sum, double exact, double size, int terms, const char *what)
{
    ck_assert_msg(fabs(got - sum) <= (size + 1) * 0x1p-20, "%s: %g, not %g", what, got, sum);
    ck_assert_msg(fabs(got - exact) <= 0x1p-8 * sqrt(terms), "%s: %g, and exactly %g", what, got,
                  exact);
}

/* sum_k a(i, k) b(j, k), with the operands rounded, and exact. */
static void product(const pal_array *a, const pal_array *b, int64_t i, int64_t j, int64_t n,
                    bool ta, bool tb, double out[3])
{
    out[0] = out[1] = out[2] = 0;
    for (int64_t k = 0; k < n; k++) {
        const double x = ta ? at(a, k, i) : at(a, i, k), y = tb ? at(b, k, j) : at(b, j, k);
        out[0] += rounded(x) * rounded(y);
        out[1] += x * y;
        out[2] += fabs(x * y);
    }
}

START_TEST(linear_rounds_its_operands)
{
    linear l = begin(_i, true);
    const pal_array y = pal_value(l.y), x = pal_value(pal_transpose(l.x, 0, 1)), w = pal_value(l.w),
                    b = pal_value(l.bias), c = pal_value(l.c);
    double s[3];
    ck_assert(pal_dtype_of(l.y) == PAL_F32);
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t j = 0; j < N; j++) {
            product(&x, &w, i, j, D, false, false, s);
            const double bias = pal_array_get(&b, &j);
            near(at(&y, i, j), s[0] + bias, s[1] + bias, s[2] + 1, D, "y");
        }
    ck_assert_int_eq(pal_backward_from(1, &l.y, &l.c), PAL_OK);
    const pal_array dx = pal_value(pal_transpose(pal_grad(l.x), 0, 1)),
                    db = pal_value(pal_grad(l.bias)),
                    dw = pal_value(pal_grad(pal_params_find(l.params, "w")));
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t k = 0; k < D; k++) {
            product(&c, &w, i, k, N, false, true, s);
            near(at(&dx, i, k), s[0], s[1], s[2], N, "dx");
        }
    for (int64_t j = 0; j < N; j++) {
        double sum = 0;
        for (int64_t i = 0; i < ROWS; i++) sum += at(&c, i, j);
        ck_assert(fabs(pal_array_get(&db, &j) - sum) < 1e-4); /* not rounded */
        for (int64_t k = 0; k < D; k++) {
            const int64_t row = _i == STRIDED ? 2 * j + 1 : _i == ON_TAPE ? 2 * j : j;
            product(&c, &x, j, k, ROWS, true, true, s);
            near(at(&dw, row, k), s[0], s[1], s[2], ROWS, "dw");
        }
    }
    end(&l);
}
END_TEST

START_TEST(f64_and_f32_stay)
{
    linear a = begin(PLAIN, false), b = begin(PLAIN, true);
    const pal_array p = pal_value(a.y), q = pal_value(b.y);
    ck_assert(memcmp(p.data, q.data, ROWS * N * sizeof(float)) != 0);
    ck_assert(pal_tape_precision(b.tape, PAL_F32) == PAL_BF16);
    const pal_tensor again = pal_linear(pal_contiguous(pal_transpose(b.x, 0, 1)), b.w, b.bias);
    const pal_array r = pal_value(again);
    ck_assert_mem_eq(p.data, r.data, ROWS * N * sizeof(float));
    pal_tape_precision(b.tape, PAL_BF16);
    const pal_tensor x = pal_full(b.tape, PAL_F64, PAL_SHAPE(3, 2), 1.00001),
                     w = pal_full(b.tape, PAL_F64, PAL_SHAPE(4, 2), 1);
    ck_assert(pal_f64(pal_linear(x, w, PAL_NONE))[0] == 2.00002);
    end(&a), end(&b);
}
END_TEST

/* A weight that is written to is rounded again. */
START_TEST(weights_are_rounded_when_they_change)
{
    pal_params *params = pal_params_new();
    pal_tensor w = pal_fill(pal_param(params, "w", PAL_F32, PAL_SHAPE(2, 3)), 1);
    pal_tape *tape = pal_tape_new();
    pal_tape_precision(tape, PAL_BF16);
    for (int step = 1; step < 5; step++) {
        const pal_tensor x = pal_full(tape, PAL_F32, PAL_SHAPE(4, 3), 2);
        ck_assert(pal_f32(pal_linear(x, w, PAL_NONE))[5] == (float)(6 * step));
        if (step % 2) {
            pal_fill(w, step + 1);
        } else { /* as an optimiser writes */
            float *value = pal_params_block(params, 0).value;
            for (int i = 0; i < 6; i++) value[i] = (float)step + 1;
            pal_params_touch(params);
        }
        pal_tape_reset(tape);
    }
    pal_tape_free(tape);
    pal_params_free(params);
}
END_TEST

static pal_error last;
static void remember(const pal_error *e, void *user)
{
    (void)user;
    last = *e;
}

START_TEST(other_types_are_refused)
{
    pal_tape *tape = pal_tape_new();
    pal_set_error_handler(remember, NULL);
    ck_assert(pal_tape_precision(tape, PAL_BF16) == PAL_F32);
    ck_assert(pal_tape_precision(tape, PAL_F64) == PAL_BF16);
    ck_assert(pal_tape_status(tape) == PAL_EDTYPE && strstr(last.message, "not f64"));
    pal_tape_reset(tape);
    ck_assert(pal_tape_precision(tape, PAL_F32) == PAL_BF16);
    pal_tape_free(tape);
}
END_TEST

/* ---- Models ---- */

typedef struct model {
    pal_params *params;
    pal_lm *lm;
    pal_tape *tape;
} model;

static const char *const mixers[] = {"gdn2:num_heads=2:head_dim=16",
                                     "mamba2:head_dim=16:state_size=16",
                                     "attn:num_heads=4",
                                     "kda:num_heads=2:head_dim=16",
                                     "gdn:num_heads=2:head_dim=16",
                                     "mamba3",
                                     "shortconv"};
enum { MIXERS = sizeof mixers / sizeof *mixers, BATCH = 2, LEN = 48, VOCAB = 50 };

static model make(const char *mixer, bool recompute)
{
    pal_rng rng = pal_rng_new(1, 0);
    model m = {.params = pal_params_new(), .tape = pal_tape_new()};
    m.lm = pal_lm_new(
        m.params,
        (pal_lm_opts){
            .vocab = VOCAB, .width = 64, .layers = 2, .mixers = mixer, .recompute = recompute},
        &rng);
    ck_assert_ptr_nonnull(m.lm);
    return m;
}

static void drop(model *m)
{
    pal_tape_free(m->tape);
    pal_params_free(m->params);
}

/* Loss, and gradients in the parameters. With `changes` the tape has the other setting when
 * backward begins. */
static double pass_and_change(model *m, bool narrow, bool changes)
{
    int64_t token[2][BATCH * LEN];
    pal_tape_reset(m->tape);
    pal_params_zero_grad(m->params);
    pal_tape_precision(m->tape, narrow ? PAL_BF16 : PAL_F32);
    for (int i = 0; i < BATCH * LEN; i++) {
        token[0][i] = (i * i + 3) % VOCAB;
        token[1][i] = ((i + 1) * (i + 1) + 3) % VOCAB;
    }
    const pal_tensor in = pal_from(m->tape, PAL_I64, PAL_SHAPE(BATCH, LEN), token[0]),
                     target = pal_from(m->tape, PAL_I64, PAL_SHAPE(BATCH, LEN), token[1]);
    const pal_tensor loss = pal_lm_loss(m->lm, in, target, (pal_run_opts){.training = true});
    if (changes) pal_tape_precision(m->tape, narrow ? PAL_F32 : PAL_BF16);
    ck_assert_int_eq(pal_backward(loss), PAL_OK);
    return pal_item(loss);
}

static double pass(model *m, bool narrow) { return pass_and_change(m, narrow, false); }

static int64_t gradients(const model *m, float *to)
{
    int64_t n = 0;
    for (int i = 0; i < pal_params_count(m->params); i++) {
        const pal_tensor g = pal_grad(pal_params_at(m->params, i));
        const int64_t count = pal_count(g);
        if (to) memcpy(to + n, pal_f32(g), (size_t)count * sizeof(float));
        n += count;
    }
    return n;
}

START_TEST(gradients_of_models)
{
    model m = make(mixers[_i], false);
    const double exact = pass(&m, false);
    const int64_t n = gradients(&m, NULL);
    float *want = malloc((size_t)n * sizeof *want), *got = malloc((size_t)n * sizeof *got);
    gradients(&m, want);
    const double loss = pass(&m, true);
    gradients(&m, got);
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        error += pow((double)got[i] - (double)want[i], 2);
        size += pow((double)want[i], 2);
    }
    ck_assert_msg(fabs(loss - exact) <= 5e-3 * exact && loss != exact, "loss %g, not %g", loss,
                  exact);
    ck_assert_msg(sqrt(error / size) <= 2e-2, "gradients differ by %g", sqrt(error / size));
    free(want), free(got);
    drop(&m);
}
END_TEST

/* An operation that has run in one type goes backward in it, and is computed again in it. */
START_TEST(backward_goes_by_what_held)
{
    for (int narrow = 0; narrow < 2; narrow++) {
        model m = make(mixers[_i % MIXERS], _i / MIXERS);
        const double loss = pass(&m, narrow);
        const int64_t n = gradients(&m, NULL);
        float *want = malloc((size_t)n * sizeof *want), *got = malloc((size_t)n * sizeof *got);
        gradients(&m, want);
        drop(&m);
        m = make(mixers[_i % MIXERS], _i / MIXERS);
        ck_assert(pass_and_change(&m, narrow, true) == loss);
        gradients(&m, got);
        ck_assert(memcmp(want, got, (size_t)n * sizeof *got) == 0);
        ck_assert(pal_tape_precision(m.tape, PAL_F32) == (narrow ? PAL_F32 : PAL_BF16));
        free(want), free(got);
        drop(&m);
    }
}
END_TEST

START_TEST(same_bits)
{
    static const int threads[] = {1, 2, 3, 16};
    static const char *const library[] = {"", "blis", "onednn"};
    setenv("PAL_PRODUCTS", library[_i / MIXERS], 1); /* each test is a process of its own */
    pal_team_from(1 << 12);
    model m = make(mixers[_i % MIXERS], _i % 2);
    pass(&m, true);
    const int64_t n = gradients(&m, NULL);
    float *want = malloc((size_t)n * sizeof *want), *got = malloc((size_t)n * sizeof *got);
    double first = 0;
    for (int t = 0; t < 4; t++) {
        pal_set_threads(threads[t]);
        const double loss = pass(&m, true);
        gradients(&m, t ? got : want);
        if (t == 0) first = loss;
        ck_assert(loss == first);
        ck_assert_msg(!t || memcmp(want, got, (size_t)n * sizeof *got) == 0,
                      "other gradients on %d threads", threads[t]);
    }
    free(want), free(got);
    drop(&m);
}
END_TEST

/* A step takes no new memory, and oneDNN makes nothing, after the second. */
static size_t taken;
static void *count(void *memory, size_t old, size_t size, void *user)
{
    (void)user, (void)old;
    if (size == 0) {
        free(memory);
        return NULL;
    }
    taken++;
    return aligned_alloc(PAL_ALIGN, pal_round_up(size, PAL_ALIGN));
}

START_TEST(nothing_is_made_after_two_steps)
{
    setenv("PAL_PRODUCTS", "onednn", 1);
    pal_set_allocator(count, NULL);
    model m = make(mixers[0], _i);
    pass(&m, true);
    pass(&m, true);
    const size_t before = taken;
    const int64_t made = pal_onednn_made();
    pass(&m, true);
    pass(&m, true);
    ck_assert_uint_eq(taken, before);
    ck_assert_int_eq(pal_onednn_made(), made);
    drop(&m);
}
END_TEST

/* What only products read is kept in bf16. */
START_TEST(activations_take_less)
{
    model m = make("gdn2:num_heads=2:head_dim=16", false);
    pass(&m, false);
    const size_t wide = pal_tape_memory(m.tape).peak;
    drop(&m);
    m = make("gdn2:num_heads=2:head_dim=16", false);
    pass(&m, true);
    const size_t narrow = pal_tape_memory(m.tape).peak;
    ck_assert_msg(narrow < wide, "%zu and %zu bytes", narrow, wide);
    drop(&m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("precision");
    TCase *tc = tcase_create("precision");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, linear_rounds_its_operands, 0, KINDS);
    tcase_add_test(tc, f64_and_f32_stay);
    tcase_add_test(tc, weights_are_rounded_when_they_change);
    tcase_add_test(tc, other_types_are_refused);
    tcase_add_loop_test(tc, gradients_of_models, 0, MIXERS);
    tcase_add_loop_test(tc, backward_goes_by_what_held, 0, 2 * MIXERS);
    tcase_add_loop_test(tc, same_bits, 0, 3 * MIXERS);
    tcase_add_loop_test(tc, nothing_is_made_after_two_steps, 0, 2);
    tcase_add_test(tc, activations_take_less);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
