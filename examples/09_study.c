/*
 * 09_study.c - looks at the gates of a language model while it learns to recall: mean, deviation
 * and size of the gradient of each gate and head, to log.csv and stats.h5. One layer may be
 * changed.
 *
 *     09_study [base | open:L (b is 1) | mean:L (b and w are means) | freeze:L [STEPS]]
 */
#include <math.h>
#include <palimpsest.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 3, H = 2, VOCAB = 32, T = 32, PAIRS = 4, B = 32, EVERY = 10, STATE = 3, STATS = 4 };
enum { ALL = LAYERS * STATS * 3 * H, LOOKS = 100 };
static const char *const stat[STATS] = {"b", "w", "g", "state"};
static const char *const of[] = {"mean", "dev", "grad"};
static const char *const gates[] = {"b_proj*", "w_proj*", "f_proj*", "A_log", "dt_bias"};

typedef struct study {
    const char *change;
    int64_t layer;
    pal_tensor seen[LAYERS][STATS];
} study;

static bool hook(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    study *s = user;
    const bool b = !strcmp(name, "b"), w = !strcmp(name, "w"), here = layer == s->layer;
    if (here && b && *s->change == 'o') *t = pal_affine(*t, 0, 1);
    if (here && (b || w) && *s->change == 'm')
        *t = pal_expand(pal_mean(*t, -1, true), pal_shape_of(*t));
    for (int i = 0; i < STATS; i++)
        if (!strcmp(name, stat[i])) s->seen[layer][i] = i == STATE ? *t : pal_want_grad(*t);
    return true;
}

/* The mean of a function of x [B,T,H,n], or of a state [B,H,K,V], over all axes but that of heads.
 */
static const float *by_head(pal_tensor x, int i)
{
    for (int axis = 3; axis >= 0; axis--)
        if (axis != (i == STATE ? 1 : 2)) x = pal_mean(x, axis, false);
    return pal_f32(x);
}

static void name_columns(char name[ALL][32], pal_field *field, char *columns)
{
    for (int i = 0; i < ALL; i++) {
        const int tensor = i / (3 * H), h = i % H;
        snprintf(name[i], 32, "%s_%d_%d_%s", stat[tensor % STATS], tensor / STATS, h,
                 of[i / H % 3]);
        strcat(strcat(columns, ","), field[1 + i].name = name[i]);
    }
}

static void look(const study *s, double *to)
{
    for (int at = 0; at < LAYERS * STATS; at++, to += 3 * H) {
        const int i = at % STATS;
        const pal_tensor x = s->seen[at / STATS][i];
        const float *mean = by_head(x, i), *square = by_head(pal_square(x), i);
        const float *grad = i == STATE ? NULL : by_head(pal_square(pal_grad(x)), i);
        for (int h = 0; h < H; h++) {
            to[h] = mean[h], to[2 * H + h] = grad ? sqrt(grad[h]) : 0;
            to[H + h] = sqrt(fmax(0, square[h] - mean[h] * mean[h]));
        }
    }
}

/* PAIRS keys with their values; then keys, whose values are the targets. */
static void rows(pal_rng *rng, int64_t *x, int64_t *y)
{
    for (int b = 0; b < B; b++, x += T, y += T) {
        int64_t key[VOCAB / 2];
        const pal_array a = pal_array_of(PAL_I64, PAL_SHAPE(VOCAB / 2), key);
        pal_rng_permutation(rng, &a);
        for (int t = 0; t < T; t++) {
            const int64_t i = t < 2 * PAIRS ? t / 2 : pal_rng_below(rng, PAIRS);
            const bool value = t < 2 * PAIRS && t % 2;
            x[t] = value ? VOCAB / 2 + pal_rng_below(rng, VOCAB / 2) : key[i];
            y[t] = t < 2 * PAIRS ? PAL_IGNORE : x[2 * i + 1];
        }
    }
}

