/*
 * step.c - a whole training step of a language model: tokens a second, the share of the machine's
 * matrix-product rate, and where the time goes by operation.
 *
 *     build/bench/step [--mixers LIST] [--width N] [--layers N] [--batch N] [--len N]
 *                      [--threads LIST] [--runs N] [--precision f32|bf16] [--brief] [--csv FILE]
 *
 * A step is what examples/train_lm does: tokens in, loss, backward, clipping, AdamW, zeroed
 * gradients. Its useful flops are counted as
 *
 *     6 P tokens + sum over layers of tokens (21 K V HV   linear mixers: 7 K V forward, twice back
 *                                             12 H D n    attention, n keys seen on average
 *                 (12 R K V + R^2 (C + 1) (4 K + 3 V)) HV   Mamba-3 of R rows, chunks of C tokens)
 *
 * with P the parameters without the embedding table, whose rows are looked up. share is of sgemm
 * (2048^3) by the library that multiplies f32 on as many threads, run in turn with the steps;
 * median of the pairs. With --precision bf16 the products of the step are in bf16, and the rate of
 * such a product of 2048^3 is printed beside that of sgemm, and the share of it. First the loss is
 * compared with that of the composed rules. The default set is width 256 with 4 heads of 64, batch
 * 8 x 256, and width 512 with 4 heads of 128, batch 4 x 512, six layers each, SwiGLU 8/3, bytes.
 * Lines that start with # say what it ran on and, after each row, the profile of one more run
 * (percent of a step, and ms forward and backward) and what a step of pal_train costs beyond loss
 * and backward: batches of a store, read ahead by a thread, clipping, AdamW and both logs. --brief
 * leaves out the comparison and these lines.
 */
#include "bench/measure/training.h"
#include "bench/measure/measure.h"
#include "examples/flags/flags.h"
#include "optim/train.h"
#include "tensor/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_THREADS = 8, STORE = 1 << 20 /* tokens */ };

static const setup sets[] = {{"gdn2:num_heads=4:head_dim=64", 256, 6, 8, 256},
                             {"gdn2:num_heads=4:head_dim=128", 512, 6, 4, 512}};

typedef struct options {
    setup given; /* zero: the set's */
    struct {
        int64_t count, of[MOST_THREADS];
    } threads;
    int runs;
    bool bf16, brief;
    const char *csv;
} options;

/* ---- The command line ---- */

enum { MOST = 1 << 24 };
static const pal_key rows[] = {
    {"mixers", PAL_KEY_STRING, PAL_AT(options, given.mixers), .letter = 'm', .argument = "LIST",
     .help = "layers, as in examples/train_lm (gdn2:num_heads=4:head_dim=64)"},
    {"width", PAL_KEY_WHOLE, PAL_AT(options, given.width), .low = 1, .high = MOST, .letter = 'd',
     .help = "model width (256)"},
    {"layers", PAL_KEY_WHOLE, PAL_AT(options, given.layers), .low = 1, .high = MOST, .letter = 'l',
     .help = "blocks (6)"},
    {"batch", PAL_KEY_WHOLE, PAL_AT(options, given.batch), .low = 1, .high = MOST, .letter = 'b',
     .help = "sequences (8)"},
    {"len", PAL_KEY_WHOLE, PAL_AT(options, given.len), .low = 1, .high = MOST, .letter = 'n',
     .help = "tokens of a sequence (256)"},
    {"threads", PAL_KEY_WHOLES, PAL_AT(options, threads), .low = 1, .high = MOST, .required = true,
     .letter = 't', .argument = "LIST", .help = "OpenMP threads, separated by commas (1,2)"},
    {"runs", PAL_KEY_WHOLE, PAL_AT(options, runs), .low = 1, .high = MAX_RUNS, .letter = 'r',
     .help = "pairs of runs (11)"},
    {"precision", PAL_KEY_CHOICE, PAL_AT(options, bf16), .words = "f32|bf16", .letter = 'p',
     .help = "of the products (f32)"},
    {"brief", PAL_KEY_FLAG, PAL_AT(options, brief),
     .help = "only the rows: no comparison with the composed rules, no profile"},
    {"csv", PAL_KEY_STRING, PAL_AT(options, csv), .letter = 'c', .argument = "FILE",
     .help = "also write the table to FILE"},
};
static const pal_keys keys = PAL_KEYS(rows);
static const flags_section section = {NULL, &keys, 0};

