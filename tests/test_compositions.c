/*
 * test_compositions.c - compares operations that do several steps at once with the same steps one
 * by one: outputs and all gradients, in f32 and f64. The sizes are not multiples of what kernels
 * and blocks take at once.
 */
#include "layers/layers.h"
#include "tests/support/case.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

enum { INPUTS = 6, OUTPUTS = 2, SIZES = 8 };

/* One problem: the shapes of the real inputs (ndim -1: left out), integers, and sizes that both
 * forms understand. */
typedef struct problem {
    char name[160];
    pal_shape in[INPUTS];
    int64_t size[SIZES];
    const int64_t *integers;
    int64_t count;
} problem;

typedef int form(const problem *p, pal_tape *tape, const pal_tensor *in, pal_tensor *out);

typedef struct result {
    double *x[OUTPUTS + INPUTS];
    int64_t n[OUTPUTS + INPUTS];
} result;

static const pal_shape ABSENT = {.ndim = -1};

/* ---- One form ---- */

static void take(result *r, int i, pal_tensor t)
{
    pal_array a = pal_value(t);
    r->n[i] = pal_array_count(&a);
    r->x[i] = malloc((size_t)r->n[i] * sizeof(double) + 8);
    pal_array to = pal_array_of(PAL_F64, pal_array_shape(&a), r->x[i]);
    ck_assert(pal_array_copy(&to, &a, NULL) == PAL_OK);
}

static result run(const problem *p, form *f, pal_dtype dtype)
{
    pal_tape *tape = pal_tape_new();
    pal_tensor in[INPUTS] = {{0}}, out[OUTPUTS] = {{0}}, cotangent[OUTPUTS];
    pal_rng rng = pal_rng_new(7, 0);
    result r = {0};
    for (int i = 0; i < INPUTS; i++) { /* drawn in f32, so that both types get the same numbers */
        if (p->in[i].ndim < 0) continue;
        pal_tensor x = pal_uniform(tape, PAL_F32, p->in[i], -1.5, 1.5, &rng);
        in[i] = pal_zeros(tape, dtype, p->in[i]);
        pal_array drawn = pal_value(x);
        pal_want_grad(pal_assign(in[i], &drawn));
    }
    int n = f(p, tape, in, out);
    for (int i = 0; i < n; i++) {
        cotangent[i] = pal_zeros(tape, dtype, pal_shape_of(out[i]));
        pal_fill_uniform(cotangent[i], -1, 1, &rng);
        take(&r, i, out[i]);
    }
    ck_assert(pal_backward_from(n, out, cotangent) == PAL_OK);
    for (int i = 0; i < INPUTS; i++) {
        if (p->in[i].ndim < 0) continue;
        pal_tensor g = pal_grad(in[i]);
        take(&r, OUTPUTS + i, pal_is_none(g) ? pal_zeros(tape, dtype, p->in[i]) : g);
    }
    pal_tape_free(tape);
    return r;
}

static void compare(const problem *p, form *fused, form *steps)
{
    for (int wide = 0; wide < 2; wide++) {
        const double tolerance = wide ? 1e-12 : 5e-6;
        result a = run(p, fused, wide ? PAL_F64 : PAL_F32);
        result b = run(p, steps, wide ? PAL_F64 : PAL_F32);
        for (int i = 0; i < OUTPUTS + INPUTS; i++) {
            ck_assert_msg(a.n[i] == b.n[i], "%s: sizes of %d differ", p->name, i);
            double error = a.x[i] ? pal_case_error(a.n[i], a.x[i], b.x[i]) : 0;
            ck_assert_msg(error <= tolerance, "%s in %s: %s %d differs by %.3g", p->name,
                          wide ? "f64" : "f32", i < OUTPUTS ? "output" : "gradient",
                          i < OUTPUTS ? i : i - OUTPUTS, error);
            free(a.x[i]);
            free(b.x[i]);
        }
    }
}

/* ---- The head and its loss: x, weight, bias; size: smoothing in percent ---- */

static pal_cross_entropy_opts loss_options(const problem *p)
{
    return (pal_cross_entropy_opts){
        .has_ignore = true, .ignore = -1, .label_smoothing = (double)p->size[0] / 100};
}

static int head_fused(const problem *p, pal_tape *tape, const pal_tensor *in, pal_tensor *out)
{
    pal_tensor targets = pal_from(tape, PAL_I64, PAL_SHAPE(p->count), p->integers);
    out[0] = pal_linear_cross_entropy(in[0], in[1], in[2], targets, loss_options(p));
    return 1;
}

