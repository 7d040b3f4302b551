/*
 * test_locale.c - a program in a locale with a decimal comma trains, saves, loads and plots. It
 * writes the same bytes as one with a decimal point, and reads numbers correctly.
 */
#include "examples/lm/options.h"
#include "examples/tasks/tasks.h"
#include "tests/support/check.h"
#include "tests/support/comma.h"
#include "tests/support/small_run.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/pal-locale-XXXXXX";

static void setup(void) { ck_assert_ptr_nonnull(mkdtemp(folder)); }

static void teardown(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static char *path_of(const char *run, const char *name)
{
    static char path[2][160];
    static int i;
    i = !i;
    snprintf(path[i], sizeof path[i], "%s/%s/%s", folder, run, name);
    return path[i];
}

static char *content(const char *run, const char *name)
{
    static char text[2][1 << 20];
    static int i;
    i = !i;
    FILE *file = fopen(path_of(run, name), "r");
    ck_assert_msg(file != NULL, "%s: there is no %s", run, name);
    const size_t n = fread(text[i], 1, sizeof text[i] - 1, file);
    fclose(file);
    text[i][n] = '\0';
    return text[i];
}

static void ok(pal_status s, const pal_error *error)
{
    ck_assert_msg(s == PAL_OK, "%s", error->message);
}

/* ---- What a program does ---- */

static double evaluate(void *user, pal_tape *tape, int64_t step)
{
    (void)user, (void)tape;
    return 2.5 - (double)step / 8;
}

/* Trains up to step `steps` in FOLDER/RUN, after those before `resume`. Progress goes to
 * progress.txt. */
static void train(const char *run, int64_t resume, int64_t steps)
{
    char dir[96];
    pal_error error;
    small_run r;
    snprintf(dir, sizeof dir, "%s/%s", folder, run);
    small_begin(&r, folder, (small_opts){0}, NULL);
    pal_train_opts o = small_train(&r);
    o.schedule = (pal_schedule){
        .kind = PAL_COSINE, .lr = 0.0125, .min_lr = 0.00125, .warmup = 2, .steps = 6};
    o.folder = dir;
    o.steps = steps;
    o.resume = resume;
    o.clip = 0.75;
    o.save_every = 2;
    o.evaluate = evaluate;
    o.evaluate_every = 2;
    o.config = "lr = 0.0125\n";
    o.quiet = false;
    fflush(stdout);
    const int out = dup(STDOUT_FILENO);
    ck_assert(freopen(path_of(run, "progress.txt"), "a", stdout) != NULL);
    const pal_status s = pal_train(&o, NULL, &error);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    close(out);
    ok(s, &error);
    small_end(&r);
}

/* Writes texts of options, messages and descriptions. */
static void texts(const char *run)
{
    pal_error error;
    lm_options o;
    task *t;
    FILE *to = fopen(path_of(run, "texts.txt"), "w");
    ck_assert(to != NULL);
    ok(lm_options_read(&o, "lr = 0.0125\nclip = 0.5\nseed = 18446744073709551615", &error), &error);
    char *config = lm_options_text(&o);
    fputs(config, to);
    free(config);
    ck_assert(lm_options_read(&o, "lr = 0,5", &error) == PAL_EFORMAT);
    fprintf(to, "%s\n", error.message);
    ok(task_new(&t, "mqar:power=0.125", &error), &error);
    fprintf(to, "%s\n", task_text(t));
    task_free(t);
    ck_assert(task_new(&t, "mqar:power=1e9", &error) == PAL_EVALUE);
    fprintf(to, "%s\n", error.message);
    pal_memory_print(to, (pal_memory){.live = 1000000});
    char *released = NULL; /* its scales are fractions; without BPE no folder is read */
    const pal_status s = pal_lm_describe("tests/data/hf/falcon_h1", &released, &error);
    ck_assert(s == PAL_OK ? strstr(released, "logit-scale = 0.") != NULL : s == PAL_EVALUE);
    fputs(released ? released : error.message, to);
    free(released);
    fclose(to);
}

/* The options of a mixer are read. */
static void mixer(void)
{
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(1, 0);
    pal_lm *lm = pal_lm_new(params,
                            (pal_lm_opts){.vocab = 5,
                                          .width = 16,
                                          .layers = 1,
                                          .mixers = "mamba2:expand=1.5:head_dim=8:state_size=8"},
                            &rng);
    ck_assert(lm != NULL);
    pal_params_free(params);
}

static void everything(const char *run)
{
    pal_error error;
    int64_t step;
    double best;
    mkdir(path_of(run, ""), 0777);
    train(run, 0, 4);
    train(run, 4, 6);
    {
        char dir[96];
        snprintf(dir, sizeof dir, "%s/%s", folder, run);
        ok(pal_run_best(dir, &step, &best, &error), &error);
        ck_assert(step == 6 && best == 1.75);
        const pal_status s =
            pal_plot(dir, (pal_plot_opts){.reference = 2.125, .reference_title = "a line"}, &error);
        ck_assert_msg(s == PAL_OK || strstr(error.message, "not installed"), "%s", error.message);
    }
    texts(run);
    mixer();
}

/* ---- The comparison ---- */

static void same(const char *name)
{
    ck_assert_msg(strcmp(content("point", name), content("comma", name)) == 0, "%s: %s and %s",
                  name, content("point", name), content("comma", name));
}

/* Every number of the lines of JSON ends where JSON wants it, without a decimal comma. */
static void json_is_sound(const char *text)
{
    for (const char *c = strchr(text, ':'); c; c = strchr(c, ':')) {
        const size_t n = strspn(++c, "0123456789.e+-");
        ck_assert_msg(n > 0 && (c[n] == '}' || (c[n] == ',' && c[n + 1] == '"')), "log.jsonl: %s",
                      text);
    }
}

START_TEST(a_run)
{
    char command[256];
    small_data(folder);
    everything("point");
    if (!comma_locale()) return;
    everything("comma");
    ck_assert(comma_in_force());
    same("log.csv");
    same("best.txt");
    same("texts.txt");
    same("config.txt");
    ck_assert(strstr(content("comma", "best.txt"), " 1.75\n") != NULL);
    ck_assert(strstr(content("comma", "texts.txt"), "lr = 0.0125\n") != NULL);
    json_is_sound(content("comma", "log.jsonl"));
    ck_assert(strstr(content("comma", "progress.txt"), "lr 0.0") != NULL);
    ck_assert(strchr(content("comma", "progress.txt"), ',') == NULL);
    snprintf(command, sizeof command, "cmp %s %s", path_of("point", "step-00000006.h5"),
             path_of("comma", "step-00000006.h5"));
    ck_assert_int_eq(system(command), 0);
    if (access(path_of("point", "loss.svg"), F_OK) == 0) {
        same("loss.svg");
        same("rate.svg");
    }
}
END_TEST

int main(void)
{
    pal_set_threads(1);
    Suite *suite = suite_create("locale");
    TCase *tc = tcase_create("a decimal comma");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_run);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
