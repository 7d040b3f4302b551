/*
 * test_rule_options.c - the options of a rule. Normalisation and decay inside the rule equal the
 * generic operations before it. Decoding in place equals the functional call. Errors name options
 * that do not go together.
 */
#include "tests/support/check.h"
#include "tests/support/inputs.h"
#include "tests/support/rule_compare.h"
#include "tests/support/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const pal_rule_mode modes[] = {PAL_RULE_COMPOSED, PAL_RULE_CHUNK, PAL_RULE_RECURRENT};
enum { MODES = sizeof modes / sizeof *modes };

/* ---- Inside the rule or in front of it ---- */

typedef struct call {
    const rule_problem *p;
    int rule;
    pal_rule_mode mode;
    bool in_front; /* pal_l2_norm and pal_log_decay come before the rule */
} call;

static void run_call(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const call *c = context;
    pal_tensor all[RULE_INPUTS];
    memcpy(all, in, sizeof all);
    rule_problem p = *c->p;
    if (c->in_front && p.normalize) {
        all[0] = pal_l2_norm(in[0], 1e-6);
        all[1] = pal_l2_norm(in[1], 1e-6);
        p.normalize = false;
    }
    if (c->in_front && !pal_is_none(in[IN_A_LOG])) {
        all[3] = pal_log_decay(in[3], in[IN_A_LOG], in[IN_DT_BIAS], p.lower_bound);
        all[IN_A_LOG] = all[IN_DT_BIAS] = PAL_NONE;
        p.lower_bound = 0;
    }
    pal_rule_out r = pal_rule_call(pal_rule_at(c->rule), all, rule_options(&p, c->mode, all));
    out[0] = r.o, out[1] = r.state;
}

/* Compares every row of the gradient separately, because the gradient of a short row of q is a
 * thousand times that of others. */
static void rows_agree(const run_result *r, const run_result *truth, int input, int64_t width)
{
    const double *x = r->value[RUN_OUTPUTS + input].data,
                 *y = truth->value[RUN_OUTPUTS + input].data;
    for (int64_t i = 0; i < pal_array_count(&r->value[RUN_OUTPUTS + input]); i += width) {
        double error = run_error(width, x + i, y + i);
        ck_assert_msg(error <= 1e-9, "row %lld of the gradient of %s is off by %.3g",
                      (long long)(i / width), r->name[RUN_OUTPUTS + input], error);
    }
}

/* Compares the rule with the option, in every mode and both types, with generic operations before
 * the composed rule in f64. */
static void inside_is_in_front(const rule_problem *p, int rule, const pal_array *x)
{
    call c = {p, rule, PAL_RULE_COMPOSED, true};
    run_setup s = {.fn = run_call, .context = &c, .x = x, .input = rule_names(rule)};
    s.dtype = PAL_F64;
    run_result truth = run(&s);
    c.in_front = false;
    for (int i = 0; i < 2 * MODES * ISAS; i++) {
        if (!test_isa(i % ISAS, p->name)) continue;
        c.mode = modes[i / ISAS / 2];
        s.dtype = i / ISAS % 2 ? PAL_F32 : PAL_F64;
        run_result r = run(&s);
        run_agree(&r, &truth, s.dtype == PAL_F32 ? 1e-5 : 1e-10, "%s, %s, mode %s, %s on %s",
                  pal_rule_name(pal_rule_at(rule)), p->name, rule_mode_name(c.mode),
                  pal_dtype_name(s.dtype), isa_name());
        for (int q = 0; q < 2 && p->normalize && s.dtype == PAL_F64; q++)
            rows_agree(&r, &truth, q, p->K);
        run_free(&r);
    }
    run_free(&truth);
}

