/* draw.c - decides which tokens a batch consists of, as a function of (seed, epoch, index). */
#include "optim/data/batches.h"

#include <string.h>

static void start(const pal_batches *b, pal_slot *slot)
{
    for (int64_t i = 0; i < b->own; i++) slot->tokens[i] = 0, slot->targets[i] = PAL_IGNORE;
    slot->sequences = slot->counted = slot->bytes = 0;
    slot->end = slot->continued = false;
}

/* Counts `count` targets from entry i on. */
static void count_targets(const pal_batches *b, pal_slot *slot, int64_t i, int64_t count)
{
    const uint32_t *lengths = pal_tokens_lengths(b->store);
    slot->counted += count;
    for (int64_t j = i; j < i + count; j++) slot->bytes += lengths ? lengths[slot->targets[j]] : 1;
}

/* ---- Windows ---- */

/* The first target of the split. The first token of the store has no token before it. */
static int64_t first_target(const pal_batches *b) { return b->low > 0 ? b->low : 1; }

/* The number of windows of an epoch. Its cuts are *shift before the multiples of len, counted from
 * the first target. */
static int64_t window_count(const pal_batches *b, int64_t epoch, int64_t *shift)
{
    pal_rng rng = pal_epoch_rng(b, epoch);
    *shift = b->opts.validation ? 0 : pal_rng_below(&rng, b->opts.len);
    const int64_t covered = b->high - first_target(b) + *shift, len = b->opts.len;
    return covered / len + (covered % len != 0);
}

/* Reads what this process has of a window into one of its rows. */
static pal_status draw_window(pal_batches *b, pal_slot *slot, int64_t row, int64_t window,
                              int64_t shift)
{
    const int64_t len = b->opts.len, low = first_target(b);
    int64_t begin = low + window * len - shift, end = b->high - begin < len ? b->high : begin + len;
    if (begin < low) begin = low;
    if (end - begin > b->end) end = begin + b->end;
    int64_t n = end - begin - b->begin, at = row * (b->end - b->begin);
    if (n <= 0) return PAL_OK;
    begin += b->begin;
    pal_status s = pal_tokens_read(b->store, begin - 1, n + 1, b->row, &slot->error);
    if (s != PAL_OK) return s;
    memcpy(slot->tokens + at, b->row, (size_t)n * sizeof *b->row);
    memcpy(slot->targets + at, b->row + 1, (size_t)n * sizeof *b->row);
    count_targets(b, slot, at, n);
    return PAL_OK;
}

static pal_status draw_windows(pal_batches *b, pal_position *at, pal_slot *slot)
{
    int64_t shift, windows = window_count(b, at->epoch, &shift);
    for (int64_t row = 0; row < b->opts.batch; row++) {
        if (at->index == windows) {
            if (b->opts.validation) break;
            windows = window_count(b, ++at->epoch, &shift);
            at->index = 0;
        }
        const int64_t own = row - b->row_first;
        if (own < 0 || own >= b->rows) {
            at->index++;
            continue;
        }
        int64_t window = b->opts.validation
                             ? at->index
                             : pal_permuted(pal_epoch_rng(b, at->epoch), windows, at->index);
        pal_status s = draw_window(b, slot, own, window, shift);
        if (s != PAL_OK) return s;
        at->index++;
    }
    return PAL_OK;
}

/* ---- Packed documents ---- */

/* The tokens of the document at a place in the order of an epoch. If a single document is divided,
 * each split of it counts as a document. */
static void document(const pal_batches *b, int64_t epoch, int64_t place, int64_t *begin,
                     int64_t *end)
{
    int64_t d =
        b->opts.validation ? place : pal_permuted(pal_epoch_rng(b, epoch), b->documents, place);
    const int64_t *offsets = pal_tokens_offsets(b->store) + b->first_document + d;
    *begin = offsets[0] > b->low ? offsets[0] : b->low;
    *end = offsets[1] < b->high ? offsets[1] : b->high;
}

/* Moves to the document that contains token at.index of the epoch. It goes over the lengths of the
 * documents before it, unless the last batch ended there. */
static void walk(pal_batches *b, pal_position at)
{
    if (b->walked.epoch == at.epoch && b->walked.index == at.index) return;
    int64_t left = at.index, begin, end;
    for (b->place = 0; b->place < b->documents; b->place++) {
        document(b, at.epoch, b->place, &begin, &end);
        if (left < end - begin) break;
        left -= end - begin;
    }
    b->within = left;
    b->walked = at;
}

/* Adds a sequence, or the filling of a row, that has entries i to i + n of the batch. Only what is
 * in this process's part is added. */
