/*
 * test_optim_frame.c - what every optimiser gets from the frame around it: options and groups that
 * are refused, threads, memory, files; and what Muon makes of a matrix.
 */
#include "optim/optimisers/internal.h"
#include "tests/support/check.h"
#include "tests/support/optim_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Large enough that a team works on it; the sizes are no multiple of a piece. */
static pal_params *large(void)
{
    pal_params *p = pal_params_new();
    optim_fill_value(pal_param(p, "w", PAL_F32, PAL_SHAPE(131, 317)), 1);
    optim_fill_value(pal_no_decay(pal_param(p, "b", PAL_F32, PAL_SHAPE(317))), 2);
    optim_fill_value(pal_param(p, "u", PAL_F32, PAL_SHAPE(317, 211)), 3);
    optim_fill_value(pal_param(p, "embed", PAL_F32, PAL_SHAPE(401, 101)), 4);
    return p;
}

/* Two types, one parameter frozen, a constant between the others; the last has `size` elements. */
static pal_params *small(int64_t size)
{
    pal_params *p = pal_params_new();
    pal_tape *tape = pal_tape_new();
    optim_fill_value(pal_param(p, "w", PAL_F32, PAL_SHAPE(5, 7)), 1);
    optim_fill_value(pal_param(p, "d", PAL_F64, PAL_SHAPE(7, 3)), 2);
    pal_keep(p, "constant", pal_full(tape, PAL_F32, PAL_SHAPE(3), 7));
    optim_fill_value(pal_freeze(pal_param(p, "f", PAL_F32, PAL_SHAPE(4, 4)), true), 3);
    optim_fill_value(pal_param(p, "b", PAL_F32, PAL_SHAPE(size)), 4);
    pal_tape_free(tape);
    return p;
}

static void steps(pal_optim *o, pal_params *p, int from, int to)
{
    for (int t = from; t < to; t++) {
        optim_fill_grad(p, (uint64_t)t);
        ck_assert_int_eq(pal_optim_step(o, 0.01), PAL_OK);
    }
}

/* ---- Options ---- */

static void refused(const char *word, const pal_optim *made)
{
    ck_assert_ptr_null(made);
    ck_assert_int_eq(optim_last.status, PAL_EVALUE);
    ck_assert_msg(strstr(optim_last.message, word), "%s: %s", word, optim_last.message);
    optim_last.status = PAL_OK;
}

START_TEST(wrong_options_are_named)
{
    pal_params *p = small(7);
    const char *const none[] = {"x"};
    refused("adam_new: beta2", pal_adam_new(p, (pal_adamw_opts){.beta2 = 1}));
    refused("eps", pal_adamw_new(p, (pal_adamw_opts){.eps = -1}));
    refused("sgd_new: momentum=1 should be a number from 0 to below 1",
            pal_sgd_new(p, (pal_sgd_opts){.momentum = 1}));
    refused("nesterov", pal_sgd_new(p, (pal_sgd_opts){.nesterov = true}));
    refused("sgd_new: decay", pal_sgd_new(p, (pal_sgd_opts){.decay = -1}));
    refused("lion_new: beta1", pal_lion_new(p, (pal_lion_opts){.beta1 = -1}));
    refused("muon_new: momentum", pal_muon_new(p, (pal_muon_opts){.momentum = 1}));
    refused("rest_rate", pal_muon_new(p, (pal_muon_opts){.rest_rate = (double)INFINITY}));
    refused("scale 7", pal_muon_new(p, (pal_muon_opts){.scale = (pal_muon_scale)7}));
    refused("exclude is NULL", pal_muon_new(p, (pal_muon_opts){.exclude_count = 1}));
    refused("exclude_count is -1",
            pal_muon_new(p, (pal_muon_opts){.exclude = none, .exclude_count = -1}));
    for (int r = 0; r < OPTIM_KINDS; r++) {
        refused("params is NULL", optim_kinds[r].make(NULL, NULL, 0));
        refused(optim_kinds[r].name, optim_kinds[r].make(NULL, NULL, 0));
    }
    pal_params_free(p);
}
END_TEST

