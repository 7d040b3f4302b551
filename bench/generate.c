/*
 * generate.c - what a released model costs to run: the time to load it, its memory, how fast a
 * prompt is read and how fast tokens are written, each beside what the machine can do at most.
 *
 *     build/bench/generate [--folder DIR] [--precision f32|bf16] [--prompt N] [--tokens N]
 *                          [--threads N] [--runs N] [--csv FILE]
 *
 * Without --folder it makes a model of Qwen3.5-0.8B's shape of random numbers in bf16 (1.5 GB), in
 * a folder that it removes again; --layers, --width and --vocab make it smaller. What it prints:
 *
 *     load       seconds from the call of pal_lm_open to the model, with the file in memory
 *     memory     RssAnon of /proc/self/status, the largest that was seen, beside 4 bytes for each
 *                parameter, or 2 with --precision bf16
 *     prefill    a prompt of N tokens: its useful flops, as bench/step counts the forward pass (the
 *                head for the last token alone), as a share of those that sgemm (2048^3) makes in
 *                that time; with --precision bf16 also of a product of 2048^3 in bf16
 *     decoding   one token after the other: the bytes of all weights, as a share of those that the
 *                same threads read from the memory of the weights in that time
 *
 * With --precision bf16 the weights are stored in bf16, as by --dtype bf16 of the programs: then
 * products of many tokens are in bf16.
 *
 * Runs and references take turns (bench/measure); medians of the pairs. The aims are 5 s, 1.2, 0.6
 * and 0.8. --csv FILE gets all of it as one row.
 */
#include "bench/generate/folder.h"
#include "bench/measure/measure.h"
#include "examples/flags/flags.h"
#include "layers/models/trunk.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 1 << 24, PIECE = 256 };

typedef struct options {
    const char *folder, *csv;
    bool bf16;
    int64_t prompt, tokens, threads, runs, layers, width, vocab;
} options;

/* What is printed; shares of sgemm, of a product in bf16, of memory's speed, of the parameters. */
typedef struct result {
    double load, prefill, gflops, of_sgemm, of_bf16, decoding, weights, of_reading, of_parameters;
} result;

typedef struct bench {
    options o;
    pal_lm_file file;
    pal_tape *tape;
    pal_lm_state *state;
    int64_t *text; /* of the prompt */
    double most;   /* RssAnon so far, in bytes */
    double other;  /* of it the matrices of the products */
    FILE *csv;     /* NULL: none */
    result is;
} bench;

static const pal_key rows[] = {
    {"folder", PAL_KEY_STRING, PAL_AT(options, folder), .required = true, .argument = "DIR",
     .help = "of a released model (one of random numbers is made)"},
    {"precision", PAL_KEY_CHOICE, PAL_AT(options, bf16), .words = "f32|bf16",
     .help = "of weights in memory, and of products of many tokens (f32)"},
    {"prompt", PAL_KEY_WHOLE, PAL_AT(options, prompt), .low = 1, .high = MOST, .letter = 'p',
     .help = "tokens that are read (512)"},
    {"tokens", PAL_KEY_WHOLE, PAL_AT(options, tokens), .low = 1, .high = MOST, .letter = 'n',
     .help = "tokens that are written in a run (4)"},
    {"threads", PAL_KEY_WHOLE, PAL_AT(options, threads), .high = 4096, .letter = 't',
     .help = "0: as many as OpenMP gives (0)"},
    {"runs", PAL_KEY_WHOLE, PAL_AT(options, runs), .low = 1, .high = MAX_RUNS, .letter = 'r',
     .help = "pairs of runs (7)"},
    {"layers", PAL_KEY_WHOLE, PAL_AT(options, layers), .low = 1, .high = 4096, .letter = 'l',
     .help = "of the model that is made (24)"},
    {"width", PAL_KEY_WHOLE, PAL_AT(options, width), .low = 1, .high = MOST, .letter = 'd',
     .help = "of the model that is made (1024)"},
    {"vocab", PAL_KEY_WHOLE, PAL_AT(options, vocab), .low = 1, .high = MOST, .letter = 'v',
     .help = "tokens that the model that is made knows (248320)"},
    {"csv", PAL_KEY_STRING, PAL_AT(options, csv), .required = true, .letter = 'c',
     .argument = "FILE", .help = "also write the numbers to FILE"},
};
static const pal_keys keys = PAL_KEYS(rows);
static const flags_section section = {NULL, &keys, 0};

