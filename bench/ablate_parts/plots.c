/*
 * plots.c - the figures of a study, by gnuplot: accuracy by level, learning curves, accuracy by
 * size of state.
 */
#include "bench/ablate_parts/ablate.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* ---- A picture ---- */

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

pal_status picture_begin(picture *p, const char *folder, const char *name, int width, int height,
                         pal_error *error)
{
    if (system("command -v gnuplot >/dev/null 2>&1") != 0)
        return pal_error_set(error, PAL_EIO, "gnuplot is not installed: no plots");
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

/* ---- What a figure shows ---- */

/* The seeds, for the title: a figure says what it is made of. */
static void put_title(FILE *to, const results *x, int t)
{
    const study *s = x->study;
    char text[1024];
    int n = snprintf(text, sizeof text, "%s: %s, seed%s", s->title, s->label[t],
                     s->seeds > 1 ? "s" : "");
    for (int i = 0; i < s->seeds && n < (int)sizeof text - 32; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s %llu", i ? "," : "",
                      (unsigned long long)s->seed[i]);
    fprintf(to, "set title ");
    picture_quote(to, text);
    fprintf(to, "\n");
}

static bool any(const results *x, int t, int v) { return spread_of(x, t, v, -1).n > 0; }

/* A curve of block v for each variant that has results. */
static void put_curves(FILE *to, const results *x, int t, const char *using, const char *with)
{
    const study *s = x->study;
    const char *between = "plot ";
    for (int v = 0; v < s->variants; v++) {
        if (!any(x, t, v)) continue;
        /* A second round of colours is dashed. */
        fprintf(to, "%s$v%d using %s with %s lc rgb '%s' lw 2 dt %d title ", between, v, using,
                with, picture_colour(v), 1 + v / 10);
        picture_quote(to, s->variant[v].name);
        between = ", ";
    }
    fprintf(to, "\n");
}

/* Where the levels of the points differ they are told, else the names of the points. */
static void put_level_axis(FILE *to, const task *t)
{
    const int n = task_points(t, TASK_TEST);
    bool unique = true;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++)
            unique = unique &&
                     task_point_at(t, TASK_TEST, i).level != task_point_at(t, TASK_TEST, j).level;
    fprintf(to, "set xrange [-0.5:%d.5]\nset xlabel ", n - 1);
    picture_quote(to, task_level_name(t));
    fprintf(to, "\nset xtics (");
    for (int j = 0; j < n; j++) {
        const task_point p = task_point_at(t, TASK_TEST, j);
        char text[32];
        snprintf(text, sizeof text, "%lld", (long long)p.level);
        fprintf(to, "%s", j ? ", " : "");
        picture_quote(to, unique ? text : p.name);
        fprintf(to, " %d", j);
    }
    fprintf(to, ")\n");
}

/* Bars are beside each other, as far as there is room. */
static void draw_accuracy(FILE *to, const results *x, int t)
{
    const study *s = x->study;
    put_title(to, x, t);
    put_level_axis(to, s->task[t]);
    fprintf(to, "set ylabel 'accuracy (mean, lowest and highest seed)'\nset yrange [0:1.02]\n");
    for (int v = 0; v < s->variants; v++) {
        fprintf(to, "$v%d << END\n", v);
        for (int j = 0; j < task_points(s->task[t], TASK_TEST); j++) {
            const spread p = spread_of(x, t, v, j);
            const double aside = 0.3 * (v - (s->variants - 1) / 2.0) / s->variants;
            if (p.n) fprintf(to, "%g %.9g %.9g %.9g\n", j + aside, p.mean, p.low, p.high);
        }
        fprintf(to, "END\n");
    }
    put_curves(to, x, t, "1:2:3:4", "yerrorlines pt 7 ps 0.6");
}

