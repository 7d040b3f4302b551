/* 05_classify.h - what 05_classify.c and 06_predict.c share: data, model and measure. */
#include <palimpsest.h>

/* Pixels x [B,64] of 0 .. 16 become scores [B,10]. */
static inline pal_tensor scores(const pal_predictor *model, pal_batch *batch, bool training)
{
    const pal_tensor x = pal_affine(pal_batch_tensor(batch, "x"), 1.0 / 16, 0);
    return pal_predictor_forward(model, x, (pal_run_opts){.training = training});
}

static inline void accuracy(void *user, pal_tape *tape, pal_batch *batch, double *value)
{
    (void)tape;
    *value = pal_accuracy(scores(user, batch, false), pal_batch_tensor(batch, "y"));
}

/* examples/data/digits.npz is the optical recognition of handwritten digits of the UCI repository
 * (E. Alpaydin, C. Kaynak): x u8 [1797,64] and y u8 [1797]. */
static inline pal_train_opts digits(const char *folder, pal_rng *rng)
{
    const pal_dataset_opts fields = {.field = {{.name = "x", .to = PAL_TO_F32}, {.name = "y"}}};
    const pal_batches_opts rows = {.batch = 32, .held_out = 0.2, .split_seed = 1, .prefetch = true};
    pal_train_opts o = {.params = pal_params_new(), .tape = pal_tape_new(), .folder = folder};
    pal_trunk_opts trunk = {.inputs = 1, .width = 48, .block.mlp_width = 96, .block.dropout = 0.1};
    pal_dataset *data;
    pal_error e;
    o.config = trunk.mixers = "2*(gdn2:num_heads=2:head_dim=16)";
    o.user = pal_predictor_new(o.params, "model", trunk, 10, (pal_task_head_opts){0}, rng);
    o.measure = accuracy, o.metric[0] = (pal_metric){"accuracy", .more_is_better = true};
    pal_must(pal_dataset_open(&data, "examples/data/digits.npz", fields, &e), &e);
    pal_dataset_split(data, rows, &o.batches, &o.held_out);
    return o;
}
