/*
 * test_own_mixer.c - mixers that a program registers, and pal_mixer_test: it passes the library's
 * own mixers, and finds each kind of fault in mixers that have one.
 */
#include "layers/layers.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

/* ---- Mixers with a fault ---- */

typedef enum fault {
    NONE,
    FUTURE,   /* it sees the next token */
    ROWS,     /* a row sees the others */
    FORGETS,  /* it hands its state on, and does not read it */
    LEAKS,    /* packed, a sequence sees the one before it */
    GRADIENT, /* its gradient stops before a parameter */
    UNEVEN,   /* on another rank it begins again */
    REFUSES,  /* none: it says that it takes no packed sequences */
} fault;

typedef struct options {
    int64_t fault;
    double rate;
} options;

typedef struct toy {
    pal_mixer mixer;
    options opts;
    int64_t d;
    pal_tensor weight;
} toy;

/* A running sum of W x, as linear attention of one key. */
static pal_tensor forward(const pal_mixer *mixer, pal_tensor x, const pal_mixer_call *call)
{
    const toy *m = (const toy *)mixer;
    const int64_t rows = pal_dim(x, 0), tokens = pal_dim(x, 1);
    const pal_shape one = PAL_SHAPE(rows, tokens, 1, 1);
    const fault is = (fault)m->opts.fault;
    pal_tensor weight = is == GRADIENT ? pal_detach(pal_on(pal_tape_at(x), m->weight)) : m->weight;
    pal_tensor v = pal_linear(x, weight, PAL_NONE);
    if (is == FUTURE && tokens > 1)
        v = pal_concat(2, (pal_tensor[]){pal_slice(v, 1, 1, tokens, 1), pal_slice(v, 1, 0, 1, 1)},
                       1);
    if (is == ROWS) v = pal_add(v, pal_sum(v, 0, true));
    pal_tensor k = pal_full(pal_tape_at(x), pal_dtype_of(x), one, 1);
    pal_tensor g = pal_full(pal_tape_at(x), pal_dtype_of(x), PAL_SHAPE(rows, tokens, 1), -0.3);
    pal_rule_opts how = pal_mixer_rule_opts(call);
    if (is == FORGETS) how.state = PAL_NONE;
    if (is == LEAKS) how.offsets = PAL_NONE;
    if (is == UNEVEN) how.parts = NULL;
    pal_rule_out out =
        pal_linear_attention(k, k, pal_reshape(v, PAL_SHAPE(rows, tokens, 1, m->d)), g, how);
    pal_mixer_rule_done(call, &out);
    return pal_reshape(out.o, PAL_SHAPE(rows, tokens, m->d));
}

static pal_remembered remembers(const pal_mixer *mixer, int64_t B, int64_t seen)
{
    pal_remembered r = {0};
    (void)seen;
    pal_remember(&r, "state", PAL_SHAPE(B, 1, 1, ((const toy *)mixer)->d));
    return r;
}

static pal_mixer *create(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const void *opts, pal_rng *rng)
{
    const options *o = opts;
    char name[PAL_MIXER_NAME];
    if (o->rate > 1) return pal_mixer_wrong("toy", "rate %g is above 1", o->rate);
    toy *m = pal_params_alloc(params, sizeof *m);
    if (!m) return NULL;
    *m = (toy){.mixer = {.name = "toy",
                         .forward = forward,
                         .remembers = remembers,
                         .refuses = o->fault == REFUSES ? PAL_NO_PACKED : 0},
               .opts = *o,
               .d = width};
    m->weight = pal_linear_weight(params, pal_mixer_param(name, prefix, "weight"), width, width,
                                  dtype, rng);
    return &m->mixer;
}

static const pal_key rows[] = {
    {"fault", PAL_KEY_WHOLE, PAL_AT(options, fault), .high = REFUSES},
    {"rate", PAL_KEY_REAL, PAL_AT(options, rate)},
};
static const pal_mixer_kind kind = {"toy", PAL_KEYS(rows), sizeof(options), create};
PAL_MIXER(kind)

