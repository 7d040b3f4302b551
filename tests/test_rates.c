/*
 * test_rates.c - schedules of groups, the rate finder, the gradient noise scale, and statistics of
 * gradients and updates in the log.
 */
#include "tests/support/check.h"
#include "tests/support/optim_test.h"

#include <math.h>
#include <palimpsest.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pal_error error;

static void ok(pal_status status)
{
    if (status != PAL_OK) ck_abort_msg("%s: %s", pal_status_name(status), error.message);
}

static pal_params *two(void)
{
    pal_params *p = pal_params_new();
    pal_fill(pal_param(p, "a.weight", PAL_F64, PAL_SHAPE(3)), 1);
    pal_fill(pal_param(p, "b.weight", PAL_F64, PAL_SHAPE(3)), 1);
    return p;
}

/* ---- Groups ---- */

static const pal_schedule falling = {.kind = PAL_LINEAR, .lr = 0.5, .min_lr = 0.1, .steps = 4};

/* Gradients of 1: each update of SGD subtracts the rate. */
START_TEST(a_schedule_for_a_group)
{
    pal_params *p = two();
    const pal_group group = {.pattern = "b.*", .rate = 2, .schedule = &falling};
    pal_optim *o = pal_sgd_new(p, (pal_sgd_opts){.groups = &group, .group_count = 1});
    double a = 1, b = 1;
    for (int i = 0; i < 6; i++) {
        for (int j = 0; j < 2; j++) pal_fill(pal_grad(pal_params_at(p, j)), 1);
        ck_assert_int_eq(pal_optim_step(o, 0.25), PAL_OK);
        a -= 0.25, b -= 2 * pal_schedule_lr(&falling, i);
        ck_assert_double_eq_tol(pal_f64(pal_params_at(p, 0))[1], a, 1e-15);
        ck_assert_double_eq_tol(pal_f64(pal_params_at(p, 1))[1], b, 1e-14);
    }
    pal_optim_free(o);
    pal_params_free(p);
}
END_TEST

static pal_optim *adamw(pal_params *p, const pal_schedule *schedule)
{
    const pal_group group = {.pattern = "b.*", .schedule = schedule};
    return pal_adamw_new(p, (pal_adamw_opts){.groups = &group, .group_count = 1});
}

/* The state of a group with a schedule is not loaded by one with another, or with none. */
START_TEST(a_file_knows_the_schedule)
{
    char path[OPTIM_PATH];
    pal_schedule other = falling;
    const pal_schedule *const kinds[] = {&falling, &other, NULL};
    other.steps = 5;
    optim_temporary(path);
    for (int i = 0; i < 3; i++) {
        pal_params *p = two();
        pal_optim *o = adamw(p, kinds[i]);
        pal_h5 *file;
        ok(pal_h5_create(&file, path, &error));
        ok(pal_optim_put(o, file, "/optim", &error));
        ok(pal_h5_commit(file, &error));
        for (int j = 0; j < 3; j++) {
            pal_optim *q = adamw(p, kinds[j]);
            ok(pal_h5_open(&file, path, &error));
            const pal_status s = pal_optim_get(q, file, "/optim", &error);
            ck_assert_int_eq(s, i == j ? PAL_OK : PAL_EVALUE);
            if (i != j)
                ck_assert_msg(strstr(error.message, "the schedule of /optim/m/b.weight") != NULL,
                              "%s", error.message);
            pal_h5_close(file);
            pal_optim_free(q);
        }
        pal_optim_free(o);
        pal_params_free(p);
    }
    unlink(path);
    pal_params *p = two();
    other.lr = -1;
    ck_assert_ptr_null(adamw(p, &other));
    ck_assert_msg(strstr(optim_last.message, "group \"b.*\": schedule: lr -1") != NULL, "%s",
                  optim_last.message);
    pal_params_free(p);
}
END_TEST

/* ---- A run: rows x [D] around a mean; the loss is a mean over the rows of a batch ---- */

enum { D = 8, ROWS = 4 };

typedef struct run {
    pal_params *params;
    pal_tensor w;
    bool linear;      /* loss w x, whose gradient is x; otherwise |x - w|^2 */
    bool up;          /* the loss only grows */
    bool uneven;      /* micro-batches of different sizes */
    double deviation; /* of each entry of x */
    pal_train_opts o;
} run;

static pal_tensor loss(void *user, pal_tape *tape, int64_t number, pal_batch *batch)
{
    const run *r = user;
    pal_rng rng = pal_rng_new(9, (uint64_t)number);
    const int64_t rows = r->uneven ? 1 + number % 3 : ROWS;
    const pal_tensor x = pal_normal(tape, PAL_F64, PAL_SHAPE(rows, D), 1, r->deviation, &rng);
    const pal_tensor each = r->linear ? pal_mul(x, r->w) : pal_square(pal_sub(x, r->w));
    batch->counted = rows;
    const pal_tensor all = pal_affine(pal_sum(each, PAL_ALL, false), 1.0 / (double)rows, 0);
    return r->up ? pal_affine(all, -1, 0) : all;
}

