/* rows.h - reading some rows of a dataset. */
#ifndef PAL_TENSOR_ROWS_H
#define PAL_TENSOR_ROWS_H

#include "tensor/tensor.h"

/*
 * Reads rows first .. first+count-1 of a dataset of one dimension or more, which are in it, as
 * contiguous elements of the type `to`; integers and floats become floats, and integers i64.
 * Checksums are not compared. It allocates memory only when it is opened, HDF5's own aside. Close
 * it before its file.
 */
typedef struct pal_h5_rows pal_h5_rows;
PAL_CHECKED pal_status pal_h5_rows_open(pal_h5_rows **rows, pal_h5 *file, const char *name,
                                        pal_error *error);
void pal_h5_rows_close(pal_h5_rows *rows); /* NULL is allowed */
PAL_CHECKED pal_status pal_h5_rows_get(pal_h5_rows *rows, int64_t first, int64_t count,
                                       pal_dtype to, void *out, pal_error *error);

#endif
