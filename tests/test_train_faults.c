/*
 * test_train_faults.c - what goes wrong in a run, and what it leaves: refused resumes, files that
 * cannot be written, numbers that are not finite; and what evaluation and samples must not move.
 */
#include "optim/optimisers/internal.h"
#include "optim/train.h"
#include "tests/support/check.h"
#include "tests/support/optim_test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { V = 7, BATCH = 2, LEN = 5, TOKENS = 400 };

typedef struct task {
    pal_params *params;
    pal_tensor w;
    pal_tape *tape;
    pal_optim *optim;
    pal_tokens *store;
    pal_batches *batches;
    int64_t bad;      /* the micro-batch whose loss takes a logarithm of -1; -1: none */
    int64_t infinite; /* the step whose evaluation makes a parameter infinite */
    double seen;      /* of w by the last evaluation */
} task;

static char folder[64], store_path[96];

static void setup(void)
{
    optim_setup();
    strcpy(folder, "/tmp/palimpsest-run-XXXXXX");
    ck_assert(mkdtemp(folder) != NULL);
    snprintf(store_path, sizeof store_path, "%s-store.h5", folder);
    unsigned char token[TOKENS];
    for (int i = 0; i < TOKENS; i++) token[i] = (unsigned char)(i * i % V);
    pal_error error;
    pal_status s = pal_tokens_write(store_path,
                                    &(pal_tokens_source){.tokens = token, .count = TOKENS}, &error);
    ck_assert_msg(s == PAL_OK, "%s", error.message);
}
static void teardown(void)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s' '%s'", folder, store_path);
    ck_assert_int_eq(system(command), 0);
    optim_teardown();
}

static task task_new(bool prefetch)
{
    task t = {.params = pal_params_new(), .tape = pal_tape_new(), .bad = -1};
    t.w = pal_param(t.params, "w", PAL_F64, PAL_SHAPE(256, 256));
    optim_fill_value(t.w, 3);
    t.optim = pal_adamw_new(t.params, (pal_adamw_opts){0});
    *pal_tape_rng(t.tape) = pal_rng_new(5, 0);
    pal_error error;
    ck_assert_int_eq(pal_tokens_open(&t.store, store_path, &error), PAL_OK);
    t.batches = pal_batches_new(
        t.store, (pal_batches_opts){.batch = BATCH, .len = LEN, .prefetch = prefetch});
    return t;
}

static void task_free(task *t)
{
    pal_batches_free(t->batches);
    pal_tokens_close(t->store);
    pal_tape_free(t->tape);
    pal_optim_free(t->optim);
    pal_params_free(t->params);
}

static pal_tensor loss(void *user, pal_tape *tape, int64_t number, pal_batch *b)
{
    task *t = user;
    (void)tape;
    pal_tensor x = pal_dropout(pal_embedding(t->w, b->tokens), 0.1);
    if (number == t->bad) x = pal_log(pal_affine(pal_square(x), -1, -1));
    return pal_cross_entropy(x, b->targets, (pal_cross_entropy_opts){0});
}

static double evaluate(void *user, pal_tape *tape, int64_t step)
{
    task *t = user;
    pal_normal(tape, PAL_F64, PAL_SHAPE(3), 0, 1, pal_tape_rng(tape)); /* moves the generator */
    t->seen = optim_at(pal_value(t->w), 0);
    if (step == t->infinite) {
        pal_array w = pal_edit(t->w);
        pal_array_set(&w, (int64_t[]){1, 2}, INFINITY);
    }
    return 10 - (double)step;
}

static void sample(void *user, pal_tape *tape, int64_t step, FILE *to)
{
    pal_normal(tape, PAL_F64, PAL_SHAPE(5), 0, 1, pal_tape_rng(tape));
    fprintf(to, "%g at %d", optim_at(pal_value(((task *)user)->w), 0), (int)step);
}

static pal_train_opts opts(task *t, int64_t steps)
{
    return (pal_train_opts){.params = t->params,
                            .optim = t->optim,
                            .tape = t->tape,
                            .batches = t->batches,
                            .schedule = {.lr = 0.05},
                            .loss = loss,
                            .user = t,
                            .steps = steps,
                            .quiet = true};
}

/* A run of `steps` in the folder, a checkpoint each, and the best at the last evaluation. */
static void run(int64_t steps, bool evaluates)
{
    task t = task_new(false);
    pal_error error = {0};
    pal_train_opts o = opts(&t, steps);
    o.folder = folder;
    o.save_every = 1;
    o.config = "first\n";
    if (evaluates) o.evaluate = evaluate;
    o.evaluate_every = 2;
    ck_assert_msg(pal_train(&o, NULL, &error) == PAL_OK, "%s", error.message);
    task_free(&t);
}

static char *path_of(const char *name)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}
static bool there(const char *name) { return access(path_of(name), F_OK) == 0; }

