/*
 * test_palette.c - the colours of figures: any two are at least 20 apart in CIE Lab, as they are
 * and as those see them who lack one kind of cones; markers and dashes tell curves apart too.
 *
 * Sources: CIE 15:2004 for Lab (D65); Machado, Oliveira, Fernandes 2009 (IEEE TVCG 15) for the
 * three matrices, severity 1, on linear sRGB.
 */
#include "examples/ablate/ablate.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void stop(const char *format, ...)
{
    ck_abort_msg("%s", format);
    abort();
}

static const double seen[4][3][3] = {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
                                     {{0.152286, 1.052583, -0.204868},
                                      {0.114503, 0.786281, 0.099216},
                                      {-0.003882, -0.048116, 1.051998}},
                                     {{0.367322, 0.860646, -0.227968},
                                      {0.280085, 0.672501, 0.047413},
                                      {-0.011820, 0.042940, 0.968881}},
                                     {{1.255528, -0.076749, -0.178779},
                                      {-0.078411, 0.930809, 0.147602},
                                      {0.004733, 0.691367, 0.303900}}};
static const double xyz[3][3] = {{0.4124564, 0.3575761, 0.1804375},
                                 {0.2126729, 0.7151522, 0.0721750},
                                 {0.0193339, 0.1191920, 0.9503041}};

static void times(const double m[3][3], const double in[3], double out[3])
{
    for (int i = 0; i < 3; i++) out[i] = m[i][0] * in[0] + m[i][1] * in[1] + m[i][2] * in[2];
}

static double root(double t) { return t > 216.0 / 24389 ? cbrt(t) : (24389.0 / 27 * t + 16) / 116; }

static void lab_of(const char *colour, int eye, double lab[3])
{
    double linear[3], shown[3], x[3], white[3];
    const double one[3] = {1, 1, 1};
    for (int i = 0; i < 3; i++) {
        const char text[3] = {colour[1 + 2 * i], colour[2 + 2 * i], 0};
        const double c = (double)strtol(text, NULL, 16) / 255;
        linear[i] = c <= 0.04045 ? c / 12.92 : pow((c + 0.055) / 1.055, 2.4);
    }
    times(seen[eye], linear, shown);
    for (int i = 0; i < 3; i++) shown[i] = fmin(1, fmax(0, shown[i]));
    times(xyz, shown, x);
    times(xyz, one, white);
    const double f[3] = {root(x[0] / white[0]), root(x[1] / white[1]), root(x[2] / white[2])};
    lab[0] = 116 * f[1] - 16, lab[1] = 500 * (f[0] - f[1]), lab[2] = 200 * (f[1] - f[2]);
}

START_TEST(colours_are_apart)
{
    for (int eye = 0; eye < 4; eye++)
        for (int i = 0; i < PICTURE_CURVES; i++) {
            double a[3], b[3];
            lab_of(picture_colour(i), eye, a);
            ck_assert_msg(a[0] < 80, "%s is too light for white paper", picture_colour(i));
            for (int j = 0; j < i; j++) {
                lab_of(picture_colour(j), eye, b);
                const double apart =
                    sqrt((a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1]) +
                         (a[2] - b[2]) * (a[2] - b[2]));
                ck_assert_msg(apart >= 20, "eye %d: %s and %s are %.1f apart", eye,
                              picture_colour(i), picture_colour(j), apart);
            }
        }
}
END_TEST

/* Lab is right: white, and the red of sRGB (53.24, 80.09, 67.20). */
START_TEST(lab_is_lab)
{
    double lab[3];
    lab_of("#ffffff", 0, lab);
    ck_assert(fabs(lab[0] - 100) < 0.01 && fabs(lab[1]) < 0.01 && fabs(lab[2]) < 0.01);
    lab_of("#ff0000", 0, lab);
    ck_assert(fabs(lab[0] - 53.24) < 0.01 && fabs(lab[1] - 80.09) < 0.02 &&
              fabs(lab[2] - 67.20) < 0.02);
}
END_TEST

START_TEST(styles_differ)
{
    char text[PICTURE_CURVES][128];
    for (int i = 0; i < PICTURE_CURVES; i++) {
        FILE *to = fmemopen(text[i], sizeof text[i], "w");
        picture_style(to, i);
        fclose(to);
        const char *marker = strstr(text[i], " pt ");
        ck_assert_ptr_nonnull(marker);
        for (int j = 0; j < i; j++) ck_assert_str_ne(strstr(text[j], " pt "), marker);
        if (i) ck_assert_str_ne(strstr(text[i - 1], " dt "), strstr(text[i], " dt "));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("palette");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_test(all, colours_are_apart);
    tcase_add_test(all, lab_is_lab);
    tcase_add_test(all, styles_differ);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
