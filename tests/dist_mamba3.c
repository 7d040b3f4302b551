/*
 * dist_mamba3.c - Mamba-3 on sequences over processes: with one row a token and several, either
 * pairing, groups, in every mode, it gives on parts of sequences what it gives on whole ones; and
 * the four parts of its state have gradients on every rank. tests/test_dist_mamba3.sh runs it by
 * mpirun.
 */
#include "tests/support/dist_trial.h"
#include "tests/support/mamba3.h"
#include "tests/support/node.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { T = 37 };

/* As in dist_layers.c: boundaries of sequences inside and at the borders of parts, and sequences
 * over one, two and all ranks. */
static const dist_layout layouts[] = {
    {.B = 2, .T = T},
    {.B = 1, .T = T, .sequences = 5, .offsets = {0, 5, 6, 6, 18, T}},
    {.B = 1, .T = T, .sequences = 5, .offsets = {0, 1, 12, 12, 24, T}},
    {.B = 1, .T = T, .sequences = 3, .offsets = {0, 29, T, T}},
    {.B = 1, .T = T, .sequences = 1, .offsets = {0, T}},
    {.B = 1, .T = T, .sequences = 4, .offsets = {0, 0, 0, T, T}},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

#define SIZES(h, g, n, p, j, r) .H = h, .G = g, .N = n, .P = p, .J = j, .R = r

static const m3_problem problems[] = {
    {"one row", SIZES(2, 1, 7, 5, 3, 1)},
    {"four rows, halves, two groups", SIZES(4, 2, 6, 5, 3, 4), .half = true},
    {"two rows, no state", SIZES(2, 1, 5, 4, 1, 2), .no_state = true},
    {"eight rows, halves", SIZES(1, 1, 4, 3, 2, 8), .half = true},
    {"two groups, halves", SIZES(4, 2, 6, 5, 2, 1), .half = true},
    {"bare, no angle", SIZES(2, 1, 5, 4, 0, 1), .bare = true},
    {"lam 0 or 1, dt 0", SIZES(2, 1, 6, 5, 3, 2), .sharp = true},
    {"g = -20", SIZES(2, 1, 6, 5, 3, 1), .decay = DECAY_20},
    {"a scale", SIZES(2, 1, 6, 5, 3, 2), .scale = 0.7},
};
enum { PROBLEMS = sizeof problems / sizeof *problems, INPUTS = M3_INPUTS + PAL_RULE_STATES };

/* ---- The whole ---- */

/* The inputs of a trial are those of the rule, then the parts of its state. */
static void by_place(const pal_tensor *in, pal_tensor all[RULE_INPUTS])
{
    for (int i = 0; i < RULE_INPUTS; i++) all[i] = i < M3_INPUTS ? in[i] : PAL_NONE;
    all[IN_STATE] = in[M3_INPUTS];
    for (int i = 0; i < PAL_RULE_STATES - 1; i++) all[IN_MORE + i] = in[M3_INPUTS + 1 + i];
}

static int call_rule(const void *context, pal_tape *tape, const pal_tensor *in, pal_run_opts run,
                     pal_tensor *out)
{
    const m3_problem *p = context;
    pal_tensor all[RULE_INPUTS];
    by_place(in, all);
    pal_rule_opts opts = m3_options(p, run.mode, all);
    (void)tape;
    opts.offsets = run.offsets, opts.parts = run.parts, opts.continued = run.continued;
    m3_outputs(m3_call(all, opts), out);
    return 1 + PAL_RULE_STATES;
}

static m3_problem problem_of(int problem, int layout)
{
    m3_problem p = problems[problem];
    p.B = layouts[layout].B, p.T = T;
    p.sequences = layouts[layout].sequences; /* for the shapes; offsets come with the part */
    return p;
}

static void fill_inputs(const m3_problem *p, const pal_array x[RULE_INPUTS], dist_input *input)
{
    static const char *const names[INPUTS] = {"x",      "dt",    "g",      "lam",    "om",
                                              "Bm",     "Cm",    "B_bias", "C_bias", "D",
                                              "mimo_x", "state", "th",     "k0",     "x0"};
    (void)p;
    for (int i = 0; i < INPUTS; i++) {
        const int part = i - M3_INPUTS;
        input[i] = (dist_input){names[i], i <= M3_C ? DIST_TOKENS : DIST_ALL, x[i]};
        if (part >= 0) input[i].axis = DIST_STATES;
        if (part >= 0) input[i].x = x[part ? IN_MORE + part - 1 : IN_STATE];
    }
    input[INPUTS].name = NULL;
}

static void trial(int problem, int layout, pal_rule_mode mode, bool f32)
{
    static const char *const modes[] = {"auto", "composed", "recurrent", "chunk"};
    m3_problem p = problem_of(problem, layout);
    pal_array x[RULE_INPUTS];
    dist_input input[INPUTS + 1];
    char text[200];
    m3_draw(&p, 3, x);
    p.sequences = 0;
    fill_inputs(&p, x, input);
    snprintf(text, sizeof text, "%s, %s, layout %d%s", p.name, modes[mode], layout,
             f32 ? ", f32" : "");
    dist_run(&(dist_trial){.name = text,
                           .layout = &layouts[layout],
                           .input = input,
                           .fn = call_rule,
                           .context = &p,
                           .mode = mode,
                           .f32 = f32,
                           .angles = 2});
    rule_inputs_free(x);
}

static void wholes(void)
{
    static const pal_rule_mode modes[] = {PAL_RULE_CHUNK, PAL_RULE_RECURRENT, PAL_RULE_COMPOSED};
    for (int i = 0; i < PROBLEMS * LAYOUTS; i++) {
        const int problem = i / LAYOUTS, layout = i % LAYOUTS;
        trial(problem, layout, modes[(problem + layout) % 3], false);
        trial(problem, layout, PAL_RULE_CHUNK, problem % 2 == layout % 2);
    }
}

/* ---- The state on every rank ---- */

/* What is compared: o, the parts of the state, and the gradients of the inputs. */
enum { VALUES = 1 + PAL_RULE_STATES + INPUTS };

/* Zeros where t is PAL_NONE; nothing where both are. */
static pal_array doubles(pal_tensor t, pal_tensor like)
{
    if (pal_is_none(like)) return pal_array_of(PAL_F64, PAL_SHAPE(0), calloc(1, sizeof(double)));
    const pal_array a = pal_value(pal_is_none(t) ? like : t);
    pal_array x = pal_array_of(PAL_F64, pal_array_shape(&a),
                               calloc((size_t)pal_array_count(&a) + 1, sizeof(double)));
    if (!pal_is_none(t) && pal_array_copy(&x, &a, NULL) != PAL_OK) abort();
    return x;
}

static pal_tensor cotangent(pal_tape *tape, pal_tensor out, int rank, int i)
{
    pal_rng rng = pal_rng_new(5, (uint64_t)(16 * rank + i));
    pal_array x = doubles(PAL_NONE, out);
    pal_rng_uniform(&rng, &x, -1, 1);
    const pal_tensor c = pal_from_array(tape, &x);
    free(x.data);
    return c;
}

/*
 * Runs ranks first .. last of a row cut into parts, in this process, each from the state of the one
 * before; or, with comm, this rank's part alone. Every part has a loss on its output and on all
 * four parts of its final state. Values of `rank`, and the gradients of all inputs, of tokens those
 * of its part.
 */
static void run_parts(const m3_problem *p, const pal_array *x, const dist_layout *l,
                      const pal_comm *comm, int rank, pal_array value[VALUES])
{
    const int ranks = pal_dist_size(dist);
    pal_tape *tape = pal_tape_new();
    pal_tensor in[RULE_INPUTS], part[RULE_INPUTS], out[1 + PAL_RULE_STATES], from[40], c[40];
    pal_rule_out r;
    int n = 0;
    for (int i = 0; i < RULE_INPUTS; i++) {
        in[i] = x[i].data ? pal_want_grad(pal_from_array(tape, &x[i])) : PAL_NONE;
        if (i == IN_STATE || i >= IN_MORE)
            *(i == IN_STATE ? &r.state : &r.more[i - IN_MORE]) = in[i];
    }
    for (int k = comm ? rank : 0; k < (comm ? rank + 1 : ranks); k++) {
        m3_slice(in, l->cut[k], l->cut[k + 1], &r, part);
        pal_rule_opts opts = m3_options(p, PAL_RULE_CHUNK, part);
        opts.parts = comm;
        r = m3_call(part, opts);
        m3_outputs(r, out);
        for (int i = 0; i < 1 + PAL_RULE_STATES; i++) {
            if (k == rank) value[i] = doubles(out[i], out[i]);
            if (!needs_grad(out[i])) continue;
            from[n] = out[i], c[n++] = cotangent(tape, out[i], k, i);
        }
    }
    if (pal_backward_from(n, from, c) != PAL_OK) abort();
    for (int i = 0; i < INPUTS; i++) {
        const int at = i < M3_INPUTS ? i : i == M3_INPUTS ? IN_STATE : IN_MORE + i - M3_INPUTS - 1;
        pal_tensor g = pal_is_none(in[at]) ? PAL_NONE : pal_grad(in[at]);
        const bool tokens = i <= M3_C && !pal_is_none(g);
        if (tokens) g = pal_slice(g, 1, l->cut[rank], l->cut[rank + 1], 1);
        value[1 + PAL_RULE_STATES + i] = doubles(g, in[at]);
    }
    pal_tape_free(tape);
}

/* A loss on the state that each rank returns gives the gradients of one process that computes part
 * after part. */
static void states_everywhere(int problem)
{
    const int rank = pal_dist_rank(dist);
    dist_layout l = layouts[0];
    const m3_problem p = problem_of(problem, 0);
    pal_array x[RULE_INPUTS], value[VALUES], whole[VALUES];
    m3_draw(&p, 4, x);
    for (int kind = 0; dist_cut(&l, kind); kind++) {
        run_parts(&p, x, &l, NULL, rank, whole);
        run_parts(&p, x, &l, pal_dist_sequence(dist), rank, value);
        for (int i = 0; i < VALUES; i++) {
            const int input = i - 1 - PAL_RULE_STATES;
            const bool state = input >= M3_INPUTS, shared = input > M3_C && !state;
            const int64_t count = pal_array_count(&whole[i]);
            double *a = value[i].data, *b = whole[i].data, difference = 0, norm = 1e-8;
            if (shared) pal_dist_sum(dist, (int)count, a);
            for (int64_t j = 0; j < count; j++) {
                double d = a[j] - (state && rank > 0 ? 0 : b[j]); /* rank 0 has it */
                if (i == 2) d = remainder(d, 6.283185307179586);
                difference += d * d, norm += b[j] * b[j];
            }
            expect(difference <= 1e-20 * norm, "%s, cut %d: value %d differs by %g of %g", p.name,
                   kind, i, sqrt(difference), sqrt(norm));
            free(a), free(b);
        }
    }
    rule_inputs_free(x);
}

/* ---- Errors ---- */

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

static void errors(void)
{
    const pal_comm *parts = pal_dist_sequence(dist);
    const m3_problem p = {"", .B = 1, .T = 3, SIZES(2, 1, 4, 3, 1, 3)};
    pal_error heard = {PAL_OK, ""};
    pal_array x[RULE_INPUTS];
    if (!parts || parts->size < 2) return;
    m3_draw(&p, 3, x);
    pal_tape *tape = pal_tape_new();
    pal_tensor in[RULE_INPUTS];
    for (int i = 0; i < RULE_INPUTS; i++)
        in[i] = x[i].data ? pal_from_array(tape, &x[i]) : PAL_NONE;
    pal_rule_opts opts = m3_options(&p, PAL_RULE_AUTO, in);
    opts.parts = parts;
    pal_set_error_handler(hear, &heard);
    m3_call(in, opts);
    pal_set_error_handler(NULL, NULL);
    expect(strstr(heard.message, "mamba3: 3 rows a token; sequences over processes take 1, 2, 4"),
           "got \"%s\"", heard.message);
    pal_tape_free(tape);
    rule_inputs_free(x);
}

int main(int argc, char **argv)
{
    pal_error error;
    const int share = argc > 1 ? atoi(argv[1]) : 1;
    if (pal_dist_start(&dist, (pal_dist_opts){.sequence_parallel = share}, &error) != PAL_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    pal_set_threads(1);
    wholes();
    for (int i = 0; i < 4; i++) states_everywhere(i);
    errors();
    pal_dist_end(dist);
    return report();
}
