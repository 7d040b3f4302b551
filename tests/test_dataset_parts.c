/*
 * test_dataset_parts.c - datasets whose sequences are divided among processes, and a run on a file
 * of 20 GB that is killed and goes on.
 */
#include "tests/support/check.h"
#include "tests/support/stores.h"

#include <palimpsest.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pal_error error;

static pal_dataset *open_set(pal_dataset_opts o)
{
    pal_dataset *d;
    ok(pal_dataset_open(&d, path, o, &error), &error);
    return d;
}

static pal_batch next(pal_batches *b)
{
    pal_batch t;
    pal_tape_reset(tape);
    ok(pal_batches_next(b, tape, &t, &error), &error);
    return t;
}

/* ---- Sequences over processes ---- */

/* Rows of 3 numbers a step: 5 steps each, or ragged. */
static void put_sequences(void)
{
    static const int64_t offsets[] = {0, 2, 2, 9, 10, 14};
    float x[5 * 7 * 2], ragged[14 * 3];
    int64_t y[5] = {0, 1, 2, 3, 4};
    pal_h5 *file;
    for (int i = 0; i < 70; i++) x[i] = (float)i;
    for (int i = 0; i < 42; i++) ragged[i] = (float)i;
    const struct {
        const char *name;
        pal_array a;
    } all[] = {{"x", pal_array_of(PAL_F32, PAL_SHAPE(5, 7, 2), x)},
               {"r", pal_array_of(PAL_F32, PAL_SHAPE(14, 3), ragged)},
               {"y", pal_array_of(PAL_I64, PAL_SHAPE(5), y)},
               {"o", pal_array_of(PAL_I64, PAL_SHAPE(6), (void *)(uintptr_t)offsets)}};
    ok(pal_h5_create(&file, path, &error), &error);
    for (int i = 0; i < 4; i++) ok(pal_h5_put(file, all[i].name, &all[i].a, &error), &error);
    ok(pal_h5_commit(file, &error), &error);
}

/* Copies a part [rows, steps, n] into its place of the whole. */
static void put_part(float *whole, int64_t steps, int64_t at, pal_tensor part)
{
    const int64_t rows = pal_dim(part, 0), own = pal_dim(part, 1), n = pal_dim(part, 2);
    for (int64_t i = 0; i < rows; i++)
        memcpy(whole + (i * steps + at) * n, pal_f32(part) + i * own * n,
               (size_t)(own * n) * sizeof(float));
}

/* The parts of a batch together are the batch of one process. */
START_TEST(parts_of_time)
{
    enum { ROWS = 5 };
    put_sequences();
    const pal_dataset_opts fields = {.field = {{.name = "x", .sequence = true}, {.name = "y"}}};
    const pal_dataset_opts ragged = {.field = {{.name = "r", .offsets = "o"}, {.name = "y"}}};
    for (int kind = 0; kind < 3; kind++) { /* even, padded, packed */
        pal_dataset *d = open_set(kind ? ragged : fields);
        pal_batches_opts o = {.batch = ROWS, .kind = kind == 2 ? PAL_PACKED : 0};
        pal_batches *one = pal_dataset_batches(d, o);
        const char *name = kind ? "r" : "x";
        for (int S = 2; S <= 9; S += 7) {
            float whole[200], wanted[200];
            int64_t counted = 0, at = 0, sequences = 0;
            ok(pal_batches_seek(one, (pal_position){0}, &error), &error);
            pal_batch t = next(one);
            const pal_tensor x = pal_batch_tensor(&t, name);
            const int64_t steps = pal_dim(x, 1), all = pal_count(x);
            const int64_t real = kind ? 14 : ROWS * steps;
            memcpy(wanted, pal_f32(x), (size_t)all * sizeof(float));
            for (int s = 0; s < S; s++) {
                o.sequence_index = s, o.sequence_count = S;
                pal_batches *b = pal_dataset_batches(d, o);
                t = next(b);
                const pal_tensor own = pal_batch_tensor(&t, name);
                put_part(whole, steps, at, own);
                ck_assert_int_eq(at, steps * s / S);
                at += pal_dim(own, 1), counted += t.counted;
                ck_assert_int_eq(pal_dim(pal_batch_tensor(&t, "y"), 0), ROWS);
                if (kind == 1)
                    ck_assert(pal_item(pal_sum(pal_batch_tensor(&t, "r.mask"), PAL_ALL, false)) ==
                              (double)t.counted);
                if (kind == 2) {
                    const int64_t n = pal_count(t.offsets) - 1, *begins = pal_i64(t.offsets);
                    ck_assert(begins[0] == 0 && begins[n] == pal_dim(own, 1));
                    sequences += n - t.continued;
                }
                pal_batches_free(b);
            }
            ck_assert_int_eq(counted, real);
            ck_assert(at == steps && memcmp(whole, wanted, (size_t)all * sizeof(float)) == 0);
            if (kind == 2) ck_assert(sequences == 4 || sequences == 5); /* one row is empty */
        }
        pal_batches_free(one);
        pal_dataset_close(d);
    }
    const pal_dataset_opts single = {.field = {{.name = "y", .sequence = true}}};
    pal_dataset *d;
    ck_assert_int_eq(pal_dataset_open(&d, path, single, &error), PAL_EVALUE);
    ck_assert_ptr_nonnull(strstr(error.message, "one number a row, and no sequence"));
}
END_TEST

