/*
 * test_inspect_script.c - sequences made by hand for examples/inspect: what their keys read, and
 * which scripts are refused.
 */
#include "examples/inspect/look.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void near(double x, double wanted, double within, const char *what)
{
    if (!(fabs(x - wanted) <= within)) ck_abort_msg("%s is %.17g, not %.17g", what, x, wanted);
}

/* ---- A sequence made by hand ---- */

static observation scripted(const char *text, const char *rules)
{
    pal_error error;
    observation ob;
    if (script_observe(&ob, text, "text", rules, &error) != PAL_OK)
        ck_abort_msg("%s", error.message);
    ob_measure(&ob, PAL_RULE_RECURRENT);
    return ob;
}

static void reads(const observation *ob, int rule, int64_t t, const char *wanted)
{
    char text[128];
    const ob_head *h = &ob->head[rule];
    ck_assert_str_eq(script_reading(ob, h->o + t * h->V, h->V, text, sizeof text), wanted);
}

/* A key reads exactly what was written. Overwriting with erase = 1 leaves exactly the new value.
 * Mamba-2 and Mamba-3 cannot erase and read the sum. */
START_TEST(overwriting)
{
    observation ob =
        scripted("write a red\nwrite b green\nread a\nwrite a blue\nread a\nread b", NULL);
    ck_assert_int_eq(ob.heads, 6);
    for (int i = 0; i < ob.heads; i++) {
        const ob_head *h = &ob.head[i];
        const bool adds = h->rule == OB_MAMBA2 || h->rule == OB_MAMBA3;
        const double red = adds ? 1 : 0; /* after overwriting; channels: red green blue */
        const double wanted[][3] = {{1, 0, 0},   {0, 1, 0},   {1, 0, 0},
                                    {red, 0, 1}, {red, 0, 1}, {0, 1, 0}};
        for (int t = 0; t < 6; t++)
            for (int c = 0; c < 3; c++)
                near(h->o[t * 3 + c], wanted[t][c], 0, ob_rule_name(h->rule));
        near(h->rank[0], 1, 1e-15, "the rank of one pair");
        near(h->rank[1], 2, 1e-15, "the rank of two");
        near(h->update[1], 1, 0, "a pair that is added");
        near(h->update[2], 0, 0, "a token that reads");
        /* Where red stays, the singular values are sqrt 2 and 1; otherwise they are 1 and 1. */
        const double share = 1 / (1 + sqrt(2));
        near(h->rank[5], adds ? pow(share, -share) * pow(1 - share, share - 1) : 2, 1e-15,
             "the rank at last");
        near(h->cosine[2 * 6 + 0], 1, 0, "key a, cosine with red");
        near(h->error[2 * 6 + 0], 0, 0, "key a, error against red");
        near(h->cosine[4 * 6 + 0], adds ? sqrt(0.5) : 0, 1e-15, "key a, cosine with red at last");
        near(h->error[4 * 6 + 3], adds ? 1 : 0, 1e-15, "key a, error against blue at last");
        ck_assert_msg(isnan(h->cosine[4 * 6 + 2]), "a token that reads has written something");
        reads(&ob, i, 4, adds ? "red + blue" : "blue");
    }
    ob_free(&ob);
}
END_TEST

/* Each gate has its effect in the rules that have it, and only there. */
START_TEST(gates)
{
    observation ob = scripted("key k 1 0\nkey l 0 1\nwrite k red\nwrite l blue\ndecay 0.5 1\n"
                              "read k\nread l\nwrite k blue erase=0 write=0.5,0.3\nread k\n"
                              "erase k\nread k",
                              NULL);
    static const char *const wanted[6][4] = {
        {"0.5 red", "blue", "0.5 red + 0.3 blue", "0"}, /* gdn2 */
        {"0.5 red", "blue", "0.3 red + 0.4 blue", "0"},
        {"0.75 red", "0.75 blue", "0.45 red + 0.4 blue", "0"},
        {"red", "blue", "0.6 red + 0.4 blue", "0"},
        {"0.75 red", "0.75 blue", "0.75 red + 0.4 blue", "0.75 red + 0.4 blue"},
        {"0.75 red", "0.75 blue", "0.75 red + 0.4 blue", "0.75 red + 0.4 blue"}};
    static const int64_t at[] = {3, 4, 6, 8};
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 4; j++) reads(&ob, i, at[j], wanted[i][j]);
    ck_assert_int_eq(ob.head[0].erases, 2);
    ck_assert_int_eq(ob.head[1].erases, 1);
    ck_assert_int_eq(ob.head[3].decays, 0);
    ck_assert_int_eq(ob.head[4].erases, 0);
    ob_free(&ob);
}
END_TEST