/* Seeds are curves of their own, for runs may end early. */
static void draw_curves(FILE *to, const results *x, int t)
{
    const study *s = x->study;
    put_title(to, x, t);
    fprintf(to, "set xlabel 'step'\nset ylabel 'accuracy (mean over tests), each seed'\n"
                "set yrange [0:1.02]\nset xrange [0:]\n");
    for (int v = 0; v < s->variants; v++) {
        fprintf(to, "$v%d << END\n", v);
        for (int i = 0; i < s->seeds; i++) {
            const result *r = x->at[t][v][i];
            for (int k = 0; r && k < r->looks; k++) {
                double sum = 0;
                for (int j = 0; j < r->points; j++) sum += r->look[k].accuracy[j];
                if (r->points)
                    fprintf(to, "%lld %.9g\n", (long long)r->look[k].step, sum / r->points);
            }
            fprintf(to, "\n");
        }
        fprintf(to, "END\n");
    }
    put_curves(to, x, t, "1:2", "lines");
}

/* The name of a curve: variants are the curve X. */
static char *curve_of(const variant *v, char name[NAME])
{
    snprintf(name, NAME, "%s", v->name);
    char *dash = strrchr(name, '-');
    if (dash && dash != name && dash[1] && strspn(dash + 1, "0123456789") == strlen(dash + 1))
        *dash = '\0';
    return name;
}

/* Whether no variant before v with results is of its curve. */
static bool begins_curve(const results *x, int t, int v)
{
    char name[NAME], other[NAME];
    curve_of(&x->study->variant[v], name);
    for (int i = 0; i < v; i++)
        if (any(x, t, i) && strcmp(curve_of(&x->study->variant[i], other), name) == 0) return false;
    return any(x, t, v);
}

static void draw_state(FILE *to, const results *x, int t)
{
    const study *s = x->study;
    char name[NAME], other[NAME];
    int curves = 0;
    put_title(to, x, t);
    fprintf(to, "set xlabel 'numbers of recurrent state, all layers'\nset ylabel 'accuracy (mean "
                "over tests; lowest and highest seed)'\nset yrange [0:1.02]\nset logscale x 2\n"
                "set offsets graph 0.05, graph 0.05, 0, 0\n");
    for (int v = 0; v < s->variants; v++) {
        if (!begins_curve(x, t, v)) continue;
        curve_of(&s->variant[v], name);
        fprintf(to, "$v%d << END\n", v);
        for (int i = v; i < s->variants; i++) {
            const spread p = spread_of(x, t, i, -1);
            if (!p.n || strcmp(curve_of(&s->variant[i], other), name)) continue;
            fprintf(to, "%lld %.9g %.9g %.9g\n", (long long)x->model[t][i].state, p.mean, p.low,
                    p.high);
        }
        fprintf(to, "END\n");
    }
    for (int v = 0; v < s->variants; v++) {
        if (!begins_curve(x, t, v)) continue;
        fprintf(to, "%s$v%d with yerrorlines lc rgb '%s' lw 2 pt 7 ps 0.6 title ",
                curves ? ", " : "plot ", v, picture_colour(curves));
        picture_quote(to, curve_of(&s->variant[v], name));
        curves++;
    }
    fprintf(to, "\n");
}

typedef void draw_fn(FILE *to, const results *x, int t);

static pal_status plot(const results *x, int t, const char *folder, const char *kind, draw_fn *draw,
                       pal_error *error)
{
    picture p;
    char name[2 * NAME];
    snprintf(name, sizeof name, "%s-%s.svg", kind, x->study->label[t]);
    pal_status s = picture_begin(&p, folder, name, 860, 400, error);
    if (s != PAL_OK) return s;
    draw(p.to, x, t);
    return picture_end(&p, error);
}

pal_status plots(const results *x, const char *folder, pal_error *error)
{
    const study *s = x->study;
    pal_status status = PAL_OK;
    for (int t = 0; t < s->tasks && status == PAL_OK; t++) {
        int first = -1;
        bool states = false;
        for (int v = 0; v < s->variants; v++) {
            if (!any(x, t, v)) continue;
            if (first < 0) first = v;
            states = states || (x->model[t][v].state != x->model[t][first].state);
        }
        if (first < 0) continue;
        status = plot(x, t, folder, "accuracy", draw_accuracy, error);
        if (status == PAL_OK) status = plot(x, t, folder, "curves", draw_curves, error);
        if (status == PAL_OK && states) status = plot(x, t, folder, "state", draw_state, error);
    }
    return status;
}
