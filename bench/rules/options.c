/*
 * options.c - the command line of bench/rules.
 */
#include "bench/rules/rules.h"
#include "tensor/number.h"
#include "examples/flags/flags.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

const char *mode_name(int i)
{
    static const char *const names[MODES] = {
        [PAL_RULE_AUTO] = "auto",
        [PAL_RULE_COMPOSED] = "composed",
        [PAL_RULE_RECURRENT] = "recurrent",
        [PAL_RULE_CHUNK] = "chunk",
    };
    return i < MODES ? names[i] : NULL;
}

const char *direction_name(int i)
{
    static const char *const names[DIRECTIONS] = {"forward", "forward-train", "forward+backward",
                                                  "decode"};
    return i < DIRECTIONS ? names[i] : NULL;
}

static const char *rule_name(int i) { return i < RULES ? pal_rule_name(pal_rule_at(i)) : NULL; }

/* "gdn2|kda|...", as the table below points at it. */
enum { WORDS = 128 };
static char rule_words[WORDS], mode_words[WORDS], direction_words[WORDS];
static void join(char words[WORDS], const char *(*name)(int))
{
    size_t n = 0;
    for (int i = 0; name(i) && n < WORDS; i++)
        n += (size_t)snprintf(words + n, WORDS - n, "%s%s", i ? "|" : "", name(i));
}

static const pal_key timed_rows[] = {
    {"rule", PAL_KEY_SET, PAL_AT(options, rules), .required = true, .words = rule_words,
     .names = rule_name, .argument = "LIST", .help = "those that are timed (all)"},
    {"mode", PAL_KEY_SET, PAL_AT(options, modes), .required = true, .words = mode_words,
     .argument = "LIST",
     .help = "auto, chunk, recurrent, composed (all but composed, which never gets more than 128 "
             "tokens; recurrent is timed backward only if --direction is given)"},
    {"direction", PAL_KEY_SET, PAL_AT(options, directions), .required = true,
     .words = direction_words, .argument = "LIST",
     .help = "forward, forward-train (with gradients on), forward+backward, decode (mode auto); "
             "(all, decode at one shape)"},
    {"keep-every", PAL_KEY_WHOLE, PAL_AT(options, keep_every), .high = INT32_MAX,
     .help = "chunks from one state kept for backward to the next; 0: the library's choice (0)"},
    {"threads", PAL_KEY_WHOLES, PAL_AT(options, threads), .low = 1, .high = INT32_MAX,
     .required = true, .argument = "LIST", .help = "OpenMP threads (1,2)"},
    {"chunk", PAL_KEY_WHOLES, PAL_AT(options, chunk), .high = INT32_MAX, .required = true,
     .argument = "LIST", .help = "tokens of a chunk; 0: the library's choice (0)"},
};
static const pal_key shape_rows[] = {
    {"B", PAL_KEY_WHOLE, PAL_AT(options, B), .low = 1, .high = INT32_MAX, .letter = 'B',
     .help = "sequences (1)"},
    {"H", PAL_KEY_WHOLE, PAL_AT(options, H), .low = 1, .high = INT32_MAX, .letter = 'H',
     .help = "heads (16; Mamba-2 32)"},
    {"K", PAL_KEY_WHOLE, PAL_AT(options, K), .low = 1, .high = INT32_MAX, .letter = 'K',
     .help = "key width; Mamba-2's state size (128)"},
    {"V", PAL_KEY_WHOLE, PAL_AT(options, V), .low = 1, .high = INT32_MAX, .letter = 'V',
     .help = "value width; Mamba-2's head width (128; Mamba-2 64)"},
    {"T", PAL_KEY_WHOLES, PAL_AT(options, T), .low = 1, .high = INT32_MAX, .required = true,
     .letter = 'T', .argument = "LIST", .help = "tokens (2048)"},
    {"long", PAL_KEY_FLAG, PAL_AT(options, long_run),
     .help = "long sequences: -T 8192,16384,32768,65536 -H 4 --mode auto --threads 2, where these "
             "are not given"},
};
static const pal_key how_rows[] = {
    {"runs", PAL_KEY_WHOLE, PAL_AT(options, runs), .low = 1, .high = MAX_RUNS,
     .help = "pairs of runs (11)"},
    {"quick", PAL_KEY_FLAG, PAL_AT(options, quick), .help = "--runs 3, if it is not given"},
    {"precision", PAL_KEY_CHOICE, PAL_AT(options, bf16), .words = "f32|bf16",
     .help = "of the tape; the rules compute in f32 in both (f32)"},
    {"csv", PAL_KEY_STRING, PAL_AT(options, csv), .required = true, .argument = "FILE",
     .help = "also write the table to FILE"},
};
static const pal_keys timed = PAL_KEYS(timed_rows), shape = PAL_KEYS(shape_rows),
                      how = PAL_KEYS(how_rows);
static const flags_section sections[] = {
    {"What is timed (lists are separated by commas):", &timed, 0},
    {"Shapes; any of these replaces the default set:", &shape, 0},
    {"How:", &how, 0}};

static void long_defaults(options *o)
{
    const list T = {4, {8192, 16384, 32768, 65536}};
    if (!o->T.n) o->T = T;
    if (!o->H) o->H = 4;
    if (!o->modes) o->modes = 1u << PAL_RULE_AUTO;
    if (!o->threads.n) o->threads = (list){1, {2}};
    o->shape_given = true;
}

options options_parse(int argc, char **argv)
{
    flags f;
    options all = {0}, *o = &all;
    join(rule_words, rule_name);
    join(mode_words, mode_name);
    join(direction_words, direction_name);
    flags_begin(&f, sections, sizeof sections / sizeof *sections, o);
    f.argp.doc = "Validates the kernels of the rules against f64, then times them.";
    flags_parse(&f.argp, argc, argv, &f);
    o->directions_given = flags_given(&f, "direction");
    o->shape_given = o->B || o->H || o->K || o->V || o->T.n;
    if (o->long_run) long_defaults(o);
    if (!o->rules) o->rules = (1u << RULES) - 1;
    if (!o->modes) o->modes = 1u << PAL_RULE_AUTO | 1u << PAL_RULE_CHUNK | 1u << PAL_RULE_RECURRENT;
    if (!o->directions) o->directions = (1u << DIRECTIONS) - 1;
    if (!o->chunk.n) o->chunk.n = 1; /* the library's choice */
    if (!o->threads.n) o->threads = (list){2, {1, 2}};
    if (!o->runs) o->runs = o->quick ? 3 : 11;
    return all;
}
