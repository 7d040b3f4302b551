/*
 * test_rule_limits.c - limits of the rules: where NaN and infinity may get to, results that have to
 * be finite, denormal numbers, wrong arguments, and memory beyond the caches.
 */
#include "tests/support/check.h"
#include "tests/support/inputs.h"
#include "tests/support/rule_compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const pal_rule_mode modes[] = {PAL_RULE_COMPOSED, PAL_RULE_CHUNK, PAL_RULE_RECURRENT};
enum { MODES = sizeof modes / sizeof *modes };

/* ---- Not a number ---- */

/* The entries that one wrong number may reach: those of a batch row or packed sequence, of a range
 * of value heads, and of the key head that they read. */
typedef struct reach {
    const rule_problem *p;
    int64_t row, first_head, last_head, key_head;
} reach;

/* Whether the wrong number may reach this entry. A parameter of the rule has no time axis, so it
 * belongs to every row. */
static bool reached(const reach *to, const run_result *r, int value, int64_t i)
{
    const pal_array *x = &r->value[value];
    int input = value == 1 ? IN_STATE : value - RUN_OUTPUTS;
    int time = value == 0 ? 1 : rule_time_axis(input, x);
    int heads = value == 0 ? 2 : rule_head_axis(input, x);
    int64_t at[PAL_MAX_DIMS] = {0};
    for (int d = x->ndim - 1; d >= 0; i /= x->shape[d--]) at[d] = i % x->shape[d];
    int64_t row = at[0];
    for (int n = 0; time == 1 && n < to->p->sequences; n++)
        if (at[1] >= to->p->offsets[n] && at[1] < to->p->offsets[n + 1]) row = n;
    bool everywhere = time < 0 && input != IN_STATE;
    bool keys = x->shape[heads] == to->p->H;
    bool head = keys ? at[heads] == to->key_head
                     : at[heads] >= to->first_head && at[heads] <= to->last_head;
    return head && (everywhere || to->row < 0 || row == to->row);
}

static const rule_problem rows = {"rows",  .B = 3,  .T = 20, .H = 2,
                                  .HV = 4, .K = 20, .V = 12, .chunk = 16};
static const rule_problem packed = {
    "packed", .B = 1,  .T = 30,     .H = 2,         .HV = 4,
    .K = 20,  .V = 12, .chunk = 16, .sequences = 3, .offsets = {0, 3, 21, 30}};

/* Puts a wrong number into input i, at the first or last token of the middle row or sequence, in
 * the last head. Returns what it may reach. */
static reach spoil(const rule_problem *p, int i, pal_array *x, double wrong, bool last)
{
    int heads = rule_head_axis(i, x), time = rule_time_axis(i, x);
    int64_t at[PAL_MAX_DIMS] = {0}, flat = 0;
    reach to = {.p = p, .row = -1, .key_head = p->H - 1, .first_head = p->HV - p->HV / p->H};
    to.last_head = p->HV - 1;
    at[heads] = x->shape[heads] - 1;
    if (x->shape[heads] == p->HV) to.first_head = to.last_head;
    if (time == 1 || i == IN_STATE) to.row = 1;
    if (time == 1 ? !p->sequences : i == IN_STATE) at[0] = 1;
    if (time == 1 && p->sequences) at[1] = last ? p->offsets[2] - 1 : p->offsets[1];
    if (time == 1 && !p->sequences) at[1] = last ? p->T - 1 : 0;
    for (int d = 0; d < x->ndim; d++) flat = flat * x->shape[d] + at[d];
    ((double *)x->data)[flat] = wrong;
    return to;
}

static void check_reach(const reach *to, const run_result *clean, const run_result *spoilt,
                        const char *text)
{
    bool any = false;
    for (int v = 0; v < RUN_VALUES; v++) {
        const double *x = clean->value[v].data, *y = spoilt->value[v].data;
        for (int64_t i = 0; x && i < pal_array_count(&clean->value[v]); i++) {
            if (reached(to, clean, v, i))
                any = any || (v == 0 && !isfinite(y[i]));
            else if (!(x[i] == y[i]))
                ck_abort_msg("%s: entry %lld of %s was %g and is %g", text, (long long)i,
                             clean->name[v], x[i], y[i]);
        }
    }
    ck_assert_msg(any, "%s: it did not even reach its own output", text);
}

