/*
 * generate.c - continues a text with a model that train_lm has trained.
 *
 *     generate build/run/step-00000200.h5 "The delta rule" --tokens 500 --temperature 0.8
 *     generate --score build/run/step-00000200.h5 <book.txt
 *
 * The prompt goes through the model in one call, and then one token after the other, in constant
 * memory. Tokens are those of the checkpoint's tokenizer, or bytes. A saved state is one token
 * behind the text: the last token has been written, but the model has not read it yet. The file has
 * this token too, and the position in the random numbers, so a program that loads it continues as
 * if it had not stopped.
 */
#include <palimpsest.h>
#include "tensor/number.h"
#include "examples/flags/checked.h"
#include "examples/flags/files.h"
#include "examples/flags/flags.h"
#include "examples/lm/data.h"
#include "examples/lm/open.h"
#include "examples/lm/text.h"

#include <argp.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct options {
    flags flags; /* of the rows below, which set the rest */
    const char *checkpoint, *prompt, *save, *load;
    int64_t tokens, top_k, seed, threads;
    double temperature, top_p;
    bool score, last;
} options;

typedef struct generator {
    options o;
    pal_lm_file file;
    lm_text text; /* the prompt, and its tokens */
    pal_token_ids prompt;
    pal_tape *tape;
    pal_lm_state *state;
    pal_rng rng;
    int64_t next; /* a token that the model has not read yet; -1: none */
} generator;

static void stop(const char *what)
{
    fprintf(stderr, "generate: %s\n", what);
    exit(EXIT_FAILURE);
}

