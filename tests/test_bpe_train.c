/*
 * test_bpe_train.c - what training learns from texts small enough to count by hand, and from others
 * by the definition.
 */
#include "tensor/text/internal.h"
#include "tests/support/bpe.h"

static void check_merges(const pal_tokenizer *b, const char *const *merge, int64_t count)
{
    int64_t size;
    ck_assert_int_eq(b->merges, count);
    for (int64_t i = 0; i < count; i++) {
        char text[64];
        const char *left = pal_tokenizer_token(b, b->merge[i].left, &size);
        int n = snprintf(text, sizeof text, "%.*s", (int)size, left);
        const char *right = pal_tokenizer_token(b, b->merge[i].right, &size);
        snprintf(text + n, sizeof text - (size_t)n, "+%.*s", (int)size, right);
        ck_assert_str_eq(text, merge[i]);
    }
}

/*
 * The pretokens are "aaab", " aab" and " ab": a a and a b occur three times each, and a is a
 * smaller id than b. Then a b is left twice and nothing else more than once.
 */
START_TEST(first_merges)
{
    static const char *const expected[] = {"a+a", "a+b", " +aa", " +ab", "aa+ab", " aa+b"};
    pal_tokenizer *b = train("aaab aab ab", (pal_tokenizer_train_opts){0});
    check_merges(b, expected, 2);
    ck_assert_int_eq(pal_tokenizer_vocab_size(b), 258);
    pal_tokenizer_free(b);
    b = train("aaab aab ab", (pal_tokenizer_train_opts){.vocab = 257});
    check_merges(b, expected, 1);
    pal_tokenizer_free(b);
    b = train("aaab aab ab", (pal_tokenizer_train_opts){.least = 1});
    check_merges(b, expected, 6);
    pal_tokenizer_free(b);
}
END_TEST

/*
 * By the definition: counts every pair anew for every merge. Words are of letters and apart by
 * newlines. A token of parts that were joined before in another way is that token.
 */
enum { NAIVE_SIZE = 400, NAIVE_TOKENS = 40 };

typedef struct naive {
    int symbol[NAIVE_SIZE], size; /* -1: between words */
    char text[NAIVE_TOKENS][NAIVE_SIZE];
    int tokens, merge[NAIVE_SIZE][2], merges;
} naive;

static bool naive_step(naive *n, int least)
{
    static int count[NAIVE_TOKENS][NAIVE_TOKENS];
    int left = 0, right = 0, kept = 0, made = 0, known = 0;
    memset(count, 0, sizeof count);
    for (int i = 0; i + 1 < n->size; i++)
        if (n->symbol[i] >= 0 && n->symbol[i + 1] >= 0) count[n->symbol[i]][n->symbol[i + 1]]++;
    for (int i = 0; i < n->tokens; i++)
        for (int j = 0; j < n->tokens; j++)
            if (count[i][j] > count[left][right]) left = i, right = j;
    if (count[left][right] < least) return false;
    char both[2 * NAIVE_SIZE];
    snprintf(both, sizeof both, "%s%s", n->text[left], n->text[right]);
    strcpy(n->text[n->tokens], both);
    while (strcmp(n->text[made], n->text[n->tokens]) != 0) made++;
    n->tokens += made == n->tokens;
    while (known < n->merges && (n->merge[known][0] != left || n->merge[known][1] != right))
        known++;
    n->merge[known][0] = left;
    n->merge[known][1] = right;
    n->merges += known == n->merges;
    for (int i = 0; i < n->size; i++) {
        const bool here = i + 1 < n->size && n->symbol[i] == left && n->symbol[i + 1] == right;
        n->symbol[kept++] = here ? made : n->symbol[i];
        i += here;
    }
    n->size = kept;
    return true;
}

START_TEST(merges_are_those_of_the_definition)
{
    static naive n;
    char text[NAIVE_SIZE + 1] = {0};
    pal_rng rng = pal_rng_new(11, (uint64_t)_i);
    const int letters = 1 + _i % 3;
    const bool one_word = _i % 4 == 3; /* with long runs of one letter, too */
    n = (naive){.size = NAIVE_SIZE, .tokens = letters};
    for (int i = 0; i < letters; i++) n.text[i][0] = (char)('a' + i);
    for (int i = 0; i < NAIVE_SIZE; i++) {
        const bool apart =
            !one_word && i > 0 && n.symbol[i - 1] >= 0 && pal_rng_below(&rng, 6) == 0;
        n.symbol[i] = apart ? -1 : (int)pal_rng_below(&rng, letters);
        text[i] = n.symbol[i] < 0 ? '\n' : (char)('a' + n.symbol[i]);
    }
    while (n.tokens < 30 + letters && naive_step(&n, 2)) {
    }
    pal_tokenizer *b = train(text, (pal_tokenizer_train_opts){.vocab = 256 + n.tokens - letters});
    ck_assert_int_eq(b->merges, n.merges);
    for (int i = 0; i < n.merges; i++) {
        int64_t size;
        const char *token = pal_tokenizer_token(b, b->merge[i].left, &size);
        ck_assert_int_eq(size, (int64_t)strlen(n.text[n.merge[i][0]]));
        ck_assert_int_eq(memcmp(token, n.text[n.merge[i][0]], (size_t)size), 0);
        token = pal_tokenizer_token(b, b->merge[i].right, &size);
        ck_assert_int_eq(size, (int64_t)strlen(n.text[n.merge[i][1]]));
        ck_assert_int_eq(memcmp(token, n.text[n.merge[i][1]], (size_t)size), 0);
    }
    pal_tokenizer_free(b);
}
END_TEST

