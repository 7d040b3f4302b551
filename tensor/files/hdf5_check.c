/*
 * hdf5_check.c - makes HDF5 read a whole file, in a process that may crash.
 *
 * The calls are those of the reader, so what would happen there happens here. Whether a dataset or
 * attribute is of any use is not asked: the reader says that better, of what it needs.
 */
#include "tensor/files/hdf5_private.h"

#include <stdlib.h>
#include <string.h>

typedef struct checking {
    pal_h5 *file;
    const char *path; /* of the object */
    void *memory;     /* PAL_H5_CHUNK bytes: a text or a chunk */
    pal_error *error;
    pal_status status;
} checking;

/* ---- Attributes ---- */

enum { ATTRIBUTES = 1 << 12 }; /* of an object, at most */

typedef struct attributes {
    const checking *c;
    int count;
} attributes;

static herr_t at_attribute(hid_t object, const char *name, const H5A_info_t *info, void *data)
{
    (void)info;
    attributes *a = data;
    if (a->count++ == ATTRIBUTES) return -1;
    pal_h5_try_attribute(object, name, a->c->memory, PAL_H5_TEXT);
    return 0;
}

static pal_status check_attributes(checking *c)
{
    attributes a = {.c = c};
    hsize_t at = 0;
    hid_t id = H5Oopen(c->file->id, c->path, H5P_DEFAULT);
    const bool good =
        id >= 0 && H5Aiterate2(id, H5_INDEX_NAME, H5_ITER_NATIVE, &at, at_attribute, &a) >= 0;
    const pal_h5_reason why = pal_h5_why();
    pal_h5_drop(id);
    if (good) return PAL_OK;
    if (a.count > ATTRIBUTES)
        return pal_error_set(c->error, PAL_EFORMAT, "%s: '%s' has more than %d attributes",
                             c->file->path, c->path, ATTRIBUTES);
    return pal_error_set(c->error, PAL_EFORMAT, "%s: cannot list the attributes of '%s': %s",
                         c->file->path, c->path, why.text);
}

/* ---- Datasets ---- */

/* Decodes the chunk that begins at `first`. */
static bool decode_chunk(const pal_h5_dataset *d, const hsize_t first[PAL_MAX_DIMS], void *memory)
{
    hsize_t count[PAL_MAX_DIMS];
    const int rank = d->shape.ndim;
    for (int i = 0; i < rank; i++) {
        const hsize_t left = (hsize_t)d->shape.dim[i] - first[i], chunk = (hsize_t)d->chunk[i];
        count[i] = left < chunk ? left : chunk;
    }
    const hid_t from = H5Dget_space(d->id), to = H5Screate_simple(rank, count, NULL);
    const bool good = H5Sselect_hyperslab(from, H5S_SELECT_SET, first, NULL, count, NULL) >= 0 &&
                      H5Dread(d->id, d->type, to, from, H5P_DEFAULT, memory) >= 0;
    pal_h5_drop(to);
    pal_h5_drop(from);
    return good;
}

/* Chunk after chunk in row-major order, until one cannot be read. */
static void decode(const pal_h5_dataset *d, void *memory)
{
    hsize_t first[PAL_MAX_DIMS] = {0};
    int axis = 0;
    while (axis >= 0 && decode_chunk(d, first, memory)) {
        for (axis = d->shape.ndim - 1; axis >= 0; axis--) {
            first[axis] += (hsize_t)d->chunk[axis];
            if (first[axis] < (hsize_t)d->shape.dim[axis]) break;
            first[axis] = 0;
        }
    }
}

static void check_dataset(const checking *c)
{
    pal_h5_dataset d;
    pal_h5_sums sums;
    if (pal_h5_open_dataset(c->file, c->path, &d, NULL) != PAL_OK) return;
    if (pal_h5_get_sums(c->file, c->path, d.id, d.bytes, &sums, NULL) == PAL_OK)
        pal_h5_free_sums(&sums);
    if (d.chunked && d.bytes > 0) decode(&d, c->memory);
    pal_h5_close_dataset(&d);
}

/* ---- The file ---- */

static bool check_object(const char *name, bool is_group, void *user)
{
    checking *c = user;
    char path[PAL_H5_PATH + 1];
    snprintf(path, sizeof path, "/%s", name);
    c->path = path;
    c->status = check_attributes(c);
    if (c->status == PAL_OK && !is_group) check_dataset(c);
    return c->status == PAL_OK;
}

static pal_status check_all(checking *c)
{
    c->path = "/";
    pal_status status = check_attributes(c);
    if (status == PAL_OK) status = pal_h5_walk(c->file, "/", check_object, c, c->error);
    return status == PAL_OK ? c->status : status;
}

/* HDF5 gives memory back at once, so that an allocator sees how it is used, and keeps little of the
 * metadata, so that many objects need not much memory, nor many of that allocator's blocks, which
 * cost more than to read a header again. */
static void keep_little(hid_t file)
{
    enum { BYTES = 6 << 10 };
    H5AC_cache_config_t cache = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    if (H5Fget_mdc_config(file, &cache) < 0) return;
    cache.set_initial_size = true;
    cache.initial_size = cache.max_size = cache.min_size = BYTES;
    cache.incr_mode = H5C_incr__off;
    cache.flash_incr_mode = H5C_flash_incr__off;
    cache.decr_mode = H5C_decr__off;
    H5Fset_mdc_config(file, &cache);
}

pal_status pal_h5_check(const char *path, pal_error *error)
{
    checking c = {.error = error, .status = PAL_OK};
    pal_status status = pal_h5_room(path, 0, error); /* starts HDF5 */
    if (status == PAL_OK) {
        pal_h5_voice voice = pal_h5_hush();
        H5set_free_list_limits(0, 0, 0, 0, 0, 0);
        H5garbage_collect(); /* what it kept since its start was made before the guards */
        pal_h5_speak(voice);
        status = pal_h5_open(&c.file, path, error);
    }
    if (status != PAL_OK) return status;
    pal_h5_voice voice = pal_h5_hush();
    keep_little(c.file->id);
    c.memory = malloc(PAL_H5_CHUNK);
    if (c.memory)
        status = check_all(&c);
    else
        status = pal_error_set(error, PAL_ENOMEM, "%s: no memory to check it", path);
    free(c.memory);
    pal_h5_speak(voice);
    pal_h5_close(c.file);
    return status;
}
