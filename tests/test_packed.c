/*
 * test_packed.c - sequences of different lengths in one call: packed end to end, or padded.
 *
 * Each call is compared with its sequences run one by one on the same tape and then joined. So
 * outputs have to be those of each sequence, and gradients of parameters the sum over the
 * sequences. They agree within rounding and not bit for bit. A product of 56 rows may take another
 * path through BLIS than one of 5, and `auto` chooses the form of a rule by the mean length.
 */
#include "tests/support/check.h"
#include "tests/support/rule_compare.h"
#include "tests/support/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double OUTPUTS = 1e-12, GRADIENTS = 1e-11, F32_OUTPUTS = 1e-6, F32_GRADIENTS = 1e-5;

enum { WIDTH = 12, N = 5, T = 56, VOCAB = 11 };
static const int64_t offsets[N + 1] = {0, 5, 6, 6, 23, 56};

static const char *const mixers[] = {
    "mamba2:head_dim=6:state_size=8:n_groups=2",
    "gdn:num_heads=2:head_dim=6:num_v_heads=4",
    "kda:num_heads=2:head_dim=6:conv_bias=true",
    "gdn2:num_heads=2:head_dim=6:num_v_heads=4",
    "mamba3:head_dim=6:state_size=8:n_groups=2:is_mimo=true:mimo_rank=2",
    "attn:num_heads=2",
    "swa:num_heads=2:num_kv_heads=1:window_size=4",
    "attn:num_heads=2:rope=none:qk_norm_whole=true:scale=0.4",
    "mamba2:head_dim=6:state_size=8+attn:num_heads=2:out_scale=0.5",
    "shortconv",
    "attn:num_heads=2:head_dim=8:rope_fraction=0.5:rope=interleaved:output_gate=sigmoid",
};
enum { MIXERS = sizeof mixers / sizeof *mixers, RULE_MIXERS = 5 };
static const char hybrid[] =
    "gdn2:num_heads=2,swa:window_size=4,mamba2:head_dim=6:state_size=8,attn";

static const pal_rule_mode modes[] = {PAL_RULE_AUTO, PAL_RULE_CHUNK, PAL_RULE_RECURRENT,
                                      PAL_RULE_COMPOSED};

static pal_tensor offsets_on(pal_tape *tape)
{
    return pal_from(tape, PAL_I64, PAL_SHAPE(N + 1), offsets);
}

/* ---- Mixers ---- */

typedef struct call {
    const pal_mixer *mixer;
    pal_rule_mode mode;
    bool has_state; /* all parts of the final states are outputs too */
    bool left;      /* the padding is on the left */
} call;

/* The parts of a state; their number. */
static int parts_of(const pal_mixer_state *state, pal_tensor *out)
{
    int n = 0;
    while (n < PAL_MIXER_PARTS && state->part[n].name) out[n] = state->part[n].tensor, n++;
    return n;
}

static int packed(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const call *c = context;
    pal_mixer_state state = {.seen = 0};
    pal_run_opts run = {.mode = c->mode, .offsets = offsets_on(tape)};
    out[0] = pal_mixer_forward(c->mixer, x, c->has_state ? &state : NULL, run);
    return 1 + parts_of(&state, out + 1);
}

static int alone(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const call *c = context;
    pal_tensor y[N], part[PAL_MIXER_PARTS], of[PAL_MIXER_PARTS][N];
    int parts = 0;
    (void)tape;
    for (int n = 0; n < N; n++) {
        pal_mixer_state s = {.seen = 0};
        y[n] = pal_mixer_forward(c->mixer, pal_slice(x, 1, offsets[n], offsets[n + 1], 1),
                                 c->has_state ? &s : NULL, (pal_run_opts){.mode = c->mode});
        parts = parts_of(&s, part);
        for (int i = 0; i < parts; i++) of[i][n] = part[i];
    }
    out[0] = pal_concat(N, y, 1);
    for (int i = 0; i < parts; i++) out[1 + i] = pal_concat(N, of[i], 0);
    return 1 + parts;
}

