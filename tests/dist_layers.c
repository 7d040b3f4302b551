/*
 * dist_layers.c - sequences over processes: rules, mixers and a model give the same results on
 * parts of sequences as on whole ones. tests/test_dist_layers.sh runs it by mpirun.
 */
#include "tests/support/dist_trial.h"
#include "tests/support/isa.h"
#include "tests/support/rule_problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { T = 37 };

/* The boundaries of sequences lie inside and at the borders of the even parts of 2, 3 and 4 ranks,
 * and some sequences are empty. */
static const dist_layout layouts[] = {
    {.B = 2, .T = T},
    {.B = 1, .T = T, .sequences = 5, .offsets = {0, 5, 6, 6, 18, T}},
    {.B = 1, .T = T, .sequences = 5, .offsets = {0, 1, 12, 12, 24, T}},
    {.B = 1, .T = T, .sequences = 3, .offsets = {0, 29, T, T}},
    {.B = 1, .T = T, .sequences = 1, .offsets = {0, T}},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static void run_trial(dist_trial t, const char *what, int layout)
{
    static const char *const modes[] = {"auto", "composed", "recurrent", "chunk"};
    char text[256];
    snprintf(text, sizeof text, "%s, %s, layout %d", what, modes[t.mode], layout);
    t.name = text, t.layout = &layouts[layout];
    dist_run(&t);
}

/* ---- Rules ---- */

/* Without PAL_TEST_ALL=1 only a quarter of the trials is made. The sum of what a trial is made of
 * chooses it. */
static bool chosen(int sum) { return test_all() || sum % 4 == 0; }

typedef struct rule_call {
    const rule_problem *p;
    int rule;
} rule_call;

static int call_rule(const void *context, pal_tape *tape, const pal_tensor *in, pal_run_opts run,
                     pal_tensor *out)
{
    const rule_call *c = context;
    (void)tape;
    pal_rule_opts opts = {.mode = run.mode,
                          .scale = c->p->scale,
                          .state = in[IN_STATE],
                          .offsets = run.offsets,
                          .chunk = c->p->chunk,
                          .normalize = c->p->normalize && c->rule != RULE_mamba2,
                          .A_log = in[IN_A_LOG],
                          .dt_bias = in[IN_DT_BIAS],
                          .parts = run.parts,
                          .continued = run.continued};
    pal_rule_out r = pal_rule_call(pal_rule_at(c->rule), in, opts);
    out[0] = r.o, out[1] = r.state;
    return 2;
}

static const rule_problem problems[] = {
    {"plain", .H = 1, .HV = 2, .K = 7, .V = 5},
    {"no state, unit length and decay inside", .H = 2, .HV = 4, .K = 5, .V = 9, .no_state = true,
     .decay = DECAY_ACTIVATION, .keys = KEYS_RAW, .normalize = true},
};
enum { PROBLEMS = sizeof problems / sizeof *problems };

static void rule_trial(int rule, int problem, int layout, pal_rule_mode mode)
{
    static const char *const more[] = {"the initial state", "A_log", "dt_bias"};
    const dist_layout *l = &layouts[layout];
    rule_problem p = problems[problem];
    p.B = l->B, p.T = l->T, p.sequences = l->sequences;
    pal_array x[RULE_INPUTS];
    rule_draw(&p, rule, 3, x);
    dist_input input[IN_MORE + 1] = {{0}}; /* no rule here has a state of several parts */
    for (int i = 0; i < IN_MORE; i++) {
        input[i] = (dist_input){.name = i < IN_STATE ? "unused" : more[i - IN_STATE], .x = x[i]};
        input[i].axis = i == IN_STATE ? DIST_STATES : x[i].ndim < 3 ? DIST_ALL : DIST_TOKENS;
    }
    for (int i = 0; i < rule_operands(rule); i++) input[i].name = rule_names(rule)[i];
    const rule_call c = {&p, rule};
    char text[160];
    snprintf(text, sizeof text, "%s, %s", pal_rule_name(pal_rule_at(rule)), p.name);
    run_trial((dist_trial){.input = input, .fn = call_rule, .context = &c, .mode = mode}, text,
              layout);
    rule_inputs_free(x);
}

static void rules(void)
{
    static const pal_rule_mode modes[] = {PAL_RULE_CHUNK, PAL_RULE_RECURRENT, PAL_RULE_COMPOSED};
    for (int i = 0; i < RULES * PROBLEMS * LAYOUTS; i++)
        for (int m = 0; m < (i < 2 * RULES * PROBLEMS ? 3 : 1); m++) { /* 2 layouts: all */
            const int rule = i % RULES, problem = i / RULES % PROBLEMS,
                      layout = i / RULES / PROBLEMS;
            /* Each rule has layout 0 once, in all modes. */
            const int sum = layout == 0 ? 2 * (rule + problem) : rule + problem + layout;
            if (chosen(sum)) rule_trial(rule, problem, layout, modes[m]);
        }
}

/* ---- Mixers ---- */

static const char *const mixers[] = {
    "gdn2:num_heads=2:head_dim=6:num_v_heads=4:conv_size=6",
    "kda:num_heads=2:head_dim=6:conv_bias=true",
    "gdn:num_heads=2:head_dim=6:num_v_heads=4",
    "mamba2:head_dim=6:state_size=8:n_groups=2:conv_kernel=3",
    "deltanet:num_heads=2:head_dim=6:num_v_heads=4:use_gate=true",
    "mamba3:head_dim=6:state_size=5:n_groups=2",
    "mamba3:head_dim=6:state_size=6:n_groups=2:is_mimo=true:is_outproj_norm=true",
    "attn:num_heads=2:num_kv_heads=1",
    "attn:num_heads=2:qk_norm=true",
    "swa:num_heads=2:window_size=4",
    "swa:num_heads=2:num_kv_heads=1:window_size=25",
    "swa:num_heads=2:window_size=1",
    "attn:num_heads=2:head_dim=8:rope_fraction=0.5:output_gate=sigmoid:qk_norm=true",
    "attn:num_heads=2:rope=none:qk_norm_whole=true",
    "mamba2:head_dim=6:state_size=8+attn:num_heads=2",
    "shortconv:conv_size=5:use_bias=true",
};
enum { MIXERS = sizeof mixers / sizeof *mixers, STATEFUL = 7, WIDTH = 12 };

typedef struct mixer_call {
    const pal_mixer *mixer;
    pal_mixer_state parts; /* only their names */
} mixer_call;

static int call_mixer(const void *context, pal_tape *tape, const pal_tensor *in, pal_run_opts run,
                      pal_tensor *out)
{
    const mixer_call *c = context;
    (void)tape;
    pal_mixer_state s = {.seen = 0};
    const bool stateful = !pal_is_none(in[1]);
    for (int i = 0; i < PAL_MIXER_PARTS && c->parts.part[i].name && stateful; i++)
        pal_mixer_state_set(&s, c->parts.part[i].name, in[1 + i]);
    out[0] = pal_mixer_forward(c->mixer, in[0], stateful ? &s : NULL, run);
    int n = 1;
    for (int i = 0; i < PAL_MIXER_PARTS && c->parts.part[i].name && stateful; i++)
        out[n++] = pal_mixer_state_get(&s, c->parts.part[i].name);
    return n;
}

/* Learns the parts of a mixer's state, and their shapes for S sequences, from a call on one token.
 * The values of the parts are freed with the tape. */
static pal_mixer_state parts_of(const pal_mixer *mixer, int64_t S, pal_shape shape[PAL_MIXER_PARTS])
{
    pal_tape *tape = pal_tape_new();
    pal_mixer_state s = {.seen = 0};
    pal_mixer_forward(mixer, pal_zeros(tape, PAL_F64, PAL_SHAPE(S, 1, WIDTH)), &s,
                      (pal_run_opts){0});
    for (int i = 0; i < PAL_MIXER_PARTS && s.part[i].name; i++)
        shape[i] = pal_shape_of(s.part[i].tensor);
    pal_tape_free(tape);
    return s;
}

static pal_array draw(pal_shape shape, uint64_t stream)
{
    pal_array x =
        pal_array_of(PAL_F64, shape, malloc(((size_t)pal_shape_count(shape) + 1) * sizeof(double)));
    pal_rng rng = pal_rng_new(5, stream);
    pal_rng_normal(&rng, &x, 0, 1);
    return x;
}

static void mixer_trial(int m, int layout, pal_rule_mode mode, bool has_state)
{
    const dist_layout *l = &layouts[layout];
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(9, 0);
    pal_shape shape[PAL_MIXER_PARTS];
    mixer_call c = {pal_mixer_new(params, "m", WIDTH, PAL_F64, mixers[m], &rng), {.seen = 0}};
    c.parts = parts_of(c.mixer, l->sequences ? l->sequences : l->B, shape);
    dist_input input[2 + PAL_MIXER_PARTS] = {
        {"x", DIST_TOKENS, draw(PAL_SHAPE(l->B, l->T, WIDTH), 0)}};
    for (int i = 0; i < PAL_MIXER_PARTS && c.parts.part[i].name; i++) {
        input[1 + i] = (dist_input){.name = c.parts.part[i].name, .axis = DIST_STATES};
        if (has_state) input[1 + i].x = draw(shape[i], 1 + (uint64_t)i);
    }
    char text[160];
    snprintf(text, sizeof text, "%s%s", mixers[m], has_state ? ", state" : "");
    const bool angles = has_state && input[2].name && strcmp(input[2].name, "th") == 0;
    run_trial((dist_trial){.input = input,
                           .fn = call_mixer,
                           .context = &c,
                           .params = params,
                           .mode = mode,
                           .angles = angles ? 2 : 0},
              text, layout);
    for (int i = 0; input[i].name; i++) free(input[i].x.data);
    pal_params_free(params);
}

static void all_mixers(void)
{
    for (int i = 0; i < MIXERS * LAYOUTS; i++) {
        const int m = i % MIXERS, layout = i / MIXERS;
        if (chosen(m + layout)) mixer_trial(m, layout, PAL_RULE_AUTO, false);
        if (!chosen(m + layout + 1)) continue;
        mixer_trial(m, layout, m < STATEFUL ? PAL_RULE_CHUNK : PAL_RULE_COMPOSED, m < STATEFUL);
    }
}

/* A NaN stays in its sequence. Here the first of two sequences is NaN, and the ranks share both. */
static void unharmed(int m)
{
    dist_layout l = layouts[2];
    dist_cut(&l, 0);
    const int64_t from = l.cut[pal_dist_rank(dist)], to = l.cut[pal_dist_rank(dist) + 1];
    const int64_t bad = l.offsets[2]; /* tokens of the first of two sequences are NaN */
    const bool both = from < bad && bad < to;
    const int64_t offsets[] = {0, both ? bad - from : to - from, to - from};
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(9, 0);
    const pal_mixer *mixer = pal_mixer_new(params, "m", WIDTH, PAL_F64, mixers[m], &rng);
    pal_array x = draw(PAL_SHAPE(1, to - from, WIDTH), 0);
    for (int64_t i = 0; i < (bad - from) * WIDTH && i < (to - from) * WIDTH; i++)
        ((double *)x.data)[i] = NAN;
    pal_tape *tape = pal_tape_new();
    pal_tensor in = pal_want_grad(pal_from_array(tape, &x));
    pal_run_opts run = {.parts = pal_dist_sequence(dist),
                        .offsets = pal_from(tape, PAL_I64, PAL_SHAPE(both ? 3 : 2), offsets),
                        .continued = from != 0 && from != bad};
    pal_tensor y = pal_mixer_forward(mixer, in, NULL, run);
    pal_backward(pal_sum(y, PAL_ALL, false));
    const pal_array values[] = {pal_value(y), pal_value(pal_grad(in))};
    for (int v = 0; v < 2; v++)
        for (int64_t i = 0; i < (to - from) * WIDTH; i++)
            expect(isfinite(((double *)values[v].data)[i]) || from + i / WIDTH < bad,
                   "%s: NaN came to token %lld", mixers[m], (long long)(from + i / WIDTH));
    pal_tape_free(tape);
    free(x.data);
    pal_params_free(params);
}

/* ---- A model ---- */

enum { VOCAB = 11 };

static int call_lm(const void *context, pal_tape *tape, const pal_tensor *in, pal_run_opts run,
                   pal_tensor *out)
{
    (void)tape;
    out[0] = pal_lm_logits(context, in[0], run);
    return 1;
}

/* The losses of the parts, weighted by their shares of the targets, add up to the mean loss of the
 * whole. */
static void check_loss(const pal_lm *lm, const int64_t *tokens)
{
    double loss[2];
    for (int i = 0; i < 2; i++) {
        dist_layout l = layouts[0];
        dist_cut(&l, 0);
        const int64_t *cut = l.cut + pal_dist_rank(dist), from = i ? 0 : cut[0],
                      to = i ? T : cut[1];
        pal_tape *tape = pal_tape_new();
        pal_tensor all = pal_from(tape, PAL_I64, PAL_SHAPE(1, T + 1), tokens);
        pal_tensor x =
            pal_lm_loss(lm, pal_slice(all, 1, from, to, 1), pal_slice(all, 1, from + 1, to + 1, 1),
                        (pal_run_opts){.parts = i ? NULL : pal_dist_sequence(dist)});
        loss[i] = pal_item(x) * (double)(to - from) / T;
        pal_tape_free(tape);
    }
    double sum = loss[0];
    pal_dist_sum(dist, 1, &sum);
    const double error = sum - loss[1];
    expect(error * error <= 1e-24 * loss[1] * loss[1], "losses sum to %.17g and not to %.17g", sum,
           loss[1]);
}

static void model(void)
{
    for (int i = 0; i < 2 * LAYOUTS; i++) {
        if (!chosen(i + i / 2)) continue;
        const dist_layout *l = &layouts[i / 2];
        pal_params *params = pal_params_new();
        pal_rng rng = pal_rng_new(4, 0);
        const pal_lm *lm =
            pal_lm_new(params,
                       (pal_lm_opts){.vocab = VOCAB,
                                     .width = WIDTH,
                                     .mixers = "gdn2:num_heads=2,swa:num_heads=2:window_size=9:"
                                               "block.norm=after,mamba2:head_dim=6:state_size=8:"
                                               "block.mlp=relu2,attn:num_heads=2:rope=none,"
                                               "mamba3:head_dim=6:state_size=6:is_mimo=true",
                                     .mlp_width = 16,
                                     .dtype = PAL_F64,
                                     .recompute = i % 2},
                       &rng);
        int64_t tokens[2 * T];
        pal_array x = pal_array_of(PAL_I64, PAL_SHAPE(l->B, l->T), tokens);
        pal_rng_integers(&rng, &x, 0, VOCAB);
        const dist_input input[] = {{"tokens", DIST_TOKENS, x}, {.name = NULL}};
        run_trial((dist_trial){.input = input, .fn = call_lm, .context = lm, .params = params},
                  i % 2 ? "model, recomputed" : "model", i / 2);
        if (l->B == 2) check_loss(lm, tokens);
        pal_params_free(params);
    }
}

/* ---- Errors ---- */

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

/* Calls that do not work on parts of sequences report the same error on every rank. */
static void errors(void)
{
    static const char *const words[] = {
        "in_place needs sequences that lie in one process", "lm_step: takes whole sequences",
        "lm_score: takes whole sequences", "attn: sequences over processes leave no state",
        "sequences over processes take up to 512"};
    const pal_comm *parts = pal_dist_sequence(dist);
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(4, 0);
    const pal_lm *lm =
        pal_lm_new(params, (pal_lm_opts){.width = 8, .mixers = "attn:num_heads=1"}, &rng);
    pal_lm_state *state = pal_lm_state_new(lm);
    for (int i = 0; i < 5 && parts; i++) {
        pal_error heard = {PAL_OK, ""};
        pal_tape *tape = pal_tape_new();
        const pal_run_opts run = {.parts = parts};
        pal_tensor tokens = pal_zeros(tape, PAL_I64, PAL_SHAPE(1, 3));
        pal_tensor x = pal_zeros(tape, PAL_F32, PAL_SHAPE(1, 3, 8));
        pal_tensor q = pal_zeros(tape, PAL_F32, PAL_SHAPE(1, 3, 1, i == 4 ? 520 : 4));
        pal_tensor beta = pal_zeros(tape, PAL_F32, PAL_SHAPE(1, 3, 1));
        pal_mixer_state s = {.seen = 0};
        pal_rule_opts opts = {.parts = parts, .in_place = i == 0};
        if (i == 0) opts.state = pal_zeros(tape, PAL_F32, PAL_SHAPE(1, 1, 4, 4));
        pal_set_error_handler(hear, &heard);
        if (i == 0 || i == 4) pal_deltanet(q, q, q, beta, opts);
        if (i == 1) pal_lm_step(lm, state, tokens, run);
        if (i == 2) pal_lm_score(lm, tokens, run);
        if (i == 3) pal_mixer_forward(pal_lm_mixer(lm, 0), x, &s, run);
        pal_set_error_handler(NULL, NULL);
        expect(strstr(heard.message, words[i]) != NULL, "error %d is \"%s\"", i, heard.message);
        pal_tape_free(tape);
    }
    pal_lm_state_free(state);
    pal_params_free(params);
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
    rules();
    all_mixers();
    for (int m = 0; m < MIXERS; m++) unharmed(m);
    model();
    errors();
    pal_dist_end(dist);
    return report();
}
