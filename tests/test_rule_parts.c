/*
 * test_rule_parts.c - a part of a sequence as one map of the state, arguments that are views of
 * one tensor, and heads too wide for the kernels.
 */
#include "layers/rules/fused/fused.h"
#include "tests/support/check.h"
#include "tests/support/inputs.h"
#include "tests/support/rule_compare.h"

#include <stdlib.h>
#include <string.h>

static const double F64 = 1e-10, F32 = 1e-5;

/* Indices of the inputs that are q, k and v. Mamba-2 calls them Cm, Bm and x. */
static int query(int rule) { return rule == RULE_mamba2 ? 4 : 0; }
static int key(int rule) { return rule == RULE_mamba2 ? 3 : 1; }
static int value(int rule) { return rule == RULE_mamba2 ? 0 : 2; }

/* ---- A part as a map of the state ---- */

static const rule_problem mapped[] = {
    {"two rows", .B = 2, .T = 37, .H = 1, .HV = 2, .K = 20, .V = 12},
    {"no token", .B = 2, .T = 0, .H = 1, .HV = 2, .K = 20, .V = 12},
    {"packed", .B = 1, .T = 37, .H = 1, .HV = 2, .K = 12, .V = 20, .sequences = 3,
     .offsets = {0, 17, 17, 37}},
    {"packed, no token", .B = 1, .T = 0, .H = 1, .HV = 2, .K = 12, .V = 20, .sequences = 2,
     .offsets = {0, 0, 0}},
    {"one lane", .B = 1, .T = 300, .H = 1, .HV = 1, .K = 24, .V = 40},
    {"one key head of many", .B = 1, .T = 100, .H = 1, .HV = 8, .K = 33, .V = 7, .chunk = 64},
    {"normalize", .B = 1, .T = 37, .H = 2, .HV = 4, .K = 20, .V = 12, .keys = KEYS_RAW,
     .normalize = true},
    {"decay inside", .B = 1, .T = 37, .H = 2, .HV = 4, .K = 20, .V = 12, .decay = DECAY_ACTIVATION},
};
enum { MAPPED = sizeof mapped / sizeof *mapped };

static bool has_options(int rule, const rule_problem *p)
{
    return !(p->normalize && rule == RULE_mamba2) &&
           !(p->decay == DECAY_ACTIVATION && rule >= RULE_deltanet);
}

/* The inputs of the fused operation, without a state. */
static void operands(int rule, const pal_tensor in[RULE_INPUTS], const pal_rule_opts *opts,
                     pal_tensor out[PAL_RULE_INPUTS])
{
    const pal_rule *r = pal_rule_at(rule);
    for (int i = 0; i < pal_rule_inputs(r); i++) {
        const int place = pal_rule_input(r, i)->place;
        out[i] = i < rule_operands(rule)   ? in[i]
                 : place == PAL_IN_OFFSETS ? opts->offsets
                 : place == PAL_IN_A_LOG   ? opts->A_log
                 : place == PAL_IN_DT_BIAS ? opts->dt_bias
                                           : PAL_NONE;
    }
}

/* The distance of M S + N from ref, with M [..,K,K] of each lane, or its transpose; or with M
 * [..,1,1], a number of each lane. */
static double map_error(const pal_array *M, bool transposed, const pal_array *S, const pal_array *N,
                        const pal_array *ref)
{
    const int64_t K = S->shape[2], V = S->shape[3], n = pal_array_count(S);
    const double *m = M->data, *s = S->data;
    double *x = malloc((size_t)n * sizeof *x + 8);
    memcpy(x, N->data, (size_t)n * sizeof *x);
    const bool number = M->shape[2] == 1;
    for (int64_t i = 0; i < n && number; i++) x[i] += m[i / (K * V)] * s[i];
    for (int64_t i = 0; i < n && !number; i++) {
        int64_t lane = i / (K * V), row = i / V % K;
        for (int64_t j = 0; j < K; j++)
            x[i] += m[lane * K * K + (transposed ? j * K + row : row * K + j)] *
                    s[(lane * K + j) * V + i % V];
    }
    double error = run_error(n, x, ref->data);
    free(x);
    return error;
}

static pal_tensor cotangent(pal_tape *tape, pal_tensor out, uint64_t seed, bool strided)
{
    double *draws = malloc((size_t)pal_count(out) * sizeof *draws + 8);
    pal_draw_cotangent(seed, pal_count(out), draws);
    pal_array a = pal_array_of(PAL_F64, pal_shape_of(out), draws);
    pal_tensor c = pal_input_leaf(tape, &a, pal_dtype_of(out), strided, false);
    free(draws);
    return c;
}

