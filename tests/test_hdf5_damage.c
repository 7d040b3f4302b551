/*
 * test_hdf5_damage.c - what is read from a damaged file is what was written, or an error: files cut
 * short, bytes that have flipped, checksums and attributes made to do harm.
 */
#include "autograd/params.h"
#include "tensor/internal.h"
#include "tests/support/check.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Helpers ---- */

static char folder[] = "/tmp/palimpsest-damage-XXXXXX";
static char path[64];

static void setup(void)
{
    strcpy(folder, "/tmp/palimpsest-damage-XXXXXX");
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

/* HDF5 1.10.8 keeps what it had read of a damaged file when opening it fails. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

static unsigned char *load(size_t *size)
{
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = malloc(*size);
    ck_assert_uint_eq(fread(data, 1, *size, f), *size);
    fclose(f);
    return data;
}

static void store(const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    ck_assert_uint_eq(fwrite(data, 1, size, f), size);
    fclose(f);
}

/* ---- A file with some of everything ---- */

enum {
    MIB = 1 << 20,
    F32 = MIB / 4 + 5000,
    F64 = 3000,
    I64 = 2000,
    U8 = 5000,
    U16 = 3000,
    U32 = 9
};

static struct contents {
    float f32[F32]; /* two blocks */
    double f64[F64];
    int64_t i64[I64];
    uint8_t u8[U8];
    uint16_t u16[U16];
    uint32_t u32[U32];
    char text[24];
    double number;
} want, got;

static pal_array f32_of(struct contents *c)
{
    return pal_array_of(PAL_F32, PAL_SHAPE(2, F32 / 2), c->f32);
}
static pal_array f64_of(struct contents *c)
{
    return pal_array_of(PAL_F64, PAL_SHAPE(F64), c->f64);
}
static pal_array i64_of(struct contents *c)
{
    return pal_array_of(PAL_I64, PAL_SHAPE(I64), c->i64);
}

static void write_all(void)
{
    pal_h5 *file;
    pal_error e;
    pal_rng rng = pal_rng_new(1, 2);
    memset(&want, 0, sizeof want);
    pal_array a = f32_of(&want), b = f64_of(&want), c = i64_of(&want);
    pal_rng_normal(&rng, &a, 0, 1);
    pal_rng_normal(&rng, &b, 0, 1);
    pal_rng_integers(&rng, &c, INT64_MIN, INT64_MAX);
    for (int i = 0; i < U8; i++) want.u8[i] = (uint8_t)(want.i64[i % I64] >> i % 50);
    for (int i = 0; i < U16; i++) want.u16[i] = (uint16_t)(want.i64[i % I64] >> i % 40);
    for (int i = 0; i < U32; i++) want.u32[i] = (uint32_t)want.i64[i];
    strcpy(want.text, "a text of some length");
    want.number = 0.7;
    ok(pal_h5_create(&file, path, &e), &e);
    ok(pal_h5_put(file, "params/f32", &a, &e), &e);
    ok(pal_h5_put(file, "params/f64", &b, &e), &e);
    ok(pal_h5_put(file, "i64", &c, &e), &e);
    ok(pal_h5_put_uints(file, "u8", 1, U8, want.u8, &e), &e);
    ok(pal_h5_put_uints(file, "u16", 2, U16, want.u16, &e), &e);
    ok(pal_h5_put_uints(file, "deep/er/u32", 4, U32, want.u32, &e), &e);
    ok(pal_h5_put_text(file, "/", "note", want.text, &e), &e);
    ok(pal_h5_put_number(file, "params", "number", want.number, &e), &e);
    ok(pal_h5_commit(file, &e), &e);
}

static void same(const void *a, const void *b, size_t size, const char *what, size_t place)
{
    ck_assert_msg(memcmp(a, b, size) == 0, "%s was read wrong, damage at %zu", what, place);
}

static bool same_numbers(const int64_t *read, const void *data, int width, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t x = 0;
        memcpy(&x, (const char *)data + i * width, (size_t)width);
        if (read[i] != (int64_t)x) return false;
    }
    return true;
}

