/*
 * options.c - the options that the programs of the tasks share, as a child of their argp parsers.
 */
#include "examples/tasks/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MIXERS = 512, LAYERS, WIDTH, MLP, NO_MLP, STEPS, BATCH, RATE, DECAY, SEED, ROWS, EVERY };
enum { ENOUGH = EVERY + 1, THREADS, OUT, SHOW };

static const struct argp_option flags[] = {
    {"mixers", MIXERS, "LIST", 0,
     "the layers' memories, name[:key=value...], comma-separated and cycled: mamba2, gdn, kda, "
     "gdn2, attn, swa (gdn2)",
     0},
    {"layers", LAYERS, "N", 0, "(2)", 0},
    {"width", WIDTH, "N", 0, "of the model (64)", 0},
    {"mlp-width", MLP, "N", 0, "of the MLPs (0: 8/3 of --width, up to a multiple of 32)", 0},
    {"no-mlp", NO_MLP, NULL, 0, "layers of a memory alone, so that nothing else can remember", 0},
    {"steps", STEPS, "N", 0, "of training", 1},
    {"batch", BATCH, "N", 0, "rows of a step (64)", 1},
    {"lr", RATE, "RATE", 0,
     "the highest learning rate: it rises for a twentieth of the steps and falls to a tenth (3e-3)",
     1},
    {"weight-decay", DECAY, "X", 0, "0: none (0.1)", 1},
    {"seed", SEED, "N", 0, "of parameters and rows, from 1 on (1)", 1},
    {"rows", ROWS, "N", 0, "test rows of each degree of difficulty (256)", 1},
    {"every", EVERY, "N", 0, "steps between tests (a twentieth of --steps)", 1},
    {"enough", ENOUGH, "SHARE", 0, "end when all tests are as accurate as that; 0: never (0)", 1},
    {"threads", THREADS, "N", 0, "0: as many as OpenMP gives; results do not depend on it (0)", 2},
    {"out", OUT, "FOLDER", 0,
     "leave the model there, before training (start.h5) and after (model.h5)", 2},
    {"show", SHOW, "N", 0, "print N rows of each degree of difficulty, and train nothing", 2},
    {0},
};

static double real(struct argp_state *state, const char *name, const char *text, double low,
                   double high)
{
    char *end;
    const double x = strtod(text, &end);
    if (end == text || *end || !(x >= low && x <= high))
        argp_error(state, "--%s=%s: a number from %g to %g is wanted", name, text, low, high);
    return x;
}

int64_t task_options_count(struct argp_state *state, const char *name, const char *text,
                           int64_t least)
{
    char *end;
    errno = 0;
    const long long n = strtoll(text, &end, 10);
    if (end == text || *end || errno || n < least || n > INT32_MAX)
        argp_error(state, "--%s=%s: a whole number from %lld on is wanted", name, text,
                   (long long)least);
    return n;
}

static error_t parse_model(int key, char *text, task_options *o, struct argp_state *state)
{
    switch (key) {
    case MIXERS:
        if (strlen(text) >= sizeof o->lm.mixers) argp_error(state, "--mixers: it is too long");
        snprintf(o->lm.mixers, sizeof o->lm.mixers, "%s", text);
        return 0;
    case LAYERS:
        o->lm.layers = task_options_count(state, "layers", text, 1);
        return 0;
    case WIDTH:
        o->lm.width = task_options_count(state, "width", text, 1);
        return 0;
    case MLP:
        o->lm.mlp_width = task_options_count(state, "mlp-width", text, 0);
        return 0;
    case NO_MLP:
        o->lm.no_mlp = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_run(int key, char *text, task_run *r, struct argp_state *state)
{
    switch (key) {
    case STEPS:
        r->steps = task_options_count(state, "steps", text, 1);
        return 0;
    case BATCH:
        r->batch = task_options_count(state, "batch", text, 1);
        return 0;
    case RATE:
        r->lr = real(state, "lr", text, 1e-12, 1e3);
        return 0;
    case DECAY:
        r->weight_decay = real(state, "weight-decay", text, 0, 1e3);
        if (r->weight_decay == 0) r->weight_decay = -1;
        return 0;
    case SEED:
        r->seed = (uint64_t)task_options_count(state, "seed", text, 1);
        return 0;
    case ROWS:
        r->rows = task_options_count(state, "rows", text, 1);
        return 0;
    case EVERY:
        r->every = task_options_count(state, "every", text, 1);
        return 0;
    case ENOUGH:
        r->enough = real(state, "enough", text, 0, 1);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    task_options *o = state->input;
    switch (key) {
    case THREADS:
        o->threads = task_options_count(state, "threads", text, 0);
        return 0;
    case OUT:
        o->out = text;
        return 0;
    case SHOW:
        o->show = task_options_count(state, "show", text, 1);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "there are only options, and '%s' is none", text);
        return 0;
    default:
        return parse_model(key, text, o, state) == 0 ? 0 : parse_run(key, text, &o->run, state);
    }
}

const struct argp task_options_argp = {.options = flags, .parser = parse};

task_options task_options_new(const char *program, const char *name)
{
    task_options o = {.program = program, .task = name};
    pal_error error;
    if (lm_options_read(&o.lm, "", &error) != PAL_OK) abort(); /* the empty text is one */
    return o;
}

void task_options_key(task_options *o, const char *name, const char *value)
{
    const size_t used = strlen(o->keys), room = sizeof o->keys - used;
    if ((size_t)snprintf(o->keys + used, room, ":%s=%s", name, value) < room) return;
    fprintf(stderr, "%s: --%s: the options of the task are too long together\n", o->program, name);
    exit(EXIT_FAILURE);
}
