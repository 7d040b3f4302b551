/*
 * plots.c - the figures of a study, by gnuplot: accuracy by level, learning curves, accuracy by
 * size of state.
 */
#include "examples/ablate/ablate.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
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

static size_t longer(size_t than, const char *text)
{
    const size_t n = strlen(text);
    return n > than ? n : than;
}

enum { POINT = sizeof((task_point *)NULL)->name };
/* The level of a test, or its name. */
static const char *axis_name(const task *t, int j, bool level, char text[POINT])
{
    const task_point p = task_point_at(t, TASK_TEST, j);
    if (level)
        snprintf(text, POINT, "%lld", (long long)p.level);
    else
        snprintf(text, POINT, "%s", p.name);
    return text;
}

/* Where the levels of the points differ they are told, else the names of the points. */
static void put_level_axis(FILE *to, const results *x, int t)
{
    const task *of = x->study->task[t];
    const int n = task_points(of, TASK_TEST);
    bool unique = true;
    char text[POINT];
    size_t letters = 0, key = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++)
            unique = unique &&
                     task_point_at(of, TASK_TEST, i).level != task_point_at(of, TASK_TEST, j).level;
    for (int j = 0; j < n; j++) letters = longer(letters, axis_name(of, j, unique, text));
    for (int v = 0; v < x->study->variants; v++)
        if (any(x, t, v)) key = longer(key, x->study->variant[v].name);
    fprintf(to, "set xrange [-0.5:%d.5]\nset xlabel ", n - 1);
    picture_quote(to, task_level_name(of));
    fprintf(to, "\nset xtics %s (", picture_turn(n, letters, key));
    for (int j = 0; j < n; j++) {
        fprintf(to, "%s", j ? ", " : "");
        picture_quote(to, axis_name(of, j, unique, text));
        fprintf(to, " %d", j);
    }
    fprintf(to, ")\n");
}

/* ---- Panels ---- */

/* The curves of a figure: block $vN for each, drawn in panels of a few. */
typedef struct chart {
    int n, block[MOST_VARIANTS];
    char name[MOST_VARIANTS][NAME];
    double low, high; /* of all values, for the axis */
} chart;

static void chart_add(chart *c, int block, const char *name)
{
    c->block[c->n] = block;
    snprintf(c->name[c->n], NAME, "%s", name);
    c->n++;
}

static void chart_value(chart *c, double low, double high)
{
    if (isfinite(low) && low < c->low) c->low = low;
    if (isfinite(high) && high > c->high) c->high = high;
}

static int panels(int curves) { return (curves + PICTURE_CURVES - 1) / PICTURE_CURVES; }

/* The axis of the measure fits the values: accuracy that is not near 0 does not begin there. */
static void put_measure(FILE *to, const task *t, const chart *c, const char *what)
{
    char label[128];
    const bool bits = task_in_bits(t);
    const double chance = task_chance(t), room = 0.05 * (c->high - c->low) + 1e-3;
    double low = c->low - room, high = c->high + room;
    snprintf(label, sizeof label, "%s %s", bits ? "bits a byte" : "accuracy", what);
    fprintf(to, "set ylabel ");
    picture_quote(to, label);
    if (chance > 0 && low > chance && low < 0.4 + chance) low = chance - room;
    if (!bits && low < 0.2) low = 0;
    if (!bits && high > 0.9) high = 1.02;
    if (c->low <= c->high)
        fprintf(to, "\nset yrange [%.6g:%.6g]\n", low, high);
    else
        fprintf(to, "\nset yrange [*:*]\n");
}

/* How a curve is drawn: with a band of its lowest and highest seed, or with bars. */
typedef enum how { BANDS, BARS } how;

