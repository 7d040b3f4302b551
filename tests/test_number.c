/*
 * test_number.c - numbers as text: which texts are read and refused, writing with the fewest
 * digits, and a program whose locale has a decimal comma.
 */
#include "tensor/number.h"
#include "tensor/tensor.h"
#include "tests/support/check.h"
#include "tests/support/comma.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void reads(const char *text, double want)
{
    double x = NAN;
    ck_assert_msg(pal_number_read(text, &x) && memcmp(&x, &want, sizeof x) == 0,
                  "\"%s\" is read as %g", text, x);
}

static void reads_all(void)
{
    double x = 7;
    reads("0.5", 0.5);
    reads("-1e-3", -1e-3);
    reads(" 12", 12);
    reads("0x1.8p1", 3);
    reads("-inf", -INFINITY);
    reads("1e999", HUGE_VAL);
    ck_assert_int_eq(errno, ERANGE);
    reads("1e-999", 0);
    ck_assert_int_eq(errno, ERANGE);
    reads("-0", -0.0);
    ck_assert_int_eq(errno, 0);
    ck_assert(pal_number_read("nan", &x) && isnan(x));
    static const char *const bad[] = {"", " ", "x", "1 ", "1x", "0,5", "1.5.", "1e", "--1", "1_0"};
    x = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!pal_number_read(bad[i], &x) && x == 7, "\"%s\" is read", bad[i]);
    const char *list = "1.5,-2;";
    ck_assert(pal_number_next(&list, &x) && x == 1.5 && *list++ == ',');
    ck_assert(pal_number_next(&list, &x) && x == -2 && *list == ';');
    ck_assert(!pal_number_next(&list, &x) && *list == ';');
}

START_TEST(real) { reads_all(); }
END_TEST

START_TEST(whole)
{
    int64_t i = 7;
    uint64_t u = 7;
    ck_assert(pal_integer_read("-9223372036854775808", &i) && i == INT64_MIN);
    ck_assert(pal_integer_read("+12", &i) && i == 12);
    ck_assert(pal_unsigned_read("18446744073709551615", &u) && u == UINT64_MAX);
    static const char *const bad[] = {
        "", "x", "1.0", "12 ", "0x4", "1e3", "- 1", "--1", "18446744073709551616", "1,000"};
    i = 7, u = 7;
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        ck_assert_msg(!pal_integer_read(bad[k], &i) && !pal_unsigned_read(bad[k], &u) && i == 7 &&
                          u == 7,
                      "\"%s\" is read", bad[k]);
    ck_assert(!pal_integer_read("9223372036854775808", &i) && !pal_unsigned_read("-1", &u));
    ck_assert(!pal_unsigned_read(" -1", &u));
}
END_TEST

/* x that is written and read again is the same number. With one digit less it is another one. */
static void fewest(double x)
{
    char text[PAL_NUMBER_TEXT], less[400];
    double back = 0, other = 0;
    ck_assert(pal_number_read(pal_number_print(x, text), &back));
    ck_assert_msg(memcmp(&back, &x, sizeof x) == 0, "%a is written as %s", x, text);
    int digits = 0;
    for (const char *c = text; *c && *c != 'e'; c++)
        digits += *c >= '0' && *c <= '9' && (digits || *c != '0');
    if (digits < 2 || !isfinite(x)) return;
    PAL_C_LOCALE;
    snprintf(less, sizeof less, "%.*g", digits - 1, x);
    /* Zeros at the end of "100" are not significant digits. */
    ck_assert(pal_number_read(less, &other));
    ck_assert_msg(other != x || text[strcspn(text, ".e")] == '\0', "%s could be %s", text, less);
}

static void prints_all(void)
{
    char text[PAL_NUMBER_TEXT];
    ck_assert_str_eq(pal_number_print(0.1, text), "0.1");
    ck_assert_str_eq(pal_number_print(0.1 + 0.2, text), "0.30000000000000004");
    ck_assert_str_eq(pal_number_print(0.3333333333333333, text), "0.3333333333333333");
    ck_assert_str_eq(pal_number_print(5e-324, text), "5e-324");
    ck_assert_str_eq(pal_number_print(1024, text), "1024");
    ck_assert_str_eq(pal_number_print(-INFINITY, text), "-inf");
    ck_assert(strstr(pal_number_print(NAN, text), "nan") != NULL);
    fewest(DBL_MAX), fewest(DBL_MIN), fewest(-DBL_MIN / 3), fewest(1 / 3.0), fewest(-0.0);
    pal_rng rng = pal_rng_new(1, 0);
    for (int i = 0; i < 20000; i++) {
        const uint64_t bits = (uint64_t)pal_rng_below(&rng, INT64_C(1) << 32) << 32 |
                              (uint64_t)pal_rng_below(&rng, INT64_C(1) << 32);
        double x;
        memcpy(&x, &bits, sizeof x);
        if (isfinite(x)) fewest(x);
        fewest((double)(bits % 1000000) / 1e4);
    }
}

START_TEST(printing) { prints_all(); }
END_TEST

static void print_array(char *text, size_t size)
{
    double x[3] = {0.25, -1.5, 1e9};
    pal_array a = pal_array_of(PAL_F64, PAL_SHAPE(3), x);
    FILE *to = fmemopen(text, size, "w");
    pal_array_print(to, "x", &a);
    fclose(to);
}

/* All of this holds in a program with a decimal comma, and the program's locale does not change. */
START_TEST(comma)
{
    char before[200], after[200];
    print_array(before, sizeof before);
    if (comma_locale()) {
        pal_error error;
        reads_all();
        prints_all();
        print_array(after, sizeof after);
        ck_assert_str_eq(before, after);
        pal_error_set(&error, PAL_EVALUE, "%g", 0.5);
        ck_assert_str_eq(error.message, "0.5");
        {
            PAL_C_LOCALE;
            ck_assert(!comma_in_force());
            reads_all();
            ck_assert(!comma_in_force());
        }
        ck_assert(comma_in_force());
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("number");
    TCase *tc = tcase_create("number");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, real);
    tcase_add_test(tc, whole);
    tcase_add_test(tc, printing);
    tcase_add_test(tc, comma);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
