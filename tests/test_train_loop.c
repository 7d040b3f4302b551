/*
 * test_train_loop.c - the loop in one process: what a step adds up to, what it takes from the
 * allocator, what ends it, and its log.
 */
#include "optim/train.h"
#include "tests/support/check.h"
#include "tests/support/optim_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IN = 6, CLASSES = 5, ROWS = 12 };

/* A linear classifier on rows drawn by the number of the micro-batch, with dropout. */
typedef struct task {
    pal_params *params;
    pal_tensor w;
    pal_tape *tape;
    pal_optim *optim;
    pal_average *average;
    int64_t parts[3]; /* micro-batch i of a step has rows parts[i-1] .. parts[i]; all zero: all */
    int64_t bad;      /* the micro-batch whose loss takes a logarithm of -1; 0: none */
    int64_t quiet;    /* from here on allocations are counted */
    _Atomic int64_t *allocations;
    double dropout;
    double (*score)(int64_t step);
} task;

static task task_new(void)
{
    task t = {.params = pal_params_new(), .tape = pal_tape_new()};
    t.w = pal_param(t.params, "w", PAL_F64, PAL_SHAPE(CLASSES, IN));
    optim_fill_value(t.w, 3);
    t.optim = pal_adamw_new(t.params, (pal_adamw_opts){0});
    *pal_tape_rng(t.tape) = pal_rng_new(5, 0);
    return t;
}

static void task_free(task *t)
{
    pal_tape_free(t->tape);
    pal_average_free(t->average);
    pal_optim_free(t->optim);
    pal_params_free(t->params);
}

static pal_tensor loss(void *user, pal_tape *tape, int64_t number, pal_batch *batch)
{
    task *t = user;
    const bool cut = t->parts[2] > 0;
    pal_rng rng = pal_rng_new(11, (uint64_t)(cut ? number / 3 : number));
    pal_tensor x = pal_normal(tape, PAL_F64, PAL_SHAPE(ROWS, IN), 0, 1, &rng);
    pal_tensor target = pal_zeros(tape, PAL_I64, PAL_SHAPE(ROWS));
    pal_array to = pal_edit(target);
    pal_rng_integers(&rng, &to, 0, CLASSES);
    batch->counted = ROWS;
    if (cut) {
        int64_t i = number % 3, from = i ? t->parts[i - 1] : 0;
        x = pal_slice(x, 0, from, t->parts[i], 1);
        target = pal_slice(target, 0, from, t->parts[i], 1);
        batch->counted = t->parts[i] - from;
    }
    if (t->dropout > 0) x = pal_dropout(x, t->dropout);
    if (t->bad && number == t->bad) x = pal_log(pal_affine(pal_square(x), -1, -1));
    if (t->allocations && number == t->quiet) *t->allocations = 0;
    return pal_cross_entropy(pal_linear(x, t->w, PAL_NONE), target, (pal_cross_entropy_opts){0});
}

static double evaluate(void *user, pal_tape *tape, int64_t step)
{
    (void)tape;
    return ((task *)user)->score(step);
}

static pal_train_opts opts(task *t, int64_t steps)
{
    return (pal_train_opts){.params = t->params,
                            .optim = t->optim,
                            .tape = t->tape,
                            .average = t->average,
                            .schedule = {.lr = 0.05},
                            .loss = loss,
                            .user = t,
                            .steps = steps,
                            .quiet = true};
}

static void trains(const pal_train_opts *o, pal_train_result *result)
{
    pal_error error = {0};
    ck_assert_msg(pal_train(o, result, &error) == PAL_OK, "%s", error.message);
}

/* ---- A folder of its own ---- */

static char folder[64];
static void setup(void)
{
    optim_setup();
    strcpy(folder, "/tmp/palimpsest-run-XXXXXX");
    ck_assert(mkdtemp(folder) != NULL);
}
static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
    optim_teardown();
}

/* A file of the folder, to be freed. */
static char *contents(const char *name)
{
    char path[128], *text = calloc(1, 1 << 16);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    ck_assert_msg(file && text, "there is no %s", name);
    ck_assert_uint_lt(fread(text, 1, 1 << 16, file), 1 << 16);
    fclose(file);
    return text;
}

static void holds(const char *name, const char *want)
{
    char *text = contents(name);
    ck_assert_str_eq(text, want);
    free(text);
}

/* ---- A step ---- */

/* Three micro-batches of 1, 7 and 4 rows are one of 12: the mean over all, not of means. One of
 * none adds nothing. */