static void begin(run *r, const char *folder)
{
    r->params = pal_params_new();
    r->w = pal_fill(pal_param(r->params, "w", PAL_F64, PAL_SHAPE(D)), 3);
    r->o = (pal_train_opts){.params = r->params, .loss = loss, .user = r, .folder = folder};
    r->o.optim = pal_adamw_new(r->params, (pal_adamw_opts){0});
    r->o.tape = pal_tape_new();
    r->o.schedule.lr = 1e-2, r->o.quiet = true, r->o.steps = 20, r->o.save_every = 10;
}

static void end(run *r)
{
    pal_watch_free(r->o.watch);
    pal_tape_free(r->o.tape);
    pal_optim_free(r->o.optim);
    pal_params_free(r->params);
}

/* ---- The finder ---- */

static void save(const run *r, const char *path)
{
    const pal_checkpoint c = {
        .params = r->params, .optim = r->o.optim, .rng = pal_tape_rng(r->o.tape), .step = 1};
    ok(pal_checkpoint_save(&c, path, &error));
}

static size_t bytes_of(const char *path, char *to, size_t room)
{
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s", path);
    const size_t n = fread(to, 1, room, f);
    fclose(f);
    return n;
}

START_TEST(finds_a_rate_and_changes_nothing)
{
    static char before[1 << 16], after[1 << 16];
    char path[OPTIM_PATH];
    run r = {.deviation = 0.5};
    pal_step step;
    pal_lr_point point[60];
    pal_lr_found found;
    begin(&r, NULL);
    optim_temporary(path);
    for (int i = 0; i < 3; i++) ok(pal_train_step(&r.o, i, &step, &error));
    save(&r, path);
    const size_t n = bytes_of(path, before, sizeof before);
    ok(pal_find_lr(&r.o, (pal_find_lr_opts){.low = 1e-4, .high = 100, .steps = 60}, point, &found,
                   &error));
    save(&r, path);
    ck_assert(bytes_of(path, after, sizeof after) == n && memcmp(before, after, n) == 0);
    unlink(path);
    ck_assert(found.steps > 20 && found.steps < 60); /* it diverges before the end */
    ck_assert(point[0].lr == 1e-4 && point[1].lr > point[0].lr);
    ck_assert_msg(found.lr > 1e-2 && found.lr <= found.lowest && found.lowest < 20,
                  "%g, lowest at %g", found.lr, found.lowest);
    /* The rate trains: the distance of 2 from the mean is gone after 60 steps. */
    r.o.schedule.lr = found.lr;
    for (int i = 3; i < 63; i++) ok(pal_train_step(&r.o, i, &step, &error));
    ck_assert_double_eq_tol(pal_f64(r.w)[0], 1, 0.3);
    end(&r);
}
END_TEST

