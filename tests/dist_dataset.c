/*
 * dist_dataset.c DIR - ranks that share rows, or the time of sequences, of a dataset train the
 * model that one process trains.
 */
#include "tests/support/ranks.h"

#include <math.h>
#include <palimpsest.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 12, T = 21, STEPS = 6 };

static void write_data(const char *path)
{
    static float x[ROWS * T * 2], y[ROWS * T];
    static int64_t offsets[ROWS + 1];
    pal_error error;
    pal_h5 *file;
    pal_rng rng = pal_rng_new(3, 0);
    for (int i = 0; i < ROWS * T; i++) {
        x[2 * i] = (float)pal_rng_next(&rng), x[2 * i + 1] = (float)pal_rng_next(&rng);
        y[i] = x[2 * i] - (i % T ? x[2 * i - 1] : 0);
    }
    for (int i = 0; i < ROWS; i++) offsets[i + 1] = offsets[i] + 5 + 3 * (i % 5);
    const pal_array all[] = {pal_array_of(PAL_F32, PAL_SHAPE(ROWS, T, 2), x),
                             pal_array_of(PAL_F32, PAL_SHAPE(ROWS, T, 1), y),
                             pal_array_of(PAL_F32, PAL_SHAPE(offsets[ROWS], 2), x),
                             pal_array_of(PAL_F32, PAL_SHAPE(offsets[ROWS], 1), y),
                             pal_array_of(PAL_I64, PAL_SHAPE(ROWS + 1), offsets)};
    static const char *const names[] = {"x", "y", "rx", "ry", "offsets"};
    pal_status s = pal_h5_create(&file, path, &error);
    for (int i = 0; i < 5 && s == PAL_OK; i++) s = pal_h5_put(file, names[i], &all[i], &error);
    if (s == PAL_OK) s = pal_h5_commit(file, &error);
    expect(s == PAL_OK, "data: %s", error.message);
}

typedef struct run {
    pal_predictor *model;
    pal_dist *dist;
} run;

static pal_tensor loss(void *user, pal_tape *tape, int64_t number, pal_batch *batch)
{
    const run *r = user;
    (void)tape, (void)number;
    const pal_run_opts how = {.offsets = batch->offsets,
                              .continued = batch->continued,
                              .parts = pal_dist_sequence(r->dist)};
    const pal_tensor y = pal_predictor_forward(r->model, pal_batch_tensor(batch, "x"), how);
    if (pal_dist_sequence_count(r->dist) > 1)
        expect(batch->counted == pal_count(y), "counted %d", (int)batch->counted);
    batch->counted = pal_count(y); /* where rows are whole it is their number */
    return pal_mse(y, pal_batch_tensor(batch, "y"), (pal_loss_opts){0});
}

/* The losses of some steps; dist NULL: of one process with whole batches. */
static void train(const char *path, bool packed, pal_dist *dist, double *losses)
{
    pal_error error;
    pal_dataset *data;
    pal_rng rng = pal_rng_new(1, 0);
    const pal_dataset_opts even = {
        .field = {{.name = "x", .sequence = true}, {.name = "y", .sequence = true}}};
    const pal_dataset_opts ragged = {
        .field = {{"x", "rx", .offsets = "offsets"}, {"y", "ry", .offsets = "offsets"}}};
    const pal_trunk_opts trunk = {.inputs = 2, .width = 16, .mixers = "gdn:num_heads=2:head_dim=8"};
    pal_train_opts o = {.params = pal_params_new(), .tape = pal_tape_new(), .loss = loss};
    run r = {.dist = dist};
    r.model = pal_predictor_new(o.params, "m", trunk, 1,
                                (pal_task_head_opts){.pooling = PAL_POOL_NONE}, &rng);
    const pal_status s = pal_dataset_open(&data, path, packed ? ragged : even, &error);
    expect(s == PAL_OK, "open: %s", error.message);
    o.batches = pal_dataset_batches(
        data, (pal_batches_opts){.batch = 6,
                                 .kind = packed ? PAL_PACKED : 0,
                                 .data_index = pal_dist_data_index(dist),
                                 .data_count = pal_dist_data_count(dist),
                                 .sequence_index = pal_dist_sequence_index(dist),
                                 .sequence_count = pal_dist_sequence_count(dist)});
    o.optim = pal_adamw_new(o.params, (pal_adamw_opts){0});
    o.user = &r, o.dist = dist, o.schedule.lr = 0.01;
    for (int i = 0; i < STEPS; i++) {
        pal_step step = {0};
        const pal_status made = pal_train_step(&o, i, &step, &error);
        expect(made == PAL_OK, "step %d: %s", i, error.message);
        losses[i] = step.loss;
    }
    pal_train_free(&o);
}

int main(int argc, char **argv)
{
    pal_dist *dist;
    pal_error error;
    char path[1024];
    if (argc < 3) return 2;
    const pal_dist_opts how = {.sequence_parallel = atoi(argv[2])};
    if (pal_dist_start(&dist, how, &error) != PAL_OK) return 2;
    snprintf(path, sizeof path, "%s/set.h5", argv[1]);
    if (pal_dist_rank(dist) == 0) write_data(path);
    pal_dist_barrier(dist);
    pal_set_threads(1);
    for (int packed = 0; packed < 2; packed++) {
        double one[STEPS], all[STEPS];
        train(path, packed, NULL, one);
        train(path, packed, dist, all);
        for (int i = 0; i < STEPS; i++)
            expect(fabs(one[i] - all[i]) <= 1e-5 * one[i], "packed %d, step %d: %.9g of %.9g",
                   packed, i, all[i], one[i]);
        expect(one[STEPS - 1] < one[0], "it learns nothing: %g to %g", one[0], one[STEPS - 1]);
    }
    pal_dist_end(dist);
    return report();
}
