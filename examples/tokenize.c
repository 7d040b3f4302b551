/*
 * tokenize.c - text files to a store of tokens, which train_lm reads.
 *
 *     tokenize --train-vocab 4096 --out build/book.tokens.h5 book.txt
 *     tokenize --tokenizer tokenizer.json --out build/more.tokens.h5 more/ *.txt
 *
 * The store has the tokens, where documents begin, and the tokenizer itself, so that nothing else
 * is needed to train a model on it and to read what the model writes.
 */
#include <palimpsest.h>
#include "tensor/number.h"
#include "examples/flags/checked.h"
#include "examples/flags/files.h"
#include "examples/flags/flags.h"
#include "tensor/text.h"
#include "examples/lm/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct options {
    flags flags; /* of the rows below, which set the rest */
    const char *out, *tokenizer, *save, *separator, *end;
    char *found; /* the file that --tokenizer means by a folder, or NULL */
    bool special;
    int64_t train;
    double held_out;
    char **file;
    int files;
} options;

typedef struct work {
    options o;
    lm_text *file; /* contents; texts point into them */
    pal_tokenizer_text *text;
    int64_t texts, text_room, bytes;
    pal_tokenizer *bpe;
    int64_t end;         /* the token after each document; -1: none */
    pal_token_ids frame; /* what --special puts around one */
    unsigned char *token;
    int64_t tokens, token_room; /* the room in bytes */
    int64_t *offset;
    uint32_t *length;
} work;

