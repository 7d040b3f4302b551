/*
 * test_layer_reductions.c - the GDN-2 layer contains the KDA layer, which contains the GDN layer,
 * which contains the DeltaNet layer.
 *
 * tests/test_reductions.c tests this for the rules. Here it is tested for whole layers, with their
 * projections, convolutions, norms and gates. A map gives the parameters of the larger layer from
 * those of the smaller one (docs/reductions.md derives it):
 *
 *     KDA to GDN-2, HV = H   row h of b_proj [H,d] is rows hK .. hK+K-1 of b_proj [HK,d]
 *                            and rows hV .. hV+V-1 of w_proj [HV,d]
 *     GDN to KDA, HV <= V    row h of a_proj [HV,d] is row h of f_proj.0 [V,d], 0 below;
 *                            rows hK .. hK+K-1 of f_proj.1 [HV K,V] are the unit row e_h;
 *                            entry h of dt_bias [HV] is entries hK .. hK+K-1 of dt_bias [HV K]
 *     DeltaNet to GDN        A_log is -1000, so that exp(A_log) is 0 and nothing decays; a_proj and
 *                            dt_bias may be anything
 *
 * Every other parameter is the one of the same name. Then outputs, states and the gradient of x are
 * equal. By the chain rule, the gradient of a parameter of the smaller layer is the sum of the
 * gradients of what it became. Two tests show that the comparison sees differences: copies of a row
 * that are not equal, and an error of 1% in one row.
 */
#include "tests/support/check.h"
#include "tests/support/rule_compare.h"
#include "tests/support/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double F64 = 1e-10, F32 = 1e-5;

/* ---- The maps ---- */

typedef struct sizes {
    int64_t B, T, d, H, HV, K, V;
} sizes;

/* Row r of `small` becomes rows r n .. r n + n - 1 of `large`. */
typedef struct line {
    const char *small, *large;
    int64_t n;
} line;
enum { LINES = 2 };

static void kda_in_gdn2(const sizes *s, line l[LINES])
{
    l[0] = (line){"b_proj.weight", "b_proj.weight", s->K};
    l[1] = (line){"b_proj.weight", "w_proj.weight", s->V};
}

static void gdn_in_kda(const sizes *s, line l[LINES])
{
    l[0] = (line){"a_proj.weight", "f_proj.0.weight", 1};
    l[1] = (line){"dt_bias", "dt_bias", s->K};
}

/* All parameters keep their names. These two are listed because faults are put into them. */
static void deltanet_in_gdn(const sizes *s, line l[LINES])
{
    (void)s;
    l[0] = (line){"b_proj.weight", "b_proj.weight", 1};
    l[1] = (line){"o_proj.weight", "o_proj.weight", 1};
}

/* A parameter of the larger layer that the map sets to a constant. */
typedef enum constant {
    NO_CONSTANT,
    PICKS,   /* f_proj.1 selects a head's entry */
    NO_DECAY /* A_log is -1000; a_proj and dt_bias do not matter */
} constant;

typedef struct reduction {
    const char *name, *small, *large;
    void (*lines)(const sizes *s, line l[LINES]);
    constant constant;
} reduction;

static const reduction reductions[] = {
    {"GDN-2 with one row a head is KDA", "kda", "gdn2", kda_in_gdn2, NO_CONSTANT},
    {"KDA with one decay a head is GDN", "gdn:use_gate=false", "kda:output_gate=none", gdn_in_kda,
     PICKS},
    {"GDN without decay is DeltaNet", "deltanet", "gdn:use_gate=false", deltanet_in_gdn, NO_DECAY},
};
enum { REDUCTIONS = sizeof reductions / sizeof *reductions };

/* ---- Parameters as rows of doubles ---- */

static int index_of(pal_params *params, const char *name)
{
    for (int i = 0; i < pal_params_count(params); i++)
        if (strcmp(pal_params_name(params, i), name) == 0) return i;
    return -1;
}

