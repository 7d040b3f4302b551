/*
 * test_checkpoint.c - a checkpoint brings back everything, and one that is damaged, of another
 * model or of another run is an error that changes nothing.
 */
#include "optim/train.h"
#include "tests/support/check.h"
#include "tests/support/optim_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Everything that a checkpoint is made of. */
typedef struct parts {
    pal_params *params;
    pal_rng rng;
    pal_schedule schedule;
    pal_checkpoint c;
} parts;

static parts parts_new(int64_t width, uint64_t seed)
{
    parts p = {.params = pal_params_new(),
               .rng = {seed, 1u << 31, UINT64_MAX - seed},
               .schedule = {.kind = PAL_WSD, .lr = 0.1, .warmup = 1, .steps = 9, .decay_steps = 2}};
    optim_fill_value(pal_param(p.params, "a.weight", PAL_F32, PAL_SHAPE(width, 3)), seed);
    optim_fill_value(pal_param(p.params, "bias", PAL_F64, PAL_SHAPE(5)), seed + 1);
    p.c = (pal_checkpoint){.params = p.params,
                           .optim = pal_adamw_new(p.params, (pal_adamw_opts){0}),
                           .average = pal_average_new(p.params, (pal_average_opts){0}),
                           .data = "0123abcd",
                           .config = "width = 7\n",
                           .step = 3,
                           .position = {.epoch = 2, .index = 40},
                           .best_step = 2,
                           .best = 1.0 / 3};
    for (uint64_t i = 0; i < 3; i++) {
        optim_fill_grad(p.params, seed + 10 + i);
        ck_assert_int_eq(pal_optim_step(p.c.optim, 0.1), PAL_OK);
        ck_assert_int_eq(pal_average_update(p.c.average), PAL_OK);
    }
    return p;
}

/* c points into the parts, which are copied about by value. */
static pal_checkpoint *of(parts *p)
{
    p->c.rng = &p->rng;
    p->c.schedule = &p->schedule;
    return &p->c;
}

static void parts_free(parts *p)
{
    pal_average_free(p->c.average);
    pal_optim_free(p->c.optim);
    pal_params_free(p->params);
}

typedef struct bytes {
    unsigned char *at;
    size_t size;
} bytes;

static bytes read_file(const char *path)
{
    bytes b = {malloc(1 << 20), 0};
    FILE *file = fopen(path, "rb");
    ck_assert(file && b.at);
    b.size = fread(b.at, 1, 1 << 20, file);
    fclose(file);
    return b;
}

static void write_file(const char *path, bytes b)
{
    FILE *file = fopen(path, "wb");
    ck_assert(file && fwrite(b.at, 1, b.size, file) == b.size && fclose(file) == 0);
}

/* The state as the file that it would be saved as: equal states are equal files. */
static bytes image(parts *p)
{
    char path[OPTIM_PATH];
    pal_error error;
    optim_temporary(path);
    ck_assert_msg(pal_checkpoint_save(of(p), path, &error) == PAL_OK, "%s", error.message);
    bytes b = read_file(path);
    unlink(path);
    return b;
}

static bool same(bytes a, bytes b) { return a.size == b.size && !memcmp(a.at, b.at, a.size); }

/* Loading fails, says `words`, and nothing has changed. */
static void refused(parts *p, const char *path, pal_status status, const char *words)
{
    pal_error error = {0};
    bytes before = image(p);
    pal_status s = pal_checkpoint_load(of(p), path, &error);
    bytes after = image(p);
    ck_assert_msg(s == status, "%d where %d is wanted: %s", (int)s, (int)status, error.message);
    ck_assert_msg(strstr(error.message, words) != NULL, "no '%s' in: %s", words, error.message);
    ck_assert_msg(strstr(error.message, path) != NULL, "no file in: %s", error.message);
    ck_assert(same(before, after));
    free(before.at);
    free(after.at);
}