/* M, N and n as values of a result, for comparisons of bits. */
static run_result part_map(const rule_problem *p, int rule, const pal_array *x, pal_dtype dtype)
{
    run_result r = {.dtype = dtype, .name = {"M", "N", "a state before"}};
    pal_tape *tape = pal_tape_new();
    pal_tensor in[RULE_INPUTS], all[PAL_RULE_INPUTS], M, N;
    for (int i = 0; i < RULE_INPUTS; i++)
        in[i] = pal_input_leaf(tape, &x[i], dtype, false, i == IN_STATE);
    pal_rule_opts opts = rule_options(p, PAL_RULE_CHUNK, in);
    pal_rule_out out = pal_rule_call(pal_rule_at(rule), in, opts);
    pal_tensor from[] = {out.o, out.state};
    pal_tensor d[] = {cotangent(tape, out.o, 100, false), cotangent(tape, out.state, 101, false)};
    ck_assert(pal_backward_from(2, from, d) == PAL_OK);
    operands(rule, in, &opts, all);
    pal_rule_map(pal_rule_at(rule), all, opts, &M, &N);
    pal_tensor n =
        pal_rule_map_back(pal_rule_at(rule), all, opts, cotangent(tape, out.o, 100, true));
    r.value[0] = run_doubles(M), r.value[1] = run_doubles(N), r.value[2] = run_doubles(n);
    ck_assert_int_eq(r.value[0].shape[2], rule == RULE_mamba2 ? 1 : p->K);

    pal_array S = run_doubles(out.state), dS = run_doubles(d[1]);
    pal_array S0 = run_doubles(in[IN_STATE]), dS0 = run_doubles(pal_grad(in[IN_STATE]));
    double forward = map_error(&r.value[0], false, &S0, &r.value[1], &S);
    double back = map_error(&r.value[0], true, &dS, &r.value[2], &dS0);
    double tolerance = dtype == PAL_F32 ? F32 : F64;
    ck_assert_msg(forward <= tolerance && back <= tolerance,
                  "%s, %s, %s on %s, %d threads: M S + N is off by %.3g, M^T dS + n by %.3g",
                  pal_rule_name(pal_rule_at(rule)), p->name, pal_dtype_name(dtype), isa_name(),
                  pal_threads(), forward, back);
    free(S.data), free(dS.data), free(S0.data), free(dS0.data);
    pal_tape_free(tape);
    return r;
}

/* The tokens of a sequence in mode chunk are the map S -> M S + N of pal_rule_map. The gradient of
 * the initial state is M^T dS + n, with n from pal_rule_map_back of dO. M, N and n have the same
 * bits on any number of threads. */
START_TEST(part_is_a_map)
{
    static const int threads[] = {1, 2, 16};
    const rule_problem *p = &mapped[_i / RULES];
    int rule = _i % RULES;
    if (!has_options(rule, p)) return;
    pal_array x[RULE_INPUTS];
    rule_draw(p, rule, 3, x);
    for (int i = 0; i < 2 * ISAS; i++) {
        if (!test_isa(i / 2, p->name)) continue;
        pal_dtype dtype = i % 2 ? PAL_F32 : PAL_F64;
        run_result map[3];
        for (int t = 0; t < 3; t++) {
            pal_set_threads(threads[t]);
            map[t] = part_map(p, rule, x, dtype);
            run_identical(&map[t], &map[0], "%s, %s, %s on %s with %d threads",
                          pal_rule_name(pal_rule_at(rule)), p->name, pal_dtype_name(dtype),
                          isa_name(), threads[t]);
        }
        for (int t = 0; t < 3; t++) run_free(&map[t]);
    }
    rule_inputs_free(x);
}
END_TEST

/* ---- Views of one tensor ---- */

/* How the arguments q, k and v are made from the tensors that are the inputs of a test. */
typedef struct views {
    const rule_problem *p;
    int rule;
    pal_rule_mode mode;
    bool copied; /* the reference: each argument has memory of its own */
    /* Two of them are views of one tensor. The second view begins `shift` behind the first, along
     * an axis. */
    int first, second, axis;
    int64_t shift;
    bool time_major; /* that tensor is [T,B,..] in memory */
    /* Or all three are channels of one tensor: `heads` blocks of these widths, and a few unused
     * channels. */
    int64_t heads, width[3];
    bool computed; /* it is the result of an operation, not a leaf */
} views;

