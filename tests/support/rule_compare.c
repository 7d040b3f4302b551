/*
 * rule_compare.c - runs functions of tensors, forward and backward, and compares what they give.
 */
#include "tests/support/rule_compare.h"
#include "tests/support/check.h"
#include "tests/support/node.h"
#include "tests/support/inputs.h"
#include "tests/support/sweep.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

/* ---- Running ---- */

pal_array run_doubles(pal_tensor t)
{
    pal_array a = pal_value(t);
    double *x = malloc((size_t)pal_array_count(&a) * sizeof *x + 8);
    ck_assert(x != NULL);
    pal_array to = pal_array_of(PAL_F64, pal_array_shape(&a), x);
    ck_assert(pal_array_copy(&to, &a, NULL) == PAL_OK);
    return to;
}

static pal_tensor cotangent(pal_tape *tape, pal_tensor out, uint64_t seed)
{
    double *draws = malloc((size_t)pal_count(out) * sizeof *draws + 8);
    pal_draw_cotangent(seed, pal_count(out), draws);
    pal_array a = pal_array_of(PAL_F64, pal_shape_of(out), draws);
    pal_tensor c = pal_input_leaf(tape, &a, pal_dtype_of(out), false, false);
    free(draws);
    return c;
}

enum { OUTPUTS = 1 + PAL_RULE_STATES };

static void backward(const run_setup *s, pal_tape *tape, const pal_tensor *out)
{
    pal_tensor from[OUTPUTS], c[OUTPUTS];
    int n = 0;
    for (int i = 0; i < OUTPUTS; i++) {
        if (i == 0 ? s->state_loss : s->output_loss) continue;
        if (pal_is_none(out[i]) || !needs_grad(out[i])) continue;
        from[n] = out[i];
        c[n++] = cotangent(tape, out[i], 100 + (uint64_t)i);
    }
    if (n) ck_assert(pal_backward_from(n, from, c) == PAL_OK);
}

run_result run(const run_setup *s)
{
    static const char *const more[] = {"the initial state",
                                       "A_log",
                                       "dt_bias",
                                       "the initial state, part 1",
                                       "the initial state, part 2",
                                       "the initial state, part 3"};
    static const char *const final[] = {"the final state, part 1", "the final state, part 2",
                                        "the final state, part 3"};
    run_result r = {.dtype = s->dtype, .angles = s->angles, .name = {"o", "the final state"}};
    pal_tape *tape = pal_tape_new();
    pal_tensor in[RULE_INPUTS], out[OUTPUTS] = {{0}};
    for (int i = 0; i < RULE_INPUTS; i++)
        in[i] = pal_input_leaf(tape, &s->x[i], s->dtype, false, !(s->constant >> i & 1));
    s->fn(s->context, in, out);
    backward(s, tape, out);
    for (int i = 0; i < OUTPUTS; i++) {
        const int at = i < RUN_OUTPUTS ? i : RUN_MORE + i - RUN_OUTPUTS;
        if (i >= RUN_OUTPUTS) r.name[at] = final[i - RUN_OUTPUTS];
        if (!pal_is_none(out[i])) r.value[at] = run_doubles(out[i]);
    }
    for (int i = 0; i < RULE_INPUTS; i++) {
        r.name[RUN_OUTPUTS + i] = i < IN_STATE ? s->input[i] : more[i - IN_STATE];
        if (pal_is_none(in[i]) || !wants_grad(in[i])) continue;
        pal_tensor g = pal_grad(in[i]);
        if (pal_is_none(g)) g = pal_zeros(tape, s->dtype, pal_shape_of(in[i]));
        r.value[RUN_OUTPUTS + i] = run_doubles(g);
    }
    pal_tape_free(tape);
    return r;
}

void run_free(run_result *r)
{
    for (int i = 0; i < RUN_VALUES; i++) free(r->value[i].data);
}

typedef struct rule_call {
    const rule_problem *p;
    const pal_rule *rule;
    pal_rule_mode mode;
} rule_call;

static void call_rule(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const rule_call *c = context;
    pal_rule_out r = pal_rule_call(c->rule, in, rule_options(c->p, c->mode, in));
    out[0] = r.o, out[1] = r.state;
}

run_result run_rule(const rule_problem *p, int rule, const pal_array *x, pal_dtype dtype,
                    pal_rule_mode mode)
{
    rule_call c = {p, pal_rule_at(rule), mode};
    run_setup s = {.fn = call_rule,
                   .context = &c,
                   .x = x,
                   .input = rule_names(rule),
                   .dtype = dtype,
                   .constant = p->state_constant ? 1u << IN_STATE : 0,
                   .state_loss = p->state_loss,
                   .output_loss = p->output_loss};
    return run(&s);
}