static const rule_problem norms[] = {
    {"normalize", .B = 1, .T = 40, .H = 2, .HV = 4, .K = 20, .V = 12, .keys = KEYS_RAW,
     .normalize = true},
    {"normalize rows of 0 and of norm 1e-4", .B = 1, .T = 40, .H = 2, .HV = 4, .K = 20, .V = 12,
     .keys = KEYS_TINY, .normalize = true},
    {"normalize, packed", .B = 1, .T = 40, .H = 2, .HV = 2, .K = 33, .V = 12, .keys = KEYS_RAW,
     .normalize = true, .sequences = 3, .offsets = {0, 19, 19, 40}},
};
static const rule_problem decays[] = {
    {"decay by softplus", .B = 2, .T = 40, .H = 2, .HV = 4, .K = 20, .V = 12,
     .decay = DECAY_ACTIVATION},
    {"bounded decay", .B = 2, .T = 40, .H = 2, .HV = 4, .K = 20, .V = 12, .decay = DECAY_ACTIVATION,
     .lower_bound = -5},
    {"decay, packed", .B = 1, .T = 40, .H = 2, .HV = 2, .K = 33, .V = 12, .decay = DECAY_ACTIVATION,
     .sequences = 3, .offsets = {0, 19, 19, 40}},
    {"decay of value heads", .B = 1, .T = 40, .H = 2, .HV = 4, .K = 20, .V = 12,
     .decay = DECAY_ACTIVATION, .gate_heads = 4},
    {"normalize and bounded decay", .B = 1, .T = 70, .H = 2, .HV = 6, .K = 20, .V = 12,
     .keys = KEYS_RAW, .normalize = true, .decay = DECAY_ACTIVATION, .lower_bound = -5},
};
enum { NORMS = sizeof norms / sizeof *norms, DECAYS = sizeof decays / sizeof *decays };

/* For the delta rules. */
START_TEST(normalisation_inside)
{
    pal_array x[RULE_INPUTS];
    rule_draw(&norms[_i % NORMS], _i / NORMS, 3, x);
    inside_is_in_front(&norms[_i % NORMS], _i / NORMS, x);
    rule_inputs_free(x);
}
END_TEST

/* For GDN-2, KDA and GDN, in both forms, with the gradients of A_log and dt_bias. */
START_TEST(decay_inside)
{
    pal_array x[RULE_INPUTS];
    rule_draw(&decays[_i % DECAYS], _i / DECAYS, 3, x);
    inside_is_in_front(&decays[_i % DECAYS], _i / DECAYS, x);
    rule_inputs_free(x);
}
END_TEST

/* Pre-activations of 25 and -200 and an A_log of 100 give finite numbers, and the same ones. */
START_TEST(extreme_activations)
{
    static const double f[] = {25, -200, 0, -200, 25}, A_log[] = {1, 100, 100, 1, -30};
    rule_problem p = {"extreme activations",    .B = 1, .T = 40, .H = 5, .HV = 5, .K = 7, .V = 5,
                      .decay = DECAY_ACTIVATION};
    int rule = _i / 2; /* GDN-2, KDA, GDN */
    p.lower_bound = _i % 2 ? -5 : 0;
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 3, x);
    int64_t per = pal_array_count(&x[3]) / (p.T * p.H);
    for (int64_t i = 0; i < pal_array_count(&x[3]); i++) ((double *)x[3].data)[i] = f[i / per % 5];
    memcpy(x[IN_A_LOG].data, A_log, sizeof A_log);
    memset(x[IN_DT_BIAS].data, 0, (size_t)pal_array_count(&x[IN_DT_BIAS]) * sizeof(double));
    inside_is_in_front(&p, rule, x);
    rule_inputs_free(x);
}
END_TEST

/* ---- In place ---- */

/* Tokens from .. to - 1 of the inputs x, as leaves of a tape that is reset after every step. */
static void tokens(pal_tape *tape, const pal_array *x, int64_t from, int64_t to, pal_tensor *in)
{
    for (int i = 0; i < RULE_INPUTS; i++) {
        in[i] = i == IN_STATE ? PAL_NONE : pal_input_leaf(tape, &x[i], PAL_F32, false, false);
        if (rule_time_axis(i, &x[i]) == 1) in[i] = pal_slice(in[i], 1, from, to, 1);
    }
}

static void check_equal(pal_tensor a, pal_tensor b, const char *what, int64_t from)
{
    int64_t n = pal_count(a);
    ck_assert_int_eq(n, pal_count(b));
    ck_assert_msg(memcmp(pal_f32(a), pal_f32(b), (size_t)n * sizeof(float)) == 0,
                  "%s at token %lld is not that of the functional call", what, (long long)from);
}

/* Decodes a prompt and then token by token. The state that is overwritten has the bits of the state
 * that the functional call returns, and keeps its memory. */
