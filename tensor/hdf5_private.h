/*
 * hdf5_private.h - what the files hdf5*.c share, and nobody else sees.
 */
#ifndef PAL_TENSOR_HDF5_PRIVATE_H
#define PAL_TENSOR_HDF5_PRIVATE_H

#include "tensor/internal.h"

#include <hdf5.h>

struct pal_h5 {
    hid_t id;
    bool building; /* in memory, not yet committed */
    size_t size;   /* of this allocation */
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

/* ---- Checksums of data ---- */

enum { PAL_H5_BLOCK = 1 << 20 }; /* bytes that have a checksum */

typedef struct pal_h5_sums {
    size_t bytes;  /* of the data */
    int64_t count; /* blocks */
    uint32_t *sum; /* of each; NULL: there are none, and everything passes */
} pal_h5_sums;

/* Adds the checksums of a new dataset, whose elements `data` are as they are stored. */
pal_status pal_h5_put_sums(const pal_h5 *file, const char *name, hid_t dataset, const void *data,
                           size_t bytes, pal_error *error);
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
