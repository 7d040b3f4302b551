/*
 * picture.c - a figure by gnuplot, as a file that is replaced whole.
 */
#include "examples/ablate/ablate.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *picture_colour(int i)
{
    static const char *const colours[] = {"#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd",
                                          "#8c564b", "#e377c2", "#17becf", "#7f7f7f", "#bcbd22"};
    return colours[i % (int)(sizeof colours / sizeof *colours)];
}

void picture_quote(FILE *to, const char *text)
{
    fputc('\'', to);
    for (const char *c = text; *c; c++) fputs(*c == '\'' ? "''" : (const char[]){*c, 0}, to);
    fputc('\'', to);
}

pal_status picture_can(pal_error *error)
{
    if (system("command -v gnuplot >/dev/null 2>&1") == 0) return PAL_OK;
    return pal_error_set(error, PAL_EIO, "gnuplot is not installed: no plots");
}

pal_status picture_begin(picture *p, const char *folder, const char *name, int width, int height,
                         pal_error *error)
{
    pal_status s = picture_can(error);
    if (s != PAL_OK) return s;
    snprintf(p->path, sizeof p->path, "%s/%s", folder, name);
    snprintf(p->fresh, sizeof p->fresh, "%s.tmp", p->path);
    signal(SIGPIPE, SIG_IGN); /* a gnuplot that ends early is an error of writing */
    fflush(NULL);
    p->to = popen("gnuplot", "w");
    if (!p->to) return pal_error_set(error, PAL_EIO, "gnuplot cannot be run: %s", strerror(errno));
    fprintf(p->to,
            "set terminal svg size %d,%d font 'sans-serif,13' background 'white' noenhanced\n"
            "set encoding utf8\nset output ",
            width, height);
    picture_quote(p->to, p->fresh);
    fprintf(p->to, "\nset grid ytics lc rgb '#dddddd'\nset border 3\nset tics nomirror\n"
                   "set key outside right top\n");
    return PAL_OK;
}

pal_status picture_end(picture *p, pal_error *error)
{
    const int status = pclose(p->to);
    if (status != 0 || rename(p->fresh, p->path) != 0) {
        remove(p->fresh);
        return pal_error_set(error, PAL_EIO, "%.400s: gnuplot did not make it", p->path);
    }
    return PAL_OK;
}

pal_status picture_remove(const char *folder, const char *name, pal_error *error)
{
    char path[PAL_PATH];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (unlink(path) == 0 || errno == ENOENT) return PAL_OK;
    return pal_error_set(error, PAL_EIO, "%.400s: %s", path, strerror(errno));
}