START_TEST(ragged_micro_batches_are_one_batch)
{
    static const int64_t parts[2][3] = {{1, 8, 12}, {0, 5, 12}};
    for (int k = 0; k < 2; k++) {
        task a = task_new(), b = task_new();
        memcpy(b.parts, parts[k], sizeof b.parts);
        pal_train_opts whole = opts(&a, 4), cut = opts(&b, 4);
        cut.accumulate = 3;
        cut.clip = whole.clip = 0.5;
        pal_train_result p, q;
        trains(&whole, &p);
        trains(&cut, &q);
        ck_assert(fabs(p.last.loss - q.last.loss) <= 1e-13 * p.last.loss);
        ck_assert(fabs(p.last.norm - q.last.norm) <= 1e-13 * p.last.norm);
        ck_assert(q.last.counted == ROWS && q.step == 4);
        for (int64_t i = 0; i < CLASSES * IN; i++) {
            double x = optim_at(pal_value(a.w), i), y = optim_at(pal_value(b.w), i);
            ck_assert_msg(fabs(x - y) <= 1e-12, "element %lld: %g and %g", (long long)i, x, y);
        }
        task_free(&a);
        task_free(&b);
    }
}
END_TEST

static _Atomic int64_t allocations; /* of the thread that reads ahead too */
static void *count(void *memory, size_t old_size, size_t size, void *user)
{
    (void)old_size, (void)user;
    if (size == 0) {
        free(memory);
        return NULL;
    }
    allocations++;
    return aligned_alloc(64, (size + 63) / 64 * 64);
}

START_TEST(no_allocation_after_the_second_step)
{
    pal_set_allocator(count, NULL);
    task t = task_new();
    t.average = pal_average_new(t.params, (pal_average_opts){0});
    t.dropout = 0.1;
    t.allocations = &allocations;
    t.quiet = 2 * 2;
    pal_train_opts o = opts(&t, 30);
    o.accumulate = 2;
    o.clip = 1;
    ck_assert_int_gt(allocations, 0);
    trains(&o, NULL);
    ck_assert_int_eq(allocations, 0);
    task_free(&t);
    pal_set_allocator(NULL, NULL);
}
END_TEST

/* A table of logits by token, on batches of a store: training reads ahead, evaluation is the
 * held-out part. */
enum { VOCAB = 16, TEXT = 700, STEPS = 24, MICRO = 3, SECOND = 2 * MICRO };
typedef struct reader {
    pal_tensor table;
    pal_batches *train, *held;
    int64_t between, batches; /* allocations from the third step to the last; held-out batches */
    int evaluations;
} reader;

static pal_tensor table_loss(const reader *r, const pal_batch *b)
{
    return pal_cross_entropy(pal_embedding(r->table, b->tokens), b->targets,
                             (pal_cross_entropy_opts){.has_ignore = true, .ignore = PAL_IGNORE});
}

static pal_tensor reader_loss(void *user, pal_tape *tape, int64_t number, pal_batch *b)
{
    (void)tape;
    reader *r = user;
    if (number == SECOND) allocations = 0;
    if (number == (STEPS - 1) * MICRO) r->between = allocations;
    return table_loss(r, b);
}

/* Never better than the first time, so that nothing is saved after it. */
static double reader_evaluate(void *user, pal_tape *tape, int64_t step)
{
    (void)step;
    pal_error error;
    reader *r = user;
    ck_assert_int_eq(pal_batches_seek(r->held, (pal_position){0}, &error), PAL_OK);
    for (pal_batch b;;) {
        ck_assert_int_eq(pal_batches_next(r->held, tape, &b, &error), PAL_OK);
        if (b.end) break;
        ck_assert(isfinite(pal_item(table_loss(r, &b))));
        pal_tape_reset(tape);
        r->batches++;
    }
    return r->evaluations++ ? 2 : 1;
}

