/*
 * test_bpe_files.c - tokenizer.json files that are not supported, contradict themselves or were
 * made to do harm.
 */
#include "tests/support/bpe.h"

/* ---- Files that are refused, each with words of its error ---- */

typedef struct refused {
    const char *words;
    tokenizer_parts p;
} refused;

static const refused refusals[] = {
    {"normalizer of type NFC", {.normalizer = "{\"type\":\"NFC\"}"}},
    {"the file.padding is not supported", {.root = "\"padding\":{},"}},
    {"the file.extra is not known", {.root = "\"extra\":1,"}},
    {"the file.decoder stands twice", {.root = "\"decoder\":null,"}},
    {"decoder of type 'Fuse'", {.decoder = "{\"type\":\"Fuse\"}"}},
    {"decoder is missing", {.decoder = "null"}},
    {"pre_tokenizer is missing", {.pre = "null"}},
    {"pre_tokenizer of type 'Whitespace'", {.pre = "{\"type\":\"Whitespace\"}"}},
    {"add_prefix_space is missing", {.pre = "{\"type\":\"ByteLevel\"}"}},
    {"use_regex is missing or neither", {.pre = BYTE_LEVEL("true", "3")}},
    {"pretokenizers is no list, or empty", {.pre = SEQUENCE("")}},
    {"type 'Split' is not supported", {.pre = SEQUENCE(SPLIT("a"))}},
    {"in a Sequence is not supported there",
     {.pre = SEQUENCE(BYTE_LEVEL("false", "true") "," BYTE_LEVEL("false", "true"))}},
    {"after a Split", {.pre = SEQUENCE(SPLIT("a") "," BYTE_LEVEL("true", "true"))}},
    {"no regular expression", {.pre = SEQUENCE(SPLIT("(a") "," BYTE_LEVEL("false", "true"))}},
    {"\\C is not supported", {.pre = SEQUENCE(SPLIT("\\\\C") "," BYTE_LEVEL("false", "true"))}},
    {"pattern is empty", {.pre = SEQUENCE(SPLIT("") "," BYTE_LEVEL("false", "true"))}},
    {"behavior 'Removed' is not supported",
     {.pre = SEQUENCE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":"
                      "\"Removed\"}," BYTE_LEVEL("false", "true"))}},
    {"model.byte_fallback is not supported", {.model = "\"byte_fallback\":true,"}},
    {"model.unk_token is not supported", {.model = "\"unk_token\":\"?\","}},
    {"model.end_of_word_suffix is not", {.model = "\"end_of_word_suffix\":\"_\","}},
    {"model.type stands twice", {.model = "\"type\":\"BPE\","}},
    {"model.scores is not known", {.model = "\"scores\":[],"}},
    {"model.vocab stands twice", {.model = "\"vocab\":{},"}},
    {"the token 'a' stands twice", {.vocab = ",\"a\":256"}},
    {"the id 97 of 'ab' is another", {.vocab = ",\"ab\":97"}},
    {"the id 300 of 'ab' is too large", {.vocab = ",\"ab\":300"}},
    {"the id of 'ab' is no id", {.vocab = ",\"ab\":-1"}},
    {"the id of 'ab' is no id", {.vocab = ",\"ab\":256.5"}},
    {"the id of 'ab' is no id", {.vocab = ",\"ab\":1e300"}},
    {"the id of 'ab' is no id", {.vocab = ",\"ab\":\"256\""}},
    {"is the empty string", {.vocab = ",\"\":256"}},
    {"'a b' has characters that stand for no byte", {.vocab = ",\"a b\":256"}},
    {"stand for no byte", {.vocab = ",\"\xe6\x97\xa5\":256"}},
    {"a NUL in a string", {.vocab = ",\"a\\u0000\":256"}},
    {"not UTF-8", {.vocab = ",\"\xed\xa0\x80\":256"}},
    {"merge 0 is neither", {.merges = "\"ab\""}},
    {"merge 0 is neither", {.merges = "\"a b c\""}},
    {"merge 0 is neither", {.merges = "[\"a\",\"b\",\"c\"]"}},
    {"merge 0 is neither", {.merges = "3"}},
    {"merge 0: 'ab' is not in", {.merges = "\"ab c\""}},
    {"merge 0: '' is not in", {.merges = "[\"\",\"b\"]"}},
    {"merge 0: its result 'ab' is no such", {.merges = "\"a b\""}},
    {"merge 1 has the parts", {.vocab = ",\"ab\":256", .merges = "\"a b\",[\"a\",\"b\"]"}},
    {"lstrip is not supported", {.added = ADDED("256", "<a>", ",\"lstrip\":true")}},
    {"content is empty", {.added = ADDED("256", "", "")}},
    {"added_tokens[] is missing or no object", {.added = "3"}},
    {"added_tokens[].odd is not known", {.added = ADDED("256", "x", ",\"odd\":0")}},
    {"'<a>' stands twice", {.added = ADDED("256", "<a>", "") "," ADDED("256", "<a>", "")}},
    {"'<a>' has another id", {.added = ADDED("257", "<a>", ""), .vocab = ",\"<a>\":256"}},
    {"the id 999 of '<a>' is too large", {.added = ADDED("999", "<a>", "")}},
    {"no token of byte 32", {.added = ADDED("32", "\xc4\xa0", "")}},
    {"merge 0: its result", /* spelled by two characters, but added as two others */
     {.added = ADDED("256", "\xc4\xa0\xc4\xa0", ""),
      .vocab = ",\"\xc4\xa0\xc4\xa0\":256",
      .merges = "\"\xc4\xa0 \xc4\xa0\""}},
};

