/*
 * hdf5_sums.c - checksums over the data of a dataset, because HDF5 has checksums only over
 * metadata.
 *
 * The attribute `crc32c`, u32 [ceil(bytes / 2^20)], holds the CRC-32C of each MiB of the elements,
 * in row-major order and as they are stored, which is little-endian. An empty dataset has none.
 * Datasets without the attribute (from h5py) are read without a check.
 */
#include "tensor/files/hdf5_private.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "checksums are taken from memory, which has to be little-endian like the files"
#endif

static const char attribute[] = "crc32c";

static int64_t blocks_of(size_t bytes)
{
    return (int64_t)(bytes / PAL_H5_BLOCK + (bytes % PAL_H5_BLOCK != 0));
}

static size_t block_bytes(size_t bytes, int64_t block)
{
    size_t left = bytes - (size_t)block * PAL_H5_BLOCK;
    return left < PAL_H5_BLOCK ? left : PAL_H5_BLOCK;
}

pal_status pal_h5_take_sums(const pal_h5 *file, const char *name, const void *data, size_t bytes,
                            pal_h5_sums *sums, pal_error *error)
{
    *sums = (pal_h5_sums){.bytes = bytes};
    int64_t blocks = blocks_of(bytes);
    if (blocks == 0) return PAL_OK;
    sums->sum = pal_malloc((size_t)blocks * sizeof(uint32_t));
    if (sums->sum == NULL)
        return pal_error_set(error, PAL_ENOMEM, "%s: no memory for the checksums of '%s'",
                             file->path, name);
    sums->count = blocks;
    for (int64_t i = 0; data != NULL && i < blocks; i++)
        sums->sum[i] =
            pal_crc32c(0, (const char *)data + i * (int64_t)PAL_H5_BLOCK, block_bytes(bytes, i));
    return PAL_OK;
}

pal_status pal_h5_put_sums(const pal_h5 *file, const char *name, hid_t dataset,
                           const pal_h5_sums *sums, pal_error *error)
{
    if (sums->count == 0) return PAL_OK;
    hsize_t dim = (hsize_t)sums->count;
    hid_t space = H5Screate_simple(1, &dim, NULL);
    hid_t id = H5Acreate2(dataset, attribute, H5T_STD_U32LE, space, H5P_DEFAULT, H5P_DEFAULT);
    pal_status status = PAL_OK;
    if (id < 0 || H5Awrite(id, H5T_NATIVE_UINT32, sums->sum) < 0)
        status = pal_error_set(error, PAL_EVALUE, "%s: cannot add the checksums of '%s': %s",
                               file->path, name, pal_h5_why().text);
    pal_h5_drop(id);
    pal_h5_drop(space);
    return status;
}

/* Whether the attribute has the right type and size, so that reading it fills `blocks` numbers. */
static bool fits(hid_t id, int64_t blocks)
{
    hsize_t dim[H5S_MAX_RANK] = {0};
    hid_t type = H5Aget_type(id), space = H5Aget_space(id);
    bool good = H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) == sizeof(uint32_t) &&
                pal_h5_usual_number(type) && H5Sget_simple_extent_ndims(space) == 1 &&
                H5Sget_simple_extent_dims(space, dim, NULL) == 1 && dim[0] == (hsize_t)blocks;
    pal_h5_drop(space);
    pal_h5_drop(type);
    return good;
}

pal_status pal_h5_get_sums(const pal_h5 *file, const char *name, hid_t dataset, size_t bytes,
                           pal_h5_sums *sums, pal_error *error)
{
    *sums = (pal_h5_sums){.bytes = bytes};
    htri_t there = H5Aexists(dataset, attribute);
    if (bytes == 0 || there == 0) return PAL_OK;
    int64_t blocks = blocks_of(bytes);
    size_t size = (size_t)blocks * sizeof(uint32_t);
    hid_t id = there > 0 ? H5Aopen(dataset, attribute, H5P_DEFAULT) : -1;
    pal_status status = PAL_OK;
    if (id < 0 || !fits(id, blocks))
        status = PAL_EFORMAT;
    else if ((sums->sum = pal_malloc(size)) == NULL)
        status = pal_error_set(error, PAL_ENOMEM, "%s: no memory for the checksums of '%s'",
                               file->path, name);
    else if (H5Aread(id, H5T_NATIVE_UINT32, sums->sum) < 0)
        status = PAL_EFORMAT;
    sums->count = blocks;
    if (status == PAL_EFORMAT)
        pal_error_set(error, status, "%s: the checksums of '%s' are not u32[%lld]", file->path,
                      name, (long long)blocks);
    if (status != PAL_OK) pal_h5_free_sums(sums);
    pal_h5_drop(id);
    return status;
}

void pal_h5_free_sums(pal_h5_sums *sums)
{
    pal_free(sums->sum, (size_t)sums->count * sizeof(uint32_t));
    *sums = (pal_h5_sums){0};
}

pal_status pal_h5_verify(const pal_h5 *file, const char *name, const pal_h5_sums *sums,
                         int64_t first, int64_t count, const void *data, pal_error *error)
{
    const char *at = data;
    for (int64_t i = first; i < first + count && sums->sum != NULL; i++) {
        size_t n = block_bytes(sums->bytes, i);
        if (pal_crc32c(0, at, n) != sums->sum[i])
            return pal_error_set(error, PAL_EFORMAT,
                                 "%s: '%s' is damaged: the checksum of MiB %lld of %lld is wrong",
                                 file->path, name, (long long)i + 1, (long long)sums->count);
        at += n;
    }
    return PAL_OK;
}
