/* dataset_batches.c - makes the iterator over batches of a dataset: its split, its part, its
 * memory. */
#include "optim/data/batches.h"
#include "optim/data/dataset.h"

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

static bool has_sequence(const pal_dataset *d)
{
    for (int f = 0; f < d->fields; f++)
        if (d->field[f].sequence) return true;
    return false;
}

void pal_dataset_split(pal_dataset *d, pal_batches_opts o, pal_batches **train,
                       pal_batches **held_out)
{
    o.validation = false;
    *train = pal_dataset_batches(d, o);
    o.validation = true;
    *held_out = *train ? pal_dataset_batches(d, o) : NULL;
    if (*held_out) return;
    pal_batches_free(*train);
    *train = NULL;
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
    if (s == PAL_OK && (len < 0 || (o.sequence_count > 1 && !has_sequence(d))))
        s = pal_error_set(&error, PAL_EVALUE,
                          len < 0 ? "dataset_batches: len is negative"
                                  : "dataset_batches: sequence_count is more than 1, and no field "
                                    "is a sequence (pal_dataset_field.sequence)");
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
