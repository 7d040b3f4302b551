/*
 * test_rule_properties.c - properties that every rule has in every mode, whatever its numbers are.
 */
#include "tests/support/check.h"
#include "tests/support/rule_compare.h"

#include <stdlib.h>
#include <string.h>

static const pal_rule_mode modes[] = {PAL_RULE_COMPOSED, PAL_RULE_CHUNK, PAL_RULE_RECURRENT};
enum { MODES = sizeof modes / sizeof *modes };

static const double F64 = 1e-10, F32 = 1e-5;

/* Removes a value from a comparison. */
static void leave_out(run_result *r, int value)
{
    free(r->value[value].data);
    r->value[value].data = NULL;
}

/* Whether output and final state have the same bits. */
static bool same_outputs(const run_result *a, const run_result *b)
{
    bool same = true;
    for (int i = 0; i < RUN_OUTPUTS; i++) {
        size_t size = (size_t)pal_array_count(&a->value[i]) * sizeof(double);
        same = same && memcmp(a->value[i].data, b->value[i].data, size) == 0;
    }
    return same;
}

/* ---- Linear in v and the initial state together ---- */

static int value_input(int rule) { return rule == RULE_mamba2 ? 0 : 2; }

/* x = a x + b y */
static void combine(pal_array *x, double a, const pal_array *y, double b)
{
    double *p = x->data;
    const double *q = y->data;
    for (int64_t i = 0; i < pal_array_count(x); i++) p[i] = a * p[i] + b * q[i];
}

START_TEST(linear_in_values_and_state)
{
    rule_problem p = {.B = 1, .T = 40, .H = 1, .HV = 2, .K = 20, .V = 12};
    int rule = _i % RULES, v = value_input(rule);
    pal_rule_mode mode = modes[_i / RULES];
    pal_array x[RULE_INPUTS], y[RULE_INPUTS];
    rule_draw(&p, rule, 1, x);
    rule_draw(&p, rule, 2, y);
    run_result one = run_rule(&p, rule, x, PAL_F64, mode);
    pal_array v1 = x[v], S1 = x[IN_STATE];
    x[v] = y[v], x[IN_STATE] = y[IN_STATE];
    run_result two = run_rule(&p, rule, x, PAL_F64, mode);
    combine(&x[v], -2, &v1, 0.5);
    combine(&x[IN_STATE], -2, &S1, 0.5);
    run_result both = run_rule(&p, rule, x, PAL_F64, mode);
    for (int i = 0; i < RUN_OUTPUTS; i++) combine(&two.value[i], -2, &one.value[i], 0.5);
    for (int i = RUN_OUTPUTS; i < RUN_VALUES; i++) {
        if (i == RUN_OUTPUTS + v || i == RUN_OUTPUTS + IN_STATE) continue;
        leave_out(&two, i);
        leave_out(&both, i);
    }
    run_agree(&both, &two, F64, "%s, mode %s, f(a x + b y) and a f(x) + b f(y)",
              pal_rule_name(pal_rule_at(rule)), rule_mode_name(mode));
    run_free(&one), run_free(&two), run_free(&both);
    x[v] = v1, x[IN_STATE] = S1;
    rule_inputs_free(x);
    rule_inputs_free(y);
}
END_TEST

/* ---- Causal ---- */

typedef struct piece {
    const rule_problem *p;
    int rule;
    pal_rule_mode mode;
    int pieces;
    const int64_t *cut; /* pieces + 1 of them */
} piece;

static pal_rule_out run_piece(const piece *c, const pal_tensor *in, int i, pal_tensor state)
{
    pal_tensor part[RULE_INPUTS];
    memcpy(part, in, sizeof part);
    for (int j = 0; j < IN_STATE; j++)
        if (!pal_is_none(in[j]) && pal_shape_of(in[j]).ndim >= 3)
            part[j] = pal_slice(in[j], 1, c->cut[i], c->cut[i + 1], 1);
    part[IN_STATE] = state;
    return pal_rule_call(pal_rule_at(c->rule), part, rule_options(c->p, c->mode, part));
}

/* Runs the rule on all tokens, and returns its output up to the cut. */
static void prefix(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const piece *c = context;
    pal_rule_out r = pal_rule_call(pal_rule_at(c->rule), in, rule_options(c->p, c->mode, in));
    out[0] = pal_slice(r.o, 1, 0, c->cut[1], 1);
    out[1] = r.state;
}

