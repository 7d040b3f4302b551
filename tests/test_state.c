/*
 * test_state.c - what a language model remembers, in a file: it goes on bit for bit, and a file
 * that does not fit, or is damaged, changes nothing.
 */
#include "layers/layers.h"
#include "tests/support/check.h"
#include "tests/support/isa.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { B = 2, VOCAB = 11, PROMPT = 37, STEPS = 6 };

static const char *const lists[] = {
    "mamba2:head_dim=4:state_size=3",
    "mamba3:head_dim=4:state_size=6,mamba3:n_groups=2:head_dim=8:state_size=4:is_mimo=true",
    "gdn,gdn:num_v_heads=6:use_short_conv=false",
    "kda",
    "gdn2,gdn2:conv_size=1",
    "attn:num_heads=2",
    "swa:num_heads=2:window_size=5,swa:num_heads=2:window_size=1,swa:num_heads=2:window_size=200",
    "gdn2,swa:num_heads=2:window_size=17,gdn2,attn:num_heads=2",
};
enum { LISTS = sizeof lists / sizeof *lists, HYBRID = LISTS - 1 };

static char folder[] = "/tmp/palimpsest-state-XXXXXX";
static char path[64], copy[64];
static pal_params *params;
static pal_tape *tape;

static void setup(void)
{
    strcpy(folder, "/tmp/palimpsest-state-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.h5", folder);
    snprintf(copy, sizeof copy, "%s/b.h5", folder);
    params = pal_params_new();
    tape = pal_tape_new();
    pal_set_threads(1);
    pal_set_grad(tape, false);
}

static void teardown(void)
{
    pal_tape_free(tape);
    pal_params_free(params);
    unlink(path), unlink(copy);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing else is left behind */
}

static void ok(pal_status status, const pal_error *error)
{
    if (status != PAL_OK) ck_abort_msg("%s: %s", pal_status_name(status), error->message);
}

static pal_lm *model(pal_params *on, const char *mixers, int64_t width, pal_dtype dtype)
{
    pal_rng rng = pal_rng_new(4, 0);
    pal_lm_opts opts = {.vocab = VOCAB, .width = width, .mixers = mixers, .dtype = dtype};
    pal_lm *lm = pal_lm_new(on, opts, &rng);
    ck_assert(lm != NULL);
    return lm;
}

/* Feeds n tokens that follow from `seed`; the logits after the last, [B,VOCAB], to *y. */
static void feed(const pal_lm *lm, pal_lm_state *state, uint64_t seed, int64_t n,
                 double y[B * VOCAB])
{
    int64_t x[B * PROMPT];
    pal_rng rng = pal_rng_new(seed, 0);
    for (int64_t i = 0; i < B * n; i++) x[i] = pal_rng_below(&rng, VOCAB);
    pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(B, n), x);
    const pal_array logits = pal_value(pal_lm_step(lm, state, in, (pal_run_opts){0}));
    const pal_array to = pal_array_of(PAL_F64, PAL_SHAPE(B, VOCAB), y);
    ck_assert(pal_array_copy(&to, &logits, NULL) == PAL_OK);
    pal_tape_reset(tape);
}

static pal_lm_state *after_prompt(const pal_lm *lm)
{
    double y[B * VOCAB];
    pal_lm_state *state = pal_lm_state_new(lm);
    feed(lm, state, 1, PROMPT, y);
    feed(lm, state, 2, 1, y);
    return state;
}

/* Both go on alike, to the last bit. */
static void same_from_here(const pal_lm *lm, pal_lm_state *a, pal_lm_state *b)
{
    double x[B * VOCAB], y[B * VOCAB];
    for (uint64_t i = 0; i < STEPS; i++) {
        feed(lm, a, 10 + i, i % 2 ? 3 : 1, x);
        feed(lm, b, 10 + i, i % 2 ? 3 : 1, y);
        ck_assert_msg(memcmp(x, y, sizeof x) == 0, "step %d", (int)i);
    }
}

static size_t contents(const char *name, unsigned char **data)
{
    FILE *f = fopen(name, "rb");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, 0, SEEK_END), 0);
    size_t size = (size_t)ftell(f);
    rewind(f);
    *data = malloc(size);
    ck_assert(fread(*data, 1, size, f) == size);
    fclose(f);
    return size;
}