START_TEST(wrong_groups_are_named)
{
    pal_params *p = small(7);
    const pal_group good = {.pattern = "w"};
    const pal_group wrong[] = {{.pattern = "ww*"},
                               {.rate = 1},
                               {.pattern = "*", .decay = 1, .no_decay = true},
                               {.pattern = "*", .rate = -1},
                               {.pattern = "*", .decay = (double)NAN}};
    const char *const words[] = {"\"ww*\" of group 1", "group 1", "no_decay", "rate of a group",
                                 "decay of a group"};
    for (int r = 0; r < OPTIM_KINDS; r++) {
        for (int i = 0; i < 5; i++)
            refused(words[i], optim_kinds[r].make(p, (pal_group[]){good, wrong[i]}, 2));
        refused("group_count is 1", optim_kinds[r].make(p, NULL, 1));
        refused("group_count is -1", optim_kinds[r].make(p, &good, -1));
    }
    pal_params_free(p);
}
END_TEST

/* ---- By text ---- */

/* The text of every entry of optim_kinds but for its groups. */
static const char *const texts[OPTIM_KINDS] = {
    "adamw:decay=0.1",
    "adam:beta2=0.98:decay=0.1",
    "sgd:decay=0.1",
    "sgd:momentum=0.9:decay=0.1",
    "sgd:momentum=0.8:nesterov=true:decay=0.1",
    "lion:decay=0.3:decay=0.1",
    "muon:decay=0.1",
    "muon:scale=rms:nesterov=false:decay=0.1",
};

START_TEST(text_makes_the_same)
{
    pal_params *p = small(7), *q = small(7);
    pal_error error;
    ck_assert(pal_optims_check(texts[_i], &error) == PAL_OK);
    pal_optim *a = optim_kinds[_i].make(p, NULL, 0), *b = pal_optim_new(q, texts[_i]);
    ck_assert_ptr_nonnull(b);
    ck_assert_str_eq(pal_optim_name(b), optim_kinds[_i].name);
    steps(a, p, 0, 3);
    steps(b, q, 0, 3);
    ck_assert(optim_same(p, q));
    pal_optim_free(a);
    pal_optim_free(b);
    pal_params_free(p);
    pal_params_free(q);
}
END_TEST

START_TEST(names_have_texts)
{
    for (int i = 0; pal_optims_name(i); i++) {
        pal_params *p = small(3);
        pal_optim *o = pal_optim_new(p, pal_optims_name(i));
        ck_assert_ptr_nonnull(o);
        ck_assert_str_eq(pal_optim_name(o), pal_optims_name(i));
        pal_optim_free(o);
        pal_params_free(p);
    }
    ck_assert_ptr_null(pal_optims_name(-1));
}
END_TEST

START_TEST(wrong_texts_are_named)
{
    static const struct {
        const char *text, *words;
    } wrong[] = {
        {"newton", "there is no optimiser \"newton\"; there are adamw, "},
        {"", "there is no optimiser \"\""},
        {"lion:beta=1",
         "optimiser lion: there is no key \"beta\"; its keys are beta1, beta2, decay"},
        {"lion:beta1=0", "optimiser lion: beta1=0 should be a number above 0, below 1"},
        {"adamw:eps=-1", "eps=-1 should be a number from 0 on"},
        {"adamw:decay=nan", "decay=nan should be"},
        {"muon:scale=big", "scale=big should be shape|rms"},
        {"sgd:nesterov", "nesterov= should be true or false"},
    };
    pal_params *p = small(3);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pal_error error = {PAL_OK, ""};
        ck_assert(pal_optims_check(wrong[i].text, &error) == PAL_EVALUE);
        ck_assert_msg(strstr(error.message, wrong[i].words), "%s", error.message);
        refused(wrong[i].words, pal_optim_new(p, wrong[i].text));
    }
    refused("sgd_new: nesterov needs a momentum", pal_optim_new(p, "sgd:nesterov=true"));
    pal_params_free(p);
}
END_TEST

START_TEST(a_refused_step_changes_nothing)
{
    pal_params *p = small(7), *q = small(7);
    pal_optim *o = optim_kinds[_i].make(p, NULL, 0);
    optim_fill_grad(p, 1);
    ck_assert_int_eq(pal_optim_step(o, (double)NAN), PAL_EVALUE);
    ck_assert(strstr(optim_last.message, "rate"));
    ck_assert_int_eq(pal_optim_step(NULL, 1), PAL_EVALUE);
    ck_assert(pal_optim_steps(o) == 0 && optim_same(p, q));
    pal_param(p, "late", PAL_F32, PAL_SHAPE(2));
    pal_param(q, "late", PAL_F32, PAL_SHAPE(2));
    optim_fill_grad(p, 1);
    ck_assert_int_eq(pal_optim_step(o, 1), PAL_EVALUE);
    ck_assert(strstr(optim_last.message, "5 parameters"));
    ck_assert(pal_optim_steps(o) == 0 && optim_same(p, q));
    pal_optim_free(o);
    pal_params_free(p);
    pal_params_free(q);
}
END_TEST

