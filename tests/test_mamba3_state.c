/*
 * test_mamba3_state.c - the four parts of Mamba-3's state: a sequence in pieces, packed sequences,
 * a prompt and then single tokens, decoding in place, and a part as a map of the matrix.
 */
#include "layers/rules/fused/fused.h"
#include "tests/support/check.h"
#include "tests/support/inputs.h"
#include "tests/support/mamba3.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double F64 = 1e-10, F32 = 1e-5;
static const pal_rule_mode modes[] = {PAL_RULE_CHUNK, PAL_RULE_RECURRENT, PAL_RULE_COMPOSED};
enum { MODES = sizeof modes / sizeof *modes };

#define SIZES(t, h, g, n, p, j, r) .B = 1, .T = t, .H = h, .G = g, .N = n, .P = p, .J = j, .R = r
#define PACKED(n, ...)             .sequences = n, .offsets = {__VA_ARGS__}

typedef struct pieces {
    const m3_problem *p;
    pal_rule_mode mode;
    int count;
    const int64_t *cut;
} pieces;

/* ---- Pieces ---- */

enum { LONG = 130 };

static pal_rule_out state_of(const pal_tensor *in)
{
    return (pal_rule_out){PAL_NONE, in[IN_STATE], {in[IN_MORE], in[IN_MORE + 1], in[IN_MORE + 2]}};
}

static void in_pieces(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const pieces *c = context;
    pal_tensor o[LONG], part[RULE_INPUTS];
    pal_rule_out r = state_of(in);
    for (int i = 0; i < c->count; i++) {
        m3_slice(in, c->cut[i], c->cut[i + 1], &r, part);
        r = m3_call(part, m3_options(c->p, c->mode, part));
        o[i] = r.o;
    }
    m3_outputs(r, out);
    out[0] = pal_concat(c->count, o, 1);
}

/* A sequence in pieces (some empty, some of one token), each from the state of the one before, is
 * the whole; so are a prompt and then single tokens. */
START_TEST(pieces_are_the_whole)
{
    static const int64_t halves[] = {0, 64, 130}, uneven[] = {0, 3, 130},
                         ones[] = {0, 64, 65, 65, 66, 130};
    static int64_t each[LONG + 1];
    for (int i = 0; i <= LONG; i++) each[i] = i;
    static const m3_problem rows[] = {{"one row", SIZES(LONG, 4, 2, 20, 12, 5, 1)},
                                      {"four rows", SIZES(LONG, 2, 1, 20, 12, 5, 4), .half = true}};
    const m3_problem *p = &rows[_i % 2];
    const pal_rule_mode mode = modes[_i / 2];
    const pieces cuts[] = {
        {p, mode, 2, halves}, {p, mode, 2, uneven}, {p, mode, 5, ones}, {p, mode, LONG, each}};
    pal_array x[RULE_INPUTS];
    m3_draw(p, 3, x);
    for (int i = 0; i < 8; i++) {
        const pal_dtype dtype = i % 2 ? PAL_F32 : PAL_F64;
        if (mode == PAL_RULE_COMPOSED && i / 2 != 2) continue; /* slow, and no chunks to cut */
        run_result whole = m3_run(p, x, dtype, mode);
        run_result r = m3_run_by(in_pieces, &cuts[i / 2], x, dtype);
        run_agree(&r, &whole, i % 2 ? F32 : F64, "%s, mode %s, %s in %d pieces", p->name,
                  rule_mode_name(mode), pal_dtype_name(dtype), cuts[i / 2].count);
        run_free(&whole), run_free(&r);
    }
    rule_inputs_free(x);
}
END_TEST

/* Packed sequences are the sequences one by one, each with its own last k and x. */
static void one_by_one(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const pieces *c = context;
    pal_tensor o[MOST_SEQUENCES], part[RULE_INPUTS], end[4][MOST_SEQUENCES], state[5];
    for (int i = 0; i < c->count; i++) {
        pal_rule_out before = state_of(in);
        before.state = pal_slice(before.state, 0, i, i + 1, 1);
        for (int j = 0; j < 3; j++) before.more[j] = pal_slice(before.more[j], 0, i, i + 1, 1);
        m3_slice(in, c->cut[i], c->cut[i + 1], &before, part);
        m3_outputs(m3_call(part, m3_options(c->p, c->mode, part)), state);
        o[i] = state[0];
        for (int j = 0; j < 4; j++) end[j][i] = state[1 + j];
    }
    out[0] = pal_concat(c->count, o, 1);
    for (int j = 0; j < 4; j++) out[1 + j] = pal_concat(c->count, end[j], 0);
}

