/* batches.c - batches as tensors: the split of a store that is read, and the position in it. */
#include "optim/data/batches.h"

#include <math.h>
#include <unistd.h>

pal_status pal_batches_check(const pal_batches_opts *o, pal_error *error)
{
    int64_t n;
    if (o->kind != PAL_WINDOWS && o->kind != PAL_PACKED)
        return pal_error_set(error, PAL_EVALUE, "batches: there is no kind %d", (int)o->kind);
    if (o->batch < 1 || o->len < 1 || __builtin_mul_overflow(o->batch, o->len, &n) ||
        n > INT64_C(1) << 40)
        return pal_error_set(error, PAL_EVALUE, "batches: %lld rows of %lld tokens",
                             (long long)o->batch, (long long)o->len);
    if (!(o->held_out >= 0 && o->held_out <= 1))
        return pal_error_set(error, PAL_EVALUE, "batches: held_out is %g, not within 0 .. 1",
                             o->held_out);
    if (o->data_count > o->batch)
        return pal_error_set(error, PAL_EVALUE, "batches: %lld rows for %d processes",
                             (long long)o->batch, o->data_count);
    if (o->data_index < 0 || o->data_index >= o->data_count || o->sequence_index < 0 ||
        o->sequence_index >= o->sequence_count)
        return pal_error_set(error, PAL_EVALUE, "batches: part %d of %d rows, %d of %d tokens",
                             o->data_index, o->data_count, o->sequence_index, o->sequence_count);
    return PAL_OK;
}

int64_t pal_batches_held_out(int64_t n, double share)
{
    int64_t held = (int64_t)floor((double)n * share + 0.5);
    if (held == 0 && share > 0 && n > 0) held = 1;
    if (held == n && share < 1 && n > 0) held = n - 1;
    return held;
}

static void choose_part(pal_batches *b)
{
    const int64_t documents = pal_tokens_documents(b->store), count = pal_tokens_count(b->store);
    const int64_t *offsets = pal_tokens_offsets(b->store);
    const double held_out = b->opts.held_out;
    int64_t split = documents - pal_batches_held_out(documents, held_out), at = offsets[split];
    b->first_document = b->opts.validation ? split : 0;
    b->documents = b->opts.validation ? documents - split : split;
    if (documents == 1) {
        at = count - pal_batches_held_out(count, held_out);
        b->first_document = 0;
        b->documents = 1;
    }
    b->low = b->opts.validation ? at : 0;
    b->high = b->opts.validation ? count : at;
}

/* Whether the split has at least one target. */
static bool has_target(const pal_batches *b)
{
    if (b->opts.kind == PAL_WINDOWS) return b->high > (b->low > 0 ? b->low : 1);
    const int64_t *offsets = pal_tokens_offsets(b->store) + b->first_document;
    for (int64_t d = 0; d < b->documents; d++) {
        int64_t begin = offsets[d] > b->low ? offsets[d] : b->low;
        if ((offsets[d + 1] < b->high ? offsets[d + 1] : b->high) - begin > 1) return true;
    }
    return false;
}

/* The sizes of a batch and of this process's part of it. */
static pal_batches own_part(const pal_batches_opts *o)
{
    pal_batches b = {.tokens = o->batch * o->len};
    const int64_t S = o->sequence_count, s = o->sequence_index;
    b.row_first = pal_batches_share(o->batch, o->data_index, o->data_count);
    b.rows = pal_batches_share(o->batch, o->data_index + 1, o->data_count) - b.row_first;
    const bool packed = o->kind == PAL_PACKED;
    const int64_t all = packed ? b.rows * o->len : o->len;
    b.begin = pal_batches_share(all, s, S);
    b.end = pal_batches_share(all, s + 1, S);
    b.own = packed ? b.end - b.begin : b.rows * (b.end - b.begin);
    if (packed) b.begin += b.row_first * o->len, b.end += b.row_first * o->len;
    return b;
}

/* Allocates the object with its slots behind it. */
static pal_batches *allocate(pal_tokens *store, pal_batches_opts opts)
{
    const pal_batches own = own_part(&opts);
    const size_t n = (size_t)own.own, row = (size_t)opts.len + 1;
    const size_t slots = opts.prefetch ? PAL_SLOTS : 1;
    /* A packed part without a token still has two offsets. */
    const size_t each = 2 * n + (opts.kind == PAL_PACKED ? n + 2 : 0);
    const size_t head = pal_round_up(sizeof(pal_batches), PAL_ALIGN);
    const size_t size = head + (row + slots * each) * sizeof(int64_t);
    pal_batches *b = pal_malloc(size);
    if (b == NULL) return NULL;
    *b = own;
    b->store = store, b->opts = opts, b->slots = (int)slots, b->size = size;
    b->walked.epoch = -1;
    b->row = (int64_t *)(void *)((char *)b + head);
    for (size_t i = 0; i < slots; i++) {
        int64_t *at = b->row + row + i * each;
        b->slot[i] = (pal_slot){.tokens = at, .targets = at + n, .offsets = at + 2 * n};
    }
    return b;
}

