/*
 * tasks.h - synthetic tasks that show differences between memories: their rows, made from a seed,
 * and tests of how well a model answers.
 *
 * A task is made from text, `name[:key=value...]`, as mixers are:
 * "mqar:vocab=128:len=64:pairs=4,8,16". It has points, degrees of difficulty (a length, a number of
 * pairs), some for training and some for tests. A row of a point depends only on (task, split,
 * seed, number of the row). So data are neither stored nor shuffled, and every process gets the
 * same row 1000 of seed 3.
 *
 * Targets follow the library's language model: targets[t] is what should follow tokens[0..t],
 * PAL_IGNORE where nothing is asked. Shorter rows are filled at the end, and nothing is asked
 * there.
 */
#ifndef TASKS_H
#define TASKS_H

#include <palimpsest.h>

typedef struct task task;

enum { TASK_POINTS = 16 }; /* the most of a split, and the most entries of a list of a text */
typedef enum task_split { TASK_TRAIN, TASK_TEST } task_split;

/* One degree of difficulty. */
typedef struct task_point {
    int64_t len;   /* tokens of a row, filling included */
    int64_t level; /* what results are told by: pairs, keys, depth or length (task_level_name) */
    double weight; /* training: its share of the batches; all of a task add up to 1. Tests: 0 */
    char name[72]; /* "16 pairs", "length 128": unique among the points of a split */
    bool part;     /* of the point before it that is none: it counts in no mean over points */
    int64_t low, high; /* only positions low .. high-1 are asked; high 0: all */
} task_point;

/* PAL_EVALUE names what is unknown or out of range, and what there is. */
PAL_CHECKED pal_status task_new(task **out, const char *text, pal_error *error);
void task_free(task *t);
/* The text with every default filled in; of two tasks of equal texts all rows are equal. */
const char *task_text(const task *t);
const char *task_name(const task *t);       /* "mqar" */
const char *task_level_name(const task *t); /* "pairs", "length": the axis of a plot */
int64_t task_vocab(const task *t);          /* tokens are 0 .. vocab-1 */
int task_points(const task *t, task_split split);
task_point task_point_at(const task *t, task_split split, int i);
/* Names and one-line descriptions of all tasks with their keys and defaults, for --help; i from 0;
 * NULL at the end. */
const char *task_names(int i);
const char *task_help(int i);

/* Rows first .. first+B-1 of a point, tokens and targets [B, len of the point]. Training rows and
 * test rows are drawn separately. If a task has many different rows, the two have none in common;
 * if it has few (copy of 2 symbols and 4 tokens has 4), they are the same. */
void task_rows(const task *t, task_split split, int point, uint64_t seed, int64_t first, int64_t B,
               int64_t *tokens, int64_t *targets);
/* The point of training batch n = 0, 1, ..., drawn by the weights from (seed, n). */
int task_point_of(const task *t, uint64_t seed, int64_t n);
/* A row as a person reads it, its questions and answers marked. */
void task_print(const task *t, const int64_t *tokens, const int64_t *targets, int64_t len,
                FILE *to);

/* ---- Learning a task ---- */

/* How well: over all tokens that were asked for, and over whole rows (a row counts if all its
 * tokens are right). */
typedef struct task_score {
    double accuracy, whole; /* shares in 0..1 */
    double loss;            /* mean nats of a token that was asked for; of a corpus, of a byte */
    int64_t asked, rows;    /* of a corpus, bytes */
} task_score;
/* Whether a task is measured by bits of a byte, of which few are better, and not by accuracy. */
bool task_in_bits(const task *t);
/* The accuracy of a guess that knows what answers there can be; 0: there is none to speak of. */
double task_chance(const task *t);
/* The one number that a point is told by: bits a byte, or accuracy. */
double task_measure(const task *t, const task_score *score);
/* Scores of all test points, of `count` rows each, or as many as there are. A stop that a signal
 * asks for ends it early, and the scores are then of no use. */
void task_test_all(const task *t, const pal_lm *lm, pal_tape *tape, uint64_t seed, int64_t count,
                   task_score scores[TASK_POINTS]);
/* Greedy answers to `rows` test rows of a point; the tape's gradients are off meanwhile. Not of a
 * corpus. */
task_score task_test(const task *t, const pal_lm *lm, pal_tape *tape, int point, uint64_t seed,
                     int64_t rows);

enum { TASK_OPTIMIZER = 256 }; /* room for the text of an optimiser, as in lm_options */

/* What a run of learning is; zeros are the defaults. */
typedef struct task_run {
    int64_t steps;                  /* 0: 1000 */
    int64_t batch;                  /* rows; 0: 64 */
    double lr;                      /* peak; 0: 3e-3 */
    char optimizer[TASK_OPTIMIZER]; /* as text (pal_optim_new); "": "adamw" */
    double weight_decay;            /* 0: 0.1; below 0: none. beta2 of adamw and adam is 0.98 */
    double clip;                    /* 0: 1 */
    int64_t warmup;                 /* steps; 0: a twentieth. Then half a cosine to a tenth */
    uint64_t seed;                  /* of parameters and rows; 0: 1 */
    int64_t every;                  /* steps from one look to the next; 0: a twentieth of steps */
    int64_t rows;                   /* test rows of each point; 0: 256 */
    double enough; /* ends when every test point's accuracy has reached it at a look; 0: never. Not
                      of a corpus */
    bool quiet;    /* prints nothing */
    bool bf16;     /* products are in bf16 (pal_tape_precision) */
} task_run;

/* The same with the defaults filled in (weight_decay -1: none). */
task_run task_run_defaults(task_run run);

/* A look: after `step` steps, loss is the mean of the training steps since the look before. */
typedef struct task_look {
    int64_t step;
    double loss, seconds;
    const task_score *scores; /* of the test points in their order */
    int points;
} task_look;
/* Called at every look; false ends the run. */
typedef bool task_look_fn(void *user, const task_look *look);

typedef struct task_result {
    int64_t steps; /* made */
    double loss, seconds;
    /* A loss or a gradient was not finite, and then loss is not; or a signal asked to stop
     * (pal_stop_requested). */
    bool failed;
    int points;
    task_score scores[TASK_POINTS]; /* of the test points, at the last look; zeros before it */
} task_result;
/* Trains lm, made on params. A run is a function of its arguments: the same bits on any
 * number of threads. */
task_result task_learn(const task *t, pal_params *params, const pal_lm *lm, task_run run,
                       task_look_fn *look, void *user);
/* What task_learn prints unless it is quiet: a head, and a line a look. Then the table of results,
 * a line a test point. No times: what is printed is a function of the run. */
void task_print_head(const task *t, FILE *to);
void task_print_look(const task *t, const task_look *look, FILE *to);
void task_print_result(const task *t, const task_result *result, FILE *to);

#endif
