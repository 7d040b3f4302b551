/*
 * test_open.c - opening a model in one call: files of commit 555e592, other and damaged files,
 * memory, lists of mixers with repeats, and what kind of file a name stands for.
 */
#include <palimpsest.h>

#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/open-XXXXXX";
static pal_error error;
static pal_lm_file f;

static const char *at(const char *name)
{
    static char path[2][128];
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

/* Writes a checkpoint of a model that `config` describes, and of a tokenizer (NULL: none). */
static void save(const char *name, const char *config, const char *tokenizer, pal_lm_opts opts)
{
    pal_rng rng = pal_rng_new(5, 0);
    pal_params *params = pal_params_new();
    ck_assert_ptr_nonnull(pal_lm_new(params, opts, &rng));
    const pal_checkpoint c = {.params = params,
                              .config = config,
                              .tokenizer = tokenizer,
                              .tokenizer_name = tokenizer ? "bpe" : NULL,
                              .step = 3};
    const pal_status s = pal_checkpoint_save(&c, at(name), &error);
    ck_assert_msg(s == PAL_OK, "%s", error.message);
    pal_params_free(params);
}

#define SMALL                                                                          \
    {                                                                                  \
        .vocab = 300, .width = 8, .mixers = "gdn2:num_heads=2:head_dim=4", .layers = 2 \
    }
static const char small[] = "mixers = gdn2:num_heads=2:head_dim=4\nlayers = 2\nwidth = 8\n"
                            "vocab = 300\nsteps = 7\n";

static void open_it(const char *path)
{
    const pal_status s = pal_lm_open(&f, path, (pal_lm_open_opts){0}, &error);
    ck_assert_msg(s == PAL_OK, "%s", error.message);
}

/* The file is refused by a sentence that contains these words and the file's name, and f stays
 * empty. */
static void refused(const char *path, const char *words)
{
    memset(&f, 1, sizeof f);
    const pal_status s = pal_lm_open(&f, path, (pal_lm_open_opts){0}, &error);
    ck_assert_msg(s != PAL_OK, "%s was opened", path);
    ck_assert_msg(strstr(error.message, words) && strstr(error.message, path), "no \"%s\": %s",
                  words, error.message);
    ck_assert(!f.params && !f.lm && !f.tokenizer && !f.description && !f.averaged);
}

static void setup(void) { ck_assert_ptr_nonnull(mkdtemp(folder)); }
static void teardown(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* ---- What commit 555e592 wrote ---- */

/* Files in tests/data/runs that train_lm and recall of that commit wrote. first and last are the
 * first and the last logit of the tokens 1 2 3 by pal_lm_logits of that commit. */
static const struct old {
    const char *path, *mixer[2];
    int64_t layers, vocab, tokens;
    pal_dtype dtype;
    bool averaged, mlp;
    double first, last;
} old[] = {
    {.path = "tests/data/runs/hybrid.h5",
     .mixer = {"gdn2", "swa"},
     .layers = 2,
     .vocab = 256,
     .tokens = 256,
     .mlp = true,
     .first = 0.0344288908,
     .last = 0.00983398221},
    {.path = "tests/data/runs/average.h5",
     .mixer = {"mamba2"},
     .layers = 1,
     .vocab = 256,
     .tokens = 256,
     .dtype = PAL_F64,
     .averaged = true,
     .mlp = true,
     .first = 0.0569019376,
     .last = -0.0540214054},
    {.path = "tests/data/runs/tokenizer.h5",
     .mixer = {"kda", "gdn"},
     .layers = 3,
     .vocab = 270,
     .tokens = 270,
     .first = 0.0383692384,
     .last = 0.0997068286},
    {.path = "tests/data/runs/task.h5",
     .mixer = {"gdn2"},
     .layers = 1,
     .vocab = 32,
     .tokens = 256,
     .first = -0.285813838,
     .last = -0.310388029},
};
enum { OLD = sizeof old / sizeof *old };

static void logits(double *first, double *last)
{
    const int64_t token[3] = {1, 2, 3};
    pal_tape *tape = pal_tape_new();
    pal_set_grad(tape, false);
    const pal_tensor y =
        pal_lm_logits(f.lm, pal_from(tape, PAL_I64, PAL_SHAPE(1, 3), token), (pal_run_opts){0});
    const pal_array a = pal_value(y);
    *first = pal_array_get(&a, (int64_t[]){0, 0, 0});
    *last = pal_array_get(&a, (int64_t[]){0, 2, a.shape[2] - 1});
    pal_tape_free(tape);
}

START_TEST(of_earlier_commits)
{
    const struct old *o = &old[_i];
    double first, last;
    open_it(o->path);
    const pal_lm_opts is = pal_lm_options(f.lm);
    ck_assert(is.layers == o->layers && is.vocab == o->vocab && is.dtype == o->dtype);
    ck_assert_int_eq(pal_tokenizer_vocab_size(f.tokenizer), o->tokens);
    ck_assert(f.averaged == o->averaged && pal_lm_block(f.lm, 0).no_mlp == !o->mlp);
    for (int i = 0; i < 2 && o->mixer[i]; i++)
        ck_assert_str_eq(pal_mixer_name(pal_lm_mixer(f.lm, i)), o->mixer[i]);
    ck_assert(strstr(f.description, "mixers = ") != NULL);
    logits(&first, &last);
    ck_assert_msg(fabs(first - o->first) <= 1e-5 && fabs(last - o->last) <= 1e-5, "%.9g %.9g",
                  first, last);
    pal_lm_close(&f);
}
END_TEST

/* ---- What is refused ---- */

START_TEST(other_files)
{
    const unsigned char bytes[300] = "no HDF5 at all, but a text";
    int64_t token[4] = {1, 2, 3, 4};
    write_bytes("text", bytes, sizeof bytes);
    refused(at("text"),
            "it is a text or another file that is not HDF5, and a checkpoint is wanted");
    refused(at("nothing"), "cannot be read");
    refused(folder, "is a folder without config.json, and a checkpoint or");
    ck_assert_int_eq(mkfifo(at("pipe"), 0600), 0);
    refused(at("pipe"), "is no file but a pipe");
    refused("/dev/zero", "is no file but a pipe or a device");
    ck_assert_int_eq(
        pal_tokens_write(at("store"), &(pal_tokens_source){.tokens = bytes, .count = 300}, &error),
        PAL_OK);
    refused(at("store"), "it is a store of tokens, and a checkpoint is wanted");
    save("model", small, NULL, (pal_lm_opts)SMALL);
    open_it(at("model"));
    pal_tape *tape = pal_tape_new();
    pal_lm_state *state = pal_lm_state_new(f.lm);
    pal_lm_step(f.lm, state, pal_from(tape, PAL_I64, PAL_SHAPE(1, 4), token), (pal_run_opts){0});
    ck_assert_int_eq(pal_lm_state_save(state, at("state"), &error), PAL_OK);
    pal_h5 *bare;
    ck_assert_int_eq(pal_h5_create(&bare, at("params"), &error), PAL_OK);
    ck_assert_int_eq(pal_params_put(f.params, bare, "/params", &error), PAL_OK);
    ck_assert_int_eq(pal_h5_commit(bare, &error), PAL_OK);
    pal_lm_state_free(state);
    pal_tape_free(tape);
    pal_lm_close(&f);
    refused(at("state"), "it is a saved state, and a checkpoint is wanted");
    refused(at("params"), "it is a file of parameters only, and a checkpoint is wanted");
    static const struct {
        const char *name;
        pal_file_kind kind;
    } all[] = {{"text", PAL_FILE_OTHER},       {"nothing", PAL_FILE_NONE},
               {"pipe", PAL_FILE_SPECIAL},     {"store", PAL_FILE_TOKENS},
               {"model", PAL_FILE_CHECKPOINT}, {"state", PAL_FILE_STATE},
               {"params", PAL_FILE_PARAMS},    {".", PAL_FILE_FOLDER}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ck_assert_msg(pal_file_kind_of(at(all[i].name)) == all[i].kind, "%s is %s", all[i].name,
                      pal_file_kind_name(pal_file_kind_of(at(all[i].name))));
}
END_TEST

START_TEST(damaged_files)
{
    save("model", small, NULL, (pal_lm_opts)SMALL);
    FILE *from = fopen(at("model"), "rb");
    static unsigned char byte[1 << 20];
    const size_t size = fread(byte, 1, sizeof byte, from);
    fclose(from);
    write_bytes("half", byte, size / 2);
    refused(at("half"), "half");
    /* The checksum finds a flipped bit in a parameter. */
    open_it(at("model"));
    const float *value = pal_f32(pal_params_find(f.params, "lm_head.weight"));
    unsigned char *found = memmem(byte, size, value, 64);
    ck_assert_ptr_nonnull(found);
    found[5] ^= 4;
    pal_lm_close(&f);
    write_bytes("flipped", byte, size);
    refused(at("flipped"), "lm_head.weight");
}
END_TEST

/* Options that a program has from the file and builds the model of by itself. */
static void compared(void)
{
    static const char mixers[] = "gdn2:num_heads=2:head_dim=4";
    const struct {
        pal_lm_opts opts;
        const char *words; /* NULL: they are right */
    } of[] = {
        {{.vocab = 300, .width = 8, .layers = 2, .mixers = mixers}, NULL},
        {{.vocab = 300, .width = 8, .layers = 7, .mixers = mixers}, "layers is 7"},
        {{.vocab = 300, .width = 1 << 20, .layers = 2, .mixers = mixers}, "width is 1048576"},
        {{.vocab = 1 << 30, .width = 8, .layers = 2, .mixers = mixers}, "vocab is 1073741824"},
        {{.vocab = 300, .width = 8, .layers = 2, .mixers = mixers, .mlp_width = 1 << 24},
         "there would be more than"}};
    save("model", "mixers = gdn2:num_heads=2:head_dim=4", NULL, (pal_lm_opts)SMALL);
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        pal_error e = {PAL_OK, ""};
        const pal_status s = pal_lm_compare(of[i].opts, at("model"), &e);
        ck_assert_msg((s == PAL_OK) == !of[i].words, "case %zu: %s", i, e.message);
        if (of[i].words)
            ck_assert_msg(strstr(e.message, of[i].words) && strstr(e.message, at("model")), "%s",
                          e.message);
    }
}

START_TEST(descriptions)
{
    static const struct {
        const char *config, *words;
    } wrong[] = {
        {"mixers = rwkv\nlayers = 2\nwidth = 8\nvocab = 300", "there is no mixer \"rwkv\""},
        {"layers = two", "line 1: layers=two should be a whole number"},
        {"layers = 2\nlayers = 2", "line 2: layers is there twice"},
        {"mixers gdn2", "line 1: 'mixers gdn2' is not 'name = value'"},
        {"mixers = mamba2:head_dim=8:state_size=4", "missing"},
        {"mixers = mamba2:head_dim=8:state_size=4", "that the model does not"},
        {"mixers = gdn2:num_heads=2:head_dim=2", "of another shape"},
        /* A large size that only a text claims takes no memory. */
        {"mixers = gdn2:num_heads=2:head_dim=4\nlayers = 3", "layers is 3, and it is 2"},
        {"mixers = gdn2:num_heads=2:head_dim=4\nlayers = 1", "layers is 1, and it is 2"},
        {"mixers = gdn2:num_heads=2:head_dim=4\nwidth = 9", "width is 9, and it is 8"},
        {"mixers = gdn2:num_heads=2:head_dim=4\nvocab = 301", "vocab is 301, and it is 300"},
        {"mixers = gdn2:num_heads=2:head_dim=4\nwidth = 4000000", "width is 4000000"},
        {"mixers = gdn2:num_heads=2:head_dim=4\nvocab = 1000000000", "vocab is 1000000000"},
        {"mixers = gdn2\nlayers = 1000000000", "layers is 1000000000"},
        {"mixers = gdn2:num_heads=1000000:head_dim=128", "there would be more than"},
        {"mixers = gdn2:num_heads=2:head_dim=4\nmlp-width = 16000000", "there would be more than"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        save("model", wrong[i].config, NULL, (pal_lm_opts)SMALL);
        refused(at("model"), wrong[i].words);
    }
    compared();
    /* Options that it does not give are taken from the parameters. */
    save("model", "# a comment\n\nmixers = gdn2:num_heads=2:head_dim=4\r\nother = 3", NULL,
         (pal_lm_opts)SMALL);
    open_it(at("model"));
    const pal_lm_opts o = pal_lm_options(f.lm);
    ck_assert(o.vocab == 300 && o.width == 8 && o.layers == 2 && o.dtype == PAL_F32);
    pal_lm_close(&f);
}
END_TEST

START_TEST(tokenizers)
{
    static const char word[] = "a banana and a banana";
    const pal_tokenizer_text text = {word, sizeof word - 1};
    pal_tokenizer *t;
    int64_t size;
    ck_assert_int_eq(
        pal_tokenizer_train(&t, &text, 1, (pal_tokenizer_train_opts){.vocab = 259}, &error),
        PAL_OK);
    save("model", small, pal_tokenizer_json(t, &size), (pal_lm_opts)SMALL);
    open_it(at("model"));
    const int64_t tokens = pal_tokenizer_vocab_size(f.tokenizer);
    ck_assert(tokens > 256 && tokens == pal_tokenizer_vocab_size(t));
    pal_lm_close(&f);
    pal_lm_opts few = SMALL;
    few.vocab = 256;
    save("model", "mixers = gdn2:num_heads=2:head_dim=4", pal_tokenizer_json(t, &size), few);
    refused(at("model"), "more tokens than its model, which knows 256");
    save("model", small, "{\"version\": 1}", (pal_lm_opts)SMALL);
    refused(at("model"), "its tokenizer: tokenizer.json: ");
    pal_tokenizer_free(t);
}
END_TEST

/* ---- Into parameters that there are ---- */

START_TEST(loading)
{
    pal_rng rng = pal_rng_new(9, 0);
    pal_params *params = pal_params_new(), *other = pal_params_new();
    pal_lm_opts wide = SMALL;
    wide.width = 12;
    pal_lm_new(params, (pal_lm_opts)SMALL, &rng);
    pal_lm_new(other, wide, &rng);
    const float before = pal_f32(pal_params_at(other, 0))[0];
    save("model", small, NULL, (pal_lm_opts)SMALL);
    ck_assert_int_eq(pal_lm_load(other, at("model"), (pal_lm_open_opts){0}, &f, &error),
                     PAL_EFORMAT);
    ck_assert(!f.description && strstr(error.message, "of another shape"));
    ck_assert(pal_f32(pal_params_at(other, 0))[0] == before);
    ck_assert_int_eq(pal_lm_load(params, at("model"), (pal_lm_open_opts){0}, &f, &error), PAL_OK);
    ck_assert(f.description && f.tokenizer && !f.lm && !f.params && !f.averaged);
    pal_lm_close(&f);
    open_it(at("model"));
    for (int i = 0; i < pal_params_count(params); i++) {
        const pal_array a = pal_params_array(params, i), b = pal_params_array(f.params, i);
        ck_assert(memcmp(a.data, b.data, (size_t)pal_array_count(&a) * sizeof(float)) == 0);
    }
    pal_lm_close(&f);
    pal_params_free(params), pal_params_free(other);
}
END_TEST

/* ---- Memory ---- */

static int64_t live, most;

static void *count(void *block, size_t old_size, size_t size, void *user)
{
    (void)user;
    live += (int64_t)size - (block ? (int64_t)old_size : 0);
    if (live > most) most = live;
    if (size) return aligned_alloc(64, (size + 63) / 64 * 64);
    free(block);
    return NULL;
}

/* Opening and decoding need the memory of one copy of the parameters, and little more. */
START_TEST(one_copy)
{
    const pal_lm_opts o = {.vocab = 20000, .width = 128, .mixers = "gdn2", .layers = 2};
    int64_t token = 17;
    double first, last;
    save("model", "mixers = gdn2", NULL, o);
    pal_set_threads(1);
    pal_set_allocator(count, NULL);
    live = most = 0;
    open_it(at("model"));
    const int64_t bytes = 4 * pal_params_size(f.params);
    ck_assert(bytes > 20 << 20);
    logits(&first, &last); /* reads logits of all three tokens */
    pal_tape *tape = pal_tape_new();
    pal_lm_state *state = pal_lm_state_new(f.lm);
    pal_set_grad(tape, false);
    for (int i = 0; i < 3; i++) {
        pal_lm_step(f.lm, state, pal_from(tape, PAL_I64, PAL_SHAPE(1, 1), &token),
                    (pal_run_opts){0});
        pal_tape_reset(tape);
    }
    ck_assert_msg(most < bytes + bytes / 4, "%lld of %lld", (long long)most, (long long)bytes);
    pal_lm_state_free(state);
    pal_tape_free(tape);
    pal_lm_close(&f);
    ck_assert_int_eq(live, 0);
    pal_set_allocator(NULL, NULL);
}
END_TEST

/* ---- Lists ---- */

/* Returns all entries of a list, with commas between them. */
static const char *entries(const char *list)
{
    static char text[512];
    size_t n = 0, length;
    for (int64_t i = 0; i < pal_mixers_count(list); i++) {
        const char *entry = pal_mixers_at(list, i, &length);
        n +=
            (size_t)snprintf(text + n, sizeof text - n, "%s%.*s", i ? "," : "", (int)length, entry);
    }
    return text;
}

START_TEST(lists)
{
    static const char *const good[][2] = {
        {"gdn2", "gdn2"},
        {"gdn2:num_heads=2,attn", "gdn2:num_heads=2,attn"},
        {"2*gdn2,attn", "gdn2,gdn2,attn"},
        {"2*(gdn2,kda:num_heads=2)", "gdn2,kda:num_heads=2,gdn2,kda:num_heads=2"},
        {"(gdn2),1*(attn)", "gdn2,attn"},
        {"2*(2*(gdn,kda),attn),swa", "gdn,kda,gdn,kda,attn,gdn,kda,gdn,kda,attn,swa"},
    };
    static const char *const bad[] = {"(gdn2",
                                      "gdn2)",
                                      "2*",
                                      "0*gdn2",
                                      "2*()",
                                      "",
                                      "a(b)",
                                      "99999*(gdn2)",
                                      "gdn2,,",
                                      "3(gdn2)",
                                      "300*(300*gdn2)",
                                      "2*2*gdn2",
                                      "(((((((((gdn2)))))))))"};
    size_t length;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_msg(pal_mixers_check(good[i][0], &error) == PAL_OK, "%s", error.message);
        ck_assert_str_eq(entries(good[i][0]), good[i][1]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(pal_mixers_check(bad[i], &error) == PAL_EVALUE, "%s", bad[i]);
    ck_assert_int_eq(pal_mixers_count("16*(16*(16*(16*gdn2)))"), 65536);
    const char *list = "6*(gdn2,gdn2,gdn2,attn)";
    ck_assert(pal_mixers_count(list) == 24 && pal_mixers_at(list, 24 + 7, &length)[0] == 'a');
}
END_TEST

/* A list with repeats makes the same model as the list written out, and each block has options of
 * its own. */
START_TEST(blocks)
{
    pal_rng one = pal_rng_new(3, 0), two = pal_rng_new(3, 0);
    pal_params *a = pal_params_new(), *b = pal_params_new(), *c = pal_params_new();
    const char *h = "2*(2*kda:num_heads=2,attn:num_heads=2)";
    pal_lm_new(a, (pal_lm_opts){.width = 16, .mixers = h}, &one);
    pal_lm_new(b, (pal_lm_opts){.width = 16, .mixers = entries(h)}, &two);
    ck_assert(pal_params_count(a) == pal_params_count(b) && one.counter == two.counter);
    for (int i = 0; i < pal_params_count(a); i++) {
        const pal_array x = pal_params_array(a, i), y = pal_params_array(b, i);
        ck_assert_str_eq(pal_params_name(a, i), pal_params_name(b, i));
        ck_assert(memcmp(x.data, y.data, (size_t)pal_array_count(&x) * sizeof(float)) == 0);
    }
    const char *own = "gdn2:num_heads=2:block.no_mlp=true,gdn2:block.mlp_width=24:num_heads=2:"
                      "block.norm_eps=0.001,gdn2:num_heads=2";
    ck_assert_msg(pal_mixers_check(own, &error) == PAL_OK, "%s", error.message);
    pal_lm *lm = pal_lm_new(c, (pal_lm_opts){.width = 16, .mixers = own, .mlp_width = 40}, &one);
    ck_assert(pal_lm_block(lm, 0).no_mlp && pal_lm_block(lm, 0).mlp_width == 0);
    ck_assert(pal_is_none(pal_params_find(c, "model.layers.0.mlp.up_proj.weight")));
    ck_assert(pal_dim(pal_params_find(c, "model.layers.1.mlp.up_proj.weight"), 0) == 24);
    ck_assert(pal_dim(pal_params_find(c, "model.layers.2.mlp.up_proj.weight"), 0) == 40);
    ck_assert(pal_lm_block(lm, 1).norm_eps == 0.001 && pal_lm_block(lm, 2).norm_eps == 1e-5);
    static const char *const bad[][2] = {{"gdn2:block.size=3", "there is no key"},
                                         {"gdn2:block.no_mlp=1", "should be true or false"},
                                         {"gdn2:block.mlp_width=0", "a whole number from 1"},
                                         {"gdn2:block.norm_eps=-1", "a number above 0"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_int_eq(pal_mixers_check(bad[i][0], &error), PAL_EVALUE);
        ck_assert_msg(strstr(error.message, bad[i][1]) != NULL, "%s", error.message);
    }
    pal_params_free(a), pal_params_free(b), pal_params_free(c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("open");
    TCase *tc = tcase_create("open");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, of_earlier_commits, 0, OLD);
    tcase_add_test(tc, other_files);
    tcase_add_test(tc, damaged_files);
    tcase_add_test(tc, descriptions);
    tcase_add_test(tc, tokenizers);
    tcase_add_test(tc, loading);
    tcase_add_test(tc, one_copy);
    tcase_add_test(tc, lists);
    tcase_add_test(tc, blocks);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