pal_batches *pal_batches_refuse(pal_batches *b, const pal_error *error)
{
    pal_raise(error);
    pal_batches_free(b);
    return NULL;
}

pal_batches *pal_batches_new(pal_tokens *store, pal_batches_opts opts)
{
    pal_error error;
    if (opts.batch == 0) opts.batch = 8;
    if (opts.len == 0) opts.len = 256;
    if (opts.data_count == 0) opts.data_count = 1;
    if (opts.sequence_count == 0) opts.sequence_count = 1;
    if (pal_batches_check(&opts, &error) != PAL_OK) return pal_batches_refuse(NULL, &error);
    if (pal_tokens_count(store) == 0) {
        pal_error_set(&error, PAL_EVALUE, "batches: the store holds no tokens");
        return pal_batches_refuse(NULL, &error);
    }
    pal_batches *b = allocate(store, opts);
    if (b == NULL) {
        pal_error_set(&error, PAL_ENOMEM, "batches: no memory for %lld rows of %lld tokens",
                      (long long)opts.batch, (long long)opts.len);
        return pal_batches_refuse(NULL, &error);
    }
    choose_part(b);
    if (!has_target(b)) {
        pal_error_set(&error, PAL_EVALUE,
                      "batches: the part for %s, %lld of %lld tokens, has no target",
                      opts.validation ? "validation" : "training", (long long)(b->high - b->low),
                      (long long)pal_tokens_count(store));
        return pal_batches_refuse(b, &error);
    }
    if (opts.prefetch && !pal_ahead_start(b)) {
        pal_error_set(&error, PAL_ENOMEM, "batches: the thread that reads ahead cannot be started");
        return pal_batches_refuse(b, &error);
    }
    return b;
}

void pal_batches_free(pal_batches *b)
{
    if (b == NULL) return;
    pal_ahead_stop(b);
    pal_free(b, b->size);
}

static pal_status put_on_tape(pal_batches *b, const pal_slot *slot, pal_tape *tape, pal_batch *out,
                              pal_error *error)
{
    if (b->set) return pal_rows_put(b, slot, tape, out, error);
    const bool packed = b->opts.kind == PAL_PACKED;
    const pal_shape shape = packed ? PAL_SHAPE(1, b->own) : PAL_SHAPE(b->rows, b->end - b->begin);
    *out = (pal_batch){.counted = slot->counted, .bytes = slot->bytes, .end = slot->end};
    out->continued = slot->continued;
    if (slot->end) return PAL_OK;
    out->tokens = pal_from(tape, PAL_I64, shape, slot->tokens);
    out->targets = pal_from(tape, PAL_I64, shape, slot->targets);
    if (packed)
        out->offsets = pal_from(tape, PAL_I64, PAL_SHAPE(slot->sequences + 1), slot->offsets);
    if (pal_tape_status(tape) == PAL_OK) return PAL_OK;
    return pal_error_set(error, pal_tape_status(tape), "batches: %s", pal_tape_message(tape));
}

pal_status pal_batches_next(pal_batches *b, pal_tape *tape, pal_batch *out, pal_error *error)
{
    pal_slot *slot = b->slot;
    *out = (pal_batch){0};
    if (b->ahead.running && b->ahead.process != getpid())
        return pal_error_set(error, PAL_EVALUE,
                             "batches: this process is a child by fork, and the thread that reads "
                             "ahead stayed in its parent; make batches of its own");
    if (b->ahead.running)
        slot = pal_ahead_wait(b);
    else
        pal_batches_draw(b, b->at, slot);
    if (slot->status != PAL_OK) {
        pal_status status = pal_error_set(error, slot->status, "batches: %s", slot->error.message);
        if (b->ahead.running) pal_ahead_restart(b);
        return status;
    }
    pal_status status = put_on_tape(b, slot, tape, out, error);
    if (status != PAL_OK || slot->end) return status;
    b->at = slot->after;
    if (b->ahead.running) pal_ahead_release(b);
    return PAL_OK;
}

pal_position pal_batches_position(const pal_batches *b) { return b->at; }

pal_status pal_batches_seek(pal_batches *b, pal_position position, pal_error *error)
{
    if (!pal_batches_has(b, position))
        return pal_error_set(error, PAL_EVALUE, "batches: there is no position %lld of epoch %lld",
                             (long long)position.index, (long long)position.epoch);
    b->at = position;
    if (b->ahead.running && b->ahead.process == getpid()) pal_ahead_restart(b);
    return PAL_OK;
}

int64_t pal_batches_tokens(const pal_batches *b) { return b->set ? b->all_rows : b->high - b->low; }
