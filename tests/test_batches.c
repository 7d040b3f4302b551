/*
 * test_batches.c - batches: what an epoch covers, orders, positions, packing, the held-out part,
 * the thread that reads ahead. Token i of the stores here is i, so that a batch says where it is
 * from.
 */
#include "optim/data.h"
#include "tensor/internal.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Helpers ---- */

enum { COUNT = 1013, MOST = 4000 };

static char folder[] = "/tmp/palimpsest-batches-XXXXXX";
static char path[64];
static pal_tape *tape;
static pal_tokens *store;
static uint32_t lengths[COUNT];
static pal_error last;

static void note(const pal_error *error, void *user)
{
    (void)user;
    last = *error;
}

static void setup(void)
{
    strcpy(folder, "/tmp/palimpsest-batches-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.h5", folder);
    tape = pal_tape_new();
    store = NULL;
    last = (pal_error){0};
    pal_set_error_handler(note, NULL);
}

static void teardown(void)
{
    char command[128];
    pal_tokens_close(store);
    pal_tape_free(tape);
    pal_set_error_handler(NULL, NULL);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static void ok(pal_status status, const pal_error *error)
{
    if (status != PAL_OK) ck_abort_msg("%s: %s", pal_status_name(status), error->message);
}

static const int64_t several[] = {0, 1, 8, 8, 150, 151, 153, 300, 300, 700, 990, COUNT};
enum { SEVERAL = sizeof several / sizeof *several - 1 };

/* A store of COUNT tokens in several documents, or in one. */
static void open_store(bool one)
{
    static uint16_t tokens[COUNT];
    pal_error e;
    for (int i = 0; i < COUNT; i++) tokens[i] = (uint16_t)i, lengths[i] = (uint32_t)(i % 4);
    pal_tokens_source s = {.tokens = tokens,
                           .count = COUNT,
                           .offsets = one ? NULL : several,
                           .documents = SEVERAL,
                           .vocab = COUNT,
                           .lengths = lengths};
    ok(pal_tokens_write(path, &s, &e), &e);
    ok(pal_tokens_open(&store, path, &e), &e);
}

static pal_batches *make(pal_batches_opts opts)
{
    pal_batches *b = pal_batches_new(store, opts);
    ck_assert_msg(b != NULL, "%s", last.message);
    return b;
}

/* A batch copied from the tape. */
typedef struct taken {
    int64_t tokens[MOST], targets[MOST], offsets[MOST];
    int64_t n, sequences, counted, bytes;
    bool end;
} taken;

static bool take(pal_batches *b, taken *t)
{
    pal_batch batch;
    pal_error e;
    ok(pal_batches_next(b, tape, &batch, &e), &e);
    memset(t, 0, sizeof *t);
    t->counted = batch.counted, t->bytes = batch.bytes, t->end = batch.end;
    if (!batch.end) {
        t->n = pal_count(batch.tokens);
        ck_assert(t->n <= MOST && pal_count(batch.targets) == t->n);
        memcpy(t->tokens, pal_i64(batch.tokens), (size_t)t->n * sizeof *t->tokens);
        memcpy(t->targets, pal_i64(batch.targets), (size_t)t->n * sizeof *t->targets);
        if (!pal_is_none(batch.offsets)) {
            t->sequences = pal_count(batch.offsets) - 1;
            memcpy(t->offsets, pal_i64(batch.offsets),
                   (size_t)(t->sequences + 1) * sizeof *t->offsets);
        }
    }
    pal_tape_reset(tape);
    return !t->end;
}

/* Counts how often each token is a target and checks what the batch says of itself. */
static void count_targets(const taken *t, int *times)
{
    int64_t counted = 0, bytes = 0;
    for (int64_t i = 0; i < t->n; i++) {
        if (t->targets[i] == PAL_IGNORE) continue;
        ck_assert_int_eq(t->targets[i], t->tokens[i] + 1);
        times[t->targets[i]]++;
        counted++;
        bytes += lengths[t->targets[i]];
    }
    ck_assert_int_eq(t->counted, counted);
    ck_assert_int_eq(t->bytes, bytes);
}

static void begin_document(int *times, int expected, int64_t from, int64_t to)
{
    for (int i = 0; i < COUNT; i++) {
        bool begins = false, inside = i >= from && i < to;
        for (int d = 0; d < SEVERAL; d++) begins = begins || several[d] == i;
        ck_assert_msg(times[i] == (inside && !begins ? expected : 0), "token %d: %d times", i,
                      times[i]);
    }
}

/* ---- What an epoch covers ---- */

/* One row a batch, so that epochs end between batches. */
START_TEST(windows_cover_every_target_once)
{
    static taken t;
    static const int64_t lens[] = {1, 7, 64, 1011, 1012, 1013, 3000};
    open_store(false);
    for (size_t l = 0; l < sizeof lens / sizeof *lens; l++) {
        pal_batches *b = make((pal_batches_opts){.batch = 1, .len = lens[l], .seed = l});
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            int times[COUNT] = {0};
            int64_t sum = 0;
            while (sum < COUNT - 1) {
                take(b, &t);
                count_targets(&t, times);
                sum += t.counted;
                ck_assert_int_eq(pal_batches_position(b).epoch, epoch);
            }
            for (int i = 0; i < COUNT; i++) ck_assert_int_eq(times[i], i > 0);
        }
        pal_batches_free(b);
    }
}
END_TEST