static pal_tensor own(const views *s, pal_tensor x) { return s->copied ? pal_affine(x, 1, 0) : x; }

static void call_rule(const views *s, const pal_tensor *in, pal_tensor *out)
{
    for (int i = 0; i < 3 && !s->copied && s->heads; i++) {
        const pal_node *n = in[i == 0   ? query(s->rule)
                               : i == 1 ? key(s->rule)
                                        : value(s->rule)]
                                .node;
        ck_assert_msg(n->base != n, "a slice of the projection is a copy");
    }
    pal_rule_out r = pal_rule_call(pal_rule_at(s->rule), in, rule_options(s->p, s->mode, in));
    out[0] = r.o, out[1] = r.state;
}

static void shifted(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const views *s = context;
    pal_tensor all[RULE_INPUTS], x = in[s->first];
    memcpy(all, in, sizeof all);
    if (s->time_major) x = pal_transpose(x, 0, 1);
    int64_t n = pal_dim(x, s->axis) - s->shift;
    all[s->first] = own(s, pal_slice(x, s->axis, 0, n, 1));
    all[s->second] = own(s, pal_slice(x, s->axis, s->shift, s->shift + n, 1));
    call_rule(s, all, out);
}

static void projected(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const views *s = context;
    const rule_problem *p = s->p;
    const int at[] = {query(s->rule), key(s->rule), value(s->rule)};
    pal_tensor all[RULE_INPUTS], x = in[at[0]];
    memcpy(all, in, sizeof all);
    if (s->computed) x = pal_affine(x, 1, 0);
    for (int64_t i = 0, c = 0; i < 3; c += s->width[i++]) {
        pal_shape shape = PAL_SHAPE(p->B, p->T, i < 2 ? p->H : p->HV, i < 2 ? p->K : p->V);
        all[at[i]] = own(s, pal_reshape(pal_slice(x, 3, c, c + s->width[i], 1), shape));
    }
    call_rule(s, all, out);
}

/* Compares views with copies, and 2 and 16 threads with one. In mode chunk it does so `times`
 * times; in mode recurrent, which has the same backward, twice. */
static void check_views(views *s, run_fn *fn, const pal_array *x, int times, const char *name)
{
    static const pal_rule_mode modes[] = {PAL_RULE_CHUNK, PAL_RULE_RECURRENT};
    run_setup setup = {.fn = fn, .context = s, .x = x, .input = rule_names(s->rule)};
    for (int i = 0; i < 4; i++) {
        s->mode = modes[i / 2];
        setup.dtype = i % 2 ? PAL_F32 : PAL_F64;
        pal_set_threads(1);
        s->copied = true;
        run_result apart = run(&setup);
        s->copied = false;
        run_result one = run(&setup);
        run_agree(&one, &apart, i % 2 ? F32 : 1e-12, "%s, %s, mode %s, %s",
                  pal_rule_name(pal_rule_at(s->rule)), name, rule_mode_name(s->mode),
                  pal_dtype_name(setup.dtype));
        for (int t = 0; t < (!test_all() ? 1 : i < 2 ? times : 2); t++) {
            pal_set_threads((test_all() ? t : i) % 2 ? 2 : 16);
            run_result r = run(&setup);
            run_identical(&r, &one, "%s, %s, mode %s, %s, %d threads",
                          pal_rule_name(pal_rule_at(s->rule)), name, rule_mode_name(s->mode),
                          pal_dtype_name(setup.dtype), pal_threads());
            run_free(&r);
        }
        run_free(&apart), run_free(&one);
    }
}

