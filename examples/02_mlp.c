/*
 * 02_mlp.c - a small network learns to tell two interleaved spirals apart.
 *
 * The program has all parts of training: parameters, a loss, backward, an optimiser and a reset.
 * Two hidden layers of width 64 classify at least 99% of the points correctly after 400 steps. If
 * fewer are correct, the program's status is 1.
 */
#include <palimpsest.h>
#include <math.h>

enum { N = 256, HIDDEN = 64, STEPS = 400 };

/* Point i is on spiral i % 2. The angle grows with the radius. The second spiral is the first one
 * rotated by half a turn. */
static void make_spirals(float point[N][2], int64_t label[N])
{
    for (int i = 0; i < N; i++) {
        double along = (i / 2 + 1) / (N / 2.0), angle = 2.5 * 3.14159265 * along;
        double sign = i % 2 ? -1 : 1;
        point[i][0] = (float)(sign * along * cos(angle));
        point[i][1] = (float)(sign * along * sin(angle));
        label[i] = i % 2;
    }
}

/* Uniform weights [in, out] with variance 2/in. With it the activations after a relu keep their
 * size from layer to layer. */
static pal_tensor weight(pal_params *params, const char *name, int64_t in, int64_t out,
                         pal_rng *rng)
{
    double bound = sqrt(6.0 / (double)in);
    return pal_fill_uniform(pal_param(params, name, PAL_F32, PAL_SHAPE(in, out)), -bound, bound,
                            rng);
}

static pal_tensor bias(pal_params *params, const char *name, int64_t n)
{
    return pal_no_decay(pal_param(params, name, PAL_F32, PAL_SHAPE(n)));
}

int main(void)
{
    static float point[N][2];
    static int64_t label[N];
    make_spirals(point, label);

    pal_rng rng = pal_rng_new(1, 0);
    pal_params *params = pal_params_new();
    pal_tensor w1 = weight(params, "w1", 2, HIDDEN, &rng), b1 = bias(params, "b1", HIDDEN);
    pal_tensor w2 = weight(params, "w2", HIDDEN, HIDDEN, &rng), b2 = bias(params, "b2", HIDDEN);
    pal_tensor w3 = weight(params, "w3", HIDDEN, 2, &rng), b3 = bias(params, "b3", 2);
    pal_params_print(params, stdout);

    pal_optim *adamw = pal_adamw_new(params, (pal_adamw_opts){.decay = 1e-3});
    pal_schedule schedule = {
        .kind = PAL_COSINE, .lr = 1e-2, .min_lr = 1e-4, .warmup = 10, .steps = STEPS};
    pal_tape *tape = pal_tape_new();
    double accuracy = 0;
    for (int step = 0; step < STEPS; step++) {
        pal_tensor x = pal_from(tape, PAL_F32, PAL_SHAPE(N, 2), point);
        pal_tensor target = pal_from(tape, PAL_I64, PAL_SHAPE(N), label);
        pal_tensor h = pal_relu(pal_add(pal_matmul(x, w1), b1)); /* [N, HIDDEN] */
        h = pal_relu(pal_add(pal_matmul(h, w2), b2));
        pal_tensor logits = pal_add(pal_matmul(h, w3), b3); /* [N, 2] */
        pal_tensor loss = pal_cross_entropy(logits, target, (pal_cross_entropy_opts){0});
        pal_backward(loss);
        pal_clip_grad_norm(params, 1);
        pal_optim_step(adamw, pal_schedule_lr(&schedule, step));
        pal_params_zero_grad(params);

        pal_tensor right = pal_eq(pal_argmax(logits, -1, false), target);
        accuracy = pal_item(pal_mean(pal_cast(right, PAL_F32), PAL_ALL, false));
        if (step % 50 == 0 || step == STEPS - 1)
            printf("step %3d  loss %.4f  right %5.1f%%\n", step, pal_item(loss), 100 * accuracy);
        pal_tape_reset(tape); /* frees every tensor of the step; the parameters stay */
    }
    pal_tape_free(tape);
    pal_optim_free(adamw);
    pal_params_free(params);
    return accuracy >= 0.99 ? 0 : 1;
}
