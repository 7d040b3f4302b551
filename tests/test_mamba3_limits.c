/*
 * test_mamba3_limits.c - what single inputs of Mamba-3 do: NaN, a step of 0, angles that have gone
 * around often, one loss or one gradient alone, empty sequences, and calls that are wrong.
 */
#include "tests/support/check.h"
#include "tests/support/inputs.h"
#include "tests/support/mamba3.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double F64 = 1e-10, TURN = 6.283185307179586;
static const pal_rule_mode modes[] = {PAL_RULE_CHUNK, PAL_RULE_RECURRENT, PAL_RULE_COMPOSED};
enum { MODES = sizeof modes / sizeof *modes };

#define SIZES(t, h, g, n, p, j, r) .B = 1, .T = t, .H = h, .G = g, .N = n, .P = p, .J = j, .R = r
#define PACKED(n, ...)             .sequences = n, .offsets = {__VA_ARGS__}

/* ---- NaN ---- */

/* What a number that is not finite may reach: one sequence, and these heads of it. */
typedef struct reach {
    int64_t sequence, first, end;
} reach;

/* Where the axes of a value are. Axis 0 is B (or heads or sequences), axis 1 is T or heads. */
typedef struct axes {
    bool tokens, states; /* [B,T,..], [S,..] */
    int heads;           /* -1: none */
} axes;

static axes axes_of(int value)
{
    const int input = value - RUN_OUTPUTS;
    if (value == 0) return (axes){.tokens = true, .heads = 2};
    if (value == 1 || value >= RUN_MORE || input == IN_STATE || input >= IN_MORE)
        return (axes){.states = true, .heads = 1};
    if (input == M3_OM) return (axes){.tokens = true, .heads = -1};
    if (input == M3_B || input == M3_C) return (axes){.tokens = true, .heads = 3};
    return input < M3_B ? (axes){.tokens = true, .heads = 2} : (axes){.heads = 0};
}

static int64_t sequence_of(const m3_problem *p, int64_t b, int64_t t)
{
    int64_t n = 0;
    if (!p->sequences) return b;
    while (t >= p->offsets[n + 1]) n++;
    return n;
}

/* Whether entry i of a value may change. Biases, D and mimo_x have gradients summed over
 * sequences. */
static bool reached(const m3_problem *p, const reach *to, int value, const pal_array *x, int64_t i)
{
    const axes a = axes_of(value);
    int64_t at[PAL_MAX_DIMS];
    for (int d = x->ndim - 1; d >= 0; i /= x->shape[d--]) at[d] = i % x->shape[d];
    if (a.tokens && sequence_of(p, at[0], at[1]) != to->sequence) return false;
    if (a.states && at[0] != to->sequence) return false;
    if (a.heads < 0) return true;
    const int64_t share = p->H / x->shape[a.heads], head = at[a.heads] * share;
    return head < to->end && head + share > to->first;
}

/* Puts `wrong` into the middle sequence: a number of the last head or, of what heads share, of the
 * last group. */
static reach spoil(const m3_problem *p, int input, pal_array *x, double wrong)
{
    const axes a = axes_of(RUN_OUTPUTS + input);
    int64_t at[PAL_MAX_DIMS] = {0}, flat = 0;
    const int64_t n = a.heads < 0 ? 1 : x->shape[a.heads], share = p->H / n;
    if (a.heads >= 0) at[a.heads] = n - 1;
    if (a.tokens && p->sequences)
        at[1] = p->offsets[1] + 2;
    else
        at[0] = 1;
    for (int d = 0; d < x->ndim; d++) flat = flat * x->shape[d] + at[d];
    ((double *)x->data)[flat] = wrong;
    return (reach){1, (n - 1) * share, p->H};
}

static const m3_problem three[] = {
    {"rows", .B = 3, .T = 20, .H = 4, .G = 2, .N = 20, .P = 12, .J = 5, .R = 2},
    {"packed", SIZES(50, 4, 2, 20, 12, 5, 4), PACKED(3, 0, 17, 31, 50), .half = true},
};

/* A NaN or infinity in one sequence reaches no other row of a batch, no packed neighbour and, in
 * what a head has for itself, no other head, forward or backward. All of these keep their bits. */
