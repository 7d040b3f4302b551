/*
 * options.c - the options that the programs of the tasks share, as a child of their argp parsers.
 */
#include "examples/lm/keep.h"
#include "examples/tasks/internal.h"
#include "examples/tasks/options.h"

#include <math.h>

enum { MOST = INT32_MAX };

static const pal_key model_rows[] = {
    {"mixers", PAL_KEY_STRING, PAL_AT(task_options, lm.model.mixers), .check = pal_mixers_check,
     .names = pal_mixers_name, .argument = "LIST",
     .help = "the layers' memories, name[:key=value...], comma-separated and cycled; N*(LIST) "
             "repeats (gdn2)"},
    {"layers", PAL_KEY_WHOLE, PAL_AT(task_options, lm.model.layers), .low = 1, .high = MOST,
     .help = "(2)"},
    {"width", PAL_KEY_WHOLE, PAL_AT(task_options, lm.model.width), .low = 1, .high = MOST,
     .help = "of the model (64)"},
    {"mlp-width", PAL_KEY_WHOLE, PAL_AT(task_options, lm.model.mlp_width), .high = MOST,
     .help = "of the MLPs (0: 8/3 of --width, up to a multiple of 32)"},
    {"no-mlp", PAL_KEY_FLAG, PAL_AT(task_options, lm.model.no_mlp),
     .help = "layers of a memory only, so that nothing else can remember"},
};
static const pal_key run_rows[] = {
    {"steps", PAL_KEY_WHOLE, PAL_AT(task_options, run.steps), .low = 1, .high = MOST,
     .help = "of training"},
    {"batch", PAL_KEY_WHOLE, PAL_AT(task_options, run.batch), .low = 1, .high = MOST,
     .help = "rows of a step (64)"},
    {"optimizer", PAL_KEY_TEXT, PAL_AT(task_options, run.optimizer), .check = pal_optims_check,
     .names = pal_optims_name, .argument = "NAME[:KEY=VALUE...]",
     .help = "an optimiser and keys of its own, which go before --weight-decay (adamw)"},
    {"lr", PAL_KEY_REAL, PAL_AT(task_options, run.lr), .low = 1e-12, .high = 1e3,
     .argument = "RATE",
     .help = "the highest learning rate: it rises for a twentieth of the steps and falls to a "
             "tenth (3e-3)"},
    {"weight-decay", PAL_KEY_REAL, PAL_AT(task_options, run.weight_decay), .high = 1e3,
     .argument = "X", .help = "0: none (0.1)"},
    {"precision", PAL_KEY_CHOICE, PAL_AT(task_options, run.bf16), .words = "f32|bf16",
     .help = "of the products of linear layers, head and attention, in training and tests (f32)"},
    {"seed", PAL_KEY_WHOLE, PAL_AT(task_options, run.seed), .low = 1, .high = MOST,
     .help = "of parameters and rows, from 1 on (1)"},
    {"rows", PAL_KEY_WHOLE, PAL_AT(task_options, run.rows), .low = 1, .high = MOST,
     .help = "test rows of each degree of difficulty (256)"},
    {"every", PAL_KEY_WHOLE, PAL_AT(task_options, run.every), .low = 1, .high = MOST,
     .help = "steps between tests (a twentieth of --steps)"},
    {"enough", PAL_KEY_REAL, PAL_AT(task_options, run.enough), .high = 1, .argument = "SHARE",
     .help = "end when all tests are as accurate as that; 0: never (0)"},
    {"threads", PAL_KEY_WHOLE, PAL_AT(task_options, threads), .high = 4096,
     .help = "0: as many as OpenMP gives; results do not depend on it (0)"},
    {"out", PAL_KEY_STRING, PAL_AT(task_options, out), .required = true, .argument = "FOLDER",
     .help = "leave the model there, before training (start.h5) and after (model.h5)"},
    {"show", PAL_KEY_WHOLE, PAL_AT(task_options, show), .low = 1, .high = MOST,
     .help = "print N rows of each degree of difficulty, and train nothing"},
};
static const pal_keys model_keys = PAL_KEYS(model_rows), run_keys = PAL_KEYS(run_rows);

const flags_section task_sections[TASK_SECTIONS] = {{"Model and training:", &model_keys, 0},
                                                    {NULL, &run_keys, 0}};
