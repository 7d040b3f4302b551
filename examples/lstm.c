/*
 * lstm.c - an LSTM cell made of operations, trained to remember: which of three symbols came first
 * in a sequence of noise?
 *
 * The cell (Hochreiter and Schmidhuber, 1997; with the forget gate of Gers et al., 2000):
 *
 *     i, f, g, o = W x + U h + b              one linear layer of [x, h]
 *     c <- sigmoid(f) c + sigmoid(i) tanh(g)
 *     h <- sigmoid(o) tanh(c)
 *
 * Any recurrent cell can be written like this, at the cost of one operation a line and step; the
 * tape does the rest. Layers for long sequences are fused instead (layers/mixers.h).
 */
#include <palimpsest.h>

enum { BATCH = 32, STEPS = 12, SYMBOLS = 3, HIDDEN = 24, UPDATES = 120, TRIALS = 512 };

typedef struct cell {
    pal_tensor weight, bias; /* [4 HIDDEN, SYMBOLS + HIDDEN], [4 HIDDEN] */
} cell;

/* One step: x [B, SYMBOLS]; h and c [B, HIDDEN] are replaced. */
static void lstm_step(const cell *l, pal_tensor x, pal_tensor *h, pal_tensor *c)
{
    pal_tensor gate[4];
    pal_tensor all = pal_linear(pal_concat(2, (pal_tensor[]){x, *h}, 1), l->weight, l->bias);
    pal_split(all, 1, 4, (int64_t[]){HIDDEN, HIDDEN, HIDDEN, HIDDEN}, gate);
    pal_tensor kept = pal_mul(pal_sigmoid(gate[1]), *c);
    *c = pal_add(kept, pal_mul(pal_sigmoid(gate[0]), pal_tanh(gate[2])));
    *h = pal_mul(pal_sigmoid(gate[3]), pal_tanh(*c));
}

/* Logits [B, SYMBOLS] after the sequences x [B, STEPS, SYMBOLS]. */
static pal_tensor run(pal_tape *tape, const cell *l, pal_tensor head, pal_tensor x)
{
    pal_shape shape = PAL_SHAPE(pal_dim(x, 0), HIDDEN);
    pal_tensor h = pal_zeros(tape, PAL_F32, shape), c = pal_zeros(tape, PAL_F32, shape);
    for (int t = 0; t < STEPS; t++) lstm_step(l, pal_select(x, 1, t), &h, &c);
    return pal_linear(h, head, PAL_NONE);
}

/* n sequences: random symbols. The first one of each is the target, [n]. */
static pal_tensor draw(pal_tape *tape, pal_rng *rng, int64_t n, pal_tensor *target)
{
    pal_tensor symbols = pal_zeros(tape, PAL_I64, PAL_SHAPE(n, STEPS));
    int64_t *s = pal_edit(symbols).data;
    for (int64_t i = 0; i < n * STEPS; i++) s[i] = pal_rng_below(rng, SYMBOLS);
    *target = pal_contiguous(pal_select(symbols, 1, 0));
    return pal_one_hot(symbols, SYMBOLS, PAL_F32);
}

int main(void)
{
    pal_tape *tape = pal_tape_new();
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(1, 0), held_out = pal_rng_new(2, 0);
    cell l = {pal_linear_weight(params, "lstm.weight", 4 * HIDDEN, SYMBOLS + HIDDEN, PAL_F32, &rng),
              pal_bias_new(params, "lstm.bias", 4 * HIDDEN, PAL_F32)};
    pal_tensor head = pal_linear_weight(params, "head.weight", SYMBOLS, HIDDEN, PAL_F32, &rng);
    float *bias = pal_edit(l.bias).data;
    for (int j = HIDDEN; j < 2 * HIDDEN; j++) bias[j] = 3; /* forget gates begin open: 0.95 */
    pal_optim *optim = pal_adamw_new(params, (pal_adamw_opts){0});
    pal_tensor target;

    for (int step = 1; step <= UPDATES; step++) {
        pal_tensor x = draw(tape, &rng, BATCH, &target);
        pal_tensor loss =
            pal_cross_entropy(run(tape, &l, head, x), target, (pal_cross_entropy_opts){0});
        if (step % 30 == 0) printf("step %3d  loss %.3f\n", step, pal_item(loss));
        pal_backward(loss);
        pal_clip_grad_norm(params, 1);
        pal_optim_step(optim, 0.01);
        pal_params_zero_grad(params);
        pal_tape_reset(tape);
    }

    pal_tensor x = draw(tape, &held_out, TRIALS, &target);
    pal_tensor answer = pal_argmax(run(tape, &l, head, x), 1, false);
    double right = pal_item(pal_mean(pal_cast(pal_eq(answer, target), PAL_F32), PAL_ALL, false));
    printf("held out: %.1f %% of %d right\n", 100 * right, TRIALS);
    pal_optim_free(optim);
    pal_params_free(params);
    pal_tape_free(tape);
    return right > 0.95 ? 0 : 1;
}
