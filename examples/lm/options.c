/*
 * options.c - the command line of train_lm: one table serves parsing, saving and comparing.
 */
#include "examples/lm/options.h"

#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { TEXT, COUNT, SEED, RATE, DTYPE } kind;

typedef struct flag {
    const char *name;
    kind kind;
    size_t offset, size; /* in lm_options; size of a TEXT */
    double low;          /* the least COUNT */
    bool free;           /* may change when a run is continued */
    bool local;          /* says nothing about the run and is not saved */
    const char *argument, *help;
} flag;

#define FIELD(name)      offsetof(lm_options, name), 0
#define TEXT_FIELD(name) offsetof(lm_options, name), sizeof(((lm_options *)0)->name)
static const flag flags[] = {
    {"mixers", TEXT, TEXT_FIELD(mixers), 0, false, false, "LIST",
     "layers' mixers: name[:key=value...], comma-separated, cycled over the layers (gdn2)"},
    {"layers", COUNT, FIELD(layers), 1, false, false, "N", "number of blocks (2)"},
    {"width", COUNT, FIELD(width), 1, false, false, "N", "model width (64)"},
    {"batch", COUNT, FIELD(batch), 1, false, false, "N", "sequences a step (8)"},
    {"len", COUNT, FIELD(len), 1, false, false, "N", "bytes a sequence (64)"},
    {"steps", COUNT, FIELD(steps), 1, true, false, "N", "steps in all (200)"},
    {"seed", SEED, FIELD(seed), 0, false, false, "N", "of the parameters and the batches (1)"},
    {"lr", RATE, FIELD(lr), 0, false, false, "RATE", "learning rate after the warm-up (3e-3)"},
    {"cosine", COUNT, FIELD(cosine), 0, false, false, "N",
     "the rate falls by half a cosine to a tenth at step N (0: it stays)"},
    {"dtype", DTYPE, FIELD(dtype), 0, false, false, "f32|f64", "of parameters and sums (f32)"},
    {"threads", COUNT, FIELD(threads), 0, true, true, "N", "0: as many as OpenMP gives"},
    {"data", TEXT, TEXT_FIELD(data), 0, false, false, "FILE", "the text (build/corpus.txt)"},
    {"init", TEXT, TEXT_FIELD(init), 0, true, true, "FILE",
     "a new run begins with the parameters of this file, a checkpoint or one by convert.py"},
    {"save-every", COUNT, FIELD(save_every), 0, true, false, "N",
     "steps between checkpoints; the last step is always saved (0: only that)"},
    {"out", TEXT, TEXT_FIELD(out), 0, true, true, "DIR", "folder of the run (build/run)"},
    {"sample", COUNT, FIELD(sample), 0, true, true, "N", "bytes of text to write at the end (300)"},
};
enum { FLAGS = sizeof flags / sizeof flags[0], RESUME = 1000, KEY = 256 };

/* ---- Text to value and back ---- */

static void *field(const lm_options *o, const flag *f) { return (char *)(uintptr_t)o + f->offset; }

/* false: the text is no such value. */
static bool set(lm_options *o, const flag *f, const char *text)
{
    char *end = NULL;
    void *to = field(o, f);
    errno = 0;
    if (f->kind == TEXT) {
        if (!*text || strlen(text) >= f->size) return false;
        memmove(to, text, strlen(text) + 1);
        return true;
    }
    if (f->kind == DTYPE) {
        if (strcmp(text, "f32") && strcmp(text, "f64")) return false;
        *(pal_dtype *)to = strcmp(text, "f64") ? PAL_F32 : PAL_F64;
        return true;
    }
    if (f->kind == RATE) {
        double rate = strtod(text, &end);
        *(double *)to = rate;
        return end != text && !*end && isfinite(rate) && rate > 0;
    }
    if (f->kind == SEED) {
        *(uint64_t *)to = strtoull(text, &end, 10);
        return end != text && !*end && !errno && *text != '-';
    }
    long long n = strtoll(text, &end, 10);
    if (f->offset == offsetof(lm_options, threads))
        *(int *)to = (int)n;
    else
        *(int64_t *)to = n;
    return end != text && !*end && !errno && (double)n >= f->low && n <= INT32_MAX;
}