static void put_panel(FILE *to, const task *t, const chart *c, int first, how h)
{
    const char *between = "plot ";
    const double chance = task_chance(t);
    const int last = first + PICTURE_CURVES < c->n ? first + PICTURE_CURVES : c->n;
    for (int i = first; i < last && h == BANDS; i++) {
        fprintf(
            to,
            "%s$v%d using 1:3:4 with filledcurves fs transparent solid 0.15 noborder lc rgb '%s' "
            "notitle",
            between, c->block[i], picture_colour(i - first));
        between = ", ";
    }
    for (int i = first; i < last; i++) {
        fprintf(to, "%s$v%d using %s ", between, c->block[i],
                h == BANDS ? "1:2 with linespoints pn 12" : "1:2:3:4 with yerrorlines");
        picture_style(to, i - first);
        fprintf(to, " title ");
        picture_quote(to, c->name[i]);
        between = ", ";
    }
    if (chance > 0) fprintf(to, ", %.9g with lines lc rgb '#777777' dt 3 title 'chance'", chance);
    fprintf(to, "\n");
}

/* All panels, one below the other; the title stands over the first. */
static void put_chart(FILE *to, const task *t, const chart *c, how h)
{
    const int n = panels(c->n);
    if (n > 1) fprintf(to, "set multiplot layout %d,1\n", n);
    for (int i = 0; i < n; i++) {
        if (i == 1) fprintf(to, "unset title\n");
        put_panel(to, t, c, i * PICTURE_CURVES, h);
    }
    if (n > 1) fprintf(to, "unset multiplot\n");
}

/* Bars of a panel are side by side: how many bars the n-th curve is from the middle. */
static double aside(int n, int curves)
{
    const int first = n - n % PICTURE_CURVES, left = curves - first;
    const int beside = left < PICTURE_CURVES ? left : PICTURE_CURVES;
    return n - first - (beside - 1) / 2.0;
}

static void draw_accuracy(FILE *to, const results *x, int t)
{
    const study *s = x->study;
    chart c = {.low = HUGE_VAL, .high = -HUGE_VAL};
    int curves = 0;
    for (int v = 0; v < s->variants; v++) curves += any(x, t, v);
    put_title(to, x, t, false);
    put_level_axis(to, x, t);
    for (int v = 0; v < s->variants; v++) {
        if (!any(x, t, v)) continue;
        fprintf(to, "$v%d << END\n", v);
        for (int j = 0; j < task_points(s->task[t], TASK_TEST); j++) {
            const spread p = spread_of(x, t, v, j);
            const double at = j + 0.3 * aside(c.n, curves) / PICTURE_CURVES;
            if (p.n) fprintf(to, "%g %.9g %.9g %.9g\n", at, p.mean, p.low, p.high);
            if (p.n) chart_value(&c, p.low, p.high);
        }
        fprintf(to, "END\n");
        chart_add(&c, v, s->variant[v].name);
    }
    put_measure(to, s->task[t], &c, "(mean; bars: all seeds)");
    put_chart(to, s->task[t], &c, BARS);
}

/* The value of a run at look k of the longest run: one that ended early, because it had reached
 * enough, keeps its last value; one that failed is gone. */
static bool value_at(const result *r, int k, double *value)
{
    if (!r || !r->looks || (r->failed && k >= r->looks)) return false;
    *value = result_look(r, &r->look[k < r->looks ? k : r->looks - 1]);
    return isfinite(*value) != 0;
}

/* A line for each look: step, mean, lowest and highest seed. */
static void put_band(FILE *to, const results *x, int t, int v, chart *c)
{
    const study *s = x->study;
    const result *longest = NULL;
    for (int i = 0; i < s->seeds; i++) {
        const result *r = x->at[t][v][i];
        if (r && (!longest || r->looks > longest->looks)) longest = r;
    }
    fprintf(to, "$v%d << END\n", v);
    for (int k = 0; longest && k < longest->looks; k++) {
        double sum = 0, low = HUGE_VAL, high = -HUGE_VAL, value;
        int n = 0;
        for (int i = 0; i < s->seeds; i++) {
            if (!value_at(x->at[t][v][i], k, &value)) continue;
            sum += value, n++;
            low = fmin(low, value), high = fmax(high, value);
        }
        if (n)
            fprintf(to, "%lld %.9g %.9g %.9g\n", (long long)longest->look[k].step, sum / n, low,
                    high);
        /* Of bits the beginning, a fifth of the looks rounded down, would hide the end. */
        if (n && (!task_in_bits(s->task[t]) || k >= longest->looks / 5)) chart_value(c, low, high);
    }
    fprintf(to, "END\n");
}