static void save(const char *path, const pal_array *all, const pal_params *p)
{
    pal_error e;
    pal_h5 *file;
    pal_must(pal_h5_create(&file, path, &e), &e);
    pal_must(pal_h5_put(file, "/stats", all, &e), &e);
    pal_must(pal_h5_put_text(file, "/stats", "axes", "look, layer, tensor, kind, head", &e), &e);
    pal_must(pal_params_put(p, file, "/params", &e), &e);
    pal_must(pal_h5_commit(file, &e), &e);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "base", *colon = strchr(what, ':');
    const int steps = argc > 2 ? atoi(argv[2]) : 300, layer = colon ? atoi(colon + 1) : -1;
    static char text[PAL_PATH], folder[64], columns[32 * ALL] = "loss", name[ALL][32];
    static pal_field field[1 + ALL] = {{"loss", 0}};
    static double table[LOOKS][ALL];
    static int64_t x[B * T], y[B * T];
    static study s;
    pal_error e;
    pal_rng rng = pal_rng_new(1, 0), draw = pal_rng_new(2, 0);
    pal_params *p = pal_params_new();
    pal_lm_opts shape = {.vocab = VOCAB, .width = 48, .layers = LAYERS, .no_mlp = true};
    shape.mixers = "gdn2:num_heads=2:head_dim=16";
    pal_lm *lm = pal_lm_new(p, shape, &rng);
    s.change = what, s.layer = layer;
    for (int i = 0; i < 5 && *what == 'f'; i++) {
        snprintf(text, sizeof text, "model.layers.%d.attn.%s", layer, gates[i]);
        printf("froze %d of %s\n", pal_params_freeze(p, text, true), text);
    }
    snprintf(folder, sizeof folder, "build/study-%.*s%d", (int)strcspn(what, ":"), what, layer);
    pal_must(pal_run_make(folder, &e), &e);
    name_columns(name, field, columns);
    pal_journal *log;
    pal_must(pal_journal_open(&log, folder, columns, 0, &e), &e);
    pal_tape *tape = pal_tape_new();
    pal_optim *optim = pal_adamw_new(p, (pal_adamw_opts){.decay = 0.01});
    const pal_schedule lr = {PAL_COSINE, 6e-3, 6e-4, .warmup = steps / 15, .steps = steps};
    int looks = 0;
    for (int step = 1; step <= steps; step++) {
        rows(&draw, x, y);
        const pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(B, T), x),
                         out = pal_from(tape, PAL_I64, PAL_SHAPE(B, T), y);
        const pal_tensor loss = pal_lm_loss(lm, in, out, (pal_run_opts){.hook = hook, .user = &s});
        pal_backward(loss);
        if (step % EVERY == 0 && looks < LOOKS) {
            pal_set_grad(tape, false);
            look(&s, table[looks]);
            pal_set_grad(tape, true);
            field[0].value = pal_item(loss);
            for (int i = 0; i < ALL; i++) field[1 + i].value = table[looks][i];
            pal_must(pal_journal_row(log, step, 1 + ALL, field, &e), &e);
            looks++;
        }
        pal_clip_grad_norm(p, 1);
        pal_optim_step(optim, pal_schedule_lr(&lr, step - 1));
        pal_params_zero_grad(p);
        pal_tape_reset(tape);
    }
    pal_journal_close(log);
    snprintf(text, sizeof text, "%s/stats.h5", folder);
    const pal_array all = pal_array_of(PAL_F64, PAL_SHAPE(looks, LAYERS, STATS, 3, H), table);
    save(text, &all, p);
    printf("%s: loss %.4f\n", folder, field[0].value);
    const pal_plot_opts plot = {
        .title = what, .name = "b", .columns = "b_0_0_mean,b_1_0_mean,b_2_0_mean"};
    if (pal_plot(folder, plot, &e) != PAL_OK) fprintf(stderr, "%s\n", e.message);
    pal_tape_free(tape), pal_optim_free(optim), pal_params_free(p);
}