START_TEST(in_place_is_functional)
{
    static const int64_t cut[] = {0, 21, 22, 23, 23, 24, 30};
    static const pal_rule_mode mode[] = {PAL_RULE_AUTO, PAL_RULE_RECURRENT, PAL_RULE_CHUNK};
    rule_problem p = {"in place", .B = 2, .T = 30, .H = 1, .HV = 2, .K = 20, .V = 12};
    int rule = _i / 3;
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 3, x);
    pal_tape *tape = pal_tape_new();
    pal_params *store = pal_params_new();
    pal_set_grad(tape, false);
    pal_tensor drawn = pal_input_leaf(tape, &x[IN_STATE], PAL_F32, false, false);
    pal_tensor functional = pal_keep(store, "functional", drawn);
    pal_tensor S = pal_keep(store, "in place", drawn);
    const void *where = pal_value(S).data;
    for (size_t i = 0; i + 1 < sizeof cut / sizeof *cut; i++) {
        pal_tensor in[RULE_INPUTS];
        pal_tape_reset(tape);
        tokens(tape, x, cut[i], cut[i + 1], in);
        in[IN_STATE] = functional;
        pal_rule_opts opts = rule_options(&p, mode[_i % 3], in);
        pal_rule_out a = pal_rule_call(pal_rule_at(rule), in, opts);
        opts.state = S, opts.in_place = true;
        pal_rule_out b = pal_rule_call(pal_rule_at(rule), in, opts);
        check_equal(b.o, a.o, "the output", cut[i]);
        check_equal(b.state, a.state, "the state", cut[i]);
        check_equal(S, a.state, "the tensor given", cut[i]);
        ck_assert_msg(pal_value(b.state).data == where, "the state is another tensor");
        functional = pal_keep(store, "functional", a.state);
    }
    pal_tape_free(tape);
    pal_params_free(store);
    rule_inputs_free(x);
}
END_TEST

/* ---- In place, when it fails ---- */

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

/* A functional or in-place call on a fresh tape, from the initial state x[IN_STATE]. */
typedef struct attempt {
    const rule_problem *p;
    int rule;
    pal_rule_mode mode;
    const pal_array *x;
    bool in_place, checked; /* checked: PAL_CHECK=numerics */
    int64_t fail_at;        /* the allocation that fails, from 1; 0: none */
    bool from_there_on;     /* and all allocations after it fail */
} attempt;

typedef struct outcome {
    pal_status status;
    bool finite;   /* the state is finite: in place the given one, else the returned one */
    bool poison;   /* output and state are poison */
    bool moved;    /* the given state has changed */
    int64_t asked; /* allocations asked for */
} outcome;

typedef struct refusal {
    int64_t asked, fail_at;
    bool from_there_on;
} refusal;

static void *refusing(void *block, size_t old_size, size_t size, void *user)
{
    refusal *r = user;
    bool counted = size && ++r->asked >= r->fail_at && r->fail_at;
    if (counted && (r->from_there_on || r->asked == r->fail_at)) return NULL;
    return pal_dirty_allocate(block, old_size, size, NULL);
}

static outcome try_call(const attempt *a)
{
    if (a->checked) setenv("PAL_CHECK", "numerics", 1);
    pal_tape *tape = pal_tape_new();
    unsetenv("PAL_CHECK");
    pal_params *store = pal_params_new();
    pal_tensor in[RULE_INPUTS];
    pal_set_grad(tape, false);
    for (int i = 0; i < RULE_INPUTS; i++)
        in[i] = pal_input_leaf(tape, &a->x[i], PAL_F32, false, false);
    pal_tensor S = pal_keep(store, "S", in[IN_STATE]);
    pal_rule_opts opts = rule_options(a->p, a->mode, in);
    if (a->in_place) opts.state = S, opts.in_place = true;
    pal_error heard = {PAL_OK, ""};
    refusal memory = {.fail_at = a->fail_at, .from_there_on = a->from_there_on};
    pal_set_error_handler(hear, &heard);
    pal_set_allocator(refusing, &memory);
    pal_rule_out r = pal_rule_call(pal_rule_at(a->rule), in, opts);
    pal_set_allocator(pal_dirty_allocate, NULL);
    ck_assert_int_eq(heard.status, pal_tape_status(tape));
    outcome o = {.status = heard.status, .asked = memory.asked};
    o.poison = pal_count(r.o) == 0 && pal_count(r.state) == 0;
    pal_array now = pal_value(a->in_place ? S : r.state), given = pal_value(in[IN_STATE]);
    o.finite = true;
    for (int64_t i = 0; i < pal_array_count(&now); i++)
        o.finite = o.finite && isfinite(((const float *)now.data)[i]);
    o.moved =
        memcmp(pal_value(S).data, given.data, (size_t)pal_array_count(&given) * sizeof(float)) != 0;
    pal_set_error_handler(NULL, NULL);
    pal_tape_free(tape);
    pal_params_free(store);
    return o;
}

