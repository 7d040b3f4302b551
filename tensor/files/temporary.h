/* temporary.h - files that are built under a temporary name, and then take the place of others. */
#ifndef PAL_FILES_TEMPORARY_H
#define PAL_FILES_TEMPORARY_H

#include "tensor/tensor.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    PAL_H5_SUFFIX = 64
}; /* bytes that a temporary name needs beyond the path, with the final NUL */

/* Makes a new file next to path under an unused name, and removes those that killed processes left
 * there for the same path. shared: ranks will open it too. -1 if the system refuses. */
int pal_h5_open_temporary(const char *path, bool shared, char *temporary, size_t size);
/* Flushes the temporary file, renames it to path and closes it. If that fails, or if status is
 * already a failure, it is removed. */
pal_status pal_h5_publish(int fd, const char *temporary, const char *path, pal_status status,
                          pal_error *error);

/* Reports a failed system call; errno must still be that of the failure. */
pal_status pal_h5_refused(const char *path, const char *what, pal_error *error);

/* Whether name is NAME.tmp-PROCESS-NUMBER, and NAME has `length` bytes. */
bool pal_h5_is_temporary(const char *name, size_t length);

#endif
