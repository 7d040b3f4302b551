/*
 * write.c - a file of text, made in memory and replaced whole.
 */
#include "examples/ablate/ablate.h"

#include <stdlib.h>

pal_status text_write(const char *folder, const char *name, text_fn *put, const void *what,
                      bool show, pal_error *error)
{
    PAL_C_LOCALE;
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    if (!to) return pal_error_set(error, PAL_ENOMEM, "%.200s: out of memory", name);
    put(to, what);
    pal_status s = fclose(to) ? pal_error_set(error, PAL_ENOMEM, "%.200s: out of memory", name)
                              : pal_run_write(folder, name, text, error);
    if (s == PAL_OK && show) fputs(text, stdout);
    free(text);
    return s;
}
