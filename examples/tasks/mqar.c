/*
 * mqar.c - multi-query associative recall: pairs of keys and values, and then the keys again, out
 * of order and with gaps, each of which asks for its value.
 *
 *     k1 v1 k2 v2 ... kN vN | . . k2 . k1 . . .        asks v2 at k2 and v1 at k1
 *
 * A memory of fixed size has to hold all N pairs at once, so accuracy falls where N outgrows it.
 * Source: Arora et al. 2023, Zoology (arXiv 2312.04927), appendix: token 0 is filler, keys are
 * 1 .. V/2-1, values V/2 .. V-1. After the pairs, slot j = 1, 2, ... (two tokens each) is asked
 * with a chance proportional to j^(power-1), so that most questions come soon and some late.
 */
#include "examples/tasks/internal.h"

#include <math.h>
#include <stdlib.h>

enum { ZERO, RANDOM };

static const pal_key keys[] = {
    {"vocab", PAL_KEY_WHOLE, TASK_FIELD(is.mqar.vocab), .low = 4, .high = TASK_WORDS},
    {"len", PAL_KEY_WHOLES, TASK_FIELD(len), .low = 4, .high = TASK_LONGEST, .required = true},
    {"pairs", PAL_KEY_WHOLES, TASK_FIELD(is.mqar.pairs), .low = 1, .high = TASK_WORDS,
     .required = true},
    {"weights", PAL_KEY_WHOLES, TASK_FIELD(weights), .low = 1, .high = 1000000, .required = true},
    {"test_len", PAL_KEY_WHOLES, TASK_FIELD(test_len), .low = 4, .high = TASK_LONGEST},
    {"test_pairs", PAL_KEY_WHOLES, TASK_FIELD(is.mqar.test_pairs), .low = 1, .high = TASK_WORDS},
    {"power", PAL_KEY_REAL, TASK_FIELD(is.mqar.power), .low = 1e-6, .high = 10},
    {"filler", PAL_KEY_CHOICE, TASK_FIELD(is.mqar.filler), .words = "zero|random"},
};

/* ---- Points ---- */

static pal_status add(task *t, task_split split, int64_t len, int64_t pairs, int64_t weight,
                      bool with_len, pal_error *error)
{
    task_point p = {.len = len, .level = pairs, .weight = split == TASK_TRAIN ? (double)weight : 0};
    if (pairs > t->vocab / 2 - 1)
        return task_wrong(error, t, "%lld pairs want as many keys, and vocab=%lld has %lld",
                          (long long)pairs, (long long)t->vocab, (long long)(t->vocab / 2 - 1));
    if (len % 2 || len < 4 * pairs)
        return task_wrong(error, t,
                          "len=%lld should be even and at least four times its %lld pairs",
                          (long long)len, (long long)pairs);
    snprintf(p.name, sizeof p.name, with_len ? "%lld pairs in %lld" : "%lld pairs",
             (long long)pairs, (long long)len);
    return task_add_point(t, split, p, error);
}

/* Points of a split; a list of one entry serves them all. */
static pal_status add_all(task *t, task_split split, const task_list *len, const task_list *pairs,
                          const task_list *weights, pal_error *error)
{
    const int64_t n = len->count > pairs->count ? len->count : pairs->count;
    const char *prefix = split == TASK_TRAIN ? "" : "test_";
    if ((len->count > 1 && len->count != n) || (pairs->count > 1 && pairs->count != n))
        return task_wrong(error, t,
                          "%slen has %lld entries and %spairs %lld: as many, or one for all",
                          prefix, (long long)len->count, prefix, (long long)pairs->count);
    if (weights->count > 1 && weights->count != n)
        return task_wrong(error, t,
                          "weights has %lld entries for %lld points: as many, or one for all",
                          (long long)weights->count, (long long)n);
    for (int i = 0; i < n; i++) {
        const pal_status s = add(t, split, task_list_at(len, i), task_list_at(pairs, i),
                                 task_list_at(weights, i), len->count > 1, error);
        if (s != PAL_OK) return s;
    }
    return PAL_OK;
}