/* The number of inputs of all rules together, with an initial state for each. */
static int inputs(void)
{
    int n = 0;
    for (int rule = 0; rule < RULES; rule++) n += rule_operands(rule) + 1;
    return n;
}

/* A NaN or infinity in one sequence does not reach other rows, packed sequences or groups of heads,
 * neither forward nor backward. All of these keep their bits. */
START_TEST(nan_stays)
{
    int rule = 0, which = _i;
    while (which > rule_operands(rule)) which -= rule_operands(rule++) + 1;
    if (which == rule_operands(rule)) which = IN_STATE;
    for (int i = 0; i < 4 * MODES; i++) {
        const rule_problem *p = i % 2 ? &packed : &rows;
        bool last = i / 2 % 2;
        double wrong = last ? INFINITY : NAN;
        pal_rule_mode mode = modes[i / 4];
        pal_array x[RULE_INPUTS];
        char text[128];
        snprintf(text, sizeof text, "%s, %s, mode %s, %g in input %d",
                 pal_rule_name(pal_rule_at(rule)), p->name, rule_mode_name(mode), wrong, which);
        rule_draw(p, rule, 3, x);
        run_result clean = run_rule(p, rule, x, PAL_F32, mode);
        reach to = spoil(p, which, &x[which], wrong, last);
        run_result spoilt = run_rule(p, rule, x, PAL_F32, mode);
        check_reach(&to, &clean, &spoilt, text);
        run_free(&clean);
        run_free(&spoilt);
        rule_inputs_free(x);
    }
}
END_TEST

/* ---- Nothing to do ---- */

/* An empty sequence does not change a bit of its state, nor of the state's gradient. */
START_TEST(empty_sequences_pass_the_state_on)
{
    static const rule_problem p = {"empty", .B = 1,         .T = 20,
                                   .H = 1,  .HV = 2,        .K = 20,
                                   .V = 12, .sequences = 4, .offsets = {0, 0, 5, 5, 20}};
    int rule = _i % RULES;
    int64_t n = p.HV * p.K * p.V;
    double *dS = malloc((size_t)(p.sequences * n) * sizeof *dS);
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 3, x);
    pal_draw_cotangent(101, p.sequences * n, dS);
    run_result r = run_rule(&p, rule, x, PAL_F32, modes[_i / RULES]);
    const double *S0 = x[IN_STATE].data, *S = r.value[1].data,
                 *dS0 = r.value[RUN_OUTPUTS + IN_STATE].data;
    for (int64_t i = 0; i < p.sequences * n; i++) {
        bool empty = i / n % 2 == 0 && i / n < 3;
        if (empty && !(S[i] == S0[i] && dS0[i] == dS[i]))
            ck_abort_msg("entry %lld went from %g to %g, its gradient from %g to %g", (long long)i,
                         S0[i], S[i], dS[i], dS0[i]);
    }
    ck_assert(memcmp(S + n, S0 + n, (size_t)n * sizeof *S) != 0);
    free(dS);
    run_free(&r);
    rule_inputs_free(x);
}
END_TEST

/* ---- Decay from a projection ---- */

START_TEST(log_decay_is_finite)
{
    static const float f[] = {25, -200, 0, -200, 25}, A_log[] = {1, 100, 100, 1, -30};
    pal_tape *tape = pal_tape_new();
    for (int form = 0; form < 2; form++) {
        pal_tensor x = pal_want_grad(pal_from(tape, PAL_F32, PAL_SHAPE(1, 1, 5), f));
        pal_tensor a = pal_want_grad(pal_from(tape, PAL_F32, PAL_SHAPE(5), A_log));
        pal_tensor bias = pal_want_grad(pal_zeros(tape, PAL_F32, PAL_SHAPE(5)));
        pal_tensor g = pal_log_decay(x, a, bias, form ? -5 : 0);
        ck_assert(pal_backward(pal_sum(pal_exp(g), PAL_ALL, false)) == PAL_OK);
        const pal_tensor all[] = {g, pal_grad(x), pal_grad(a), pal_grad(bias)};
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 5; j++) ck_assert(isfinite(pal_f32(all[i])[j]));
        if (!form) { /* g is -25 exp(1), or very low */
            ck_assert(fabs(pal_f32(g)[0] + exp(1) * 25) <= 1e-4);
            ck_assert(pal_f32(g)[2] < -1e30);
        } else {
            for (int j = 0; j < 5; j++) ck_assert(pal_f32(g)[j] >= -5 && pal_f32(g)[j] <= 0);
        }
    }
    pal_tape_free(tape);
}
END_TEST