START_TEST(nan_stays)
{
    static const int inputs[] = {M3_X, M3_DT,    M3_G,    M3_LAM,      M3_OM,      M3_B,
                                 M3_C, IN_STATE, IN_MORE, IN_MORE + 1, IN_MORE + 2};
    const m3_problem *p = &three[_i % 2];
    const pal_rule_mode mode = modes[_i / 2];
    pal_array x[RULE_INPUTS];
    m3_draw(p, 3, x);
    run_result clean = m3_run(p, x, PAL_F32, mode);
    rule_inputs_free(x);
    for (size_t k = 0; k < 2 * sizeof inputs / sizeof *inputs; k++) {
        const int at = inputs[k / 2];
        bool any = false;
        if (!test_all() && k % 2 != (k / 2 + (size_t)(_i / 2)) % 2) continue; /* NaN or infinity */
        m3_draw(p, 3, x);
        const reach to = spoil(p, at, &x[at], k % 2 ? NAN : INFINITY);
        run_result spoilt = m3_run(p, x, PAL_F32, mode);
        for (int v = 0; v < RUN_VALUES; v++) {
            const double *a = clean.value[v].data, *b = spoilt.value[v].data;
            for (int64_t i = 0; a && i < pal_array_count(&clean.value[v]); i++) {
                const bool may = reached(p, &to, v, &clean.value[v], i);
                any = any || (may && !isfinite(b[i]));
                ck_assert_msg(may || a[i] == b[i], "%s, mode %s, input %d: entry %lld of %s is %g",
                              p->name, rule_mode_name(mode), at, (long long)i, clean.name[v], b[i]);
            }
        }
        ck_assert_msg(any, "%s, mode %s: input %d was not seen", p->name, rule_mode_name(mode), at);
        run_free(&spoilt);
        rule_inputs_free(x);
    }
    run_free(&clean);
}
END_TEST

/* ---- A step of 0 ---- */

/* One head of one channel without angles, so that the recurrence is three numbers. The second
 * token has dt = 0 and so g = 0: the matrix stays as it is and what was left of the first write is
 * lost, since the third token adds that of the second. */
START_TEST(a_step_of_zero)
{
    static const double x[] = {1.5, -2, 0.7}, dt[] = {0.5, 0, 0.8}, g[] = {-0.1, 0, -0.3},
                        lam[] = {0.3, 0.6, 0.25}, k[] = {1, 2, 3}, q[] = {0.5, -1, 2};
    const double h = lam[0] * dt[0] * k[0] * x[0];
    const double last =
        exp(g[2]) * (h + (1 - lam[2]) * dt[2] * k[1] * x[1]) + lam[2] * dt[2] * k[2] * x[2];
    const double o[] = {q[0] * h, q[1] * h, q[2] * last};
    pal_tape *tape = pal_tape_new();
    for (int n = 2; n <= 3; n++) { /* tokens */
        const pal_shape by_head = PAL_SHAPE(1, n, 1), rows = PAL_SHAPE(1, n, 1, 1, 1);
        const pal_rule_opts opts = {.mode = modes[_i]};
        const pal_rule_out r = pal_mamba3(
            pal_from(tape, PAL_F64, PAL_SHAPE(1, n, 1, 1), x), pal_from(tape, PAL_F64, by_head, dt),
            pal_from(tape, PAL_F64, by_head, g), pal_from(tape, PAL_F64, by_head, lam),
            pal_zeros(tape, PAL_F64, PAL_SHAPE(1, n, 0)), pal_from(tape, PAL_F64, rows, k),
            pal_from(tape, PAL_F64, rows, q), PAL_NONE, PAL_NONE, PAL_NONE, PAL_NONE, opts);
        const double *got = pal_f64(pal_contiguous(r.o));
        for (int t = 0; t < n; t++)
            ck_assert_msg(fabs(got[t] - o[t]) <= 1e-15,
                          "mode %s: o of token %d is %.17g, not %.17g", rule_mode_name(modes[_i]),
                          t, got[t], o[t]);
        ck_assert_double_eq_tol(pal_item(r.state), n == 2 ? h : last, 1e-15);
        ck_assert(pal_item(r.more[1]) == k[n - 1] && pal_item(r.more[2]) == x[n - 1]);
    }
    pal_tape_free(tape);
}
END_TEST

/* ---- Angles ---- */

/* 2048 fast tokens in f32: the final angles are those of a sum in double, rounded once, and in
 * [0, 2 pi). A sum in f32 would be off by 1e-4. */