/* ---- What a step counts ---- */

static int64_t rows_of(const training *t, int64_t layer, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "model.layers.%lld.attn.%s", (long long)layer, name);
    pal_tensor p = pal_params_find(t->params, full);
    return pal_is_none(p) ? 0 : pal_dim(p, 0);
}

/* As bench/rules counts them, a token and head, of Mamba-3: forward and backward. */
static double mamba3_flops(double K, double V, double R)
{
    const double C = fmin(16, 256 / R); /* tokens of a chunk by default (rules.h) */
    return 12 * R * K * V + R * R * (C + 1) * (4 * K + 3 * V);
}

/* Flops a token of the layer's rule, forward and backward. */
static double rule_flops(training *t, int64_t layer)
{
    const setup *s = &t->s;
    pal_mixer_state state = {.seen = 0};
    bool before = pal_set_grad(t->tape, false);
    pal_tensor x = pal_zeros(t->tape, PAL_F32, PAL_SHAPE(1, s->len, s->width));
    pal_mixer_forward(pal_lm_mixer(t->lm, layer), x, &state, (pal_run_opts){0});
    double flops = 0;
    const pal_tensor S = pal_mixer_state_get(&state, "state"), k = pal_mixer_state_get(&state, "k");
    if (!pal_is_none(pal_mixer_state_get(&state, "th"))) { /* k is [1,HV,R,K] */
        flops = (double)pal_dim(S, 1) *
                mamba3_flops((double)pal_dim(S, 2), (double)pal_dim(S, 3), (double)pal_dim(k, 2));
    } else if (!pal_is_none(S)) {
        flops = 21.0 * (double)pal_count(S);
    } else if (!pal_is_none(k)) { /* a window leaves window - 1 keys in the state */
        double kept = (double)pal_dim(k, 1), n = (double)s->len;
        double window = kept < n ? kept + 1 : n;
        double seen = (window * (window + 1) / 2 + (n - window) * window) / n;
        flops = 12.0 * (double)rows_of(t, layer, "q_proj.weight") * seen;
    }
    pal_set_grad(t->tape, before);
    pal_tape_reset(t->tape);
    return flops;
}

static double step_flops(training *t)
{
    const double tokens = (double)(t->s.batch * t->s.len);
    double P = (double)pal_params_size(t->params) - 256.0 * (double)t->s.width, rules = 0;
    for (int64_t i = 0; i < t->s.layers; i++) rules += rule_flops(t, i);
    return tokens * (6 * P + rules);
}

/* ---- Running ---- */

/* The loss by fused rules is that by composed ones. */
static bool validate(setup s, FILE *csv)
{
    s.batch = 1, s.len = s.len < 40 ? s.len : 40;
    training t = training_new(s);
    double got = pal_item(training_loss(&t, PAL_RULE_AUTO));
    double want = pal_item(training_loss(&t, PAL_RULE_COMPOSED));
    bool good = fabs(got - want) <= 1e-5 * want;
    note(csv, "valid: loss %.7f, composed %.7f%s", got, want, good ? "" : ": NOT THE SAME");
    training_free(&t);
    return good;
}

static int slowest_first(const void *a, const void *b)
{
    const pal_profile_line *x = a, *y = b;
    double d = y->forward + y->backward - x->forward - x->backward;
    return (d > 0) - (d < 0);
}

static void print_profile(training *t, FILE *csv)
{
    const pal_profile_line *lines;
    pal_tape_profile(t->tape, true);
    double all = training_step(t), rest = all;
    pal_tape_profile(t->tape, false);
    int n = pal_tape_profile_lines(t->tape, &lines);
    pal_profile_line *sorted = malloc((size_t)(n + 1) * sizeof *sorted);
    memcpy(sorted, lines, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, slowest_first);
    for (int i = 0; i < n; i++) {
        const pal_profile_line *l = &sorted[i];
        double time = l->forward + l->backward;
        rest -= time;
        if (time < 0.003 * all) continue;
        note(csv, "profile: %-22s %5.1f%%  %4lld calls, forward %8.3f ms, backward %8.3f ms",
             l->name, 100 * time / all, (long long)l->calls, 1e3 * l->forward, 1e3 * l->backward);
    }
    note(csv, "profile: %-22s %5.1f%%  optimiser, clipping, recording", "the rest",
         100 * rest / all);
    free(sorted);
}