/* Batches that do not divide an epoch go on in the next: nothing is left out. */
START_TEST(batches_run_over_epochs)
{
    static taken t;
    int times[COUNT] = {0}, rows = 0;
    open_store(true);
    pal_batches *b = make((pal_batches_opts){.batch = 48, .len = 50});
    for (int i = 0; i < 7; i++) {
        take(b, &t);
        count_targets(&t, times);
        rows += 48;
    }
    const pal_position at = pal_batches_position(b);
    ck_assert_msg(at.epoch >= rows / 22 - 1 && at.epoch <= rows / 21, "epoch %lld",
                  (long long)at.epoch);
    for (int i = 1; i < COUNT; i++) ck_assert(times[i] >= at.epoch && times[i] <= at.epoch + 1);
    pal_batches_free(b);
}
END_TEST

START_TEST(packed_covers_every_target_once)
{
    static taken t;
    open_store(false);
    /* A row of one token holds no more than the epoch's: 1013 is a prime. */
    static const int64_t shapes[][2] = {{1, 1013}, {1013, 1}};
    for (int k = 0; k < 2; k++) {
        pal_batches *b = make((pal_batches_opts){
            .kind = PAL_PACKED, .batch = shapes[k][0], .len = shapes[k][1], .seed = 5});
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            int times[COUNT] = {0};
            take(b, &t);
            count_targets(&t, times);
            begin_document(times, 1, 0, COUNT);
            ck_assert_int_eq(pal_batches_position(b).epoch, epoch);
            ck_assert_int_eq(pal_batches_position(b).index, COUNT);
        }
        pal_batches_free(b);
    }
}
END_TEST

/* ---- Orders ---- */

static void first_tokens(uint64_t seed, int64_t epoch, pal_batch_kind kind, int64_t *out)
{
    static taken t;
    pal_error e;
    pal_batches *b = make((pal_batches_opts){.kind = kind, .batch = 10, .len = 30, .seed = seed});
    ok(pal_batches_seek(b, (pal_position){epoch, 0}, &e), &e);
    take(b, &t);
    memcpy(out, t.tokens, 300 * sizeof *out);
    pal_batches_free(b);
}

START_TEST(order_follows_seed_and_epoch)
{
    open_store(false);
    for (int kind = PAL_WINDOWS; kind <= PAL_PACKED; kind++) {
        int64_t a[300], b[300];
        first_tokens(1, 0, (pal_batch_kind)kind, a);
        first_tokens(1, 0, (pal_batch_kind)kind, b);
        ck_assert_mem_eq(a, b, sizeof a);
        first_tokens(1, 1, (pal_batch_kind)kind, b);
        ck_assert_mem_ne(a, b, sizeof a);
        first_tokens(2, 0, (pal_batch_kind)kind, b);
        ck_assert_mem_ne(a, b, sizeof a);
    }
}
END_TEST

/* Over many epochs every window comes first about equally often. */
START_TEST(order_is_even)
{
    static taken t;
    pal_error e;
    int first[11] = {0};
    open_store(true);
    pal_batches *b = make((pal_batches_opts){.batch = 1, .len = 100});
    for (int64_t epoch = 0; epoch < 2200; epoch++) {
        ok(pal_batches_seek(b, (pal_position){epoch, 0}, &e), &e);
        take(b, &t);
        first[t.tokens[0] / 100]++;
    }
    /* Windows begin at 0 or anywhere: about 200 of each hundred, deviation 14. */
    for (int i = 1; i < 9; i++)
        ck_assert_msg(first[i] > 110 && first[i] < 290, "%d: %d", i, first[i]);
    pal_batches_free(b);
}
END_TEST