START_TEST(everything_comes_back)
{
    char path[OPTIM_PATH], config[64];
    pal_error error;
    parts p = parts_new(7, 1), q = parts_new(7, 50);
    optim_temporary(path);
    ck_assert_int_eq(pal_checkpoint_save(of(&p), path, &error), PAL_OK);
    q.c.step = q.c.best_step = 0;
    q.c.position = (pal_position){0};
    bytes a = image(&p), b = image(&q);
    ck_assert(!same(a, b));
    free(b.at);
    ck_assert_msg(pal_checkpoint_load(of(&q), path, &error) == PAL_OK, "%s", error.message);
    b = image(&q);
    ck_assert(same(a, b));
    ck_assert(q.c.step == 3 && q.c.position.epoch == 2 && q.c.position.index == 40);
    ck_assert(q.c.best_step == 2 && q.c.best == 1.0 / 3 && q.c.same_kernels);
    ck_assert(q.rng.seed == 1 && q.rng.stream == 1u << 31 && q.rng.counter == UINT64_MAX - 1);
    ck_assert(optim_same(p.params, q.params) && pal_optim_steps(q.c.optim) == 3);
    ck_assert_str_eq(q.c.code, pal_code_version());
    ck_assert_int_eq(pal_checkpoint_config(path, config, sizeof config, &error), PAL_OK);
    ck_assert_str_eq(config, "width = 7\n");
    ck_assert_int_eq(pal_checkpoint_config(path, config, 10, &error), PAL_EFORMAT);
    int64_t length = -1;
    ck_assert_int_eq(pal_checkpoint_tokenizer(path, config, 64, &length, &error), PAL_OK);
    ck_assert(length == 0 && config[0] == '\0');
    free(a.at);
    free(b.at);
    unlink(path);
    parts_free(&p);
    parts_free(&q);
}
END_TEST

/* Longer than the pieces that it is read by. */
START_TEST(a_tokenizer_is_carried)
{
    char path[OPTIM_PATH], text[3000], back[3000];
    pal_error error = {0};
    parts p = parts_new(7, 1);
    for (int i = 0; i < 2999; i++) text[i] = (char)(1 + i % 255);
    text[2999] = '\0';
    p.c.tokenizer = text;
    p.c.tokenizer_name = "of test";
    optim_temporary(path);
    ck_assert_int_eq(pal_checkpoint_save(of(&p), path, &error), PAL_OK);
    int64_t length;
    ck_assert_int_eq(pal_checkpoint_tokenizer(path, NULL, 0, &length, &error), PAL_OK);
    ck_assert_int_eq(length, 2999);
    ck_assert_int_eq(pal_checkpoint_tokenizer(path, back, 2999, &length, &error), PAL_EVALUE);
    ck_assert_int_eq(pal_checkpoint_tokenizer(path, back, 3000, &length, &error), PAL_OK);
    ck_assert_str_eq(back, text);
    bytes whole = read_file(path);
    unsigned char *at = memmem(whole.at, whole.size, text, 2999);
    ck_assert(at != NULL);
    at[2000] ^= 1;
    write_file(path, whole);
    ck_assert_int_eq(pal_checkpoint_tokenizer(path, back, 3000, &length, &error), PAL_EFORMAT);
    ck_assert_msg(strstr(error.message, "tokenizer") && strstr(error.message, path), "%s",
                  error.message);
    free(whole.at);
    unlink(path);
    parts_free(&p);
}
END_TEST

/* ---- Damage ---- */

typedef struct flips {
    pal_h5 *file;
    bytes whole;
    const char *path;
    parts *p;
    int count;
} flips;

/* A single number, whose bytes are in other places too: one of these is it. Flipped elsewhere they
 * are an error of another name, or nobody reads them. */
