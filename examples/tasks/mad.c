/*
 * mad.c - six small tasks, each of one ability: recall in context, with keys of several tokens, and
 * among noise; copying what matters; compression; and facts that training teaches.
 *
 *     context_recall   a 3 c 5 [a: 3] 3 b 1 [c: 5] 5 ..    every key that was there before is asked
 *     fuzzy_recall     keys and values of one to three tokens
 *     noisy_recall     tokens of no meaning in between
 *     selective_copy   x . . y . z . . . | _ _ _            the tokens that are no blanks, in order
 *     compression      x y z | _ _ _                        all of them, from blanks alone
 *     memorise         k1 ? k7 ? ..                         a value for each key, always the same
 *
 * Source: Poli et al. 2024 (arXiv 2403.17844), the MAD pipeline. There compression is read out of
 * one token by a decoder that is trained too; here blanks ask for the symbols one by one, so a
 * model that can look back need not compress. memorise asks for the same facts in training and in
 * tests.
 */
#include "examples/tasks/internal.h"

enum { CONTEXT, FUZZY };
enum { SELECTIVE, COMPRESSION };
enum { MOST_KEYS = 512, MOTIF = 3, FACTS = 1 << 14 };

/* ---- Recall: keys, then values, then noise ---- */

static const pal_key recall_keys[] = {
    {"keys", PAL_KEY_WHOLE, TASK_FIELD(is.mad.keys), .low = 2, .high = MOST_KEYS},
    {"values", PAL_KEY_WHOLE, TASK_FIELD(is.mad.values), .low = 2, .high = MOST_KEYS},
    {"noise", PAL_KEY_REAL, TASK_FIELD(is.mad.noise), .low = 0, .high = 0.9},
    {"len", PAL_KEY_WHOLES, TASK_FIELD(len), .low = 8, .high = TASK_LONGEST, .required = true},
    {"test_len", PAL_KEY_WHOLES, TASK_FIELD(test_len), .low = 8, .high = TASK_LONGEST},
};

static pal_status recall_begin(task *t, pal_error *error)
{
    t->vocab = t->is.mad.keys + t->is.mad.values + (t->is.mad.noise > 0 ? t->is.mad.keys : 0);
    if (t->kind->variant == FUZZY && t->is.mad.keys < MOTIF)
        return task_wrong(error, t, "keys=%lld should be at least %d, the longest key",
                          (long long)t->is.mad.keys, MOTIF);
    return task_points_by_len(t, 8, 1, error);
}

/* A key or a value: tokens of its own alphabet. */
typedef struct motif {
    int n;
    int64_t at[MOTIF];
} motif;

static motif draw_motif(pal_rng *rng, int64_t low, int64_t count, int most)
{
    motif m = {.n = most == 1 ? 1 : 1 + (int)pal_rng_below(rng, most)};
    for (int i = 0; i < m.n; i++) m.at[i] = low + pal_rng_below(rng, count);
    return m;
}

/* Writes a motif where there is room. */
static int64_t put_motif(const motif *m, int64_t at, int64_t len, int64_t *tokens)
{
    for (int i = 0; i < m->n && at < len; i++) tokens[at++] = m->at[i];
    return at;
}

/* The first token of a key is its number, so that no key begins another. */
static void draw_pairs(const task *t, pal_rng *rng, motif *key, motif *value)
{
    const int most = t->kind->variant == FUZZY ? MOTIF : 1;
    for (int64_t k = 0; k < t->is.mad.keys; k++) {
        key[k] = draw_motif(rng, 0, t->is.mad.keys, most);
        key[k].at[0] = k;
        value[k] = draw_motif(rng, t->is.mad.keys, t->is.mad.values, most);
    }
}

