/*
 * look.h - where observations come from: a model that runs over tokens, or a sequence made by hand.
 */
#ifndef INSPECT_LOOK_H
#define INSPECT_LOOK_H

#include "tensor/text.h"
#include "examples/inspect/observation.h"
#include "examples/lm/open.h"

/* ---- look.c: a running model ---- */

typedef struct look_opts {
    int64_t layer, head; /* -1: all */
} look_opts;

/* Adds what every mixer of the model computes over ob's tokens id [T], as the observation's last
 * model. mixers is the text that the model was made from, which knows attention's windows. */
PAL_CHECKED pal_status look_model(observation *ob, const pal_lm *lm, pal_params *params,
                                  const char *mixers, const int64_t *id, look_opts opts,
                                  pal_error *error);

/* ---- source.c: models and their tokens ---- */

typedef struct source_opts {
    const char *checkpoint[OB_MODELS]; /* all NULL: fresh models of `mixers` */
    int checkpoints;
    const char *mixers, *data;  /* of fresh models: one of each entry; a task, store or text */
    int64_t layers, width;      /* of fresh models */
    const char *text;           /* NULL: row `row` of the data */
    int64_t row, point, tokens; /* tokens: the first so many; 0: all */
    int64_t seed;               /* of fresh models, and of a task's rows */
    bool last;                  /* parameters of the last step although there is an average */
    lm_dtype dtype;             /* of stored weights */
    look_opts look;
} source_opts;

PAL_CHECKED pal_status source_observe(observation *ob, const source_opts *o, pal_error *error);

/* ---- rows.c: tokens, and how they are shown ---- */

typedef struct rows {
    int64_t *id;
    int64_t count;
    char about[256];
} rows;

/* What a model reads. */
typedef struct rows_data {
    const char *name;       /* a task, a store or a text */
    const char *checksum;   /* that the store has to have; "": any */
    const char *checkpoint; /* that names it; NULL: the command line does */
    int64_t len;            /* of a window */
    pal_tokenizer *tokenizer;
} rows_data;

/*
 * Reads the tokens that the options ask for. Data that a checkpoint names must have its checksum.
 * For a text, it reads the copy that train_lm keeps beside the checkpoint. It opens only regular
 * files, because a name that comes from a file is not trusted. PAL_EVALUE, PAL_EIO, PAL_EFORMAT,
 * PAL_ENOMEM.
 */
PAL_CHECKED pal_status rows_read(rows *r, const source_opts *o, rows_data data, pal_error *error);
void rows_free(rows *r);
/* The number of tokens of a task; 0 if `data` is no task. */
int64_t rows_task_vocab(const char *data);

/* ---- script.c: sequences made by hand ---- */

/*
 * Runs the lines of `text` through each of the rules (a list of names; NULL: all six), which
 * become the models of the observation. `name` is what messages call the text. Lines
 * (docs/inspect.md):
 *
 *     key NAME x y ..      value NAME x y ..           names without a vector are unit vectors
 *     write KEY VALUE [erase=B] [write=W] [decay=A]    a number, or one for each channel: 1,0,0.5
 *     erase KEY [erase=B]      decay A [A ..]      read KEY
 *     on every line [dt=D] [lam=L] [angle=R], which Mamba-3 has; Mamba-2 has dt
 */
PAL_CHECKED pal_status script_observe(observation *ob, const char *text, const char *name,
                                      const char *rules, pal_error *error);
/* A vector of values by the names of its channels, such as "red + 0.5 blue"; "0" if it is zeros. */
char *script_reading(const observation *ob, const double *o, int64_t V, char *text, size_t size);
extern const char script_demo[];

#endif
