/*
 * test_attention.c - compares the fused attention with the composed one over sizes, windows, groups
 * and packings. It also tests what holds for all numbers: causality, isolation of sequences, equal
 * bits on any number of threads, and memory.
 *
 * Options, gradients by finite differences and numbers of threads are in case_attention.c.
 */
#include "tests/support/check.h"
#include "tests/support/rule_compare.h"
#include "tests/support/node.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double F64 = 1e-12, F32 = 1e-5;
enum { MOST_PACKED = 8 };

typedef struct problem {
    int64_t B, T, S, H, HKV, D, window;
    int sequences; /* number of packed sequences; 0: not packed */
    int64_t offsets[MOST_PACKED + 1];
    bool composed;
    bool sliced;    /* k and v are slices of one tensor */
    int64_t prefix; /* only so many outputs from the first on; 0: all */
} problem;

static const char *const names[IN_STATE] = {"q", "k", "v"};

static void draw(pal_shape shape, uint64_t stream, pal_array *x)
{
    pal_rng rng = pal_rng_new(11, stream);
    double *data = malloc((size_t)pal_shape_count(shape) * sizeof *data + 8);
    *x = pal_array_of(PAL_F64, shape, data);
    for (int64_t i = 0; i < pal_shape_count(shape); i++)
        data[i] = (float)(4 * pal_rng_next(&rng) - 2);
}

static void inputs(const problem *p, pal_array x[RULE_INPUTS])
{
    for (int i = 0; i < RULE_INPUTS; i++) x[i] = (pal_array){.dtype = PAL_F64};
    draw(PAL_SHAPE(p->B, p->T, p->H, p->D), 0, &x[0]);
    for (int i = 1; i < 3; i++) draw(PAL_SHAPE(p->B, p->S, p->HKV, p->D), (uint64_t)i, &x[i]);
}

/* k and v as slices of one tensor. */
static void slice_both(const problem *p, pal_tensor *k, pal_tensor *v)
{
    pal_tensor both = pal_concat(2, (const pal_tensor[]){*k, *v}, 2); /* [B,S,2 HKV,D] */
    *k = pal_slice(both, 2, 0, p->HKV, 1);
    *v = pal_slice(both, 2, p->HKV, 2 * p->HKV, 1);
}

static void attend(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const problem *p = context;
    pal_tape *tape = tape_of(in[0]);
    pal_attention_opts opts = {.window = p->window, .composed = p->composed};
    pal_tensor k = in[1], v = in[2];
    if (p->sequences)
        opts.offsets = pal_from(tape, PAL_I64, PAL_SHAPE(p->sequences + 1), p->offsets);
    if (p->sliced) slice_both(p, &k, &v);
    out[0] = pal_attention(in[0], k, v, opts);
    if (p->prefix) out[0] = pal_slice(out[0], 1, 0, p->prefix, 1);
    out[1] = pal_scalar(tape, pal_dtype_of(in[0]), 1);
}

static run_result run_problem(const problem *p, const pal_array *x, pal_dtype dtype)
{
    run_setup s = {.fn = attend, .context = p, .x = x, .input = names, .dtype = dtype};
    /* A single key has the weight 1 whatever q and k are, so their gradients are only rounding. */
    if (p->window == 1 || p->S == 1) s.constant = 3;
    return run(&s);
}

/* Compares both forms, in both types. */
static void compare(problem p, const char *text)
{
    pal_array x[RULE_INPUTS];
    inputs(&p, x);
    p.composed = true;
    run_result ref = run_problem(&p, x, PAL_F64);
    p.composed = false;
    for (int i = 0; i < 2; i++) {
        run_result r = run_problem(&p, x, i ? PAL_F32 : PAL_F64);
        run_agree(&r, &ref, i ? F32 : F64, "%s, %s on %s", text, pal_dtype_name(r.dtype),
                  isa_name());
        run_free(&r);
    }
    run_free(&ref);
    rule_inputs_free(x);
}

/* ---- Sizes ---- */

static const int64_t lengths[] = {1, 2, 15, 16, 17, 63, 64, 65, 130, 257};
static const int64_t widths[] = {8, 16, 33, 64, 100, 128};
enum { LENGTHS = sizeof lengths / sizeof *lengths, WIDTHS = sizeof widths / sizeof *widths };