/* ---- The tests ---- */

/* The report of pal_mixer_test, and the number of failures. */
static int tried(const char *text, char report[8192])
{
    FILE *file = fmemopen(report, 8192, "w");
    ck_assert(file != NULL);
    const int failed = pal_mixer_test(text, (pal_mixer_test_opts){.report = file});
    fclose(file);
    return failed;
}

static const char *const ours[] = {
    "gdn2:num_heads=2",
    "kda:num_heads=2",
    "gdn:num_heads=2",
    "deltanet:num_heads=2",
    "mamba2:state_size=4",
    "mamba3:state_size=4:is_mimo=true:mimo_rank=2",
    "attn:num_heads=2",
    "swa:num_heads=2:window_size=3",
    "toy",
    "toy:fault=7",
};

START_TEST(passes)
{
    char report[8192];
    const int failed = tried(ours[_i], report);
    ck_assert_msg(failed == 0, "%s:\n%s", ours[_i], report);
}
END_TEST

static const struct {
    fault fault;
    const char *found;
} faults[] = {
    {FUTURE, "FAIL the first 3 tokens"},     {ROWS, "FAIL row 0 by itself"},
    {FORGETS, "FAIL 3 tokens, then singly"}, {LEAKS, "FAIL packed sequences"},
    {GRADIENT, "FAIL gradient of weight"},   {UNEVEN, "FAIL 2 ranks"},
};

START_TEST(finds)
{
    char report[8192], text[32];
    snprintf(text, sizeof text, "toy:fault=%d", (int)faults[_i].fault);
    ck_assert_int_gt(tried(text, report), 0);
    ck_assert_msg(strstr(report, faults[_i].found) != NULL, "%s:\n%s", faults[_i].found, report);
}
END_TEST

static void keep(const pal_error *error, void *user) { *(pal_error *)user = *error; }

START_TEST(registered)
{
    pal_error error;
    bool listed = false;
    for (int i = 0; pal_mixers_name(i); i++) listed |= strcmp(pal_mixers_name(i), "toy") == 0;
    ck_assert(listed);
    ck_assert(pal_mixers_check("3*(toy,gdn2),toy:rate=0.5", &error) == PAL_OK);
    ck_assert(pal_mixers_check("toy:rat=0.5", &error) == PAL_EVALUE);
    ck_assert(strstr(error.message, "fault") != NULL && strstr(error.message, "rate") != NULL);
    ck_assert(pal_mixer_register(&kind, &error) == PAL_OK); /* again */
    static const pal_mixer_kind wrong[] = {
        {"gdn2", {0, NULL}, 1, create},
        {"toy", {0, NULL}, 1, create},
        {"a:b", {0, NULL}, 1, create},
        {"", {0, NULL}, 1, create},
        {"2x", {0, NULL}, 1, create},
        {NULL, {0, NULL}, 1, create},
        {"abcdefghijklmnopqrstuvwxyzabcdef", {0, NULL}, 1, create},
        {"nothing", {0, NULL}, 1, NULL},
        {"beyond", PAL_KEYS(rows), 4, create},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ck_assert(pal_mixer_register(&wrong[i], &error) == PAL_EVALUE);
        ck_assert(strncmp(error.message, "mixer_register: ", 16) == 0);
    }
    ck_assert(pal_mixers_check("nothing", &error) == PAL_EVALUE);
}
END_TEST

START_TEST(wrong_option)
{
    pal_error error = {PAL_OK, ""};
    pal_params *params = pal_params_new();
    pal_set_error_handler(keep, &error);
    ck_assert(pal_mixer_new(params, "p", 8, PAL_F32, "toy:rate=2", NULL) == NULL);
    ck_assert_str_eq(error.message, "toy: rate 2 is above 1");
    pal_set_error_handler(NULL, NULL);
    pal_params_free(params);
}
END_TEST