static int head_steps(const problem *p, pal_tape *tape, const pal_tensor *in, pal_tensor *out)
{
    pal_tensor targets = pal_from(tape, PAL_I64, PAL_SHAPE(p->count), p->integers);
    out[0] = pal_cross_entropy(pal_linear(in[0], in[1], in[2]), targets, loss_options(p));
    return 1;
}

START_TEST(head)
{
    static const int64_t sizes[][3] = {/* rows, d, classes */
                                       {1, 1, 2},
                                       {3, 33, 100},
                                       {257, 100, 33},
                                       {700, 5, 4100} /* three blocks in f64, two in f32 */};
    int64_t targets[700];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int way = 0; way < 4; way++) {
            const int64_t rows = sizes[i][0], d = sizes[i][1], n = sizes[i][2];
            for (int64_t r = 0; r < rows; r++) targets[r] = r % 5 == 3 ? -1 : r * 31 % n;
            problem p = {.in = {PAL_SHAPE(rows, d), PAL_SHAPE(n, d),
                                way & 1 ? PAL_SHAPE(n) : ABSENT, ABSENT, ABSENT, ABSENT},
                         .size = {way & 2 ? 10 : 0},
                         .integers = targets,
                         .count = rows};
            snprintf(p.name, sizeof p.name, "%d rows of %d, %d classes, way %d", (int)rows, (int)d,
                     (int)n, way);
            compare(&p, head_fused, head_steps);
        }
}
END_TEST

/* The loss has the same bits with gradients on and off. */
START_TEST(head_without_gradients)
{
    pal_tape *tape = pal_tape_new();
    pal_rng rng = pal_rng_new(3, 0);
    enum { ROWS = 40, D = 17, N = 1300 };
    int64_t targets[ROWS];
    for (int i = 0; i < ROWS; i++) targets[i] = 31 * i;
    pal_tensor x = pal_want_grad(pal_normal(tape, PAL_F32, PAL_SHAPE(ROWS, D), 0, 1, &rng));
    pal_tensor w = pal_normal(tape, PAL_F32, PAL_SHAPE(N, D), 0, 1, &rng);
    pal_tensor t = pal_from(tape, PAL_I64, PAL_SHAPE(ROWS), targets);
    float loss[2];
    for (int grad = 0; grad < 2; grad++) {
        pal_set_grad(tape, grad == 1);
        pal_cross_entropy_opts opts = {0};
        loss[grad] = pal_f32(pal_linear_cross_entropy(x, w, PAL_NONE, t, opts))[0];
    }
    ck_assert(loss[0] == loss[1] && loss[0] > 0);
    pal_tape_free(tape);
}
END_TEST

/* A second pass adds the same gradients again. */
START_TEST(head_backward_twice)
{
    pal_tape *tape = pal_tape_new();
    pal_rng rng = pal_rng_new(3, 0);
    enum { ROWS = 6, D = 5, N = 7 };
    static const int64_t targets[ROWS] = {0, 1, 2, 3, 4, 5};
    double first[ROWS * D];
    pal_tensor x = pal_want_grad(pal_normal(tape, PAL_F64, PAL_SHAPE(ROWS, D), 0, 1, &rng));
    pal_tensor w = pal_normal(tape, PAL_F64, PAL_SHAPE(N, D), 0, 1, &rng);
    pal_tensor t = pal_from(tape, PAL_I64, PAL_SHAPE(ROWS), targets);
    pal_cross_entropy_opts opts = {0};
    pal_tensor loss = pal_affine(pal_linear_cross_entropy(x, w, PAL_NONE, t, opts), 3, 0);
    for (int pass = 0; pass < 2; pass++) {
        ck_assert(pal_backward(loss) == PAL_OK);
        const double *g = pal_f64(pal_grad(x));
        for (int i = 0; i < ROWS * D; i++) {
            ck_assert(g[i] != 0 && (pass == 0 || g[i] == 2 * first[i]));
            first[i] = g[i];
        }
    }
    pal_tape_free(tape);
}
END_TEST

/* ---- Short convolution: x, weight, bias, tail; sizes: SiLU, start of a slice of x; offsets ----
 */

static pal_tensor sliced(const problem *p, pal_tensor x)
{
    return p->size[1] ? pal_slice(x, 2, p->size[1], pal_dim(x, 2) - 1, 1) : x;
}

static int conv_fused(const problem *p, pal_tape *tape, const pal_tensor *in, pal_tensor *out)
{
    pal_tensor tail = in[3];
    pal_short_conv_opts opts = {.silu = p->size[0] != 0, .tail = &tail};
    if (p->integers) opts.offsets = pal_from(tape, PAL_I64, PAL_SHAPE(p->count), p->integers);
    out[0] = pal_short_conv(sliced(p, in[0]), in[1], in[2], opts);
    out[1] = tail;
    return 2;
}