static bool try_uints(pal_h5 *file, const char *name, int width, int64_t n, const void *data,
                      size_t place)
{
    static int64_t read[U8];
    pal_error e;
    if (pal_h5_read_uints(file, name, 1, n - 1, read, &e) != PAL_OK) return false;
    ck_assert_msg(same_numbers(read, (const char *)data + width, width, n - 1),
                  "%s was read wrong, damage at %zu", name, place);
    return true;
}

/* Reads all there is; what is read is right. Returns whether everything could be read. */
static bool try_reading(size_t place)
{
    pal_h5 *file;
    pal_error e = {0};
    if (pal_h5_open(&file, path, &e) != PAL_OK) return false;
    pal_array a = f32_of(&got), b = f64_of(&got), c = i64_of(&got);
    bool f32 = pal_h5_get(file, "params/f32", &a, &e) == PAL_OK;
    bool f64 = pal_h5_get(file, "params/f64", &b, &e) == PAL_OK;
    bool i64 = pal_h5_get(file, "i64", &c, &e) == PAL_OK;
    bool text = pal_h5_get_text(file, "/", "note", got.text, sizeof got.text, &e) == PAL_OK;
    bool number = pal_h5_get_number(file, "params", "number", &got.number, &e) == PAL_OK;
    if (f32) same(got.f32, want.f32, sizeof want.f32, "f32", place);
    if (f64) same(got.f64, want.f64, sizeof want.f64, "f64", place);
    if (i64) same(got.i64, want.i64, sizeof want.i64, "i64", place);
    if (text) ck_assert_str_eq(got.text, want.text);
    if (number) ck_assert(got.number == want.number);
    bool u8 = try_uints(file, "u8", 1, U8, want.u8, place);
    bool u16 = try_uints(file, "u16", 2, U16, want.u16, place);
    bool u32 = try_uints(file, "deep/er/u32", 4, U32, want.u32, place);
    pal_h5_close(file);
    return f32 && f64 && i64 && text && number && u8 && u16 && u32;
}

/* ---- Tests ---- */

START_TEST(checksum_of_the_standard)
{
    unsigned char bytes[1000];
    for (int i = 0; i < 1000; i++) bytes[i] = (unsigned char)(i * 7 + i / 256);
    uint32_t sums[3];
    for (int isa = 0; isa < (int)PAL_ISAS; isa++) {
        sums[isa] = sums[0];
        if (!pal_kernels_select((pal_isa)isa)) continue;
        ck_assert_uint_eq(pal_crc32c(0, "123456789", 9), 0xe3069283);
        ck_assert_uint_eq(pal_crc32c(0, "", 0), 0);
        sums[isa] = pal_crc32c(0, bytes, sizeof bytes);
        for (size_t cut = 0; cut < 40; cut++)
            ck_assert_uint_eq(pal_crc32c(pal_crc32c(0, bytes, cut), bytes + cut, 1000 - cut),
                              sums[isa]);
    }
    ck_assert(sums[1] == sums[0] && sums[2] == sums[0]);
    pal_kernels_select(pal_isa_best());
}
END_TEST

START_TEST(cut_short)
{
    size_t size;
    write_all();
    unsigned char *data = load(&size);
    ck_assert(try_reading(size));
    for (size_t cut = 0; cut < size; cut += 4096) {
        store(data, cut);
        ck_assert_msg(!try_reading(cut), "all of a file cut at %zu was read", cut);
    }
    static const size_t odd[] = {1, 7, 43, 48, 49, 777, 4097};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        store(data, odd[i]);
        ck_assert(!try_reading(odd[i]));
        store(data, size - odd[i]);
        ck_assert_msg(!try_reading(size - odd[i]), "all but %zu bytes was enough", odd[i]);
    }
    free(data);
}
END_TEST