/* ---- Positions, and the thread ---- */

static void same_batch(const taken *a, const taken *b)
{
    ck_assert(a->n == b->n && a->sequences == b->sequences && a->end == b->end);
    ck_assert(a->counted == b->counted && a->bytes == b->bytes);
    ck_assert_mem_eq(a->tokens, b->tokens, sizeof a->tokens);
    ck_assert_mem_eq(a->targets, b->targets, sizeof a->targets);
    ck_assert_mem_eq(a->offsets, b->offsets, sizeof a->offsets);
}

static void check_positions(pal_batches_opts opts)
{
    enum { STEPS = 40 };
    static taken all[STEPS], t;
    pal_position at[STEPS];
    pal_error e;
    pal_batches *plain = make(opts);
    for (int i = 0; i < STEPS; i++) {
        at[i] = pal_batches_position(plain);
        take(plain, &all[i]);
    }
    pal_batches_free(plain);
    for (int prefetch = 0; prefetch < 2; prefetch++) {
        opts.prefetch = prefetch;
        pal_batches *b = make(opts);
        for (int i = 0; i < STEPS; i++) {
            const pal_position now = pal_batches_position(b);
            ck_assert(now.epoch == at[i].epoch && now.index == at[i].index);
            take(b, &t);
            same_batch(&all[i], &t);
        }
        for (int i = STEPS - 1; i > 0; i -= 7) { /* backward, and over what was drawn ahead */
            ok(pal_batches_seek(b, at[i], &e), &e);
            take(b, &t);
            same_batch(&all[i], &t);
            if (i % 2 == 0) take(b, &t);
        }
        ck_assert_int_eq(pal_batches_seek(b, (pal_position){0, -1}, &e), PAL_EVALUE);
        ck_assert_int_eq(pal_batches_seek(b, (pal_position){-1, 0}, &e), PAL_EVALUE);
        ck_assert_int_eq(pal_batches_seek(b, (pal_position){0, COUNT + 1}, &e), PAL_EVALUE);
        pal_batches_free(b);
    }
    for (int i = 3; i < STEPS; i += 12) { /* in an object that is new */
        pal_batches *b = make(opts);
        ok(pal_batches_seek(b, at[i], &e), &e);
        take(b, &t);
        same_batch(&all[i], &t);
        pal_batches_free(b);
    }
}

START_TEST(positions_of_windows)
{
    open_store(true);
    check_positions((pal_batches_opts){.batch = 3, .len = 33, .seed = 9});
}
END_TEST

START_TEST(positions_of_packed)
{
    open_store(false);
    check_positions((pal_batches_opts){.kind = PAL_PACKED, .batch = 3, .len = 33, .seed = 9});
}
END_TEST

START_TEST(positions_of_validation)
{
    open_store(false);
    for (int kind = PAL_WINDOWS; kind <= PAL_PACKED; kind++)
        check_positions((pal_batches_opts){.kind = (pal_batch_kind)kind,
                                           .batch = 2,
                                           .len = 10,
                                           .held_out = 0.5,
                                           .validation = true});
}
END_TEST

/* ---- Packing ---- */

static bool begins(int64_t token)
{
    for (int d = 0; d < SEVERAL; d++)
        if (several[d] == token) return true;
    return false;
}

START_TEST(packed_sequences_stay_in_their_documents)
{
    static taken t;
    enum { LEN = 37, ROWS = 4 };
    open_store(false);
    pal_batches *b = make((pal_batches_opts){.kind = PAL_PACKED, .batch = ROWS, .len = LEN});
    for (int step = 0; step < 30; step++) {
        pal_batch shape;
        pal_error e;
        ok(pal_batches_next(b, tape, &shape, &e), &e);
        ck_assert(pal_shape_equal(pal_shape_of(shape.tokens), PAL_SHAPE(1, ROWS * LEN)));
        pal_tape_reset(tape);
        take(b, &t);
        ck_assert(t.offsets[0] == 0 && t.offsets[t.sequences] == ROWS * LEN);
        for (int64_t s = 0; s < t.sequences; s++) {
            const int64_t from = t.offsets[s], to = t.offsets[s + 1];
            ck_assert_int_lt(from, to);
            ck_assert_int_eq(from / LEN, (to - 1) / LEN); /* within a row */
            for (int64_t i = from; i < to; i++) {
                const int64_t next = t.tokens[i] + 1;
                const bool last_one = begins(next) || next == COUNT;
                if (i + 1 < to) ck_assert_int_eq(t.tokens[i + 1], next);
                ck_assert_int_eq(t.targets[i], last_one ? PAL_IGNORE : next);
                if (i > from) ck_assert(!begins(t.tokens[i]));
            }
            /* A sequence begins with its document, or with a row. */
            ck_assert(begins(t.tokens[from]) || from % LEN == 0);
        }
    }
    pal_batches_free(b);
}
END_TEST