/* Two writes and angles: a half is late, comes with the next line, and is lost where that line's
 * lam is 1; half a turn reads the opposite, in the pair that turns; dt is the step of Mamba-2 too.
 */
START_TEST(two_writes)
{
    observation ob = scripted("key k 1 0 0 0\nkey l 0 0 1 0\n"
                              "write k red lam=0.25\nread k dt=2 lam=0.5\n"    /* 0.25, then + 1 */
                              "write l blue lam=0.25 dt=4\nread l\n"           /* 1, and no more */
                              "decay 0.5 angle=3.141592653589793,0 dt=0.125\n" /* half a turn */
                              "read k\nread l\nwrite k red dt=0\nread k",
                              "mamba3,mamba2,gdn2");
    static const char *const wanted[3][9] = {
        {"0.25 red", "1.25 red", "blue", "blue", "0", "-0.625 red", "0.5 blue", "-0.625 red",
         "-0.625 red"},
        {"red", "red", "4 blue", "4 blue", "0", "0.5 red", "2 blue", "0.5 red", "0.5 red"},
        {"red", "red", "blue", "blue", "0", "0.5 red", "0.5 blue", "red", "red"}};
    for (int i = 0; i < 3; i++)
        for (int t = 0; t < 9; t++) reads(&ob, i, t, wanted[i][t]);
    const ob_turns *r = &ob.head[0].turns;
    near(r->late[1], 1, 0, "the late half"), near(r->now[1], 1, 0, "a step");
    near(r->late[3], 0, 0, "a half that is lost");
    near(r->turn[4 * 2], 4 * atan(1), 1e-15, "half a turn");
    near(r->turn[4 * 2 + 1], 0, 0, "the other pair");
    near(r->angle[8 * 2], 4 * atan(1), 1e-15, "the angle stays");
    ob_free(&ob);
}
END_TEST

/* Writes a line with so many channels. The last one is `last` and the others are 0. */
static void many(const char *begin, int channels, const char *last, bool fits)
{
    char text[512];
    pal_error error;
    observation ob = {.T = 0};
    int n = snprintf(text, sizeof text, "%s", begin);
    for (int i = 1; i < channels; i++) n += snprintf(text + n, sizeof text - (size_t)n, " 0");
    snprintf(text + n, sizeof text - (size_t)n, " %s\nwrite a v", last);
    const pal_status s = script_observe(&ob, text, "text", "gdn2", &error);
    ck_assert_int_eq(s, fits ? PAL_OK : PAL_EFORMAT);
    if (!fits)
        ck_assert_msg(strstr(error.message, "1: more than 64 channels"), "%s", error.message);
    ob_free(&ob);
}

START_TEST(wide_scripts)
{
    many("key a", 64, "1", true);
    many("value v", 64, "1", true);
    many("key a", 65, "1", false);
    many("value v", 65, "1", false);
    many("decay", 65, "1", false);
    many("decay", 66, "1", false);
}
END_TEST

/* Takes the largest and the smallest vectors and the greatest number of tokens. With these gates
 * GDN-2's state grows by a quarter a token. All that is shown stays finite, and no length becomes
 * 0. */
