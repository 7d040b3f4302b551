/*
 * internal.h - what the files of the tasks share: the kinds, their keys, and a task.
 *
 * A family of tasks is a file (mqar.c, needle.c, corpus.c, ..). It gives each of its tasks a
 * task_kind: the keys, `begin`, which checks them together and makes the points, and `row`, which
 * writes one row. tasks.def has the names of all kinds, text.c reads and writes their texts.
 */
#ifndef TASKS_INTERNAL_H
#define TASKS_INTERNAL_H

#include "examples/tasks/tasks.h"
#include "tensor/keys.h"

enum {
    TASK_TEXT = 1024,     /* room for a text: lm_options.data has as much */
    TASK_LONGEST = 65536, /* tokens of a row */
    TASK_WORDS = 32768,   /* the largest vocabulary */
    TASK_WORD = 32,       /* room for a token as a person reads it */
    GROUP_LARGEST = 120   /* elements of S5 */
};

/* As keys of whole numbers have it (tensor/keys.h). */
typedef struct task_list {
    int64_t count;
    int64_t of[TASK_POINTS];
} task_list;

#define TASK_FIELD(name) PAL_AT(task, name)

/* ---- Kinds ---- */

typedef struct task_kind {
    const char *name, *level;
    const char *help; /* what it asks, and its keys with their defaults */
    pal_keys keys;
    const char *standard; /* the defaults, as text: ":len=64"; a list that is left out is empty */
    int variant;          /* tells tasks of one family apart */
    pal_status (*begin)(task *t, pal_error *error);
    /* Writes a row of p->len tokens; they are 0 and all targets PAL_IGNORE before. */
    void (*row)(const task *t, task_split split, const task_point *p, pal_rng *rng, int64_t *tokens,
                int64_t *targets);
    /* In its place where a row depends on its number. */
    void (*numbered)(const task *t, task_split split, const task_point *p, pal_rng *rng,
                     int64_t number, int64_t *tokens, int64_t *targets);
    /* Scores all test points at once; NULL: each by its own rows (task_test). A stop that is asked
     * for ends it early. */
    void (*score)(const task *t, const pal_lm *lm, pal_tape *tape, uint64_t seed, int64_t rows,
                  task_score *scores);
    void (*end)(task *t);            /* closes what begin opened, as far as it did; NULL: nothing */
    double (*chance)(const task *t); /* the accuracy of a guess; NULL: near 0, or none */
    bool bits;                       /* it is measured by bits a byte (task_measure) */
    /* A token as a person reads it; NULL: tokens are bytes of a text. */
    void (*word)(const task *t, int64_t token, char word[TASK_WORD]);
} task_kind;

#define TASK(name) extern const task_kind task_##name;
#include "examples/tasks/tasks.def"

struct task {
    const task_kind *kind;
    char text[TASK_TEXT];
    int64_t vocab;
    int points[2]; /* by split */
    task_point point[2][TASK_POINTS];
    pal_tokens *store; /* of corpus; NULL: none */

    /* What the keys say. */
    task_list len, test_len, weights;
    union {
        struct {
            int64_t vocab;
            task_list pairs, test_pairs;
            double power;
            int filler;
        } mqar;
        struct {
            int kind;
            int64_t digits, keys;
            char path[512], checksum[16]; /* of the store that the filler is from; "": none */
        } needle;
        struct {
            int64_t shortest, longest;
            bool dense;
        } parity;
        struct {
            int order; /* elements; not a key */
            uint8_t product[GROUP_LARGEST][GROUP_LARGEST];
            uint8_t image[GROUP_LARGEST][5]; /* the permutations */
        } group;
        struct {
            int64_t symbols, stacks;
        } synthetic;
        struct {
            int64_t keys, values;
            double noise;
        } mad;
        struct {
            char path[512], checksum[16];
            double held_out;
            int64_t vocab, len, split; /* the first token that is held out; not a key */
            task_list positions;
        } corpus;
    } is;
};

/* ---- text.c ---- */

/* Sets the fields of t->kind from the defaults and then from the keys of the text, which begins
 * after the name. */
PAL_CHECKED pal_status task_read_keys(task *t, const char *text, pal_error *error);
/* Writes t->text from the fields; PAL_EVALUE if it is too long. */
PAL_CHECKED pal_status task_write_text(task *t, pal_error *error);

/* ---- learn.c ---- */

/* Rows of `len` tokens that are tested at once, up to count: so many that there are about four
 * million logits and 16384 tokens, and at least one. */
int64_t task_rows_at_once(int64_t vocab, int64_t len, int64_t count);
/* Adds the answers of B rows, logits [B,len,vocab], to the sums of a score: task_test divides them
 * by what was asked. Logits that are not numbers are wrong answers. */
void task_mark(task_score *sum, const pal_array *logits, const int64_t *targets, int64_t B,
               int64_t len, int64_t vocab);

/* ---- task.c ---- */

/* "task mqar: ..." */
PAL_PRINTF(3, 4)
pal_status task_wrong(pal_error *error, const task *t, const char *format, ...);
/* Makes one point of each split for every entry of len and test_len (where that is empty, it
 * becomes len): level is the length, its name "length 64". A length is at least `least` and a
 * multiple of `step`. */
PAL_CHECKED pal_status task_points_by_len(task *t, int64_t least, int64_t step, pal_error *error);
/* Adds a point to a split; PAL_EVALUE if there is one of that name or no room. */
PAL_CHECKED pal_status task_add_point(task *t, task_split split, task_point p, pal_error *error);
/* n different numbers of low .. high-1, high - low <= TASK_WORDS, in random order. */
void task_distinct(pal_rng *rng, int64_t low, int64_t high, int64_t n, int64_t *out);
/* Entry i of a list that has one for each, or one for all. */
int64_t task_list_at(const task_list *list, int i);

#endif
