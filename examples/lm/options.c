/*
 * options.c - one table of flags serves the command line, files, help, saving and comparing.
 */
#include "examples/lm/options.h"
#include "examples/lm/keep.h"
#include "examples/lm/text.h"

#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { TEXT, LIST, CHOICE, COUNT, SEED, REAL, SWITCH } kind;
typedef enum life {
    FIXED, /* shapes the run */
    FREE,  /* may change when it is continued */
    LOCAL  /* says nothing about it and is not saved */
} life;

typedef struct flag {
    const char *name;
    kind kind;
    size_t offset, size; /* in lm_options; size of a text */
    life life;
    double low, high;     /* of a number; high 0: no limit. low 1: a text that is not empty */
    const char *argument; /* of a CHOICE: the words it can be, with | between them */
    const char *help;
} flag;

#define FIELD(name) offsetof(lm_options, name), sizeof(((lm_options *)0)->name)
#define BELOW_ONE   (1 - 0x1p-53)
static const flag flags[] = {
    {"", TEXT, 0, 0, LOCAL, 0, 0, NULL, "The model:"},
    {"mixers", LIST, FIELD(mixers), FIXED, 1, 0, "LIST",
     "layers' mixers: name[:key=value...], comma-separated, cycled over the layers; N*(LIST) "
     "repeats "
     "(gdn2)"},
    {"layers", COUNT, FIELD(layers), FIXED, 0, 0, "N",
     "number of blocks; 0: one for each entry of --mixers (2)"},
    {"width", COUNT, FIELD(width), FIXED, 1, 0, "N", "model width (64)"},
    {"mlp-width", COUNT, FIELD(mlp_width), FIXED, 0, 0, "N",
     "inner width of the MLPs (0: 8/3 of --width, up to a multiple of 32)"},
    {"no-mlp", SWITCH, FIELD(no_mlp), FIXED, 0, 0, NULL, "blocks of a mixer alone, without an MLP"},
    {"vocab", COUNT, FIELD(vocab), FIXED, 0, 0, "N",
     "tokens that the model knows (0: those of the data)"},
    {"tie", SWITCH, FIELD(tie), FIXED, 0, 0, NULL, "the head is the embedding table"},
    {"norm-eps", REAL, FIELD(norm_eps), FIXED, 0, 1, "EPS", "of the blocks' norms (0: 1e-5)"},
    {"dtype", CHOICE, FIELD(dtype), FIXED, 0, 0, "f32|f64", "of parameters and sums (f32)"},
    {"recompute", SWITCH, FIELD(recompute), FREE, 0, 0, NULL,
     "blocks are computed twice, and need less memory"},

    {"", TEXT, 0, 0, LOCAL, 0, 0, NULL, "The data:"},
    {"data", TEXT, FIELD(data), FIXED, 1, 0, "FILE",
     "a store of tokens made by tokenize, or any other file, whose bytes are the tokens "
     "(build/corpus.txt)"},
    {"data-checksum", TEXT, FIELD(data_checksum), FIXED, 0, 0, "CRC",
     "of --data; others are refused. config.txt says it (any)"},
    {"batch", COUNT, FIELD(batch), FIXED, 1, 0, "N", "sequences of a batch (8)"},
    {"len", COUNT, FIELD(len), FIXED, 1, 0, "N", "tokens of a sequence (64)"},
    {"packed", SWITCH, FIELD(packed), FIXED, 0, 0, NULL,
     "whole documents end to end, that see nothing of each other, and not windows of the text"},
    {"held-out", REAL, FIELD(held_out), FIXED, 0, BELOW_ONE, "SHARE",
     "of the documents, or of a text that is one, kept from the end for evaluation (0)"},
    {"no-prefetch", SWITCH, FIELD(no_prefetch), FREE, 0, 0, NULL,
     "no thread reads batches ahead; they are the same"},

    {"", TEXT, 0, 0, LOCAL, 0, 0, NULL, "The updates:"},
    {"steps", COUNT, FIELD(steps), FREE, 1, 0, "N", "steps in all (200)"},
    {"optimizer", CHOICE, FIELD(optimizer), FIXED, 0, 0, "adamw|adam|sgd|muon|lion", "(adamw)"},
    {"lr", REAL, FIELD(lr), FIXED, 1e-300, 0, "RATE", "learning rate after the warm-up (3e-3)"},
    {"schedule", CHOICE, FIELD(schedule), FIXED, 0, 0, "constant|linear|cosine|wsd",
     "of the rate; all but constant end at --schedule-steps (constant)"},
    {"warmup", COUNT, FIELD(warmup), FIXED, 0, 0, "N",
     "steps in which the rate rises, at most those of the schedule (20)"},
    {"schedule-steps", COUNT, FIELD(schedule_steps), FIXED, 0, 0, "N",
     "where the schedule ends (0: at --steps, which may then not change in a resume)"},
    {"decay-steps", COUNT, FIELD(decay_steps), FIXED, 0, 0, "N",
     "of wsd: the last steps, in which the rate falls (0: a fifth)"},
    {"lr-end", REAL, FIELD(lr_end), FIXED, 0, 1, "SHARE", "of --lr at the end (0.1)"},
    {"weight-decay", REAL, FIELD(weight_decay), FIXED, 0, 0, "X", "(0.1)"},
    {"clip", REAL, FIELD(clip), FIXED, 0, 0, "NORM", "of the gradients; 0: no limit (1)"},
    {"accumulate", COUNT, FIELD(accumulate), FIXED, 1, 0, "N", "batches a step (1)"},
    {"average", REAL, FIELD(average), FIXED, 0, BELOW_ONE, "DECAY",
     "a moving average of the weights is evaluated and writes the samples; 0: none (0)"},
    {"seed", SEED, FIELD(seed), FIXED, 0, 0, "N", "of parameters and order of the data (1)"},
    {"init", TEXT, FIELD(init), FIXED, 0, 0, "FILE",
     "a new run begins with the parameters of this file, a checkpoint or one by convert.py; with "
     "their average if it has one"},
    {"init-last", SWITCH, FIELD(init_last), FIXED, 0, 0, NULL,
     "of --init, the parameters of the last step although it has an average"},
    {"init-checksum", TEXT, FIELD(init_checksum), FIXED, 0, 0, "SUM",
     "of the parameters of --init; others are refused. config.txt says it (any)"},

    {"", TEXT, 0, 0, LOCAL, 0, 0, NULL, "The run:"},
    {"out", TEXT, FIELD(out), LOCAL, 1, 0, "DIR", "its folder (build/run)"},
    {"save-every", COUNT, FIELD(save_every), FREE, 0, 0, "N",
     "steps between checkpoints; the last step and the best are always saved (0: a twentieth of "
     "--steps)"},
    {"keep", COUNT, FIELD(keep), FREE, 0, 0, "N",
     "checkpoints that stay, beside the best; 0: all (3)"},
    {"on-save-error", CHOICE, FIELD(on_save_error), LOCAL, 0, 0, "stop|go-on",
     "what a full disk means (stop)"},
    {"eval-every", COUNT, FIELD(eval_every), FREE, 0, 0, "N",
     "steps between evaluations of --held-out (0: at the last step)"},
    {"sample-every", COUNT, FIELD(sample_every), FREE, 0, 0, "N",
     "steps between samples in samples.txt (0: none)"},
    {"sample", COUNT, FIELD(sample), FREE, 0, 0, "N", "tokens of a sample and at the end (300)"},
    {"train-seconds", REAL, FIELD(train_seconds), LOCAL, 0, 0, "T",
     "stop after so long, as by a signal; 0: no limit (0)"},
    {"threads", COUNT, FIELD(threads), LOCAL, 0, 4096, "N", "0: as many as OpenMP gives (0)"},
    {"sequence-parallel", COUNT, FIELD(sequence_parallel), LOCAL, 1, 0, "N",
     "under mpirun: ranks that share each sequence (1)"},
    {"shard", SWITCH, FIELD(shard), LOCAL, 0, 0, NULL,
     "under mpirun: each rank keeps a part of the optimiser's numbers"},
    {"bucket", COUNT, FIELD(bucket), LOCAL, 0, 0, "BYTES",
     "under mpirun: of gradient summed at once (0: a mebibyte)"},
    {"resume", SWITCH, FIELD(resume), LOCAL, 0, 0, NULL,
     "continue the run that is in --out, bit for bit"},
    {"resume-from", COUNT, FIELD(resume_from), LOCAL, 1, 0, "STEP",
     "the same from an older checkpoint; later ones are renamed"},
};
enum { FLAGS = sizeof flags / sizeof flags[0], CONFIG = 1000, PRINT, KEY = 256, VALUE = 1100 };
_Static_assert(FLAGS <= 64, "lm_options.given has a bit for each flag");