/* Runs two functions on the same layer and input, and compares the results. */
static void same(trial_fn *one, trial_fn *other, const char *text, call c, pal_dtype dtype,
                 pal_shape shape)
{
    trial_layer l = trial_layer_new(text, WIDTH, dtype, 3);
    pal_array x = trial_input(9, shape);
    c.mixer = l.mixer;
    trial t = {one, &c, l.params, dtype, &x};
    trial_result a = trial_run(&t);
    t.fn = other;
    trial_result b = trial_run(&t);
    if (dtype == PAL_F64)
        trial_agree(&a, &b, OUTPUTS, GRADIENTS, text);
    else
        trial_agree(&a, &b, F32_OUTPUTS, F32_GRADIENTS, text);
    trial_free(&a), trial_free(&b);
    pal_params_free(l.params);
    free(x.data);
}

START_TEST(packed_mixer)
{
    const int which = _i / 4;
    call c = {.mode = modes[_i % 4], .has_state = which < RULE_MIXERS};
    same(packed, alone, mixers[which], c, PAL_F64, PAL_SHAPE(1, T, WIDTH));
    same(packed, alone, mixers[which], c, PAL_F32, PAL_SHAPE(1, T, WIDTH));
}
END_TEST

/* Two packed calls; the second continues from the states of the first. Sequence n has the tokens
 * offsets[n] .. offsets[n+1] - 1 of either half of x. */
static int packed_twice(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const call *c = context;
    pal_mixer_state state = {.seen = 0};
    pal_run_opts run = {.mode = c->mode, .offsets = offsets_on(tape)};
    for (int i = 0; i < 2; i++)
        out[i] = pal_mixer_forward(c->mixer, pal_slice(x, 1, i * T, i * T + T, 1), &state, run);
    out[2] = pal_mixer_state_get(&state, "state");
    return 3;
}

static int alone_twice(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const call *c = context;
    pal_tensor y[2][N], last[N];
    (void)tape;
    for (int n = 0; n < N; n++) {
        const int64_t from = offsets[n], to = offsets[n + 1];
        pal_mixer_state state = {.seen = 0};
        pal_tensor half[2] = {pal_slice(x, 1, from, to, 1), pal_slice(x, 1, T + from, T + to, 1)};
        pal_tensor both = pal_mixer_forward(c->mixer, pal_concat(2, half, 1), &state,
                                            (pal_run_opts){.mode = c->mode});
        for (int i = 0; i < 2; i++)
            y[i][n] = pal_slice(both, 1, i * (to - from), (i + 1) * (to - from), 1);
        last[n] = pal_mixer_state_get(&state, "state");
    }
    for (int i = 0; i < 2; i++) out[i] = pal_concat(N, y[i], 1);
    out[2] = pal_concat(N, last, 0);
    return 3;
}

START_TEST(packed_goes_on)
{
    call c = {.mode = modes[_i / RULE_MIXERS]};
    same(packed_twice, alone_twice, mixers[_i % RULE_MIXERS], c, PAL_F64,
         PAL_SHAPE(1, 2 * T, WIDTH));
}
END_TEST

/* With a NaN in sequence n, y and dx of the other sequences keep their bits. */
START_TEST(nothing_leaks)
{
    const int which = _i / 4;
    call c = {.mode = modes[_i % 4]};
    if (which >= RULE_MIXERS && c.mode == PAL_RULE_COMPOSED) return; /* 0 * NaN */
    trial_layer l = trial_layer_new(mixers[which], WIDTH, PAL_F64, 3);
    pal_array x = trial_input(9, PAL_SHAPE(1, T, WIDTH));
    double *data = x.data;
    c.mixer = l.mixer;
    trial t = {packed, &c, l.params, PAL_F64, &x};
    trial_result clean = trial_run(&t);
    for (int n = 0; n < N; n++) {
        const int64_t from = offsets[n] * WIDTH, to = offsets[n + 1] * WIDTH;
        if (from == to) continue;
        const double before = data[to - 1];
        data[to - 1] = NAN;
        trial_result r = trial_run(&t);
        int64_t spoilt = 0;
        for (int64_t i = 0; i < T * WIDTH; i++)
            for (int v = 0; v < 2; v++) { /* y and dx */
                const double *a = r.value[v].data, *b = clean.value[v].data;
                if (i >= from && i < to)
                    spoilt += isnan(a[i]);
                else
                    ck_assert_msg(
                        a[i] == b[i], "%s, mode %s: a NaN of sequence %d reaches %s[%lld]",
                        mixers[which], rule_mode_name(c.mode), n, v ? "dx" : "y", (long long)i);
            }
        ck_assert_int_gt(spoilt, 0);
        trial_free(&r);
        data[to - 1] = before;
    }
    trial_free(&clean);
    pal_params_free(l.params);
    free(x.data);
}
END_TEST