static void need(pal_status status, const pal_error *error)
{
    if (status != PAL_OK) stop(error->message);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- The command line ---- */

static const pal_key rows[] = {
    {"tokens", PAL_KEY_WHOLE, PAL_AT(options, tokens), .high = INT32_MAX, .letter = 'n',
     .help = "tokens to write (300)"},
    {"temperature", PAL_KEY_REAL, PAL_AT(options, temperature), .high = 1e9, .letter = 't',
     .argument = "T",
     .help = "divides the logits: below 1 the likely becomes likelier, 0 always takes the "
             "likeliest (0.8)"},
    {"top-k", PAL_KEY_WHOLE, PAL_AT(options, top_k), .high = INT32_MAX, .letter = 'k',
     .argument = "K", .help = "draw from the K likeliest tokens only; 0: from all (40)"},
    {"top-p", PAL_KEY_REAL, PAL_AT(options, top_p), .high = 1, .letter = 'p', .argument = "P",
     .help = "draw from the fewest tokens that have a share of P together; 0: from all (0)"},
    {"seed", PAL_KEY_WHOLE, PAL_AT(options, seed), .high = INT32_MAX, .letter = 's',
     .help = "of the draws (1, or where the loaded state was)"},
    {"threads", PAL_KEY_WHOLE, PAL_AT(options, threads), .high = INT32_MAX,
     .help = "0: as many as OpenMP gives (0)"},
    {"last", PAL_KEY_FLAG, PAL_AT(options, last),
     .help = "the parameters of the last step, although the checkpoint has their average"},
    {"score", PAL_KEY_FLAG, PAL_AT(options, score),
     .help = "write nothing: print how many bits a byte of the text costs"},
    {"save-state", PAL_KEY_STRING, PAL_AT(options, save), .required = true, .argument = "FILE",
     .help = "at the end, what the model remembers of all this text"},
    {"load-state", PAL_KEY_STRING, PAL_AT(options, load), .required = true, .argument = "FILE",
     .help = "go on from there; a prompt is read after it"},
};
static const pal_keys keys = PAL_KEYS(rows);
static const flags_section section = {NULL, &keys, 0};

static error_t parse(int key, char *text, struct argp_state *state)
{
    options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->flags;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1)
            argp_error(state, "the prompt is one argument: put it in quotation marks");
        *(state->arg_num ? &o->prompt : &o->checkpoint) = text;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void read_options(options *o, int argc, char **argv)
{
    const struct argp_child children[] = {{&o->flags.argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .children = children,
        .parser = parse,
        .args_doc = "CHECKPOINT [PROMPT]",
        .doc = "Goes on with a text by a language model that train_lm has trained, whose "
               "checkpoints (build/run/step-00000200.h5) say by themselves what the model is. "
               "Tokens are those of its data; a prompt is encoded by itself. Without PROMPT the "
               "text is read from standard input, unless a "
               "state is loaded. Prompt and continuation go to standard output, the time they took "
               "to standard error."
               "\vExamples:\n\n"
               "  generate build/run/step-00000200.h5 \"The delta rule\" --tokens 500\n"
               "  generate build/run/step-00000200.h5 --temperature 0 <letter.txt\n"
               "  generate build/run/step-00000200.h5 --score <book.txt\n"
               "  generate build/run/step-00000200.h5 \"Once\" --save-state once.h5\n"
               "  generate build/run/step-00000200.h5 --load-state once.h5\n\n"
               "The same seed gives the same text, on any number of threads. The last two write "
               "the text that one call of twice the length would."};
    *o = (options){.tokens = 300, .temperature = 0.8, .top_k = 40, .seed = 1};
    flags_begin(&o->flags, &section, 1, o);
    flags_parse(&argp, argc, argv, o);
    if (o->score && (o->save || o->load))
        stop("--score reads a text from its start, without state");
    pal_error error;
    const flags_file in[] = {{"CHECKPOINT", o->checkpoint, NULL},
                             {"--load-state", o->load, NULL},
                             {"standard input", o->prompt || o->load ? NULL : "-", NULL}},
                     out = {"--save-state", o->save, NULL};
    need(flags_files_check(in, sizeof in / sizeof *in, &out, 1, &error), &error);
}

/* ---- Beginning ---- */

static void build(generator *g)
{
    lm_options o;
    pal_error error;
    need(lm_open(&g->file, &o, g->o.checkpoint, g->o.last, &error), &error);
    if (o.model.vocab < pal_tokenizer_vocab_size(g->file.tokenizer))
        stop("the model knows fewer tokens than there are bytes, and the checkpoint has no "
             "tokenizer: it reads no text");
    if (g->file.averaged) fprintf(stderr, "model   the average of the parameters\n");
}

static void read_prompt(generator *g)
{
    pal_error error;
    if (g->o.prompt)
        need(lm_text_copy(&g->text, g->o.prompt, &error), &error);
    else if (!g->o.load)
        need(lm_text_read(&g->text, "-", &error), &error);
    need(pal_tokenizer_encode(g->file.tokenizer, g->text.byte, g->text.size, &g->prompt, &error),
         &error);
    if (g->prompt.count == 0 && !g->o.load) stop("the prompt is empty");
}

/* A state goes on with the parameters and the tokenizer that it was saved with. The file also has a
 * token that the model has not read yet. */
static void check_owner(const generator *g, pal_h5 *file)
{
    char is[LM_SUM], saved[LM_SUM];
    if (pal_h5_get_text(file, "/", "tokenizer", saved, sizeof saved, NULL) != PAL_OK) {
        fprintf(stderr, "note    %s does not say of which model its state is\n", g->o.load);
        return;
    }
    if (strcmp(saved, lm_tokenizer_sum(g->file.tokenizer, is)) == 0) return;
    fprintf(stderr, "generate: the state of %s is of another tokenizer, %s, and that of %s is %s\n",
            g->o.load, saved, g->o.checkpoint, is);
    exit(EXIT_FAILURE);
}

static void load(generator *g)
{
    pal_error error;
    pal_h5 *file;
    double next, counter, seed;
    need(pal_h5_open(&file, g->o.load, &error), &error);
    check_owner(g, file);
    if (pal_lm_state_get(g->file.lm, g->state, file, "/state", &error) != PAL_OK) {
        fprintf(stderr, "generate: %s does not go on with %s: %s\n", g->o.load, g->o.checkpoint,
                error.message);
        exit(EXIT_FAILURE);
    }
    need(pal_h5_get_number(file, "/", "next", &next, &error), &error);
    need(pal_h5_get_number(file, "/", "seed", &seed, &error), &error);
    need(pal_h5_get_number(file, "/", "counter", &counter, &error), &error);
    pal_h5_close(file);
    if (!(next >= 0 && next < (double)pal_tokenizer_vocab_size(g->file.tokenizer) && seed >= 0 &&
          seed <= INT32_MAX && counter >= 0 && counter <= 0x1p53))
        stop("--load-state: the attributes next, seed or counter are no such numbers");
    g->next = (int64_t)next;
    if (flags_given(&g->o.flags, "seed")) return;
    g->rng = pal_rng_new((uint64_t)seed, 0);
    g->rng.counter = (uint64_t)counter;
}

static void save(const generator *g)
{
    pal_error error;
    pal_h5 *file;
    char sum[LM_SUM];
    need(pal_h5_create(&file, g->o.save, &error), &error);
    need(pal_h5_put_text(file, "/", "tokenizer", lm_tokenizer_sum(g->file.tokenizer, sum), &error),
         &error);
    need(pal_lm_state_put(g->state, file, "/state", &error), &error);
    need(pal_h5_put_number(file, "/", "next", (double)g->next, &error), &error);
    need(pal_h5_put_number(file, "/", "seed", (double)g->rng.seed, &error), &error);
    need(pal_h5_put_number(file, "/", "counter", (double)g->rng.counter, &error), &error);
    need(pal_h5_commit(file, &error), &error);
}

/* ---- Going on ---- */

/* The unread token, if there is one, and the prompt, as tokens [1,T]. */
static pal_tensor all_tokens(generator *g)
{
    const int64_t unread = g->next >= 0, n = g->prompt.count + unread;
    pal_tensor t = pal_zeros(g->tape, PAL_I64, PAL_SHAPE(1, n));
    int64_t *to = pal_edit(t).data;
    if (unread) to[0] = g->next;
    for (int64_t i = 0; i < g->prompt.count; i++) to[unread + i] = g->prompt.id[i];
    return t;
}

static void score(generator *g)
{
    if (g->prompt.count < 2) stop("--score: a text of two tokens or more is wanted");
    pal_tensor logp = pal_lm_score(g->file.lm, all_tokens(g), (pal_run_opts){0});
    const double bits = -pal_item(pal_sum(logp, PAL_ALL, false)) / log(2);
    const int64_t bytes =
        pal_tokenizer_decode(g->file.tokenizer, g->prompt.id + 1, g->prompt.count - 1, NULL, 0);
    printf("%.4f bits per byte over %lld bytes after the first token\n", bits / (double)bytes,
           (long long)bytes);
}

/* Reads all tokens of the text except the last, so that the state is one token behind. */
static void prefill(generator *g)
{
    double began = seconds();
    pal_tensor all = all_tokens(g);
    const int64_t n = pal_dim(all, 1) - 1;
    if (g->text.size > 0) fwrite(g->text.byte, 1, (size_t)g->text.size, stdout);
    fflush(stdout);
    g->next = pal_i64(all)[n];
    if (n > 0) pal_lm_step(g->file.lm, g->state, pal_slice(all, 1, 0, n, 1), (pal_run_opts){0});
    pal_tape_reset(g->tape);
    double took = seconds() - began;
    if (n > 0)
        fprintf(stderr, "prompt  %lld tokens, %.0f tokens/s\n", (long long)n, (double)n / took);
}

/* If the model's vocabulary is larger than the tokenizer's, the tokens beyond it have no text. */
static int64_t draw(generator *g, pal_tensor logits)
{
    const pal_sample_opts how = {
        .temperature = g->o.temperature, .top_k = g->o.top_k, .top_p = g->o.top_p};
    return pal_sample(pal_slice(logits, 1, 0, pal_tokenizer_vocab_size(g->file.tokenizer), 1), how,
                      &g->rng);
}

/* A token may be a part of a character, so its bytes are written unchanged. */
static void put(const generator *g)
{
    int64_t size;
    const char *byte = pal_tokenizer_token(g->file.tokenizer, g->next, &size);
    if (size > 0) fwrite(byte, 1, (size_t)size, stdout);
}

static void generate(generator *g)
{
    double began = seconds();
    for (int64_t i = 0; i < g->o.tokens; i++) {
        pal_tensor in = pal_from(g->tape, PAL_I64, PAL_SHAPE(1, 1), &g->next);
        g->next = draw(g, pal_lm_step(g->file.lm, g->state, in, (pal_run_opts){0}));
        pal_tape_reset(g->tape);
        put(g);
    }
    if (fflush(stdout) != 0) exit(EXIT_FAILURE); /* flags/streams.c says why */
    double took = seconds() - began;
    if (g->o.tokens)
        fprintf(stderr, "\nwritten %lld tokens, %.0f tokens/s\n", (long long)g->o.tokens,
                (double)g->o.tokens / took);
}

int main(int argc, char **argv)
{
    pal_share_processors(argv);
    generator g = {.next = -1};
    read_options(&g.o, argc, argv);
    pal_set_threads((int)g.o.threads);
    checked_files();
    build(&g);
    read_prompt(&g);
    g.tape = pal_tape_new();
    g.state = pal_lm_state_new(g.file.lm);
    g.rng = pal_rng_new((uint64_t)g.o.seed, 0);
    pal_set_grad(g.tape, false);
    if (g.o.load) load(&g);
    if (g.o.score) {
        score(&g);
    } else {
        prefill(&g);
        generate(&g);
        if (g.o.save) save(&g);
    }
    pal_lm_state_free(g.state);
    pal_tape_free(g.tape);
    pal_lm_close(&g.file);
    pal_token_ids_free(&g.prompt);
    lm_text_free(&g.text);
    return 0;
}