START_TEST(fused_is_composed)
{
    static const int64_t windows[] = {0, 1, 2, 7, 64, 300}, heads[][2] = {{2, 2}, {4, 2}, {3, 1}};
    int64_t T = lengths[_i % LENGTHS], D = widths[_i / LENGTHS];
    char text[128];
    for (int i = 0; i < 6; i++) {
        const int64_t *h = heads[(_i + i) % 3];
        if (!test_all() && (_i + _i / LENGTHS + i) % 3) continue; /* two of the windows */
        problem p = {.B = 1 + (_i + i) % 2, .T = T, .S = T, .H = h[0], .HKV = h[1], .D = D};
        p.window = windows[i];
        snprintf(text, sizeof text, "B %d, T %d, H %d, HKV %d, D %d, window %d", (int)p.B, (int)T,
                 (int)p.H, (int)p.HKV, (int)D, (int)p.window);
        for (int isa = 0; isa < ISAS; isa++)
            if (test_isa(isa, text)) compare(p, text);
    }
}
END_TEST

static const problem others[] = {
    {.B = 2, .T = 1, .S = 65, .H = 2, .HKV = 1, .D = 33},
    {.B = 1, .T = 3, .S = 64, .H = 2, .HKV = 2, .D = 16},
    {.B = 2, .T = 16, .S = 100, .H = 4, .HKV = 1, .D = 8, .window = 30},
    {.B = 1, .T = 65, .S = 130, .H = 2, .HKV = 2, .D = 64},
    {.B = 1, .T = 100, .S = 300, .H = 2, .HKV = 1, .D = 24, .window = 64},
    {.B = 1, .T = 70, .S = 70, .H = 16, .HKV = 1, .D = 8},
    {.B = 1, .T = 80, .S = 80, .H = 130, .HKV = 1, .D = 4, .window = 3},
    {.B = 2, .T = 70, .S = 90, .H = 4, .HKV = 2, .D = 20, .sliced = true},
    {.B = 2, .T = 70, .S = 70, .H = 2, .HKV = 2, .D = 33, .window = 7, .sliced = true},
    {.B = 1,
     .T = 70,
     .S = 70,
     .H = 2,
     .HKV = 1,
     .D = 16,
     .sequences = 5,
     .offsets = {0, 0, 5, 5, 70, 70}},
    {.B = 1,
     .T = 300,
     .S = 300,
     .H = 2,
     .HKV = 2,
     .D = 33,
     .sequences = 3,
     .offsets = {0, 15, 100, 300}},
    {.B = 1,
     .T = 300,
     .S = 300,
     .H = 4,
     .HKV = 2,
     .D = 16,
     .sequences = 5,
     .window = 20,
     .offsets = {0, 1, 2, 130, 259, 300}},
    /* There are keys before the first packed sequence, which may be empty. */
    {.B = 1,
     .T = 300,
     .S = 377,
     .H = 4,
     .HKV = 2,
     .D = 16,
     .sequences = 4,
     .offsets = {0, 70, 71, 200, 300}},
    {.B = 1,
     .T = 100,
     .S = 230,
     .H = 2,
     .HKV = 1,
     .D = 20,
     .sequences = 3,
     .window = 90,
     .offsets = {0, 0, 40, 100}},
};
enum { OTHERS = sizeof others / sizeof *others };

START_TEST(other_shapes)
{
    char text[32];
    snprintf(text, sizeof text, "shape %d", _i);
    for (int isa = 0; isa < ISAS; isa++)
        if (test_isa(isa, text)) compare(others[_i], text);
}
END_TEST

/* ---- One input for all three, whose gradient is the sum ---- */

static void self(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const problem *p = context;
    pal_tensor kv = pal_slice(in[0], 2, 0, p->HKV, 1); /* shares memory with other query heads */
    pal_tensor q = pal_slice(in[0], 1, p->S - p->T, p->S, 1);
    out[0] = pal_attention(q, kv, kv, (pal_attention_opts){.composed = p->composed});
    out[1] = pal_scalar(tape_of(in[0]), pal_dtype_of(in[0]), 1);
}