static void expect_damage(const char *name, const char *words)
{
    pal_h5 *file;
    pal_error e = {0};
    pal_dtype dtype;
    pal_shape shape;
    ok(pal_h5_open(&file, path, &e), &e);
    ok(pal_h5_info(file, name, &dtype, &shape, &e), &e);
    if (strchr(name, 'u')) {
        int64_t one;
        ck_assert_int_eq(pal_h5_read_uints(file, name, 0, 1, &one, &e), PAL_EFORMAT);
    } else {
        pal_array a = pal_array_of(dtype, shape, &got);
        ck_assert_int_eq(pal_h5_get(file, name, &a, &e), PAL_EFORMAT);
    }
    ck_assert_msg(strstr(e.message, path) && strstr(e.message, name) && strstr(e.message, words),
                  "%s", e.message);
    pal_h5_close(file);
}

/* A bit of the data of each dataset, which is found in the file by its bytes. */
START_TEST(damaged_data_is_named)
{
    size_t size;
    write_all();
    unsigned char *data = load(&size);
    const struct {
        const char *name;
        const void *bytes;
        size_t size, skip;
        const char *words;
    } of[] = {{"/params/f32", want.f32, sizeof want.f32, 17, "MiB 1 of 2"},
              {"/params/f32", want.f32, sizeof want.f32, MIB + 1, "MiB 2 of 2"},
              {"/params/f64", want.f64, sizeof want.f64, 5, "MiB 1 of 1"},
              {"/i64", want.i64, sizeof want.i64, sizeof want.i64 - 1, "MiB 1 of 1"},
              {"/u8", want.u8, sizeof want.u8, 4000, "MiB 1 of 1"},
              {"/u16", want.u16, sizeof want.u16, 0, "MiB 1 of 1"},
              {"/deep/er/u32", want.u32, sizeof want.u32, 3, "MiB 1 of 1"}};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        unsigned char *at = memmem(data, size, of[i].bytes, of[i].size);
        ck_assert_ptr_nonnull(at);
        at[of[i].skip] ^= 4;
        store(data, size);
        expect_damage(of[i].name, of[i].words);
        ck_assert(!try_reading((size_t)(at - data) + of[i].skip));
        at[of[i].skip] ^= 4;
    }
    store(data, size);
    ck_assert(try_reading(0));
    free(data);
}
END_TEST

/* Every 97th byte, but fewer of the large dataset, whose bytes are all alike. */
START_TEST(flipped_bytes)
{
    size_t size;
    write_all();
    unsigned char *data = load(&size), *f32 = memmem(data, size, want.f32, sizeof want.f32);
    ck_assert_ptr_nonnull(f32);
    const size_t begin = (size_t)(f32 - data) + 4096, end = begin + sizeof want.f32 - 8192;
    int refused = 0, tried = 0;
    for (size_t i = 0; i < size; i += i < begin || i >= end ? 97 : 97 * 200, tried++) {
        data[i] ^= 0x5a;
        store(data, size);
        data[i] ^= 0x5a;
        refused += !try_reading(i);
    }
    ck_assert_msg(refused > tried / 2, "%d of %d were refused", refused, tried);
    free(data);
}
END_TEST

/* A dataset of four numbers that has `sums` for its checksums, made by HDF5 alone. */
static void with_sums(hid_t type, int rank, hsize_t dim, const void *sums)
{
    const int32_t four[4] = {1, 2, 3, 4};
    const hsize_t n = 4, dims[2] = {dim, 1};
    hid_t id = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &n, NULL), shape = H5Screate_simple(rank, dims, NULL);
    hid_t d = H5Dcreate2(id, "u", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    ck_assert_int_ge(H5Dwrite(d, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, four), 0);
    hid_t a = H5Acreate2(d, "crc32c", type, shape, H5P_DEFAULT, H5P_DEFAULT);
    ck_assert_int_ge(H5Awrite(a, type, sums), 0);
    H5Aclose(a), H5Dclose(d), H5Sclose(space), H5Sclose(shape), H5Fclose(id);
}

