/*
 * test_bpe_patterns.c - patterns of tokenizer.json: they mean what they mean to Oniguruma, or are
 * refused; and a long run of blanks takes no more than its length.
 */
#include "tests/support/bpe.h"

static pal_status load_pattern(pal_tokenizer **b, const char *pattern, pal_error *e)
{
    char pre[1024], escaped[512] = "";
    for (size_t n = 0; *pattern; pattern++) {
        if (strchr("\\\"", *pattern)) escaped[n++] = '\\';
        escaped[n++] = *pattern;
        escaped[n] = 0;
    }
    snprintf(pre, sizeof pre, SEQUENCE(SPLIT("%s") "," BYTE_LEVEL("false", "false")), escaped);
    const char *json = tokenizer_file((tokenizer_parts){.pre = pre});
    return pal_tokenizer_load(b, json, (int64_t)strlen(json), e);
}

#define MONGOLIAN "\xe1\xa0\x8e" /* U+180E, a format character */
#define NEXT_LINE "\xc2\x85"     /* U+0085, white space */
#define NO_WIDTH  "\xe2\x80\x8b" /* U+200B, a format character */
#define MARK      "\xef\xbb\xbf" /* U+FEFF, a format character */
#define UNIT      "\x1f"         /* U+001F, a control character */
#define ACUTE     "\xcc\x81"     /* U+0301, a mark */
#define SQUARED   "\xc2\xb2"     /* U+00B2 */
#define RAISED    "\xe2\x81\xb4" /* U+2074, a number as the one before */
#define ROMAN     "\xe2\x85\xa0" /* U+2160, a letter-like number */
#define CIRCLED   "\xe2\x92\xb6" /* U+24B6, a symbol that counts as a letter */
#define HAN       "\xe4\xb8\x80" /* U+4E00 */
#define COMMA     "\xe3\x80\x81" /* U+3001, which Han text shares with others */

static const struct {
    const char *pattern, *text, *pieces;
} cuts[] = {
    {"\\s", "a" MONGOLIAN "b" NEXT_LINE "c" NO_WIDTH MARK UNIT "d",
     "a" MONGOLIAN "b|" NEXT_LINE "|c" NO_WIDTH MARK UNIT "d|"},
    {"\\S+", "a" MONGOLIAN NEXT_LINE "c", "a" MONGOLIAN "|" NEXT_LINE "|c|"},
    {"[\\s,]+", "a, " MONGOLIAN " b", "a|, |" MONGOLIAN "| |b|"},
    {"[^\\s,]+", ", " MONGOLIAN " b", ", |" MONGOLIAN "| |b|"},
    {"[\\S]+", " " MONGOLIAN "a ", " |" MONGOLIAN "a| |"},
    {"[[:space:]]", "a" MONGOLIAN NEXT_LINE, "a" MONGOLIAN "|" NEXT_LINE "|"},
    {"\\p{White_Space}", "a" MONGOLIAN " ", "a" MONGOLIAN "| |"},
    {"\\P{White_Space}+", " " MONGOLIAN "a", " |" MONGOLIAN "a|"},
    {"\\w+", "," ROMAN ACUTE SQUARED CIRCLED "_" RAISED,
     ",|" ROMAN ACUTE SQUARED CIRCLED "_|" RAISED "|"},
    {"[\\w]+", "," ROMAN ACUTE "," SQUARED, ",|" ROMAN ACUTE "|," SQUARED "|"},
    {"\\W+", "a,." ACUTE, "a|,.|" ACUTE "|"},
    {"\\b", "ab" ACUTE ", " RAISED "c", "ab" ACUTE "|, " RAISED "|c|"},
    {"\\B", "ab, c", "a|b,| c|"},
    {"\\h+", "xfF0 \t", "x|fF0| \t|"},
    {"\\v", "a\v\n", "a|\v|\n|"},
    {"\\u0062|\\x63|\\x{64}", "abcde", "a|b|c|d|e|"},
    {"\\p{Han}", "a" HAN COMMA, "a|" HAN "|" COMMA "|"},
    {"\\p{^L}", "a1b", "a|1|b|"},
    {"(?i:'s|'ll)|x", "'S 'Ll X", "'S| |'Ll| X|"},
    {"(?i)a|b", "cAcBc", "c|A|c|B|c|"},
    {"^a", "a\naa", "a|\n|a|a|"},
};

START_TEST(cuts_are_those_of_oniguruma)
{
    pal_error e = {0};
    pal_tokenizer *b;
    if (load_pattern(&b, cuts[_i].pattern, &e) != PAL_OK) ck_abort_msg("%s", e.message);
    check_pieces(b, cuts[_i].text, cuts[_i].pieces);
    pal_tokenizer_free(b);
}
END_TEST

