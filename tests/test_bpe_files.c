/*
 * test_bpe_files.c - tokenizer.json files that are not supported, contradict themselves or were
 * made to do harm.
 */
#include "tests/support/bpe.h"

/* ---- Files that are refused, each with words of its error ---- */

#define PREPEND  "{\"type\":\"Prepend\",\"prepend\":\"\"},"
#define FOUR(x)  x x x x
#define TWICE(x) x x
#define REPLACE(kind, text, with) \
    "{\"type\":\"Replace\",\"pattern\":{\"" kind "\":\"" text "\"},\"content\":\"" with "\"}"
#define METASPACE(text, scheme) \
    "{\"type\":\"Metaspace\",\"replacement\":\"" text "\",\"prepend_scheme\":" scheme "}"
#define UNKNOWN        .model = "\"unk_token\":\"?\","
#define DECODERS(list) "{\"type\":\"Sequence\",\"decoders\":[" list "]}"
#define FUSE           "{\"type\":\"Fuse\"}"
#define FALLBACK       "{\"type\":\"ByteFallback\"}"
#define STRIP(start, stop) \
    "{\"type\":\"Strip\",\"content\":\"a\",\"start\":" start ",\"stop\":" stop "}"
#define TEXT(name) "{\"Sequence\":{\"id\":\"" name "\",\"type_id\":0}}"
#define TEMPLATE(list)                                                    \
    "{\"type\":\"TemplateProcessing\",\"single\":[" list "],\"pair\":[]," \
    "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[999],\"tokens\":[\"<s>\"]}}}"

typedef struct refused {
    const char *words;
    tokenizer_parts p;
} refused;

