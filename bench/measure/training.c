/*
 * training.c - a language model in training on random bytes.
 */
#include "bench/measure/training.h"

#include <math.h>
#include <stdlib.h>

training training_new(setup s)
{
    pal_rng rng = pal_rng_new(1, 0);
    training t = {.s = s, .params = pal_params_new(), .tape = pal_tape_new()};
    t.lm = pal_lm_new(
        t.params, (pal_lm_opts){.width = s.width, .layers = s.layers, .mixers = s.mixers}, &rng);
    t.adamw = pal_adamw_new(t.params, (pal_adamw_opts){.beta2 = 0.95, .decay = 0.1});
    const int64_t n = s.batch * (s.len + 1);
    t.text = malloc((size_t)n * sizeof *t.text);
    for (int64_t i = 0; i < n; i++) t.text[i] = (int64_t)(256 * pal_rng_next(&rng));
    return t;
}

void training_free(training *t)
{
    free(t->text);
    pal_optim_free(t->adamw);
    pal_tape_free(t->tape);
    pal_params_free(t->params);
}

pal_tensor training_loss(training *t, pal_rule_mode mode)
{
    const setup *s = &t->s;
    pal_tensor all = pal_from(t->tape, PAL_I64, PAL_SHAPE(s->batch, s->len + 1), t->text);
    return pal_lm_loss(t->lm, pal_slice(all, 1, 0, s->len, 1), pal_slice(all, 1, 1, s->len + 1, 1),
                       (pal_run_opts){.mode = mode});
}

double training_step(void *context)
{
    training *t = context;
    double start = seconds();
    bool good = pal_backward(training_loss(t, PAL_RULE_AUTO)) == PAL_OK;
    good = isfinite(pal_optim_update(t->adamw, 1, 1e-4)) && good;
    pal_tape_reset(t->tape);
    return good ? seconds() - start : -1;
}
