/* rows.c - batches of a dataset: which rows they have, as a function of (seed, epoch, index), and
 * their tensors by name. */
#include "optim/data/batches.h"
#include "optim/data/dataset.h"

#include <string.h>

/* ---- Which rows ---- */

/* How many rows are between the splits, so that no window has entries of both. */
static int64_t gap(const pal_dataset *d) { return d->window > 0 ? (d->window - 1) / d->step : 0; }

static void choose_split(pal_batches *b)
{
    const pal_dataset *d = b->set;
    const int64_t n = d->count, held = pal_batches_held_out(n, b->opts.held_out);
    int64_t train = n - held;
    if (held > 0) train = train > gap(d) ? train - gap(d) : 0;
    b->first_row = b->opts.validation ? n - held : 0;
    b->all_rows = b->opts.validation ? held : train;
}

/* The row at a place of an epoch. */
static int64_t row_at(const pal_batches *b, pal_position at)
{
    int64_t place = b->opts.validation
                        ? at.index
                        : pal_permuted(pal_epoch_rng(b, at.epoch), b->all_rows, at.index);
    place += b->first_row;
    if (b->opts.split_seed == 0) return place;
    return pal_permuted(pal_rng_new(b->opts.split_seed, UINT64_C(0x73706c6974)), b->set->count,
                        place); /* "split" */
}

static pal_status draw_row(pal_batches *b, int64_t row, pal_slot *slot)
{
    const int64_t i = slot->rows++;
    for (int f = 0; f < b->set->fields; f++) {
        const pal_dataset_part *p = &b->set->field[f];
        int64_t *begins = p->offsets ? slot->begins + b->begins_at[f] : NULL;
        const int64_t at = begins ? begins[i] : i * p->longest;
        const size_t entry = (size_t)p->rows.each * pal_dtype_size(p->to);
        int64_t n;
        pal_status s =
            pal_dataset_row(b->set, f, row, b->most[f],
                            slot->data + b->data_at[f] + (size_t)at * entry, &n, &slot->error);
        if (s != PAL_OK) return s;
        if (begins) begins[i + 1] = at + n;
    }
    slot->counted++;
    return PAL_OK;
}

static pal_status draw_rows(pal_batches *b, pal_position *at, pal_slot *slot)
{
    for (int64_t i = 0; i < b->opts.batch; i++) {
        if (at->index == b->all_rows) {
            if (b->opts.validation) break;
            *at = (pal_position){at->epoch + 1, 0};
        }
        const int64_t own = i - b->row_first;
        if (own >= 0 && own < b->rows) {
            pal_status s = draw_row(b, row_at(b, *at), slot);
            if (s != PAL_OK) return s;
        }
        at->index++;
    }
    return PAL_OK;
}

void pal_rows_draw(pal_batches *b, pal_position at, pal_slot *slot)
{
    slot->rows = slot->counted = slot->bytes = 0;
    slot->after = at;
    slot->status = PAL_OK;
    for (int f = 0; f < b->set->fields; f++)
        if (b->set->field[f].offsets) slot->begins[b->begins_at[f]] = 0;
    slot->end = b->opts.validation && at.index >= b->all_rows;
    if (!slot->end) slot->status = draw_rows(b, &slot->after, slot);
    if (slot->status != PAL_OK) slot->after = at;
}

/* ---- Tensors ---- */

bool pal_batch_set(pal_batch *batch, const char *name, pal_tensor t)
{
    struct pal_named *all = batch->named;
    if (!all || strlen(name) >= PAL_NAME_BYTES) return false;
    int i = 0;
    while (i < all->count && strcmp(all->at[i].name, name) != 0) i++;
    if (i == PAL_NAMED) return false;
    if (i == all->count) snprintf(all->at[all->count++].name, PAL_NAME_BYTES, "%s", name);
    all->at[i].tensor = t;
    return true;
}

pal_tensor pal_batch_tensor(const pal_batch *batch, const char *name)
{
    const struct pal_named *all = batch->named;
    char known[600] = "";
    for (int i = 0; all && i < all->count; i++) {
        if (strcmp(all->at[i].name, name) == 0) return all->at[i].tensor;
        const size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", all->at[i].name);
    }
    pal_error error;
    if (all && all->count)
        pal_error_set(&error, PAL_EVALUE, "batch_tensor: there is no %.100s; there are %s", name,
                      known);
    else
        pal_error_set(&error, PAL_EVALUE,
                      "batch_tensor: there is no %.100s; the batch has no named "
                      "tensors, which only a dataset gives",
                      name);
    pal_raise(&error);
    return PAL_NONE;
}