/* ---- Memory ---- */

/* RssAnon in bytes; 0: the system does not say it. */
static double anonymous(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    long long kB = 0;
    for (char line[256]; file && fgets(line, sizeof line, file);)
        if (strncmp(line, "RssAnon:", 8) == 0) kB = strtoll(line + 8, NULL, 10);
    if (file) fclose(file);
    return 1024.0 * (double)kB;
}

static void look(bench *b)
{
    const double now = anonymous() - b->other;
    if (now > b->most) b->most = now;
}

/* While a file is read. */
static void look_on(void *user, int64_t done, int64_t all)
{
    (void)done, (void)all;
    look(user);
}

/* ---- What is timed ---- */

/* Bytes of all weights. */
static int64_t reads(const bench *b)
{
    int64_t bytes = 0;
    for (int i = 0; i < pal_params_count(b->file.params); i++) {
        const pal_array p = pal_params_array(b->file.params, i);
        bytes += pal_array_count(&p) * (int64_t)pal_dtype_size(p.dtype);
    }
    return bytes;
}

/* A sequence from its start: the prompt in pieces as large as those of examples/generate. */
static double prefill(void *context)
{
    bench *b = context;
    pal_lm_state_free(b->state);
    b->state = pal_lm_state_new(b->file.lm);
    const double start = seconds();
    bool good = true;
    for (int64_t at = 0, n; at < b->o.prompt && good; at += n) {
        n = b->o.prompt - at < PIECE ? b->o.prompt - at : PIECE;
        const pal_tensor in = pal_from(b->tape, PAL_I64, PAL_SHAPE(1, n), b->text + at);
        const pal_tensor logits = pal_lm_step(b->file.lm, b->state, in, (pal_run_opts){0});
        if (at + n == b->o.prompt) good = pal_sample(logits, (pal_sample_opts){0}, NULL) >= 0;
        look(b);
        pal_tape_reset(b->tape);
    }
    return good ? seconds() - start : -1;
}

/* Greedy tokens after what the state has. */
static double decode(void *context)
{
    bench *b = context;
    int64_t token = b->text[0];
    const double start = seconds();
    for (int64_t i = 0; i < b->o.tokens && token >= 0; i++) {
        const pal_tensor in = pal_from(b->tape, PAL_I64, PAL_SHAPE(1, 1), &token);
        const pal_tensor logits = pal_lm_step(b->file.lm, b->state, in, (pal_run_opts){0});
        token = pal_sample(logits, (pal_sample_opts){0}, NULL);
        pal_tape_reset(b->tape);
    }
    look(b);
    return token >= 0 ? seconds() - start : -1;
}

enum { STREAMS = 8, LINE = 8 };

/* Reads n words once, at several places in turn, as the processor then waits least; what it returns
 * keeps the compiler from leaving it out. */
static uint64_t read_words(const uint64_t *x, int64_t n)
{
    const int64_t part = n / STREAMS / LINE * LINE;
    uint64_t sum[STREAMS] = {0}, all = 0;
    for (int64_t i = 0; i < part; i += LINE)
        for (int k = 0; k < STREAMS; k++) {
            const uint64_t *line = x + k * part + i;
            uint64_t one = 0;
            for (int j = 0; j < LINE; j++) one += line[j];
            sum[k] += one;
        }
    for (int k = 0; k < STREAMS; k++) all += sum[k];
    for (int64_t i = STREAMS * part; i < n; i++) all += x[i];
    return all;
}

static uint64_t read_all(const void *memory, int64_t bytes, int threads)
{
    const int64_t words = bytes / 8;
    uint64_t sum = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(+ : sum)
    for (int i = 0; i < threads; i++) {
        const int64_t from = words * i / threads, to = words * (i + 1) / threads;
        sum += read_words((const uint64_t *)memory + from, to - from);
    }
    return sum;
}

