/*
 * hdf5_read.c - reads arrays and attributes from files that are not trusted.
 *
 * Datasets have passed the guards of hdf5_dataset.c before memory is sized by them. Attributes are
 * single numbers, or texts that are not long. HDF5 converts byte order and width. What remains is
 * said where a check of files is set (pal_set_file_check).
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

static hid_t memory_type(pal_dtype dtype)
{
    switch (dtype) {
    case PAL_F32:
        return H5T_NATIVE_FLOAT;
    case PAL_F64:
        return H5T_NATIVE_DOUBLE;
    case PAL_I64:
        return H5T_NATIVE_INT64;
    case PAL_BF16:
        return pal_h5_bf16();
    }
    pal_dtype_unknown(dtype, __func__);
}

/* Reads the elements as they are stored, because the checksums are over these, and converts them.
 * If dst is contiguous and has the stored type, they are read into it directly. Between bf16 and
 * other types pal_array_copy converts, which is faster than HDF5 and rounds to the nearest. */
static pal_status read_data(const pal_h5 *file, const char *name, const pal_h5_dataset *d,
                            const pal_h5_sums *sums, const pal_array *dst, pal_error *error)
{
    const bool narrow = d->dtype == PAL_BF16 || dst->dtype == PAL_BF16;
    const pal_dtype via = narrow ? d->dtype : dst->dtype;
    hid_t type = memory_type(via);
    bool direct = via == dst->dtype && H5Tequal(d->type, type) > 0 && pal_array_contiguous(dst);
    size_t wide = pal_shape_bytes(via, d->shape), size = wide > d->bytes ? wide : d->bytes;
    void *data = direct ? dst->data : pal_malloc(size);
    if (data == NULL)
        return pal_error_set(error, PAL_ENOMEM, "%s: no memory for the %zu bytes of '%s'",
                             file->path, size, name);
    pal_array dense = pal_array_of(via, d->shape, data);
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

/* Whether an attribute has one element, whose type the caller drops. */
static bool is_single(hid_t id, hid_t *type)
{
    hid_t space = H5Aget_space(id);
    bool single = H5Sget_simple_extent_npoints(space) == 1;
    pal_h5_drop(space);
    *type = H5Aget_type(id);
    return single && *type >= 0;
}

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
    if (is_single(id, type)) return id;
    pal_error_set(error, PAL_EFORMAT, "%s: attribute '%s' of '%s' is not a single value",
                  file->path, name, object);
    pal_h5_drop(*type);
    pal_h5_drop(id);
    return -1;
}

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
    } else if (stored > 0 && stored <= PAL_H5_TEXT) {
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
    const bool named = H5Tget_class(type) == H5T_ENUM;
    hid_t base = named ? H5Tget_super(type) : H5Tcopy(type);
    const bool good = pal_h5_usual_number(base) && H5Tget_size(type) == H5Tget_size(base) &&
                      H5Aread(id, type, &x) >= 0 &&
                      H5Tconvert(base, H5T_NATIVE_DOUBLE, 1, &x, NULL, H5P_DEFAULT) >= 0;
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

void pal_h5_try_attribute(hid_t object, const char *name, char *text, size_t size)
{
    hid_t type = -1, id = H5Aopen(object, name, H5P_DEFAULT);
    double number;
    if (id >= 0 && is_single(id, &type)) {
        if (H5Tget_class(type) == H5T_STRING)
            (void)read_text(id, type, text, size);
        else
            (void)read_number(id, type, &number);
    }
    pal_h5_drop(type);
    pal_h5_drop(id);
}