START_TEST(one_memory)
{
    static const int threads[] = {1, 2, 16};
    problem p = {.B = 2, .T = _i ? 140 : 90, .S = 140, .H = 4, .HKV = _i == 2 ? 4 : 2, .D = 12};
    problem whole = p;
    pal_array x[RULE_INPUTS];
    whole.T = p.S;
    inputs(&whole, x);
    free(x[1].data), free(x[2].data);
    x[1].data = x[2].data = NULL;
    run_setup s = {.fn = self, .context = &p, .x = x, .input = names, .dtype = PAL_F64};
    p.composed = true;
    run_result ref = run(&s);
    p.composed = false;
    for (int i = 0; i < 3; i++) {
        pal_set_threads(threads[i]);
        run_result r = run(&s);
        run_agree(&r, &ref, F64, "one memory, %d threads", threads[i]);
        run_free(&r);
    }
    run_free(&ref);
    rule_inputs_free(x);
}
END_TEST

/* ---- Causal ---- */

/* Multiplies input i by a factor from token t on, where t counts keys. */
static void change_from(const problem *p, pal_array *x, int i, int64_t t, double factor)
{
    int64_t tokens = x[i].shape[1], per = x[i].shape[2] * x[i].shape[3];
    int64_t first = i ? t : t - (p->S - p->T);
    if (first < 0) first = 0;
    for (int64_t b = 0; b < p->B; b++)
        for (int64_t j = first * per; j < tokens * per; j++)
            ((double *)x[i].data)[b * tokens * per + j] *= factor;
}

/* Tokens from t on do not change a bit of what belongs to earlier tokens: their outputs, and the
 * gradients of a loss on these outputs. */
START_TEST(causal)
{
    static const int64_t cuts[] = {1, 16, 37, 64, 129};
    for (int i = 0; i < 20; i++) {
        problem p = {.B = 1, .T = 150, .S = i % 2 ? 150 : 190, .H = 4, .HKV = 2, .D = 20};
        p.window = i / 2 % 2 ? 30 : 0;
        p.prefix = cuts[i / 4];
        pal_array x[RULE_INPUTS];
        inputs(&p, x);
        run_result one = run_problem(&p, x, _i ? PAL_F32 : PAL_F64);
        for (int j = 0; j < 3; j++) change_from(&p, x, j, p.S - p.T + p.prefix, 0.5);
        run_result two = run_problem(&p, x, _i ? PAL_F32 : PAL_F64);
        run_identical(&two, &one, "tokens from %lld on changed", (long long)p.prefix);
        run_free(&two);
        /* With one more output, a change of its token has an effect. */
        p.prefix++;
        two = run_problem(&p, x, _i ? PAL_F32 : PAL_F64);
        change_from(&p, x, 2, p.S - p.T + p.prefix - 1, 2);
        run_result three = run_problem(&p, x, _i ? PAL_F32 : PAL_F64);
        ck_assert_msg(run_distance(&two, &three, NULL) > 1e-3, "the change has no effect");
        run_free(&three);
        run_free(&one), run_free(&two);
        rule_inputs_free(x);
    }
}
END_TEST

/* ---- A number that is not finite ---- */

/* Entry (b, t, h, 0) of output or gradient `value`. */
static double entry(const run_result *r, int value, int64_t b, int64_t t, int64_t h)
{
    const pal_array *a = &r->value[value];
    return ((double *)a->data)[((b * a->shape[1] + t) * a->shape[2] + h) * a->shape[3]];
}

/* Outputs and gradients that do not depend on the spoiled token `bad` have kept their values. begin
 * .. end - 1 are the tokens of its sequence. */
static void check_unharmed(const problem *p, const run_result *r, const run_result *clean,
                           int64_t bad, int64_t begin, int64_t end)
{
    static const int values[] = {0, RUN_OUTPUTS, RUN_OUTPUTS + 1, RUN_OUTPUTS + 2};
    int64_t w = p->window ? p->window : p->S, spoiled = 0;
    for (int i = 0; i < 4; i++)
        for (int64_t b = 0; b < p->B && r->value[values[i]].data; b++)
            for (int64_t t = 0; t < p->T; t++)
                for (int64_t h = 0; h < (i < 2 ? p->H : p->HKV); h++) {
                    /* `bad` reaches outputs and dq of the queries that see it, and dk and dv of the
                     * keys that such a query sees. It is in batch row 0 and kv head 0. All other
                     * sequences, rows and heads are unharmed. */
                    bool sees = t >= (i < 2 ? bad : bad - w + 1) && t < bad + w;
                    bool other = b > 0 || t < begin || t >= end || h >= (i < 2 ? p->H / p->HKV : 1);
                    double x = entry(r, values[i], b, t, h);
                    spoiled += isnan(x);
                    if (sees && !other) continue;
                    ck_assert_msg(x == entry(clean, values[i], b, t, h),
                                  "value %d at %lld, %lld, %lld is %g", i, (long long)b,
                                  (long long)t, (long long)h, x);
                }
    ck_assert_msg(spoiled > 0, "nothing is NaN");
}