static int64_t row_width(const pal_array *a)
{
    return a->ndim > 1 ? pal_array_count(a) / a->shape[0] : 1;
}

/* to[r n + c] = from[r] for c < n and rows of width w; then the transpose of this: to[r] += from[r
 * n + c]. */
static void copy_rows(double *to, const double *from, int64_t rows, int64_t n, int64_t w)
{
    for (int64_t r = 0; r < rows * n; r++)
        memcpy(to + r * w, from + r / n * w, (size_t)w * sizeof *to);
}
static void sum_rows(double *to, const double *from, int64_t rows, int64_t n, int64_t w)
{
    for (int64_t i = 0; i < rows * n * w; i++) to[i / w / n * w + i % w] += from[i];
}

/* The lines for a parameter of the smaller layer: those of the map, or one with its own name. */
static int lines_from(const reduction *r, const sizes *s, const char *small, line l[LINES])
{
    line all[LINES];
    int n = 0;
    r->lines(s, all);
    for (int i = 0; i < LINES; i++)
        if (strcmp(all[i].small, small) == 0) l[n++] = all[i];
    if (n == 0) l[n++] = (line){small, small, 1};
    return n;
}

/* ---- Departures from the map ---- */

typedef enum change {
    NONE,
    FAULT,  /* row 0 of the mapped parameter is 1% off */
    UNEQUAL /* the copies of a row differ, and their mean is the row */
} change;

static void depart(change what, const line *l, double *x, int64_t rows, int64_t w)
{
    for (int64_t i = 0; i < w && what == FAULT; i++) x[i] *= 1.01;
    for (int64_t i = 0; i < rows * l->n * w && what == UNEQUAL; i++)
        x[i] += ((double)(i / w % l->n) - (double)(l->n - 1) / 2) / (double)l->n;
}

/* Sets the parameters of the larger layer from those of the smaller one, with change `what` in line
 * `which`. */
static void map_parameters(const reduction *r, const sizes *s, pal_params *small, pal_params *large,
                           change what, int which)
{
    bool set[TRIAL_VALUES] = {false};
    line all[LINES];
    r->lines(s, all);
    for (int i = 0; i < pal_params_count(small); i++) {
        line l[LINES];
        pal_array from = run_doubles(pal_params_at(small, i));
        int n = lines_from(r, s, pal_params_name(small, i), l);
        for (int j = 0; j < n; j++) {
            int at = index_of(large, l[j].large);
            ck_assert_msg(at >= 0, "there is no %s", l[j].large);
            pal_array to = run_doubles(pal_params_at(large, at));
            memset(to.data, 0, (size_t)pal_array_count(&to) * sizeof(double));
            copy_rows(to.data, from.data, from.shape[0], l[j].n, row_width(&from));
            if (strcmp(l[j].large, all[which].large) == 0)
                depart(what, &l[j], to.data, from.shape[0], row_width(&from));
            pal_assign(pal_params_at(large, at), &to);
            free(to.data);
            set[at] = true;
        }
        free(from.data);
    }
    if (r->constant != NO_CONSTANT) {
        int at = index_of(large, r->constant == PICKS ? "f_proj.1.weight" : "A_log");
        pal_array to = run_doubles(pal_params_at(large, at));
        for (int64_t i = 0; i < pal_array_count(&to); i++)
            ((double *)to.data)[i] = r->constant == NO_DECAY ? -1000 : i / s->V / s->K == i % s->V;
        pal_assign(pal_params_at(large, at), &to);
        free(to.data);
        set[at] = true;
        if (r->constant == NO_DECAY)
            set[index_of(large, "a_proj.weight")] = set[index_of(large, "dt_bias")] = true;
    }
    for (int i = 0; i < pal_params_count(large); i++)
        ck_assert_msg(set[i], "nothing maps to %s", pal_params_name(large, i));
}

