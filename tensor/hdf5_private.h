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

/* HDF5 prints its error stack to stderr; between hush and speak it does not. */
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

/* Whether every link of a path is there and hard: soft and external links could lead out of the
 * file. */
bool pal_h5_reachable(const pal_h5 *file, const char *name);

#endif
