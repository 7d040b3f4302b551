/*
 * hdf5_ranges.c - reads ranges of a dataset of integers, by whole MiB so that they can be verified.
 *
 * The reader keeps each block as it is stored until another one needs its place. Then the block
 * that was not used for the longest time goes. The integers are widened to i64.
 */
#include "tensor/files/hdf5_private.h"

#include <string.h>

typedef struct block {
    int64_t index; /* which MiB; -1: the block is empty */
    uint64_t used; /* time of the last use */
    char *data;
} block;

struct pal_h5_reader {
    const pal_h5 *file;
    pal_h5_dataset set;
    pal_h5_sums sums;
    int64_t count, each; /* elements of the dataset, and elements in a block */
    int width;
    bool is_signed;
    hid_t memory_type;
    uint64_t clock;
    size_t size; /* of this allocation */
    const char *name;
    int blocks;
    block block[];
};

static hid_t memory_type(int width, bool is_signed)
{
    switch (width) {
    case 1:
        return is_signed ? H5T_NATIVE_INT8 : H5T_NATIVE_UINT8;
    case 2:
        return is_signed ? H5T_NATIVE_INT16 : H5T_NATIVE_UINT16;
    case 4:
        return is_signed ? H5T_NATIVE_INT32 : H5T_NATIVE_UINT32;
    default:
        return is_signed ? H5T_NATIVE_INT64 : H5T_NATIVE_UINT64;
    }
}

static pal_status check(const pal_h5 *file, const char *name, const pal_h5_dataset *d,
                        pal_error *error)
{
    char text[200];
    size_t width = H5Tget_size(d->type);
    if (d->integer && d->shape.ndim == 1 && (width == 1 || width == 2 || width == 4 || width == 8))
        return PAL_OK;
    pal_array have = pal_array_of(d->dtype, d->shape, NULL);
    return pal_error_set(
        error, PAL_EFORMAT,
        "%s: '%s' is %s of %zu bytes each, wanted one dimension of integers of 1, 2, 4 or 8",
        file->path, name, pal_array_describe(&have, text, sizeof text), width);
}

/* Allocates the reader and its blocks, at most as many as the dataset has. */
static pal_h5_reader *allocate(const char *name, int blocks, size_t bytes)
{
    size_t most = bytes / PAL_H5_BLOCK + 1, length = strlen(name) + 1;
    if ((size_t)blocks > most) blocks = (int)most;
    size_t each = most == 1 ? bytes : PAL_H5_BLOCK;
    size_t head = pal_round_up(sizeof(pal_h5_reader) + (size_t)blocks * sizeof(block), PAL_ALIGN);
    size_t data = (size_t)blocks * each, size = head + data + length;
    pal_h5_reader *r = pal_malloc(size);
    if (r == NULL) return NULL;
    *r = (pal_h5_reader){.size = size, .blocks = blocks, .name = (char *)r + head + data};
    memcpy((char *)r + head + data, name, length);
    for (int i = 0; i < blocks; i++)
        r->block[i] = (block){.index = -1, .data = (char *)r + head + (size_t)i * each};
    return r;
}

static pal_status open_reader(pal_h5_reader **reader, pal_h5 *file, const char *name, int blocks,
                              pal_error *error)
{
    pal_h5_dataset d;
    pal_h5_sums sums = {0};
    pal_status status = pal_h5_open_dataset(file, name, &d, error);
    if (status != PAL_OK) return status;
    status = check(file, name, &d, error);
    if (status == PAL_OK) status = pal_h5_get_sums(file, name, d.id, d.bytes, &sums, error);
    pal_h5_reader *r = status == PAL_OK ? allocate(name, blocks, d.bytes) : NULL;
    if (status == PAL_OK && r == NULL)
        status = pal_error_set(error, PAL_ENOMEM, "%s: no memory to read '%s' by parts", file->path,
                               name);
    if (status != PAL_OK) {
        pal_h5_free_sums(&sums);
        pal_h5_close_dataset(&d);
        return status;
    }
    r->file = file, r->set = d, r->sums = sums;
    r->count = d.shape.dim[0];
    r->width = (int)H5Tget_size(d.type);
    r->each = PAL_H5_BLOCK / r->width;
    r->is_signed = H5Tget_sign(d.type) == H5T_SGN_2;
    r->memory_type = memory_type(r->width, r->is_signed);
    *reader = r;
    return PAL_OK;
}

pal_status pal_h5_reader_open(pal_h5_reader **reader, pal_h5 *file, const char *name, int blocks,
                              pal_error *error)
{
    *reader = NULL;
    pal_h5_voice voice = pal_h5_hush();
    pal_status status = open_reader(reader, file, name, blocks, error);
    pal_h5_speak(voice);
    return status;
}