/* Makes the result of the larger layer comparable with one of the smaller. Its gradients are summed
 * back through the lines. */
static trial_result map_back(const reduction *r, const sizes *s, pal_params *small,
                             pal_params *large, const trial_result *of_large)
{
    trial_result back = {.outputs = of_large->outputs};
    for (int i = 0; i <= of_large->outputs; i++, back.count++) {
        back.name[i] = of_large->name[i];
        back.value[i] = pal_array_of(PAL_F64, pal_array_shape(&of_large->value[i]), NULL);
        size_t bytes = (size_t)pal_array_count(&back.value[i]) * sizeof(double);
        back.value[i].data = memcpy(malloc(bytes + 8), of_large->value[i].data, bytes);
    }
    for (int i = 0; i < pal_params_count(small); i++, back.count++) {
        line l[LINES];
        pal_array shape = pal_params_array(small, i);
        pal_array *sum = &back.value[back.count];
        *sum = pal_array_of(PAL_F64, pal_array_shape(&shape), NULL);
        sum->data = calloc((size_t)pal_array_count(sum), sizeof(double));
        back.name[back.count] = pal_params_name(small, i);
        int n = lines_from(r, s, back.name[back.count], l);
        for (int j = 0; j < n; j++) {
            int at = of_large->outputs + 1 + index_of(large, l[j].large);
            sum_rows(sum->data, of_large->value[at].data, sum->shape[0], l[j].n, row_width(sum));
        }
    }
    return back;
}

/* ---- Running a layer ---- */

/* A call on pieces of the sequence that pass on their state: cut[0] = 0 .. cut[pieces] = T. */
typedef struct call {
    const pal_mixer *mixer;
    pal_rule_mode mode;
    int pieces;
    int64_t cut[5];
} call;

/* Outputs: y, the final state, and the tails of the convolutions. */
static int run_pieces(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const call *c = context;
    pal_mixer_state state = {.seen = 0};
    pal_tensor y[4];
    int n = 0;
    (void)tape;
    for (int i = 0; i < c->pieces; i++)
        y[i] = pal_mixer_forward(c->mixer, pal_slice(x, 1, c->cut[i], c->cut[i + 1], 1), &state,
                                 (pal_run_opts){.mode = c->mode});
    out[n++] = pal_concat(c->pieces, y, 1);
    out[n++] = pal_mixer_state_get(&state, "state");
    static const char *const tails[] = {"conv.0", "conv.1", "conv.2"};
    for (int i = 0; i < 3; i++) {
        const pal_tensor tail = pal_mixer_state_get(&state, tails[i]);
        if (!pal_is_none(tail)) out[n++] = tail;
    }
    return n;
}

static trial_result run_layer(const trial_layer *l, const pal_array *x, pal_dtype dtype,
                              pal_rule_mode mode, bool split)
{
    const int64_t T = x->shape[1];
    call c = {.mixer = l->mixer, .mode = mode, .pieces = 1, .cut = {0, T}};
    if (split) c = (call){l->mixer, mode, 4, {0, T / 3, T / 3 + 1, T - 1, T}};
    trial t = {run_pieces, &c, l->params, dtype, x};
    return trial_run(&t);
}

/* ---- Shapes ---- */

typedef struct problem {
    sizes s;
    char small[256], large[256];
} problem;

