/*
 * test_train_changes.c - callbacks that change what a run is made of: they create parameters, write
 * to the caller's options, and keep tensors of other sizes.
 */
#include "optim/optimisers/internal.h"
#include "tests/support/check.h"
#include "tests/support/optim_test.h"

#include <palimpsest.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { D = 8, LATE = 100 };

typedef struct run {
    pal_params *params;
    pal_tensor w;
    pal_tensor late;
    int64_t late_at; /* the micro-batch in which a parameter is created; -1: none */
    int64_t changed; /* the micro-batch in which the options are changed; -1: none */
    pal_watch *watch;
    pal_train_opts o;
} run;

static pal_error error;
static char folder[64];

static void setup(void)
{
    optim_setup();
    strcpy(folder, "/tmp/palimpsest-changes-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
    optim_teardown();
}

static void create(run *r)
{
    if (pal_is_none(r->late))
        r->late = pal_fill(pal_param(r->params, "late", PAL_F64, PAL_SHAPE(LATE)), 7);
}

static pal_tensor loss(void *user, pal_tape *tape, int64_t number, pal_batch *batch)
{
    run *r = user;
    (void)batch;
    if (number == r->late_at) create(r);
    if (number == r->changed) {
        r->o.steps = 0, r->o.accumulate = 7, r->o.folder = NULL, r->o.tape = NULL;
        r->o.watch = r->watch, r->o.watch_every = 1;
    }
    return pal_mean(pal_square(pal_affine(pal_on(tape, r->w), 1, -1)), PAL_ALL, false);
}

static void begin(run *r)
{
    *r = (run){.params = pal_params_new(), .late = PAL_NONE, .late_at = -1, .changed = -1};
    r->w = pal_fill(pal_param(r->params, "w", PAL_F64, PAL_SHAPE(D)), 3);
    r->o = (pal_train_opts){.params = r->params, .loss = loss, .user = r, .steps = 6};
    r->o.optim = pal_adamw_new(r->params, (pal_adamw_opts){0});
    r->o.tape = pal_tape_new();
    r->o.schedule.lr = 0.1, r->o.quiet = true;
}

static void end(run *r)
{
    pal_watch_free(r->watch);
    pal_average_free(r->o.average);
    pal_tape_free(r->o.tape);
    pal_optim_free(r->o.optim);
    pal_params_free(r->params);
}

static void ok(pal_status status)
{
    if (status != PAL_OK) ck_abort_msg("%s: %s", pal_status_name(status), error.message);
}

static void refused(pal_status status, const char *before, const char *after)
{
    static const char sentence[] = "optim_step: it was made for 1 parameters, and now there are 2";
    char wanted[256];
    snprintf(wanted, sizeof wanted, "%s%s%s", before, sentence, after);
    ck_assert_int_eq(status, PAL_EVALUE);
    ck_assert_msg(strcmp(error.message, wanted) == 0, "%s", error.message);
}

/* ---- Parameters that are created ---- */

/* The new one lies in the same block behind w, so that the block is larger at the end. */
START_TEST(finder_gives_back_what_was_there)
{
    run r;
    pal_step step;
    pal_lr_found found;
    double w[D], moments[PAL_MOMENTS][D];
    begin(&r);
    for (int i = 0; i < 3; i++) ok(pal_train_step(&r.o, i, &step, &error));
    memcpy(w, pal_f64(r.w), sizeof w);
    for (int k = 0; k < PAL_MOMENTS; k++)
        memcpy(moments[k], pal_state_at(&r.o.optim->state, 0, k), sizeof moments[k]);
    r.late_at = 5;
    refused(pal_find_lr(&r.o, (pal_find_lr_opts){0}, NULL, &found, &error), "find_lr: ", "");
    ck_assert(memcmp(w, pal_f64(r.w), sizeof w) == 0);
    for (int k = 0; k < PAL_MOMENTS; k++)
        ck_assert_msg(
            memcmp(moments[k], pal_state_at(&r.o.optim->state, 0, k), sizeof moments[k]) == 0,
            "moment %d", k);
    ck_assert_int_eq(pal_optim_steps(r.o.optim), 3);
    for (int i = 0; i < LATE; i++) ck_assert(pal_f64(r.late)[i] == 7);
    end(&r);
}
END_TEST

/* A file with that parameter could not be read again. It is not written, and the one before stays.
 */
START_TEST(no_checkpoint_of_other_parameters)
{
    char text[128];
    run r;
    begin(&r);
    r.late_at = 3;
    r.o.folder = folder, r.o.save_every = 2, r.o.keep = 1;
    const pal_status s = pal_train(&r.o, NULL, &error);
    snprintf(text, sizeof text,
             "; step 3 is not saved: optim_put: it was made for 1 parameters, and now there are 2; "
             "the last checkpoint is that of step 2");
    refused(s, "", text);
    ck_assert_int_eq(pal_run_last(folder, 0), 2);
    end(&r);
}
END_TEST

static double evaluate(void *user, pal_tape *tape, int64_t step)
{
    (void)tape, (void)step;
    create(user);
    return 0;
}

/* After an evaluation the parameters are those that were trained, not their average. */
START_TEST(average_is_taken_out_again)
{
    run one, r;
    begin(&one);
    begin(&r);
    one.o.steps = 2;
    ok(pal_train(&one.o, NULL, &error));
    r.o.average = pal_average_new(r.params, (pal_average_opts){.decay = 0.9});
    r.o.evaluate = evaluate, r.o.evaluate_every = 2;
    refused(pal_train(&r.o, NULL, &error), "", "");
    ck_assert(memcmp(pal_f64(one.w), pal_f64(r.w), D * sizeof(double)) == 0);
    ck_assert_int_eq(pal_average_swap(r.o.average), PAL_EVALUE); /* not into them */
    ck_assert(memcmp(pal_f64(one.w), pal_f64(r.w), D * sizeof(double)) == 0);
    end(&one);
    end(&r);
}
END_TEST

/* ---- Options that are changed ---- */

static bool log_has(const char *word)
{
    static char text[1 << 14];
    char path[128];
    snprintf(path, sizeof path, "%s/log.jsonl", folder);
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return strstr(text, word) != NULL;
}

/* A watch whose fields there was no room for, no steps, no tape. */
START_TEST(options_are_those_of_the_start)
{
    run r;
    pal_step step;
    pal_lr_found found;
    pal_train_result result;
    begin(&r);
    r.watch = pal_watch_new(r.params, NULL);
    r.o.folder = folder;
    const pal_train_opts given = r.o;
    r.changed = 2;
    ok(pal_train(&r.o, &result, &error));
    ck_assert_int_eq(result.step, 6);
    ck_assert_int_eq(pal_run_last(folder, 0), 6);
    ck_assert(log_has("\"step\": 6") || log_has("\"step\":6"));
    ck_assert(!log_has("w.grad_norm"));
    ck_assert_int_eq(r.o.accumulate, 7); /* they have been changed */
    r.o = given, r.changed = 6;
    ok(pal_train_step(&r.o, 6, &step, &error));
    r.o = given, r.changed = 12;
    pal_status s = pal_find_lr(&r.o, (pal_find_lr_opts){.steps = 20}, NULL, &found, &error);
    ck_assert_msg(found.steps == 20, "%s: %s", pal_status_name(s), error.message);
    r.o = given;
    end(&r);
}
END_TEST

static pal_tensor stop(void *user, pal_tape *tape, int64_t number, pal_batch *batch)
{
    run *r = user;
    *r->o.finished = number == 3;
    return loss(user, tape, number, batch);
}

START_TEST(a_callback_ends_the_run)
{
    run r;
    bool finished = false;
    pal_train_result result;
    begin(&r);
    r.o.finished = &finished, r.o.loss = stop;
    ok(pal_train(&r.o, &result, &error));
    ck_assert_int_eq(result.step, 4);
    end(&r);
}
END_TEST

/* ---- Tensors that are only kept ---- */

/* They may grow, so a watch has no room for them. */
START_TEST(watch_leaves_out_what_is_kept)
{
    run r;
    const pal_field *field;
    begin(&r);
    for (int64_t n = 4; n < 4000; n += 3000) {
        pal_keep(r.params, "kept", pal_zeros(r.o.tape, PAL_F64, PAL_SHAPE(n)));
        if (!r.watch) r.watch = pal_watch_new(r.params, NULL);
        pal_watch_gradients(r.watch);
        pal_watch_updates(r.watch);
        ck_assert_int_eq(pal_watch_fields(r.watch, &field), 6);
    }
    ck_assert_ptr_null(strstr(pal_watch_columns(r.watch), "kept"));
    ck_assert_ptr_null(pal_watch_new(r.params, "w,kept"));
    ck_assert_ptr_nonnull(strstr(optim_last.message, "a pattern matches no parameter's name"));
    end(&r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("train_changes");
    TCase *c = tcase_create("train_changes");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, finder_gives_back_what_was_there);
    tcase_add_test(c, no_checkpoint_of_other_parameters);
    tcase_add_test(c, average_is_taken_out_again);
    tcase_add_test(c, options_are_those_of_the_start);
    tcase_add_test(c, a_callback_ends_the_run);
    tcase_add_test(c, watch_leaves_out_what_is_kept);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