START_TEST(nothing_reaches_what_does_not_see_it)
{
    static const struct {
        problem p;
        int64_t bad, begin, end; /* the token, and the sequence it is in */
    } rows[] = {
        {{.B = 2, .T = 140, .S = 140, .H = 4, .HKV = 2, .D = 20}, 67, 0, 140},
        {{.B = 2, .T = 140, .S = 140, .H = 4, .HKV = 2, .D = 20, .window = 9}, 67, 0, 140},
        {{.B = 2, .T = 140, .S = 140, .H = 2, .HKV = 2, .D = 20, .window = 1}, 67, 0, 140},
        {{.B = 1,
          .T = 140,
          .S = 140,
          .H = 4,
          .HKV = 2,
          .D = 9,
          .sequences = 4,
          .offsets = {0, 30, 77, 77, 140}},
         40,
         30,
         77},
    };
    const problem *p = &rows[_i / 6].p;
    int input = _i % 3, isa = 0;
    pal_dtype dtype = _i % 6 < 3 ? PAL_F64 : PAL_F32;
    for (; isa < ISAS; isa++) {
        if (!test_isa(isa, "NaN")) continue;
        pal_array x[RULE_INPUTS];
        inputs(p, x);
        run_result clean = run_problem(p, x, dtype);
        double *data = x[input].data; /* batch row 0, head 0 */
        for (int64_t c = 0; c < p->D; c++)
            data[rows[_i / 6].bad * x[input].shape[2] * p->D + c] = c % 2 ? INFINITY : NAN;
        run_result r = run_problem(p, x, dtype);
        check_unharmed(p, &r, &clean, rows[_i / 6].bad, rows[_i / 6].begin, rows[_i / 6].end);
        run_free(&r), run_free(&clean);
        rule_inputs_free(x);
    }
}
END_TEST

/* ---- Threads, in both of backward's schedules ---- */

START_TEST(threads_change_no_bit)
{
    static const int threads[] = {2, 3, 16};
    problem p = {.B = 1, .T = 200, .S = 210, .H = 6, .HKV = 3, .D = 33};
    if (_i == 1) p = (problem){.B = 1, .T = 200, .S = 200, .H = 2, .HKV = 1, .D = 16, .window = 50};
    if (_i == 2)
        p = (problem){.B = 1,
                      .T = 300,
                      .S = 377,
                      .H = 2,
                      .HKV = 2,
                      .D = 16,
                      .sequences = 3,
                      .offsets = {0, 15, 100, 300}};
    pal_array x[RULE_INPUTS];
    inputs(&p, x);
    for (int type = 0; type < 2; type++) {
        pal_set_threads(1);
        run_result one = run_problem(&p, x, type ? PAL_F32 : PAL_F64);
        for (int i = 0; i < 3; i++) {
            pal_set_threads(threads[i]);
            run_result r = run_problem(&p, x, type ? PAL_F32 : PAL_F64);
            run_identical(&r, &one, "%d threads", threads[i]);
            run_free(&r);
        }
        run_free(&one);
    }
    rule_inputs_free(x);
}
END_TEST

/* ---- Memory ---- */

START_TEST(memory_is_linear)
{
    enum { T = 2048, D = 8 };
    pal_tape *tape = pal_tape_new();
    pal_tensor x = pal_want_grad(pal_zeros(tape, PAL_F32, PAL_SHAPE(1, T, 1, D)));
    pal_backward(pal_sum(pal_attention(x, x, x, (pal_attention_opts){0}), PAL_ALL, false));
    ck_assert_int_eq(pal_tape_status(tape), PAL_OK);
    ck_assert_uint_lt(pal_tape_memory(tape).peak, T * T * sizeof(float) / 8);
    pal_tape_free(tape);
}
END_TEST

/* ---- Rotary ---- */

