/*
 * bytes.c - tokenizers for the fuzzers: the vocabulary of the 256 bytes, which every tokenizer.json
 * has to have, is written as $BYTES, so that mutations reach the rest of the file.
 */
#include "tests/fuzz/frame/fuzz.h"

#include <stdlib.h>
#include <string.h>

static const char MARK[] = "$BYTES";

static const char *bytes(void)
{
    static char vocab[1 << 13];
    int n = 0, other = 256;
    for (int b = 0; b < 256 && !(n && b == 0); b++) {
        const bool itself = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        const int c = itself ? b : other++;
        char key[3] = {(char)c};
        if (c >= 128) memcpy(key, (char[]){(char)(0xc0 + c / 64), (char)(0x80 + c % 64)}, 2);
        n += sprintf(vocab + n, "%s\"%s%s\":%d", b ? "," : "",
                     key[0] == '"' || key[0] == '\\' ? "\\" : "", key, b);
    }
    return vocab;
}

pal_status fuzz_tokenizer(pal_tokenizer **out, const char *json, pal_error *error)
{
    const char *at = strstr(json, MARK), *vocab = bytes();
    const size_t head = at ? (size_t)(at - json) : strlen(json);
    const char *tail = at ? at + strlen(MARK) : "";
    const size_t size = head + (at ? strlen(vocab) : 0) + strlen(tail);
    char *text = malloc(size + 1);
    if (!text) abort();
    sprintf(text, "%.*s%s%s", (int)head, json, at ? vocab : "", tail);
    /* Without the NUL, so that a sanitizer sees who reads it. */
    char *exact = malloc(size);
    if (size && !exact) abort();
    if (size) memcpy(exact, text, size);
    const pal_status s = pal_tokenizer_load(out, exact, (int64_t)size, error);
    free(exact);
    free(text);
    return s;
}

/* Whether `back` is the text, with more spaces in it if these are allowed. */
static bool same(const char *text, int64_t size, const char *back, int64_t n, bool spaces)
{
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        if (at < size && text[at] == back[i])
            at++;
        else if (!spaces || back[i] != ' ')
            return false;
    }
    return at == size;
}

void fuzz_round_trip(pal_tokenizer *b, const void *text, int64_t size, fuzz_trip trip)
{
    pal_token_ids ids = {0};
    pal_error error = {0};
    const pal_status s = pal_tokenizer_encode(b, text, size, &ids, &error);
    fuzz_refused(s, &error);
    fuzz_must(s == PAL_OK || trip == FUZZ_ANY, "every text is encoded");
    if (s == PAL_OK) {
        const int64_t vocab = pal_tokenizer_vocab_size(b);
        for (int64_t i = 0; i < ids.count; i++)
            fuzz_must(ids.id[i] >= 0 && ids.id[i] < vocab, "ids are in the vocabulary");
        const int64_t n = pal_tokenizer_decode(b, ids.id, ids.count, NULL, 0);
        fuzz_must(n >= size, "nothing is lost");
        char *back = malloc((size_t)n + 1);
        if (!back) abort();
        fuzz_must(pal_tokenizer_decode(b, ids.id, ids.count, back, n) == n, "decoding repeats");
        fuzz_must(same(text, size, back, n, trip != FUZZ_EXACT), "the bytes come back");
        free(back);
    }
    pal_token_ids_free(&ids);
}
