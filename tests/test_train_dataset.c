/*
 * test_train_dataset.c - pal_train with batches of a dataset: a run that was killed gives the same
 * bytes, metrics by name, which checkpoint is the best, patience, units; logs and plots of any
 * columns.
 */
#include "tests/support/check.h"

#include <math.h>
#include <palimpsest.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], set[80], run_a[80], run_b[80];
static pal_error error;

static void ok(pal_status status)
{
    if (status != PAL_OK) ck_abort_msg("%s: %s", pal_status_name(status), error.message);
}

static void setup(void)
{
    strcpy(folder, "/tmp/palimpsest-dataset-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(set, sizeof set, "%s/set.csv", folder);
    snprintf(run_a, sizeof run_a, "%s/a", folder);
    snprintf(run_b, sizeof run_b, "%s/b", folder);
    FILE *f = fopen(set, "w");
    fprintf(f, "a,b,y\n");
    for (int i = 0; i < 100; i++)
        fprintf(f, "%g,%g,%g\n", sin(i), cos(3 * i), sin(i) - 2 * cos(3 * i));
    ck_assert_int_eq(fclose(f), 0);
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* ---- A run: y = x w ---- */

typedef struct run {
    pal_tensor w;
    int64_t kill_at;        /* a micro-batch; -1: none */
    const double *accuracy; /* of evaluations 1, 2, ...; NULL: none are made */
    int64_t every, number;
} run;

static pal_tensor loss(void *user, pal_tape *tape, int64_t number, pal_batch *batch)
{
    run *r = user;
    (void)tape;
    r->number = number;
    if (number == r->kill_at) raise(SIGKILL);
    const pal_tensor x = pal_dropout(pal_batch_tensor(batch, "x"), 0.1);
    const pal_tensor y = pal_reshape(pal_matmul(x, r->w), PAL_SHAPE(-1));
    return pal_mean(pal_square(pal_sub(y, pal_batch_tensor(batch, "y"))), PAL_ALL, false);
}

static void measure(void *user, pal_tape *tape, pal_batch *batch, double *values)
{
    const run *r = user;
    (void)tape, (void)batch;
    const int64_t step = r->number + 1;
    values[0] = 100 - (double)step; /* MAE */
    values[1] = r->accuracy[step / r->every - 1];
}

/* Trains in this process. change alters the options. */
static pal_status train(const char *to, int64_t resume, int64_t kill_at, const double *accuracy,
                        void (*change)(pal_train_opts *o), pal_train_result *result)
{
    run r = {.kill_at = kill_at, .accuracy = accuracy, .every = 5};
    pal_dataset *data;
    ok(pal_dataset_open(&data, set,
                        (pal_dataset_opts){.field = {{.name = "x", .array = "a,b"}, {.name = "y"}}},
                        &error));
    pal_batches *batches =
        pal_dataset_batches(data, (pal_batches_opts){.batch = 16, .seed = 4, .prefetch = true});
    pal_params *p = pal_params_new();
    r.w = pal_param(p, "w", PAL_F32, PAL_SHAPE(2, 1));
    pal_optim *optim = pal_adamw_new(p, (pal_adamw_opts){0});
    pal_tape *tape = pal_tape_new();
    pal_train_opts o = {.params = p,
                        .optim = optim,
                        .tape = tape,
                        .batches = batches,
                        .loss = loss,
                        .user = &r,
                        .schedule = {.kind = PAL_COSINE, .lr = 1e-2, .steps = 60},
                        .steps = 60,
                        .folder = to,
                        .resume = resume,
                        .save_every = 10,
                        .quiet = true};
    if (accuracy) {
        o.measure = measure, o.evaluate_every = r.every;
        o.metric[0] = (pal_metric){"MAE", false};
        o.metric[1] = (pal_metric){"accuracy", true};
        o.best = "accuracy";
    }
    if (change) change(&o);
    const pal_status s = pal_train(&o, result, &error);
    pal_tape_free(tape);
    pal_optim_free(optim);
    pal_params_free(p);
    pal_batches_free(batches);
    pal_dataset_close(data);
    return s;
}

/* The same in a process of its own, which may be killed; the signal that ended it. */
static int train_apart(const char *to, int64_t resume, int64_t kill_at)
{
    int status;
    const pid_t child = fork();
    if (child == 0) _exit(train(to, resume, kill_at, NULL, NULL, NULL) != PAL_OK);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static char *read_file(const char *in, const char *name, size_t *size)
{
    static char bytes[2][1 << 18];
    static int turn;
    char path[256];
    snprintf(path, sizeof path, "%s/%s", in, name);
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s", path);
    turn = !turn;
    *size = fread(bytes[turn], 1, sizeof bytes[0] - 1, f);
    bytes[turn][*size] = '\0';
    fclose(f);
    return bytes[turn];
}

/* ---- Tests ---- */

START_TEST(killed_and_resumed)
{
    ck_assert_int_eq(train_apart(run_a, 0, -1), 0);
    ck_assert_int_eq(train_apart(run_b, 0, 37), SIGKILL);
    ck_assert_int_eq(pal_run_last(run_b, 0), 30);
    ck_assert_int_eq(train_apart(run_b, 30, 47), SIGKILL); /* and in another epoch */
    ck_assert_int_eq(train_apart(run_b, 40, -1), 0);
    static const char *const names[] = {"step-00000060.h5", "step-00000050.h5", "log.csv"};
    for (int i = 0; i < 3; i++) {
        size_t a, b;
        const char *one = read_file(run_a, names[i], &a), *two = read_file(run_b, names[i], &b);
        ck_assert_msg(a == b && memcmp(one, two, a) == 0, "%s", names[i]);
    }
    size_t n;
    const char *log = read_file(run_a, "log.csv", &n);
    ck_assert_msg(strncmp(log, "step,loss,lr,grad_norm,rows,held_out\n", 37) == 0, "%.60s", log);
    /* Other contents are refused. */
    FILE *f = fopen(set, "a");
    fprintf(f, "1,1,1\n");
    fclose(f);
    ck_assert_int_eq(train(run_a, 50, -1, NULL, NULL, NULL), PAL_EVALUE);
    ck_assert_msg(strstr(error.message, "its data is dataset rows=100") != NULL, "%s",
                  error.message);
}
END_TEST

static void patient(pal_train_opts *o) { o->patience = 15, o->unit = "samples"; }

static void names_none(pal_train_opts *o) { o->best = "MSE"; }

static void other_best(pal_train_opts *o) { o->best = "MAE"; }

static const double rising[] = {.1, .2, .9, .3, NAN, .8, .7, .6, .5, .4, .3, .2};

START_TEST(best_by_name)
{
    pal_train_result r;
    ok(train(run_a, 0, -1, rising, NULL, &r));
    ck_assert_int_eq(r.best_step, 15);
    ck_assert(r.best == 0.9 && r.step == 60 && !r.patience_out);
    int64_t step;
    double best;
    ok(pal_run_best(run_a, &step, &best, &error));
    ck_assert(step == 15 && best == 0.9);
    size_t n;
    const char *log = read_file(run_a, "log.csv", &n);
    ck_assert(strncmp(log, "step,loss,lr,grad_norm,rows,MAE,accuracy\n", 41) == 0);
    ck_assert_ptr_nonnull(strstr(log, ",85,0.9\n"));
    ck_assert_int_eq(train(run_a, 50, -1, rising, other_best, NULL), PAL_EVALUE);
    ck_assert_msg(strstr(error.message, "its metric is accuracy, and MAE here") != NULL, "%s",
                  error.message);
    ck_assert_int_eq(train(run_b, 0, -1, rising, names_none, NULL), PAL_EVALUE);
    ck_assert_ptr_nonnull(strstr(error.message, "no metric \"MSE\""));
    ok(train(run_b, 0, -1, rising, other_best, &r));
    ck_assert_int_eq(r.best_step, 60);
}
END_TEST

/* It ends, stays ended when it is continued, and without patience goes on. */
START_TEST(patience)
{
    pal_train_result r;
    ok(train(run_a, 0, -1, rising, patient, &r));
    ck_assert(r.patience_out && r.step == 30 && r.best_step == 15);
    ok(train(run_a, 30, -1, rising, patient, &r));
    ck_assert(r.patience_out && r.step == 30);
    size_t n;
    ck_assert_ptr_nonnull(strstr(read_file(run_a, "log.csv", &n), "grad_norm,samples,MAE"));
    ok(train(run_b, 0, -1, rising, NULL, &r));
    ck_assert(!r.patience_out && r.step == 60);
}
END_TEST

static void of_rows(void *user, pal_tape *tape, pal_batch *batch, double *values)
{
    (void)user, (void)tape;
    values[0] = pal_item(pal_mean(pal_batch_tensor(batch, "y"), PAL_ALL, false));
    values[1] = 1;
}

/* A batch counts by its rows, so the mean is that over all of them. */
START_TEST(means_over_rows)
{
    pal_dataset *data;
    double sum = 0, values[2];
    ok(pal_dataset_open(&data, set, (pal_dataset_opts){.field = {{.name = "y"}}}, &error));
    for (int i = 70; i < 100; i++) sum += sin(i) - 2 * cos(3 * i);
    pal_batches_opts o = {.batch = 8, .held_out = 0.3, .validation = true};
    pal_batches *held = pal_dataset_batches(data, o);
    o.validation = false;
    pal_batches *endless = pal_dataset_batches(data, o);
    pal_tape *tape = pal_tape_new();
    for (int i = 0; i < 2; i++) {
        ok(pal_measure(held, tape, of_rows, NULL, 2, values, &error));
        ck_assert_double_eq_tol(values[0], sum / 30, 1e-5);
        ck_assert(values[1] == 1);
    }
    ck_assert_int_eq(pal_measure(endless, tape, of_rows, NULL, 2, values, &error), PAL_EVALUE);
    pal_tape_free(tape);
    pal_batches_free(held);
    pal_batches_free(endless);
    pal_dataset_close(data);
}
END_TEST

START_TEST(many_columns)
{
    enum { N = 700 };
    static char columns[16 * N], name[N][16];
    static pal_field field[N];
    pal_journal *log;
    size_t used = 0, n;
    for (int i = 0; i < N; i++) {
        snprintf(name[i], sizeof name[i], "gate.%d", i);
        used +=
            (size_t)snprintf(columns + used, sizeof columns - used, "%s%s", i ? "," : "", name[i]);
    }
    ok(pal_run_make(run_a, &error));
    ok(pal_journal_open(&log, run_a, columns, 0, &error));
    for (int step = 1; step < 5; step++) {
        for (int i = 0; i < N; i++) field[i] = (pal_field){name[i], i + 1.0 / step - 350};
        ok(pal_journal_row(log, step, N, field, &error));
        if (step != 2) continue;
        pal_journal_close(log); /* it goes on with the same columns only */
        ck_assert_int_eq(pal_journal_open(&log, run_a, "gate.0", 2, &error), PAL_EFORMAT);
        ok(pal_journal_open(&log, run_a, columns, 2, &error));
    }
    pal_journal_close(log);
    const char *text = read_file(run_a, "log.csv", &n), *last = strstr(text, "\n4,");
    ck_assert_ptr_nonnull(last);
    int commas = 0;
    for (const char *c = last + 1; *c && *c != '\n'; c++) commas += *c == ',';
    ck_assert_int_eq(commas, N);
    ck_assert_ptr_nonnull(strstr(last, ",349.25\n"));
    const pal_plot_opts plot = {.columns = "gate.3,gate.699", .name = "gates"};
    const pal_status drawn = pal_plot(run_a, plot, &error);
    if (drawn == PAL_OK)
        ck_assert_ptr_nonnull(strstr(read_file(run_a, "gates.svg", &n), "gate.699"));
    else
        ck_assert_msg(strstr(error.message, "gnuplot is not installed"), "%s", error.message);
    ck_assert_int_eq(pal_plot(run_a, (pal_plot_opts){.columns = "gate.3,no"}, &error), PAL_EVALUE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("train dataset");
    TCase *c = tcase_create("train dataset");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, killed_and_resumed);
    tcase_add_test(c, best_by_name);
    tcase_add_test(c, patience);
    tcase_add_test(c, means_over_rows);
    tcase_add_test(c, many_columns);
    tcase_set_timeout(c, 60);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
