/* arrays.c - arrays that lie in a file as they are, and those of HDF5. */
#include "optim/data/arrays.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

/* ---- Bytes and shapes ---- */

static pal_status read_bytes(int fd, const char *path, int64_t at, void *to, size_t size,
                             pal_error *error)
{
    for (char *next = to; size > 0;) {
        const ssize_t n = pread(fd, next, size, at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return pal_error_set(error, PAL_EIO, "%.400s: cannot be read: %s", path,
                                 strerror(errno));
        if (n == 0)
            return pal_error_set(error, PAL_EFORMAT, "%.400s: it ends at byte %lld", path,
                                 (long long)at);
        at += n, next += n, size -= (size_t)n;
    }
    return PAL_OK;
}

pal_status pal_table_bytes(const pal_table *t, int64_t at, void *to, size_t size, pal_error *error)
{
    return read_bytes(t->fd, t->path, at, to, size, error);
}

pal_status pal_file_array_shape(pal_file_array *r, pal_shape shape, pal_error *error)
{
    if (pal_shape_count(shape) < 0)
        return pal_error_set(error, PAL_EFORMAT, "%.400s: the shape of '%s' is out of range",
                             r->path, r->name);
    if (shape.ndim == 0)
        return pal_error_set(error, PAL_EFORMAT,
                             "%.400s: '%s' is a single number, and an array of rows is wanted",
                             r->path, r->name);
    r->shape = shape;
    r->each = 1;
    for (int i = 1; i < shape.ndim; i++) r->each *= shape.dim[i];
    return PAL_OK;
}

/* ---- Arrays that lie there as they are ---- */

static double half(uint16_t bits)
{
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double size = exponent == 0    ? ldexp(fraction, -24)
                        : exponent == 31 ? (fraction ? NAN : INFINITY)
                                         : ldexp(fraction + 1024, exponent - 25);
    return bits >> 15 ? -size : size;
}

static void turn(char *data, size_t count, int width)
{
    for (size_t i = 0; i < count; i++, data += width)
        for (int j = 0; j < width / 2; j++) {
            const char x = data[j];
            data[j] = data[width - 1 - j];
            data[width - 1 - j] = x;
        }
}

/* Integers, also into reals. */
#define EACH(type)                              \
    for (int64_t i = 0; i < n; i++) {           \
        const type x = ((const type *)data)[i]; \
        switch (to) {                           \
        case PAL_F32:                           \
            ((float *)out)[i] = (float)x;       \
            break;                              \
        case PAL_F64:                           \
            ((double *)out)[i] = (double)x;     \
            break;                              \
        case PAL_I64:                           \
            ((int64_t *)out)[i] = (int64_t)x;   \
            break;                              \
        case PAL_BF16: /* no field has it */    \
            pal_dtype_unknown(to, __func__);    \
        }                                       \
    }                                           \
    return

static void convert(const struct pal_raw *raw, const void *data, int64_t n, pal_dtype to, void *out)
{
    switch (raw->kind << 8 | raw->width) {
    case 'i' << 8 | 1:
        EACH(int8_t);
    case 'i' << 8 | 2:
        EACH(int16_t);
    case 'i' << 8 | 4:
        EACH(int32_t);
    case 'i' << 8 | 8:
        EACH(int64_t);
    case 'u' << 8 | 2:
        EACH(uint16_t);
    case 'u' << 8 | 4:
        EACH(uint32_t);
    case 'u' << 8 | 8:
        EACH(uint64_t);
    case 'f' << 8 | 4:
        EACH(float);
    case 'f' << 8 | 8:
        EACH(double);
    case 'f' << 8 | 2:
        for (int64_t i = 0; i < n; i++)
            pal_element_set(to, out, i, half(((const uint16_t *)data)[i]));
        return;
    default: /* bool and u1 */
        EACH(uint8_t);
    }
}

static bool too_large(const struct pal_raw *raw, const void *data, int64_t n)
{
    if (raw->kind != 'u' || raw->width != 8) return false;
    for (int64_t i = 0; i < n; i++)
        if (((const uint64_t *)data)[i] > INT64_MAX) return true;
    return false;
}

/* Whether the elements are stored in the type that is wanted. */
static bool as_wanted(const struct pal_raw *raw, pal_dtype to)
{
    return !raw->swap && raw->width == (int)pal_dtype_size(to) &&
           raw->kind == (to == PAL_I64 ? 'i' : 'f');
}

pal_status pal_raw_get(pal_file_array *r, int64_t first, int64_t count, pal_dtype to, void *out,
                       pal_error *error)
{
    enum { PIECE = 1024 };
    const struct pal_raw *raw = &r->in.raw;
    union {
        char bytes[8 * PIECE];
        uint64_t aligned;
    } piece;
    int64_t at = first * r->each, left = count * r->each;
    const bool direct = as_wanted(raw, to);
    while (left > 0) {
        const int64_t n = direct || left < PIECE ? left : PIECE;
        const size_t bytes = (size_t)n * (size_t)raw->width;
        void *data = direct ? out : piece.bytes;
        if (raw->fd < 0)
            memcpy(data, (char *)raw->memory + at * raw->width, bytes);
        else {
            pal_status s =
                read_bytes(raw->fd, r->path, raw->at + at * raw->width, data, bytes, error);
            if (s != PAL_OK) return s;
        }
        if (raw->swap) turn(data, (size_t)n, raw->width);
        if (!direct && to == PAL_I64 && too_large(raw, data, n))
            return pal_error_set(error, PAL_EVALUE,
                                 "%.400s: row %lld of '%s' has an integer of 2^63 or more", r->path,
                                 (long long)(at / (r->each ? r->each : 1)), r->name);
        if (!direct) convert(raw, data, n, to, out);
        out = (char *)out + (size_t)n * pal_dtype_size(to);
        at += n, left -= n;
    }
    return PAL_OK;
}

void pal_raw_close(pal_file_array *r)
{
    if (r->in.raw.fd >= 0) close(r->in.raw.fd);
    pal_free(r->in.raw.memory, r->in.raw.bytes);
}

/* ---- HDF5 ---- */

static pal_status h5_open(pal_table *t, pal_error *error)
{
    return pal_h5_open(&t->h5, t->path, error);
}

static void h5_close(pal_table *t) { pal_h5_close(t->h5); }

static pal_status h5_each(pal_table *t, bool (*visit)(const char *name, void *user), void *user,
                          pal_error *error)
{
    return pal_h5_each(t->h5, "/", visit, user, error);
}

static pal_status h5_get(pal_file_array *r, int64_t first, int64_t count, pal_dtype to, void *out,
                         pal_error *error)
{
    return pal_h5_rows_get(r->in.h5, first, count, to, out, error);
}

static void h5_rows_close(pal_file_array *r) { pal_h5_rows_close(r->in.h5); }

/* A small dataset is read whole, since one with deflated chunks takes long by rows; and then its
 * checksums are compared too. */
static pal_status h5_array(pal_table *t, pal_file_array *r, pal_error *error)
{
    enum { SMALL = 64 << 20 };
    pal_shape shape;
    pal_status s = pal_h5_info(t->h5, r->name, &r->dtype, &shape, error);
    if (s == PAL_OK) s = pal_file_array_shape(r, shape, error);
    if (s != PAL_OK) return s;
    if (r->dtype == PAL_BF16) r->dtype = PAL_F32; /* it is read as such */
    r->whole = r->dtype == PAL_I64;
    const size_t bytes = pal_shape_bytes(r->dtype, shape);
    if (bytes > SMALL) {
        r->get = h5_get;
        s = pal_h5_rows_open(&r->in.h5, t->h5, r->name, error);
        if (s == PAL_OK) r->close = h5_rows_close;
        return s;
    }
    struct pal_raw *raw = &r->in.raw;
    *raw = (struct pal_raw){.fd = -1, .kind = r->whole ? 'i' : 'f', .bytes = bytes + 1};
    raw->width = (int)pal_dtype_size(r->dtype);
    raw->memory = pal_malloc(raw->bytes);
    if (!raw->memory)
        return pal_error_set(error, PAL_ENOMEM, "%.400s: no memory for the %zu bytes of '%s'",
                             t->path, bytes, r->name);
    r->get = pal_raw_get, r->close = pal_raw_close;
    const pal_array all = pal_array_of(r->dtype, shape, raw->memory);
    return pal_h5_get(t->h5, r->name, &all, error);
}

const pal_table_kind pal_table_h5 = {h5_open, h5_close, h5_each, h5_array, NULL, NULL};