static void fill(const pal_array *x, double value)
{
    for (int64_t i = 0; i < pal_array_count(x); i++) ((double *)x->data)[i] = value;
}

/* PAL_CHECK=numerics reports the same for an in-place call as for the functional one, although the
 * state that it read has been overwritten. Finite numbers that overflow in state and output are an
 * error. A NaN among the tokens is data. */
START_TEST(in_place_is_checked)
{
    static const pal_rule_mode mode[] = {PAL_RULE_AUTO, PAL_RULE_RECURRENT, PAL_RULE_CHUNK};
    int rule = _i / 3, q = rule == RULE_mamba2 ? 4 : 0, k = rule == RULE_mamba2 ? 3 : 1;
    int v = rule == RULE_mamba2 ? 0 : 2;
    for (int i = 0; i < 4; i++) {
        rule_problem p = {"", .B = 2, .T = i / 2 ? 20 : 1, .H = 1, .HV = 2, .K = 20, .V = 12};
        p.gates = GATES_ONE;
        bool nan = i % 2;
        pal_array x[RULE_INPUTS];
        rule_draw(&p, rule, 3, x);
        if (nan) {
            ((double *)x[v].data)[1] = NAN;
        } else {
            fill(&x[q], 1), fill(&x[k], 1);
            fill(&x[v], 3e38), fill(&x[IN_STATE], 3e38);
        }
        attempt a = {.p = &p, .rule = rule, .mode = mode[_i % 3], .x = x};
        outcome plain = try_call(&a);
        ck_assert(plain.status == PAL_OK && !plain.finite);
        for (int in_place = 0; in_place < 2; in_place++) {
            a.checked = true, a.in_place = in_place;
            outcome o = try_call(&a);
            ck_assert_msg(o.status == (nan ? PAL_OK : PAL_ENUMERIC) && o.poison == !nan,
                          "%s, mode %s, T = %lld, %s, %s: status %d, %spoison",
                          pal_rule_name(pal_rule_at(rule)), rule_mode_name(a.mode), (long long)p.T,
                          nan ? "NaN" : "overflow", in_place ? "in place" : "functional",
                          (int)o.status, o.poison ? "" : "not ");
        }
        rule_inputs_free(x);
    }
}
END_TEST

/* An in-place call without enough memory leaves the state as it was and returns poison. Each of its
 * allocations fails in turn: with all that follow, or only this one, in which case the call may
 * succeed in another way. */
START_TEST(in_place_without_memory)
{
    static const pal_rule_mode mode[] = {PAL_RULE_AUTO, PAL_RULE_RECURRENT, PAL_RULE_CHUNK};
    rule_problem p = {"", .B = 2, .T = 100, .H = 1, .HV = 2, .K = 64, .V = 64, .chunk = 64};
    pal_array x[RULE_INPUTS];
    attempt a = {.p = &p, .rule = _i / 3, .mode = mode[_i % 3], .x = x, .in_place = true};
    rule_draw(&p, a.rule, 3, x);
    int64_t points = try_call(&a).asked;
    ck_assert_msg(points > 0, "there is no allocation to fail");
    for (int64_t i = 0; i <= 2 * points; i++) {
        a.fail_at = (i + 1) / 2, a.from_there_on = i % 2;
        outcome o = try_call(&a);
        bool failed = o.status == PAL_ENOMEM && o.poison && !o.moved;
        bool good = o.status == PAL_OK && !o.poison && o.moved;
        ck_assert_msg(failed || (good && !a.from_there_on),
                      "%s, mode %s, allocation %lld of %lld%s: status %d, %spoison, %smoved",
                      pal_rule_name(pal_rule_at(a.rule)), rule_mode_name(a.mode),
                      (long long)a.fail_at, (long long)points,
                      a.from_there_on ? " and all that follow" : "", (int)o.status,
                      o.poison ? "" : "not ", o.moved ? "" : "not ");
        ck_assert(a.fail_at || good);
    }
    rule_inputs_free(x);
}
END_TEST

/* ---- Errors ---- */

static pal_tensor ones(pal_tape *tape, pal_shape shape)
{
    return pal_full(tape, PAL_F32, shape, 1);
}

/* A rule and options that do not go together: the error names both. */
typedef struct wrong {
    const char *rule, *option;
    pal_rule_opts opts;
    bool A_log, dt_bias, state; /* which of these are given too */
    bool kept;                  /* the state outlives the tape */
    bool gradients;             /* gradients are on */
} wrong;