static const lm_options defaults = {.mixers = "gdn2",
                                    .dtype = "f32",
                                    .layers = 2,
                                    .width = 64,
                                    .data = "build/corpus.txt",
                                    .batch = 8,
                                    .len = 64,
                                    .optimizer = "adamw",
                                    .schedule = "constant",
                                    .steps = 200,
                                    .accumulate = 1,
                                    .warmup = 20,
                                    .lr = 3e-3,
                                    .lr_end = 0.1,
                                    .weight_decay = 0.1,
                                    .clip = 1,
                                    .seed = 1,
                                    .keep = 3,
                                    .on_save_error = "stop",
                                    .out = "build/run",
                                    .sample = 300,
                                    .sequence_parallel = 1};

/* ---- Text to value and back ---- */

static void *field(const lm_options *o, const flag *f) { return (char *)(uintptr_t)o + f->offset; }

static bool is_among(const char *word, const char *words)
{
    size_t n = strlen(word);
    for (const char *w = words; *w; w += strcspn(w, "|"), w += *w == '|')
        if (n == strcspn(w, "|") && strncmp(w, word, n) == 0) return true;
    return false;
}

static bool within(const flag *f, double x)
{
    return isfinite(x) && x >= f->low && (f->high == 0 || x <= f->high);
}