START_TEST(packed_is_one_by_one)
{
    m3_problem p = {"packed", SIZES(100, 4, 2, 20, 12, 5, 1), PACKED(6, 0, 0, 1, 20, 20, 53, 100)};
    if (_i % 2) p.R = 4, p.half = true;
    m3_problem alone = p;
    alone.sequences = 0;
    const pieces c = {&alone, modes[_i / 2], p.sequences, p.offsets};
    pal_array x[RULE_INPUTS];
    m3_draw(&p, 3, x);
    for (int d = 0; d < 2; d++) {
        const pal_dtype dtype = d ? PAL_F32 : PAL_F64;
        run_result packed = m3_run(&p, x, dtype, c.mode);
        run_result r = m3_run_by(one_by_one, &c, x, dtype);
        run_agree(&packed, &r, d ? F32 : F64, "mode %s, %s packed", rule_mode_name(c.mode),
                  pal_dtype_name(dtype));
        run_free(&packed), run_free(&r);
    }
    rule_inputs_free(x);
}
END_TEST

/* A prompt of 17 tokens and then single ones, in mode auto, for every width and with groups. */
START_TEST(prompt_and_steps)
{
    static const int64_t widths[][2] = {{8, 16},  {16, 8},   {24, 33},   {33, 24},   {48, 100},
                                        {64, 48}, {100, 64}, {128, 192}, {192, 256}, {256, 128}};
    static const int64_t cut[] = {0, 17, 18, 19, 20, 21};
    const int64_t N = widths[_i / 2][0], P = widths[_i / 2][1], R = _i % 2 ? 4 : 1;
    const m3_problem p = {"a width", .B = 2, .T = 21,    .H = 4, .G = 2,
                          .N = N,    .P = P, .J = N / 4, .R = R, .half = N % 2 == 0 && R > 1};
    const pieces c = {&p, PAL_RULE_AUTO, 5, cut};
    pal_array x[RULE_INPUTS];
    m3_draw(&p, 3, x);
    for (int d = 0; d < 2; d++) {
        const pal_dtype dtype = d ? PAL_F32 : PAL_F64;
        run_result whole = m3_run(&p, x, dtype, PAL_RULE_AUTO);
        run_result r = m3_run_by(in_pieces, &c, x, dtype);
        run_agree(&r, &whole, d ? F32 : F64, "N = %lld, P = %lld, %lld rows, %s", (long long)N,
                  (long long)P, (long long)R, pal_dtype_name(dtype));
        run_free(&whole), run_free(&r);
    }
    rule_inputs_free(x);
}
END_TEST

/* ---- Angles ---- */

static const double SHIFT = 0.7;

/* Channels along an axis with all pairs of the problem turned by SHIFT. */
static pal_tensor shifted(pal_tensor x, int axis, const m3_problem *p)
{
    const double c = cos(SHIFT), s = sin(SHIFT);
    pal_tensor out[64];
    for (int64_t n = 0; n < p->N; n++) out[n] = pal_select(x, axis, n);
    for (int64_t j = 0; j < p->J; j++) {
        const int64_t first = p->half ? j : 2 * j, second = p->half ? j + p->N / 2 : 2 * j + 1;
        const pal_tensor a = out[first], b = out[second];
        out[first] = pal_add(pal_affine(a, c, 0), pal_affine(b, -s, 0));
        out[second] = pal_add(pal_affine(a, s, 0), pal_affine(b, c, 0));
    }
    return pal_stack((int)p->N, out, axis);
}

static void only_output(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const pieces *c = context;
    pal_tensor all[RULE_INPUTS];
    memcpy(all, in, sizeof all);
    if (c->count) {
        all[IN_STATE] = shifted(in[IN_STATE], 2, c->p);
        all[IN_MORE] = pal_affine(in[IN_MORE], 1, SHIFT);
        all[IN_MORE + 1] = shifted(in[IN_MORE + 1], 3, c->p);
    }
    out[0] = m3_call(all, m3_options(c->p, c->mode, all)).o;
    out[1] = pal_detach(pal_sum(out[0], PAL_ALL, false));
}

/* Angles, matrix and last keys turned by one angle give the same output and the same gradients. */
START_TEST(one_angle_more_changes_nothing)
{
    const m3_problem p = {"angles", .B = 2,  .T = 40, .H = 4, .G = 2,
                          .N = 20,  .P = 12, .J = 5,  .R = 2, .half = _i % 2};
    const pal_rule_mode mode = modes[_i / 2];
    const pieces plain = {&p, mode, 0, NULL}, turned = {&p, mode, 1, NULL};
    pal_array x[RULE_INPUTS];
    m3_draw(&p, 3, x);
    for (int d = 0; d < 2; d++) {
        const pal_dtype dtype = d ? PAL_F32 : PAL_F64;
        run_result a = m3_run_by(only_output, &plain, x, dtype);
        run_result b = m3_run_by(only_output, &turned, x, dtype);
        run_agree(&b, &a, d ? F32 : F64, "mode %s, %s", rule_mode_name(mode),
                  pal_dtype_name(dtype));
        run_free(&a), run_free(&b);
    }
    rule_inputs_free(x);
}
END_TEST

