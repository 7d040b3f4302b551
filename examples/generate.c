/*
 * generate.c - continues texts with a language model.
 *
 *     generate build/run/step-00000200.h5 "The delta rule" --tokens 500 --temperature 0.8
 *     generate build/run/step-00000200.h5 --score <book.txt
 *
 * A prompt goes through the model in one call, and then one token after the other, in constant
 * memory. Tokens are those of the model's tokenizer, or bytes. The parts: generate/prompts.c makes
 * sequences, run.c takes them through the model, show.c writes their text, ends.c says which tokens
 * end it, saved.c keeps a state in a file.
 */
#include "examples/generate/generate.h"
#include "examples/flags/checked.h"
#include "examples/flags/files.h"
#include "examples/lm/open.h"
#include "tensor/stream.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void gen_stop(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("generate: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(EXIT_FAILURE);
}

void gen_need(pal_status status, const pal_error *error)
{
    if (status != PAL_OK) gen_stop("%s", error->message);
}

void *gen_memory(void *memory)
{
    if (!memory) gen_stop("out of memory");
    return memory;
}

double gen_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- The command line ---- */

static const pal_key rows[] = {
    {"tokens", PAL_KEY_WHOLE, PAL_AT(gen_options, tokens), .high = INT32_MAX, .letter = 'n',
     .help = "tokens to write at most (300)"},
    {"temperature", PAL_KEY_REAL, PAL_AT(gen_options, temperature), .high = 1e9, .letter = 't',
     .argument = "T",
     .help = "divides the logits: below 1 the likely becomes likelier, 0 always takes the "
             "likeliest (0.8)"},
    {"top-k", PAL_KEY_WHOLE, PAL_AT(gen_options, top_k), .high = INT32_MAX, .letter = 'k',
     .argument = "K", .help = "draw from the K likeliest tokens only; 0: from all (40)"},
    {"top-p", PAL_KEY_REAL, PAL_AT(gen_options, top_p), .high = 1, .letter = 'p', .argument = "P",
     .help = "draw from the fewest tokens that have a share of P together; 0: from all (0)"},
    {"repeat-penalty", PAL_KEY_REAL, PAL_AT(gen_options, repeat_penalty), .high = 1e9,
     .open = PAL_OPEN_LOW, .argument = "X",
     .help = "divides the logits above 0 of tokens that occurred, prompt included, and multiplies "
             "those below 0; 1: nothing (1)"},
    {"seed", PAL_KEY_WHOLE, PAL_AT(gen_options, seed), .high = INT32_MAX, .letter = 's',
     .help = "of the draws (1, or where the loaded state was)"},
    {"batch", PAL_KEY_WHOLE, PAL_AT(gen_options, batch), .low = 1, .high = 1 << 16, .letter = 'b',
     .help = "write N texts for each prompt, at the same time; each has draws of its own (1)"},
    {"prompts", PAL_KEY_STRING, PAL_AT(gen_options, prompts), .required = true, .argument = "FILE",
     .help = "every line that is not empty is a prompt; all are continued at the same time"},
    {"chat", PAL_KEY_FLAG, PAL_AT(gen_options, chat),
     .help = "the prompt is what a user says: it is put into the form of a conversation (ChatML) "
             "if the "
             "tokenizer has its tokens, and only the answer is shown"},
    {"system", PAL_KEY_STRING, PAL_AT(gen_options, system), .argument = "TEXT",
     .help = "with --chat, what stands before the conversation (nothing)"},
    {"plain", PAL_KEY_FLAG, PAL_AT(gen_options, plain),
     .help = "special tokens in the prompt are text like any other, and the tokenizer puts none "
             "before it"},
    {"end", PAL_KEY_STRING, PAL_AT(gen_options, end), .required = true, .letter = 'e',
     .argument = "TEXT",
     .help = "the token that ends a text (what the model's folder says, or a special token such "
             "as </s> or <|endoftext|>)"},
    {"no-end", PAL_KEY_FLAG, PAL_AT(gen_options, no_end), .help = "no token ends a text"},
    {"special", PAL_KEY_FLAG, PAL_AT(gen_options, special), .help = "show special tokens, too"},
    {"raw", PAL_KEY_FLAG, PAL_AT(gen_options, raw),
     .help = "write bytes that are no UTF-8 as they are, and not as U+FFFD (with tokens that are "
             "bytes they always are)"},
    {"threads", PAL_KEY_WHOLE, PAL_AT(gen_options, threads), .high = 4096,
     .help = "0: as many as OpenMP gives (0)"},
    LM_DTYPE_ROW(PAL_AT(gen_options, dtype)),
    {"last", PAL_KEY_FLAG, PAL_AT(gen_options, last),
     .help = "the parameters of the last step, although the checkpoint has their average"},
    {"score", PAL_KEY_FLAG, PAL_AT(gen_options, score),
     .help = "write nothing: print how many bits a byte of the text costs"},
    {"save-state", PAL_KEY_STRING, PAL_AT(gen_options, save), .required = true, .argument = "FILE",
     .help = "at the end, what the model remembers of all this text"},
    {"load-state", PAL_KEY_STRING, PAL_AT(gen_options, load), .required = true, .argument = "FILE",
     .help = "go on from there; a prompt is read after it"},
};
static const pal_keys keys = PAL_KEYS(rows);
static const flags_section section = {NULL, &keys, 0};

