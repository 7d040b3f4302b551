/*
 * test_rule_kernels.c - compares the fused kernels with the composed rules on the inputs that broke
 * other implementations.
 *
 * Every row of the table runs for every rule, in both fused modes, in f64 and f32. The reference is
 * the composed rule in f64. It goes token by token, through operations whose gradients are tested
 * elsewhere. A row runs on one instruction set; PAL_TEST_ALL=1 takes each of them, and several
 * chunk sizes. Errors are relative to the norm of the reference, however small it is.
 */
#include "tests/support/check.h"
#include "tests/support/inputs.h"
#include "tests/support/rule_compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- The table ---- */

#define SIZES(t, h, hv, k, v) .B = 1, .T = t, .H = h, .HV = hv, .K = k, .V = v
#define RAGGED(t)                                                             \
    {.name = "g = -20, T = " #t, SIZES(t, 1, 2, 20, 12), .decay = DECAY_20},  \
    {                                                                         \
        .name = "g = 0, T = " #t, SIZES(t, 1, 2, 20, 12), .decay = DECAY_ZERO \
    }
#define WIDTH(k, v)                                                       \
    {                                                                     \
        .name = "K = " #k ", V = " #v, SIZES(21, 1, 1, k, v), .chunk = 16 \
    }
#define PACKED(n, ...) .sequences = n, .offsets = {__VA_ARGS__}

static const rule_problem table[] = {
    /* Lengths around multiples of the chunk */
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

    /* No decay, mixed decay */
    {"half of g is 0", SIZES(100, 1, 2, 20, 12), .decay = DECAY_HALF},
    {"g in [-316, 0)", SIZES(100, 1, 2, 20, 12), .decay = DECAY_WIDE},
    {"g starts at -90, then 0", SIZES(100, 1, 2, 20, 12), .decay = DECAY_FIRST},
    {"decay 1e-12 a token", SIZES(100, 1, 2, 20, 12), .decay = DECAY_1E12},
    {"g is -316 one time in ten", SIZES(100, 1, 2, 20, 12), .decay = DECAY_TENTH},
    {"g is -inf one time in ten", SIZES(100, 1, 2, 20, 12), .decay = DECAY_INFINITE},
    {"g absent", SIZES(40, 1, 2, 20, 12), .decay = DECAY_ABSENT},

    /* Gates that are exactly 0 or 1, and tokens with the same key */
    {"gates exactly 0 or 1", SIZES(70, 1, 2, 20, 12), .gates = GATES_SATURATED},
    {"gates 0 or 1, no decay", SIZES(70, 1, 2, 20, 12), .gates = GATES_SATURATED,
     .decay = DECAY_ZERO},
    {"one key, gates 1, no decay", SIZES(130, 1, 2, 20, 12), .gates = GATES_ONE, .keys = KEYS_SAME,
     .decay = DECAY_ZERO},
    {"one key", SIZES(70, 1, 2, 20, 12), .keys = KEYS_SAME},

    /* Each of 8 16 24 33 48 64 100 128 192 256 as K and as V, and the smallest and largest
     * widths */
    WIDTH(8, 16),
    WIDTH(16, 8),
    WIDTH(24, 33),
    WIDTH(33, 24),
    WIDTH(48, 100),
    WIDTH(64, 48),
    WIDTH(100, 64),
    WIDTH(128, 192),
    WIDTH(192, 256),
    WIDTH(256, 128),
    WIDTH(64, 64),
    WIDTH(1, 24),
    WIDTH(24, 1),
    /* With eight heads, because a gradient of one number could cancel by chance */
    {"K = 1, V = 1", SIZES(21, 8, 8, 1, 1), .chunk = 16},
    WIDTH(1, 40),
    WIDTH(40, 1),
    WIDTH(512, 40),
    WIDTH(40, 512),

    /* Numbers of heads, and groups of B and C in Mamba-2 */
    {"one head", SIZES(40, 1, 1, 20, 12)},
    {"HV = 2H", SIZES(40, 2, 4, 20, 12)},
    {"HV = 3H", SIZES(40, 2, 6, 20, 12)},
    {"four groups of two heads", SIZES(40, 4, 8, 20, 12)},
    {"gates of value heads", SIZES(40, 2, 4, 20, 12), .gate_heads = 4},
    {"three batch rows", .B = 3, .T = 40, .H = 2, .HV = 4, .K = 20, .V = 12},
    {"a scale", SIZES(40, 1, 2, 20, 12), .scale = 0.7},

    /* Losses and initial states */
    {"loss on the final state alone", SIZES(40, 1, 2, 20, 12), .state_loss = true},
    {"loss on the output alone", SIZES(40, 1, 2, 20, 12), .output_loss = true},
    {"no initial state", SIZES(70, 1, 2, 20, 12), .no_state = true},
    {"a constant initial state", SIZES(70, 1, 2, 20, 12), .state_constant = true},
    {"no token", SIZES(0, 1, 2, 20, 12)},

    /* Packed sequences */
    {"packed 0 0 5 5 70 70", SIZES(70, 1, 2, 20, 12), PACKED(5, 0, 0, 5, 5, 70, 70)},
    {"packed 0 15 100 300", SIZES(300, 1, 2, 20, 12), PACKED(3, 0, 15, 100, 300)},
    {"packed, lengths 1 and 0", SIZES(20, 2, 4, 20, 12), PACKED(4, 0, 1, 1, 2, 20)},
    {"packed, no initial state", SIZES(70, 1, 2, 20, 12), PACKED(2, 0, 33, 70), .no_state = true},
    {"packed, no token", SIZES(0, 1, 2, 20, 12), PACKED(2, 0, 0, 0)},
};
enum { ROWS = sizeof table / sizeof *table };

/* Leaves out rows that mean nothing for a rule. DeltaNet has no decay. Mamba-2 has no unit keys to
 * repeat, and its decay is the product A dt. */
static bool applies(const rule_problem *p, int rule)
{
    if (rule == RULE_deltanet) return p->decay == DECAY_MILD || p->decay == DECAY_ZERO;
    if (rule == RULE_mamba2)
        return p->keys == KEYS_UNIT && p->decay != DECAY_INFINITE && p->decay != DECAY_ABSENT;
    return true;
}

typedef struct pair {
    const rule_problem *p;
    int rule;
} pair;

/* The i-th pair of a row and a rule to which it applies. After the last pair .p is NULL. */
static pair pair_at(int i)
{
    for (int j = 0; j < ROWS * RULES; j++)
        if (applies(&table[j / RULES], j % RULES) && i-- == 0)
            return (pair){&table[j / RULES], j % RULES};
    return (pair){0};
}

static int pairs(void)
{
    int n = 0;
    while (pair_at(n).p) n++;
    return n;
}

/* ---- Against the composed rule ---- */

static const double F64 = 1e-10, F32 = 1e-5;

static const pal_rule_mode fused[] = {PAL_RULE_CHUNK, PAL_RULE_RECURRENT};

static void against_composed(const rule_problem *p, int rule, const pal_array *x,
                             const run_result *truth)
{
    for (int i = 0; i < 4; i++) {
        pal_rule_mode mode = fused[i / 2];
        pal_dtype dtype = i % 2 ? PAL_F32 : PAL_F64;
        run_result r = run_rule(p, rule, x, dtype, mode);
        const char *worst;
        char text[128];
        snprintf(text, sizeof text, "%s, %s, chunk %lld, mode %s, %s on %s",
                 pal_rule_name(pal_rule_at(rule)), p->name, (long long)p->chunk,
                 rule_mode_name(mode), pal_dtype_name(dtype), isa_name());
        double error = run_distance(&r, truth, &worst);
        printf("%-72s %.1e (%s)\n", text, error, worst);
        run_agree(&r, truth, dtype == PAL_F64 ? F64 : F32, "%s", text);
        run_free(&r);
    }
}

START_TEST(fused_is_composed)
{
    static const int64_t chunks[] = {16, 64};
    const rule_problem *p = pair_at(_i).p;
    int rule = pair_at(_i).rule;
    pal_array x[RULE_INPUTS];
    rule_draw(p, rule, (uint64_t)_i, x);
    run_result truth = run_rule(p, rule, x, PAL_F64, PAL_RULE_COMPOSED);
    for (int isa = 0; isa < ISAS; isa++) {
        if (!test_isa(isa, p->name)) continue;
        against_composed(p, rule, x, &truth);
        for (int i = 0; i < 2 && test_all() && !p->chunk; i++) {
            rule_problem q = *p;
            q.chunk = chunks[i];
            against_composed(&q, rule, x, &truth);
        }
    }
    run_free(&truth);
    rule_inputs_free(x);
}
END_TEST

/* ---- Strong decay ---- */

/*
 * The gradients of g, and of Mamba-2's A, at strong decay, where a difference of cumulative sums
 * loses every digit. f32 stays within 2e-6 of f64, relative to the gradient's own norm. The signed
 * mean of the error is printed, because training would follow a bias.
 */
static const struct {
    int rule, input;
} decays[] = {{RULE_gdn2, 3}, {RULE_kda, 3}, {RULE_gdn, 3}, {RULE_mamba2, 2}};
static const rule_decay strong[] = {DECAY_20, DECAY_1E12, DECAY_TENTH};

START_TEST(gradient_of_strong_decay)
{
    static const char *const name[] = {"g = -20", "1e-12 a token", "-316 one time in ten"};
    rule_problem p = {.B = 1, .T = 130, .H = 4, .HV = 8, .K = 20, .V = 12};
    int rule = decays[_i / 3].rule, at = RUN_OUTPUTS + decays[_i / 3].input;
    p.decay = strong[_i % 3];
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 5, x);
    run_result truth = run_rule(&p, rule, x, PAL_F64, PAL_RULE_COMPOSED);
    for (int i = 0; i < 3 * ISAS; i++) {
        pal_rule_mode mode = (pal_rule_mode)(PAL_RULE_COMPOSED + i / ISAS);
        if (!test_isa(i % ISAS, name[_i % 3])) continue;
        run_result r = run_rule(&p, rule, x, PAL_F32, mode);
        const double *dg = r.value[at].data, *exact = truth.value[at].data;
        int64_t n = pal_array_count(&truth.value[at]);
        double error = run_error(n, dg, exact), bias = run_bias(n, dg, exact);
        printf("%-8s d%s, %-20s, %-9s on %-6s: error %.2e, signed mean %+.1e\n",
               pal_rule_name(pal_rule_at(rule)), r.name[at], name[_i % 3], rule_mode_name(mode),
               isa_name(), error, bias);
        ck_assert_msg(error <= 2e-6, "%s, %s: the gradient of %s in mode %s on %s is off by %.3g",
                      pal_rule_name(pal_rule_at(rule)), name[_i % 3], r.name[at],
                      rule_mode_name(mode), isa_name(), error);
        run_free(&r);
    }
    run_free(&truth);
    rule_inputs_free(x);
}
END_TEST

