/* plot.c - draws the curves of a run as SVG, by gnuplot, from the columns of log.csv. */
#include "optim/train/run_folder.h"
#include "optim/train/gnuplot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What both plots are made of. */
typedef struct run_plots {
    pal_plot_opts opts;
    double loss, held_out, rate; /* the largest; NAN: there is none */
} run_plots;

/* gnuplot warns of a range that is empty, so zeros are drawn below 1. Infinity: any range. */
static void begin(pal_script *script, const char *name, const char *title, const char *unit,
                  double largest)
{
    FILE *to = script->to;
    pal_script_picture(script, name, "svg size 720,400 font 'sans-serif,13' background 'white'");
    if (title) {
        fprintf(to, "set title noenhanced ");
        pal_script_quote(to, title, (char *)NULL);
        fputc('\n', to);
    }
    fprintf(to, "set datafile separator ','\nset xlabel 'step'\nset ylabel ");
    pal_script_quote(to, unit, (char *)NULL);
    fprintf(to,
            "\nset grid\nset xrange [0:]\nset yrange [%s]\n"
            "set key top right\nset border 3\nset tics nomirror\nplot ",
            isinf(largest) ? "*:*"
            : largest == 0 ? "0:1"
                           : "0:");
}

static void curve(const pal_script *script, const char *column, const char *title, const char *how)
{
    pal_script_path(script, "log.csv");
    fprintf(script->to, " using 'step':");
    pal_script_quote(script->to, column, (char *)NULL);
    fprintf(script->to, " title ");
    pal_script_quote(script->to, title, (char *)NULL);
    fprintf(script->to, " noenhanced with %s", how);
}

/* Field number `i` of a line, which is split in place; NULL if it has fewer fields. */
static const char *field(char *line, int i)
{
    const char *word = NULL;
    for (char *rest = line; i >= 0 && (word = strsep(&rest, ",\n")); i--)
        ;
    return word;
}

/* Whether the file has the column; *largest is the largest of its numbers, NAN where there is none
 * (gnuplot warns of a curve without points). */
static bool has_column(const char *csv, const char *column, double *largest)
{
    char *line = NULL, *rest;
    size_t room = 0;
    FILE *file = fopen(csv, "r");
    int at = -1, i = 0;
    *largest = NAN;
    if (!file) return false;
    if (getline(&line, &room, file) > 0) {
        rest = line;
        for (const char *name; at < 0 && (name = strsep(&rest, ",\n")); i++)
            if (strcmp(name, column) == 0) at = i;
    }
    while (at >= 0 && getline(&line, &room, file) > 0) {
        double x;
        const char *number = field(line, at);
        if (number && pal_number_next(&number, &x)) *largest = fmax(*largest, x);
    }
    free(line);
    fclose(file);
    return at >= 0;
}

static void draw(pal_script *script, const void *what)
{
    const run_plots *p = what;
    const pal_plot_opts *o = &p->opts;
    const double largest = fmax(p->loss, p->held_out);
    begin(script, "loss.svg", o->title, o->unit ? o->unit : o->column,
          o->reference > 0 ? o->reference : largest);
    if (o->reference > 0) {
        fprintf(script->to, "%.6g title ", o->reference);
        pal_script_quote(script->to, o->reference_title ? o->reference_title : "reference",
                         (char *)NULL);
        fprintf(script->to, " with lines lw 2 dt 2 lc rgb '#999999', ");
    }
    curve(script, o->column, "training", "lines lw 2 lc rgb '#1f77b4'");
    if (!isnan(p->held_out)) {
        fprintf(script->to, ", ");
        curve(script, "held_out", "held out", "linespoints lw 2 pt 7 ps 0.5 lc rgb '#d62728'");
    }
    fprintf(script->to, "\n");
    begin(script, "rate.svg", o->title, "learning rate", p->rate);
    curve(script, "lr", "", "lines lw 2 lc rgb '#1f77b4'");
    fprintf(script->to, "\n");
}

/* ---- Any columns ---- */

typedef struct columns {
    const pal_plot_opts *opts;
    char *name, *all; /* the file; the columns, each ended by NUL */
    int count;
} columns;

static void draw_columns(pal_script *script, const void *what)
{
    const columns *c = what;
    const char *at = c->all;
    begin(script, c->name, c->opts->title, c->opts->unit ? c->opts->unit : "", INFINITY);
    for (int i = 0; i < c->count; i++, at += strlen(at) + 1) {
        if (i) fprintf(script->to, ", ");
        curve(script, at, at, "linespoints lw 2 pt 7 ps 0.5");
    }
    fprintf(script->to, "\n");
}

/* Evaluations leave the steps between them empty: linespoints joins the others. */
static pal_status plot_columns(const char *folder, const char *csv, const pal_plot_opts *o,
                               pal_error *error)
{
    columns c = {.opts = o, .all = strdup(o->columns)};
    pal_status s = PAL_OK;
    if (!c.all || asprintf(&c.name, "%s.svg", o->name ? o->name : "columns") < 0) {
        free(c.all);
        return pal_error_set(error, PAL_ENOMEM, "plot: out of memory");
    }
    char *rest = c.all;
    for (const char *name; s == PAL_OK && (name = strsep(&rest, ",")); c.count++) {
        double largest;
        if (!has_column(csv, name, &largest) || isnan(largest))
            s = pal_error_set(error, PAL_EVALUE, "%.400s: it has no column %.100s with numbers",
                              csv, name);
    }
    if (s == PAL_OK && strchr(c.name, '/'))
        s = pal_error_set(error, PAL_EVALUE, "plot: the name %.100s is a path", c.name);
    if (s == PAL_OK) s = pal_gnuplot_draw(folder, draw_columns, &c, error);
    free(c.name), free(c.all);
    return s;
}

pal_status pal_plot(const char *folder, pal_plot_opts o, pal_error *error)
{
    char csv[PAL_PATH];
    pal_status s = pal_path_of(csv, folder, "log.csv", error);
    if (s != PAL_OK) return s;
    if (o.columns) return plot_columns(folder, csv, &o, error);
    if (!o.column) o.column = "loss";
    run_plots plots = {.opts = o};
    if (!has_column(csv, o.column, &plots.loss) || !has_column(csv, "lr", &plots.rate))
        return pal_error_set(error, PAL_EVALUE, "%.400s: it has no column %s, or no lr", csv,
                             o.column);
    has_column(csv, "held_out", &plots.held_out);
    return pal_gnuplot_draw(folder, draw, &plots, error);
}