static void reads_without_allocation(pal_batch_kind kind)
{
    char path[128];
    uint8_t text[TEXT];
    const int64_t offsets[] = {0, 90, 91, 300, 301, 500, 600, TEXT};
    pal_error error = {0};
    pal_tokens *store;
    for (int i = 0; i < TEXT; i++) text[i] = (uint8_t)(i * i % 13);
    snprintf(path, sizeof path, "%s/store.h5", folder);
    const pal_tokens_source source = {
        .tokens = text, .count = TEXT, .offsets = offsets, .documents = 7, .vocab = VOCAB};
    ck_assert_int_eq(pal_tokens_write(path, &source, &error), PAL_OK);
    pal_set_allocator(count, NULL);
    ck_assert_int_eq(pal_tokens_open(&store, path, &error), PAL_OK);
    pal_batches_opts how = {.kind = kind, .batch = 3, .len = 16, .held_out = 0.3, .prefetch = true};
    task t = task_new();
    reader r = {.table = pal_param(t.params, "table", PAL_F32, PAL_SHAPE(VOCAB, VOCAB)),
                .train = pal_batches_new(store, how)};
    how.validation = true;
    how.prefetch = false;
    r.held = pal_batches_new(store, how);
    pal_optim_free(t.optim);
    t.optim = pal_adamw_new(t.params, (pal_adamw_opts){0});
    t.average = pal_average_new(t.params, (pal_average_opts){0});
    pal_train_opts o = opts(&t, STEPS);
    o.loss = reader_loss;
    o.evaluate = reader_evaluate;
    o.evaluate_every = 2;
    o.user = &r;
    o.batches = r.train;
    o.accumulate = MICRO;
    o.clip = 1;
    o.folder = folder;
    allocations = 0;
    trains(&o, NULL);
    ck_assert_msg(r.between == 0, "%lld allocations", (long long)r.between);
    ck_assert_int_gt(allocations, 0); /* the last step is saved */
    ck_assert_int_eq(r.evaluations, STEPS / 2);
    ck_assert_int_gt(r.batches, 2 * r.evaluations);
    ck_assert_int_gt(pal_batches_position(r.train).epoch, 2);
    pal_batches_free(r.train);
    pal_batches_free(r.held);
    pal_tokens_close(store);
    task_free(&t);
    pal_set_allocator(NULL, NULL);
}

START_TEST(no_allocation_with_batches_and_evaluation) { reads_without_allocation(PAL_WINDOWS); }
END_TEST
START_TEST(no_allocation_with_packed_batches) { reads_without_allocation(PAL_PACKED); }
END_TEST

/* ---- The end ---- */

START_TEST(the_operation_that_made_a_nan_is_named)
{
    pal_error error;
    task good = task_new(), t = task_new();
    good.dropout = t.dropout = 0.2;
    pal_train_opts three = opts(&good, 3), o = opts(&t, 9);
    pal_train_result result;
    trains(&three, NULL);
    t.bad = 3;
    ck_assert_int_eq(pal_train(&o, &result, &error), PAL_ENUMERIC);
    ck_assert_msg(strstr(error.message, "step 4: the loss is nan; log: ") ||
                      strstr(error.message, "step 4: the loss is -nan; log: "),
                  "%s", error.message);
    ck_assert_int_eq(optim_last.status, PAL_OK); /* the handler has heard nothing */
    ck_assert_int_eq(result.step, 3);
    /* All is as after the third step, so that the loop can go on. */
    ck_assert(optim_same(good.params, t.params));
    ck_assert(pal_tape_rng(good.tape)->counter == pal_tape_rng(t.tape)->counter);
    ck_assert_int_eq(pal_optim_steps(t.optim), 3);
    ck_assert(optim_grad_at(t.params, 0, 0) == 0);
    task_free(&good);
    task_free(&t);
}
END_TEST

START_TEST(a_parameter_that_is_not_finite_is_named)
{
    pal_error error;
    task t = task_new();
    pal_array w = pal_edit(t.w);
    pal_array_set(&w, (int64_t[]){1, 2}, INFINITY);
    pal_train_opts o = opts(&t, 2);
    ck_assert_int_eq(pal_train(&o, NULL, &error), PAL_ENUMERIC);
    ck_assert_msg(strstr(error.message, "parameter w holds") != NULL, "%s", error.message);
    task_free(&t);
}
END_TEST

static double falls_and_rises(int64_t step) { return step == 6 ? NAN : fabs(4.0 - (double)step); }

START_TEST(the_best_is_kept_beside_the_last)
{
    task t = task_new();
    t.score = falls_and_rises;
    pal_train_opts o = opts(&t, 10);
    o.folder = folder;
    o.evaluate = evaluate;
    o.evaluate_every = o.save_every = o.keep = 2;
    o.config = "a = 1\n";
    pal_train_result result;
    trains(&o, &result);
    ck_assert(result.best_step == 4 && result.best == 0);
    holds("best.txt", "step-00000004.h5 0\n");
    holds("config.txt", "a = 1\n");
    ck_assert(pal_run_last(folder, 0) == 10 && pal_run_last(folder, 10) == 8 &&
              pal_run_last(folder, 8) == 4 && pal_run_last(folder, 4) == 0);
    int64_t step;
    double value;
    ck_assert_int_eq(pal_run_best(folder, &step, &value, NULL), PAL_OK);
    ck_assert(step == 4 && value == 0);
    char *csv = contents("log.csv");
    ck_assert(!strncmp(csv, "step,loss,lr,grad_norm,tokens,held_out\n1,", 41));
    ck_assert(strstr(csv, ",12,2\n3,") && strstr(csv, ",12,\n7,"));
    free(csv);
    pal_error error;
    ck_assert_int_eq(pal_train(&o, NULL, &error), PAL_EVALUE);
    ck_assert(strstr(error.message, "holds a run already"));
    task_free(&t);
}
END_TEST