static void first_line(const char *name, const char *want)
{
    char line[128] = "";
    FILE *file = fopen(path_of(name), "r");
    ck_assert(file && fgets(line, sizeof line, file));
    fclose(file);
    ck_assert_str_eq(line, want);
}

/* Going on from `step` fails with these words, and the folder is what it was; the parameters too if
 * the checkpoint is to blame. */
static void refused(int64_t step, pal_status status, const char *words)
{
    task t = task_new(false), same = task_new(false);
    pal_error error = {0};
    pal_train_opts o = opts(&t, 9);
    o.folder = folder;
    o.resume = step;
    o.config = "second\n";
    ck_assert_int_eq(pal_train(&o, NULL, &error), status);
    ck_assert_msg(strstr(error.message, words), "no '%s' in: %s", words, error.message);
    if (strstr(words, "checkpoint")) ck_assert(optim_same(t.params, same.params));
    first_line("config.txt", "first\n");
    ck_assert(there("step-00000003.h5") && !there("step-00000003.h5.aside"));
    ck_assert(!there("log.csv.tmp") && !there("log.jsonl.tmp") && !there("config.txt.tmp"));
    task_free(&t);
    task_free(&same);
}

START_TEST(a_refused_resume_leaves_the_folder)
{
    pal_error error;
    run(3, false);
    ck_assert_int_eq(unlink(path_of("log.jsonl")), 0);
    ck_assert_int_eq(mkdir(path_of("log.jsonl"), 0777), 0);
    refused(2, PAL_EIO, "log.jsonl: it is a folder");
    ck_assert_int_eq(rmdir(path_of("log.jsonl")), 0);
    ck_assert_int_eq(pal_run_write(folder, "log.csv", "step,other\n1,2\n", &error), PAL_OK);
    refused(2, PAL_EFORMAT, "its columns are step,other");
    first_line("log.csv", "step,other\n");
}
END_TEST

/* A file of another step than its name, and a position that the data do not have. */
START_TEST(a_checkpoint_is_compared_before_it_is_loaded)
{
    pal_error error = {0};
    run(3, false);
    task t = task_new(false);
    optim_fill_value(t.w, 99);
    pal_schedule schedule = {.lr = 0.05};
    pal_checkpoint c = {.params = t.params,
                        .optim = t.optim,
                        .rng = pal_tape_rng(t.tape),
                        .schedule = &schedule,
                        .step = 1};
    ck_assert_int_eq(pal_checkpoint_save(&c, path_of("step-00000002.h5"), &error), PAL_OK);
    refused(2, PAL_EFORMAT, "it holds step 1; the checkpoint of step 1 is there");
    c.step = 2;
    c.position.index = 99999999;
    ck_assert_int_eq(pal_checkpoint_save(&c, path_of("step-00000002.h5"), &error), PAL_OK);
    refused(2, PAL_EVALUE, "99999999 of epoch 0, is not there; the checkpoint of step 1 is there");
    task_free(&t);
}
END_TEST

/* A file whose checksums hold, with a moment that is not finite: no save would have written it. */
START_TEST(a_moment_that_is_not_finite)
{
    pal_error error = {0};
    pal_h5 *file;
    run(3, false);
    task t = task_new(false);
    pal_schedule schedule = {.lr = 0.05};
    pal_checkpoint c = {
        .params = t.params, .rng = pal_tape_rng(t.tape), .schedule = &schedule, .step = 2};
    *(double *)pal_state_at(&t.optim->state, 0, 1) = NAN;
    ck_assert_int_eq(pal_h5_create(&file, path_of("step-00000002.h5"), &error), PAL_OK);
    ck_assert_int_eq(pal_checkpoint_put(&c, file, &error), PAL_OK);
    ck_assert_int_eq(pal_optim_put(t.optim, file, "/optim", &error), PAL_OK);
    ck_assert_int_eq(pal_h5_commit(file, &error), PAL_OK);
    refused(2, PAL_ENUMERIC, "not finite; the checkpoint of step 1 is there");
    task_free(&t);
}
END_TEST

START_TEST(a_best_that_is_gone_is_forgotten)
{
    pal_error error = {0};
    run(4, true);
    first_line("best.txt", "step-00000004.h5 6\n");
    ck_assert_int_eq(unlink(path_of("step-00000002.h5")), 0);
    task t = task_new(false);
    pal_train_opts o = opts(&t, 4);
    pal_train_result result;
    o.folder = folder;
    o.resume = 3; /* it says that step 2 was the best */
    ck_assert_msg(pal_train(&o, &result, &error) == PAL_OK, "%s", error.message);
    ck_assert(result.step == 4 && result.best_step == 0 && !there("best.txt"));
    ck_assert(there("step-00000004.h5.aside"));
    task_free(&t);
}
END_TEST

