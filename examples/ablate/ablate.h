/*
 * ablate.h - what the parts of examples/ablate share.
 *
 * From the bottom up: axes.c, study.c and keys.c read a study, same.c says what it may not mix.
 * match.c makes its models, counts their parameters and makes the counts equal; init.c begins them
 * as other ones. runs.c lists the runs and describes each. result.c reads and writes the result of
 * a run, kept.c its model; makers.c says which programs made them. one.c is one run, in a process
 * of its own; jobs.c starts these processes. collect.c joins the results; compare.c says what
 * differs, by statistics.c; bundle.c keeps all results in one file; table.c, rates.c and plots.c
 * show them; picture.c has what plots share; write.c writes text files. layers.c and edits.c
 * examine one trained model layer by layer. examples/ablate.c is the command line.
 */
#ifndef ABLATE_H
#define ABLATE_H

#include "examples/lm/keep.h"
#include "examples/lm/open.h"
#include "examples/tasks/tasks.h"
#include "optim/train/gnuplot.h"
#include "tensor/keys.h"
#include "tensor/number.h"
#include "tensor/stream.h"

/* An error of the user, or one after which the program cannot continue. It is reported once and
 * ends all ranks. */
PAL_PRINTF(1, 2) void stop(const char *format, ...) __attribute__((noreturn));

enum {
    MOST_TASKS = 8,
    MOST_VARIANTS = 48,
    MOST_SEEDS = 16,
    MOST_RATES = 8,
    MOST_POINTS = TASK_POINTS, /* those of task_result */
    MOST_LOOKS = 1 << 16,
    MOST_PAIRS = MOST_VARIANTS * MOST_VARIANTS, /* of variants that are compared */
    NAME = 48
};

/* ---- A study (study.c) ---- */

/* mlp, where it is no width. */
enum { MLP_NONE = -1, MLP_MATCH = -2 }; /* as the words of the key have it */

/* state, where it is no number: as the words of the key have it. */
enum { STATE_ANY = -1, STATE_SAME = -2 };

/* The options that a variant can set. Zeros are the defaults of task_run. */
typedef struct settings {
    int64_t layers, width, mlp, steps, batch, warmup, every, rows;
    double lr, weight_decay, clip, enough;
    char optimizer[TASK_OPTIMIZER];
    char init[NAME]; /* the variant as whose function it begins; "": drawn by the seed */
} settings;

typedef struct variant {
    char name[NAME];
    char base[NAME], axes[NAME]; /* of the name: what it was called, and its place on the axes */
    const char *mixers; /* as written, with inner=N; kept by lm_keep, as all of any length here */
    settings s;
    bool own_width;      /* it is not searched */
    size_t stem;         /* how much of the name stands before places on axes and options */
    int init;            /* by number: the variant that s.init names; -1: none */
    int line, init_line; /* of the study, for messages */
} variant;

typedef struct study {
    const char *path;
    char name[NAME]; /* of the file, without .study */
    char title[256];
    int tasks, variants, seeds, rates, rate_seeds;
    task *task[MOST_TASKS];
    char label[MOST_TASKS][NAME]; /* the task's name, numbered from the second of a name */
    variant variant[MOST_VARIANTS];
    uint64_t seed[MOST_SEEDS], rate_seed[MOST_SEEDS];
    double rate[MOST_RATES];
    int64_t state;      /* of each layer; 0: any; STATE_SAME: that of the first variant at the same
                           place of the axes */
    double match;       /* share that parameters may be off; 0: they are not compared */
    int64_t parameters; /* to match; 0: those of the first variant */
    int state_line, match_line, same_line;
    char same[256], differ[256]; /* lists of options of mixers (same.c) */
    char unequal[256];           /* what differs beside the rules although nobody said so */
    char compare[NAME];          /* "first" (""), "all", or the variant that all are held against */
    bool models;                 /* trained models are kept */
    bool short_rates;            /* an older study, which says rate-steps */
    settings s;                  /* of all variants */
} study;

/* Reads and checks a study; a mistake ends the program. `from`: NULL, or a file of runs, which says
 * what a task leaves to its store, so that no store is needed. */
