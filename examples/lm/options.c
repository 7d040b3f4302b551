/*
 * options.c - tables of flags serve the command line, files, help, saving and comparing.
 */
#include "examples/lm/options.h"
#include "examples/flags/files.h"
#include "examples/flags/flags.h"
#include "examples/lm/keep.h"
#include "examples/lm/optimizer.h"
#include "examples/lm/rates.h"
#include "examples/lm/text.h"
#include "layers/models/description.h"
#include "tensor/stream.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What becomes of a flag when a run is continued. */
enum life {
    FIXED = 0,          /* it shapes the run */
    FREE = PAL_LM_FREE, /* it may change */
    MOVED,              /* a file that may lie elsewhere: its checksum decides */
    LOCAL               /* it says nothing about the run and is not saved */
};

enum { MOST = INT32_MAX };
#define ROW(type, field, standard, name, kind, ...) \
    {name, kind, PAL_AT(lm_options, field), __VA_ARGS__},
static const pal_key data_rows[] = {
#define LM_DATA ROW
#include "examples/lm/options.def"
};
static const pal_key update_rows[] = {
#define LM_UPDATE ROW
#include "examples/lm/options.def"
};
static const pal_key run_rows[] = {
#define LM_RUN ROW
#include "examples/lm/options.def"
};
static const pal_keys data_keys = PAL_KEYS(data_rows);
static const pal_keys update_keys = PAL_KEYS(update_rows);
static const pal_keys run_keys = PAL_KEYS(run_rows);
static const flags_section sections[] = {{"The model:", &pal_lm_keys, offsetof(lm_options, model)},
                                         {"The data:", &data_keys, 0},
                                         {"The updates:", &update_keys, 0},
                                         {"The run:", &run_keys, 0}};
enum { SECTIONS = sizeof sections / sizeof *sections, CONFIG = 1, PRINT, VALUE = 1100 };

static const lm_options defaults = {
    .model = {.mixers = "gdn2", .layers = 2, .width = 64},
#define LM_FLAG(type, field, standard, ...) .field = standard,
#include "examples/lm/options.def"
};

/* ---- Files ---- */

static const pal_key *row(int i, size_t *offset)
{
    return flags_row(sections, SECTIONS, i, offset);
}
static int find(const char *name) { return flags_find(sections, SECTIONS, name); }

static const void *in(const lm_options *o, size_t offset) { return (const char *)o + offset; }

static bool has_local(const pal_keys *keys)
{
    for (int i = 0; i < keys->count; i++)
        if (keys->key[i].tag == LOCAL) return true;
    return false;
}

static void put(FILE *to, const pal_key *key, const void *from)
{
    char value[VALUE];
    const char *text = value;
    if (key->kind == PAL_KEY_STRING) /* of any length */
        memcpy(&text, (const char *)from + key->offset, sizeof text);
    else
        pal_key_print(key, from, value, sizeof value);
    fprintf(to, "%s = %s\n", key->name, text);
}

static bool is_written(const pal_key *key, const void *from)
{
    if (key->tag == LOCAL || !key->sparse) return key->tag != LOCAL;
    if (key->kind == PAL_KEY_TEXT) return ((const char *)from)[key->offset];
    return pal_key_number(key, from) != 0;
}

char *lm_options_text(const lm_options *o)
{
    FILE *to = pal_stream_open();
    for (int s = 0; to && s < SECTIONS; s++) {
        const pal_keys *keys = sections[s].keys;
        const char *title = sections[s].title;
        if (title)
            fprintf(to, "%s# %.*s%s:\n", s ? "\n" : "", (int)strcspn(title, ":"), title,
                    has_local(keys) ? " (--out, --threads and what says nothing about it are flags "
                                      "alone)"
                                    : "");
        for (int i = 0; i < keys->count; i++)
            if (is_written(&keys->key[i], in(o, sections[s].offset)))
                put(to, &keys->key[i], in(o, sections[s].offset));
    }
    char *text = to ? pal_stream_close(to, NULL) : NULL;
    if (text) return text;
    fprintf(stderr, "%s: the text of the options cannot be kept in memory: %s\n",
            program_invocation_short_name, strerror(errno));
    exit(EXIT_FAILURE);
}

