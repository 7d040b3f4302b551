/*
 * gnuplot.h - pictures by gnuplot: every plot of the library and of its programs is drawn through
 * this.
 *
 * The header is not installed; programs of this repository include it too. gnuplot 5.2 or newer is
 * found on the PATH and runs without a shell, without the settings of the user (~/.gnuplot, GNUTERM
 * and the like) and in the locale C.UTF-8, or C where that does not exist.
 */
#ifndef PAL_OPTIM_GNUPLOT_H
#define PAL_OPTIM_GNUPLOT_H

#include "tensor/number.h"
#include "tensor/tensor.h"

/* A script that is being written. */
typedef struct pal_script {
    FILE *to; /* commands and data for gnuplot */
    const char *folder;
    char **name; /* of the pictures in the folder */
    int names;
    bool failed; /* out of memory */
} pal_script;

/*
 * Writes the script of one or several pictures: for each pal_script_picture, then what is plotted.
 * Data are written as blocks ("$name << END"), for gnuplot does not read '-' inside a multiplot. It
 * runs in the C locale and calls no function of a user.
 */
typedef void pal_draw_fn(pal_script *script, const void *what);

/* PAL_EIO if gnuplot is not installed. */
PAL_CHECKED pal_status pal_gnuplot_find(pal_error *error);

/*
 * Draws pictures in a folder that exists. Each replaces the file of its name whole, once gnuplot
 * has made all of them; otherwise (PAL_EIO, with what gnuplot had to say) all files are what they
 * were. Warnings of gnuplot go to stderr. No signal of this process is touched: the script is a
 * file in memory, not a pipe.
 */
PAL_CHECKED pal_status pal_gnuplot_draw(const char *folder, pal_draw_fn *draw, const void *what,
                                        pal_error *error);

/* Begins the picture FOLDER/NAME; `terminal` is what follows "set terminal". */
void pal_script_picture(pal_script *script, const char *name, const char *terminal);
/* Texts, one after the other up to NULL, in gnuplot's single quotes, where nothing has a meaning of
 * its own: in double quotes what is between backquotes would be run by a shell. A line break
 * becomes a blank. */
void pal_script_quote(FILE *to, const char *text, ...) __attribute__((sentinel));
/* The file FOLDER/NAME as a text in quotes. */
void pal_script_path(const pal_script *script, const char *name);

#endif
