/*
 * test_bpe.c - byte-level BPE: any bytes come back, merges in their order, and GPT-2's pretokens
 * worked out by hand.
 */
#include "tensor/text/internal.h"
#include "tests/support/bpe.h"

/* ---- Any bytes come back ---- */

START_TEST(bytes)
{
    pal_tokenizer *b = load("");
    int64_t size;
    ck_assert_int_eq(pal_tokenizer_vocab_size(b), 256);
    ck_assert_str_eq(pal_tokenizer_json(b, &size), "");
    ck_assert_int_eq(size, 0);
    IDS(b, "az\xff", 'a', 'z', 255);
    ck_assert_int_eq(pal_tokenizer_special(b, "a"), -1);
    ck_assert_ptr_null(pal_tokenizer_token(b, 256, &size));
    ck_assert_int_eq(pal_tokenizer_decode(b, (const int64_t[]){65, -1}, 2, NULL, 0), -1);
    check_round_trip(b, tokenizer_prose, (int64_t)strlen(tokenizer_prose));
    pal_tokenizer_free(b);
}
END_TEST

START_TEST(round_trips)
{
    enum { SIZE = 4096 };
    static char text[SIZE];
    static const char *const bits[] = {" ",
                                       "  ",
                                       "\n",
                                       "'s",
                                       "the",
                                       "\xc3",
                                       "\x80",
                                       "\xe2\x80\x94",
                                       "\xed\xa0\x80",
                                       "",
                                       "<end>",
                                       "12",
                                       "\xf4\x90\x80\x80",
                                       "\xff",
                                       "!"};
    const char *special = "<end>";
    pal_tokenizer *b =
        train(tokenizer_prose,
              (pal_tokenizer_train_opts){.vocab = 320, .special = &special, .specials = 1});
    pal_rng rng = pal_rng_new(5, 0);
    for (int round = 0; round < 40; round++) {
        int64_t n = 0;
        while (n < SIZE - 8) {
            const char *bit = bits[pal_rng_below(&rng, sizeof bits / sizeof *bits)];
            if (round % 2)
                text[n++] = (char)pal_rng_below(&rng, 256);
            else
                n += sprintf(text + n, "%s", bit);
        }
        check_round_trip(b, text, round < 4 ? round : n);
    }
    memset(text, ' ', SIZE);
    check_round_trip(b, text, SIZE);
    check_round_trip(b, tokenizer_prose, (int64_t)strlen(tokenizer_prose));
    pal_tokenizer_free(b);
}
END_TEST

/* ---- Merges ---- */

/* From the left, "abc" would be ab c, and the longest token abc; b c comes first in the list. */
START_TEST(merges_in_their_order)
{
    pal_tokenizer *b =
        load(tokenizer_file((tokenizer_parts){.vocab = FIVE_TOKENS, .merges = five_merges[_i]}));
    IDS(b, "abc", 'a', 256);
    IDS(b, "abd", 257, 'd');
    IDS(b, "abab", 257, 257);
    IDS(b, "abcabx", 'a', 256, 257, 'x');
    IDS(b, "aaa", 259, 'a'); /* of equal ones the leftmost */
    IDS(b, "aaaa", 259, 259);
    IDS(b, "aab", 'a', 257); /* a b comes before a a */
    IDS(b, "abcd", 'a', 256, 'd');
    IDS(b, "bc bc", 256, ' ', 256); /* " b" is no pair of the list */
    check_ids(b, "", 0, NULL, 0);
    pal_tokenizer_free(b);
}
END_TEST

/* A pair made by a merge may stand before others that were there earlier. */
START_TEST(new_pairs_have_their_rank)
{
    pal_tokenizer *b = load(
        tokenizer_file((tokenizer_parts){.vocab = ",\"xy\":256,\"xyz\":257,\"zw\":258,\"xyzw\":259",
                                         .merges = "\"x y\",\"xy z\",\"z w\",\"xyz w\""}));
    IDS(b, "xyzw", 259);
    IDS(b, "yzw", 'y', 258);
    pal_tokenizer_free(b);
}
END_TEST

START_TEST(ignore_merges_takes_whole_tokens)
{
    pal_tokenizer *b = load(tokenizer_file((tokenizer_parts){
        .vocab = FIVE_TOKENS, .merges = five_merges[0], .model = "\"ignore_merges\":true,"}));
    IDS(b, "abc", 258);
    IDS(b, "abcd", 260);
    IDS(b, "abcx", 'a', 256, 'x');
    pal_tokenizer_free(b);
}
END_TEST

/* ---- Pretokens ---- */

