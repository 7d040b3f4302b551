/*
 * write.c - a file of text, made in memory and replaced whole.
 */
#include "examples/ablate/ablate.h"

#include <stdlib.h>

pal_status text_write(const char *folder, const char *name, text_fn *put, const void *what,
                      bool show, pal_error *error)
{
    PAL_C_LOCALE;
    FILE *to = pal_stream_open();
    if (!to) return pal_stream_failed(name, error);
    put(to, what);
    char *text = pal_stream_close(to, NULL);
    pal_status s = text ? pal_run_write(folder, name, text, error) : pal_stream_failed(name, error);
    if (s == PAL_OK && show) fputs(text, stdout);
    free(text);
    return s;
}
