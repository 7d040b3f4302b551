/*
 * test_mamba3.c - the fused forms of Mamba-3 against the composed one, on the inputs that broke
 * other implementations; and what holds for all inputs. Its reductions are in
 * test_mamba3_reductions.c, its state in test_mamba3_state.c, and what single tokens do in
 * test_mamba3_limits.c.
 */
#include "tests/support/check.h"
#include "tests/support/inputs.h"
#include "tests/support/mamba3.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double F64 = 1e-10, F32 = 1e-5;
static const pal_rule_mode modes[] = {PAL_RULE_CHUNK, PAL_RULE_RECURRENT, PAL_RULE_COMPOSED};
enum { MODES = sizeof modes / sizeof *modes };

/* ---- The fused forms are the composed one ---- */

#define SIZES(t, h, g, n, p, j, r) .B = 1, .T = t, .H = h, .G = g, .N = n, .P = p, .J = j, .R = r
#define RAGGED(t)                                                                               \
    {.name = "g = -20, T = " #t, SIZES(t, 2, 1, 20, 12, 5, 1), .decay = DECAY_20},              \
    {                                                                                           \
        .name = "g = 0, four rows, T = " #t, SIZES(t, 2, 1, 20, 12, 5, 4), .decay = DECAY_ZERO, \
        .half = true                                                                            \
    }
#define WIDTH(n, p)                                                                \
    {                                                                              \
        .name = "N = " #n ", P = " #p, SIZES(21, 1, 1, n, p, (n) / 2, 1 + (n) % 2) \
    }
/* Two heads, because the gradient of one D may be a sum that nearly cancels. */
#define WIDE(n, p)                                                       \
    {                                                                    \
        .name = "N = " #n ", P = " #p, SIZES(21, 2, 1, n, p, (n) / 2, 1) \
    }
#define PACKED(n, ...) .sequences = n, .offsets = {__VA_ARGS__}

static const m3_problem table[] = {
    RAGGED(1),
    RAGGED(2),
    RAGGED(3),
    RAGGED(15),
    RAGGED(16),
    RAGGED(17),
    RAGGED(63),
    RAGGED(64),
    RAGGED(65),
    RAGGED(127),
    RAGGED(129),
    RAGGED(130),
    RAGGED(257),
    WIDTH(8, 16),
    WIDTH(16, 8),
    WIDTH(24, 33),
    WIDTH(33, 24),
    WIDTH(64, 100),
    WIDTH(128, 64),
    WIDTH(1, 24),
    WIDTH(24, 1),
    WIDTH(8, 256),
    WIDE(48, 192),
    WIDE(192, 48),
    WIDE(256, 100),
    {"mild", SIZES(70, 2, 1, 20, 12, 5, 1)},
    {"g in [-316, 0)", SIZES(70, 2, 1, 20, 12, 5, 1), .decay = DECAY_WIDE},
    {"half of g is 0", SIZES(70, 2, 1, 20, 12, 5, 2), .decay = DECAY_HALF},
    {"g is -90, then 0", SIZES(70, 2, 1, 20, 12, 5, 1), .decay = DECAY_FIRST},
    {"a decay of 1e-12", SIZES(70, 2, 1, 20, 12, 5, 2), .decay = DECAY_1E12},
    {"one key, g = 0", SIZES(130, 2, 1, 20, 12, 0, 1), .decay = DECAY_ZERO, .same_keys = true},
    {"g is -inf one time in ten", SIZES(70, 2, 1, 20, 12, 5, 2), .decay = DECAY_INFINITE},
    {"lam 0 or 1, dt 0", SIZES(70, 2, 1, 20, 12, 5, 1), .sharp = true},
    {"lam 0 or 1, dt 0, four rows", SIZES(40, 2, 1, 20, 12, 5, 4), .sharp = true, .half = true},
    {"four groups of two heads", SIZES(40, 8, 4, 20, 12, 5, 1)},
    {"two groups, two rows", SIZES(40, 4, 2, 20, 12, 5, 2), .half = true},
    {"sixteen heads of one group", SIZES(40, 16, 1, 20, 12, 5, 1)},
    {"twelve heads, three groups, two rows", SIZES(40, 12, 3, 20, 12, 5, 2), .half = true},
    {"eleven heads of one group", SIZES(20, 11, 1, 20, 12, 5, 1)},
    {"24 heads, packed", SIZES(40, 24, 1, 20, 12, 5, 1), PACKED(4, 0, 1, 1, 20, 40)},
    {"eight rows", SIZES(70, 2, 1, 20, 12, 10, 8), .half = true},
    {"eight rows, adjacent", SIZES(40, 2, 2, 20, 12, 10, 8), .chunk = 32},
    {"chunks of 64", SIZES(130, 2, 1, 20, 12, 5, 1), .chunk = 64},
    {"chunks of 64, four rows", SIZES(130, 2, 1, 20, 12, 5, 4), .chunk = 64},
    {"no angles", SIZES(40, 2, 1, 20, 12, 0, 1)},
    {"bare", SIZES(70, 2, 1, 20, 12, 5, 1), .bare = true},
    {"no initial state", SIZES(70, 2, 1, 20, 12, 5, 2), .no_state = true},
    {"three batch rows", .B = 3, .T = 40, .H = 4, .G = 2, .N = 20, .P = 12, .J = 5, .R = 1},
    {"a scale", SIZES(40, 2, 1, 20, 12, 5, 2), .scale = 0.7},
    {"no token", SIZES(0, 2, 1, 20, 12, 5, 2)},
    {"packed 0 0 5 5 70 70", SIZES(70, 2, 1, 20, 12, 5, 1), PACKED(5, 0, 0, 5, 5, 70, 70)},
    {"packed 0 15 100 150", SIZES(150, 2, 1, 20, 12, 5, 4), PACKED(3, 0, 15, 100, 150)},
    {"packed, lengths 1 and 0", SIZES(20, 4, 2, 20, 12, 5, 2), PACKED(4, 0, 1, 1, 2, 20)},
    {"packed, no initial state", SIZES(70, 2, 1, 20, 12, 5, 1), PACKED(2, 0, 33, 70),
     .no_state = true},
};
enum { ROWS = sizeof table / sizeof *table };

START_TEST(fused_is_composed)
{
    const m3_problem *p = &table[_i];
    pal_array x[RULE_INPUTS];
    m3_draw(p, (uint64_t)_i, x);
    run_result truth = m3_run(p, x, PAL_F64, PAL_RULE_COMPOSED);
    for (int i = 0; i < 4 * ISAS; i++) {
        if (!test_isa(i / 4, p->name)) continue;
        const pal_rule_mode mode = modes[i % 4 / 2];
        const pal_dtype dtype = i % 2 ? PAL_F32 : PAL_F64;
        const char *worst;
        run_result r = m3_run(p, x, dtype, mode);
        double error = run_distance(&r, &truth, &worst);
        printf("%-30s %-9s %s %-6s %.1e (%s)\n", p->name, rule_mode_name(mode),
               pal_dtype_name(dtype), isa_name(), error, worst);
        run_agree(&r, &truth, dtype == PAL_F64 ? F64 : F32, "%s, mode %s, %s on %s", p->name,
                  rule_mode_name(mode), pal_dtype_name(dtype), isa_name());
        run_free(&r);
    }
    run_free(&truth);
    rule_inputs_free(x);
}
END_TEST

/* ---- Accuracy of what cancels in other forms ---- */

/*
 * In f32, under a loss on the output alone: the output, the gradient of om and that of the initial
 * angles, where a token's own part is all that there is, where the state is rarely reset over a
 * long sequence, and where angles go around often. A loss on the final angles would hide errors,
 * since it gives dom a large part that is exact.
 */
START_TEST(angles_keep_their_digits)
{
    static const struct {
        m3_problem p;
        double o, om, th;
    } rows[] = {
        {{"g = -20, lam = 1e-4", SIZES(257, 4, 1, 32, 16, 8, 1), .decay = DECAY_20, .lam = 1e-4,
          .bare = true},
         1e-6,
         5e-6,
         1},
        {{"resets at g = -60", SIZES(2048, 4, 1, 32, 16, 8, 1), .decay = DECAY_TENTH},
         1e-6,
         1e-6,
         1e-6},
        {{"resets, four rows", SIZES(2048, 4, 1, 32, 16, 8, 4), .decay = DECAY_TENTH, .half = true},
         1e-6,
         1e-6,
         1e-6},
    };
    const m3_problem *p = &rows[_i / 2].p;
    const m3_by by = {p, modes[_i % 2]};
    pal_array x[RULE_INPUTS];
    m3_draw(p, 5, x);
    run_setup s = m3_setup(m3_whole, &by, x, PAL_F64);
    s.output_loss = true;
    run_result truth = run(&s);
    s.dtype = PAL_F32;
    for (int isa = 0; isa < ISAS; isa++) {
        if (!test_isa(isa, p->name)) continue;
        run_result r = run(&s);
        const int at[] = {0, RUN_OUTPUTS + M3_OM, RUN_OUTPUTS + IN_MORE};
        const double bound[] = {rows[_i / 2].o, rows[_i / 2].om, rows[_i / 2].th};
        for (int i = 0; i < 3; i++) {
            const pal_array *a = &r.value[at[i]];
            if (!a->data) continue;
            const double error = run_error(pal_array_count(a), a->data, truth.value[at[i]].data);
            printf("%-20s %-9s on %-6s: %s %.2e\n", p->name, rule_mode_name(by.mode), isa_name(),
                   truth.name[at[i]], error);
            ck_assert_msg(error <= bound[i], "%s, mode %s on %s: %s is off by %.2e", p->name,
                          rule_mode_name(by.mode), isa_name(), truth.name[at[i]], error);
        }
        run_free(&r);
    }
    run_free(&truth);
    rule_inputs_free(x);
}
END_TEST

/* ---- Causal ---- */

typedef struct pieces {
    const m3_problem *p;
    pal_rule_mode mode;
    int count;
    const int64_t *cut;
} pieces;

/* Of all tokens, the output of those before the cut. */
static void prefix(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const pieces *c = context;
    pal_rule_out r = m3_call(in, m3_options(c->p, c->mode, in));
    m3_outputs(r, out);
    out[0] = pal_slice(r.o, 1, 0, c->cut[1], 1);
    for (int i = 1; i < 1 + PAL_RULE_STATES; i++) out[i] = pal_detach(out[i]);
}

static const m3_problem cut_up[] = {
    {"one row", SIZES(80, 4, 2, 20, 12, 5, 1)},
    {"four rows", SIZES(80, 4, 2, 20, 12, 5, 4), .half = true},
    {"g = -20, lam = 1e-4", SIZES(80, 4, 2, 20, 12, 5, 1), .decay = DECAY_20, .lam = 1e-4},
};
enum { CUT_UP = sizeof cut_up / sizeof *cut_up };

static void leave_out(run_result *r, int value)
{
    free(r->value[value].data);
    r->value[value].data = NULL;
}

/* Halves the inputs first .. last from token `cut` on; `one` says that only those of that token. */
static void change(const m3_problem *p, pal_array *x, int first, int last, int64_t cut, bool one)
{
    for (int j = first; j <= last; j++) {
        const int64_t per = pal_array_count(&x[j]) / p->T;
        for (int64_t k = cut * per; k < (one ? cut + 1 : p->T) * per; k++)
            ((double *)x[j].data)[k] *= 0.5;
    }
}

/* Tokens from t on change nothing before t, to the bit: no output, and no gradient of a loss on the
 * outputs before t. Neither does the next token's step alone, with which the write of token t - 1
 * is weighed. */
START_TEST(causal)
{
    static const int64_t cuts[] = {1, 16, 37, 64};
    const m3_problem *p = &cut_up[_i % CUT_UP];
    for (int i = 0; i < 16 * ISAS; i++) {
        if (!test_isa(i / 16, p->name)) continue;
        const bool step = i / 8 % 2;
        if (!test_all() && i % 2 != (i / 2 + i / 8 + _i) % 2) continue; /* one of both types */
        const int64_t cut[] = {0, cuts[i / 2 % 4]};
        const pieces c = {p, modes[_i / CUT_UP], 1, cut};
        const pal_dtype dtype = i % 2 ? PAL_F32 : PAL_F64;
        pal_array x[RULE_INPUTS];
        m3_draw(p, 3, x);
        run_result one = m3_run_by(prefix, &c, x, dtype);
        change(p, x, step ? M3_DT : M3_X, step ? M3_DT : M3_C, cut[1], step);
        run_result two = m3_run_by(prefix, &c, x, dtype);
        for (int j = 0; j < RUN_VALUES; j++)
            if (j == 1 || j >= RUN_MORE) leave_out(&one, j), leave_out(&two, j); /* they differ */
        run_identical(&two, &one, "%s, mode %s, %s on %s, %s from %lld on changed", p->name,
                      rule_mode_name(c.mode), pal_dtype_name(dtype), isa_name(),
                      step ? "the step" : "tokens", (long long)cut[1]);
        run_free(&one), run_free(&two);
        rule_inputs_free(x);
    }
}
END_TEST

/* ---- Bits ---- */

static const m3_problem threaded[] = {
    {"one long head", SIZES(300, 1, 1, 24, 64, 6, 1)},
    {"packed", SIZES(300, 2, 1, 24, 40, 6, 1), PACKED(5, 0, 0, 37, 150, 151, 300)},
    {"many heads, two groups", .B = 2, .T = 70, .H = 6, .G = 2, .N = 24, .P = 40, .J = 6, .R = 1},
    {"four rows", .B = 2, .T = 70, .H = 4, .G = 1, .N = 24, .P = 40, .J = 6, .R = 4, .half = true},
    {"two rows, one long head", SIZES(300, 1, 1, 24, 64, 6, 2)},
    {"sixteen heads of one group", SIZES(40, 16, 1, 24, 40, 6, 1)},
    {"24 heads of one group, packed", SIZES(70, 24, 1, 24, 40, 6, 2), PACKED(3, 0, 37, 37, 70)},
    {"eight rows, packed, two groups", SIZES(150, 4, 2, 24, 40, 6, 8), PACKED(3, 0, 37, 38, 150),
     .half = true},
};
enum { THREADED = sizeof threaded / sizeof *threaded };

START_TEST(threads_change_no_bit)
{
    static const int threads[] = {2, 3, 16};
    const m3_problem *p = &threaded[_i];
    pal_array x[RULE_INPUTS];
    m3_draw(p, 3, x);
    for (int i = 0; i < 4 * ISAS; i++) {
        if (!test_isa(i / 4, p->name)) continue;
        const pal_rule_mode mode = modes[i / 2 % 2];
        const pal_dtype dtype = i % 2 ? PAL_F32 : PAL_F64;
        pal_set_threads(1);
        run_result one = m3_run(p, x, dtype, mode);
        for (int t = 0; t < 3; t++) {
            if (!test_all() && t != (_i + i) % 3) continue;
            pal_set_threads(threads[t]);
            run_result r = m3_run(p, x, dtype, mode);
            run_identical(&r, &one, "%s, mode %s, %s on %s with %d threads", p->name,
                          rule_mode_name(mode), pal_dtype_name(dtype), isa_name(), threads[t]);
            run_free(&r);
        }
        run_free(&one);
    }
    rule_inputs_free(x);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, fused_is_composed, 0, ROWS);
    tcase_add_loop_test(tc, angles_keep_their_digits, 0, 6);
    tcase_add_loop_test(tc, causal, 0, MODES * CUT_UP);
    tcase_add_loop_test(tc, threads_change_no_bit, 0, THREADED);
}

int main(void) { return rule_test_main("mamba3", add); }
