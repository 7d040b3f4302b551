/*
 * test_reductions.c - Gated DeltaNet-2 contains its predecessors.
 *
 *     GDN-2   S <- (I - k (b*k)^T) diag(exp g) S + k (w*v)^T
 *
 *       b = w = beta 1               is KDA         one gate beta a head erases and writes
 *       and g = g 1                  is GDN         one decay a head
 *       and g = 0                    is DeltaNet    no decay
 *       b = 0, w = dt 1, g = A dt 1  is Mamba-2     no erase
 *
 * Each pair is run on the same inputs. The larger rule gets the gates of the smaller one, spread
 * over the channels. Then outputs, final states and all gradients of the smaller rule's inputs have
 * to agree. The gradient of a gate that was spread is a sum: dbeta = <db, 1> + <dw, 1>, dg = <dg,
 * 1>, ddt = A <dg, 1> + <dw, 1>. The rules have separate kernels (none calls another's), so
 * agreement is evidence for both.
 *
 * Other tests show the converse: unequal gates do what no single beta can do. And the comparison
 * sees an error of 1%.
 */
#include "tests/support/check.h"
#include "tests/support/rule_compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double F64 = 1e-10, F32 = 1e-5;

/* ---- Spreading a gate ---- */

/* x 1: [..] to [..,n], the same in every channel. */
static pal_tensor spread(pal_tensor x, int64_t n)
{
    pal_tensor wide = pal_unsqueeze(x, -1);
    pal_shape s = pal_shape_of(wide);
    s.dim[s.ndim - 1] = n;
    return pal_expand(wide, s);
}

/* [B,T,H,..] to [B,T,HV,..]: value head j gets the gate of key head j / (HV/H). */
static pal_tensor tied(pal_tensor x, int64_t HV)
{
    return pal_repeat_interleave(x, 2, HV / pal_dim(x, 2));
}

static pal_tensor zeros_like(pal_tensor x) { return pal_affine(x, 0, 0); }

/* ---- The rules, of which one may be wrong ---- */

typedef struct setting {
    const rule_problem *p;
    pal_rule_mode mode;
    int faulty; /* the rule whose gate is 1% off, or NONE */
} setting;
enum { NONE = -1 };

/* What the rule gets as its erase gate (Mamba-2: as dt). If the rule is faulty this is 1.01 b, and
 * 0.01 where b is 0. */
static pal_tensor gate(const setting *s, int rule, pal_tensor b)
{
    if (s->faulty != rule) return b;
    pal_tensor zero = pal_eq(b, zeros_like(b));
    return pal_add(pal_affine(b, 1.01, 0), pal_affine(zero, 0.01, 0));
}

static pal_rule_out gdn2(const setting *s, const pal_tensor *in, pal_tensor q, pal_tensor k,
                         pal_tensor v, pal_tensor g, pal_tensor b, pal_tensor w)
{
    pal_rule_opts opts = rule_options(s->p, s->mode, in);
    return pal_gdn2(q, k, v, g, gate(s, RULE_gdn2, b), w, opts);
}

static pal_rule_out kda(const setting *s, const pal_tensor *in, pal_tensor g, pal_tensor beta)
{
    pal_rule_opts opts = rule_options(s->p, s->mode, in);
    return pal_kda(in[0], in[1], in[2], g, gate(s, RULE_kda, beta), opts);
}

static pal_rule_out gdn(const setting *s, const pal_tensor *in, pal_tensor g, pal_tensor beta)
{
    pal_rule_opts opts = rule_options(s->p, s->mode, in);
    return pal_gdn(in[0], in[1], in[2], g, gate(s, RULE_gdn, beta), opts);
}

static pal_rule_out deltanet(const setting *s, const pal_tensor *in)
{
    pal_rule_opts opts = rule_options(s->p, s->mode, in);
    return pal_deltanet(in[0], in[1], in[2], gate(s, RULE_deltanet, in[3]), opts);
}

static pal_rule_out mamba2(const setting *s, const pal_tensor *in)
{
    pal_rule_opts opts = rule_options(s->p, s->mode, in);
    return pal_mamba2(in[0], gate(s, RULE_mamba2, in[1]), in[2], in[3], in[4], in[5], opts);
}

/* ---- The reductions: the smaller rule, and the larger one in its place ---- */

typedef pal_rule_out way(const setting *s, const pal_tensor *in);