START_TEST(far_scripts)
{
    static const char *const vectors[] = {
        "key a -5e49 1e50\nkey b 1e50 5e49\nvalue v 1e50 1e50\n",
        "key a -1e-50 2e-50\nkey b 2e-50 1e-50\nvalue v 1e-50 1e-50\n"};
    static const double sizes[] = {1e50, 1e-50};
    const int64_t last = OB_TOKENS - 1;
    for (int i = 0; i < 2; i++) {
        char text[32 * OB_TOKENS];
        int n = snprintf(text, sizeof text, "%s", vectors[i]);
        for (int t = 0; t < OB_TOKENS; t++)
            n += snprintf(text + n, sizeof text - (size_t)n, "write %s\n",
                          t % 2 ? "b v erase=2,0" : "a v erase=0,2");
        observation ob = scripted(text, NULL);
        for (int j = 0; j < ob.heads; j++) {
            const ob_head *h = &ob.head[j];
            near(h->k[0], -sqrt(0.2), 1e-15, "a key");
            near(h->norm[0] / sizes[i], sqrt(2), 1e-15, "the norm of one pair");
            near(h->A_error, 0, 1e-10, ob_rule_name(h->rule));
            ck_assert(isfinite(h->norm[last]) && h->norm[last] > 0.1 * sizes[i]);
            ck_assert(h->rule != OB_GDN2 || h->norm[last] > 1e50 * sizes[i]);
            ck_assert(isfinite(h->update[last]) && isfinite(h->error[last * OB_TOKENS]));
            ck_assert(isfinite(h->sigma[last * 2]) && isfinite(h->rank[last]));
        }
        ob_free(&ob);
    }
}
END_TEST

/* The same of steps, trapezoid weights and angles: nothing becomes infinite or no number. */
START_TEST(far_turns)
{
    static const char *const scripts[] = {
        "write a v lam=0.5 dt=1e50 angle=1e4\n", "write a v lam=1e-50 dt=1e-50 angle=1e4\n",
        "write a v lam=0 dt=1e50 angle=-1e-50\n", "write a v lam=1 dt=1e-50\n"};
    static const double values[] = {1e50, 1e-50};
    const int64_t last = OB_TOKENS - 1;
    for (int i = 0; i < 8; i++) {
        char text[48 * OB_TOKENS];
        int n = snprintf(text, sizeof text, "key a 3 4\nvalue v %g 0\n", values[i % 2]);
        for (int t = 0; t < OB_TOKENS; t++)
            n += snprintf(text + n, sizeof text - (size_t)n, "%s", scripts[i / 2]);
        observation ob = scripted(text, "mamba3,mamba2");
        for (int j = 0; j < ob.heads; j++) {
            const ob_head *h = &ob.head[j];
            near(h->A_error, 0, 1e-8, scripts[i / 2]);
            ck_assert(isfinite(h->norm[last]) && h->norm[last] > 0);
            ck_assert(isfinite(h->update[last]) && isfinite(h->sigma[last * 2]));
            ck_assert(isfinite(h->error[last * OB_TOKENS]) && isfinite(h->rank[last]));
        }
        ob_free(&ob);
    }
}
END_TEST