START_TEST(angles_add_up_in_double)
{
    const m3_problem p = {"fast", SIZES(2048, 2, 1, 12, 2, 6, 1)};
    pal_array x[RULE_INPUTS];
    m3_draw(&p, 3, x);
    pal_tape *tape = pal_tape_new();
    pal_set_grad(tape, false);
    pal_tensor in[RULE_INPUTS];
    for (int i = 0; i < RULE_INPUTS; i++)
        in[i] = pal_input_leaf(tape, &x[i], PAL_F32, false, false);
    const float *th = pal_f32(m3_call(in, m3_options(&p, modes[_i], in)).more[0]);
    for (int64_t i = 0; i < p.H * p.J; i++) {
        double sum = ((double *)x[IN_MORE].data)[i];
        for (int64_t t = 0; t < p.T; t++)
            sum += ((double *)x[M3_DT].data)[t * p.H + i / p.J] *
                   ((double *)x[M3_OM].data)[t * p.J + i % p.J];
        const double off = fabs(remainder((double)th[i] - sum, TURN));
        ck_assert_msg(off <= 3e-7, "mode %s: angle %lld is off by %g", rule_mode_name(modes[_i]),
                      (long long)i, off);
        ck_assert(th[i] >= 0 && (double)th[i] < TURN);
    }
    pal_tape_free(tape);
    rule_inputs_free(x);
}
END_TEST

/*
 * One key turned by as many angles as it has pairs: what it becomes are their cosines and sines. In
 * f32 an angle below pi is off by 1.2e-7 when it is rounded; the rest is the kernel's own error.
 */
START_TEST(keys_turn_by_sine_and_cosine)
{
    enum { PAIRS = 256 };
    static double om[PAIRS], key[2 * PAIRS];
    const double bound[] = {2e-15, 2.5e-7};
    const pal_shape by_head = PAL_SHAPE(1, 1, 1), rows = PAL_SHAPE(1, 1, 1, 1, 2 * PAIRS);
    for (int j = 0; j < PAIRS; j++) {
        key[2 * j] = 1;
        om[j] = (double)(float)(j < 17 ? (j - 8) * TURN / 8 : (j - 136) * TURN / 120);
    }
    for (int i = 0; i < 2 * ISAS; i++) {
        if (!test_isa(i / 2, "sine and cosine")) continue;
        const pal_dtype dtype = i % 2 ? PAL_F32 : PAL_F64;
        pal_tape *tape = pal_tape_new();
        const pal_tensor number = pal_full(tape, dtype, by_head, 1);
        const pal_rule_out r = pal_mamba3(
            pal_full(tape, dtype, PAL_SHAPE(1, 1, 1, 1), 1), number,
            pal_zeros(tape, dtype, by_head), number,
            pal_cast(pal_from(tape, PAL_F64, PAL_SHAPE(1, 1, PAIRS), om), dtype),
            pal_cast(pal_from(tape, PAL_F64, rows, key), dtype), pal_zeros(tape, dtype, rows),
            PAL_NONE, PAL_NONE, PAL_NONE, PAL_NONE, (pal_rule_opts){.mode = modes[_i]});
        const pal_array k = pal_value(r.more[1]);
        for (int64_t j = 0; j < PAIRS; j++) {
            int64_t at[] = {0, 0, 0, 2 * j};
            const double c = pal_array_get(&k, at), s = (at[3]++, pal_array_get(&k, at));
            const double off = fmax(fabs(c - cos(om[j])), fabs(s - sin(om[j])));
            ck_assert_msg(off <= bound[i % 2], "mode %s, %s on %s: the turn by %g is off by %g",
                          rule_mode_name(modes[_i]), pal_dtype_name(dtype), isa_name(), om[j], off);
        }
        pal_tape_free(tape);
    }
}
END_TEST

/* Every rate is faster by whole turns of a token. */
static void more_turns(const void *by, const pal_tensor *in, pal_tensor *out)
{
    pal_tensor all[RULE_INPUTS];
    memcpy(all, in, sizeof all);
    const pal_tensor turn = pal_div(pal_affine(in[M3_DT], 0, TURN), in[M3_DT]);
    all[M3_OM] = pal_add(in[M3_OM], pal_detach(turn));
    m3_whole(by, all, out);
}