static void flip_number(flips *f, const char *name, const int64_t *value)
{
    int named = 0;
    unsigned char *at = f->whole.at, *const end = at + f->whole.size;
    while ((at = memmem(at, (size_t)(end - at), value, sizeof *value))) {
        pal_error error = {0};
        *at ^= 4;
        write_file(f->path, f->whole);
        *at++ ^= 4;
        bytes before = image(f->p);
        if (pal_checkpoint_load(of(f->p), f->path, &error) != PAL_OK) {
            bytes after = image(f->p);
            ck_assert_msg(same(before, after), "half loaded: %s", error.message);
            named += strstr(error.message, name) != NULL;
            free(after.at);
        }
        free(before.at);
    }
    ck_assert_msg(named == 1, "%d flips were told to be in %s", named, name);
}

/* Flips one bit of the data of a dataset, which are found by what they are. */
static bool flip(const char *name, void *user)
{
    flips *f = user;
    char full[256];
    double data[64];
    pal_dtype dtype;
    pal_shape shape;
    snprintf(full, sizeof full, "/%s", name);
    ck_assert_int_eq(pal_h5_info(f->file, full, &dtype, &shape, NULL), PAL_OK);
    pal_array a = pal_array_of(dtype, shape, data);
    ck_assert(pal_shape_count(shape) <= 64);
    ck_assert_int_eq(pal_h5_get(f->file, full, &a, NULL), PAL_OK);
    f->count++;
    if (pal_shape_count(shape) == 1) {
        int64_t value;
        memcpy(&value, data, sizeof value);
        flip_number(f, name, &value);
        return true;
    }
    size_t size = (size_t)pal_shape_count(shape) * pal_dtype_size(dtype);
    unsigned char *at = memmem(f->whole.at, f->whole.size, data, size);
    ck_assert_msg(at != NULL, "the data of %s are not in the file", full);
    at[size / 2] ^= 4;
    write_file(f->path, f->whole);
    at[size / 2] ^= 4;
    refused(f->p, f->path, PAL_EFORMAT, name);
    return true;
}

START_TEST(a_flipped_bit_in_each_dataset)
{
    char path[OPTIM_PATH], bad[OPTIM_PATH];
    pal_error error;
    parts p = parts_new(7, 1), q = parts_new(7, 50);
    optim_temporary(path);
    optim_temporary(bad);
    ck_assert_int_eq(pal_checkpoint_save(of(&p), path, &error), PAL_OK);
    flips f = {.whole = read_file(path), .path = bad, .p = &q};
    ck_assert_int_eq(pal_h5_open(&f.file, path, &error), PAL_OK);
    ck_assert_int_eq(pal_h5_each(f.file, "/", flip, &f, &error), PAL_OK);
    pal_h5_close(f.file);
    ck_assert_int_eq(f.count,
                     2 + 5 + 3 +
                         1); /* parameters; moments and averages, each with a count; generator */
    free(f.whole.at);
    unlink(path);
    unlink(bad);
    parts_free(&p);
    parts_free(&q);
}
END_TEST

/* Any byte: an error that changes nothing, or the very same state (bytes that nobody reads). */
START_TEST(flipped_and_missing_bytes_anywhere)
{
    char path[OPTIM_PATH];
    pal_error error;
    parts p = parts_new(7, 1), q = parts_new(7, 50);
    optim_temporary(path);
    ck_assert_int_eq(pal_checkpoint_save(of(&p), path, &error), PAL_OK);
    bytes whole = read_file(path), before = image(&q), want = image(&p);
    int read = 0, tried = 0;
    for (size_t i = 0; i < whole.size; i += whole.size / 200, tried++) {
        whole.at[i] ^= 0x10;
        write_file(path, whole);
        whole.at[i] ^= 0x10;
        parts copy = q;
        pal_status s = pal_checkpoint_load(of(&copy), path, &error);
        bytes now = image(&copy);
        ck_assert_msg(same(now, s == PAL_OK ? want : before), "byte %zu: half loaded (%s)", i,
                      s == PAL_OK ? "no error" : error.message);
        free(now.at);
        if (s != PAL_OK) continue;
        read++;
        parts_free(&q);
        q = parts_new(7, 50);
    }
    ck_assert_msg(read < tried, "no flipped byte was found");
    for (size_t n = 0; n < whole.size; n += whole.size / 20) {
        write_file(path, (bytes){whole.at, n});
        refused(&q, path, PAL_EFORMAT, "");
    }
    free(whole.at);
    free(before.at);
    free(want.at);
    unlink(path);
    parts_free(&p);
    parts_free(&q);
}
END_TEST

