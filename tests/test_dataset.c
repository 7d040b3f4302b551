/*
 * test_dataset.c - arrays of files as batches: formats, conversions, splits, ragged rows, parts,
 * positions, and what is said of files that are damaged.
 */
#include "tests/support/check.h"
#include "tests/support/stores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pal_error error;

static void put_file(const char *text, size_t size)
{
    FILE *f = fopen(path, "w");
    ck_assert_uint_eq(fwrite(text, 1, size, f), size);
    ck_assert_int_eq(fclose(f), 0);
}

/* An .npy of one type and shape, with this many bytes of zeros behind it. */
static void put_npy(const char *type, const char *shape, const void *data, size_t size)
{
    char head[256] = "\x93NUMPY\x01";
    const int n = snprintf(head + 10, sizeof head - 10,
                           "{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n", type, shape);
    head[8] = (char)n;
    FILE *f = fopen(path, "w");
    fwrite(head, 1, (size_t)n + 10, f);
    if (data) fwrite(data, 1, size, f);
    ck_assert_int_eq(fclose(f), 0);
    if (!data) ck_assert_int_eq(truncate(path, (off_t)size + n + 10), 0);
}

static pal_dataset *open_set(const char *file, pal_dataset_opts o)
{
    pal_dataset *d;
    ok(pal_dataset_open(&d, file, o, &error), &error);
    return d;
}

/* The sentence of a dataset that is refused has this text in it. */
static void refused(const char *file, pal_dataset_opts o, const char *what)
{
    pal_dataset *d;
    ck_assert(pal_dataset_open(&d, file, o, &error) != PAL_OK);
    ck_assert_msg(strstr(error.message, what) != NULL, "%s", error.message);
    ck_assert_ptr_null(d);
}

static pal_batch next(pal_batches *b)
{
    pal_batch t;
    pal_tape_reset(tape);
    ok(pal_batches_next(b, tape, &t, &error), &error);
    return t;
}

static int64_t label(const pal_batch *t, int64_t i) { return pal_i64(pal_batch_tensor(t, "y"))[i]; }

/* ---- Formats ---- */

START_TEST(npz_converts)
{
    static const int64_t flags[] = {1, 0, 1, 1};
    static const float h[] = {1.5f, -2, 0, 2.9981136e-5f, 65504};
    pal_dataset *d = open_set("tests/data/arrays.npz",
                              (pal_dataset_opts){.field = {{.name = "x", .to = PAL_TO_F32},
                                                           {.name = "y"},
                                                           {.name = "h"},
                                                           {.name = "flag", .array = "b"}}});
    ck_assert_int_eq(pal_dataset_rows(d), 5);
    pal_batches *b =
        pal_dataset_batches(d, (pal_batches_opts){.batch = 4, .validation = true, .held_out = 1});
    pal_batch t = next(b);
    ck_assert_int_eq(t.counted, 4);
    for (int i = 0; i < 8; i++) ck_assert(pal_f32(pal_batch_tensor(&t, "x"))[i] == (float)i);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(label(&t, i), -3 * i);
        ck_assert_float_eq_tol(pal_f32(pal_batch_tensor(&t, "h"))[i], h[i], 1e-12f);
        ck_assert_int_eq(pal_i64(pal_batch_tensor(&t, "flag"))[i], flags[i]);
    }
    t = next(b); /* the last one is shorter */
    ck_assert_int_eq(t.counted, 1);
    ck_assert_int_eq(pal_dim(pal_batch_tensor(&t, "x"), 0), 1);
    ck_assert(pal_f32(pal_batch_tensor(&t, "h"))[0] == h[4]);
    ck_assert(next(b).end);
    ck_assert(pal_is_none(pal_batch_tensor(&t, "z")));
    ck_assert_msg(strstr(last.message, "there are x, y, h, flag") != NULL, "%s", last.message);
    pal_batches_free(b);
    pal_dataset_close(d);
    refused("tests/data/arrays.npz", (pal_dataset_opts){.field = {{.name = "h", .to = PAL_TO_I64}}},
            "'h' has real numbers");
    refused("tests/data/arrays.npz", (pal_dataset_opts){.field = {{.name = "no"}}},
            "no array 'no'");
    refused("tests/data/compressed.npz", (pal_dataset_opts){0}, "'x' is compressed");
}
END_TEST

