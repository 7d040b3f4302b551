/*
 * corpus.c - text as a task: windows of a store of tokens, and the bits that a byte of what was
 * held out costs, over whole windows and by position in them.
 *
 * Training row n is a window that begins anywhere in the portion for training, drawn by (seed, n);
 * two models of one seed see the same windows in the same order. Test rows are windows of the
 * portion that was held out, the same for every seed, spread over all of it, each once. That
 * portion is the last documents, as pal_batches has it (optim/data.h).
 *
 * A text that says checksum and vocab can be made without its store, to count models and to read
 * what came out; its rows are an error then.
 *
 * A score is of bytes: `asked` counts the bytes that the targets stand for, and `loss` is nats a
 * byte. Stores of different tokenizers can so be compared.
 */
#include "examples/tasks/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const pal_key keys[] = {
    {"store", PAL_KEY_TEXT, TASK_FIELD(is.corpus.path)},
    {"checksum", PAL_KEY_TEXT, TASK_FIELD(is.corpus.checksum)},
    {"vocab", PAL_KEY_WHOLE, TASK_FIELD(is.corpus.vocab), .low = 1, .high = INT32_MAX},
    {"held_out", PAL_KEY_REAL, TASK_FIELD(is.corpus.held_out), .low = 0, .high = 1,
     .open = PAL_OPEN_BOTH},
    {"len", PAL_KEY_WHOLE, TASK_FIELD(is.corpus.len), .low = 2, .high = TASK_LONGEST},
    {"test_len", PAL_KEY_WHOLES, TASK_FIELD(test_len), .low = 2, .high = TASK_LONGEST},
    {"positions", PAL_KEY_WHOLES, TASK_FIELD(is.corpus.positions), .low = 1,
     .high = TASK_LONGEST - 1},
};

/* ---- Opening ---- */

/* What a description names may have been replaced since; a text without a checksum gets one. */
static pal_status check_sum(task *t, pal_error *error)
{
    char now[sizeof t->is.corpus.checksum];
    snprintf(now, sizeof now, "%08x", (unsigned)pal_tokens_checksum(t->store));
    if (*t->is.corpus.checksum && strcmp(t->is.corpus.checksum, now))
        return task_wrong(error, t, "%.200s has the checksum %s, and %s is asked for",
                          t->is.corpus.path, now, t->is.corpus.checksum);
    memcpy(t->is.corpus.checksum, now, sizeof now);
    return PAL_OK;
}

static pal_status open_store(task *t, pal_error *error)
{
    if (!*t->is.corpus.path)
        return task_wrong(error, t, "it needs store=FILE, a store of tokens (tokenize makes one)");
    t->vocab = t->is.corpus.vocab;
    /* Who only reads what came out needs no text. */
    if (t->vocab && *t->is.corpus.checksum && access(t->is.corpus.path, F_OK)) return PAL_OK;
    if (pal_tokens_open(&t->store, t->is.corpus.path, error) != PAL_OK) return error->status;
    if (t->vocab && t->vocab != pal_tokens_vocab_size(t->store))
        return task_wrong(error, t, "%.200s has %lld tokens, and vocab=%lld is asked for",
                          t->is.corpus.path, (long long)pal_tokens_vocab_size(t->store),
                          (long long)t->vocab);
    const int64_t documents = pal_tokens_documents(t->store), count = pal_tokens_count(t->store);
    const double share = t->is.corpus.held_out;
    t->vocab = t->is.corpus.vocab = pal_tokens_vocab_size(t->store);
    t->is.corpus.split =
        documents == 1
            ? count - pal_batches_held_out(count, share)
            : pal_tokens_offsets(t->store)[documents - pal_batches_held_out(documents, share)];
    return check_sum(t, error);
}

/* ---- Points ---- */

static int64_t windows(const task *t, int64_t len)
{
    return (pal_tokens_count(t->store) - t->is.corpus.split - 1) / len;
}

