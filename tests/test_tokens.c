/*
 * test_tokens.c - the store of tokens: round trips, what is refused, files made to do harm.
 */
#include "optim/data.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Helpers ---- */

static char folder[] = "/tmp/palimpsest-tokens-XXXXXX";
static char path[64];

static void setup(void)
{
    strcpy(folder, "/tmp/palimpsest-tokens-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.h5", folder);
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static void ok(pal_status status, const pal_error *error)
{
    if (status != PAL_OK) ck_abort_msg("%s: %s", pal_status_name(status), error->message);
}

/* Token i of a store with that vocabulary; the largest is among them. */
static int64_t token(int64_t vocab, int64_t i) { return vocab - 1 - i * 7919 % vocab; }

static void *fill(int64_t vocab, int64_t count)
{
    const size_t width = (size_t)pal_tokens_width(vocab);
    char *data = malloc((size_t)count * width + 1);
    for (int64_t i = 0; i < count; i++) {
        const uint32_t x = (uint32_t)token(vocab, i);
        memcpy(data + (size_t)i * width, &x, width);
    }
    return data;
}

/* ---- Round trips ---- */

static void round_trip(int64_t vocab, int width, int64_t count)
{
    static int64_t read[5000];
    const int64_t offsets[] = {0, 5, 5, count};
    pal_tokens *t;
    pal_error e;
    uint32_t *lengths = malloc((size_t)vocab * sizeof *lengths);
    int64_t bytes = 0;
    for (int64_t i = 0; i < vocab; i++) lengths[i] = (uint32_t)(i % 5);
    for (int64_t i = 0; i < count; i++) bytes += lengths[token(vocab, i)];
    pal_tokens_source s = {.tokens = fill(vocab, count),
                           .count = count,
                           .offsets = offsets,
                           .documents = 3,
                           .vocab = vocab,
                           .name = "ours",
                           .tokenizer = "{\"caf\xc3\xa9\": 1}",
                           .lengths = lengths};
    ok(pal_tokens_write(path, &s, &e), &e);
    ok(pal_tokens_open(&t, path, &e), &e);
    ck_assert_int_eq(pal_tokens_width(vocab), width);
    ck_assert_int_eq(pal_tokens_count(t), count);
    ck_assert_int_eq(pal_tokens_documents(t), 3);
    ck_assert_mem_eq(pal_tokens_offsets(t), offsets, sizeof offsets);
    ck_assert_int_eq(pal_tokens_vocab_size(t), vocab);
    ck_assert_int_eq(pal_tokens_bytes(t), bytes);
    ck_assert_str_eq(pal_tokens_name(t), "ours");
    ck_assert_str_eq(pal_tokens_tokenizer(t), s.tokenizer);
    ck_assert_mem_eq(pal_tokens_lengths(t), lengths, (size_t)vocab * sizeof *lengths);
    for (int64_t i = 0; i < count; i += 4999) {
        int64_t n = count - i < 5000 ? count - i : 5000;
        ok(pal_tokens_read(t, i, n, read, &e), &e);
        for (int64_t j = 0; j < n; j++)
            ck_assert_msg(read[j] == token(vocab, i + j), "token %lld", (long long)(i + j));
    }
    ok(pal_tokens_read(t, count, 0, read, &e), &e);
    ck_assert_int_eq(pal_tokens_read(t, count, 1, read, &e), PAL_EVALUE);
    ck_assert_int_eq(pal_tokens_read(t, -1, 1, read, &e), PAL_EVALUE);
    ck_assert_int_eq(pal_tokens_read(t, 0, count + 1, read, &e), PAL_EVALUE);
    ck_assert_int_eq(pal_tokens_read(t, INT64_MAX, INT64_MAX, read, &e), PAL_EVALUE);
    pal_tokens_close(t);
    free((void *)(uintptr_t)s.tokens);
    free(lengths);
}

START_TEST(tokens_of_one_byte) { round_trip(256, 1, 3000); }
END_TEST
START_TEST(tokens_of_two_bytes) { round_trip(257, 2, 600000); } /* two blocks */
END_TEST
START_TEST(tokens_of_two_bytes_at_most) { round_trip(65536, 2, 70000); }
END_TEST
START_TEST(tokens_of_four_bytes) { round_trip(65537, 4, 70000); }
END_TEST

START_TEST(bytes_by_default)
{
    pal_tokens *t;
    pal_error e;
    int64_t read[5];
    ok(pal_tokens_write(path, &(pal_tokens_source){.tokens = "hello", .count = 5}, &e), &e);
    ok(pal_tokens_open(&t, path, &e), &e);
    ck_assert(pal_tokens_vocab_size(t) == 256 && pal_tokens_bytes(t) == 5);
    ck_assert(pal_tokens_documents(t) == 1 && pal_tokens_offsets(t)[1] == 5);
    ck_assert_str_eq(pal_tokens_name(t), "bytes");
    ck_assert_ptr_null(pal_tokens_tokenizer(t));
    ck_assert_ptr_null(pal_tokens_lengths(t));
    ok(pal_tokens_read(t, 0, 5, read, &e), &e);
    for (int i = 0; i < 5; i++) ck_assert_int_eq(read[i], "hello"[i]);
    pal_tokens_close(t);
    ok(pal_tokens_write(path, &(pal_tokens_source){0}, &e), &e);
    ok(pal_tokens_open(&t, path, &e), &e);
    ck_assert_int_eq(pal_tokens_count(t), 0);
    pal_tokens_close(t);
    pal_tokens_close(NULL);
}
END_TEST

static uint32_t checksum_of(const char *tokens, const int64_t *offsets, const char *tokenizer)
{
    pal_tokens *t;
    pal_error e;
    pal_tokens_source s = {
        .tokens = tokens, .count = 4, .offsets = offsets, .documents = 2, .tokenizer = tokenizer};
    ok(pal_tokens_write(path, &s, &e), &e);
    ok(pal_tokens_open(&t, path, &e), &e);
    uint32_t sum = pal_tokens_checksum(t);
    pal_tokens_close(t);
    return sum;
}

START_TEST(checksum_tells_contents_apart)
{
    const int64_t a[] = {0, 1, 4}, b[] = {0, 2, 4};
    uint32_t sum = checksum_of("abcd", a, "x");
    ck_assert_uint_eq(sum, checksum_of("abcd", a, "x"));
    ck_assert_uint_ne(sum, checksum_of("abce", a, "x"));
    ck_assert_uint_ne(sum, checksum_of("abcd", b, "x"));
    ck_assert_uint_ne(sum, checksum_of("abcd", a, "y"));
    ck_assert_uint_ne(sum, checksum_of("abcd", a, NULL));
}
END_TEST

START_TEST(sources_that_do_not_fit)
{
    const int64_t descending[] = {0, 3, 2, 4}, late[] = {1, 4}, short_one[] = {0, 3};
    char name[300];
    memset(name, 'n', sizeof name);
    name[299] = '\0';
    const pal_tokens_source bad[] = {
        {.tokens = "abcd", .count = 4, .offsets = descending, .documents = 3},
        {.tokens = "abcd", .count = 4, .offsets = late, .documents = 1},
        {.tokens = "abcd", .count = 4, .offsets = short_one, .documents = 1},
        {.tokens = "abcd", .count = 4, .offsets = late, .documents = 0},
        {.tokens = "abcd", .count = 4, .vocab = 'd'},
        {.tokens = "abcd", .count = 4, .vocab = -1},
        {.tokens = "abcd", .count = 4, .vocab = INT64_MAX},
        {.tokens = "abcd", .count = -1},
        {.tokens = NULL, .count = 4},
        {.tokens = "abcd", .count = 4, .name = name},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pal_error e = {0};
        ck_assert_msg(pal_tokens_write(path, &bad[i], &e) == PAL_EVALUE, "case %zu", i);
        ck_assert_ptr_nonnull(strstr(e.message, "tokens_write: "));
        ck_assert_int_ne(access(path, F_OK), 0);
    }
    pal_error e;
    ck_assert_int_eq(
        pal_tokens_write("/nowhere/a.h5", &(pal_tokens_source){.tokens = "a", .count = 1}, &e),
        PAL_EIO);
}
END_TEST

/* ---- Files made to do harm ---- */

/* What is written instead of a right store: of 10 tokens, a vocabulary of 300 and 2 documents. */
typedef struct made_up {
    const char *words; /* of the refusal */
    int width;         /* 0: f32 */
    bool square, no_offsets;
    int64_t offset[3];
    double vocab, version;
    int64_t lengths; /* entries; 0: none */
    bool bad_tokenizer;
} made_up;

static void write_made_up(const made_up *m)
{
    static const uint32_t four[400];
    static const uint16_t two[10] = {1, 299, 3, 4, 5, 6, 7, 8, 9, 10};
    static float floats[10];
    pal_h5 *f;
    pal_error e;
    int64_t offset[3];
    memcpy(offset, m->offset, sizeof offset);
    pal_array square = pal_array_of(PAL_I64, PAL_SHAPE(2, 1), offset),
              line = pal_array_of(PAL_I64, PAL_SHAPE(3), offset),
              real = pal_array_of(PAL_F32, PAL_SHAPE(10), floats);
    ok(pal_h5_create(&f, path, &e), &e);
    if (m->square)
        ok(pal_h5_put(f, "/tokens", &square, &e), &e);
    else if (m->width == 0)
        ok(pal_h5_put(f, "/tokens", &real, &e), &e);
    else
        ok(pal_h5_put_uints(f, "/tokens", m->width, 10,
                            m->width == 2 ? (const void *)two : (const void *)four, &e),
           &e);
    if (!m->no_offsets) ok(pal_h5_put(f, "/offsets", &line, &e), &e);
    if (m->lengths) ok(pal_h5_put_uints(f, "/token_bytes", 4, m->lengths, four, &e), &e);
    if (m->bad_tokenizer) ok(pal_h5_put_uints(f, "/tokenizer", 1, 3, "a\0b", &e), &e);
    ok(pal_h5_put_number(f, "/", "vocab", m->vocab, &e), &e);
    ok(pal_h5_put_number(f, "/", "tokens", m->version, &e), &e);
    ok(pal_h5_put_number(f, "/", "bytes", 10, &e), &e);
    ok(pal_h5_put_text(f, "/", "tokenizer", "made up", &e), &e);
    ok(pal_h5_commit(f, &e), &e);
}

START_TEST(hostile_stores)
{
    const made_up right = {.width = 2, .offset = {0, 4, 10}, .vocab = 300, .version = 1};
    made_up m[13];
    for (int i = 0; i < 13; i++) m[i] = right;
    m[0].width = 0, m[0].words = "f32[10]";
    m[1].square = true, m[1].words = "i64[2,1]";
    m[2].width = 4, m[2].words = "tokens of 4 bytes for a vocabulary of 300";
    m[3].vocab = 256, m[3].words = "tokens of 2 bytes for a vocabulary of 256";
    m[4].vocab = 1e300, m[4].words = "vocab is 1e+300";
    m[5].vocab = 300.5, m[5].words = "vocab is 300.5";
    m[6].offset[1] = 11, m[6].words = "offset 1 is 11";
    m[7].offset[1] = -3, m[7].words = "offset 1 is -3";
    m[8].offset[2] = 9, m[8].words = "offset 2 is 9";
    m[9].no_offsets = true, m[9].words = "'/offsets': there is no such dataset";
    m[10].lengths = 299, m[10].words = "/token_bytes has 299 entries and should have 300";
    m[11].bad_tokenizer = true, m[11].words = "entry 1 of /tokenizer is 0";
    m[12].version = 2, m[12].words = "version 2, later than 1";
    for (int i = 0; i < 13; i++) {
        pal_tokens *t = NULL;
        pal_error e = {0};
        write_made_up(&m[i]);
        ck_assert_msg(pal_tokens_open(&t, path, &e) == PAL_EFORMAT, "case %d", i);
        ck_assert_ptr_null(t);
        ck_assert_msg(strstr(e.message, m[i].words) && strstr(e.message, path), "case %d: %s", i,
                      e.message);
    }
    pal_tokens *t;
    pal_error e;
    int64_t read[10];
    write_made_up(&right);
    ok(pal_tokens_open(&t, path, &e), &e);
    ok(pal_tokens_read(t, 0, 10, read, &e), &e);
    pal_tokens_close(t);
    made_up narrow = right; /* token 1 is 299 */
    narrow.vocab = 299;
    write_made_up(&narrow);
    ok(pal_tokens_open(&t, path, &e), &e);
    ok(pal_tokens_read(t, 2, 8, read, &e), &e);
    ck_assert_int_eq(pal_tokens_read(t, 0, 2, read, &e), PAL_EFORMAT);
    ck_assert_ptr_nonnull(strstr(e.message, "token 1 is 299 in a vocabulary of 299"));
    pal_tokens_close(t);
}
END_TEST

/* Cut short or with a byte flipped, a store is read as it was or refused. */
START_TEST(damaged_stores)
{
    enum { COUNT = 700 };
    static unsigned char data[1 << 16];
    pal_error e;
    const int64_t offsets[] = {0, 300, COUNT};
    char *tokens = fill(256, COUNT);
    pal_tokens_source s = {
        .tokens = tokens, .count = COUNT, .offsets = offsets, .documents = 2, .tokenizer = "{}"};
    ok(pal_tokens_write(path, &s, &e), &e);
    FILE *f = fopen(path, "rb");
    const size_t size = fread(data, 1, sizeof data, f);
    fclose(f);
    ck_assert(size > COUNT && size < sizeof data);
    int refused = 0, tried = 0;
    for (size_t i = 0; i < 2 * size; i += 31, tried++) {
        const size_t at = i / 2, length = i % 2 ? at : size;
        data[at] ^= 0x5a;
        f = fopen(path, "wb");
        ck_assert_uint_eq(fwrite(data, 1, length, f), length);
        fclose(f);
        data[at] ^= 0x5a;
        pal_tokens *t;
        int64_t read[COUNT];
        if (pal_tokens_open(&t, path, &e) != PAL_OK) {
            refused++;
            continue;
        }
        ck_assert_mem_eq(pal_tokens_offsets(t), offsets, sizeof offsets);
        ck_assert_int_eq(pal_tokens_count(t), COUNT);
        if (pal_tokens_read(t, 0, COUNT, read, &e) != PAL_OK)
            refused++;
        else
            for (int j = 0; j < COUNT; j++) ck_assert_int_eq(read[j], (unsigned char)tokens[j]);
        pal_tokens_close(t);
    }
    ck_assert_msg(refused > tried / 2, "%d of %d", refused, tried);
    free(tokens);
}
END_TEST

/* HDF5 1.10.8 keeps what it had read of a damaged file when opening it fails. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

static void *refuse(void *memory, size_t old_size, size_t size, void *user)
{
    (void)old_size;
    if (size == 0) {
        free(memory);
        return NULL;
    }
    int *left = user;
    return (*left)-- > 0 ? aligned_alloc(64, (size + 63) / 64 * 64) : NULL;
}

START_TEST(out_of_memory)
{
    static const uint32_t lengths[256];
    pal_tokens_source s = {.tokens = "abcd", .count = 4, .tokenizer = "{}", .lengths = lengths};
    int failures = 0;
    for (int n = 0;; n++, failures++) {
        int left = n;
        pal_tokens *t = NULL;
        pal_error e = {0};
        pal_set_allocator(refuse, &left);
        pal_status status = pal_tokens_write(path, &s, &e);
        if (status == PAL_OK) status = pal_tokens_open(&t, path, &e);
        pal_tokens_close(t);
        pal_set_allocator(NULL, NULL);
        if (status == PAL_OK) break;
        ck_assert_int_eq(status, PAL_ENOMEM);
        ck_assert_str_ne(e.message, "");
    }
    ck_assert_int_ge(failures, 15);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokens");
    TCase *tc = tcase_create("store");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, tokens_of_one_byte);
    tcase_add_test(tc, tokens_of_two_bytes);
    tcase_add_test(tc, tokens_of_two_bytes_at_most);
    tcase_add_test(tc, tokens_of_four_bytes);
    tcase_add_test(tc, bytes_by_default);
    tcase_add_test(tc, checksum_tells_contents_apart);
    tcase_add_test(tc, sources_that_do_not_fit);
    tcase_add_test(tc, hostile_stores);
    tcase_add_test(tc, damaged_stores);
    tcase_add_test(tc, out_of_memory);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