START_TEST(gpt2_pretokens)
{
    pal_tokenizer *b = load(tokenizer_file((tokenizer_parts){0}));
    check_pieces(b, "Hello world", "Hello| world|");
    check_pieces(b, "it's we'll DON'T", "it|'s| we|'ll| DON|'|T|");
    check_pieces(b, "a  b   c", "a| | b|  | c|"); /* the last space goes with the word */
    check_pieces(b, "end  ", "end|  |");
    check_pieces(b, "a\n b\n\n\nc", "a|\n| b|\n\n|\n|c|");
    check_pieces(b, "x12 34y", "x|12| 34|y|");
    check_pieces(b, "f(x)==2;  //ok", "f|(|x|)==|2|;| | //|ok|");
    check_pieces(b, "\tif", "\t|if|");
    check_pieces(b, "na\xc3\xafve \xe6\x97\xa5\xe6\x9c\xac",
                 "na\xc3\xafve| \xe6\x97\xa5\xe6\x9c\xac|");
    check_pieces(b, "1\xc2\xbd", "1\xc2\xbd|"); /* one half is a number */
    /* A no-break space is white space, U+180E and U+200B are not. */
    check_pieces(b, "a\xc2\xa0 b", "a|\xc2\xa0| b|");
    check_pieces(b,
                 "a \xe1\xa0\x8e\xe2\x80\x8b"
                 "b",
                 "a| \xe1\xa0\x8e\xe2\x80\x8b|b|");
    /* What is no UTF-8 is a piece of its own, and the end of text for what stands before. */
    check_pieces(b, "ab\xff\xc3 c", "ab|\xff\xc3| c|");
    check_pieces(b,
                 "a  \x80"
                 "b",
                 "a|  |\x80|b|");
    pal_tokenizer_free(b);
}
END_TEST

START_TEST(other_pretokens)
{
    pal_tokenizer *b = load(tokenizer_file((tokenizer_parts){.pre = BYTE_LEVEL("true", "true")}));
    check_pieces(b, "ab c", " ab| c|");
    check_pieces(b, " ab", " ab|");
    pal_tokenizer_free(b);
    b = load(tokenizer_file((tokenizer_parts){.pre = BYTE_LEVEL("false", "false")}));
    check_pieces(b, "ab c, d", "ab c, d|");
    pal_tokenizer_free(b);
    b = load(tokenizer_file((tokenizer_parts){
        .pre = SEQUENCE(SPLIT("\\\\p{N}{1,3}|\\\\s+") "," BYTE_LEVEL("false", "false"))}));
    check_pieces(b, "ab12345 x", "ab|123|45| |x|");
    pal_tokenizer_free(b);
    b = load(tokenizer_file(
        (tokenizer_parts){.pre = SEQUENCE("{\"type\":\"Digits\",\"individual_digits\":true}," SPLIT(
                              "(?=b)") "," BYTE_LEVEL("false", "true"))}));
    check_pieces(b, "a12 ab.b", "a|1|2| a|b|.|b|");
    pal_tokenizer_free(b);
    b = load(tokenizer_file((tokenizer_parts){
        .pre = SEQUENCE("{\"type\":\"Split\",\"pattern\":{\"String\":\"a.b\"},\"behavior\":"
                        "\"Isolated\",\"invert\":false}," BYTE_LEVEL("false", "false"))}));
    check_pieces(b, "a.bacba.b", "a.b|acb|a.b|");
    pal_tokenizer_free(b);
}
END_TEST

START_TEST(added_tokens)
{
    pal_tokenizer *b = load(tokenizer_file((tokenizer_parts){
        .added = ADDED("256", "<a>", ",\"special\":true") "," ADDED("257", "<a>b", "") "," ADDED(
            "258", "b c", ",\"normalized\":true") "," ADDED("259", "\xc3\xa9\xc3\xa9", ""),
        .vocab = ",\"<a>\":256"}));
    ck_assert_int_eq(pal_tokenizer_vocab_size(b), 260);
    ck_assert_int_eq(pal_tokenizer_special(b, "<a>"), 256);
    ck_assert_int_eq(pal_tokenizer_special(b, "<a"), -1);
    IDS(b, "x<a>", 'x', 256);
    IDS(b, "<a>bc", 257, 'c'); /* the longest */
    IDS(b, "b c<a>", 258, 256);
    IDS(b, "<a>b c", 257, ' ', 'c'); /* those that are not normalized come first */
    IDS(b, "\xc3\xa9\xc3\xa9\xc3\xa9", 259, 0xc3, 0xa9);
    check_pieces(b, "do <a> it", "do| |<a>#| it|");
    check_round_trip(b, "<a><a>b b c\xc3\xa9\xc3\xa9!", 16);
    pal_tokenizer_free(b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bpe");
    TCase *tc = tcase_create("bpe");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, bytes);
    tcase_add_test(tc, round_trips);
    tcase_add_loop_test(tc, merges_in_their_order, 0, 2);
    tcase_add_test(tc, new_pairs_have_their_rank);
    tcase_add_test(tc, ignore_merges_takes_whole_tokens);
    tcase_add_test(tc, gpt2_pretokens);
    tcase_add_test(tc, other_pretokens);
    tcase_add_test(tc, added_tokens);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
