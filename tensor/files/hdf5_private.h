/*
 * hdf5_private.h - what the files hdf5*.c share, and nobody else sees.
 */
#ifndef PAL_TENSOR_HDF5_PRIVATE_H
#define PAL_TENSOR_HDF5_PRIVATE_H

#include "tensor/internal.h"

#include <hdf5.h>

typedef struct pal_h5_shared pal_h5_shared;

struct pal_h5 {
    hid_t id;
    bool building;         /* not yet committed */
    pal_h5_shared *shared; /* it is built by several processes at once; NULL: in memory, by one */
    size_t size;           /* of this allocation */
    char path[];
};

/* HDF5 prints its error stack to stderr; between hush and speak it does not. Nor is it safe for
 * threads: from hush to speak (they nest) no other thread is in here. */
typedef struct pal_h5_voice {
    H5E_auto2_t fn;
    void *data;
} pal_h5_voice;
pal_h5_voice pal_h5_hush(void);
void pal_h5_speak(pal_h5_voice voice);

/* Releases any kind of id; a negative one (a failed call) is left alone. */
void pal_h5_drop(hid_t id);

/* HDF5's innermost reason for the failure just now; call it before anything else is called. */
typedef struct pal_h5_reason {
    char text[256];
} pal_h5_reason;
pal_h5_reason pal_h5_why(void);

pal_h5 *pal_h5_new(const char *path, pal_error *error);
void pal_h5_release(pal_h5 *file);

/* The message of a failed system call; the caller has not touched errno since. */
pal_status pal_h5_refused(const char *path, const char *what, pal_error *error);
/* What each file says of itself. */
pal_status pal_h5_sign(pal_h5 *file, pal_error *error);

/* ---- The file that takes the place of another ---- */

enum { PAL_H5_SUFFIX = 64 }; /* bytes of a temporary name beyond the path, its end included */

/* A new file next to path, under a name nobody uses; -1 if the system refuses. */
int pal_h5_open_temporary(const char *path, char *temporary, size_t size);
/* Flushes and closes it, and renames it to path; removes it if that fails or status is a failure
 * already. */
pal_status pal_h5_publish(int fd, const char *temporary, const char *path, pal_status status,
                          pal_error *error);

/* ---- Files built by several processes (hdf5_mpi.c; hdf5_one.c without MPI) ---- */

/*
 * Of a file built by one process: owns is true, and the others do nothing and return what they are
 * given. What each process may fail in by itself comes before pal_h5_agree; then HDF5 is called by
 * all or by none.
 */
bool pal_h5_owns(const pal_h5 *file); /* this process has the data of the next dataset */
pal_status pal_h5_agree(const pal_h5 *file, pal_status status, pal_error *error);
void pal_h5_spread(const pal_h5 *file, void *data, size_t size); /* the owner's, to all */
/* Room on disk for `bytes` more of data, and for what HDF5 adds to them, before it writes. */
pal_status pal_h5_reserve(pal_h5 *file, size_t bytes, pal_error *error);
/* Ends the building; the file takes its place if `commit`. All processes get the same status. */
pal_status pal_h5_end_shared(pal_h5 *file, bool commit, pal_error *error);

/* ---- Checksums of data ---- */

enum { PAL_H5_BLOCK = 1 << 20 }; /* bytes that have a checksum */

typedef struct pal_h5_sums {
    size_t bytes;  /* of the data */
    int64_t count; /* blocks */
    uint32_t *sum; /* of each; NULL: there are none, and everything passes */
} pal_h5_sums;

/* The checksums of elements as they are stored; data NULL: room for them. */
pal_status pal_h5_take_sums(const pal_h5 *file, const char *name, const void *data, size_t bytes,
                            pal_h5_sums *sums, pal_error *error);
/* Adds them to a new dataset. */
pal_status pal_h5_put_sums(const pal_h5 *file, const char *name, hid_t dataset,
                           const pal_h5_sums *sums, pal_error *error);
pal_status pal_h5_get_sums(const pal_h5 *file, const char *name, hid_t dataset, size_t bytes,
                           pal_h5_sums *sums, pal_error *error);
void pal_h5_free_sums(pal_h5_sums *sums);
/* Compares `count` blocks from block `first` on, which lie at data. */
pal_status pal_h5_verify(const pal_h5 *file, const char *name, const pal_h5_sums *sums,
                         int64_t first, int64_t count, const void *data, pal_error *error);

/* ---- Datasets that are read ---- */

typedef struct pal_h5_dataset {
    hid_t id;
    hid_t type; /* of the elements in the file */
    bool integer;
    pal_dtype dtype;
    pal_shape shape;
    size_t bytes; /* of all elements as they are stored */
} pal_h5_dataset;

/* Opens and checks; to be closed when it succeeded. */
pal_status pal_h5_open_dataset(const pal_h5 *file, const char *name, pal_h5_dataset *d,
                               pal_error *error);
void pal_h5_close_dataset(pal_h5_dataset *d);

/* Whether every link of a path is there and hard: soft and external links could lead out of the
 * file. */
bool pal_h5_reachable(const pal_h5 *file, const char *name);

/* Whether there is such an attribute and it is a text of fixed length. */
bool pal_h5_text_is_fixed(const pal_h5 *file, const char *object, const char *name);

#endif