static const struct {
    const char *text, *words;
} wrong[] = {
    {"", "no line that is a token"},
    {"write a", "text:1: write: a key and a value"},
    {"read a\nforget b", "text:2: a line begins with"},
    {"decay 2", "from 0 to 1 is wanted: 2"},
    {"decay nan", "from 0 to 1"},
    {"decay", "decay: a number is wanted"},
    {"write a red erase=3", "from 0 to 2 is wanted: 3"},
    {"read a write=1", "takes no such option: write"},
    {"write a red 5", "erase=, write=, decay=, dt=, lam= or angle= is wanted here: 5"},
    {"decay 0.5 decay=1", "takes no such option: decay"},
    {"decay dt=1", "decay: a number is wanted"},
    {"read a dt=-1", "text:1: a number from 0 to 1e50 is wanted: -1"},
    {"read a dt=1e51", "a number from 0 to 1e50 is wanted: 1e51"},
    {"read a dt=inf", "a number from 0 to 1e50 is wanted: inf"},
    {"read a dt=1e-51", "a number above 0 is 1e-50 at least: 1e-51"},
    {"read a dt=1,1", "text:1: dt and lam are one number"},
    {"read a dt=", "a number from 0 to 1e50 is wanted"},
    {"read a lam=1.5", "a number from 0 to 1 is wanted: 1.5"},
    {"read a lam=nan", "a number from 0 to 1 is wanted: nan"},
    {"read a lam=1e-400", "a number above 0 is 1e-50 at least: 1e-400"},
    {"read a lam=0,1", "dt and lam are one number"},
    {"key a 1 0\nread a angle=1e5", "text:2: a number from -10000 to 10000 is wanted: 1e5"},
    {"key a 1 0\nread a angle=nan", "a number from -10000 to 10000 is wanted: nan"},
    {"key a 1 0\nread a angle=-1e-51", "that is not 0 is 1e-50 at least in size: -1e-51"},
    {"key a 1 0\nread a angle=1,2", "text:2: angle has 2 numbers; 1 or 1 are wanted"},
    {"key a 1 0\nread a angle=1 dt=0", "text:2: angle= wants a step, and dt (or write) is 0"},
    {"key a 1 0\nwrite a red angle=1 write=0", "angle= wants a step, and dt (or write) is 0"},
    {"read a angle=1", "text:1: angle= turns pairs of channels, and keys have one channel"},
    {"key a 1 0\nkey b 1", "another number of channels: b"},
    {"key a 1 0\nkey a 0 1", "has a vector already: a"},
    {"key a 1\nread b\nread c", "2 keys without a vector, and only 1 channels"},
    {"key a 0 0\nread a", "key a is zeros"},
    {"key a 1 x", "no number: x"},
    {"key a 1 nan", "no number: nan"},
    {"read b\nkey a 1e200 0\nwrite a red",
     "text:2: key a: the numbers of a vector are 0 or from 1e-50 to 1e50 in size: 1e200"},
    {"read b\nvalue red 0 -1e200", "text:2: value red: the numbers of a vector are 0 or from"},
    {"value red 1e-51 1", "text:1: value red: the numbers"},
    {"value red inf 1", "value red: the numbers of a vector are 0 or from 1e-50 to 1e50"},
    {"key a 1e-999 1", "key a: the numbers of a vector are 0 or from 1e-50 to 1e50"},
    {"key a 1e999 1", "in size: 1e999"},
    {"decay 1e-51", "text:1: a number above 0 is 1e-50 at least: 1e-51"},
    {"write a red write=1e-320", "above 0 is 1e-50 at least: 1e-320"},
    {"key a 1 0\ndecay 1 1 1", "text:2: decay has 3 numbers; 1 or 2"},
    {"read abcdefghijklmnopqrstuvwxyz", "at most 23 characters"},
};

START_TEST(wrong_scripts)
{
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pal_error error;
        observation ob = {.T = 0};
        ck_assert_int_eq(script_observe(&ob, wrong[i].text, "text", NULL, &error), PAL_EFORMAT);
        ck_assert_msg(strstr(error.message, wrong[i].words) != NULL, "%s", error.message);
        ob_free(&ob);
    }
    pal_error error;
    observation ob = {.T = 0};
    ck_assert_int_eq(script_observe(&ob, "read a", "text", "gdn2,rwkv", &error), PAL_EVALUE);
    ck_assert(strstr(error.message, "rwkv") != NULL);
    ob_free(&ob);
}
END_TEST

#define S23 "\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1"

START_TEST(long_names)
{
    /* A name of the greatest length, each byte of which is shown as four. */
    observation ob = scripted("write k " S23 "\nwrite l v", "gdn2");
    ck_assert_uint_eq(strlen(ob.value[0]), 92);
    ck_assert_int_eq(strncmp(ob.value[0], "\\x01\\x01", 8), 0);
    ck_assert_str_eq(ob.value[1], "v");
    ob_free(&ob);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("inspect_script");
    TCase *tc = tcase_create("scripts");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, overwriting);
    tcase_add_test(tc, gates);
    tcase_add_test(tc, two_writes);
    tcase_add_test(tc, wrong_scripts);
    tcase_add_test(tc, wide_scripts);
    tcase_add_test(tc, far_scripts);
    tcase_add_test(tc, far_turns);
    tcase_add_test(tc, long_names);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