/* ---- Errors ---- */

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

static void expect(pal_tape *tape, pal_error *heard, pal_rule_out r, pal_status status,
                   const char *words)
{
    ck_assert_msg(heard->status == status && strstr(heard->message, words), "got \"%s\"",
                  heard->message);
    ck_assert(pal_tape_status(tape) == status);
    ck_assert_int_eq(pal_count(r.o), 0);
    *heard = (pal_error){PAL_OK, ""};
    pal_tape_reset(tape);
}

static pal_tensor ones(pal_tape *tape, pal_shape shape)
{
    return pal_full(tape, PAL_F32, shape, 1);
}

START_TEST(wrong_arguments)
{
    pal_tape *t = pal_tape_new();
    pal_error heard = {PAL_OK, ""};
    pal_rule_opts none = {0};
    pal_set_error_handler(hear, &heard);
    pal_shape qk = PAL_SHAPE(2, 5, 2, 3), vw = PAL_SHAPE(2, 5, 4, 6), one = PAL_SHAPE(2, 5, 4);
    expect(
        t, &heard,
        pal_gdn2(ones(t, qk), ones(t, vw), ones(t, vw), PAL_NONE, ones(t, qk), ones(t, vw), none),
        PAL_ESHAPE, "gdn2: argument k is f32[2,5,4,6] and should be [B=2,T=5,H=2,K=3]");
    expect(t, &heard,
           pal_kda(ones(t, qk), ones(t, qk), ones(t, PAL_SHAPE(2, 5, 3, 6)), PAL_NONE,
                   ones(t, PAL_SHAPE(2, 5, 3)), none),
           PAL_ESHAPE, "kda: 3 heads cannot share 2 evenly");
    expect(t, &heard, pal_gdn(ones(t, qk), PAL_NONE, ones(t, vw), PAL_NONE, ones(t, one), none),
           PAL_ESTALE, "gdn: argument k is empty");
    pal_tensor f64 = pal_zeros(t, PAL_F64, vw);
    expect(t, &heard, pal_gdn(ones(t, qk), ones(t, qk), f64, PAL_NONE, ones(t, one), none),
           PAL_EDTYPE, "gdn: argument v is f64; all must be f32");
    pal_rule_opts opts = {.offsets = pal_from(t, PAL_I64, PAL_SHAPE(3), (int64_t[]){0, 3, 5})};
    expect(t, &heard, pal_deltanet(ones(t, qk), ones(t, qk), ones(t, vw), ones(t, one), opts),
           PAL_ESHAPE, "deltanet: packed sequences need B = 1");
    qk = PAL_SHAPE(1, 5, 2, 3), vw = PAL_SHAPE(1, 5, 4, 6), one = PAL_SHAPE(1, 5, 4);
    opts.offsets = pal_from(t, PAL_I64, PAL_SHAPE(4), (int64_t[]){0, 3, 2, 5});
    expect(t, &heard, pal_deltanet(ones(t, qk), ones(t, qk), ones(t, vw), ones(t, one), opts),
           PAL_EVALUE, "deltanet: offsets must run from 0 to T = 5");
    opts = (pal_rule_opts){.state = ones(t, PAL_SHAPE(1, 4, 6, 3))};
    expect(t, &heard, pal_deltanet(ones(t, qk), ones(t, qk), ones(t, vw), ones(t, one), opts),
           PAL_ESHAPE, "argument state is f32[1,4,6,3] and should be [S=1,HV=4,K=3,V=6]");
    opts = (pal_rule_opts){.mode = (pal_rule_mode)77};
    expect(t, &heard, pal_deltanet(ones(t, qk), ones(t, qk), ones(t, vw), ones(t, one), opts),
           PAL_EVALUE, "deltanet: there is no mode 77");
    pal_set_error_handler(NULL, NULL);
    pal_tape_free(t);
}
END_TEST

/* ---- Numbers below the smallest normal one ---- */

static int64_t count_denormal(pal_tensor t)
{
    const float *x = pal_f32(pal_contiguous(t));
    int64_t n = 0;
    for (int64_t i = 0; i < pal_count(t); i++) n += fpclassify(x[i]) == FP_SUBNORMAL;
    return n;
}