START_TEST(hostile_checksums)
{
    static uint32_t many[16000];
    const int32_t data[4] = {1, 2, 3, 4};
    uint32_t right = pal_crc32c(0, data, sizeof data), wrong = right + 1;
    char *word = (char[]){"text"};
    hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, H5T_VARIABLE);
    hid_t part = H5Tcopy(H5T_STD_U32LE); /* some of the bits */
    H5Tset_precision(part, 20);
    H5Tset_offset(part, 5);
    const struct {
        hid_t type;
        int rank;
        hsize_t dim;
        const void *sums;
        bool good;
    } cases[] = {{H5T_STD_U32LE, 1, 1, &right, true},
                 {H5T_STD_U32LE, 1, 1, &wrong, false},
                 {H5T_STD_U32LE, 1, 16000, many, false},
                 {H5T_STD_U32LE, 2, 1, &right, false},
                 {H5T_STD_U32LE, 1, 2, many, false},
                 {H5T_STD_U16LE, 1, 1, &right, false},
                 {H5T_IEEE_F32LE, 1, 1, &right, false},
                 {text, 1, 1, &word, false},
                 {part, 1, 1, &right, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pal_h5 *file;
        pal_error e = {0};
        int64_t out[4], third = 0;
        with_sums(cases[i].type, cases[i].rank, cases[i].dim, cases[i].sums);
        ok(pal_h5_open(&file, path, &e), &e);
        pal_array a = pal_array_of(PAL_I64, PAL_SHAPE(4), out);
        const pal_status outcome = cases[i].good ? PAL_OK : PAL_EFORMAT;
        ck_assert_msg(pal_h5_get(file, "u", &a, &e) == outcome, "case %zu: %s", i, e.message);
        if (!cases[i].good && cases[i].sums != &wrong)
            ck_assert_msg(strstr(e.message, "are not u32[1]"), "case %zu: %s", i, e.message);
        ck_assert_int_eq(pal_h5_read_uints(file, "u", 2, 1, &third, &e), outcome);
        if (cases[i].good) ck_assert(out[3] == 4 && third == 3);
        pal_h5_close(file);
    }
    H5Tclose(text), H5Tclose(part);
}
END_TEST

/* A message is one line, whatever a file's names are. */
START_TEST(names_with_controls)
{
    static const int32_t data[1] = {7};
    pal_h5 *file;
    pal_error e = {0};
    pal_params *p = pal_params_new();
    const hsize_t n = 1;
    hid_t id = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &n, NULL);
    hid_t d = H5Dcreate2(id, "a\nb\033[2J\177", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT,
                         H5P_DEFAULT);
    ck_assert_int_ge(H5Dwrite(d, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), 0);
    H5Dclose(d), H5Sclose(space), H5Fclose(id);
    ok(pal_h5_open(&file, path, &e), &e);
    ck_assert_int_eq(pal_params_get(p, file, "/", &e), PAL_EFORMAT);
    ck_assert_msg(strstr(e.message, "a?b?[2J?"), "%s", e.message);
    pal_error_set(&e, PAL_EFORMAT, "%s", "a\nb");
    ck_assert_str_eq(e.message, "a?b");
    pal_h5_close(file);
    pal_params_free(p);
}
END_TEST

/* An attribute `t` of the file with these `size` bytes, of a text type of fixed length. */
static void with_text(const char *name, H5T_str_t pad, const char *bytes, size_t size)
{
    hid_t id = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, size);
    H5Tset_strpad(type, pad);
    hid_t a = H5Acreate2(id, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    ck_assert_int_ge(H5Awrite(a, type, bytes), 0);
    H5Aclose(a), H5Sclose(space), H5Tclose(type), H5Fclose(id);
}

