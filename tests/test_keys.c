/*
 * test_keys.c - options by name: every kind, bounds, a decimal comma, reading what was printed, and
 * comparing.
 */
#include "tensor/keys.h"
#include "tests/support/check.h"
#include "tests/support/comma.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum colour { NONE, RED, GREEN } colour;
typedef struct opts {
    int64_t whole, word, free;
    int small;
    uint64_t big;
    double real, unit, positive, any;
    bool flag, not, pick;
    colour choice;
    unsigned set;
    char text[8], one[8], must[8], own[8];
    const char *string;
    struct {
        int64_t count, of[3];
    } wholes;
    struct {
        int64_t count;
        double of[3];
    } reals;
} opts;

static pal_status even(const char *text, pal_error *error)
{
    if (strlen(text) % 2 == 0) return PAL_OK;
    return pal_error_set(error, PAL_EVALUE, "its length is odd");
}

static const pal_key rows[] = {
    {"whole", PAL_KEY_WHOLE, PAL_AT(opts, whole), .low = 1, .high = 64},
    {"word", PAL_KEY_WHOLE, PAL_AT(opts, word), .low = 1, .high = 9, .words = "none|match"},
    {"free", PAL_KEY_WHOLE, PAL_AT(opts, free)},
    {"small", PAL_KEY_WHOLE, PAL_AT(opts, small)},
    {"big", PAL_KEY_UNSIGNED, PAL_AT(opts, big)},
    {"real", PAL_KEY_REAL, PAL_AT(opts, real), .low = -1, .high = 0.5},
    {"unit", PAL_KEY_REAL, PAL_AT(opts, unit), .high = 1, .open = PAL_OPEN_HIGH},
    {"positive", PAL_KEY_REAL, PAL_AT(opts, positive), .high = HUGE_VAL, .open = PAL_OPEN_LOW},
    {"any", PAL_KEY_REAL, PAL_AT(opts, any)},
    {"flag", PAL_KEY_FLAG, PAL_AT(opts, flag)},
    {"not", PAL_KEY_NOT, PAL_AT(opts, not )},
    {"pick", PAL_KEY_CHOICE, PAL_AT(opts, pick), .words = "channel|scalar"},
    {"choice", PAL_KEY_CHOICE, PAL_AT(opts, choice), .low = RED, .words = "red|green"},
    {"set", PAL_KEY_SET, PAL_AT(opts, set), .words = "a|b|c", .required = true},
    {"text", PAL_KEY_TEXT, PAL_AT(opts, text)},
    {"one", PAL_KEY_TEXT, PAL_AT(opts, one), .words = "f32|f64"},
    {"must", PAL_KEY_TEXT, PAL_AT(opts, must), .required = true},
    {"own", PAL_KEY_TEXT, PAL_AT(opts, own), .check = even},
    {"string", PAL_KEY_STRING, PAL_AT(opts, string), .required = true},
    {"wholes", PAL_KEY_WHOLES, PAL_AT(opts, wholes), .low = 1, .high = 9},
    {"reals", PAL_KEY_REALS, PAL_AT(opts, reals), .high = 1, .required = true},
};
static const pal_keys keys = PAL_KEYS(rows);

static pal_status set(opts *o, const char *name, const char *value, pal_error *error)
{
    return pal_keys_set(&keys, o, "test: ", name, value, error);
}

/* ---- What is taken, and how it is written ---- */