/* om counts modulo 2 pi / dt. The gradient of dt, which moves angles at the rate om, does not. */
START_TEST(whole_turns_change_nothing)
{
    const m3_problem p = {"turns", SIZES(40, 1, 1, 20, 12, 5, 2)};
    const m3_by by = {&p, modes[_i]};
    pal_array x[RULE_INPUTS];
    m3_draw(&p, 3, x);
    run_setup s = m3_setup(m3_whole, &by, x, PAL_F64);
    s.constant = 1u << M3_DT;
    run_result slow = run(&s);
    s.fn = more_turns;
    run_result fast = run(&s);
    run_agree(&fast, &slow, F64, "mode %s", rule_mode_name(by.mode));
    run_free(&slow), run_free(&fast);
    rule_inputs_free(x);
}
END_TEST

/* ---- Losses and gradients by themselves ---- */

typedef struct one_loss {
    m3_by by;
    int output;
} one_loss;

static void one_output(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const one_loss *l = context;
    m3_whole(&l->by, in, out);
    for (int i = 0; i < 1 + PAL_RULE_STATES; i++)
        if (i != l->output) out[i] = pal_detach(out[i]);
}

/* A loss on the output alone, or on one part of the final state alone. */
START_TEST(each_loss_by_itself)
{
    m3_problem p = {"losses", SIZES(40, 4, 2, 20, 12, 5, 1), PACKED(3, 0, 17, 17, 40)};
    if (_i % 2) p.R = 4, p.half = true;
    pal_array x[RULE_INPUTS];
    m3_draw(&p, 3, x);
    for (int i = 0; i < 1 + PAL_RULE_STATES; i++) {
        const one_loss a = {{&p, modes[_i / 2]}, i}, b = {{&p, PAL_RULE_COMPOSED}, i};
        run_result fused = m3_run_by(one_output, &a, x, PAL_F64);
        run_result composed = m3_run_by(one_output, &b, x, PAL_F64);
        run_agree(&fused, &composed, F64, "mode %s, a loss on output %d", rule_mode_name(a.by.mode),
                  i);
        run_free(&fused), run_free(&composed);
    }
    rule_inputs_free(x);
}
END_TEST

/* A gradient does not depend on which others are wanted: those of the state with and without those
 * of the operands. */
START_TEST(each_gradient_by_itself)
{
    m3_problem p = {"gradients", SIZES(20, 4, 2, 20, 12, 5, 1)};
    if (_i % 2) p.R = 4, p.half = true;
    const m3_by by = {&p, modes[_i / 2]};
    pal_array x[RULE_INPUTS];
    m3_draw(&p, 3, x);
    run_setup s = m3_setup(m3_whole, &by, x, PAL_F64);
    for (int i = 0; i < RULE_INPUTS; i++) {
        if (!x[i].data) continue;
        s.constant = 0;
        run_result all = run(&s);
        s.constant = ~(1u << i);
        run_result alone = run(&s);
        for (int j = 0; j < RULE_INPUTS; j++) {
            if (j == i) continue;
            free(all.value[RUN_OUTPUTS + j].data);
            all.value[RUN_OUTPUTS + j].data = NULL;
        }
        run_agree(&alone, &all, F64, "mode %s", rule_mode_name(by.mode));
        run_free(&all), run_free(&alone);
    }
    rule_inputs_free(x);
}
END_TEST

/* ---- Nothing to do ---- */

/* An empty sequence changes no bit of the four parts of its state, nor of their gradients. */
START_TEST(empty_sequences_pass_the_state_on)
{
    m3_problem p = {"empty", SIZES(20, 4, 2, 20, 12, 5, 1), PACKED(4, 0, 0, 5, 5, 20)};
    if (_i % 2) p.R = 4, p.half = true;
    pal_array x[RULE_INPUTS];
    m3_draw(&p, 3, x);
    run_result r = m3_run(&p, x, PAL_F64, modes[_i / 2]);
    for (int part = 0; part < PAL_RULE_STATES; part++) {
        const int in = part ? IN_MORE + part - 1 : IN_STATE;
        const double *before = x[in].data, *dbefore = r.value[RUN_OUTPUTS + in].data,
                     *after = r.value[part ? RUN_MORE + part - 1 : 1].data;
        const int64_t all = pal_array_count(&x[in]), n = all / p.sequences;
        double *d = malloc((size_t)all * sizeof *d);
        pal_draw_cotangent(101 + (uint64_t)part, all, d);
        for (int64_t i = 0; i < all; i++) {
            const bool empty = i / n % 2 == 0;
            ck_assert_msg(!empty || (after[i] == before[i] && dbefore[i] == d[i]),
                          "mode %s, part %d: entry %lld", rule_mode_name(modes[_i / 2]), part,
                          (long long)i);
        }
        ck_assert(memcmp(after + n, before + n, (size_t)n * sizeof *after) != 0);
        free(d);
    }
    run_free(&r);
    rule_inputs_free(x);
}
END_TEST