static void write_file(const char *name, const unsigned char *data, size_t size)
{
    FILE *f = fopen(name, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert(fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

/* Equal states of equal parameters make equal files. */
static void check_unchanged(const pal_lm_state *state, const unsigned char *want, size_t size)
{
    pal_error error;
    unsigned char *now;
    ok(pal_lm_state_save(state, copy, &error), &error);
    ck_assert(contents(copy, &now) == size && memcmp(now, want, size) == 0);
    free(now);
}

START_TEST(goes_on)
{
    const pal_dtype dtype = _i % 2 ? PAL_F64 : PAL_F32;
    const pal_lm *lm = model(params, lists[_i / 2], 16, dtype);
    pal_error error;
    pal_lm_state *state = after_prompt(lm), *other = pal_lm_state_new(lm);
    ok(pal_lm_state_save(state, path, &error), &error);
    double y[B * VOCAB];
    feed(lm, other, 5, 9, y); /* what it remembers is replaced */
    ok(pal_lm_state_load(lm, other, path, &error), &error);
    unsigned char *saved;
    size_t size = contents(path, &saved);
    check_unchanged(other, saved, size);
    free(saved);
    same_from_here(lm, state, other);
    pal_lm_state_free(state);
    pal_lm_state_free(other);
}
END_TEST

/* The start of a sequence is a state as well. */
START_TEST(of_no_tokens)
{
    const pal_lm *lm = model(params, lists[HYBRID], 16, PAL_F32);
    pal_error error;
    pal_lm_state *state = pal_lm_state_new(lm), *other = after_prompt(lm);
    ok(pal_lm_state_save(state, path, &error), &error);
    ok(pal_lm_state_load(lm, other, path, &error), &error);
    same_from_here(lm, state, other);
    pal_lm_state_free(state);
    pal_lm_state_free(other);
}
END_TEST

/* A state of three packed prompts, beside other things in a file. */
START_TEST(in_a_group)
{
    const int64_t offsets[4] = {0, 2, 3, 9}, x[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    const pal_lm *lm = model(params, "gdn2,kda", 16, PAL_F32);
    pal_lm_state *state = pal_lm_state_new(lm), *other = pal_lm_state_new(lm);
    pal_run_opts run = {.offsets = pal_from(tape, PAL_I64, PAL_SHAPE(4), offsets)};
    pal_lm_step(lm, state, pal_from(tape, PAL_I64, PAL_SHAPE(1, 9), x), run);
    pal_tape_reset(tape);
    pal_error error;
    pal_h5 *file;
    ok(pal_h5_create(&file, path, &error), &error);
    ok(pal_params_put(params, file, "/params", &error), &error);
    ok(pal_lm_state_put(state, file, "/some/where", &error), &error);
    ok(pal_h5_commit(file, &error), &error);
    ok(pal_h5_open(&file, path, &error), &error);
    ok(pal_lm_state_get(lm, other, file, "/some/where", &error), &error);
    ck_assert(pal_lm_state_get(lm, other, file, "/else", &error) == PAL_EFORMAT);
    pal_h5_close(file);
    float want[3 * VOCAB];
    for (int i = 0; i < 2; i++) {
        pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(3, 1), x);
        pal_tensor y = pal_lm_step(lm, i ? other : state, in, (pal_run_opts){0});
        if (i) ck_assert(memcmp(want, pal_f32(y), sizeof want) == 0);
        memcpy(want, pal_f32(y), sizeof want);
    }
    pal_lm_state_free(state);
    pal_lm_state_free(other);
}
END_TEST

/* ---- What does not fit ---- */

/* `path` is refused with these words, and the state is what it was. */
static void check_refused(const pal_lm *lm, pal_lm_state *state, int n, const char *const *words)
{
    pal_error error = {PAL_OK, ""};
    unsigned char *before;
    ok(pal_lm_state_save(state, copy, &error), &error);
    size_t size = contents(copy, &before);
    ck_assert(pal_lm_state_load(lm, state, path, &error) == PAL_EFORMAT);
    ck_assert(error.status == PAL_EFORMAT);
    for (int i = 0; i < n; i++)
        ck_assert_msg(!words[i] || strstr(error.message, words[i]) != NULL, "no \"%s\": %s",
                      words[i], error.message);
    check_unchanged(state, before, size);
    free(before);
}

START_TEST(other_models)
{
    static const struct {
        const char *mixers;
        int64_t width;
        pal_dtype dtype;
        const char *words[3];
    } others[] = {
        {"gdn2,gdn2,kda",
         16,
         PAL_F32,
         {"layer 0 is gdn2 where gdn is wanted", "layer 1 is gdn2",
          "of 3 layers where 2 are wanted"}},
        {"gdn,swa:num_heads=2:window_size=6",
         16,
         PAL_F32,
         {"/state/1/k is f32[2,5,2,8] where f32[2,4,2,8] is wanted", "/state/1/v is f32[2,5,2,8]"}},
        {"gdn,attn:num_heads=2", 16, PAL_F32, {"layer 1 is attn where swa is wanted"}},
        {"gdn:head_dim=2:num_heads=6,swa:num_heads=4:window_size=5",
         16,
         PAL_F32,
         {"/state/0/state is f32[2,6,2,4] where f32[2,3,4,8] is wanted",
          "/state/1/k is f32[2,4,4,4] where"}},
        {"gdn:use_short_conv=false,swa:num_heads=2:window_size=5",
         16,
         PAL_F32,
         {"/state/0/conv.0 is missing", "/state/0/conv.2 is missing"}},
        {"gdn,swa:num_heads=2:window_size=5",
         16,
         PAL_F64,
         {"/state/0/state is f64[2,3,4,8] where f32[2,3,4,8] is wanted", "/state/1/k is f64"}},
        {"gdn,swa:num_heads=2:window_size=5", 32, PAL_F32, {"/state/0/state is f32[2,3,8,16]"}},
        {"gdn", 16, PAL_F32, {"of 1 layers where 2 are wanted", "/state/1/seen"}},
    };
    const pal_lm *lm = model(params, "gdn,swa:num_heads=2:window_size=5", 16, PAL_F32);
    pal_lm_state *state = after_prompt(lm), *twin = after_prompt(lm);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        pal_params *on = pal_params_new();
        const pal_lm *other = model(on, others[i].mixers, others[i].width, others[i].dtype);
        pal_lm_state *its = after_prompt(other);
        pal_error error;
        ok(pal_lm_state_save(its, path, &error), &error);
        check_refused(lm, state, 3, others[i].words);
        if (pal_lm_options(other).layers != 2)
            ck_assert(pal_lm_state_load(lm, its, path, &error) == PAL_EVALUE);
        pal_lm_state_free(its);
        pal_params_free(on);
    }
    same_from_here(lm, state, twin);
    pal_lm_state_free(state);
    pal_lm_state_free(twin);
}
END_TEST

/* Every shape fits, but the state was made by other numbers. */
START_TEST(other_parameters)
{
    static const char *const words[3] = {"is of another model", "checksum crc32c",
                                         "those of this model crc32c"};
    const pal_lm *lm = model(params, "gdn", 16, PAL_F32);
    pal_lm_state *state = after_prompt(lm), *twin = after_prompt(lm);
    float *number = pal_edit(pal_params_find(params, "lm_head.weight")).data;
    pal_error error;
    number[3] += 1;
    ok(pal_lm_state_save(state, path, &error), &error);
    number[3] -= 1;
    check_refused(lm, state, 3, words);
    pal_param(params, "value.weight", PAL_F32, PAL_SHAPE(2)); /* is none of the model's */
    ok(pal_lm_state_save(twin, path, &error), &error);
    ok(pal_lm_state_load(lm, state, path, &error), &error);
    same_from_here(lm, state, twin);
    pal_lm_state_free(state);
    pal_lm_state_free(twin);
}
END_TEST

/* A copy of a group of arrays with one of them left out (`without`) or added (`extra`). */
typedef struct rewriting {
    pal_h5 *from, *to;
    const char *without;
    pal_error error;
} rewriting;

static bool rewrite_one(const char *name, void *user)
{
    rewriting *r = user;
    char full[128], mixer[64];
    pal_dtype dtype;
    pal_shape shape;
    snprintf(full, sizeof full, "/state/%s", name);
    if (r->without && !strcmp(r->without, full)) return true;
    ok(pal_h5_info(r->from, full, &dtype, &shape, &r->error), &r->error);
    pal_array a = pal_array_of(dtype, shape, malloc((size_t)pal_shape_count(shape) * 8 + 1));
    ok(pal_h5_get(r->from, full, &a, &r->error), &r->error);
    ok(pal_h5_put(r->to, full, &a, &r->error), &r->error);
    if (pal_h5_get_text(r->from, full, "mixer", mixer, sizeof mixer, NULL) == PAL_OK)
        ok(pal_h5_put_text(r->to, full, "mixer", mixer, &r->error), &r->error);
    free(a.data);
    return true;
}

static void rewrite(const char *without, const char *name, const pal_array *extra)
{
    rewriting r = {.without = without};
    double layers;
    ok(pal_h5_open(&r.from, path, &r.error), &r.error);
    ok(pal_h5_create(&r.to, path, &r.error), &r.error);
    ok(pal_h5_each(r.from, "/state", rewrite_one, &r, &r.error), &r.error);
    if (name) ok(pal_h5_put(r.to, name, extra, &r.error), &r.error);
    ok(pal_h5_get_number(r.from, "/state", "layers", &layers, &r.error), &r.error);
    ok(pal_h5_put_number(r.to, "/state", "layers", layers, &r.error), &r.error);
    pal_h5_close(r.from);
    ok(pal_h5_commit(r.to, &r.error), &r.error);
}

START_TEST(made_up_files)
{
    static double zeros[4096];
    static int64_t many = 1 << 20, negative = -4;
    const pal_shape scalar = {0};
    const pal_lm *lm = model(params, "gdn,attn:num_heads=2", 16, PAL_F32);
    pal_lm_state *state = after_prompt(lm);
    pal_error error;
    const struct {
        const char *without, *name;
        pal_array extra;
        const char *words;
    } cases[] = {
        {"/state/0/state", NULL, {0}, "/state/0/state is missing"},
        {"/state/1/k", NULL, {0}, "/state/1/k is missing"},
        {"/state/1/seen", NULL, {0}, "'/state/1/seen': there is no such dataset"},
        {NULL, "/state/2/seen", pal_array_of(PAL_I64, scalar, &many), "/state/2/seen belongs to"},
        {NULL, "/state/0/other", pal_array_of(PAL_F64, scalar, zeros),
         "a gdn remembers no /state/0/other"},
        {NULL, "/state/0/k", pal_array_of(PAL_F32, PAL_SHAPE(2, 1), zeros), "remembers no"},
        {"/state/1/seen", "/state/1/seen", pal_array_of(PAL_I64, scalar, &many), "attribute"},
        {"/state/1/seen", "/state/1/seen", pal_array_of(PAL_I64, scalar, &negative), "attribute"},
        {"/state/1/seen", "/state/1/seen", pal_array_of(PAL_F64, scalar, zeros),
         "f64[] where i64[]"},
        {"/state/0/state", "/state/0/state", pal_array_of(PAL_F32, PAL_SHAPE(3, 3, 4, 8), zeros),
         "/state/0/conv.0 is f32[2,3,12] where f32[3,3,12] is wanted"},
        {"/state/0/conv.0", "/state/0/conv.0", pal_array_of(PAL_F32, PAL_SHAPE(0, 3, 12), zeros),
         "/state/0/conv.0 is f32[0,3,12] where f32[2,3,12] is wanted"},
        {"/state/0/conv.0", "/state/0/conv.0", pal_array_of(PAL_F32, PAL_SHAPE(2, 3, 12, 1), zeros),
         "f32[2,3,12,1] where f32[2,3,12]"},
        {"/state/0/state", "/state/0/state", pal_array_of(PAL_I64, PAL_SHAPE(2, 3, 4, 8), zeros),
         "i64[2,3,4,8] where f32"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ok(pal_lm_state_save(state, path, &error), &error);
        rewrite(cases[i].without, cases[i].name, &cases[i].extra);
        check_refused(lm, state, 1, &cases[i].words);
    }
    ok(pal_lm_state_save(state, path, &error), &error);
    rewrite(NULL, NULL, NULL);
    ok(pal_lm_state_load(lm, state, path, &error), &error);
    ck_assert(pal_lm_state_load(lm, state, "/no/such/file", &error) == PAL_EIO);
    ck_assert(pal_lm_state_save(state, "/no/such/folder/file", &error) == PAL_EIO);
    pal_lm_state_free(state);
}
END_TEST

/* ---- Damage ---- */

static const pal_lm *small_model(void)
{
    return model(params, "gdn:head_dim=2:num_heads=2,swa:num_heads=2:window_size=4", 8, PAL_F32);
}

START_TEST(truncated)
{
    const pal_lm *lm = small_model();
    pal_lm_state *state = after_prompt(lm);
    pal_error error;
    unsigned char *whole;
    ok(pal_lm_state_save(state, path, &error), &error);
    size_t size = contents(path, &whole);
    for (size_t n = 0; n < size; n += n < 200 || n + 200 > size ? 1 : 97) {
        write_file(path, whole, n);
        pal_status s = pal_lm_state_load(lm, state, path, &error);
        ck_assert_msg(s == PAL_EFORMAT, "%zu bytes of %zu: %s", n, size, pal_status_name(s));
    }
    check_unchanged(state, whole, size);
    free(whole);
    pal_lm_state_free(state);
}
END_TEST

/* What is read from a damaged file is what was written, or nothing. */
START_TEST(flipped_bits)
{
    const pal_lm *lm = small_model();
    pal_lm_state *state = after_prompt(lm), *other = pal_lm_state_new(lm);
    pal_error error;
    unsigned char *whole;
    int read = 0, refused = 0;
    ok(pal_lm_state_save(state, path, &error), &error);
    size_t size = contents(path, &whole);
    const size_t stride = test_all() ? 3 : 19;
    for (size_t i = 0; i < size; i += stride) {
        whole[i] ^= (unsigned char)(1 << i % 8);
        write_file(path, whole, size);
        whole[i] ^= (unsigned char)(1 << i % 8);
        pal_status s = pal_lm_state_load(lm, other, path, &error);
        s == PAL_OK ? read++ : refused++;
        if (s == PAL_OK) check_unchanged(other, whole, size);
    }
    ck_assert_msg((size_t)refused > 900 / stride, "%d read, %d refused of %zu bytes", read, refused,
                  size);
    free(whole);
    pal_lm_state_free(state);
    pal_lm_state_free(other);
}
END_TEST

/* ---- Memory ---- */

static int64_t allocations, fail_at;

static void *failing(void *block, size_t old_size, size_t size, void *user)
{
    (void)old_size, (void)user;
    if (size)
        return ++allocations >= fail_at && fail_at ? NULL
                                                   : aligned_alloc(64, (size + 63) / 64 * 64);
    free(block);
    return NULL;
}

static void hear(const pal_error *e, void *user) { *(pal_error *)user = *e; }

START_TEST(out_of_memory)
{
    pal_error error, heard;
    teardown();
    pal_set_allocator(failing, NULL);
    pal_set_error_handler(hear, &heard);
    setup();
    const pal_lm *lm = small_model();
    pal_lm_state *state = after_prompt(lm), *twin = after_prompt(lm), *other = after_prompt(lm);
    double y[B * VOCAB];
    feed(lm, other, 3, 2, y);
    ok(pal_lm_state_save(other, path, &error), &error);
    pal_status s = PAL_ENOMEM;
    int failures = 0;
    for (int64_t at = 1; s != PAL_OK; at++, failures++) {
        allocations = 0, fail_at = at;
        s = pal_lm_state_load(lm, state, path, &error);
        fail_at = 0;
        ck_assert_msg(s == PAL_OK || s == PAL_ENOMEM, "%s", error.message);
        unsigned char *want;
        ok(pal_lm_state_save(s == PAL_OK ? other : twin, copy, &error), &error);
        size_t size = contents(copy, &want);
        check_unchanged(state, want, size);
        free(want);
    }
    ck_assert_int_ge(failures, 5); /* it was not without memory in vain */
    pal_lm_state_free(state);
    pal_lm_state_free(twin);
    pal_lm_state_free(other);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("state");
    TCase *tc = tcase_create("state");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, goes_on, 0, 2 * LISTS);
    tcase_add_test(tc, of_no_tokens);
    tcase_add_test(tc, in_a_group);
    tcase_add_test(tc, other_models);
    tcase_add_test(tc, other_parameters);
    tcase_add_test(tc, made_up_files);
    tcase_add_test(tc, truncated);
    tcase_add_test(tc, flipped_bits);
    tcase_add_test(tc, out_of_memory);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