/* Inputs of KDA: q, k, v, g [B,T,HV,K], beta [B,T,HV] */
static pal_rule_out kda_itself(const setting *s, const pal_tensor *in)
{
    return kda(s, in, in[3], in[4]);
}
static pal_rule_out kda_by_gdn2(const setting *s, const pal_tensor *in)
{
    pal_tensor g = in[3], beta = in[4];
    return gdn2(s, in, in[0], in[1], in[2], g, spread(beta, s->p->K), spread(beta, s->p->V));
}

/* The same with g [B,T,H,K] and beta [B,T,H] of key heads. GDN-2 takes them as they are. KDA gets
 * them once for each value head, so their gradients are sums over the group. */
static pal_rule_out kda_tied(const setting *s, const pal_tensor *in)
{
    return kda(s, in, tied(in[3], s->p->HV), tied(in[4], s->p->HV));
}
static pal_rule_out kda_tied_by_gdn2(const setting *s, const pal_tensor *in)
{
    pal_tensor g = in[3], beta = in[4], w = spread(tied(beta, s->p->HV), s->p->V);
    return gdn2(s, in, in[0], in[1], in[2], g, spread(beta, s->p->K), w);
}

/* Inputs of GDN: q, k, v, g [B,T,HV], beta [B,T,HV] */
static pal_rule_out gdn_itself(const setting *s, const pal_tensor *in)
{
    return gdn(s, in, in[3], in[4]);
}
static pal_rule_out gdn_by_kda(const setting *s, const pal_tensor *in)
{
    return kda(s, in, spread(in[3], s->p->K), in[4]);
}
static pal_rule_out gdn_by_gdn2(const setting *s, const pal_tensor *in)
{
    pal_tensor g = spread(in[3], s->p->K), beta = in[4];
    return gdn2(s, in, in[0], in[1], in[2], g, spread(beta, s->p->K), spread(beta, s->p->V));
}

/* Inputs of DeltaNet: q, k, v, beta [B,T,HV] */
static pal_rule_out deltanet_by_gdn(const setting *s, const pal_tensor *in)
{
    return gdn(s, in, zeros_like(in[3]), in[3]);
}
static pal_rule_out deltanet_by_kda(const setting *s, const pal_tensor *in)
{
    return kda(s, in, PAL_NONE, in[3]);
}
static pal_rule_out deltanet_by_gdn2(const setting *s, const pal_tensor *in)
{
    pal_tensor beta = in[3];
    return gdn2(s, in, in[0], in[1], in[2], PAL_NONE, spread(beta, s->p->K), spread(beta, s->p->V));
}

/* Inputs of Mamba-2: x, dt [B,T,HV], A [HV], B, C, D [HV]. Its value is x, its key B, its query C
 * and its scale 1. D x is added outside of the recurrence. */
static pal_rule_out mamba2_by_gdn2(const setting *s, const pal_tensor *in)
{
    pal_tensor x = in[0], dt = in[1], A = in[2], B = in[3], C = in[4], D = in[5];
    pal_tensor g = spread(pal_mul(A, dt), s->p->K), b = zeros_like(g), w = spread(dt, s->p->V);
    rule_problem p = *s->p;
    setting of_scale_one = *s;
    if (p.scale == 0) p.scale = 1;
    of_scale_one.p = &p;
    pal_rule_out r = gdn2(&of_scale_one, in, C, B, x, g, b, w);
    r.o = pal_add(r.o, pal_mul(spread(D, s->p->V), x));
    return r;
}

typedef struct reduction {
    const char *name;
    int small;
    way *itself;
    int large;
    way *by;
} reduction;

static const reduction reductions[] = {
    {"GDN-2 with b = w = beta 1 is KDA", RULE_kda, kda_itself, RULE_gdn2, kda_by_gdn2},
    {"the same, gates tied inside groups", RULE_kda, kda_tied, RULE_gdn2, kda_tied_by_gdn2},
    {"KDA with g = g 1 is GDN", RULE_gdn, gdn_itself, RULE_kda, gdn_by_kda},
    {"so GDN-2 with both is GDN", RULE_gdn, gdn_itself, RULE_gdn2, gdn_by_gdn2},
    {"GDN with g = 0 is DeltaNet", RULE_deltanet, deltanet, RULE_gdn, deltanet_by_gdn},
    {"KDA without g is DeltaNet", RULE_deltanet, deltanet, RULE_kda, deltanet_by_kda},
    {"GDN-2 without g is DeltaNet", RULE_deltanet, deltanet, RULE_gdn2, deltanet_by_gdn2},
    {"GDN-2 with b = 0, w = dt 1, g = A dt 1 is Mamba-2", RULE_mamba2, mamba2, RULE_gdn2,
     mamba2_by_gdn2},
};
enum { REDUCTIONS = sizeof reductions / sizeof *reductions };