static void add_sequence(const pal_batches *b, pal_slot *slot, int64_t i, int64_t n)
{
    if (i + n <= b->begin || i >= b->end) return;
    if (i < b->begin) slot->continued = true;
    slot->offsets[slot->sequences++] = i > b->begin ? i - b->begin : 0;
}

/* Reads entries i to i + n of the batch, as far as they are in this process's part. They are the
 * tokens from `first` on, and `targets` of them have a target. */
static pal_status read_piece(pal_batches *b, pal_slot *slot, int64_t i, int64_t n, int64_t first,
                             int64_t targets)
{
    const int64_t skip = i < b->begin ? b->begin - i : 0;
    if (i + n > b->end) n = b->end - i;
    if (skip >= n) return PAL_OK;
    if (targets > n) targets = n;
    n -= skip, targets -= skip, first += skip;
    const int64_t at = i + skip - b->begin, read = targets + 1 > n ? targets + 1 : n;
    pal_status s = pal_tokens_read(b->store, first, read, b->row, &slot->error);
    if (s != PAL_OK) return s;
    memcpy(slot->tokens + at, b->row, (size_t)n * sizeof *b->row);
    if (targets <= 0) return PAL_OK;
    memcpy(slot->targets + at, b->row + 1, (size_t)targets * sizeof *b->row);
    count_targets(b, slot, at, targets);
    return PAL_OK;
}

/* Takes as much of the next document as fits between entry i of the batch and the end of its
 * row. */
static pal_status draw_piece(pal_batches *b, int64_t epoch, pal_slot *slot, int64_t i,
                             int64_t *taken)
{
    const int64_t len = b->opts.len, room = len - i % len;
    int64_t begin, end;
    *taken = 0;
    document(b, epoch, b->place, &begin, &end);
    begin += b->within;
    if (begin < end) {
        int64_t n = end - begin < room ? end - begin : room, targets = end - begin > n ? n : n - 1;
        pal_status s = read_piece(b, slot, i, n, begin, targets);
        if (s != PAL_OK) return s;
        add_sequence(b, slot, i, n);
        *taken = n;
    }
    b->within += *taken;
    if (begin + *taken >= end) b->place++, b->within = 0;
    return PAL_OK;
}

static pal_status draw_packed(pal_batches *b, pal_position *at, pal_slot *slot)
{
    const int64_t size = b->high - b->low; /* of the split */
    int64_t i = 0, taken;
    walk(b, *at);
    b->walked = (pal_position){-1, 0}; /* until this batch is complete */
    while (i < b->tokens) {
        if (at->index == size) {
            if (b->opts.validation) break;
            *at = (pal_position){at->epoch + 1, 0};
            b->place = b->within = 0;
        }
        pal_status s = draw_piece(b, at->epoch, slot, i, &taken);
        if (s != PAL_OK) return s;
        i += taken, at->index += taken;
    }
    b->walked = *at;
    /* The filling of a row is a sequence too, so that no sequence is longer than a row. */
    for (int64_t n; i < b->tokens; i += n) {
        n = b->opts.len - i % b->opts.len;
        add_sequence(b, slot, i, n);
    }
    if (slot->sequences == 0) { /* a part without a token, where a sequence ends */
        slot->offsets[slot->sequences++] = 0;
        slot->continued = true;
    }
    slot->offsets[slot->sequences] = b->own;
    return PAL_OK;
}

/* ---- Both ---- */

bool pal_batches_has(const pal_batches *b, pal_position at)
{
    int64_t shift;
    if (at.epoch < 0 || at.epoch > (b->opts.validation ? 0 : INT64_MAX / 2)) return false;
    if (at.index < 0) return false;
    if (b->set) return at.index <= b->all_rows;
    return at.index <=
           (b->opts.kind == PAL_PACKED ? b->high - b->low : window_count(b, at.epoch, &shift));
}

void pal_batches_draw(pal_batches *b, pal_position at, pal_slot *slot)
{
    int64_t shift;
    if (b->set) {
        pal_rows_draw(b, at, slot);
        return;
    }
    start(b, slot);
    slot->after = at;
    slot->status = PAL_OK;
    int64_t all = b->opts.kind == PAL_PACKED ? b->high - b->low : window_count(b, 0, &shift);
    if (b->opts.validation && at.index >= all)
        slot->end = true;
    else
        slot->status = b->opts.kind == PAL_PACKED ? draw_packed(b, &slot->after, slot)
                                                  : draw_windows(b, &slot->after, slot);
    if (slot->status != PAL_OK) slot->after = at;
}
