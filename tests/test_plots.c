/*
 * test_plots.c - running gnuplot: which program is run and with what settings, and what happens to
 * the files if gnuplot is missing or fails. No text may be taken as a command.
 */
#include "optim/train/gnuplot.h"
#include "optim/train.h"
#include "tests/support/check.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/pal-plots-XXXXXX";
static pal_error error;

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
}

static void teardown(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(system(command), 0);
}

static void put(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    ck_assert(file != NULL);
    fputs(text, file);
    fclose(file);
}

static const char *content(const char *name)
{
    static char text[2][1 << 18];
    static int i;
    i = !i;
    FILE *file = fopen(name, "r");
    if (!file) return "(missing)";
    text[i][fread(text[i], 1, sizeof text[i] - 1, file)] = '\0';
    fclose(file);
    return text[i];
}

static bool there(const char *name) { return access(name, F_OK) == 0; }

static bool has_gnuplot(void)
{
    if (pal_gnuplot_find(&error) == PAL_OK) return true;
    printf("note: gnuplot is missing: its plots are not tried\n");
    return false;
}

/* Installs a script with the name gnuplot in front of all others on the PATH. */
static void stand_in(const char *text)
{
    char path[4096], script[1024];
    snprintf(path, sizeof path, "%s/bin:%s", folder, getenv("PATH"));
    snprintf(script, sizeof script, "#!/bin/sh\n%s\n", text);
    mkdir("bin", 0777);
    put("bin/gnuplot", script);
    ck_assert_int_eq(chmod("bin/gnuplot", 0755), 0);
    setenv("PATH", path, 1);
}

static void a_log(const char *in)
{
    char path[256];
    mkdir(in, 0777);
    snprintf(path, sizeof path, "%s/log.csv", in);
    put(path, "step,loss,lr\n1,2.5,0.001\n2,1.5,0.002\n3,1.25,0.001\n");
}

static bool contains(const char *text, const char *word) { return strstr(text, word) != NULL; }

/* Plotting fails with a sentence that contains these words. Old files stay, and no new one
 * appears. */
static void fails(const char *word, const char *more)
{
    put("run/loss.svg", "old");
    error.message[0] = '\0';
    ck_assert_int_eq(pal_plot("run", (pal_plot_opts){0}, &error), PAL_EIO);
    ck_assert_msg(contains(error.message, word) && contains(error.message, more), "%s",
                  error.message);
    ck_assert_str_eq(content("run/loss.svg"), "old");
    ck_assert(!there("run/loss.svg.tmp") && !there("run/rate.svg.tmp") && !there("run/rate.svg"));
}

/* ---- gnuplot that does not do it ---- */

START_TEST(missing)
{
    a_log("run");
    mkdir("gnuplot", 0777); /* a folder is not a program, and neither is bin/gnuplot */
    mkdir("bin", 0777);
    put("bin/gnuplot", "no program");
    setenv("PATH", "/nowhere::bin:", 1);
    fails("gnuplot is not installed: no plots", "");
    unsetenv("PATH");
    ck_assert(pal_gnuplot_find(&error) == PAL_OK || contains(error.message, "not installed"));
}
END_TEST

START_TEST(half_way)
{
    a_log("run");
    stand_in("echo half >run/loss.svg.tmp; echo 'line 3: no such thing' >&2; echo >&2; exit 3");
    fails("status 3", "line 3: no such thing");
    stand_in("echo half >run/loss.svg.tmp; echo half >run/rate.svg.tmp; kill -9 $$");
    fails("signal 9", "made no plots");
    stand_in("echo one >run/loss.svg.tmp"); /* and its status is 0 */
    fails("run: gnuplot ended", "has not made rate.svg");
    stand_in("yes | head -c 3000000 >&2; echo the end >&2; exit 1"); /* more than a pipe holds */
    fails("status 1", ": the end");
    put("bin/gnuplot", "#!/nowhere/sh\n");
    fails("gnuplot cannot be run", "No such file");
}
END_TEST

/* A script so long that gnuplot ends before it has read all of it. */
static void long_script(pal_script *script, const void *what)
{
    (void)what;
    pal_script_picture(script, "a.svg", "svg");
    for (int i = 0; i < 200000; i++) fprintf(script->to, "# %d\n", i);
}

START_TEST(signals)
{
    stand_in("head -n 1 >/dev/null; exit 1");
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    ck_assert_int_eq(pal_gnuplot_draw(folder, long_script, NULL, &error), PAL_EIO);
    sigpending(&mask);
    ck_assert(!sigismember(&mask, SIGPIPE));
    struct sigaction now;
    sigaction(SIGPIPE, NULL, &now);
    ck_assert(now.sa_handler == SIG_DFL);
    /* In gnuplot no signal is blocked; otherwise nobody could end it. */
    stand_in("grep SigBlk /proc/self/status >blocked; echo >a.svg.tmp");
    ck_assert_msg(pal_gnuplot_draw(folder, long_script, NULL, &error) == PAL_OK, "%s",
                  error.message);
    ck_assert_msg(contains(content("blocked"), "SigBlk:\t0000000000000000"), "%s",
                  content("blocked"));
}
END_TEST