static void change_from(int64_t token, const rule_problem *p, pal_array *x)
{
    for (int i = 0; i < IN_STATE; i++) {
        if (rule_time_axis(i, &x[i]) != 1) continue;
        int64_t per = pal_array_count(&x[i]) / p->T;
        double *data = x[i].data;
        for (int64_t j = token * per; j < p->T * per; j++) data[j] *= 0.5;
    }
}

/* Tokens from t on do not change a bit of what belongs to earlier tokens: their outputs, and the
 * gradients of a loss on these outputs. To these gradients, tokens from t on contribute nothing. */
START_TEST(causal)
{
    static const int64_t cuts[] = {1, 16, 37, 64};
    rule_problem p = {.B = 1, .T = 80, .H = 1, .HV = 2, .K = 20, .V = 12};
    int rule = _i % RULES;
    piece c = {.p = &p, .rule = rule, .mode = modes[_i / RULES]};
    for (int i = 0; i < 8; i++) {
        const int64_t cut[] = {0, cuts[i / 2]};
        pal_array x[RULE_INPUTS];
        c.cut = cut;
        rule_draw(&p, rule, 3, x);
        run_setup s = {.fn = prefix,
                       .context = &c,
                       .x = x,
                       .input = rule_names(rule),
                       .dtype = i % 2 ? PAL_F32 : PAL_F64,
                       .output_loss = true};
        run_result one = run(&s);
        change_from(cut[1], &p, x);
        run_result two = run(&s);
        ck_assert_msg(run_distance(&two, &one, NULL) > 1e-3, "the change has no effect");
        leave_out(&one, 1), leave_out(&two, 1);
        run_identical(&two, &one, "%s, mode %s, %s, tokens from %lld on changed",
                      pal_rule_name(pal_rule_at(rule)), rule_mode_name(c.mode),
                      pal_dtype_name(s.dtype), (long long)cut[1]);
        run_free(&one), run_free(&two);
        rule_inputs_free(x);
    }
}
END_TEST

/* ---- Chunks and pieces ---- */

/* The chunk size changes neither the result nor the gradient, in both fused modes. */
START_TEST(chunk_size_does_not_matter)
{
    static const int64_t chunks[] = {32, 48, 64, 96, 256, 0};
    rule_problem p = {.B = 1, .T = 96, .H = 1, .HV = 2, .K = 20, .V = 12};
    int rule = _i % RULES;
    pal_rule_mode mode = _i / RULES ? PAL_RULE_RECURRENT : PAL_RULE_CHUNK;
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 3, x);
    for (int d = 0; d < 2; d++) {
        pal_dtype dtype = d ? PAL_F32 : PAL_F64;
        p.chunk = 16;
        run_result base = run_rule(&p, rule, x, dtype, mode);
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            p.chunk = chunks[i];
            run_result r = run_rule(&p, rule, x, dtype, mode);
            run_agree(&r, &base, d ? F32 : F64, "%s, mode %s, %s: chunk %lld and 16",
                      pal_rule_name(pal_rule_at(rule)), rule_mode_name(mode), pal_dtype_name(dtype),
                      (long long)p.chunk);
            run_free(&r);
        }
        run_free(&base);
    }
    rule_inputs_free(x);
}
END_TEST

static const rule_problem kept[] = {
    {"one row", .B = 1, .T = 130, .H = 1, .HV = 2, .K = 20, .V = 12, .chunk = 16},
    {"packed", .B = 1, .T = 130, .H = 1, .HV = 2, .K = 20, .V = 12, .chunk = 16, .sequences = 5,
     .offsets = {0, 0, 17, 96, 97, 130}},
};
enum { KEPT = sizeof kept / sizeof *kept };

/* Which states are kept for backward does not change the outputs. In mode chunk it does not change
 * a bit of a gradient either, because the states in between are computed again by the same
 * arithmetic. In mode recurrent they were made token by token, so gradients agree up to
 * rounding. */
