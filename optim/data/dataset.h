/* dataset.h - what the files of datasets share. */
#ifndef PAL_OPTIM_DATASET_H
#define PAL_OPTIM_DATASET_H

#include "optim/data/arrays.h"

#include <pthread.h>

enum { PAL_FIELD_NAME = 64 }; /* bytes of the name of a field, with the final NUL */

typedef struct pal_dataset_part {
    char name[PAL_FIELD_NAME];
    pal_file_array rows;
    pal_dtype to;
    int64_t *offsets; /* [rows+1] of a ragged field; NULL: it is none */
    size_t offset_bytes;
    bool sequence;   /* its first axis behind the rows is time */
    int64_t longest; /* entries of its longest row; of others, of every row */
} pal_dataset_part;

struct pal_dataset {
    pal_table table[PAL_FIELDS + 1]; /* the first is the dataset's own, if it has one */
    int tables, fields;
    pal_dataset_part field[PAL_FIELDS];
    int64_t count; /* rows */
    int64_t window, step;
    bool not_finite;
    pthread_mutex_t lock; /* of all reading */
    char identity[128];
};

/* Reads the first `most` entries of a row of a field; *entries is how many it has of these. */
PAL_CHECKED pal_status pal_dataset_row(pal_dataset *d, int field, int64_t row, int64_t most,
                                       void *out, int64_t *entries, pal_error *error);
/* Entries of a row. */
int64_t pal_dataset_entries(const pal_dataset *d, int field, int64_t row);
/* The axes of an entry of a row. */
pal_shape pal_dataset_axes(const pal_dataset *d, int field);

#endif
