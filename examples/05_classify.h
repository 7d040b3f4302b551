/* 05_classify.h - the model, the data and the measure of 05_classify.c and 06_predict.c. */
#include <palimpsest.h>
#include <stdlib.h>

typedef struct model {
    pal_tensor in, bias; /* a pixel becomes a hidden state of 48 numbers */
    pal_trunk *trunk;
    pal_task_head head;
} model;

static inline model new_model(pal_params *p, pal_rng *rng)
{
    model m = {.in = pal_param(p, "in.weight", PAL_F32, PAL_SHAPE(48, 1))};
    pal_trunk_opts o = {.width = 48, .layers = 2, .mixers = "gdn2:num_heads=2:head_dim=16"};
    o.block.mlp_width = 96, o.block.dropout = 0.1;
    if (rng) pal_fill_normal(m.in, 0, 1, rng);
    m.bias = pal_bias_new(p, "in.bias", 48, PAL_F32);
    m.trunk = pal_trunk_new(p, "trunk", o, rng);
    m.head = pal_task_head_new(p, "head", 48, 10, (pal_task_head_opts){0}, PAL_F32, rng);
    return m;
}

/* x [B,64], 0 .. 16 -> logits [B,10] */
static inline pal_tensor forward(const model *m, pal_tensor x, bool training)
{
    const pal_run_opts run = {.training = training};
    x = pal_reshape(pal_affine(x, 1.0 / 16, 0), PAL_SHAPE(-1, 64, 1));
    x = pal_trunk_forward(m->trunk, pal_linear(x, m->in, m->bias), NULL, run);
    return pal_task_head_forward(&m->head, x, run);
}

/* The share of rows of a batch that are classified correctly. */
static inline void accuracy(void *user, pal_tape *tape, pal_batch *batch, double *value)
{
    const pal_tensor y = pal_argmax(forward(user, pal_batch_tensor(batch, "x"), false), -1, false);
    (void)tape;
    *value = pal_item(pal_sum(pal_eq(y, pal_batch_tensor(batch, "y")), PAL_ALL, false)) /
             (double)batch->counted;
}

static inline pal_dataset *open_digits(pal_batches_opts *rows)
{
    pal_dataset *data;
    pal_error e;
    const pal_dataset_opts o = {.field = {{.name = "x", .to = PAL_TO_F32}, {.name = "y"}}};
    pal_must(pal_dataset_open(&data, "examples/data/digits.npz", o, &e), &e);
    *rows = (pal_batches_opts){.batch = 32, .held_out = 0.2, .split_seed = 1, .prefetch = true};
    return data;
}