/* ---- Threads and memory ---- */

START_TEST(threads_do_not_change_a_bit)
{
    static const int teams[] = {1, 2, 3, 16};
    pal_params *first = NULL;
    for (int k = 0; k < 4; k++) {
        pal_set_threads(teams[k]);
        pal_params *p = large(), *untouched = large();
        pal_optim *o = optim_kinds[_i].make(p, NULL, 0);
        steps(o, p, 0, 2);
        pal_optim_free(o);
        ck_assert(!optim_same(p, untouched));
        pal_params_free(untouched);
        if (first) {
            ck_assert_msg(optim_same(p, first), "%d threads", teams[k]);
            pal_params_free(p);
        } else {
            first = p;
        }
    }
    pal_params_free(first);
}
END_TEST

START_TEST(every_allocation_may_fail_and_a_step_needs_none)
{
    optim_budget b = {.left = 1000};
    int failures = 0;
    pal_set_allocator(optim_meagre, &b);
    pal_params *p = small(7);
    optim_fill_grad(p, 0); /* gradients belong to the parameters (tests/test_gradient_memory.c) */
    int64_t base = b.live;
    pal_optim *o = NULL;
    for (int64_t n = 0; !o; n++) {
        b.left = n;
        optim_last.status = PAL_OK;
        o = optim_kinds[_i].make(p, NULL, 0);
        if (o) break;
        failures++;
        ck_assert(optim_last.status == PAL_ENOMEM && b.live == base);
    }
    ck_assert_int_ge(failures, 6);
    b.left = 0;
    steps(o, p, 0, 2);
    ck_assert_int_eq(b.left, 0);
    pal_optim_free(o);
    ck_assert(b.live == base);
    pal_params_free(p);
    ck_assert(b.live == 0);
    pal_set_allocator(NULL, NULL);
}
END_TEST

/* ---- State in a file ---- */

static void write_state(const char *path, const pal_optim *o)
{
    pal_error e;
    pal_h5 *file;
    ck_assert_msg(pal_h5_create(&file, path, &e) == PAL_OK, "%s", e.message);
    ck_assert_msg(pal_optim_put(o, file, "/run/optim", &e) == PAL_OK, "%s", e.message);
    ck_assert_msg(pal_h5_commit(file, &e) == PAL_OK, "%s", e.message);
}

static pal_status read_state(const char *path, pal_optim *o, const char *group, pal_error *e)
{
    pal_h5 *file;
    ck_assert_msg(pal_h5_open(&file, path, e) == PAL_OK, "%s", e->message);
    pal_status status = pal_optim_get(o, file, group, e);
    pal_h5_close(file);
    return status;
}

static void copy_values(const pal_params *from, const pal_params *to)
{
    for (int i = 0; i < pal_params_count(from); i++) {
        pal_array a = pal_params_array(from, i), b = pal_params_array(to, i);
        ck_assert_int_eq(pal_array_copy(&b, &a, NULL), PAL_OK);
    }
}

START_TEST(saved_state_continues_bit_for_bit)
{
    char path[OPTIM_PATH];
    pal_error e;
    pal_params *p = small(7), *q = small(7);
    pal_optim *a = optim_kinds[_i].make(p, NULL, 0), *b = optim_kinds[_i].make(q, NULL, 0);
    optim_temporary(path);
    steps(a, p, 0, 3);
    write_state(path, a);
    steps(b, q, 20, 21); /* moments of its own, to be replaced */
    copy_values(p, q);
    ck_assert_msg(read_state(path, b, "/run/optim", &e) == PAL_OK, "%s", e.message);
    ck_assert_int_eq(pal_optim_steps(b), 3);
    steps(a, p, 3, 6);
    steps(b, q, 3, 6);
    ck_assert(optim_same(p, q));
    pal_optim_free(a);
    pal_optim_free(b);
    pal_params_free(p);
    pal_params_free(q);
    remove(path);
}
END_TEST