/* The checkpoint is there, and what could not be tidied is told as such. */
START_TEST(saved_and_tidied_are_two_things)
{
    pal_error error = {0};
    task t = task_new(false);
    pal_train_opts o = opts(&t, 3);
    o.folder = folder;
    o.save_every = o.keep = 1;
    o.evaluate = evaluate;
    ck_assert_int_eq(mkdir(path_of("best.txt.tmp"), 0777), 0);
    ck_assert_int_eq(pal_train(&o, NULL, &error), PAL_EIO);
    ck_assert_msg(strstr(error.message, "step 3 is saved, but "), "%s", error.message);
    ck_assert(there("step-00000003.h5"));
    task_free(&t);
}
END_TEST

/* In place of the C library's, so that a folder cannot be listed. */
static bool no_lists;
DIR *opendir(const char *name)
{
    errno = EIO;
    if (no_lists) return NULL;
    const int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? NULL : fdopendir(fd);
}

static double then_no_lists(void *user, pal_tape *tape, int64_t step)
{
    no_lists = true;
    return evaluate(user, tape, step);
}

/* Old checkpoints are looked for after a save: that is no reason to end, and no end of the program.
 */
START_TEST(a_folder_that_cannot_be_listed)
{
    pal_error error = {0};
    task t = task_new(false);
    pal_train_opts o = opts(&t, 3);
    pal_train_result result;
    o.folder = folder;
    o.save_every = o.keep = o.evaluate_every = 1;
    o.evaluate = then_no_lists;
    o.go_on = true;
    ck_assert_msg(pal_train(&o, &result, &error) == PAL_OK, "%s", error.message);
    ck_assert(result.step == 3 && there("step-00000003.h5"));
    o.resume = 3;
    o.go_on = false;
    ck_assert_int_eq(pal_train(&o, &result, &error), PAL_EIO);
    ck_assert_msg(strstr(error.message, "cannot be listed"), "%s", error.message);
    no_lists = false;
    task_free(&t);
}
END_TEST

static const char *goes;
static double then_goes(void *user, pal_tape *tape, int64_t step)
{
    if (step == 2) ck_assert_int_eq(unlink(path_of(goes)), 0);
    return evaluate(user, tape, step);
}

/* The checkpoint says what the run has written, so that the next resume sees that it is gone. */
START_TEST(a_log_that_goes_while_the_run_writes_it)
{
    static const char *const names[] = {"log.csv", "log.jsonl", "samples.txt"};
    pal_error error = {0};
    goes = names[_i];
    task t = task_new(false);
    pal_train_opts o = opts(&t, 3);
    o.folder = folder;
    o.evaluate_every = o.sample_every = 1;
    o.evaluate = then_goes;
    o.sample = sample;
    ck_assert_msg(pal_train(&o, NULL, &error) == PAL_OK, "%s", error.message);
    o.steps = 4;
    o.resume = 3;
    ck_assert_int_eq(pal_train(&o, NULL, &error), PAL_EVALUE);
    ck_assert_msg(strstr(error.message, names[_i]), "%s", error.message);
    task_free(&t);
}
END_TEST

START_TEST(an_infinite_parameter_is_not_saved)
{
    pal_error error = {0};
    task t = task_new(false);
    pal_train_opts o = opts(&t, 2);
    t.infinite = 2;
    o.folder = folder;
    o.evaluate = evaluate;
    ck_assert_int_eq(pal_train(&o, NULL, &error), PAL_ENUMERIC);
    ck_assert_msg(strstr(error.message, "step 2 is not saved: ") &&
                      strstr(error.message, "parameter w holds"),
                  "%s", error.message);
    ck_assert(pal_run_last(folder, 0) == 0);
    task_free(&t);
}
END_TEST

/* With several micro-batches and a thread that reads ahead: the search sees the batches again, and
 * the state before the step is saved and can be gone on from. */
START_TEST(a_step_that_fails_saves_the_one_before)
{
    pal_error error = {0};
    task whole = task_new(false), t = task_new(true);
    pal_train_opts all = opts(&whole, 5), o = opts(&t, 5);
    all.accumulate = o.accumulate = 2;
    ck_assert_int_eq(pal_train(&all, NULL, &error), PAL_OK);
    o.folder = folder;
    t.bad = 2 * 3 + 1;
    ck_assert_int_eq(pal_train(&o, NULL, &error), PAL_ENUMERIC);
    ck_assert_msg(strstr(error.message, "; log: ") &&
                      strstr(error.message, "the run is saved after step 3"),
                  "%s", error.message);
    ck_assert(pal_run_last(folder, 0) == 3);
    t.bad = -1;
    o.resume = 3;
    ck_assert_msg(pal_train(&o, NULL, &error) == PAL_OK, "%s", error.message);
    ck_assert(optim_same(whole.params, t.params));
    task_free(&whole);
    task_free(&t);
}
END_TEST

