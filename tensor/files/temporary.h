/* temporary.h - the names of files of arrays while they are built. */
#ifndef PAL_FILES_TEMPORARY_H
#define PAL_FILES_TEMPORARY_H

#include <stdbool.h>
#include <stddef.h>

/* Whether name is NAME.tmp-PROCESS-NUMBER, and NAME has `length` bytes. */
bool pal_h5_is_temporary(const char *name, size_t length);

#endif