static const struct {
    const char *name, *value, *written; /* NULL: the same as value */
} right[] = {
    {"whole", "1", NULL},
    {"whole", "64", NULL},
    {"whole", "+7", "7"},
    {"word", "none", NULL},
    {"word", "match", NULL},
    {"word", "9", NULL},
    {"free", "-9223372036854775808", NULL},
    {"free", "9223372036854775807", NULL},
    {"small", "-2147483648", NULL},
    {"small", "2147483647", NULL},
    {"big", "18446744073709551615", NULL},
    {"big", "0", NULL},
    {"real", "-1", NULL},
    {"real", "0.5", NULL},
    {"real", "0.1", NULL},
    {"real", "3e-3", "0.003"},
    {"real", "-0", NULL},
    {"real", "0x1p-2", "0.25"},
    {"unit", "0", NULL},
    {"unit", "0.9999999999999999", NULL},
    {"positive", "5e-324", NULL},
    {"positive", "1.7976931348623157e+308", NULL},
    {"any", "-1e300", "-1e+300"},
    {"any", "0.1000000000000000055", "0.1"},
    {"flag", "true", NULL},
    {"flag", "false", NULL},
    {"not", "true", NULL},
    {"not", "false", NULL},
    {"pick", "channel", NULL},
    {"pick", "scalar", NULL},
    {"choice", "red", NULL},
    {"choice", "green", NULL},
    {"set", "c", NULL},
    {"set", "c,a", "a,c"},
    {"set", "a, b ,c", "a,b,c"},
    {"text", "", NULL},
    {"text", "a = b", NULL},
    {"text", "1234567", NULL},
    {"one", "f64", NULL},
    {"must", "x", NULL},
    {"own", "", NULL},
    {"own", "abcd", NULL},
    {"string", "any text", NULL},
    {"wholes", "", NULL},
    {"wholes", "3", NULL},
    {"wholes", "1, 2,9", "1,2,9"},
    {"reals", "0.25,1", NULL},
};

START_TEST(right_values)
{
    opts o = {0}, again = {0};
    pal_error error;
    char text[64], cut[3] = "##";
    const pal_key *key = &keys.key[pal_keys_find(&keys, right[_i].name)];
    const char *written = right[_i].written ? right[_i].written : right[_i].value;
    ck_assert_msg(set(&o, right[_i].name, right[_i].value, &error) == PAL_OK, "%s", error.message);
    ck_assert_uint_eq(pal_key_print(key, &o, text, sizeof text), strlen(written));
    ck_assert_str_eq(text, written);
    ck_assert(set(&again, right[_i].name, text, &error) == PAL_OK);
    ck_assert(pal_key_same(key, &o, &again));
    /* With too little room, the result still is the length of the whole text. */
    ck_assert_uint_eq(pal_key_print(key, &o, cut, 2), strlen(written));
    ck_assert(strncmp(cut, written, 1) == 0 && cut[2] == '\0');
}
END_TEST

/* ---- What is refused ---- */

static const struct {
    const char *name, *value, *wanted;
} wrong[] = {
    {"whole", "0", "test: whole=0 should be a whole number from 1 to 64"},
    {"whole", "65", "whole=65 should be"},
    {"whole", "", "whole= should be"},
    {"whole", " 3", "whole= 3 should be"},
    {"whole", "3 ", "should be"},
    {"whole", "3.0", "should be"},
    {"whole", "0x10", "should be"},
    {"whole", "99999999999999999999", "should be"},
    {"word", "0", "word=0 should be none|match or a whole number from 1 to 9"},
    {"word", "-1", "should be"},
    {"word", "mat", "should be"},
    {"free", "9223372036854775808", "free=9223372036854775808 should be a whole number"},
    {"small", "2147483648", "small=2147483648 should be a whole number"},
    {"big", "-1", "big=-1 should be a whole number from 0 to 18446744073709551615"},
    {"big", "18446744073709551616", "should be"},
    {"real", "0.50000000000000011", "should be a number from -1 to 0.5"},
    {"real", "nan", "real=nan should be"},
    {"real", "1,5", "should be"},
    {"real", "0.5x", "should be"},
    {"unit", "1", "unit=1 should be a number from 0 to below 1"},
    {"unit", "-1e-300", "should be"},
    {"positive", "0", "positive=0 should be a number above 0"},
    {"positive", "inf", "should be"},
    {"positive", "1e400", "should be"},
    {"any", "nan", "any=nan should be a number"},
    {"any", "-inf", "should be"},
    {"flag", "yes", "flag=yes should be true or false"},
    {"flag", "", "should be"},
    {"not", "1", "should be true or false"},
    {"pick", "both", "pick=both should be channel|scalar"},
    {"choice", "", "choice= should be red|green"},
    {"choice", "red|green", "should be"},
    {"set", "", "set= should be a list of a|b|c, with commas between"},
    {"set", "a,a", "should be"},
    {"set", "a,", "should be"},
    {"set", "a,d", "should be"},
    {"text", "12345678", "text=12345678 should be a text of at most 7 bytes"},
    {"text", " x", "should be"},
    {"text", "x\t", "should be"},
    {"text", "a\nb", "should be"},
    {"one", "f3", "one=f3 should be f32|f64"},
    {"must", "", "must= should be a text of at least one byte"},
    {"own", "abc", "test: own=abc: its length is odd"},
    {"string", "", "string= should be a text that is not empty"},
    {"wholes", "1,2,3,4", "wholes=1,2,3,4 should be at most 3 whole numbers from 1 to 9"},
    {"wholes", "1,,2", "should be"},
    {"wholes", "1,10", "should be"},
    {"wholes", "1,", "should be"},
    {"reals", "", "reals= should be at most 3 numbers from 0 to 1"},
    {"reals", "0.5,nan", "should be"},
    {"other", "1", "test: there is no key \"other\"; its keys are whole, word, free, small"},
    {"", "1", "there is no key \"\""},
};