/* One line; seen has the flags of the lines before. */
static pal_status read_line(lm_options *o, char *line, int number, bool seen[FLAGS_MOST],
                            pal_error *error)
{
    char *name, *text;
    if (pal_key_line(line, number, &name, &text, error) != PAL_OK) return PAL_EFORMAT;
    if (!name) return PAL_OK;
    const char *value = text;
    char prefix[32];
    const int i = find(name);
    snprintf(prefix, sizeof prefix, "line %d: ", number);
    pal_status s = i < 0 ? flags_unknown(sections, SECTIONS, prefix, name, error) : PAL_OK;
    if (i >= 0 && seen[i])
        s = pal_error_set(error, PAL_EVALUE, "%s%s is there twice", prefix, name);
    /* A string of the options points at its text. */
    size_t offset;
    const bool string = i >= 0 && row(i, &offset)->kind == PAL_KEY_STRING;
    if (string) value = lm_keep(value, strlen(value));
    if (s == PAL_OK) s = flags_set(sections, SECTIONS, i, o, prefix, value, error);
    if (s == PAL_OK) seen[i] = true;
    if (s != PAL_OK && error) error->status = PAL_EFORMAT;
    return s == PAL_OK ? PAL_OK : PAL_EFORMAT;
}

/* All lines; seen becomes the flags that they set. */
static pal_status read_lines(lm_options *o, const char *text, bool seen[FLAGS_MOST],
                             pal_error *error)
{
    memset(seen, 0, FLAGS_MOST * sizeof *seen);
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
    bool seen[FLAGS_MOST];
    *o = defaults;
    return read_lines(o, text, seen, error);
}

pal_status lm_options_continue(lm_options *o, const char *text, pal_error *error)
{
    lm_options saved;
    pal_status s = lm_options_read(&saved, text, error);
    if (s != PAL_OK) return s;
    size_t offset;
    const pal_key *key;
    for (int i = 0; (key = row(i, &offset)); i++) {
        char before[VALUE], now[VALUE];
        const bool given = o->given[i];
        if (key->tag == LOCAL || pal_key_same(key, in(&saved, offset), in(o, offset))) continue;
        if (!given)
            memcpy((char *)o + offset + key->offset, (char *)&saved + offset + key->offset,
                   key->size);
        if (!given || key->tag != FIXED) continue;
        pal_key_print(key, in(&saved, offset), before, sizeof before);
        pal_key_print(key, in(o, offset), now, sizeof now);
        return pal_error_set(error, PAL_EVALUE,
                             "--%s is %.200s, and %.200s in the run that is continued", key->name,
                             now, before);
    }
    if (o->steps == saved.steps) return PAL_OK;
    char schedule[16];
    pal_key_print(row(find("schedule"), &offset), in(o, offset), schedule, sizeof schedule);
    if (lm_schedule_ends(o))
        return pal_error_set(error, PAL_EVALUE,
                             "--steps is %lld, and %lld in the run that is continued, whose %s "
                             "schedule ends there: the rates of the steps that were made would "
                             "have been others. Begin a new run by --init from the checkpoint, or "
                             "say --schedule-steps where a run begins",
                             (long long)o->steps, (long long)saved.steps, schedule);
    if (lm_schedules_end(o))
        return pal_error_set(error, PAL_EVALUE,
                             "--steps is %lld, and %lld in the run that is continued, where a "
                             "schedule of --schedule-of ends; say its steps where a run begins",
                             (long long)o->steps, (long long)saved.steps);
    return PAL_OK;
}

/* What a model may do otherwise than the one that it is to begin with. */
static bool is_free(const char *name)
{
    return strcmp(name, "dtype") == 0 || strcmp(name, "dropout") == 0 ||
           strcmp(name, "recompute") == 0;
}

