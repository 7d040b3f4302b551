/*
 * training.h - a language model in training on random bytes, whose steps benchmarks time.
 */
#ifndef PAL_BENCH_TRAINING_H
#define PAL_BENCH_TRAINING_H

#include "bench/measure/measure.h"
#include "optim/optim.h"

typedef struct setup {
    const char *mixers;
    int64_t width, layers, batch, len;
} setup;

typedef struct training {
    setup s;
    pal_params *params;
    pal_tape *tape;
    pal_lm *lm;
    pal_optim *adamw;
    int64_t *text; /* batch x (len + 1) bytes */
} training;

training training_new(setup s);
void training_free(training *t);
/* On the tape, which the caller resets. */
pal_tensor training_loss(training *t, pal_rule_mode mode);
/* One step as examples/train_lm makes it: loss, backward, clipping, AdamW, zeroed gradients. The
 * context is a training. */
timed_fn training_step;

#endif