START_TEST(kept_states_do_not_matter)
{
    static const int64_t every[] = {1, 2, 3, 4, 100, INT64_MAX, 0};
    const rule_problem *first = &kept[_i / RULES];
    int rule = _i % RULES;
    pal_array x[RULE_INPUTS];
    rule_draw(first, rule, 3, x);
    for (int d = 0; d < 4; d++) {
        pal_dtype dtype = d % 2 ? PAL_F32 : PAL_F64;
        pal_rule_mode mode = d / 2 ? PAL_RULE_RECURRENT : PAL_RULE_CHUNK;
        rule_problem p = *first;
        p.keep_every = 1;
        run_result base = run_rule(&p, rule, x, dtype, mode);
        for (int i = 0; i < 2 * (int)(sizeof every / sizeof *every); i++) {
            char text[128];
            if (!test_all() && i % 2 != (i / 2 + d) % 2) continue; /* either 1 thread or 16 */
            p.keep_every = every[i / 2];
            pal_set_threads(i % 2 ? 16 : 1);
            snprintf(text, sizeof text, "%s, %s, mode %s, %s, keep_every %lld and 1",
                     pal_rule_name(pal_rule_at(rule)), p.name, rule_mode_name(mode),
                     pal_dtype_name(dtype), (long long)p.keep_every);
            run_result r = run_rule(&p, rule, x, dtype, mode);
            if (mode == PAL_RULE_CHUNK) run_identical(&r, &base, "%s", text);
            run_agree(&r, &base, d % 2 ? F32 : F64, "%s", text);
            ck_assert_msg(same_outputs(&r, &base), "%s: the outputs differ", text);
            run_free(&r);
        }
        pal_set_threads(1);
        run_free(&base);
    }
    rule_inputs_free(x);
}
END_TEST

enum { LONG = 130 };
static const int64_t halves[] = {0, 64, 130}, uneven[] = {0, 3, 130},
                     ones[] = {0, 64, 65, 65, 66, 130};

static void in_pieces(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const piece *c = context;
    pal_tensor o[LONG];
    out[1] = in[IN_STATE];
    for (int i = 0; i < c->pieces; i++) {
        pal_rule_out r = run_piece(c, in, i, out[1]);
        o[i] = r.o, out[1] = r.state;
    }
    out[0] = pal_concat(c->pieces, o, 1);
}

/* A sequence in pieces (one of them empty), each of which starts from the state of the piece
 * before, equals the whole sequence. */
START_TEST(carried_state_is_whole)
{
    static int64_t each[LONG + 1];
    for (int i = 0; i <= LONG; i++) each[i] = i;
    const piece cuts[] = {{.pieces = 2, .cut = halves},
                          {.pieces = 2, .cut = uneven},
                          {.pieces = 5, .cut = ones},
                          {.pieces = LONG, .cut = each}};
    rule_problem p = {.B = 2, .T = LONG, .H = 1, .HV = 2, .K = 20, .V = 12};
    int rule = _i % RULES;
    pal_rule_mode mode = modes[_i / RULES];
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 3, x);
    for (int i = 0; i < 8; i++) {
        if (mode == PAL_RULE_COMPOSED && i / 2 != 2) continue; /* it is slow and has no chunks */
        piece c = cuts[i / 2];
        c.p = &p, c.rule = rule, c.mode = mode;
        run_setup s = {.fn = in_pieces,
                       .context = &c,
                       .x = x,
                       .input = rule_names(rule),
                       .dtype = i % 2 ? PAL_F32 : PAL_F64};
        run_result whole = run_rule(&p, rule, x, s.dtype, mode), r = run(&s);
        run_agree(&r, &whole, i % 2 ? F32 : F64, "%s, mode %s, %s in %d pieces",
                  pal_rule_name(pal_rule_at(rule)), rule_mode_name(mode), pal_dtype_name(s.dtype),
                  c.pieces);
        run_free(&whole), run_free(&r);
    }
    rule_inputs_free(x);
}
END_TEST

/* Runs packed sequences one by one. */
static void one_by_one(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const piece *c = context;
    pal_tensor o[MOST_SEQUENCES], S[MOST_SEQUENCES];
    for (int i = 0; i < c->pieces; i++) {
        pal_rule_out r = run_piece(c, in, i, pal_slice(in[IN_STATE], 0, i, i + 1, 1));
        o[i] = r.o, S[i] = r.state;
    }
    out[0] = pal_concat(c->pieces, o, 1);
    out[1] = pal_concat(c->pieces, S, 0);
}

START_TEST(packed_is_one_by_one)
{
    rule_problem p = {.B = 1,
                      .T = 100,
                      .H = 1,
                      .HV = 2,
                      .K = 20,
                      .V = 12,
                      .sequences = 6,
                      .offsets = {0, 0, 1, 20, 20, 53, 100}};
    rule_problem alone = p;
    alone.sequences = 0;
    int rule = _i % RULES;
    piece c = {&alone, rule, modes[_i / RULES], p.sequences, p.offsets};
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 3, x);
    for (int d = 0; d < 2; d++) {
        run_setup s = {.fn = one_by_one,
                       .context = &c,
                       .x = x,
                       .input = rule_names(rule),
                       .dtype = d ? PAL_F32 : PAL_F64};
        run_result packed = run_rule(&p, rule, x, s.dtype, c.mode), r = run(&s);
        run_agree(&packed, &r, d ? F32 : F64, "%s, mode %s, %s packed",
                  pal_rule_name(pal_rule_at(rule)), rule_mode_name(c.mode),
                  pal_dtype_name(s.dtype));
        run_free(&packed), run_free(&r);
    }
    rule_inputs_free(x);
}
END_TEST

