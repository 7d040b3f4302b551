/*
 * hdf5_write.c - adds arrays and attributes to a file that is being built.
 *
 * Datasets are contiguous, little-endian and without time stamps, so that equal contents give equal
 * files. Text attributes are UTF-8 of fixed length (bytes in h5py), which is stored in metadata
 * with a checksum. Text of variable length would be stored in a heap without a checksum, and HDF5
 * 1.10 corrupts its memory when that heap is damaged.
 */
#include "tensor/files/hdf5_private.h"

#include <string.h>

static hid_t file_type(pal_dtype dtype)
{
    switch (dtype) {
    case PAL_F32:
        return H5T_IEEE_F32LE;
    case PAL_F64:
        return H5T_IEEE_F64LE;
    case PAL_I64:
        return H5T_STD_I64LE;
    case PAL_BF16:
        return pal_h5_bf16();
    }
    pal_dtype_unknown(dtype, __func__);
}

static hid_t make_space(const pal_array *a)
{
    hsize_t dim[PAL_MAX_DIMS];
    if (a->ndim == 0) return H5Screate(H5S_SCALAR);
    for (int i = 0; i < a->ndim; i++) dim[i] = (hsize_t)a->shape[i];
    return H5Screate_simple(a->ndim, dim, NULL);
}

static pal_status not_building(const pal_h5 *file, pal_error *error)
{
    return pal_error_set(error, PAL_EVALUE, "%s: was opened for reading and cannot be changed",
                         file->path);
}

/* ---- Attributes ---- */

static pal_status check_attribute(const pal_h5 *file, const char *object, const char *name,
                                  pal_error *error)
{
    if (!file->building) return not_building(file, error);
    const char *trouble = pal_text_trouble(name);
    if (trouble)
        return pal_error_set(error, PAL_EVALUE, "%.300s: the attribute's name '%.400s' %s",
                             file->path, name, trouble);
    if (!pal_h5_reachable(file, object))
        return pal_error_set(error, PAL_EVALUE, "%s: no object '%s' to give the attribute '%s'",
                             file->path, object, name);
    return PAL_OK;
}

static pal_status add_attribute(const pal_h5 *file, const char *object, const char *name,
                                hid_t type, hid_t in_memory, const void *value, pal_error *error)
{
    pal_status status = PAL_OK;
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t id = H5Acreate_by_name(file->id, object, name, type, space, H5P_DEFAULT, H5P_DEFAULT,
                                 H5P_DEFAULT);
    if (id < 0 || H5Awrite(id, in_memory, value) < 0)
        status = pal_error_set(error, PAL_EVALUE, "%s: cannot set attribute '%s' of '%s': %s",
                               file->path, name, object, pal_h5_why().text);
    pal_h5_drop(id);
    pal_h5_drop(space);
    return status;
}

/* Sets an attribute and replaces an old one of that name. `bytes` is the size of the value, for
 * pal_h5_reserve. */
static pal_status put_attribute(pal_h5 *file, const char *object, const char *name, hid_t type,
                                hid_t in_memory, const void *value, size_t bytes, pal_error *error)
{
    pal_status status = check_attribute(file, object, name, error);
    if (status == PAL_OK) status = pal_h5_room_to_grow(file, bytes, error);
    if (status == PAL_OK) status = pal_h5_reserve(file, bytes, error);
    status = pal_h5_agree(file, status, error);
    if (status != PAL_OK) return status;
    if (H5Aexists_by_name(file->id, object, name, H5P_DEFAULT) > 0)
        H5Adelete_by_name(file->id, object, name, H5P_DEFAULT);
    status = add_attribute(file, object, name, type, in_memory, value, error);
    return pal_h5_agree_later(file, status, error);
}

static hid_t text_type(size_t size)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, size);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

static pal_status put_text(pal_h5 *file, const char *object, const char *attribute,
                           const char *text, size_t size, pal_error *error)
{
    hid_t type = text_type(size);
    pal_status status = put_attribute(file, object, attribute, type, type, text, size, error);
    pal_h5_drop(type);
    return status;
}

/* All processes must have the same metadata, so they all write the owner's text. Most texts are
 * short and come with their size. */
