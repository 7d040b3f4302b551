/* rows.c - batches of a dataset: which rows they have, as a function of (seed, epoch, index), and
 * their tensors by name. */
#include "optim/data/batches.h"
#include "optim/data/dataset.h"

#include <string.h>

/* ---- Which rows ---- */

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

/* ---- The part of this process ---- */

/* What a part has of a sequence field: steps begin .. end of its time. All of them if time is not
 * divided. */
typedef struct part {
    int64_t begin, end;
} part;

static part part_of(const pal_batches *b, int64_t steps)
{
    const int s = b->opts.sequence_index, n = b->opts.sequence_count;
    return (part){pal_batches_share(steps, s, n), pal_batches_share(steps, s + 1, n)};
}

/* With several parts, the first sequence says how many steps a part has. */
static void count_steps(const pal_batches *b, pal_batch *out, int64_t steps)
{
    if (b->opts.sequence_count == 1 || out->counted >= 0) return;
    out->counted = steps;
}

/* Rows of one length. */
static void put_even(const pal_batches *b, const pal_slot *slot, int f, pal_tape *tape,
                     pal_batch *out)
{
    const pal_dataset_part *p = &b->set->field[f];
    const bool window = b->set->window > 0, divided = p->sequence && b->opts.sequence_count > 1;
    int64_t lead[2] = {slot->rows, p->longest};
    pal_shape shape = with_axes(window ? 2 : 1, lead, pal_dataset_axes(b->set, f));
    const char *from = slot->data + b->data_at[f];
    if (!divided) {
        pal_batch_set(out, p->name, pal_from(tape, p->to, shape, from));
        return;
    }
    const part own = part_of(b, shape.dim[1]);
    const size_t row = (size_t)p->rows.each * (size_t)p->longest * pal_dtype_size(p->to);
    const size_t step = shape.dim[1] ? row / (size_t)shape.dim[1] : 0;
    const size_t bytes = (size_t)(own.end - own.begin) * step;
    shape.dim[1] = own.end - own.begin;
    const pal_tensor x = pal_zeros(tape, p->to, shape);
    if (pal_tape_status(tape) != PAL_OK) return;
    char *to = pal_edit(x).data;
    for (int64_t i = 0; i < slot->rows && bytes; i++)
        memcpy(to + (size_t)i * bytes, from + (size_t)i * row + (size_t)own.begin * step, bytes);
    pal_batch_set(out, p->name, x);
    count_steps(b, out, slot->rows * shape.dim[1]);
}

/* The offsets of what a part has of packed rows, [n+1]; returns n, which is at least 1 if the part
 * is one of several. A part without a step has a sequence that goes on. */
static int64_t part_offsets(const pal_slot *slot, const int64_t *begins, part own, int64_t *to,
                            bool *continued)
{
    int64_t n = 0;
    *continued = false;
    for (int64_t i = 0; i < slot->rows; i++) {
        if (begins[i + 1] <= own.begin || begins[i] >= own.end) continue;
        if (begins[i] < own.begin) *continued = true;
        to[n++] = begins[i] > own.begin ? begins[i] - own.begin : 0;
    }
    if (n == 0) to[n++] = 0, *continued = true;
    to[n] = own.end - own.begin;
    return n;
}

static void put_packed(const pal_batches *b, const pal_slot *slot, int f, pal_tape *tape,
                       pal_batch *out)
{
    const pal_dataset_part *p = &b->set->field[f];
    const int64_t *begins = slot->begins + b->begins_at[f];
    const part own = part_of(b, begins[slot->rows]);
    const int64_t lead[2] = {1, own.end - own.begin};
    const size_t entry = (size_t)p->rows.each * pal_dtype_size(p->to);
    const pal_shape shape = with_axes(2, lead, pal_dataset_axes(b->set, f));
    pal_tensor offsets = pal_from(tape, PAL_I64, PAL_SHAPE(slot->rows + 1), begins);
    bool continued = false;
    if (b->opts.sequence_count > 1 && pal_tape_status(tape) == PAL_OK) {
        int64_t *to = pal_edit(offsets).data;
        const int64_t n = part_offsets(slot, begins, own, to, &continued);
        offsets = pal_slice(offsets, 0, 0, n + 1, 1);
    }
    pal_batch_set(
        out, p->name,
        pal_from(tape, p->to, shape, slot->data + b->data_at[f] + (size_t)own.begin * entry));
    set_derived(out, p->name, "offsets", offsets);
    count_steps(b, out, lead[1]);
    if (!pal_is_none(out->offsets)) return;
    out->offsets = offsets;
    out->continued = continued;
}

static void put_padded(const pal_batches *b, const pal_slot *slot, int f, pal_tape *tape,
                       pal_batch *out)
{
    const pal_dataset_part *p = &b->set->field[f];
    const int64_t *begins = slot->begins + b->begins_at[f], rows = slot->rows;
    const size_t entry = (size_t)p->rows.each * pal_dtype_size(p->to);
    int64_t longest = 0, steps = 0;
    for (int64_t i = 0; i < rows; i++)
        if (begins[i + 1] - begins[i] > longest) longest = begins[i + 1] - begins[i];
    const part own = part_of(b, longest);
    const int64_t lead[2] = {rows, own.end - own.begin};
    const pal_tensor x = pal_zeros(tape, p->to, with_axes(2, lead, pal_dataset_axes(b->set, f)));
    const pal_tensor mask = pal_zeros(tape, PAL_F32, PAL_SHAPE(rows, lead[1]));
    const pal_tensor lengths = pal_zeros(tape, PAL_I64, PAL_SHAPE(rows));
    if (pal_tape_status(tape) != PAL_OK) return;
    char *to = pal_edit(x).data;
    float *is = pal_edit(mask).data;
    int64_t *length = pal_edit(lengths).data;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t all = begins[i + 1] - begins[i];
        const int64_t n = all < own.end ? all - own.begin : lead[1];
        if (n <= 0) continue;
        length[i] = n, steps += n;
        memcpy(to + (size_t)(i * lead[1]) * entry,
               slot->data + b->data_at[f] + (size_t)(begins[i] + own.begin) * entry,
               (size_t)n * entry);
        for (int64_t j = 0; j < n; j++) is[i * lead[1] + j] = 1;
    }
    pal_batch_set(out, p->name, x);
    set_derived(out, p->name, "mask", mask);
    set_derived(out, p->name, "lengths", lengths);
    count_steps(b, out, steps);
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
    const bool divided = b->opts.sequence_count > 1; /* then a sequence field says what counts */
    *out = (pal_batch){.counted = divided && !slot->end ? -1 : slot->counted, .end = slot->end};
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