START_TEST(csv_columns)
{
    static const char text[] = "date;a;b;y\r\n\"1;2\";0.5; 1e2 ;7\r\n\r\nx;-1;\"3\";8";
    put_file(text, sizeof text - 1);
    pal_dataset *d = open_set(
        path, (pal_dataset_opts){.field = {{.name = "x", .array = "a..b"}, {.name = "y"}}});
    ck_assert_int_eq(pal_dataset_rows(d), 2);
    float x[4];
    int64_t y[2];
    pal_array to = pal_array_of(PAL_F32, PAL_SHAPE(2, 2), x);
    ok(pal_dataset_read(d, "x", 0, 2, &to, &error), &error);
    to = pal_array_of(PAL_I64, PAL_SHAPE(2), y);
    ok(pal_dataset_read(d, "y", 0, 2, &to, &error), &error);
    ck_assert(x[0] == 0.5f && x[1] == 100 && x[2] == -1 && x[3] == 3 && y[0] == 7 && y[1] == 8);
    pal_dataset_close(d);
}
END_TEST

/* Rows are found by notes, in any order, whatever the lengths of lines. */
START_TEST(csv_rows_in_any_order)
{
    enum { N = 1000 };
    FILE *f = fopen(path, "w");
    for (int i = 0; i < N; i++) fprintf(f, "%d,%.*f%s", i, i % 40, i * 0.5, i % 7 ? "\n" : "\n\n");
    fclose(f);
    pal_dataset *d = open_set(path, (pal_dataset_opts){.field = {{.name = "y", .array = "1"},
                                                                 {.name = "x", .array = "2"}}});
    ck_assert_int_eq(pal_dataset_rows(d), N);
    pal_batches *b = pal_dataset_batches(d, (pal_batches_opts){.batch = 50, .prefetch = true});
    int times[N] = {0};
    for (int i = 0; i < N / 50; i++) {
        pal_batch t = next(b);
        for (int j = 0; j < 50; j++) {
            times[label(&t, j)]++;
            if (label(&t, j) % 40)
                ck_assert(pal_f32(pal_batch_tensor(&t, "x"))[j] == 0.5f * (float)label(&t, j));
        }
    }
    for (int i = 0; i < N; i++) ck_assert_int_eq(times[i], 1);
    pal_batches_free(b);
    pal_dataset_close(d);
}
END_TEST

