/* hdf5_private.h - what only the files hdf5*.c share. */
#ifndef PAL_TENSOR_HDF5_PRIVATE_H
#define PAL_TENSOR_HDF5_PRIVATE_H

#include "tensor/files/temporary.h"
#include "tensor/internal.h"

#include <hdf5.h>

typedef struct pal_h5_shared pal_h5_shared;

struct pal_h5 {
    hid_t id;
    bool building; /* not yet committed */
    /* for a file that several processes build; NULL: one process builds it in memory */
    pal_h5_shared *shared;
    size_t size; /* of this allocation */
    /* The group in which pal_h5_reachable has found something last; empty: none. Links are never
     * taken away, so what leads there leads there still. */
    char *group;
    char path[];
};
enum { PAL_H5_GROUP = 128 }; /* bytes of `group`; longer names are not kept */

/* HDF5 prints its error stack to stderr, but not between hush and speak. HDF5 is not safe for
 * threads either, so from hush to speak (which may nest) no other thread can enter. */
typedef struct pal_h5_voice {
    H5E_auto2_t fn;
    void *data;
} pal_h5_voice;
pal_h5_voice pal_h5_hush(void);
void pal_h5_speak(pal_h5_voice voice);

/*
 * PAL_ENOMEM if HDF5 might not get `bytes` of memory and the few MiB that any call of it may take.
 * It crashes without them. pal_h5_new asks this, so it holds for opening and creating.
 */
pal_status pal_h5_room(const char *path, size_t bytes, pal_error *error);
/* The same for a file that is being built and grows by `bytes`: it may be copied meanwhile. */
pal_status pal_h5_room_to_grow(const pal_h5 *file, size_t bytes, pal_error *error);

/* Releases an id of any kind. A negative id (from a failed call) is ignored. */
void pal_h5_drop(hid_t id);

/* HDF5's innermost reason for the last failure. Call it before any other call of HDF5. */
typedef struct pal_h5_reason {
    char text[256];
} pal_h5_reason;
pal_h5_reason pal_h5_why(void);

pal_h5 *pal_h5_new(const char *path, pal_error *error);
void pal_h5_release(pal_h5 *file);

/* Writes the attributes `creator` and `format` of a file. */
pal_status pal_h5_sign(pal_h5 *file, pal_error *error);

/* ---- Files built by several processes (hdf5_mpi.c; hdf5_one.c without MPI) ---- */

/*
 * For a file that one process builds, pal_h5_owns is true and the others do nothing and return what
 * they are given. Work that one process can fail in by itself comes before pal_h5_agree; after it
 * all processes call HDF5, or none does.
 */
bool pal_h5_owns(const pal_h5 *file); /* this process has the data of the next dataset */
pal_status pal_h5_agree(const pal_h5 *file, pal_status status, pal_error *error);
/* Keeps a failure of this process for the next pal_h5_agree, the last of which is in
 * pal_h5_end_shared, and returns PAL_OK: an agreement for each call of HDF5 would make ranks wait
 * for each other for most of the time that they write a file. */
pal_status pal_h5_agree_later(pal_h5 *file, pal_status status, pal_error *error);
void pal_h5_spread(const pal_h5 *file, void *data, size_t size); /* sends the owner's data to all */
/* Reserves room on disk for `bytes` more of data, and for what HDF5 adds to them, before HDF5
 * writes. One process can fail in it by itself. */
pal_status pal_h5_reserve(pal_h5 *file, size_t bytes, pal_error *error);
/* Ends the building. With `commit` the file takes its place at the path. All get the same
 * status. */
pal_status pal_h5_end_shared(pal_h5 *file, bool commit, pal_error *error);

/* ---- Checksums of data ---- */

enum { PAL_H5_BLOCK = 1 << 20 }; /* bytes that share one checksum */

typedef struct pal_h5_sums {
    size_t bytes;  /* of the data */
    int64_t count; /* number of blocks */
    uint32_t *sum; /* one for each block; NULL: there are none, and every check succeeds */
} pal_h5_sums;

/* Computes the checksums of elements as they are stored. With data == NULL it only makes room for
 * them. */
pal_status pal_h5_take_sums(const pal_h5 *file, const char *name, const void *data, size_t bytes,
                            pal_h5_sums *sums, pal_error *error);
/* Adds the checksums to a new dataset. */
pal_status pal_h5_put_sums(const pal_h5 *file, const char *name, hid_t dataset,
                           const pal_h5_sums *sums, pal_error *error);
pal_status pal_h5_get_sums(const pal_h5 *file, const char *name, hid_t dataset, size_t bytes,
                           pal_h5_sums *sums, pal_error *error);
void pal_h5_free_sums(pal_h5_sums *sums);
/* Checks `count` blocks from block `first` on; their bytes are at data. */
pal_status pal_h5_verify(const pal_h5 *file, const char *name, const pal_h5_sums *sums,
                         int64_t first, int64_t count, const void *data, pal_error *error);

/* ---- What is read ---- */

/* Limits of files that are read. */
enum {
    PAL_H5_DEPTH = 32,       /* of groups in groups */
    PAL_H5_LINKS = 1 << 16,  /* names that a walk meets */
    PAL_H5_PATH = 1024,      /* bytes of a path, with the final NUL */
    PAL_H5_CHUNK = 32 << 20, /* bytes of a chunk */
    PAL_H5_TEXT = 1 << 20    /* bytes of a text attribute */
};

typedef struct pal_h5_dataset {
    hid_t id;
    hid_t type; /* of the elements in the file */
    bool integer;
    pal_dtype dtype;
    pal_shape shape;
    size_t bytes; /* of all elements as they would be without filters */
    bool chunked;
    int64_t chunk[PAL_MAX_DIMS]; /* the dimensions of a chunk */
} pal_h5_dataset;

/* The type of bf16 in memory and in files: a float of 2 bytes with 8 bits of exponent and 7 of
 * mantissa, which HDF5 and h5py read as they do any float. It lives as long as HDF5 does. */
hid_t pal_h5_bf16(void);

/* Whether elements of this type are read: integers of 1, 2, 4 or 8 bytes, IEEE 754 floats of 2, 4
 * or 8, long double. */
bool pal_h5_usual_number(hid_t type);

/* Opens and checks a dataset. On success the caller closes it. */
pal_status pal_h5_open_dataset(const pal_h5 *file, const char *name, pal_h5_dataset *d,
                               pal_error *error);
void pal_h5_close_dataset(pal_h5_dataset *d);

/* Whether every link of a path exists and is hard. Soft and external links could lead out of the
 * file. */
bool pal_h5_reachable(const pal_h5 *file, const char *name);
/* Whether a path begins with file->group and goes on. */
bool pal_h5_is_in_group(const pal_h5 *file, const char *name);
/* How many names a path has; "/" has none. */
int pal_h5_depth(const char *path);

/*
 * Visits every group and dataset below a group, each group before what is in it, in the order of
 * names. Only hard links are followed. Names are relative to the group. Stops when visit returns
 * false. PAL_EFORMAT if HDF5 cannot read a group or open an object, or beyond the limits above.
 */
typedef bool pal_h5_visit(const char *name, bool is_group, void *user);
pal_status pal_h5_walk(const pal_h5 *file, const char *group, pal_h5_visit *visit, void *user,
                       pal_error *error);

/* Reads a text or number attribute of an open object and drops it; `text` is room for `size` bytes.
 */
void pal_h5_try_attribute(hid_t object, const char *name, char *text, size_t size);

/* Whether the attribute exists and is a text of fixed length. */
bool pal_h5_text_is_fixed(const pal_h5 *file, const char *object, const char *name);

#endif
