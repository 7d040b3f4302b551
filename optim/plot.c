/*
 * plot.c - the curves of a run as SVG, drawn by gnuplot from the columns of log.csv.
 */
#include "optim/gnuplot.h"
#include "optim/run_folder.h"

#include <string.h>

/* What both plots are made of. */
typedef struct run_plots {
    pal_plot_opts opts;
    bool held_out;
} run_plots;

static void begin(pal_script *script, const char *name, const char *title, const char *unit)
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
    fprintf(to, "\nset grid\nset xrange [0:]\nset yrange [0:]\n"
                "set key top right\nset border 3\nset tics nomirror\nplot ");
}

static void curve(const pal_script *script, const char *column, const char *title, const char *how)
{
    pal_script_path(script, "log.csv");
    fprintf(script->to, " using 'step':");
    pal_script_quote(script->to, column, (char *)NULL);
    fprintf(script->to, " title '%s' with %s", title, how);
}

/* The field number `i` of a line that is taken apart; NULL if it has fewer. */
static const char *field(char *line, int i)
{
    const char *word = NULL;
    for (char *rest = line; i >= 0 && (word = strsep(&rest, ",\n")); i--)
        ;
    return word;
}

/* Where a column of the file is, -1: nowhere; with `filled` a number of it has to be there too
 * (gnuplot warns of a curve without points). */
static int column_of(const char *csv, const char *column, bool filled)
{
    char line[4096], copy[4096];
    FILE *file = fopen(csv, "r");
    int at = -1;
    if (!file) return -1;
    if (fgets(line, sizeof line, file)) {
        const char *name;
        for (int i = 0; at < 0 && (name = field(strcpy(copy, line), i)); i++)
            if (strcmp(name, column) == 0) at = i;
    }
    bool found = !filled;
    while (at >= 0 && !found && fgets(line, sizeof line, file)) {
        const char *number = field(line, at);
        found = number && *number;
    }
    fclose(file);
    return found ? at : -1;
}

static void draw(pal_script *script, const void *what)
{
    const run_plots *p = what;
    const pal_plot_opts *o = &p->opts;
    begin(script, "loss.svg", o->title, o->unit ? o->unit : o->column);
    if (o->reference > 0) {
        fprintf(script->to, "%.6g title ", o->reference);
        pal_script_quote(script->to, o->reference_title ? o->reference_title : "reference",
                         (char *)NULL);
        fprintf(script->to, " with lines lw 2 dt 2 lc rgb '#999999', ");
    }
    curve(script, o->column, "training", "lines lw 2 lc rgb '#1f77b4'");
    if (p->held_out) {
        fprintf(script->to, ", ");
        curve(script, "held_out", "held out", "linespoints lw 2 pt 7 ps 0.5 lc rgb '#d62728'");
    }
    fprintf(script->to, "\n");
    begin(script, "rate.svg", o->title, "learning rate");
    curve(script, "lr", "", "lines lw 2 lc rgb '#1f77b4'");
    fprintf(script->to, "\n");
}

pal_status pal_plot(const char *folder, pal_plot_opts o, pal_error *error)
{
    char csv[PAL_PATH];
    pal_status s = pal_path_of(csv, folder, "log.csv", error);
    if (s != PAL_OK) return s;
    if (!o.column) o.column = "loss";
    if (column_of(csv, o.column, false) < 0 || column_of(csv, "lr", false) < 0)
        return pal_error_set(error, PAL_EVALUE, "%.400s: it has no column %s, or no lr", csv,
                             o.column);
    const run_plots plots = {o, column_of(csv, "held_out", true) >= 0};
    return pal_gnuplot_draw(folder, draw, &plots, error);
}