START_TEST(no_step_writes_nothing)
{
    pal_error error = {0};
    run(3, false);
    task t = task_new(false);
    pal_train_opts o = opts(&t, 1);
    pal_train_result result;
    o.folder = folder;
    o.resume = 3;
    o.config = "second\n";
    ck_assert_int_eq(pal_train(&o, &result, &error), PAL_OK);
    ck_assert_int_eq(result.step, 3);
    first_line("config.txt", "first\n");
    o.folder = "";
    ck_assert_int_eq(pal_train(&o, &result, &error), PAL_EVALUE);
    task_free(&t);
}
END_TEST

START_TEST(a_request_to_stop_comes_before_a_step)
{
    pal_error error = {0};
    pal_train_result result;
    task t = task_new(false);
    pal_train_opts o = opts(&t, 3);
    pal_stop_install();
    raise(SIGPIPE); /* ends nothing */
    raise(SIGTERM);
    ck_assert_int_eq(pal_train(&o, &result, &error), PAL_OK);
    ck_assert(result.step == 0 && result.signal == SIGTERM);
    pal_stop_install();
    ck_assert_int_eq(pal_train(&o, &result, &error), PAL_OK);
    ck_assert(result.step == 3 && result.signal == 0);
    pal_stop_remove();
    task_free(&t);
}
END_TEST

START_TEST(the_lock_is_for_one)
{
    pal_error error = {0};
    pal_lock *lock, *other;
    ck_assert_int_eq(pal_run_lock(&lock, folder, &error), PAL_OK);
    ck_assert_int_eq(pal_run_lock(&other, folder, &error), PAL_EIO);
    ck_assert(other == NULL && strstr(error.message, "another process trains"));
    task t = task_new(false);
    pal_train_opts o = opts(&t, 1);
    o.folder = folder;
    ck_assert_int_eq(pal_train(&o, NULL, &error), PAL_EIO);
    o.lock = lock;
    ck_assert_int_eq(pal_train(&o, NULL, &error), PAL_OK);
    pal_run_unlock(lock);
    task_free(&t);
}
END_TEST

START_TEST(names_that_are_none_of_ours)
{
    pal_error error;
    ck_assert_int_eq(pal_run_write(folder, "step-9.h5", "", &error), PAL_OK);
    ck_assert_int_eq(pal_run_write(folder, "step-000000008.h5", "", &error), PAL_OK);
    ck_assert(pal_run_last(folder, 0) == 0);
}
END_TEST

/* The average is what is evaluated, the parameters come back, and the random numbers of training
 * are those of a run without evaluation and samples. */
START_TEST(evaluation_and_samples_move_nothing)
{
    pal_error error = {0};
    task a = task_new(false), b = task_new(false);
    pal_average *average = pal_average_new(b.params, (pal_average_opts){.decay = 0.9});
    pal_train_opts plain = opts(&a, 4), o = opts(&b, 4);
    o.folder = folder;
    o.evaluate = evaluate;
    o.sample = sample;
    o.evaluate_every = o.sample_every = 1;
    o.average = average;
    ck_assert_int_eq(pal_train(&plain, NULL, &error), PAL_OK);
    ck_assert_msg(pal_train(&o, NULL, &error) == PAL_OK, "%s", error.message);
    ck_assert(optim_same(a.params, b.params));
    ck_assert(pal_tape_rng(a.tape)->counter == pal_tape_rng(b.tape)->counter);
    double now = optim_at(pal_value(b.w), 0);
    pal_average_swap(average);
    ck_assert(b.seen == optim_at(pal_value(b.w), 0) && b.seen != now);
    pal_average_free(average);
    task_free(&a);
    task_free(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("train faults");
    TCase *c = tcase_create("faults");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 120);
    tcase_add_test(c, a_refused_resume_leaves_the_folder);
    tcase_add_test(c, a_checkpoint_is_compared_before_it_is_loaded);
    tcase_add_test(c, a_moment_that_is_not_finite);
    tcase_add_test(c, a_best_that_is_gone_is_forgotten);
    tcase_add_test(c, saved_and_tidied_are_two_things);
    tcase_add_test(c, a_folder_that_cannot_be_listed);
    tcase_add_loop_test(c, a_log_that_goes_while_the_run_writes_it, 0, 3);
    tcase_add_test(c, an_infinite_parameter_is_not_saved);
    tcase_add_test(c, a_step_that_fails_saves_the_one_before);
    tcase_add_test(c, no_step_writes_nothing);
    tcase_add_test(c, a_request_to_stop_comes_before_a_step);
    tcase_add_test(c, the_lock_is_for_one);
    tcase_add_test(c, names_that_are_none_of_ours);
    tcase_add_test(c, evaluation_and_samples_move_nothing);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