START_TEST(csv_faults)
{
    static const struct {
        const char *text, *what;
    } bad[] = {
        {"a,b\n1,2\n3\n", "line 3, row 1: there are 1 columns, and 2"},
        {"a,b\n1,2\n3,4,5\n", "line 3, row 1: there are 3 columns"},
        {"a,b\n1,2\n\n3,x\n", "line 4, row 1, column 'b': 'x' is no number"},
        {"a,b\n1,\n", "line 2, row 0, column 'b': '' is no number"},
        {"a,b\n1,nan\n", "column 'b': 'nan' is not finite"},
        {"a,b\n1,\"2\n", "line 2, row 0: a quotation mark is not closed"},
        {"", "its first line is empty"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_file(bad[i].text, strlen(bad[i].text));
        refused(path, (pal_dataset_opts){0}, bad[i].what);
    }
    put_file("a\n1\0002\n", 6);
    refused(path, (pal_dataset_opts){0}, "line 2 has a zero byte");
    put_file("a\n1\n", 4);
    ck_assert_int_eq(truncate(path, INT64_C(1) << 34), 0); /* a line of 16 GiB that is not there */
    refused(path, (pal_dataset_opts){0}, "line 3 is longer than");
    put_file("a,b\n1,\n2,5\n", 11);
    pal_dataset *d = open_set(path, (pal_dataset_opts){.not_finite = true});
    float x[2];
    pal_array to = pal_array_of(PAL_F32, PAL_SHAPE(2), x);
    ok(pal_dataset_read(d, "b", 0, 2, &to, &error), &error);
    ck_assert(isnan(x[0]) && x[1] == 5);
    pal_dataset_close(d);
}
END_TEST

START_TEST(npy_faults)
{
    static const struct {
        const char *type, *shape;
        size_t bytes;
        const char *what;
    } bad[] = {
        {"<f4", "(3, 2)", 23, "3 rows of 2 elements of 4 bytes, and 23 bytes are there"},
        {"<f4", "(1099511627776,)", 24, "1099511627776 rows"},
        {"<f4", "(4611686018427387904, 4)", 24, "out of range"},
        {"<f4", "(99999999999999999999,)", 24, "out of range"},
        {"<f4", "()", 24, "single number"},
        {"<f4", "(-1,)", 24, "not a list of sizes"},
        {"<f4", "(1,1,1,1,1,1,1,1,1)", 24, "more than 8"},
        {"|O", "(3,)", 24, "not integers, bool or real"},
        {"<f16", "(1,)", 24, "not integers, bool or real"},
        {"<c8", "(1,)", 24, "not integers, bool or real"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_npy(bad[i].type, bad[i].shape, NULL, bad[i].bytes);
        refused(path, (pal_dataset_opts){0}, bad[i].what);
    }
    put_file("\x93NUMPY\x01\x00\xff\xff", 10);
    refused(path, (pal_dataset_opts){0}, "too short");
    refused("/dev/null", (pal_dataset_opts){0}, "it is not a file");
}
END_TEST

/* Whatever byte of an .npz is another one, it is read or refused. */
START_TEST(npz_with_any_byte_changed)
{
    static char bytes[1 << 14];
    FILE *f = fopen("tests/data/arrays.npz", "r");
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    int read = 0, no = 0;
    for (size_t i = 0; i < n; i++)
        for (int j = 0; j < 2; j++) {
            const char was = bytes[i];
            bytes[i] = (char)(j ? 0xff : was ^ 1);
            put_file(bytes, n);
            bytes[i] = was;
            pal_dataset *d;
            if (pal_dataset_open(&d, path, (pal_dataset_opts){.not_finite = true}, &error) ==
                PAL_OK)
                read++;
            else
                no++;
            pal_dataset_close(d);
        }
    ck_assert(read > 50 && no > 50);
    for (size_t i = 4; i < n; i++) { /* and if it is cut off */
        put_file(bytes, i);
        pal_dataset *d;
        ck_assert(pal_dataset_open(&d, path, (pal_dataset_opts){0}, &error) != PAL_OK);
    }
}
END_TEST

/* ---- What a batch has ---- */

START_TEST(nan_is_named)
{
    float x[12] = {0};
    x[7] = NAN;
    put_npy("<f4", "(6, 2)", x, sizeof x);
    pal_dataset *d = open_set(path, (pal_dataset_opts){0});
    for (int ahead = 0; ahead < 2; ahead++) {
        pal_batches *b = pal_dataset_batches(d, (pal_batches_opts){.batch = 6, .prefetch = ahead});
        pal_batch t;
        ck_assert_int_eq(pal_batches_next(b, tape, &t, &error), PAL_EVALUE);
        ck_assert_msg(strstr(error.message, path) && strstr(error.message, "row 3 of 'x' has nan"),
                      "%s", error.message);
        ck_assert_int_eq(pal_batches_position(b).index, 0);
        pal_batches_free(b);
    }
    pal_dataset_close(d);
}
END_TEST

static void put_counted(int n)
{
    static int64_t y[4096];
    char shape[32];
    for (int i = 0; i < n; i++) y[i] = i;
    snprintf(shape, sizeof shape, "(%d,)", n);
    put_npy("<i8", shape, y, (size_t)n * sizeof *y);
}

static pal_dataset *counted(int n)
{
    put_counted(n);
    return open_set(path, (pal_dataset_opts){.field = {{.name = "y"}}});
}

/* Together the splits have each row once, also where the held-out rows are drawn. */
START_TEST(splits)
{
    enum { N = 101 };
    pal_dataset *d = counted(N);
    for (int seed = 0; seed < 2; seed++) {
        int times[N] = {0}, late = 0;
        pal_batches_opts o = {.batch = 9, .held_out = 0.2, .split_seed = (uint64_t)seed};
        pal_batches *train = pal_dataset_batches(d, o);
        ck_assert_int_eq(pal_batches_tokens(train), 81);
        for (int i = 0; i < 9; i++) {
            pal_batch t = next(train);
            for (int j = 0; j < 9; j++) times[label(&t, j)]++;
        }
        o.validation = true;
        pal_batches *held = pal_dataset_batches(d, o);
        for (pal_batch t = next(held); !t.end; t = next(held))
            for (int j = 0; j < t.counted; j++) times[label(&t, j)]++, late += label(&t, j) >= 81;
        for (int i = 0; i < N; i++) ck_assert_int_eq(times[i], 1);
        ck_assert(seed ? late < 15 : late == 20);
        pal_batches_free(train);
        pal_batches_free(held);
    }
    pal_dataset_close(d);
}
END_TEST

/* Parts of several processes together are the batch of one; a position gives the same rows again.
 */
START_TEST(parts_and_positions)
{
    pal_dataset *d = counted(40);
    pal_batches *whole = pal_dataset_batches(d, (pal_batches_opts){.batch = 7, .seed = 3}),
                *part[3];
    for (int r = 0; r < 3; r++)
        part[r] = pal_dataset_batches(
            d, (pal_batches_opts){
                   .batch = 7, .seed = 3, .data_index = r, .data_count = 3, .prefetch = r == 1});
    int64_t all[20][7];
    for (int i = 0; i < 20; i++) {
        pal_batch t = next(whole);
        memcpy(all[i], pal_i64(pal_batch_tensor(&t, "y")), sizeof all[i]);
        int n = 0;
        for (int r = 0; r < 3; r++) {
            t = next(part[r]);
            for (int j = 0; j < t.counted; j++) ck_assert_int_eq(label(&t, j), all[i][n++]);
        }
        ck_assert_int_eq(n, 7);
    }
    for (int r = 0; r < 3; r++) pal_batches_free(part[r]);
    for (int i = 19; i >= 0; i--) {
        const int64_t rows = 7 * i, epoch = i == 0 ? 0 : (rows - 1) / 40;
        pal_batches *again = pal_dataset_batches(d, (pal_batches_opts){.batch = 7, .seed = 3});
        const pal_position at = {epoch, rows - 40 * epoch};
        ok(pal_batches_seek(again, at, &error), &error);
        pal_batch t = next(again);
        for (int j = 0; j < 7; j++) ck_assert_int_eq(label(&t, j), all[i][j]);
        pal_batches_free(again);
    }
    ck_assert_int_eq(pal_batches_seek(whole, (pal_position){0, 41}, &error), PAL_EVALUE);
    pal_batches_free(whole);
    pal_dataset_close(d);
}
END_TEST

/* No window of the training split has an entry of the other. */
START_TEST(windows_of_a_series)
{
    put_counted(100);
    pal_dataset *d =
        open_set(path, (pal_dataset_opts){.field = {{.name = "y"}}, .window = 8, .step = 3});
    ck_assert_int_eq(pal_dataset_rows(d), 31);
    pal_batches_opts o = {.batch = 1, .held_out = 0.3};
    pal_batches *train = pal_dataset_batches(d, o);
    o.validation = true;
    pal_batches *held = pal_dataset_batches(d, o);
    pal_batch t = next(held);
    const int64_t first = label(&t, 0);
    ck_assert_int_eq(pal_dim(pal_batch_tensor(&t, "y"), 1), 8);
    for (int i = 0; i < 60; i++) {
        t = next(train);
        for (int j = 1; j < 8; j++) ck_assert_int_eq(label(&t, j), label(&t, 0) + j);
        ck_assert(label(&t, 7) < first);
    }
    pal_batches_free(train);
    pal_batches_free(held);
    pal_dataset_close(d);
}
END_TEST

static void double_y(void *user, pal_tape *on, pal_batch *t, pal_rng *rng)
{
    (void)on;
    *(double *)user = pal_rng_next(rng);
    pal_batch_set(t, "more", pal_add(pal_batch_tensor(t, "y"), pal_batch_tensor(t, "y")));
}

START_TEST(ragged_and_transformed)
{
    static const int64_t offsets[] = {0, 2, 2, 5, 9}, bad[] = {0, 3, 2, 5, 9};
    int64_t y[9];
    pal_h5 *file;
    for (int i = 0; i < 9; i++) y[i] = i + 1;
    ok(pal_h5_create(&file, path, &error), &error);
    pal_array a = pal_array_of(PAL_I64, PAL_SHAPE(9), y);
    ok(pal_h5_put(file, "y", &a, &error), &error);
    a = pal_array_of(PAL_I64, PAL_SHAPE(5), (void *)(uintptr_t)offsets);
    ok(pal_h5_put(file, "where/offsets", &a, &error), &error);
    a = pal_array_of(PAL_I64, PAL_SHAPE(5), (void *)(uintptr_t)bad);
    ok(pal_h5_put(file, "bad", &a, &error), &error);
    ok(pal_h5_commit(file, &error), &error);
    refused(path, (pal_dataset_opts){.field = {{.name = "y", .offsets = "bad"}}},
            "entry 2 of 'bad' is 2");
    refused(path, (pal_dataset_opts){.field = {{.name = "y", .offsets = "y"}}}, "entry 0 of 'y'");
    pal_dataset *d =
        open_set(path, (pal_dataset_opts){.field = {{.name = "y", .offsets = "where/offsets"}}});
    double drawn[2];
    pal_batches_opts o = {.batch = 4, .validation = true, .held_out = 1, .len = 3};
    o.transform = double_y, o.user = &drawn[0];
    pal_batches *padded = pal_dataset_batches(d, o);
    pal_batch t = next(padded);
    static const int64_t wanted[] = {1, 2, 0, 0, 0, 0, 3, 4, 5, 6, 7, 8};
    ck_assert_int_eq(pal_dim(pal_batch_tensor(&t, "y"), 1), 3);
    for (int i = 0; i < 12; i++) {
        ck_assert_int_eq(label(&t, i), wanted[i]);
        ck_assert_int_eq(pal_i64(pal_batch_tensor(&t, "more"))[i], 2 * wanted[i]);
        ck_assert(pal_f32(pal_batch_tensor(&t, "y.mask"))[i] == (wanted[i] > 0));
    }
    ck_assert_int_eq(pal_i64(pal_batch_tensor(&t, "y.lengths"))[3], 3);
    o.kind = PAL_PACKED, o.len = 0, o.user = &drawn[1];
    pal_batches *packed = pal_dataset_batches(d, o);
    t = next(packed);
    for (int i = 0; i < 9; i++) ck_assert_int_eq(label(&t, i), i + 1);
    for (int i = 0; i < 5; i++) ck_assert_int_eq(pal_i64(t.offsets)[i], offsets[i]);
    ck_assert(drawn[0] == drawn[1]); /* of one seed and position */
    pal_batches_free(padded);
    pal_batches_free(packed);
    pal_dataset_close(d);
}
END_TEST

/* ---- Larger than memory ---- */

static long anonymous_kib(void)
{
    char line[128];
    long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %ld", &kib) == 1) break;
    if (f) fclose(f);
    return kib;
}

START_TEST(twenty_gigabytes)
{
    put_npy("<f4", "(5000000, 1000)", NULL, (size_t)20000000000);
    const long before = anonymous_kib();
    pal_dataset *d = open_set(path, (pal_dataset_opts){0});
    pal_batches *b = pal_dataset_batches(
        d, (pal_batches_opts){.batch = 64, .held_out = 0.1, .split_seed = 1, .prefetch = true});
    ck_assert_int_eq(pal_batches_tokens(b), 4500000);
    for (int i = 0; i < 50; i++) {
        pal_batch t = next(b);
        ck_assert_int_eq(pal_dim(pal_batch_tensor(&t, "x"), 1), 1000);
    }
    ck_assert_msg(before > 0 && anonymous_kib() - before < 64 << 10, "%ld KiB more",
                  anonymous_kib() - before);
    pal_batches_free(b);
    pal_dataset_close(d);
}
END_TEST

/* ---- What is refused ---- */

START_TEST(options)
{
    put_counted(5);
    char other[80];
    snprintf(other, sizeof other, "%s.csv", path);
    FILE *f = fopen(other, "w");
    fputs("z\n1\n2\n", f), fclose(f);
    refused(path, (pal_dataset_opts){.field = {{.name = "y"}, {.name = "z", .file = other}}},
            "field z has 2 rows, and field y has 5");
    refused(path, (pal_dataset_opts){.field = {{.name = "y"}, {.name = "y"}}}, "is there twice");
    refused(NULL, (pal_dataset_opts){.field = {{.name = "y"}}}, "no file");
    refused(other, (pal_dataset_opts){.field = {{.name = "a"}}}, "there is no column 'a'");
    refused("/nowhere/at/all", (pal_dataset_opts){0}, "cannot be opened");
    pal_dataset *d = open_set(path, (pal_dataset_opts){0});
    const pal_batches_opts bad[] = {{.batch = 2, .data_count = 3},
                                    {.batch = 2, .held_out = 2},
                                    {.batch = 2, .sequence_count = 2},
                                    {.batch = 2, .held_out = 1},
                                    {.batch = 2, .validation = true}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        last = (pal_error){0};
        ck_assert_ptr_null(pal_dataset_batches(d, bad[i]));
        ck_assert_int_eq(last.status, PAL_EVALUE);
    }
    pal_dataset_close(d);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dataset");
    TCase *c = tcase_create("dataset");
    tcase_add_checked_fixture(c, stores_setup, stores_teardown);
    tcase_add_test(c, npz_converts);
    tcase_add_test(c, csv_columns);
    tcase_add_test(c, csv_rows_in_any_order);
    tcase_add_test(c, csv_faults);
    tcase_add_test(c, npy_faults);
    tcase_add_test(c, npz_with_any_byte_changed);
    tcase_add_test(c, nan_is_named);
    tcase_add_test(c, splits);
    tcase_add_test(c, parts_and_positions);
    tcase_add_test(c, windows_of_a_series);
    tcase_add_test(c, ragged_and_transformed);
    tcase_add_test(c, twenty_gigabytes);
    tcase_add_test(c, options);
    tcase_set_timeout(c, 60);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
