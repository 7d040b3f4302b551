/*
 * test_hdf5_links.c - what lies in groups is found through hard links alone, in whatever order it
 * is asked for, and groups are made as names need them.
 */
#include "palimpsest.h"
#include "tests/support/check.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/palimpsest-links-XXXXXX";

static void good(long long result) { ck_assert_int_ge(result, 0); }

static void put_number(hid_t group, const char *name)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t d = H5Dcreate2(group, name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    good(H5Dwrite(d, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &(int){7}));
    H5Dclose(d), H5Sclose(space);
}

/* What was found in a group says nothing of the links in it, nor of groups with a longer name. */
START_TEST(links_in_groups)
{
    static const struct {
        const char *name;
        bool there;
    } asked[] = {{"a/b/x", true},    {"a/b/soft", false}, {"a/b/up/b/x", false}, {"a/bc/x", false},
                 {"a/b/x", true},    {"a/b/c/x", true},   {"a/b/c/up/x", false}, {"a/b/x/x", false},
                 {"way/b/x", false}, {"/a/b/x", true},    {"a/x", false},        {"a/b/c/x", true}};
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT),
          how = H5Pcreate(H5P_LINK_CREATE);
    good(H5Pset_create_intermediate_group(how, 1));
    good(H5Gclose(H5Gcreate2(file, "a/b/c", how, H5P_DEFAULT, H5P_DEFAULT)));
    H5Pclose(how);
    put_number(file, "a/b/x");
    put_number(file, "a/b/c/x");
    good(H5Lcreate_soft("/a/b/x", file, "a/b/soft", H5P_DEFAULT, H5P_DEFAULT));
    good(H5Lcreate_soft("/a", file, "a/b/up", H5P_DEFAULT, H5P_DEFAULT));
    good(H5Lcreate_soft("/a/b", file, "a/bc", H5P_DEFAULT, H5P_DEFAULT));
    good(H5Lcreate_soft("/a/b", file, "a/b/c/up", H5P_DEFAULT, H5P_DEFAULT));
    good(H5Lcreate_soft("/a", file, "way", H5P_DEFAULT, H5P_DEFAULT));
    H5Fclose(file);
    pal_h5 *h;
    pal_error e;
    ck_assert_int_eq(pal_h5_open(&h, path, &e), PAL_OK);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        ck_assert_msg(pal_h5_has(h, asked[i].name) == asked[i].there, "%s", asked[i].name);
    pal_h5_close(h);
}
END_TEST

START_TEST(groups_are_made)
{
    static const char *const names[] = {"a/b/x",     "a/b/y",     "a/c",    "z",
                                        "a/b/c/d/x", "a/b/c/e/x", "/a/b/w", "b/x"};
    enum { N = sizeof names / sizeof *names };
    pal_h5 *h;
    pal_error e;
    ck_assert_int_eq(pal_h5_create(&h, path, &e), PAL_OK);
    for (int i = 0; i < N; i++) {
        double x = i;
        const pal_array a = pal_array_of(PAL_F64, PAL_SCALAR, &x);
        ck_assert_msg(pal_h5_put(h, names[i], &a, &e) == PAL_OK, "%s", e.message);
        ck_assert_int_eq(pal_h5_put(h, names[i], &a, &e), PAL_EVALUE);
    }
    ck_assert_int_eq(pal_h5_commit(h, &e), PAL_OK);
    ck_assert_int_eq(pal_h5_open(&h, path, &e), PAL_OK);
    for (int i = N - 1; i >= 0; i--) {
        double x = -1;
        pal_array a = pal_array_of(PAL_F64, PAL_SCALAR, &x);
        ck_assert_msg(pal_h5_get(h, names[i], &a, &e) == PAL_OK && x == i, "%s", names[i]);
    }
    pal_h5_close(h);
}
END_TEST

int main(void)
{
    const int fd = mkstemp(path);
    if (fd < 0 || close(fd) != 0) return 1;
    Suite *suite = suite_create("hdf5 links");
    TCase *tc = tcase_create("links");
    tcase_add_test(tc, links_in_groups);
    tcase_add_test(tc, groups_are_made);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    unlink(path);
    return failed != 0;
}