/* ---- What is left out, and what is given twice ---- */

START_TEST(no_decay_is_decay_of_zero)
{
    rule_problem p = {.B = 1, .T = 40, .H = 1, .HV = 2, .K = 20, .V = 12, .decay = DECAY_ZERO};
    int rule = _i % RULE_deltanet;
    pal_rule_mode mode = modes[_i / RULE_deltanet];
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 3, x);
    run_result zero = run_rule(&p, rule, x, PAL_F64, mode);
    free(x[3].data);
    x[3].data = NULL;
    run_result absent = run_rule(&p, rule, x, PAL_F64, mode);
    leave_out(&zero, RUN_OUTPUTS + 3);
    run_agree(&absent, &zero, F64, "%s, mode %s", pal_rule_name(pal_rule_at(rule)),
              rule_mode_name(mode));
    run_free(&zero), run_free(&absent);
    rule_inputs_free(x);
}
END_TEST

/* A gradient does not depend on which other gradients are wanted. */
START_TEST(each_gradient_by_itself)
{
    rule_problem p = {.B = 1, .T = 40, .H = 1, .HV = 2, .K = 20, .V = 12};
    int rule = _i % RULES;
    piece c = {.p = &p, .rule = rule, .mode = modes[_i / RULES], .cut = (const int64_t[]){0, 40}};
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 3, x);
    run_setup s = {.fn = prefix, .context = &c, .x = x, .input = rule_names(rule)};
    s.dtype = PAL_F64;
    for (int i = 0; i < RULE_INPUTS; i++) {
        if (!x[i].data) continue;
        s.constant = 0;
        run_result all = run(&s);
        s.constant = ~(1u << i);
        run_result alone = run(&s);
        for (int j = 0; j < RULE_INPUTS; j++)
            if (j != i) leave_out(&all, RUN_OUTPUTS + j);
        run_agree(&alone, &all, F64, "%s, mode %s", pal_rule_name(pal_rule_at(rule)),
                  rule_mode_name(c.mode));
        run_free(&all), run_free(&alone);
    }
    rule_inputs_free(x);
}
END_TEST

/* k (Mamba-2: B) is also q (C), so its gradient is the sum of the two. */
static void key_is_query(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const piece *c = context;
    int k = c->rule == RULE_mamba2 ? 3 : 1, q = c->rule == RULE_mamba2 ? 4 : 0;
    pal_tensor all[RULE_INPUTS];
    memcpy(all, in, sizeof all);
    all[q] = in[k];
    pal_rule_out r = pal_rule_call(pal_rule_at(c->rule), all, rule_options(c->p, c->mode, all));
    out[0] = r.o, out[1] = r.state;
}

START_TEST(one_tensor_as_key_and_query)
{
    rule_problem p = {.B = 1, .T = 40, .H = 1, .HV = 2, .K = 20, .V = 12};
    int rule = _i % RULES, k = rule == RULE_mamba2 ? 3 : 1, q = rule == RULE_mamba2 ? 4 : 0;
    piece c = {.p = &p, .rule = rule, .mode = modes[_i / RULES]};
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 3, x);
    memcpy(x[q].data, x[k].data, (size_t)pal_array_count(&x[q]) * sizeof(double));
    run_result apart = run_rule(&p, rule, x, PAL_F64, c.mode);
    run_setup s = {.fn = key_is_query, .context = &c, .x = x, .input = rule_names(rule)};
    s.dtype = PAL_F64;
    run_result one = run(&s);
    combine(&apart.value[RUN_OUTPUTS + k], 1, &apart.value[RUN_OUTPUTS + q], 1);
    leave_out(&apart, RUN_OUTPUTS + q), leave_out(&one, RUN_OUTPUTS + q);
    run_agree(&one, &apart, F64, "%s, mode %s", pal_rule_name(pal_rule_at(rule)),
              rule_mode_name(c.mode));
    run_free(&one), run_free(&apart);
    rule_inputs_free(x);
}
END_TEST

/* ---- Bits ---- */