void study_read(study *s, const char *path, const char *from);
void study_free(study *s);
/* The same study with a few steps, rows and one seed. */
void study_shrink(study *s);

/* ---- Its keys (keys.c) ---- */

/* The options of a study as a whole. */
typedef struct said {
    char title[256], compare[NAME], same[256], differ[256];
    struct {
        int64_t count, of[MOST_SEEDS];
    } seeds, rate_seeds;
    struct {
        int64_t count;
        double of[MOST_RATES];
    } rates;
    int64_t state, parameters;
    int64_t rate_steps; /* of older studies: rates are searched at full length now */
    bool models;
} said;
extern const pal_keys study_keys, settings_keys;

/* Ends the program if variants differ in an option that `same` names; s->unequal becomes a sentence
 * if their output_gate differs and neither `same` nor `differ` names it (same.c). */
void same_check(study *s);

bool settings_same(const settings *a, const settings *b);
/* The options that differ from `common`, as ", batch = 8, lr = 0.01". */
void settings_print(FILE *to, const settings *s, const settings *common);

/* ---- Its models (match.c) ---- */

typedef enum fitted { AS_GIVEN, FIT_MLP, FIT_WIDTH } fitted;

/* The model of a variant for a task. */
typedef struct model {
    const char *mixers; /* inner=N as expand */
    int64_t width, mlp; /* mlp 0: none */
    int64_t params;
    int64_t target;  /* that the parameters were matched to; 0: none */
    int64_t state;   /* numbers of recurrent state, of all layers */
    int64_t each;    /* of the first layer */
    char states[96]; /* by layer: "2 x 4096", "4096 + 2048" */
    bool equal;      /* every layer has the state that the study asks for */
    fitted fit;
} model;
typedef model models[MOST_TASKS][MOST_VARIANTS];

/* Fills in all models, and ends the program if states or parameters do not fit the study. */
void match(const study *s, models m);

/* ---- Models that begin as others (init.c) ---- */

/* Finds the variants that `init` names, and ends the program if there is none that can be meant. */
void init_find(study *s);
/* Ends the program if a model of task t cannot begin as the one that its variant names. */
void init_check(const study *s, int t, const model *m);
/* A model that the seed draws; with `init`, the mixers of another one of these options, one that
 * computes what that one, drawn by the seed, computes (pal_lm_map). NULL: *error says why. */
pal_lm *init_new(pal_params *params, pal_lm_opts opts, const char *init, uint64_t seed,
                 pal_error *error);

/* ---- Runs (runs.c) ---- */

typedef struct run {
    int task, variant, seed; /* by number; of a search for rates, seed is one of rate_seed */
    int rate;                /* by number; -1: the variant's own, no search */
    int points;              /* of its tests */
    int64_t steps, rows;     /* asked for; rows of each point */
    bool part[MOST_POINTS];  /* of the tests: it counts in no mean */
    bool bits;               /* it is measured in bits, not in accuracy */
    double enough;           /* accuracy at which it ends earlier; 0: never */
    bool model;              /* it leaves NAME.h5 too */
    char name[3 * NAME];     /* of its files */
    const char *text;        /* all that its result is a function of */
} run;
typedef struct runs {
    int n;
    run *at;
} runs;
/* All runs of the study or, of its search for rates. The first seed of all comes first. */
runs runs_of(const study *s, models m, bool rates);

/* Reads the text of a run, in the process that makes it. */
typedef struct recipe {
    lm_options o;
    task_run run;
    const char *init; /* mixers of the model as which it begins; NULL: it is drawn */
    bool model;
} recipe;
PAL_CHECKED pal_status recipe_read(recipe *out, const char *text, pal_error *error);

/* ---- Results (result.c) ---- */