/* ---- Padded batches ---- */

enum { ROWS = 4, LENGTH = 19 };
static const int64_t lengths[ROWS] = {19, 4, 0, 7};

static int padded(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const call *c = context;
    pal_run_opts run = {.mode = c->mode};
    (void)tape;
    x = pal_pack(x, lengths, c->left, &run.offsets);
    out[0] = pal_unpack(pal_mixer_forward(c->mixer, x, NULL, run), run.offsets, LENGTH, c->left);
    return 1;
}

static int rows_alone(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const call *c = context;
    pal_tensor y[ROWS];
    (void)tape;
    for (int b = 0; b < ROWS; b++) {
        const int64_t padding = LENGTH - lengths[b], from = c->left ? padding : 0;
        pal_tensor row = pal_slice(pal_slice(x, 0, b, b + 1, 1), 1, from, from + lengths[b], 1);
        row = pal_mixer_forward(c->mixer, row, NULL, (pal_run_opts){.mode = c->mode});
        y[b] = pal_pad(row, 1, from, padding - from, 0);
    }
    out[0] = pal_concat(ROWS, y, 0);
    return 1;
}

START_TEST(padded_mixer)
{
    call c = {.mode = PAL_RULE_CHUNK, .left = _i % 2};
    same(padded, rows_alone, mixers[_i / 2], c, PAL_F64, PAL_SHAPE(ROWS, LENGTH, WIDTH));
}
END_TEST

START_TEST(pack_of_tokens)
{
    static const int64_t x[2 * 3] = {1, 2, 3, 4, 5, 6}, n[2] = {3, 1}, zero[2] = {0, 0};
    static const int64_t want[2][4] = {{1, 2, 3, 4}, {1, 2, 3, 6}};
    static const int64_t back[2][6] = {{1, 2, 3, 4, 0, 0}, {1, 2, 3, 0, 0, 6}};
    pal_tape *tape = pal_tape_new();
    pal_tensor t = pal_from(tape, PAL_I64, PAL_SHAPE(2, 3), x), at;
    for (int left = 0; left < 2; left++) {
        pal_tensor p = pal_pack(t, n, left, &at), u = pal_unpack(p, at, 3, left);
        ck_assert(pal_shape_equal(pal_shape_of(p), PAL_SHAPE(1, 4)));
        ck_assert(memcmp(pal_i64(p), want[left], sizeof want[left]) == 0);
        ck_assert(memcmp(pal_i64(u), back[left], sizeof back[left]) == 0);
        ck_assert(pal_i64(at)[0] == 0 && pal_i64(at)[1] == 3 && pal_i64(at)[2] == 4);
    }
    pal_tensor none = pal_pack(t, zero, false, &at);
    ck_assert(pal_shape_equal(pal_shape_of(none), PAL_SHAPE(1, 0)));
    ck_assert(pal_shape_equal(pal_shape_of(pal_unpack(none, at, 0, false)), PAL_SHAPE(2, 0)));
    pal_tape_free(tape);
}
END_TEST

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

static void expect(pal_tape *tape, const pal_error *heard, pal_status status, const char *words)
{
    ck_assert_msg(heard->status == status && strstr(heard->message, words) != NULL, "%s",
                  heard->message);
    ck_assert_int_eq(pal_tape_status(tape), status);
    pal_tape_reset(tape);
}