static const rule_problem threaded[] = {
    {"one long head", .B = 1, .T = 600, .H = 1, .HV = 1, .K = 24, .V = 64},
    {"packed", .B = 1, .T = 600, .H = 1, .HV = 2, .K = 24, .V = 40, .sequences = 5,
     .offsets = {0, 0, 37, 300, 301, 600}},
    {"many heads", .B = 2, .T = 70, .H = 2, .HV = 6, .K = 24, .V = 40},
    {"one key head of many", .B = 1, .T = 200, .H = 1, .HV = 8, .K = 24, .V = 40},
    {"the same, gates of value heads (GDN-2)", .B = 1, .T = 200, .H = 1, .HV = 8, .K = 24, .V = 40,
     .gate_heads = 8},
};
enum { THREADED = sizeof threaded / sizeof *threaded };

/* 1, 2, 3 and 16 threads give the same bits. This includes problems with fewer heads than threads,
 * and with many value heads (Mamba-2: heads of one group) that add to the gradients of one key
 * head. */
START_TEST(threads_change_no_bit)
{
    static const int threads[] = {2, 3, 16};
    const rule_problem *p = &threaded[_i / RULES];
    int rule = _i % RULES;
    pal_array x[RULE_INPUTS];
    if (p->gate_heads && rule != RULE_gdn2) return; /* other rules have no such gates */
    rule_draw(p, rule, 3, x);
    for (int i = 0; i < 4 * ISAS; i++) {
        if (!test_isa(i / 4, p->name)) continue;
        pal_rule_mode mode = i / 2 % 2 ? PAL_RULE_RECURRENT : PAL_RULE_CHUNK;
        pal_dtype dtype = i % 2 ? PAL_F32 : PAL_F64;
        pal_set_threads(1);
        run_result one = run_rule(p, rule, x, dtype, mode);
        for (int t = 0; t < 3; t++) {
            if (!test_all() && t != (_i + i) % 3) continue;
            pal_set_threads(threads[t]);
            run_result r = run_rule(p, rule, x, dtype, mode);
            run_identical(&r, &one, "%s, %s, mode %s, %s on %s with %d threads",
                          pal_rule_name(pal_rule_at(rule)), p->name, rule_mode_name(mode),
                          pal_dtype_name(dtype), isa_name(), threads[t]);
            run_free(&r);
        }
        run_free(&one);
    }
    rule_inputs_free(x);
}
END_TEST

/* Mode auto is chunk or recurrent. Which one it is depends only on the length. */
START_TEST(auto_goes_by_length)
{
    static const int64_t lengths[] = {1, 2, 16, 63, 200};
    int rule = _i % RULES;
    bool chunk = true, recurrent = true;
    for (int i = 0; i < 3; i++) {
        rule_problem p = {
            .B = 1 + i, .T = lengths[_i / RULES], .H = 1, .HV = 1 + i, .K = 8 << i, .V = 20};
        pal_array x[RULE_INPUTS];
        rule_draw(&p, rule, 3, x);
        run_result a = run_rule(&p, rule, x, PAL_F32, PAL_RULE_AUTO);
        run_result c = run_rule(&p, rule, x, PAL_F32, PAL_RULE_CHUNK);
        run_result r = run_rule(&p, rule, x, PAL_F32, PAL_RULE_RECURRENT);
        chunk = chunk && same_outputs(&a, &c);
        recurrent = recurrent && same_outputs(&a, &r);
        run_free(&a), run_free(&c), run_free(&r);
        rule_inputs_free(x);
    }
    ck_assert_msg(chunk || recurrent, "%s, T = %lld: auto is neither",
                  pal_rule_name(pal_rule_at(rule)), (long long)lengths[_i / RULES]);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, linear_in_values_and_state, 0, RULES * MODES);
    tcase_add_loop_test(tc, causal, 0, RULES * MODES);
    tcase_add_loop_test(tc, chunk_size_does_not_matter, 0, RULES * 2);
    tcase_add_loop_test(tc, kept_states_do_not_matter, 0, RULES * KEPT);
    tcase_add_loop_test(tc, carried_state_is_whole, 0, RULES * MODES);
    tcase_add_loop_test(tc, packed_is_one_by_one, 0, RULES * MODES);
    tcase_add_loop_test(tc, no_decay_is_decay_of_zero, 0, RULE_deltanet * MODES);
    tcase_add_loop_test(tc, each_gradient_by_itself, 0, RULES * MODES);
    tcase_add_loop_test(tc, one_tensor_as_key_and_query, 0, RULES * MODES);
    tcase_add_loop_test(tc, threads_change_no_bit, 0, RULES * THREADED);
    tcase_add_loop_test(tc, auto_goes_by_length, 0, RULES * 5);
}

int main(void) { return rule_test_main("rule properties", add); }