/* Whether some layer has mixers of two kinds. */
static bool other_kinds(const lm_options *a, const lm_options *b)
{
    for (int64_t i = 0; i < b->model.layers; i++) {
        size_t n, m;
        const char *x = pal_mixers_at(a->model.mixers, i, &n);
        const char *y = pal_mixers_at(b->model.mixers, i, &m);
        if (!x || !y) return false;
        n = strcspn(x, ":,") < n ? strcspn(x, ":,") : n;
        m = strcspn(y, ":,") < m ? strcspn(y, ":,") : m;
        if (n != m || strncmp(x, y, n) != 0) return true;
    }
    return false;
}

bool lm_options_other_mixers(const lm_options *o, const char *text)
{
    lm_options is;
    pal_error error;
    return lm_options_read(&is, text, &error) == PAL_OK && other_kinds(o, &is);
}

pal_status lm_options_begin(lm_options *o, const char *text, bool maps, pal_error *error)
{
    lm_options is;
    size_t offset;
    const pal_key *key;
    const pal_status s = lm_options_read(&is, text, error);
    if (s != PAL_OK) return s;
    for (int i = 0; i < pal_lm_keys.count && (key = row(i, &offset)); i++) {
        char wanted[VALUE], now[VALUE];
        if (is_free(key->name) || pal_key_same(key, in(&is, offset), in(o, offset))) continue;
        if (!o->given[i]) {
            memcpy((char *)o + offset + key->offset, (char *)&is + offset + key->offset, key->size);
            continue;
        }
        if (maps && strcmp(key->name, "mixers") == 0 && other_kinds(o, &is)) continue;
        pal_key_print(key, in(&is, offset), wanted, sizeof wanted);
        pal_key_print(key, in(o, offset), now, sizeof now);
        return pal_error_set(error, PAL_EVALUE, "--%s is %.200s, and the model has %.200s",
                             key->name, now, wanted);
    }
    if (!*o->like) memcpy(o->like, is.like, sizeof o->like);
    return PAL_OK;
}

pal_status lm_options_compare(const char *text, const char *saved, const lm_options *given,
                              pal_error *error)
{
    lm_options is, was;
    *error = (pal_error){0};
    pal_status s = lm_options_read(&was, saved, error);
    if (s == PAL_OK) s = lm_options_read(&is, text, error);
    size_t offset;
    const pal_key *key;
    for (int i = 0; s == PAL_OK && (key = row(i, &offset)); i++) {
        char found[VALUE], wanted[VALUE];
        const bool fixed = key->tag == FIXED;
        if (key->tag == LOCAL || pal_key_same(key, in(&is, offset), in(&was, offset))) continue;
        if (!fixed && (*error->message || given->given[i])) continue;
        pal_key_print(key, in(&is, offset), found, sizeof found);
        pal_key_print(key, in(&was, offset), wanted, sizeof wanted);
        pal_error_set(error, PAL_EVALUE, "it has %s = %.200s, and the checkpoint %.200s", key->name,
                      found, wanted);
        if (fixed) s = PAL_EVALUE;
    }
    return s;
}

/* ---- The command line ---- */

typedef struct line {
    flags flags;
    lm_options told; /* the flags that were given; the others have their defaults */
    const char *config;
    bool print;
} line;

static error_t parse(int key, char *text, struct argp_state *state)
{
    line *l = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &l->flags;
        return 0;
    case CONFIG:
        l->config = text;
        return 0;
    case PRINT:
        l->print = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "there are only flags, and '%s' is none", text);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
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
    if (lm_text_read_most(&text, path, LM_MOST_LINES, &error) != PAL_OK)
        fail("--config", error.message);
    if (memchr(text.byte, 0, (size_t)text.size)) fail(path, "it is no text");
    char *lines = strndup((const char *)text.byte, (size_t)text.size);
    lm_text_free(&text);
    if (!lines) fail(path, "out of memory");
    if (read_lines(o, lines, o->given, &error) != PAL_OK) fail(path, error.message);
    free(lines);
}