static const refused refusals[] = {
    {"normalizer of type 'Lowercase' is not", {.normalizer = "{\"type\":\"Lowercase\"}"}},
    {"normalizer is no object", {.normalizer = "3"}},
    {"normalizer.normalizers is no list", {.normalizer = "{\"type\":\"Sequence\"}"}},
    {"normalizer has more than 16",
     {.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[" FOUR(FOUR(PREPEND)) PREPEND
      "{\"type\":\"Prepend\",\"prepend\":\"\"}]}"}},
    {"Prepend.prepend is missing", {.normalizer = "{\"type\":\"Prepend\"}"}},
    {"Replace.pattern is empty", {.normalizer = REPLACE("String", "", "x")}},
    {"no regular expression", {.normalizer = REPLACE("Regex", "(a", "x")}},
    {"content with a $ beside", {.normalizer = REPLACE("Regex", "(a)", "$1")}},
    {"strip_left is missing", {.normalizer = "{\"type\":\"Strip\",\"strip_right\":true}"}},
    {"the file.padding is not supported", {.root = "\"padding\":{},"}},
    {"the file.extra is not known", {.root = "\"extra\":1,"}},
    {"the file.decoder stands twice", {.root = "\"decoder\":null,"}},
    {"decoder of type 'Fuse'", {.decoder = "{\"type\":\"Fuse\"}"}},
    {"decoder of type 'ByteLevel' is not supported without",
     {.pre = "null", .model = "\"unk_token\":\"?\","}},
    {"a text could have no tokens", {.pre = "null"}},
    {"no token of byte 255", {.pre = "null", .model = "\"byte_fallback\":true,"}},
    {"'<unk>' is not in the vocabulary", {.pre = "null", .model = "\"unk_token\":\"<unk>\","}},
    {"Replace after a ByteFallback or Fuse",
     {.pre = "null", UNKNOWN, .decoder = DECODERS(FUSE "," REPLACE("String", "a", "b"))}},
    {"another kind than String",
     {.pre = "null", UNKNOWN, .decoder = DECODERS(REPLACE("Regex", "a", "b"))}},
    {"Strip between ByteFallback and Fuse",
     {.pre = "null", UNKNOWN, .decoder = DECODERS(FALLBACK "," STRIP("1", "0") "," FUSE)}},
    {"Strip.stop after a Fuse",
     {.pre = "null", UNKNOWN, .decoder = DECODERS(FUSE "," STRIP("0", "1"))}},
    {"two Strip after a Fuse",
     {.pre = "null", UNKNOWN, .decoder = DECODERS(FUSE "," STRIP("1", "0") "," STRIP("1", "0"))}},
    {"start or stop is missing", {.pre = "null", UNKNOWN, .decoder = DECODERS(STRIP("-1", "0"))}},
    {"Strip.content is not one character",
     {.pre = "null",
      UNKNOWN,
      .decoder = "{\"type\":\"Strip\",\"content\":\"ab\",\"start\":1,\"stop\":0}"}},
    {"ByteFallback after another",
     {.pre = "null", UNKNOWN, .decoder = DECODERS(FALLBACK "," FALLBACK)}},
    {"too much text of the vocabulary",
     {.pre = "null",
      UNKNOWN,
      .decoder =
          DECODERS(REPLACE("String", "a", TWICE(TWICE(TWICE("aaaaaaaaaaaaaaaa")))) "," REPLACE(
              "String", "a",
              TWICE(TWICE(TWICE("aaaaaaaaaaaaaaaa")))) "," REPLACE("String", "a",
                                                                   TWICE(TWICE(TWICE(
                                                                       "aaaaaaaaaaaaaaaa")))))}},
    {"post_processor of type 'Magic' is not", {.post = "{\"type\":\"Magic\"}"}},
    {"post_processor.single is no list", {.post = "{\"type\":\"TemplateProcessing\"}"}},
    {"has the text 0 times", {.post = TEMPLATE("")}},
    {"has the text 2 times", {.post = TEMPLATE(TEXT("A") "," TEXT("A"))}},
    {"has a text 'B'", {.post = TEMPLATE(TEXT("B"))}},
    {"no ids of '<no>'", {.post = TEMPLATE("{\"SpecialToken\":{\"id\":\"<no>\"}}," TEXT("A"))}},
    {"there is no token 999", {.post = TEMPLATE("{\"SpecialToken\":{\"id\":\"<s>\"}}," TEXT("A"))}},
    {"post_processor.cls is no token", {.post = "{\"type\":\"BertProcessing\",\"cls\":3}"}},
    {"decoder is missing", {.decoder = "null"}},
    {"pre_tokenizer of type 'Whitespace'", {.pre = "{\"type\":\"Whitespace\"}"}},
    {"add_prefix_space is missing", {.pre = "{\"type\":\"ByteLevel\"}"}},
    {"use_regex is missing or neither", {.pre = BYTE_LEVEL("true", "3")}},
    {"two ByteLevel",
     {.pre = SEQUENCE(BYTE_LEVEL("false", "true") "," BYTE_LEVEL("false", "true"))}},
    {"no regular expression", {.pre = SEQUENCE(SPLIT("(a") "," BYTE_LEVEL("false", "true"))}},
    {"\\C is not supported", {.pre = SEQUENCE(SPLIT("\\\\C") "," BYTE_LEVEL("false", "true"))}},
    {"pattern is empty", {.pre = SEQUENCE(SPLIT("") "," BYTE_LEVEL("false", "true"))}},
    {"behavior 'Gone' is not known",
     {.pre = SEQUENCE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":"
                      "\"Gone\"}," BYTE_LEVEL("false", "true"))}},
    {"Split.behavior is missing",
     {.pre = SEQUENCE(
          "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"}}," BYTE_LEVEL("false", "true"))}},
    {"Metaspace after ByteLevel",
     {.pre = SEQUENCE(BYTE_LEVEL("false", "true") "," METASPACE("_", "\"first\""))}},
    {"replacement is not one character", {.pre = METASPACE("__", "\"first\"")}},
    {"prepend_scheme 'last' is not known", {.pre = METASPACE("_", "\"last\"")}},
    {"add_prefix_space is false and",
     {.pre = METASPACE("_", "\"first\",\"add_prefix_space\":false")}},
    {"lstrip is missing or neither", {.added = ADDED("256", "<a>", ",\"lstrip\":1")}},
    {"256 and 257 are one text after the normalizer",
     {.normalizer = REPLACE("String", "b", "a"),
      .added = ADDED("256", "ab", ",\"normalized\":true") "," ADDED("257", "ba",
                                                                    ",\"normalized\":true")}},
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