/* ---- Shapes ---- */

static int64_t off_16(int64_t n) { return n % 16 ? n : n + 1; }

/* Grouped heads, K != V, widths and lengths that are not multiples of 16. Half of the problems are
 * packed. */
static rule_problem random_problem(int i, const reduction *r)
{
    static const int64_t groups[] = {1, 2, 3};
    pal_rng rng = pal_rng_new(2024, (uint64_t)i);
    rule_problem p = {.H = 1 + pal_rng_below(&rng, 2)};
    p.HV = p.H * groups[i % 3];
    p.T = off_16(2 + pal_rng_below(&rng, 150));
    p.K = off_16(2 + pal_rng_below(&rng, 70));
    p.V = off_16(2 + pal_rng_below(&rng, 70));
    if (p.K == p.V) p.V = off_16(p.V + 1);
    p.B = 1 + i / 2 % 2;
    p.gate_heads = r->itself == kda_tied ? p.H : 0;
    if (i % 2) return p;
    p.B = 1;
    p.sequences = 2 + (int)pal_rng_below(&rng, 4);
    for (int n = 1; n < p.sequences; n++) {
        int at = n; /* the cuts are kept in order */
        int64_t cut = pal_rng_below(&rng, p.T + 1);
        for (; at > 1 && p.offsets[at - 1] > cut; at--) p.offsets[at] = p.offsets[at - 1];
        p.offsets[at] = cut;
    }
    p.offsets[p.sequences] = p.T;
    return p;
}

static void describe(const rule_problem *p, char *text, size_t room)
{
    snprintf(text, room, "B %lld T %lld H %lld HV %lld K %lld V %lld, %d packed", (long long)p->B,
             (long long)p->T, (long long)p->H, (long long)p->HV, (long long)p->K, (long long)p->V,
             p->sequences);
}

/* ---- The comparison ---- */

typedef struct side {
    const setting *s;
    way *way;
} side;

static void run_side(const void *context, const pal_tensor *in, pal_tensor *out)
{
    const side *c = context;
    pal_rule_out r = c->way(c->s, in);
    out[0] = r.o, out[1] = r.state;
}

static run_result run_way(const setting *s, way *w, int rule, const pal_array *x, pal_dtype dtype)
{
    side c = {s, w};
    run_setup setup = {
        .fn = run_side, .context = &c, .x = x, .input = rule_names(rule), .dtype = dtype};
    return run(&setup);
}

/* The largest difference between the smaller rule and the larger one in its place. */
static double difference(const reduction *r, const setting *s, const pal_array *x, pal_dtype dtype,
                         const char **worst)
{
    run_result small = run_way(s, r->itself, r->small, x, dtype);
    run_result large = run_way(s, r->by, r->small, x, dtype);
    double error = run_distance(&large, &small, worst);
    run_free(&small);
    run_free(&large);
    return error;
}

static const pal_rule_mode modes[] = {PAL_RULE_CHUNK, PAL_RULE_RECURRENT, PAL_RULE_COMPOSED};

static void check(const reduction *r, const rule_problem *p, const pal_array *x, pal_rule_mode mode,
                  pal_dtype dtype)
{
    setting s = {p, mode, NONE};
    char text[96];
    const char *worst = "";
    double tolerance = dtype == PAL_F64 ? F64 : F32;
    double error = difference(r, &s, x, dtype, &worst);
    describe(p, text, sizeof text);
    printf("%-50s %-9s %s %-6s %.1e (%s; %s)\n", r->name, rule_mode_name(mode),
           pal_dtype_name(dtype), isa_name(), error, worst, text);
    ck_assert_msg(error <= tolerance,
                  "%s, mode %s, %s on %s, %s: %s differs by %.3g, tolerance %.3g", r->name,
                  rule_mode_name(mode), pal_dtype_name(dtype), isa_name(), text, worst, error,
                  tolerance);
}

enum { FEW = 6, MANY = 24 };
static int shapes(void) { return test_all() ? MANY : FEW; }

