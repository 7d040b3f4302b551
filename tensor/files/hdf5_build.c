/*
 * hdf5_build.c - building and committing files of named arrays.
 *
 * A file is built in memory (by the core driver without backing store), because HDF5 1.10 cannot
 * recover from a failed write: the file stays open and the process crashes at exit. Our own code
 * writes the finished image to a temporary name in the same folder, flushes it and renames it to
 * the path. So another process sees the old file or the new one, and a failure leaves the old one.
 * The price is memory for two copies of the data during the commit. (Files that several processes
 * build together are on disk from the beginning: hdf5_mpi.c.)
 *
 * The latest format has checksums over all metadata. Its superblock also says whether a file is
 * being written. H5Fget_file_image (1.10.8) clears that flag in its copy but does not update the
 * superblock's checksum, and then the file cannot be opened. So the checksum is computed here.
 */
#include "tensor/files/hdf5_private.h"

#include <string.h>

/* ---- Building ---- */

static hid_t create_in_memory(const pal_h5 *file, hid_t fapl)
{
    char
        name[64]; /* No such file can exist, and no other file that is being built has this name. */
    snprintf(name, sizeof name, "/dev/null/palimpsest-%p", (const void *)file);
    if (H5Pset_fapl_core(fapl, (size_t)1 << 20, false) < 0 ||
        H5Pset_libver_bounds(fapl, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) < 0 ||
        H5Pset_fclose_degree(fapl, H5F_CLOSE_STRONG) < 0)
        return -1;
    hid_t how = H5Pcreate(H5P_FILE_CREATE);
    hid_t id =
        H5Pset_obj_track_times(how, false) < 0 ? -1 : H5Fcreate(name, H5F_ACC_TRUNC, how, fapl);
    pal_h5_drop(how);
    return id;
}

pal_status pal_h5_create(pal_h5 **file, const char *path, pal_error *error)
{
    *file = NULL;
    pal_h5 *f = pal_h5_new(path, error);
    if (f == NULL) return PAL_ENOMEM;
    pal_h5_voice voice = pal_h5_hush();
    f->building = true;
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
    f->id = create_in_memory(f, fapl);
    pal_status status = PAL_OK;
    if (f->id < 0)
        status = pal_error_set(error, PAL_ENOMEM, "%s: cannot build a file in memory: %s", path,
                               pal_h5_why().text);
    if (status == PAL_OK) status = pal_h5_sign(f, error);
    if (status == PAL_OK)
        *file = f;
    else
        pal_h5_release(f);
    pal_h5_drop(fapl);
    pal_h5_speak(voice);
    return status;
}

/* ---- The superblock's checksum ---- */

enum { SUPERBLOCK = 44 }; /* bytes before the checksum, in versions 2 and 3 with 8-byte offsets */

static uint32_t rotate(uint32_t x, int by) { return x << by | x >> (32 - by); }

static uint32_t word(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Jenkins's lookup3 (2006) over the superblock: three blocks of 12 bytes and one of 8. */
static uint32_t superblock_checksum(const unsigned char *p)
{
    static const int mix[6] = {4, 6, 8, 16, 19, 4}, final[7] = {14, 11, 25, 16, 4, 14, 24};
    uint32_t x[3];
    x[0] = x[1] = x[2] = 0xdeadbeef + SUPERBLOCK;
    for (int block = 0; block < 3; block++, p += 12) {
        for (int i = 0; i < 3; i++) x[i] += word(p + 4 * i);
        for (int i = 0; i < 6; i++) {
            uint32_t *a = &x[i % 3], *b = &x[(i + 1) % 3], *c = &x[(i + 2) % 3];
            *a = (*a - *c) ^ rotate(*c, mix[i]);
            *c += *b;
        }
    }
    x[0] += word(p);
    x[1] += word(p + 4);
    for (int i = 0; i < 7; i++) {
        uint32_t *to = &x[(i + 2) % 3], *from = &x[(i + 1) % 3];
        *to = (*to ^ *from) - rotate(*from, final[i]);
    }
    return x[2];
}

static void seal_superblock(unsigned char *image, size_t size)
{
    enum { VERSION = 8, OFFSET_SIZE = 9 };
    if (size < SUPERBLOCK + 4 || image[VERSION] < 2 || image[OFFSET_SIZE] != 8) return;
    uint32_t sum = superblock_checksum(image);
    for (int i = 0; i < 4; i++) image[SUPERBLOCK + i] = (unsigned char)(sum >> (8 * i));
}

/* ---- Committing ---- */

pal_status pal_h5_room_to_grow(const pal_h5 *file, size_t bytes, pal_error *error)
{
    hsize_t size = 0;
    if (!file->shared && H5Fget_filesize(file->id, &size) < 0) size = 0;
    return pal_h5_room(file->path, bytes + (size_t)size, error);
}

/* `name` has room for the path and the suffix. */
static pal_status replace(const char *path, char *name, size_t room, const char *image, size_t size,
                          pal_error *error)
{
    int fd = pal_h5_open_temporary(path, false, name, room);
    if (fd < 0) return pal_h5_refused(path, "make a temporary file in its folder", error);
    pal_status status = PAL_OK;
    if (!pal_write_all(fd, image, size)) status = pal_h5_refused(path, "write", error);
    return pal_h5_publish(fd, name, path, status, error);
}

static pal_status commit(pal_h5 *file, pal_error *error)
{
    if (!file->building)
        return pal_error_set(error, PAL_EVALUE, "%s: was opened for reading, nothing to commit",
                             file->path);
    if (file->shared) return pal_h5_end_shared(file, true, error);
    pal_status status = pal_h5_room_to_grow(file, 0, error);
    if (status != PAL_OK) return status;
    ssize_t size = -1;
    if (H5Fflush(file->id, H5F_SCOPE_GLOBAL) >= 0) size = H5Fget_file_image(file->id, NULL, 0);
    if (size <= 0)
        return pal_error_set(error, PAL_ENOMEM, "%s: cannot finish the file in memory: %s",
                             file->path, pal_h5_why().text);
    size_t room = strlen(file->path) + PAL_H5_SUFFIX;
    status = pal_h5_room(file->path, (size_t)size + room, error);
    if (status != PAL_OK) return status;
    char *image = pal_malloc((size_t)size + room);
    if (image == NULL)
        return pal_error_set(error, PAL_ENOMEM, "%s: no memory for %zd bytes", file->path, size);
    char *name = image + size;
    if (H5Fget_file_image(file->id, image, (size_t)size) != size) {
        status = pal_error_set(error, PAL_ENOMEM, "%s: cannot copy the file's image: %s",
                               file->path, pal_h5_why().text);
    } else {
        seal_superblock((unsigned char *)image, (size_t)size);
        status = replace(file->path, name, room, image, (size_t)size, error);
    }
    pal_free(image, (size_t)size + room);
    return status;
}

pal_status pal_h5_commit(pal_h5 *file, pal_error *error)
{
    pal_h5_voice voice = pal_h5_hush();
    pal_status status = commit(file, error);
    pal_h5_release(file);
    pal_h5_speak(voice);
    return status;
}