void pal_h5_reader_close(pal_h5_reader *r)
{
    if (r == NULL) return;
    pal_h5_voice voice = pal_h5_hush();
    pal_h5_free_sums(&r->sums);
    pal_h5_close_dataset(&r->set);
    pal_free(r, r->size);
    pal_h5_speak(voice);
}

int64_t pal_h5_reader_count(const pal_h5_reader *r) { return r->count; }

int pal_h5_reader_width(const pal_h5_reader *r) { return r->width; }

uint32_t pal_h5_reader_sum(const pal_h5_reader *r)
{
    if (r->sums.sum == NULL) return 0;
    uint32_t sum = pal_crc32c(0, r->sums.sum, (size_t)r->sums.count * sizeof *r->sums.sum);
    return sum ? sum : 1;
}

static bool read_raw(pal_h5_reader *r, int64_t first, int64_t count, void *data)
{
    hsize_t start = (hsize_t)first, n = (hsize_t)count;
    hid_t from = H5Dget_space(r->set.id), to = H5Screate_simple(1, &n, NULL);
    bool good = H5Sselect_hyperslab(from, H5S_SELECT_SET, &start, NULL, &n, NULL) >= 0 &&
                H5Dread(r->set.id, r->memory_type, to, from, H5P_DEFAULT, data) >= 0;
    pal_h5_drop(to);
    pal_h5_drop(from);
    return good;
}

/* The block with that index; it is read if the reader does not hold it. On failure NULL, and the
 * reason is in *error. */
static const block *find(pal_h5_reader *r, int64_t index, pal_error *error)
{
    block *b = r->block;
    for (int i = 0; i < r->blocks; i++) {
        if (r->block[i].index == index) {
            r->block[i].used = ++r->clock;
            return &r->block[i];
        }
        if (r->block[i].used < b->used) b = &r->block[i];
    }
    int64_t first = index * r->each, left = r->count - first;
    b->index = -1;
    if (!read_raw(r, first, left < r->each ? left : r->each, b->data)) {
        pal_error_set(error, PAL_EFORMAT, "%s: cannot read MiB %lld of '%s': %s", r->file->path,
                      (long long)index + 1, r->name, pal_h5_why().text);
        return NULL;
    }
    if (pal_h5_verify(r->file, r->name, &r->sums, index, 1, b->data, error) != PAL_OK) return NULL;
    b->index = index;
    b->used = ++r->clock;
    return b;
}

/* The memory of a block is aligned, so the cast is safe. */
#define WIDEN(type) \
    for (int64_t i = 0; i < count; i++) out[i] = (int64_t)((const type *)data)[first + i]

static void widen(const pal_h5_reader *r, const void *data, int64_t first, int64_t count,
                  int64_t *out)
{
    switch (r->is_signed ? -r->width : r->width) {
    case 1:
        WIDEN(uint8_t);
        break;
    case 2:
        WIDEN(uint16_t);
        break;
    case 4:
        WIDEN(uint32_t);
        break;
    case -1:
        WIDEN(int8_t);
        break;
    case -2:
        WIDEN(int16_t);
        break;
    case -4:
        WIDEN(int32_t);
        break;
    default:
        WIDEN(int64_t);
        break;
    }
}

static pal_status get(pal_h5_reader *r, int64_t first, int64_t count, int64_t *out,
                      pal_error *error)
{
    if (first < 0 || count < 0 || first > r->count || count > r->count - first)
        return pal_error_set(error, PAL_EVALUE,
                             "%s: '%s' has %lld elements; %lld from element %lld on are not there",
                             r->file->path, r->name, (long long)r->count, (long long)count,
                             (long long)first);
    while (count > 0) {
        const block *b = find(r, first / r->each, error);
        if (b == NULL) return PAL_EFORMAT;
        int64_t skip = first % r->each, n = r->each - skip < count ? r->each - skip : count;
        widen(r, b->data, skip, n, out);
        first += n, count -= n, out += n;
    }
    return PAL_OK;
}

pal_status pal_h5_reader_get(pal_h5_reader *r, int64_t first, int64_t count, int64_t *out,
                             pal_error *error)
{
    pal_h5_voice voice = pal_h5_hush();
    pal_status status = pal_h5_room(r->file->path, 0, error);
    if (status == PAL_OK) status = get(r, first, count, out, error);
    pal_h5_speak(voice);
    return status;
}

pal_status pal_h5_read_uints(pal_h5 *file, const char *name, int64_t first, int64_t count,
                             int64_t *out, pal_error *error)
{
    pal_h5_reader *reader;
    pal_status status = pal_h5_reader_open(&reader, file, name, 1, error);
    if (status == PAL_OK) status = pal_h5_reader_get(reader, first, count, out, error);
    pal_h5_reader_close(reader);
    return status;
}