START_TEST(reduction_holds)
{
    const reduction *r = &reductions[_i % REDUCTIONS];
    rule_problem p = random_problem(_i / REDUCTIONS, r);
    pal_array x[RULE_INPUTS];
    rule_draw(&p, r->small, (uint64_t)_i, x);
    char text[96];
    describe(&p, text, sizeof text);
    for (int i = 0; i < 6 * ISAS; i++) {
        pal_rule_mode mode = modes[i % 6 / 2];
        bool slow = mode == PAL_RULE_COMPOSED && _i / REDUCTIONS > 1;
        if ((!slow || test_all()) && test_isa(i / 6, text))
            check(r, &p, x, mode, i % 2 ? PAL_F32 : PAL_F64);
    }
    rule_inputs_free(x);
}
END_TEST

/* ---- The comparison would see it ---- */

/* A gate that is 1% off in one rule makes a difference in every reduction with this rule, and in no
 * other. */
START_TEST(fault_is_seen)
{
    const reduction *r = &reductions[_i % REDUCTIONS];
    int faulty = _i / REDUCTIONS;
    rule_problem p = {.B = 1, .T = 40, .H = 2, .HV = 4, .K = 20, .V = 12};
    p.gate_heads = r->itself == kda_tied ? p.H : 0;
    pal_array x[RULE_INPUTS];
    rule_draw(&p, r->small, 3, x);
    for (int i = 0; i < 6; i++) {
        setting s = {&p, modes[i / 2], faulty};
        bool f32 = i % 2, involved = r->small == faulty || r->large == faulty;
        double error = difference(r, &s, x, f32 ? PAL_F32 : PAL_F64, NULL);
        ck_assert_msg(involved ? error > 1e-3 : error <= (f32 ? F32 : F64),
                      "%s, mode %s, with a fault in %s: the difference is %g", r->name,
                      rule_mode_name(s.mode), pal_rule_name(pal_rule_at(faulty)), error);
    }
    rule_inputs_free(x);
}
END_TEST

/* ---- The converse ---- */

/* Finds the multiple s of at1 - at0 that is nearest to target - at0. Returns the norm of what is
 * left, divided by that of target - at0. */
static double unexplained(const pal_array *target, const pal_array *at0, const pal_array *at1,
                          double *s)
{
    const double *t = target->data, *p = at0->data, *q = at1->data;
    int64_t n = pal_array_count(target);
    double along = 0, square = 0, total = 0, rest = 0;
    for (int64_t i = 0; i < n; i++) {
        along += (t[i] - p[i]) * (q[i] - p[i]);
        square += (q[i] - p[i]) * (q[i] - p[i]);
        total += (t[i] - p[i]) * (t[i] - p[i]);
    }
    *s = along / square;
    for (int64_t i = 0; i < n; i++) rest += pow(t[i] - p[i] - *s * (q[i] - p[i]), 2);
    return sqrt(rest / total);
}

/* Runs one token of a rule with argument i replaced by a value. */
static run_result with_gate(int rule, const pal_array *x, int i, double value, pal_rule_mode mode)
{
    static const rule_problem p = {.B = 1, .T = 1, .H = 1, .HV = 1, .K = 20, .V = 12};
    pal_array in[RULE_INPUTS];
    double gate = value;
    memcpy(in, x, sizeof in);
    in[i] = pal_array_of(PAL_F64, PAL_SHAPE(1, 1, 1), &gate);
    return run_rule(&p, rule, in, PAL_F64, mode);
}

static void fill(const pal_array *x, double value)
{
    for (int64_t i = 0; i < pal_array_count(x); i++) ((double *)x->data)[i] = value;
}

/*
 * Over one token KDA is linear in beta, so the best beta for a step of GDN-2 is a projection. What
 * remains of the step is what no beta can do, in the output and in the state. Nothing remains if b
 * = w = 0.3 1. Much remains if one gate varies over its channels, or if both are numbers that
 * differ.
 */