START_TEST(wrong_lengths_and_offsets)
{
    static const int64_t high[2] = {2, 4}, low[2] = {-1, 2};
    static const struct {
        int64_t n, at[4], T;
        pal_status status;
        const char *words;
    } wrong[] = {
        {4, {0, 2, 3, 5}, 4, PAL_EVALUE, "unpack: offsets must run from 0 to T = 6 without"},
        {4, {1, 2, 3, 6}, 4, PAL_EVALUE, "unpack: offsets must run from 0 to T = 6 without"},
        {4, {0, 3, 2, 6}, 4, PAL_EVALUE, "unpack: offsets must run from 0 to T = 6 without"},
        {1, {0}, 4, PAL_ESHAPE, "unpack: argument offsets is i64[1] and should be i64[N+1]"},
        {3, {0, 1, 6}, 4, PAL_EVALUE, "unpack: sequence 1 is longer than T = 4"},
        {3, {0, 1, 6}, -1, PAL_EVALUE, "unpack: sequence 0 is longer than T = -1"},
    };
    pal_error heard;
    pal_set_error_handler(hear, &heard);
    pal_tape *tape = pal_tape_new();
    pal_pack(pal_zeros(tape, PAL_F32, PAL_SHAPE(2, 3)), high, false, NULL);
    expect(tape, &heard, PAL_EVALUE, "pack: length 4 of row 1 is not within 0 .. 3");
    pal_pack(pal_zeros(tape, PAL_F32, PAL_SHAPE(2, 3)), low, true, NULL);
    expect(tape, &heard, PAL_EVALUE, "pack: length -1 of row 0 is not within 0 .. 3");
    pal_pack(pal_zeros(tape, PAL_F32, PAL_SHAPE(0, 3)), high, false, NULL);
    expect(tape, &heard, PAL_ESHAPE, "pack: argument x has no rows");
    pal_pack(pal_zeros(tape, PAL_F32, PAL_SHAPE(3)), high, false, NULL);
    expect(tape, &heard, PAL_ESHAPE, "pack: argument x is f32[3] and should have 2 axes or more");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pal_tensor at = pal_from(tape, PAL_I64, PAL_SHAPE(wrong[i].n), wrong[i].at);
        pal_unpack(pal_zeros(tape, PAL_F32, PAL_SHAPE(1, 6)), at, wrong[i].T, false);
        expect(tape, &heard, wrong[i].status, wrong[i].words);
    }
    pal_tensor at = pal_from(tape, PAL_I64, PAL_SHAPE(3), wrong[4].at);
    pal_unpack(pal_zeros(tape, PAL_F32, PAL_SHAPE(2, 6)), at, 6, false);
    expect(tape, &heard, PAL_ESHAPE, "packed sequences need B = 1, and B is 2");
    pal_tape_free(tape);
}
END_TEST

/* ---- A hybrid model ---- */

typedef struct model {
    pal_params *params;
    pal_lm *lm;
    int64_t tokens[T], targets[T];
} model;

static model make_model(void)
{
    model m = {.params = pal_params_new()};
    pal_rng rng = pal_rng_new(2, 0);
    m.lm = pal_lm_new(
        m.params,
        (pal_lm_opts){
            .vocab = VOCAB, .width = WIDTH, .mixers = hybrid, .mlp_width = 16, .dtype = PAL_F64},
        &rng);
    ck_assert(m.lm != NULL);
    trial_draw(m.params, 7);
    for (int i = 0; i < T; i++) {
        m.tokens[i] = pal_rng_below(&rng, VOCAB);
        m.targets[i] = i % 3 == 1 ? PAL_IGNORE : pal_rng_below(&rng, VOCAB);
    }
    return m;
}

static pal_tensor ids(pal_tape *tape, const int64_t *x, int64_t from, int64_t to)
{
    return pal_from(tape, PAL_I64, PAL_SHAPE(1, to - from), x + from);
}

/* Logits, and the sum of the loss over counted targets. */
static int model_packed(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const model *m = context;
    pal_run_opts run = {.offsets = offsets_on(tape)};
    pal_tensor tokens = ids(tape, m->tokens, 0, T);
    double counted = 0;
    (void)x;
    for (int i = 0; i < T; i++) counted += m->targets[i] != PAL_IGNORE;
    out[0] = pal_lm_logits(m->lm, tokens, run);
    out[1] = pal_affine(pal_lm_loss(m->lm, tokens, ids(tape, m->targets, 0, T), run), counted, 0);
    return 2;
}