START_TEST(both_parts_of_a_split)
{
    put_sequences();
    pal_dataset *d = open_set((pal_dataset_opts){.field = {{.name = "y"}}});
    pal_batches *train, *held;
    pal_dataset_split(d, (pal_batches_opts){.batch = 2, .held_out = 0.4}, &train, &held);
    ck_assert(pal_batches_tokens(train) == 3 && pal_batches_tokens(held) == 2);
    pal_batches_free(train);
    pal_batches_free(held);
    pal_dataset_split(d, (pal_batches_opts){.batch = 2}, &train, &held); /* nothing is held out */
    ck_assert(!train && !held && last.status == PAL_EVALUE);
    pal_dataset_close(d);
}
END_TEST

/* ---- A run on 20 GB ---- */

enum { WIDTH = 1000, STEPS = 12, MOST_MIB = 1024 };

/* An .npy of zeros with 5 million rows, of which the disk holds nothing. */
static void put_huge(void)
{
    static const char head[] =
        "{'descr': '<f4', 'fortran_order': False, 'shape': (5000000, 1000), }\n";
    char begin[10] = "\x93NUMPY\x01";
    begin[8] = (char)(sizeof head - 1);
    FILE *f = fopen(path, "w");
    fwrite(begin, 1, sizeof begin, f);
    fwrite(head, 1, sizeof head - 1, f);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(truncate(path, 10 + (off_t)sizeof head - 1 + (off_t)20000000000), 0);
}

static long anonymous_mib(void)
{
    char line[128];
    long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %ld", &kib) == 1) break;
    if (f) fclose(f);
    return kib / 1024;
}

typedef struct run {
    pal_tensor w;
    int64_t kill_at;
} run;

static pal_tensor loss(void *user, pal_tape *on, int64_t number, pal_batch *batch)
{
    const run *r = user;
    if (number == r->kill_at) raise(SIGKILL);
    if (anonymous_mib() > MOST_MIB) _exit(3);
    const pal_tensor x = pal_add(pal_batch_tensor(batch, "x"), pal_scalar(on, PAL_F32, 1));
    return pal_mean(pal_square(pal_affine(pal_matmul(pal_dropout(x, 0.1), r->w), 1, -1)), PAL_ALL,
                    false);
}

/* Trains in a process of its own; its status. */
static int train(const char *folder, int64_t kill_at)
{
    int status;
    const pid_t child = fork();
    if (child) {
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        return status;
    }
    run r = {.kill_at = kill_at};
    pal_rng rng = pal_rng_new(1, 0);
    pal_train_opts o = {.params = pal_params_new(), .tape = pal_tape_new(), .loss = loss};
    r.w = pal_linear_weight(o.params, "w", WIDTH, 1, PAL_F32, &rng), o.user = &r;
    o.optim = pal_adamw_new(o.params, (pal_adamw_opts){0}), o.schedule.lr = 1e-3;
    o.batches = pal_dataset_batches(
        open_set((pal_dataset_opts){.field = {{.name = "x"}}}),
        (pal_batches_opts){.batch = 64, .held_out = 0.1, .split_seed = 1, .prefetch = true});
    o.folder = folder, o.resume = pal_run_last(folder, 0), o.save_every = 4, o.steps = STEPS;
    o.quiet = true;
    const pal_status s = pal_train(&o, NULL, &error);
    pal_train_free(&o);
    _exit(s != PAL_OK);
}

static size_t read_all(const char *folder, const char *name, char *to, size_t room)
{
    char file[200];
    snprintf(file, sizeof file, "%s/%s", folder, name);
    FILE *f = fopen(file, "r");
    ck_assert_msg(f != NULL, "%s", file);
    const size_t n = fread(to, 1, room, f);
    fclose(f);
    return n;
}

START_TEST(trains_on_twenty_gigabytes)
{
    static char a[1 << 17], b[1 << 17], one[100], two[100];
    static const char *const names[] = {"log.csv", "step-00000012.h5"};
    char command[256];
    if (!getenv("PAL_TEST_ALL")) return;
    put_huge();
    snprintf(one, sizeof one, "%s.one", path), snprintf(two, sizeof two, "%s.two", path);
    ck_assert_int_eq(train(one, -1), 0);
    const int killed = train(two, 7);
    ck_assert(WIFSIGNALED(killed) && WTERMSIG(killed) == SIGKILL);
    ck_assert_int_eq(pal_run_last(two, 0), 4);
    ck_assert_int_eq(train(two, -1), 0);
    for (int i = 0; i < 2; i++) {
        const size_t n = read_all(one, names[i], a, sizeof a);
        ck_assert_msg(n == read_all(two, names[i], b, sizeof b) && memcmp(a, b, n) == 0, "%s",
                      names[i]);
    }
    snprintf(command, sizeof command, "rm -rf %s %s", one, two);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dataset parts");
    TCase *c = tcase_create("dataset parts");
    tcase_add_checked_fixture(c, stores_setup, stores_teardown);
    tcase_add_test(c, parts_of_time);
    tcase_add_test(c, both_parts_of_a_split);
    tcase_add_test(c, trains_on_twenty_gigabytes);
    tcase_set_timeout(c, 120);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