/* ---- In place ---- */

static void check_equal(pal_tensor a, pal_tensor b, int part, int64_t from)
{
    ck_assert_msg(pal_count(a) == pal_count(b) &&
                      memcmp(pal_f32(pal_contiguous(a)), pal_f32(pal_contiguous(b)),
                             (size_t)pal_count(a) * sizeof(float)) == 0,
                  "part %d at token %lld is not that of the functional call", part,
                  (long long)from);
}

/* A prompt and then token by token: the four parts that are overwritten have the bits of those that
 * the functional call returns, and stay where they are. */
START_TEST(in_place_is_functional)
{
    static const int64_t cut[] = {0, 21, 22, 23, 23, 24, 30};
    static const pal_rule_mode how[] = {PAL_RULE_AUTO, PAL_RULE_RECURRENT, PAL_RULE_CHUNK};
    m3_problem p = {"in place", .B = 2, .T = 30, .H = 4, .G = 2, .N = 20, .P = 12, .J = 5, .R = 1};
    if (_i % 2) p.R = 4, p.half = true;
    pal_array x[RULE_INPUTS];
    m3_draw(&p, 3, x);
    pal_tape *tape = pal_tape_new();
    pal_params *store = pal_params_new();
    pal_set_grad(tape, false);
    pal_tensor kept[PAL_RULE_STATES];
    pal_rule_out functional = {PAL_NONE, PAL_NONE, {PAL_NONE}};
    for (int i = 0; i < PAL_RULE_STATES; i++) {
        static const char *const name[] = {"state", "th", "k", "x"}, *const copy[] = {"a", "b", "c",
                                                                                      "d"};
        pal_tensor drawn =
            pal_input_leaf(tape, &x[i ? IN_MORE + i - 1 : IN_STATE], PAL_F32, false, false);
        kept[i] = pal_keep(store, name[i], drawn);
        *(i ? &functional.more[i - 1] : &functional.state) = pal_keep(store, copy[i], drawn);
    }
    const void *where = pal_value(kept[0]).data;
    for (size_t i = 0; i + 1 < sizeof cut / sizeof *cut; i++) {
        pal_tensor in[RULE_INPUTS], part[RULE_INPUTS], a[1 + PAL_RULE_STATES],
            b[1 + PAL_RULE_STATES];
        for (int j = 0; j < RULE_INPUTS; j++)
            in[j] = j < M3_INPUTS ? pal_input_leaf(tape, &x[j], PAL_F32, false, false) : PAL_NONE;
        m3_slice(in, cut[i], cut[i + 1], &functional, part);
        pal_rule_opts opts = m3_options(&p, how[_i / 2], part);
        functional = m3_call(part, opts);
        m3_outputs(functional, a);
        opts.state = kept[0], opts.in_place = true;
        for (int j = 1; j < PAL_RULE_STATES; j++) opts.more[j - 1] = kept[j];
        m3_outputs(m3_call(part, opts), b);
        for (int j = 0; j <= PAL_RULE_STATES; j++) check_equal(b[j], a[j], j - 1, cut[i]);
        for (int j = 0; j < PAL_RULE_STATES; j++) check_equal(kept[j], a[1 + j], j, cut[i]);
        ck_assert_msg(pal_value(b[1]).data == where, "the state is another tensor");
    }
    pal_tape_free(tape);
    pal_params_free(store);
    rule_inputs_free(x);
}
END_TEST

/* ---- A part as a map of the matrix ---- */

static const m3_problem mapped[] = {
    {"one row", SIZES(300, 1, 1, 20, 40, 5, 1)},
    {"four rows, halves, two batch rows", .B = 2, .T = 37, .H = 4, .G = 2, .N = 20, .P = 12, .J = 5,
     .R = 4, .half = true},
    {"eight rows, packed", SIZES(37, 2, 1, 20, 12, 5, 8), PACKED(3, 0, 17, 17, 37)},
    {"two rows, chunks of 64", SIZES(150, 2, 1, 20, 12, 5, 2), .chunk = 64},
    {"no token", SIZES(0, 2, 1, 20, 12, 5, 2)},
    {"nothing before it", SIZES(37, 2, 1, 20, 12, 5, 2), .no_state = true},
};
enum { MAPPED = sizeof mapped / sizeof *mapped };

static pal_tensor random_like(pal_tape *tape, pal_tensor t, uint64_t seed)
{
    const int64_t n = pal_count(t);
    double *draws = malloc((size_t)n * sizeof *draws + 8);
    pal_draw_cotangent(seed, n, draws);
    pal_array a = pal_array_of(PAL_F64, pal_shape_of(t), draws);
    pal_tensor c = pal_input_leaf(tape, &a, pal_dtype_of(t), false, false);
    free(draws);
    return c;
}