/* The positions low .. high-1 of windows of len. */
static pal_status add_part(task *t, int64_t len, int64_t low, int64_t high, pal_error *error)
{
    task_point p = {.len = len, .level = high, .part = true, .low = low, .high = high};
    snprintf(p.name, sizeof p.name, "%lld: %lld-%lld", (long long)len, (long long)low,
             (long long)(high - 1));
    return task_add_point(t, TASK_TEST, p, error);
}

static pal_status add_test(task *t, int64_t len, pal_error *error)
{
    const task_list *at = &t->is.corpus.positions;
    task_point p = {.len = len, .level = len, .low = 0, .high = len};
    int64_t low = 0;
    if (t->store && windows(t, len) < 1)
        return task_wrong(error, t, "what is held out has no window of %lld tokens",
                          (long long)len);
    snprintf(p.name, sizeof p.name, "length %lld", (long long)len);
    pal_status s = task_add_point(t, TASK_TEST, p, error);
    for (int i = 0; i < at->count && s == PAL_OK; i++) {
        if (at->of[i] <= low && i > 0)
            return task_wrong(error, t, "positions should increase, and %lld follows %lld",
                              (long long)at->of[i], (long long)low);
        const int64_t high = at->of[i] < len ? at->of[i] : len;
        if (low < high) s = add_part(t, len, low, high, error);
        low = high;
    }
    if (at->count && low < len && s == PAL_OK) s = add_part(t, len, low, len, error);
    return s;
}

static pal_status begin(task *t, pal_error *error)
{
    pal_status s = open_store(t, error);
    if (s != PAL_OK) return s;
    const int64_t len = t->is.corpus.len;
    if (t->test_len.count == 0) t->test_len = (task_list){.count = 1, .of = {len}};
    if (t->store && t->is.corpus.split < len + 1)
        return task_wrong(error, t, "what is left for training has no window of %lld tokens",
                          (long long)len);
    task_point p = {.len = len, .level = len, .weight = 1};
    snprintf(p.name, sizeof p.name, "length %lld", (long long)len);
    s = task_add_point(t, TASK_TRAIN, p, error);
    for (int i = 0; i < t->test_len.count && s == PAL_OK; i++)
        s = add_test(t, t->test_len.of[i], error);
    return s;
}

/* ---- Rows ---- */

/* Numbers 0, 1, .. of n things in an order that is spread over them: multiples of a number near
 * the golden section of n that has no factor in common with it. */
static int64_t spread(int64_t number, int64_t n)
{
    int64_t stride = (int64_t)(0.6180339887498949 * (double)n) | 1;
    for (;; stride++) {
        int64_t a = stride, b = n;
        while (b) {
            const int64_t rest = a % b;
            a = b, b = rest;
        }
        if (a == 1) break;
    }
    return (int64_t)((__int128)number * stride % n);
}

/* A test row beyond the last window asks nothing. */
static void row(const task *t, task_split split, const task_point *p, pal_rng *rng, int64_t number,
                int64_t *tokens, int64_t *targets)
{
    int64_t at[TASK_LONGEST + 1], from;
    pal_error error;
    if (!t->store) {
        pal_error_set(&error, PAL_EIO, "task corpus: there is no file %.400s", t->is.corpus.path);
        pal_raise(&error);
        return;
    }
    if (split == TASK_TRAIN) {
        from = pal_rng_below(rng, t->is.corpus.split - p->len);
    } else {
        const int64_t n = windows(t, p->len);
        if (number >= n) return;
        from = t->is.corpus.split + spread(number, n) * p->len;
    }
    if (pal_tokens_read(t->store, from, p->len + 1, at, &error) != PAL_OK) {
        pal_raise(&error);
        return;
    }
    for (int64_t i = 0; i < p->len; i++) {
        tokens[i] = at[i];
        if (i >= p->low && i < (p->high ? p->high : p->len)) targets[i] = at[i + 1];
    }
}