static pal_status put_owners_text(pal_h5 *file, const char *object, const char *attribute,
                                  const char *text, pal_error *error)
{
    struct {
        size_t size;
        char text[248];
    } start = {.size = strlen(text) + 1};
    if (start.size <= sizeof start.text) memcpy(start.text, text, start.size);
    pal_h5_spread(file, &start, sizeof start);
    const size_t size = start.size;
    if (size <= sizeof start.text)
        return put_text(file, object, attribute, start.text, size, error);
    char *common = pal_malloc(size);
    pal_status status = PAL_OK;
    if (common == NULL)
        status = pal_error_set(error, PAL_ENOMEM, "%s: no memory for the attribute '%s'",
                               file->path, attribute);
    else if (pal_h5_owns(file))
        memcpy(common, text, size);
    status = pal_h5_agree(file, status, error);
    if (status == PAL_OK) {
        pal_h5_spread(file, common, size);
        status = put_text(file, object, attribute, common, size, error);
    }
    pal_free(common, size);
    return status;
}

pal_status pal_h5_put_text(pal_h5 *file, const char *object, const char *attribute,
                           const char *text, pal_error *error)
{
    pal_h5_voice voice = pal_h5_hush();
    pal_status status = file->shared
                            ? put_owners_text(file, object, attribute, text, error)
                            : put_text(file, object, attribute, text, strlen(text) + 1, error);
    pal_h5_speak(voice);
    return status;
}

pal_status pal_h5_put_number(pal_h5 *file, const char *object, const char *attribute, double value,
                             pal_error *error)
{
    pal_h5_voice voice = pal_h5_hush();
    pal_h5_spread(file, &value, sizeof value);
    pal_status status = put_attribute(file, object, attribute, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE,
                                      &value, sizeof value, error);
    pal_h5_speak(voice);
    return status;
}

/* ---- Arrays ---- */

/* Makes the groups that contain `name`. HDF5 would make them too, but with time stamps (it does so
 * if the name is too long for `path`). Failures here are reported when the dataset is added. */
static void make_groups(const pal_h5 *file, const char *name)
{
    char path[1024];
    const size_t length = strlen(name);
    const size_t known = pal_h5_is_in_group(file, name) ? strlen(file->group) : 0;
    if (length >= sizeof path || (known > 0 && !strchr(name + known + 1, '/'))) return;
    memcpy(path, name, length + 1);
    hid_t how = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(how, false);
    for (size_t i = known + 1; i < length; i++) {
        if (path[i] != '/') continue;
        path[i] = '\0';
        if (H5Lexists(file->id, path, H5P_DEFAULT) == 0)
            pal_h5_drop(H5Gcreate2(file->id, path, H5P_DEFAULT, how, H5P_DEFAULT));
        path[i] = '/';
    }
    pal_h5_drop(how);
}

/* Values in contiguous memory, little-endian as in the file. */
typedef struct values {
    hid_t type;        /* in the file */
    const char *dtype; /* as text */
    size_t bytes;
    const void *data;
} values;

/* Makes a new dataset; -1 if HDF5 refuses. */
static hid_t make_dataset(pal_h5 *file, const char *name, hid_t space, const values *v)
{
    hid_t links = H5Pcreate(H5P_LINK_CREATE), how = H5Pcreate(H5P_DATASET_CREATE), id = -1;
    make_groups(file, name);
    if (H5Pset_create_intermediate_group(links, 1) >= 0 &&
        H5Pset_char_encoding(links, H5T_CSET_UTF8) >= 0 &&
        H5Pset_obj_track_times(how, false) >= 0 && H5Pset_fill_time(how, H5D_FILL_TIME_NEVER) >= 0)
        id = H5Dcreate2(file->id, name, v->type, space, links, how, H5P_DEFAULT);
    pal_h5_drop(how);
    pal_h5_drop(links);
    return id;
}

static const char dtype_name[] = "dtype";

/* The name of the type beside a new dataset; room for it was reserved with that of the dataset. */
static pal_status put_dtype(const pal_h5 *file, const char *name, const char *dtype,
                            pal_error *error)
{
    pal_status status = PAL_OK;
    if (!file->shared) status = pal_h5_room_to_grow(file, strlen(dtype) + 1, error);
    if (status != PAL_OK) return status;
    hid_t type = text_type(strlen(dtype) + 1);
    status = add_attribute(file, name, dtype_name, type, type, dtype, error);
    pal_h5_drop(type);
    return status;
}

