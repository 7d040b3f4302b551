/*
 * 05_classify.c - classifies sequences from a file: 64 pixels of a digit, one after the other, by
 * two blocks of Gated DeltaNet-2. The best checkpoint by accuracy on held-out rows is kept;
 * 06_predict.c loads it. A run that was stopped goes on when the program is started again.
 *
 *     05_classify [FOLDER [STEPS]]        (build/digits, 900 steps)
 *
 * Data: examples/data/digits.npz, the optical recognition of handwritten digits of the UCI
 * repository (E. Alpaydin, C. Kaynak), x u8 [1797,64] of 0 .. 16 and y u8 [1797].
 */
#include "examples/05_classify.h"

typedef struct run {
    model model;
    pal_batches *held_out;
} run;

static pal_tensor loss(void *user, pal_tape *tape, int64_t number, pal_batch *batch)
{
    const run *r = user;
    (void)tape, (void)number;
    const pal_tensor logits = forward(&r->model, pal_batch_tensor(batch, "x"), true);
    return pal_cross_entropy(logits, pal_batch_tensor(batch, "y"),
                             (pal_cross_entropy_opts){.label_smoothing = 0.05});
}

static void measure(void *user, pal_tape *tape, int64_t step, double *values)
{
    const run *r = user;
    (void)step;
    *values = accuracy(&r->model, r->held_out, tape);
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : "build/digits";
    const int64_t steps = argc > 2 ? atoll(argv[2]) : 900;
    pal_share_processors(argv);
    pal_error e;
    pal_dataset *data = open_digits();
    pal_batches_opts rows = {.batch = 32, .held_out = 0.2, .split_seed = 1, .prefetch = true};
    pal_batches *train = pal_dataset_batches(data, rows);
    pal_rng rng = pal_rng_new(1, 0);
    pal_params *p = pal_params_new();
    run r = {.model = new_model(p, &rng)};
    r.held_out = open_held_out(data);
    pal_optim *optim = pal_adamw_new(p, (pal_adamw_opts){.decay = 0.05});
    pal_tape *tape = pal_tape_new();
    pal_stop_install();
    pal_train_result result;
    pal_train_opts opts = {.params = p,
                           .optim = optim,
                           .tape = tape,
                           .batches = train,
                           .loss = loss,
                           .measure = measure,
                           .metric = {{"accuracy", .more_is_better = true}},
                           .user = &r,
                           .schedule = {.kind = PAL_COSINE,
                                        .lr = 5e-3,
                                        .min_lr = 1e-4,
                                        .warmup = steps / 30,
                                        .steps = steps},
                           .steps = steps,
                           .clip = 1,
                           .folder = folder,
                           .evaluate_every = 100,
                           .save_every = 100,
                           .keep = 1,
                           .unit = "digits",
                           .resume = pal_run_last(folder, 0)};
    must(pal_train(&opts, &result, &e), &e);
    printf("best: accuracy %.4f at step %lld\n", result.best, (long long)result.best_step);
    if (pal_plot(folder, (pal_plot_opts){.columns = "accuracy", .name = "accuracy"}, &e) != PAL_OK)
        fprintf(stderr, "%s\n", e.message);
    pal_tape_free(tape);
    pal_optim_free(optim);
    pal_params_free(p);
    pal_batches_free(train);
    pal_batches_free(r.held_out);
    pal_dataset_close(data);
}