/* A sum of W shifted products. *after is the last W - 1 rows of the padded input, because T may be
 * shorter than a tail. */
static pal_tensor conv_sequence(pal_tensor x, const pal_tensor *in, bool silu, pal_tensor before,
                                pal_tensor *after)
{
    pal_tensor padded = pal_concat(2, (const pal_tensor[]){before, x}, 1), y = in[2];
    pal_tensor taps = pal_squeeze(in[1], 1); /* [n,W] */
    int64_t T = pal_dim(x, 1), W = pal_dim(taps, 1);
    for (int64_t j = 0; j < W; j++) {
        pal_tensor term = pal_mul(pal_slice(padded, 1, j, j + T, 1), pal_select(taps, 1, j));
        y = pal_is_none(y) ? term : pal_add(y, term);
    }
    *after = pal_slice(padded, 1, T, T + W - 1, 1);
    return silu ? pal_silu(y) : y;
}

static int conv_steps(const problem *p, pal_tape *tape, const pal_tensor *in, pal_tensor *out)
{
    enum { MOST = 8 };
    pal_tensor x = sliced(p, in[0]), tail = in[3], y[MOST], after[MOST];
    int64_t sequences = p->integers ? p->count - 1 : 1, W = pal_dim(in[1], 2);
    if (pal_is_none(tail)) {
        pal_shape s = PAL_SHAPE(p->integers ? sequences : pal_dim(x, 0), W - 1, pal_dim(x, 2));
        tail = pal_zeros(tape, pal_dtype_of(x), s);
    }
    if (!p->integers) {
        out[0] = conv_sequence(x, in, p->size[0] != 0, tail, &out[1]);
        return 2;
    }
    for (int64_t s = 0; s < sequences; s++)
        y[s] = conv_sequence(pal_slice(x, 1, p->integers[s], p->integers[s + 1], 1), in,
                             p->size[0] != 0, pal_slice(tail, 0, s, s + 1, 1), &after[s]);
    out[0] = pal_concat((int)sequences, y, 1);
    out[1] = pal_concat((int)sequences, after, 0);
    return 2;
}

static void check_conv(int64_t n, int64_t T, int64_t W, int way, const int64_t *offsets,
                       int64_t sequences)
{
    const int64_t B = offsets ? 1 : 2, S = offsets ? sequences : B, start = way & 4 ? 5 : 0;
    problem p = {.in = {PAL_SHAPE(B, T, n + (start ? start + 1 : 0)), PAL_SHAPE(n, 1, W),
                        way & 1 ? PAL_SHAPE(n) : ABSENT, way & 2 ? PAL_SHAPE(S, W - 1, n) : ABSENT,
                        ABSENT, ABSENT},
                 .size = {way & 1, start},
                 .integers = offsets,
                 .count = offsets ? sequences + 1 : 0};
    snprintf(p.name, sizeof p.name, "convolution of %d channels, T = %d, W = %d, way %d%s", (int)n,
             (int)T, (int)W, way, offsets ? ", packed" : "");
    compare(&p, conv_fused, conv_steps);
}

START_TEST(convolution)
{
    static const int64_t widths[] = {1, 3, 33, 100, 257}, times[] = {1, 2, 3, 257};
    const int64_t n = widths[_i];
    for (int t = 0; t < 4; t++)
        for (int64_t W = 1; W <= 5; W++)
            for (int way = 0; way < 8; way += 1 + (n > 33)) /* wide ones: half of the ways */
                check_conv(n, times[t], W, (way + (int)W) % 8, NULL, 0);
}
END_TEST

START_TEST(packed_convolution)
{
    static const int64_t offsets[][6] = {
        {0, 0, 5, 5, 70, 70}, {0, 15, 100, 300, 300, 300}, {0, 0, 0, 0, 1, 3}, {0, 0, 0, 0, 0, 0}};
    for (int i = 0; i < 4; i++)
        for (int64_t W = 1; W <= 5; W++)
            for (int way = 0; way < 8; way++)
                check_conv(way & 1 ? 33 : 3, offsets[i][5], W, way, offsets[i], 5);
}
END_TEST

/* ---- Gated norm: x, gate, weight; sizes: gate, gate first, groups ---- */

/* eps is not small: otherwise the gradient of a row of one entry is a difference of nearly equal
 * terms. */
static const double NORM_EPS = 0.25;

