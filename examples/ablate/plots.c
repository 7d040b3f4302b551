/*
 * plots.c - the figures of a study, by gnuplot: accuracy by level, learning curves, accuracy by
 * size of state.
 */
#include "examples/ablate/ablate.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

/* ---- What a figure shows ---- */

static bool any(const results *x, int t, int v) { return spread_of(x, t, v, -1).n > 0; }

/* Runs of a variant that a figure shows: in means those that did not fail; of a variant that is
 * drawn, the curve of one that failed too, up to there. */
static int shown(const results *x, int t, int v, bool curves)
{
    int n = 0;
    if (!curves || !any(x, t, v)) return spread_of(x, t, v, -1).n;
    for (int i = 0; i < x->study->seeds; i++) n += x->at[t][v][i] && x->at[t][v][i]->looks > 0;
    return n;
}

/* "(kda: 1 of 2; gdn: 2 of 2, 1 failed)": variants that are not there with all seeds. */
static void put_absent(char *text, size_t size, const results *x, int t, bool curves)
{
    enum { TOLD = 4 };
    const study *s = x->study;
    size_t n = 0;
    int variants = 0;
    for (int v = 0; v < s->variants && n < size; v++) {
        const int there = shown(x, t, v, curves), whole = spread_of(x, t, v, -1).n;
        if (whole == s->seeds || ++variants > TOLD) continue;
        n += (size_t)snprintf(text + n, size - n, "%s%s: %d of %d", n ? "; " : "(",
                              s->variant[v].name, there, s->seeds);
        if (there > whole && n < size)
            n += (size_t)snprintf(text + n, size - n, ", %d failed", there - whole);
    }
    if (variants > TOLD && n < size)
        n += (size_t)snprintf(text + n, size - n, "; %d other variants are not whole",
                              variants - TOLD);
    if (n && n < size) snprintf(text + n, size - n, ")");
}

/* The seeds, for the title: a figure says what it is made of, and on a line of its own what it is
 * not. */
static void put_title(FILE *to, const results *x, int t, bool curves)
{
    const study *s = x->study;
    char text[1024], absent[1024] = "";
    int n = snprintf(text, sizeof text, "%s: %s, seed%s", s->title, s->label[t],
                     s->seeds > 1 ? "s" : "");
    for (int i = 0; i < s->seeds && n < (int)sizeof text - 32; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s %llu", i ? "," : "",
                      (unsigned long long)s->seed[i]);
    fprintf(to, "set title ");
    picture_quote(to, text);
    put_absent(absent, sizeof absent, x, t, curves);
    if (*absent) fprintf(to, " . \"\\n\" . ");
    if (*absent) picture_quote(to, absent);
    fprintf(to, "\n");
}

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
    put_title(to, x, t, false);
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
    put_title(to, x, t, true);
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
    put_title(to, x, t, false);
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

/* ---- The files ---- */

typedef struct figure {
    const char *kind;
    void (*draw)(FILE *to, const results *x, int t);
    const results *x;
    int t;
} figure;

static void draw(pal_script *script, const void *what)
{
    const figure *f = what;
    char name[2 * NAME];
    snprintf(name, sizeof name, "%s-%s.svg", f->kind, f->x->study->label[f->t]);
    picture_begin(script, name, 860, 400);
    f->draw(script->to, f->x, f->t);
}

/* Whether it is a name of plots: KIND-LABEL.svg, the label of this study or of what it was before.
 */
static bool is_plot(const char *name)
{
    static const char *const kinds[] = {"accuracy-", "curves-", "state-"};
    for (int i = 0; i < 3; i++) {
        const size_t n = strlen(kinds[i]);
        if (strncmp(name, kinds[i], n)) continue;
        for (int j = 0; task_names(j); j++) {
            const size_t length = strlen(task_names(j));
            if (strncmp(name + n, task_names(j), length)) continue;
            const char *end =
                name + n + length; /* of the second task of a name there is a number */
            if (strcmp(end + strspn(end, "0123456789"), ".svg") == 0) return true;
        }
    }
    return false;
}

pal_status plots_remove(const char *folder, pal_error *error)
{
    struct dirent *entry;
    DIR *at = opendir(folder);
    if (!at) return pal_error_set(error, PAL_EIO, "%.400s: %s", folder, strerror(errno));
    pal_status s = PAL_OK;
    while (s == PAL_OK && (entry = readdir(at)))
        if (is_plot(entry->d_name)) s = picture_remove(folder, entry->d_name, error);
    closedir(at);
    return s;
}

pal_status plots(const results *x, const char *folder, pal_error *error)
{
    const study *s = x->study;
    pal_status status = pal_gnuplot_find(error);
    if (status == PAL_OK) status = plots_remove(folder, error);
    for (int t = 0; t < s->tasks && status == PAL_OK; t++) {
        int first = -1;
        bool states = false;
        for (int v = 0; v < s->variants; v++) {
            if (!any(x, t, v)) continue;
            if (first < 0) first = v;
            states = states || (x->model[t][v].state != x->model[t][first].state);
        }
        if (first < 0) continue;
        status = pal_gnuplot_draw(folder, draw, &(figure){"accuracy", draw_accuracy, x, t}, error);
        if (status == PAL_OK)
            status = pal_gnuplot_draw(folder, draw, &(figure){"curves", draw_curves, x, t}, error);
        if (status == PAL_OK && states)
            status = pal_gnuplot_draw(folder, draw, &(figure){"state", draw_state, x, t}, error);
    }
    return status;
}