/* ---- Whose settings ---- */

START_TEST(environment)
{
    a_log("run");
    static const char *const names[] = {"GNUTERM", "GNUPLOT_LIB", "LANG",   "LC_NUMERIC",
                                        "LC_ALL",  "LANGUAGE",    "LOCPATH"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) setenv(names[i], "x11", 1);
    setenv("KEPT", "kept", 1);
    stand_in("env >env.txt; echo \"$@\" >arguments; for f in loss rate; do echo >run/$f.svg.tmp; "
             "done");
    ck_assert_msg(pal_plot("run", (pal_plot_opts){0}, &error) == PAL_OK, "%s", error.message);
    ck_assert_str_eq(content("arguments"), "-d\n");
    const char *env = content("env.txt");
    ck_assert_msg(!contains(env, "x11"), "%s", env);
    ck_assert(contains(env, "LC_ALL=C.UTF-8\n") && contains(env, "KEPT=kept\n"));
    ck_assert_str_eq(getenv("GNUTERM"), "x11");
}
END_TEST

static double reference = 2.125;

/* Plots without any message of gnuplot. */
static void plot(const char *in)
{
    fflush(stderr);
    const int before = dup(STDERR_FILENO);
    ck_assert(freopen("said", "w", stderr) != NULL);
    const pal_status s = pal_plot(
        in, (pal_plot_opts){.title = "a 'title' of `touch t`\nlines", .reference = reference},
        &error);
    fflush(stderr);
    dup2(before, STDERR_FILENO);
    close(before);
    ck_assert_msg(s == PAL_OK, "%s", error.message);
    ck_assert_msg(content("said")[0] == '\0', "gnuplot says: %s", content("said"));
}

START_TEST(settings)
{
    static char plain[1 << 18];
    if (!has_gnuplot()) return;
    a_log("run");
    char home[64];
    snprintf(home, sizeof home, "%s/home", folder);
    mkdir(home, 0777);
    setenv("HOME", home, 1);
    plot("run");
    snprintf(plain, sizeof plain, "%s", content("run/loss.svg"));
    ck_assert_msg(contains(plain, "</svg>") && contains(plain, "of `touch t` lines"), "%s", plain);
    /* One curve is all zeros, and one has a single point. */
    put("run/log.csv", "step,loss,lr,held_out\n1,0,0,\n2,0,0,0\n");
    reference = 0;
    plot("run");
    reference = 2.125;
    a_log("run");
    static const char *const init[] = {"set xrange [0:1]\n", "set logscale y\n", "set term x11\n",
                                       "exit\n", "set decimalsign ','\n"};
    setenv("XDG_CONFIG_HOME", home, 1);
    for (size_t i = 0; i < sizeof init / sizeof *init; i++) {
        put("home/.gnuplot", init[i]);
        mkdir("home/gnuplot", 0777);
        put("home/gnuplot/gnuplotrc", init[i]);
        plot("run");
        ck_assert_msg(strcmp(content("run/loss.svg"), plain) == 0, "another plot with %s", init[i]);
    }
    /* The environment is empty except for PATH, and there is no home. */
    char *path = strdup(getenv("PATH"));
    clearenv();
    setenv("PATH", path, 1);
    setenv("HOME", "/nonexistent", 1);
    plot("run");
    ck_assert_str_eq(content("run/loss.svg"), plain);
    free(path);
}
END_TEST

/* gnuplot takes file names that begin like these for commands. */
START_TEST(names)
{
    static const char *const name[] = {"|touch k", "<touch k", "~", "`touch k`", "it's", "-"};
    if (!has_gnuplot()) return;
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        char path[64];
        a_log(name[i]);
        plot(name[i]);
        snprintf(path, sizeof path, "%s/loss.svg", name[i]);
        ck_assert_msg(contains(content(path), "</svg>"), "%s", path);
    }
    ck_assert(!there("k") && !there("t"));
    a_log("two\nlines");
    ck_assert_int_eq(pal_plot("two\nlines", (pal_plot_opts){0}, &error), PAL_EVALUE);
    ck_assert_msg(contains(error.message, "two lines"), "%s", error.message);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("plots");
    TCase *tc = tcase_create("gnuplot");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, missing);
    tcase_add_test(tc, half_way);
    tcase_add_test(tc, signals);
    tcase_add_test(tc, environment);
    tcase_add_test(tc, settings);
    tcase_add_test(tc, names);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