static void recall_row(const task *t, task_split split, const task_point *p, pal_rng *rng,
                       int64_t *tokens, int64_t *targets)
{
    motif key[MOST_KEYS], value[MOST_KEYS];
    bool seen[MOST_KEYS] = {false};
    const int64_t keys = t->is.mad.keys, meaning = keys + t->is.mad.values;
    (void)split;
    draw_pairs(t, rng, key, value);
    for (int64_t at = 0; at < p->len;) {
        if (t->is.mad.noise > 0 && pal_rng_next(rng) < t->is.mad.noise) {
            tokens[at++] = meaning + pal_rng_below(rng, keys);
            continue;
        }
        const int64_t k = pal_rng_below(rng, keys);
        const int64_t from = put_motif(&key[k], at, p->len, tokens);
        const int64_t end = put_motif(&value[k], from, p->len, tokens);
        const bool whole = from + value[k].n <= p->len;
        for (int64_t i = from; i < from + value[k].n && seen[k] && whole; i++)
            targets[i - 1] = value[k].at[i - from];
        seen[k] = seen[k] || whole;
        at = end;
    }
}

/* ---- Copy what matters, and compression: 0 blank, 1 separator, then symbols ---- */

static const pal_key copy_keys[] = {
    {"symbols", PAL_KEY_WHOLE, TASK_FIELD(is.mad.values), .low = 2, .high = MOST_KEYS},
    {"copied", PAL_KEY_WHOLE, TASK_FIELD(is.mad.keys), .low = 1, .high = MOST_KEYS},
    {"len", PAL_KEY_WHOLES, TASK_FIELD(len), .low = 4, .high = TASK_LONGEST, .required = true},
    {"test_len", PAL_KEY_WHOLES, TASK_FIELD(test_len), .low = 4, .high = TASK_LONGEST},
};
static const pal_key compression_keys[] = {
    {"symbols", PAL_KEY_WHOLE, TASK_FIELD(is.mad.values), .low = 2, .high = MOST_KEYS},
    {"len", PAL_KEY_WHOLES, TASK_FIELD(len), .low = 3, .high = TASK_LONGEST, .required = true},
    {"test_len", PAL_KEY_WHOLES, TASK_FIELD(test_len), .low = 3, .high = TASK_LONGEST},
};

enum { BLANK, SEPARATOR, FIRST };

static pal_status copy_begin(task *t, pal_error *error)
{
    const bool selective = t->kind->variant == SELECTIVE;
    t->vocab = FIRST + t->is.mad.values;
    return task_points_by_len(t, selective ? 2 * t->is.mad.keys + 1 : 3, 1, error);
}

/* The separator asks for the first symbol, and the blanks after it for the others. */
static void copy_row(const task *t, task_split split, const task_point *p, pal_rng *rng,
                     int64_t *tokens, int64_t *targets)
{
    const bool selective = t->kind->variant == SELECTIVE;
    const int64_t n = selective ? t->is.mad.keys : p->len / 2, room = p->len - n;
    int64_t left = n, asked = room;
    (void)split;
    for (int64_t i = 0; i < room; i++) {
        /* Each of the places is as likely as the others. */
        if (selective ? pal_rng_below(rng, room - i) >= left : left == 0) continue;
        tokens[i] = FIRST + pal_rng_below(rng, t->is.mad.values);
        targets[asked++] = tokens[i];
        left--;
    }
    tokens[room] = SEPARATOR;
}

/* ---- Facts ---- */

static const pal_key fact_keys[] = {
    {"facts", PAL_KEY_WHOLE, TASK_FIELD(is.mad.keys), .low = 2, .high = FACTS},
    {"values", PAL_KEY_WHOLE, TASK_FIELD(is.mad.values), .low = 2, .high = FACTS},
    {"len", PAL_KEY_WHOLES, TASK_FIELD(len), .low = 2, .high = TASK_LONGEST, .required = true},
    {"test_len", PAL_KEY_WHOLES, TASK_FIELD(test_len), .low = 2, .high = TASK_LONGEST},
};

static pal_status fact_begin(task *t, pal_error *error)
{
    t->vocab = 1 + t->is.mad.keys + t->is.mad.values;
    return task_points_by_len(t, 2, 2, error);
}

/* Token 0 asks, 1 .. are keys, then values. The value of a key depends on nothing else. */
static int64_t value_of(const task *t, int64_t key)
{
    pal_rng rng = pal_rng_new(20240326, (uint64_t)key);
    return 1 + t->is.mad.keys + pal_rng_below(&rng, t->is.mad.values);
}

static void fact_row(const task *t, task_split split, const task_point *p, pal_rng *rng,
                     int64_t *tokens, int64_t *targets)
{
    (void)split;
    for (int64_t i = 0; i + 1 < p->len; i += 2) {
        const int64_t key = pal_rng_below(rng, t->is.mad.keys);
        tokens[i] = 1 + key;
        targets[i + 1] = value_of(t, key);
    }
}