START_TEST(no_beta_is_two_gates)
{
    static const struct {
        const char *name;
        double b, w; /* -1: a random number for each channel */
    } gates[] = {{"b = w = 0.3", 0.3, 0.3},
                 {"channel erase, scalar write", -1, 0.3},
                 {"scalar erase, channel write", 0.3, -1},
                 {"b = 0.3, w = 0.9", 0.3, 0.9}};
    rule_problem p = {.B = 1, .T = 1, .H = 1, .HV = 1, .K = 20, .V = 12};
    pal_rule_mode mode = modes[_i / 4];
    pal_array x[RULE_INPUTS];
    rule_draw(&p, RULE_gdn2, 8, x);
    if (gates[_i % 4].b > 0) fill(&x[4], gates[_i % 4].b);
    if (gates[_i % 4].w > 0) fill(&x[5], gates[_i % 4].w);
    run_result two = run_rule(&p, RULE_gdn2, x, PAL_F64, mode);
    run_result zero = with_gate(RULE_kda, x, 4, 0, mode), one = with_gate(RULE_kda, x, 4, 1, mode);
    for (int i = 0; i < RUN_OUTPUTS; i++) {
        double beta, left = unexplained(&two.value[i], &zero.value[i], &one.value[i], &beta);
        printf("%s: the best beta for %s is %.4f and leaves %.1e of the step\n", gates[_i % 4].name,
               two.name[i], beta, left);
        if (_i % 4 == 0)
            ck_assert_msg(left <= F64 && fabs(beta - 0.3) <= F64, "beta = %.17g", beta);
        else
            ck_assert_msg(left > 0.05, "%s: beta = %g gives %s but for %g", gates[_i % 4].name,
                          beta, two.name[i], left);
    }
    run_free(&two), run_free(&zero), run_free(&one);
    rule_inputs_free(x);
}
END_TEST

/* In the same way GDN is linear in exp g over one token. So no decay by head replaces a decay by
 * channel. */
START_TEST(no_scalar_decay_is_one_of_channels)
{
    rule_problem p = {.B = 1, .T = 1, .H = 1, .HV = 1, .K = 20, .V = 12};
    pal_rule_mode mode = modes[_i / 2];
    pal_array x[RULE_INPUTS];
    rule_draw(&p, RULE_kda, 8, x);
    if (_i % 2) fill(&x[3], -0.5);
    run_result channels = run_rule(&p, RULE_kda, x, PAL_F64, mode);
    run_result gone = with_gate(RULE_gdn, x, 3, -1e4, mode); /* exp g = 0 */
    run_result kept = with_gate(RULE_gdn, x, 3, 0, mode);    /* exp g = 1 */
    for (int i = 0; i < RUN_OUTPUTS; i++) {
        double a, left = unexplained(&channels.value[i], &gone.value[i], &kept.value[i], &a);
        ck_assert_msg(_i % 2 ? left <= F64 && fabs(a - exp(-0.5)) <= F64 : left > 0.05,
                      "exp g = %g gives %s but for %g", a, channels.name[i], left);
    }
    run_free(&channels), run_free(&gone), run_free(&kept);
    rule_inputs_free(x);
}
END_TEST

/* The differences do not cancel over a sequence: GDN-2 with random gates by channel is far from KDA
 * with their means. */
START_TEST(unequal_gates_differ)
{
    rule_problem p = {.B = 1, .T = 70, .H = 1, .HV = 1, .K = 20, .V = 12};
    pal_array x[RULE_INPUTS], beta;
    rule_draw(&p, RULE_gdn2, 8, x);
    run_result two = run_rule(&p, RULE_gdn2, x, PAL_F64, modes[_i]);
    beta = pal_array_of(PAL_F64, PAL_SHAPE(1, p.T, 1), calloc((size_t)p.T, sizeof(double)));
    for (int64_t t = 0; t < p.T; t++) {
        for (int64_t c = 0; c < p.K; c++)
            ((double *)beta.data)[t] += ((double *)x[4].data)[t * p.K + c] / (double)(p.K + p.V);
        for (int64_t c = 0; c < p.V; c++)
            ((double *)beta.data)[t] += ((double *)x[5].data)[t * p.V + c] / (double)(p.K + p.V);
    }
    pal_array by_channel = x[4];
    x[4] = beta;
    run_result one = run_rule(&p, RULE_kda, x, PAL_F64, modes[_i]);
    x[4] = by_channel;
    for (int i = 0; i < RUN_OUTPUTS; i++) {
        double error =
            run_error(pal_array_count(&one.value[i]), one.value[i].data, two.value[i].data);
        ck_assert_msg(error > 0.05, "%s differs by %g", one.name[i], error);
    }
    free(beta.data);
    run_free(&one), run_free(&two);
    rule_inputs_free(x);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, reduction_holds, 0, shapes() * REDUCTIONS);
    tcase_add_loop_test(tc, fault_is_seen, 0, RULES * REDUCTIONS);
    tcase_add_loop_test(tc, no_beta_is_two_gates, 0, 4 * 3);
    tcase_add_loop_test(tc, no_scalar_decay_is_one_of_channels, 0, 2 * 3);
    tcase_add_loop_test(tc, unequal_gates_differ, 0, 3);
}

int main(void) { return rule_test_main("reductions", add); }
