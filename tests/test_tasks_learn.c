/*
 * test_tasks_learn.c - learning and testing of the synthetic tasks.
 */
#include "examples/tasks/save.h"
#include "examples/lm/open.h"
#include "tests/support/check.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pal_error error;

static task *make(const char *text)
{
    task *t;
    ck_assert_msg(task_new(&t, text, &error) == PAL_OK, "%s: %s", text, error.message);
    return t;
}

typedef struct student {
    task *t;
    pal_params *params;
    pal_lm *lm;
    pal_tape *tape;
} student;

static student enrol(const char *text)
{
    pal_rng rng = pal_rng_new(1, 0);
    student s = {.t = make(text), .params = pal_params_new(), .tape = pal_tape_new()};
    s.lm = pal_lm_new(s.params,
                      (pal_lm_opts){.vocab = task_vocab(s.t),
                                    .width = 16,
                                    .layers = 1,
                                    .mixers = "gdn2:num_heads=1:head_dim=8"},
                      &rng);
    return s;
}

static void leave(student s)
{
    pal_tape_free(s.tape);
    pal_params_free(s.params);
    task_free(s.t);
}

/* A model that has not learned guesses. A model that always gives the same answer is right as often
 * as the rows have this answer. */
START_TEST(scores)
{
    enum { N = 300, LEN = 12 };
    student s = enrol("s3:len=12:test_len=12");
    task_score score = task_test(s.t, s.lm, s.tape, 0, 1, N);
    ck_assert_int_eq(score.rows, N);
    ck_assert_int_eq(score.asked, N * LEN);
    ck_assert(score.accuracy > 0.1 && score.accuracy < 0.25);
    ck_assert(score.whole <= 0.01);
    ck_assert(fabs(score.loss - log(6)) < 0.3);
    /* With a head of zeros all logits are 0. So the answer always is element 0, and the loss is
     * that of a guess. */
    static int64_t tokens[N * LEN], targets[N * LEN];
    int64_t zeros = 0;
    pal_fill(pal_params_find(s.params, "lm_head.weight"), 0);
    task_rows(s.t, TASK_TEST, 0, 1, 0, N, tokens, targets);
    for (int i = 0; i < N * LEN; i++) zeros += targets[i] == 0;
    score = task_test(s.t, s.lm, s.tape, 0, 1, N);
    ck_assert(fabs(score.accuracy - (double)zeros / (N * LEN)) <= 1e-12);
    ck_assert(fabs(score.loss - log(6)) <= 1e-6);
    ck_assert(pal_set_grad(s.tape, true)); /* gradients are on, as before */
    leave(s);
}
END_TEST

/* A row is right as a whole if every answer in it is right. */
START_TEST(whole_rows)
{
    student s = enrol("parity:test_len=5");
    const task_score one = task_test(s.t, s.lm, s.tape, 0, 1, 100);
    ck_assert_int_eq(one.asked, 100); /* one answer a row */
    ck_assert(one.accuracy == one.whole && one.accuracy > 0.2 && one.accuracy < 0.8);
    leave(s);
}
END_TEST

static bool note(void *user, const task_look *look)
{
    int64_t *calls = user;
    ck_assert(look->points == 1 && look->scores[0].rows == 20 && isfinite(look->loss));
    ck_assert_int_eq(look->step, 10 * ++*calls);
    return *calls < 3;
}

static bool same_params(const student *a, const student *b)
{
    char x[LM_SUM], y[LM_SUM];
    return strcmp(lm_weights_sum(a->params, "", x), lm_weights_sum(b->params, "", y)) == 0;
}

START_TEST(learning)
{
    const char *text = "copy:symbols=2:len=4";
    task_run run = {.steps = 60, .batch = 16, .lr = 1e-2, .rows = 20, .every = 10, .quiet = true};
    student a = enrol(text), b = enrol(text), c = enrol(text);
    int64_t calls = 0;
    const task_result first = task_learn(a.t, a.params, a.lm, run, note, &calls);
    ck_assert(calls == 3 && first.steps == 30 && !first.failed); /* the callback ended it */
    const task_result whole = task_learn(b.t, b.params, b.lm, run, NULL, NULL);
    ck_assert(whole.steps == 60 && whole.points == 1 && whole.scores[0].rows == 20);
    ck_assert_double_lt(whole.scores[0].loss, 0.9 * log(2));
    ck_assert(!same_params(&a, &b));
    task_learn(c.t, c.params, c.lm, run, NULL, NULL);
    ck_assert(same_params(&b, &c)); /* a run depends only on its arguments */
    leave(a), leave(c);
    a = enrol(text);
    run.enough = 0.01; /* reached at the first look */
    ck_assert_int_eq(task_learn(a.t, a.params, a.lm, run, NULL, NULL).steps, 10);
    /* A loss that is not finite is reported, and changes nothing. */
    c = enrol(text);
    pal_fill(pal_params_find(a.params, "lm_head.weight"), NAN);
    const task_result bad = task_learn(a.t, a.params, a.lm, run, NULL, NULL);
    ck_assert(bad.failed && bad.steps == 0 && !isfinite(bad.loss));
    leave(a), leave(b), leave(c);
}
END_TEST

