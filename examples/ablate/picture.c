/*
 * picture.c - what the figures of studies have in common.
 */
#include "examples/ablate/ablate.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

const char *picture_colour(int i)
{
    static const char *const colours[] = {"#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd",
                                          "#8c564b", "#e377c2", "#17becf", "#7f7f7f", "#bcbd22"};
    return colours[i % (int)(sizeof colours / sizeof *colours)];
}

void picture_quote(FILE *to, const char *text) { pal_script_quote(to, text, (char *)NULL); }

void picture_begin(pal_script *script, const char *name, int width, int height)
{
    char terminal[128];
    snprintf(terminal, sizeof terminal,
             "svg size %d,%d font 'sans-serif,13' background 'white' noenhanced", width, height);
    pal_script_picture(script, name, terminal);
    fprintf(script->to, "set grid ytics lc rgb '#dddddd'\nset border 3\nset tics nomirror\n"
                        "set key outside right top\n");
}

pal_status picture_remove(const char *folder, const char *name, pal_error *error)
{
    char path[PAL_PATH];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (unlink(path) == 0 || errno == ENOENT) return PAL_OK;
    return pal_error_set(error, PAL_EIO, "%.400s: %s", path, strerror(errno));
}
