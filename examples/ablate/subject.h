/*
 * subject.h - the model that --layers examines, and how well it does under a hook.
 */
#ifndef ABLATE_SUBJECT_H
#define ABLATE_SUBJECT_H

#include "examples/ablate/ablate.h"

typedef struct score {
    double loss, accuracy; /* nats of a token; accuracy NaN for text */
} score;

typedef struct subject {
    const layers_opts *how;
    lm_options o;
    task *task;        /* NULL: text */
    pal_tokens *store; /* NULL: a task */
    pal_batches *held;
    pal_lm_file file;
    pal_tape *tape;
    int64_t layers;
    char what[256]; /* it is evaluated on */
    double *row;    /* losses of the last evaluation: of each row of a task, or batch of a text */
    int rows, room;
} subject;

/* How a batch is run: as often as it says, and told before each time. */
typedef struct passes {
    pal_run_opts opts;
    int passes;
    void (*begin)(void *user, int pass);
    void *user;
} passes;

/* Opens what x->how names. A mistake ends the program. */
void subject_open(subject *x);
void subject_close(subject *x);
/* Always on the same rows. */
score subject_score(subject *x, const passes *how);

/* Heads, MLPs and pairs of layers, the lens, and patching, as x->how asks for (analyse.c, patch.c):
 * files beside layers.csv. */
void analyse(subject *x);
void patch(subject *x);

#endif
