/*
 * 10_distributed.c - several processes train one model: each has its rows of every batch, and the
 * gradients are summed while backward runs. Started alone it is one process, with the same losses
 * up to rounding; a run that was stopped goes on with any number of processes.
 *
 *     mpirun -n 2 10_distributed [FOLDER [STEPS]]        (build/distributed, 100 steps)
 *
 * The task: y = x W + noise for rows x of 8 numbers, which every process draws for itself.
 */
#include <palimpsest.h>
#include <stdlib.h>

enum { IN = 8, OUT = 4, BATCH = 64 };

typedef struct model {
    pal_tensor weight, bias, truth;
    pal_dist *dist;
} model;

/* The loss of this process's rows of batch `number`. Row i is drawn from a stream of its own, so
 * that it is the same whoever draws it. */
static pal_tensor loss(void *user, pal_tape *tape, int64_t number, pal_batch *batch)
{
    const model *m = user;
    const int64_t r = pal_dist_data_index(m->dist), n = pal_dist_data_count(m->dist);
    const int64_t first = r * BATCH / n, rows = (r + 1) * BATCH / n - first;
    const pal_tensor x = pal_zeros(tape, PAL_F32, PAL_SHAPE(rows, IN));
    const pal_tensor noise = pal_zeros(tape, PAL_F32, PAL_SHAPE(rows, OUT));
    pal_array to = pal_edit(x), of = pal_edit(noise);
    for (int64_t i = 0; i < rows; i++) {
        pal_rng rng = pal_rng_new(7, (uint64_t)(number * BATCH + first + i));
        for (int64_t at[] = {i, 0}; at[1] < IN; at[1]++)
            pal_array_set(&to, at, 2 * pal_rng_next(&rng) - 1);
        for (int64_t at[] = {i, 0}; at[1] < OUT; at[1]++)
            pal_array_set(&of, at, 0.1 * pal_rng_next(&rng));
    }
    batch->counted = rows; /* ranks may differ: the mean is over all rows */
    const pal_tensor y = pal_add(pal_linear(x, m->truth, PAL_NONE), noise);
    return pal_mse(pal_linear(x, m->weight, m->bias), y, (pal_loss_opts){0});
}

int main(int argc, char **argv)
{
    pal_error e;
    pal_dist *dist;
    pal_must(pal_dist_start(&dist, (pal_dist_opts){0}, &e), &e);
    pal_rng rng = pal_rng_new(1, 0);
    pal_params *p = pal_params_new();
    model m = {.dist = dist};
    m.weight = pal_linear_weight(p, "weight", OUT, IN, PAL_F32, &rng);
    m.bias = pal_bias_new(p, "bias", OUT, PAL_F32);
    m.truth = pal_freeze(pal_linear_weight(p, "truth", OUT, IN, PAL_F32, &rng), true);
    pal_train_opts o = {.params = p, .tape = pal_tape_new(), .loss = loss, .user = &m};
    o.folder = argc > 1 ? argv[1] : "build/distributed", o.steps = argc > 2 ? atoll(argv[2]) : 100;
    o.optim = pal_adamw_new(p, (pal_adamw_opts){0}), o.dist = dist;
    o.schedule = (pal_schedule){.lr = 0.02}, o.keep = 1, o.unit = "rows";
    o.resume = pal_run_last(o.folder, 0);
    pal_dist_barrier(dist); /* until all have seen the folder as it was */
    pal_train_result result;
    pal_must(pal_train(&o, &result, &e), &e);
    if (pal_dist_rank(dist) == 0)
        printf("%d processes: loss %.5f\n", pal_dist_size(dist), result.last.loss);
    pal_train_free(&o);
    pal_dist_end(dist);
}