/* ---- Comparing ---- */

double run_error(int64_t n, const double *x, const double *ref)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += (x[i] - ref[i]) * (x[i] - ref[i]);
        norm += ref[i] * ref[i];
    }
    return difference == 0 ? 0 : sqrt(difference) / sqrt(norm);
}

double run_bias(int64_t n, const double *x, const double *ref)
{
    double sum = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] - ref[i], norm += ref[i] * ref[i];
    return sum == 0 ? 0 : sum / (sqrt(norm) * sqrt((double)n));
}

static bool underflowed(const pal_array *x)
{
    const double *data = x->data;
    for (int64_t i = 0; i < pal_array_count(x); i++)
        if (!(fabs(data[i]) < 1e-30)) return false;
    return true;
}

static const char *kind(int i)
{
    return i < RUN_OUTPUTS || i >= RUN_MORE ? "" : "the gradient of ";
}

/* The same of angles. */
static double angle_error(int64_t n, const double *x, const double *ref)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += pow(remainder(x[i] - ref[i], 6.283185307179586), 2);
        norm += ref[i] * ref[i];
    }
    return difference == 0 ? 0 : sqrt(difference) / sqrt(norm);
}

/* -1: the value is in neither of the two. */
static double error_of(const run_result *r, const run_result *ref, int i)
{
    const pal_array *x = &r->value[i], *y = &ref->value[i];
    ck_assert_msg(!x->data == !y->data, "%s%s is there only once", kind(i), ref->name[i]);
    if (!x->data) return -1;
    ck_assert_msg(pal_shape_equal(pal_array_shape(x), pal_array_shape(y)), "%s%s has two shapes",
                  kind(i), ref->name[i]);
    if (r->angles && i == RUN_MORE) return angle_error(pal_array_count(x), x->data, y->data);
    if (r->dtype == PAL_F32 && underflowed(x) && underflowed(y)) return 0;
    return run_error(pal_array_count(x), x->data, y->data);
}

static double distance(const run_result *r, const run_result *ref, int *at)
{
    double most = -1;
    for (int i = 0; i < RUN_VALUES; i++) {
        double error = error_of(r, ref, i);
        if (error <= most) continue; /* NaN is worse than all */
        most = error, *at = i;
        if (isnan(error)) break;
    }
    return most;
}

double run_distance(const run_result *r, const run_result *ref, const char **worst)
{
    int at = 0;
    double most = distance(r, ref, &at);
    if (worst) *worst = ref->name[at];
    return most;
}

static void text_of(char *text, size_t room, const char *format, va_list args)
{
    vsnprintf(text, room, format, args);
}

void run_agree(const run_result *r, const run_result *ref, double tolerance, const char *format,
               ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    text_of(text, sizeof text, format, args);
    va_end(args);
    int at = 0;
    double error = distance(r, ref, &at);
    ck_assert_msg(error <= tolerance, "%s: %s%s is off by %.3g, tolerance %.3g", text, kind(at),
                  ref->name[at], error, tolerance);
}

void run_identical(const run_result *r, const run_result *ref, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    text_of(text, sizeof text, format, args);
    va_end(args);
    for (int i = 0; i < RUN_VALUES; i++) {
        double error = error_of(r, ref, i);
        const double *x = r->value[i].data, *y = ref->value[i].data;
        int64_t n = x ? pal_array_count(&r->value[i]) : 0, j = 0;
        while (j < n && x[j] == y[j]) j++;
        ck_assert_msg(j == n, "%s: entry %lld of %s%s is %.17g and %.17g (off by %.3g)", text,
                      (long long)j, kind(i), ref->name[i], x[j], y[j], error);
    }
}

/* ---- What the tests of the rules share ---- */

const char *rule_mode_name(pal_rule_mode mode)
{
    static const char *const name[] = {"auto", "composed", "recurrent", "chunk"};
    return name[mode];
}

static void complain(const pal_error *e, void *user)
{
    (void)user;
    ck_abort_msg("%s", e->message);
}

/* One thread, errors that end the test, memory that is NaN before it is written. */
static void setup(void)
{
    pal_set_error_handler(complain, NULL);
    pal_set_allocator(pal_dirty_allocate, NULL);
    pal_set_threads(1); /* teams wait for each other, and a busy machine makes them wait long */
}

static void teardown(void)
{
    pal_set_allocator(NULL, NULL);
    pal_set_error_handler(NULL, NULL);
}

int rule_test_main(const char *name, void (*add)(struct TCase *tc))
{
    Suite *s = suite_create(name);
    TCase *tc = tcase_create(name);
    tcase_set_timeout(tc, 300);
    tcase_add_checked_fixture(tc, setup, teardown);
    add(tc);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