static int norm_fused(const problem *p, pal_tape *tape, const pal_tensor *in, pal_tensor *out)
{
    (void)tape;
    pal_gated_norm_opts opts = {.eps = NORM_EPS,
                                .gate = (pal_gate)p->size[0],
                                .gate_first = p->size[1] != 0,
                                .groups = p->size[2]};
    out[0] = pal_gated_rms_norm(in[0], in[1], in[2], opts);
    return 1;
}

/* rms_norm of each of G equal parts of the last axis, times the weight over all of it. */
static pal_tensor norm_in_groups(pal_tensor x, pal_tensor weight, int64_t G)
{
    pal_shape whole = pal_shape_of(x), parts = whole;
    parts.dim[whole.ndim - 1] = G;
    parts.dim[parts.ndim++] = whole.dim[whole.ndim - 1] / G;
    pal_tensor y = pal_reshape(pal_rms_norm(pal_reshape(x, parts), PAL_NONE, NORM_EPS), whole);
    return pal_is_none(weight) ? y : pal_mul(y, weight);
}

static int norm_steps(const problem *p, pal_tape *tape, const pal_tensor *in, pal_tensor *out)
{
    (void)tape;
    pal_tensor a = p->size[0] == PAL_GATE_NONE      ? PAL_NONE
                   : p->size[0] == PAL_GATE_SIGMOID ? pal_sigmoid(in[1])
                                                    : pal_silu(in[1]);
    if (pal_is_none(a))
        out[0] = norm_in_groups(in[0], in[2], p->size[2]);
    else if (p->size[1])
        out[0] = norm_in_groups(pal_mul(in[0], a), in[2], p->size[2]);
    else
        out[0] = pal_mul(norm_in_groups(in[0], in[2], p->size[2]), a);
    return 1;
}

START_TEST(gated_norm)
{
    static const int64_t widths[] = {1, 3, 33, 100, 257}, rows[] = {1, 2, 3, 257};
    static const pal_gate gates[] = {PAL_GATE_SILU, PAL_GATE_SIGMOID, PAL_GATE_NONE};
    for (int w = 0; w < 5; w++)
        for (int r = 0; r < 4; r++)
            for (int way = 0; way < 24; way++) {
                const int64_t G = way / 12 + 1, n = G * widths[w];
                const pal_gate gate = gates[way % 3];
                const pal_shape s = PAL_SHAPE(rows[r], n);
                problem p = {.in = {s, gate == PAL_GATE_NONE ? ABSENT : s,
                                    way & 1 ? PAL_SHAPE(n) : ABSENT, ABSENT, ABSENT, ABSENT},
                             .size = {gate, way / 6 % 2, G}};
                snprintf(p.name, sizeof p.name, "gated norm of %d rows of %d, way %d", (int)rows[r],
                         (int)n, way);
                compare(&p, norm_fused, norm_steps);
            }
}
END_TEST

/* x and gate are overlapping views of the same memory. */
static int overlap_fused(const problem *p, pal_tape *tape, const pal_tensor *in, pal_tensor *out)
{
    int64_t rows = pal_dim(in[0], 0);
    const pal_tensor views[] = {pal_slice(in[0], 0, 0, rows - 1, 1),
                                pal_slice(in[0], 0, 1, rows, 1), in[2]};
    return norm_fused(p, tape, views, out);
}

static int overlap_steps(const problem *p, pal_tape *tape, const pal_tensor *in, pal_tensor *out)
{
    int64_t rows = pal_dim(in[0], 0);
    const pal_tensor views[] = {pal_slice(in[0], 0, 0, rows - 1, 1),
                                pal_slice(in[0], 0, 1, rows, 1), in[2]};
    return norm_steps(p, tape, views, out);
}

START_TEST(gated_norm_of_overlapping_views)
{
    problem p = {.name = "overlapping views",
                 .in = {PAL_SHAPE(900, 40), ABSENT, PAL_SHAPE(40), ABSENT, ABSENT, ABSENT},
                 .size = {PAL_GATE_SILU, 0, 1}};
    pal_set_threads(2);
    compare(&p, overlap_fused, overlap_steps);
}
END_TEST

/* ---- SwiGLU: gate, up ---- */

static int swiglu_fused(const problem *p, pal_tape *tape, const pal_tensor *in, pal_tensor *out)
{
    (void)p, (void)tape;
    out[0] = pal_swiglu(in[0], in[1]);
    return 1;
}

static int swiglu_steps(const problem *p, pal_tape *tape, const pal_tensor *in, pal_tensor *out)
{
    (void)p, (void)tape;
    out[0] = pal_mul(pal_silu(in[0]), in[1]);
    return 1;
}