/* ---- The held-out part ---- */

static void cover_validation(pal_batches_opts opts, int *times)
{
    static taken t;
    pal_error e;
    opts.validation = true;
    pal_batches *b = make(opts);
    for (int round = 0; round < 2; round++) {
        memset(times, 0, COUNT * sizeof *times);
        int64_t before = -1;
        while (take(b, &t)) {
            count_targets(&t, times);
            if (t.counted) ck_assert_int_gt(t.tokens[0], before);
            before = t.tokens[0];
        }
        ck_assert(!take(b, &t) && t.counted == 0); /* and stays at its end */
        ok(pal_batches_seek(b, (pal_position){0, 0}, &e), &e);
    }
    pal_batches_free(b);
}

static void cover_training(pal_batches_opts opts, int *times, int steps)
{
    static taken t;
    pal_batches *b = make(opts);
    memset(times, 0, COUNT * sizeof *times);
    for (int i = 0; i < steps; i++) {
        take(b, &t);
        count_targets(&t, times);
    }
    pal_batches_free(b);
}

/* Of the 11 documents the last 3 begin at 300 (none in it), 700 and 990. */
START_TEST(held_out_documents)
{
    int times[COUNT];
    open_store(false);
    for (int prefetch = 0; prefetch < 2; prefetch++) {
        pal_batches_opts o = {.batch = 3, .len = 21, .held_out = 0.2, .prefetch = prefetch};
        cover_validation(o, times);
        for (int i = 0; i < COUNT; i++) ck_assert_int_eq(times[i], i >= 700);
        cover_training(o, times, 60);
        for (int i = 0; i < COUNT; i++) ck_assert((times[i] > 0) == (i > 0 && i < 700));
        o.kind = PAL_PACKED;
        cover_validation(o, times);
        begin_document(times, 1, 700, COUNT);
        cover_training(o, times, 60);
        for (int i = 0; i < COUNT; i++) ck_assert((times[i] > 0) == (i < 700 && !begins(i)));
    }
}
END_TEST

START_TEST(held_out_tokens)
{
    int times[COUNT];
    open_store(true);
    pal_batches_opts o = {.batch = 3, .len = 21, .held_out = 0.25};
    const int split = COUNT - 253;
    cover_validation(o, times);
    for (int i = 0; i < COUNT; i++) ck_assert_int_eq(times[i], i >= split);
    cover_training(o, times, 60);
    for (int i = 0; i < COUNT; i++) ck_assert((times[i] > 0) == (i > 0 && i < split));
    o.kind = PAL_PACKED; /* the first token of the part has nothing before it then */
    cover_validation(o, times);
    for (int i = 0; i < COUNT; i++) ck_assert_int_eq(times[i], i > split);
    o.held_out = 1;
    o.kind = PAL_WINDOWS;
    cover_validation(o, times);
    for (int i = 0; i < COUNT; i++) ck_assert_int_eq(times[i], i > 0);
}
END_TEST

/* ---- Errors ---- */

START_TEST(options_that_do_not_fit)
{
    static const struct {
        pal_batches_opts opts;
        const char *words;
    } bad[] = {{{.batch = -1}, "-1 rows of 256 tokens"},
               {{.len = -2}, "8 rows of -2 tokens"},
               {{.batch = INT64_MAX, .len = 3}, "rows of 3 tokens"},
               {{.held_out = -0.1}, "held_out is -0.1"},
               {{.held_out = 1.5}, "held_out is 1.5"},
               {{.kind = (pal_batch_kind)7}, "no kind 7"},
               {{.validation = true}, "the part for validation, 0 of 1013 tokens, has no target"},
               {{.held_out = 1}, "the part for training, 0 of 1013 tokens, has no target"}};
    open_store(true);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        last = (pal_error){0};
        ck_assert_ptr_null(pal_batches_new(store, bad[i].opts));
        ck_assert_int_eq(last.status, PAL_EVALUE);
        ck_assert_msg(strstr(last.message, bad[i].words), "%s", last.message);
    }
    pal_batches_free(NULL);
}
END_TEST