/* Which a file of --config would not keep. */
static bool has_outer_blank(const char *text)
{
    const size_t n = strlen(text);
    return n && (strchr(" \t", text[0]) || strchr(" \t", text[n - 1]));
}

/* false: the text is no such value. */
static bool set(lm_options *o, const flag *f, const char *text)
{
    char *end = NULL;
    void *to = field(o, f);
    errno = 0;
    switch (f->kind) {
    case LIST:
        if (strpbrk(text, "\n\r") || has_outer_blank(text) || !*text) return false;
        *(const char **)to = lm_keep(text, strlen(text));
        return true;
    case CHOICE:
        if (!is_among(text, f->argument)) return false; /* and then a text */
        /* fall through */
    case TEXT:
        if (strlen(text) >= f->size || strpbrk(text, "\n\r") || has_outer_blank(text) ||
            (f->low > 0 && !*text))
            return false;
        memmove(to, text, strlen(text) + 1);
        return true;
    case SWITCH:
        *(bool *)to = strcmp(text, "true") == 0;
        return *(bool *)to || strcmp(text, "false") == 0;
    case REAL:
        *(double *)to = strtod(text, &end);
        return end != text && !*end && within(f, *(double *)to);
    case SEED:
        *(uint64_t *)to = strtoull(text, &end, 10);
        return end != text && !*end && !errno && *text != '-';
    case COUNT:
        *(int64_t *)to = strtoll(text, &end, 10);
        return end != text && !*end && !errno && *(int64_t *)to <= INT32_MAX &&
               within(f, (double)*(int64_t *)to);
    }
    return false;
}

