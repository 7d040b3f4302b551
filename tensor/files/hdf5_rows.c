/*
 * hdf5_rows.c - reads some rows of a dataset of any shape, where reading all of it would need too
 * much memory.
 *
 * HDF5 converts the numbers and reads only the parts of the file that have them. Checksums are over
 * whole MiB, so they are not compared here.
 */
#include "tensor/files/hdf5_private.h"
#include "tensor/files/rows.h"

#include <string.h>

struct pal_h5_rows {
    const pal_h5 *file;
    pal_h5_dataset set;
    size_t size; /* of this allocation */
    char name[];
};

static pal_status open_rows(pal_h5_rows **rows, pal_h5 *file, const char *name, pal_error *error)
{
    pal_h5_dataset d;
    pal_status s = pal_h5_open_dataset(file, name, &d, error);
    if (s != PAL_OK) return s;
    const size_t length = strlen(name) + 1, size = sizeof(pal_h5_rows) + length;
    pal_h5_rows *r = pal_malloc(size);
    if (r == NULL) {
        pal_h5_close_dataset(&d);
        return pal_error_set(error, PAL_ENOMEM, "%s: no memory to read '%s'", file->path, name);
    }
    r->file = file, r->set = d, r->size = size;
    memcpy(r->name, name, length);
    *rows = r;
    return PAL_OK;
}

pal_status pal_h5_rows_open(pal_h5_rows **rows, pal_h5 *file, const char *name, pal_error *error)
{
    *rows = NULL;
    pal_h5_voice voice = pal_h5_hush();
    pal_status s = open_rows(rows, file, name, error);
    pal_h5_speak(voice);
    return s;
}

void pal_h5_rows_close(pal_h5_rows *r)
{
    if (r == NULL) return;
    pal_h5_voice voice = pal_h5_hush();
    pal_h5_close_dataset(&r->set);
    pal_free(r, r->size);
    pal_h5_speak(voice);
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
    case PAL_BF16:
        return pal_h5_bf16();
    }
    pal_dtype_unknown(dtype, __func__);
}

static bool read_part(const pal_h5_rows *r, int64_t first, int64_t count, pal_dtype to, void *out)
{
    hsize_t start[PAL_MAX_DIMS] = {(hsize_t)first}, n[PAL_MAX_DIMS] = {(hsize_t)count};
    for (int i = 1; i < r->set.shape.ndim; i++) n[i] = (hsize_t)r->set.shape.dim[i];
    hid_t from = H5Dget_space(r->set.id), in = H5Screate_simple(r->set.shape.ndim, n, NULL);
    bool good = H5Sselect_hyperslab(from, H5S_SELECT_SET, start, NULL, n, NULL) >= 0 &&
                H5Dread(r->set.id, memory_type(to), in, from, H5P_DEFAULT, out) >= 0;
    pal_h5_drop(in);
    pal_h5_drop(from);
    return good;
}

pal_status pal_h5_rows_get(pal_h5_rows *r, int64_t first, int64_t count, pal_dtype to, void *out,
                           pal_error *error)
{
    if (count == 0 || pal_shape_count(r->set.shape) == 0) return PAL_OK;
    pal_h5_voice voice = pal_h5_hush();
    pal_status s = pal_h5_room(r->file->path, 0, error);
    if (s == PAL_OK && !read_part(r, first, count, to, out))
        s = pal_error_set(error, PAL_EFORMAT, "%s: cannot read row %lld of '%s': %s", r->file->path,
                          (long long)first, r->name, pal_h5_why().text);
    pal_h5_speak(voice);
    return s;
}