static double read_weights(void *context)
{
    bench *b = context;
    static volatile uint64_t seen;
    const double start = seconds();
    for (int i = 0; i < pal_params_count(b->file.params); i++) {
        const pal_array p = pal_params_array(b->file.params, i);
        seen +=
            read_all(p.data, pal_array_count(&p) * (int64_t)pal_dtype_size(p.dtype), pal_threads());
    }
    (void)seen;
    return seconds() - start;
}

/* ---- Flops ---- */

/* Heads times channels of attention. */
static double columns_of(const bench *b, int64_t layer)
{
    char full[128];
    snprintf(full, sizeof full, "model.layers.%lld.attn.o_proj.weight", (long long)layer);
    const pal_tensor p = pal_params_find(b->file.params, full);
    return pal_is_none(p) ? 0 : (double)pal_dim(p, 1);
}

/* Of a prompt's forward pass: 2 for each weight and token, 7 K V for each token and head of a
 * rule, 4 D n for each token and head of attention, n keys seen on average. */
static double prompt_flops(const bench *b)
{
    const pal_lm_counts c = pal_lm_count(b->file.lm, -1);
    const double T = (double)b->o.prompt, head = (double)(c.head ? c.head : c.embeddings);
    double flops = 2 * T * (double)(c.mixer + c.mlp) + 2 * head;
    for (int64_t i = 0; i < pal_lm_options(b->file.lm).layers; i++) {
        const pal_mixer_state *s = &b->state->layer[i];
        const pal_tensor S = pal_mixer_state_get(s, "state"), k = pal_mixer_state_get(s, "k");
        if (!pal_is_none(S)) flops += 7 * T * (double)pal_count(S);
        if (!pal_is_none(k)) flops += 4 * T * columns_of(b, i) * (T + 1) / 2;
    }
    return flops;
}

/* ---- All of it ---- */

static bool load(bench *b, const char *folder)
{
    pal_error error;
    const double before = anonymous();
    const pal_lm_open_opts how = {
        .no_tokenizer = true, .dtype = b->o.bf16 ? PAL_BF16 : PAL_F32, .progress = {look_on, b}};
    folder_warm(folder);
    const double start = seconds();
    if (pal_lm_open(&b->file, folder, how, &error) != PAL_OK) {
        fprintf(stderr, "%s\n", error.message);
        return false;
    }
    const double took = seconds() - start;
    look(b);
    const double P = (double)pal_params_size(b->file.params);
    printf("parameters %.0f\n", P);
    printf("load       %.2f s, %.2f GB/s\n", took, 1e-9 * (double)reads(b) / took);
    b->is.load = took;
    note(b->csv, "RssAnon %.3f GB before it, %.3f GB after it", 1e-9 * before, 1e-9 * anonymous());
    return true;
}

static bool time_prefill(bench *b)
{
    const double before = anonymous(), n = (double)b->o.prompt;
    pal_tape *squares = pal_tape_new();
    sgemm gemm = sgemm_new(squares);
    gemm.threads = pal_threads();
    const double rate = note_sgemm(b->csv, &gemm, (int)b->o.runs);
    const double bf16 = b->o.bf16 ? note_bf16(b->csv, gemm.threads, (int)b->o.runs) : 0;
    b->other = anonymous() - before;
    pairs p;
    const bool good = measure_pairs(prefill, b, sgemm_run, &gemm, (int)b->o.runs, &p);
    pal_tape_free(squares);
    b->other = 0;
    if (!good) return false;
    result *is = &b->is;
    const double flops = prompt_flops(b);
    is->prefill = n / p.seconds.median;
    is->gflops = 1e-9 * flops / p.seconds.median;
    is->of_sgemm = flops / SGEMM_FLOPS * p.ratio;
    printf("prefill    %.0f tokens/s for %.0f tokens, %.1f GFLOP/s, %.3f of sgemm (%.1f)",
           is->prefill, n, is->gflops, is->of_sgemm, 1e-9 * rate);
    if (b->o.bf16) {
        is->of_bf16 = 1e9 * is->gflops / bf16;
        printf(", %.3f of bf16 (%.1f)", is->of_bf16, 1e-9 * bf16);
    }
    printf("\n");
    return true;
}

