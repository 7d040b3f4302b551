/*
 * arrays.h - named arrays of numbers as STEM.h5 and STEM.npz, and one of them as a heat map.
 */
#ifndef ABLATE_ARRAYS_H
#define ABLATE_ARRAYS_H

#include <palimpsest.h>

/* An array of f64 [rows,columns]; what is not there is NaN. */
typedef struct table2 {
    const char *name;
    int64_t rows, columns;
    const double *at;
} table2;

/* Replaces FOLDER/STEM.h5 and FOLDER/STEM.npz. */
PAL_CHECKED pal_status arrays_write(const char *folder, const char *stem, const table2 *at, int n,
                                    pal_error *error);

/* Texts of a heat map. */
typedef struct heat {
    const char *title, *x, *y, *z;
    table2 of;
} heat;
/* Draws NAME.svg and NAME.pdf: a square for each number, not smoothed, with white for 0 and grey
 * where nothing is. The first row is at the bottom. */
PAL_CHECKED pal_status heat_draw(const char *folder, const char *name, const heat *h,
                                 pal_error *error);

#endif
