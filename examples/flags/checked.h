/*
 * checked.h - files are tried out by the program check before this process opens them.
 */
#ifndef CHECKED_H
#define CHECKED_H

#include "tensor/tensor.h"

/*
 * From now on each HDF5 file that this process opens for reading is first read by the program
 * `check`, which lies in the folder of this program (pal_set_file_check). If that process crashes
 * or needs too much memory or time, the file is not opened, and the error says why: PAL_EFORMAT is
 * only what the file is to blame for. PAL_ENOMEM or PAL_EIO is what another attempt may get over;
 * no file is opened then either. A file that has not changed is checked once, unless that was so.
 * SIGCHLD is not ignored any longer, because the process waits for that program.
 *
 * What is checked is what is opened, even if the path gets another file in between. Only who writes
 * into the same file at that moment can still deceive the check.
 */
void checked_files(void);

/* How `check --alone FILE` is called: the file is its standard input; its path serves where there
 * is no /proc. Standard output gets the end of a sentence that begins with the path. */
#define CHECKED_ALONE "--alone"
enum {                     /* what it returns */
       CHECKED_BAD = 1,    /* the file is to blame */
       CHECKED_FAILED = 2, /* it could not say why */
       CHECKED_MEMORY = 3, /* the system gives no memory */
       CHECKED_IO = 4      /* the file cannot be read now */
};

/* Seconds of processor time that HDF5 gets for a file of so many bytes; one later it is killed. */
int checked_seconds(long long bytes);

#endif
