/* 05_classify.h - the model and the data of 05_classify.c and 06_predict.c. */
#include <palimpsest.h>
#include <stdlib.h>

typedef struct model {
    pal_tensor in, bias; /* a pixel becomes a hidden state */
    pal_trunk *trunk;
    pal_task_head head;
} model;

static inline void must(pal_status s, const pal_error *e)
{
    if (s != PAL_OK) pal_raise(e);
}

static inline model new_model(pal_params *p, pal_rng *rng)
{
    const int64_t d = 48;
    model m;
    m.in = pal_fill_normal(pal_param(p, "in.weight", PAL_F32, PAL_SHAPE(d, 1)), 0, 1, rng);
    m.bias = pal_bias_new(p, "in.bias", d, PAL_F32);
    m.trunk = pal_trunk_new(p, "trunk",
                            (pal_trunk_opts){.width = d,
                                             .layers = 2,
                                             .mixers = "gdn2:num_heads=2:head_dim=16",
                                             .block = {.mlp_width = 2 * d, .dropout = 0.1}},
                            rng);
    m.head = pal_task_head_new(p, "head", d, 10, (pal_task_head_opts){0}, PAL_F32, rng);
    return m;
}

/* x [B,64], 0 .. 16 -> logits [B,10] */
static inline pal_tensor forward(const model *m, pal_tensor x, bool training)
{
    const pal_run_opts run = {.training = training};
    x = pal_reshape(pal_affine(x, 1.0 / 16, 0), PAL_SHAPE(pal_dim(x, 0), 64, 1));
    x = pal_trunk_forward(m->trunk, pal_linear(x, m->in, m->bias), NULL, run);
    return pal_task_head_forward(&m->head, x, run);
}

static inline pal_dataset *open_digits(void)
{
    pal_dataset *data;
    pal_error e;
    must(pal_dataset_open(&data, "examples/data/digits.npz",
                          (pal_dataset_opts){.field = {{"x", .to = PAL_TO_F32}, {"y"}}}, &e),
         &e);
    return data;
}

static inline pal_batches *open_held_out(pal_dataset *data)
{
    return pal_dataset_batches(
        data,
        (pal_batches_opts){.batch = 64, .held_out = 0.2, .split_seed = 1, .validation = true});
}

/* The share of the held-out rows that the model classifies correctly. */
static inline double accuracy(const model *m, pal_batches *held_out, pal_tape *tape)
{
    double right = 0;
    pal_error e;
    pal_batch b;
    const bool grad = pal_set_grad(tape, false);
    must(pal_batches_seek(held_out, (pal_position){0}, &e), &e);
    for (;;) {
        must(pal_batches_next(held_out, tape, &b, &e), &e);
        if (b.end) break;
        const pal_tensor y = pal_argmax(forward(m, pal_batch_tensor(&b, "x"), false), -1, false);
        right += pal_item(pal_sum(pal_eq(y, pal_batch_tensor(&b, "y")), PAL_ALL, false));
        pal_tape_reset(tape);
    }
    pal_set_grad(tape, grad);
    return right / (double)pal_batches_tokens(held_out);
}