static error_t parse(int key, char *text, struct argp_state *state)
{
    gen_options *o = state->input;
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

/* What does not go together. */
static void check_options(const gen_options *o)
{
    const bool several = o->prompts || o->batch > 1;
    pal_error error;
    if (o->score && (o->save || o->load))
        gen_stop("--score reads a text from its start, without state");
    if (o->score && (several || o->chat))
        gen_stop("--score reads one text as it is, without --batch, --prompts or --chat");
    if (several && (o->save || o->load)) gen_stop("--save-state and --load-state are for one text");
    if (o->prompts && o->prompt) gen_stop("--prompts and a prompt are one too many");
    if (o->chat && o->plain) gen_stop("--chat needs special tokens, which --plain takes for text");
    if (o->system && !o->chat) gen_stop("--system is a part of a conversation; --chat is wanted");
    if (o->end && o->no_end) gen_stop("--end and --no-end contradict each other");
    const flags_file in[] = {
        {"CHECKPOINT", o->checkpoint, NULL},
        {"--load-state", o->load, NULL},
        {"--prompts", o->prompts, NULL},
        {"standard input", o->prompt || o->load || o->prompts ? NULL : "-", NULL}};
    const flags_file out = {"--save-state", o->save, NULL};
    gen_need(flags_files_check(in, sizeof in / sizeof *in, &out, 1, &error), &error);
}

static void read_options(gen_options *o, int argc, char **argv)
{
    const struct argp_child children[] = {{&o->flags.argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .children = children,
        .parser = parse,
        .args_doc = "CHECKPOINT [PROMPT]",
        .doc = "Goes on with a text by a language model that train_lm has trained, whose "
               "checkpoints (build/run/step-00000200.h5) say by themselves what the model is. "
               "Tokens are those of its data; a prompt is encoded by itself, and what the "
               "tokenizer puts before a text stands before it. Without PROMPT the text is read "
               "from standard input, unless a state is loaded. Prompt and continuation go to "
               "standard output, the time they took to standard error. A text ends by a token "
               "that says so, or after --tokens."
               "\vExamples:\n\n"
               "  generate build/run/step-00000200.h5 \"The delta rule\" --tokens 500\n"
               "  generate build/run/step-00000200.h5 --temperature 0 <letter.txt\n"
               "  generate build/run/step-00000200.h5 --score <book.txt\n"
               "  generate build/run/step-00000200.h5 \"Once\" --batch 4\n"
               "  generate build/run/step-00000200.h5 \"Once\" --save-state once.h5\n"
               "  generate build/run/step-00000200.h5 --load-state once.h5\n\n"
               "The same seed gives the same text, on any number of threads. The last two write "
               "the text that one call of twice the length would. With --chat they are a "
               "conversation of "
               "several turns."};
    *o = (gen_options){
        .tokens = 300, .temperature = 0.8, .top_k = 40, .seed = 1, .batch = 1, .repeat_penalty = 1};
    flags_begin(&o->flags, &section, 1, o);
    flags_parse(&argp, argc, argv, o);
    check_options(o);
}

/* ---- All of it ---- */

static void build(gen_all *g)
{
    lm_options o;
    pal_error error;
    int64_t size;
    gen_need(lm_open(&g->file, &o, g->o.checkpoint, (lm_how){g->o.last, g->o.dtype}, &error),
             &error);
    g->vocab = pal_tokenizer_vocab_size(g->file.tokenizer);
    pal_tokenizer_json(g->file.tokenizer, &size);
    g->bytes = size == 0;
    if (o.model.vocab < g->vocab)
        gen_stop("the model knows fewer tokens than there are bytes, and the checkpoint has no "
                 "tokenizer: it reads no text");
    if (g->file.averaged) fprintf(stderr, "model   the average of the parameters\n");
}

static void begin(gen_all *g)
{
    g->tape = pal_tape_new();
    pal_set_grad(g->tape, false);
    gen_read_prompts(g);
    gen_find_ends(g);
    for (int64_t i = 0; i < g->sequences; i++) {
        gen_sequence *s = &g->sequence[i];
        s->rng = pal_rng_new((uint64_t)g->o.seed, (uint64_t)i);
        s->seen = gen_memory(calloc((size_t)g->vocab, sizeof *s->seen));
        s->to = g->sequences > 1 ? gen_memory(pal_stream_open()) : stdout;
        if (!g->o.load) gen_encode(g, s);
    }
    gen_make_groups(g);
    if (!g->o.load) return;
    gen_load(g);
    gen_encode(g, &g->sequence[0]);
}

/* Texts that were written at the same time are shown one after the other. */
static void show_several(gen_all *g)
{
    for (int64_t i = 0; i < g->sequences; i++) {
        size_t size;
        char *text = gen_memory(pal_stream_close(g->sequence[i].to, &size));
        printf("--- %lld of %lld ---\n", (long long)i + 1, (long long)g->sequences);
        fwrite(text, 1, size, stdout);
        fputc('\n', stdout);
        free(text);
    }
    if (fflush(stdout) != 0) exit(EXIT_FAILURE);
}

static void write_texts(gen_all *g)
{
    for (int64_t i = 0; i < g->sequences; i++)
        gen_begin_text(g, &g->sequence[i], g->o.load != NULL);
    gen_prefill(g);
    gen_run(g);
    for (int64_t i = 0; i < g->sequences; i++) gen_end_text(g, &g->sequence[i]);
    if (g->sequences > 1) show_several(g);
    gen_report(g);
    if (g->o.save) gen_save(g);
}

static void end(gen_all *g)
{
    for (int64_t i = 0; i < g->sequences; i++) {
        gen_sequence *s = &g->sequence[i];
        lm_text_free(&s->text);
        pal_token_ids_free(&s->prompt);
        pal_token_ids_free(&s->held);
        pal_tokenizer_stream_free(s->stream);
        free(s->seen);
    }
    for (int64_t i = 0; i < g->groups; i++) pal_lm_state_free(g->group[i].state);
    pal_token_ids_free(&g->end);
    pal_tape_free(g->tape);
    pal_lm_close(&g->file);
    free(g->sequence);
    free(g->group);
}

int main(int argc, char **argv)
{
    gen_all g = {.sequences = 0};
    checked_files(); /* the flags already look at files */
    read_options(&g.o, argc, argv);
    pal_set_threads((int)g.o.threads);
    build(&g);
    begin(&g);
    if (g.o.score)
        gen_score(&g);
    else
        write_texts(&g);
    end(&g);
    return 0;
}
