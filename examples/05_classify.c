/*
 * 05_classify.c - classifies sequences from a file: 64 pixels of a digit, one after the other, by
 * two blocks of Gated DeltaNet-2. The best checkpoint by accuracy on held-out rows is kept;
 * 06_predict.c loads it. A run that was stopped goes on when the program is started again.
 *
 *     05_classify [FOLDER [STEPS]]        (build/digits, 1500 steps)
 *
 * Data: examples/data/digits.npz, the optical recognition of handwritten digits of the UCI
 * repository (E. Alpaydin, C. Kaynak), x u8 [1797,64] of 0 .. 16 and y u8 [1797].
 */
#include "examples/05_classify.h"

static pal_tensor loss(void *user, pal_tape *tape, int64_t number, pal_batch *batch)
{
    (void)tape, (void)number;
    return pal_cross_entropy(forward(user, pal_batch_tensor(batch, "x"), true),
                             pal_batch_tensor(batch, "y"),
                             (pal_cross_entropy_opts){.label_smoothing = 0.05});
}

int main(int argc, char **argv)
{
    pal_share_processors(argv);
    pal_error e;
    pal_batches_opts rows;
    pal_dataset *data = open_digits(&rows);
    pal_rng rng = pal_rng_new(1, 0);
    pal_params *p = pal_params_new();
    model m = new_model(p, &rng);
    pal_train_opts o = {.params = p, .loss = loss, .measure = accuracy, .user = &m};
    o.optim = pal_adamw_new(p, (pal_adamw_opts){.decay = 0.05});
    o.tape = pal_tape_new(), o.clip = 1;
    o.batches = pal_dataset_batches(data, rows);
    rows.validation = true;
    o.held_out = pal_dataset_batches(data, rows);
    o.metric[0] = (pal_metric){"accuracy", .more_is_better = true};
    o.folder = argc > 1 ? argv[1] : "build/digits", o.steps = argc > 2 ? atoll(argv[2]) : 1500;
    o.schedule = (pal_schedule){PAL_COSINE, 5e-3, 1e-4, .warmup = o.steps / 30, .steps = o.steps};
    o.evaluate_every = o.save_every = 100, o.keep = 1, o.unit = "digits";
    o.resume = pal_run_last(o.folder, 0);
    pal_stop_install();
    pal_train_result result;
    pal_must(pal_train(&o, &result, &e), &e);
    printf("best: accuracy %.4f at step %lld\n", result.best, (long long)result.best_step);
    if (pal_plot(o.folder, (pal_plot_opts){.columns = "accuracy", .name = "accuracy"}, &e) !=
        PAL_OK)
        fprintf(stderr, "%s\n", e.message);
    pal_tape_free(o.tape), pal_optim_free(o.optim), pal_params_free(p);
    pal_batches_free(o.batches), pal_batches_free(o.held_out), pal_dataset_close(data);
}