/* The value as a text, which is written to `text` unless it is a list. */
static const char *get(const lm_options *o, const flag *f, char text[VALUE])
{
    const void *from = field(o, f);
    switch (f->kind) {
    case LIST:
        return *(const char *const *)from;
    case TEXT:
    case CHOICE:
        snprintf(text, VALUE, "%s", (const char *)from);
        break;
    case SWITCH:
        snprintf(text, VALUE, "%s", *(const bool *)from ? "true" : "false");
        break;
    case REAL: /* the fewest digits that are the same number */
        snprintf(text, VALUE, "%.15g", *(const double *)from);
        if (strtod(text, NULL) != *(const double *)from)
            snprintf(text, VALUE, "%.17g", *(const double *)from);
        break;
    case SEED:
        snprintf(text, VALUE, "%llu", (unsigned long long)*(const uint64_t *)from);
        break;
    case COUNT:
        snprintf(text, VALUE, "%lld", (long long)*(const int64_t *)from);
        break;
    }
    return text;
}

static int find(const char *name)
{
    for (int i = 0; i < FLAGS; i++)
        if (*name && strcmp(flags[i].name, name) == 0) return i;
    return -1;
}

/* ---- Files ---- */

char *lm_options_text(const lm_options *o)
{
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    for (int i = 0; to && i < FLAGS; i++) {
        char value[VALUE];
        const flag *f = &flags[i];
        if (!*f->name && strcmp(f->help, "The run:"))
            fprintf(to, "%s# %s\n", i ? "\n" : "", f->help);
        else if (!*f->name)
            fprintf(to, "\n# The run (--out, --threads and what "
                        "says nothing about it are flags alone):\n");
        else if (f->life != LOCAL)
            fprintf(to, "%s = %s\n", f->name, get(o, f, value));
    }
    if (to && fclose(to) == 0) return text;
    fprintf(stderr, "out of memory for the text of the options\n");
    exit(EXIT_FAILURE);
}

char *lm_trim(char *text)
{
    text += strspn(text, " \t");
    size_t n = strlen(text);
    while (n && strchr(" \t\r", text[n - 1])) text[--n] = '\0';
    return text;
}

/* One line; *seen has the flags of the lines before. */
static pal_status read_line(lm_options *o, char *line, int number, uint64_t *seen, pal_error *error)
{
    line = lm_trim(line);
    if (!*line || *line == '#') return PAL_OK;
    char *equals = strchr(line, '=');
    if (!equals)
        return pal_error_set(error, PAL_EFORMAT, "line %d: '%.100s' is not 'name = value'", number,
                             line);
    *equals = '\0';
    const char *name = lm_trim(line), *value = lm_trim(equals + 1);
    int i = find(name);
    if (i < 0)
        return pal_error_set(error, PAL_EFORMAT, "line %d: there is no flag '%.100s'", number,
                             name);
    if (*seen >> i & 1)
        return pal_error_set(error, PAL_EFORMAT, "line %d: %s is there twice", number, name);
    if (!set(o, &flags[i], value))
        return pal_error_set(error, PAL_EFORMAT, "line %d: %s = %.200s: not a value it can have",
                             number, name, value);
    *seen |= (uint64_t)1 << i;
    return PAL_OK;
}

/* All lines; *seen becomes the flags that they set. */
static pal_status read_lines(lm_options *o, const char *text, uint64_t *seen, pal_error *error)
{
    *seen = 0;
    for (int number = 1; *text; number++) {
        const size_t n = strcspn(text, "\n");
        char *line = strndup(text, n);
        if (!line) return pal_error_set(error, PAL_ENOMEM, "line %d: out of memory", number);
        const pal_status s = read_line(o, line, number, seen, error);
        free(line);
        if (s != PAL_OK) return s;
        text += n + (text[n] == '\n');
    }
    return PAL_OK;
}

pal_status lm_options_read(lm_options *o, const char *text, pal_error *error)
{
    uint64_t seen;
    *o = defaults;
    return read_lines(o, text, &seen, error);
}