START_TEST(a_run_goes_on_bit_for_bit)
{
    task a = task_new(), b = task_new(), c = task_new();
    a.dropout = b.dropout = c.dropout = 0.3;
    pal_train_opts whole = opts(&a, 9), first = opts(&b, 5), rest = opts(&c, 9);
    first.folder = rest.folder = folder;
    rest.resume = 5;
    trains(&whole, NULL);
    trains(&first, NULL);
    optim_fill_value(c.w, 99);
    pal_train_result result;
    trains(&rest, &result);
    ck_assert_int_eq(result.step, 9);
    ck_assert(optim_same(a.params, c.params));
    task_free(&a);
    task_free(&b);
    task_free(&c);
}
END_TEST

START_TEST(time_and_errors_end_it)
{
    pal_error error;
    task t = task_new();
    pal_train_opts o = opts(&t, 1000000);
    pal_train_result result;
    o.seconds = 1e-9;
    trains(&o, &result);
    ck_assert(result.time_out && result.step == 1 && !result.signal);
    o.seconds = 0;
    o.schedule.lr = -1;
    ck_assert_int_eq(pal_train(&o, &result, &error), PAL_EVALUE);
    o.loss = NULL;
    ck_assert_int_eq(pal_train(&o, &result, &error), PAL_EVALUE);
    ck_assert(strstr(error.message, "loss are all needed"));
    task_free(&t);
}
END_TEST

/* ---- The log ---- */

START_TEST(a_log_is_cut_back)
{
    pal_journal *log;
    pal_error error;
    ck_assert_int_eq(pal_journal_open(&log, folder, "loss,lr", 0, &error), PAL_OK);
    for (int step = 1; step <= 4; step++) {
        const pal_field f[] = {{"lr", 0.25}, {"loss", step == 3 ? NAN : 1.0 / step}, {"t", 7}};
        ck_assert_int_eq(pal_journal_row(log, step, step == 2 ? 1 : 3, f, &error), PAL_OK);
    }
    pal_journal_close(log);
    holds("log.csv", "step,loss,lr\n1,1,0.25\n2,,0.25\n3,nan,0.25\n4,0.25,0.25\n");
    char path[128];
    snprintf(path, sizeof path, "%s/log.csv", folder);
    FILE *torn = fopen(path, "a");
    fputs("5,0.1", torn);
    fclose(torn);
    ck_assert_int_eq(pal_journal_open(&log, folder, "loss,rate", 3, &error), PAL_EFORMAT);
    ck_assert(strstr(error.message, "step,loss,lr"));
    ck_assert_int_eq(pal_journal_open(&log, folder, "loss,lr", 3, &error), PAL_OK);
    ck_assert_int_eq(pal_journal_row(log, 4, 1, &(pal_field){"lr", 8}, &error), PAL_OK);
    ck_assert_int_eq(pal_journal_sync(log, &error), PAL_OK);
    pal_journal_close(log);
    holds("log.csv", "step,loss,lr\n1,1,0.25\n2,,0.25\n3,nan,0.25\n4,,8\n");
    holds("log.jsonl", "{\"step\":1,\"lr\":0.25,\"loss\":1,\"t\":7}\n{\"step\":2,\"lr\":0.25}\n"
                       "{\"step\":3,\"lr\":0.25,\"loss\":null,\"t\":7}\n{\"step\":4,\"lr\":8}\n");
}
END_TEST

START_TEST(best_txt_is_not_trusted)
{
    static const char *const bad[] = {"",
                                      "step-1",
                                      "step-00000004.h5",
                                      "step-00000004.h5 nan\n",
                                      "step-00000000.h5 1\n",
                                      "../etc/passwd 1\n"};
    int64_t step;
    double value;
    pal_error error;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_int_eq(pal_run_write(folder, "best.txt", bad[i], &error), PAL_OK);
        ck_assert_int_eq(pal_run_best(folder, &step, &value, &error), PAL_EFORMAT);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("train loop");
    TCase *c = tcase_create("loop");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 120);
    tcase_add_test(c, ragged_micro_batches_are_one_batch);
    tcase_add_test(c, no_allocation_after_the_second_step);
    tcase_add_test(c, no_allocation_with_batches_and_evaluation);
    tcase_add_test(c, no_allocation_with_packed_batches);
    tcase_add_test(c, the_operation_that_made_a_nan_is_named);
    tcase_add_test(c, a_parameter_that_is_not_finite_is_named);
    tcase_add_test(c, the_best_is_kept_beside_the_last);
    tcase_add_test(c, a_run_goes_on_bit_for_bit);
    tcase_add_test(c, time_and_errors_end_it);
    tcase_add_test(c, a_log_is_cut_back);
    tcase_add_test(c, best_txt_is_not_trusted);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