static void set_derived(pal_batch *out, const char *name, const char *end, pal_tensor t)
{
    char text[PAL_NAME_BYTES];
    snprintf(text, sizeof text, "%s.%s", name, end);
    pal_batch_set(out, text, t);
}

/* [lead..., axes...] */
static pal_shape with_axes(int n, const int64_t *lead, pal_shape axes)
{
    pal_shape s = {.ndim = n + axes.ndim};
    memcpy(s.dim, lead, (size_t)n * sizeof *lead);
    memcpy(s.dim + n, axes.dim, (size_t)axes.ndim * sizeof *lead);
    return s;
}

/* Rows of one length. */
static void put_even(const pal_batches *b, const pal_slot *slot, int f, pal_tape *tape,
                     pal_batch *out)
{
    const pal_dataset_part *p = &b->set->field[f];
    const int64_t lead[2] = {slot->rows, p->longest};
    const pal_shape shape = with_axes(b->set->window ? 2 : 1, lead, pal_dataset_axes(b->set, f));
    pal_batch_set(out, p->name, pal_from(tape, p->to, shape, slot->data + b->data_at[f]));
}

static void put_packed(const pal_batches *b, const pal_slot *slot, int f, pal_tape *tape,
                       pal_batch *out)
{
    const pal_dataset_part *p = &b->set->field[f];
    const int64_t *begins = slot->begins + b->begins_at[f], lead[2] = {1, begins[slot->rows]};
    const pal_shape shape = with_axes(2, lead, pal_dataset_axes(b->set, f));
    const pal_tensor offsets = pal_from(tape, PAL_I64, PAL_SHAPE(slot->rows + 1), begins);
    pal_batch_set(out, p->name, pal_from(tape, p->to, shape, slot->data + b->data_at[f]));
    set_derived(out, p->name, "offsets", offsets);
    if (pal_is_none(out->offsets)) out->offsets = offsets;
}

static void put_padded(const pal_batches *b, const pal_slot *slot, int f, pal_tape *tape,
                       pal_batch *out)
{
    const pal_dataset_part *p = &b->set->field[f];
    const int64_t *begins = slot->begins + b->begins_at[f], rows = slot->rows;
    const size_t entry = (size_t)p->rows.each * pal_dtype_size(p->to);
    int64_t longest = 0;
    for (int64_t i = 0; i < rows; i++)
        if (begins[i + 1] - begins[i] > longest) longest = begins[i + 1] - begins[i];
    const int64_t lead[2] = {rows, longest};
    const pal_tensor x = pal_zeros(tape, p->to, with_axes(2, lead, pal_dataset_axes(b->set, f)));
    const pal_tensor mask = pal_zeros(tape, PAL_F32, PAL_SHAPE(rows, longest));
    const pal_tensor lengths = pal_zeros(tape, PAL_I64, PAL_SHAPE(rows));
    if (pal_tape_status(tape) != PAL_OK) return;
    char *to = pal_edit(x).data;
    float *is = pal_edit(mask).data;
    int64_t *length = pal_edit(lengths).data;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t n = length[i] = begins[i + 1] - begins[i];
        memcpy(to + (size_t)(i * longest) * entry,
               slot->data + b->data_at[f] + (size_t)begins[i] * entry, (size_t)n * entry);
        for (int64_t j = 0; j < n; j++) is[i * longest + j] = 1;
    }
    pal_batch_set(out, p->name, x);
    set_derived(out, p->name, "mask", mask);
    set_derived(out, p->name, "lengths", lengths);
}

static void transform(const pal_batches *b, pal_tape *tape, pal_batch *out)
{
    pal_rng rng = pal_epoch_rng(b, b->at.epoch);
    rng = pal_rng_new(b->opts.seed ^ rng.stream, UINT64_C(0x7472616e73)); /* "trans" */
    rng.counter = (uint64_t)b->at.index;
    rng = pal_rng_split(&rng);
    rng.counter = (uint64_t)b->opts.data_index;
    rng = pal_rng_split(&rng);
    const bool before = pal_set_grad(tape, false);
    b->opts.transform(b->opts.user, tape, out, &rng);
    pal_set_grad(tape, before);
}

