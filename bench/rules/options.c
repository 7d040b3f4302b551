/*
 * options.c - the command line of bench/rules.
 */
#include "bench/rules/rules.h"

#include <argp.h>
#include <errno.h>
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

enum { RULE = 256, MODE, DIRECTION, CHUNK, KEEP_EVERY, THREADS, RUNS, CSV, LONG, QUICK };
static const struct argp_option flags[] = {
    {NULL, 0, NULL, 0, "What is timed (lists are separated by commas):", 1},
    {"rule", RULE, "LIST", 0, "gdn2, kda, gdn, deltanet, mamba2 (all)", 0},
    {"mode", MODE, "LIST", 0,
     "auto, chunk, recurrent, composed (all but composed, which never gets more than 128 tokens; "
     "recurrent is timed backward only if --direction is given)",
     0},
    {"direction", DIRECTION, "LIST", 0,
     "forward, forward-train (with gradients on), forward+backward, decode (mode auto); (all, "
     "decode at one shape)",
     0},
    {"keep-every", KEEP_EVERY, "N", 0,
     "chunks from one state kept for backward to the next; 0: the library's choice (0)", 0},
    {"threads", THREADS, "LIST", 0, "OpenMP threads (1,2)", 0},
    {"chunk", CHUNK, "LIST", 0, "tokens of a chunk; 0: the library's choice (0)", 0},
    {NULL, 0, NULL, 0, "Shapes; any of these replaces the default set:", 2},
    {"B", 'B', "N", 0, "sequences (1)", 0},
    {"H", 'H', "N", 0, "heads (16; Mamba-2 32)", 0},
    {"K", 'K', "N", 0, "key width; Mamba-2's state size (128)", 0},
    {"V", 'V', "N", 0, "value width; Mamba-2's head width (128; Mamba-2 64)", 0},
    {"T", 'T', "LIST", 0, "tokens (2048)", 0},
    {"long", LONG, NULL, 0,
     "long sequences: -T 8192,16384,32768,65536 -H 4 --mode auto --threads 2, where these are not "
     "given",
     0},
    {NULL, 0, NULL, 0, "How:", 3},
    {"runs", RUNS, "N", 0, "pairs of runs (11)", 0},
    {"quick", QUICK, NULL, 0, "the same as --runs 3", 0},
    {"csv", CSV, "FILE", 0, "also write the table to FILE", 0},
    {0}};

/* ---- Reading values ---- */

static int64_t parse_number(const char *text, int64_t low, int64_t high, struct argp_state *state)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (end == text || *end || errno || n < low || n > high)
        argp_error(state, "'%s' is not a number from %lld to %lld", text, (long long)low,
                   (long long)high);
    return n;
}

/* The text of a list is cut up. */
static list parse_numbers(char *text, int64_t low, struct argp_state *state)
{
    list l = {0};
    for (char *rest, *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        if (l.n == MAX_LIST) argp_error(state, "a list has at most %d numbers", MAX_LIST);
        l.at[l.n++] = parse_number(word, low, INT32_MAX, state);
    }
    if (!l.n) argp_error(state, "a list is empty");
    return l;
}

/* Names of a table as bits. */
static unsigned parse_names(char *text, const char *(*name)(int), struct argp_state *state)
{
    unsigned bits = 0;
    for (char *rest, *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        int i = 0;
        while (name(i) && strcmp(name(i), word)) i++;
        if (!name(i)) argp_error(state, "there is no '%s'; see --help", word);
        bits |= 1u << i;
    }
    if (!bits) argp_error(state, "a list is empty");
    return bits;
}

/* ---- The command line ---- */

typedef struct parsing {
    options o;
    bool long_run;
} parsing;

static error_t parse_shape(int key, char *arg, struct argp_state *state)
{
    options *o = &((parsing *)state->input)->o;
    o->shape_given = true;
    switch (key) {
    case 'B':
        o->B = parse_number(arg, 1, INT32_MAX, state);
        break;
    case 'H':
        o->H = parse_number(arg, 1, INT32_MAX, state);
        break;
    case 'K':
        o->K = parse_number(arg, 1, INT32_MAX, state);
        break;
    case 'V':
        o->V = parse_number(arg, 1, INT32_MAX, state);
        break;
    default:
        o->T = parse_numbers(arg, 1, state);
    }
    return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    parsing *p = state->input;
    options *o = &p->o;
    switch (key) {
    case RULE:
        o->rules = parse_names(arg, rule_name, state);
        break;
    case MODE:
        o->modes = parse_names(arg, mode_name, state);
        break;
    case DIRECTION:
        o->directions = parse_names(arg, direction_name, state);
        o->directions_given = true;
        break;
    case CHUNK:
        o->chunk = parse_numbers(arg, 0, state);
        break;
    case KEEP_EVERY:
        o->keep_every = parse_number(arg, 0, INT32_MAX, state);
        break;
    case THREADS:
        o->threads = parse_numbers(arg, 1, state);
        break;
    case RUNS:
        o->runs = (int)parse_number(arg, 1, MAX_RUNS, state);
        break;
    case QUICK:
        o->runs = 3;
        break;
    case LONG:
        p->long_run = true;
        break;
    case CSV:
        o->csv = arg;
        break;
    case 'B':
    case 'H':
    case 'K':
    case 'V':
    case 'T':
        return parse_shape(key, arg, state);
    case ARGP_KEY_ARG:
        argp_error(state, "there are only flags, and '%s' is none", arg);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

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
    const struct argp argp = {
        flags, parse, NULL, "Validates the kernels of the rules against f64, then times them.",
        0,     0,     0};
    parsing p = {0};
    options *o = &p.o;
    argp_parse(&argp, argc, argv, 0, NULL, &p);
    if (p.long_run) long_defaults(o);
    if (!o->rules) o->rules = (1u << RULES) - 1;
    if (!o->modes) o->modes = 1u << PAL_RULE_AUTO | 1u << PAL_RULE_CHUNK | 1u << PAL_RULE_RECURRENT;
    if (!o->directions) o->directions = (1u << DIRECTIONS) - 1;
    if (!o->chunk.n) o->chunk.n = 1; /* the library's choice */
    if (!o->threads.n) o->threads = (list){2, {1, 2}};
    if (!o->runs) o->runs = 11;
    return *o;
}