/* o [B,T,H,R,P] as the kernels have it, [B,T R,H,P]. */
static pal_tensor as_rows(const m3_problem *p, pal_tensor o)
{
    return pal_reshape(pal_transpose(o, 2, 3), PAL_SHAPE(p->B, p->T * p->R, p->H, p->P));
}

/* M, N and n of a problem; their bits are compared. */
static run_result part_map(const m3_problem *p, const pal_array *x, pal_dtype dtype)
{
    const pal_rule *rule = pal_rule_find("mamba3");
    run_result r = {.dtype = dtype, .name = {"M", "N", "n"}};
    pal_tape *tape = pal_tape_new();
    pal_tensor in[RULE_INPUTS], all[PAL_RULE_INPUTS], M, N, zero;
    for (int i = 0; i < RULE_INPUTS; i++)
        in[i] = pal_input_leaf(tape, &x[i], dtype, false, i == IN_STATE);
    const pal_rule_opts opts = m3_options(p, PAL_RULE_CHUNK, in);
    const pal_rule_out out = m3_call(in, opts);
    pal_tensor from[] = {out.o, out.state};
    pal_tensor d[] = {random_like(tape, out.o, 100), random_like(tape, out.state, 101)};
    for (int i = 0; i < M3_INPUTS; i++) all[i] = in[i];
    all[M3_INPUTS] = PAL_NONE;
    for (int i = 0; i < 3; i++) all[M3_INPUTS + 1 + i] = in[IN_MORE + i];
    all[M3_INPUTS + 4] = opts.offsets;
    pal_rule_map(rule, all, opts, &M, &N);
    pal_tensor n = pal_rule_map_back(rule, all, opts, pal_contiguous(as_rows(p, d[0])));
    ck_assert(pal_shape_equal(pal_shape_of(M), PAL_SHAPE(pal_dim(N, 0), p->H, 1, 1)));
    r.value[0] = run_doubles(M), r.value[1] = run_doubles(N), r.value[2] = run_doubles(n);
    zero = pal_affine(out.state, 0, 0);
    const pal_tensor before = pal_is_none(in[IN_STATE]) ? zero : pal_detach(in[IN_STATE]);
    const pal_array S = run_doubles(pal_add(pal_mul(M, before), N)), whole = run_doubles(out.state);
    const pal_array dS = run_doubles(pal_add(pal_mul(M, d[1]), n));
    const double tolerance = dtype == PAL_F32 ? F32 : F64;
    double error = run_error(pal_array_count(&S), S.data, whole.data);
    ck_assert_msg(error <= tolerance, "%s: M S + N is off by %g", p->name, error);
    if (!pal_is_none(in[IN_STATE])) {
        ck_assert(pal_backward_from(2, from, d) == PAL_OK);
        const pal_array dwhole = run_doubles(pal_grad(in[IN_STATE]));
        error = run_error(pal_array_count(&dS), dS.data, dwhole.data);
        ck_assert_msg(error <= tolerance, "%s: M dS + n is off by %g", p->name, error);
        free(dwhole.data);
    }
    free(S.data), free(whole.data), free(dS.data);
    pal_tape_free(tape);
    return r;
}

/* The tokens of a sequence are the map S -> M S + N, with the angles, keys and x before it in N;
 * the gradient goes back by M dS + n. M is a number for each head. All have the same bits on any
 * number of threads. */
START_TEST(part_is_a_map)
{
    static const int threads[] = {1, 2, 16};
    const m3_problem *p = &mapped[_i];
    pal_array x[RULE_INPUTS];
    m3_draw(p, 3, x);
    for (int i = 0; i < 2 * ISAS; i++) {
        if (!test_isa(i / 2, p->name)) continue;
        run_result map[3];
        for (int t = 0; t < 3; t++) {
            pal_set_threads(threads[t]);
            map[t] = part_map(p, x, i % 2 ? PAL_F32 : PAL_F64);
            run_identical(&map[t], &map[0], "%s on %s with %d threads", p->name, isa_name(),
                          threads[t]);
        }
        for (int t = 0; t < 3; t++) run_free(&map[t]);
    }
    rule_inputs_free(x);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, pieces_are_the_whole, 0, 2 * MODES);
    tcase_add_loop_test(tc, packed_is_one_by_one, 0, 2 * MODES);
    tcase_add_loop_test(tc, prompt_and_steps, 0, 2 * 10);
    tcase_add_loop_test(tc, one_angle_more_changes_nothing, 0, 2 * MODES);
    tcase_add_loop_test(tc, in_place_is_functional, 0, 2 * 3);
    tcase_add_loop_test(tc, part_is_a_map, 0, MAPPED);
}

int main(void) { return rule_test_main("mamba3 state", add); }