/* Loading fails, says why, and the optimiser goes on as one that has not tried. */
static void fails(const struct optim_kind *kind, const char *path, int64_t size, const char *group,
                  const char *word)
{
    pal_error e;
    pal_params *p = small(size), *q = small(size);
    pal_optim *a = kind->make(p, NULL, 0), *b = kind->make(q, NULL, 0);
    steps(a, p, 0, 2);
    steps(b, q, 0, 2);
    ck_assert_int_eq(read_state(path, a, group, &e), PAL_EFORMAT);
    ck_assert_msg(strstr(e.message, word), "%s: %s", word, e.message);
    ck_assert_int_eq(pal_optim_steps(a), 2);
    steps(a, p, 2, 4);
    steps(b, q, 2, 4);
    ck_assert(optim_same(p, q));
    pal_optim_free(a);
    pal_optim_free(b);
    pal_params_free(p);
    pal_params_free(q);
}

START_TEST(a_failed_load_changes_nothing)
{
    const optim_kind *kind = &optim_kinds[_i], *other = &optim_kinds[(_i + 5) % OPTIM_KINDS];
    char path[OPTIM_PATH], word[64];
    pal_params *p = small(7), *more = small(7);
    optim_temporary(path);
    pal_optim *o = kind->make(p, NULL, 0);
    steps(o, p, 5, 7);
    write_state(path, o);
    if (pal_state_at(&o->state, 4, 0)) fails(kind, path, 8, "/run/optim", "f32[8] is wanted");
    fails(kind, path, 7, "/nothing", "/nothing");
    snprintf(word, sizeof word, "state of %s where that of %s", kind->name, other->name);
    fails(other, path, 7, "/run/optim", word);
    pal_optim_free(o);

    pal_param(more, "more", PAL_F32, PAL_SHAPE(3));
    o = kind->make(more, NULL, 0);
    write_state(path, o);
    if (pal_state_at(&o->state, 5, 0)) fails(kind, path, 7, "/run/optim", "5 arrays where 4");
    pal_optim_free(o);
    pal_params_free(more);
    pal_params_free(p);
    remove(path);
}
END_TEST

START_TEST(a_momentum_is_not_dropped)
{
    char path[OPTIM_PATH];
    pal_params *p = small(7);
    pal_optim *momentum = pal_sgd_new(p, (pal_sgd_opts){.momentum = 0.9});
    optim_temporary(path);
    write_state(path, momentum);
    fails(&optim_kinds[2], path, 7, "/run/optim", "/run/optim/m has 4 arrays where 0");
    pal_optim_free(momentum);
    pal_params_free(p);
    remove(path);
}
END_TEST

/* ---- Muon ---- */

/* The eigenvalues of a symmetric A [n,n], by Jacobi's rotations, into its diagonal. */
static void jacobi(int n, double *A)
{
    for (int sweep = 0; sweep < 30; sweep++)
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++) {
                if (A[p * n + q] == 0) continue;
                double theta = 0.5 * atan2(2 * A[p * n + q], A[q * n + q] - A[p * n + p]);
                double c = cos(theta), s = sin(theta);
                for (int k = 0; k < n; k++) {
                    double x = A[k * n + p], y = A[k * n + q];
                    A[k * n + p] = c * x - s * y, A[k * n + q] = s * x + c * y;
                }
                for (int k = 0; k < n; k++) {
                    double x = A[p * n + k], y = A[q * n + k];
                    A[p * n + k] = c * x - s * y, A[q * n + k] = s * x + c * y;
                }
            }
}

