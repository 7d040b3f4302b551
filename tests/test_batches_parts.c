/*
 * test_batches_parts.c - the parts of a batch that several processes have add up to the batch of
 * one process.
 */
#include "tests/support/check.h"
#include "tests/support/stores.h"

#include <string.h>

/* The batch that is put together from the parts of ranks r of P and the sequence parts s of S. */
typedef struct whole {
    taken t;
    int64_t filled; /* entries that a part has filled */
} whole;

static void put(whole *w, const taken *part, int64_t from, int64_t to, int64_t count)
{
    ck_assert(to + count <= MOST && from + count <= part->n);
    memcpy(w->t.tokens + to, part->tokens + from, (size_t)count * sizeof *part->tokens);
    memcpy(w->t.targets + to, part->targets + from, (size_t)count * sizeof *part->targets);
    w->filled += count;
}

/* Copies a part of windows to its rows. */
static void put_windows(whole *w, const taken *part, const pal_batches_opts *o)
{
    const int64_t first = o->batch * o->data_index / o->data_count;
    const int64_t rows = o->batch * (o->data_index + 1) / o->data_count - first;
    const int64_t begin = o->len * o->sequence_index / o->sequence_count;
    const int64_t n = o->len * (o->sequence_index + 1) / o->sequence_count - begin;
    ck_assert_int_eq(part->n, rows * n);
    for (int64_t r = 0; r < rows; r++) put(w, part, r * n, (first + r) * o->len + begin, n);
}

/* Packed parts are joined in the order of ranks. A piece that is continued does not begin a new
 * sequence. */
static void put_packed(whole *w, const taken *part)
{
    if (part->n == 0) return;
    ck_assert_int_eq(part->offsets[0], 0);
    ck_assert_int_eq(part->offsets[part->sequences], part->n);
    for (int64_t i = part->continued; i < part->sequences; i++)
        w->t.offsets[w->t.sequences++] = w->filled + part->offsets[i];
    put(w, part, 0, w->filled, part->n);
}

enum { RANKS = 12 };

static void compare(pal_batches_opts o, int data, int sequence, int batches)
{
    static taken one, part;
    static whole w;
    pal_batches *b = make(o), *parts[RANKS];
    pal_batches_opts own[RANKS];
    for (int r = 0; r < data * sequence; r++) {
        own[r] = o;
        own[r].data_index = r / sequence, own[r].data_count = data;
        own[r].sequence_index = r % sequence, own[r].sequence_count = sequence;
        parts[r] = make(own[r]);
    }
    for (int i = 0; i < batches && take(b, &one); i++) {
        memset(&w, 0, sizeof w);
        for (int r = 0; r < data * sequence; r++) {
            ck_assert(take(parts[r], &part));
            w.t.counted += part.counted, w.t.bytes += part.bytes;
            o.kind == PAL_PACKED ? put_packed(&w, &part) : put_windows(&w, &part, &own[r]);
            const pal_position at = pal_batches_position(parts[r]), is = pal_batches_position(b);
            ck_assert(at.epoch == is.epoch && at.index == is.index);
        }
        ck_assert_int_eq(w.filled, one.n);
        ck_assert_mem_eq(w.t.tokens, one.tokens, (size_t)one.n * sizeof *one.tokens);
        ck_assert_mem_eq(w.t.targets, one.targets, (size_t)one.n * sizeof *one.targets);
        ck_assert_int_eq(w.t.counted, one.counted);
        ck_assert_int_eq(w.t.bytes, one.bytes);
        ck_assert_int_eq(w.t.sequences, one.sequences);
        ck_assert_mem_eq(w.t.offsets, one.offsets, (size_t)one.sequences * sizeof *one.offsets);
    }
    if (one.end)
        for (int r = 0; r < data * sequence; r++) ck_assert(!take(parts[r], &part) && part.end);
    for (int r = 0; r < data * sequence; r++) pal_batches_free(parts[r]);
    pal_batches_free(b);
}