static int model_alone(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const model *m = context;
    pal_tensor y[N], sum = pal_scalar(tape, PAL_F64, 0);
    (void)x;
    for (int n = 0; n < N; n++) {
        pal_tensor tokens = ids(tape, m->tokens, offsets[n], offsets[n + 1]);
        pal_tensor targets = ids(tape, m->targets, offsets[n], offsets[n + 1]);
        double counted = 0;
        for (int64_t i = offsets[n]; i < offsets[n + 1]; i++)
            counted += m->targets[i] != PAL_IGNORE;
        y[n] = pal_lm_logits(m->lm, tokens, (pal_run_opts){0});
        pal_tensor loss = pal_lm_loss(m->lm, tokens, targets, (pal_run_opts){0});
        sum = pal_add(sum, pal_affine(loss, counted, 0));
    }
    out[0] = pal_concat(N, y, 1);
    out[1] = sum;
    return 2;
}

START_TEST(packed_model)
{
    model m = make_model();
    trial t = {.fn = model_packed, .context = &m, .params = m.params, .dtype = PAL_F64};
    trial_result a = trial_run(&t);
    t.fn = model_alone;
    trial_result b = trial_run(&t);
    trial_agree(&a, &b, OUTPUTS, GRADIENTS, hybrid);
    trial_free(&a), trial_free(&b);
    pal_params_free(m.params);
}
END_TEST

/* ---- Ignored targets ---- */

static int loss(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const model *m = context;
    (void)x;
    out[0] = pal_lm_loss(m->lm, ids(tape, m->tokens, 0, T), ids(tape, m->targets, 0, T),
                         (pal_run_opts){0});
    return 1;
}

/* The mean loss over counted tokens, from the logits by other operations. */
static int loss_by_hand(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const model *m = context;
    pal_tensor p =
        pal_log_softmax(pal_lm_logits(m->lm, ids(tape, m->tokens, 0, T), (pal_run_opts){0}), -1);
    pal_tensor sum = pal_scalar(tape, PAL_F64, 0);
    int counted = 0;
    (void)x;
    for (int i = 0; i < T; i++) {
        if (m->targets[i] == PAL_IGNORE) continue;
        pal_tensor row = pal_select(pal_select(p, 0, 0), 0, i);
        sum = pal_sub(sum, pal_select(row, 0, m->targets[i]));
        counted++;
    }
    out[0] = pal_affine(sum, 1.0 / counted, 0);
    return 1;
}

START_TEST(ignored_targets)
{
    model m = make_model();
    trial t = {.fn = loss, .context = &m, .params = m.params, .dtype = PAL_F64};
    trial_result a = trial_run(&t);
    t.fn = loss_by_hand;
    trial_result b = trial_run(&t);
    trial_agree(&a, &b, OUTPUTS, GRADIENTS, "loss over counted targets");
    trial_free(&a), trial_free(&b);
    for (int i = 0; i < T; i++) m.targets[i] = PAL_IGNORE;
    t.fn = loss;
    a = trial_run(&t);
    for (int i = 0; i < a.count; i++)
        for (int64_t j = 0; j < pal_array_count(&a.value[i]); j++)
            ck_assert_msg(((double *)a.value[i].data)[j] == 0, "all ignored: %s is not 0",
                          a.name[i]);
    trial_free(&a);
    pal_params_free(m.params);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, packed_mixer, 0, MIXERS * 4);
    tcase_add_loop_test(tc, packed_goes_on, 0, RULE_MIXERS * 4);
    tcase_add_loop_test(tc, nothing_leaks, 0, MIXERS * 4);
    tcase_add_loop_test(tc, padded_mixer, 0, MIXERS * 2);
    tcase_add_test(tc, pack_of_tokens);
    tcase_add_test(tc, wrong_lengths_and_offsets);
    tcase_add_test(tc, packed_model);
    tcase_add_test(tc, ignored_targets);
}

int main(void) { return rule_test_main("packed", add); }
