/*
 * hdf5_dataset.c - what a dataset may be: the guards that every dataset passes before it is read.
 *
 * A dataset has numbers of the usual types, and lies in the file as one piece or in chunks, whose
 * only filters are deflate and shuffle. HDF5's other filters have crashed on damaged parameters.
 * What a dataset stores has to be enough for what it claims, and no chunk is larger than
 * PAL_H5_CHUNK, so nothing is reserved for numbers that are not there. All of this is known before
 * the first element is read.
 */
#include "tensor/files/hdf5_private.h"

#include <string.h>

/* ---- Types ---- */

hid_t pal_h5_bf16(void)
{
    static hid_t type = -1;
    if (type >= 0 && H5Iis_valid(type) > 0) return type;
    type = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(type, 15, 7, 8, 0, 7); /* sign, exponent, mantissa; the bias is that of f32 */
    H5Tset_size(type, 2);
    return type;
}

/* IEEE 754 of 2, 4 or 8 bytes, or bf16. */
static bool usual_float(hid_t type, size_t size)
{
    const struct {
        size_t size, exponent, bits, mantissa, bias;
    } usual[] = {{2, 10, 5, 10, 15}, {2, 7, 8, 7, 127}, {4, 23, 8, 23, 127}, {8, 52, 11, 52, 1023}};
    size_t sign, exponent, bits, mantissa_at, mantissa;
    if (H5Tget_fields(type, &sign, &exponent, &bits, &mantissa_at, &mantissa) < 0) return false;
    for (int i = 0; i < 4; i++)
        if (size == usual[i].size && bits == usual[i].bits)
            return sign == 8 * size - 1 && exponent == usual[i].exponent && mantissa_at == 0 &&
                   mantissa == usual[i].mantissa && H5Tget_ebias(type) == usual[i].bias &&
                   H5Tget_norm(type) == H5T_NORM_IMPLIED;
    return false;
}

bool pal_h5_usual_number(hid_t type)
{
    const H5T_class_t class = H5Tget_class(type);
    const size_t size = H5Tget_size(type);
    const H5T_order_t order = H5Tget_order(type);
    if (order != H5T_ORDER_LE && order != H5T_ORDER_BE) return false;
    if (class == H5T_FLOAT && H5Tequal(type, H5T_NATIVE_LDOUBLE) > 0) return true;
    if (H5Tget_precision(type) != 8 * size || H5Tget_offset(type) != 0) return false;
    if (class == H5T_FLOAT) return usual_float(type, size);
    return class == H5T_INTEGER && (size == 1 || size == 2 || size == 4 || size == 8);
}

static const char *read_type(pal_h5_dataset *d)
{
    d->type = H5Dget_type(d->id);
    const H5T_class_t class = H5Tget_class(d->type);
    const size_t size = H5Tget_size(d->type);
    if (class != H5T_INTEGER && class != H5T_FLOAT) return "its elements are not numbers";
    if (!pal_h5_usual_number(d->type)) return "its elements are of an unusual type";
    d->integer = class == H5T_INTEGER;
    d->dtype = d->integer ? PAL_I64 : size > sizeof(float) ? PAL_F64 : PAL_F32;
    if (!d->integer && size == 2 && H5Tget_ebias(d->type) == 127) d->dtype = PAL_BF16;
    return NULL;
}

/* ---- Shapes ---- */

static const char *read_shape(pal_h5_dataset *d)
{
    hid_t space = H5Dget_space(d->id);
    hsize_t dim[H5S_MAX_RANK] = {0};
    bool numeric = H5Sget_simple_extent_type(space) != H5S_NULL;
    int rank = H5Sget_simple_extent_ndims(space);
    if (rank >= 0 && rank <= PAL_MAX_DIMS) H5Sget_simple_extent_dims(space, dim, NULL);
    pal_h5_drop(space);
    if (!numeric || rank < 0) return "it has no elements at all";
    if (rank > PAL_MAX_DIMS) return "it has more than 8 dimensions";
    d->shape.ndim = rank;
    for (int i = 0; i < rank; i++) {
        if (dim[i] > INT64_MAX) return "a dimension is out of range";
        d->shape.dim[i] = (int64_t)dim[i];
    }
    return pal_shape_count(d->shape) < 0 ? "its size is out of range" : NULL;
}

/* ---- Storage ---- */

enum { INFLATION = 1032 }; /* deflate makes at most so many bytes of one */