/* Token 500 is outside the vocabulary: the batches before it are right, it is an error that comes
 * again, and one can go on elsewhere. */
START_TEST(errors_come_with_their_batch)
{
    static taken t;
    static uint8_t tokens[COUNT];
    pal_error e;
    for (int i = 0; i < COUNT; i++) tokens[i] = 7;
    ok(pal_tokens_write(path, &(pal_tokens_source){.tokens = tokens, .count = COUNT}, &e), &e);
    FILE *f = fopen(path, "r+b");
    int at = 0, run = 0;
    for (int c; run < 500 && (c = fgetc(f)) != EOF; at++) run = c == 7 ? run + 1 : 0;
    ck_assert_int_eq(run, 500);
    fseek(f, at, SEEK_SET);
    fputc(8, f);
    fclose(f);
    ok(pal_tokens_open(&store, path, &e), &e);
    for (int prefetch = 0; prefetch < 2; prefetch++) {
        pal_batches *b = make((pal_batches_opts){.batch = 2, .len = 10, .prefetch = prefetch});
        for (int i = 0; i < 3; i++) {
            pal_batch batch;
            ck_assert_int_eq(pal_batches_next(b, tape, &batch, &e), PAL_EFORMAT);
            ck_assert_ptr_nonnull(strstr(e.message, "'/tokens' is damaged"));
            ck_assert_int_eq(pal_batches_position(b).index, 0);
        }
        pal_batches_free(b);
    }
    pal_tokens_close(store);
    store = NULL;
    open_store(true);
    pal_batches *b = make((pal_batches_opts){.batch = 2, .len = 10, .prefetch = true});
    pal_error_set(&e, PAL_EVALUE, "test");
    pal_set_error_handler(note, NULL);
    pal_backward(pal_zeros(tape, PAL_F32, PAL_SHAPE(2))); /* the tape fails */
    pal_batch batch;
    ck_assert_int_ne(pal_batches_next(b, tape, &batch, &e), PAL_OK);
    ck_assert_int_eq(pal_batches_position(b).index, 0);
    pal_tape_reset(tape);
    take(b, &t);
    ck_assert_int_eq(pal_batches_position(b).index, 2);
    pal_batches_free(b);
}
END_TEST

static int64_t allocations, fail_at;

static void *counting(void *memory, size_t old_size, size_t size, void *user)
{
    (void)old_size, (void)user;
    if (size == 0) {
        free(memory);
        return NULL;
    }
    return ++allocations == fail_at ? NULL : aligned_alloc(64, (size + 63) / 64 * 64);
}

START_TEST(memory_is_taken_at_the_beginning)
{
    static taken t;
    open_store(true);
    pal_tape_free(tape);
    pal_set_allocator(counting, NULL);
    tape = pal_tape_new();
    for (int prefetch = 0; prefetch < 2; prefetch++) {
        const pal_batches_opts o = {.batch = 4, .len = 25, .prefetch = prefetch};
        fail_at = allocations + 1;
        ck_assert_ptr_null(pal_batches_new(store, o));
        ck_assert_int_eq(last.status, PAL_ENOMEM);
        fail_at = 0;
        pal_batches *b = make(o);
        for (int i = 0; i < 3; i++) take(b, &t);
        const int64_t before = allocations;
        for (int i = 0; i < 100; i++) take(b, &t);
        ck_assert_int_eq(allocations, before);
        pal_batches_free(b);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batches");
    TCase *tc = tcase_create("batches");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, windows_cover_every_target_once);
    tcase_add_test(tc, batches_run_over_epochs);
    tcase_add_test(tc, packed_covers_every_target_once);
    tcase_add_test(tc, order_follows_seed_and_epoch);
    tcase_add_test(tc, order_is_even);
    tcase_add_test(tc, positions_of_windows);
    tcase_add_test(tc, positions_of_packed);
    tcase_add_test(tc, positions_of_validation);
    tcase_add_test(tc, packed_sequences_stay_in_their_documents);
    tcase_add_test(tc, held_out_documents);
    tcase_add_test(tc, held_out_tokens);
    tcase_add_test(tc, options_that_do_not_fit);
    tcase_add_test(tc, errors_come_with_their_batch);
    tcase_add_test(tc, memory_is_taken_at_the_beginning);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