/* ---- What does not fit ---- */

START_TEST(another_model_or_run)
{
    char path[OPTIM_PATH];
    pal_error error;
    parts p = parts_new(7, 1), q = parts_new(8, 50), r = parts_new(7, 50);
    optim_temporary(path);
    ck_assert_int_eq(pal_checkpoint_save(of(&p), path, &error), PAL_OK);
    refused(&q, path, PAL_EFORMAT, "a.weight");
    r.schedule.lr = 0.2;
    refused(&r, path, PAL_EVALUE, "schedule");
    r.schedule.lr = 0.1;
    r.c.data = "0123abce";
    refused(&r, path, PAL_EVALUE, "data is 0123abcd, and 0123abce");
    r.c.data = NULL;
    pal_optim *adamw = r.c.optim;
    r.c.optim = pal_sgd_new(r.params, (pal_sgd_opts){.momentum = 0.9});
    refused(&r, path, PAL_EFORMAT, "adamw");
    pal_optim_free(r.c.optim);
    r.c.optim = pal_adamw_new(r.params, (pal_adamw_opts){.beta1 = 0.5});
    refused(&r, path, PAL_EVALUE, "the beta1 of /optim is 0.9, and 0.5 here");
    pal_optim_free(r.c.optim);
    r.c.optim = pal_adamw_new(r.params, (pal_adamw_opts){.decay = 0.5});
    refused(&r, path, PAL_EVALUE, "the decay of /optim/m/a.weight is 0, and 0.5 here");
    pal_optim_free(r.c.optim);
    r.c.optim = adamw;
    pal_average *slow = r.c.average;
    r.c.average = pal_average_new(r.params, (pal_average_opts){.decay = 0.5});
    refused(&r, path, PAL_EVALUE, "the decay of /average is 0.999, and 0.5 here");
    pal_average_free(r.c.average);
    r.c.average = slow;
    char text[300];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    r.c.data = text;
    ck_assert_int_eq(pal_checkpoint_save(of(&r), "/nowhere/x.h5", &error), PAL_EVALUE);
    r.c.data = NULL;
    /* What is missing last must bring back what was loaded first. */
    pal_average *average = p.c.average;
    p.c.average = NULL;
    ck_assert_int_eq(pal_checkpoint_save(of(&p), path, &error), PAL_OK);
    p.c.average = average;
    refused(&r, path, PAL_EFORMAT, "average");
    pal_optim *optim = p.c.optim;
    p.c.optim = NULL;
    ck_assert_int_eq(pal_checkpoint_save(of(&p), path, &error), PAL_OK);
    p.c.optim = optim;
    refused(&r, path, PAL_EFORMAT, "optim");
    unlink(path);
    refused(&r, path, PAL_EIO, "cannot be read");
    parts_free(&p);
    parts_free(&q);
    parts_free(&r);
}
END_TEST

/* A file of one attribute that is wrong; those that are read before it are there. */
static void hostile(parts *p, const char *words, void change(pal_checkpoint *))
{
    char path[OPTIM_PATH];
    pal_error error;
    parts bad = parts_new(7, 1);
    optim_temporary(path);
    pal_checkpoint c = *of(&bad);
    change(&c);
    ck_assert_int_eq(pal_checkpoint_save(&c, path, &error), PAL_OK);
    refused(p, path, PAL_EFORMAT, words);
    unlink(path);
    parts_free(&bad);
}
static void step_negative(pal_checkpoint *c) { c->step = -1; }
static void step_zero(pal_checkpoint *c) { c->step = c->best_step = 0; }
static void step_huge(pal_checkpoint *c) { c->step = INT64_MAX; }
static void epoch_negative(pal_checkpoint *c) { c->position.epoch = INT64_MIN; }
static void index_huge(pal_checkpoint *c) { c->position.index = INT64_MAX; }
static void best_later(pal_checkpoint *c) { c->best_step = 4; }
static void best_infinite(pal_checkpoint *c) { c->best = INFINITY; }