/* The filters are known and few. *inflation is the largest factor by which they make data grow. */
static const char *check_filters(hid_t how, int *inflation)
{
    bool deflated = false, shuffled = false;
    *inflation = 1;
    const int filters = H5Pget_nfilters(how);
    if (filters < 0 || filters > 2) return "it has more filters than deflate and shuffle";
    for (unsigned i = 0; i < (unsigned)filters; i++) {
        unsigned flags, config, values[8];
        size_t count = 8;
        char name[8];
        const H5Z_filter_t filter =
            H5Pget_filter2(how, i, &flags, &count, values, sizeof name, name, &config);
        bool *seen = filter == H5Z_FILTER_DEFLATE   ? &deflated
                     : filter == H5Z_FILTER_SHUFFLE ? &shuffled
                                                    : NULL;
        if (!seen) return "it has another filter than deflate and shuffle";
        if (*seen) return "it has a filter twice";
        *seen = true;
    }
    if (deflated) *inflation = INFLATION;
    return NULL;
}

/* The sizes of chunks, which may be larger than a small dataset that is to grow. */
static const char *read_chunks(hid_t how, pal_h5_dataset *d)
{
    hsize_t dim[PAL_MAX_DIMS], bytes = H5Tget_size(d->type);
    if (H5Pget_chunk(how, d->shape.ndim, dim) != d->shape.ndim || d->shape.ndim == 0)
        return "its chunks have other dimensions";
    for (int i = 0; i < d->shape.ndim; i++) {
        d->chunk[i] = (int64_t)dim[i];
        if (dim[i] == 0) return "its chunks are empty";
        if (__builtin_mul_overflow(bytes, dim[i], &bytes) || bytes > PAL_H5_CHUNK)
            return "its chunks have more than 32 MiB";
    }
    if (bytes > PAL_H5_BLOCK && bytes > d->bytes) return "its chunks are larger than it is";
    return NULL;
}

/* Compares what is stored with what is claimed. */
static const char *compare_storage(const pal_h5 *file, const pal_h5_dataset *d, int inflation)
{
    hsize_t size, most;
    if (d->bytes == 0) return NULL;
    const hsize_t stored = H5Dget_storage_size(d->id);
    if (H5Fget_filesize(file->id, &size) < 0) return "the file's size is unknown";
    if (stored > size) return "it claims more data than the file can hold";
    if (!d->chunked && stored != d->bytes) return "it claims more or less data than it stores";
    if (__builtin_mul_overflow(stored, (hsize_t)inflation, &most)) return NULL;
    return d->bytes > most ? "it claims more data than it stores" : NULL;
}

static const char *check_storage(const pal_h5 *file, pal_h5_dataset *d)
{
    int inflation = 1;
    const char *trouble = NULL;
    const hid_t how = H5Dget_create_plist(d->id);
    const H5D_layout_t layout = H5Pget_layout(how);
    const int64_t count = pal_shape_count(d->shape);
    d->chunked = layout == H5D_CHUNKED;
    if (__builtin_mul_overflow((size_t)count, H5Tget_size(d->type), &d->bytes))
        trouble = "its size is out of range";
    else if (layout == H5D_COMPACT)
        trouble = "its layout is compact; contiguous or chunked is wanted";
    else if ((layout != H5D_CONTIGUOUS && !d->chunked) || H5Pget_external_count(how) != 0)
        trouble = "its data is in other files";
    if (!trouble) trouble = check_filters(how, &inflation);
    if (!trouble && d->chunked) trouble = read_chunks(how, d);
    if (!trouble) trouble = compare_storage(file, d, inflation);
    pal_h5_drop(how);
    return trouble;
}

/* ---- Opening ---- */

pal_status pal_h5_open_dataset(const pal_h5 *file, const char *name, pal_h5_dataset *d,
                               pal_error *error)
{
    const char *trouble = NULL;
    *d = (pal_h5_dataset){.id = -1, .type = -1};
    const pal_status room = pal_h5_room(file->path, 0, error);
    if (room != PAL_OK) return room;
    if (pal_h5_reachable(file, name) && strcmp(name, "/") != 0)
        d->id = H5Oopen(file->id, name, H5P_DEFAULT);
    if (d->id < 0)
        trouble = "there is no such dataset";
    else if (H5Iget_type(d->id) != H5I_DATASET)
        trouble = "it is not a dataset";
    if (trouble == NULL) trouble = read_type(d);
    if (trouble == NULL) trouble = read_shape(d);
    if (trouble == NULL) trouble = check_storage(file, d);
    if (trouble == NULL) return PAL_OK;
    pal_h5_close_dataset(d);
    return pal_error_set(error, PAL_EFORMAT, "%s: cannot read '%s': %s", file->path, name, trouble);
}

void pal_h5_close_dataset(pal_h5_dataset *d)
{
    pal_h5_drop(d->type);
    pal_h5_drop(d->id);
}

pal_status pal_h5_info(pal_h5 *file, const char *name, pal_dtype *dtype, pal_shape *shape,
                       pal_error *error)
{
    pal_h5_dataset d;
    pal_h5_voice voice = pal_h5_hush();
    pal_status status = pal_h5_open_dataset(file, name, &d, error);
    if (status == PAL_OK) {
        *dtype = d.dtype;
        *shape = d.shape;
        pal_h5_close_dataset(&d);
    }
    pal_h5_speak(voice);
    return status;
}
