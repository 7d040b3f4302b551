/* 09_study [base | open:L (b is 1) | mean:L (b and w are means) | freeze:L [STEPS]] - looks at the
 * gates of a language model while it learns to recall: mean, deviation and gradient of each, head
 * by head, and norms of each layer, to log.csv and stats.h5. One layer L may be changed. */
#include <palimpsest.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 3, VOCAB = 32, T = 32, PAIRS = 4, B = 32, EVERY = 10 };
typedef struct study {
    char change; /* the first letter of what is changed */
    int64_t layer;
    pal_probe *probe; /* NULL: nobody looks at this step */
} study;

static bool hook(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    const study *s = user;
    const bool at = layer == s->layer, b = !strcmp(name, "b"), w = !strcmp(name, "w");
    if (at && b && s->change == 'o') *t = pal_affine(*t, 0, 1);
    if (at && (b || w) && s->change == 'm')
        *t = pal_expand(pal_mean(*t, -1, true), pal_shape_of(*t));
    return s->probe ? pal_probe_hook(s->probe, layer, name, t) : true;
}

/* The norms of a layer's parameters and of their gradients. */
static void note_norms(pal_probe *probe, pal_params *p, int layer)
{
    char name[32];
    double x2 = 0, g2 = 0;
    const int n = snprintf(name, sizeof name, "model.layers.%d.", layer);
    for (int i = 0; i < pal_params_count(p); i++) {
        const pal_array a = pal_params_array(p, i);
        const float *x = a.data, *g = pal_f32(pal_grad(pal_params_at(p, i)));
        if (strncmp(pal_params_name(p, i), name, (size_t)n)) continue;
        for (int64_t j = 0; j < pal_array_count(&a); j++) x2 += x[j] * x[j], g2 += g[j] * g[j];
    }
    pal_probe_note(probe, strcat(name, "norm"), sqrt(x2));
    pal_probe_note(probe, strcpy(name + n, "grad_norm") - n, sqrt(g2));
}

/* PAIRS keys with their values; then keys, whose values are the targets. */
static void rows(pal_rng *rng, int64_t *x, int64_t *y)
{
    int64_t key[VOCAB / 2];
    const pal_array a = pal_array_of(PAL_I64, PAL_SHAPE(VOCAB / 2), key);
    for (int b = 0; b < B; b++, x += T, y += T) {
        pal_rng_permutation(rng, &a);
        for (int t = 0; t < T; t++) {
            const int64_t i = t < 2 * PAIRS ? t / 2 : pal_rng_below(rng, PAIRS);
            x[t] = t < 2 * PAIRS && t % 2 ? VOCAB / 2 + pal_rng_below(rng, VOCAB / 2) : key[i];
            y[t] = t < 2 * PAIRS ? PAL_IGNORE : x[2 * i + 1];
        }
    }
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "base", *colon = strchr(what, ':');
    const int steps = argc > 2 ? atoi(argv[2]) : 300, L = colon ? atoi(colon + 1) : -1;
    char folder[64], gates[64];
    study s = {.change = *what, .layer = L};
    pal_error e;
    pal_rng rng = pal_rng_new(1, 0), draw = pal_rng_new(2, 0);
    pal_params *p = pal_params_new();
    pal_lm_opts shape = {.vocab = VOCAB, .width = 48, .layers = LAYERS, .no_mlp = true};
    shape.mixers = "gdn2:num_heads=2:head_dim=16";
    pal_lm *lm = pal_lm_new(p, shape, &rng);
    snprintf(gates, sizeof gates, "model.layers.%d.attn.[bwfAd][_t]*", L); /* b_proj ... dt_bias */
    if (*what == 'f') printf("froze %d of %s\n", pal_params_freeze(p, gates, true), gates);
    snprintf(folder, sizeof folder, "build/study-%.*s%d", (int)strcspn(what, ":"), what, L);
    pal_tape *tape = pal_tape_new();
    pal_optim *adamw = pal_adamw_new(p, (pal_adamw_opts){.decay = 0.01});
    const pal_schedule lr = {PAL_COSINE, 6e-3, 6e-4, .warmup = steps / 15, .steps = steps};
    pal_probe *probe = pal_probe_new("b,w,g,state");
    pal_journal *log = NULL;
    for (int step = 1; step <= steps; step++, pal_tape_reset(tape)) {
        const pal_tensor x = pal_zeros(tape, PAL_I64, PAL_SHAPE(B, T)), y = pal_affine(x, 1, 0);
        rows(&draw, pal_edit(x).data, pal_edit(y).data);
        s.probe = step % EVERY ? NULL : probe;
        const pal_tensor loss = pal_lm_loss(lm, x, y, (pal_run_opts){.hook = hook, .user = &s});
        pal_backward(loss);
        if (s.probe) {
            const pal_field *f;
            pal_probe_note(probe, "loss", pal_item(loss));
            for (int l = 0; l < LAYERS; l++) note_norms(probe, p, l);
            const int n = pal_probe_fields(probe, &f);
            for (int i = 0; i < n && step == steps; i++) printf("%s %g\n", f[i].name, f[i].value);
            pal_must(pal_journal_add(&log, folder, step, n, f, &e), &e);
        }
        pal_optim_update(adamw, 1, pal_schedule_lr(&lr, step - 1));
    }
    pal_must(pal_journal_save(folder, "stats.h5", p, &e), &e);
    const pal_plot_opts plot = {.name = "b", .columns = "b.0.0.mean,b.1.0.mean,b.2.0.mean"};
    if (pal_plot(folder, plot, &e) != PAL_OK) fprintf(stderr, "%s\n", e.message);
    pal_journal_close(log), pal_probe_free(probe), pal_tape_free(tape);
    pal_optim_free(adamw), pal_params_free(p);
}