/* ---- Errors ---- */

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

/* A call that is wrong in one way says in which. */
START_TEST(wrong_calls)
{
    static const struct {
        m3_problem p;
        pal_rule_mode mode;
        pal_pair pair;
        const char *words;
    } rows[] = {
        {{"", SIZES(5, 2, 1, 4, 3, 3, 1)}, PAL_RULE_CHUNK, 0, "3 pairs cannot be among 4 channels"},
        {{"", SIZES(5, 2, 1, 5, 3, 1, 1)},
         PAL_RULE_CHUNK,
         PAL_PAIR_HALF,
         "5 channels have no two halves"},
        {{"", SIZES(5, 2, 1, 4, 3, 1, 3)},
         PAL_RULE_CHUNK,
         0,
         "3 rows a token; fused modes take 1, 2, 4 and 8"},
        {{"", SIZES(5, 4, 3, 4, 3, 1, 1)}, PAL_RULE_CHUNK, 0, "4 heads cannot share 3 evenly"},
        {{"", SIZES(5, 2, 1, 4, 3, 1, 1)}, PAL_RULE_CHUNK, (pal_pair)7, "there is no pair 7"},
    };
    const m3_problem *p = &rows[_i].p;
    pal_array x[RULE_INPUTS];
    m3_draw(p, 3, x);
    pal_tape *tape = pal_tape_new();
    pal_tensor in[RULE_INPUTS];
    for (int i = 0; i < RULE_INPUTS; i++)
        in[i] = pal_input_leaf(tape, &x[i], PAL_F32, false, false);
    pal_error heard = {PAL_OK, ""};
    pal_rule_opts opts = m3_options(p, rows[_i].mode, in);
    opts.pair = rows[_i].pair;
    pal_set_error_handler(hear, &heard);
    pal_rule_out r = m3_call(in, opts);
    ck_assert_msg(strncmp(heard.message, "mamba3: ", 8) == 0 &&
                      strstr(heard.message, rows[_i].words),
                  "got \"%s\"", heard.message);
    ck_assert(pal_count(r.o) == 0);
    pal_tape_free(tape);
    rule_inputs_free(x);
}
END_TEST

/* What only Mamba-3 takes, other rules refuse. */
START_TEST(others_have_one_part)
{
    pal_tape *tape = pal_tape_new();
    pal_error heard = {PAL_OK, ""};
    pal_set_error_handler(hear, &heard);
    for (int i = 0; i < 2; i++) {
        pal_tensor q = pal_zeros(tape, PAL_F32, PAL_SHAPE(1, 3, 2, 4));
        pal_tensor beta = pal_zeros(tape, PAL_F32, PAL_SHAPE(1, 3, 2));
        pal_rule_opts opts = {.pair = i ? PAL_PAIR_HALF : PAL_PAIR_ADJACENT};
        if (!i) opts.more[0] = beta;
        pal_deltanet(q, q, q, beta, opts);
        ck_assert_msg(strstr(heard.message, i ? "pair 1 is for Mamba-3" : "more are given"),
                      "got \"%s\"", heard.message);
        pal_tape_reset(tape);
    }
    pal_tape_free(tape);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, nan_stays, 0, 2 * MODES);
    tcase_add_loop_test(tc, a_step_of_zero, 0, MODES);
    tcase_add_loop_test(tc, angles_add_up_in_double, 0, MODES);
    tcase_add_loop_test(tc, keys_turn_by_sine_and_cosine, 0, MODES);
    tcase_add_loop_test(tc, whole_turns_change_nothing, 0, MODES);
    tcase_add_loop_test(tc, each_loss_by_itself, 0, 2 * (MODES - 1));
    tcase_add_loop_test(tc, each_gradient_by_itself, 0, 2 * MODES);
    tcase_add_loop_test(tc, empty_sequences_pass_the_state_on, 0, 2 * MODES);
    tcase_add_loop_test(tc, wrong_calls, 0, 5);
    tcase_add_test(tc, others_have_one_part);
}

int main(void) { return rule_test_main("mamba3 limits", add); }
