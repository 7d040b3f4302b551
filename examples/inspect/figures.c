/*
 * figures.c - heat maps and curves by gnuplot, as SVG and PNG: the models side by side.
 *
 * Colours are symmetric around 0, which is white: blue below, red above. What does not exist (a
 * later key, a token that wrote nothing) is white too.
 */
#include "examples/inspect/report.h"
#include "optim/train/gnuplot.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { SIDE = 340, CURVES = 8 }; /* points of a panel; singular values that are drawn */

typedef enum kind { STATE, READBACK, ATTENTION, SIGMA, KINDS } kind;
static const char *const names[KINDS] = {"state", "readback", "attention", "sigma"};

typedef struct drawing {
    const observation *ob;
    int64_t at;
} drawing;

/* ---- Words ---- */

static void quoted(FILE *to, const char *text) { pal_script_quote(to, text, (char *)NULL); }

/* Whether names of n channels have no room side by side below a panel, which has 28 letters. */
static bool turned(const char word[OB_AXIS][OB_SHOWN], int64_t n)
{
    size_t longest = 0;
    for (int64_t i = 0; i < n && i < OB_AXIS; i++)
        if (strlen(word[i]) > longest) longest = strlen(word[i]);
    return longest && (longest + 1) * (size_t)n > 28;
}

/* The channels that have names. */
static void tics(FILE *to, char axis, const char word[OB_AXIS][OB_SHOWN], int64_t n)
{
    bool any = false;
    for (int64_t i = 0; i < n && i < OB_AXIS; i++) any |= *word[i] != 0;
    fprintf(to, "set %ctics autofreq noenhanced norotate\n", axis);
    if (!any && n == 1) fprintf(to, "set %ctics (0)\n", axis); /* not parts of the one channel */
    if (!any) return;
    fprintf(to, "set %ctics %s (", axis,
            axis == 'x' && turned(word, n) ? "rotate by 90 right" : "norotate");
    for (int64_t i = 0; i < n && i < OB_AXIS; i++) {
        if (i) fputs(", ", to);
        quoted(to, word[i]);
        fprintf(to, " %lld", (long long)i);
    }
    fprintf(to, ") noenhanced\n");
}

/* The tokens as names of an axis, where there are few enough to read. A token has R places there.
 */
static void token_tics(FILE *to, const observation *ob, char axis, int64_t R)
{
    fprintf(to, "set %ctics autofreq noenhanced norotate\n", axis);
    if (ob->T > 24) return;
    fprintf(to, "set %ctics %s (", axis, axis == 'x' ? "rotate by 90 right" : "norotate");
    for (int64_t t = 0; t < ob->T; t++) {
        if (t) fputs(", ", to);
        quoted(to, ob->token[t]);
        fprintf(to, " %g", (double)(t * R) + (double)(R - 1) / 2);
    }
    fprintf(to, ") noenhanced\n");
}

/* ---- One panel ---- */

/* How gnuplot places the cells of a map. It draws no image of a single row or column; such a one is
 * given twice, as two halves of a cell. */
static void places(FILE *to, int64_t rows, int64_t cols)
{
    if (rows > 1 && cols > 1) return;
    fprintf(to, " using (%s):(%s):3", cols > 1 ? "$1" : "$1/2-0.25", rows > 1 ? "$2" : "$2/2-0.25");
}

/* The block of numbers that panel m plots. */
static void matrix(FILE *to, int m, const double *x, int64_t rows, int64_t cols)
{
    fprintf(to, "$map%d << END\n", m);
    for (int64_t i = 0; i < rows * (rows > 1 ? 1 : 2); i++) {
        for (int64_t j = 0; j < cols * (cols > 1 ? 1 : 2); j++) {
            const double c = x[i % rows * cols + j % cols];
            fprintf(to, "%.6g ", isfinite(c) ? c : 0);
        }
        fputc('\n', to);
    }
    fprintf(to, "END\n");
}

/* The ends of the colours are `most`; 0: the largest number. */
static void map(FILE *to, int m, const double *x, int64_t rows, int64_t cols, double most)
{
    const bool fixed = most > 0;
    for (int64_t i = 0; !fixed && i < rows * cols; i++)
        if (isfinite(x[i])) most = fmax(most, fabs(x[i]));
    if (!(most > 0)) most = 1;
    fprintf(to,
            "set xrange [-0.5:%lld.5]\nset yrange [%lld.5:-0.5]\nset cbrange [%.6g:%.6g]\n"
            "plot $map%d matrix",
            (long long)(cols - 1), (long long)(rows - 1), -most, most, m);
    places(to, rows, cols);
    fprintf(to, " with image notitle\n");
}