pal_status lm_options_continue(lm_options *o, const char *text, pal_error *error)
{
    lm_options saved;
    pal_status s = lm_options_read(&saved, text, error);
    if (s != PAL_OK) return s;
    for (int i = 0; i < FLAGS; i++) {
        const flag *f = &flags[i];
        char was[VALUE], is[VALUE];
        if (f->life == LOCAL) continue;
        const char *before = get(&saved, f, was), *now = get(o, f, is);
        bool given = o->given >> i & 1;
        /* Which data it is, its checksum decides: a store may have moved. */
        if (given && f->life == FIXED && strcmp(f->name, "data") && strcmp(before, now))
            return pal_error_set(error, PAL_EVALUE,
                                 "--%s is %.200s, and %.200s in the run that is continued", f->name,
                                 now, before);
        if (!given && !set(o, f, before))
            return pal_error_set(error, PAL_EFORMAT, "%s is '%.200s'", f->name, before);
    }
    if (o->steps != saved.steps && strcmp(o->schedule, "constant") && !o->schedule_steps)
        return pal_error_set(error, PAL_EVALUE,
                             "--steps is %lld, and %lld in the run that is continued, whose %s "
                             "schedule ends there: the rates of the steps that were made would "
                             "have been others. Begin a new run by --init from the checkpoint, or "
                             "say --schedule-steps where a run begins",
                             (long long)o->steps, (long long)saved.steps, o->schedule);
    return PAL_OK;
}

/* ---- The command line ---- */

typedef struct line {
    const char *text[FLAGS]; /* NULL: not given */
    const char *config;
    bool print;
} line;

static error_t parse(int key, char *text, struct argp_state *state)
{
    line *l = state->input;
    lm_options scratch;
    if (key == CONFIG || key == PRINT) {
        if (key == CONFIG) l->config = text;
        if (key == PRINT) l->print = true;
        return 0;
    }
    if (key == ARGP_KEY_ARG) argp_error(state, "there are only flags, and '%s' is none", text);
    if (key < KEY || key >= KEY + FLAGS) return ARGP_ERR_UNKNOWN;
    const flag *f = &flags[key - KEY];
    if (!text) text = "true";
    if (!set(&scratch, f, text))
        argp_error(state, "--%s=%s: not a value it can have", f->name, text);
    l->text[key - KEY] = text;
    return 0;
}

static void fail(const char *what, const char *message)
{
    fprintf(stderr, "train_lm: %s: %s\n", what, message);
    exit(EXIT_FAILURE);
}

static void read_config(lm_options *o, const char *path)
{
    lm_text text;
    pal_error error;
    if (lm_text_read(&text, path, &error) != PAL_OK) fail("--config", error.message);
    if (text.size >= 1 << 20 || memchr(text.byte, 0, (size_t)text.size))
        fail(path, "it is no text of less than a mebibyte");
    char *lines = strndup((const char *)text.byte, (size_t)text.size);
    lm_text_free(&text);
    if (!lines) fail(path, "out of memory");
    if (read_lines(o, lines, &o->given, &error) != PAL_OK) fail(path, error.message);
    free(lines);
}

/* What a file says of a flag that the command line has another value for. */
static void forget(lm_options *o, const line *l, const char *flag_name, const char *about)
{
    const int i = find(about);
    if (!l->text[find(flag_name)] || l->text[i]) return;
    set(o, &flags[i], "");
    o->given &= ~((uint64_t)1 << i);
}

