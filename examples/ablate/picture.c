/*
 * picture.c - what the figures of studies have in common.
 */
#include "examples/ablate/ablate.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Any two are at least 20 apart in CIE Lab, for those who see all colours and for those who lack
 * one of the three kinds of cones (tests/test_palette.c). The first few are the farthest from each
 * other. */
const char *picture_colour(int i)
{
    static const char *const colours[PICTURE_CURVES] = {"#0011ff", "#aa0000", "#ccbb22", "#550088",
                                                        "#88bb77", "#ee44aa", "#660033", "#dd55ff"};
    return colours[i % PICTURE_CURVES];
}

void picture_style(FILE *to, int i)
{
    static const int markers[PICTURE_CURVES] = {7, 5, 9, 11, 6, 4, 8, 10};
    const int k = i % PICTURE_CURVES;
    fprintf(to, "lc rgb '%s' lw 2 dt %d pt %d ps 0.7", picture_colour(k), 1 + k % 5, markers[k]);
}

void picture_quote(FILE *to, const char *text) { pal_script_quote(to, text, (char *)NULL); }

/* In a width of 860 there are 86 letters for both. Every name has the same room, three letters more
 * than the longest. */
const char *picture_turn(int64_t names, size_t letters, size_t key)
{
    return (letters + 3) * (size_t)names + key > 86 ? "rotate by 30 right" : "norotate";
}

/* ---- Files ---- */

typedef struct picture {
    const char *name;
    int width, height;
    picture_fn *body;
    const void *what;
    bool pdf;
} picture;

static void begin(pal_script *script, const picture *p, bool pdf)
{
    char terminal[128], file[256];
    snprintf(file, sizeof file, "%.240s.%s", p->name, pdf ? "pdf" : "svg");
    if (pdf)
        snprintf(terminal, sizeof terminal, "pdfcairo size %.2fin,%.2fin font 'sans,9' noenhanced",
                 p->width / 120.0, p->height / 120.0);
    else
        snprintf(terminal, sizeof terminal,
                 "svg size %d,%d font 'sans-serif,13' background 'white' noenhanced", p->width,
                 p->height);
    pal_script_picture(script, file, terminal);
    fprintf(script->to, "set grid ytics lc rgb '#dddddd'\nset border 3\nset tics nomirror\n"
                        "set key outside right top\n");
}

static void draw(pal_script *script, const void *what)
{
    const picture *p = what;
    for (int pdf = 0; pdf <= p->pdf; pdf++) {
        begin(script, p, pdf);
        p->body(script->to, p->what);
    }
}

pal_status picture_draw(const char *folder, const char *name, int width, int height,
                        picture_fn *body, const void *what, pal_error *error)
{
    static bool without = false; /* this gnuplot has no PDF */
    picture p = {name, width, height, body, what, !without};
    pal_status s = pal_gnuplot_draw(folder, draw, &p, error);
    if (s == PAL_OK || without) return s;
    p.pdf = false;
    s = pal_gnuplot_draw(folder, draw, &p, error);
    if (s == PAL_OK) {
        without = true;
        fprintf(stderr, "ablate: figures are SVG alone, for this gnuplot makes no PDF\n");
    }
    return s;
}

pal_status picture_remove(const char *folder, const char *name, pal_error *error)
{
    char path[PAL_PATH];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (unlink(path) == 0 || errno == ENOENT) return PAL_OK;
    return pal_error_set(error, PAL_EIO, "%.400s: %s", path, strerror(errno));
}