START_TEST(hostile_texts)
{
    pal_h5 *file;
    pal_error e;
    char text[8];
    with_text("t", H5T_STR_NULLPAD, "abcdefg", 7); /* no terminator */
    ok(pal_h5_open(&file, path, &e), &e);
    ok(pal_h5_get_text(file, "/", "t", text, sizeof text, &e), &e);
    ck_assert_str_eq(text, "abcdefg");
    ck_assert_int_eq(pal_h5_get_text(file, "/", "t", text, 7, &e), PAL_EFORMAT);
    double x;
    ck_assert_int_eq(pal_h5_get_number(file, "/", "t", &x, &e), PAL_EFORMAT);
    pal_h5_close(file);
    char *big = calloc(60000, 1);
    memset(big, 'x', 59999);
    with_text("t", H5T_STR_NULLTERM, big, 60000);
    ok(pal_h5_open(&file, path, &e), &e);
    ck_assert_int_eq(pal_h5_get_text(file, "/", "t", text, sizeof text, &e), PAL_EFORMAT);
    pal_h5_close(file);
    free(big);
}
END_TEST

START_TEST(later_formats_are_refused)
{
    pal_h5 *file;
    pal_error e = {0};
    static const char *const good[] = {"palimpsest arrays 1", "something else 9", "palimpsest"};
    for (int i = 0; i < 3; i++) {
        with_text("format", H5T_STR_NULLTERM, good[i], strlen(good[i]) + 1);
        ok(pal_h5_open(&file, path, &e), &e);
        pal_h5_close(file);
    }
    with_text("format", H5T_STR_NULLTERM, "palimpsest arrays 2", 20);
    ck_assert_int_eq(pal_h5_open(&file, path, &e), PAL_EFORMAT);
    ck_assert_ptr_null(file);
    ck_assert_ptr_nonnull(strstr(e.message, "later format"));
    ck_assert_ptr_nonnull(strstr(e.message, "palimpsest arrays 2"));
}
END_TEST

/* A dataset whose dimensions promise far more than the file holds. */
START_TEST(huge_dimensions)
{
    static const hsize_t dims[][3] = {{1u << 20, 1u << 20, 16}, {1ull << 40, 1ull << 20, 1}};
    hid_t id = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t how = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t chunk[3] = {16, 16, 1};
    ck_assert_int_ge(H5Pset_chunk(how, 3, chunk), 0);
    for (int i = 0; i < 2; i++) {
        hid_t space = H5Screate_simple(3, dims[i], NULL);
        hid_t d =
            H5Dcreate2(id, i ? "b" : "a", H5T_NATIVE_FLOAT, space, H5P_DEFAULT, how, H5P_DEFAULT);
        ck_assert_int_ge(d, 0);
        H5Dclose(d);
        H5Sclose(space);
    }
    H5Pclose(how);
    H5Fclose(id);
    pal_h5 *file;
    pal_error e;
    pal_dtype dtype;
    pal_shape shape;
    ok(pal_h5_open(&file, path, &e), &e);
    ck_assert_int_eq(pal_h5_info(file, "a", &dtype, &shape, &e), PAL_EFORMAT);
    ck_assert_ptr_nonnull(strstr(e.message, "more data than it stores"));
    ck_assert_int_eq(pal_h5_info(file, "b", &dtype, &shape, &e), PAL_EFORMAT);
    pal_h5_close(file);
    ck_assert_int_eq(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hdf5_damage");
    TCase *tc = tcase_create("damage");
    tcase_set_timeout(tc, 300);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, checksum_of_the_standard);
    tcase_add_test(tc, cut_short);
    tcase_add_test(tc, damaged_data_is_named);
    tcase_add_test(tc, flipped_bytes);
    tcase_add_test(tc, hostile_checksums);
    tcase_add_test(tc, names_with_controls);
    tcase_add_test(tc, hostile_texts);
    tcase_add_test(tc, later_formats_are_refused);
    tcase_add_test(tc, huge_dimensions);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