static const struct overlap {
    const char *name;
    int axis;
    int64_t shift;
    bool values; /* k and v overlap instead of q and k */
    bool time_major;
    rule_problem p;
} overlaps[] = {
    {"k and v a token apart",
     1,
     1,
     true,
     false,
     {.B = 1, .T = 600, .H = 1, .HV = 1, .K = 16, .V = 16}},
    {"k and v a chunk apart",
     1,
     16,
     true,
     false,
     {.B = 1, .T = 600, .H = 1, .HV = 1, .K = 16, .V = 16}},
    {"q and k a token apart",
     1,
     1,
     false,
     false,
     {.B = 2, .T = 100, .H = 1, .HV = 4, .K = 20, .V = 12}},
    {"q and k a head apart",
     2,
     1,
     false,
     false,
     {.B = 1, .T = 300, .H = 4, .HV = 8, .K = 20, .V = 12}},
    {"k and v a head apart",
     2,
     1,
     true,
     false,
     {.B = 1, .T = 300, .H = 4, .HV = 4, .K = 12, .V = 12}},
    {"q and k a channel apart",
     3,
     1,
     false,
     false,
     {.B = 1, .T = 300, .H = 2, .HV = 2, .K = 20, .V = 12}},
    {"q and k a row apart",
     0,
     1,
     false,
     false,
     {.B = 3, .T = 100, .H = 1, .HV = 2, .K = 20, .V = 12}},
    {"q and k a row apart in [T,B,..]",
     0,
     1,
     false,
     true,
     {.B = 3, .T = 300, .H = 1, .HV = 2, .K = 20, .V = 12}},
    {"q and k alike", 2, 0, false, false, {.B = 1, .T = 300, .H = 2, .HV = 4, .K = 20, .V = 12}},
    {"k and v a token apart, packed",
     1,
     1,
     true,
     false,
     {.B = 1,
      .T = 300,
      .H = 2,
      .HV = 2,
      .K = 12,
      .V = 12,
      .sequences = 3,
      .offsets = {0, 100, 100, 300}}},
};
enum { OVERLAPS = sizeof overlaps / sizeof *overlaps };

/* Two arguments overlap in memory. The tensor's gradient equals that of copies. It is a sum in
 * which no thread loses what another adds, and the order is the same on any number of threads. */
START_TEST(overlapping_views)
{
    const struct overlap *o = &overlaps[_i / RULES];
    int rule = _i % RULES;
    views s = {.p = &o->p, .rule = rule, .axis = o->axis, .shift = o->shift};
    s.first = o->values ? key(rule) : query(rule);
    s.second = o->values ? value(rule) : key(rule);
    s.time_major = o->time_major;
    rule_problem wide = o->p; /* wider by the shift */
    int64_t *const size[] = {&wide.B, &wide.T, &wide.H, &wide.K};
    *size[o->axis] += o->shift;
    pal_array x[RULE_INPUTS], y[RULE_INPUTS], unused = {.dtype = PAL_F64};
    rule_draw(&o->p, rule, 3, x);
    rule_draw(&wide, rule, 3, y);
    pal_array narrow = x[s.first];
    x[s.first] = y[s.first], y[s.first] = narrow;
    free(x[s.second].data);
    x[s.second] = unused;
    if (s.time_major) {
        const int64_t *n = x[s.first].shape;
        x[s.first] = pal_array_of(PAL_F64, PAL_SHAPE(n[1], n[0], n[2], n[3]), x[s.first].data);
    }
    check_views(&s, shifted, x, 5, o->name);
    rule_inputs_free(x);
    rule_inputs_free(y);
}
END_TEST

static const struct projection {
    const char *name;
    bool by_head; /* [B,T,H,K+K+V] instead of [B,T,H K + H K + HV V] */
    bool computed;
    rule_problem p;
} projections[] = {
    {"q, k, v of one leaf", false, false, {.B = 2, .T = 100, .H = 2, .HV = 4, .K = 20, .V = 12}},
    {"q, k, v of one result", false, true, {.B = 1, .T = 300, .H = 1, .HV = 1, .K = 20, .V = 12}},
    {"q, k, v of one result by head",
     true,
     true,
     {.B = 1, .T = 300, .H = 2, .HV = 2, .K = 20, .V = 12}},
    {"q, k, v of one result, packed",
     false,
     true,
     {.B = 1,
      .T = 300,
      .H = 1,
      .HV = 2,
      .K = 20,
      .V = 12,
      .sequences = 3,
      .offsets = {0, 100, 100, 300}}},
};
enum { PROJECTIONS = sizeof projections / sizeof *projections, SPARE = 3 };

/* q, k and v are slices of one tensor, as from a fused projection. Its gradient equals that of
 * copies, is 0 in channels that nobody reads, and has the same bits on any number of threads. */
