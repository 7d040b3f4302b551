/*
 * options.c - the options that the programs of the tasks share, as a child of their argp parsers.
 */
#include "examples/lm/keep.h"
#include "examples/tasks/internal.h"
#include "examples/tasks/options.h"

#include <string.h>

enum { MIXERS = 512, LAYERS, WIDTH, MLP, NO_MLP, STEPS, BATCH, RATE, DECAY, SEED, ROWS, EVERY };
enum { ENOUGH = EVERY + 1, THREADS, OUT, SHOW };

static const struct argp_option flags[] = {
    {"mixers", MIXERS, "LIST", 0,
     "the layers' memories, name[:key=value...], comma-separated and cycled; N*(LIST) "
     "repeats: mamba2, gdn, kda, gdn2, attn, swa (gdn2)",
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

static error_t parse_number(int key, const char *text, struct argp_state *state)
{
    task_options *o = state->input;
    const struct {
        int key;
        const char *name;
        double low, high;
        int64_t *whole;
        double *real;
    } all[] = {{LAYERS, "layers", 1, INT32_MAX, &o->lm.layers, NULL},
               {WIDTH, "width", 1, INT32_MAX, &o->lm.width, NULL},
               {MLP, "mlp-width", 0, INT32_MAX, &o->lm.mlp_width, NULL},
               {STEPS, "steps", 1, INT32_MAX, &o->run.steps, NULL},
               {BATCH, "batch", 1, INT32_MAX, &o->run.batch, NULL},
               {RATE, "lr", 1e-12, 1e3, NULL, &o->run.lr},
               {DECAY, "weight-decay", 0, 1e3, NULL, &o->run.weight_decay},
               {SEED, "seed", 1, INT32_MAX, (int64_t *)&o->run.seed, NULL},
               {ROWS, "rows", 1, INT32_MAX, &o->run.rows, NULL},
               {EVERY, "every", 1, INT32_MAX, &o->run.every, NULL},
               {ENOUGH, "enough", 0, 1, NULL, &o->run.enough},
               {THREADS, "threads", 0, 4096, &o->threads, NULL},
               {SHOW, "show", 1, INT32_MAX, &o->show, NULL}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const double low = all[i].low, high = all[i].high;
        if (all[i].key != key) continue;
        if (all[i].whole ? !task_read_whole(text, low, high, all[i].whole)
                         : !task_read_real(text, low, high, all[i].real))
            argp_error(state,
                       all[i].whole ? "--%s=%s: a whole number from %.0f to %.0f is wanted"
                                    : "--%s=%s: a number from %g to %g is wanted",
                       all[i].name, text, low, high);
        if (key == DECAY && o->run.weight_decay == 0)
            o->run.weight_decay = -1; /* 0 is the default */
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    task_options *o = state->input;
    switch (key) {
    case MIXERS:
        o->lm.mixers = lm_keep(text, strlen(text));
        return 0;
    case NO_MLP:
        o->lm.no_mlp = true;
        return 0;
    case OUT:
        o->out = text;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "there are only options, and '%s' is none", text);
        return 0;
    default:
        return parse_number(key, text, state);
    }
}

const struct argp task_options_argp = {.options = flags, .parser = parse};