static int64_t curves_of(const ob_head *h)
{
    const int64_t n = h->K < h->V ? h->K : h->V;
    return n < CURVES ? n : CURVES;
}

/* A block for each singular value. */
static void values(FILE *to, int m, const ob_head *h)
{
    const int64_t all = h->K < h->V ? h->K : h->V;
    for (int64_t i = 0; i < curves_of(h); i++) {
        fprintf(to, "$sigma%d_%lld << END\n", m, (long long)i);
        for (int64_t t = 0; t < h->T; t++)
            fprintf(to, "%lld %.6g\n", (long long)t, h->sigma[t * all + i]);
        fprintf(to, "END\n");
    }
}

/* gnuplot warns of a range that is empty, so the zeros of an empty memory are drawn below 1. */
static bool all_zero(const ob_head *h)
{
    const int64_t all = h->K < h->V ? h->K : h->V;
    for (int64_t i = 0; i < h->T * all; i++)
        if (h->sigma[i] != 0) return false;
    return true;
}

static void curves(FILE *to, int m, const ob_head *h)
{
    if (h->T > 1)
        fprintf(to, "set xrange [0:%lld]\n", (long long)(h->T - 1));
    else
        fprintf(to, "set xtics (0)\nset xrange [-0.5:0.5]\n");
    fprintf(to, "set yrange [0:%s]\nplot ", all_zero(h) ? "1" : "*");
    for (int64_t i = 0; i < curves_of(h); i++)
        fprintf(to, "%s$sigma%d_%lld with %s lw 2 lc rgb '#%02x%02x%02x' notitle", i ? ", " : "", m,
                (long long)i, h->T > 1 ? "lines" : "points pt 7", /* one point is no line */
                (unsigned)(0x21 + 20 * i), (unsigned)(0x40 + 18 * i), (unsigned)(0x7c + 10 * i));
    fputc('\n', to);
}

static const double *numbers(const drawing *d, const ob_head *h, kind k)
{
    return k == STATE ? h->S + d->at * h->K * h->V : k == READBACK ? h->cosine : h->A;
}

/* What panel m needs, before the panels begin: gnuplot 6 reads no data inside a multiplot. */
static void data(FILE *to, const drawing *d, int m, const ob_head *h, kind k)
{
    if (k == SIGMA)
        values(to, m, h);
    else if (k == STATE)
        matrix(to, m, numbers(d, h, k), h->K, h->V);
    else
        matrix(to, m, numbers(d, h, k), h->T * (k == ATTENTION ? h->R : 1), h->T * h->R);
}

static void panel(FILE *to, const drawing *d, int m, const ob_head *h, kind k)
{
    static const char *const what[KINDS] = {": S after token %lld", ": cosine of reading and value",
                                            ": A[t,s]", ": singular values"};
    char title[64];
    snprintf(title, sizeof title, what[k], (long long)d->at);
    fprintf(to, "set title ");
    pal_script_quote(to, d->ob->model[h->model], title, (char *)NULL);
    fprintf(to, " noenhanced\nset xlabel '%s'\nset ylabel '%s' offset 1,0\n",
            k == STATE   ? "value channel"
            : k == SIGMA ? "token t"
                         : "token s",
            k == STATE   ? "key channel"
            : k == SIGMA ? ""
                         : "token t");
    if (k == STATE) {
        tics(to, 'x', d->ob->value, h->V);
        tics(to, 'y', d->ob->key, h->K);
        map(to, m, numbers(d, h, k), h->K, h->V, 0);
    } else if (k == SIGMA) {
        fprintf(to, "set xtics autofreq norotate\nset ytics autofreq\n");
        curves(to, m, h);
    } else {
        const int64_t rows = k == ATTENTION ? h->R : 1; /* of a token */
        token_tics(to, d->ob, 'x', h->R);
        token_tics(to, d->ob, 'y', rows);
        map(to, m, numbers(d, h, k), h->T * rows, h->T * h->R, k == READBACK);
    }
}

