/*
 * test_safetensors.c - files of named tensors: numbers of each type, what is written and read
 * again, headers that are refused by name, shards and their index.
 */
#include "tensor/files/weights.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/safetensors-XXXXXX";
static pal_error error;

static const char *at(const char *name)
{
    static char path[2][256];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void write_bytes(const char *name, const void *bytes, size_t size)
{
    FILE *to = fopen(at(name), "wb");
    ck_assert(to && fwrite(bytes, 1, size, to) == size && fclose(to) == 0);
}

/* A file of this header and so many bytes of numbers. */
static void write_file(const char *name, const char *header, size_t bytes)
{
    const size_t n = strlen(header);
    unsigned char all[8192] = {0};
    ck_assert(8 + n + bytes <= sizeof all);
    for (int i = 0; i < 8; i++) all[i] = (unsigned char)((uint64_t)n >> 8 * i);
    memcpy(all + 8, header, n);
    for (size_t i = 0; i < bytes; i++) all[8 + n + i] = (unsigned char)(i + 1);
    write_bytes(name, all, 8 + n + bytes);
}

static void setup(void) { ck_assert_ptr_nonnull(mkdtemp(folder)); }
static void teardown(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* ---- Numbers ---- */

/* A number of a narrow type by its definition. */
static double narrow(unsigned bits, int exponent_bits, int mantissa_bits)
{
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int e = (int)(bits >> mantissa_bits & ((1u << exponent_bits) - 1));
    const double m = (double)(bits & ((1u << mantissa_bits) - 1)) * exp2(-mantissa_bits);
    const double sign = bits >> (exponent_bits + mantissa_bits) & 1 ? -1 : 1;
    if (e == (1 << exponent_bits) - 1) return m != 0 ? NAN : sign * INFINITY;
    return e ? sign * (1 + m) * exp2(e - bias) : sign * m * exp2(1 - bias);
}

/* Every number of 16 bits is read as what it is, and written as the same bits. */
static void check_all(pal_element type, int exponent_bits, int mantissa_bits, pal_dtype dtype)
{
    enum { N = 1 << 16 };
    uint16_t *bits = malloc(N * sizeof *bits), *back = malloc(N * sizeof *back);
    void *x = malloc(N * sizeof(double));
    for (int i = 0; i < N; i++) bits[i] = (uint16_t)i;
    pal_elements_read(type, bits, dtype, x, N);
    pal_elements_write(dtype, x, type, back, N);
    for (int i = 0; i < N; i++) {
        const double is = dtype == PAL_F32 ? (double)((float *)x)[i] : ((double *)x)[i];
        const double want = narrow((unsigned)i, exponent_bits, mantissa_bits);
        ck_assert_msg(isnan(want) ? isnan(is) : is == want && signbit(is) == signbit(want),
                      "%s %04x is read as %g, not %g", pal_element_name(type), i, is, want);
        ck_assert_msg(isnan(want) ? isnan(narrow(back[i], exponent_bits, mantissa_bits))
                                  : back[i] == i,
                      "%s %04x is written as %04x", pal_element_name(type), i, back[i]);
    }
    free(bits);
    free(back);
    free(x);
}

START_TEST(narrow_numbers)
{
    check_all(PAL_EL_BF16, 8, 7, PAL_F32);
    check_all(PAL_EL_BF16, 8, 7, PAL_F64);
    check_all(PAL_EL_F16, 5, 10, PAL_F32);
    check_all(PAL_EL_F16, 5, 10, PAL_F64);
}
END_TEST

/* The narrow number that is nearest to x, of two the one whose last bit is 0. */
static unsigned nearest(double x, int exponent_bits, int mantissa_bits)
{
    const unsigned infinite = ((1u << exponent_bits) - 1) << mantissa_bits;
    unsigned low = 0, high = infinite;
    while (high - low > 1) {
        const unsigned middle = (low + high) / 2;
        if (narrow(middle, exponent_bits, mantissa_bits) <= fabs(x))
            low = middle;
        else
            high = middle;
    }
    /* What would be the next number were there one takes the place of infinity. */
    const double below = narrow(low, exponent_bits, mantissa_bits),
                 above = high == infinite
                             ? 2 * below - narrow(low - 1, exponent_bits, mantissa_bits)
                             : narrow(high, exponent_bits, mantissa_bits);
    const double left = fabs(x) - below, right = above - fabs(x);
    const unsigned found = left < right || (left == right && low % 2 == 0) ? low : high;
    return found | (signbit(x) ? (infinite << 1) & ~infinite : 0);
}

/* Also halfway, and just beside that, where f64 rounded to f32 first would go wrong. */
START_TEST(rounding)
{
    static const struct {
        pal_element type;
        int exponent_bits, mantissa_bits;
    } all[] = {{PAL_EL_BF16, 8, 7}, {PAL_EL_F16, 5, 10}};
    pal_rng rng = pal_rng_new(3, 0);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 20000; i++) {
            const unsigned bits = (unsigned)pal_rng_below(&rng, 1 << 15);
            const double a = narrow(bits, all[k].exponent_bits, all[k].mantissa_bits),
                         b = narrow(bits + 1, all[k].exponent_bits, all[k].mantissa_bits);
            if (!isfinite(a) || !isfinite(b)) continue;
            const double steps[] = {0, 1, -1, 0x1p-30, -0x1p-30};
            double x = a / 2 + b / 2 + (b - a) / 2 * steps[i % 5] * (i % 2 ? 0.3 : 1);
            if (i % 3 == 0) x = -x;
            const unsigned want = nearest(x, all[k].exponent_bits, all[k].mantissa_bits);
            const float y = (float)x;
            uint16_t is, from_f32;
            pal_elements_write(PAL_F64, &x, all[k].type, &is, 1);
            ck_assert_msg(is == want, "%a becomes %04x, not %04x", x, is, want);
            pal_elements_write(PAL_F32, &y, all[k].type, &from_f32, 1);
            ck_assert_uint_eq(from_f32,
                              nearest((double)y, all[k].exponent_bits, all[k].mantissa_bits));
        }
}
END_TEST

/* Wide types at an odd address, and as many numbers as several threads share. */
START_TEST(wide_numbers)
{
    enum { N = 300001 };
    double *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    float *z = malloc(N * sizeof *z);
    unsigned char *bytes = malloc(N * 8 + 1);
    for (int i = 0; i < N; i++) x[i] = (double)i * 1e-3 - 7;
    pal_elements_write(PAL_F64, x, PAL_EL_F64, bytes + 1, N);
    pal_elements_read(PAL_EL_F64, bytes + 1, PAL_F64, y, N);
    pal_elements_read(PAL_EL_F64, bytes + 1, PAL_F32, z, N);
    ck_assert_int_eq(memcmp(x, y, N * sizeof *x), 0);
    for (int i = 0; i < N; i++) ck_assert(z[i] == (float)x[i]);
    pal_elements_write(PAL_F64, x, PAL_EL_F32, bytes + 1, N);
    pal_elements_read(PAL_EL_F32, bytes + 1, PAL_F64, y, N);
    for (int i = 0; i < N; i++) ck_assert(y[i] == (double)(float)x[i]);
    free(x);
    free(y);
    free(z);
    free(bytes);
}
END_TEST

/* ---- Files ---- */

#define T(dtype, shape, begin, end) \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

START_TEST(reading)
{
    pal_safetensors *f;
    write_file(
        "good",
        "{\"__metadata__\":{\"format\":\"pt\"},\"b\":" T("F32", "[2,1]", 4, 12) ",\"a\":" T(
            "BF16", "[2]", 0, 4) ",\"none\":" T("I64", "[0,9]", 12,
                                                12) ",\"scalar\":" T("U8", "[]", 12, 13) "}   ",
        13);
    ck_assert_msg(pal_safetensors_open(&f, at("good"), &error) == PAL_OK, "%s", error.message);
    ck_assert_int_eq(pal_safetensors_count(f), 4);
    const pal_stored *a = pal_safetensors_at(f, 0), *b = pal_safetensors_at(f, 1);
    ck_assert_str_eq(a->name, "a");
    ck_assert_int_eq(a->type, PAL_EL_BF16);
    ck_assert(a->data[0] == 1 && a->data[3] == 4 && a->bytes == 4);
    ck_assert_str_eq(b->name, "b");
    ck_assert(b->shape.ndim == 2 && b->shape.dim[0] == 2 && b->data[0] == 5);
    ck_assert_uint_eq(pal_safetensors_at(f, 2)->bytes, 0);
    ck_assert_int_eq(pal_safetensors_at(f, 3)->type, PAL_EL_OTHER);
    ck_assert_str_eq(pal_safetensors_at(f, 3)->dtype, "U8");
    char *metadata = pal_safetensors_metadata(f);
    ck_assert_str_eq(metadata, "{\"format\":\"pt\"}");
    free(metadata);
    pal_safetensors_close(f);
    ck_assert_int_eq(pal_file_kind_of(at("good")), PAL_FILE_TENSORS);
}
END_TEST

static void refused(const char *name, const char *words)
{
    pal_safetensors *f;
    const pal_status s = pal_safetensors_open(&f, at(name), &error);
    ck_assert_msg(s != PAL_OK && !f, "%s was read: \"%s\" is expected", name, words);
    ck_assert_msg(strstr(error.message, words) && strstr(error.message, at(name)), "no \"%s\": %s",
                  words, error.message);
}

static void header_refused(const char *header, size_t bytes, const char *words)
{
    write_file("bad", header, bytes);
    refused("bad", words);
}

/* What may stand as b behind a tensor a that is right. */
static const struct {
    const char *b;
    size_t bytes;
    const char *words;
} second[] = {
    {T("F32", "[1]", 0, 4) "}", 4, "b shares bytes with another"},
    {T("F32", "[1]", 2, 6) "}", 8, "b shares bytes with another"},
    {T("F32", "[1]", 8, 12) "}", 12, "4 bytes before b belong to no tensor"},
    {T("F32", "[1]", 4, 8) "}", 9, "1 bytes at its end belong to no tensor"},
    {T("F32", "[1]", 4, 8) "}", 7, "it ends within b"},
    {T("F32", "[2]", 4, 8) "}", 8, "b has 4 bytes, and its type and shape ask for 8"},
    {T("F33", "[1]", 4, 8) "}", 8, "the dtype F33 of b is not known"},
    {T("F4", "[1]", 4, 5) "}", 5, "b has 1 bytes"},
    {T("F32", "[-1,-1]", 4, 8) "}", 8, "the shape of b is no list"},
    {T("F32", "[1.5]", 4, 8) "}", 8, "the shape of b is no list"},
    {T("F32", "[4611686018427387904,4611686018427387904]", 4, 8) "}", 8, "the shape of b"},
    {T("F32", "[9007199254740992,9007199254740992,0]", 4, 4) "}", 4, "the shape of b"},
    {T("F32", "[1,1,1,1,1,1,1,1,1]", 4, 8) "}", 8, "the shape of b is no list of at most 8"},
    {T("F32", "1", 4, 8) "}", 8, "the shape of b"},
    {T("F32", "[1]", 8, 4) "}", 8, "the data_offsets of b are no two places"},
    {T("F32", "[1]", -4, 0) "}", 8, "the data_offsets of b"},
    {T("F32", "[1]", 4.5, 8) "}", 8, "the data_offsets of b"},
    {"{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8,9]}}", 8, "the data_offsets of b"},
    {"{\"dtype\":\"F32\",\"shape\":[1]}}", 8, "b has other values than dtype"},
    {"{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8],\"x\":1}}", 8, "b has other"},
    {"{\"dtype\":\"F32\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
     "\"shape\" stands twice"},
    {"[0,8]}", 8, "b has other values"},
    {"7}", 8, "b has other values"},
    {T("F32", "[1]", 4, 8) ",\"a\":" T("F32", "[0]", 8, 8) "}", 8, "\"a\" stands twice"},
    {T("F32", "[1]", 4, 8) ",\"__metadata__\":[1]}", 8, "__metadata__ is no object"},
    {T("F32", "[1]", 4, 8) ",\"__metadata__\":{\"x\":1}}", 8, "__metadata__ is no object"},
    {T("F32", "[1]", 4, 8) "} x", 8, "something follows the JSON"},
    {T("F32", "[1]", 4, 8) "} {}", 8, "something follows the JSON"},
    {T("F32", "[01]", 4, 8) "}", 8, "a number is not well formed"},
    {T("F32", "[1]", 4, 8) ",\"a\tb\":1}", 8, "a control character is in a string"},
    {T("F32", "[1]", 4, 8) ",\"a\\u0000\":1}", 8, "a NUL is in a string"},
    {T("F32", "[1]", 4, 8) ",\"\":" T("F32", "[0]", 8, 8) "}", 8, "the name \"\""},
    {T("F32", "[1]", 4, 8) ",\"\\u001b[0m\":" T("F32", "[0]", 8, 8) "}", 8, "the name \"?[0m\""},
    {T("F32", "[1]", 4, 8) ",\"\xff\":1}", 8, "it is not UTF-8"},
    {T("F32", "[1]", 4, 8), 8, "it is not JSON"},
};

START_TEST(wrong_headers)
{
    const char *const two = "{\"a\":" T("F32", "[1]", 0, 4) ",\"b\":";
    char text[512];
    for (size_t i = 0; i < sizeof second / sizeof *second; i++) {
        snprintf(text, sizeof text, "%s%s", two, second[i].b);
        header_refused(text, second[i].bytes, second[i].words);
    }
}
END_TEST

START_TEST(wrong_files)
{
    char deep[4096];
    memset(deep, '[', 4000);
    memcpy(deep, "{\"a\":", 5);
    deep[4000] = '\0';
    header_refused(deep, 0, "nested too deep");
    header_refused("[1]", 0, "does not begin with {");
    write_bytes("bad", "", 0);
    refused("bad", "it is no safetensors file");
    write_bytes("bad", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    refused("bad", "it is no safetensors file");
    write_bytes("bad", "\x03\0\0\0\0\0\0\0{}", 10);
    refused("bad", "it is no safetensors file");
    ck_assert_int_eq(mkfifo(at("pipe"), 0600), 0);
    refused("pipe", "it is no regular file");
    refused("none", "No such file");
}
END_TEST

/* ---- Writing ---- */

static pal_stored tensor(const char *name, const char *dtype, int64_t rows, size_t bytes)
{
    return (pal_stored){
        .name = name, .dtype = dtype, .shape = {.ndim = 1, .dim = {rows}}, .bytes = bytes};
}

START_TEST(writing)
{
    const pal_stored all[] = {tensor("x \"quoted\\", "F32", 2, 8), tensor("y", "BF16", 1, 2)};
    pal_safetensors_out *out;
    pal_safetensors *f;
    write_bytes("file", "old", 3);
    ck_assert_int_eq(pal_safetensors_create(&out, at("file"), 2, all, "{\"k\":\"v\"}", &error),
                     PAL_OK);
    ck_assert_int_eq(pal_safetensors_put(out, "12345", 5, &error), PAL_OK);
    ck_assert_int_eq(pal_file_kind_of(at("file")), PAL_FILE_OTHER); /* still the old one */
    ck_assert_int_eq(pal_safetensors_put(out, "67890", 5, &error), PAL_OK);
    ck_assert_int_eq(pal_safetensors_commit(out, PAL_OK, &error), PAL_OK);
    ck_assert_int_eq(pal_safetensors_open(&f, at("file"), &error), PAL_OK);
    ck_assert_str_eq(pal_safetensors_at(f, 0)->name, all[0].name);
    ck_assert_int_eq(memcmp(pal_safetensors_at(f, 1)->data, "90", 2), 0);
    ck_assert_uint_eq(pal_safetensors_at(f, 1)->begin % 2, 0);
    pal_safetensors_close(f);

    /* Fewer bytes, more bytes, an error before: the file stays as it was. */
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(pal_safetensors_create(&out, at("file"), 2, all, NULL, &error), PAL_OK);
        pal_status s = pal_safetensors_put(out, "12345678901", i == 1 ? 11 : 3, &error);
        ck_assert_int_eq(s, i == 1 ? PAL_EVALUE : PAL_OK);
        s = pal_safetensors_commit(out, i == 2 ? PAL_EIO : PAL_OK, &error);
        ck_assert_int_eq(s, i == 2 ? PAL_EIO : PAL_EVALUE);
    }
    ck_assert_int_eq(pal_safetensors_open(&f, at("file"), &error), PAL_OK);
    pal_safetensors_close(f);
    const pal_stored control = tensor("a\nb", "F32", 1, 4);
    ck_assert_int_eq(pal_safetensors_create(&out, at("file"), 1, &control, NULL, &error),
                     PAL_EVALUE);
    ck_assert_ptr_null(out);
    ck_assert_int_eq(pal_safetensors_create(&out, at("no/file"), 2, all, NULL, &error), PAL_EIO);
}
END_TEST

/* ---- Shards ---- */

static void two_shards(void)
{
    ck_assert(mkdir(at("m"), 0700) == 0);
    write_file("m/one.safetensors", "{\"a\":" T("F32", "[1]", 0, 4) "}", 4);
    write_file("m/two.safetensors",
               "{\"b\":" T("F32", "[1]", 0, 4) ",\"c\":" T("F32", "[1]", 4, 8) "}", 8);
}

static void index_is(const char *map)
{
    char text[1024];
    const int n =
        snprintf(text, sizeof text, "{\"metadata\":{\"total_size\":12},\"weight_map\":%s}", map);
    write_bytes("m/model.safetensors.index.json", text, (size_t)n);
}

static void index_refused(const char *map, const char *words)
{
    pal_weights *w;
    index_is(map);
    ck_assert_msg(pal_weights_open(&w, at("m"), &error) != PAL_OK, "%s was taken", map);
    ck_assert_msg(strstr(error.message, words) && !w, "no \"%s\": %s", words, error.message);
}

#define ONE "\"one.safetensors\""
#define TWO "\"two.safetensors\""

START_TEST(shards)
{
    pal_weights *w;
    two_shards();
    index_is("{\"a\":" ONE ",\"b\":" TWO ",\"c\":" TWO "}");
    ck_assert_msg(pal_weights_open(&w, at("m"), &error) == PAL_OK, "%s", error.message);
    ck_assert_int_eq(pal_weights_count(w), 3);
    ck_assert_int_eq(pal_weights_files(w), 2);
    ck_assert_int_eq(pal_weights_find(w, "d"), -1);
    ck_assert_int_eq(pal_weights_at(w, pal_weights_find(w, "c"))->data[0], 5);
    pal_weights_close(w);

    index_refused("{\"a\":" ONE ",\"b\":" TWO "}", "it does not list c of two.safetensors");
    index_refused("{\"a\":" ONE ",\"b\":" TWO ",\"c\":" ONE "}", "c is not in one.safetensors");
    index_refused("{\"a\":" ONE ",\"b\":" TWO ",\"c\":" TWO ",\"d\":" TWO "}", "d is not in two");
    index_refused("{\"a\":" ONE ",\"b\":" TWO ",\"c\":" TWO ",\"c\":" TWO "}", "stands twice");
    index_refused("{\"a\":" ONE ",\"b\":\"three.safetensors\"}", "three.safetensors: cannot open");
    index_refused("{\"a\":\"../m/one.safetensors\"}", "is none of the folder");
    index_refused("{\"a\":\"..\"}", "is none of the folder");
    index_refused("{\"a\":7}", "is none of the folder");
    index_refused("[]", "it has no object weight_map");
    index_refused("{", "it is not JSON");
    index_is("{\"a\":" ONE ",\"b\":" TWO ",\"c\":" TWO "}");
    write_file("m/two.safetensors",
               "{\"b\":" T("F32", "[1]", 0, 4) ",\"a\":" T("F32", "[1]", 4, 8) "}", 8);
    ck_assert_int_eq(pal_weights_open(&w, at("m"), &error), PAL_EFORMAT);
    ck_assert_msg(strstr(error.message, "a is in one.safetensors and in two.safetensors") != NULL,
                  "%s", error.message);
    ck_assert_int_eq(truncate(at("m/one.safetensors"), 20), 0);
    ck_assert_int_eq(pal_weights_open(&w, at("m"), &error), PAL_EFORMAT);
    ck_assert_msg(strstr(error.message, "one.safetensors") != NULL, "%s", error.message);
}
END_TEST

START_TEST(no_tensors)
{
    pal_weights *w;
    ck_assert(mkdir(at("e"), 0700) == 0);
    ck_assert_int_eq(pal_weights_open(&w, at("e"), &error), PAL_EIO);
    ck_assert(strstr(error.message, "neither model.safetensors nor") != NULL);
    write_bytes("e/pytorch_model.bin", "x", 1);
    ck_assert_int_eq(pal_weights_open(&w, at("e"), &error), PAL_EFORMAT);
    ck_assert(strstr(error.message, "pytorch_model.bin") && strstr(error.message, "convert.py"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *numbers = tcase_create("numbers"), *files = tcase_create("files");
    tcase_add_test(numbers, narrow_numbers);
    tcase_add_test(numbers, rounding);
    tcase_add_test(numbers, wide_numbers);
    suite_add_tcase(suite, numbers);
    tcase_add_checked_fixture(files, setup, teardown);
    tcase_add_test(files, reading);
    tcase_add_test(files, wrong_headers);
    tcase_add_test(files, wrong_files);
    tcase_add_test(files, writing);
    tcase_add_test(files, shards);
    tcase_add_test(files, no_tensors);
    suite_add_tcase(suite, files);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