typedef struct look {
    int64_t step;
    double loss, value[MOST_POINTS]; /* of each point (task_measure) */
} look;
typedef struct result {
    int64_t steps;
    double loss, seconds;
    bool failed;                  /* a loss or a gradient was not finite */
    bool part[MOST_POINTS], bits; /* those of the run, for a result that was read */
    /* Of the program that made it and of the machine: day and processor. "": it did not say. */
    char code[64], kernels[128], machine[160];
    int points, looks;
    task_score score[MOST_POINTS];
    look *look;
} result;
/* The result of a run in FOLDER/NAME.txt. NULL if there is none, if it is damaged or has another
 * description, or if its model is missing or is that of another run. */
result *result_read(const char *folder, const run *r);
PAL_CHECKED pal_status result_write(const result *x, const char *folder, const char *name,
                                    const char *description, pal_error *error);
void result_free(result *x);
/* The text of such a file, for free(). */
char *result_text(const result *x, const char *description);
/* "2026-11-29, Intel(R) Xeon(R) .., 16 processors": of this process. */
void result_machine(char text[160]);
/* What a point is told by: accuracy or bits. point -1: the mean over the points that are no part of
 * another. NaN if the run failed. */
double result_value(const result *x, int point);
/* The same mean of a look. */
double result_look(const result *x, const look *l);

/* ---- The model that a run leaves (kept.c) ---- */

/* Replaces FOLDER/NAME.h5. */
void kept_save(pal_params *params, const recipe *how, const task *t, const char *folder,
               const char *name, int64_t step);
/* Whether FOLDER/NAME.h5 is a model of this run after `step` steps. */
bool kept_is(const char *folder, const run *r, int64_t step);

/* ---- Which programs made them (makers.c) ---- */

enum { MOST_MAKERS = 8 };
typedef struct makers {
    int n;
    struct maker {
        char code[64], kernels[128], machine[160];
        int runs;
    } at[MOST_MAKERS]; /* the last one may be of several */
    double seconds;    /* of all runs */
    int all;
    bool machines; /* those of different machines or days are told apart */
} makers;
void makers_add(makers *m, const result *x);
/* A list of them, if they are more than this program. */
void makers_print(FILE *to, const makers *m);

/* ---- Files (write.c) ---- */

typedef void text_fn(FILE *to, const void *what);
/* Replaces FOLDER/NAME by what put writes; show: on stdout too. */
PAL_CHECKED pal_status text_write(const char *folder, const char *name, text_fn *put,
                                  const void *what, bool show, pal_error *error);

/* ---- Running (one.c, jobs.c) ---- */

enum { STOPPED = 75 }; /* exit status of a run that was asked to stop */

/* One run: reads its description from standard input and leaves its result in the folder. Returns
 * the status of the process. */
int one_run(const char *folder, const char *name);

/* All ranks call it together. It makes the runs that are missing; each rank makes its share, up to
 * `jobs` processes at a time. Returns how many failed on this rank. A signal stops the processes,
 * and it returns. */
int jobs_run(const runs *r, const char *folder, int jobs, pal_dist *dist);

/* ---- What came out (collect.c, table.c, rates.c, plots.c) ---- */

typedef struct results {
    const study *study;
    model (*model)[MOST_VARIANTS];
    result *at[MOST_TASKS][MOST_VARIANTS][MOST_SEEDS]; /* NULL: missing */
    int there, missing;
} results;
void results_load(results *x, const study *s, models m, const runs *r, const char *folder);
void results_free(results *x);
/* results.csv, curves.csv and results.h5. */
PAL_CHECKED pal_status collect(const results *x, const char *folder, pal_error *error);
/* table.md, and the same on stdout. */
PAL_CHECKED pal_status table(const results *x, const char *folder, pal_error *error);
/* made.md: how many core-hours the runs took, on which machines, when and by which versions. */
PAL_CHECKED pal_status makers_write(const results *x, const char *folder, pal_error *error);
/* comparisons.csv and table.tex (compare.c), and the part of table.md about differences. */
PAL_CHECKED pal_status compare_write(const results *x, const char *folder, pal_error *error);
void compare_put(FILE *to, const results *x, int t);
/* All results in one file, FOLDER/runs.txt, and back into the folder of runs (bundle.c). */
PAL_CHECKED pal_status bundle_write(const runs *r, const char *where, const char *folder,
                                    pal_error *error);
