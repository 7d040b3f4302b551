/*
 * test_hdf5_guards.c - datasets, groups and links that a file may have, and those that are refused
 * before anything is read or reserved. What is refused changes nothing.
 */
#include "tensor/internal.h"
#include "palimpsest.h"
#include "tests/support/check.h"
#include "tests/support/isa.h"

#include <hdf5.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[] = "/tmp/palimpsest-guards-XXXXXX";

static void setup(void)
{
    strcpy(path, "/tmp/palimpsest-guards-XXXXXX");
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void teardown(void) { unlink(path); }

static void good(long long result) { ck_assert_int_ge(result, 0); }

static hid_t create(bool latest)
{
    hid_t how = H5Pcreate(H5P_FILE_ACCESS);
    if (latest) good(H5Pset_libver_bounds(how, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST));
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, how);
    good(file);
    H5Pclose(how);
    return file;
}

/* ---- Datasets ---- */

enum { N = 64 };

typedef struct sample {
    const char *name, *words; /* NULL: it is read */
    hid_t type;
    hsize_t chunk; /* 0: contiguous */
    int deflate;   /* so many times */
    bool shuffle, fletcher, nbit, compact, unwritten, outside;
    hsize_t most; /* 0: it cannot grow */
} sample;

static hid_t properties(const sample *s)
{
    hid_t how = H5Pcreate(H5P_DATASET_CREATE);
    if (s->chunk) good(H5Pset_chunk(how, 1, &s->chunk));
    if (s->shuffle) good(H5Pset_shuffle(how));
    for (int i = 0; i < s->deflate; i++) {
        const unsigned level = 6;
        good(H5Pset_filter(how, H5Z_FILTER_DEFLATE, 0, 1, &level));
    }
    if (s->fletcher) good(H5Pset_fletcher32(how));
    if (s->nbit) good(H5Pset_nbit(how));
    if (s->compact) good(H5Pset_layout(how, H5D_COMPACT));
    if (s->outside) good(H5Pset_external(how, "/etc/passwd", 0, N * sizeof(float)));
    return how;
}