/* A mixer that is not what its kind says is not made. */
static pal_mixer *renamed(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                          const void *opts, pal_rng *rng)
{
    pal_mixer *m = create(params, prefix, width, dtype, opts, rng);
    m->name = "other";
    return m;
}

static pal_remembered twice(const pal_mixer *mixer, int64_t B, int64_t seen)
{
    pal_remembered r = remembers(mixer, B, seen);
    pal_remember(&r, "state", PAL_SHAPE(B));
    return r;
}

static pal_mixer *doubled(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                          const void *opts, pal_rng *rng)
{
    toy *m = (toy *)(void *)create(params, prefix, width, dtype, opts, rng);
    m->mixer.remembers = twice, m->mixer.name = "doubled";
    return &m->mixer;
}

START_TEST(not_as_promised)
{
    static const pal_mixer_kind kinds[] = {
        {"renamed", PAL_KEYS(rows), sizeof(options), renamed},
        {"doubled", PAL_KEYS(rows), sizeof(options), doubled},
    };
    pal_error error = {PAL_OK, ""};
    pal_params *params = pal_params_new();
    for (int i = 0; i < 2; i++) ck_assert(pal_mixer_register(&kinds[i], &error) == PAL_OK);
    pal_set_error_handler(keep, &error);
    ck_assert(pal_mixer_new(params, "a", 8, PAL_F32, "renamed", NULL) == NULL);
    ck_assert(strstr(error.message, "made a mixer named \"other\"") != NULL);
    ck_assert(pal_mixer_new(params, "b", 8, PAL_F32, "doubled", NULL) == NULL);
    ck_assert(strstr(error.message, "is there twice") != NULL);
    pal_set_error_handler(NULL, NULL);
    pal_params_free(params);
}
END_TEST

/* Nothing to remember need not be said; a long call without gradients goes block by block. */
static pal_tensor doubles(const pal_mixer *mixer, pal_tensor x, const pal_mixer_call *call)
{
    (void)mixer, (void)call;
    return pal_affine(x, 2, 0);
}

static pal_mixer *forgetful(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                            const void *opts, pal_rng *rng)
{
    toy *m = (toy *)(void *)create(params, prefix, width, dtype, opts, rng);
    m->mixer.remembers = NULL, m->mixer.forward = doubles, m->mixer.name = "forgetful";
    return &m->mixer;
}

START_TEST(remembers_nothing)
{
    enum { LONG = 100 };
    static const pal_mixer_kind forgets = {"forgetful", PAL_KEYS(rows), sizeof(options), forgetful};
    pal_error error = {PAL_OK, ""};
    int64_t tokens[LONG] = {0};
    pal_params *params = pal_params_new();
    pal_tape *tape = pal_tape_new();
    ck_assert(pal_mixer_register(&forgets, &error) == PAL_OK);
    pal_trunk *trunk = pal_trunk_new(
        params, "t", (pal_trunk_opts){.mixers = "forgetful", .vocab = 4, .width = 8}, NULL);
    pal_trunk_state *state = pal_trunk_state_new(trunk);
    pal_set_grad(tape, false);
    const pal_tensor x = pal_from(tape, PAL_I64, PAL_SHAPE(1, LONG), tokens);
    ck_assert_int_eq(pal_dim(pal_trunk_forward(trunk, x, state, (pal_run_opts){0}), 1), LONG);
    ck_assert_int_eq(pal_tape_status(tape), PAL_OK);
    pal_trunk_state_free(state);
    pal_tape_free(tape);
    pal_params_free(params);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("own_mixer");
    TCase *t = tcase_create("own_mixer");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, passes, 0, sizeof ours / sizeof *ours);
    tcase_add_loop_test(t, finds, 0, sizeof faults / sizeof *faults);
    tcase_add_test(t, registered);
    tcase_add_test(t, wrong_option);
    tcase_add_test(t, not_as_promised);
    tcase_add_test(t, remembers_nothing);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