/* A state of ones decays by exp(-1.3) a token and is read. After T tokens 1e-39 to 1e-42 is
 * left. */
static pal_rule_out fade(pal_tape *tape, pal_rule_mode mode)
{
    enum { T = 70, H = 3, N = 16 };
    const pal_shape keys = PAL_SHAPE(1, T, H, N);
    const pal_rule_opts opts = {
        .mode = mode,
        .scale = 1,
        .state = pal_want_grad(pal_full(tape, PAL_F32, PAL_SHAPE(1, H, N, N), 1))};
    pal_rng rng = pal_rng_new(3, 0);
    const pal_tensor k = pal_l2_norm(pal_normal(tape, PAL_F32, keys, 0, 1, &rng), 1e-6);
    const pal_tensor g = pal_want_grad(pal_full(tape, PAL_F32, keys, -1.3));
    const pal_tensor half = pal_full(tape, PAL_F32, keys, 0.5);
    const pal_rule_out r = pal_gdn2(k, k, pal_zeros(tape, PAL_F32, keys), g, half, half, opts);
    ck_assert(pal_backward(pal_add(pal_sum(r.o, PAL_ALL, false),
                                   pal_sum(r.state, PAL_ALL, false))) == PAL_OK);
    ck_assert(pal_is_none(pal_grad(g)) || mode == PAL_RULE_COMPOSED ||
              count_denormal(pal_grad(g)) == 0);
    return r;
}

/* The fused rules return no denormal numbers, on any number of threads, and leave the mode of every
 * thread as it was. */
START_TEST(denormal_numbers_are_zeros)
{
    const pal_rule_mode mode = modes[_i];
    pal_tape *tape = pal_tape_new();
    pal_set_threads(1);
    const pal_rule_out one = fade(tape, mode);
    const int64_t found = count_denormal(one.o) + count_denormal(one.state);
    if (mode == PAL_RULE_COMPOSED) /* so there is something to flush */
        ck_assert_int_gt(found, 0);
    else
        ck_assert_int_eq(found, 0);
    for (int threads = 2; threads <= 3; threads++) {
        pal_set_threads(threads);
        const pal_rule_out r = fade(tape, mode);
        ck_assert(memcmp(pal_f32(r.o), pal_f32(one.o), (size_t)pal_count(r.o) * 4) == 0);
        ck_assert(memcmp(pal_f32(r.state), pal_f32(one.state), (size_t)pal_count(r.state) * 4) ==
                  0);
    }
    int flushing = 0;
    volatile float small = 1e-38F;
#pragma omp parallel num_threads(3) reduction(+ : flushing)
    {
        const volatile float half = small * 0.5F;
        flushing += half == 0;
    }
    ck_assert_int_eq(flushing, 0);
    pal_tape_free(tape);
}
END_TEST

/* ---- Size ---- */

/* States that no cache holds are kept in another way (16 MiB and more), and are the same. */
START_TEST(many_kept_states)
{
    static const rule_problem few = {"few",    .B = 1,   .T = 512,    .H = 8,         .HV = 8,
                                     .K = 128, .V = 128, .chunk = 16, .keep_every = 4};
    rule_problem many = few;
    pal_array x[RULE_INPUTS];
    many.keep_every = 1;
    rule_draw(&few, RULE_mamba2, 3, x);
    for (int d = 0; d < 2; d++) {
        const pal_dtype dtype = d ? PAL_F32 : PAL_F64;
        run_result a = run_rule(&few, RULE_mamba2, x, dtype, PAL_RULE_CHUNK),
                   b = run_rule(&many, RULE_mamba2, x, dtype, PAL_RULE_CHUNK);
        run_identical(&b, &a, "%s", pal_dtype_name(dtype));
        run_free(&a);
        run_free(&b);
    }
    rule_inputs_free(x);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, nan_stays, 0, inputs());
    tcase_add_loop_test(tc, empty_sequences_pass_the_state_on, 0, MODES * RULES);
    tcase_add_test(tc, log_decay_is_finite);
    tcase_add_test(tc, wrong_arguments);
    tcase_add_test(tc, many_kept_states);
    tcase_add_loop_test(tc, denormal_numbers_are_zeros, 0, MODES);
}

int main(void) { return rule_test_main("rule limits", add); }