/* status is the result of what this process did before for the same dataset. */
static pal_status put_values(pal_h5 *file, const char *name, hid_t space, const values *v,
                             pal_status status, pal_error *error)
{
    pal_h5_sums sums = {0};
    const bool owns = pal_h5_owns(file);
    if (status == PAL_OK)
        status = pal_h5_take_sums(file, name, owns ? v->data : NULL, v->bytes, &sums, error);
    status = pal_h5_agree(file, status, error);
    if (status == PAL_OK) {
        pal_h5_spread(file, sums.sum, (size_t)sums.count * sizeof(uint32_t));
        hid_t id = make_dataset(file, name, space, v);
        if (id < 0 || (owns && v->bytes > 0 &&
                       H5Dwrite(id, v->type, H5S_ALL, H5S_ALL, H5P_DEFAULT, v->data) < 0))
            status = pal_error_set(error, PAL_EVALUE, "%s: cannot add '%s' of %s: %s", file->path,
                                   name, v->dtype, pal_h5_why().text);
        if (status == PAL_OK) status = pal_h5_put_sums(file, name, id, &sums, error);
        if (status == PAL_OK) status = put_dtype(file, name, v->dtype, error);
        pal_h5_drop(id);
        status = pal_h5_agree_later(file, status, error);
    }
    pal_h5_free_sums(&sums);
    return status;
}

/* Checks that a dataset can have that name, and reserves room for its bytes and attributes. Nothing
 * is agreed on yet. */
static pal_status begin(pal_h5 *file, const char *name, const values *v, pal_error *error)
{
    if (!file->building) return not_building(file, error);
    const char *trouble = pal_name_trouble(name + (name[0] == '/'));
    if (trouble)
        return pal_error_set(error, PAL_EVALUE, "%.300s: the name '%.400s' %s", file->path, name,
                             trouble);
    if (pal_h5_reachable(file, name))
        return pal_error_set(error, PAL_EVALUE, "%s: the name '%s' is taken", file->path, name);
    const size_t bytes = v->bytes + v->bytes / PAL_H5_BLOCK * sizeof(uint32_t);
    pal_status status = pal_h5_room_to_grow(file, bytes, error);
    if (status == PAL_OK) status = pal_h5_reserve(file, bytes, error);
    return status == PAL_OK ? pal_h5_reserve(file, strlen(v->dtype) + 1, error) : status;
}

static pal_status put(pal_h5 *file, const char *name, const pal_array *a, pal_error *error)
{
    char text[200];
    pal_shape shape = pal_array_shape(a);
    values v = {file_type(a->dtype), pal_dtype_name(a->dtype), pal_shape_bytes(a->dtype, shape),
                a->data};
    pal_status status = begin(file, name, &v, error);
    hid_t space = make_space(a);
    if (status != PAL_OK || pal_array_contiguous(a) || !pal_h5_owns(file)) {
        status = put_values(file, name, space, &v, status, error);
    } else { /* HDF5 wants contiguous memory */
        pal_array dense = pal_array_of(a->dtype, shape, pal_malloc(v.bytes));
        v.data = dense.data;
        if (dense.data == NULL)
            status = pal_error_set(error, PAL_ENOMEM, "%s: no memory to copy '%s' %s", file->path,
                                   name, pal_array_describe(a, text, sizeof text));
        if (status == PAL_OK) status = pal_array_copy(&dense, a, error);
        status = put_values(file, name, space, &v, status, error);
        pal_free(dense.data, v.bytes);
    }
    pal_h5_drop(space);
    return status;
}

pal_status pal_h5_put(pal_h5 *file, const char *name, const pal_array *a, pal_error *error)
{
    pal_h5_voice voice = pal_h5_hush();
    pal_status status = put(file, name, a, error);
    pal_h5_speak(voice);
    return status;
}

pal_status pal_h5_put_uints(pal_h5 *file, const char *name, int bytes, int64_t count,
                            const void *data, pal_error *error)
{
    pal_h5_voice voice = pal_h5_hush();
    values v = {bytes == 1   ? H5T_STD_U8LE
                : bytes == 2 ? H5T_STD_U16LE
                             : H5T_STD_U32LE,
                bytes == 1   ? "u8"
                : bytes == 2 ? "u16"
                             : "u32",
                0, data};
    pal_status status = PAL_OK;
    if ((bytes != 1 && bytes != 2 && bytes != 4) || count < 0 || count > INT64_MAX / bytes)
        status = pal_error_set(error, PAL_EVALUE, "%s: '%s' cannot be %lld integers of %d bytes",
                               file->path, name, (long long)count, bytes);
    if (status == PAL_OK) {
        v.bytes = (size_t)count * (size_t)bytes;
        status = begin(file, name, &v, error);
        hsize_t dim = (hsize_t)count;
        hid_t space = H5Screate_simple(1, &dim, NULL);
        status = put_values(file, name, space, &v, status, error);
        pal_h5_drop(space);
    }
    pal_h5_speak(voice);
    return status;
}