START_TEST(swiglu)
{
    static const int64_t widths[] = {1, 3, 33, 100, 257}, rows[] = {1, 2, 3, 257};
    for (int i = 0; i < 20; i++) {
        const pal_shape s = PAL_SHAPE(rows[i % 4], widths[i / 4]);
        problem p = {.in = {s, s, ABSENT, ABSENT, ABSENT, ABSENT}};
        snprintf(p.name, sizeof p.name, "swiglu of [%d,%d]", (int)s.dim[0], (int)s.dim[1]);
        compare(&p, swiglu_fused, swiglu_steps);
    }
}
END_TEST

/* ---- Wrong arguments ---- */

static pal_error heard;
static void hear(const pal_error *e, void *user)
{
    (void)user;
    heard = *e;
}

static void expect(pal_tape *tape, pal_tensor got, const char *words)
{
    ck_assert_msg(strstr(heard.message, words) != NULL, "got \"%s\"", heard.message);
    ck_assert(pal_tape_status(tape) != PAL_OK && pal_count(got) == 0);
    heard = (pal_error){PAL_OK, ""};
    pal_tape_reset(tape);
}

START_TEST(wrong_arguments)
{
    pal_tape *t = pal_tape_new();
    const pal_shape xs = PAL_SHAPE(2, 5, 3), ws = PAL_SHAPE(3, 1, 4), n = PAL_SHAPE(3);
    pal_set_error_handler(hear, NULL);
#define F(shape) pal_zeros(t, PAL_F32, shape)
    pal_short_conv_opts conv = {0};
    expect(t, pal_short_conv(F(xs), F(PAL_SHAPE(2, 1, 4)), PAL_NONE, conv),
           "short_conv: argument weight is f32[2,1,4] and should be [C=3,1=1,W]");
    expect(t, pal_short_conv(F(xs), F(PAL_SHAPE(3, 1, 0)), PAL_NONE, conv),
           "short_conv: the weight has no taps");
    pal_tensor tail = F(PAL_SHAPE(2, 2, 3));
    conv.tail = &tail;
    expect(t, pal_short_conv(F(xs), F(ws), PAL_NONE, conv),
           "short_conv: argument tail is f32[2,2,3] and should be [S=2,L=3,C=3]");
    conv = (pal_short_conv_opts){.offsets = pal_from(t, PAL_I64, PAL_SHAPE(2), (int64_t[]){0, 5})};
    expect(t, pal_short_conv(F(xs), F(ws), PAL_NONE, conv),
           "short_conv: packed sequences need B = 1, and B is 2");
    conv.offsets = pal_from(t, PAL_I64, PAL_SHAPE(3), (int64_t[]){0, 6, 5});
    expect(t, pal_short_conv(F(PAL_SHAPE(1, 5, 3)), F(ws), PAL_NONE, conv),
           "short_conv: offsets must run from 0 to T = 5");

    pal_gated_norm_opts norm = {.groups = 2};
    expect(t, pal_gated_rms_norm(F(xs), F(xs), F(n), norm),
           "gated_rms_norm: x has no last axis for 2 groups (x f32[2,5,3]");
    norm.groups = 1;
    expect(t, pal_gated_rms_norm(F(xs), F(n), F(n), norm), "gate does not have the shape of x");
    expect(t, pal_gated_rms_norm(F(xs), PAL_NONE, F(n), norm), "argument gate is missing");
    expect(t, pal_gated_rms_norm(F(xs), F(xs), F(ws), norm), "weight is not of shape [3]");
    expect(t, pal_gated_rms_norm(F(xs), pal_zeros(t, PAL_F64, xs), F(n), norm), "dtypes differ");
    expect(t, pal_swiglu(F(xs), F(ws)), "swiglu: the shapes differ (gate f32[2,5,3], up");
#undef F
    pal_set_error_handler(NULL, NULL);
    pal_tape_free(t);
}
END_TEST

int main(void)
{
    pal_set_threads(1);
    Suite *s = suite_create("compositions");
    TCase *tc = tcase_create("compositions");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, head);
    tcase_add_test(tc, head_without_gradients);
    tcase_add_test(tc, head_backward_twice);
    tcase_add_loop_test(tc, convolution, 0, 5);
    tcase_add_test(tc, packed_convolution);
    tcase_add_test(tc, gated_norm);
    tcase_add_test(tc, swiglu);
    tcase_add_test(tc, gated_norm_of_overlapping_views);
    tcase_add_test(tc, wrong_arguments);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