static void draw_curves(FILE *to, const results *x, int t)
{
    const study *s = x->study;
    chart c = {.low = HUGE_VAL, .high = -HUGE_VAL};
    put_title(to, x, t, true);
    fprintf(to, "set xlabel 'step'\nset xrange [0:]\n");
    for (int v = 0; v < s->variants; v++) {
        if (!any(x, t, v)) continue;
        put_band(to, x, t, v, &c);
        chart_add(&c, v, s->variant[v].name);
    }
    put_measure(to, s->task[t], &c, "(mean; band: all seeds)");
    put_chart(to, s->task[t], &c, BANDS);
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

/* Bars are beside each other by a twentieth of an octave. */
static void draw_state(FILE *to, const results *x, int t)
{
    const study *s = x->study;
    char name[NAME], other[NAME];
    chart c = {.low = HUGE_VAL, .high = -HUGE_VAL};
    int curves = 0;
    for (int v = 0; v < s->variants; v++) curves += begins_curve(x, t, v);
    put_title(to, x, t, false);
    fprintf(to, "set xlabel 'numbers of recurrent state, all layers'\nset logscale x 2\n"
                "set offsets graph 0.05, graph 0.05, 0, 0\n");
    for (int v = 0; v < s->variants; v++) {
        if (!begins_curve(x, t, v)) continue;
        curve_of(&s->variant[v], name);
        fprintf(to, "$v%d << END\n", v);
        for (int i = v; i < s->variants; i++) {
            const spread p = spread_of(x, t, i, -1);
            if (!p.n || strcmp(curve_of(&s->variant[i], other), name)) continue;
            const double at = (double)x->model[t][i].state * exp2(0.05 * aside(c.n, curves));
            fprintf(to, "%g %.9g %.9g %.9g\n", at, p.mean, p.low, p.high);
            chart_value(&c, p.low, p.high);
        }
        fprintf(to, "END\n");
        chart_add(&c, v, name);
    }
    put_measure(to, s->task[t], &c, "(mean; bars: all seeds)");
    put_chart(to, s->task[t], &c, BARS);
}

/* ---- The files ---- */

typedef struct figure {
    void (*draw)(FILE *to, const results *x, int t);
    const results *x;
    int t;
} figure;

static void body(FILE *to, const void *what)
{
    const figure *f = what;
    f->draw(to, f->x, f->t);
}

static pal_status draw(const char *folder, const char *kind,
                       void (*put)(FILE *to, const results *x, int t), const results *x, int t,
                       pal_error *error)
{
    char name[2 * NAME];
    int curves = 0;
    for (int v = 0; v < x->study->variants; v++) curves += any(x, t, v);
    snprintf(name, sizeof name, "%s-%s", kind, x->study->label[t]);
    return picture_draw(folder, name, 860, panels(curves) > 1 ? 300 * panels(curves) : 400, body,
                        &(figure){put, x, t}, error);
}

/* Whether it is a name of plots: KIND-LABEL.svg or .pdf, the label of this study or of what it was
 * before.
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
            end += strspn(end, "0123456789");
            if (strcmp(end, ".svg") == 0 || strcmp(end, ".pdf") == 0) return true;
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
        status = draw(folder, "accuracy", draw_accuracy, x, t, error);
        if (status == PAL_OK) status = draw(folder, "curves", draw_curves, x, t, error);
        if (status == PAL_OK && states) status = draw(folder, "state", draw_state, x, t, error);
    }
    return status;
}
