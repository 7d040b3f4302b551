/*
 * test_mamba3_reductions.c - what Mamba-3 contains, and what contains it. Each pair of separately
 * written kernels gives the same outputs, states and gradients:
 *
 *     lam = 1, om = 0, no bias, one row      is Mamba-2
 *     GDN-2 with b = 0 and turned keys       called twice, once for each half of the write
 *     R rows                                 are R x R calls with one row
 *     R equal rows with mimo_x = 1/R         are one row
 *
 * A fault of 1% in lam or in om makes each comparison fail.
 */
#include "tests/support/check.h"
#include "tests/support/mamba3.h"
#include "tests/support/node.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double F64 = 1e-10, F32 = 1e-5;

typedef enum fault { NO_FAULT, FAULT_LAM, FAULT_OM, FAULTS } fault;

typedef struct setting {
    const m3_problem *p;
    pal_rule_mode mode;
    fault fault; /* of Mamba-3 */
} setting;

/* Mamba-3, which may be wrong: lam 1% smaller, or om 1% larger (and 0.01 where it is 0). */
static pal_rule_out mamba3(const setting *s, const pal_tensor *given, pal_rule_opts opts)
{
    pal_tensor in[RULE_INPUTS];
    memcpy(in, given, sizeof in);
    if (s->fault == FAULT_LAM) in[M3_LAM] = pal_affine(in[M3_LAM], 0.99, 0);
    if (s->fault == FAULT_OM) in[M3_OM] = pal_affine(in[M3_OM], 1.01, 0.01);
    return m3_call(in, opts);
}

/* Only the output and the matrix are compared. */
static void two_outputs(pal_tensor o, pal_tensor state, pal_tensor *out)
{
    out[0] = o, out[1] = state;
}

static void itself(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const setting *s = context;
    pal_rule_out r = mamba3(s, in, m3_options(s->p, s->mode, in));
    two_outputs(r.o, r.state, out);
}

/* ---- Mamba-2 ---- */

/* Inputs of Mamba-2: x, dt [B,T,nh], A [nh], Bm, Cm [B,T,G,N], D [nh]. */
static const rule_problem mamba2_problem = {"mamba2", .B = 2,  .T = 70, .H = 2,
                                            .HV = 4,  .K = 20, .V = 12};

static void mamba2(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const setting *s = context;
    pal_rule_out r = pal_mamba2(in[0], in[1], in[2], in[3], in[4], in[5],
                                rule_options(&mamba2_problem, s->mode, in));
    two_outputs(r.o, r.state, out);
}

static void mamba2_by_mamba3(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const setting *s = context;
    const rule_problem *p = &mamba2_problem;
    pal_tensor all[RULE_INPUTS] = {PAL_NONE};
    all[M3_X] = in[0], all[M3_DT] = in[1], all[M3_D] = in[5];
    all[M3_G] = pal_mul(in[1], in[2]);
    all[M3_LAM] = pal_affine(in[1], 0, 1);
    all[M3_OM] = pal_zeros(tape_of(in[0]), pal_dtype_of(in[0]), PAL_SHAPE(p->B, p->T, p->K / 4));
    all[M3_B] = pal_unsqueeze(in[3], 2), all[M3_C] = pal_unsqueeze(in[4], 2);
    pal_rule_out r = mamba3(s, all, (pal_rule_opts){.mode = s->mode, .state = in[IN_STATE]});
    two_outputs(pal_squeeze(r.o, 3), r.state, out);
}

/* ---- GDN-2 ---- */

static pal_tensor spread(pal_tensor x, int64_t n)
{
    pal_shape shape = pal_shape_of(x);
    shape.dim[shape.ndim++] = n;
    return pal_expand(pal_unsqueeze(x, -1), shape);
}

/* Rows [B,T,H,N] of B or C with its bias, turned: x c + swapped(x) s, where s has the signs. */
static pal_tensor turned(const m3_problem *p, const pal_tensor *in, int which, int bias)
{
    pal_tensor x = pal_repeat_interleave(pal_select(in[which], 2, 0), 2, p->H / p->G);
    x = pal_add(x, pal_select(in[bias], 1, 0));
    pal_tensor phi = pal_mul(pal_unsqueeze(in[M3_DT], -1), pal_unsqueeze(in[M3_OM], 2));
    phi = pal_cumsum(pal_cast(phi, PAL_F64), 1, false);
    const pal_dtype dtype = pal_dtype_of(x);
    pal_tensor c = pal_cast(pal_cos(phi), dtype), s = pal_cast(pal_sin(phi), dtype), out[64];
    for (int64_t j = 0; j < p->J; j++) {
        pal_tensor a = pal_select(x, 3, 2 * j), b = pal_select(x, 3, 2 * j + 1);
        pal_tensor cj = pal_select(c, 3, j), sj = pal_select(s, 3, j);
        out[2 * j] = pal_sub(pal_mul(a, cj), pal_mul(b, sj));
        out[2 * j + 1] = pal_add(pal_mul(a, sj), pal_mul(b, cj));
    }
    for (int64_t n = 2 * p->J; n < p->N; n++) out[n] = pal_select(x, 3, n);
    return pal_stack((int)p->N, out, 3);
}