pal_status pal_rows_put(pal_batches *b, const pal_slot *slot, pal_tape *tape, pal_batch *out,
                        pal_error *error)
{
    *out = (pal_batch){.counted = slot->counted, .end = slot->end};
    if (slot->end) return PAL_OK;
    b->named.count = 0;
    out->named = &b->named;
    for (int f = 0; f < b->set->fields; f++)
        (b->set->field[f].offsets == NULL ? put_even
         : b->opts.kind == PAL_PACKED     ? put_packed
                                          : put_padded)(b, slot, f, tape, out);
    if (pal_tape_status(tape) == PAL_OK && b->opts.transform) transform(b, tape, out);
    if (pal_tape_status(tape) == PAL_OK) return PAL_OK;
    return pal_error_set(error, pal_tape_status(tape), "batches: %s", pal_tape_message(tape));
}

/* ---- Life ---- */

/* Bytes of a slot's data; -1: out of range. */
static int64_t measure(pal_batches *b, int64_t *begins)
{
    int64_t all = 0, bytes;
    *begins = 0;
    for (int f = 0; f < b->set->fields; f++) {
        const pal_dataset_part *p = &b->set->field[f];
        b->most[f] = p->longest;
        if (p->offsets && b->opts.len && b->opts.len < p->longest) b->most[f] = b->opts.len;
        b->data_at[f] = (size_t)all;
        if (__builtin_mul_overflow(p->rows.each * (int64_t)pal_dtype_size(p->to), b->most[f],
                                   &bytes) ||
            __builtin_mul_overflow(bytes, b->rows, &bytes) || bytes > INT64_C(1) << 44)
            return -1;
        all += pal_round_up_count(bytes, PAL_ALIGN);
        b->begins_at[f] = *begins;
        if (p->offsets) *begins += b->rows + 1;
    }
    return all;
}

static pal_batches *allocate(pal_dataset *d, pal_batches_opts o)
{
    pal_batches b = {.set = d, .opts = o, .slots = o.prefetch ? PAL_SLOTS : 1};
    int64_t begins;
    b.row_first = pal_batches_share(o.batch, o.data_index, o.data_count);
    b.rows = pal_batches_share(o.batch, o.data_index + 1, o.data_count) - b.row_first;
    b.own = b.rows;
    const int64_t data = measure(&b, &begins);
    if (data < 0) return NULL;
    const size_t head = pal_round_up(sizeof b, PAL_ALIGN);
    const size_t each = pal_round_up((size_t)data + (size_t)begins * sizeof(int64_t), PAL_ALIGN);
    b.size = head + (size_t)b.slots * each;
    pal_batches *all = pal_malloc(b.size);
    if (!all) return NULL;
    *all = b;
    for (int i = 0; i < b.slots; i++) {
        char *at = (char *)all + head + (size_t)i * each;
        all->slot[i] = (pal_slot){.data = at, .begins = (int64_t *)(void *)(at + data)};
    }
    return all;
}

pal_batches *pal_dataset_batches(pal_dataset *d, pal_batches_opts o)
{
    pal_error error;
    const int64_t len = o.len;
    if (o.batch == 0) o.batch = 8;
    if (o.data_count == 0) o.data_count = 1;
    if (o.sequence_count == 0) o.sequence_count = 1;
    o.len = 1; /* rows may have any length, also none */
    pal_status s = pal_batches_check(&o, &error);
    o.len = len;
    if (s == PAL_OK && (len < 0 || o.sequence_count > 1))
        s = pal_error_set(&error, PAL_EVALUE,
                          len < 0 ? "dataset_batches: len is negative"
                                  : "dataset_batches: rows are not divided, and "
                                    "sequence_count is more than 1");
    if (s != PAL_OK) return pal_batches_refuse(NULL, &error);
    pal_batches *b = allocate(d, o);
    if (!b) {
        pal_error_set(&error, PAL_ENOMEM,
                      "dataset_batches: no memory for %lld rows; opts.len limits ragged ones",
                      (long long)o.batch);
        return pal_batches_refuse(NULL, &error);
    }
    choose_split(b);
    if (b->all_rows == 0) {
        pal_error_set(&error, PAL_EVALUE, "dataset_batches: of %lld rows none is for %s",
                      (long long)d->count, o.validation ? "validation" : "training");
        return pal_batches_refuse(b, &error);
    }
    if (o.prefetch && !pal_ahead_start(b)) {
        pal_error_set(&error, PAL_ENOMEM,
                      "dataset_batches: the thread that reads ahead cannot be started");
        return pal_batches_refuse(b, &error);
    }
    return b;
}