/* ---- What training adds to the model's arithmetic ---- */

typedef struct whole {
    training *t;
    pal_train_opts opts;
    pal_journal *log;
    int64_t made; /* steps */
} whole;

static double arithmetic(void *context)
{
    training *t = context;
    double start = seconds();
    bool good = pal_backward(training_loss(t, PAL_RULE_AUTO)) == PAL_OK;
    pal_tape_reset(t->tape);
    return good ? seconds() - start : -1;
}

static pal_tensor batch_loss(void *user, pal_tape *tape, int64_t number, pal_batch *batch)
{
    (void)tape, (void)number;
    return pal_lm_loss(((training *)user)->lm, batch->tokens, batch->targets, (pal_run_opts){0});
}

static double whole_step(void *context)
{
    whole *w = context;
    pal_step p;
    double start = seconds();
    bool good = pal_train_step(&w->opts, w->made++, &p, NULL) == PAL_OK;
    const pal_field row[] = {{"loss", p.loss}, {"lr", p.lr}, {"grad_norm", p.norm}};
    good = pal_journal_row(w->log, w->made, 3, row, NULL) == PAL_OK && good;
    return good ? seconds() - start : -1;
}

/* Runs of whole_step and arithmetic in turn, with store and log in a folder. */
static bool compare(training *t, const char *folder, pal_tokens *store, int runs, pairs *p)
{
    whole w = {.t = t,
               .opts = {.params = t->params,
                        .optim = t->adamw,
                        .tape = t->tape,
                        .schedule = {.lr = 1e-4},
                        .clip = 1,
                        .loss = batch_loss,
                        .user = t}};
    w.opts.batches = pal_batches_new(
        store, (pal_batches_opts){.batch = t->s.batch, .len = t->s.len, .prefetch = true});
    bool good = w.opts.batches &&
                pal_journal_open(&w.log, folder, "loss,lr,grad_norm", 0, NULL) == PAL_OK &&
                measure_pairs(whole_step, &w, arithmetic, t, runs, p);
    pal_journal_close(w.log);
    pal_batches_free(w.opts.batches);
    return good;
}

static bool print_overhead(training *t, int runs, FILE *csv)
{
    char folder[] = "/tmp/pal-step-XXXXXX", path[64];
    static const char *const files[] = {"data.h5", "log.csv", "log.jsonl"};
    pal_rng rng = pal_rng_new(2, 0);
    pal_tokens *store = NULL;
    pairs p = {.ratio = 0};
    unsigned char *text = malloc(STORE);
    bool good = text && mkdtemp(folder);
    for (int64_t i = 0; good && i < STORE; i++) text[i] = (unsigned char)(256 * pal_rng_next(&rng));
    snprintf(path, sizeof path, "%s/%s", folder, files[0]);
    good = good &&
           pal_tokens_write(path, &(pal_tokens_source){.tokens = text, .count = STORE}, NULL) ==
               PAL_OK &&
           pal_tokens_open(&store, path, NULL) == PAL_OK && compare(t, folder, store, runs, &p);
    if (good)
        note(csv, "overhead: %.1f%% of a step of %.2f ms is data, clipping, optimiser and logs",
             100 * (1 - p.ratio), 1e3 * p.seconds.median);
    pal_tokens_close(store);
    free(text);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        remove(path);
    }
    rmdir(folder);
    return good;
}

/* ---- A set ---- */