START_TEST(finder_refuses)
{
    pal_lr_found found;
    run r = {.deviation = 0.1, .linear = true, .up = true};
    begin(&r, NULL);
    const pal_find_lr_opts bad[] = {
        {.low = 1, .high = 0.1}, {.low = -1}, {.steps = 9}, {.high = INFINITY}, {.stop = 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_int_eq(pal_find_lr(&r.o, bad[i], NULL, &found, &error), PAL_EVALUE);
    r.o.loss = NULL;
    ck_assert_int_eq(pal_find_lr(&r.o, (pal_find_lr_opts){0}, NULL, &found, &error), PAL_EVALUE);
    end(&r);
}
END_TEST

static pal_tensor growing(void *user, pal_tape *tape, int64_t number, pal_batch *batch)
{
    const run *r = user;
    (void)batch;
    return pal_affine(pal_sum(pal_on(tape, r->w), PAL_ALL, false), 0, 1 + 1e-3 * (double)number);
}

START_TEST(finder_says_that_nothing_falls)
{
    pal_lr_found found;
    run r = {0};
    begin(&r, NULL);
    r.o.loss = growing;
    const pal_status s = pal_find_lr(&r.o, (pal_find_lr_opts){0}, NULL, &found, &error);
    ck_assert_msg(s == PAL_EVALUE && strstr(error.message, "the loss falls at no rate"), "%s",
                  error.message);
    ck_assert(pal_f64(r.w)[0] == 3 && pal_optim_steps(r.o.optim) == 0);
    end(&r);
}
END_TEST

/* ---- The noise scale ---- */

/* The gradient of a row is x: tr(S) = D deviation^2, |G|^2 = D. */
START_TEST(noise_of_a_known_gradient)
{
    enum { STEPS = 6000 };
    for (int uneven = 0; uneven < 2; uneven++) {
        run r = {.linear = true, .uneven = uneven, .deviation = 2};
        double trace = 0, square = 0;
        begin(&r, NULL);
        r.o.accumulate = 3, r.o.noise = true;
        for (int i = 0; i < STEPS; i++) {
            pal_step step;
            ok(pal_train_step(&r.o, i, &step, &error));
            trace += step.noise_trace / STEPS, square += step.noise_square / STEPS;
        }
        ck_assert_msg(fabs(trace - D * 4) < 1.5 && fabs(square - D) < 0.5, "%g, %g", trace, square);
        r.o.noise = false;
        pal_step step;
        ok(pal_train_step(&r.o, 0, &step, &error));
        ck_assert(isnan(step.noise_trace) && isnan(step.noise_square));
        end(&r);
    }
}
END_TEST

START_TEST(noise_needs_two_sizes)
{
    run r = {.linear = true, .deviation = 1};
    begin(&r, NULL);
    r.o.noise = true;
    ck_assert_int_eq(pal_train(&r.o, NULL, &error), PAL_EVALUE);
    ck_assert_ptr_nonnull(strstr(error.message, "set accumulate to 2 or more"));
    end(&r);
}
END_TEST

/* ---- In the log ---- */

static char folder[64], run_a[80], run_b[80];

static void setup(void)
{
    optim_setup();
    strcpy(folder, "/tmp/palimpsest-rates-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(run_a, sizeof run_a, "%s/a", folder);
    snprintf(run_b, sizeof run_b, "%s/b", folder);
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
    optim_teardown();
}

static void train(const char *to, int64_t resume, int64_t steps)
{
    run r = {.deviation = 0.5};
    begin(&r, to);
    r.o.resume = resume, r.o.steps = steps, r.o.accumulate = 2, r.o.noise = true;
    r.o.watch = pal_watch_new(r.params, NULL), r.o.watch_every = 4;
    ok(pal_train(&r.o, NULL, &error));
    end(&r);
}

/* A run that is continued has the same logs and the same checkpoint. */
START_TEST(log_of_a_run_that_goes_on)
{
    static char a[1 << 16], b[1 << 16];
    static const char *const names[] = {"log.csv", "step-00000020.h5"};
    train(run_a, 0, 20);
    train(run_b, 0, 10);
    train(run_b, 10, 20);
    for (int i = 0; i < 2; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", run_a, names[i]);
        const size_t n = bytes_of(path, a, sizeof a);
        snprintf(path, sizeof path, "%s/%s", run_b, names[i]);
        ck_assert_msg(bytes_of(path, b, sizeof b) == n && memcmp(a, b, n) == 0, "%s", names[i]);
        if (i) continue;
        static const char header[] =
            "step,loss,lr,grad_norm,tokens,held_out,noise_scale,w.grad_norm,w.grad_rms,w.grad_max,"
            "w.grad_zeros,w.update_rms,w.update_ratio\n";
        ck_assert_msg(strncmp(a, header, sizeof header - 1) == 0, "%.200s", a);
        ck_assert(strstr(a, ",,,,,,\n6,") && !strstr(a, ",,,,,,\n5,")); /* step 4 has them */
    }
}
END_TEST

/* ---- Statistics ---- */

START_TEST(what_a_watch_sees)
{
    pal_params *p = two();
    const double g[] = {3, 0, -4}, moved[] = {0.5, 0, 0};
    pal_watch *watch = pal_watch_new(p, "c*,b.*") /* c* matches nothing */;
    ck_assert_ptr_null(watch);
    ck_assert_ptr_nonnull(strstr(optim_last.message, "a pattern matches no parameter's name"));
    watch = pal_watch_new(p, "b.w*");
    ck_assert_str_eq(pal_watch_columns(watch),
                     "b.weight.grad_norm,b.weight.grad_rms,b.weight.grad_max,b.weight.grad_zeros,"
                     "b.weight.update_rms,b.weight.update_ratio");
    pal_array is = pal_array_of(PAL_F64, PAL_SHAPE(3), (void *)(uintptr_t)g);
    pal_assign(pal_grad(pal_params_at(p, 1)), &is);
    pal_watch_gradients(watch);
    double *x = pal_edit(pal_params_at(p, 1)).data;
    for (int i = 0; i < 3; i++) x[i] += moved[i];
    pal_watch_updates(watch);
    const pal_field *f;
    ck_assert_int_eq(pal_watch_fields(watch, &f), 6);
    const double wanted[] = {5, 5 / sqrt(3), 4, 1.0 / 3, 0.5 / sqrt(3), 0.5 / sqrt(3)};
    for (int i = 0; i < 6; i++)
        ck_assert_msg(fabs(f[i].value - wanted[i]) < 1e-15, "%s %.17g", f[i].name, f[i].value);
    pal_watch_free(watch);
    pal_params_free(p);
    p = pal_params_new();
    pal_param(p, "a,b", PAL_F32, PAL_SHAPE(1));
    ck_assert_ptr_null(pal_watch_new(p, NULL));
    ck_assert_ptr_nonnull(strstr(optim_last.message, "a name with a comma"));
    pal_params_free(p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rates");
    TCase *c = tcase_create("rates");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, a_schedule_for_a_group);
    tcase_add_test(c, a_file_knows_the_schedule);
    tcase_add_test(c, finds_a_rate_and_changes_nothing);
    tcase_add_test(c, finder_refuses);
    tcase_add_test(c, finder_says_that_nothing_falls);
    tcase_add_test(c, noise_of_a_known_gradient);
    tcase_add_test(c, noise_needs_two_sizes);
    tcase_add_test(c, log_of_a_run_that_goes_on);
    tcase_add_test(c, what_a_watch_sees);
    tcase_set_timeout(c, 60);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