static void word(const task *t, int64_t token, char text[TASK_WORD])
{
    (void)t;
    snprintf(text, TASK_WORD, "%lld", (long long)token);
}

/* ---- Scores ---- */

/* Adds the row of log-probabilities [len] to the sums of a point and of its parts. */
static void mark(const task *t, task_score *sum, int point, const float *log_p,
                 const int64_t *targets)
{
    const uint32_t *bytes = pal_tokens_lengths(t->store);
    const int64_t len = t->point[TASK_TEST][point].len;
    for (int j = point; j < t->points[TASK_TEST]; j++) {
        const task_point *p = &t->point[TASK_TEST][j];
        if (j > point && !p->part) break;
        for (int64_t i = p->low; i < p->high && i < len; i++) {
            sum[j].loss -= (double)log_p[i];
            sum[j].asked += bytes ? (int64_t)bytes[targets[i]] : 1;
        }
        sum[j].rows++;
    }
}

/* Rows first .. first+B-1 of a point that is no part, which are windows. */
static bool score_rows(const task *t, const pal_lm *lm, pal_tape *tape, int point, uint64_t seed,
                       int64_t first, int64_t B, task_score *sum)
{
    const int64_t len = t->point[TASK_TEST][point].len;
    int64_t *tokens = malloc((size_t)(B * (3 * len + 1)) * sizeof *tokens);
    int64_t *targets = tokens + B * len, *both = targets + B * len;
    if (!tokens) return false;
    task_rows(t, TASK_TEST, point, seed, first, B, tokens, targets);
    for (int64_t b = 0; b < B; b++) {
        memcpy(both + b * (len + 1), tokens + b * len, (size_t)len * sizeof *tokens);
        both[b * (len + 1) + len] = targets[b * len + len - 1];
    }
    const pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(B, len + 1), both);
    const pal_tensor out = pal_lm_score(lm, in, (pal_run_opts){0});
    const bool good = pal_tape_status(tape) == PAL_OK;
    const float *log_p = good ? pal_f32(out) : NULL;
    for (int64_t b = 0; b < B && good; b++) mark(t, sum, point, log_p + b * len, targets + b * len);
    free(tokens);
    pal_tape_reset(tape);
    return good;
}

static void score(const task *t, const pal_lm *lm, pal_tape *tape, uint64_t seed, int64_t rows,
                  task_score *scores)
{
    const int points = t->points[TASK_TEST];
    const bool before = pal_set_grad(tape, false);
    memset(scores, 0, (size_t)points * sizeof *scores);
    for (int i = 0; i < points && !pal_stop_requested(); i++) {
        const task_point *p = &t->point[TASK_TEST][i];
        const int64_t n = windows(t, p->len), count = rows < n ? rows : n;
        const int64_t most = task_rows_at_once(256, p->len, count);
        for (int64_t first = 0; first < count && !p->part && !pal_stop_requested(); first += most)
            if (!score_rows(t, lm, tape, i, seed, first,
                            count - first < most ? count - first : most, scores))
                break;
    }
    pal_set_grad(tape, before);
    for (int i = 0; i < points; i++)
        if (scores[i].asked) scores[i].loss /= (double)scores[i].asked;
}

static void end(task *t) { pal_tokens_close(t->store); }

const task_kind task_corpus = {
    .name = "corpus",
    .level = "length",
    .help = "text: windows of a store of tokens, told by the bits that a byte of what was held out "
            "costs. Keys: store=FILE, held_out=0.05 (the last documents), len=256, test_len (that "
            "of the training), positions (where windows are cut for bits by position: 16,64 tells "
            "0-15, 16-63 and the rest), checksum and vocab (those of the store)",
    .keys = PAL_KEYS(keys),
    .standard = ":held_out=0.05:len=256",
    .bits = true,
    .begin = begin,
    .numbered = row,
    .score = score,
    .end = end,
    .word = word,
};