/* Ends a run after its first evaluation: by a signal, which the run has to notice, or at once. */
static bool end_now(void *by_signal, const task_look *look)
{
    (void)look;
    return *(bool *)by_signal && raise(SIGTERM) == 0;
}

/* The scores are those of the last evaluation, and the counted updates are those that were made. */
START_TEST(a_signal_ends_it)
{
    student s = enrol("copy:symbols=2:len=4"), ten = enrol("copy:symbols=2:len=4");
    const task_run run = {.steps = 50, .batch = 4, .rows = 20, .every = 10, .quiet = true};
    bool by_signal = false;
    task_result r = task_learn(ten.t, ten.params, ten.lm, run, end_now, &by_signal);
    ck_assert(!r.failed && r.steps == 10);
    by_signal = true;
    pal_stop_install();
    r = task_learn(s.t, s.params, s.lm, run, end_now, &by_signal);
    ck_assert(r.failed && r.steps == 10 && isfinite(r.loss) && r.scores[0].rows == 20);
    ck_assert(same_params(&s, &ten));
    r = task_learn(s.t, s.params, s.lm, run, NULL, NULL); /* the signal is still there */
    ck_assert(r.failed && r.steps == 0 && r.scores[0].rows == 0);
    ck_assert(same_params(&s, &ten));
    pal_stop_remove();
    leave(s), leave(ten);
}
END_TEST

/* A checkpoint contains enough to make task and model again. */
START_TEST(checkpoints)
{
    char folder[] = "/tmp/tasks-XXXXXX", path[64];
    lm_options o, back;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    task *t = make("mqar:pairs=2:len=16:vocab=32"), *t2;
    ck_assert_int_eq(lm_options_read(&o, "width = 16\nno-mlp = true", &error), PAL_OK);
    task_describe(&o, t, &(task_run){.steps = 7, .weight_decay = -1, .seed = 3});
    ck_assert(o.model.vocab == 32 && o.len == 16 && o.steps == 7 && o.seed == 3 &&
              o.weight_decay == 0);
    student a = {.t = t, .params = pal_params_new()};
    pal_lm_file file;
    pal_rng rng = pal_rng_new(3, 0);
    a.lm = pal_lm_new(a.params, lm_options_model(&o), &rng);
    pal_status s = task_save(a.params, &o, 7, folder, "model.h5", &error);
    ck_assert_msg(s == PAL_OK, "%s", error.message);
    snprintf(path, sizeof path, "%s/model.h5", folder);
    s = lm_open(&file, &back, path, (lm_how){0}, &error);
    ck_assert_msg(s == PAL_OK, "%s", error.message);
    t2 = make(back.data);
    ck_assert_str_eq(task_text(t), task_text(t2));
    student b = {.t = t2, .params = file.params, .lm = file.lm};
    ck_assert(same_params(&a, &b) && !file.averaged);
    remove(path), rmdir(folder);
    pal_params_free(a.params), pal_lm_close(&file);
    task_free(t), task_free(t2);
}
END_TEST

/* Numbers of an independent program; those of 16 digits stand in files of earlier versions. */
START_TEST(checksums)
{
    char text[LM_SUM];
    pal_params *params = pal_params_new();
    pal_param(params, "a.weight", PAL_F32, PAL_SHAPE(3));
    pal_param(params, "b", PAL_F64, PAL_SHAPE(1));
    memcpy(pal_params_array(params, 0).data, (float[]){1, -2, 0.5f}, 3 * sizeof(float));
    *(double *)pal_params_array(params, 1).data = 3;
    ck_assert_str_eq(lm_weights_sum(params, "", text), "30de5d27");
    ck_assert_str_eq(lm_weights_sum(params, "00000000", text), "30de5d27");
    ck_assert_str_eq(lm_weights_sum(params, "0000000000000000", text), "d296768f022be0a0");
    pal_params_free(params);
}
END_TEST

int main(void)
{
    pal_set_threads(1); /* such small work is faster on one thread */
    Suite *s = suite_create("tasks_learn");
    TCase *tc = tcase_create("tasks_learn");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, scores);
    tcase_add_test(tc, whole_rows);
    tcase_add_test(tc, learning);
    tcase_add_test(tc, a_signal_ends_it);
    tcase_add_test(tc, checkpoints);
    tcase_add_test(tc, checksums);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