static problem random_problem(int i, const reduction *r)
{
    static const char *const gate[] = {"silu", "sigmoid", "none"};
    static const char *const more[] = {"", ":conv_bias=true:conv_size=2", ":use_short_conv=false",
                                       ":norm_eps=1e-3:conv_size=1"};
    pal_rng rng = pal_rng_new(77, (uint64_t)i);
    problem p;
    int64_t halves = 1 + pal_rng_below(&rng, 4); /* V = halves/2 K */
    sizes s = {.B = 1 + pal_rng_below(&rng, 2),
               .T = 4 + pal_rng_below(&rng, 70),
               .d = 5 + pal_rng_below(&rng, 20),
               .H = 1 + pal_rng_below(&rng, 3),
               .K = 2 + 2 * pal_rng_below(&rng, 12)};
    s.V = s.K * halves / 2;
    s.HV = s.H * (r->constant ? 1 + pal_rng_below(&rng, 3) : 1);
    while (s.HV > s.V) s.K += 2, s.V = s.K * halves / 2;
    char text[160];
    int n =
        snprintf(text, sizeof text, ":num_heads=%lld:num_v_heads=%lld:head_dim=%lld:expand_v=%g%s",
                 (long long)s.H, (long long)s.HV, (long long)s.K, (double)halves / 2, more[i % 4]);
    if (r->constant)
        snprintf(text + n, sizeof text - (size_t)n, ":allow_neg_eigval=%s",
                 i % 3 ? "false" : "true");
    else
        snprintf(text + n, sizeof text - (size_t)n, ":output_gate=%s", gate[i % 3]);
    p.s = s;
    snprintf(p.small, sizeof p.small, "%s%s", r->small, text);
    snprintf(p.large, sizeof p.large, "%s%s", r->large, text);
    return p;
}

/* ---- The comparison ---- */

typedef struct figures {
    double outputs, gradients;
    char worst[64]; /* the parameter with the largest error */
} figures;

static double norm(const trial_result *r, int from, int to, int64_t *n)
{
    double sum = 0;
    *n = 0;
    for (int i = from; i < to; i++) {
        const double *x = r->value[i].data;
        int64_t count = pal_array_count(&r->value[i]);
        for (int64_t j = 0; j < count; j++) sum += x[j] * x[j];
        *n += count;
    }
    return sqrt(sum);
}

/*
 * The largest relative error of a gradient. The gradient of A_log is one number a head, a sum of
 * terms with both signs, which may nearly cancel. So in f32 a gradient counts as no smaller than
 * the root mean square of all of the layer's gradients (as in pal_gradcheck).
 */
static double gradient_distance(const trial_result *r, const trial_result *ref, pal_dtype dtype,
                                const char **worst)
{
    double most = -1;
    int64_t all, n;
    const double rms = norm(ref, ref->outputs, ref->count, &all) / sqrt((double)all);
    for (int i = ref->outputs; i < ref->count; i++) {
        double error = trial_distance(r, ref, i, i + 1, NULL);
        double own = norm(ref, i, i + 1, &n), least = rms * sqrt((double)n);
        if (dtype == PAL_F32 && own < least) error *= own / least;
        if (error <= most) continue; /* NaN is not skipped here */
        most = error, *worst = ref->name[i];
        if (isnan(error)) break;
    }
    return most;
}

/* The distance of the larger layer, run as a whole or in pieces, from the smaller one. */
static figures compare(const reduction *r, const problem *p, uint64_t seed, pal_dtype dtype,
                       pal_rule_mode mode, bool split, change what, int which)
{
    const sizes *s = &p->s;
    const char *worst = "";
    figures f;
    pal_array x = trial_input(seed, PAL_SHAPE(s->B, s->T, s->d));
    trial_layer small = trial_layer_new(p->small, s->d, dtype, seed + 1);
    trial_layer large = trial_layer_new(p->large, s->d, dtype, seed + 2);
    map_parameters(r, s, small.params, large.params, what, which);
    trial_result of_small = run_layer(&small, &x, dtype, mode, false);
    trial_result of_large = run_layer(&large, &x, dtype, mode, split);
    trial_result back = map_back(r, s, small.params, large.params, &of_large);
    ck_assert_int_eq(of_small.outputs, back.outputs);
    ck_assert_int_eq(of_small.count, back.count);
    f.outputs = trial_distance(&back, &of_small, 0, back.outputs, NULL);
    f.gradients = gradient_distance(&back, &of_small, dtype, &worst);
    snprintf(f.worst, sizeof f.worst, "%s", worst);
    trial_free(&of_small), trial_free(&of_large), trial_free(&back);
    pal_params_free(small.params), pal_params_free(large.params);
    free(x.data);
    return f;
}