START_TEST(wrong_values)
{
    opts o, before;
    pal_error error = {PAL_OK, ""};
    memset(&o, 0x5a, sizeof o);
    before = o;
    ck_assert_msg(set(&o, wrong[_i].name, wrong[_i].value, &error) == PAL_EVALUE, "%s=%s",
                  wrong[_i].name, wrong[_i].value);
    ck_assert_msg(strstr(error.message, wrong[_i].wanted) != NULL, "%s", error.message);
    ck_assert_msg(memcmp(&o, &before, sizeof o) == 0, "%s has changed", wrong[_i].name);
    ck_assert(set(&o, wrong[_i].name, wrong[_i].value, NULL) == PAL_EVALUE);
}
END_TEST

/* ---- Several at once ---- */

START_TEST(texts)
{
    opts o = {0}, again = {0};
    pal_error error = {PAL_OK, ""};
    char text[1024];
    const char *list = ":whole=3:flag:one=f32";
    ck_assert(pal_keys_read(&keys, &o, "", list, strlen(list), true, &error) == PAL_EVALUE);
    ck_assert_msg(strstr(error.message, "flag= should be true or false") != NULL, "%s",
                  error.message);
    list = ":whole=3:whole=4:text=a=b:wholes=1,2";
    ck_assert(pal_keys_read(&keys, &o, "", list, strlen(list), false, &error) == PAL_OK);
    ck_assert(o.whole == 4 && strcmp(o.text, "a=b") == 0 && o.wholes.count == 2);
    ck_assert(pal_keys_read(&keys, &o, "p: ", list, strlen(list), true, &error) == PAL_EVALUE);
    ck_assert_str_eq(error.message, "p: whole is there twice");
    /* "whole" is not there twice because "wholes" begins with it. */
    list = ":wholes=1:whole=5";
    ck_assert(pal_keys_read(&keys, &o, "", list, strlen(list), true, &error) == PAL_OK);
    /* Only n bytes are read. */
    ck_assert(pal_keys_read(&keys, &o, "", ":whole=12", 8, true, &error) == PAL_OK);
    ck_assert_int_eq(o.whole, 1);
    ck_assert(pal_keys_read(&keys, &o, "", ":", 1, true, &error) == PAL_EVALUE);
    ck_assert(pal_keys_read(&keys, &o, "", "", 0, true, &error) == PAL_OK);
    /* All values together are printed and read again. */
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        ck_assert(set(&o, right[i].name, right[i].value, &error) == PAL_OK);
    const size_t n = pal_keys_print(&keys, &o, text, sizeof text);
    ck_assert(n < sizeof text);
    ck_assert_msg(pal_keys_read(&keys, &again, "", text, n, true, &error) == PAL_OK, "%s",
                  error.message);
    for (int i = 0; i < keys.count; i++)
        ck_assert_msg(rows[i].kind == PAL_KEY_STRING || pal_key_same(&rows[i], &o, &again), "%s",
                      rows[i].name);
}
END_TEST