static const struct {
    const char *pattern, *words;
} refusals[] = {
    {"a\\X", "at byte 1: \\X is not supported"},
    {"\\K", "\\K is not supported"},
    {"\\R", "\\R is not supported"},
    {"\\V", "\\V is not supported"},
    {"\\Q.\\E", "\\Q is not supported"},
    {"(a)\\1", "\\1 is not supported"},
    {"\\", "is not supported"},
    {"\\pL", "wants a name in braces"},
    {"\\p{L", "this property is not supported"},
    {"\\p{Script=Han}", "this property is not supported"},
    {"\\p{Alphabetic}", "unknown property"},
    {"\\x4", "this number of a character"},
    {"\\x{}", "this number of a character"},
    {"\\x{110000}", "too large"},
    {"[[:alpha:]]", "a set inside of brackets"},
    {"[a[bc]]", "a set inside of brackets"},
    {"[a&&b]", "&& between brackets"},
    {"[\\W]", "\\W is not supported between brackets"},
    {"[\\H]", "\\H is not supported between brackets"},
    {"[]a]", "write \\]"},
    {"[a", "not closed"},
    {"[", "not closed"},
    {"a{,2}", "this repeat is not supported"},
    {"a{", "this repeat is not supported"},
    {"a{2}?", "or ? after {n}"},
    {"a{1,2}+", "+ after a repeat"},
    {"a)", "no parenthesis is open"},
    {"(a", "no regular expression"},
    {"a**", "no regular expression"},
    {"(?<x>a)", "this kind of group"},
    {"(?#x)", "this kind of group"},
    {"(?m).", "this kind of group"},
    {"a(?i)b|c", "this kind of group"}, /* Oniguruma: a(?i:b|c) */
    {"(*UCP)a", "this kind of group"},
    {"(?i:ss)", "two letters under (?i)"},
    {"(?i:x(?:Fi))", "two letters under (?i)"},
    {"(?i)\xc3\x9f", "beyond ASCII under (?i)"},
    {"(?i)\\x{df}", "such a character under (?i)"},
    {"(?i)\\p{Lu}", "a property under (?i)"},
    {"(?i)\\w", "\\w is not supported under (?i)"},
    {"(?i)[\\S]", "\\S is not supported under (?i)"},
};

START_TEST(others_are_refused)
{
    pal_error e = {0};
    pal_tokenizer *b;
    ck_assert_int_eq(load_pattern(&b, refusals[_i].pattern, &e), PAL_EFORMAT);
    ck_assert_ptr_null(b);
    if (!strstr(e.message, refusals[_i].words))
        ck_abort_msg("no '%s' in '%s'", refusals[_i].words, e.message);
}
END_TEST

START_TEST(deep_groups_are_refused)
{
    char pattern[300];
    pal_error e = {0};
    pal_tokenizer *b;
    memset(pattern, '(', 150);
    memset(pattern + 150, ')', 150);
    pattern[299] = 0;
    ck_assert_int_eq(load_pattern(&b, pattern, &e), PAL_EFORMAT);
    ck_assert(strstr(e.message, "nested too deep") != NULL);
}
END_TEST

typedef struct sizes {
    int64_t size[8];
    int count;
} sizes;

static pal_status note_size(void *user, const char *byte, int64_t size, int32_t id,
                            pal_error *error)
{
    sizes *s = user;
    (void)byte, (void)id, (void)error;
    if (s->count < 8) s->size[s->count] = size;
    s->count++;
    return PAL_OK;
}

/* Blanks before a letter are a piece, but for the last of them, however many there are. \s* goes
 * over all of them first, and looks for a line end behind each. */
START_TEST(runs_of_blanks)
{
    static const int64_t many[] = {2, 3, 100, 65536, 21000000};
    const int64_t n = many[_i];
    char *text = malloc((size_t)n + 1);
    pal_error e = {0};
    pal_tokenizer *b;
    sizes s = {.count = 0};
    const char *pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                          " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    ck_assert_int_eq(load_pattern(&b, pattern, &e), PAL_OK);
    memset(text, ' ', (size_t)n);
    text[n] = 'x';
    if (pal_bpe_split(b, text, n + 1, false, note_size, &s, &e) != PAL_OK)
        ck_abort_msg("%s", e.message);
    ck_assert_int_eq(s.count, 2);
    ck_assert_int_eq(s.size[0], n - 1);
    ck_assert_int_eq(s.size[1], 2);
    free(text);
    pal_tokenizer_free(b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bpe_patterns");
    TCase *tc = tcase_create("bpe_patterns");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, cuts_are_those_of_oniguruma, 0, sizeof cuts / sizeof *cuts);
    tcase_add_loop_test(tc, others_are_refused, 0, sizeof refusals / sizeof *refusals);
    tcase_add_test(tc, deep_groups_are_refused);
    tcase_add_loop_test(tc, runs_of_blanks, 0, 5);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