static const pal_rule_mode modes[] = {PAL_RULE_CHUNK, PAL_RULE_RECURRENT, PAL_RULE_COMPOSED,
                                      PAL_RULE_AUTO};

static int shapes(void) { return test_all() ? 48 : 12; }

START_TEST(reduction_holds)
{
    const reduction *r = &reductions[_i % REDUCTIONS];
    const bool split = _i / REDUCTIONS % 2;
    const pal_dtype dtype = _i / REDUCTIONS / 2 ? PAL_F32 : PAL_F64;
    const double tolerance = dtype == PAL_F64 ? F64 : F32;
    figures most = {.worst = ""};
    for (int i = 0; i < shapes(); i++) {
        problem p = random_problem(i, r);
        figures f = compare(r, &p, 10 + (uint64_t)i, dtype, modes[i % 4], split, NONE, 0);
        ck_assert_msg(f.outputs <= tolerance, "%s (%s, T %lld): outputs differ by %.3g", r->name,
                      p.small, (long long)p.s.T, f.outputs);
        ck_assert_msg(f.gradients <= tolerance, "%s (%s, T %lld): gradients of %s differ by %.3g",
                      r->name, p.small, (long long)p.s.T, f.worst, f.gradients);
        if (f.outputs > most.outputs) most.outputs = f.outputs;
        if (f.gradients > most.gradients) {
            most.gradients = f.gradients;
            memcpy(most.worst, f.worst, sizeof f.worst);
        }
    }
    printf("%s, %s, %s: outputs and states differ by %.1e, gradients by %.1e (%s)\n", r->name,
           pal_dtype_name(dtype), split ? "in pieces" : "whole", most.outputs, most.gradients,
           most.worst);
}
END_TEST

START_TEST(unequal_rows_differ)
{
    const reduction *r = &reductions[_i % REDUCTIONS];
    const int which = _i / REDUCTIONS;
    for (int i = 0; i < 4; i++) {
        line l[LINES];
        problem p = random_problem(i, r);
        r->lines(&p.s, l);
        if (l[which].n == 1) continue; /* this line makes no copies */
        figures f = compare(r, &p, 10, PAL_F64, modes[i], false, UNEQUAL, which);
        ck_assert_msg(f.outputs > 1e-2, "%s (%s): with unequal rows of %s outputs differ by %.3g",
                      r->name, p.small, l[which].large, f.outputs);
        printf("%s: with unequal rows of %s outputs differ by %.1e\n", r->name, l[which].large,
               f.outputs);
    }
}
END_TEST

/* With 1% error on one row of a mapped parameter, outputs and gradients exceed the tolerances. */
START_TEST(fault_is_seen)
{
    const reduction *r = &reductions[_i % REDUCTIONS];
    const int which = _i / REDUCTIONS;
    for (int i = 0; i < 8; i++) {
        problem p = random_problem(i % 4, r);
        figures f =
            compare(r, &p, 10, i / 4 ? PAL_F32 : PAL_F64, modes[i % 4], i % 2, FAULT, which);
        ck_assert_msg(f.outputs > 2 * F32 && f.gradients > 2 * F32,
                      "%s (%s): a fault in line %d makes differences of %.3g and %.3g", r->name,
                      p.small, which, f.outputs, f.gradients);
    }
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, reduction_holds, 0, REDUCTIONS * 4);
    tcase_add_loop_test(tc, unequal_rows_differ, 0, REDUCTIONS * LINES);
    tcase_add_loop_test(tc, fault_is_seen, 0, REDUCTIONS * LINES);
}

int main(void) { return rule_test_main("layer reductions", add); }