START_TEST(muon_makes_a_matrix_orthogonal)
{
    enum { LEAST = 12 };
    static const int sizes[][2] = {{40, LEAST}, {LEAST, 40}, {LEAST, LEAST}, {13, LEAST}};
    for (int k = 0; k < 8; k++) {
        int rows = sizes[k / 2][0], columns = sizes[k / 2][1];
        pal_params *p = pal_params_new();
        pal_param(p, "w", k % 2 ? PAL_F32 : PAL_F64, PAL_SHAPE(rows, columns));
        optim_fill_grad(p, (uint64_t)k + 1);
        pal_optim *o = pal_muon_new(p, (pal_muon_opts){0});
        ck_assert_int_eq(pal_optim_step(o, 1), PAL_OK);
        pal_array x = pal_params_array(p, 0);
        double scale = sqrt(fmax(1, (double)rows / columns)), A[LEAST * LEAST] = {0};
        bool tall = rows > columns;
        for (int i = 0; i < LEAST; i++)
            for (int j = 0; j < LEAST; j++)
                for (int q = 0; q < (tall ? rows : columns); q++) {
                    double a = optim_at(x, tall ? q * columns + i : i * columns + q);
                    double b = optim_at(x, tall ? q * columns + j : j * columns + q);
                    A[i * LEAST + j] += a * b / (scale * scale);
                }
        jacobi(LEAST, A);
        for (int i = 0; i < LEAST; i++) {
            double value = sqrt(A[i * (LEAST + 1)]);
            ck_assert_msg(value > 0.6 && value < 1.3, "%d x %d: %g", rows, columns, value);
        }
        pal_optim_free(o);
        pal_params_free(p);
    }
}
END_TEST

/* A gradient of zero, for which there is no direction. */
START_TEST(muon_of_nothing_is_nothing)
{
    pal_params *p = pal_params_new();
    pal_tensor w = pal_param(p, "w", PAL_F32, PAL_SHAPE(3, 4));
    optim_fill_value(w, 1);
    double before = optim_at(pal_value(w), 5);
    pal_optim *o = pal_muon_new(p, (pal_muon_opts){.decay = 0.5});
    ck_assert_int_eq(pal_optim_step(o, 0.5), PAL_OK);
    ck_assert_double_eq_tol(optim_at(pal_value(w), 5), 0.75 * before, 1e-7);
    pal_optim_free(o);
    pal_params_free(p);
}
END_TEST

/* Which are matrices shows in how many moments they have. */
START_TEST(muon_takes_matrices_that_are_not_excluded)
{
    static const char *const mine[] = {"w", "x*"};
    static const struct {
        const char *const *exclude;
        int count, moments[4]; /* of w, embed, head, v */
    } cases[] = {{NULL, 0, {1, 2, 2, 2}}, {mine, 2, {2, 1, 1, 2}}, {mine, 0, {1, 1, 1, 2}}};
    pal_params *p = pal_params_new();
    pal_param(p, "w", PAL_F32, PAL_SHAPE(3, 4));
    pal_param(p, "model.embeddings.weight", PAL_F32, PAL_SHAPE(3, 4));
    pal_param(p, "lm_head.weight", PAL_F32, PAL_SHAPE(3, 4));
    pal_param(p, "v", PAL_F32, PAL_SHAPE(12));
    for (int k = 0; k < 3; k++) {
        pal_optim *o = pal_muon_new(
            p, (pal_muon_opts){.exclude = cases[k].exclude, .exclude_count = cases[k].count});
        for (int i = 0; i < 4; i++)
            ck_assert_int_eq(1 + (pal_state_at(&o->state, i, 1) != NULL), cases[k].moments[i]);
        pal_optim_free(o);
    }
    pal_params_free(p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("optim_frame");
    TCase *c = tcase_create("optim_frame");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, optim_setup, optim_teardown);
    tcase_add_test(c, wrong_options_are_named);
    tcase_add_test(c, wrong_groups_are_named);
    tcase_add_loop_test(c, text_makes_the_same, 0, OPTIM_KINDS);
    tcase_add_test(c, names_have_texts);
    tcase_add_test(c, wrong_texts_are_named);
    tcase_add_loop_test(c, a_refused_step_changes_nothing, 0, OPTIM_KINDS);
    tcase_add_loop_test(c, threads_do_not_change_a_bit, 0, OPTIM_KINDS);
    tcase_add_loop_test(c, every_allocation_may_fail_and_a_step_needs_none, 0, OPTIM_KINDS);
    tcase_add_loop_test(c, saved_state_continues_bit_for_bit, 0, OPTIM_KINDS);
    tcase_add_loop_test(c, a_failed_load_changes_nothing, 0, OPTIM_KINDS);
    tcase_add_test(c, a_momentum_is_not_dropped);
    tcase_add_test(c, muon_makes_a_matrix_orthogonal);
    tcase_add_test(c, muon_of_nothing_is_nothing);
    tcase_add_test(c, muon_takes_matrices_that_are_not_excluded);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