void bundle_unpack(const char *path, const char *folder);
/* A description of a task with the checksum and the vocabulary of its store, as the runs of that
 * file have them; NULL if it says them or names no store, or if no run is of that store. The caller
 * frees it. */
char *bundle_task(const char *path, const char *of);
/* Mean and limits over the seeds that did not fail; how many these are. point -1: the mean over
 * points. */
typedef struct spread {
    double mean, low, high;
    int n;
} spread;
spread spread_of(const results *x, int t, int v, int point);
/* accuracy-TASK.svg, curves-TASK.svg and, if states differ, state-TASK.svg. Other pictures with
 * such names belong to other results and are removed. Without gnuplot nothing changes. */
PAL_CHECKED pal_status plots(const results *x, const char *folder, pal_error *error);
/* Removes all of them, so that no picture stays beside numbers of other results. */
PAL_CHECKED pal_status plots_remove(const char *folder, pal_error *error);
/* The rates that were best, as lines of the study, and rates.csv and rates.svg in `out`. How many
 * variants have no line. */
int rates_print(const study *s, const runs *r, const char *folder, const char *out);

/* Removes a picture that may not be there. */
PAL_CHECKED pal_status picture_remove(const char *folder, const char *name, pal_error *error);
/* Draws NAME.svg and, where gnuplot can, NAME.pdf: `body` writes what is plotted, once for each. */
typedef void picture_fn(FILE *to, const void *what);
PAL_CHECKED pal_status picture_draw(const char *folder, const char *name, int width, int height,
                                    picture_fn *body, const void *what, pal_error *error);
/* A text between gnuplot's single quotes. */
void picture_quote(FILE *to, const char *text);
/* How gnuplot sets `names` below an axis, of at most so many letters each, beside a key of `key`
 * letters: side by side, or turned where there is no room. */
const char *picture_turn(int64_t names, size_t letters, size_t key);
const char *picture_colour(int i);
/* Colour, dash and marker of curve i: no two of 8 are alike. */
void picture_style(FILE *to, int i);
enum { PICTURE_CURVES = 8 }; /* the most of a panel */

/* ---- One model, layer by layer (layers.c, edits.c) ---- */

typedef struct layers_opts {
    const char *checkpoint, *data, *out; /* data NULL: that of the checkpoint */
    int64_t rows;                        /* of each test point, or batches of a store */
    bool last;                           /* the parameters of the last step, not their average */
    bool heads, lens;  /* also each head, MLP and pair of layers; the logit lens */
    const char *patch; /* "I,J": activation patching of test row I into J */
    int by;            /* how heads are edited: zero, mean or row (probe.h) */
    lm_dtype dtype;    /* of stored weights */
} layers_opts;
void layers_run(const layers_opts *o);

/* What is done to a layer. */
typedef enum edit {
    NOTHING,
    SKIP,
    MEAN_B,
    MEAN_W,
    TIE,
    MEAN_G,
    NO_CONV,
    EULER, /* from here on Mamba-3's */
    NO_TURN,
    NO_BIAS,
    EQUAL_ROWS,
    EDITS
} edit;
const char *edit_name(edit e);
const char *edit_title(edit e);

/* A layer of a model under an edit; edits.c has the hook. */
typedef struct surgeon surgeon;
surgeon *surgeon_new(pal_params *params, pal_tape *tape, int64_t layers);
void surgeon_free(surgeon *s);
/* Whether a layer has what the edit changes. It is known after a pass between surgeon_begin with
 * NOTHING and surgeon_end. */
bool surgeon_can(const surgeon *s, int64_t layer, edit e);
/* Changes weights if the edit is one of weights; surgeon_end puts them back. */
void surgeon_begin(surgeon *s, int64_t layer, edit e);
void surgeon_end(surgeon *s);
/* Some edits need a first pass that only reads: then a batch is run twice. */
int surgeon_passes(const surgeon *s);
void surgeon_pass(surgeon *s, int pass);
pal_run_opts surgeon_opts(surgeon *s);

#endif