/* The token before: zeros, then all but the last. */
static pal_tensor before(pal_tensor x)
{
    return pal_pad(pal_slice(x, 1, 0, pal_dim(x, 1) - 1, 1), 1, 1, 0, 0);
}

static void gdn2_twice(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const setting *s = context;
    const m3_problem *p = s->p;
    const pal_tensor q = turned(p, in, M3_C, M3_C_BIAS), k = turned(p, in, M3_B, M3_B_BIAS);
    const pal_tensor x = pal_mul(in[M3_X], pal_select(in[M3_MIMO_X], 1, 0));
    const pal_tensor g = spread(in[M3_G], p->N), b = pal_affine(g, 0, 0);
    const pal_tensor now = pal_mul(in[M3_LAM], in[M3_DT]);
    const pal_tensor late = pal_mul(pal_sub(in[M3_DT], now), pal_exp(in[M3_G]));
    pal_rule_opts opts = {.mode = s->mode, .scale = 1, .state = in[IN_STATE]};
    const pal_rule_out one = pal_gdn2(q, k, x, g, b, spread(now, p->P), opts);
    opts.state = PAL_NONE;
    const pal_rule_out two = pal_gdn2(q, before(k), before(x), g, b, spread(late, p->P), opts);
    const pal_tensor skip = pal_mul(pal_unsqueeze(in[M3_D], -1), x);
    two_outputs(pal_unsqueeze(pal_add(pal_add(one.o, two.o), skip), 3),
                pal_add(one.state, two.state), out);
}

/* ---- Rows ---- */

/* One row of each of R x R pairs. */
static void row_by_row(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const setting *s = context;
    const int64_t R = s->p->R;
    pal_tensor o[8], state = PAL_NONE;
    for (int64_t i = 0; i < R; i++)
        for (int64_t j = 0; j < R; j++) {
            pal_tensor all[RULE_INPUTS];
            memcpy(all, in, sizeof all);
            const pal_tensor up = pal_select(in[M3_MIMO_X], 1, j);
            all[M3_X] = pal_mul(in[M3_X], up), all[M3_MIMO_X] = PAL_NONE;
            all[M3_B] = pal_slice(in[M3_B], 2, j, j + 1, 1);
            all[M3_C] = pal_slice(in[M3_C], 2, i, i + 1, 1);
            all[M3_B_BIAS] = pal_slice(in[M3_B_BIAS], 1, j, j + 1, 1);
            all[M3_C_BIAS] = pal_slice(in[M3_C_BIAS], 1, i, i + 1, 1);
            if (i != j) all[M3_D] = PAL_NONE;
            if (j > 0) all[IN_STATE] = PAL_NONE;
            const pal_rule_out r = m3_call(all, m3_options(s->p, s->mode, all));
            o[i] = j ? pal_add(o[i], r.o) : r.o;
            if (i == 0) state = j ? pal_add(state, r.state) : r.state;
        }
    two_outputs(pal_concat((int)R, o, 3), state, out);
}

/* The problem has one row; here it is given `EQUAL` times. */
enum { EQUAL = 4 };

static pal_tensor repeated(pal_tensor x, int axis) { return pal_repeat(x, axis, EQUAL); }

static void one_row(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const setting *s = context;
    pal_tensor all[RULE_INPUTS];
    memcpy(all, in, sizeof all);
    all[M3_D] = PAL_NONE, all[M3_MIMO_X] = PAL_NONE;
    const pal_rule_out r = m3_call(all, m3_options(s->p, s->mode, all));
    two_outputs(repeated(r.o, 3), r.state, out);
}