static const char doc[] =
    "Trains a language model: embedding, blocks of a mixer and an MLP, head. Its folder holds "
    "checkpoints, what they were made by (config.txt), a log (log.csv, log.jsonl), plots and "
    "samples; docs/training.md tells about them.\v"
    "Examples:\n\n"
    "  train_lm --data book.txt --out build/book --layers 4 --width 128\n"
    "  train_lm --data store.h5 --held-out 0.05 --eval-every 100 --schedule cosine --steps 5000\n"
    "  train_lm --resume --out build/book\n"
    "  train_lm --config build/book/config.txt --seed 2 --out build/other\n\n"
    "SIGINT (control-C), SIGTERM and SIGUSR1 end the step, save the run and end the program; "
    "--resume goes on with it. A second SIGINT ends at once.\n\n"
    "mpirun -n 4 train_lm ... trains one model on 4 ranks, each with its rows of every batch; "
    "SIGUSR1 to mpirun stops and saves. --resume may have another number of ranks.";

void lm_options_parse(lm_options *o, int argc, char **argv)
{
    struct argp_option table[FLAGS + 4] = {{0}};
    line l = {.config = NULL};
    int group = 0;
    for (int i = 0; i < FLAGS; i++) {
        const flag *f = &flags[i];
        bool header = !*f->name;
        group += header;
        table[i] = (struct argp_option){.name = header ? NULL : f->name,
                                        .key = header ? 0 : KEY + i,
                                        .arg = f->argument ? f->argument
                                               : header    ? NULL
                                                           : "BOOL",
                                        .flags = f->kind == SWITCH ? OPTION_ARG_OPTIONAL : 0,
                                        .doc = f->help,
                                        .group = group};
    }
    table[FLAGS] = (struct argp_option){.name = "config",
                                        .key = CONFIG,
                                        .arg = "FILE",
                                        .doc = "lines 'name = value' for flags that are not given",
                                        .group = group};
    table[FLAGS + 1] = (struct argp_option){
        .name = "print-config", .key = PRINT, .doc = "print such a file and end", .group = group};
    const struct argp argp = {.options = table, .parser = parse, .doc = doc};
    argp_parse(&argp, argc, argv, 0, NULL, &l);
    *o = defaults;
    if (l.config) read_config(o, l.config);
    for (int i = 0; i < FLAGS; i++) {
        if (!l.text[i]) continue;
        set(o, &flags[i], l.text[i]);
        o->given |= (uint64_t)1 << i;
    }
    /* The checksums that --config tells are those of the files that it tells. */
    forget(o, &l, "data", "data-checksum");
    forget(o, &l, "init", "init-checksum");
    if (o->resume_from) o->resume = true;
    if (!l.print) return;
    fputs(lm_options_text(o), stdout);
    exit(fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* ---- What they mean ---- */

pal_lm_opts lm_options_model(const lm_options *o)
{
    return (pal_lm_opts){.vocab = o->vocab,
                         .width = o->width,
                         .layers = o->layers,
                         .mixers = o->mixers,
                         .mlp_width = o->mlp_width,
                         .tie = o->tie,
                         .no_mlp = o->no_mlp,
                         .norm_eps = o->norm_eps,
                         .dtype = strcmp(o->dtype, "f64") ? PAL_F32 : PAL_F64,
                         .recompute = o->recompute};
}

pal_schedule lm_options_schedule(const lm_options *o)
{
    pal_schedule s = {.kind = PAL_CONSTANT,
                      .lr = o->lr,
                      .min_lr = o->lr * o->lr_end,
                      .warmup = o->warmup,
                      .steps = o->schedule_steps ? o->schedule_steps : o->steps,
                      .decay_steps = o->decay_steps};
    if (strcmp(o->schedule, "linear") == 0) s.kind = PAL_LINEAR;
    if (strcmp(o->schedule, "cosine") == 0) s.kind = PAL_COSINE;
    if (strcmp(o->schedule, "wsd") == 0) s.kind = PAL_WSD;
    if (s.kind != PAL_CONSTANT && s.warmup > s.steps) s.warmup = s.steps;
    if (s.kind == PAL_WSD && s.decay_steps == 0) {
        s.decay_steps = s.steps / 5;
        if (s.decay_steps > s.steps - s.warmup) s.decay_steps = s.steps - s.warmup;
    }
    return s;
}
