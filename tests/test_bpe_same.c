/*
 * test_bpe_same.c - the tokens and texts of Hugging Face's `tokenizers`: those that stand beside
 * the tokenizers of released models' kinds (tests/data/hf), and those of files that combine all
 * that is taken (tests/data/tokenizers.json, written by tests/against_tokenizers.py).
 */
#include "tests/support/bpe.h"

#include <cjson/cJSON.h>
#include <glob.h>

#define get cJSON_GetObjectItemCaseSensitive

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s is not there", path);
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    rewind(file);
    char *text = malloc((size_t)size + 1);
    ck_assert_int_eq((long)fread(text, 1, (size_t)size, file), size);
    text[size] = 0;
    fclose(file);
    return text;
}

static cJSON *read_json(const char *path)
{
    char *text = read_file(path);
    cJSON *root = cJSON_Parse(text);
    ck_assert_msg(root != NULL, "%s is no JSON", path);
    free(text);
    return root;
}

/* NULL if this build has no normal forms of Unicode, and the file asks for one. */
static pal_tokenizer *load_if_built(const char *json, const char *name)
{
    pal_tokenizer *b;
    pal_error e = {0};
    if (pal_tokenizer_load(&b, json, (int64_t)strlen(json), &e) == PAL_OK) return b;
    if (!strstr(e.message, "utf8proc was missing")) ck_abort_msg("%s: %s", name, e.message);
    return NULL;
}

static void check_encoded(pal_tokenizer *b, const char *name, const char *text, bool special,
                          const cJSON *wanted)
{
    pal_error e = {0};
    pal_token_ids ids = {0};
    const pal_encode_opts how = {.begin = special, .end = special};
    if (pal_tokenizer_encode_with(b, text, (int64_t)strlen(text), how, &ids, &e) != PAL_OK)
        ck_abort_msg("%s: %s", name, e.message);
    ck_assert_msg(ids.count == cJSON_GetArraySize(wanted), "%s: %d tokens of '%s', not %d", name,
                  (int)ids.count, text, cJSON_GetArraySize(wanted));
    int64_t i = 0;
    for (const cJSON *w = wanted->child; w; w = w->next, i++)
        ck_assert_msg(ids.id[i] == (int64_t)w->valuedouble, "%s: token %d of '%s' is %d, not %d",
                      name, (int)i, text, (int)ids.id[i], w->valueint);
    pal_token_ids_free(&ids);
}

/* At once, and in a stream, whose parts are whole characters. */
static void check_decoded(pal_tokenizer *b, const char *name, const cJSON *given, bool special,
                          const char *wanted)
{
    enum { MOST = 4096 };
    int64_t id[MOST], count = 0, size, n = 0;
    char streamed[1 << 16], *text;
    pal_error e = {0};
    for (const cJSON *g = given->child; g && count < MOST; g = g->next)
        id[count++] = (int64_t)g->valuedouble;
    ck_assert_int_eq(pal_tokenizer_text_of(b, id, count, special, &text, &size, &e), PAL_OK);
    ck_assert_msg(strcmp(text, wanted) == 0, "%s: '%s' for '%s'", name, text, wanted);
    ck_assert_int_eq(size, (int64_t)strlen(wanted));
    free(text);
    pal_tokenizer_stream *s = pal_tokenizer_stream_new(b, (pal_stream_opts){.specials = special});
    for (int64_t i = 0; i <= count; i++) {
        const char *part;
        const pal_status status = i < count ? pal_tokenizer_stream_put(s, id[i], &part, &size, &e)
                                            : pal_tokenizer_stream_end(s, &part, &size, &e);
        ck_assert_int_eq(status, PAL_OK);
        ck_assert_msg(pal_bpe_utf8_all(part, size), "%s: a part is half a character", name);
        ck_assert_int_lt(n + size, (int64_t)sizeof streamed);
        memcpy(streamed + n, part, (size_t)size);
        n += size;
    }
    ck_assert_int_eq(n, (int64_t)strlen(wanted));
    ck_assert_int_eq(memcmp(streamed, wanted, (size_t)n), 0);
    pal_tokenizer_stream_free(s);
}

/* ---- Released models' kinds ---- */

static void check_folder(const char *encodings)
{
    char path[512];
    snprintf(path, sizeof path, "%.*stokenizer.json",
             (int)(strrchr(encodings, '/') + 1 - encodings), encodings);
    char *json = read_file(path);
    pal_tokenizer *b = load_if_built(json, path);
    free(json);
    if (!b) return;
    cJSON *all = read_json(encodings);
    ck_assert_int_gt(cJSON_GetArraySize(all), 0);
    for (const cJSON *c = all->child; c; c = c->next) {
        const char *text = get(c, "text")->valuestring;
        check_encoded(b, path, text, false, get(c, "ids"));
        check_encoded(b, path, text, true, get(c, "with_special"));
    }
    cJSON_Delete(all);
    pal_tokenizer_free(b);
}

START_TEST(released_kinds)
{
    glob_t found;
    ck_assert_int_eq(glob("tests/data/hf/*/encodings.json", 0, NULL, &found), 0);
    ck_assert_int_ge((int)found.gl_pathc, 7);
    for (size_t i = 0; i < found.gl_pathc; i++) check_folder(found.gl_pathv[i]);
    globfree(&found);
}
END_TEST

/* ---- Everything combined ---- */

/* The vocabulary of a file by bytes begins with these, which it does not repeat. */
static void add_bytes(cJSON *vocab)
{
    for (int b = 0, other = 256; b < 256; b++) {
        const bool itself = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        const int c = itself ? b : other++;
        char key[3] = {(char)c};
        if (c >= 128) memcpy(key, (char[]){(char)(0xc0 + c / 64), (char)(0x80 + c % 64)}, 2);
        ck_assert(cJSON_AddNumberToObject(vocab, key, b) != NULL);
    }
}

START_TEST(combined_files)
{
    cJSON *root = read_json("tests/data/tokenizers.json"), *all = get(root, "cases");
    int number = 0, texts = 0;
    for (cJSON *c = all->child; c; c = c->next, number++) {
        char name[32];
        snprintf(name, sizeof name, "case %d", number);
        if (cJSON_IsTrue(get(c, "bytes"))) add_bytes(get(get(get(c, "file"), "model"), "vocab"));
        char *json = cJSON_PrintUnformatted(get(c, "file"));
        pal_tokenizer *b = load_if_built(json, name);
        free(json);
        for (cJSON *e = b ? get(c, "encode")->child : NULL; e; e = e->next, texts++)
            check_encoded(b, name, e->child->valuestring, cJSON_IsTrue(e->child->next),
                          e->child->next->next);
        for (cJSON *d = b ? get(c, "decode")->child : NULL; d; d = d->next, texts++)
            check_decoded(b, name, d->child, cJSON_IsTrue(d->child->next),
                          d->child->next->next->valuestring);
        pal_tokenizer_free(b);
    }
    ck_assert_int_gt(texts, 100);
    cJSON_Delete(root);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bpe_same");
    TCase *tc = tcase_create("bpe_same");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, released_kinds);
    tcase_add_test(tc, combined_files);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