static bool time_decoding(bench *b)
{
    pairs p;
    if (!measure_pairs(decode, b, read_weights, b, (int)b->o.runs, &p)) return false;
    const double token = p.seconds.median / (double)b->o.tokens, bytes = (double)reads(b);
    const double bandwidth = bytes / measure(read_weights, b, (int)b->o.runs);
    b->is.decoding = 1 / token;
    b->is.weights = 1e-9 * bytes / token;
    b->is.of_reading = p.ratio * (double)b->o.tokens;
    printf("decoding   %.2f tokens/s, %.2f GB/s of weights, %.3f of what is read (%.2f GB/s)\n",
           b->is.decoding, b->is.weights, b->is.of_reading, 1e-9 * bandwidth);
    return true;
}

static void print_csv(const bench *b)
{
    const result *is = &b->is;
    char text[16];
    fprintf(b->csv, "precision,threads,parameters,prompt,load_s,prefill_tokens_per_second,"
                    "prefill_gflops,share,share_of_bf16,decoding_tokens_per_second,"
                    "weights_gb_per_second,share_of_reading,rss_anon,share_of_parameters\n");
    fprintf(b->csv, "%s,%d,%lld,%lld,%.4g,%.6g,%.6g,%.4g,%s,%.6g,%.4g,%.4g,%.6g,%.4g\n",
            b->o.bf16 ? "bf16" : "f32", pal_threads(), (long long)pal_params_size(b->file.params),
            (long long)b->o.prompt, is->load, is->prefill, is->gflops, is->of_sgemm,
            share_text(text, is->of_bf16, false), is->decoding, is->weights, is->of_reading,
            b->most, is->of_parameters);
}

static bool run(bench *b)
{
    const int64_t vocab = pal_lm_options(b->file.lm).vocab, n = b->o.prompt;
    const double bytes = b->o.bf16 ? 2 : 4;
    pal_rng rng = pal_rng_new(1, 0);
    b->tape = pal_tape_new();
    pal_set_grad(b->tape, false);
    b->text = malloc((size_t)n * sizeof *b->text);
    for (int64_t i = 0; i < n; i++) b->text[i] = (int64_t)((double)vocab * pal_rng_next(&rng));
    const bool good = time_prefill(b) && time_decoding(b);
    if (good) {
        b->is.of_parameters = b->most / (bytes * (double)pal_params_size(b->file.params));
        printf("memory     %.3f GB of RssAnon at most, %.3f of %.0f bytes a parameter\n",
               1e-9 * b->most, b->is.of_parameters, bytes);
        if (b->csv) print_csv(b);
    }
    free(b->text);
    pal_lm_state_free(b->state);
    pal_tape_free(b->tape);
    return good;
}

static bool close_csv(const bench *b)
{
    if (!b->csv || fclose(b->csv) == 0) return true;
    perror(b->o.csv);
    return false;
}

int main(int argc, char **argv)
{
    bench b = {.o = {.prompt = 512, .tokens = 4, .runs = 7}};
    flags f;
    flags_begin(&f, &section, 1, &b.o);
    f.argp.doc = "Times loading, reading a prompt and writing tokens with a released model.";
    flags_parse(&f.argp, argc, argv, &f);
    model_shape shape = model_small;
    if (b.o.layers) shape.layers = b.o.layers;
    if (b.o.width) shape.width = b.o.width;
    if (b.o.vocab) shape.vocab = b.o.vocab;
    if (b.o.csv && !(b.csv = fopen(b.o.csv, "w"))) {
        perror(b.o.csv);
        return EXIT_FAILURE;
    }
    char made[] = "/tmp/pal-generate-XXXXXX";
    setvbuf(stdout, NULL, _IOLBF, 0);
    pal_set_threads((int)b.o.threads);
    note_machine(b.csv);
    note_products(b.csv, b.o.bf16);
    bool good = true;
    if (!b.o.folder) good = mkdtemp(made) && folder_write(made, &shape);
    good = good && load(&b, b.o.folder ? b.o.folder : made);
    if (!b.o.folder) folder_remove(made);
    good = good && run(&b);
    if (b.file.params) pal_lm_close(&b.file);
    return close_csv(&b) && good ? EXIT_SUCCESS : EXIT_FAILURE;
}