static void get(const lm_options *o, const flag *f, char *text, size_t size)
{
    const void *from = field(o, f);
    switch (f->kind) {
    case TEXT:
        snprintf(text, size, "%s", (const char *)from);
        break;
    case DTYPE:
        snprintf(text, size, "%s", pal_dtype_name(*(const pal_dtype *)from));
        break;
    case RATE:
        snprintf(text, size, "%.17g", *(const double *)from);
        break;
    case SEED:
        snprintf(text, size, "%llu", (unsigned long long)*(const uint64_t *)from);
        break;
    case COUNT:
        snprintf(text, size, "%lld", (long long)*(const int64_t *)from);
        break;
    }
}

/* ---- The command line ---- */

static error_t parse(int key, char *text, struct argp_state *state)
{
    lm_options *o = state->input;
    if (key == RESUME) {
        o->resume = true;
        return 0;
    }
    if (key == ARGP_KEY_ARG) argp_error(state, "there are only flags, and '%s' is none", text);
    if (key < KEY || key >= KEY + FLAGS) return ARGP_ERR_UNKNOWN;
    const flag *f = &flags[key - KEY];
    if (!set(o, f, text)) argp_error(state, "--%s=%s: not a value it can have", f->name, text);
    o->given |= 1u << (key - KEY);
    return 0;
}

void lm_options_parse(lm_options *o, int argc, char **argv)
{
    *o = (lm_options){.mixers = "gdn2",
                      .data = "build/corpus.txt",
                      .out = "build/run",
                      .layers = 2,
                      .width = 64,
                      .batch = 8,
                      .len = 64,
                      .steps = 200,
                      .seed = 1,
                      .lr = 3e-3,
                      .sample = 300};
    struct argp_option table[FLAGS + 2] = {{0}};
    for (int i = 0; i < FLAGS; i++)
        table[i] = (struct argp_option){
            .name = flags[i].name, .key = KEY + i, .arg = flags[i].argument, .doc = flags[i].help};
    table[FLAGS] = (struct argp_option){
        .name = "resume", .key = RESUME, .doc = "continue the run that is in --out, bit for bit"};
    const struct argp argp = {
        .options = table,
        .parser = parse,
        .doc = "Trains a language model on the bytes of a text: embedding, blocks of a mixer and "
               "an MLP, head. The folder of a run holds checkpoints (step-00000200.h5), log.csv "
               "and loss.svg."};
    argp_parse(&argp, argc, argv, 0, NULL, o);
    pal_error error;
    if (pal_mixers_check(o->mixers, &error) != PAL_OK) {
        fprintf(stderr, "train_lm: --mixers %s: %s\n", o->mixers, error.message);
        exit(EXIT_FAILURE);
    }
}

/* ---- In a checkpoint ---- */

enum { VALUE = 2048 };

pal_status lm_options_put(const lm_options *o, pal_h5 *file, pal_error *error)
{
    for (int i = 0; i < FLAGS; i++) {
        char value[VALUE];
        if (flags[i].local) continue;
        get(o, &flags[i], value, sizeof value);
        pal_status s = pal_h5_put_text(file, "/", flags[i].name, value, error);
        if (s != PAL_OK) return s;
    }
    return PAL_OK;
}

pal_status lm_options_get(lm_options *o, pal_h5 *file, pal_error *error)
{
    for (int i = 0; i < FLAGS; i++) {
        const flag *f = &flags[i];
        char saved[VALUE], now[VALUE];
        if (f->local) continue;
        pal_status s = pal_h5_get_text(file, "/", f->name, saved, sizeof saved, error);
        if (s != PAL_OK) return s;
        get(o, f, now, sizeof now);
        bool given = o->given >> i & 1;
        /* Which text it is, its checksum decides: a file may have moved. */
        if (given && !f->free && strcmp(f->name, "data") && strcmp(saved, now))
            return pal_error_set(error, PAL_EVALUE,
                                 "--%s is %.200s, and %.200s in the run that is continued; only "
                                 "--steps, --save-every and --threads may change",
                                 f->name, now, saved);
        if (!given && !set(o, f, saved))
            return pal_error_set(error, PAL_EFORMAT, "the checkpoint's %s is '%.200s'", f->name,
                                 saved);
    }
    return PAL_OK;
}