/* flops are those of the step. */
static void print_row(const options *o, const training *t, int threads, double flops,
                      const pairs *p, double bf16_rate, FILE *csv)
{
    const setup *s = &t->s;
    const double ms = 1e3 * p->seconds.median,
                 rate = (double)(s->batch * s->len) / p->seconds.median;
    const double gflops = 1e-9 * flops / p->seconds.median;
    const double share = flops / SGEMM_FLOPS * p->ratio, of_bf16 = o->bf16 ? gflops / bf16_rate : 0;
    char text[16];
    const char *precision = o->bf16 ? "bf16" : "f32";
    const long long P = pal_params_size(t->params);
    printf("%-32s %4s %3d %5lld %6lld %5lld %5lld %10lld %9.2f %9.2f %9.2f %9.0f %8.2f %6.3f %6s\n",
           s->mixers, precision, threads, (long long)s->width, (long long)s->layers,
           (long long)s->batch, (long long)s->len, P, ms, 1e3 * p->seconds.low,
           1e3 * p->seconds.high, rate, gflops, share, share_text(text, of_bf16, true));
    if (csv)
        fprintf(csv, "\"%s\",%s,%d,%lld,%lld,%lld,%lld,%lld,%.6g,%.6g,%.6g,%.4g,%s\n", s->mixers,
                precision, threads, (long long)s->width, (long long)s->layers, (long long)s->batch,
                (long long)s->len, P, ms, rate, gflops, share, share_text(text, of_bf16, false));
}

static bool run_set(const options *o, setup s, sgemm *gemm, FILE *csv)
{
    if (!o->brief && !validate(s, csv)) return false;
    training t = training_new(s);
    const double flops = step_flops(&t);
    bool good = true;
    if (o->bf16) pal_tape_precision(t.tape, PAL_BF16);
    for (int i = 0; i < o->threads.count && good; i++) {
        pairs p;
        pal_set_threads((int)o->threads.of[i]);
        gemm->threads = (int)o->threads.of[i];
        good = measure_pairs(training_step, &t, sgemm_run, gemm, o->runs, &p);
        if (!good) break;
        const double bf16 = o->bf16 ? note_bf16(csv, gemm->threads, o->runs) : 0;
        print_row(o, &t, gemm->threads, flops, &p, 1e-9 * bf16, csv);
        if (o->brief) continue;
        print_profile(&t, csv);
        good = print_overhead(&t, o->runs, csv);
    }
    training_free(&t);
    return good;
}

/* The set with what was given in its place. */
static setup chosen(const setup *base, const setup *given)
{
    return (setup){given->mixers ? given->mixers : base->mixers,
                   given->width ? given->width : base->width,
                   given->layers ? given->layers : base->layers,
                   given->batch ? given->batch : base->batch, given->len ? given->len : base->len};
}

int main(int argc, char **argv)
{
    options o = {.runs = 11};
    flags f;
    flags_begin(&f, &section, 1, &o);
    f.argp.doc = "Times a whole training step.";
    flags_parse(&f.argp, argc, argv, &f);
    const setup *g = &o.given;
    const bool any = g->mixers || g->width || g->layers || g->batch || g->len;
    if (!o.threads.count) o.threads.count = 2, o.threads.of[0] = 1, o.threads.of[1] = 2;
    FILE *csv = o.csv ? fopen(o.csv, "w") : NULL;
    if (o.csv && !csv) {
        perror(o.csv);
        return EXIT_FAILURE;
    }
    pal_tape *squares = pal_tape_new();
    sgemm gemm = sgemm_new(squares);
    pal_set_threads((int)o.threads.of[o.threads.count - 1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    note_machine(csv);
    note_products(csv, o.bf16);
    for (int i = 0; i < o.threads.count; i++) {
        pal_set_threads((int)o.threads.of[i]);
        gemm.threads = (int)o.threads.of[i];
        note_sgemm(csv, &gemm, o.runs);
    }
    printf("%-32s %4s %3s %5s %6s %5s %5s %10s %9s %9s %9s %9s %8s %6s %6s\n", "mixers", "prec",
           "thr", "width", "layers", "batch", "len", "parameters", "ms", "quartile", "quartile",
           "tokens/s", "GFLOP/s", "share", "bf16");
    if (csv)
        fprintf(csv, "mixers,precision,threads,width,layers,batch,len,parameters,ms,"
                     "tokens_per_second,gflops,share,share_of_bf16\n");
    bool good = true;
    for (int i = 0; i < (any ? 1 : 2); i++)
        good = run_set(&o, chosen(&sets[i], &o.given), &gemm, csv) && good;
    pal_tape_free(squares);
    if (csv && fclose(csv)) {
        perror(o.csv);
        good = false;
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
