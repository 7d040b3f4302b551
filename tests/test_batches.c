/*
 * test_batches.c - batches: what an epoch covers, orders, packing and the held-out part.
 */
#include "tests/support/check.h"
#include "tests/support/stores.h"

#include <string.h>

/* Every token from .. to, except the first one of each document, is a target `expected` times. */
static void check_documents(const int *times, int expected, int64_t from, int64_t to)
{
    for (int i = 0; i < COUNT; i++) {
        const bool inside = i >= from && i < to && !begins(i);
        ck_assert_msg(times[i] == (inside ? expected : 0), "token %d: %d times", i, times[i]);
    }
}

/* ---- What an epoch covers ---- */

/* A batch is one row, so that epochs end between batches. */
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

/* If batches do not divide an epoch, the last one continues in the next epoch, and nothing is left
 * out. */
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
    /* One batch has to hold exactly one epoch. 1013 is a prime, so there are only these two
     * shapes. */
    static const int64_t shapes[][2] = {{1, 1013}, {1013, 1}};
    for (int k = 0; k < 2; k++) {
        pal_batches *b = make((pal_batches_opts){
            .kind = PAL_PACKED, .batch = shapes[k][0], .len = shapes[k][1], .seed = 5});
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            int times[COUNT] = {0};
            take(b, &t);
            count_targets(&t, times);
            check_documents(times, 1, 0, COUNT);
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

/* Over many epochs, every window is the first one about equally often. */
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
    /* Each hundred of starts is drawn about 200 times, with a standard deviation of 14. */
    for (int i = 1; i < 9; i++)
        ck_assert_msg(first[i] > 110 && first[i] < 290, "%d: %d", i, first[i]);
    pal_batches_free(b);
}
END_TEST

/* ---- Packing ---- */

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
            ck_assert_int_eq(from / LEN, (to - 1) / LEN); /* a sequence lies within a row */
            for (int64_t i = from; i < to; i++) {
                const int64_t next = t.tokens[i] + 1;
                const bool last_one = begins(next) || next == COUNT;
                if (i + 1 < to) ck_assert_int_eq(t.tokens[i + 1], next);
                ck_assert_int_eq(t.targets[i], last_one ? PAL_IGNORE : next);
                if (i > from) ck_assert(!begins(t.tokens[i]));
            }
            /* A sequence begins where its document or a row begins. */
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
        ck_assert(!take(b, &t) && t.counted == 0); /* the batches stay at their end */
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

/* The last 3 of the 11 documents begin at 300, 700 and 990. A held-out share of 0.2 is 2
 * documents. */
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
        check_documents(times, 1, 700, COUNT);
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
    o.kind = PAL_PACKED; /* then the first token of the part has no token before it */
    cover_validation(o, times);
    for (int i = 0; i < COUNT; i++) ck_assert_int_eq(times[i], i > split);
    o.held_out = 1;
    o.kind = PAL_WINDOWS;
    cover_validation(o, times);
    for (int i = 0; i < COUNT; i++) ck_assert_int_eq(times[i], i > 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batches");
    TCase *tc = tcase_create("batches");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, stores_setup, stores_teardown);
    tcase_add_test(tc, windows_cover_every_target_once);
    tcase_add_test(tc, batches_run_over_epochs);
    tcase_add_test(tc, packed_covers_every_target_once);
    tcase_add_test(tc, order_follows_seed_and_epoch);
    tcase_add_test(tc, order_is_even);
    tcase_add_test(tc, packed_sequences_stay_in_their_documents);
    tcase_add_test(tc, held_out_documents);
    tcase_add_test(tc, held_out_tokens);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
