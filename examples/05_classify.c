/* 05_classify.c - classifies sequences from a file: 64 pixels of a digit, one after the other, by
 * two blocks of Gated DeltaNet-2. A run that was stopped goes on: 05_classify [FOLDER [STEPS]] */
#include "examples/05_classify.h"
#include <stdlib.h>

static pal_tensor loss(void *user, pal_tape *tape, int64_t number, pal_batch *batch)
{
    const pal_cross_entropy_opts smooth = {.label_smoothing = 0.05};
    (void)tape, (void)number;
    return pal_cross_entropy(scores(user, batch, true), pal_batch_tensor(batch, "y"), smooth);
}

int main(int argc, char **argv)
{
    pal_error e;
    pal_train_result result;
    pal_rng rng = pal_rng_new(1, 0);
    pal_train_opts o = digits(argc > 1 ? argv[1] : "build/digits", &rng);
    o.loss = loss, o.optim = pal_adamw_new(o.params, (pal_adamw_opts){.decay = 0.05});
    o.steps = argc > 2 ? atoll(argv[2]) : 1500, o.resume = pal_run_last(o.folder, 0);
    o.schedule = (pal_schedule){PAL_COSINE, 5e-3, 1e-4, .warmup = o.steps / 30, .steps = o.steps};
    o.clip = 1, o.evaluate_every = o.save_every = 100, o.keep = 1, o.unit = "digits";
    pal_params_print(o.params, stdout);
    pal_stop_install();
    pal_must(pal_train(&o, &result, &e), &e);
    printf("best: accuracy %.4f at step %lld\n", result.best, (long long)result.best_step);
    const pal_plot_opts plot = {.columns = "accuracy", .name = "accuracy"};
    if (pal_plot(o.folder, plot, &e) != PAL_OK) fprintf(stderr, "%s\n", e.message);
    pal_train_free(&o);
}