/* ---- Words ---- */

static void recall_word(const task *t, int64_t token, char text[TASK_WORD])
{
    const int64_t keys = t->is.mad.keys, meaning = keys + t->is.mad.values;
    if (token < keys)
        snprintf(text, TASK_WORD, "k%lld", (long long)token);
    else if (token < meaning)
        snprintf(text, TASK_WORD, "v%lld", (long long)(token - keys));
    else
        snprintf(text, TASK_WORD, "~%lld", (long long)(token - meaning));
}

static void copy_word(const task *t, int64_t token, char text[TASK_WORD])
{
    (void)t;
    if (token < FIRST)
        snprintf(text, TASK_WORD, "%s", token == BLANK ? "." : "|");
    else
        snprintf(text, TASK_WORD, "x%lld", (long long)(token - FIRST));
}

static void fact_word(const task *t, int64_t token, char text[TASK_WORD])
{
    if (token == 0)
        snprintf(text, TASK_WORD, "?");
    else if (token <= t->is.mad.keys)
        snprintf(text, TASK_WORD, "k%lld", (long long)(token - 1));
    else
        snprintf(text, TASK_WORD, "v%lld", (long long)(token - 1 - t->is.mad.keys));
}

static double chance(const task *t) { return 1 / (double)t->is.mad.values; }

/* ---- The kinds ---- */

#define RECALL(of)                                                                          \
    .variant = of, .level = "length", .keys = PAL_KEYS(recall_keys), .begin = recall_begin, \
    .row = recall_row, .word = recall_word, .chance = chance

#define RECALL_KEYS(noise)                                                                  \
    "keys=8, values=8, noise=" noise " (share of tokens of no meaning), len=128, test_len " \
    "(that of the training)"

const task_kind task_context_recall = {.name = "context_recall",
                                       .help = "keys and values in turn; every key that was there "
                                               "before asks for its value. Keys: " RECALL_KEYS("0"),
                                       .standard = ":keys=8:values=8:noise=0:len=128",
                                       RECALL(CONTEXT)};
const task_kind task_fuzzy_recall = {
    .name = "fuzzy_recall",
    .help = "the same with keys and values of one to three tokens. Keys: " RECALL_KEYS("0"),
    .standard = ":keys=8:values=8:noise=0:len=128",
    RECALL(FUZZY)};
const task_kind task_noisy_recall = {
    .name = "noisy_recall",
    .help = "the same among tokens of no meaning. Keys: " RECALL_KEYS("0.2"),
    .standard = ":keys=8:values=8:noise=0.2:len=128",
    RECALL(CONTEXT)};
const task_kind task_selective_copy = {
    .name = "selective_copy",
    .variant = SELECTIVE,
    .level = "length",
    .help = "symbols among blanks, a separator, and blanks that ask for the symbols in order. "
            "Keys: symbols=16, copied=16, len=128, test_len (that of the training)",
    .keys = PAL_KEYS(copy_keys),
    .standard = ":symbols=16:copied=16:len=128",
    .begin = copy_begin,
    .row = copy_row,
    .word = copy_word,
    .chance = chance};
const task_kind task_compression = {
    .name = "compression",
    .variant = COMPRESSION,
    .level = "length",
    .help = "symbols, a separator, and blanks that ask for all of them in order. Keys: symbols=16, "
            "len=32,64 (of the whole row), test_len (that of the training)",
    .keys = PAL_KEYS(compression_keys),
    .standard = ":symbols=16:len=32,64",
    .begin = copy_begin,
    .row = copy_row,
    .word = copy_word,
    .chance = chance};
const task_kind task_memorise = {
    .name = "memorise",
    .level = "length",
    .help = "keys, each followed by the question for its value, which is always the same: facts "
            "that only training teaches. Keys: facts=128, values=64, len=32, test_len (that of the "
            "training)",
    .keys = PAL_KEYS(fact_keys),
    .standard = ":facts=128:values=64:len=32",
    .begin = fact_begin,
    .row = fact_row,
    .word = fact_word,
    .chance = chance};