START_TEST(slices_of_a_projection)
{
    const struct projection *o = &projections[_i / RULES];
    const rule_problem *p = &o->p;
    int rule = _i % RULES;
    views s = {.p = p, .rule = rule, .heads = o->by_head ? p->H : 1, .computed = o->computed};
    const int at[] = {query(rule), key(rule), value(rule)};
    pal_array x[RULE_INPUTS];
    rule_draw(p, rule, 3, x);
    int64_t rows = p->B * p->T * s.heads, wide = SPARE;
    for (int i = 0; i < 3; i++) wide += s.width[i] = pal_array_count(&x[at[i]]) / rows;
    double *all = calloc((size_t)(rows * wide), sizeof *all);
    for (int64_t i = 0, c = 0; i < 3; c += s.width[i++]) {
        for (int64_t r = 0; r < rows; r++)
            memcpy(all + r * wide + c, (double *)x[at[i]].data + r * s.width[i],
                   (size_t)s.width[i] * sizeof *all);
        free(x[at[i]].data);
        x[at[i]] = (pal_array){.dtype = PAL_F64};
    }
    x[at[0]] = pal_array_of(PAL_F64, PAL_SHAPE(p->B, p->T, s.heads, wide), all);
    check_views(&s, projected, x, 2, o->name);
    rule_inputs_free(x);
}
END_TEST

/* ---- Heads too wide for the kernels ---- */

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

/* With K or V above 512, modes chunk and recurrent are errors, and so is in_place, which needs one
 * of them. */
START_TEST(too_wide_is_named)
{
    static const pal_rule_mode modes[] = {PAL_RULE_CHUNK, PAL_RULE_RECURRENT, PAL_RULE_AUTO};
    rule_problem p = {.B = 1, .T = 3, .H = 1, .HV = 1, .K = 520, .V = 4};
    int rule = _i / 2;
    if (_i % 2) p.K = 4, p.V = 520;
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 3, x);
    for (int m = 0; m < 3; m++) {
        pal_tape *tape = pal_tape_new();
        pal_params *store = pal_params_new();
        pal_tensor in[RULE_INPUTS];
        for (int i = 0; i < RULE_INPUTS; i++)
            in[i] = pal_input_leaf(tape, &x[i], PAL_F32, false, false);
        pal_rule_opts opts = rule_options(&p, modes[m], in);
        if (modes[m] == PAL_RULE_AUTO) {
            pal_set_grad(tape, false);
            opts.in_place = true, opts.state = pal_keep(store, "S", in[IN_STATE]);
        }
        pal_error heard = {PAL_OK, ""};
        pal_set_error_handler(hear, &heard);
        pal_rule_out r = pal_rule_call(pal_rule_at(rule), in, opts);
        ck_assert_msg(heard.status == PAL_ESHAPE && strstr(heard.message, "512") &&
                          strstr(heard.message, pal_rule_name(pal_rule_at(rule))) == heard.message,
                      "%s, mode %s, K = %lld, V = %lld: got \"%s\"",
                      pal_rule_name(pal_rule_at(rule)), rule_mode_name(modes[m]), (long long)p.K,
                      (long long)p.V, heard.message);
        ck_assert(pal_tape_status(tape) == PAL_ESHAPE);
        ck_assert(pal_count(r.o) == 0 && pal_count(r.state) == 0);
        pal_set_error_handler(NULL, NULL);
        pal_tape_free(tape);
        pal_params_free(store);
    }
    rule_inputs_free(x);
}
END_TEST

/* Mode auto falls back to the composed rule. */
START_TEST(too_wide_is_composed)
{
    rule_problem p = {.B = 1, .T = 3, .H = 1, .HV = 2, .K = 520, .V = 4};
    int rule = _i / 2;
    if (_i % 2) p.K = 4, p.V = 520;
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 3, x);
    run_result composed = run_rule(&p, rule, x, PAL_F64, PAL_RULE_COMPOSED);
    run_result chosen = run_rule(&p, rule, x, PAL_F64, PAL_RULE_AUTO);
    run_identical(&chosen, &composed, "%s", pal_rule_name(pal_rule_at(rule)));
    run_free(&composed), run_free(&chosen);
    rule_inputs_free(x);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, part_is_a_map, 0, RULES * MAPPED);
    tcase_add_loop_test(tc, overlapping_views, 0, RULES * OVERLAPS);
    tcase_add_loop_test(tc, slices_of_a_projection, 0, RULES * PROJECTIONS);
    tcase_add_loop_test(tc, too_wide_is_named, 0, RULES * 2);
    tcase_add_loop_test(tc, too_wide_is_composed, 0, RULES * 2);
}

int main(void) { return rule_test_main("rule parts", add); }