static void check_refused(const char *json, int64_t size, const char *words)
{
    pal_tokenizer *b = (pal_tokenizer *)1;
    pal_error e = {0};
    ck_assert_int_eq(pal_tokenizer_load(&b, json, size, &e), PAL_EFORMAT);
    ck_assert_ptr_null(b);
    if (!strstr(e.message, words)) ck_abort_msg("no '%s' in '%s'", words, e.message);
    ck_assert_int_eq(pal_tokenizer_load(&b, json, size, NULL), PAL_EFORMAT);
}

START_TEST(files_are_refused_by_name)
{
    const char *json = tokenizer_file(refusals[_i].p);
    check_refused(json, (int64_t)strlen(json), refusals[_i].words);
}
END_TEST

START_TEST(other_files_are_refused)
{
    enum { DEEP = 200000 };
    const char *json =
        tokenizer_file((tokenizer_parts){.vocab = FIVE_TOKENS, .merges = five_merges[0]});
    const int64_t size = (int64_t)strlen(json);
    for (int64_t n = 1; n < size; n += n < 200 || n > size - 200 ? 1 : 37)
        check_refused(json, n, "it is not ");
    char *deep = malloc(DEEP);
    memset(deep, '[', DEEP);
    check_refused(deep, DEEP, "nested too deep");
    free(deep);
    char twice[1 << 14];
    check_refused(twice, snprintf(twice, sizeof twice, "%s {}", json), "something follows");
    check_refused("{}", 2, "version is missing");
    check_refused("[]", 2, "the file is missing or no object");
    check_refused("3", 1, "the file is missing or no object");
    check_refused("{\"version\":\"2.0\"}", 17, "version '2.0'");
    check_refused("{}", -1, "1 GiB");
    check_refused("{}", INT64_MAX, "1 GiB");
}
END_TEST

/* Whatever a changed byte makes of a file, it is refused or any text still comes back. */
START_TEST(changed_bytes)
{
    char json[1 << 14];
    pal_rng rng = pal_rng_new(9, 0);
    const char *whole =
        tokenizer_file((tokenizer_parts){.vocab = FIVE_TOKENS, .merges = five_merges[0]});
    const int64_t size = (int64_t)strlen(whole);
    int loaded = 0;
    for (int i = 0; i < 1000; i++) {
        pal_tokenizer *b;
        memcpy(json, whole, (size_t)size);
        json[pal_rng_below(&rng, size)] = (char)pal_rng_below(&rng, i % 2 ? 256 : 128);
        if (pal_tokenizer_load(&b, json, size, NULL) != PAL_OK) continue;
        check_round_trip(b, tokenizer_prose, (int64_t)strlen(tokenizer_prose));
        pal_tokenizer_free(b);
        loaded++;
    }
    ck_assert_int_lt(loaded, 1000);
}
END_TEST

/* A pattern that would take for ever is an error of the text, which leaves no tokens behind. */
START_TEST(patterns_give_up)
{
    char text[64] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!";
    pal_error e = {0};
    pal_token_ids ids = {0};
    pal_tokenizer *b = load(tokenizer_file((tokenizer_parts){
        .pre = SEQUENCE(SPLIT("x|(?:a|aa|aaa)+$\\\\b\\\\B") "," BYTE_LEVEL("false", "true"))}));
    ck_assert_int_eq(pal_tokenizer_encode(b, text, (int64_t)strlen(text), &ids, &e), PAL_EFORMAT);
    ck_assert(strstr(e.message, "pattern 0 of pre_tokenizer gives up") != NULL);
    ck_assert_int_eq(ids.count, 0);
    ck_assert_int_eq(pal_tokenizer_encode(b, text, -1, &ids, &e), PAL_EVALUE);
    pal_token_ids_free(&ids);
    pal_tokenizer_free(b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bpe_files");
    TCase *tc = tcase_create("bpe_files");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, files_are_refused_by_name, 0, sizeof refusals / sizeof *refusals);
    tcase_add_test(tc, other_files_are_refused);
    tcase_add_test(tc, changed_bytes);
    tcase_add_test(tc, patterns_give_up);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