/* A large start position gives the angles that a sequence of that length would have, exactly. */
START_TEST(rotary_far_out)
{
    enum { T = 200, D = 16, FAR = 1000000 };
    pal_tape *tape = pal_tape_new();
    pal_tensor x = pal_full(tape, PAL_F64, PAL_SHAPE(1, T, 1, D), 1);
    pal_tensor y = pal_rotary(x, (pal_rotary_opts){.start = FAR});
    pal_tensor f = pal_rotary(pal_cast(x, PAL_F32), (pal_rotary_opts){.start = FAR});
    for (int t = 0; t < T; t++)
        for (int c = 0; c < D / 2; c++) {
            double angle = (FAR + t) * pow(10000, -2.0 * c / D);
            double low = cos(angle) - sin(angle), high = cos(angle) + sin(angle);
            ck_assert(fabs(pal_f64(y)[t * D + c] - low) <= 1e-9);
            ck_assert(fabs(pal_f64(y)[t * D + D / 2 + c] - high) <= 1e-9);
            ck_assert(fabs((double)pal_f32(f)[t * D + c] - low) <= 3e-7);
        }
    pal_tape_free(tape);
}
END_TEST

/* ---- Errors ---- */

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

START_TEST(errors)
{
    static const int64_t bad[] = {0, 3, 2, 4};
    pal_error heard = {PAL_OK, ""};
    pal_tape *tape = pal_tape_new();
    pal_set_error_handler(hear, &heard);
    for (int i = 0; i < 14; i++) {
        pal_tape_reset(tape);
        pal_tensor q = pal_zeros(tape, PAL_F64, PAL_SHAPE(1, 4, 4, 6));
        pal_tensor k = pal_zeros(tape, PAL_F64, PAL_SHAPE(1, 4, 2, 6));
        pal_tensor offsets = pal_from(tape, PAL_I64, PAL_SHAPE(4), bad);
        const struct {
            pal_tensor q, k;
            pal_attention_opts opts;
            pal_rotary_opts rotary;
            const char *words;
        } row[] = {
            {q, pal_slice(k, 1, 0, 3, 1), .words = "4 queries are more than the 3"},
            {q, pal_slice(k, 3, 0, 5, 1), .words = "argument k is f64[1,4,2,5]"},
            {pal_slice(q, 2, 0, 3, 1), k, .words = "3 heads cannot share 2"},
            {q, pal_cast(k, PAL_F32), .words = "argument k is f32"},
            {q, k, .opts.window = -1, .words = "window is -1"},
            {q, k, .opts.scale = NAN, .words = "scale is nan"},
            {q, k, .opts.offsets = offsets, .words = "without a decrease"},
            {q, .rotary.offsets = offsets, .words = "without a decrease"},
            {pal_slice(q, 3, 0, 5, 1), .words = "cannot be halved"},
            {q, .rotary.start = -1, .words = "start -1"},
            {q, .rotary.base = -1, .words = "base is -1"},
            {q, .rotary.channels = 8, .words = "channels is 8"},
            {q, .rotary.channels = 3, .words = "channels is 3"},
            {pal_select(q, 1, 0), .words = "argument x is f64[1,4,6]"},
        };
        ck_assert_uint_eq(sizeof row / sizeof *row, 14);
        if (pal_is_none(row[i].k))
            pal_rotary(row[i].q, row[i].rotary);
        else
            pal_attention(row[i].q, row[i].k, row[i].k, row[i].opts);
        ck_assert_msg(strstr(heard.message, row[i].words) != NULL, "row %d: %s", i, heard.message);
        ck_assert(strstr(heard.message, pal_is_none(row[i].k) ? "rotary: " : "attention: "));
    }
    pal_tape_free(tape);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, fused_is_composed, 0, LENGTHS * WIDTHS);
    tcase_add_loop_test(tc, other_shapes, 0, OTHERS);
    tcase_add_loop_test(tc, one_memory, 0, 3);
    tcase_add_loop_test(tc, causal, 0, 2);
    tcase_add_loop_test(tc, nothing_reaches_what_does_not_see_it, 0, 24);
    tcase_add_loop_test(tc, threads_change_no_bit, 0, 3);
    tcase_add_test(tc, memory_is_linear);
    tcase_add_test(tc, rotary_far_out);
    tcase_add_test(tc, errors);
}

int main(void) { return rule_test_main("attention", add); }