static void stop(const char *format, ...) PAL_PRINTF(1, 2) __attribute__((noreturn));
static void stop(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("tokenize: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(EXIT_FAILURE);
}

static void need(pal_status status, const pal_error *error)
{
    if (status != PAL_OK) stop("%s", error->message);
}

static void *need_memory(void *memory)
{
    if (!memory) stop("out of memory");
    return memory;
}

/* A line that is written over, on a terminal only. */
static void progress(void *user, const char *what, int64_t done, int64_t all)
{
    (void)user;
    if (!isatty(STDERR_FILENO)) return;
    const double share = all > 0 ? 100 * (double)done / (double)all : 100;
    fprintf(stderr, "\r\033[K%s %.0f %%", what, share);
}

static void progress_over(void)
{
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

/* ---- The command line ---- */

/* A separator is looked for as a line. */
static pal_status one_line(const char *text, pal_error *error)
{
    if (!strpbrk(text, "\n\r")) return PAL_OK;
    return pal_error_set(error, PAL_EVALUE, "one line is wanted");
}

static const pal_key rows[] = {
    {"out", PAL_KEY_STRING, PAL_AT(options, out), .letter = 'o', .argument = "STORE",
     .help = "the file to write"},
    {"tokenizer", PAL_KEY_STRING, PAL_AT(options, tokenizer), .letter = 't', .argument = "FILE",
     .help = "a tokenizer.json of Hugging Face's `tokenizers`, or the folder of a released model "
             "that has one (tokens are bytes)"},
    {"train-vocab", PAL_KEY_WHOLE, PAL_AT(options, train), .low = 257, .high = 1 << 24,
     .letter = 'v',
     .help = "learn a byte-level BPE of N tokens, 256 bytes among them, from the files"},
    {"save-tokenizer", PAL_KEY_STRING, PAL_AT(options, save), .letter = 's', .argument = "FILE",
     .help = "write what was learned as a tokenizer.json too"},
    {"held-out", PAL_KEY_REAL, PAL_AT(options, held_out), .high = 1, .open = PAL_OPEN_HIGH,
     .letter = 'u', .argument = "SHARE",
     .help = "learn from all but the last SHARE of the documents (of the bytes, if there is one "
             "document), "
             "which is meant for validation (0)"},
    {"separator", PAL_KEY_STRING, PAL_AT(options, separator), .check = one_line, .letter = 'd',
     .argument = "TEXT",
     .help =
         "a line that is exactly TEXT ends a document and is left out; it ends with \\n or \\r\\n "
         "(each FILE is one document)"},
    {"end", PAL_KEY_STRING, PAL_AT(options, end), .required = true, .letter = 'e',
     .argument = "TEXT",
     .help = "put the special token TEXT after every document; --train-vocab makes it, a "
             "tokenizer.json "
             "must have it (nothing)"},
    {"special", PAL_KEY_FLAG, PAL_AT(options, special),
     .help = "put around every document the special tokens that the post_processor of the "
             "tokenizer.json names"},
};
static const pal_keys keys = PAL_KEYS(rows);
static const flags_section section = {NULL, &keys, 0};

static error_t parse(int key, char *text, struct argp_state *state)
{
    options *o = state->input;
    (void)text;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->flags;
        return 0;
    case ARGP_KEY_ARGS:
        o->file = state->argv + state->next;
        o->files = state->argc - state->next;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void check_files(const options *o)
{
    pal_error error;
    flags_file *in = need_memory(calloc((size_t)o->files + 1, sizeof *in));
    const flags_file out[] = {{"--out", o->out, NULL}, {"--save-tokenizer", o->save, NULL}};
    for (int i = 0; i < o->files; i++) in[i] = (flags_file){"FILE", o->file[i], NULL};
    in[o->files] = (flags_file){"--tokenizer", o->tokenizer, NULL};
    need(flags_files_check(in, o->files + 1, out, 2, &error), &error);
    free(in);
}

/* That of a released model lies in its folder. */
static void find_tokenizer(options *o)
{
    if (!o->tokenizer || pal_file_kind_of(o->tokenizer) != PAL_FILE_FOLDER) return;
    if (asprintf(&o->found, "%s/tokenizer.json", o->tokenizer) < 0) stop("out of memory");
    o->tokenizer = o->found;
}

static const char before_flags[] =
    "Makes a store of tokens from text files, for train_lm --data. Without --tokenizer and "
    "--train-vocab a token is a byte. A text need not be UTF-8. A tokenizer of bytes, or one that "
    "is "
    "learned here, gives back the bytes that it was given; a tokenizer.json may change a text, "
    "which is told. A byte order mark at the beginning of a FILE is left out, except for a "
    "tokenizer.json, and so is a document without text.";
static const char after_flags[] =
    "Examples:\n\n"
    "  tokenize --out book.tokens.h5 book.txt\n"
    "  tokenize --train-vocab 4096 --save-tokenizer book.json --out book.tokens.h5 book.txt\n"
    "  tokenize --tokenizer book.json --out letters.tokens.h5 letters/*.txt\n"
    "  tokenize --tokenizer Qwen3.5-0.8B --out letters.tokens.h5 letters/*.txt\n"
    "  tokenize --train-vocab 8192 --held-out 0.05 --separator '<|endoftext|>' \\\n"
    "           --end '<|endoftext|>' --out debian.tokens.h5 build/debian.txt\n\n"
    "More tokens make a text shorter, and a model's table of them larger: some thousands fit small "
    "models. Learning is a function of the documents and options alone; it stops before N when no "
    "two "
    "tokens stand side by side twice. A tokenizer.json with parts that are not supported is "
    "refused by their names.";

static void read_options(options *o, int argc, char **argv)
{
    const struct argp_child children[] = {{&o->flags.argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .children = children,
        .parser = parse,
        .args_doc = "FILE...",
        .doc = (const char *)need_memory(malloc(sizeof before_flags + sizeof after_flags)),
    };
    sprintf((char *)argp.doc, "%s\v%s", before_flags, after_flags);
    flags_begin(&o->flags, &section, 1, o);
    flags_parse(&argp, argc, argv, o);
    free((char *)argp.doc);
    if (!o->files) stop("no FILE to read; --help explains");
    if (!o->out) stop("--out is missing: the file to write");
    if (o->tokenizer && o->train) stop("--tokenizer and --train-vocab are one too many");
    if (o->save && !o->train) stop("--save-tokenizer: nothing is learned without --train-vocab");
    if (o->held_out > 0 && !o->train) stop("--held-out: nothing is learned without --train-vocab");
    if (o->special && !o->tokenizer)
        stop("--special: only a tokenizer.json says what it puts there");
    if (o->end && !o->tokenizer && !o->train)
        stop("--end: bytes have no special tokens; --tokenizer or --train-vocab is wanted");
    find_tokenizer(o);
    check_files(o);
}

/* ---- Files ---- */

/* Whole or not at all. */
static void write_file(const char *path, const char *text)
{
    pal_error error;
    char folder[PAL_PATH] = ".";
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (slash && slash - path < PAL_PATH)
        snprintf(folder, sizeof folder, "%.*s", (int)(slash == path ? 1 : slash - path), path);
    if (!*name || (slash && slash - path >= PAL_PATH))
        stop("%.400s: it is no name of a file", path);
    need(pal_run_write(folder, name, text, &error), &error);
}

/* ---- Documents ---- */

static void add_text(work *r, const char *byte, int64_t size)
{
    if (size == 0) return;
    if (r->texts == r->text_room) {
        r->text_room = r->text_room ? 2 * r->text_room : 64;
        r->text = need_memory(realloc(r->text, (size_t)r->text_room * sizeof *r->text));
    }
    r->text[r->texts++] = (pal_tokenizer_text){byte, size};
    r->bytes += size;
}

/* Returns how many separators there are. */
static int64_t cut(work *r, const char *byte, int64_t size)
{
    const char *separator = r->o.separator, *document = byte, *const end = byte + size;
    const size_t length = separator ? strlen(separator) : 0;
    int64_t found = 0;
    for (const char *line = byte; separator && line < end;) {
        const char *stop_at = memchr(line, '\n', (size_t)(end - line));
        const char *next = stop_at ? stop_at + 1 : end;
        size_t n = (size_t)((stop_at ? stop_at : end) - line);
        if (n > 0 && line[n - 1] == '\r') n--; /* a file of Windows */
        if (n == length && memcmp(line, separator, length) == 0) {
            add_text(r, document, line - document);
            document = next;
            found++;
        }
        line = next;
    }
    add_text(r, document, end - document);
    return found;
}

static void read_documents(work *r)
{
    r->file = need_memory(calloc((size_t)r->o.files, sizeof *r->file));
    int64_t separators = 0;
    for (int i = 0; i < r->o.files; i++) {
        pal_error error;
        /* Hugging Face's tokenizers take the mark for a character, and so does a model of theirs.
         */
        need(lm_text_read_as(&r->file[i], r->o.file[i], r->o.tokenizer != NULL, &error), &error);
        separators += cut(r, (const char *)r->file[i].byte, r->file[i].size);
    }
    if (r->o.separator && separators == 0)
        fprintf(stderr, "tokenize: note: no line is exactly '%s', so each FILE is one document\n",
                r->o.separator);
    if (r->texts == 0) stop("there is no text in these files");
}

/* ---- Tokens ---- */

/* From what is not held out: of documents, what pal_batches_new holds out; of the only one, as many
 * bytes as that does of its tokens, which are not there yet. */
static void learn(work *r)
{
    pal_error error;
    const pal_tokenizer_train_opts how = {.vocab = r->o.train,
                                          .special = &r->o.end,
                                          .specials = r->o.end != NULL,
                                          .progress = progress};
    pal_tokenizer_text whole = r->text[0];
    const int64_t held = pal_batches_held_out(r->texts, r->o.held_out);
    whole.size -= pal_batches_held_out(whole.size, r->o.held_out);
    need(r->texts == 1 ? pal_tokenizer_train(&r->bpe, &whole, 1, how, &error)
                       : pal_tokenizer_train(&r->bpe, r->text, r->texts - held, how, &error),
         &error);
    progress_over();
}

static void make_tokenizer(work *r)
{
    pal_error error;
    int64_t size = 0;
    if (r->o.train) {
        learn(r);
        const char *json = pal_tokenizer_json(r->bpe, &size);
        if (r->o.save) write_file(r->o.save, json);
    } else {
        lm_text json = {0};
        if (r->o.tokenizer)
            need(lm_text_read_most(&json, r->o.tokenizer, LM_MOST_TOKENIZER, &error), &error);
        if (r->o.tokenizer && json.size == 0) stop("%s: it is empty", r->o.tokenizer);
        const pal_status s =
            pal_tokenizer_load(&r->bpe, (const char *)json.byte, json.size, &error);
        if (s != PAL_OK && r->o.tokenizer) stop("%s: %s", r->o.tokenizer, error.message);
        need(s, &error);
        lm_text_free(&json);
    }
    if (r->o.special) {
        const pal_encode_opts both = {.begin = true, .end = true};
        need(pal_tokenizer_encode_with(r->bpe, "", 0, both, &r->frame, &error), &error);
        if (r->frame.count == 0) stop("--special: %s puts nothing around a text", r->o.tokenizer);
    }
    if (!pal_tokenizer_is_exact(r->bpe))
        fprintf(stderr, "tokenize: note: this tokenizer changes texts (by a normalizer, or by what "
                        "it leaves out), so that their bytes do not come back as they were\n");
    r->end = r->o.end ? pal_tokenizer_special(r->bpe, r->o.end) : -1;
    if (r->o.end && r->end < 0) stop("--end: the tokenizer has no added token '%s'", r->o.end);
}

/* Tokens in the width that the store has for this vocabulary. */
static void append(work *r, const int64_t *id, int64_t count, int width)
{
    const int64_t least = (r->tokens + count) * width;
    if (least > r->token_room) {
        r->token_room = 2 * least;
        r->token = need_memory(realloc(r->token, (size_t)r->token_room));
    }
    for (int64_t i = 0; i < count; i++, r->tokens++) {
        const uint8_t one = (uint8_t)id[i];
        const uint16_t two = (uint16_t)id[i];
        const uint32_t four = (uint32_t)id[i];
        const void *from = width == 1   ? (const void *)&one
                           : width == 2 ? &two
                                        : (const void *)&four;
        memcpy(r->token + r->tokens * width, from, (size_t)width);
    }
}

static void encode(work *r)
{
    pal_error error;
    pal_token_ids ids = {0};
    int64_t done = 0;
    const int width = pal_tokens_width(pal_tokenizer_vocab_size(r->bpe));
    r->offset = need_memory(calloc((size_t)r->texts + 1, sizeof *r->offset));
    for (int64_t i = 0; i < r->texts; i++) {
        const pal_tokenizer_text *t = &r->text[i];
        ids.count = 0;
        const pal_encode_opts how = {.begin = r->o.special, .end = r->o.special};
        need(pal_tokenizer_encode_with(r->bpe, t->byte, t->size, how, &ids, &error), &error);
        append(r, ids.id, ids.count, width);
        if (r->end >= 0) append(r, &r->end, 1, width);
        r->offset[i + 1] = r->tokens;
        if (done >> 20 != (done + t->size) >> 20) progress(NULL, "encoding", done, r->bytes);
        done += t->size;
    }
    progress_over();
    pal_token_ids_free(&ids);
}

/* What stands around a document is none of its text. */
static void measure_tokens(work *r)
{
    const int64_t vocab = pal_tokenizer_vocab_size(r->bpe);
    r->length = need_memory(calloc((size_t)vocab, sizeof *r->length));
    for (int64_t i = 0; i < vocab; i++) {
        int64_t size;
        pal_tokenizer_token(r->bpe, i, &size);
        r->length[i] = i == r->end ? 0 : (uint32_t)size;
    }
    for (int64_t i = 0; i < r->frame.count; i++) r->length[r->frame.id[i]] = 0;
}

static void write_store(work *r)
{
    pal_error error;
    int64_t size;
    const char *json = pal_tokenizer_json(r->bpe, &size);
    const pal_tokens_source source = {.tokens = r->token,
                                      .count = r->tokens,
                                      .offsets = r->offset,
                                      .documents = r->texts,
                                      .vocab = pal_tokenizer_vocab_size(r->bpe),
                                      .name = size ? "bpe" : "bytes",
                                      .tokenizer = size ? json : NULL,
                                      .lengths = size ? r->length : NULL};
    need(pal_tokens_write(r->o.out, &source, &error), &error);
}

static void report(const work *r)
{
    const int64_t around = r->frame.count + (r->end >= 0), ends = around * r->texts;
    const int64_t vocab = pal_tokenizer_vocab_size(r->bpe);
    printf("tokenizer  %lld tokens%s\n", (long long)vocab,
           r->o.train && vocab < r->o.train
               ? ": no pair is left that occurs twice (and makes a token of at most "
                 "1024 bytes)"
               : "");
    printf("documents  %lld\n", (long long)r->texts);
    printf("text       %lld bytes\n", (long long)r->bytes);
    printf("tokens     %lld, %.4f bytes per token\n", (long long)r->tokens,
           (double)r->bytes / (double)(r->tokens - ends));
}

int main(int argc, char **argv)
{
    work r = {0};
    checked_files(); /* the flags already look at files */
    read_options(&r.o, argc, argv);
    read_documents(&r);
    make_tokenizer(&r);
    encode(&r);
    measure_tokens(&r);
    write_store(&r);
    report(&r);
    pal_tokenizer_free(r.bpe);
    pal_token_ids_free(&r.frame);
    for (int i = 0; i < r.o.files; i++) lm_text_free(&r.file[i]);
    void *memory[] = {r.file, r.text, r.token, r.offset, r.length, r.o.found};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) free(memory[i]);
    return 0;
}