static pal_status begin(task *t, pal_error *error)
{
    const task_list one = {.count = 1, .of = {1}};
    t->vocab = t->is.mqar.vocab;
    /* Tests are those of the training unless something else is said. */
    if (t->test_len.count == 0 && t->is.mqar.test_pairs.count == 0) t->test_len = t->len;
    if (t->test_len.count == 0)
        return task_wrong(error, t, "test_pairs wants a test_len: one for all, or one for each");
    if (t->is.mqar.test_pairs.count == 0) t->is.mqar.test_pairs = t->is.mqar.pairs;
    pal_status s = add_all(t, TASK_TRAIN, &t->len, &t->is.mqar.pairs, &t->weights, error);
    if (s == PAL_OK) s = add_all(t, TASK_TEST, &t->test_len, &t->is.mqar.test_pairs, &one, error);
    return s;
}

/* ---- Rows ---- */

typedef struct slot {
    int64_t number;
    double arrival;
} slot;

static int by_arrival(const void *a, const void *b)
{
    const slot *x = a, *y = b;
    if (x->arrival != y->arrival) return x->arrival < y->arrival ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

/*
 * The slots in the order in which they would be drawn without replacement, each time with chances
 * proportional to the weights of those that are left: that is the order of arrivals after waiting
 * times which are exponential with the weights as rates.
 */
static void draw_slots(pal_rng *rng, double power, slot *slots, int64_t count)
{
    for (int64_t j = 0; j < count; j++) {
        const double rate = pow((double)(j + 1), power - 1);
        slots[j] = (slot){j, -log1p(-pal_rng_next(rng)) / rate};
    }
    qsort(slots, (size_t)count, sizeof *slots, by_arrival);
}

static void row(const task *t, task_split split, const task_point *p, pal_rng *rng, int64_t *tokens,
                int64_t *targets)
{
    slot slots[TASK_LONGEST / 2];
    int64_t key[TASK_WORDS / 2], value[TASK_WORDS / 2];
    const int64_t n = p->level, half = t->vocab / 2, begins = 2 * n;
    (void)split;
    task_distinct(rng, 1, half, n, key);
    task_distinct(rng, half, t->vocab, n, value);
    draw_slots(rng, t->is.mqar.power, slots, (p->len - begins) / 2);
    if (t->is.mqar.filler == RANDOM)
        for (int64_t i = begins; i < p->len; i++) tokens[i] = pal_rng_below(rng, t->vocab);
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = begins + 2 * slots[i].number;
        tokens[2 * i] = key[i];
        tokens[2 * i + 1] = value[i];
        tokens[at] = key[i];
        targets[at] = value[i];
    }
}

static void word(const task *t, int64_t token, char text[TASK_WORD])
{
    const int64_t half = t->vocab / 2;
    if (token == 0)
        snprintf(text, TASK_WORD, ".");
    else if (token < half)
        snprintf(text, TASK_WORD, "k%lld", (long long)token);
    else
        snprintf(text, TASK_WORD, "v%lld", (long long)(token - half));
}

/* One of the values. */
static double chance(const task *t) { return 1 / (double)(t->vocab - t->vocab / 2); }

const task_kind task_mqar = {
    .name = "mqar",
    .level = "pairs",
    .help = "associative recall: pairs of a key and a value, then keys again, each of which asks "
            "for its value. Keys: vocab=128, len=64, pairs=4,8,16, weights=1 (shares of the pairs' "
            "batches), test_len and test_pairs (those of the training), power=0.01 (of the slots "
            "that are asked), filler=zero (zero|random)",
    .keys = PAL_KEYS(keys),
    .standard = ":vocab=128:len=64:pairs=4,8,16:weights=1:power=0.01:filler=zero",
    .begin = begin,
    .row = row,
    .word = word,
    .chance = chance,
};