static void equal_rows(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const setting *s = context;
    const m3_problem *p = s->p;
    pal_tensor all[RULE_INPUTS];
    memcpy(all, in, sizeof all);
    all[M3_D] = PAL_NONE;
    all[M3_B] = repeated(in[M3_B], 2), all[M3_C] = repeated(in[M3_C], 2);
    all[M3_B_BIAS] = repeated(in[M3_B_BIAS], 1), all[M3_C_BIAS] = repeated(in[M3_C_BIAS], 1);
    all[M3_MIMO_X] =
        pal_full(tape_of(in[0]), pal_dtype_of(in[0]), PAL_SHAPE(p->H, EQUAL, p->P), 1.0 / EQUAL);
    const pal_rule_out r = mamba3(s, all, m3_options(p, s->mode, all));
    two_outputs(r.o, r.state, out);
}

/* ---- The comparison ---- */

static const m3_problem one = {"one row", .B = 2,  .T = 70, .H = 4, .G = 2,
                               .N = 20,   .P = 12, .J = 5,  .R = 1};
static const m3_problem rows = {"two rows", .B = 2,  .T = 70, .H = 4, .G = 2,
                                .N = 20,    .P = 12, .J = 5,  .R = 2, .half = true};
static const m3_problem four = {"four rows", .B = 1,  .T = 35, .H = 2, .G = 1,
                                .N = 20,     .P = 12, .J = 5,  .R = 4};

static const struct reduction {
    const char *name;
    run_fn *one, *other;
    const m3_problem *p; /* NULL: Mamba-2's inputs */
} reductions[] = {
    {"Mamba-3 with lam = 1, om = 0 is Mamba-2", mamba2, mamba2_by_mamba3, NULL},
    {"GDN-2 with b = 0, twice, is Mamba-3", itself, gdn2_twice, &one},
    {"two rows are four calls with one", itself, row_by_row, &rows},
    {"four rows are sixteen calls with one", itself, row_by_row, &four},
    {"four equal rows are one", one_row, equal_rows, &one},
};
enum { REDUCTIONS = sizeof reductions / sizeof *reductions };

static void draw(const struct reduction *r, pal_array x[RULE_INPUTS])
{
    if (!r->p) {
        rule_draw(&mamba2_problem, RULE_mamba2, 4, x);
        return;
    }
    m3_draw(r->p, 4, x);
    for (int i = IN_MORE; i < RULE_INPUTS; i++) { /* sequences begin with a matrix only */
        free(x[i].data);
        x[i].data = NULL;
    }
}

static double difference(const struct reduction *r, const setting *s, const pal_array *x,
                         pal_dtype dtype, const char **worst)
{
    run_result a = m3_run_by(r->one, s, x, dtype), b = m3_run_by(r->other, s, x, dtype);
    const double error = run_distance(&b, &a, worst);
    run_free(&a), run_free(&b);
    return error;
}

static const pal_rule_mode modes[] = {PAL_RULE_CHUNK, PAL_RULE_RECURRENT};

START_TEST(reduction_holds)
{
    const struct reduction *r = &reductions[_i];
    pal_array x[RULE_INPUTS];
    draw(r, x);
    for (int i = 0; i < 4 * ISAS; i++) {
        if (!test_isa(i / 4, r->name)) continue;
        const setting s = {r->p, modes[i % 4 / 2], NO_FAULT};
        const pal_dtype dtype = i % 2 ? PAL_F32 : PAL_F64;
        const char *worst = "";
        const double error = difference(r, &s, x, dtype, &worst);
        printf("%-42s %-9s %s %-6s %.1e (%s)\n", r->name, rule_mode_name(s.mode),
               pal_dtype_name(dtype), isa_name(), error, worst);
        ck_assert_msg(error <= (i % 2 ? F32 : F64), "%s, mode %s, %s on %s: %s differs by %.3g",
                      r->name, rule_mode_name(s.mode), pal_dtype_name(dtype), isa_name(), worst,
                      error);
    }
    rule_inputs_free(x);
}
END_TEST

START_TEST(fault_is_seen)
{
    const struct reduction *r = &reductions[_i % REDUCTIONS];
    pal_array x[RULE_INPUTS];
    draw(r, x);
    for (int i = 0; i < 4; i++) {
        const setting s = {r->p, modes[i / 2], (fault)(1 + _i / REDUCTIONS)};
        const double error = difference(r, &s, x, i % 2 ? PAL_F32 : PAL_F64, NULL);
        ck_assert_msg(error > 1e-3, "%s, mode %s: with a fault the difference is %g", r->name,
                      rule_mode_name(s.mode), error);
    }
    rule_inputs_free(x);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, reduction_holds, 0, REDUCTIONS);
    tcase_add_loop_test(tc, fault_is_seen, 0, (FAULTS - 1) * REDUCTIONS);
}

int main(void) { return rule_test_main("mamba3 reductions", add); }