START_TEST(hostile_numbers)
{
    parts p = parts_new(7, 50);
    hostile(&p, "step is -1", step_negative);
    hostile(&p, "step is 0", step_zero);
    hostile(&p, "step is 9.22", step_huge);
    hostile(&p, "epoch is -9.22", epoch_negative);
    hostile(&p, "index is 9.22", index_huge);
    hostile(&p, "step 4, cannot be", best_later);
    hostile(&p, "best evaluation, inf", best_infinite);
    parts_free(&p);
}
END_TEST

START_TEST(versions_and_types)
{
    char path[OPTIM_PATH];
    pal_error error;
    parts p = parts_new(7, 50);
    optim_temporary(path);
    for (int i = 0; i < 3; i++) {
        pal_h5 *file;
        ck_assert_int_eq(pal_h5_create(&file, path, &error), PAL_OK);
        pal_status s = PAL_OK;
        if (i == 1) s = pal_h5_put_number(file, "/", "checkpoint", 2, &error);
        if (i == 2) s = pal_h5_put_text(file, "/", "checkpoint", "1", &error);
        ck_assert_int_eq(s, PAL_OK);
        ck_assert_int_eq(pal_h5_commit(file, &error), PAL_OK);
        static const char *const words[] = {"no attribute 'checkpoint'",
                                            "version 2, and this program reads version 1",
                                            "is not a number"};
        refused(&p, path, PAL_EFORMAT, words[i]);
        char text[8];
        ck_assert_int_eq(pal_checkpoint_config(path, text, sizeof text, &error), PAL_EFORMAT);
    }
    unlink(path);
    parts_free(&p);
}
END_TEST

/* Each allocation of loading in turn: nothing is half loaded. */
START_TEST(memory_that_runs_out)
{
    char path[OPTIM_PATH];
    pal_error error;
    parts p = parts_new(7, 1);
    optim_temporary(path);
    ck_assert_int_eq(pal_checkpoint_save(of(&p), path, &error), PAL_OK);
    parts_free(&p);
    int points = 0;
    for (bool good = false; !good; points++) {
        optim_budget budget = {.left = INT64_MAX};
        pal_set_allocator(optim_meagre, &budget);
        parts q = parts_new(7, 50);
        bytes before = image(&q);
        budget.left = points;
        good = pal_checkpoint_load(of(&q), path, &error) == PAL_OK;
        budget.left = INT64_MAX;
        bytes after = image(&q);
        ck_assert_msg(same(before, after) == !good, "allocation %d: half loaded", points);
        ck_assert_msg(good || error.status == PAL_ENOMEM, "allocation %d: %s", points,
                      error.message);
        free(before.at);
        free(after.at);
        parts_free(&q);
        ck_assert_int_eq(budget.live, 0);
    }
    pal_set_allocator(NULL, NULL);
    ck_assert_int_gt(points, 5);
    unlink(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint");
    TCase *c = tcase_create("checkpoint");
    tcase_add_checked_fixture(c, optim_setup, optim_teardown);
    tcase_set_timeout(c, 120);
    tcase_add_test(c, everything_comes_back);
    tcase_add_test(c, a_tokenizer_is_carried);
    tcase_add_test(c, a_flipped_bit_in_each_dataset);
    tcase_add_test(c, flipped_and_missing_bytes_anywhere);
    tcase_add_test(c, another_model_or_run);
    tcase_add_test(c, hostile_numbers);
    tcase_add_test(c, versions_and_types);
    tcase_add_test(c, memory_that_runs_out);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
