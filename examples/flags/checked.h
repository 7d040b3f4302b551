/*
 * checked.h - files are tried out by the program check before this process opens them.
 */
#ifndef CHECKED_H
#define CHECKED_H

#include "tensor/tensor.h"

/*
 * From now on each HDF5 file that this process opens for reading is first read by the program
 * `check`, which lies in the folder of this program (pal_set_file_check). If that process crashes
 * or needs too much memory or time, the file is not opened, and the error says why. If it cannot be
 * started, no file is opened. A file that has not changed is checked once.
 *
 * What is checked is what is opened, even if the path gets another file in between. Only who writes
 * into the same file at that moment can still deceive the check.
 */
void checked_files(void);

/* The argument with which `check` reads its standard input, and what it returns. */
#define CHECKED_ALONE "--alone"
enum {
    CHECKED_BAD = 1,   /* standard output has the end of a sentence that begins with the path */
    CHECKED_FAILED = 2 /* it could not say */
};

#endif