/* ---- One file ---- */

static bool has(const ob_head *h, kind k) { return h && (k == ATTENTION || h->S); }

static int panels(const drawing *d, const ob_head *first, kind k)
{
    int n = 0;
    for (int m = 0; m < d->ob->models; m++) n += has(report_same(d->ob, first, m), k);
    return n;
}

static void draw(pal_script *script, const drawing *d, const ob_head *first, kind k,
                 const char *type)
{
    char name[64], terminal[128];
    FILE *to = script->to;
    const int n = panels(d, first, k);
    const bool words = (d->ob->T <= 24 && (k == READBACK || k == ATTENTION)) ||
                       (k == STATE && turned(d->ob->value, first->V));
    const int side = SIDE + (words ? 160 : 0);
    snprintf(name, sizeof name, "%s-%lld-%lld.%s", names[k], (long long)first->layer,
             (long long)first->head, type);
    snprintf(terminal, sizeof terminal,
             strcmp(type, "svg") == 0 ? "svg size %d,%d font 'sans-serif,12' background 'white'"
                                      : "pngcairo size %d,%d font 'sans-serif,10'",
             n * side + 40, side);
    pal_script_picture(script, name, terminal);
    for (int m = 0; m < d->ob->models; m++) {
        const ob_head *h = report_same(d->ob, first, m);
        if (has(h, k)) data(to, d, m, h, k);
    }
    fprintf(to,
            "set palette defined (-1 '#2166ac', -0.5 '#92c5de', 0 '#ffffff', 0.5 '#f4a582', "
            "1 '#b2182b')\nset border 3\nset tics nomirror out\nset multiplot layout 1,%d\n",
            n);
    for (int m = 0; m < d->ob->models; m++) {
        const ob_head *h = report_same(d->ob, first, m);
        if (has(h, k)) panel(to, d, m, h, k);
    }
    fprintf(to, "unset multiplot\nset output\n");
}

static bool each(const drawing *d, int head, kind k)
{
    return report_first(d->ob, head) && panels(d, &d->ob->head[head], k) > 0;
}

static void draw_all(pal_script *script, const void *what)
{
    const drawing *d = what;
    static const char *const types[] = {"svg", "png"};
    for (int type = 0; type < 2; type++)
        for (int i = 0; i < d->ob->heads; i++)
            for (kind k = 0; k < KINDS; k++)
                if (each(d, i, k)) draw(script, d, &d->ob->head[i], k, types[type]);
}

pal_status report_figures(const observation *ob, const char *folder, int64_t at, pal_error *error)
{
    const drawing d = {ob, at};
    return pal_gnuplot_draw(folder, draw_all, &d, error);
}

/* ---- Files of an earlier run ---- */

/* Whether `name` is that of a figure, and whose. */
static bool is_figure(const char *name, kind *k, ob_head *of)
{
    static const char *const types[] = {"svg", "png"};
    char again[64];
    long long layer, head;
    for (*k = 0; *k < KINDS; ++*k) {
        const size_t n = strlen(names[*k]);
        if (strncmp(name, names[*k], n) != 0) continue;
        if (sscanf(name + n, "-%lld-%lld.", &layer, &head) != 2) return false;
        *of = (ob_head){.layer = layer, .head = head};
        for (int i = 0; i < 2; i++) {
            snprintf(again, sizeof again, "%s-%lld-%lld.%s", names[*k], layer, head, types[i]);
            if (strcmp(again, name) == 0) return true;
        }
        return false;
    }
    return false;
}

pal_status report_figures_tidy(const observation *ob, const char *folder, bool drew,
                               pal_error *error)
{
    const drawing d = {.ob = ob};
    pal_status s = PAL_OK;
    struct dirent *entry;
    DIR *at = opendir(folder);
    if (!at) return pal_error_set(error, PAL_EIO, "%.400s: %s", folder, strerror(errno));
    while (s == PAL_OK && (entry = readdir(at))) {
        kind k;
        ob_head of;
        if (!is_figure(entry->d_name, &k, &of) || (drew && panels(&d, &of, k) > 0)) continue;
        if (unlinkat(dirfd(at), entry->d_name, 0) != 0)
            s = pal_error_set(error, PAL_EIO, "%.400s/%s: %s", folder, entry->d_name,
                              strerror(errno));
    }
    closedir(at);
    return s;
}
