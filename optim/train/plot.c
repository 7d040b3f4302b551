/* plot.c - draws the curves of a run as SVG, by gnuplot, from the columns of log.csv. */
#include "optim/train/run_folder.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Writes a text in gnuplot's single quotes, in which a quote is doubled. */
static void put_quoted(FILE *to, const char *text)
{
    fputc('\'', to);
    for (const char *c = text; *c; c++) fputs(*c == '\'' ? "''" : (const char[]){*c, 0}, to);
    fputc('\'', to);
}

static void begin(FILE *to, const char *output, const char *title, const char *unit)
{
    fprintf(to, "set terminal svg size 720,400 font 'sans-serif,13' background 'white'\n"
                "set encoding utf8\nset output ");
    put_quoted(to, output);
    if (title) {
        fprintf(to, "\nset title noenhanced ");
        put_quoted(to, title);
    }
    fprintf(to, "\nset datafile separator ','\nset xlabel 'step'\nset ylabel ");
    put_quoted(to, unit);
    fprintf(to, "\nset grid\nset xrange [0:]\nset yrange [0:]\n"
                "set key top right\nset border 3\nset tics nomirror\nplot ");
}

static void curve(FILE *to, const char *csv, const char *column, const char *title, const char *how)
{
    put_quoted(to, csv);
    fprintf(to, " using 'step':'%s' title '%s' with %s", column, title, how);
}

/* Field number `i` of a line, which is split in place; NULL if it has fewer fields. */
static const char *field(char *line, int i)
{
    const char *word = NULL;
    for (char *rest = line; i >= 0 && (word = strsep(&rest, ",\n")); i--)
        ;
    return word;
}

/* The place of a column in the file; -1: it is missing. With `filled` it must have at least one
 * number, because gnuplot warns about a curve without points. */
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

static void draw_loss(FILE *to, const char *csv, const char *output, pal_plot_opts o)
{
    begin(to, output, o.title, o.unit ? o.unit : o.column);
    if (o.reference > 0) {
        fprintf(to, "%.6g title ", o.reference);
        put_quoted(to, o.reference_title ? o.reference_title : "reference");
        fprintf(to, " with lines lw 2 dt 2 lc rgb '#999999', ");
    }
    curve(to, csv, o.column, "training", "lines lw 2 lc rgb '#1f77b4'");
    if (column_of(csv, "held_out", true) >= 0) {
        fprintf(to, ", ");
        curve(to, csv, "held_out", "held out", "linespoints lw 2 pt 7 ps 0.5 lc rgb '#d62728'");
    }
    fprintf(to, "\n");
}

static void draw_rate(FILE *to, const char *csv, const char *output, pal_plot_opts o)
{
    begin(to, output, o.title, "learning rate");
    curve(to, csv, "lr", "", "lines lw 2 lc rgb '#1f77b4'");
    fprintf(to, "\n");
}

typedef void draw_fn(FILE *to, const char *csv, const char *output, pal_plot_opts opts);

static pal_status plot(const char *folder, const char *csv, const char *name, draw_fn *draw,
                       pal_plot_opts opts, pal_error *error)
{
    char path[PAL_PATH], fresh[PAL_PATH];
    pal_status s = pal_path_of(path, folder, name, error);
    if (s == PAL_OK) s = pal_fresh_path(fresh, folder, name, error);
    if (s != PAL_OK) return s;
    fflush(NULL);
    FILE *to = popen("gnuplot", "w");
    if (!to) return pal_error_set(error, PAL_EIO, "gnuplot cannot be run: %s", strerror(errno));
    /* If gnuplot ends early, that is an error of writing and must not end this process. */
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGPIPE, &ignore, &before);
    draw(to, csv, fresh, opts);
    int status = pclose(to);
    sigaction(SIGPIPE, &before, NULL);
    if (status != 0) s = pal_error_set(error, PAL_EIO, "%.400s: gnuplot did not make it", path);
    if (s == PAL_OK) s = pal_fresh_flush(folder, name, error);
    if (s == PAL_OK) s = pal_fresh_rename(folder, name, error);
    if (s != PAL_OK) pal_fresh_drop(folder, name);
    return s;
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
    if (system("command -v gnuplot >/dev/null 2>&1") != 0)
        return pal_error_set(error, PAL_EIO, "gnuplot is not installed: no plots");
    s = plot(folder, csv, "loss.svg", draw_loss, o, error);
    return s == PAL_OK ? plot(folder, csv, "rate.svg", draw_rate, o, error) : s;
}
