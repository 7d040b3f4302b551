/*
 * test_hdf5.c - files of named arrays: round trips, what h5py reads and writes, replacement that is
 * all or nothing, and files made to do harm.
 */
#include "tensor/tensor.h"
#include "tests/support/check.h"

#include <hdf5.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Helpers ---- */

static char folder[] = "/tmp/palimpsest-hdf5-XXXXXX";
static char path[64];

/* Files, groups, datasets, types and attributes that are open. */
static int64_t open_ids(void) { return (int64_t)H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL); }

static int64_t ids_before;

static void setup(void)
{
    strcpy(folder, "/tmp/palimpsest-hdf5-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.h5", folder);
    pal_h5 *file;
    ck_assert_int_eq(pal_h5_create(&file, path, NULL), PAL_OK); /* what HDF5 makes once */
    pal_h5_close(file);
    ids_before = open_ids();
}

static void teardown(void)
{
    char command[128];
    ck_assert_int_eq(open_ids(), ids_before);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static void ok(pal_status status, const pal_error *error)
{
    if (status != PAL_OK) ck_abort_msg("%s: %s", pal_status_name(status), error->message);
}

static int files_in_folder(void)
{
    char command[128];
    int n = -1;
    snprintf(command, sizeof command, "ls -A %s | wc -l", folder);
    FILE *pipe = popen(command, "r");
    ck_assert_int_eq(fscanf(pipe, "%d", &n), 1);
    pclose(pipe);
    return n;
}

static void write_number(double value)
{
    pal_h5 *file;
    pal_error e;
    pal_array a = pal_array_of(PAL_F64, PAL_SCALAR, &value);
    ok(pal_h5_create(&file, path, &e), &e);
    ok(pal_h5_put(file, "x", &a, &e), &e);
    ok(pal_h5_commit(file, &e), &e);
}

static double read_number(void)
{
    pal_h5 *file;
    pal_error e;
    double value = NAN;
    pal_array a = pal_array_of(PAL_F64, PAL_SCALAR, &value);
    ok(pal_h5_open(&file, path, &e), &e);
    ok(pal_h5_get(file, "x", &a, &e), &e);
    pal_h5_close(file);
    return value;
}

/* Runs a h5py script with `p` set to the path; false where there is no h5py. */
static bool python(const char *script)
{
    char command[4096];
    if (system("/usr/bin/python3 -c 'import h5py, numpy' 2>/dev/null") != 0) return false;
    snprintf(command, sizeof command,
             "/usr/bin/python3 -c \"import h5py, numpy as np\np = '%s'\n%s\"", path, script);
    ck_assert_int_eq(system(command), 0);
    return true;
}

/* ---- Round trips ---- */

static bool collect(const char *name, void *user)
{
    strcat(user, name);
    strcat(user, ";");
    return strcmp(name, "stop") != 0;
}

/* Of the file of round_trip. */
static void attributes_and_names(pal_h5 *file)
{
    pal_error e;
    char text[200] = "";
    double value = 0;
    ok(pal_h5_get_text(file, "/", "note", text, sizeof text, &e), &e);
    ck_assert_str_eq(text, "again");
    ck_assert_int_eq(pal_h5_get_text(file, "/", "note", text, 5, &e), PAL_EFORMAT);
    ok(pal_h5_get_text(file, "n", "dtype", text, sizeof text, &e), &e);
    ck_assert_str_eq(text, "i64");
    ok(pal_h5_get_number(file, "params/b", "step", &value, &e), &e);
    ck_assert(value == 1e300);
    text[0] = '\0';
    ok(pal_h5_each(file, "/", collect, text, &e), &e);
    ck_assert_str_eq(text, "empty;n;params/b;params/head.weight;");
    text[0] = '\0';
    ok(pal_h5_each(file, "/params", collect, text, &e), &e);
    ck_assert_str_eq(text, "b;head.weight;");
    ck_assert_int_eq(pal_h5_each(file, "/none", collect, text, &e), PAL_EFORMAT);
}

START_TEST(round_trip)
{
    float x[24], back[24];
    double y[2] = {NAN, -0.0}, y2[2];
    int64_t n = INT64_MIN, n2 = 0;
    for (int i = 0; i < 24; i++) x[i] = (float)i / 3;
    pal_array a = pal_array_of(PAL_F32, PAL_SHAPE(2, 3, 4), x), t, u;
    int axes[] = {2, 0, 1};
    ck_assert_int_eq(pal_array_permute(&a, axes, &t, NULL), PAL_OK);
    pal_array b = pal_array_of(PAL_F64, PAL_SHAPE(2), y);
    pal_array s = pal_array_of(PAL_I64, PAL_SCALAR, &n);
    pal_array empty = pal_array_of(PAL_F32, PAL_SHAPE(0, 5), NULL);
    pal_h5 *file;
    pal_error e;
    ok(pal_h5_create(&file, path, &e), &e);
    ok(pal_h5_put(file, "/params/head.weight", &t, &e), &e);
    ok(pal_h5_put(file, "params/b", &b, &e), &e);
    ok(pal_h5_put(file, "n", &s, &e), &e);
    ok(pal_h5_put(file, "empty", &empty, &e), &e);
    ck_assert_int_eq(pal_h5_put(file, "n", &s, &e), PAL_EVALUE);
    ck_assert_int_eq(pal_h5_put(file, "", &s, &e), PAL_EVALUE);
    ck_assert_int_eq(pal_h5_put(file, "n/below", &s, &e), PAL_EVALUE);
    ok(pal_h5_put_text(file, "/", "note", "caf\xc3\xa9", &e), &e);
    ok(pal_h5_put_text(file, "/", "note", "again", &e), &e);
    ok(pal_h5_put_number(file, "/params/b", "step", 1e300, &e), &e);
    ck_assert_int_eq(pal_h5_put_number(file, "missing", "step", 1, &e), PAL_EVALUE);
    ck_assert_int_eq(access(path, F_OK), -1); /* nothing appears before the commit */
    ok(pal_h5_commit(file, &e), &e);
    ck_assert_int_eq(files_in_folder(), 1);

    ok(pal_h5_open(&file, path, &e), &e);
    ck_assert(pal_h5_has(file, "/params/b") && !pal_h5_has(file, "/params/c/d"));
    pal_dtype dtype;
    pal_shape shape;
    ok(pal_h5_info(file, "params/head.weight", &dtype, &shape, &e), &e);
    ck_assert(dtype == PAL_F32 && pal_shape_equal(shape, PAL_SHAPE(4, 2, 3)));
    u = pal_array_of(PAL_F32, PAL_SHAPE(2, 3, 4), back);
    ck_assert_int_eq(pal_array_permute(&u, axes, &u, NULL), PAL_OK);
    ok(pal_h5_get(file, "params/head.weight", &u, &e), &e);
    ck_assert_mem_eq(x, back, sizeof x);
    pal_array b2 = pal_array_of(PAL_F64, PAL_SHAPE(2), y2);
    ok(pal_h5_get(file, "params/b", &b2, &e), &e);
    ck_assert_mem_eq(y, y2, sizeof y);
    pal_array s2 = pal_array_of(PAL_I64, PAL_SCALAR, &n2);
    ok(pal_h5_get(file, "n", &s2, &e), &e);
    ck_assert_int_eq(n2, n);
    ok(pal_h5_get(file, "empty", &empty, &e), &e);
    attributes_and_names(file);
    ck_assert_int_eq(pal_h5_put(file, "z", &s, &e), PAL_EVALUE);
    pal_h5_close(file);
    pal_h5_close(NULL);
}
END_TEST

START_TEST(mismatches_are_named)
{
    write_number(2.5);
    double two[2];
    int64_t n;
    float f;
    pal_h5 *file;
    pal_error e;
    ok(pal_h5_open(&file, path, &e), &e);
    pal_array a = pal_array_of(PAL_F64, PAL_SHAPE(2), two);
    ck_assert_int_eq(pal_h5_get(file, "x", &a, &e), PAL_ESHAPE);
    ck_assert_ptr_nonnull(strstr(e.message, "'x' is f64[], wanted f64[2]"));
    a = pal_array_of(PAL_I64, PAL_SCALAR, &n);
    ck_assert_int_eq(pal_h5_get(file, "x", &a, &e), PAL_EFORMAT);
    ck_assert_int_eq(pal_h5_get(file, "y", &a, &e), PAL_EFORMAT);
    ck_assert_int_eq(pal_h5_get(file, "/", &a, &e), PAL_EFORMAT);
    a = pal_array_of(PAL_F32, PAL_SCALAR, &f);
    ok(pal_h5_get(file, "x", &a, &e), &e);
    ck_assert(f == 2.5f);
    ck_assert_int_eq(pal_h5_get_number(file, "x", "dtype", two, &e), PAL_EFORMAT);
    ck_assert_int_eq(pal_h5_get_number(file, "x", "none", two, &e), PAL_EFORMAT);
    ck_assert_int_eq(pal_h5_commit(file, &e), PAL_EVALUE);
    ck_assert_int_eq(pal_h5_open(&file, "/nowhere/x.h5", &e), PAL_EIO);
    ck_assert_ptr_null(file);
}
END_TEST

/* ---- h5py ---- */

START_TEST(h5py_reads_ours)
{
    write_number(2.5);
    python("f = h5py.File(p, 'r')\n"
           "assert f['x'][()] == 2.5 and f['x'].dtype == np.float64\n"
           "assert f['x'].attrs['dtype'] == b'f64'\n"
           "assert f.attrs['creator'].startswith(b'palimpsest')\n");
}
END_TEST

START_TEST(ours_reads_h5py)
{
    if (!python("f = h5py.File(p, 'w')\n"
                "f['be'] = np.arange(6, dtype='>f4').reshape(2, 3) / 4\n"
                "f['i2'] = np.array([-3, 7], dtype='>i2')\n"
                "f['h'] = np.array([1.5], dtype='f2')\n"
                "f['u'] = np.array([200], dtype='u1')\n"
                "f.create_dataset('z', data=np.ones((100, 100)), compression='gzip')\n"
                "f['flags'] = np.array([True])\n"
                "f['c'] = np.array([1j])\n"
                "f['s'] = 'text'\n"
                "f['nine'] = np.zeros((1,) * 9)\n"
                "f['soft'] = h5py.SoftLink('/be')\n"
                "f['out'] = h5py.ExternalLink('/etc/passwd', '/')\n"
                "f.create_dataset('ext', (4,), 'f4', external=[('/etc/passwd', 0, 16)])\n"
                "f.attrs['t'] = 'caf\\u00e9'\nf.attrs['fixed'] = np.bytes_('abc')\n"
                "f.attrs['b'] = True\nf.attrs['i'] = np.int8(-5)\nf.attrs['f'] = np.float32(0.5)\n"
                "f.attrs['be'] = np.array(7, '>u2')\nf.attrs['many'] = [1, 2]\n"))
        return;
    pal_h5 *file;
    pal_error e;
    float x[6];
    int64_t n[2];
    double number;
    char text[20];
    pal_dtype dtype;
    pal_shape shape;
    ok(pal_h5_open(&file, path, &e), &e);
    pal_array a = pal_array_of(PAL_F32, PAL_SHAPE(2, 3), x);
    ok(pal_h5_get(file, "be", &a, &e), &e);
    ck_assert(x[5] == 1.25f);
    a = pal_array_of(PAL_I64, PAL_SHAPE(2), n);
    ok(pal_h5_get(file, "i2", &a, &e), &e);
    ck_assert(n[0] == -3 && n[1] == 7);
    a = pal_array_of(PAL_I64, PAL_SHAPE(1), n);
    ok(pal_h5_get(file, "u", &a, &e), &e);
    ck_assert_int_eq(n[0], 200);
    a = pal_array_of(PAL_F32, PAL_SHAPE(1), x);
    ok(pal_h5_get(file, "h", &a, &e), &e);
    ck_assert(x[0] == 1.5f);
    ck_assert_int_eq(pal_h5_get(file, "u", &a, &e), PAL_EFORMAT);
    ok(pal_h5_info(file, "z", &dtype, &shape, &e), &e);
    ck_assert(dtype == PAL_F64 && pal_shape_equal(shape, PAL_SHAPE(100, 100)));
    static const char *const bad[] = {"flags", "c", "s", "nine", "soft", "out", "ext"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(pal_h5_info(file, bad[i], &dtype, &shape, &e) == PAL_EFORMAT, "%s", bad[i]);
    ok(pal_h5_get_text(file, "/", "t", text, sizeof text, &e), &e);
    ck_assert_str_eq(text, "caf\xc3\xa9");
    ok(pal_h5_get_text(file, "/", "fixed", text, sizeof text, &e), &e);
    ck_assert_str_eq(text, "abc");
    static const char *const names[] = {"b", "i", "f", "be"};
    static const double want[] = {1, -5, 0.5, 7};
    for (int i = 0; i < 4; i++) {
        ok(pal_h5_get_number(file, "/", names[i], &number, &e), &e);
        ck_assert_msg(number == want[i], "%s is %g", names[i], number);
    }
    ck_assert_int_eq(pal_h5_get_number(file, "/", "many", &number, &e), PAL_EFORMAT);
    ck_assert_int_eq(pal_h5_get_text(file, "/", "b", text, sizeof text, &e), PAL_EFORMAT);
    pal_h5_close(file);
}
END_TEST

/* ---- All or nothing ---- */

START_TEST(failed_write_keeps_the_old_file)
{
    static double big[40000];
    pal_h5 *file;
    pal_error e;
    write_number(1.0);
    pal_array a = pal_array_of(PAL_F64, PAL_SHAPE(40000), big);
    ok(pal_h5_create(&file, path, &e), &e);
    ok(pal_h5_put(file, "x", &a, &e), &e);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit, small;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 100000;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    pal_status status = pal_h5_commit(file, &e);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(status, PAL_EIO);
    ck_assert_ptr_nonnull(strstr(e.message, path));
    ck_assert_int_eq(files_in_folder(), 1);
    ck_assert(read_number() == 1.0);
    write_number(2.0);
    ck_assert(read_number() == 2.0);
}
END_TEST

START_TEST(failures_leave_no_trace)
{
    pal_h5 *file;
    pal_error e;
    ok(pal_h5_create(&file, "/nowhere/a.h5", &e), &e);
    ck_assert_int_eq(pal_h5_commit(file, &e), PAL_EIO);
    char target[80];
    snprintf(target, sizeof target, "%s/folder", folder);
    ck_assert_int_eq(mkdir(target, 0777), 0); /* a rename onto a folder fails */
    ok(pal_h5_create(&file, target, &e), &e);
    ck_assert_int_eq(pal_h5_commit(file, &e), PAL_EIO);
    ok(pal_h5_create(&file, path, &e), &e);
    pal_h5_close(file);
    ck_assert_int_eq(files_in_folder(), 1);
}
END_TEST

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

/* Every allocation of ours fails in turn. */
START_TEST(out_of_memory)
{
    float x[12] = {0};
    int failures = 0;
    pal_array a = pal_array_of(PAL_F32, PAL_SHAPE(3, 4), x), t;
    int axes[] = {1, 0};
    ck_assert_int_eq(pal_array_permute(&a, axes, &t, NULL), PAL_OK);
    for (int n = 0;; n++) {
        int left = n;
        pal_h5 *file;
        pal_error e = {0};
        pal_set_allocator(refuse, &left);
        pal_status status = pal_h5_create(&file, path, &e);
        if (status == PAL_OK) {
            status = pal_h5_put(file, "x", &t, &e);
            if (status == PAL_OK)
                status = pal_h5_commit(file, &e);
            else
                pal_h5_close(file);
        }
        if (status == PAL_OK) status = pal_h5_open(&file, path, &e);
        if (status == PAL_OK) {
            status = pal_h5_get(file, "x", &t, &e);
            pal_h5_close(file);
        }
        pal_set_allocator(NULL, NULL);
        if (status == PAL_OK) break;
        ck_assert_int_eq(status, PAL_ENOMEM);
        ck_assert_str_ne(e.message, "");
        failures++;
    }
    ck_assert_int_ge(failures, 5);
}
END_TEST

/* ---- Files made to do harm ---- */

/* HDF5 1.10.8 keeps what it had read of a damaged file when opening it fails. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

static char *load(size_t *size)
{
    FILE *f = fopen(path, "rb");
    char *data = malloc(1 << 16);
    ck_assert_ptr_nonnull(f);
    *size = fread(data, 1, 1 << 16, f);
    fclose(f);
    return data;
}

static void store(const char *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    ck_assert_uint_eq(fwrite(data, 1, size, f), size);
    fclose(f);
}

static bool ignore(const char *name, void *user) { return (void)name, (void)user, true; }

/* Reads all there is; every outcome but a crash is right. Returns whether x was read. */
static bool try_reading(void)
{
    pal_h5 *file;
    pal_error e;
    double value;
    char text[32];
    pal_array a = pal_array_of(PAL_F64, PAL_SCALAR, &value);
    if (pal_h5_open(&file, path, &e) != PAL_OK) return false;
    bool good = pal_h5_get(file, "x", &a, &e) == PAL_OK;
    if (pal_h5_get_text(file, "x", "dtype", text, sizeof text, &e) != PAL_OK) good = false;
    if (pal_h5_each(file, "/", ignore, NULL, &e) != PAL_OK) good = false;
    pal_h5_close(file);
    return good;
}

START_TEST(truncated_files)
{
    size_t size;
    write_number(1.0);
    char *data = load(&size);
    ck_assert(try_reading());
    for (size_t cut = 0; cut < size; cut += size / 64 + 1) {
        store(data, cut);
        ck_assert(!try_reading());
    }
    store("plain text, no HDF5 at all", 26);
    ck_assert(!try_reading());
    free(data);
}
END_TEST

START_TEST(flipped_bytes)
{
    size_t size;
    write_number(1.0);
    char *data = load(&size);
    for (size_t i = 0; i < size; i++) {
        data[i] = (char)(data[i] ^ 0x5a);
        store(data, size);
        try_reading();
        data[i] = (char)(data[i] ^ 0x5a);
    }
    free(data);
}
END_TEST

/* HDF5's own reports are silent during our calls, and as they were afterwards. */
START_TEST(error_printing_is_restored)
{
    H5E_auto2_t before, after;
    void *data;
    H5Eget_auto2(H5E_DEFAULT, &before, &data);
    store("no", 2);
    ck_assert(!try_reading());
    H5Eget_auto2(H5E_DEFAULT, &after, &data);
    ck_assert(before != NULL && before == after);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hdf5");
    TCase *tc = tcase_create("files");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, round_trip);
    tcase_add_test(tc, mismatches_are_named);
    tcase_add_test(tc, h5py_reads_ours);
    tcase_add_test(tc, ours_reads_h5py);
    tcase_add_test(tc, failed_write_keeps_the_old_file);
    tcase_add_test(tc, failures_leave_no_trace);
    tcase_add_test(tc, out_of_memory);
    tcase_add_test(tc, truncated_files);
    tcase_add_test(tc, flipped_bytes);
    tcase_add_test(tc, error_printing_is_restored);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
