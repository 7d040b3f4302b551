/*
 * hdf5_read.c - reads arrays and attributes from files that are not trusted.
 *
 * Class, rank, dimensions and storage are checked before memory is sized by them. Only hard links
 * are followed, and data outside of the file (external or virtual datasets) are refused: a file
 * must not refer to other files on this machine. HDF5 converts byte order and width. One risk in
 * HDF5 remains: texts of variable length (from h5py, never from this library) are read from a heap
 * whose sizes it does not check.
 */
#include "tensor/files/hdf5_private.h"

#include <string.h>

bool pal_h5_has(pal_h5 *file, const char *name)
{
    pal_h5_voice voice = pal_h5_hush();
    bool has = pal_h5_reachable(file, name);
    pal_h5_speak(voice);
    return has;
}

/* ---- Datasets ---- */

static const char *read_type(pal_h5_dataset *d)
{
    d->type = H5Dget_type(d->id);
    H5T_class_t class = H5Tget_class(d->type);
    size_t size = H5Tget_size(d->type);
    if (class != H5T_INTEGER && class != H5T_FLOAT) return "its elements are not numbers";
    if (size == 0 || size > 16) return "its elements have an unusual size";
    d->integer = class == H5T_INTEGER;
    d->dtype = d->integer ? PAL_I64 : size > sizeof(float) ? PAL_F64 : PAL_F32;
    return NULL;
}

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

/* Refuses data that are stored elsewhere, and sizes that the file cannot hold. Compression
 * (deflate) can reach a factor of 1032. */
static const char *check_storage(const pal_h5 *file, pal_h5_dataset *d)
{
    hid_t how = H5Dget_create_plist(d->id);
    H5D_layout_t layout = H5Pget_layout(how);
    int external = H5Pget_external_count(how);
    hsize_t bytes = 0, limit, count = (hsize_t)pal_shape_count(d->shape);
    bool overflow = __builtin_mul_overflow(count, (hsize_t)H5Tget_size(d->type), &bytes);
    pal_h5_drop(how);
    d->bytes = (size_t)bytes;
    if (layout != H5D_CONTIGUOUS && layout != H5D_COMPACT && layout != H5D_CHUNKED)
        return "its data is in other files";
    if (external != 0) return "its data is in other files";
    if (H5Fget_filesize(file->id, &limit) < 0) return "the file's size is unknown";
    if (layout == H5D_CHUNKED && __builtin_mul_overflow(limit, (hsize_t)1032, &limit))
        limit = INT64_MAX;
    return overflow || bytes > limit ? "it claims more data than the file can hold" : NULL;
}