static void write_sample(const sample *s, bool latest)
{
    const hsize_t n = N;
    float x[N];
    for (int i = 0; i < N; i++) x[i] = (float)i;
    hid_t file = create(latest), how = properties(s);
    hid_t space = H5Screate_simple(1, &n, s->most ? &s->most : NULL);
    hid_t d = H5Dcreate2(file, "x", s->type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    good(d);
    if (!s->unwritten && !s->outside)
        good(H5Dwrite(d, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, x));
    H5Dclose(d), H5Sclose(space), H5Pclose(how), H5Fclose(file);
}

static void expect(const sample *s, bool latest)
{
    double x[N];
    pal_h5 *file;
    pal_error e = {PAL_OK, ""};
    pal_array a = pal_array_of(PAL_F64, PAL_SHAPE(N), x);
    memset(x, 0x55, sizeof x);
    write_sample(s, latest);
    ck_assert_msg(pal_h5_check(path, &e) == PAL_OK, "%s: %s", s->name, e.message);
    ck_assert_msg(pal_h5_open(&file, path, &e) == PAL_OK, "%s: %s", s->name, e.message);
    const pal_status status = pal_h5_get(file, "x", &a, &e);
    pal_h5_close(file);
    if (!s->words) {
        ck_assert_msg(status == PAL_OK, "%s: %s", s->name, e.message);
        for (int i = 0; i < N; i++) ck_assert_msg(x[i] == i, "%s: element %d", s->name, i);
        return;
    }
    ck_assert_msg(status == PAL_EFORMAT && strstr(e.message, s->words), "%s: %s", s->name,
                  e.message);
    for (size_t i = 0; i < sizeof x; i++) ck_assert(((unsigned char *)x)[i] == 0x55);
}

static hid_t odd_float(void)
{
    hid_t t = H5Tcopy(H5T_IEEE_F32LE);
    good(H5Tset_fields(t, 31, 20, 11, 0, 20));
    good(H5Tset_ebias(t, 1023));
    return t;
}

static hid_t half(hid_t order)
{
    hid_t t = H5Tcopy(order);
    good(H5Tset_fields(t, 15, 10, 5, 0, 10));
    good(H5Tset_precision(t, 16));
    good(H5Tset_ebias(t, 15));
    good(H5Tset_size(t, 2));
    return t;
}

START_TEST(datasets)
{
    const hid_t f = H5T_IEEE_F32LE, odd = odd_float(), h = half(H5T_IEEE_F32BE);
    const hsize_t many = H5S_UNLIMITED;
    const sample all[] = {
        {"contiguous", NULL, .type = f},
        {"doubles, big-endian", NULL, .type = H5T_IEEE_F64BE},
        {"long double", NULL, .type = H5T_NATIVE_LDOUBLE},
        {"half", NULL, .type = h},
        {"chunks", NULL, .type = f, .chunk = 16},
        {"chunks beyond the edge", NULL, .type = f, .chunk = 60},
        {"chunks of a small dataset that is to grow", NULL, .type = f, .chunk = 1 << 16,
         .most = many},
        {"deflate", NULL, .type = f, .chunk = 16, .deflate = 1},
        {"shuffle", NULL, .type = f, .chunk = 16, .shuffle = true},
        {"shuffle and deflate", NULL, .type = f, .chunk = 60, .deflate = 1, .shuffle = true},
        {"deflate twice", "a filter twice", .type = f, .chunk = 16, .deflate = 2},
        {"deflate three times", "more filters", .type = f, .chunk = 16, .deflate = 3},
        {"three filters", "more filters", .type = f, .chunk = 16, .deflate = 1, .shuffle = true,
         .fletcher = true},
        {"fletcher32", "another filter", .type = f, .chunk = 16, .fletcher = true},
        {"nbit", "another filter", .type = f, .chunk = 16, .nbit = true},
        {"compact", "compact", .type = f, .compact = true},
        {"outside", "in other files", .type = f, .outside = true},
        {"never written", "more or less data than it stores", .type = f, .unwritten = true},
        {"no chunk written", "more data than it stores", .type = f, .chunk = 16, .unwritten = true},
        {"no chunk written, deflate", "more data than it stores", .type = f, .chunk = 16,
         .deflate = 1, .unwritten = true},
        {"large chunks", "more than 32 MiB", .type = f, .chunk = (8 << 20) + 1, .most = many,
         .unwritten = true},
        {"chunks larger than it", "larger than it is", .type = f, .chunk = 1 << 20, .most = many,
         .unwritten = true},
        {"an odd float", "an unusual type", .type = odd},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int latest = 0; latest < 2; latest++) expect(&all[i], latest);
    H5Tclose(odd), H5Tclose(h);
    ck_assert_int_eq(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
}
END_TEST

/* ---- Groups ---- */

static bool count(const char *name, void *user)
{
    (void)name;
    ++*(int *)user;
    return true;
}

/* Lists all of the file; NULL: it is listed, and has so many
 * datasets. */
static void expect_list(const char *words, int wanted)
{
    pal_h5 *file;
    int found = 0;
    pal_error e = {PAL_OK, ""};
    ck_assert_int_eq(pal_h5_open(&file, path, &e), PAL_OK);
    const pal_status s = pal_h5_each(file, "/", count, &found, &e);
    ck_assert_msg(s == (words ? PAL_EFORMAT : PAL_OK), "%s", e.message);
    if (words) ck_assert_msg(strstr(e.message, words) && strstr(e.message, path), "%s", e.message);
    if (!words) ck_assert_int_eq(found, wanted);
    pal_h5_close(file);
}

static void put_number(hid_t group, const char *name)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t d = H5Dcreate2(group, name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const int x = 7;
    good(H5Dwrite(d, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &x));
    H5Dclose(d), H5Sclose(space);
}

/* `depth` groups in each other, and a dataset in the last. */
static void nest(int depth, bool latest)
{
    hid_t file = create(latest), at = H5Gopen2(file, "/", H5P_DEFAULT);
    for (int i = 0; i < depth; i++) {
        hid_t next = H5Gcreate2(at, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        good(next);
        H5Gclose(at);
        at = next;
    }
    put_number(at, "x");
    H5Gclose(at), H5Fclose(file);
}

START_TEST(depth)
{
    for (int latest = 0; latest < 2; latest++) {
        nest(31, latest);
        expect_list(NULL, 1);
        nest(32, latest);
        expect_list("nested more than 32 deep", 0);
        nest(1500, latest);
        expect_list("nested more than 32 deep", 0);
    }
}
END_TEST

/* Hard links that lead back, and groups that are reached by 2^20 paths. */
START_TEST(circles)
{
    hid_t file = create(true), g = H5Gcreate2(file, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    good(H5Lcreate_hard(file, "/", g, "up", H5P_DEFAULT, H5P_DEFAULT));
    H5Gclose(g), H5Fclose(file);
    expect_list("nested more than 32 deep", 0);
    file = create(true);
    hid_t at = H5Gopen2(file, "/", H5P_DEFAULT);
    for (int i = 0; i < 20; i++) {
        hid_t next = H5Gcreate2(at, "a", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        good(H5Lcreate_hard(next, ".", at, "b", H5P_DEFAULT, H5P_DEFAULT));
        H5Gclose(at);
        at = next;
    }
    H5Gclose(at), H5Fclose(file);
    expect_list("more than 65536 names", 0);
}
END_TEST

START_TEST(links)
{
    hid_t file = create(false);
    put_number(file, "x");
    good(H5Lcreate_soft("/x", file, "soft", H5P_DEFAULT, H5P_DEFAULT));
    good(H5Lcreate_external("/etc/passwd", "/", file, "external", H5P_DEFAULT, H5P_DEFAULT));
    hid_t type = H5Tcopy(H5T_NATIVE_INT);
    good(H5Tcommit2(file, "type", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Tclose(type), H5Fclose(file);
    expect_list(NULL, 1);
    pal_h5 *h;
    pal_error e;
    ck_assert_int_eq(pal_h5_open(&h, path, &e), PAL_OK);
    ck_assert(pal_h5_has(h, "x") && !pal_h5_has(h, "soft") && !pal_h5_has(h, "external"));
    pal_h5_close(h);
}
END_TEST

/* ---- Bytes that have flipped in a file with large groups ---- */

enum { NAMES = 12 };

static pal_params *make_params(float value)
{
    pal_params *p = pal_params_new();
    for (int i = 0; i < NAMES; i++) {
        char name[32];
        snprintf(name, sizeof name, "model.part.%d", 7 * i % NAMES);
        pal_fill(pal_param(p, name, PAL_F32, PAL_SHAPE(3)), value + (float)i);
    }
    return p;
}

static unsigned char *read_file(size_t *size)
{
    FILE *f = fopen(path, "rb");
    static unsigned char bytes[1 << 17];
    ck_assert_ptr_nonnull(f);
    *size = fread(bytes, 1, sizeof bytes, f);
    ck_assert(*size < sizeof bytes);
    fclose(f);
    return bytes;
}

static void write_byte(size_t at, unsigned char byte)
{
    FILE *f = fopen(path, "r+b");
    ck_assert(f && fseek(f, (long)at, SEEK_SET) == 0 && fputc(byte, f) != EOF && fclose(f) == 0);
}

/* All is read as it was written, or nothing changes. */
static bool load_all(pal_optim *optim, pal_params *to, pal_params *from)
{
    pal_checkpoint c = {.params = to, .optim = optim, .step = 5};
    pal_error e;
    const bool loaded = pal_checkpoint_load(&c, path, &e) == PAL_OK;
    for (int i = 0; i < NAMES; i++) {
        const pal_array a = pal_params_array(to, i), b = pal_params_array(from, i);
        for (int j = 0; j < 3; j++)
            ck_assert(((float *)a.data)[j] == (loaded ? ((float *)b.data)[j] : -1 + (float)i));
    }
    ck_assert_int_eq(c.step, loaded ? 3 : 5);
    ck_assert_int_eq(pal_optim_steps(optim), loaded ? 1 : 0);
    return loaded;
}

START_TEST(flipped_bytes)
{
    pal_params *saved = make_params(1);
    pal_optim *optim = pal_adamw_new(saved, (pal_adamw_opts){0});
    ck_assert_int_eq(pal_optim_step(optim, 0.1), PAL_OK);
    const pal_checkpoint c = {.params = saved, .optim = optim, .config = "width = 8\n", .step = 3};
    pal_error e;
    ck_assert_msg(pal_checkpoint_save(&c, path, &e) == PAL_OK, "%s", e.message);
    size_t size;
    int refused = 0, tried = 0;
    unsigned char *bytes = read_file(&size);
    for (size_t i = 0; i < size; i += test_all() ? 1 : 101, tried++) {
        pal_params *to = make_params(-1);
        pal_optim *fresh = pal_adamw_new(to, (pal_adamw_opts){0});
        write_byte(i, bytes[i] ^ (unsigned char)(1 << i % 8));
        refused += !load_all(fresh, to, saved);
        (void)!pal_h5_check(path, NULL);
        write_byte(i, bytes[i]);
        pal_optim_free(fresh);
        pal_params_free(to);
    }
    ck_assert_msg(refused > tried / 4, "%d of %d were refused", refused, tried);
    pal_params *to = make_params(-1);
    pal_optim *fresh = pal_adamw_new(to, (pal_adamw_opts){0});
    ck_assert(load_all(fresh, to, saved));
    pal_optim_free(fresh), pal_optim_free(optim);
    pal_params_free(to), pal_params_free(saved);
}
END_TEST

/* ---- What is asked before HDF5 sees a file ---- */

static pal_status deny(int fd, const char *name, void *user, pal_error *error)
{
    unsigned char first;
    ck_assert_int_eq(pread(fd, &first, 1, 0), 1);
    ck_assert_uint_eq(first, 0x89);
    ++*(int *)user;
    return pal_error_set(error, PAL_EFORMAT, "%s: no", name);
}

/* Something else gets the path while the file is looked at. */
static pal_status replace(int fd, const char *name, void *user, pal_error *error)
{
    (void)fd, (void)error;
    ck_assert_int_eq(rename(name, user), 0);
    hid_t file = create(true);
    put_number(file, "other");
    H5Fclose(file);
    return PAL_OK;
}

START_TEST(asked_first)
{
    pal_h5 *file;
    pal_error e;
    int asked = 0;
    nest(1, true);
    pal_set_file_check(deny, &asked);
    ck_assert_int_eq(pal_h5_open(&file, path, &e), PAL_EFORMAT);
    ck_assert(asked == 1 && strstr(e.message, ": no"));
    ck_assert_ptr_null(file);
    ck_assert_int_eq(pal_file_kind_of(path), PAL_FILE_HDF5);
    ck_assert_int_eq(pal_h5_open(&file, "/dev/null", &e), PAL_EFORMAT);
    ck_assert_int_eq(asked, 2);
    char moved[64];
    snprintf(moved, sizeof moved, "%s-moved", path);
    pal_set_file_check(replace, moved);
    ck_assert_msg(pal_h5_open(&file, path, &e) == PAL_OK, "%s", e.message);
    ck_assert(pal_h5_has(file, "g/x") && !pal_h5_has(file, "other"));
    pal_h5_close(file);
    pal_set_file_check(NULL, NULL);
    ck_assert_int_eq(pal_h5_open(&file, path, &e), PAL_OK);
    ck_assert(pal_h5_has(file, "other"));
    pal_h5_close(file);
    unlink(moved);
}
END_TEST

/* ---- The end of the process ---- */

/* A process of its own, which `run` does not come back from. Returns how it ended. */
static int in_child(void (*run)(void))
{
    int status;
    const pid_t pid = fork();
    if (pid == 0) run();
    ck_assert(pid > 0 && waitpid(pid, &status, 0) == pid);
    return status;
}

static char spoiled[80];

static void make_spoiled(void)
{
    nest(1, true);
    exit(rename(path, spoiled) != 0 || truncate(spoiled, 60) != 0);
}

/* The library fails to open a file, and then the program's own file stays open. */
static void leave_a_file_open(void)
{
    pal_h5 *h;
    if (pal_h5_open(&h, spoiled, NULL) == PAL_OK) _exit(3);
    hid_t file = create(false);
    put_number(file, "own");
    exit(0);
}

START_TEST(own_files_are_flushed)
{
    snprintf(spoiled, sizeof spoiled, "%s-spoiled", path);
    ck_assert_int_eq(in_child(make_spoiled), 0); /* here HDF5 has not been started */
    ck_assert_int_eq(in_child(leave_a_file_open), 0);
    unlink(spoiled);
    expect_list(NULL, 1);
}
END_TEST

static void *read_for_ever(void *unused)
{
    static double x[1 << 18];
    const pal_array a = pal_array_of(PAL_F64, PAL_SHAPE(1 << 18), x);
    pal_h5 *h;
    (void)unused;
    for (;;) {
        if (pal_h5_open(&h, path, NULL) != PAL_OK) _exit(4);
        pal_array to = a;
        if (pal_h5_get(h, "x", &to, NULL) != PAL_OK) _exit(5);
        pal_h5_close(h);
    }
}

static void exit_beside_a_reader(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, read_for_ever, NULL) != 0) _exit(6);
    usleep(20000);
    exit(0);
}

START_TEST(end_waits_for_its_turn)
{
    const hsize_t n = 1 << 18, chunk = 1 << 12;
    hid_t file = create(false), space = H5Screate_simple(1, &n, NULL);
    hid_t how = H5Pcreate(H5P_DATASET_CREATE);
    good(H5Pset_chunk(how, 1, &chunk)), good(H5Pset_deflate(how, 1));
    hid_t d = H5Dcreate2(file, "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, how, H5P_DEFAULT);
    float *x = calloc(n, sizeof *x);
    good(H5Dwrite(d, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, x));
    free(x);
    H5Dclose(d), H5Pclose(how), H5Sclose(space), H5Fclose(file);
    for (int i = 0; i < 8; i++) ck_assert_int_eq(in_child(exit_beside_a_reader), 0);
}
END_TEST

/* HDF5 1.10.8 keeps what it had read of a damaged file when opening it fails. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

int main(void)
{
    Suite *suite = suite_create("hdf5_guards");
    TCase *tc = tcase_create("guards");
    tcase_set_timeout(tc, 300);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, datasets);
    tcase_add_test(tc, depth);
    tcase_add_test(tc, circles);
    tcase_add_test(tc, links);
    tcase_add_test(tc, flipped_bytes);
    tcase_add_test(tc, asked_first);
    tcase_add_test(tc, own_files_are_flushed);
    tcase_add_test(tc, end_waits_for_its_turn);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
