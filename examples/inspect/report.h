/*
 * report.h - an observation as tables on the screen, CSV, figures and one page.
 */
#ifndef INSPECT_REPORT_H
#define INSPECT_REPORT_H

#include "examples/inspect/observation.h"
#include "tensor/stream.h"

/* ---- screen.c ---- */

/* One line for each head; if there are only one or two heads, also one line for each of their
 * tokens. */
void report_screen(const observation *ob, FILE *to);
/* What every model returns after every token, in the names of a sequence made by hand. */
void report_readings(const observation *ob, FILE *to);

/* ---- csv.c ---- */

/* tokens.csv, heads.csv, gates.csv, norms.csv, sigma.csv, maps.csv and state.csv (of token `at`)
 * in the folder. */
PAL_CHECKED pal_status report_csv(const observation *ob, const char *folder, int64_t at,
                                  pal_error *error);

/* ---- figures.c ---- */

/*
 * By gnuplot, a file of each layer and head for each of state (S of token `at`), readback,
 * attention and sigma: NAME-LAYER-HEAD.svg and .png, the models side by side. PAL_EIO if gnuplot is
 * missing or fails. The memory as a function of time is for report_page.
 */
PAL_CHECKED pal_status report_figures(const observation *ob, const char *folder, int64_t at,
                                      pal_error *error);

/* Removes the figures of an earlier run from the folder: those that this one, if it `drew`, did not
 * make anew. Files of other names stay. */
PAL_CHECKED pal_status report_figures_tidy(const observation *ob, const char *folder, bool drew,
                                           pal_error *error);

/* ---- page.c ---- */

/* index.html: everything in one file, which needs no other file and no network. */
PAL_CHECKED pal_status report_page(const observation *ob, const char *folder, pal_error *error);

/* ---- What they share (observation.c) ---- */

/* Head i is the first of its layer and head: a figure begins with it. */
bool report_first(const observation *ob, int i);
/* The head of `model` with the layer and head of `like`; NULL: it has none. */
const ob_head *report_same(const observation *ob, const ob_head *like, int model);

#endif