/* What a file says of a flag that the command line has another value for. */
static void forget(lm_options *o, const line *l, const char *flag_name, const char *about)
{
    size_t offset;
    const int i = find(about);
    const pal_key *key = row(i, &offset);
    if (!flags_given(&l->flags, flag_name) || flags_given(&l->flags, about)) return;
    ((char *)o + offset + key->offset)[0] = '\0';
    o->given[i] = false;
}

/* Told by its first bytes only: HDF5 sees no file before the program check has seen it. */
static bool is_hdf5(const char *path)
{
    char begin[8];
    struct stat is;
    FILE *file = stat(path, &is) == 0 && S_ISREG(is.st_mode) ? fopen(path, "rb") : NULL;
    const size_t size = file ? fread(begin, 1, sizeof begin, file) : 0;
    if (file) fclose(file);
    return pal_bytes_are_hdf5(begin, size);
}

/* A store is read where it is; a text is copied to data.h5. */
static void check_files(const lm_options *o, const char *config)
{
    static const char *const names[] = {"step-*.h5", "config.txt",  "log.csv",  "log.jsonl",
                                        "best.txt",  "samples.txt", "loss.svg", "rate.svg",
                                        "data.h5",   NULL};
    static const char *const names_of_store[] = {"step-*.h5", "config.txt", "log.csv",
                                                 "log.jsonl", "best.txt",   "samples.txt",
                                                 "loss.svg",  "rate.svg",   NULL};
    pal_error error;
    const bool store = is_hdf5(o->data);
    const flags_file in[] = {{"--data", o->data, NULL},
                             {"--init", o->init, NULL},
                             {"--like", o->like, NULL},
                             {"--config", config, NULL}},
                     out = {"--out", o->out, store ? names_of_store : names};
    if (flags_files_check(in, 4, &out, 1, &error) == PAL_OK) return;
    fprintf(stderr, "train_lm: %s\n", error.message);
    exit(EXIT_FAILURE);
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
    "  train_lm --init Qwen3.5-0.8B --data mine.h5 --lr 1e-5 --out build/mine --export Mine\n\n"
    "goes on with a released model, whose folder (config.json, model.safetensors, tokenizer.json) "
    "says what it is made of; `tokenize --tokenizer Qwen3.5-0.8B` makes such data. --export writes "
    "a folder of the same kind.\n\n"
    "mpirun -n 4 train_lm ... trains one model on 4 ranks, each with its rows of every batch; "
    "SIGUSR1 to mpirun stops and saves. --resume may have another number of ranks.";

void lm_options_parse(lm_options *o, int argc, char **argv)
{
    static const struct argp_option actions[] = {
        {"config", CONFIG, "FILE", 0, "lines 'name = value' for flags that are not given", 0},
        {"print-config", PRINT, NULL, 0, "print such a file and end", 0},
        {0}};
    line l = {.told = defaults};
    flags_begin(&l.flags, sections, SECTIONS, &l.told);
    const struct argp_child children[] = {{&l.flags.argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .options = actions, .parser = parse, .doc = doc, .children = children};
    flags_parse(&argp, argc, argv, &l);
    *o = defaults;
    if (l.config) read_config(o, l.config);
    size_t offset;
    const pal_key *key;
    for (int i = 0; (key = row(i, &offset)); i++) {
        if (!l.flags.given[i]) continue;
        memcpy((char *)o + offset + key->offset, (char *)&l.told + offset + key->offset, key->size);
        o->given[i] = true;
    }
    /* The checksums that --config tells are those of the files that it tells. */
    forget(o, &l, "data", "data-checksum");
    forget(o, &l, "init", "init-checksum");
    if (o->resume_from) o->resume = true;
    if (o->mend && !o->resume) fail("--mend", "it needs --resume");
    if (!l.print) {
        check_files(o, l.config);
        return;
    }
    char *text = lm_options_text(o);
    fputs(text, stdout);
    free(text);
    exit(EXIT_SUCCESS);
}

/* ---- What they mean ---- */

pal_lm_opts lm_options_model(const lm_options *o) { return o->model; }