pal_status pal_h5_open_dataset(const pal_h5 *file, const char *name, pal_h5_dataset *d,
                               pal_error *error)
{
    const char *trouble = NULL;
    *d = (pal_h5_dataset){.id = -1, .type = -1};
    pal_status status = pal_h5_room(file->path, 0, error);
    if (status != PAL_OK) return status;
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

static hid_t memory_type(pal_dtype dtype)
{
    switch (dtype) {
    case PAL_F32:
        return H5T_NATIVE_FLOAT;
    case PAL_F64:
        return H5T_NATIVE_DOUBLE;
    case PAL_I64:
        return H5T_NATIVE_INT64;
    }
    pal_dtype_unknown(dtype, __func__);
}

/* Reads the elements as they are stored, because the checksums are over these, and converts them.
 * If dst is contiguous and has the stored type, they are read into it directly. */
static pal_status read_data(const pal_h5 *file, const char *name, const pal_h5_dataset *d,
                            const pal_h5_sums *sums, const pal_array *dst, pal_error *error)
{
    hid_t type = memory_type(dst->dtype);
    bool direct = H5Tequal(d->type, type) > 0 && pal_array_contiguous(dst);
    size_t wide = pal_shape_bytes(dst->dtype, d->shape), size = wide > d->bytes ? wide : d->bytes;
    void *data = direct ? dst->data : pal_malloc(size);
    if (data == NULL)
        return pal_error_set(error, PAL_ENOMEM, "%s: no memory for the %zu bytes of '%s'",
                             file->path, size, name);
    pal_array dense = pal_array_of(dst->dtype, d->shape, data);
    pal_status status = PAL_OK;
    if (H5Dread(d->id, d->type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        status = pal_error_set(error, PAL_EFORMAT, "%s: cannot read '%s': %s", file->path, name,
                               pal_h5_why().text);
    if (status == PAL_OK) status = pal_h5_verify(file, name, sums, 0, sums->count, data, error);
    if (direct) return status;
    if (status == PAL_OK &&
        H5Tconvert(d->type, type, (size_t)pal_shape_count(d->shape), data, NULL, H5P_DEFAULT) < 0)
        status = pal_error_set(error, PAL_EFORMAT, "%s: cannot convert '%s': %s", file->path, name,
                               pal_h5_why().text);
    if (status == PAL_OK) status = pal_array_copy(dst, &dense, error);
    pal_free(data, size);
    return status;
}

static pal_status read_into(const pal_h5 *file, const char *name, const pal_h5_dataset *d,
                            const pal_array *dst, pal_error *error)
{
    char want[200], have[200];
    pal_array stored = pal_array_of(d->dtype, d->shape, NULL);
    pal_array_describe(&stored, have, sizeof have);
    pal_array_describe(dst, want, sizeof want);
    if (!pal_shape_equal(d->shape, pal_array_shape(dst)))
        return pal_error_set(error, PAL_ESHAPE, "%s: '%s' is %s, wanted %s", file->path, name, have,
                             want);
    if (d->integer != (dst->dtype == PAL_I64))
        return pal_error_set(error, PAL_EFORMAT, "%s: '%s' is %s, which does not convert to %s",
                             file->path, name, have, want);
    if (d->bytes == 0) return PAL_OK;
    pal_h5_sums sums;
    pal_status status = pal_h5_get_sums(file, name, d->id, d->bytes, &sums, error);
    if (status == PAL_OK) status = read_data(file, name, d, &sums, dst, error);
    pal_h5_free_sums(&sums);
    return status;
}

pal_status pal_h5_get(pal_h5 *file, const char *name, const pal_array *dst, pal_error *error)
{
    pal_h5_dataset d;
    pal_h5_voice voice = pal_h5_hush();
    pal_status status = pal_h5_open_dataset(file, name, &d, error);
    if (status == PAL_OK) {
        status = read_into(file, name, &d, dst, error);
        pal_h5_close_dataset(&d);
    }
    pal_h5_speak(voice);
    return status;
}

/* ---- Attributes ---- */

/* Opens an attribute of one element. The caller drops *type too. On failure -1, and the reason is
 * in *error. */
static hid_t open_attribute(const pal_h5 *file, const char *object, const char *name, hid_t *type,
                            pal_error *error)
{
    hid_t id = -1;
    *type = -1;
    if (pal_h5_reachable(file, object) &&
        H5Aexists_by_name(file->id, object, name, H5P_DEFAULT) > 0)
        id = H5Aopen_by_name(file->id, object, name, H5P_DEFAULT, H5P_DEFAULT);
    if (id < 0) {
        pal_error_set(error, PAL_EFORMAT, "%s: '%s' has no attribute '%s'", file->path, object,
                      name);
        return -1;
    }
    hid_t space = H5Aget_space(id);
    bool single = H5Sget_simple_extent_npoints(space) == 1;
    pal_h5_drop(space);
    *type = H5Aget_type(id);
    if (single && *type >= 0) return id;
    pal_error_set(error, PAL_EFORMAT, "%s: attribute '%s' of '%s' is not a single value",
                  file->path, name, object);
    pal_h5_drop(*type);
    pal_h5_drop(id);
    return -1;
}

enum { FIXED_MAX = 1 << 20 }; /* bytes; a longer text of fixed length is refused */

bool pal_h5_text_is_fixed(const pal_h5 *file, const char *object, const char *name)
{
    hid_t type, id = open_attribute(file, object, name, &type, NULL);
    if (id < 0) return false;
    bool fixed = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0;
    pal_h5_drop(type);
    pal_h5_drop(id);
    return fixed;
}

/* Copies the attribute's text. PAL_EFORMAT if it cannot be read or does not fit. */
static pal_status read_text(hid_t id, hid_t type, char *text, size_t size)
{
    size_t stored = H5Tget_size(type);
    pal_status status = PAL_EFORMAT;
    if (H5Tis_variable_str(type) > 0) {
        char *value = NULL;
        if (H5Aread(id, type, &value) < 0) return status;
        size_t length = value == NULL ? 0 : strlen(value);
        if (length < size) {
            memcpy(text, value == NULL ? "" : value, length + 1);
            status = PAL_OK;
        }
        H5free_memory(value);
    } else if (stored > 0 && stored <= FIXED_MAX) {
        char *value = pal_malloc(stored);
        if (value == NULL) return PAL_ENOMEM;
        if (H5Aread(id, type, value) >= 0) {
            size_t length = strnlen(value, stored);
            if (H5Tget_strpad(type) == H5T_STR_SPACEPAD)
                while (length > 0 && value[length - 1] == ' ') length--;
            if (length < size) {
                memcpy(text, value, length);
                text[length] = '\0';
                status = PAL_OK;
            }
        }
        pal_free(value, stored);
    }
    return status;
}

pal_status pal_h5_get_text(pal_h5 *file, const char *object, const char *attribute, char *text,
                           size_t size, pal_error *error)
{
    hid_t type;
    pal_h5_voice voice = pal_h5_hush();
    pal_status status = pal_h5_room(file->path, 0, error);
    hid_t id = status == PAL_OK ? open_attribute(file, object, attribute, &type, error) : -1;
    if (status == PAL_OK) status = PAL_EFORMAT;
    if (id >= 0) {
        if (H5Tget_class(type) == H5T_STRING) status = read_text(id, type, text, size);
        if (status == PAL_ENOMEM)
            pal_error_set(error, status, "%s: no memory to read attribute '%s' of '%s'", file->path,
                          attribute, object);
        else if (status != PAL_OK)
            pal_error_set(error, status,
                          "%s: attribute '%s' of '%s' is not a text of less than %zu bytes",
                          file->path, attribute, object, size);
        pal_h5_drop(type);
        pal_h5_drop(id);
    }
    pal_h5_speak(voice);
    return status;
}

/* Reads integers, floats and enumerations (h5py's bool) as they are stored, then converts them. */
static bool read_number(hid_t id, hid_t type, double *value)
{
    union {
        char bytes[16];
        double number;
    } x = {{0}};
    H5T_class_t class = H5Tget_class(type);
    if (class != H5T_INTEGER && class != H5T_FLOAT && class != H5T_ENUM) return false;
    size_t size = H5Tget_size(type);
    if (size == 0 || size > sizeof x) return false;
    if (H5Aread(id, type, &x) < 0) return false;
    hid_t base = class == H5T_ENUM ? H5Tget_super(type) : H5Tcopy(type);
    bool good = H5Tconvert(base, H5T_NATIVE_DOUBLE, 1, &x, NULL, H5P_DEFAULT) >= 0;
    pal_h5_drop(base);
    if (good) *value = x.number;
    return good;
}

pal_status pal_h5_get_number(pal_h5 *file, const char *object, const char *attribute, double *value,
                             pal_error *error)
{
    hid_t type;
    pal_h5_voice voice = pal_h5_hush();
    pal_status status = pal_h5_room(file->path, 0, error);
    hid_t id = status == PAL_OK ? open_attribute(file, object, attribute, &type, error) : -1;
    if (status == PAL_OK) status = PAL_EFORMAT;
    if (id >= 0) {
        if (read_number(id, type, value))
            status = PAL_OK;
        else
            pal_error_set(error, status, "%s: attribute '%s' of '%s' is not a number", file->path,
                          attribute, object);
        pal_h5_drop(type);
        pal_h5_drop(id);
    }
    pal_h5_speak(voice);
    return status;
}

/* ---- Listing ---- */

typedef struct walk {
    bool (*visit)(const char *name, void *user);
    void *user;
} walk;

static herr_t at_link(hid_t group, const char *name, const H5L_info_t *info, void *data)
{
    const walk *w = data;
    if (info->type != H5L_TYPE_HARD) return 0;
    hid_t id = H5Oopen(group, name, H5P_DEFAULT);
    bool wanted = id >= 0 && H5Iget_type(id) == H5I_DATASET;
    pal_h5_drop(id);
    return wanted && !w->visit(name, w->user) ? 1 : 0;
}

pal_status pal_h5_each(pal_h5 *file, const char *group, bool (*visit)(const char *name, void *user),
                       void *user, pal_error *error)
{
    walk w = {visit, user};
    pal_h5_voice voice = pal_h5_hush();
    pal_status status = pal_h5_room(file->path, 0, error);
    if (status == PAL_OK && !pal_h5_reachable(file, group))
        status = pal_error_set(error, PAL_EFORMAT, "%s: there is no group '%s'", file->path, group);
    else if (status == PAL_OK && H5Lvisit_by_name(file->id, group, H5_INDEX_NAME, H5_ITER_INC,
                                                  at_link, &w, H5P_DEFAULT) < 0)
        status = pal_error_set(error, PAL_EFORMAT, "%s: cannot list '%s': %s", file->path, group,
                               pal_h5_why().text);
    pal_h5_speak(voice);
    return status;
}