START_TEST(compared)
{
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        for (size_t j = 0; j < i; j++) {
            opts a = {0}, b = {0};
            char x[64], y[64];
            if (strcmp(right[i].name, right[j].name)) continue;
            const pal_key *key = &keys.key[pal_keys_find(&keys, right[i].name)];
            ck_assert(set(&a, right[i].name, right[i].value, NULL) == PAL_OK);
            ck_assert(set(&b, right[j].name, right[j].value, NULL) == PAL_OK);
            pal_key_print(key, &a, x, sizeof x);
            pal_key_print(key, &b, y, sizeof y);
            ck_assert_msg(pal_key_same(key, &a, &b) == (strcmp(x, y) == 0), "%s: %s, %s", key->name,
                          x, y);
        }
}
END_TEST

START_TEST(numbers_and_bounds)
{
    opts o = {.whole = 7, .not = true, .flag = true, .choice = GREEN, .positive = 2, .real = 0.25};
    pal_error error = {PAL_OK, ""};
    static const struct {
        const char *name;
        double is;
    } all[] = {{"whole", 7}, {"not", 0}, {"flag", 1}, {"choice", GREEN}, {"real", 0.25}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const pal_key *key = &keys.key[pal_keys_find(&keys, all[i].name)];
        ck_assert_msg(pal_key_number(key, &o) == all[i].is, "%s", all[i].name);
    }
    ck_assert(pal_keys_check(&keys, &o, "x_new: ", &error) == PAL_OK);
    o.unit = 1;
    ck_assert(pal_keys_check(&keys, &o, "x_new: ", &error) == PAL_EVALUE);
    ck_assert_str_eq(error.message, "x_new: unit=1 should be a number from 0 to below 1");
    o.unit = (double)NAN;
    ck_assert(pal_keys_check(&keys, &o, "", &error) == PAL_EVALUE);
    /* A value of a choice for which there is no word is printed as nothing. */
    char text[8] = "x";
    o.choice = NONE;
    ck_assert_uint_eq(pal_key_print(&keys.key[pal_keys_find(&keys, "choice")], &o, text, 8), 0);
    ck_assert_str_eq(text, "");
}
END_TEST

START_TEST(kinds)
{
    typedef struct kind {
        const char *name;
        int x;
    } kind;
    static const kind a = {"gdn", 1}, b = {"gdn2", 2};
    static const kind *const all[] = {&a, &b};
    pal_error error = {PAL_OK, ""};
    const void *const *table = (const void *const *)all;
    ck_assert_int_eq(pal_kind_find(table, 2, "mixer", "gdn2:x", 4, &error), 1);
    ck_assert_int_eq(pal_kind_find(table, 2, "mixer", "gdn2:x", 3, &error), 0);
    ck_assert_int_eq(pal_kind_find(table, 2, "mixer", "gd", 2, &error), -1);
    ck_assert_str_eq(error.message, "there is no mixer \"gd\"; there are gdn, gdn2");
}
END_TEST

/* A program with a decimal comma reads and writes the same texts as others. */
START_TEST(decimal_comma)
{
    char text[64];
    opts o = {0};
    pal_error error;
    if (!comma_locale()) return;
    ck_assert(set(&o, "real", "0.25", &error) == PAL_OK);
    ck_assert(o.real == 0.25);
    ck_assert(set(&o, "real", "0,25", &error) == PAL_EVALUE);
    ck_assert_msg(strstr(error.message, "from -1 to 0.5") != NULL, "%s", error.message);
    pal_key_print(&keys.key[pal_keys_find(&keys, "real")], &o, text, sizeof text);
    ck_assert_str_eq(text, "0.25");
    ck_assert(set(&o, "reals", "0.5,0.25", &error) == PAL_OK);
    ck_assert(o.reals.count == 2 && o.reals.of[1] == 0.25);
    ck_assert(comma_in_force()); /* the program's own locale has not changed */
    setlocale(LC_ALL, "C");      /* the next check may share the process */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("keys");
    TCase *tc = tcase_create("keys");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, right_values, 0, sizeof right / sizeof *right);
    tcase_add_loop_test(tc, wrong_values, 0, sizeof wrong / sizeof *wrong);
    tcase_add_test(tc, texts);
    tcase_add_test(tc, compared);
    tcase_add_test(tc, numbers_and_bounds);
    tcase_add_test(tc, kinds);
    tcase_add_test(tc, decimal_comma);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
