/*
 * test_batches_ahead.c - positions, the thread that reads ahead, and errors of batches.
 */
#include "tests/support/check.h"
#include "tests/support/stores.h"

#include <stdlib.h>
#include <string.h>

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

START_TEST(empty_stores)
{
    const uint8_t none = 0;
    pal_error e;
    ok(pal_tokens_write(path, &(pal_tokens_source){.tokens = &none, .count = 0}, &e), &e);
    ok(pal_tokens_open(&store, path, &e), &e);
    for (int i = 0; i < 4; i++) {
        last = (pal_error){0};
        ck_assert_ptr_null(pal_batches_new(
            store, (pal_batches_opts){.held_out = 0.5 * (i % 2), .validation = i / 2}));
        ck_assert_int_eq(last.status, PAL_EVALUE);
        ck_assert_msg(strstr(last.message, "the store holds no tokens"), "%s", last.message);
    }
}
END_TEST

START_TEST(shares_that_are_held_out)
{
    static const struct {
        int64_t n;
        double share;
        int64_t held;
    } of[] = {{10, 0, 0},  {10, 0.01, 1}, {10, 0.24, 2}, {10, 0.25, 3}, {10, 0.99, 9}, {10, 1, 10},
              {2, 0.9, 1}, {1, 0.5, 0},   {1, 1, 1},     {0, 0.5, 0},   {0, 1, 0}};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        ck_assert_int_eq(pal_batches_held_out(of[i].n, of[i].share), of[i].held);
}
END_TEST

/* A store whose token 500 is outside the vocabulary, which its checksums do not tell. */
static void open_wrong_store(void)
{
    static uint8_t tokens[COUNT];
    int64_t offsets[2] = {0, COUNT};
    pal_h5 *file;
    pal_error e;
    pal_array a = pal_array_of(PAL_I64, PAL_SHAPE(2), offsets);
    tokens[500] = 200;
    ok(pal_h5_create(&file, path, &e), &e);
    ok(pal_h5_put_uints(file, "/tokens", 1, COUNT, tokens, &e), &e);
    ok(pal_h5_put(file, "/offsets", &a, &e), &e);
    ok(pal_h5_put_number(file, "/", "tokens", 1, &e), &e);
    ok(pal_h5_put_number(file, "/", "vocab", 200, &e), &e);
    ok(pal_h5_put_number(file, "/", "bytes", COUNT, &e), &e);
    ok(pal_h5_put_text(file, "/", "tokenizer", "bytes", &e), &e);
    ok(pal_h5_commit(file, &e), &e);
    ok(pal_tokens_open(&store, path, &e), &e);
}

/* The batches before it are right, it comes again, and one can go on elsewhere. */
START_TEST(errors_come_with_their_batch)
{
    static taken t;
    pal_error e;
    pal_batch batch;
    open_wrong_store();
    for (int prefetch = 0; prefetch < 2; prefetch++) {
        pal_batches *b = make((pal_batches_opts){
            .batch = 2, .len = 10, .held_out = 1, .validation = true, .prefetch = prefetch});
        for (int i = 0; i < 24; i++) ck_assert(take(b, &t) && t.counted == 20);
        for (int i = 0; i < 3; i++) {
            ck_assert_int_eq(pal_batches_next(b, tape, &batch, &e), PAL_EFORMAT);
            ck_assert_ptr_nonnull(strstr(e.message, "token 500 is 200 in a vocabulary of 200"));
            ck_assert_int_eq(pal_batches_position(b).index, 48);
        }
        ok(pal_batches_seek(b, (pal_position){0, 52}, &e), &e);
        ck_assert(take(b, &t) && t.counted == 20);
        pal_batches_free(b);
    }
}
END_TEST

START_TEST(failing_tapes)
{
    static taken t, want;
    pal_batch batch;
    pal_error e;
    open_store(true);
    for (int prefetch = 0; prefetch < 2; prefetch++) {
        pal_batches *b = make((pal_batches_opts){.batch = 2, .len = 10, .prefetch = prefetch});
        pal_reshape(pal_zeros(tape, PAL_F32, PAL_SHAPE(2)), PAL_SHAPE(3)); /* the tape fails */
        ck_assert_int_eq(pal_batches_next(b, tape, &batch, &e), PAL_ESHAPE);
        ck_assert_int_eq(pal_batches_position(b).index, 0);
        pal_tape_reset(tape);
        take(b, prefetch ? &t : &want);
        ck_assert_int_eq(pal_batches_position(b).index, 2);
        pal_batches_free(b);
    }
    same_batch(&t, &want);
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
    Suite *suite = suite_create("batches_ahead");
    TCase *tc = tcase_create("batches");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, stores_setup, stores_teardown);
    tcase_add_test(tc, positions_of_windows);
    tcase_add_test(tc, positions_of_packed);
    tcase_add_test(tc, positions_of_validation);
    tcase_add_test(tc, options_that_do_not_fit);
    tcase_add_test(tc, empty_stores);
    tcase_add_test(tc, shares_that_are_held_out);
    tcase_add_test(tc, errors_come_with_their_batch);
    tcase_add_test(tc, failing_tapes);
    tcase_add_test(tc, memory_is_taken_at_the_beginning);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