static void compare_grids(pal_batches_opts o)
{
    static const int grids[][2] = {{1, 1}, {2, 1}, {3, 1}, {5, 1}, {1, 2}, {1, 3}, {2, 2}, {3, 4}};
    open_store(false);
    for (int kind = PAL_WINDOWS; kind <= PAL_PACKED; kind++)
        for (size_t g = 0; g < sizeof grids / sizeof *grids; g++) {
            o.kind = (pal_batch_kind)kind;
            compare(o, grids[g][0], grids[g][1], 60);
        }
}

/* Five rows on two or three processes, and 13 tokens in two to four sequence parts: neither divides
 * evenly. The batches run over three epochs. */
START_TEST(parts_are_the_batch)
{
    compare_grids((pal_batches_opts){.batch = 5, .len = 13, .seed = 3});
}
END_TEST

START_TEST(parts_read_ahead_are_the_batch)
{
    compare_grids((pal_batches_opts){.batch = 5, .len = 13, .seed = 3, .prefetch = true});
}
END_TEST

/* The last batch is filled up. After it, all ranks are at the end. */
START_TEST(parts_of_validation)
{
    compare_grids((pal_batches_opts){.batch = 5, .len = 13, .held_out = 0.4, .validation = true});
}
END_TEST

/* Some parts have no token. */
START_TEST(parts_of_short_rows)
{
    compare_grids((pal_batches_opts){.batch = 6, .len = 2, .seed = 1});
    pal_tokens_close(store);
    compare_grids((pal_batches_opts){.batch = 5, .len = 1, .seed = 1});
}
END_TEST

/* A piece is marked as continued exactly if it began in the previous part. */
START_TEST(stretches_say_what_is_continued)
{
    static taken t;
    open_store(true);
    for (int s = 0; s < 4; s++) {
        pal_batches *b = make((pal_batches_opts){
            .kind = PAL_PACKED, .batch = 2, .len = 20, .sequence_index = s, .sequence_count = 4});
        ck_assert(take(b, &t));
        ck_assert_int_eq(t.n, 10);
        ck_assert_int_eq(t.continued, s % 2); /* rows begin at 0 and 20 */
        pal_batches_free(b);
    }
}
END_TEST

/* A position that was written with two parts is valid for three. */
START_TEST(positions_are_of_whole_batches)
{
    static taken one, part;
    pal_error e;
    open_store(false);
    for (int kind = PAL_WINDOWS; kind <= PAL_PACKED; kind++) {
        pal_batches_opts o = {.kind = (pal_batch_kind)kind, .batch = 6, .len = 10, .data_count = 2};
        pal_batches *two = make(o), *three;
        for (int i = 0; i < 20; i++) take(two, &part);
        o.data_count = 3;
        three = make(o);
        ok(pal_batches_seek(three, pal_batches_position(two), &e), &e);
        take(two, &one); /* the first three rows */
        take(three, &part);
        ck_assert_int_eq(part.n, 20);
        ck_assert_mem_eq(part.tokens, one.tokens, 20 * sizeof *one.tokens);
        pal_batches_free(two);
        pal_batches_free(three);
    }
}
END_TEST

START_TEST(wrong_parts_are_refused)
{
    open_store(false);
    ck_assert_ptr_null(pal_batches_new(store, (pal_batches_opts){.batch = 2, .data_count = 3}));
    ck_assert_str_eq(last.message, "batches: 2 rows for 3 processes");
    ck_assert_ptr_null(
        pal_batches_new(store, (pal_batches_opts){.data_index = 2, .data_count = 2}));
    ck_assert_str_eq(last.message, "batches: part 2 of 2 rows, 0 of 1 tokens");
    ck_assert_ptr_null(
        pal_batches_new(store, (pal_batches_opts){.sequence_index = -1, .sequence_count = 2}));
    ck_assert_ptr_null(pal_batches_new(store, (pal_batches_opts){.data_count = -1}));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batches_parts");
    TCase *tc = tcase_create("batches_parts");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, stores_setup, stores_teardown);
    tcase_add_test(tc, parts_are_the_batch);
    tcase_add_test(tc, parts_read_ahead_are_the_batch);
    tcase_add_test(tc, parts_of_validation);
    tcase_add_test(tc, parts_of_short_rows);
    tcase_add_test(tc, stretches_say_what_is_continued);
    tcase_add_test(tc, positions_are_of_whole_batches);
    tcase_add_test(tc, wrong_parts_are_refused);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