/* ---- Erase gate 2 ---- */

static void fill(const pal_array *x, double value)
{
    for (int64_t i = 0; i < pal_array_count(x); i++) ((double *)x->data)[i] = value;
}

static double norm(const pal_array *x)
{
    double sum = 0;
    for (int64_t i = 0; i < pal_array_count(x); i++) sum += pow(((double *)x->data)[i], 2);
    return sqrt(sum);
}

/*
 * With one unit key k, gates of 2 and a constant value v, every token reflects S - k v^T by I - 2 k
 * k^T. After an even number of tokens the state is the initial one, and so is its gradient.
 */
START_TEST(reflections_do_not_grow)
{
    rule_problem p = {.B = 1, .T = 4096, .H = 1, .HV = 1, .K = 16, .V = 12, .decay = DECAY_ZERO};
    int rule = _i / 2;
    pal_dtype dtype = _i % 2 ? PAL_F32 : PAL_F64;
    double tolerance = dtype == PAL_F32 ? 1e-3 : 1e-10;
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 5, x);
    p.state_loss = true;
    for (int64_t i = 0; i < pal_array_count(&x[1]); i++)
        ((double *)x[1].data)[i] = i % p.K % 3 ? 0.25 : -0.25;
    fill(&x[2], 0.5);
    for (int i = 3; i < rule_operands(rule); i++)
        if (rule_names(rule)[i][0] != 'g') fill(&x[i], 2);
    for (int m = 0; m < 2; m++) {
        run_result r = run_rule(&p, rule, x, dtype, fused[m]);
        const pal_array *o = &r.value[0], *S = &r.value[1], *dS0 = &r.value[RUN_OUTPUTS + IN_STATE];
        int64_t n = p.K * p.V;
        double most = norm(&x[IN_STATE]) + 2 * 0.5 * sqrt((double)p.V);
        for (int64_t i = 0; i < pal_array_count(o); i++)
            if (!(fabs(((double *)o->data)[i]) <= most))
                ck_abort_msg("o grows to %g", ((double *)o->data)[i]);
        double error = run_error(n, S->data, x[IN_STATE].data);
        ck_assert_msg(error <= tolerance, "%s, %s, %s: the state has moved by %g",
                      pal_rule_name(pal_rule_at(rule)), rule_mode_name(fused[m]),
                      pal_dtype_name(dtype), error);
        double *dS = malloc((size_t)n * sizeof *dS);
        pal_draw_cotangent(101, n, dS);
        error = run_error(n, dS0->data, dS);
        ck_assert_msg(error <= tolerance, "%s, %s, %s: its gradient has moved by %g",
                      pal_rule_name(pal_rule_at(rule)), rule_mode_name(fused[m]),
                      pal_dtype_name(dtype), error);
        free(dS);
        run_free(&r);
    }
    rule_inputs_free(x);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, fused_is_composed, 0, pairs());
    tcase_add_loop_test(tc, gradient_of_strong_decay, 0, 4 * 3);
    tcase_add_loop_test(tc, reflections_do_not_grow, 0, 2 * RULE_mamba2);
}

int main(void) { return rule_test_main("rule kernels", add); }