static const wrong wrongs[] = {
    {"gdn2", "chunk", .opts = {.mode = PAL_RULE_CHUNK, .chunk = 17}},
    {"kda", "chunk", .opts = {.mode = PAL_RULE_CHUNK, .chunk = 512}},
    {"gdn", "chunk", .opts = {.mode = PAL_RULE_CHUNK, .chunk = -16}},
    {"deltanet", "chunk", .opts = {.mode = PAL_RULE_RECURRENT, .chunk = 17}},
    {"mamba2", "chunk", .opts = {.chunk = 8}},
    {"gdn", "keep_every", .opts = {.mode = PAL_RULE_CHUNK, .keep_every = -1}},
    {"mamba2", "keep_every", .opts = {.keep_every = -2}},
    {"gdn2", "mode", .opts = {.mode = (pal_rule_mode)77}},
    {"mamba2", "mode", .opts = {.mode = (pal_rule_mode)-1}},
    {"mamba2", "normalize", .opts = {.normalize = true}},
    {"mamba2", "A_log", .A_log = true, .dt_bias = true},
    {"deltanet", "A_log", .A_log = true, .dt_bias = true},
    {"gdn2", "dt_bias", .A_log = true},
    {"kda", "A_log", .dt_bias = true},
    {"gdn", "lower_bound", .opts = {.lower_bound = 5}, .A_log = true, .dt_bias = true},
    {"gdn2", "in_place", .opts = {.in_place = true}, .state = true, .kept = true,
     .gradients = true},
    {"gdn2", "in_place", .opts = {.in_place = true, .mode = PAL_RULE_COMPOSED}, .state = true,
     .kept = true},
    {"kda", "in_place", .opts = {.in_place = true}},
    {"gdn", "in_place", .opts = {.in_place = true}, .state = true},
};
enum { WRONGS = sizeof wrongs / sizeof *wrongs };

START_TEST(wrong_options)
{
    const wrong *w = &wrongs[_i];
    rule_problem p = {.B = 1, .T = 3, .H = 2, .HV = 2, .K = 4, .V = 5, .decay = DECAY_ACTIVATION};
    int rule = 0;
    while (strcmp(pal_rule_name(pal_rule_at(rule)), w->rule) != 0) rule++;
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 3, x);
    pal_tape *t = pal_tape_new();
    pal_params *store = pal_params_new();
    pal_tensor in[RULE_INPUTS];
    for (int i = 0; i < RULE_INPUTS; i++) in[i] = pal_input_leaf(t, &x[i], PAL_F32, false, false);
    pal_set_grad(t, w->gradients);
    pal_rule_opts o = w->opts;
    if (w->A_log) o.A_log = ones(t, PAL_SHAPE(2));
    if (w->dt_bias) o.dt_bias = ones(t, PAL_SHAPE(rule == RULE_gdn ? 2 : 8));
    if (w->state) o.state = w->kept ? pal_keep(store, "S", in[IN_STATE]) : in[IN_STATE];
    pal_error heard = {PAL_OK, ""};
    pal_set_error_handler(hear, &heard);
    pal_rule_out r = pal_rule_call(pal_rule_at(rule), in, o);
    char begin[32];
    snprintf(begin, sizeof begin, "%s: ", w->rule);
    ck_assert_msg(strncmp(heard.message, begin, strlen(begin)) == 0 &&
                      strstr(heard.message, w->option) != NULL,
                  "got \"%s\" for %s in %s", heard.message, w->option, w->rule);
    pal_status status = w->gradients ? PAL_EGRAD : PAL_EVALUE;
    ck_assert_msg(heard.status == status && pal_tape_status(t) == status,
                  "\"%s\" has status %d, the tape %d", heard.message, (int)heard.status,
                  (int)pal_tape_status(t));
    ck_assert(pal_count(r.o) == 0 && pal_count(r.state) == 0);
    pal_tape_free(t);
    pal_params_free(store);
    rule_inputs_free(x);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, normalisation_inside, 0, NORMS * RULE_mamba2);
    tcase_add_loop_test(tc, decay_inside, 0, DECAYS * RULE_deltanet);
    tcase_add_loop_test(tc, extreme_activations, 0, 2 * RULE_deltanet);
    tcase_add_loop_test(tc, in_place_is_functional, 0, 3 * RULES);
    tcase_add_loop_test(tc, in_place_is_checked, 0, 3 * RULES);
    tcase_add_loop_test(tc, in_place_without_memory, 0, 3 * RULES);
    tcase_add_loop_test(tc, wrong_options, 0, WRONGS);
}

int main(void) { return rule_test_main("rule options", add); }
