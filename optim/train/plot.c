/* plot.c - draws the curves of a run as SVG, by gnuplot, from the columns of log.csv. */
#include "optim/train/run_folder.h"
#include "optim/train/gnuplot.h"

#include <math.h>
#include <string.h>

/* What both plots are made of. */
typedef struct run_plots {
    pal_plot_opts opts;
    double loss, held_out, rate; /* the largest; NAN: there is none */
} run_plots;

/* gnuplot warns of a range that is empty, so zeros are drawn below 1. */
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
            "\nset grid\nset xrange [0:]\nset yrange [0:%s]\n"
            "set key top right\nset border 3\nset tics nomirror\nplot ",
            largest == 0 ? "1" : "");
}

static void curve(const pal_script *script, const char *column, const char *title, const char *how)
{
    pal_script_path(script, "log.csv");
    fprintf(script->to, " using 'step':");
    pal_script_quote(script->to, column, (char *)NULL);
    fprintf(script->to, " title '%s' with %s", title, how);
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
    char line[4096], copy[4096];
    FILE *file = fopen(csv, "r");
    int at = -1;
    *largest = NAN;
    if (!file) return false;
    if (fgets(line, sizeof line, file)) {
        const char *name;
        for (int i = 0; at < 0 && (name = field(strcpy(copy, line), i)); i++)
            if (strcmp(name, column) == 0) at = i;
    }
    while (at >= 0 && fgets(line, sizeof line, file)) {
        double x;
        const char *number = field(line, at);
        if (number && pal_number_next(&number, &x)) *largest = fmax(*largest, x);
    }
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

pal_status pal_plot(const char *folder, pal_plot_opts o, pal_error *error)
{
    char csv[PAL_PATH];
    pal_status s = pal_path_of(csv, folder, "log.csv", error);
    if (s != PAL_OK) return s;
    if (!o.column) o.column = "loss";
    run_plots plots = {.opts = o};
    if (!has_column(csv, o.column, &plots.loss) || !has_column(csv, "lr", &plots.rate))
        return pal_error_set(error, PAL_EVALUE, "%.400s: it has no column %s, or no lr", csv,
                             o.column);
    has_column(csv, "held_out", &plots.held_out);
    return pal_gnuplot_draw(folder, draw, &plots, error);
}