/* Text without spaces is one word; it is learned from, however long it is. */
START_TEST(long_words)
{
    enum { SIZE = 5000 };
    static const char *const expected[] = {"a+b", "c+d", "ab+cd", "abcd+abcd"};
    char text[SIZE + 1] = "";
    for (int i = 0; i < SIZE; i++) text[i] = (char)('a' + i % 4);
    pal_tokenizer *b = train(text, (pal_tokenizer_train_opts){.vocab = 260});
    check_merges(b, expected, 4);
    pal_tokenizer_free(b);
    /* Of equal letters every merge doubles the token, up to 1024 bytes. */
    memset(text, 'a', SIZE);
    b = train(text, (pal_tokenizer_train_opts){0});
    ck_assert_int_eq(pal_tokenizer_vocab_size(b), 256 + 10);
    for (int64_t i = 0, size; i < 10; i++) {
        pal_tokenizer_token(b, 256 + i, &size);
        ck_assert_int_eq(size, INT64_C(2) << i);
    }
    pal_tokenizer_free(b);
}
END_TEST

START_TEST(training_is_a_function_of_its_texts)
{
    static const char *const special[] = {"<end>", "<of text>"};
    const pal_tokenizer_train_opts how = {.vocab = 330, .special = special, .specials = 2};
    int64_t size, size2;
    pal_tokenizer *b = train(tokenizer_prose, how), *c = train(tokenizer_prose, how);
    ck_assert_str_eq(pal_tokenizer_json(b, &size), pal_tokenizer_json(c, &size2));
    ck_assert_int_eq(size, size2);
    pal_tokenizer_free(c);
    c = load(pal_tokenizer_json(b, &size)); /* what was learned is what is loaded */
    ck_assert_str_eq(pal_tokenizer_json(b, &size), pal_tokenizer_json(c, &size2));
    ck_assert_int_eq(pal_tokenizer_special(c, "<end>"), 256);
    ck_assert_int_eq(pal_tokenizer_special(c, "<of text>"), 257);
    IDS(c, "<of text><end>", 257, 256);
    pal_token_ids x = {0}, y = {0};
    ck_assert_int_eq(
        pal_tokenizer_encode(b, tokenizer_prose, (int64_t)strlen(tokenizer_prose), &x, NULL),
        PAL_OK);
    ck_assert_int_eq(
        pal_tokenizer_encode(c, tokenizer_prose, (int64_t)strlen(tokenizer_prose), &y, NULL),
        PAL_OK);
    ck_assert_int_eq(x.count, y.count);
    ck_assert_int_eq(memcmp(x.id, y.id, (size_t)x.count * sizeof *x.id), 0);
    ck_assert_int_lt(x.count, (int64_t)strlen(tokenizer_prose) / 2);
    pal_token_ids_free(&x);
    pal_token_ids_free(&y);
    pal_tokenizer_free(b);
    pal_tokenizer_free(c);
}
END_TEST

START_TEST(training_refuses)
{
    pal_tokenizer *b = (pal_tokenizer *)1;
    pal_error e = {0};
    const char *special = "a";
    ck_assert_int_eq(pal_tokenizer_train(&b, NULL, 0, (pal_tokenizer_train_opts){.vocab = 255}, &e),
                     PAL_EVALUE);
    ck_assert_ptr_null(b);
    ck_assert(strstr(e.message, "vocab 255") != NULL);
    ck_assert_int_eq(
        pal_tokenizer_train(&b, NULL, 0,
                            (pal_tokenizer_train_opts){.special = &special, .specials = 1}, &e),
        PAL_EFORMAT);
    ck_assert(strstr(e.message, "'a'") != NULL);
    ck_assert_int_eq(pal_tokenizer_train(&b, NULL, 0, (pal_tokenizer_train_opts){0}, &e), PAL_OK);
    ck_assert_int_eq(pal_tokenizer_vocab_size(b), 256);
    pal_tokenizer_free(b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bpe_train");
    TCase *tc = tcase_create("bpe_train");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, first_merges);
    tcase_add_loop_test(tc, merges_are_those_of_the_definition, 0, 12);
    tcase_add_test(tc, long_words);
    tcase_add_test(tc, training_is_a_function_of_its_texts);
    tcase_add_test(tc, training_refuses);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
